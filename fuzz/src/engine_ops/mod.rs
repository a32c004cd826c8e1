//! The engine under any sequence of operations: connections that come and go, requests through the
//! decoder, time that passes. What can be seen from outside must hold together after each of them.

mod audit;
mod input;
mod judge;
mod ledger;
mod told;
mod world;

use input::{Input, Operation};
use jq_engine::CloseReason;
use world::World;

/// The fuzz target: bytes are operations, see [`Input`].
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(input.dialect());
    while let Some(operation) = input.operation(world.newest_job()) {
        match operation {
            Operation::Connect => world.connect(),
            Operation::Disconnect(client) => world.disconnect(client, CloseReason::Vanished),
            Operation::HalfClose(client) => world.half_close(client),
            Operation::Send(client, bytes) => world.send(client, &bytes),
            Operation::Pass(nanos) => world.pass(nanos),
            Operation::Tick(budget) => {
                world.tick(budget);
            }
            Operation::Drain(draining) => world.drain(draining),
            Operation::Audit => world.audit(),
        }
        world.check();
    }
    world.finish();
}
