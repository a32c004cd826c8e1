//! What a connection does besides when the server knows its clients: it decodes no further than it may, finds
//! out whose a token is, and looks again when the file was read again.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use beanstalk_protocol::{Reply, Request};
use jq_engine::ConnId;
use tracing::debug;

use super::{Connection, MAX_BATCH, State, TURN_REQUESTS};
use crate::log::Gated;
use crate::server::guard::Authenticated;
use crate::server::hub::Batch;
use crate::server::outbuf::OutBuf;
use crate::server::socket::Socket;

impl<S: Socket> Connection<S> {
    /// Before anything is read: looks again if the file was read again, since an idle connection, too, counts
    /// to the limits that are new; then waits until a command may come.
    #[cold]
    pub(super) fn poll_guard(&mut self, cx: &mut Context<'_>, id: ConnId) -> Poll<()> {
        self.renew(id);
        match &mut self.guard {
            Some(guard) if guard.is_paced() && !self.hub.is_stopping() => {
                guard.poll_turn(cx, self.hub.clock())
            }
            _ => Poll::Ready(()),
        }
    }

    /// If the file was read again, the guard looks everything up again.
    fn renew(&mut self, id: ConnId) {
        let Some(guard) = &mut self.guard else { return };
        let before = guard.principal().cloned();
        if self.hub.renew(id, guard) {
            self.note_guard(id, before);
        }
    }

    /// What is to be done before a batch is decoded: if the file was read again, the guard looks everything up
    /// again. Returns how many commands may come now.
    #[cold]
    pub(super) fn look_before(&mut self, id: ConnId) -> usize {
        self.renew(id);
        let Some(guard) = &self.guard else { return MAX_BATCH };
        if guard.is_paced() && !self.hub.is_stopping() {
            guard.commands_now(self.hub.clock().now(), MAX_BATCH)
        } else {
            MAX_BATCH
        }
    }

    /// Decodes up to so many commands. Returns whether that is all of the input.
    #[cold]
    pub(super) fn decode_some(
        &mut self,
        input: &[u8],
        at: &mut usize,
        most: usize,
        batch: &mut Batch,
    ) -> bool {
        let mut commands = 0;
        while commands < most && batch.requests.len() < MAX_BATCH {
            let Some(request) = self.decoder.decode(input, at) else { return true };
            // The line of a put and its body are one command.
            commands += usize::from(!matches!(request, Request::Put(_) | Request::OversizedPut));
            batch.requests.push((request, *at));
        }
        *at == input.len() && self.decoder.is_between_requests()
    }

    /// The guard has ended a batch early: a token is to be verified, or others are to have their turn. The
    /// `rest` of the input has to wait.
    #[cold]
    pub(super) fn pause(&mut self, rest: &[u8]) {
        if let Some(guard) = &mut self.guard
            && let Some(token) = guard.token.take()
        {
            guard.begin_verification(token);
            self.state = State::Authenticating;
        }
        self.turn.requests = TURN_REQUESTS;
        // It is decoded again when its turn comes.
        self.decoder.reset();
        self.keep(rest);
    }

    /// Waits until it is known whose the token is, and answers.
    #[cold]
    pub(super) fn poll_authenticating(&mut self, cx: &mut Context<'_>, id: ConnId) -> Poll<()> {
        if self.hub.is_stopping() {
            self.state = State::Closing;
            return Poll::Ready(());
        }
        let Some(guard) = &mut self.guard else { return Poll::Ready(()) };
        let before = guard.principal().cloned();
        let authenticated = match guard.poll_verification(cx) {
            Poll::Ready(authenticated) => authenticated,
            // Whoever has only shut down its side of the connection still waits for the reply.
            Poll::Pending if guard.has_hung_up => return Poll::Pending,
            Poll::Pending => {
                match ready!(self.socket.poll_read_event(cx)) {
                    Ok(()) => {
                        self.maybe_unread = true;
                        guard.has_hung_up = self.socket.hung_up();
                        // Whoever guesses and is gone would hold its place, and its descriptor, for all of the
                        // delay that the guesses before it have brought about.
                        let is_gone = self.socket.has_failed() || guard.has_to_wait();
                        if guard.has_hung_up && is_gone {
                            self.close(&io::ErrorKind::ConnectionReset.into());
                        }
                    }
                    Err(error) => self.close(&error),
                }
                return Poll::Ready(());
            }
        };
        let (reply, state) = match authenticated {
            Authenticated::Yes => (Reply::Authenticated, State::Running),
            Authenticated::No { is_last: false } => (Reply::NotAuthenticated, State::Running),
            Authenticated::No { is_last: true } => (Reply::NotAuthenticated, State::Closing),
            Authenticated::TooMany => (Reply::OutOfMemory, State::Closing),
            Authenticated::Unknown => (Reply::InternalError, State::Running),
        };
        if authenticated == Authenticated::Yes {
            // There is a place for it: that was seen to.
            let _ = self.hub.look_again(id, guard);
            self.note_guard(id, before);
        }
        self.state = state;
        self.say(&reply);
        Poll::Ready(())
    }

    /// Sends a reply of its own, after all others.
    fn say(&mut self, reply: &Reply<&[u8]>) {
        if !self.write_closed {
            let mut out = OutBuf::default();
            out.push_word(reply);
            self.send_later(Gated::default(), out);
        }
    }

    /// The file was read again while the connection waits for a job.
    #[cold]
    pub(super) fn look_again(&mut self, id: ConnId) {
        let Some(guard) = &mut self.guard else { return };
        let before = guard.principal().cloned();
        self.hub.judge_wait(id, guard);
        self.note_guard(id, before);
    }

    /// Finds out who has connected. One connection too many is told so, and closed.
    #[cold]
    pub(super) fn meet(&mut self, id: ConnId) {
        let Some(guard) = &mut self.guard else { return };
        if self.hub.look_again(id, guard).is_err() {
            self.state = State::Closing;
            return self.say(&Reply::OutOfMemory);
        }
        self.note_guard(id, None);
    }

    /// Another principal, or none, may be known now than the one of `before`.
    fn note_guard(&mut self, id: ConnId, before: Option<Arc<str>>) {
        let Some(guard) = &self.guard else { return };
        match guard.principal() {
            principal if principal == before.as_ref() => {}
            Some(principal) => debug!(connection = id.0, %principal, "acts for a principal"),
            None => debug!(connection = id.0, before = before.as_deref(), "acts for nobody now"),
        }
        self.decoder.hold_nothing(!guard.is_known());
        if let Some(entry) = &self.entry {
            entry.note_principal(guard.principal());
        }
    }
}
