//! A file with a job, as people write it.

use std::fmt::Display;
use std::io::{self, Read};
use std::path::Path;

use serde_json::Value;
use uuid::Uuid;

use super::{EXIT_CONFIG, Failed};
use crate::job::Job;

/// Reads a job from a file; "-" is standard input. A job without an id is given one.
pub(super) fn read(path: &Path) -> Result<(Vec<u8>, Job), Failed> {
    let named =
        |error: &dyn Display| Failed::new(EXIT_CONFIG, format!("{}: {error}", path.display()));
    let body = if path == Path::new("-") {
        let mut body = Vec::new();
        io::stdin().read_to_end(&mut body).map(|_| body)
    } else {
        std::fs::read(path)
    };
    let body = with_id(body.map_err(|error| named(&error))?);
    let job = Job::parse(&body).map_err(|bad| named(&bad))?;
    Ok((body, job))
}

fn with_id(body: Vec<u8>) -> Vec<u8> {
    let Ok(Value::Object(mut members)) = serde_json::from_slice(&body) else { return body };
    if ["id", "uuid", "jid"].iter().any(|name| members.contains_key(*name)) {
        return body;
    }
    members.insert("id".to_owned(), Uuid::new_v4().to_string().into());
    Value::Object(members).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_added_where_there_is_none() {
        let body = with_id(br#"{"type":"x"}"#.to_vec());
        assert_eq!(Job::parse(&body).unwrap().kind.as_str(), "x");
        for body in ["{\"id\":\"x\"}", "{\"jid\":7}", "[1]", "hello"] {
            assert_eq!(with_id(body.into()), body.as_bytes());
        }
    }
}
