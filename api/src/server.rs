//! The documents of jq-server's HTTP API.
//!
//! ```text
//! who      method and path                            asks              answers
//! open     GET    /healthz                                              text
//! open     GET    /readyz                                               Readiness (200 or 503)
//! read     GET    /version                                              Version
//! read     GET    /metrics                                              OpenMetrics text
//! read     GET    /api/v1/openapi.json                                  OpenAPI 3.1
//! read     GET    /api/v1/server                                        Server
//! operate  POST   /api/v1/server/drain, /undrain                        Changed
//! read     GET    /api/v1/tubes                       TubeQuery         TubeList
//! read     GET    /api/v1/tubes/{tube}                                  Tube
//! operate  POST   /api/v1/tubes/{tube}/pause          Pause             Changed
//! operate  POST   /api/v1/tubes/{tube}/resume                           Changed
//! operate  POST   /api/v1/tubes/{tube}/clear                            Changed
//! read     GET    /api/v1/tubes/{tube}/policy                           Policy
//! operate  PUT    /api/v1/tubes/{tube}/policy         Policy            Policy
//! operate  DELETE /api/v1/tubes/{tube}/policy                           Policy
//! read     GET    /api/v1/tubes/{tube}/jobs           JobQuery          JobList
//! submit   POST   /api/v1/tubes/{tube}/jobs           NewJob, or bytes  Inserted (201)
//! read     GET    /api/v1/jobs/{id}                                     JobDocument
//! operate  PATCH  /api/v1/jobs/{id}                   JobChange         Changed
//! operate  DELETE /api/v1/jobs/{id}                                     Changed
//! read     GET    /api/v1/jobs/{id}/body                                bytes
//! operate  POST   /api/v1/jobs/{id}/kick                                Changed
//! operate  POST   /api/v1/jobs/{id}/bury              Bury, or nothing  Changed
//! operate  POST   /api/v1/jobs/{id}/release                             Changed
//! operate  POST   /api/v1/jobs/{id}/move              Move              Changed
//! read     GET    /api/v1/bulk                                          BulkList
//! operate  POST   /api/v1/bulk                        BulkRequest       Bulk (202)
//! read     GET    /api/v1/bulk/{id}                                     Bulk
//! operate  DELETE /api/v1/bulk/{id}                                     Bulk (stops it)
//! read     GET    /api/v1/connections                 PageQuery         ConnectionList
//! read     GET    /api/v1/connections/{id}                              Connection
//! operate  DELETE /api/v1/connections/{id}                              Changed
//! read     GET    /api/v1/events                                        server-sent events
//! read     GET    /api/v1/history                     HistoryQuery      History
//! ```
//!
//! A [`Role`] may do what those before it may: `read` everything that a GET answers, `submit` also put
//! jobs, `operate` everything. Without a token file, everybody who can reach the listener, which is
//! then on the loopback interface, has the role `read`.
//!
//! Every other answer is a [`Problem`] with one of the [`ProblemKind`]s. Members are only ever added to
//! an answer. A request with a member or a parameter that the server does not know is refused.
//!
//! Moments are RFC 3339; what is called an age, a time or a delay is in seconds.
//!
//! A put with the content type `application/json` is a [`NewJob`]; with any other, its content is the
//! body of the job, and [`PutQuery`] has the rest. The answer is committed before it is sent.

mod bulk;
mod change;
mod connection;
mod history;
mod job;
mod member;
mod policy;
mod problem;
mod status;
mod tube;

use serde::{Deserialize, Serialize};

pub use bulk::{Bulk, BulkAction, BulkList, BulkRequest, BulkState};
pub use change::{Action, Bury, Changed, JobChange, Move, Pause};
pub use connection::{Connection, ConnectionList};
pub use history::{
    CountsEvent, EventCounts, History, HistoryPoint, HistoryQuery, MissedEvent, ServerEvent,
    TubeCounts,
};
pub use job::{Inserted, Job, JobBody, JobDocument, JobList, JobQuery, JobState, NewJob, PutQuery};
pub use policy::{Policy, PolicySource};
pub use problem::{Problem, ProblemKind};
pub use status::{
    ConnectionCounts, JobCounts, Log, LogHealth, Readiness, Reason, Server, ServerState, Version,
};
pub use tube::{Paused, PolicyCounts, Rates, Tube, TubeList, TubeQuery, TubeSort};

/// What the owner of a token may do. Each role includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// See everything, jobs and their bodies included.
    Read,
    /// Put jobs.
    Submit,
    /// Change everything.
    Operate,
}

impl Role {
    /// The word in documents and in the file of tokens.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Submit => "submit",
            Self::Operate => "operate",
        }
    }
}

/// Which page of a listing is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// The `next` of the page before; left out for the first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// The most items of the page. The server may return fewer, even none, on a page that is not the
    /// last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(minimum = 1, maximum = 1000))]
    pub limit: Option<u32>,
}

impl PageQuery {
    /// The most items that a page can have.
    pub const MAX_LIMIT: u32 = 1000;
    /// How many it has unless the request says so.
    pub const DEFAULT_LIMIT: u32 = 100;
}
