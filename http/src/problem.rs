//! Errors as `application/problem+json` (RFC 9457).

use std::borrow::Cow;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};

use crate::reply::{self, Reply};

const CONTENT_TYPE: &str = "application/problem+json";

/// The type of a problem that says nothing beyond its status.
const BLANK: &str = "about:blank";

/// Why a request did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A URI that identifies the kind of problem, for programs; `about:blank` if the status says
    /// everything.
    #[serde(rename = "type", default = "blank")]
    pub kind: Cow<'static, str>,
    /// The kind of problem, for people. The same each time it occurs.
    #[serde(default)]
    pub title: Cow<'static, str>,
    /// The status of the answer, 100 to 999. Any other number is answered with 500.
    pub status: u16,
    /// What is wrong in this case, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Cow<'static, str>>,
    /// The member or parameter of the request that is wrong, if applicable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<Cow<'static, str>>,
}

fn blank() -> Cow<'static, str> {
    BLANK.into()
}

impl Problem {
    /// A problem without a kind of its own: its title is the reason phrase of the status.
    pub fn new(status: StatusCode) -> Self {
        let title = status.canonical_reason().unwrap_or_default().into();
        Self { kind: blank(), title, status: status.as_u16(), detail: None, field: None }
    }

    /// A problem with a kind of its own, identified by a URI.
    pub fn of_kind(
        status: StatusCode,
        kind: impl Into<Cow<'static, str>>,
        title: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { kind: kind.into(), title: title.into(), ..Self::new(status) }
    }

    /// Sets what is wrong in this case.
    #[must_use]
    pub fn detail(self, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    /// Sets which member or parameter of the request is wrong.
    #[must_use]
    pub fn field(self, field: impl Into<Cow<'static, str>>) -> Self {
        Self { field: Some(field.into()), ..self }
    }
}

impl From<Problem> for Reply {
    fn from(problem: Problem) -> Self {
        let status = StatusCode::from_u16(problem.status);
        let body = serde_json::to_vec(&problem).expect("its keys are text, its values too");
        reply::content(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), CONTENT_TYPE, body)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Reply {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::header;

    async fn sent(problem: Problem) -> (StatusCode, String) {
        let reply = Reply::from(problem);
        assert_eq!(reply.headers()[header::CONTENT_TYPE], "application/problem+json");
        let status = reply.status();
        let body = axum::body::to_bytes(reply.into_body(), 1 << 16).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn members_and_their_order() {
        let (status, body) = sent(Problem::new(StatusCode::NOT_FOUND)).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(body, r#"{"type":"about:blank","title":"Not Found","status":404}"#);

        let problem =
            Problem::of_kind(StatusCode::UNPROCESSABLE_ENTITY, "/problems/range", "Range")
                .detail("0 to 10 were expected, not \"11\"")
                .field("priority");
        let (status, body) = sent(problem.clone()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(
            body,
            concat!(
                r#"{"type":"/problems/range","title":"Range","status":422,"#,
                r#""detail":"0 to 10 were expected, not \"11\"","field":"priority"}"#
            )
        );
        assert_eq!(serde_json::from_str::<Problem>(&body).unwrap(), problem);
    }

    #[tokio::test]
    async fn a_status_that_http_does_not_have_is_our_fault() {
        let problem = Problem { status: 7, ..Problem::new(StatusCode::NOT_FOUND) };
        assert_eq!(sent(problem).await.0, StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[test]
    fn the_least_of_it() {
        let problem: Problem = serde_json::from_str(r#"{"status":404,"other":1}"#).unwrap();
        assert_eq!((problem.kind.as_ref(), problem.title.as_ref()), (BLANK, ""));
    }
}
