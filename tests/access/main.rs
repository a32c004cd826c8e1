//! The server that knows its clients (`--auth`): what each right allows, who a connection acts for, what the
//! rest is told, and limits.

#[path = "../../fuzz/src/corpus.rs"]
pub mod corpus;
#[path = "../../fuzz/src/access.rs"]
pub mod fuzz;
#[path = "../support/mod.rs"]
mod support;

mod limits;
mod reload;
mod scene;
mod seen;
mod strangers;
mod table;
mod told;
mod twin;
