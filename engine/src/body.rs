//! The bytes of a job.

use std::sync::Arc;

/// Bodies from this many bytes on are shared with the replies that carry them; smaller ones are
/// copied, which costs less than counting references and saves the counters' memory.
const SHARED_FROM: usize = 4096;

/// A job's body. It never changes, and takes just its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Owned by the job; a reply copies it.
    Small(Box<[u8]>),
    /// Shared between the job and the replies on their way.
    Shared(Arc<Box<[u8]>>),
}

// A job is one cache line because of this; the shared variant hides in the other's null pointer.
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
