//! A result with what is owed for it, and how far that is done.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use url::Url;
use uuid::Uuid;

use super::Staged;
use super::jobs::QueuedJob;
use crate::artifact::ArtifactName;
use crate::job::{Following, Target};
use crate::result::{FinalStatus, QueuePlace};

/// A result, and what is owed for it.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "OnDisk")]
pub struct Entry {
    /// The job's.
    pub id: Uuid,
    /// Where the job is queued.
    pub place: Option<QueuePlace>,
    /// What the result says. It decides what happens to the queued job, and which event a callback
    /// announces.
    pub status: FinalStatus,
    /// Where the result goes.
    pub target: Option<Target>,
    /// Where artifacts go before the result does, by their names.
    pub sends: BTreeMap<ArtifactName, Target>,
    /// Where the end of the job is announced.
    pub callback: Option<Url>,
    /// When the job was over.
    pub finished: Timestamp,
    /// The result document.
    pub result: Box<RawValue>,
    /// The job as it was queued, if it can be queued anew from here.
    pub job: Option<QueuedJob>,
    /// What is queued once the result is where it goes.
    pub then: Vec<Following>,
    /// The artifacts that it tells of, on their way to their place. `None`: it has none.
    pub artifacts: Option<Staged>,
}

impl Entry {
    /// The result as it is served and sent.
    pub fn body(&self) -> Bytes {
        let mut body = Vec::with_capacity(self.result.get().len() + 1);
        body.extend_from_slice(self.result.get().as_bytes());
        body.push(b'\n');
        body.into()
    }
}

/// An entry as the journal has it. Journals of the first form have `ending` and no `status`. Both are
/// written, so that a worker can be replaced by an earlier one. For the same reason a cancelled job is written as
/// a dismissed one, with a member that says more.
#[derive(Deserialize)]
struct OnDisk {
    id: Uuid,
    place: Option<QueuePlace>,
    #[serde(default)]
    status: Option<FinalStatus>,
    #[serde(default)]
    cancelled: bool,
    ending: OldEnding,
    target: Option<Target>,
    #[serde(default)]
    sends: BTreeMap<ArtifactName, Target>,
    callback: Option<Url>,
    finished: Timestamp,
    result: Box<RawValue>,
    #[serde(default)]
    job: Option<QueuedJob>,
    #[serde(default)]
    then: Vec<Following>,
    #[serde(default)]
    artifacts: Option<Staged>,
}

/// What happens to the queued job, as journals without a status say it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OldEnding {
    Delete,
    Bury,
    Dismiss,
}

impl From<OnDisk> for Entry {
    fn from(it: OnDisk) -> Self {
        let status = it.status.unwrap_or(match it.ending {
            OldEnding::Delete => FinalStatus::Successful,
            OldEnding::Bury => FinalStatus::Failed,
            OldEnding::Dismiss => FinalStatus::Dismissed,
        });
        let status = if it.cancelled { FinalStatus::Cancelled } else { status };
        Self {
            id: it.id,
            place: it.place,
            status,
            target: it.target,
            sends: it.sends,
            callback: it.callback,
            finished: it.finished,
            result: it.result,
            job: it.job,
            then: it.then,
            artifacts: it.artifacts,
        }
    }
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (status, ending) = match self.status {
            FinalStatus::Successful => (self.status, OldEnding::Delete),
            FinalStatus::Failed => (self.status, OldEnding::Bury),
            FinalStatus::Dismissed | FinalStatus::Cancelled => {
                (FinalStatus::Dismissed, OldEnding::Dismiss)
            }
        };
        let is_cancelled = self.status == FinalStatus::Cancelled;
        let optional = usize::from(is_cancelled)
            + usize::from(self.artifacts.is_some())
            + usize::from(!self.sends.is_empty())
            + usize::from(!self.then.is_empty())
            + usize::from(self.job.is_some());
        let mut members = to.serialize_struct("Entry", 8 + optional)?;
        members.serialize_field("id", &self.id)?;
        members.serialize_field("place", &self.place)?;
        members.serialize_field("status", &status)?;
        if is_cancelled {
            members.serialize_field("cancelled", &true)?;
        }
        members.serialize_field("ending", &ending)?;
        members.serialize_field("target", &self.target)?;
        if !self.sends.is_empty() {
            members.serialize_field("sends", &self.sends)?;
        }
        members.serialize_field("callback", &self.callback)?;
        members.serialize_field("finished", &self.finished)?;
        members.serialize_field("result", &self.result)?;
        if let Some(job) = &self.job {
            members.serialize_field("job", job)?;
        }
        if !self.then.is_empty() {
            members.serialize_field("then", &self.then)?;
        }
        if let Some(artifacts) = &self.artifacts {
            members.serialize_field("artifacts", artifacts)?;
        }
        members.end()
    }
}

/// How far what is owed is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Done {
    /// The result is where it goes, or goes nowhere.
    pub published: bool,
    /// It is in the store that workers share, with its artifacts, or need not be.
    pub stored: bool,
    /// The callback was answered or given up, or there is none.
    pub called_back: bool,
    /// The job is out of the queue.
    pub dequeued: bool,
    /// The jobs that follow are queued, or there are none.
    pub followed: bool,
    /// Sending the result was given up. It is still owed, in case that its job is kicked.
    pub given_up: bool,
}

/// One of the things that are owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// See [`Done::published`].
    Published,
    /// See [`Done::stored`].
    Stored,
    /// See [`Done::called_back`].
    CalledBack,
    /// See [`Done::dequeued`].
    Dequeued,
    /// See [`Done::followed`].
    Followed,
    /// See [`Done::given_up`].
    GivenUp,
}

impl Done {
    pub(super) const EVERYTHING: Self = Self {
        published: true,
        stored: true,
        called_back: true,
        dequeued: true,
        followed: true,
        given_up: false,
    };

    /// At first: what is wanted nowhere is where it belongs. `to_store`: it is to be in the store that workers
    /// share.
    pub(super) fn of(entry: &Entry, to_store: bool) -> Self {
        let dequeued = entry.place.is_none();
        Self {
            published: entry.target.is_none() && entry.sends.is_empty(),
            stored: !to_store,
            called_back: entry.callback.is_none(),
            dequeued,
            followed: entry.then.is_empty(),
            given_up: false,
        }
    }

    pub(super) fn note(&mut self, step: Step) {
        match step {
            Step::Published => self.published = true,
            Step::Stored => self.stored = true,
            Step::CalledBack => self.called_back = true,
            Step::Dequeued => self.dequeued = true,
            Step::Followed => self.followed = true,
            Step::GivenUp => self.given_up = true,
        }
    }

    /// Whether the result is everywhere where it is to be before its job leaves the queue.
    pub fn is_delivered(self) -> bool {
        self.published && self.stored
    }

    pub(super) fn everything(self) -> bool {
        self.is_delivered() && self.called_back && self.dequeued && self.followed
    }
}
