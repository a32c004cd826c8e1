//! Keeps the server honest: every job is handed out once, and only if it was put.

use crate::{failure::Failure, spec::Dialect};

const INSERTED: u8 = 1;
const RESERVED: u8 = 2;

/// The widest range of job ids that one round may see; one byte of memory for each.
const MAX_SPAN: u64 = 1 << 28;

/// What the ids in a server's replies must satisfy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ids {
    /// Each put gets a new id, and each id is reserved at most once.
    Unique,
    /// The server answers constants, as the built-in echo does, or knows no ids, as redis.
    Constant,
}

impl From<Dialect> for Ids {
    fn from(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Queue => Self::Unique,
            Dialect::Echo | Dialect::Redis => Self::Constant,
        }
    }
}

/// The jobs of one round.
pub(crate) struct Ledger {
    ids: Ids,
    /// Marks begin with the id after this one.
    base: u64,
    /// `INSERTED` and `RESERVED` for each id.
    marks: Vec<u8>,
    /// Ids that were handed out before the reply to their put was read. With several connections
    /// that is in order, so it must only be 0 in the end.
    unconfirmed: u64,
    inserted: u64,
    deleted: u64,
}

impl Ledger {
    /// Every id must be greater than `last_id`, which the caller got from a put of its own.
    pub(crate) fn new(ids: Ids, last_id: u64) -> Self {
        Self { ids, base: last_id, marks: Vec::new(), unconfirmed: 0, inserted: 0, deleted: 0 }
    }

    /// Notes `INSERTED id`.
    pub(crate) fn inserted(&mut self, id: u64) -> Result<(), Failure> {
        self.inserted += 1;
        if self.ids == Ids::Constant {
            return Ok(());
        }
        let mark = self.mark(id)?;
        let before = *mark;
        *mark |= INSERTED;
        if before & INSERTED != 0 {
            return Err(Failure::Untrue(format!("two puts got the id {id}")));
        }
        if before & RESERVED != 0 {
            self.unconfirmed -= 1;
        }
        Ok(())
    }

    /// Notes `RESERVED id`.
    pub(crate) fn reserved(&mut self, id: u64) -> Result<(), Failure> {
        if self.ids == Ids::Constant {
            return Ok(());
        }
        let mark = self.mark(id)?;
        let before = *mark;
        *mark |= RESERVED;
        if before & RESERVED != 0 {
            return Err(Failure::Untrue(format!("job {id} was handed out twice")));
        }
        if before & INSERTED == 0 {
            self.unconfirmed += 1;
        }
        Ok(())
    }

    /// Notes `DELETED`.
    pub(crate) fn deleted(&mut self) {
        self.deleted += 1;
    }

    /// The ids of all jobs that were put and not reserved, in order. They count as deleted from now
    /// on.
    pub(crate) fn take(&mut self) -> Vec<u64> {
        let ids: Vec<u64> = (self.base + 1..)
            .zip(&self.marks)
            .filter(|(_, mark)| **mark == INSERTED)
            .map(|(id, _)| id)
            .collect();
        self.deleted += ids.len() as u64;
        ids
    }

    /// Jobs that were put and not deleted.
    pub(crate) fn left(&self) -> u64 {
        self.inserted - self.deleted
    }

    /// Checks what must hold when no command is under way.
    pub(crate) fn settle(&self) -> Result<(), Failure> {
        if self.unconfirmed > 0 {
            let count = self.unconfirmed;
            return Err(Failure::Untrue(format!("{count} jobs were handed out but never put")));
        }
        Ok(())
    }

    fn mark(&mut self, id: u64) -> Result<&mut u8, Failure> {
        let index = match id.checked_sub(self.base) {
            Some(offset) if (1..=MAX_SPAN).contains(&offset) => offset as usize - 1,
            _ => return Err(Failure::Untrue(format!("job id {id} after id {}", self.base))),
        };
        if index >= self.marks.len() {
            self.marks.resize(index + 1, 0);
        }
        Ok(&mut self.marks[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orderly_life() {
        let mut ledger = Ledger::new(Ids::Unique, 7);
        ledger.inserted(8).unwrap();
        // Another connection reserved job 9 before the reply to its put was read.
        ledger.reserved(9).unwrap();
        assert!(ledger.settle().is_err());
        ledger.inserted(9).unwrap();
        ledger.settle().unwrap();
        ledger.reserved(8).unwrap();
        ledger.deleted();
        assert_eq!(ledger.left(), 1);
    }

    #[test]
    fn lies_are_noticed() {
        let mut ledger = Ledger::new(Ids::Unique, 7);
        ledger.inserted(8).unwrap();
        assert!(ledger.inserted(8).is_err(), "the same id for two puts");
        ledger.reserved(8).unwrap();
        assert!(ledger.reserved(8).is_err(), "handed out twice");
        assert!(ledger.inserted(7).is_err(), "an old id");
        assert!(ledger.inserted(u64::MAX).is_err(), "a nonsensical id");
    }

    #[test]
    fn constants_are_only_counted() {
        let mut ledger = Ledger::new(Ids::Constant, 1);
        for _ in 0..2 {
            ledger.inserted(1).unwrap();
            ledger.reserved(1).unwrap();
        }
        ledger.deleted();
        assert_eq!(ledger.left(), 1);
        ledger.settle().unwrap();
    }
}
