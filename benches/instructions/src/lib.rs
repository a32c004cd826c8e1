//! The hottest operations. Each is set up first, and then run often enough that the rest of the
//! process does not matter. `benches/operations.rs` counts their instructions.

mod hub;
mod log;
mod queue;
mod wire;

pub use self::hub::{Batches, pipelined, single};
pub use self::log::{Appending, Replaying};
pub use self::queue::Queue;
pub use self::wire::{Decoding, Encoding};

/// How often an operation is run, in whole batches: often enough that one-time work does not
/// matter.
const TIMES: u32 = 1024;

/// Commands that one read brings.
const BATCH: usize = 64;
