//! The replies to the stats and list commands: YAML with every key of beanstalkd, in its order.
//!
//! Keys of our own come after all of beanstalkd's, so that clients that read by position or compare
//! prefixes keep working.

use std::io::Write;

use crate::dialect::Dialect;
use crate::types::{JobId, Priority, Seconds};

/// The state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// Waits to be reserved.
    Ready,
    /// Waits until its delay is over.
    Delayed,
    /// A connection has reserved it.
    Reserved,
    /// Buried: set aside until it is kicked.
    Buried,
}

impl JobState {
    /// The word in the stats.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Delayed => "delayed",
            Self::Reserved => "reserved",
            Self::Buried => "buried",
        }
    }

    /// The state with this word.
    pub fn from_word(word: &[u8]) -> Option<Self> {
        let all = [Self::Ready, Self::Delayed, Self::Reserved, Self::Buried];
        all.into_iter().find(|state| state.as_str().as_bytes() == word)
    }
}

/// The commands that are not beanstalkd's, as the key `extensions` of `stats` lists them.
pub const EXTENSIONS: &str = "batch-reserve clear-tube list-jobs move";

/// Answer to `stats-job`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are the keys of the text.
pub struct JobStats<'a> {
    pub id: JobId,
    pub tube: &'a str,
    pub state: JobState,
    pub priority: Priority,
    pub age: u64,
    pub delay: Seconds,
    pub ttr: Seconds,
    pub time_left: u64,
    pub file: u64,
    pub reserves: u32,
    pub timeouts: u32,
    pub releases: u32,
    pub buries: u32,
    pub kicks: u32,
    /// How often the connection that had it reserved vanished: a key of our own.
    pub disconnects: u32,
}

/// Answer to `stats-tube`, with a borrowed name or one of its own. Times are in seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are the keys of the text.
pub struct TubeStats<N> {
    pub name: N,
    pub urgent: u64,
    pub ready: u64,
    pub reserved: u64,
    pub delayed: u64,
    pub buried: u64,
    pub total_jobs: u64,
    pub using: u64,
    pub watching: u64,
    pub waiting: u64,
    pub deletes: u64,
    pub pauses: u64,
    pub pause: u64,
    pub pause_time_left: u64,
    /// Bytes in the bodies of its jobs: a key of our own, as are the following.
    pub body_bytes: u64,
    /// What its policy has brought about; `None` if it has none. Boxed, because few tubes have one.
    pub policy: Option<Box<PolicyCounts>>,
}

/// What a policy has brought about, since the tube has one; or what all of them and the limits of the
/// server have, since the server started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PolicyCounts {
    /// Puts that were refused because of a limit of the tube.
    pub refused: u64,
    /// Puts of a body that was in the tube already, which were answered with the job that has it.
    pub duplicates: u64,
    /// Jobs that expired: they were deleted, or moved to the tube for dead letters.
    pub expired: u64,
    /// Jobs that failed too often and were moved to the tube for dead letters.
    pub dead_letters: u64,
    /// Jobs that failed too often and were buried.
    pub buried: u64,
}

impl PolicyCounts {
    /// The keys of those that are about jobs.
    fn by_key(&self) -> [(&'static str, u64); 4] {
        [
            ("duplicate-puts", self.duplicates),
            ("jobs-expired", self.expired),
            ("jobs-dead-lettered", self.dead_letters),
            ("jobs-buried-by-policy", self.buried),
        ]
    }
}

impl<N> TubeStats<N> {
    /// The same without the name.
    pub fn without_name(&self) -> TubeStats<()> {
        TubeStats {
            name: (),
            urgent: self.urgent,
            ready: self.ready,
            reserved: self.reserved,
            delayed: self.delayed,
            buried: self.buried,
            total_jobs: self.total_jobs,
            using: self.using,
            watching: self.watching,
            waiting: self.waiting,
            deletes: self.deletes,
            pauses: self.pauses,
            pause: self.pause,
            pause_time_left: self.pause_time_left,
            body_bytes: self.body_bytes,
            policy: self.policy.clone(),
        }
    }
}

/// How often each command was received in valid form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are the commands.
pub struct CommandCounts {
    pub put: u64,
    pub peek: u64,
    pub peek_ready: u64,
    pub peek_delayed: u64,
    pub peek_buried: u64,
    pub reserve: u64,
    pub reserve_with_timeout: u64,
    pub delete: u64,
    pub release: u64,
    pub use_: u64,
    pub watch: u64,
    pub ignore: u64,
    pub bury: u64,
    pub kick: u64,
    pub touch: u64,
    pub stats: u64,
    pub stats_job: u64,
    pub stats_tube: u64,
    pub list_tubes: u64,
    pub list_tube_used: u64,
    pub list_tubes_watched: u64,
    pub pause_tube: u64,
    /// This and the following are extensions, and are not in `stats`.
    pub batch_reserve: u64,
    pub clear_tube: u64,
    pub list_jobs: u64,
    pub move_: u64,
}

/// What the queue itself contributes to the answer to `stats`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are the keys of the text.
pub struct ServerStats {
    pub urgent: u64,
    pub ready: u64,
    pub reserved: u64,
    pub delayed: u64,
    pub buried: u64,
    pub commands: CommandCounts,
    pub timeouts: u64,
    pub total_jobs: u64,
    pub tubes: u64,
    pub connections: u64,
    pub producers: u64,
    pub workers: u64,
    pub waiting: u64,
    pub total_connections: u64,
    pub draining: bool,
    /// Bytes in the bodies of all jobs: a key of our own.
    pub body_bytes: u64,
    /// How often a connection vanished that had a job reserved, once for each job: a key of our own.
    pub disconnects: u64,
    /// Puts that were refused, by the reason: keys of our own.
    pub refused_puts: RefusedPuts,
    /// What all policies have brought about: keys of our own.
    pub policies: PolicyCounts,
}

/// How many puts were refused, for each reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RefusedPuts {
    /// The server is draining: `DRAINING`.
    pub draining: u64,
    /// There is no memory, or no room in the log: `OUT_OF_MEMORY`.
    pub out_of_memory: u64,
    /// The server has as many jobs as it may have: `OUT_OF_MEMORY`, as the following.
    pub max_jobs: u64,
    /// The jobs of the server take as much memory as they may.
    pub max_memory: u64,
    /// The tube has as many jobs as it may have.
    pub tube_max_jobs: u64,
    /// The jobs of the tube have as many bytes as they may.
    pub tube_max_bytes: u64,
    /// The body is too large: `JOB_TOO_BIG`.
    pub job_too_big: u64,
}

impl RefusedPuts {
    /// Each with its key in the stats.
    fn by_key(&self) -> [(&'static str, u64); 7] {
        [
            ("refused-puts-draining", self.draining),
            ("refused-puts-out-of-memory", self.out_of_memory),
            ("refused-puts-max-jobs", self.max_jobs),
            ("refused-puts-max-memory", self.max_memory),
            ("refused-puts-tube-max-jobs", self.tube_max_jobs),
            ("refused-puts-tube-max-bytes", self.tube_max_bytes),
            ("refused-puts-job-too-big", self.job_too_big),
        ]
    }
}

/// What the log contributes to the answer to `stats`; without a log all zero, except the size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are the keys of the text.
pub struct BinlogStats {
    pub oldest_index: u64,
    pub current_index: u64,
    pub records_migrated: u64,
    pub records_written: u64,
    pub max_size: u64,
    /// Keys of our own, which come last of all; `None` without a log. They are the same for as long as
    /// there is the log.
    pub own: Option<Box<BinlogUse>>,
}

/// What a log reports in addition to beanstalkd's keys. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinlogUse {
    /// Whether it can be written to.
    pub health: BinlogHealth,
    /// How often writing or syncing has failed.
    pub failures: u64,
    /// Appended and not yet committed.
    pub pending_bytes: u64,
    /// Appended, and would be lost in a power cut.
    pub unsynced_bytes: u64,
    /// Number of segments.
    pub segments: u64,
    /// Size of all segments.
    pub bytes: u64,
    /// How much of that is live jobs.
    pub live_bytes: u64,
    /// The size of the oldest segment, which is the next to be reclaimed.
    pub oldest_bytes: u64,
    /// How much of that is jobs that there are.
    pub oldest_live_bytes: u64,
}

/// Whether a log can be written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BinlogHealth {
    /// It can.
    Good,
    /// There is no space for new jobs.
    Full(String),
    /// It cannot.
    Failed(String),
}

impl BinlogHealth {
    /// The word in the stats, the number that stands for it, and what the system says.
    fn told(&self) -> (&'static str, u64, &str) {
        match self {
            Self::Good => ("good", 0, ""),
            Self::Full(error) => ("full", 1, error),
            Self::Failed(error) => ("failed", 2, error),
        }
    }
}

/// What a server that knows its clients has refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AccessStats {
    /// Commands for which the client had no right.
    pub denied_commands: u64,
    /// Wrong tokens.
    pub failed_auths: u64,
}

/// What the process contributes to the answer to `stats`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessStats<'a> {
    /// Largest body accepted, in bytes.
    pub max_job_size: u32,
    /// Process id.
    pub pid: u32,
    /// Version of the server. The key `version` is that of the dialect.
    pub version: &'a str,
    /// User time in microseconds.
    pub user_us: u64,
    /// System time in microseconds.
    pub system_us: u64,
    /// Seconds since the start.
    pub uptime: u64,
    /// Random id of this run.
    pub id: &'a str,
    /// As the kernel reports it.
    pub hostname: &'a str,
    /// As the kernel reports it.
    pub os: &'a str,
    /// As the kernel reports it.
    pub platform: &'a str,
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// Connections that were closed at once, because there were as many as there may be.
    pub refused_connections: u64,
    /// `None`: the server does not know its clients, and the keys are not there.
    pub access: Option<AccessStats>,
}

/// Writes lines into memory, which cannot fail.
macro_rules! line {
    ($out:expr, $($argument:tt)*) => {{
        let _ = writeln!($out, $($argument)*);
    }};
}

impl JobStats<'_> {
    /// The text, without the CRLF that ends a body.
    pub fn to_yaml(&self, dialect: Dialect) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        let q = dialect.quote();
        line!(out, "---\nid: {}\ntube: {q}{}{q}", self.id, self.tube);
        line!(out, "state: {}\npri: {}\nage: {}", self.state.as_str(), self.priority, self.age);
        line!(out, "delay: {}\nttr: {}\ntime-left: {}", self.delay, self.ttr, self.time_left);
        line!(out, "file: {}\nreserves: {}\ntimeouts: {}", self.file, self.reserves, self.timeouts);
        line!(out, "releases: {}\nburies: {}\nkicks: {}", self.releases, self.buries, self.kicks);
        line!(out, "disconnects: {}", self.disconnects);
        out
    }
}

impl<N: AsRef<str>> TubeStats<N> {
    /// The text, without the CRLF that ends a body.
    pub fn to_yaml(&self, dialect: Dialect) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        let q = dialect.quote();
        line!(out, "---\nname: {q}{}{q}", self.name.as_ref());
        let counts = [
            ("current-jobs-urgent", self.urgent),
            ("current-jobs-ready", self.ready),
            ("current-jobs-reserved", self.reserved),
            ("current-jobs-delayed", self.delayed),
            ("current-jobs-buried", self.buried),
            ("total-jobs", self.total_jobs),
            ("current-using", self.using),
            ("current-watching", self.watching),
            ("current-waiting", self.waiting),
            ("cmd-delete", self.deletes),
            ("cmd-pause-tube", self.pauses),
            ("pause", self.pause),
            ("pause-time-left", self.pause_time_left),
            // Keys of our own. They are always there, since programs are written for them.
            ("current-jobs-bytes", self.body_bytes),
        ];
        put_counts(&mut out, &counts);
        line!(out, "has-policy: {}", self.policy.is_some());
        let policy = self.policy.as_deref().copied().unwrap_or_default();
        put_counts(&mut out, &[("refused-puts", policy.refused)]);
        put_counts(&mut out, &policy.by_key());
        out
    }
}

impl ServerStats {
    /// The text, without the CRLF that ends a body.
    pub fn to_yaml(
        &self,
        process: &ProcessStats<'_>,
        binlog: &BinlogStats,
        dialect: Dialect,
    ) -> Vec<u8> {
        let mut out = Vec::with_capacity(1536);
        let q = dialect.quote();
        out.extend_from_slice(b"---\n");
        let jobs = [
            ("current-jobs-urgent", self.urgent),
            ("current-jobs-ready", self.ready),
            ("current-jobs-reserved", self.reserved),
            ("current-jobs-delayed", self.delayed),
            ("current-jobs-buried", self.buried),
        ];
        put_counts(&mut out, &jobs);
        put_counts(&mut out, &self.commands.by_key());
        let rest = [
            ("job-timeouts", self.timeouts),
            ("total-jobs", self.total_jobs),
            ("max-job-size", u64::from(process.max_job_size)),
            ("current-tubes", self.tubes),
            ("current-connections", self.connections),
            ("current-producers", self.producers),
            ("current-workers", self.workers),
            ("current-waiting", self.waiting),
            ("total-connections", self.total_connections),
            ("pid", u64::from(process.pid)),
        ];
        put_counts(&mut out, &rest);
        line!(out, "version: \"{}\"", dialect.version());
        for (key, us) in [("utime", process.user_us), ("stime", process.system_us)] {
            line!(out, "rusage-{key}: {}.{:06}", us / 1_000_000, us % 1_000_000);
        }
        let own = binlog.own.as_ref();
        let binlog = [
            ("uptime", process.uptime),
            ("binlog-oldest-index", binlog.oldest_index),
            ("binlog-current-index", binlog.current_index),
            ("binlog-records-migrated", binlog.records_migrated),
            ("binlog-records-written", binlog.records_written),
            ("binlog-max-size", binlog.max_size),
        ];
        put_counts(&mut out, &binlog);
        line!(out, "draining: {}\nid: {}", self.draining, process.id);
        line!(out, "hostname: {q}{}{q}", process.hostname);
        line!(out, "os: {q}{}{q}\nplatform: {q}{}{q}", process.os, process.platform);
        // Keys of our own. A version is always quoted: 0.1 would be a number.
        line!(out, "jq-version: \"{}\"", process.version);
        let ours = [
            ("current-jobs-bytes", self.body_bytes),
            ("job-disconnects", self.disconnects),
            ("memory-resident-bytes", process.resident_bytes),
        ];
        put_counts(&mut out, &ours);
        line!(out, "extensions: {q}{EXTENSIONS}{q}");
        put_counts(&mut out, &self.refused_puts.by_key());
        put_counts(&mut out, &[("refused-connections", process.refused_connections)]);
        put_counts(&mut out, &self.policies.by_key());
        if let Some(AccessStats { denied_commands, failed_auths }) = process.access {
            let counts = [("denied-commands", denied_commands), ("failed-auths", failed_auths)];
            put_counts(&mut out, &counts);
        }
        if let Some(own) = own {
            own.put_yaml(&mut out);
        }
        out
    }
}

impl BinlogUse {
    fn put_yaml(&self, out: &mut Vec<u8>) {
        let (state, code, error) = self.health.told();
        line!(out, "binlog-state: {state}\nbinlog-state-code: {code}");
        // As a YAML text in quotes, whatever the system says.
        line!(out, "binlog-error: \"{}\"", error.replace(['"', '\\', '\n'], " "));
        let counts = [
            ("binlog-failures", self.failures),
            ("binlog-pending-bytes", self.pending_bytes),
            ("binlog-unsynced-bytes", self.unsynced_bytes),
            ("binlog-segments", self.segments),
            ("binlog-bytes", self.bytes),
            ("binlog-live-bytes", self.live_bytes),
            ("binlog-dead-bytes", self.bytes.saturating_sub(self.live_bytes)),
            ("binlog-oldest-live-bytes", self.oldest_live_bytes),
            ("binlog-oldest-dead-bytes", self.oldest_bytes.saturating_sub(self.oldest_live_bytes)),
        ];
        put_counts(out, &counts);
    }
}

impl CommandCounts {
    /// Each count with its key in the stats, such as `cmd-put`.
    pub fn by_key(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("cmd-put", self.put),
            ("cmd-peek", self.peek),
            ("cmd-peek-ready", self.peek_ready),
            ("cmd-peek-delayed", self.peek_delayed),
            ("cmd-peek-buried", self.peek_buried),
            ("cmd-reserve", self.reserve),
            ("cmd-reserve-with-timeout", self.reserve_with_timeout),
            ("cmd-delete", self.delete),
            ("cmd-release", self.release),
            ("cmd-use", self.use_),
            ("cmd-watch", self.watch),
            ("cmd-ignore", self.ignore),
            ("cmd-bury", self.bury),
            ("cmd-kick", self.kick),
            ("cmd-touch", self.touch),
            ("cmd-stats", self.stats),
            ("cmd-stats-job", self.stats_job),
            ("cmd-stats-tube", self.stats_tube),
            ("cmd-list-tubes", self.list_tubes),
            ("cmd-list-tube-used", self.list_tube_used),
            ("cmd-list-tubes-watched", self.list_tubes_watched),
            ("cmd-pause-tube", self.pause_tube),
        ]
    }
}

fn put_counts(out: &mut Vec<u8>, counts: &[(&str, u64)]) {
    for (key, count) in counts {
        line!(out, "{key}: {count}");
    }
}

/// Begins the text of `list-tubes` and `list-tubes-watched`.
pub fn begin_tube_list(out: &mut Vec<u8>) {
    out.extend_from_slice(b"---\n");
}

/// Adds one name to the text of `list-tubes` and `list-tubes-watched`.
pub fn push_tube_list(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b"- ");
    out.extend_from_slice(name.as_bytes());
    out.push(b'\n');
}
