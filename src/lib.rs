//! jq-server
