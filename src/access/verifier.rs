//! The thread that verifies tokens, one at a time: a hash takes some 20 ms and 19 MiB, which no connection
//! may have to wait for but its own.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use beanstalk_protocol::Token;
use tokio::sync::oneshot;
use tracing::{error, warn};

use super::directory::{Directory, Identity};
use super::in_force::Access;
use super::remembered::{Remembered, SecretKey};
use super::token::{CannotHash, Memory, claimed_name};
use super::turns::{Next, Origin, Ticket, Turns};
use crate::clock::Clock;
use crate::paced::Paced;

/// After so long without a token to verify, the memory for it is given back.
const MEMORY_KEPT: Duration = Duration::from_secs(10);

/// What there is to say of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is right, and this is who has shown it.
    Right(Identity),
    /// It is nobody's.
    Wrong,
    /// It cannot be told now, because there is no memory for it or the server stops. That is not the
    /// client's fault.
    Unknown,
}

/// How often what happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Right tokens that were verified.
    pub right: u64,
    /// Right tokens that had been verified before.
    pub remembered: u64,
    /// Wrong tokens.
    pub wrong: u64,
    /// Tokens that could not be verified.
    pub unknown: u64,
    /// Tokens that wait to be verified now.
    pub waiting: u64,
}

/// Verifies tokens. When it is dropped, the thread ends.
#[derive(Debug)]
pub struct Verifier {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    access: Arc<Access>,
    clock: Clock,
    key: SecretKey,
    remembered: Mutex<Remembered>,
    queue: Mutex<Queue>,
    /// Notified when the queue has changed.
    changed: Condvar,
    right: AtomicU64,
    from_memory: AtomicU64,
    unknown: Paced,
    /// Wrong ones: from Unix sockets, IPv4 and IPv6 addresses, so that one kind does not hide another in
    /// the log.
    wrong: [Paced; 3],
}

#[derive(Debug)]
struct Queue {
    turns: Turns<Order>,
    is_stopped: bool,
}

/// A token that waits, and who wants to know. Dropped, it is unknown.
struct Order {
    token: Token,
    tag: [u8; 32],
    to: oneshot::Sender<Verdict>,
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Order").field("token", &self.token).finish_non_exhaustive()
    }
}

/// A token that is being verified, as its connection sees it: a future. When it is dropped, nobody wants to
/// know any more, and nothing waits.
#[derive(Debug)]
pub struct Verification(State);

#[derive(Debug)]
enum State {
    Known(Option<Verdict>),
    Waiting { verdict: oneshot::Receiver<Verdict>, ticket: Ticket, shared: Arc<Shared> },
}

impl Verifier {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// Those of the system: there is no other thread, or there are no random bytes.
    pub fn start(access: Arc<Access>, clock: Clock) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            access,
            clock,
            key: SecretKey::random().map_err(io::Error::other)?,
            remembered: Mutex::new(Remembered::new()),
            queue: Mutex::new(Queue { turns: Turns::new(), is_stopped: false }),
            changed: Condvar::new(),
            right: AtomicU64::new(0),
            from_memory: AtomicU64::new(0),
            unknown: Paced::default(),
            wrong: Default::default(),
        });
        let its = Arc::clone(&shared);
        let thread = thread::Builder::new().name("jq-auth".to_owned()).spawn(move || its.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Has a token verified. One that was right before is known at once; any other waits for its turn, and
    /// for the delay of its address if there were wrong ones from it. `address` is `None` for Unix sockets.
    pub fn verify(&self, token: Token, address: Option<IpAddr>) -> Verification {
        let shared = &self.shared;
        let tag = shared.key.tag(token.as_bytes());
        if let Some(identity) = shared.recall(&tag, &shared.access.directory()) {
            return Verification(State::Known(Some(Verdict::Right(identity))));
        }
        let (to, verdict) = oneshot::channel();
        let mut queue = shared.queue();
        if queue.is_stopped {
            return Verification(State::Known(Some(Verdict::Unknown)));
        }
        let (now, order) = (shared.clock.now(), Order { token, tag, to });
        let ticket = queue.turns.push(now, address.map(Into::into), order);
        drop(queue);
        shared.changed.notify_one();
        Verification(State::Waiting { verdict, ticket, shared: Arc::clone(shared) })
    }

    /// How often what happened.
    pub fn counts(&self) -> Counts {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            right: load(&self.shared.right),
            remembered: load(&self.shared.from_memory),
            wrong: self.shared.wrong.iter().map(Paced::total).sum(),
            unknown: self.shared.unknown.total(),
            waiting: self.shared.queue().turns.len() as u64,
        }
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        let waiting = {
            let mut queue = self.shared.queue();
            queue.is_stopped = true;
            queue.turns.drain()
        };
        self.shared.changed.notify_one();
        // Whoever waits learns that it cannot be told.
        drop(waiting);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Verification {
    /// Whether others of its address come first, or the address has to wait because of a wrong token.
    pub(crate) fn has_to_wait(&self) -> bool {
        match &self.0 {
            State::Known(_) => false,
            State::Waiting { ticket, shared, .. } => {
                let now = shared.clock.now();
                shared.queue().turns.has_to_wait(now, *ticket)
            }
        }
    }
}

impl Future for Verification {
    type Output = Verdict;

    /// # Panics
    ///
    /// After it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Verdict> {
        match &mut self.0 {
            State::Known(verdict) => {
                Poll::Ready(verdict.take().expect("polled after it was ready"))
            }
            State::Waiting { verdict, .. } => {
                Pin::new(verdict).poll(cx).map(|verdict| verdict.unwrap_or(Verdict::Unknown))
            }
        }
    }
}

impl Drop for Verification {
    fn drop(&mut self) {
        if let State::Waiting { ticket, shared, .. } = &self.0 {
            let order = shared.queue().turns.remove(*ticket);
            // After the lock is released: it wakes whoever waits.
            drop(order);
        }
    }
}

impl Shared {
    /// What the thread does.
    fn run(&self) {
        let mut memory = Memory::default();
        while let Some((origin, order)) = self.next(&mut memory) {
            let was_wrong = self.answer(origin, order, &mut memory);
            self.queue().turns.done(self.clock.now(), origin, was_wrong);
        }
    }

    /// Waits for the next token. `None`: the server stops.
    fn next(&self, memory: &mut Memory) -> Option<(Origin, Order)> {
        let mut queue = self.queue();
        loop {
            if queue.is_stopped {
                return None;
            }
            let now = self.clock.now();
            let wait = match queue.turns.next(now) {
                Next::Now(origin, order) => return Some((origin, order)),
                Next::At(at) => Some(Duration::from_nanos(at.0.saturating_sub(now.0))),
                Next::Nothing => None,
            };
            let wait = match wait {
                _ if !memory.is_released() => Some(wait.unwrap_or(MEMORY_KEPT).min(MEMORY_KEPT)),
                wait => wait,
            };
            queue = match wait {
                None => self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(wait) => {
                    let woken = self.changed.wait_timeout(queue, wait);
                    let (queue, waited) = woken.unwrap_or_else(PoisonError::into_inner);
                    if waited.timed_out() && wait >= MEMORY_KEPT {
                        memory.release();
                    }
                    queue
                }
            };
        }
    }

    /// Verifies a token, and tells who wants to know. Returns whether it was wrong.
    fn answer(&self, origin: Origin, order: Order, memory: &mut Memory) -> bool {
        let Order { token, tag, to } = order;
        if to.is_closed() {
            return false;
        }
        let directory = self.access.directory();
        // Of many that came at once with the same token, the first is verified.
        if let Some(identity) = self.recall(&tag, &directory) {
            let _ = to.send(Verdict::Right(identity));
            return false;
        }
        let pick = |name: &[u8]| {
            let tag = self.key.tag(name);
            u64::from_le_bytes(tag[..8].try_into().expect("8 bytes of 32"))
        };
        let verdict = match directory.by_token(token.as_bytes(), pick, memory) {
            Ok(Some(identity)) => {
                self.right.fetch_add(1, Ordering::Relaxed);
                self.remembered().insert(tag, identity.clone(), directory.generation());
                Verdict::Right(identity)
            }
            Ok(None) => Verdict::Wrong,
            Err(failure) => {
                self.cannot(&failure);
                Verdict::Unknown
            }
        };
        let was_wrong = verdict == Verdict::Wrong;
        // It may be gone meanwhile. A wrong token counts all the same.
        let _ = to.send(verdict);
        if was_wrong {
            self.tell_wrong(origin, &token);
        }
        was_wrong
    }

    /// Who has shown the token with this tag before.
    fn recall(&self, tag: &[u8; 32], directory: &Directory) -> Option<Identity> {
        let again = |identity: &Identity| directory.again(identity);
        let identity = self.remembered().find(tag, directory.generation(), again)?;
        self.from_memory.fetch_add(1, Ordering::Relaxed);
        Some(identity)
    }

    fn tell_wrong(&self, origin: Origin, token: &Token) {
        use super::address::ClientAddress::{V4, V6};
        let (class, address) = match origin {
            None => (0, "a Unix socket".to_owned()),
            Some(address @ V4(_)) => (1, address.to_string()),
            Some(address @ V6(_)) => (2, address.to_string()),
        };
        if let Some(refused) = self.wrong[class].count(self.clock.now()) {
            // Never the token, and nothing of it that is not a name: it may be a secret that is used elsewhere.
            let principal = claimed_name(token.as_bytes()).unwrap_or("(no name)");
            warn!(principal, address, refused, "a token was refused");
        }
    }

    fn cannot(&self, failure: &CannotHash) {
        if let Some(tokens) = self.unknown.count(self.clock.now()) {
            error!(%failure, tokens, "tokens cannot be verified");
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
