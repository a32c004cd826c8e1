//! The policies of tubes, as operators write them.
//!
//! What a request has and what the file of `--tubes` has become the same document, and [`checked`] is
//! the one place that says whether it makes sense. `file.rs` reads the file, `kept.rs` sees to it
//! that the queue has what the file says. Must not know: how a policy works; that is the engine's.

mod check;
mod file;
mod kept;

pub(crate) use self::check::{Mistake, checked, document};
pub(crate) use self::file::InForce;
pub use self::file::TubesFile;
pub(crate) use self::kept::Keeper;
