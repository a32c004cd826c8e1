//! What a handler gets of a request, checked.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::request::Parts;
use beanstalk_protocol::{JobId, TubeName};
use bytes::Bytes;
use jq_api::server::ProblemKind;
use jq_api::text::escaped;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::admin::access::Who;
use crate::admin::answer::Failure;
use crate::admin::app::App;
use crate::admin::query::{FromParams, Params};
use crate::admin::readiness::Reason;
use crate::observe::Observatory;
use crate::server::hub::Hub;

/// What is shown of a text that is wrong, in bytes.
const SHOWN: usize = 100;

type State = Arc<App>;

/// The queue, to look at.
#[derive(Debug)]
pub(crate) struct Queue(pub(crate) Arc<Hub>);

impl FromRequestParts<State> for Queue {
    type Rejection = Failure;

    async fn from_request_parts(_: &mut Parts, app: &State) -> Result<Self, Failure> {
        app.hub()
            .map(|hub| Self(Arc::clone(hub)))
            .ok_or_else(|| Failure::because_of(&Reason::Replaying))
    }
}

/// What is observed of the queue.
#[derive(Debug)]
pub(crate) struct Observed(pub(crate) Arc<Observatory>);

impl FromRequestParts<State> for Observed {
    type Rejection = Failure;

    async fn from_request_parts(_: &mut Parts, app: &State) -> Result<Self, Failure> {
        let observatory = app.observatory().map(|found| Self(Arc::clone(found)));
        observatory.ok_or_else(|| Failure::because_of(&Reason::Replaying))
    }
}

/// The queue, to change, and who does it.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) hub: Arc<Hub>,
    pub(crate) who: Who,
}

impl FromRequestParts<State> for Change {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &State) -> Result<Self, Failure> {
        let Queue(hub) = Queue::from_request_parts(parts, app).await?;
        if hub.is_stopping() {
            return Err(Failure::because_of(&Reason::Stopping));
        }
        let who = parts.extensions.get::<Who>().cloned();
        // Nobody comes here without: see `App::answer`.
        let who =
            who.ok_or_else(|| Failure::new(ProblemKind::Unauthorized, "a token is needed"))?;
        Ok(Self { hub, who })
    }
}

/// The parameters of the query.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<T: FromParams> FromRequestParts<State> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, Failure> {
        Params::parse(parts.uri.query().unwrap_or_default()).and_then(T::from_params).map(Self)
    }
}

/// The `{tube}` of the path.
#[derive(Debug)]
pub(crate) struct Tube(pub(crate) TubeName);

impl FromRequestParts<State> for Tube {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &State) -> Result<Self, Failure> {
        let name = path_parameter("tube", parts, app).await?;
        tube_name("tube", &name).map(Self)
    }
}

/// The `{id}` of the path: a number.
#[derive(Debug)]
pub(crate) struct Id(pub(crate) JobId);

impl FromRequestParts<State> for Id {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &State) -> Result<Self, Failure> {
        let text = path_parameter("id", parts, app).await?;
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match JobId::from_str(&text) {
            Ok(id) if digits => Ok(Self(id)),
            _ => {
                let shown = escaped(&text, SHOWN);
                let detail = format!("id: expected a whole number, not \"{shown}\"");
                Err(Failure::field("id", detail))
            }
        }
    }
}

async fn path_parameter(
    name: &'static str,
    parts: &mut Parts,
    app: &State,
) -> Result<String, Failure> {
    let params = RawPathParams::from_request_parts(parts, app).await;
    let params = params.map_err(|rejection: RawPathParamsRejection| {
        let detail = format!("{name}: expected UTF-8 in the path: {rejection}");
        Failure::new(ProblemKind::BadRequest, detail).of(name)
    })?;
    let value = params.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned());
    value.ok_or_else(|| Failure::field(name, format!("{name} is missing")))
}

/// A text of the field as the name of a tube.
pub(crate) fn tube_name(field: &'static str, text: &str) -> Result<TubeName, Failure> {
    TubeName::new(text.as_bytes())
        .map_err(|error| Failure::field(field, format!("{field}: {error}")))
}

/// The content of a request, which must be JSON.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<State> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &State) -> Result<Self, Failure> {
        let (parts, body) = read(request, app).await?;
        must_be_json(&parts)?;
        json(&body).map(Self)
    }
}

/// The content of a request, which must be JSON, or nothing at all.
#[derive(Debug)]
pub(crate) struct MaybeJson<T>(pub(crate) T);

impl<T: DeserializeOwned + Default> FromRequest<State> for MaybeJson<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &State) -> Result<Self, Failure> {
        let (parts, body) = read(request, app).await?;
        if body.is_empty() {
            return Ok(Self(T::default()));
        }
        must_be_json(&parts)?;
        if body.trim_ascii() == b"null" {
            return Ok(Self(T::default()));
        }
        json(&body).map(Self)
    }
}

/// A request must have no content.
#[derive(Debug)]
pub(crate) struct NoContent;

impl FromRequest<State> for NoContent {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &State) -> Result<Self, Failure> {
        let (_, body) = read(request, app).await?;
        // A client library may send an empty document with each POST.
        match &body[..] {
            b"" | b"{}" => Ok(Self),
            _ => Err(Failure::new(ProblemKind::BadRequest, "expected a request without content")),
        }
    }
}

/// The content of a request as it is, and the head.
pub(crate) async fn read(request: Request, app: &State) -> Result<(Parts, Bytes), Failure> {
    let (parts, body) = request.into_parts();
    let body = Bytes::from_request(Request::from_parts(parts.clone(), body), app).await;
    let body = body.map_err(|rejection| {
        Failure::new(ProblemKind::BadRequest, format!("the content cannot be read: {rejection}"))
    })?;
    not_encoded(&parts.headers)?;
    Ok((parts, body))
}

/// Content that is compressed is not decompressed here.
fn not_encoded(headers: &HeaderMap) -> Result<(), Failure> {
    let encoding = headers.get(CONTENT_ENCODING).map(axum::http::HeaderValue::as_bytes);
    match encoding {
        None | Some(b"" | b"identity") => Ok(()),
        Some(other) => {
            let shown = escaped(&String::from_utf8_lossy(other), SHOWN);
            let detail = format!("expected content without an encoding, not \"{shown}\"");
            Err(Failure::new(ProblemKind::MediaType, detail).of("Content-Encoding"))
        }
    }
}

/// The type of the content, in lower case and without its parameters; empty if there is none.
pub(crate) fn content_type(headers: &HeaderMap) -> String {
    let text = headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let text = text.unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn must_be_json(parts: &Parts) -> Result<(), Failure> {
    let found = content_type(&parts.headers);
    if found == "application/json" {
        return Ok(());
    }
    let detail = format!("expected application/json, not \"{}\"", escaped(&found, SHOWN));
    Err(Failure::new(ProblemKind::MediaType, detail).of("Content-Type"))
}

/// The longest message about JSON that is wrong, in bytes.
const MAX_MESSAGE: usize = 500;

/// Reads JSON. A mistake names the member, and what was expected.
pub(crate) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    // serde takes an array for an object with its members in order.
    if !body.trim_ascii_start().starts_with(b"{")
        && serde_json::from_slice::<IgnoredAny>(body).is_ok()
    {
        return Err(Failure::new(ProblemKind::BadField, "expected a JSON object"));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let document = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        if error.is_data() {
            let field = if path == "." { named(&error).unwrap_or_default() } else { path };
            data_failure(&field, &error)
        } else {
            Failure::new(ProblemKind::BadRequest, message("the content is no JSON", &error))
        }
    })?;
    json.end().map_err(|error| {
        Failure::new(ProblemKind::BadRequest, message("expected the end of the content", &error))
    })?;
    Ok(document)
}

/// The member that serde names in its message, which is missing or given twice.
fn named(error: &serde_json::Error) -> Option<String> {
    let message = error.to_string();
    let rest = message.strip_prefix("missing").or_else(|| message.strip_prefix("duplicate"))?;
    Some(rest.strip_prefix(" field `")?.split('`').next()?.to_owned())
}

fn data_failure(field: &str, error: &serde_json::Error) -> Failure {
    if field.is_empty() {
        return Failure::new(ProblemKind::BadField, message("the content", error));
    }
    let field = escaped(field, SHOWN);
    Failure::field(field.clone(), message(&field, error))
}

fn message(what: &str, error: &impl Display) -> String {
    escaped(&format!("{what}: {error}"), MAX_MESSAGE)
}

#[cfg(test)]
mod tests {
    use jq_api::server::{BulkRequest, Move, NewJob};

    use super::*;

    #[test]
    fn mistakes_in_json_name_the_member_and_what_was_expected() {
        let wrong = |text: &str| format!("{:?}", json::<Move>(text.as_bytes()).unwrap_err());
        for (text, status, field, detail) in [
            ("", 400, None, "the content is no JSON: EOF"),
            ("{", 400, None, "the content is no JSON: EOF"),
            (r#"{"tube":"a"}x"#, 400, None, "expected the end of the content"),
            (r#"{"tube":"\ud800"}"#, 400, None, "no JSON"),
            ("[\"a\"]", 422, None, "expected a JSON object"),
            (" 7", 422, None, "expected a JSON object"),
            ("[", 400, None, "no JSON"),
            ("{}", 422, Some("tube"), "missing field `tube`"),
            (
                r#"{"tube":7}"#,
                422,
                Some("tube"),
                "tube: invalid type: integer `7`, expected a string",
            ),
            (r#"{"tube":"a","x":1}"#, 422, Some("x"), "unknown field `x`, expected `tube`"),
            (r#"{"tube":"a","tube":"b"}"#, 422, Some("tube"), "duplicate field"),
        ] {
            let failure = wrong(text);
            assert!(failure.contains(&format!("status: {status}")), "{text}: {failure}");
            assert!(failure.contains(detail), "{text}: {failure}");
            if let Some(field) = field {
                assert!(failure.contains(&format!("field: Some({field:?})")), "{text}: {failure}");
            }
        }
        let bad = json::<NewJob>(br#"{"text":"a","priority":4294967296}"#).unwrap_err();
        let bad = format!("{bad:?}");
        assert!(
            bad.contains("field: Some(\"priority\")") && bad.contains("expected a whole number"),
            "{bad}"
        );
        let bad = json::<BulkRequest>(br#"{"action":"eat","tube":"a"}"#).unwrap_err();
        let bad = format!("{bad:?}");
        assert!(bad.contains("field: Some(\"action\")") && bad.contains("`kick`"), "{bad}");
        let bad = json::<NewJob>(b"{\"te\xffxt\":1}").unwrap_err();
        assert!(format!("{bad:?}").contains("status: 4"), "{bad:?}");
    }
}
