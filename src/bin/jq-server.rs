//! jq-server
fn main() {}
