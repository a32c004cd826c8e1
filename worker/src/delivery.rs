//! Sends results, and then callbacks, until they have arrived or are given up.
//!
//! Owns: sending, trying again, giving up. Must not know: queues. Whoever holds the queued job waits
//! here until its result has arrived.

mod artifacts;
mod storing;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use axum::http::header::{ETAG, HeaderName, HeaderValue, IF_UNMODIFIED_SINCE, LAST_MODIFIED};
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{Instrument, debug, info, warn};
use url::Url;
use uuid::Uuid;

use crate::artifact::ArtifactName;
use crate::destinations::{Destinations, Place, User};
use crate::ending::Verdict;
use crate::job::Target;
use crate::metrics::Metrics;
use crate::outbound::{DeliverError, Failure, Method, Outbound, Signer, unsigned};
use crate::result::entity_tag;
use crate::retry::{Backoff, DeliveryRetry, Why, jitter};
use crate::room::Room;
use crate::shared::SharedStore;
use crate::store::{Entry, Step, Store};
use crate::tasks::Tasks;

use artifacts::upload;

/// A later result is where one was to be put that must not take its place.
const PRECONDITION_FAILED: StatusCode = StatusCode::PRECONDITION_FAILED;

/// Delays between attempts.
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(300) };

/// With so many times the results or callbacks that may wait for one destination, no more are taken on,
/// whatever their destinations.
pub const MAX_PLACES: usize = 8;

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

/// How results and callbacks are sent.
#[derive(Debug, Clone)]
pub struct Sending {
    /// Reaches other machines.
    pub outbound: Outbound,
    /// And sends them files.
    pub uploads: Outbound,
    /// Signs callbacks. `None`: they are not signed.
    pub signer: Option<Signer>,
    /// Where results go before all else. `None`: there is no store that workers share.
    pub shared: Option<Arc<SharedStore>>,
    /// How long sending one result, or one callback, is tried.
    pub within: Duration,
    /// Most callbacks that are under way to one destination at a time. Others are given up: their results are in memory,
    /// and whoever queues jobs names the URLs.
    pub max_callbacks: usize,
}

/// What is sent.
enum Sent<'a> {
    Document { method: Method, url: &'a Url, body: Bytes, headers: HeaderMap },
    Artifact { entry: &'a Arc<Entry>, name: &'a ArtifactName, target: &'a Target },
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

/// The results and callbacks that are under way, each at most once.
#[derive(Debug)]
pub struct Deliveries {
    store: Arc<Store>,
    room: Arc<Room>,
    metrics: Arc<Metrics>,
    tasks: Tasks,
    destinations: Arc<Destinations>,
    sending: RwLock<Arc<Sending>>,
    active: Mutex<HashMap<Uuid, watch::Receiver<Delivery>>>,
    /// The callbacks that are under way.
    calling: Mutex<HashSet<(Uuid, Timestamp)>>,
    /// The results that must not take the place of later ones.
    late: Mutex<HashSet<(Uuid, Timestamp)>>,
}

impl Deliveries {
    /// None is under way. Results are noted in `store` as sent, and count in `room` until then.
    pub fn new(
        store: Arc<Store>,
        room: Arc<Room>,
        metrics: Arc<Metrics>,
        tasks: Tasks,
        destinations: Arc<Destinations>,
        sending: Sending,
    ) -> Self {
        Self {
            store,
            room,
            metrics,
            tasks,
            destinations,
            sending: RwLock::new(Arc::new(sending)),
            active: Mutex::default(),
            calling: Mutex::default(),
            late: Mutex::default(),
        }
    }

    /// Changes how results are sent, from the next attempt on.
    pub fn set_sending(&self, sending: Sending) {
        *self.sending.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(sending);
    }

    /// Where results go.
    pub fn destinations(&self) -> &Destinations {
        &self.destinations
    }

    /// Whether a result of this job is on its way.
    pub fn is_active(&self, id: Uuid) -> bool {
        self.active().contains_key(&id)
    }

    /// Notes that the job of this result was not held all the time since it was made: another worker may have
    /// run it too, and sent a later result. This one is sent such that it does not take its place, if the other
    /// side can tell.
    pub fn note_late(&self, entry: &Entry) {
        if !self.store.done(entry).is_delivered() {
            self.late().insert((entry.id, entry.finished));
        }
    }

    /// Sends a result to where it goes, unless it is under way already, and waits until it has arrived
    /// or is given up.
    pub async fn deliver(self: &Arc<Self>, entry: &Arc<Entry>) -> Delivery {
        let Some(mut delivery) = self.begin(entry) else {
            self.call_back_later(entry);
            return Delivery::There;
        };
        let over = delivery.wait_for(|delivery| *delivery != Delivery::UnderWay).await;
        // The sender says how it went before it goes; if it did not, the worker is being stopped.
        over.map_or(Delivery::UnderWay, |over| over.clone())
    }

    /// `None`: it is there already.
    fn begin(self: &Arc<Self>, entry: &Arc<Entry>) -> Option<watch::Receiver<Delivery>> {
        let mut active = self.active();
        if let Some(delivery) = active.get(&entry.id) {
            return Some(delivery.clone());
        }
        // Only now: what is not under way any more is noted.
        if self.store.done(entry).is_delivered() {
            return None;
        }
        let (sender, receiver) = watch::channel(Delivery::UnderWay);
        active.insert(entry.id, receiver.clone());
        let (deliveries, entry) = (Arc::clone(self), Arc::clone(entry));
        let sending = async move {
            let mut stopping = deliveries.tasks.stopping();
            tokio::select! {
                () = deliveries.run(&entry, &sender) => {}
                _ = stopping.wait_for(|stopping| *stopping) => {}
            }
            deliveries.active().remove(&entry.id);
        };
        self.tasks.spawn(sending.in_current_span());
        Some(receiver)
    }

    async fn run(self: &Arc<Self>, entry: &Arc<Entry>, delivery: &watch::Sender<Delivery>) {
        let done = self.store.done(entry);
        // At the same time: neither has to wait for the other to be reachable.
        let (stored, published) = tokio::join!(
            async { if done.stored { Ok(()) } else { self.put_away(entry).await } },
            async { if done.published { Ok(()) } else { self.send(entry).await } },
        );
        let is_closing = |ended: &Result<(), Ended>| matches!(ended, Err(Ended::Closing));
        if is_closing(&stored) || is_closing(&published) {
            return;
        }
        self.late().remove(&(entry.id, entry.finished));
        delivery.send_replace(match stored.and(published) {
            Ok(()) => {
                self.call_back_later(entry);
                Delivery::There
            }
            Err(Ended::Refused(error) | Ended::GivenUp(error)) => Delivery::GivenUp(error),
            Err(Ended::Closing) => return,
        });
    }

    /// Announces that the job is over. Nothing waits for that: neither the job, nor a worker that
    /// stops; the next start goes on with it.
    fn call_back_later(self: &Arc<Self>, entry: &Arc<Entry>) {
        let mut calling = self.calling();
        // As with sending: what is not under way any more is noted.
        let key = (entry.id, entry.finished);
        if calling.contains(&key) || self.store.done(entry).called_back {
            return;
        }
        let Some(url) = &entry.callback else { return };
        let place = Place::of(url);
        let max = self.sending().max_callbacks;
        if self.destinations.callbacks(&place) >= max || calling.len() >= MAX_PLACES * max {
            warn!(id = %entry.id, "too many callbacks are under way: this one is given up");
            self.metrics.callback_failures.inc();
            return self.store.note(entry, Step::CalledBack);
        }
        calling.insert(key);
        drop(calling);
        let user = self.destinations.enter(place, false);
        let (deliveries, entry) = (Arc::clone(self), Arc::clone(entry));
        let task = async move {
            if deliveries.call_back(&entry, &user).await {
                deliveries.store.note(&entry, Step::CalledBack);
            }
            deliveries.calling().remove(&key);
        };
        tokio::spawn(task.in_current_span());
    }

    /// Sends the result, and notes that.
    async fn send(&self, entry: &Arc<Entry>) -> Result<(), Ended> {
        let unpublished = self.room.unpublished();
        let published = self.publish(entry).await;
        drop(unpublished);
        if matches!(published, Ok(()) | Err(Ended::Refused(_))) {
            self.store.note(entry, Step::Published);
        }
        if matches!(published, Err(Ended::Refused(_))) {
            // It never can be sent, so nothing is owed. The result is here.
            self.store.note(entry, Step::CalledBack);
        }
        published
    }

    /// Sends the artifacts that are to be sent, and then the result.
    async fn publish(&self, entry: &Arc<Entry>) -> Result<(), Ended> {
        let begun = Instant::now();
        let refused = self.send_artifacts(entry, begun).await?;
        self.publish_result(entry, begun).await?;
        refused.map_or(Ok(()), |error| Err(Ended::Refused(error)))
    }

    /// Sends the result, again and again.
    async fn publish_result(&self, entry: &Entry, begun: Instant) -> Result<(), Ended> {
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
        let is_late =
            target.method == Method::Put && self.late().contains(&(entry.id, entry.finished));
        if is_late {
            set(IF_UNMODIFIED_SINCE, &http_date(entry.finished));
        }
        let what = "publish the result";
        let failures = &self.metrics.publish_failures;
        let send = || {
            let (method, url) = (target.method, &target.url);
            Sent::Document { method, url, body: body.clone(), headers: headers.clone() }
        };
        let user = self.destinations.enter(Place::of(&target.url), true);
        self.persist(what, begun, failures, is_late, &user, send).await
    }

    /// Announces that the job is over. Returns whether that is settled: answered, or given up.
    async fn call_back(&self, entry: &Entry, user: &User) -> bool {
        #[derive(Serialize)]
        struct Event<'a> {
            r#type: &'static str,
            timestamp: String,
            data: &'a RawValue,
        }

        let Some(url) = &entry.callback else { return true };
        let Some(event) = Verdict::of(entry.status).consequences().callback else { return true };
        let r#type = event.name();
        let timestamp = format!("{:.3}", entry.finished);
        let event = Event { r#type, timestamp, data: &entry.result };
        let body = serde_json::to_vec(&event).expect("an event has no keys that are not text");
        let body = Bytes::from(body);
        // The same for each attempt, so that the receiver knows one from the other.
        let id = format!("{}-{}", entry.id, entry.finished.as_millisecond());
        let send = || {
            let now = Timestamp::now().as_second();
            let headers = match &self.sending().signer {
                Some(signer) => signer.headers(&id, now, &body),
                None => unsigned(&id, now),
            };
            Sent::Document { method: Method::Post, url, body: body.clone(), headers }
        };
        let failures = &self.metrics.callback_failures;
        match self.persist("call back", Instant::now(), failures, false, user, send).await {
            Ok(()) => true,
            Err(Ended::Refused(error) | Ended::GivenUp(error)) => {
                warn!(error, "gave up the callback");
                true
            }
            Err(Ended::Closing) => false,
        }
    }

    /// Sends until it succeeds, or the other side says that a later one is there and this one gives way, or
    /// the time for that is over, or it never can. `begun`: when that time began.
    async fn persist<'a>(
        &self,
        what: &str,
        begun: Instant,
        failures: &prometheus_client::metrics::counter::Counter,
        gives_way: bool,
        user: &User,
        send: impl Fn() -> Sent<'a>,
    ) -> Result<(), Ended> {
        let (mut attempt, mut unchanging) = (0, 0);
        loop {
            let turn = tokio::select! {
                biased;
                turn = user.turn() => turn,
                () = self.room.closed() => return Err(Ended::Closing),
                () = sleep_until(begun + self.sending().within) => {
                    let why = user.trouble().unwrap_or_else(|| "it was not its turn".to_owned());
                    return Err(Ended::GivenUp(format!("cannot {what}: {why}")));
                }
            };
            let sending = self.sending();
            let sent = match send() {
                Sent::Document { method, url, body, headers } => {
                    sending.outbound.deliver(method, url, body, headers).await
                }
                Sent::Artifact { entry, name, target } => {
                    let opened = self.open_artifact(entry, name, begun).await?;
                    upload(&sending.uploads, target, opened).await
                }
            };
            let error: DeliverError = match sent {
                Ok(()) => {
                    user.succeeded();
                    debug!("done: {what}");
                    return Ok(());
                }
                Err(error) if gives_way && error.status() == Some(PRECONDITION_FAILED) => {
                    user.succeeded();
                    info!("a later result is there: this one is not sent");
                    return Ok(());
                }
                Err(error) => error,
            };
            failures.inc();
            attempt += 1;
            let policy = DeliveryRetry { backoff: BACKOFF, within: sending.within };
            drop(sending);
            unchanging = if error.is_temporary() { 0 } else { unchanging + 1 };
            let why = match (error.failure(), error.retry_after()) {
                (Failure::Refused(_), _) => Why::Permanent,
                _ if unchanging > 0 => Why::Unchanging(unchanging),
                (_, Some(least)) => Why::Deferred(least),
                (_, None) => Why::Transient,
            };
            if unchanging == 0 {
                user.failed(&error.to_string(), error.retry_after());
            }
            drop(turn);
            let Some(delay) = policy.next(attempt, begun.elapsed(), why, jitter()) else {
                if unchanging > 0 && why != Why::Permanent {
                    // One URL can be wrong, where others are right: a result counts once.
                    user.failed(&error.to_string(), None);
                }
                let message = format!("cannot {what}: {error}");
                let is_refused = why == Why::Permanent;
                return Err(if is_refused {
                    Ended::Refused(message)
                } else {
                    Ended::GivenUp(message)
                });
            };
            if user.trouble().is_some() {
                // Whose turn it is then, and when, is decided for all together.
                debug!(%error, "cannot {what}; its destination is in trouble");
                continue;
            }
            warn!(%error, retry_in = ?delay, "cannot {what}");
            tokio::select! {
                () = sleep(delay) => {}
                () = self.room.closed() => return Err(Ended::Closing),
            }
        }
    }

    fn sending(&self) -> Arc<Sending> {
        Arc::clone(&self.sending.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn active(&self) -> MutexGuard<'_, HashMap<Uuid, watch::Receiver<Delivery>>> {
        // Maps are whole between two statements, whoever panicked.
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn late(&self) -> MutexGuard<'_, HashSet<(Uuid, Timestamp)>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn calling(&self) -> MutexGuard<'_, HashSet<(Uuid, Timestamp)>> {
        self.calling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As in `Last-Modified` (RFC 9110, section 5.6.7).
fn http_date(time: Timestamp) -> String {
    jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&time)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_those_of_the_manual() {
        assert_eq!(BACKOFF.max, Duration::from_secs(5 * 60));
        let docs = include_str!("../../docs/worker.md").replace('\n', " ");
        assert!(docs.contains("with delays that grow up to 5 minutes"));
        assert!(docs.contains(&format!("may owe {MAX_PLACES} times `max_unpublished` results")));
        assert!(docs.contains(&format!("and {MAX_PLACES} times as many for all")));
    }
}
