//! Between `jq-http` and the routes: who may make a request, and what is the same for all of them.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, HOST, ORIGIN, TRANSFER_ENCODING};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use beanstalk_protocol::Dialect;
use bytes::Bytes;
use jq_api::server::ProblemKind;
use jq_http::reply::Reply;
use jq_http::{Cors, Handler, Refusal, Streams};
use tokio::sync::Notify;
use tower_service::Service as _;
use tracing::{Instrument as _, debug, info_span};
use uuid::Uuid;

use crate::admin::access::{Access, Denied, Who, role_for};
use crate::admin::answer::Failure;
use crate::admin::bulk::Bulks;
use crate::admin::extract::content_type;
use crate::admin::idempotency::Keys;
use crate::admin::openapi::Document;
use crate::admin::readiness::{self, Reason};
use crate::admin::routes;
use crate::memory;
use crate::observe::{self, Observatory};
use crate::server::hub::Hub;

/// The most bytes of a request that does not put a job.
const MAX_CONTENT: usize = 64 * 1024;

/// The most bytes of a job in JSON, however large jobs may be.
const MAX_JSON: usize = 8 << 20;

/// Tells one request from others, in its answer and in the log.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest number that a client can give its request, in bytes.
const MAX_REQUEST_ID: usize = 128;

/// What web pages of the allowed origins may do. A page must know a token, if there are any.
const CORS_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
const CORS_HEADERS: &str =
    "Authorization, Cache-Control, Content-Type, Idempotency-Key, Last-Event-ID";

/// What all routes share.
#[derive(Debug)]
pub(crate) struct App {
    /// Set when the queue is there.
    hub: OnceLock<Arc<Hub>>,
    observatory: OnceLock<Arc<Observatory>>,
    observe: observe::Options,
    /// Notified when both are set.
    has_queue: Notify,
    pub(crate) streams: OnceLock<Streams>,
    pub(crate) access: Access,
    pub(crate) keys: Keys,
    pub(crate) bulks: Bulks,
    pub(crate) openapi: Document,
    pub(crate) dialect: Dialect,
    /// The largest body of a job, in bytes.
    pub(crate) max_job_size: usize,
}

impl App {
    pub(crate) fn new(
        access: Access,
        observe: observe::Options,
        dialect: Dialect,
        max_job_size: u32,
    ) -> Self {
        Self {
            hub: OnceLock::new(),
            observatory: OnceLock::new(),
            observe,
            has_queue: Notify::new(),
            streams: OnceLock::new(),
            access,
            keys: Keys::default(),
            bulks: Bulks::default(),
            openapi: Document::default(),
            dialect,
            max_job_size: max_job_size as usize,
        }
    }

    /// The queue, if the log is read.
    pub(crate) fn hub(&self) -> Option<&Arc<Hub>> {
        self.hub.get()
    }

    /// The queue is there from now on.
    pub(crate) fn set_hub(&self, hub: &Arc<Hub>) {
        let options = self.observe.clone();
        let observatory = Observatory::new(hub, options, readiness::standing, &Reason::NAMES);
        // There is one queue for a process.
        let _ = self.observatory.set(observatory);
        let _ = self.hub.set(Arc::clone(hub));
        self.has_queue.notify_one();
    }

    /// What is observed of the queue, if the log is read.
    pub(crate) fn observatory(&self) -> Option<&Arc<Observatory>> {
        self.observatory.get()
    }

    /// Observes the queue when it is there. Never returns.
    pub(crate) async fn observe(&self) {
        self.has_queue.notified().await;
        if let Some(observatory) = self.observatory() {
            observatory.run().await;
        }
    }

    /// The most bytes that the content of a request may have. A job in JSON takes more than its body.
    fn max_content(&self, head: &Parts) -> usize {
        let is_put = role_for(&head.method, head.uri.path()) == Some(jq_api::server::Role::Submit);
        match content_type(&head.headers).as_str() {
            _ if !is_put => MAX_CONTENT,
            "application/json" => max_json(self.max_job_size),
            _ => self.max_job_size,
        }
    }

    /// Who makes a request; `None` if the route is open to everybody.
    fn who(&self, head: &Parts) -> Result<Option<Who>, Failure> {
        let path = head.uri.path();
        let Some(needed) = role_for(&head.method, path) else { return Ok(None) };
        if self.access.is_open() && !is_local(host(&head.uri, &head.headers)) {
            // A page of any site can make its name resolve to this machine and then read as if the
            // server were its own. Its name gives it away.
            let detail = "Host: expected localhost or the address of a loopback interface, since the \
                          server was started without --http-token-file";
            return Err(Failure::new(ProblemKind::Forbidden, detail).of("Host"));
        }
        self.access.check(&head.headers, needed).map(Some).map_err(|denied| {
            debug!(path, %denied, "an HTTP request was denied");
            let kind = match denied {
                Denied::Missing | Denied::Unknown => ProblemKind::Unauthorized,
                Denied::OnlyReading | Denied::Role(_) => ProblemKind::Forbidden,
            };
            Failure::new(kind, denied.to_string())
        })
    }
}

/// The largest request that has a job in JSON, in bytes. What is made of it takes memory that cannot be
/// refused, so it is not as large as the largest job.
fn max_json(max_job_size: usize) -> usize {
    (2 * max_job_size).min(MAX_JSON) + MAX_CONTENT
}

/// The largest request of all, in bytes.
pub(crate) fn max_content(max_job_size: usize) -> usize {
    max_json(max_job_size).max(max_job_size)
}

/// The name under which a client has reached the server, without the port.
fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> &'a str {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = uri.host().or(host).unwrap_or_default();
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

/// Whether a name can only mean this machine. An empty one is that of a client without a URL, or on a
/// Unix socket.
fn is_local(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    host.is_empty()
        || host.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

/// The number of a request: its own, if that is visible ASCII of a sensible length, or a new one.
fn request_id(head: &Parts) -> HeaderValue {
    let own = head.headers.get(REQUEST_ID).filter(|id| {
        (1..=MAX_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    });
    let new = || HeaderValue::try_from(Uuid::new_v4().to_string());
    own.cloned().map_or_else(new, Ok).unwrap_or(HeaderValue::from_static("none"))
}

/// Answers requests: the routes behind what holds for all of them.
#[derive(Debug, Clone)]
pub(crate) struct Front {
    app: Arc<App>,
    routes: Router,
    cors: Option<Cors>,
}

impl Front {
    pub(crate) fn new(app: &Arc<App>, origins: &[String]) -> Self {
        let cors =
            (!origins.is_empty()).then(|| Cors::new(origins).allowing(CORS_METHODS, CORS_HEADERS));
        Self { app: Arc::clone(app), routes: routes::router(app), cors }
    }

    /// Adds the headers that every answer has.
    fn finished(&self, request: &HeaderMap, id: HeaderValue, mut reply: Reply) -> Reply {
        reply.headers_mut().insert(REQUEST_ID, id);
        if let Some(cors) = &self.cors {
            cors.write(request, reply.headers_mut());
        }
        reply
    }

    fn before(&self, head: &Parts) -> Result<usize, Failure> {
        self.app.who(head)?;
        let has_content = head.headers.contains_key(TRANSFER_ENCODING)
            || head.headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
        if has_content && !memory::has_room() {
            return Err(Failure::because_of(&Reason::OutOfMemory));
        }
        Ok(self.app.max_content(head))
    }
}

impl Handler for Front {
    fn admit(&self, head: &Parts) -> ControlFlow<Reply, usize> {
        if head.method == Method::OPTIONS
            && let Some(cors) = self.cors.as_ref().filter(|_| head.headers.contains_key(ORIGIN))
        {
            let reply = cors.preflight();
            return ControlFlow::Break(self.finished(&head.headers, request_id(head), reply));
        }
        match self.before(head) {
            Ok(most) => ControlFlow::Continue(most),
            Err(failure) => {
                let reply = failure.into_reply();
                ControlFlow::Break(self.finished(&head.headers, request_id(head), reply))
            }
        }
    }

    async fn answer(&self, mut request: Request<Bytes>) -> Reply {
        let (head, body) = request.into_parts();
        // Asked again: the file of tokens may have been read since.
        let who = self.app.who(&head);
        let (headers, id) = (head.headers.clone(), request_id(&head));
        let span = info_span!("request", id = id.to_str().unwrap_or_default());
        request = Request::from_parts(head, body);
        let reply = match who {
            Err(failure) => failure.into_reply(),
            Ok(who) => {
                if let Some(who) = who {
                    request.extensions_mut().insert(who);
                }
                // What is logged about it has its number.
                let answer = self.routes.clone().call(request.map(Body::from));
                answer.instrument(span).await.unwrap_or_else(|never: Infallible| match never {})
            }
        };
        self.finished(&headers, id, reply)
    }

    fn refuse(&self, refusal: Refusal) -> Reply {
        let failure = match refusal {
            Refusal::BodyTooLong => {
                let detail = format!(
                    "expected a job of at most {} bytes, or else at most {MAX_CONTENT} bytes of content",
                    self.app.max_job_size
                );
                Failure::new(ProblemKind::TooBig, detail)
            }
            Refusal::BodyBroken => Failure::new(ProblemKind::BadRequest, refusal.reason()),
            Refusal::BodyNotHeld => Failure::because_of(&Reason::OutOfMemory),
            Refusal::BodyTooSlow => Failure::new(ProblemKind::Timeout, refusal.reason()),
            Refusal::Overdue => Failure::new(ProblemKind::Busy, refusal.reason()),
        };
        failure.into_reply()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(front: &Front, method: &str, path: &str) -> (u16, serde_json::Value) {
        let request = Request::builder().method(method).uri(path).body(Bytes::new()).unwrap();
        let (head, body) = request.into_parts();
        let reply = match front.admit(&head) {
            ControlFlow::Break(reply) => reply,
            ControlFlow::Continue(_) => front.answer(Request::from_parts(head, body)).await,
        };
        let status = reply.status().as_u16();
        let body = axum::body::to_bytes(reply.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    #[tokio::test]
    async fn before_the_log_is_read() {
        let access = Access::open(None).unwrap();
        let app = Arc::new(App::new(access, observe::Options::default(), Dialect::V1_13, 100));
        let front = Front::new(&app, &[]);
        assert_eq!(ask(&front, "GET", "/healthz").await.0, 200);
        let (status, ready) = ask(&front, "GET", "/readyz").await;
        assert_eq!((status, &ready["ready"]), (503, &false.into()));
        assert_eq!(ready["reasons"][0]["name"], "replaying");
        for path in ["/api/v1/server", "/api/v1/tubes", "/api/v1/jobs/1", "/api/v1/connections"] {
            let (status, problem) = ask(&front, "GET", path).await;
            assert_eq!((status, &problem["type"]), (503, &"/problems/replaying".into()), "{path}");
        }
        let (status, description) = ask(&front, "GET", "/api/v1/openapi.json").await;
        assert_eq!((status, &description["openapi"]), (200, &"3.1.0".into()));
    }

    #[test]
    fn names_of_this_machine() {
        for (name, local) in [
            ("localhost:8080", true),
            ("LOCALHOST", true),
            ("127.0.0.1:1", true),
            ("127.9.9.9", true),
            ("[::1]:80", true),
            ("[::ffff:127.0.0.1]", true),
            ("", true),
            ("site.example:80", false),
            ("localhost.site.example", false),
            ("10.0.0.1", false),
            ("[fe80::1]:80", false),
        ] {
            let headers = HeaderMap::from_iter([(HOST, name.parse().unwrap())]);
            assert_eq!(is_local(host(&Uri::from_static("/"), &headers)), local, "{name}");
        }
        let absolute = Uri::from_static("http://site.example/x");
        assert!(!is_local(host(&absolute, &HeaderMap::new())));
    }
}
