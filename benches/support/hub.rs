//! A hub without sockets, and the requests of a busy client. Shared by the benchmarks and by the
//! instruction counts in `benches/instructions`.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use beanstalk_protocol::{Command, JobId, PutHeader, Request};
use jq_engine::Nanos;
use jq_server::access::Access;
use jq_server::clock::Clock;
use jq_server::config::Config;
use jq_server::log::Opened;
use jq_server::server::guard::{AccessControl, Guard, Shown};
use jq_server::server::hub::Hub;

/// Bytes of a body.
const BODY: usize = 128;

/// Longer than anything is measured, in seconds, so that no time to run runs out meanwhile.
const TTR: u32 = 1_000_000;

/// A clock that stands; requests get times of their own all the same.
pub(crate) fn standing_clock() -> Clock {
    Clock::told(Arc::new(AtomicU64::new(Nanos::from_secs(1).0)))
}

/// A hub of an empty queue without a log.
pub(crate) fn hub(clock: Clock) -> Arc<Hub> {
    let config = Config::from_args(["jq-server".into()]).expect("there are no wrong flags");
    Hub::new(&config, clock, Opened::in_memory(0))
}

/// The same, for clients of whom not everybody may do everything; and a guard of a connection that may put
/// and reserve.
#[allow(dead_code, reason = "only instruction counts have one")]
pub(crate) fn guarded_hub(clock: Clock) -> (Arc<Hub>, Guard) {
    let file = std::env::temp_dir().join(format!("jq-bench-{}.toml", std::process::id()));
    let text = "[[principal]]\nname = \"site\"\nput = [\"def*\"]\nreserve = [\"*\"]\n";
    std::fs::write(&file, text).expect("the temporary folder is writable");
    let access = Access::open(&file).expect("there are no mistakes in it");
    let _ = std::fs::remove_file(&file);
    let control = AccessControl::start(Arc::new(access), clock.clone()).expect("there is a thread");
    let config = Config::from_args(["jq-server".into()]).expect("there are no wrong flags");
    let opened = Opened::in_memory(0);
    let hub = Hub::with_control(&config, clock, opened, Some(Arc::clone(&control)));
    let shown = Shown { acts_as: Some("site".into()), ..Shown::default() };
    (hub, Guard::new(&control, shown))
}

/// The two requests of a put.
pub(crate) fn put() -> [Request; 2] {
    let header = PutHeader { priority: 1, delay: 0, ttr: TTR, size: BODY as u32 };
    [Request::Put(header), Request::Body([b'x'; BODY].into())]
}

pub(crate) fn reserve() -> Request {
    Request::Command(Command::Reserve)
}

pub(crate) fn delete(job: JobId) -> Request {
    Request::Command(Command::Delete(job))
}

/// The numbers of the jobs in these replies to reserves.
#[allow(dead_code, reason = "instruction counts know the numbers beforehand")]
pub(crate) fn reserved(mut replies: &[u8]) -> impl Iterator<Item = JobId> {
    std::iter::from_fn(move || {
        let number = replies.strip_prefix(b"RESERVED ")?;
        let digits = number.iter().take_while(|byte| byte.is_ascii_digit());
        let id = digits.fold(0, |id, digit| id * 10 + JobId::from(digit - b'0'));
        let end = number.iter().position(|byte| *byte == b'\n')? + 1;
        replies = number.get(end + BODY + 2..)?;
        Some(id)
    })
}
