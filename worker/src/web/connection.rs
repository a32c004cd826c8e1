//! One connection: requests in, answers out, limits on the way.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::debug;

use super::Worker;
use super::answer::App;
use super::pace::{HEAD_TIME, Paced, Requests};
use super::reply::{Reply, failure};
use super::serve::Ending;

/// How long a connection may rest between two requests.
const IDLE_TIME: Duration = Duration::from_secs(75);

/// Of the head of a request, and of what is read ahead, in bytes. No request to us needs a long one.
const MAX_HEAD: usize = 16 * 1024;

/// Of header fields in a request.
const MAX_HEADERS: usize = 64;

/// Of the body of a request, in bytes. No request to us has one, but a client may send an empty
/// document with a POST.
const MAX_BODY: usize = 1024;

/// Answers what comes on this connection until it ends, or serving does.
pub(super) async fn attend<W: Worker>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    app: Arc<App<W>>,
    ending: Ending,
) {
    let requests = Arc::new(Requests::default());
    let stream = TokioIo::new(Paced::new(stream, Arc::clone(&requests)));
    let service = service_fn(move |request| {
        let (app, open) = (Arc::clone(&app), requests.begin());
        async move {
            let reply = answer(&app, request).await;
            Ok::<_, Infallible>(reply.map(|body| open.until_end_of(body)))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // Counted from the last answer, so this is how long a connection may rest.
        .header_read_timeout(IDLE_TIME)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(stream, service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = ending.wait() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        debug!(%error, "HTTP connection ended");
    }
}

/// Takes in what a request carries, which nobody needs, and answers it.
async fn answer<W: Worker>(app: &App<W>, request: Request<Incoming>) -> Reply {
    let (head, body) = request.into_parts();
    let too_long =
        || failure(StatusCode::PAYLOAD_TOO_LARGE, "no request here has so long a body", None);
    // One that is announced as too long is not waited for.
    if body.size_hint().lower() > MAX_BODY as u64 {
        return app.finish(too_long());
    }
    let body = axum::body::to_bytes(Body::new(body), MAX_BODY);
    let reply = match tokio::time::timeout(HEAD_TIME, body).await {
        Ok(Ok(_)) => return app.answer(&head).await,
        Ok(Err(_)) => too_long(),
        Err(_) => failure(StatusCode::REQUEST_TIMEOUT, "the request does not come to an end", None),
    };
    app.finish(reply)
}
