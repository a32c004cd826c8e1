//! The forms that a job's JSON can have, and their conversion to a [`Job`].

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use url::Url;
use uuid::Uuid;

use crate::json;
use crate::result::shortened;

use super::{
    BadJob, Callback, Input, Job, JobType, MAX_RETRY, MAX_TIMEOUT, MAX_URL, Method, Target, files,
    identity, then,
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
    inputs: Option<BTreeMap<String, files::WireFile>>,
    artifacts: Option<BTreeMap<String, files::WireArtifact>>,
    result: Option<WireTarget>,
    args: Option<Box<RawValue>>,
    created_at: Option<Value>,
    expires_at: Option<String>,
    #[serde(default, deserialize_with = "whole")]
    timeout: Option<u32>,
    #[serde(default, deserialize_with = "whole")]
    retry: Option<u32>,
    callback: Option<WireCallback>,
    custom: Option<Box<RawValue>>,
    then: Option<Value>,
    rerun_at: Option<String>,
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
pub(super) enum WireTarget {
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
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) inputs: BTreeMap<&'a str, DocumentInput<'a>>,
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

impl<'a> DocumentInput<'a> {
    pub(super) fn of(input: &'a Input, data: Option<&'a RawValue>) -> Self {
        Self { url: &input.url, digest: input.digest.as_deref(), data }
    }
}

pub(super) fn parse(body: &[u8]) -> Result<Job, Box<BadJob>> {
    read(body).and_then(check).map_err(|reason| {
        // Whose job it was to be, as far as that can be told: a failure is published then.
        Box::new(identity::bad_job(shortened(reason), body))
    })
}

/// The object, or the older form: `[{"uuid":..,"type":..},{...args...}]`.
fn read(body: &[u8]) -> Result<Wire, String> {
    let body = json::without_mark(body);
    let not_json = |error: serde_json::Error| {
        if error.is_data() {
            format!("the body is not a job: {error}")
        } else {
            format!("the body is not JSON: {}", json::why(body, &error))
        }
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
    let mut notes = Vec::new();
    // It only informs: no job is refused for it.
    let created_at = match wire.created_at {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => time("created_at", &text).map(Some),
        Some(other) => Err(format!(
            "\"created_at\" is {}: expected a time like 2026-11-22T12:00:00Z",
            described(&other)
        )),
    };
    let created_at = created_at.unwrap_or_else(|why| {
        notes.push(format!("{}; it is left out", shortened(why)));
        None
    });
    Ok(Job {
        id,
        kind,
        input,
        inputs: files::inputs(wire.inputs)?,
        artifacts: files::artifacts(wire.artifacts)?,
        result,
        args: wire.args,
        created_at,
        expires_at: wire.expires_at.map(|text| time("expires_at", &text)).transpose()?,
        timeout: wire.timeout.map(|seconds| Duration::from_secs(seconds.into())),
        retry: wire.retry,
        callback,
        custom: wire.custom,
        then: then::followers(wire.then)?,
        rerun_at: wire.rerun_at.map(|text| time("rerun_at", &text)).transpose()?,
        notes,
    })
}

/// A number without a fraction, as JSON has it: 60 and 60.0 are the same.
fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    struct Whole;

    impl<'de> Visitor<'de> for Whole {
        type Value = Option<u32>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a whole number from 0 to 4294967295")
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
            let whole = number.try_into();
            whole.map(Some).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
            let whole = number.try_into();
            whole.map(Some).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
        }

        fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
            if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number) {
                // Neither bound nor fraction is lost.
                Ok(Some(number as u32))
            } else {
                Err(E::invalid_value(Unexpected::Float(number), &self))
            }
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }

    from.deserialize_any(Whole)
}

pub(super) fn job_id(text: &str) -> Result<Uuid, String> {
    Uuid::try_parse(text).map_err(|_| {
        let text: String = text.chars().take(100).collect();
        format!("\"id\" is {text:?}: expected a UUID")
    })
}

pub(super) fn target(wire: WireTarget) -> Result<Target, String> {
    Ok(match wire {
        WireTarget::Url(text) => Target { url: url("result", &text)?, method: Method::Put },
        WireTarget::Whole { url: text, method } => {
            Target { url: url("result", &text)?, method: method.unwrap_or_default() }
        }
    })
}

pub(super) fn url(name: &str, text: &str) -> Result<Url, String> {
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

/// RFC 3339. Without an offset it is in UTC; what is too late in the year 9999 for the calculation of
/// times is the latest that there is.
fn time(name: &str, text: &str) -> Result<Timestamp, String> {
    text.parse().or_else(|error| {
        lenient_time(text).ok_or_else(|| {
            let text: String = text.chars().take(100).collect();
            format!("{name:?} is {text:?}: expected a time like 2026-11-22T12:00:00Z ({error})")
        })
    })
}

fn lenient_time(text: &str) -> Option<Timestamp> {
    let (date, time) = text.split_at_checked(10)?;
    let offset = time.find(['Z', 'z', '+', '-']).map_or("", |at| &time[at..]);
    let local = &text[..text.len() - offset.len()];
    // A date alone could mean its beginning or its end.
    if !time.contains(':') {
        return None;
    }
    let local: DateTime = local.parse().ok()?;
    match TimeZone::UTC.to_timestamp(local) {
        Ok(time) if offset.is_empty() => Some(time),
        // It was wrong with its offset.
        Ok(_) if !date.starts_with("9999-12-3") => None,
        Ok(_) | Err(_) => (local.year() == 9999).then_some(Timestamp::MAX),
    }
}
