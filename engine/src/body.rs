//! The bytes of a job.

use std::sync::Arc;

/// Bodies of at least this many bytes are shared with the replies that carry them. Smaller ones are
/// copied, which costs less than counting references and saves the memory of the counters.
const SHARED_FROM: usize = 4096;

/// A job's body. It never changes, and has no spare capacity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Owned by the job; a reply copies it.
    Small(Box<[u8]>),
    /// Shared between the job and the replies in flight.
    Shared(Arc<Box<[u8]>>),
}

// This makes a job fit one cache line: the shared variant is stored in the niche of the other's
// pointer.
const _: () = assert!(size_of::<Body>() == 16);

impl Body {
    /// The bytes, if they are shared.
    pub fn shared(&self) -> Option<&Arc<Box<[u8]>>> {
        match self {
            Self::Small(_) => None,
            Self::Shared(bytes) => Some(bytes),
        }
    }
}

impl From<Box<[u8]>> for Body {
    fn from(bytes: Box<[u8]>) -> Self {
        if bytes.len() < SHARED_FROM { Self::Small(bytes) } else { Self::Shared(Arc::new(bytes)) }
    }
}

impl AsRef<[u8]> for Body {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Small(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}
