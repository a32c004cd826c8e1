//! One round's dealings with one server.

use std::{process, time::Duration};

use crate::{
    affinity::Cpus,
    channel::Channel,
    control::Control,
    failure::Failure,
    ledger::Ledger,
    load::{self, Shape, Until, Window},
    meter::Meter,
    server::Server,
    spec::Dialect,
    wire::{self, Op, Wire},
};

/// Fills and drains a tube as fast as any server likes it.
const BULK: Shape = Shape { connections: 8, depth: 64, cycle: &[], own_tubes: false };

/// Commands sent together outside of loads: few enough for the buffers of any socket.
const AT_ONCE: usize = 100;
/// Seconds until the jobs that keep tubes in existence are due: longer than any run.
const HELD_DELAY: u32 = 10_000_000;
/// How long a server may take over the jobs that a scenario needs.
const FILL: Duration = Duration::from_secs(300);

/// A server that answers, and the jobs it was given.
pub(crate) struct Session<'a> {
    pub(crate) server: &'a mut Server,
    pub(crate) meter: Meter,
    ledger: Ledger,
    /// Jobs that keep tubes in existence.
    held: Vec<u64>,
}

impl<'a> Session<'a> {
    /// Makes sure that the server takes and gives up a job.
    pub(crate) fn open(server: &'a mut Server, cpus: &Cpus) -> Result<Self, Failure> {
        let last_id = match server.dialect {
            Dialect::Queue | Dialect::Echo => Control::connect(&server.way)?.put_and_delete()?,
            Dialect::Redis => 0,
        };
        Ok(Self {
            meter: Meter { server: server.pid, cpus: cpus.clone() },
            ledger: Ledger::new(server.dialect.into(), last_id),
            held: Vec::new(),
            server,
        })
    }

    /// A connection that uses and watches one tube: the shared one, or one of its own.
    pub(crate) fn connect(&self, tube: Option<usize>) -> Result<Control, Failure> {
        let mut control = Control::connect(&self.server.way)?;
        match self.server.dialect {
            Dialect::Queue | Dialect::Echo => control.settle_on(&tube_name(tube))?,
            // The list has the same name in each of the databases, of which redis has 16.
            Dialect::Redis => control.ask(&format!("SELECT {}", tube.unwrap_or(0)), "+OK")?,
        }
        Ok(control)
    }

    /// What jobs of this size look like to the server.
    pub(crate) fn wire(&self, body: usize, depth: usize) -> Wire {
        match self.server.dialect {
            Dialect::Queue | Dialect::Echo => Wire::new(body, depth),
            Dialect::Redis => Wire::redis(body, depth, &tube_name(None)),
        }
    }

    /// Opens the connections of a load.
    pub(crate) fn connect_all(&self, shape: &Shape) -> Result<Vec<Channel>, Failure> {
        let tube = |n| shape.own_tubes.then_some(n);
        (0..shape.connections).map(|n| Ok(self.connect(tube(n))?.into_channel())).collect()
    }

    /// Runs a load to its end.
    pub(crate) fn load(
        &mut self,
        shape: &Shape,
        body: usize,
        until: Until,
    ) -> Result<Option<Window>, Failure> {
        self.load_on(self.connect_all(shape)?, shape, body, until)
    }

    /// Runs a load on connections that are open already.
    pub(crate) fn load_on(
        &mut self,
        channels: Vec<Channel>,
        shape: &Shape,
        body: usize,
        until: Until,
    ) -> Result<Option<Window>, Failure> {
        let (wire, shape) = (self.wire(body, shape.depth), self.shape(shape));
        load::run(channels, &shape, &wire, until, &mut self.ledger, &self.meter)
    }

    /// What becomes of a shape in the server's dialect.
    pub(crate) fn shape(&self, shape: &Shape) -> Shape {
        let cycle = match self.server.dialect {
            Dialect::Queue | Dialect::Echo => shape.cycle,
            Dialect::Redis => without_delete(shape.cycle),
        };
        Shape { cycle, ..*shape }
    }

    /// Puts jobs into the shared tube.
    pub(crate) fn fill(&mut self, jobs: u64, body: usize) -> Result<(), Failure> {
        match self.fill_within(jobs, body, FILL)? {
            put if put >= jobs => Ok(()),
            put => Err(Failure::Server(format!("took {put} of {jobs} jobs in {FILL:?}"))),
        }
    }

    /// Puts at most `jobs` jobs into the shared tube, fewer if that takes too long: how many.
    pub(crate) fn fill_within(
        &mut self,
        jobs: u64,
        body: usize,
        time: Duration,
    ) -> Result<u64, Failure> {
        let before = self.ledger.left();
        let shape = Shape { cycle: &[Op::Put], ..BULK };
        self.load(&shape, body, Until::JobsWithin(jobs, time))?;
        Ok(self.ledger.left() - before)
    }

    /// Notes a job that was put into the shared tube without a load.
    pub(crate) fn inserted(&mut self, id: u64) -> Result<(), Failure> {
        self.ledger.inserted(id)
    }

    /// The ids of the jobs that the shared tube was filled with. The caller deletes them.
    pub(crate) fn take_ids(&mut self) -> Vec<u64> {
        self.ledger.take()
    }

    /// Makes so many tubes that exist because each has a delayed job. A job and not a watching
    /// connection, because a server may have to ask each tube when its next job is due.
    pub(crate) fn make_tubes(&mut self, tubes: usize) -> Result<(), Failure> {
        let mut control = Control::connect(&self.server.way)?;
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
        let mut control = Control::connect(&self.server.way)?;
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

/// `compare-PID`, or one that is derived from it. The process id keeps apart several runs against
/// one server.
pub(crate) fn tube_name(tube: Option<usize>) -> String {
    let shared = format!("compare-{}", process::id());
    tube.map_or(shared.clone(), |n| format!("{shared}-{n}"))
}

/// A cycle for a server that forgets a job when it hands it out.
fn without_delete(cycle: &'static [Op]) -> &'static [Op] {
    match cycle {
        [rest @ .., Op::Delete] => rest,
        all => all,
    }
}
