//! The hottest operations, each as something that is made ready, and then run often enough that
//! what else happens in the process does not count. `benches/operations.rs` has them counted.

mod hub;
mod log;
mod queue;
mod wire;

pub use self::hub::Batches;
pub use self::log::{Appending, Replaying};
pub use self::queue::Queue;
pub use self::wire::{Decoding, Encoding};

/// How often an operation is run: enough that what happens once does not count, in whole batches.
const TIMES: u32 = 1024;

/// Commands that one read brings.
const BATCH: usize = 64;
