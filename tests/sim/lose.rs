//! Files that are lost, or cut off, while no server runs: as when a directory was copied in part.

use beanstalk_protocol::JobId;
use jq_server::log::binlog::format::Header;
use jq_server::log::binlog::manifest::{Extent, MANIFEST};
use jq_server::log::binlog::{Known, ReplayError, body_name, segment_name};

use crate::history::Moment;
use crate::server::Server;
use crate::sim::{Sim, Violation};

impl Sim {
    /// A file that the manifest names goes, or the end of one, or the manifest itself. That is seen
    /// whatever has happened before; and with the file as it was, everything is.
    pub(crate) fn lose(&mut self, floor: Moment) -> Result<(), Violation> {
        let bodies = self.disk.bodies();
        if let Some(job) = self.rng.choice(bodies).filter(|_| self.rng.bool()) {
            return self.lose_body(job, floor);
        }
        let segments = self.disk.segments();
        let Some(Ok(extent)) = self.disk.bytes(MANIFEST).map(|bytes| Extent::decode(&bytes)) else {
            return self.start_sound(floor);
        };
        let named = segments.iter().map(|(number, _)| *number);
        let named = named.filter(|number| (extent.oldest..=extent.newest).contains(number));
        let named: Vec<u64> = named.collect();
        let begun = segments.iter().any(|(_, bytes)| Header::decode(bytes).is_ok());
        let (name, len) = match self.rng.u8(..4) {
            0 if begun => (MANIFEST.to_owned(), None),
            1 if extent.end > 0 && named.contains(&extent.sound) => {
                (segment_name(extent.sound), Some(self.rng.u64(..extent.end)))
            }
            _ if named.is_empty() => return self.start_sound(floor),
            _ => (segment_name(named[self.rng.usize(..named.len())]), None),
        };
        self.trace.note(format_args!("{name} is lost from {len:?} on, of {extent:?}"));
        let lost = self.disk.lose(&name, len);
        match Server::start(&self.disk, self.plan.options, &self.time, false) {
            Err(error) if error.is_repairable() => {}
            Err(error) => return Err(format!("{name} was lost from {len:?} on: {error}")),
            Ok(_) => return Err(format!("nobody saw that {name} was lost from {len:?} on")),
        }
        self.disk.put_back(lost);
        self.start_sound(floor)
    }

    /// A body goes, or its end. That is seen, unless nobody may know of its job.
    fn lose_body(&mut self, job: JobId, floor: Moment) -> Result<(), Violation> {
        let name = body_name(job);
        let len = self.disk.bytes(&name).map_or(0, |bytes| bytes.len() as u64);
        let len = if len > 0 && self.rng.bool() { Some(self.rng.u64(..len)) } else { None };
        self.trace.note(format_args!("{name} is lost from {len:?} on"));
        let lost = self.disk.lose(&name, len);
        match Server::start(&self.disk, self.plan.options, &self.time, false) {
            Ok(server) => {
                self.server = server;
                self.check(floor, None)
            }
            Err(
                ReplayError::Missing { file, known: Known::Body }
                | ReplayError::CutShort { file, .. },
            ) if file == name => {
                self.disk.put_back(lost);
                self.start_sound(floor)
            }
            Err(error) => Err(format!("{name} was lost from {len:?} on: {error}")),
        }
    }
}
