//! Shared by both kinds of engine test: answers as a server would write them.

use beanstalk_protocol::{
    BinlogStats, Dialect, ProcessStats, Reply, begin_tube_list, push_tube_list,
};
use jq_engine::{Answer, ConnId, Sink};

/// Collects every answer, as the bytes that a server sends.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wire {
    /// Answers in the order in which the engine gave them.
    pub(crate) said: Vec<(ConnId, Vec<u8>)>,
    /// The server whose stats are written.
    pub(crate) dialect: Dialect,
    /// Whether the stats show no bytes of bodies: those of jobs that are gone are freed in steps.
    pub(crate) hides_bytes: bool,
    /// The job size limit that the stats show, in bytes.
    pub(crate) max_job_size: u32,
}

impl Sink for Wire {
    fn answer(&mut self, conn: ConnId, answer: Answer<'_>) {
        let mut out = Vec::new();
        match answer {
            Answer::Reply(reply) => reply.encode(&mut out),
            Answer::ServerStats(mut stats) => {
                if self.hides_bytes {
                    stats.body_bytes = 0;
                }
                let text = stats.to_yaml(&self.process(), &BinlogStats::default(), self.dialect);
                Reply::Ok(text).encode(&mut out);
            }
            Answer::JobStats(stats) => Reply::Ok(stats.to_yaml(self.dialect)).encode(&mut out),
            Answer::TubeStats(stats) => Reply::Ok(stats.to_yaml(self.dialect)).encode(&mut out),
            Answer::Batch(batch) => batch.for_each(|reply| reply.encode(&mut out)),
            Answer::Jobs(mut listing) => {
                // No order is promised.
                listing.jobs.sort_by_key(|job| job.id);
                Reply::Ok(listing.to_yaml()).encode(&mut out);
            }
            Answer::Tubes(names) => {
                let mut text = Vec::new();
                begin_tube_list(&mut text);
                names.for_each(|name| push_tube_list(&mut text, name));
                Reply::Ok(text).encode(&mut out);
            }
        }
        self.said.push((conn, out));
    }
}

impl Wire {
    /// What a server would add about its process: the same in every test.
    fn process(&self) -> ProcessStats<'static> {
        ProcessStats {
            max_job_size: self.max_job_size,
            pid: 1,
            version: "test",
            user_us: 0,
            system_us: 0,
            uptime: 0,
            id: "a0",
            hostname: "host",
            os: "os",
            platform: "platform",
            resident_bytes: 4096,
            refused_connections: 0,
            access: None,
        }
    }
}
