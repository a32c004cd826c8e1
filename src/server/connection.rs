//! One connection: bytes in, a batch through the hub, bytes out.
//!
//! The future is written by hand. Between batches it holds almost nothing, because thousands of
//! connections may be waiting at any time. Input is read into a buffer of the thread. A connection
//! needs memory of its own only for what it could not finish: an incomplete request, requests after
//! one that blocks, and replies that the client does not read or that wait for the log.
//!
//! While replies wait for the log, further requests are read and handled, so that a client with
//! many requests in flight does not wait for a commit for each of them. Replies are sent in the
//! order of the requests, whatever each of them waits for.

mod guarded;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use beanstalk_protocol::{Request, RequestDecoder, RequestLine};
use jq_engine::{CloseReason, ConnId, Flow};
use tokio::io::ReadBuf;
use tokio::task;
use tracing::{debug, trace};

use crate::freeing;
use crate::log::{Gate, Gated, Place, Staging};
use crate::memory;
use crate::server::guard::Guard;
use crate::server::hub::{Applied, Batch, Hub, REPLY_LIMIT};
use crate::server::outbuf::OutBuf;
use crate::server::peers::Entry;
use crate::server::socket::Socket;

/// Maximum number of bytes read from a socket at a time.
const READ_SIZE: usize = 64 * 1024;

/// Memory of the output buffer that a thread keeps between batches, in bytes.
const KEEP_OUT: usize = 512 * 1024;

/// So much input of each connection is kept for later even if there is hardly any memory left, in bytes.
const KEEP_SHORT: usize = 4096;

/// Maximum number of requests handled under one lock. Bounds how long others wait for it, and how
/// much is decoded in vain after a request that blocks.
const MAX_BATCH: usize = 512;

/// Maximum number of batches of one connection before others on the same thread have their turn.
const TURNS: usize = 8;

/// Others also have their turn after this many requests, or this many bytes of replies, since short
/// requests can have long replies. About a millisecond of work.
const TURN_REQUESTS: usize = 2048;
const TURN_BYTES: usize = REPLY_LIMIT / 2;

/// Maximum number of batches of one connection whose replies wait for the log. When it is reached,
/// or [`REPLY_LIMIT`] bytes of such replies, or without memory one, the connection reads nothing more until
/// the log has caught up.
const MAX_HELD: usize = 256;

/// What a thread needs to serve a connection, shared by all of its connections.
struct Scratch {
    input: Box<[u8]>,
    batch: Batch,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        input: vec![0; READ_SIZE].into_boxed_slice(),
        batch: Batch::default(),
    });
}

/// Serves one socket until it closes. The hub knows the connection from its first poll, after the
/// socket's handshake, until it is dropped.
pub struct Connection<S: Socket> {
    socket: S,
    hub: Arc<Hub>,
    id: Option<ConnId>,
    decoder: RequestDecoder,
    /// As long as its end has not come: a client of another protocol is told by it.
    first_line: Option<Box<RequestLine>>,
    state: State,
    /// Replies that the socket did not take.
    unsent: OutBuf,
    /// The replies after them, which wait for the log.
    held: Held,
    /// The body of a put that the log stores before the put is carried out.
    staging: Option<Box<Staging>>,
    /// Input after a request that blocked, or after more replies than the client reads.
    unhandled: Vec<u8>,
    /// The socket may have bytes that tokio does not know of.
    maybe_unread: bool,
    /// The client no longer accepts replies.
    write_closed: bool,
    /// The client has sent `quit`.
    has_quit: bool,
    /// An operator has closed it.
    is_closed: bool,
    /// The work done in this turn.
    turn: Turn,
    /// The client hung up while its reserve waited, with more requests after it.
    has_hung_up: bool,
    /// Present if not everybody may do everything.
    guard: Option<Box<Guard>>,
    /// Its place in the table for those who look from outside, if somebody may.
    entry: Option<Box<Entry>>,
}

/// Replies that wait for the log, batch by batch, in order.
#[derive(Default)]
struct Held {
    batches: VecDeque<(Gated, OutBuf)>,
    /// Bytes in all of them.
    bytes: usize,
    /// What the first of them waits for.
    place: Place,
}

impl Held {
    fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    fn is_full(&self) -> bool {
        let is_short = || !self.is_empty() && !memory::has_room_for_little();
        self.batches.len() >= MAX_HELD || self.bytes >= REPLY_LIMIT || is_short()
    }

    fn push(&mut self, gated: Gated, out: OutBuf) {
        self.bytes += out.len();
        self.batches.push_back((gated, out));
    }

    /// Takes the replies of the first batch, if they need not wait any longer; if the commit
    /// failed, they become errors.
    fn pop(&mut self, hub: &Hub, cx: &Context<'_>) -> Option<OutBuf> {
        let (gated, _) = self.batches.front()?;
        let gate = hub.poll_gate(*gated, &mut self.place, cx.waker());
        if matches!(gate, Gate::Held | Gate::Lost) {
            return None;
        }
        let (_, mut out) = self.batches.pop_front()?;
        self.bytes -= out.len();
        if gate == Gate::Failed {
            out.fail();
        }
        Some(out)
    }
}

/// What a connection has done since others had their turn.
#[derive(Debug, Default)]
struct Turn {
    /// Requests that were handled.
    requests: usize,
    /// Bytes of replies to them.
    bytes: usize,
}

impl Turn {
    fn is_over(&self) -> bool {
        self.requests >= TURN_REQUESTS || self.bytes >= TURN_BYTES
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    /// Waiting for the answer to a request.
    Blocked,
    /// Waiting until the log has stored a body.
    Staging,
    /// Waiting until it is known whose a token is.
    Authenticating,
    /// To be closed once everything is sent.
    Closing,
}

impl<S: Socket> Connection<S> {
    /// A connection over this socket, whose handshake is done. The hub knows the connection from
    /// its first poll on.
    pub fn new(socket: S, hub: Arc<Hub>) -> Self {
        Self::guarded(socket, hub, None)
    }

    /// The same for a client that may do what the guard allows, if there is one.
    pub fn guarded(socket: S, hub: Arc<Hub>, guard: Option<Guard>) -> Self {
        let decoder = RequestDecoder::new(hub.dialect(), hub.max_job_size());
        let mut decoder = decoder.with_room(memory::has_room).with_free(freeing::free);
        if let Some(from) = hub.stages_from() {
            // What arrives in one piece comes among other requests, and is handled with them.
            decoder = decoder.with_aside(from.max(READ_SIZE));
        }
        if guard.is_some() {
            decoder = decoder.with_auth();
            // Until it is known who that is.
            decoder.hold_nothing(true);
        }
        Self {
            socket,
            hub,
            id: None,
            decoder,
            first_line: Some(Box::default()),
            state: State::Running,
            unsent: OutBuf::default(),
            held: Held::default(),
            staging: None,
            unhandled: Vec::new(),
            maybe_unread: false,
            write_closed: false,
            has_quit: false,
            is_closed: false,
            turn: Turn::default(),
            has_hung_up: false,
            guard: guard.map(Box::new),
            entry: None,
        }
    }

    /// Waits for the answer to the request that blocked, or for the client to hang up.
    fn poll_blocked(&mut self, cx: &mut Context<'_>, id: ConnId) -> Poll<()> {
        if let Some((answer, gated)) = self.hub.collect(id) {
            self.send_later(gated, *answer);
            self.state = State::Running;
            return Poll::Ready(());
        }
        if self.hub.is_stopping() {
            self.state = State::Closing;
            return Poll::Ready(());
        }
        match ready!(self.socket.poll_read_event(cx)) {
            Ok(()) => {
                // What the client sends meanwhile stays in the socket, so that a flood of it does
                // not take our memory. From here on, tokio no longer knows that it is there.
                self.maybe_unread = true;
                if self.socket.hung_up() {
                    self.has_hung_up = true;
                    self.hub.half_close(id);
                }
            }
            Err(error) => self.close(&error),
        }
        Poll::Ready(())
    }

    /// Whether the client is known to be gone, rather than just to send nothing more. Its requests
    /// after a reserve that waited are then not handled: it left before their turn came.
    fn has_left(&self) -> bool {
        self.has_hung_up && (self.write_closed || self.socket.has_failed())
    }

    /// Reads and handles one batch.
    fn poll_running(&mut self, cx: &mut Context<'_>, id: ConnId) -> Poll<()> {
        if self.has_left() {
            self.state = State::Closing;
            return Poll::Ready(());
        }
        if self.guard.as_ref().is_some_and(|guard| guard.needs_a_look()) {
            ready!(self.poll_guard(cx, id));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let Scratch { input, batch } = scratch;
            batch.outcome.unread = self.write_closed;
            if !self.unhandled.is_empty() {
                let input = std::mem::take(&mut self.unhandled);
                self.note_unhandled();
                self.handle(id, &input, batch);
            } else {
                match ready!(self.poll_read(cx, input)) {
                    // The client will send nothing more, and everything before is answered.
                    Ok(0) => self.state = State::Closing,
                    Ok(count) => self.handle(id, &input[..count], batch),
                    Err(error) => self.close(&error),
                }
            }
            self.send_outcome(cx, batch)
        })
    }

    /// Sends the replies to a batch, as far as they may be sent.
    #[inline(always)]
    fn send_outcome(&mut self, cx: &mut Context<'_>, batch: &mut Batch) -> Poll<()> {
        self.turn.bytes += batch.outcome.out.len();
        let gated = std::mem::take(&mut batch.outcome.gated);
        let has_woken = std::mem::take(&mut batch.outcome.has_woken);
        // Write directly to the socket. The connection keeps only what the socket does not
        // accept, and what must not be sent yet.
        if gated.is_needed() || !self.held.is_empty() {
            self.send_later(gated, std::mem::take(&mut batch.outcome.out));
        } else if has_woken {
            // A worker gets its job before the producer gets its reply: the worker may have
            // waited for long, the producer has waited for microseconds.
            self.unsent = std::mem::take(&mut batch.outcome.out);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        } else if !self.write_closed {
            match batch.outcome.out.poll_write(cx, &mut self.socket) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => self.stop_writing(&error),
                Poll::Pending => {
                    self.unsent = std::mem::take(&mut batch.outcome.out);
                    self.note_unsent();
                    self.close_if_short();
                }
            }
        }
        batch.outcome.out.clear(KEEP_OUT);
        Poll::Ready(())
    }

    /// Waits until the log has stored a body, and carries out its put. The client may be gone
    /// meanwhile: it has sent all of it, so that makes no difference.
    #[cold]
    fn poll_staging(&mut self, cx: &mut Context<'_>, id: ConnId) -> Poll<()> {
        let body = match &mut self.staging {
            Some(staging) => ready!(staging.poll(cx)),
            None => None,
        };
        self.state = State::Running;
        let request = body.map_or(Request::UnheldBody, Request::Body);
        SCRATCH.with_borrow_mut(|scratch| {
            let batch = &mut scratch.batch;
            batch.outcome.unread = self.write_closed;
            batch.requests.push((request, 0));
            self.turn.requests += 1;
            self.apply(id, batch);
            // The put is over.
            self.staging = None;
            self.send_outcome(cx, batch)
        })
    }

    /// A large body has arrived. Has the log store it before the put is carried out; the `rest` of the
    /// input has to wait.
    #[cold]
    fn stage(&mut self, id: ConnId, body: Box<[u8]>, rest: &[u8], batch: &mut Batch) {
        match self.hub.stage(id, body) {
            Ok(staging) => {
                self.staging = Some(Box::new(staging));
                self.state = State::Staging;
            }
            Err(body) => {
                batch.requests.push((Request::Body(body), 0));
                self.apply(id, batch);
            }
        }
        self.keep(rest);
    }

    /// Holds replies until what they report is committed, and all earlier replies are sent.
    fn send_later(&mut self, gated: Gated, out: OutBuf) {
        if gated.is_needed() || !(self.held.is_empty() || out.is_empty()) {
            self.held.push(gated, out);
        } else {
            self.unsent.append(out);
        }
    }

    /// Sends what may be sent. Ready when the connection can go on with requests, or close.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(out) = self.held.pop(&self.hub, cx) {
            self.unsent.append(out);
        }
        if !self.unsent.is_empty() || self.socket.needs_flush() {
            if !self.write_closed {
                match self.unsent.poll_write(cx, &mut self.socket) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => self.stop_writing(&error),
                    Poll::Pending => {
                        self.note_unsent();
                        if !self.close_if_short() {
                            return Poll::Pending;
                        }
                    }
                }
            }
            self.unsent.clear(0);
            self.note_unsent();
        }
        let waits = match self.state {
            State::Running => self.held.is_full(),
            State::Blocked | State::Staging | State::Authenticating => false,
            State::Closing => !self.held.is_empty(),
        };
        if waits { Poll::Pending } else { Poll::Ready(()) }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, input: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.maybe_unread || self.hub.is_stopping() {
            match self.socket.read_now(input) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.maybe_unread = false;
                    if self.hub.is_stopping() {
                        // Everything that had arrived is handled. Treat this as the end of the
                        // input.
                        return Poll::Ready(Ok(0));
                    }
                }
                result => return Poll::Ready(result),
            }
        }
        let mut buffer = ReadBuf::new(input);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Decodes and handles `input`. Keeps what cannot be handled yet.
    fn handle(&mut self, id: ConnId, input: &[u8], batch: &mut Batch) {
        let mut at = 0;
        loop {
            let mut complete = true;
            let most = self.guard.as_ref().filter(|guard| guard.needs_a_look());
            let most = if most.is_some() { self.look_before(id) } else { MAX_BATCH };
            if most == MAX_BATCH {
                while batch.requests.len() < MAX_BATCH
                    && let Some(request) = self.decoder.decode(input, &mut at)
                {
                    batch.requests.push((request, at));
                }
            } else {
                complete = self.decode_some(input, &mut at, most, batch);
            }
            if let Some(mut line) = self.first_line.take() {
                let first = batch.requests.first();
                line.feed(&input[..first.map_or(at, |(_, end)| *end)]);
                match first {
                    None => self.first_line = Some(line),
                    Some((request, _)) if line.is_http_in_place_of(request) => {
                        batch.requests.clear();
                        return self.refuse_http();
                    }
                    Some(_) => {}
                }
            }
            let Some(end) = batch.requests.last().map(|(_, end)| *end) else {
                if !complete {
                    return self.keep(&input[at..]);
                }
                // A body that is set aside is longer than all of the input, so nothing is before it.
                if let Some(body) = self.decoder.take_aside() {
                    self.stage(id, body, &input[at..], batch);
                }
                return;
            };
            let complete = complete && batch.requests.len() < MAX_BATCH;
            self.turn.requests += batch.requests.len();
            trace!(connection = id.0, requests = batch.requests.len(), "batch");
            let applied = self.apply(id, batch);
            match applied.flow {
                Flow::Continue => {}
                Flow::Blocked => self.state = State::Blocked,
                Flow::Close => {
                    self.has_quit = true;
                    self.state = State::Closing;
                    return;
                }
            }
            if self.guard.as_ref().is_some_and(|guard| guard.has_paused) {
                return self.pause(&input[applied.end..]);
            }
            if applied.flow == Flow::Blocked || applied.end < end {
                // The rest is decoded again when its turn comes.
                self.decoder.reset();
                self.keep(&input[applied.end..]);
                return;
            }
            if complete {
                return;
            }
            if batch.outcome.out.len() >= REPLY_LIMIT || self.turn.is_over() {
                self.keep(&input[at..]);
                return;
            }
        }
    }

    /// Has the queue carry out a batch.
    #[inline(always)]
    fn apply(&mut self, id: ConnId, batch: &mut Batch) -> Applied {
        match &mut self.guard {
            None => self.hub.apply(id, batch),
            Some(guard) => self.hub.apply_guarded(id, batch, guard),
        }
    }

    /// Keeps input for later. Without memory for it, there is no way to go on with this client.
    fn keep(&mut self, input: &[u8]) {
        let is_wanted = input.len() <= KEEP_SHORT || memory::has_room_for_little();
        if is_wanted && self.unhandled.try_reserve_exact(input.len()).is_ok() {
            self.unhandled.extend_from_slice(input);
            self.note_unhandled();
        } else {
            self.close(&io::ErrorKind::OutOfMemory.into());
        }
    }

    #[inline]
    fn note_unsent(&self) {
        if let Some(entry) = &self.entry {
            entry.note_unsent(self.unsent.len());
        }
    }

    #[inline]
    fn note_unhandled(&self) {
        if let Some(entry) = &self.entry {
            entry.note_unhandled(self.unhandled.len());
        }
    }

    /// The client speaks HTTP. It may be a browser that sends what a web page made it send.
    #[cold]
    fn refuse_http(&mut self) {
        self.hub.http_clients.closed(self.hub.clock().now(), || self.socket.peer());
        self.state = State::Closing;
    }

    /// The client left without reading its replies. What it has sent is still handled: it may have
    /// put jobs without waiting for the replies.
    fn stop_writing(&mut self, error: &io::Error) {
        debug!(connection = self.id.map(|id| id.0), %error, "replies cannot be delivered");
        self.write_closed = true;
    }

    /// Everything is sent. If the connection has failed, no one is left to notify of its end.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.write_closed
            && let Err(error) = ready!(self.socket.poll_close(cx))
        {
            self.stop_writing(&error);
        }
        Poll::Ready(())
    }

    /// Closes the connection if its client does not read its replies, and there is hardly any memory left.
    fn close_if_short(&mut self) -> bool {
        let is_short = !memory::has_room_for_little();
        if is_short {
            self.close(&io::ErrorKind::OutOfMemory.into());
        }
        is_short
    }

    fn close(&mut self, error: &io::Error) {
        debug!(connection = self.id.map(|id| id.0), %error, "connection lost");
        self.state = State::Closing;
        self.write_closed = true;
    }
}

impl<S: Socket> Future for Connection<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let id = match this.id {
            Some(id) => id,
            None => {
                let id = this.hub.connect(cx.waker().clone());
                debug!(connection = id.0, peer = this.socket.peer(), "connected");
                this.entry = this.hub.enter(id, &this.socket).map(Box::new);
                this.id = Some(id);
                if this.guard.is_some() {
                    this.meet(id);
                }
                id
            }
        };
        this.turn = Turn::default();
        for _ in 0..TURNS {
            if this.turn.is_over() {
                break;
            }
            if this.hub.has_lost_log() {
                // Any reply could be wrong.
                return Poll::Ready(());
            }
            if this.hub.has_closed(id) {
                debug!(connection = id.0, "closed by an operator");
                this.is_closed = true;
                return Poll::Ready(());
            }
            if this.state == State::Blocked
                && this.guard.as_ref().is_some_and(|guard| guard.is_stale())
            {
                this.look_again(id);
            }
            ready!(this.poll_send(cx));
            match this.state {
                State::Closing => return this.poll_close(cx),
                State::Blocked => ready!(this.poll_blocked(cx, id)),
                State::Staging => ready!(this.poll_staging(cx, id)),
                State::Authenticating => ready!(this.poll_authenticating(cx, id)),
                State::Running => ready!(this.poll_running(cx, id)),
            }
        }
        // Whose bytes have arrived meanwhile comes first. When woken by itself, the runtime would look for
        // these only after some sixty turns.
        pin!(task::yield_now()).poll(cx)
    }
}

impl<S: Socket> Drop for Connection<S> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            if let Some(entry) = self.entry.take() {
                self.hub.leave(&entry);
            }
            let reason = match (self.has_quit, self.is_closed || self.hub.is_stopping()) {
                (true, _) => CloseReason::Quit,
                (false, true) => CloseReason::ServerStops,
                (false, false) => CloseReason::Vanished,
            };
            self.hub.disconnect(id, reason);
            let inputs = self.decoder.held_bytes() + self.unhandled.len();
            self.hub.freed(inputs + self.unsent.len() + self.held.bytes);
            freeing::free(self.decoder.take_partial());
            debug!(connection = id.0, "disconnected");
        }
    }
}
