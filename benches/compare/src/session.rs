//! One round's dealings with one server.

use std::process;

use crate::{
    affinity::Cpus,
    channel::Channel,
    control::Control,
    failure::Failure,
    ledger::Ledger,
    load::{self, Shape, Until, Window},
    meter::Meter,
    server::Server,
    wire::{self, Op, Wire},
};

/// Fills and drains a tube as fast as any server likes it.
const BULK: Shape = Shape { connections: 8, depth: 64, cycle: &[], own_tubes: false };

/// Commands sent together outside of loads: few enough for the buffers of any socket.
const AT_ONCE: usize = 100;
/// Seconds until the jobs that keep tubes in existence are due: longer than any run.
const HELD_DELAY: u32 = 10_000_000;

/// A server that answers, and the jobs it was given.
pub(crate) struct Session<'a> {
    pub(crate) server: &'a Server,
    pub(crate) meter: Meter,
    ledger: Ledger,
    /// Jobs that keep tubes in existence.
    held: Vec<u64>,
}

impl<'a> Session<'a> {
    /// Makes sure that the server takes and gives up a job.
    pub(crate) fn open(server: &'a Server, cpus: &Cpus) -> Result<Self, Failure> {
        let last_id = Control::connect(server.addr)?.put_and_delete()?;
        Ok(Self {
            server,
            meter: Meter { server: server.pid, cpus: cpus.clone() },
            ledger: Ledger::new(server.ids, last_id),
            held: Vec::new(),
        })
    }

    /// A connection that uses and watches one tube, `compare-PID` or one that is derived from it.
    pub(crate) fn connect(&self, tube: Option<usize>) -> Result<Control, Failure> {
        let mut control = Control::connect(self.server.addr)?;
        // The process id keeps apart several runs against one server.
        let shared = format!("compare-{}", process::id());
        control.settle_on(&tube.map_or(shared.clone(), |n| format!("{shared}-{n}")))?;
        Ok(control)
    }

    /// Runs a load to its end.
    pub(crate) fn load(
        &mut self,
        shape: &Shape,
        body: usize,
        until: Until,
    ) -> Result<Option<Window>, Failure> {
        let channels = (0..shape.connections)
            .map(|n| Ok(self.connect(shape.own_tubes.then_some(n))?.into_channel()))
            .collect::<Result<Vec<Channel>, Failure>>()?;
        let wire = Wire::new(body, shape.depth);
        load::run(channels, shape, &wire, until, &mut self.ledger, &self.meter)
    }

    /// Puts jobs into the shared tube.
    pub(crate) fn fill(&mut self, jobs: u64, body: usize) -> Result<(), Failure> {
        let shape = Shape { cycle: &[Op::Put], ..BULK };
        self.load(&shape, body, Until::Jobs(jobs)).map(|_| ())
    }

    /// Makes so many tubes that exist because each has a delayed job. A job and not a watching
    /// connection, because a server may have to ask each tube when its next job is due.
    pub(crate) fn make_tubes(&mut self, tubes: usize) -> Result<(), Failure> {
        let mut control = Control::connect(self.server.addr)?;
        while self.held.len() < tubes {
            let batch = self.held.len()..tubes.min(self.held.len() + AT_ONCE);
            let command = |n| format!("use held-{n}\r\nput 1024 {HELD_DELAY} 60 0\r\n\r\n");
            control.send(batch.clone().map(command).collect::<String>().as_bytes())?;
            for n in batch {
                control.expect(&format!("USING held-{n}"))?;
                self.held.push(control.inserted()?);
            }
        }
        Ok(())
    }

    /// Deletes all jobs that are left, and with them their tubes. A server that was started for
    /// one round ends instead.
    pub(crate) fn tidy_up(&mut self, body: usize) -> Result<(), Failure> {
        if !self.server.is_shared {
            return Ok(());
        }
        let mut control = Control::connect(self.server.addr)?;
        for batch in self.held.chunks(AT_ONCE) {
            let mut commands = Vec::new();
            batch.iter().for_each(|&id| wire::delete(&mut commands, id));
            control.send(&commands)?;
            batch.iter().try_for_each(|_| control.expect("DELETED"))?;
        }
        let drain = Shape { cycle: &[Op::Reserve, Op::Delete], ..BULK };
        self.load(&drain, body, Until::Jobs(self.ledger.left())).map(|_| ())
    }
}
