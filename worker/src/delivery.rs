//! Results on their way to where they go, from the disk, until they are there.
//!
//! Owns: sending, trying again, giving up. Must not know: queues. Who has the job in the queue
//! waits here for the result to be where it belongs.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::{ETAG, HeaderName, HeaderValue, LAST_MODIFIED};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{Instrument, debug, warn};
use url::Url;
use uuid::Uuid;

use crate::ending::Ending;
use crate::outbound::{DeliverError, Failure, Method};
use crate::result::entity_tag;
use crate::retry::{Backoff, DeliveryRetry, Why, jitter};
use crate::store::{Entry, Step};
use crate::worker::Worker;

/// Delays between attempts.
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(300) };

/// How far a result is on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// Still on it.
    UnderWay,
    /// It is where it belongs.
    There,
    /// It could not be sent, for this reason.
    GivenUp(String),
}

/// The results on their way, each at most once.
#[derive(Debug, Default)]
pub struct Deliveries {
    active: Mutex<HashMap<Uuid, watch::Receiver<Delivery>>>,
    /// Whose callbacks are under way.
    calling: Mutex<HashSet<(Uuid, Timestamp)>>,
}

impl Deliveries {
    /// Whether a result of this job is on its way.
    pub fn is_active(&self, id: Uuid) -> bool {
        self.active().contains_key(&id)
    }

    fn active(&self) -> MutexGuard<'_, HashMap<Uuid, watch::Receiver<Delivery>>> {
        // Maps are whole between two statements, whoever panicked.
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn calling(&self) -> MutexGuard<'_, HashSet<(Uuid, Timestamp)>> {
        self.calling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends a result to where it goes, unless it is under way already, and waits until it is there.
pub async fn deliver(worker: &Arc<Worker>, entry: &Arc<Entry>) -> Delivery {
    let Some(mut delivery) = begin(worker, entry) else {
        call_back_later(worker, entry);
        return Delivery::There;
    };
    let over = delivery.wait_for(|delivery| *delivery != Delivery::UnderWay).await;
    // The sender says how it went before it goes; if it did not, the worker is being stopped.
    over.map_or(Delivery::UnderWay, |over| over.clone())
}

/// `None`: it is there already.
fn begin(worker: &Arc<Worker>, entry: &Arc<Entry>) -> Option<watch::Receiver<Delivery>> {
    let mut active = worker.deliveries.active();
    if let Some(delivery) = active.get(&entry.id) {
        return Some(delivery.clone());
    }
    // Only now: what is not under way any more is noted.
    if worker.store.done(entry).published {
        return None;
    }
    let (sender, receiver) = watch::channel(Delivery::UnderWay);
    active.insert(entry.id, receiver.clone());
    let (task, entry) = (Arc::clone(worker), Arc::clone(entry));
    let sending = async move {
        let mut stopping = task.stopping();
        tokio::select! {
            () = run(&task, &entry, &sender) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        task.deliveries.active().remove(&entry.id);
    };
    worker.spawn(sending.in_current_span());
    Some(receiver)
}

async fn run(worker: &Arc<Worker>, entry: &Arc<Entry>, delivery: &watch::Sender<Delivery>) {
    let unpublished = worker.room.unpublished();
    let published = publish(worker, entry).await;
    drop(unpublished);
    delivery.send_replace(match published {
        Ok(()) => {
            worker.store.note(entry, Step::Published);
            call_back_later(worker, entry);
            Delivery::There
        }
        Err(Ended::Refused(error)) => {
            // It never can be sent, so nothing is owed. The result is here.
            worker.store.note(entry, Step::Published);
            worker.store.note(entry, Step::CalledBack);
            Delivery::GivenUp(error)
        }
        Err(Ended::GivenUp(error)) => Delivery::GivenUp(error),
        Err(Ended::Closing) => return,
    });
}

/// Tells whoever wants to know that the job is over. Nobody waits for that: not the job, and not a
/// worker that stops; the next start goes on with it.
fn call_back_later(worker: &Arc<Worker>, entry: &Arc<Entry>) {
    let mut calling = worker.deliveries.calling();
    // As with sending: what is not under way any more is noted.
    let key = (entry.id, entry.finished);
    if calling.contains(&key) || worker.store.done(entry).called_back {
        return;
    }
    if calling.len() >= worker.setup().config.max_unpublished {
        // Their results are in memory, and whoever queues jobs names these URLs.
        warn!(id = %entry.id, "too many callbacks are under way: this one is given up");
        worker.metrics.callback_failures.inc();
        return worker.store.note(entry, Step::CalledBack);
    }
    calling.insert(key);
    drop(calling);
    let (worker, entry) = (Arc::clone(worker), Arc::clone(entry));
    let task = async move {
        if call_back(&worker, &entry).await {
            worker.store.note(&entry, Step::CalledBack);
        }
        worker.deliveries.calling().remove(&key);
    };
    tokio::spawn(task.in_current_span());
}

/// Sends the result, again and again.
async fn publish(worker: &Worker, entry: &Entry) -> Result<(), Ended> {
    let Some(target) = &entry.target else { return Ok(()) };
    let body = entry.body();
    let mut headers = HeaderMap::new();
    let mut set = |name: HeaderName, value: &str| {
        // Neither has any character that a header cannot have.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set(ETAG, &format!("\"{}\"", entity_tag(&body)));
    set(LAST_MODIFIED, &http_date(entry.finished));
    let what = "publish the result";
    let failures = &worker.metrics.publish_failures;
    let send = || (target.method, &target.url, body.clone(), headers.clone());
    persist(worker, what, failures, send).await
}

/// Tells whoever wants to know that the job is over. Whether that is done with, be it in vain.
async fn call_back(worker: &Worker, entry: &Entry) -> bool {
    #[derive(Serialize)]
    struct Event<'a> {
        r#type: &'static str,
        timestamp: String,
        data: &'a RawValue,
    }

    let Some(url) = &entry.callback else { return true };
    let Some(event) = Ending::of(entry.status).consequences().callback else { return true };
    let r#type = event.name();
    let timestamp = format!("{:.3}", entry.finished);
    let event = Event { r#type, timestamp, data: &entry.result };
    let body = serde_json::to_vec(&event).expect("an event has no keys that are not text");
    let body = Bytes::from(body);
    // The same for each attempt, so that the receiver knows one from the other.
    let id = format!("{}-{}", entry.id, entry.finished.as_millisecond());
    let send = || {
        let setup = worker.setup();
        let now = Timestamp::now().as_second();
        let headers = match &setup.executor.signer {
            Some(signer) => signer.headers(&id, now, &body),
            None => HeaderMap::new(),
        };
        (Method::Post, url, body.clone(), headers)
    };
    let failures = &worker.metrics.callback_failures;
    match persist(worker, "call back", failures, send).await {
        Ok(()) => true,
        Err(Ended::Refused(error) | Ended::GivenUp(error)) => {
            warn!(error, "gave up the callback");
            true
        }
        Err(Ended::Closing) => false,
    }
}

/// Why sending ended without success.
enum Ended {
    /// The address must not be spoken to.
    Refused(String),
    /// Its time is over.
    GivenUp(String),
    /// The worker is about to exit, and the next attempt is not due. The next start goes on.
    Closing,
}

/// Sends until it succeeds, or the time for that is over, or it never can.
async fn persist<'a>(
    worker: &Worker,
    what: &str,
    failures: &prometheus_client::metrics::counter::Counter,
    send: impl Fn() -> (Method, &'a Url, Bytes, HeaderMap),
) -> Result<(), Ended> {
    let begun = Instant::now();
    let mut attempt = 0;
    loop {
        let setup = worker.setup();
        let (method, url, body, headers) = send();
        let error: DeliverError =
            match setup.executor.outbound.deliver(method, url, body, headers).await {
                Ok(()) => {
                    debug!("done: {what}");
                    return Ok(());
                }
                Err(error) => error,
            };
        failures.inc();
        attempt += 1;
        let policy = DeliveryRetry { backoff: BACKOFF, within: setup.config.publish_timeout };
        drop(setup);
        let why = match (error.failure(), error.retry_after()) {
            (Failure::Refused(_), _) => Why::Permanent,
            (_, Some(least)) => Why::Deferred(least),
            (_, None) => Why::Transient,
        };
        let Some(delay) = policy.next(attempt, begun.elapsed(), why, jitter()) else {
            let message = format!("cannot {what}: {error}");
            let is_refused = why == Why::Permanent;
            return Err(if is_refused { Ended::Refused(message) } else { Ended::GivenUp(message) });
        };
        warn!(%error, retry_in = ?delay, "cannot {what}");
        tokio::select! {
            () = sleep(delay) => {}
            () = worker.room.closed() => return Err(Ended::Closing),
        }
    }
}

/// As in `Last-Modified` (RFC 9110, section 5.6.7).
fn http_date(time: Timestamp) -> String {
    jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&time)
        .unwrap_or_default()
}
