//! The policies of tubes, as operators write them.
//!
//! What a request has and what the file of `--tubes` has become the same document, and `check.rs` is
//! the one place that says whether it makes sense. `file.rs` reads the file. Must not know: how a policy
//! works, which is the engine's business; when one is set, which is that of `server/keeper.rs` and of the
//! routes of the API.

mod check;
mod file;

pub(crate) use self::check::{Mistake, checked, document};
pub(crate) use self::file::InForce;
pub use self::file::TubesFile;
