//! Replies to be sent to a client.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use beanstalk_protocol::{
    BinlogStats, Dialect, JobListing, Reply, ServerStats, begin_tube_list, push_tube_list,
};
use jq_engine::{Answer, Body, JobBatch, SegmentRef, TubeNames};
use tokio::io::AsyncWrite;
use tokio::task;

use crate::freeing;
use crate::log::Log;

/// Maximum number of pieces written with one system call.
const MAX_SLICES: usize = 32;

/// Maximum number of bytes written in one go. The kernel copies them meanwhile, and whoever reads as fast as
/// that could have a gigabyte before others have their turn.
const WRITE_AT_ONCE: usize = 512 * 1024;

/// The assumed size of a `stats` reply before it is formatted, in bytes.
const STATS_SIZE: usize = 2048;

/// The same of a `list-jobs` reply without a job, and of each job in it.
const LISTING_SIZE: usize = 64;
const LISTED_SIZE: usize = 192;

/// Replies in order. Small bodies are copied into the text. Large ones are shared with the job, and
/// only their position is noted. The same goes for the answers to `stats` and `list-jobs`, which are
/// formatted when the queue is no longer locked.
#[derive(Debug, Default)]
pub struct OutBuf {
    bytes: Vec<u8>,
    /// Number of bytes of `bytes` that are written.
    written: usize,
    inserts: VecDeque<Insert>,
    /// Number of bytes of the first insert that are written.
    insert_written: usize,
    /// Number of bytes of the inserts that are still to be written.
    inserted: usize,
    /// Number of replies added.
    replies: usize,
}

#[derive(Debug)]
struct Insert {
    /// Position in `bytes` before which it is inserted.
    at: usize,
    what: Piece,
}

#[derive(Debug)]
enum Piece {
    Body(Share),
    Text(Vec<u8>),
    Stats(Box<(ServerStats, BinlogStats)>),
    /// With the size that was assumed.
    Jobs(Box<JobListing>, usize),
}

/// A share of a body, which may be the last.
#[derive(Debug)]
struct Share(Option<Arc<Box<[u8]>>>);

impl Drop for Share {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(freeing::give_up);
    }
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Body(Share(body)) => body.as_deref().map_or(&[], |body| body),
            Self::Text(text) => text,
            Self::Stats(_) | Self::Jobs(..) => &[],
        }
    }
}

impl OutBuf {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of bytes still to be written.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.written + self.inserted
    }

    /// Removes everything, but keeps the memory for the next batch unless it is more than `most`
    /// bytes.
    pub(crate) fn clear(&mut self, most: usize) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        *self = Self::default();
        if bytes.capacity() <= most {
            self.bytes = bytes;
        }
    }

    /// Everything still to be written, as one piece.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        let (mut from, mut skip) = (self.written, self.insert_written);
        for insert in &self.inserts {
            bytes.extend_from_slice(&self.bytes[from..insert.at]);
            bytes.extend_from_slice(&insert.what.bytes()[skip..]);
            (from, skip) = (insert.at, 0);
        }
        bytes.extend_from_slice(&self.bytes[from..]);
        bytes
    }

    /// Adds an answer.
    #[inline]
    pub(crate) fn push(&mut self, answer: Answer<'_>, dialect: Dialect, log: &dyn Log) {
        self.replies += 1;
        match answer {
            Answer::Reply(reply) => {
                if let Some(body) = reply.encode_head(&mut self.bytes) {
                    self.push_body(body);
                }
            }
            Answer::Batch(batch) => self.push_batch(batch),
            Answer::Jobs(listing) => self.push_jobs(listing),
            Answer::ServerStats(stats) => {
                self.insert(Piece::Stats(Box::new((*stats, log.stats()))), STATS_SIZE);
            }
            Answer::JobStats(mut stats) => {
                stats.file = log.segment_number(SegmentRef::of(stats.file));
                self.push_text(&stats.to_yaml(dialect));
            }
            Answer::TubeStats(stats) => self.push_text(&stats.to_yaml(dialect)),
            Answer::Tubes(names) => self.push_list(names, |_| true),
        }
    }

    /// Adds the list of those tubes that `shows` picks.
    pub(crate) fn push_tubes(&mut self, names: TubeNames<'_>, shows: impl Fn(&str) -> bool) {
        self.replies += 1;
        self.push_list(names, shows);
    }

    /// Adds a reply that the queue knows nothing of.
    pub(crate) fn push_word(&mut self, reply: &Reply<&[u8]>) {
        self.replies += 1;
        reply.encode(&mut self.bytes);
    }

    /// Formats the answers to `stats`, with `to_yaml`, and to `list-jobs`.
    pub(crate) fn render(&mut self, to_yaml: impl Fn(&ServerStats, &BinlogStats) -> Vec<u8>) {
        for insert in &mut self.inserts {
            let (yaml, assumed) = match &insert.what {
                Piece::Stats(stats) => (to_yaml(&stats.0, &stats.1), STATS_SIZE),
                Piece::Jobs(listing, assumed) => (listing.to_yaml(), *assumed),
                Piece::Body(_) | Piece::Text(_) => continue,
            };
            let mut text = Vec::new();
            Reply::Ok(yaml).encode(&mut text);
            self.inserted = self.inserted - assumed + text.len();
            insert.what = Piece::Text(text);
        }
    }

    /// Appends another buffer, of which nothing is written yet.
    pub fn append(&mut self, mut other: Self) {
        if self.is_empty() {
            *self = other;
            return;
        }
        let offset = self.bytes.len();
        self.bytes.append(&mut other.bytes);
        self.inserted += other.inserted;
        self.replies += other.replies;
        let moved =
            other.inserts.into_iter().map(|insert| Insert { at: insert.at + offset, ..insert });
        self.inserts.extend(moved);
    }

    /// The commit behind these replies failed: replaces each of them with an error. Nothing of this
    /// buffer may be written yet.
    pub fn fail(&mut self) {
        debug_assert_eq!((self.written, self.insert_written), (0, 0), "nothing is written");
        let replies = self.replies;
        self.clear(0);
        for _ in 0..replies {
            Reply::<&[u8]>::InternalError.encode(&mut self.bytes);
        }
    }

    /// Writes as much as the socket accepts, up to [`WRITE_AT_ONCE`] before others have their turn. Ready
    /// when everything is written and flushed. While it is pending, the buffer may be empty already, with
    /// only the flush left.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        let mut most = WRITE_AT_ONCE;
        while !self.is_empty() {
            if most == 0 {
                return pin!(task::yield_now()).poll(cx).map(Ok);
            }
            let written = if self.inserts.is_empty() {
                let rest = &self.bytes[self.written..];
                ready!(Pin::new(&mut *socket).poll_write(cx, &rest[..rest.len().min(most)]))?
            } else {
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                let count = self.slices(&mut slices, most);
                ready!(Pin::new(&mut *socket).poll_write_vectored(cx, &slices[..count]))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
            most = most.saturating_sub(written);
        }
        Pin::new(socket).poll_flush(cx)
    }

    /// All of a batch is one answer, which fails as a whole.
    #[cold]
    #[inline(never)]
    fn push_batch(&mut self, batch: JobBatch<'_>) {
        batch.for_each(|reply| {
            if let Some(body) = reply.encode_head(&mut self.bytes) {
                self.push_body(body);
            }
        });
    }

    #[inline(always)]
    fn push_body(&mut self, body: &Body) {
        match body {
            Body::Small(body) => self.bytes.extend_from_slice(body),
            Body::Shared(body) => {
                let share = Share(Some(Arc::clone(body)));
                self.insert(Piece::Body(share), body.len());
            }
        }
        self.bytes.extend_from_slice(b"\r\n");
    }

    #[cold]
    #[inline(never)]
    fn push_jobs(&mut self, listing: JobListing) {
        let size = LISTING_SIZE + LISTED_SIZE * listing.jobs.len();
        self.insert(Piece::Jobs(Box::new(listing), size), size);
    }

    /// Adds a list of tubes, if there is memory for it.
    #[cold]
    fn push_list(&mut self, names: TubeNames<'_>, shows: impl Fn(&str) -> bool) {
        let mut text = Vec::new();
        begin_tube_list(&mut text);
        let mut fits = true;
        names.for_each(|name| {
            if !shows(name) {
                return;
            }
            // Its name, and what is around it.
            fits = fits && text.try_reserve(name.len() + 3).is_ok();
            if fits {
                push_tube_list(&mut text, name);
            }
        });
        // Around the text there is the line of the reply.
        if fits && self.bytes.try_reserve(text.len() + 32).is_ok() {
            self.push_text(&text);
        } else {
            Reply::<&[u8]>::OutOfMemory.encode(&mut self.bytes);
        }
    }

    fn push_text(&mut self, text: &[u8]) {
        Reply::Ok(text).encode(&mut self.bytes);
    }

    fn insert(&mut self, what: Piece, len: usize) {
        self.inserts.push_back(Insert { at: self.bytes.len(), what });
        self.inserted += len;
    }

    /// The next pieces to write, in order, up to their maximum and to `most` bytes.
    fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; MAX_SLICES], mut most: usize) -> usize {
        let mut count = 0;
        let mut add = |slice: &'a [u8]| {
            let slice = &slice[..slice.len().min(most)];
            most -= slice.len();
            if !slice.is_empty() && count < MAX_SLICES {
                slices[count] = IoSlice::new(slice);
                count += 1;
            }
        };
        let mut from = self.written;
        let mut skip = self.insert_written;
        // Each insert gives at most two slices.
        for insert in self.inserts.iter().take(MAX_SLICES / 2) {
            add(&self.bytes[from..insert.at]);
            add(&insert.what.bytes()[skip..]);
            from = insert.at;
            skip = 0;
        }
        if self.inserts.len() <= MAX_SLICES / 2 {
            add(&self.bytes[from..]);
        }
        count
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(insert) = self.inserts.front() {
            let before = (insert.at - self.written).min(written);
            self.written += before;
            written -= before;
            if self.written < insert.at {
                return;
            }
            let left = insert.what.bytes().len() - self.insert_written;
            let here = left.min(written);
            self.insert_written += here;
            self.inserted -= here;
            written -= here;
            if here < left {
                return;
            }
            self.insert_written = 0;
            self.inserts.pop_front();
        }
        self.written += written;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::MemoryLog;

    const NO_LOG: MemoryLog = MemoryLog { max_size: 0 };

    /// Takes a few bytes at a time.
    struct Trickle {
        taken: Vec<u8>,
        step: usize,
    }

    impl AsyncWrite for Trickle {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let count = bytes.len().min(self.step);
            self.taken.extend_from_slice(&bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all = slices.iter().flat_map(|slice| slice.iter().copied());
            let before = self.taken.len();
            let step = self.step;
            self.taken.extend(all.take(step));
            Poll::Ready(Ok(self.taken.len() - before))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn reserved(id: u64, body: &Body) -> Answer<'_> {
        Answer::Reply(Reply::Reserved(id, body))
    }

    #[test]
    fn pieces_leave_in_order_whatever_the_socket_takes() {
        let small = Body::from(Box::from(&b"abc"[..]));
        let large = Body::from(vec![b'L'; 5000].into_boxed_slice());
        for step in [7, 100, 4999, 100_000] {
            let mut out = OutBuf::default();
            let mut expected = Vec::new();
            // More large bodies than go into one system call.
            for id in 0..40 {
                let body = if id % 3 == 0 { &small } else { &large };
                out.push(reserved(id, body), Dialect::V1_13, &NO_LOG);
                out.push(Answer::Reply(Reply::Deleted), Dialect::V1_13, &NO_LOG);
                Reply::Reserved(id, body).encode(&mut expected);
                expected.extend_from_slice(b"DELETED\r\n");
            }
            assert_eq!(out.len(), expected.len());
            let mut socket = Trickle { taken: Vec::new(), step };
            let mut cx = Context::from_waker(std::task::Waker::noop());
            assert!(matches!(out.poll_write(&mut cx, &mut socket), Poll::Ready(Ok(()))));
            assert!(socket.taken == expected, "step {step}");
            assert_eq!(out.len(), 0);
        }
    }

    #[test]
    fn others_have_their_turn_while_much_is_written() {
        let body = Body::from(vec![b'L'; 5 * WRITE_AT_ONCE / 2].into_boxed_slice());
        let mut expected = Vec::new();
        Reply::Reserved(1, &body).encode(&mut expected);
        let listed = vec![b'l'; 3 * WRITE_AT_ONCE];
        let text = OutBuf { bytes: listed.clone(), ..OutBuf::default() };
        let mut shared = OutBuf::default();
        shared.push(reserved(1, &body), Dialect::V1_13, &NO_LOG);
        for (mut out, expected) in [(shared, expected), (text, listed)] {
            // A socket that takes all that it is given.
            let mut socket = Trickle { taken: Vec::new(), step: usize::MAX };
            let mut cx = Context::from_waker(std::task::Waker::noop());
            let mut polls = 0;
            while out.poll_write(&mut cx, &mut socket).is_pending() {
                polls += 1;
                assert_eq!(socket.taken.len(), polls * WRITE_AT_ONCE);
            }
            assert_eq!(polls, 2);
            assert!(socket.taken == expected);
        }
    }

    #[test]
    fn a_batch_is_one_reply() {
        let small = Body::from(Box::from(&b"abc"[..]));
        let large = Body::from(vec![b'L'; 5000].into_boxed_slice());
        let mut out = OutBuf::default();
        let jobs = [(1, &small), (2, &large), (3, &small)];
        out.push(Answer::Batch(JobBatch::listed(&jobs)), Dialect::V1_13, &NO_LOG);
        let mut expected = b"BATCH 3\r\n".to_vec();
        for (id, body) in jobs {
            Reply::Reserved(id, body).encode(&mut expected);
        }
        assert_eq!(out.to_bytes(), expected);
        out.fail();
        assert_eq!(out.to_bytes(), b"INTERNAL_ERROR\r\n");
    }

    #[test]
    fn a_list_is_formatted_later() {
        let mut out = OutBuf::default();
        let listing = JobListing { next: 7, jobs: Vec::new() };
        let mut expected = Vec::new();
        Reply::Ok(listing.to_yaml()).encode(&mut expected);
        out.push(Answer::Jobs(listing), Dialect::V1_13, &NO_LOG);
        out.push(Answer::Reply(Reply::Deleted), Dialect::V1_13, &NO_LOG);
        out.render(|_, _| panic!("nobody has asked for stats"));
        expected.extend_from_slice(b"DELETED\r\n");
        assert_eq!((out.to_bytes(), out.len()), (expected.clone(), expected.len()));
    }

    #[test]
    fn appended_buffers_keep_their_inserts() {
        let large = Body::from(vec![b'L'; 5000].into_boxed_slice());
        let mut first = OutBuf::default();
        first.push(reserved(1, &large), Dialect::V1_13, &NO_LOG);
        let mut second = OutBuf::default();
        second.push(reserved(2, &large), Dialect::V1_13, &NO_LOG);
        first.append(second);
        let mut expected = Vec::new();
        Reply::Reserved(1, &large).encode(&mut expected);
        Reply::Reserved(2, &large).encode(&mut expected);
        let mut socket = Trickle { taken: Vec::new(), step: 999 };
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(matches!(first.poll_write(&mut cx, &mut socket), Poll::Ready(Ok(()))));
        assert_eq!(socket.taken, expected);
    }
}
