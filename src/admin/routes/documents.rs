//! The documents of `jq-api`, made from what the queue says.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use beanstalk_protocol::{self as protocol, JobState as State, TubeName, TubeStats};
use jiff::Timestamp;
use jq_api::server::{
    Connection, Job, JobBody, JobCounts, JobState, Paused, Policy, PolicyCounts, Tube,
};
use jq_engine::{ConnInfo, Engine, JobInfo, Nanos};

use crate::policies;
use crate::server::hub::Hub;
use crate::server::peers::{PeerInfo, Peers};

/// A moment; the last one that there is, if it is beyond that.
pub(crate) fn timestamp(at: Nanos) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(at.0)).unwrap_or(Timestamp::MAX)
}

pub(crate) fn tube(stats: TubeStats<TubeName>) -> Tube {
    let pause = Paused { seconds: stats.pause, left: stats.pause_time_left };
    Tube {
        name: stats.name.as_str().to_owned(),
        jobs: JobCounts {
            ready: stats.ready,
            urgent: stats.urgent,
            reserved: stats.reserved,
            delayed: stats.delayed,
            buried: stats.buried,
        },
        total_jobs: stats.total_jobs,
        deletes: stats.deletes,
        using: stats.using,
        watching: stats.watching,
        waiting: stats.waiting,
        pauses: stats.pauses,
        pause: Some(pause).filter(|pause| pause.seconds > 0),
        body_bytes: stats.body_bytes,
        has_policy: stats.policy.is_some(),
        policy_counts: stats.policy.as_deref().map(policy_counts),
        policy: None,
        rates: None,
        oldest_ready: None,
    }
}

/// A tube at `now`, with its policy; `None` if it does not exist.
pub(crate) fn tube_now(hub: &Hub, engine: &Engine, now: Nanos, name: &TubeName) -> Option<Tube> {
    let policy = Some(policy(hub, engine, name)).filter(|policy| *policy != Policy::default());
    Some(Tube { policy, ..tube(engine.tube_stats(now, name.as_str())?) })
}

/// What is set for a tube.
pub(crate) fn policy(hub: &Hub, engine: &Engine, name: &TubeName) -> Policy {
    policies::document(engine.policy(name.as_str()), hub.tubes_file().source(name))
}

/// What policies have brought about.
pub(crate) fn policy_counts(counts: &protocol::PolicyCounts) -> PolicyCounts {
    let protocol::PolicyCounts { refused, duplicates, expired, dead_letters, buried } = *counts;
    PolicyCounts { refused, duplicates, expired, dead_lettered: dead_letters, buried }
}

pub(crate) fn state(state: State) -> JobState {
    match state {
        State::Ready => JobState::Ready,
        State::Delayed => JobState::Delayed,
        State::Reserved => JobState::Reserved,
        State::Buried => JobState::Buried,
    }
}

pub(crate) fn protocol_state(state: JobState) -> State {
    match state {
        JobState::Ready => State::Ready,
        JobState::Delayed => State::Delayed,
        JobState::Reserved => State::Reserved,
        JobState::Buried => State::Buried,
    }
}

/// The number of the connection that has reserved a job. To be called while the queue is locked, so that it is
/// still the same.
pub(crate) fn holder(job: &JobInfo, peers: Option<&Peers>) -> Option<u64> {
    peers?.number(job.holder?)
}

/// A job at `now`, with its [`holder`].
pub(crate) fn job(now: Nanos, job: &JobInfo, holder: Option<u64>) -> Job {
    let counters = job.counters;
    Job {
        id: job.id,
        tube: job.tube.as_str().to_owned(),
        state: state(job.state),
        priority: job.priority,
        delay: job.delay,
        ttr: job.ttr,
        created: timestamp(job.created),
        age: now.seconds_since(job.created),
        time_left: job.due.map(|due| due.seconds_since(now)),
        connection: holder,
        size: job.size as u64,
        reserves: counters.reserves,
        timeouts: counters.timeouts,
        releases: counters.releases,
        buries: counters.buries,
        kicks: counters.kicks,
        disconnects: counters.disconnects,
    }
}

/// The body of a job, or its beginning.
pub(crate) fn body(bytes: &[u8]) -> JobBody {
    let truncated = bytes.len() > JobBody::MAX;
    let shown = &bytes[..bytes.len().min(JobBody::MAX)];
    let body = JobBody { truncated, ..JobBody::default() };
    if !truncated
        && let Ok(json) = jq_api::json::value(shown).map(Some)
        && starts_as_json(shown)
    {
        return JobBody { json, ..body };
    }
    match std::str::from_utf8(shown) {
        Ok(text) => JobBody { text: Some(text.to_owned()), ..body },
        // A character was cut through.
        Err(error) if truncated && error.error_len().is_none() => {
            let text = String::from_utf8_lossy(&shown[..error.valid_up_to()]).into_owned();
            JobBody { text: Some(text), ..body }
        }
        Err(_) => JobBody { base64: Some(BASE64.encode(shown)), ..body },
    }
}

/// Whether a document shows it as JSON without a change: a byte order mark would be lost.
fn starts_as_json(bytes: &[u8]) -> bool {
    !bytes.starts_with(b"\xef\xbb\xbf")
}

/// A connection at `now`.
pub(crate) fn connection(now: Nanos, conn: &ConnInfo, peer: PeerInfo) -> Connection {
    Connection {
        id: peer.number,
        address: peer.address,
        principal: peer.principal.map(|principal| principal.as_ref().to_owned()),
        using: conn.used.as_str().to_owned(),
        watching: conn.watched.iter().map(|tube| tube.as_str().to_owned()).collect(),
        watched: conn.watching as u64,
        reserved: conn.reserved as u64,
        time_left: conn.due.map(|due| due.seconds_since(now)),
        waiting: conn.waits,
        producer: conn.is_producer,
        worker: conn.is_worker,
        age: now.seconds_since(peer.since),
        idle: peer.idle.map(|idle| idle.as_secs()),
        unsent_bytes: peer.unsent,
        unread_bytes: peer.unread,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8]) -> String {
        serde_json::to_string(&body(bytes)).unwrap()
    }

    #[test]
    fn a_body_is_shown_as_the_first_of_json_text_and_base64_that_it_can_be() {
        assert_eq!(shown(br#"{"b": 1.50}"#), r#"{"json":{"b": 1.50}}"#);
        assert_eq!(shown(b"null"), r#"{"json":null}"#);
        assert_eq!(shown(b""), r#"{"text":""}"#);
        assert_eq!(shown(b"{]\xc3\xa9"), "{\"text\":\"{]\u{e9}\"}");
        assert_eq!(shown(b"\xef\xbb\xbf1"), "{\"text\":\"\u{feff}1\"}");
        assert_eq!(shown(b"\xff\x00"), r#"{"base64":"/wA="}"#);
        let deep = "[".repeat(101) + &"]".repeat(101);
        assert!(shown(deep.as_bytes()).starts_with(r#"{"text":"[[["#));
    }

    #[test]
    fn a_long_body_is_cut_off() {
        let long = |bytes: &[u8]| {
            let body = body(bytes);
            (
                body.json.is_some(),
                body.text.map(|text| text.len()),
                body.base64.is_some(),
                body.truncated,
            )
        };
        let max = JobBody::MAX;
        let json = format!("\"{}\"", "a".repeat(max - 2));
        assert_eq!(long(json.as_bytes()), (true, None, false, false));
        assert_eq!(long(format!("{json} ").as_bytes()), (false, Some(max), false, true));
        assert_eq!(long("\u{e9}".repeat(max).as_bytes()), (false, Some(max), false, true));
        let odd = "a".to_owned() + &"\u{e9}".repeat(max);
        assert_eq!(long(odd.as_bytes()), (false, Some(max - 1), false, true));
        assert_eq!(long(&vec![0xff; max + 1]), (false, None, true, true));
        // It could be text, but is not: what was cut through is no character.
        let mut bad = vec![b'a'; max + 1];
        bad[10] = 0xff;
        assert_eq!(long(&bad), (false, None, true, true));
    }
}
