//! What stands between a connection and the queue when the server knows its clients (`--auth`).
//!
//! A [`Guard`] belongs to one connection. It knows who the connection acts for, and what that principal may
//! do in the tubes that the connection uses and watches: that is looked up when these change, or the file
//! is read again, and not for each command. `judge.rs` says which right each request needs; the hub asks
//! under its lock, before the engine hears of the request. What all connections share is in
//! [`AccessControl`].
//!
//! Must not know: sockets. Without `--auth` there is nothing of this.

mod account;
mod control;
mod judge;
mod owners;

use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use beanstalk_protocol::{Request, Token};
use jq_engine::{ConnId, Engine, Nanos, TubeRef};
use tokio::time::Sleep;
use tracing::warn;

pub(crate) use self::account::{Account, Seat};
pub(crate) use self::control::PrincipalView;
pub use self::control::{AccessControl, Shown};
pub(crate) use self::judge::{Judgement, Then};
pub(crate) use self::owners::Owners;
use crate::access::{Identity, Limits, Principal, Rights, Verdict, Verification};
use crate::clock::Clock;

/// After so many wrong tokens, a connection is closed.
const WRONG_TOKENS: u8 = 3;

/// Places of the table of rights. Numbers of tubes count up, so those in use at a time seldom meet.
const KNOWN: usize = 16;

/// No tube has this number.
const NO_TUBE: u64 = u64::MAX;

/// Who a connection acts for, and what it may do.
pub struct Guard {
    control: Arc<AccessControl>,
    shown: Shown,
    /// Of the directory that everything here was looked up in; 0: of none.
    generation: u64,
    /// Whether it was ever looked up.
    is_met: bool,
    identity: Option<Identity>,
    seat: Option<Seat>,
    address_seat: Option<Seat>,
    limits_of_address: Limits,
    /// In the tube that is used.
    used: Rights,
    /// The watched tubes that it may not reserve from.
    closed: HashSet<u64>,
    /// Whether there are none, and it has said who it is.
    may_reserve: bool,
    /// Whether all jobs that it has reserved are of tubes that it may reserve from.
    is_clean: bool,
    /// The rights in the tubes that jobs were found in, each at its number's place.
    known: [(u64, Rights); KNOWN],
    /// The kinds of requests that need no closer look: see `judge.rs`.
    may: u32,
    /// The body of a put that was refused is still to come.
    refuses_put: bool,
    /// Whether a body needs a closer look.
    body_is_special: bool,
    /// To be verified when what came before it is done.
    pub(crate) token: Option<Token>,
    verification: Option<Verification>,
    wrong_tokens: u8,
    /// The client has hung up, or at least sends nothing more, while its token is verified.
    pub(crate) has_hung_up: bool,
    /// Whether its commands may have to wait.
    is_paced: bool,
    /// A command whose turn was waited for.
    credit: u64,
    turn: Option<Pin<Box<Sleep>>>,
    /// Commands that have come, but are not counted yet.
    commands: u64,
    /// The last batch ended early, so that others have their turn or a token is verified.
    pub(crate) has_paused: bool,
    /// To be logged when the queue is unlocked.
    denial: Option<Denial>,
    now: Nanos,
}

#[derive(Debug)]
struct Denial {
    command: &'static str,
    tube: Option<Box<str>>,
    denied: u64,
}

/// There are as many connections of this principal, or from this address, as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany;

/// What became of `auth`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Authenticated {
    /// The connection acts for somebody now.
    Yes,
    /// The token is nobody's. `is_last`: there were too many of them.
    No { is_last: bool },
    /// The principal has as many connections as it may have.
    TooMany,
    /// It cannot be told now.
    Unknown,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("principal", &self.principal()).finish_non_exhaustive()
    }
}

impl Guard {
    /// Of a connection that has just been accepted. It knows nothing before
    /// [`Hub::look_again`](crate::server::hub::Hub::look_again).
    pub fn new(control: &Arc<AccessControl>, shown: Shown) -> Self {
        Self {
            control: Arc::clone(control),
            shown,
            generation: 0,
            is_met: false,
            identity: None,
            seat: None,
            address_seat: None,
            limits_of_address: Limits::default(),
            used: Rights::NONE,
            closed: HashSet::new(),
            may_reserve: false,
            is_clean: false,
            known: [(NO_TUBE, Rights::NONE); KNOWN],
            may: 0,
            refuses_put: false,
            body_is_special: false,
            token: None,
            verification: None,
            wrong_tokens: 0,
            has_hung_up: false,
            is_paced: false,
            credit: 0,
            turn: None,
            commands: 0,
            has_paused: false,
            denial: None,
            now: Nanos(0),
        }
    }

    /// Whether something is to be done before the next commands are decoded: the file was read again, or they
    /// may have to wait.
    #[inline]
    pub(crate) fn needs_a_look(&self) -> bool {
        self.is_paced || self.is_stale()
    }

    /// Whether the file was read again since everything here was looked up.
    #[inline]
    pub(crate) fn is_stale(&self) -> bool {
        self.generation != self.control.generation()
    }

    /// Which reading of the file it knows.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn control(&self) -> &AccessControl {
        &self.control
    }

    /// Whether it is known who the connection acts for.
    pub(crate) fn is_known(&self) -> bool {
        self.identity.is_some()
    }

    /// The name of the principal.
    pub(crate) fn principal(&self) -> Option<&Arc<str>> {
        self.identity.as_ref().map(|identity| &identity.principal.name)
    }

    /// Whether a reserve may be begun, or go on.
    pub(crate) fn may_reserve(&self) -> bool {
        self.may_reserve
    }

    /// Whether everything may be done and seen.
    pub(crate) fn operates(&self) -> bool {
        self.identity.as_ref().is_some_and(|identity| identity.principal.operates)
    }

    /// Whether it may see that there is a tube of this name.
    pub(crate) fn sees(&self, tube: &str) -> bool {
        !self.rights_by_name(tube).are_none()
    }

    /// Finds out who the connection acts for by the directory that counts now. The rest is for
    /// [`Guard::look_at_used`].
    pub(crate) fn renew(&mut self) -> Result<(), TooMany> {
        let is_new = !std::mem::replace(&mut self.is_met, true);
        let directory = self.control.directory();
        self.generation = directory.generation();
        self.limits_of_address = directory.limits_per_address();
        let still = self.identity.take().and_then(|identity| directory.again(&identity));
        let identity = still.or_else(|| self.shown.identity(&directory));
        let address = self.shown.address.filter(|_| self.limits_of_address != Limits::default());
        if address.is_none() {
            self.address_seat = None;
        } else if let (Some(address), None) = (address, &self.address_seat) {
            let most = self.limits_of_address.connections.filter(|_| is_new);
            let seat = self.sit(&self.control.account_at(address), most)?;
            self.address_seat = Some(seat);
        }
        self.act_for(identity, is_new)
    }

    /// From now on, the connection acts for this principal. `is_limited`: unless it has too many
    /// connections; then nothing changes.
    fn act_for(&mut self, identity: Option<Identity>, is_limited: bool) -> Result<(), TooMany> {
        let account =
            identity.as_ref().map(|identity| self.control.account_of(&identity.principal));
        let stays = |account: &Arc<Account>| {
            self.seat.as_ref().is_some_and(|seat| Arc::ptr_eq(seat.account(), account))
        };
        match (&account, &identity) {
            (Some(account), Some(identity)) if !stays(account) => {
                let most = identity.principal.limits.connections.filter(|_| is_limited);
                self.seat = Some(self.sit(account, most)?);
            }
            (Some(_), _) => {}
            (None, _) => self.seat = None,
        }
        self.identity = identity;
        self.known.fill((NO_TUBE, Rights::NONE));
        self.closed.clear();
        self.used = Rights::NONE;
        self.may_reserve = false;
        self.is_clean = false;
        self.body_is_special = self.refuses_put || self.counts_bytes();
        let is_paced = self.rates().next().is_some();
        self.is_paced = is_paced;
        if !is_paced {
            (self.turn, self.credit) = (None, 0);
        }
        self.commands = 0;
        self.note_kinds();
        Ok(())
    }

    fn sit(&self, account: &Arc<Account>, most: Option<u32>) -> Result<Seat, TooMany> {
        account.seat(most).ok_or_else(|| {
            if let Some(connections) = account.count_turned_away(self.now) {
                let most = most.unwrap_or(u32::MAX);
                warn!(whose = account.name(), most, connections, "closed a connection: too many");
            }
            TooMany
        })
    }

    /// Looks up the rights in the tube that the connection uses. `has_jobs`: it has reserved some.
    pub(crate) fn look_at_used(&mut self, engine: &Engine, conn: ConnId, has_jobs: bool) {
        self.used = self.rights_in(engine.used_tube(conn));
        self.may_reserve = self.identity.is_some();
        self.is_clean = self.operates() || (self.identity.is_some() && !has_jobs);
        self.note_kinds();
    }

    /// The connection watches these tubes too.
    pub(crate) fn look_at_watched<'a>(&mut self, tubes: impl Iterator<Item = (u64, &'a str)>) {
        for (number, name) in tubes {
            if !self.rights_by_name(name).allow(Rights::RESERVE) {
                self.closed.insert(number);
                self.may_reserve = false;
            }
        }
        self.note_kinds();
    }

    /// What is to be done after a request, but for what the hub does.
    pub(crate) fn after(&mut self, engine: &Engine, conn: ConnId, then: Then) {
        match then {
            Then::LookAtUsed => self.used = self.rights_in(engine.used_tube(conn)),
            Then::Forget(number) => {
                self.closed.remove(&number);
                self.may_reserve = self.closed.is_empty();
            }
            Then::GoOn | Then::Own(..) | Then::Pause => {}
        }
        self.note_kinds();
    }

    /// The rights in this tube, which is looked up by its number if it was met before.
    #[inline]
    fn rights_in(&mut self, tube: TubeRef<'_>) -> Rights {
        let place = tube.number as usize % KNOWN;
        let (number, rights) = self.known[place];
        if number == tube.number {
            return rights;
        }
        let rights = self.rights_by_name(tube.name);
        self.known[place] = (tube.number, rights);
        rights
    }

    #[cold]
    fn rights_by_name(&self, tube: &str) -> Rights {
        let principal: Option<&Principal> = self.identity.as_ref().map(|it| &*it.principal);
        principal.map_or(Rights::NONE, |principal| principal.rights_in(tube))
    }

    /// A command is refused.
    fn deny(&mut self, command: &'static str, tube: Option<&str>) {
        if let Some(denied) = self.account().count_denied(self.now) {
            self.denial = Some(Denial { command, tube: tube.map(Into::into), denied });
        }
    }

    /// The principal's, or nobody's.
    pub(crate) fn account(&self) -> &Arc<Account> {
        self.seat.as_ref().map_or_else(|| self.control.nobody(), Seat::account)
    }

    /// The time of what follows.
    #[inline]
    pub(crate) fn begin(&mut self, now: Nanos) {
        self.now = now;
    }

    /// Logs what was refused, if it is to be. Not while the queue is locked.
    #[inline]
    pub(crate) fn tell(&mut self) {
        if self.denial.is_some() {
            self.tell_denial();
        }
    }

    #[cold]
    fn tell_denial(&mut self) {
        let Some(Denial { command, tube, denied }) = self.denial.take() else { return };
        match self.principal() {
            Some(principal) => warn!(%principal, command, tube, denied, "not allowed"),
            None => warn!(command, denied, "refused: the client has not said who it is"),
        }
    }

    /// Has the token verified that the connection has got.
    pub(crate) fn begin_verification(&mut self, token: Token) {
        self.verification = Some(self.control.verify(token, self.shown.address));
    }

    /// Whether the token that is being verified has to wait for others of its address, or for its delay.
    pub(crate) fn has_to_wait(&self) -> bool {
        self.verification.as_ref().is_some_and(Verification::has_to_wait)
    }

    /// Waits until it is known whose the token is. If it is somebody's, the connection acts for that
    /// principal; its rights are still to be looked up.
    pub(crate) fn poll_verification(&mut self, cx: &mut Context<'_>) -> Poll<Authenticated> {
        let Some(verification) = &mut self.verification else {
            return Poll::Ready(Authenticated::Unknown);
        };
        let verdict = ready!(Pin::new(verification).poll(cx));
        self.verification = None;
        let identity = match verdict {
            Verdict::Right(identity) => {
                // The file may have been read again meanwhile.
                let directory = self.control.directory();
                let identity = directory.again(&identity);
                // Whatever else has changed is looked up again with it.
                if identity.is_some() && self.generation != directory.generation() {
                    self.generation = 0;
                }
                identity
            }
            Verdict::Wrong => None,
            Verdict::Unknown => return Poll::Ready(Authenticated::Unknown),
        };
        if identity.is_none() {
            self.wrong_tokens += 1;
            let is_last = self.wrong_tokens >= WRONG_TOKENS;
            return Poll::Ready(Authenticated::No { is_last });
        }
        self.wrong_tokens = 0;
        Poll::Ready(match self.act_for(identity, true) {
            Ok(()) => Authenticated::Yes,
            Err(TooMany) => Authenticated::TooMany,
        })
    }

    /// Whether somebody has a limit for bytes that the connection's jobs count for.
    fn counts_bytes(&self) -> bool {
        self.byte_limits().iter().any(|(_, most)| most.is_some())
    }

    /// Whose bytes are limited, and to how many: the principal's, and the address's.
    fn byte_limits(&self) -> [(Option<&Arc<Account>>, Option<u64>); 2] {
        [
            (self.seat.as_ref().map(Seat::account), self.limits().bytes),
            (self.address_seat.as_ref().map(Seat::account), self.limits_of_address.bytes),
        ]
    }

    /// For whom the bytes of a job are counted.
    pub(crate) fn owners(&self) -> [Option<Arc<Account>>; 2] {
        self.byte_limits().map(|(account, most)| account.filter(|_| most.is_some()).cloned())
    }

    /// The limits of the principal.
    fn limits(&self) -> Limits {
        self.identity.as_ref().map_or_else(Limits::default, |identity| identity.principal.limits)
    }

    /// Whose commands are limited, and to how many a second.
    fn rates(&self) -> impl Iterator<Item = (&Arc<Account>, u32)> {
        let of_principal = (self.seat.as_ref(), self.limits().commands_per_second);
        let of_address = (self.address_seat.as_ref(), self.limits_of_address.commands_per_second);
        let both = [of_principal, of_address].into_iter();
        both.filter_map(|(seat, rate)| Some((seat?.account(), rate?)))
    }

    /// Whether its commands may have to wait.
    #[inline]
    pub(crate) fn is_paced(&self) -> bool {
        self.is_paced
    }

    /// How many commands may come now, at most `most`.
    pub(crate) fn commands_now(&self, now: Nanos, most: usize) -> usize {
        let allowed = self.rates().map(|(account, rate)| account.commands_now(now, rate)).min();
        let Some(allowed) = allowed else { return most };
        usize::try_from(allowed + self.credit).unwrap_or(most).min(most)
    }

    /// A request has come.
    pub(crate) fn count(&mut self, request: &Request) {
        // The line of a put and its body are one command.
        let is_line = matches!(request, Request::Put(_) | Request::OversizedPut);
        self.commands += u64::from(!is_line);
    }

    /// Counts the commands that have come.
    #[inline]
    pub(crate) fn count_commands(&mut self, now: Nanos) {
        if self.is_paced {
            self.pay(now);
        }
    }

    #[cold]
    fn pay(&mut self, now: Nanos) {
        let commands = std::mem::take(&mut self.commands);
        let paid = self.credit.min(commands);
        self.credit -= paid;
        for (account, rate) in self.rates() {
            account.count_commands(now, rate, commands - paid);
        }
    }

    /// Waits until a command of a connection that is paced may come. Each connection that waits has a turn of its
    /// own, in the order in which they came.
    #[cold]
    pub(crate) fn poll_turn(&mut self, cx: &mut Context<'_>, clock: &Clock) -> Poll<()> {
        if self.turn.is_none() {
            let now = clock.now();
            if self.commands_now(now, 1) > 0 {
                return Poll::Ready(());
            }
            let turns = self.rates().map(|(account, rate)| {
                account.count_wait();
                account.count_commands(now, rate, 1)
            });
            let at = turns.max().unwrap_or(now);
            self.credit = 1;
            self.turn = clock.instant(at).map(|at| Box::pin(tokio::time::sleep_until(at)));
        }
        if let Some(turn) = &mut self.turn {
            ready!(turn.as_mut().poll(cx));
            self.turn = None;
        }
        Poll::Ready(())
    }
}
