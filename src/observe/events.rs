//! What happens now, for those who want to follow it.
//!
//! While somebody listens, a sample is taken every second, and what it finds becomes one event, made
//! once for all listeners. The last [`KEPT`] events are kept for those who read slowly; whoever is
//! further behind is told how many it has missed.

use std::sync::Arc;

use futures_util::{Stream, stream};
use jq_api::server::{CountsEvent, EventCounts, MissedEvent, ServerEvent, TubeCounts};
use jq_engine::{Activity, Nanos};
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Receiver, Sender};

use super::snapshot::{Snapshot, TubeRow};
use super::timestamp;

/// The number of events that are kept for slow readers.
pub const KEPT: usize = 64;

/// Maximum number of tubes that an event lists.
pub const MAX_LISTED: usize = 100;

/// An event as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What kind it is.
    pub name: &'static str,
    /// A document, in JSON.
    pub data: Arc<str>,
}

/// Sends events to all who listen.
#[derive(Debug)]
pub(super) struct Events(Sender<Event>);

impl Event {
    fn new(name: &'static str, document: &impl Serialize) -> Self {
        // These documents have nothing in them that JSON cannot say.
        let data = serde_json::to_string(document).unwrap_or_default();
        Self { name, data: data.into() }
    }

    /// The event `server`.
    pub(super) fn server(document: &ServerEvent) -> Self {
        Self::new("server", document)
    }

    fn missed(events: u64) -> Self {
        Self::new("missed", &MissedEvent { events })
    }
}

impl Events {
    pub(super) fn new() -> Self {
        Self(broadcast::channel(KEPT).0)
    }

    /// Whether anybody listens.
    pub(super) fn are_followed(&self) -> bool {
        self.0.receiver_count() > 0
    }

    /// Sends an event to those who listen now.
    pub(super) fn send(&self, event: Event) {
        // It is no error if nobody does.
        let _ = self.0.send(event);
    }

    /// Sends what has happened between two snapshots.
    pub(super) fn send_counts(&self, last: &Snapshot, snapshot: &Snapshot) {
        if self.are_followed() && last.at > Nanos(0) {
            self.send(Event::new("counts", &counts(last, snapshot)));
        }
    }

    /// The `first` event, and all that are sent from now on.
    pub(super) fn follow(&self, first: Event) -> impl Stream<Item = Event> + Send + use<> {
        let start = (Some(first), self.0.subscribe());
        stream::unfold(start, |(first, mut receiver): (_, Receiver<Event>)| async move {
            let event = match first {
                Some(first) => first,
                None => match receiver.recv().await {
                    Ok(event) => event,
                    Err(RecvError::Lagged(missed)) => Event::missed(missed),
                    Err(RecvError::Closed) => return None,
                },
            };
            Some((event, (None, receiver)))
        })
    }
}

fn counts(last: &Snapshot, snapshot: &Snapshot) -> CountsEvent {
    let mut before = last.tubes.iter().peekable();
    let mut moved: Vec<(Activity, &TubeRow)> = Vec::new();
    for row in snapshot.tubes.iter().filter(|row| row.moved == snapshot.at) {
        while before.next_if(|last| last.place < row.place).is_some() {}
        let before = before.peek().filter(|last| last.number == row.number);
        let activity = before.map(|last| last.activity).unwrap_or_default();
        let happened = row.activity.since(activity);
        if happened.sum() > 0 {
            moved.push((happened, row));
        }
    }
    let unlisted = moved.len().saturating_sub(MAX_LISTED);
    moved.sort_by_key(|(happened, _)| std::cmp::Reverse(happened.sum()));
    moved.truncate(MAX_LISTED);
    let tubes = moved.into_iter().map(|(happened, row)| TubeCounts {
        tube: row.name.as_ref().to_owned(),
        counts: event_counts(happened),
    });
    CountsEvent {
        at: timestamp(snapshot.at),
        all: event_counts(snapshot.activity.since(last.activity)),
        tubes: tubes.collect(),
        unlisted: unlisted as u64,
    }
}

fn event_counts(activity: Activity) -> EventCounts {
    EventCounts {
        put: activity.puts,
        reserve: activity.reserves,
        delete: activity.deletes,
        bury: activity.buries,
        timeout: activity.timeouts,
    }
}
