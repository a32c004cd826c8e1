//! jq-client
