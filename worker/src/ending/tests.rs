//! The table agrees with itself and with the manual.

use super::*;

impl Ending {
    /// All of them, in the order of the types.
    pub(crate) const ALL: [Self; 21] = [
        Self::Over(Verdict::Successful),
        Self::Over(Verdict::Failed),
        Self::Over(Verdict::Crashed),
        Self::Over(Verdict::Expired),
        Self::Over(Verdict::Forbidden),
        Self::Over(Verdict::Refused),
        Self::Over(Verdict::Cancelled),
        Self::Retried,
        Self::NoRoom,
        Self::NoDestination,
        Self::Suspected,
        Self::Duplicate,
        Self::Answered,
        Self::Unable,
        Self::NotTaken,
        Self::Interrupted,
        Self::Unconfirmed,
        Self::Lost,
        Self::LostWithResult,
        Self::LostOnReturn,
        Self::Unpublished,
    ];
}

const DOCS: &str = include_str!("../../../docs/worker.md");

fn rows() -> impl Iterator<Item = (Ending, Consequences)> {
    Ending::ALL.into_iter().map(|ending| (ending, ending.consequences()))
}

/// Does not compile when an ending is added, until it has a place in the list of all.
fn position(ending: Ending) -> usize {
    match ending {
        Ending::Over(Verdict::Successful) => 0,
        Ending::Over(Verdict::Failed) => 1,
        Ending::Over(Verdict::Crashed) => 2,
        Ending::Over(Verdict::Expired) => 3,
        Ending::Over(Verdict::Forbidden) => 4,
        Ending::Over(Verdict::Refused) => 5,
        Ending::Over(Verdict::Cancelled) => 6,
        Ending::Retried => 7,
        Ending::NoRoom => 8,
        Ending::NoDestination => 9,
        Ending::Suspected => 10,
        Ending::Duplicate => 11,
        Ending::Answered => 12,
        Ending::Unable => 13,
        Ending::NotTaken => 14,
        Ending::Interrupted => 15,
        Ending::Unconfirmed => 16,
        Ending::Lost => 17,
        Ending::LostWithResult => 18,
        Ending::LostOnReturn => 19,
        Ending::Unpublished => 20,
    }
}

#[test]
fn all_are_listed() {
    for (number, ending) in Ending::ALL.into_iter().enumerate() {
        assert_eq!(position(ending), number);
    }
}

#[test]
fn a_restart_goes_on_as_the_status_says() {
    for (ending, row) in rows() {
        let Ending::Over(verdict) = ending else { continue };
        assert_eq!(row.status, Some(verdict.status().into()), "{ending:?}");
        assert_eq!(row.outcome, Some(Outcome::Over(verdict.status())), "{ending:?}");
        let later = Verdict::of(verdict.status()).consequences();
        assert_eq!(row.queue, later.queue, "{ending:?}");
        // A journal has the callback's URL, which says whether there is one.
        assert!(row.callback.is_none_or(|event| Some(event) == later.callback), "{ending:?}");
    }
}

#[test]
fn only_a_job_that_is_over_is_sent_and_announced() {
    for (ending, row) in rows() {
        let is_over = matches!(ending, Ending::Over(_));
        assert!(is_over || (!row.is_sent && row.callback.is_none()), "{ending:?}");
        assert!(row.is_sent || row.callback.is_none(), "{ending:?}");
    }
}

#[test]
fn what_is_a_failure_has_a_kind_and_is_seen() {
    for (ending, row) in rows() {
        assert!(!row.message.is_empty(), "{ending:?}");
        assert_eq!(row.cause != Cause::None, row.level <= Level::WARN, "{ending:?}");
        assert!(row.cause != Cause::None || !row.on_page, "{ending:?}");
        let failure = ending.failure("why");
        assert_eq!(failure.is_some(), matches!(row.cause, Cause::Always(_)), "{ending:?}");
    }
}

#[test]
fn a_lost_job_is_not_touched() {
    use Ending::{Lost, LostOnReturn, LostWithResult, Unconfirmed};
    for ending in [Unconfirmed, Lost, LostWithResult, LostOnReturn] {
        let row = ending.consequences();
        assert_eq!(row.queue, QueueAction::None, "{ending:?}");
        assert_eq!(row.counter, Some(Counted::LeasesLost), "{ending:?}");
        assert!(row.status.is_none(), "{ending:?}");
    }
}

#[test]
fn the_manual_names_every_word() {
    for (ending, row) in rows() {
        let mut words: Vec<&str> = Vec::new();
        words.extend(row.status.map(Status::as_str));
        words.extend(row.outcome.map(Outcome::as_str));
        if let Cause::Always(kind) = row.cause {
            words.push(kind.as_str());
        }
        for word in words {
            assert!(DOCS.contains(&format!("`{word}`")), "{ending:?}: {word}");
        }
        if let Some(event) = row.callback {
            assert!(DOCS.contains(event.name()), "{ending:?}: {}", event.name());
        }
        if let Some(counter) = row.counter {
            let name = format!("`jq_worker_{}_total`", counter.name());
            assert!(DOCS.contains(&name), "{ending:?}: {name}");
        }
    }
}
