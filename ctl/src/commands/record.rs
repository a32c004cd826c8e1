//! The lines of a file of jobs. Each is a JSON object: a job, or the policy of a tube.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jq_api::server::Policy;
use jq_client::{BadTubeName, DEFAULT_PRIORITY, DEFAULT_TTR, JobId, PutOptions, TubeName};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

/// A line of a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Line<'a> {
    /// A job.
    Job(Record<'a>),
    /// What is set for a tube.
    Policy(PolicyLine),
}

/// The policy of a tube in a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyLine {
    /// The tube.
    pub(super) tube: String,
    /// What is set for it.
    pub(super) policy: Policy,
}

/// What distinguishes the line of a policy, however wrong the rest of it is.
#[derive(Deserialize)]
struct HasPolicy {
    #[serde(rename = "policy")]
    _policy: IgnoredAny,
}

impl<'a> Line<'a> {
    /// Reads a line.
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, String> {
        match Record::parse(line) {
            Ok(job) => Ok(Self::Job(job)),
            // Nearly all lines are jobs, which pay nothing for the others.
            Err(_) if serde_json::from_slice::<HasPolicy>(line).is_ok() => {
                parse(line).map(Self::Policy)
            }
            Err(why) => Err(why),
        }
    }
}

impl PolicyLine {
    /// Its tube.
    pub(super) fn tube(&self) -> Result<TubeName, String> {
        self.tube.parse().map_err(|error: BadTubeName| format!("tube: {error}"))
    }
}

/// Reads a line of which the caller knows the number.
fn parse<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(line).map_err(|error| {
        let text = error.to_string();
        text.replace(&format!(" at line 1 column {}", error.column()), &{
            format!(", at column {}", error.column())
        })
    })
}

/// A job in a file. Members that are not known are errors: one that is misspelt would be ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record<'a> {
    /// Its number when it was exported. An import gives it a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<JobId>,
    /// Its tube.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub(super) tube: Option<Cow<'a, str>>,
    /// Where it was: a buried job is buried again, all others are put.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) state: Option<RecordState>,
    #[serde(default = "default_priority")]
    pub(super) priority: u32,
    /// Seconds until it becomes ready.
    #[serde(default)]
    pub(super) delay: u32,
    /// Time to run, in seconds.
    #[serde(default = "default_ttr")]
    pub(super) ttr: u32,
    /// Its body, if it is text.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub(super) body: Option<Cow<'a, str>>,
    /// Its body, if it is not.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub(super) body_base64: Option<Cow<'a, str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RecordState {
    Ready,
    Reserved,
    Delayed,
    Buried,
}

fn default_priority() -> u32 {
    DEFAULT_PRIORITY
}

fn default_ttr() -> u32 {
    DEFAULT_TTR
}

impl<'a> Record<'a> {
    /// Sets the body: as text if it is that and nothing else is wanted.
    pub(super) fn with_body(self, body: &'a [u8], always_base64: bool) -> Self {
        match std::str::from_utf8(body) {
            Ok(text) if !always_base64 => Self { body: Some(text.into()), ..self },
            _ => Self { body_base64: Some(BASE64_STANDARD.encode(body).into()), ..self },
        }
    }

    /// Reads a line that is a job.
    fn parse(line: &'a [u8]) -> Result<Self, String> {
        parse(line)
    }

    /// The bytes of its body.
    pub(super) fn bytes(&self) -> Result<Cow<'_, [u8]>, String> {
        match (&self.body, &self.body_base64) {
            (Some(text), None) => Ok(Cow::Borrowed(text.as_bytes())),
            (None, Some(text)) => {
                let decoded = BASE64_STANDARD.decode(text.as_bytes());
                decoded.map(Cow::Owned).map_err(|error| format!("body_base64: {error}"))
            }
            (None, None) => Err("neither \"body\" nor \"body_base64\" is there".to_owned()),
            (Some(_), Some(_)) => Err("both \"body\" and \"body_base64\" are there".to_owned()),
        }
    }

    /// Its tube, if it says one.
    pub(super) fn tube(&self) -> Result<Option<TubeName>, String> {
        let parsed = self.tube.as_ref().map(|name| name.parse()).transpose();
        parsed.map_err(|error: BadTubeName| format!("tube: {error}"))
    }

    /// How it is put.
    pub(super) fn options(&self) -> PutOptions {
        PutOptions { priority: self.priority, delay: self.delay, ttr: self.ttr }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_back_as_it_went() {
        for body in [&b"plain"[..], "é\n\"\\\u{0}".as_bytes(), b"\xff\xfe", b""] {
            for base64 in [false, true] {
                let record = Record {
                    id: Some(7),
                    tube: Some("t".into()),
                    state: Some(RecordState::Buried),
                    priority: 3,
                    delay: 4,
                    ttr: 5,
                    body: None,
                    body_base64: None,
                };
                let record = record.with_body(body, base64);
                let line = serde_json::to_vec(&record).unwrap();
                let read = Record::parse(&line).unwrap();
                assert_eq!(read, record);
                assert_eq!(*read.bytes().unwrap(), *body);
            }
        }
    }

    #[test]
    fn a_body_is_all_that_must_be_there() {
        let read = Record::parse(br#"{"body":"x"}"#).unwrap();
        assert_eq!(read.options(), PutOptions::default());
        assert_eq!(read.tube(), Ok(None));
    }

    #[test]
    fn a_policy_is_a_line_of_its_own() {
        let policy = Policy { max_jobs: Some(5), unique: true, ..Policy::default() };
        let line = PolicyLine { tube: "t".into(), policy };
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(text, r#"{"tube":"t","policy":{"max_jobs":5,"unique":true}}"#);
        assert_eq!(Line::parse(text.as_bytes()), Ok(Line::Policy(line)));
        let error = |line: &str| Line::parse(line.as_bytes()).unwrap_err();
        assert!(error(r#"{"tube":"t","policy":{"max_jobs":0.5}}"#).contains("0.5"));
        assert!(error(r#"{"tube":"t","policy":{"jobs":1}}"#).starts_with("unknown field `jobs`"));
        let both = error(r#"{"tube":"t","policy":{},"body":"x"}"#);
        assert!(both.starts_with("unknown field `body`, expected `tube` or `policy`"), "{both}");
        assert!(error(r#"{"policy":{}}"#).starts_with("missing field `tube`"));
        assert!(error(r#"{"tube":"t","polic":{}}"#).starts_with("unknown field `polic`"));
    }

    #[test]
    fn mistakes_are_named() {
        let error = |line: &str| {
            let read = Record::parse(line.as_bytes());
            let checked =
                read.and_then(|it| it.bytes().map(drop).and_then(|()| it.tube().map(drop)));
            checked.unwrap_err()
        };
        assert_eq!(error("{"), "EOF while parsing an object, at column 1");
        assert!(error(r#"{"body":"x","prio":1}"#).starts_with("unknown field `prio`"));
        assert_eq!(error(r#"{"tube":"t"}"#), r#"neither "body" nor "body_base64" is there"#);
        assert_eq!(
            error(r#"{"body":"x","body_base64":"eA=="}"#),
            r#"both "body" and "body_base64" are there"#
        );
        assert!(error(r#"{"body_base64":"?"}"#).starts_with("body_base64: "));
        assert!(error(r#"{"body":"x","tube":"a b"}"#).starts_with("tube: "));
        assert!(error(r#"{"body":"x","priority":4294967296}"#).contains("4294967296"));
    }
}
