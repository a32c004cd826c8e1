//! Why a request did not succeed (RFC 9457).

use serde::{Deserialize, Serialize};

/// Why a request did not succeed: `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// The kind of problem, for programs: `/problems/` and the name of a [`ProblemKind`], or
    /// `about:blank` if the status says everything.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem, for people.
    pub title: String,
    /// The status of the answer.
    pub status: u16,
    /// What is wrong in this case, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The member, parameter or header of the request that is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

impl Problem {
    /// Its kind, if it is one that this version knows.
    pub fn known(&self) -> Option<ProblemKind> {
        ProblemKind::ALL.into_iter().find(|kind| kind.uri() == self.kind)
    }
}

/// The kinds of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// The request as a whole cannot be read: it is not JSON, for example.
    BadRequest,
    /// A member or a parameter is not what was expected.
    BadField,
    /// The type or the encoding of the content is not one that is accepted here.
    MediaType,
    /// The path leads to nothing that the server has.
    NotFound,
    /// The path exists, but not with this method.
    Method,
    /// The token is missing, or none that the server knows.
    Unauthorized,
    /// The role of the token does not allow this.
    Forbidden,
    /// The job, the tube or whatever it is, is not in a state that allows this.
    WrongState,
    /// The `Idempotency-Key` belongs to another request.
    KeyReused,
    /// Another request with the same `Idempotency-Key` is being carried out.
    KeyInUse,
    /// The body of the job is larger than the server accepts, or that of the request is.
    TooBig,
    /// The server refuses new jobs until it is undrained.
    Draining,
    /// A limit on the number or size of jobs is reached.
    LimitReached,
    /// The log has no space for this.
    LogFull,
    /// The log cannot be written to, so that nothing can be changed.
    LogFailed,
    /// There is no memory for this.
    OutOfMemory,
    /// The server reads its log and serves nobody yet.
    Replaying,
    /// The server is about to exit.
    Stopping,
    /// Too many of this kind are going on.
    Busy,
    /// The request was not sent, or the answer not found, within the time for that.
    Timeout,
}

impl ProblemKind {
    /// All kinds.
    pub const ALL: [Self; 20] = [
        Self::BadRequest,
        Self::BadField,
        Self::MediaType,
        Self::NotFound,
        Self::Method,
        Self::Unauthorized,
        Self::Forbidden,
        Self::WrongState,
        Self::KeyReused,
        Self::KeyInUse,
        Self::TooBig,
        Self::Draining,
        Self::LimitReached,
        Self::LogFull,
        Self::LogFailed,
        Self::OutOfMemory,
        Self::Replaying,
        Self::Stopping,
        Self::Busy,
        Self::Timeout,
    ];

    /// The member `type`.
    pub fn uri(self) -> &'static str {
        self.told().0
    }

    /// The member `title`.
    pub fn title(self) -> &'static str {
        self.told().1
    }

    /// The status of the answer.
    pub fn status(self) -> u16 {
        self.told().2
    }

    fn told(self) -> (&'static str, &'static str, u16) {
        match self {
            Self::BadRequest => ("/problems/bad-request", "The request cannot be read", 400),
            Self::BadField => ("/problems/bad-field", "A field is not what was expected", 422),
            Self::MediaType => ("/problems/media-type", "The content is of another type", 415),
            Self::NotFound => ("/problems/not-found", "There is no such thing", 404),
            Self::Method => ("/problems/method", "Not with this method", 405),
            Self::Unauthorized => ("/problems/unauthorized", "A token is needed", 401),
            Self::Forbidden => ("/problems/forbidden", "Not with this role", 403),
            Self::WrongState => ("/problems/wrong-state", "Not in this state", 409),
            Self::KeyReused => {
                ("/problems/key-reused", "The idempotency key belongs to another request", 422)
            }
            Self::KeyInUse => {
                ("/problems/key-in-use", "A request with this idempotency key is going on", 409)
            }
            Self::TooBig => ("/problems/too-big", "The content is too long", 413),
            Self::Draining => ("/problems/draining", "New jobs are refused", 503),
            Self::LimitReached => ("/problems/limit-reached", "A limit is reached", 507),
            Self::LogFull => ("/problems/log-full", "The log has no space", 507),
            Self::LogFailed => ("/problems/log-failed", "The log cannot be written", 503),
            Self::OutOfMemory => ("/problems/out-of-memory", "There is not enough memory", 507),
            Self::Replaying => ("/problems/replaying", "The server is starting", 503),
            Self::Stopping => ("/problems/stopping", "The server is stopping", 503),
            Self::Busy => ("/problems/busy", "Too much is going on", 503),
            Self::Timeout => ("/problems/timeout", "It took too long", 408),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_known_by_its_uri() {
        for kind in ProblemKind::ALL {
            let problem = Problem {
                kind: kind.uri().to_owned(),
                title: kind.title().to_owned(),
                status: kind.status(),
                detail: None,
                field: None,
            };
            assert_eq!(problem.known(), Some(kind));
            assert!((400..600).contains(&kind.status()));
        }
    }
}
