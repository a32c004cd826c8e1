//! What can happen to a queue, drawn at random.

use beanstalk_protocol::{JobState, Rejection};
use jq_engine::CloseReason;
use proptest::prelude::*;
use proptest::sample::Index;

/// One step of a random session. What it refers to (a connection, a job) is picked from what exists
/// when it is played.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Connect,
    Disconnect(Index, CloseReason),
    HalfClose(Index),
    Ask(Index, Ask),
    /// Time passes, and the engine is ticked.
    Pass(Span, Ticks),
    Drain(bool),
    /// An operator acts on a job.
    Act(JobPick, Deed),
    /// An operator pauses a tube.
    Pause(u8, u32),
    /// An operator clears a tube.
    Clear(u8),
    /// Somebody without a connection puts a job of this many bytes into this tube.
    Put(u8, NewJob, u32),
    /// An operator sets the policy of a tube, or removes it.
    Policy(u8, Option<Rules>),
}

/// A policy. The tube is a number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) max_jobs: Option<u64>,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) max_reserves: Option<u32>,
    pub(crate) max_timeouts: Option<u32>,
    pub(crate) max_disconnects: Option<u32>,
    pub(crate) dead_letter: Option<u8>,
    pub(crate) expires: Option<u32>,
    pub(crate) unique: bool,
    pub(crate) default_ttr: Option<u32>,
    pub(crate) reserve_rate: Option<u32>,
}

/// What an operator does to a job. The tube is a number.
#[derive(Debug, Clone)]
pub(crate) enum Deed {
    Kick,
    Bury(Option<u32>),
    Delete,
    Release,
    Move(u8),
    Set(Option<u32>, Option<u32>),
}

/// A request of a connection. Tubes are numbers; the first is the default tube.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    Use(u8),
    Watch(u8),
    Ignore(u8),
    /// Watch this many tubes, starting with this one.
    WatchMany(u8, u8),
    IgnoreMany(u8, u8),
    /// A job of this many bytes, into this tube or the one that is used.
    Put(Option<u8>, NewJob, u32),
    /// So many jobs into a tube: enough for a clearing to take steps.
    PutMany(u8, NewJob, u8),
    /// Only the line; the body comes with the next request of this connection.
    PutLine(NewJob),
    BrokenBody,
    /// Of a job for whose body there was no memory.
    UnheldBody,
    Reserve,
    ReserveWithTimeout(Option<u32>),
    ReserveJob(JobPick),
    Delete(JobPick),
    Release(JobPick, u32, u32),
    Bury(JobPick, u32),
    Touch(JobPick),
    Peek(JobPick),
    PeekReady,
    PeekDelayed,
    PeekBuried,
    Kick(u32),
    KickJob(JobPick),
    Pause(u8, u32),
    BatchReserve(u32, u32),
    ClearTube(u8),
    ListJobs(Option<u8>, Option<JobState>),
    Move(JobPick, u8),
    Rejected(Rejection),
    OversizedPut,
    Quit,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct NewJob {
    pub(crate) priority: u32,
    pub(crate) delay: u32,
    pub(crate) ttr: u32,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum JobPick {
    /// One that the connection has reserved, if there is one.
    Mine(Index),
    Any(Index),
    Unknown(u64),
}

/// How much time passes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Span {
    Nanos(u64),
    /// Until something is due, this many nanoseconds more or less.
    Due(i64),
}

/// How the engine is ticked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ticks {
    /// At every deadline on the way, with this budget.
    Watchful(usize),
    /// At the end, with this budget.
    Late(usize),
    /// At the end, and only this many steps: the rest stays overdue.
    Hurried(usize),
}

/// The kinds of session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Few tubes, so that everything interacts.
    Small,
    /// Many tubes, watched and ignored by the dozen.
    Wide,
}

impl Kind {
    pub(crate) fn tubes(self) -> u8 {
        match self {
            Self::Small => 4,
            Self::Wide => 40,
        }
    }

    /// One of the tubes; of many, mostly one of a few, so that things interact.
    fn tube(self) -> impl Strategy<Value = u8> {
        prop_oneof![3 => 0..4u8, 1 => 0..self.tubes()]
    }
}

/// Sessions of a kind. Wide ones begin with connections that watch many tubes.
pub(crate) fn sessions(kind: Kind) -> impl Strategy<Value = Vec<Op>> {
    let widely = match kind {
        Kind::Small => 0,
        Kind::Wide => 3,
    };
    let watch = (any::<Index>(), many(kind)).prop_map(|(conn, ask)| Op::Ask(conn, ask));
    let beginning = prop::collection::vec(watch, 2 * widely);
    let rest = prop::collection::vec(op(kind), 1..100);
    (beginning, rest).prop_map(move |(beginning, rest)| {
        let connects = std::iter::repeat_n(Op::Connect, widely);
        connects.chain(beginning).chain(rest).collect()
    })
}

fn op(kind: Kind) -> impl Strategy<Value = Op> {
    let conn = any::<Index>;
    // The fewer connections, the more happens to each.
    let come_and_go = match kind {
        Kind::Small => 5,
        Kind::Wide => 2,
    };
    prop_oneof![
        come_and_go => Just(Op::Connect),
        come_and_go =>
            (conn(), reason()).prop_map(|(conn, reason)| Op::Disconnect(conn, reason)),
        1 => conn().prop_map(Op::HalfClose),
        60 => (conn(), ask(kind)).prop_map(|(conn, ask)| Op::Ask(conn, ask)),
        15 => (span(), ticks()).prop_map(|(span, ticks)| Op::Pass(span, ticks)),
        1 => any::<bool>().prop_map(Op::Drain),
        10 => (job(), deed(kind)).prop_map(|(job, deed)| Op::Act(job, deed)),
        1 => (kind.tube(), 0u32..4).prop_map(|(tube, seconds)| Op::Pause(tube, seconds)),
        3 => kind.tube().prop_map(Op::Clear),
        3 => (kind.tube(), new_job(), size()).prop_map(|(tube, job, size)| Op::Put(tube, job, size)),
        4 => (kind.tube(), prop::option::weighted(0.8, rules(kind)))
            .prop_map(|(tube, rules)| Op::Policy(tube, rules)),
    ]
}

/// Mostly one or two rules, so that each is seen at work.
fn rules(kind: Kind) -> impl Strategy<Value = Rules> {
    let limits = (rule(0u64..6), rule(0u64..8));
    let attempts = (rule(1u32..4), rule(1u32..3), rule(1u32..3));
    let rest = (
        prop::option::of(kind.tube()),
        rule(1u32..4),
        prop::bool::weighted(0.3),
        rule(0u32..4),
        rule(prop::sample::select(vec![400, 1000, 2500])),
    );
    (limits, attempts, rest).prop_map(|(limits, attempts, rest)| Rules {
        max_jobs: limits.0,
        max_bytes: limits.1,
        max_reserves: attempts.0,
        max_timeouts: attempts.1,
        max_disconnects: attempts.2,
        dead_letter: rest.0,
        expires: rest.1,
        unique: rest.2,
        default_ttr: rest.3,
        reserve_rate: rest.4,
    })
}

fn rule<T: std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    prop::option::weighted(0.25, value)
}

fn deed(kind: Kind) -> impl Strategy<Value = Deed> {
    let set = (prop::option::of(priority()), prop::option::of(0u32..3));
    prop_oneof![
        1 => Just(Deed::Kick),
        2 => prop::option::of(priority()).prop_map(Deed::Bury),
        1 => Just(Deed::Delete),
        1 => Just(Deed::Release),
        3 => kind.tube().prop_map(Deed::Move),
        2 => set.prop_map(|(priority, delay)| Deed::Set(priority, delay)),
    ]
}

fn reason() -> impl Strategy<Value = CloseReason> {
    use CloseReason::{Quit, ServerStops, Vanished};
    prop::sample::select(vec![Quit, ServerStops, Vanished])
}

fn ask(kind: Kind) -> BoxedStrategy<Ask> {
    match kind {
        Kind::Small => prop_oneof![
            2 => about_tubes(kind),
            3 => puts(kind),
            3 => reserves(3),
            3 => about_jobs(kind),
        ]
        .boxed(),
        Kind::Wide => prop_oneof![
            3 => about_tubes(kind),
            1 => many(kind),
            3 => puts(kind),
            4 => reserves(1),
            2 => about_jobs(kind),
        ]
        .boxed(),
    }
}

fn about_tubes(kind: Kind) -> impl Strategy<Value = Ask> {
    prop_oneof![
        1 => kind.tube().prop_map(Ask::Use),
        2 => kind.tube().prop_map(Ask::Watch),
        2 => kind.tube().prop_map(Ask::Ignore),
        2 => (kind.tube(), 0u32..4).prop_map(|(tube, seconds)| Ask::Pause(tube, seconds)),
        1 => (prop::option::of(kind.tube()), prop::option::of(state()))
            .prop_map(|(tube, state)| Ask::ListJobs(tube, state)),
        1 => kind.tube().prop_map(Ask::ClearTube),
    ]
}

/// Up and down across the number of watched tubes at which the engine changes its way to reserve.
fn many(kind: Kind) -> impl Strategy<Value = Ask> {
    prop_oneof![
        4 => (kind.tube(), 18u8..40).prop_map(|(from, count)| Ask::WatchMany(from, count)),
        1 => (kind.tube(), 18u8..40).prop_map(|(from, count)| Ask::IgnoreMany(from, count)),
    ]
}

fn puts(kind: Kind) -> impl Strategy<Value = Ask> {
    let tube = prop::option::of(kind.tube());
    prop_oneof![
        6 => (tube, new_job(), size()).prop_map(|(tube, job, size)| Ask::Put(tube, job, size)),
        1 => new_job().prop_map(Ask::PutLine),
        1 => (kind.tube(), new_job(), 15u8..25)
            .prop_map(|(tube, job, count)| Ask::PutMany(tube, job, count)),
        1 => Just(Ask::BrokenBody),
        1 => Just(Ask::UnheldBody),
        1 => rejection().prop_map(Ask::Rejected),
        1 => Just(Ask::OversizedPut),
    ]
}

fn new_job() -> impl Strategy<Value = NewJob> {
    let job = (priority(), 0u32..3, 0u32..5);
    job.prop_map(|(priority, delay, ttr)| NewJob { priority, delay, ttr })
}

/// Of a body. The engine stores larger ones differently.
fn size() -> impl Strategy<Value = u32> {
    prop_oneof![9 => 0u32..4, 1 => Just(5000)]
}

/// This many reserves that wait indefinitely, against four that do not wait, and some of batches.
fn reserves(blocking: u32) -> impl Strategy<Value = Ask> {
    prop_oneof![
        blocking => Just(Ask::Reserve),
        blocking => prop::option::of(1u32..4).prop_map(Ask::ReserveWithTimeout),
        4 => Just(Ask::ReserveWithTimeout(Some(0))),
        2 => (1u32..10, 0u32..3).prop_map(|(max, timeout)| Ask::BatchReserve(max, timeout)),
    ]
}

fn state() -> impl Strategy<Value = JobState> {
    use JobState::{Buried, Delayed, Ready, Reserved};
    prop::sample::select(vec![Ready, Delayed, Reserved, Buried])
}

fn about_jobs(kind: Kind) -> impl Strategy<Value = Ask> {
    prop_oneof![
        2 => job().prop_map(Ask::ReserveJob),
        2 => job().prop_map(Ask::Delete),
        3 => (job(), priority(), 0u32..3)
            .prop_map(|(job, priority, delay)| Ask::Release(job, priority, delay)),
        3 => (job(), priority()).prop_map(|(job, priority)| Ask::Bury(job, priority)),
        2 => job().prop_map(Ask::Touch),
        1 => job().prop_map(Ask::Peek),
        1 => Just(Ask::PeekReady),
        1 => Just(Ask::PeekDelayed),
        1 => Just(Ask::PeekBuried),
        2 => prop_oneof![0u32..4, Just(u32::MAX)].prop_map(Ask::Kick),
        2 => job().prop_map(Ask::KickJob),
        2 => (job(), kind.tube()).prop_map(|(job, to)| Ask::Move(job, to)),
        1 => Just(Ask::Quit),
    ]
}

/// On both sides of the limit of urgent jobs. Few values, so that each occurs often.
fn priority() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![0, 1, 1023, 1024, u32::MAX])
}

fn job() -> impl Strategy<Value = JobPick> {
    prop_oneof![
        6 => any::<Index>().prop_map(JobPick::Mine),
        6 => any::<Index>().prop_map(JobPick::Any),
        1 => prop::sample::select(vec![0, u64::MAX]).prop_map(JobPick::Unknown),
    ]
}

fn rejection() -> impl Strategy<Value = Rejection> {
    prop::sample::select(vec![
        Rejection::UnknownCommand,
        Rejection::BadFormat,
        Rejection::BadPut,
        Rejection::BadPauseTube,
    ])
}

fn span() -> impl Strategy<Value = Span> {
    const SECOND: u64 = 1_000_000_000;
    prop_oneof![
        // Any time at all...
        2 => (0..3 * SECOND).prop_map(Span::Nanos),
        // ...times at which several things fall due together...
        3 => (0u64..8).prop_map(|halves| Span::Nanos(halves * SECOND / 2)),
        // ...and just before, at and after something is due.
        4 => (-1i64..=1).prop_map(Span::Due),
        1 => Just(Span::Nanos(1)),
    ]
}

fn ticks() -> impl Strategy<Value = Ticks> {
    let budget = || prop_oneof![1usize..4, Just(1000)];
    prop_oneof![
        4 => budget().prop_map(Ticks::Watchful),
        2 => budget().prop_map(Ticks::Late),
        1 => (1usize..4).prop_map(Ticks::Hurried),
    ]
}
