//! Time passes, and the engine is ticked more or less diligently.

use beanstalk_protocol::Request;
use jq_engine::Nanos;
use proptest::prelude::*;

use super::ops::{Span, Ticks};
use super::{Duel, Outcome, by_connection};
use crate::common::Wire;

/// Maximum number of wake-ups in one span, and of calls of `tick` in one wake-up. Each does
/// something for one of the few hundred tubes, connections and jobs that there can be.
const PATIENCE: usize = 2000;

impl Duel {
    pub(super) fn pass(&mut self, span: Span, ticks: Ticks) -> Outcome {
        let until = match span {
            Span::Nanos(nanos) => self.now.0 + nanos,
            Span::Due(offset) => {
                let due = self.model.next_due().unwrap_or(self.now);
                due.0.saturating_add_signed(offset)
            }
        };
        let until = Nanos(until).max(self.now);
        match ticks {
            Ticks::Watchful(budget) => {
                self.wake_until(until, budget)?;
                self.now = until;
                Ok(())
            }
            Ticks::Late(budget) => {
                self.now = until;
                self.finish_tick(budget)
            }
            Ticks::Hurried(budget) => {
                self.now = until;
                self.hurry(budget)
            }
        }
    }

    /// Wakes the engine at each of its deadlines.
    pub(super) fn wake_until(&mut self, until: Nanos, budget: usize) -> Outcome {
        for _ in 0..PATIENCE {
            match self.engine.next_deadline() {
                Some(at) if at <= until => {
                    self.now = self.now.max(at);
                    self.finish_tick(budget)?;
                }
                _ => return Ok(()),
            }
        }
        Err(TestCaseError::fail("the engine asks for ticks for ever"))
    }

    /// Ticks until everything due now has happened.
    pub(super) fn finish_tick(&mut self, budget: usize) -> Outcome {
        // Whether the ticks came to an end; those of the model always do.
        self.both(
            |engine, now, said| (0..PATIENCE).any(|_| !engine.tick(now, budget, said)),
            |model, now, said| {
                while model.step(now, said) {}
                true
            },
        )?;
        self.overdue = false;
        self.compare_deadlines()
    }

    /// Ticks once. The first few of the due events must have happened, in the order in which they
    /// were due.
    fn hurry(&mut self, budget: usize) -> Outcome {
        let questions = self.questions();
        let hides_bytes = self.engine.unfreed_jobs() > 0;
        let mut said = Wire { hides_bytes, ..Wire::default() };
        self.overdue = self.engine.tick(self.now, budget, &mut said);
        for question in questions.iter().cloned().map(Request::Command) {
            self.engine.handle(self.now, self.auditor, question, &mut said);
        }
        let mut expected = Wire { hides_bytes, ..Wire::default() };
        loop {
            // Compare as if nothing else had happened.
            let (mut model, mut expected_now) = (self.model.clone(), expected.clone());
            for question in questions.iter().cloned().map(Request::Command) {
                model.handle(self.now, self.auditor, question, &mut expected_now);
            }
            // An event that nobody can see, such as a rate that allows more again, is still to come in
            // the model if the engine does not sleep over it.
            if by_connection(&said) == by_connection(&expected_now)
                && self.engine.next_deadline().unwrap_or(Nanos::NEVER)
                    <= model.next_due().unwrap_or(Nanos::NEVER)
            {
                self.model = model;
                // Nobody can see whether a rate that allows more again was among the steps.
                if self.model.has_due_refill(self.now) {
                    return self.finish_tick(budget);
                }
                return Ok(());
            }
            let has_more = self.model.step(self.now, &mut expected);
            prop_assert!(has_more, "{:?}\n is not\n{:?}", said, expected_now);
        }
    }

    /// Nothing is ever due before the engine's next deadline; and nothing is overdue, unless the
    /// last tick was not complete.
    pub(super) fn compare_deadlines(&self) -> Outcome {
        let (next, due) = (self.engine.next_deadline(), self.model.next_due());
        let (next, due) = (next.unwrap_or(Nanos::NEVER), due.unwrap_or(Nanos::NEVER));
        prop_assert!(next <= due, "the engine sleeps until {:?}, over {:?}", next, due);
        if !self.overdue {
            prop_assert!(next > self.now, "the engine wants another tick at {:?}", self.now);
        }
        Ok(())
    }
}
