//! A client that does nothing to anybody, and wants to be served.

use std::collections::BTreeMap;
use std::time::Duration;

use super::waits::{Stopwatch, Waits};
use crate::subject::{Subject, id_in, put_bytes};
use crate::support::{Conn, Input, Reply};

/// Jobs that it leaves in the queue for the length of a round.
const KEPT: usize = 300;

/// How long a server may take that gets hardly any time of a processor: that is no wait of its making.
const STARVED: Duration = Duration::from_secs(120);

pub(super) struct Innocent {
    conn: Conn,
    clock: Stopwatch,
    /// How long its requests have taken.
    pub(super) waits: Waits,
    /// What it has put and not deleted.
    kept: BTreeMap<u64, Vec<u8>>,
    cycles: usize,
}

impl Innocent {
    pub(super) fn new(subject: &Subject) -> Self {
        let mut conn = subject.connect();
        for line in ["watch innocent", "ignore default", "use kept"] {
            conn.ask(line);
        }
        let clock = Stopwatch::new(subject.server.pid());
        Self { conn, clock, waits: Waits::default(), kept: BTreeMap::new(), cycles: 0 }
    }

    /// One job, put, reserved and deleted; and as long as there are not enough, one that stays.
    pub(super) fn cycle(&mut self) {
        self.cycles += 1;
        if self.kept.len() < KEPT && self.cycles.is_multiple_of(10) {
            let body = format!("kept {} ", self.cycles).repeat(1 + self.cycles % 500).into_bytes();
            assert_eq!(self.ask("use kept".into()).line(), b"USING kept");
            let id = id_in(&self.ask(put("put 7 0 1000", &body)), "INSERTED");
            self.kept.insert(id, body);
        }
        assert_eq!(self.ask("use innocent".into()).line(), b"USING innocent");
        let body = format!("cycle {}", self.cycles).into_bytes();
        let id = id_in(&self.ask(put("put 0 0 1000", &body)), "INSERTED");
        let reserved = self.ask("reserve-with-timeout 10".into());
        assert_eq!((id_in(&reserved, "RESERVED"), reserved.body()), (id, Some(&body[..])));
        assert_eq!(self.ask(format!("delete {id}").into_bytes()).line(), b"DELETED");
    }

    fn ask(&mut self, mut bytes: Vec<u8>) -> Reply {
        bytes.extend_from_slice(b"\r\n");
        let conn = &mut self.conn;
        let (reply, wait) = self.clock.time(|| {
            conn.send(bytes);
            conn.next(STARVED)
        });
        self.waits.record(wait);
        let Input::Reply(reply) = reply else { panic!("{reply:?} instead of a reply") };
        reply
    }

    /// Takes all that was kept out of the queue, by another connection.
    pub(super) fn expect_kept(&self, conn: &mut Conn) {
        for (id, body) in &self.kept {
            let reserved = conn.ask(format!("reserve-job {id}"));
            assert_eq!(id_in(&reserved, "RESERVED"), *id);
            assert_eq!(reserved.body(), Some(&body[..]));
            assert_eq!(conn.ask(format!("delete {id}")).line(), b"DELETED");
        }
    }
}

/// A put, but for its last CRLF.
fn put(line: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = put_bytes(line, body);
    bytes.truncate(bytes.len() - 2);
    bytes
}
