//! The jobs of the self-test, and what must become of them.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::behaviour::{Behaviour, FLOOD};
use crate::config::{Handler, Mode, OutputFrom, Persistence};
use crate::job::JobType;
use crate::result::{FailureKind, JobResult, Status};

/// Names the environment variable that every process of a self-test has.
pub(super) const MARKER: &str = "JQ_SELFTEST";

/// Bodies that are no jobs, or of no known type.
pub(super) const REFUSED: [&str; 3] = [
    "hello",
    "{\"id\":\"../../etc/passwd\",\"type\":\"succeed\"}",
    "{\"id\":\"13775310-8f59-412e-aa2c-549a20077664\",\"type\":\"unknown\"}",
];

/// A job, and what must become of it.
pub(super) struct Case {
    pub(super) name: &'static str,
    behaviour: Behaviour,
    expected: Expected,
}

enum Expected {
    /// It succeeds at this attempt.
    Success { attempt: u32 },
    /// It fails at the first attempt.
    Failure { kind: FailureKind, exit_code: Option<i32>, signal: Option<i32> },
}

const fn executor(exit_code: Option<i32>, signal: Option<i32>) -> Expected {
    Expected::Failure { kind: FailureKind::Executor, exit_code, signal }
}

const fn timeout(signal: i32) -> Expected {
    Expected::Failure { kind: FailureKind::Timeout, exit_code: None, signal: Some(signal) }
}

const SUCCESS: Expected = Expected::Success { attempt: 1 };

/// All of them.
pub(super) const CASES: &[Case] = &[
    case("succeeds", Behaviour::Succeed, SUCCESS),
    case("exits with 3", Behaviour::Fail, executor(Some(3), None)),
    case("exits with 65, is not retried", Behaviour::Refuse, executor(Some(65), None)),
    case("exits with 75, is retried", Behaviour::Later, Expected::Success { attempt: 2 }),
    case("is killed by a signal", Behaviour::Crash, executor(None, Some(9))),
    case("hangs", Behaviour::Hang, timeout(15)),
    case("ignores SIGTERM, with a child", Behaviour::Stubborn, timeout(9)),
    case("leaves a process behind", Behaviour::Leave, SUCCESS),
    case("floods its output", Behaviour::Flood, SUCCESS),
    case("writes bad JSON", Behaviour::BadJson, executor(Some(0), None)),
    case("persistent, answers each line", Behaviour::Stay, SUCCESS),
    case("persistent, answers with garbage", Behaviour::Babble, executor(None, None)),
];

const fn case(name: &'static str, behaviour: Behaviour, expected: Expected) -> Case {
    Case { name, behaviour, expected }
}

impl Case {
    /// What runs it: as the template, but for what the case is about.
    pub(super) fn handler(&self, template: &Handler, marker: &str) -> (JobType, Arc<Handler>) {
        let name = self.behaviour.name();
        let mut handler = template.clone();
        handler.args = ["selftest-handler", &name].map(Into::into).to_vec();
        handler.env.push((MARKER.into(), marker.into()));
        handler.grace = Duration::from_secs(1);
        handler.retry = 0;
        handler.concurrency = 0;
        handler.timeout = Duration::from_secs(60);
        handler.mode = Mode::Process;
        match self.behaviour {
            Behaviour::Hang => handler.timeout = Duration::from_secs(3),
            Behaviour::Stubborn => handler.timeout = Duration::from_secs(2),
            Behaviour::Later | Behaviour::Refuse => handler.retry = 3,
            // What is counted and not kept is not meant to be the output.
            Behaviour::Flood => handler.output_from = OutputFrom::None,
            Behaviour::Stay | Behaviour::Babble => {
                handler.mode = Mode::Persistent(Persistence { processes: 1, pipeline: 1 });
            }
            _ => {}
        }
        (self.kind(), Arc::new(handler))
    }

    fn kind(&self) -> JobType {
        self.behaviour.name().parse().expect("the names of behaviours are job types")
    }

    pub(super) fn job(&self, id: Uuid) -> String {
        format!("{{\"id\":\"{id}\",\"type\":\"{}\",\"args\":[1,2]}}", self.kind())
    }

    pub(super) fn is_buried(&self) -> bool {
        matches!(self.expected, Expected::Failure { .. })
    }

    /// Whether the result is as it must be; says what is not.
    pub(super) fn judge(&self, result: &JobResult) -> Result<String, String> {
        let error = result.error.as_ref();
        let said = error.map_or(String::new(), |error| format!(": {}", error.message));
        match &self.expected {
            Expected::Success { attempt } => {
                expect("status", Status::Successful, result.status).map_err(|it| it + &said)?;
                expect("attempt", *attempt, result.attempt)?;
                if self.behaviour == Behaviour::Flood {
                    let bytes =
                        result.stdout.as_ref().map(|stdout| (stdout.bytes, stdout.truncated));
                    expect("stdout", Some((FLOOD, true)), bytes)?;
                }
                if matches!(self.behaviour, Behaviour::Succeed | Behaviour::Stay)
                    && result.output.is_none()
                {
                    return Err("its output is missing".to_owned());
                }
                Ok("successful".to_owned())
            }
            Expected::Failure { kind, exit_code, signal } => {
                expect("status", Status::Failed, result.status)?;
                expect("kind", Some(*kind), error.map(|error| error.kind))?;
                expect("exit_code", *exit_code, result.exit_code)?;
                expect("signal", *signal, result.signal)?;
                expect("attempt", 1, result.attempt)?;
                Ok(format!("failed{said}"))
            }
        }
    }
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, expected: T, found: T) -> Result<(), String> {
    if expected == found { Ok(()) } else { Err(format!("{what} is {found:?}, not {expected:?}")) }
}
