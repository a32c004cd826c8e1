//! The maximum number of connections.
//!
//! A connection beyond it is accepted, told `OUT_OF_MEMORY` and closed at once. If it were left to wait in
//! the kernel's queue, its client would take it for connected and wait for its first reply, for as long
//! as all others stay. If it were closed without a word, some client libraries would connect again at
//! once, for ever. The word is the reply to whatever the client asks first: an error that it knows.

use jq_engine::Nanos;
use tracing::warn;

use crate::paced::Paced;

/// How many connections there may be, and how many were refused.
#[derive(Debug)]
pub(crate) struct Crowd {
    most: usize,
    refused: Paced,
}

impl Crowd {
    /// `None`: as many as the system allows.
    pub(crate) fn new(most: Option<usize>) -> Self {
        Self { most: most.unwrap_or(usize::MAX), refused: Paced::default() }
    }

    /// How many there may be, if there is a limit.
    pub(crate) fn most(&self) -> Option<usize> {
        Some(self.most).filter(|most| *most < usize::MAX)
    }

    /// Whether there are as many connections as there may be.
    pub(crate) fn is_full(&self, connections: usize) -> bool {
        connections >= self.most
    }

    /// A connection is closed, because it is one too many.
    pub(crate) fn refused(&self, now: Nanos) {
        if let Some(refused) = self.refused.count(now) {
            let most = self.most;
            warn!(most, refused, "closed a new connection: see --max-connections");
        }
    }

    /// How many connections were refused since the start.
    pub(crate) fn total(&self) -> u64 {
        self.refused.total()
    }
}
