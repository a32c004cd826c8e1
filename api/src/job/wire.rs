//! The forms that a job's JSON can have, and their conversion to a [`Job`].

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use url::Url;
use uuid::Uuid;

use crate::json;
use crate::result::shortened;

use super::{
    BadJob, Callback, Input, Job, JobType, MAX_RETRY, MAX_TIMEOUT, MAX_URL, Method, Target,
};

/// The members as they are written. Unknown ones are ignored, so that a newer producer can use an
/// older worker.
#[derive(Deserialize)]
struct Wire {
    #[serde(alias = "uuid", alias = "jid")]
    id: String,
    #[serde(rename = "type", alias = "jobtype")]
    kind: String,
    input: Option<WireInput>,
    result: Option<WireTarget>,
    args: Option<Box<RawValue>>,
    created_at: Option<String>,
    expires_at: Option<String>,
    timeout: Option<u32>,
    retry: Option<u32>,
    callback: Option<WireCallback>,
    custom: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "\"input\" must be a URL, or an object with \"url\" and \"digest\"")]
enum WireInput {
    Url(String),
    Whole { url: String, digest: Option<String> },
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "\"result\" must be a URL, or an object with \"url\" and \"method\": \"PUT\" or \
                 \"POST\""
)]
enum WireTarget {
    Url(String),
    Whole { url: String, method: Option<Method> },
}

#[derive(Deserialize)]
struct WireCallback {
    #[serde(rename = "successUri")]
    success: Option<String>,
    #[serde(rename = "failedUri")]
    failed: Option<String>,
}

/// A job as its process reads it.
#[derive(Serialize)]
pub(super) struct Document<'a> {
    pub(super) id: Uuid,
    #[serde(rename = "type")]
    pub(super) kind: &'a JobType,
    pub(super) attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) input: Option<DocumentInput<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) args: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) created_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) custom: Option<&'a RawValue>,
}

#[derive(Serialize)]
pub(super) struct DocumentInput<'a> {
    pub(super) url: &'a Url,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) digest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<&'a RawValue>,
}

pub(super) fn parse(body: &[u8]) -> Result<Job, Box<BadJob>> {
    read(body).and_then(check).map_err(|reason| {
        // Whose job it was to be, as far as that can be told: a failure is published then.
        let (id, kind, result) = identity(body);
        Box::new(BadJob { reason: shortened(reason), id, kind, result })
    })
}

/// The object, or the older form: `[{"uuid":..,"type":..},{...args...}]`.
fn read(body: &[u8]) -> Result<Wire, String> {
    let not_json = |error: serde_json::Error| {
        let what = if error.is_data() { "a job" } else { "JSON" };
        format!("the body is not {what}: {error}")
    };
    let deep = json::depth(body);
    if deep > json::MAX_DEPTH {
        return Err(format!(
            "the body is nested {deep} deep: expected at most {}",
            json::MAX_DEPTH
        ));
    }
    match body.trim_ascii_start().first() {
        Some(b'[') => {
            let mut parts: Vec<Box<RawValue>> = serde_json::from_slice(body).map_err(not_json)?;
            if parts.is_empty() || parts.len() > 2 {
                return Err(format!(
                    "the body is an array of {} elements: expected an object, or an array of the \
                     job and its arguments",
                    parts.len()
                ));
            }
            let args = if parts.len() == 2 { parts.pop() } else { None };
            let mut wire: Wire = serde_json::from_str(parts[0].get()).map_err(not_json)?;
            if args.is_some() && wire.args.is_some() {
                return Err(
                    "\"args\" is given twice: in the job and as the second element".to_owned()
                );
            }
            wire.args = args.or(wire.args);
            Ok(wire)
        }
        Some(b'{') => serde_json::from_slice(body).map_err(not_json),
        _ => {
            let value = serde_json::from_slice::<Value>(body).map_err(not_json)?;
            Err(format!("the body is {}: expected a JSON object", described(&value)))
        }
    }
}

fn described(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn check(wire: Wire) -> Result<Job, String> {
    let id = job_id(&wire.id)?;
    let kind = wire.kind.parse().map_err(|error| format!("\"type\": {error}"))?;
    let input = match wire.input {
        None => None,
        Some(WireInput::Url(text)) => Some(Input { url: url("input", &text)?, digest: None }),
        Some(WireInput::Whole { url: text, digest }) => {
            Some(Input { url: url("input", &text)?, digest })
        }
    };
    let result = wire.result.map(target).transpose()?;
    if let Some(timeout) = wire.timeout
        && !(1..=MAX_TIMEOUT).contains(&timeout)
    {
        return Err(format!("\"timeout\" is {timeout}: expected 1 to {MAX_TIMEOUT} seconds"));
    }
    if let Some(retry) = wire.retry
        && retry > MAX_RETRY
    {
        return Err(format!("\"retry\" is {retry}: expected 0 to {MAX_RETRY}"));
    }
    let mut callback = Callback::default();
    if let Some(WireCallback { success, failed }) = wire.callback {
        let uri = |name, text: Option<String>| text.map(|text| url(name, &text)).transpose();
        callback.success = uri("callback.successUri", success)?;
        callback.failed = uri("callback.failedUri", failed)?;
    }
    Ok(Job {
        id,
        kind,
        input,
        result,
        args: wire.args,
        created_at: time("created_at", wire.created_at)?,
        expires_at: time("expires_at", wire.expires_at)?,
        timeout: wire.timeout.map(|seconds| Duration::from_secs(seconds.into())),
        retry: wire.retry,
        callback,
        custom: wire.custom,
    })
}

fn job_id(text: &str) -> Result<Uuid, String> {
    Uuid::try_parse(text).map_err(|_| {
        let text: String = text.chars().take(100).collect();
        format!("\"id\" is {text:?}: expected a UUID")
    })
}

fn target(wire: WireTarget) -> Result<Target, String> {
    Ok(match wire {
        WireTarget::Url(text) => Target { url: url("result", &text)?, method: Method::Put },
        WireTarget::Whole { url: text, method } => {
            Target { url: url("result", &text)?, method: method.unwrap_or_default() }
        }
    })
}

fn url(name: &str, text: &str) -> Result<Url, String> {
    if text.len() > MAX_URL {
        return Err(format!(
            "{name:?} is a URL of {} bytes: expected at most {MAX_URL}",
            text.len()
        ));
    }
    let url = Url::parse(text)
        .map_err(|error| format!("{name:?} is {text:?}, which is not an absolute URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("{name:?} has the scheme {:?}: expected http or https", url.scheme()));
    }
    Ok(url)
}

fn time(name: &str, text: Option<String>) -> Result<Option<Timestamp>, String> {
    let Some(text) = text else { return Ok(None) };
    text.parse().map(Some).map_err(|error| {
        format!("{name:?} is {text:?}: expected a time like 2026-11-22T12:00:00Z ({error})")
    })
}

/// What can be read of a job that is wrong elsewhere.
fn identity(body: &[u8]) -> (Option<Uuid>, Option<JobType>, Option<Target>) {
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return (None, None, None) };
    let object = if let Value::Array(parts) = &value { parts.first() } else { Some(&value) };
    let Some(Value::Object(object)) = object else { return (None, None, None) };
    let text = |names: &[&str]| names.iter().find_map(|name| object.get(*name)?.as_str());
    let id = text(&["id", "uuid", "jid"]).and_then(|text| job_id(text).ok());
    let kind = text(&["type", "jobtype"]).and_then(|text| text.parse().ok());
    let result = object
        .get("result")
        .and_then(|value| WireTarget::deserialize(value).ok())
        .and_then(|wire| target(wire).ok());
    (id, kind, result)
}
