//! A job: how it is, and what a restart must bring back of it.

use crate::history::{History, Moment};
use crate::model::TUBES;
use crate::observe::JobSeen;

/// Nanoseconds of a second.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// The number of a client.
pub(crate) type ClientId = usize;

/// What a restart must bring back of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kept {
    Absent,
    There(Durable),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Durable {
    pub(crate) tube: usize,
    pub(crate) place: Place,
    pub(crate) priority: u32,
    /// In seconds.
    pub(crate) delay: u32,
    /// How often it was released, buried, kicked.
    pub(crate) moves: [u32; 3],
    /// How often it was reserved, timed out and lost its connection: at least and at most, as these may
    /// be lost.
    pub(crate) reserves: (u32, u32),
    pub(crate) timeouts: (u32, u32),
    pub(crate) disconnects: (u32, u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Ready,
    /// Until this time, in nanoseconds.
    Delayed(u64),
    /// In this turn.
    Buried(u64),
}

/// A job, gone or not.
#[derive(Debug)]
pub(crate) struct Job {
    /// In seconds.
    pub(crate) ttr: u32,
    /// In nanoseconds.
    pub(crate) created: u64,
    pub(crate) body: Vec<u8>,
    /// When it was put.
    pub(crate) put: Moment,
    /// The server took it back, so nobody may be told that it was put.
    pub(crate) taken_back: bool,
    pub(crate) kept: History<Kept>,
    /// How it is now; `None` if it is gone.
    pub(crate) now: Option<Now>,
}

/// How a job is while the server runs.
#[derive(Debug, Clone)]
pub(crate) struct Now {
    pub(crate) tube: usize,
    pub(crate) place: Place,
    /// Since when it is ready, if it is: since this time at the earliest, and at the latest.
    pub(crate) ready: (u64, u64),
    /// Who has it, and up to when.
    pub(crate) reserved: Option<(ClientId, u64)>,
    pub(crate) reserves: u32,
    pub(crate) timeouts: u32,
    pub(crate) disconnects: u32,
}

/// Where a job is that is put or released with a delay of so many seconds.
pub(crate) fn delayed(now: u64, delay: u32) -> Place {
    if delay > 0 { Place::Delayed(now + u64::from(delay) * SECOND) } else { Place::Ready }
}

impl Durable {
    /// A record has all counters.
    pub(crate) fn settle(&mut self) {
        self.reserves.0 = self.reserves.1;
        self.timeouts.0 = self.timeouts.1;
        self.disconnects.0 = self.disconnects.1;
    }

    /// Whether a restarted server shows a job that was so.
    fn is_shown(&self, seen: &JobSeen) -> bool {
        let place = match self.place {
            Place::Delayed(until) if until > seen.ticked => {
                seen.is("delayed")
                    && seen.number("time-left") == until.saturating_sub(seen.at) / SECOND
            }
            Place::Buried(_) => seen.is("buried"),
            Place::Ready | Place::Delayed(_) => seen.is("ready"),
        };
        let moves = ["releases", "buries", "kicks"].map(|key| seen.number(key) as u32);
        let within = |(least, most): (u32, u32), key| {
            (u64::from(least)..=u64::from(most)).contains(&seen.number(key))
        };
        place
            && moves == self.moves
            && seen.text("tube").trim_matches('"') == TUBES[self.tube]
            && seen.number("pri") == u64::from(self.priority)
            && seen.number("delay") == u64::from(self.delay)
            && within(self.reserves, "reserves")
            && within(self.timeouts, "timeouts")
            && within(self.disconnects, "disconnects")
    }
}

impl Kept {
    /// Whether a restarted server shows this.
    pub(crate) fn is_shown(&self, seen: Option<&JobSeen>) -> bool {
        match (self, seen) {
            (Self::Absent, None) => true,
            (Self::There(kept), Some(seen)) => kept.is_shown(seen),
            _ => false,
        }
    }
}

impl Job {
    /// What never changes in a job.
    pub(crate) fn is_same(&self, seen: &JobSeen) -> bool {
        seen.body == self.body
            && seen.number("ttr") == u64::from(self.ttr)
            && seen.number("age") == seen.at.saturating_sub(self.created) / SECOND
    }

    /// Whether it was ever in this tube, as far as is remembered.
    pub(crate) fn was_in(&self, tube: usize) -> bool {
        self.kept.states().any(|kept| matches!(kept, Kept::There(kept) if kept.tube == tube))
    }

    /// The turn in which it was buried, if it is seen buried.
    pub(crate) fn turn_of(&self, seen: &JobSeen) -> Option<u64> {
        self.kept.states().rev().find_map(|kept| match kept {
            Kept::There(Durable { place: Place::Buried(turn), .. })
                if kept.is_shown(Some(seen)) =>
            {
                Some(*turn)
            }
            _ => None,
        })
    }

    /// Begins anew as it is seen by a server that was started after `since`.
    pub(crate) fn begin(&mut self, seen: &JobSeen, since: u64) {
        let shown = self.kept.states().rev().find(|kept| kept.is_shown(Some(seen))).cloned();
        let Some(Kept::There(mut kept)) = shown else { return };
        let [reserves, timeouts, disconnects] =
            ["reserves", "timeouts", "disconnects"].map(|key| seen.number(key) as u32);
        kept.reserves = (reserves, reserves);
        kept.timeouts = (timeouts, timeouts);
        kept.disconnects = (disconnects, disconnects);
        if seen.is("ready") {
            kept.place = Place::Ready;
        }
        self.put = 0;
        let (tube, place) = (kept.tube, kept.place);
        // Of one that nobody has ever taken it is known when it became ready.
        let is_untouched =
            kept.delay == 0 && kept.moves == [0; 3] && [reserves, timeouts, disconnects] == [0; 3];
        let ready = if is_untouched { (self.created, self.created) } else { (since, seen.at) };
        let now = Now { tube, place, ready, reserved: None, reserves, timeouts, disconnects };
        self.now = Some(now);
        self.kept = History::new(Kept::There(kept));
    }

    /// Begins anew as gone. Whether somebody may still know its number is another question.
    pub(crate) fn lose(&mut self, known: bool) {
        self.put = if known { 0 } else { Moment::MAX };
        (self.now, self.kept) = (None, History::new(Kept::Absent));
    }

    pub(crate) fn set_place(&mut self, place: Place) {
        if let (Kept::There(kept), Some(now)) = (self.kept.last_mut(), &mut self.now) {
            (kept.place, now.place) = (place, place);
        }
    }
}
