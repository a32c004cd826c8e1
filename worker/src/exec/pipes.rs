//! The worker's ends of the pipes of a process.
//!
//! Owns: moving bytes without blocking and without keeping them. Must not know: what they mean.

use bytes::{Buf, Bytes};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::unix::pipe::{Receiver, Sender};

/// The size of one read: as much as a pipe holds by default.
const CHUNK: usize = 64 * 1024;

/// Maximum size of what is read from a pipe when its process is gone: as much as a pipe can hold,
/// unless root enlarged it. More could only come from another process that was given the pipe.
const REST: usize = 1024 * 1024;

thread_local! {
    /// One for each thread rather than for each run: nothing stays in it.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into_boxed_slice());
}

/// Writes the input of a process.
#[derive(Debug)]
pub(super) struct Feed {
    pipe: Sender,
    left: Bytes,
}

/// Reads the output of a process.
#[derive(Debug)]
pub(super) struct Drain {
    pipe: Receiver,
    has_ended: bool,
}

/// A pipe that already holds `bytes`, and a [`Feed`] for what did not fit. If everything fitted,
/// there is none, and the pipe ends after `bytes`.
pub(super) fn filled_pipe(bytes: Bytes) -> io::Result<(OwnedFd, Option<Feed>)> {
    let (its, ours) = io::pipe()?;
    let ours = OwnedFd::from(ours);
    // Only our end: each end has its own flags.
    rustix::fs::fcntl_setfl(&ours, OFlags::NONBLOCK)?;
    let mut left = bytes;
    match rustix::io::write(&ours, &left) {
        Ok(written) => left.advance(written),
        Err(Errno::AGAIN | Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let feed = if left.is_empty() {
        None
    } else {
        Some(Feed { pipe: Sender::from_owned_fd_unchecked(ours)?, left })
    };
    Ok((its.into(), feed))
}

/// The end that a process reads from, and the end to write to.
pub(super) fn input_pipe() -> io::Result<(OwnedFd, Sender)> {
    let (its, ours) = io::pipe()?;
    let ours = OwnedFd::from(ours);
    rustix::fs::fcntl_setfl(&ours, OFlags::NONBLOCK)?;
    Ok((its.into(), Sender::from_owned_fd_unchecked(ours)?))
}

/// The end to read from, and the end that a process writes to.
pub(super) fn output_pipe() -> io::Result<(Drain, OwnedFd)> {
    let (ours, its) = io::pipe()?;
    let ours = OwnedFd::from(ours);
    rustix::fs::fcntl_setfl(&ours, OFlags::NONBLOCK)?;
    Ok((Drain { pipe: Receiver::from_owned_fd_unchecked(ours)?, has_ended: false }, its.into()))
}

impl Feed {
    /// Writes everything that is left, or as much as the process reads. Cancel safe.
    pub(super) async fn write_all(&mut self) {
        while !self.left.is_empty() {
            match self.pipe.write(&self.left).await {
                Ok(written) => self.left.advance(written),
                // The process has closed its input, which is its right.
                Err(_) => return,
            }
        }
    }
}

impl Drain {
    /// Waits for output and passes it to `take`, at most [`CHUNK`] bytes. Returns their number. 0:
    /// the output has ended, and the next call waits forever. Cancel safe.
    pub(super) async fn read(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<usize> {
        if self.has_ended {
            std::future::pending::<()>().await;
        }
        let read = poll_fn(|context| {
            SCRATCH.with_borrow_mut(|scratch| {
                let mut chunk = ReadBuf::new(scratch);
                match Pin::new(&mut self.pipe).poll_read(context, &mut chunk) {
                    Poll::Ready(Ok(())) => {
                        take(chunk.filled());
                        Poll::Ready(Ok(chunk.filled().len()))
                    }
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Pending => Poll::Pending,
                }
            })
        })
        .await;
        self.has_ended = !matches!(read, Ok(1..));
        read
    }

    /// Passes what is in the pipe to `take`, without waiting: for when nobody writes to it any
    /// more.
    pub(super) fn read_rest(&self, mut take: impl FnMut(&[u8])) {
        let mut rest = REST;
        SCRATCH.with_borrow_mut(|scratch| {
            while rest > 0
                && let Ok(read @ 1..) = rustix::io::read(self.pipe.as_fd(), &mut **scratch)
            {
                take(&scratch[..read]);
                rest = rest.saturating_sub(read);
            }
        });
    }
}
