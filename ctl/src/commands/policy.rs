//! `policy`: what is set for a tube.

use std::io::{self, Write};

use jq_api::server::Policy;
use jq_client::TubeName;
use reqwest::Method;
use serde_json::{Map, Value};

use super::Context;
use super::server::NOTHING;
use crate::cli::PolicyArgs;
use crate::failed::Failed;
use crate::http::Api;
use crate::look::{Align, print, table};

pub(super) async fn policy(context: &Context, args: &PolicyArgs) -> Result<(), Failed> {
    let api = Api::new(&context.target, "a policy")?;
    let policy: Policy = if args.remove {
        context.look.confirm(&format!("Remove the policy of tube {}?", args.tube))?;
        api.send(Method::DELETE, &path(&args.tube), NOTHING).await?
    } else if args.set.is_empty() {
        get(&api, &args.tube).await?
    } else {
        let present = match get(&api, &args.tube).await {
            Ok(policy) => policy,
            // A tube that is not there yet comes to be with its policy.
            Err(failed) if failed.status == crate::failed::EXIT_NOT_FOUND => Policy::default(),
            Err(failed) => return Err(failed),
        };
        let wanted = change(&present, &args.set)?;
        set(&api, &args.tube, &wanted).await?
    };
    context.look.show(&policy, |policy, out| show(&args.tube, policy, out))
}

/// What is set for a tube.
pub(super) async fn get(api: &Api, tube: &TubeName) -> Result<Policy, Failed> {
    api.get(&path(tube), &()).await
}

/// Replaces what is set for a tube.
pub(super) async fn set(api: &Api, tube: &TubeName, policy: &Policy) -> Result<Policy, Failed> {
    api.send(Method::PUT, &path(tube), Some(policy)).await
}

fn path(tube: &TubeName) -> [&str; 5] {
    ["api", "v1", "tubes", tube.as_str(), "policy"]
}

/// The policy with these members set, each as `NAME=VALUE`.
fn change(present: &Policy, set: &[String]) -> Result<Policy, Failed> {
    let mut members = match serde_json::to_value(present).map_err(Failed::other)? {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    for assignment in set {
        let (name, value) = assignment.split_once('=').ok_or_else(|| {
            Failed::usage(format!("{assignment:?}: expected NAME=VALUE, as in max-jobs=1000"))
        })?;
        let name = name.replace('-', "_");
        if value.is_empty() {
            members.remove(&name);
            continue;
        }
        // A name of a tube may look like a number.
        let value = match serde_json::from_str(value) {
            Ok(parsed @ (Value::Number(_) | Value::Bool(_))) if name != "dead_letter" => parsed,
            _ => Value::String(value.to_owned()),
        };
        members.insert(name, value);
        // Each by itself, so that the message is about this one.
        serde_json::from_value::<Policy>(Value::Object(members.clone()))
            .map_err(|error| Failed::usage(format!("{assignment}: {error}")))?;
    }
    serde_json::from_value(Value::Object(members)).map_err(Failed::usage)
}

fn show(tube: &TubeName, policy: &Policy, out: &mut dyn Write) -> io::Result<()> {
    let members = match serde_json::to_value(policy)? {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    if members.is_empty() {
        return writeln!(out, "{tube} has no policy");
    }
    let mut rows = table(&[("", Align::Left), ("", Align::Left)]);
    for (name, value) in members {
        let shown = match value {
            Value::String(text) => text,
            // Numbers as they are given: these are to be copied.
            value => value.to_string(),
        };
        rows.add_row([name.replace('_', "-"), shown]);
    }
    print(&rows, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(assignments: &[&str]) -> Result<Policy, String> {
        let present = Policy { max_jobs: Some(5), unique: true, ..Policy::default() };
        let assignments: Vec<String> = assignments.iter().map(ToString::to_string).collect();
        change(&present, &assignments).map_err(|failed| failed.message)
    }

    #[test]
    fn what_is_shown_can_be_set() {
        let policy = Policy { max_bytes: Some(100_000_000), ..Policy::default() };
        let mut shown = Vec::new();
        show(&"t".parse().unwrap(), &policy, &mut shown).unwrap();
        assert_eq!(String::from_utf8(shown).unwrap(), "max-bytes  100000000\n");
    }

    #[test]
    fn members_are_set_and_removed() {
        let policy = set(&[
            "max-jobs=",
            "max_bytes=10",
            "dead-letter=7",
            "unique=false",
            "reserve-rate=1.5",
        ]);
        let expected = Policy {
            max_bytes: Some(10),
            dead_letter: Some("7".into()),
            reserve_rate: Some(1.5),
            ..Policy::default()
        };
        assert_eq!(policy, Ok(expected));
    }

    #[test]
    fn mistakes_are_named() {
        assert!(set(&["max-jobs"]).unwrap_err().contains("NAME=VALUE"));
        assert!(set(&["max-jobs=-1"]).unwrap_err().starts_with("max-jobs=-1: "));
        assert!(set(&["max-jobs=many"]).unwrap_err().starts_with("max-jobs=many: "));
        assert!(set(&["maximum=1"]).unwrap_err().contains("unknown field `maximum`"));
    }
}
