//! Problems: what a request is told that did not succeed.

use std::borrow::Cow;

use axum::http::StatusCode;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::IntoResponse;
use jq_api::server::ProblemKind;
use jq_engine::Refusal;
use jq_http::Problem;
use jq_http::reply::{Reply, json, with};
use serde::Serialize;

use crate::admin::readiness::{self, Reason};
use crate::server::hub::Hub;

/// After so many seconds it is worth to ask again.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Why a request did not succeed, and the header that says more about it.
#[derive(Debug)]
pub(crate) struct Failure {
    // Boxed, because results carry it.
    problem: Box<Problem>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Failure {
    pub(crate) fn new(kind: ProblemKind, detail: impl Into<Cow<'static, str>>) -> Self {
        let status =
            StatusCode::from_u16(kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let problem = Problem::of_kind(status, kind.uri(), kind.title()).detail(detail);
        let header = match kind {
            ProblemKind::Unauthorized => {
                Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"jq-server\"")))
            }
            _ if status == StatusCode::SERVICE_UNAVAILABLE => Some((RETRY_AFTER, RETRY_SECONDS)),
            _ => None,
        };
        Self { problem: Box::new(problem), header }
    }

    /// The member, the parameter or the header of this name is not what was expected.
    pub(crate) fn field(
        field: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(ProblemKind::BadField, detail).of(field)
    }

    /// Names the member, the parameter or the header that is wrong.
    pub(crate) fn of(self, field: impl Into<Cow<'static, str>>) -> Self {
        Self { problem: Box::new(self.problem.field(field)), ..self }
    }

    /// There is no such thing, where `what` is a noun: "job 7".
    pub(crate) fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(ProblemKind::NotFound, format!("there is no {what}"))
    }

    /// What is wrong, in words.
    pub(crate) fn detail(&self) -> String {
        self.problem.detail.as_deref().unwrap_or_default().to_owned()
    }

    pub(crate) fn because_of(reason: &Reason) -> Self {
        Self::new(reason.problem(), reason.to_string())
    }

    /// The queue does not take a new job, or a change, because the log or the memory has no room.
    pub(crate) fn not_recorded(hub: &Hub) -> Self {
        let (_, reasons) = readiness::state_now(Some(hub));
        let reason = reasons.iter().find(|reason| **reason != Reason::Draining);
        match reason {
            Some(reason) => Self::because_of(reason),
            // It is over already. A log is full for longer than memory, some of which is free again
            // with the request itself.
            None => Self::new(ProblemKind::OutOfMemory, "there was no room for it: try again"),
        }
    }

    /// What was done could not be committed.
    pub(crate) fn not_committed(hub: &Hub) -> Self {
        if hub.has_lost_log() {
            return Self::because_of(&Reason::LogLost);
        }
        let detail = "the log could not be written: it may have been undone";
        Self::new(ProblemKind::LogFailed, detail)
    }

    /// The engine refused a change of `what`: "job 7".
    pub(crate) fn refused(hub: &Hub, refusal: Refusal, what: impl std::fmt::Display) -> Self {
        match refusal {
            Refusal::NoJob | Refusal::NoTube => Self::not_found(what),
            Refusal::WrongState(state) => {
                let detail =
                    format!("{what} is {}, in which state this is not possible", state.as_str());
                Self::new(ProblemKind::WrongState, detail)
            }
            Refusal::NotRecorded => Self::not_recorded(hub),
        }
    }

    /// As a request is told.
    pub(crate) fn into_reply(self) -> Reply {
        let reply = Reply::from(*self.problem);
        match self.header {
            Some((name, value)) => with(reply, name, value),
            None => reply,
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Reply {
        self.into_reply()
    }
}

/// What a handler answers.
pub(crate) type Answer = Result<Reply, Failure>;

/// A document, with status 200.
pub(crate) fn ok(document: &impl Serialize) -> Answer {
    Ok(json(StatusCode::OK, document))
}
