//! Storing large bodies in files of their own, at a pace that does not disturb commits.
//!
//! Each piece of a body is on its way to the disk before the next is written, so there is never much
//! that a commit could have to wait for. Several bodies take turns, so that a short one does not wait
//! for all of a long one.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crc32c::crc32c_append;
use tracing::{info, warn};

use crate::log::binlog::descriptors;
use crate::log::binlog::disk::DiskFile;
use crate::log::binlog::driver::{BinlogDriver, Turn};
use crate::log::binlog::format::StoredBody;
use crate::log::binlog::{Binlog, body_name, lock, stored};
use crate::log::{Bell, Order};

/// Bytes written in one turn, and the most that is on its way to the disk at a time.
const PIECE: usize = 512 * 1024;

/// Bodies that take turns. Others wait until one of these is stored.
const MOST: usize = 4;

/// Where connections leave the bodies that are to be stored.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    orders: Mutex<VecDeque<Order>>,
    pub(crate) bell: Bell,
    /// The last one could not be stored, which was logged.
    is_failing: AtomicBool,
}

/// The state of the stager between its turns.
#[derive(Debug, Default)]
pub struct Stager {
    bodies: VecDeque<Storing>,
}

/// A body that is being stored.
#[derive(Debug)]
struct Storing {
    order: Order,
    file: Arc<dyn DiskFile>,
    written: usize,
    crc: u32,
}

impl Desk {
    pub(crate) fn leave(&self, order: Order) {
        lock(&self.orders).push_back(order);
        self.bell.ring();
    }
}

impl Stager {
    /// Whether it has work in progress.
    pub fn is_busy(&self) -> bool {
        !self.bodies.is_empty()
    }
}

impl Storing {
    /// Writes a piece. Returns whether all is written.
    fn write(&mut self, syncs: bool) -> io::Result<bool> {
        let body = self.order.body();
        let piece = &body[self.written..body.len().min(self.written + PIECE)];
        self.crc = crc32c_append(self.crc, piece);
        self.file.write_at(piece, self.written as u64)?;
        self.written += piece.len();
        let is_whole = self.written == body.len();
        if is_whole && syncs {
            self.file.sync()?;
        } else {
            self.file.write_out((self.written - piece.len()) as u64, piece.len() as u64)?;
        }
        Ok(is_whole)
    }
}

impl Binlog {
    /// Makes the file for a body, with room for all of it.
    fn create_body(&self, order: &Order) -> io::Result<Arc<dyn DiskFile>> {
        let name = body_name(order.job());
        let file = self.disk.create_if_free(&name)?;
        match file.allocate(0, order.body().len() as u64) {
            Err(error) if error.kind() != io::ErrorKind::Unsupported => {
                stored::remove(&*self.disk, order.job());
                Err(error)
            }
            _ => Ok(file),
        }
    }
}

impl BinlogDriver {
    /// A turn of the stager: stores a piece of a body, or removes one that nobody needs.
    pub fn stage_some(&self, stager: &mut Stager) -> Turn {
        if self.binlog().remove_body() {
            return Turn::Again;
        }
        if stager.bodies.len() < MOST {
            // Not while the lock is held: a file is made.
            let order = lock(&self.desk().orders).pop_front();
            if let Some(order) = order {
                self.begin(order, stager);
                return Turn::Again;
            }
        }
        let Some(mut body) = stager.bodies.pop_front() else { return Turn::Wait(None) };
        if body.order.is_forgotten() {
            stored::remove(&*self.binlog().disk, body.order.job());
            return Turn::Again;
        }
        let syncs = self.binlog().policy().syncs();
        match body.write(syncs) {
            Ok(false) => stager.bodies.push_back(body),
            Ok(true) => self.finish(body, syncs),
            Err(error) => self.refuse(&body.order, &error),
        }
        Turn::Again
    }

    fn begin(&self, order: Order, stager: &mut Stager) {
        if order.is_forgotten() {
            return;
        }
        match self.binlog().create_body(&order) {
            Ok(file) => stager.bodies.push_back(Storing { order, file, written: 0, crc: 0 }),
            // It goes to the segment with all others.
            Err(error) if descriptors::are_missing(&error) => drop(order.give_back()),
            Err(error) => self.refused(&order, &error),
        }
    }

    /// All of it is written: from here on, the put may be carried out.
    fn finish(&self, body: Storing, syncs: bool) {
        let Storing { order, file, crc, .. } = body;
        drop(file);
        if syncs && let Err(error) = self.binlog().disk.sync() {
            return self.refuse(&order, &error);
        }
        // A body has at most a gigabyte.
        let (job, body) = (order.job(), StoredBody { len: order.body().len() as u32, crc });
        self.binlog().body_is_stored(job, body);
        if !order.give_back() {
            self.binlog().put_ended(job);
        }
        if self.desk().is_failing.swap(false, Ordering::Relaxed) {
            info!("large jobs can be stored again");
        }
    }

    fn refuse(&self, order: &Order, error: &io::Error) {
        stored::remove(&*self.binlog().disk, order.job());
        self.refused(order, error);
    }

    fn refused(&self, order: &Order, error: &io::Error) {
        if !self.desk().is_failing.swap(true, Ordering::Relaxed) {
            let bytes = order.body().len();
            warn!(%error, bytes, "cannot store a large job: such jobs are refused until that works");
        }
    }
}
