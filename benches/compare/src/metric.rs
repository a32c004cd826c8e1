//! What is measured, and how it is shown.

use crate::{load::Window, meter::Others, stats::Histogram};

/// One kind of number that a round yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    CommandsPerSecond,
    /// Commands per second of the server's CPU time: what counts when the client is the limit.
    CommandsPerCpuSecond,
    /// Commands per second divided by how many of them a job costs: fewer in redis' protocol.
    JobsPerSecond,
    /// Seconds of the server's CPU time per million commands.
    CpuPerMillion,
    /// System calls of the server per command. Counted in a run of its own.
    SystemCalls,
    /// Jobs that went from a producer to a waiting worker per second.
    HandOversPerSecond,
    /// Half of all latencies in microseconds are no longer than this.
    P50,
    /// And 99% no longer than this.
    P99,
    /// The same of the producer's replies, where the two above are those of others.
    PutP50,
    PutP99,
    /// The server's CPU time as a percentage of the time that passed.
    ServerBusy,
    ClientBusy,
    /// The server's resident memory in MiB when the load ended.
    Resident,
    /// Resident bytes that each job has added.
    BytesPerJob,
    /// Resident bytes that each connection has added.
    BytesPerConnection,
    /// The longest time that others had to wait for a reply, in milliseconds.
    LongestStall,
    /// Seconds from starting a server with many jobs to its first reply.
    RestartSeconds,
    /// Seconds from SIGTERM to the server's end.
    StopSeconds,
    /// What the server's files take on disk for each job, in bytes.
    DiskPerJob,
}

impl Metric {
    /// The key in JSON.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::CommandsPerSecond => "commands_per_second",
            Self::CommandsPerCpuSecond => "commands_per_cpu_second",
            Self::JobsPerSecond => "jobs_per_second",
            Self::CpuPerMillion => "cpu_seconds_per_million",
            Self::SystemCalls => "system_calls_per_command",
            Self::HandOversPerSecond => "hand_overs_per_second",
            Self::PutP50 => "put_p50_us",
            Self::PutP99 => "put_p99_us",
            Self::P50 => "p50_us",
            Self::P99 => "p99_us",
            Self::ServerBusy => "server_busy_percent",
            Self::ClientBusy => "client_busy_percent",
            Self::Resident => "resident_mib",
            Self::BytesPerJob => "resident_bytes_per_job",
            Self::BytesPerConnection => "resident_bytes_per_connection",
            Self::LongestStall => "longest_stall_ms",
            Self::RestartSeconds => "restart_seconds",
            Self::StopSeconds => "stop_seconds",
            Self::DiskPerJob => "disk_bytes_per_job",
        }
    }

    /// The head of a table's column.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::CommandsPerSecond => "commands/s",
            Self::CommandsPerCpuSecond => "commands/CPU s",
            Self::JobsPerSecond => "jobs/s",
            Self::CpuPerMillion => "CPU s/million",
            Self::SystemCalls => "syscalls/command",
            Self::HandOversPerSecond => "hand-overs/s",
            Self::PutP50 => "put p50 us",
            Self::PutP99 => "put p99 us",
            Self::P50 => "p50 us",
            Self::P99 => "p99 us",
            Self::ServerBusy => "server busy %",
            Self::ClientBusy => "client busy %",
            Self::Resident => "resident MiB",
            Self::BytesPerJob => "bytes/job",
            Self::BytesPerConnection => "bytes/connection",
            Self::LongestStall => "longest stall ms",
            Self::RestartSeconds => "restart s",
            Self::StopSeconds => "stop s",
            Self::DiskPerJob => "disk bytes/job",
        }
    }
}

/// The numbers of one round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) values: Vec<(Metric, f64)>,
    /// What disturbed the round, if that is known.
    pub(crate) others: Option<Others>,
}

impl Sample {
    /// One number alone.
    pub(crate) fn single(metric: Metric, value: f64) -> Self {
        Self { values: vec![(metric, value)], others: None }
    }

    /// The numbers of a load.
    pub(crate) fn of(window: &Window, resident: Option<u64>) -> Self {
        let (commands, usage) = (window.commands as f64, &window.usage);
        let wall = usage.wall.as_secs_f64();
        let mut values = vec![
            (Metric::CommandsPerSecond, commands / wall),
            (Metric::JobsPerSecond, commands / window.commands_per_job as f64 / wall),
        ];
        if let Some(server) = usage.server {
            let server = server.as_secs_f64();
            values.push((Metric::CommandsPerCpuSecond, commands / server));
            values.push((Metric::CpuPerMillion, server / commands * 1e6));
            values.push((Metric::ServerBusy, server / wall * 100.0));
        }
        values.push((Metric::ClientBusy, usage.client.as_secs_f64() / wall * 100.0));
        values.extend(latencies(&window.latency));
        if let Some(bytes) = resident {
            values.push((Metric::Resident, bytes as f64 / (1024.0 * 1024.0)));
        }
        // A tiny round may see no reply or no tick of a clock.
        values.retain(|(_, value)| value.is_finite());
        Self { values, others: usage.others.clone() }
    }

    /// The value of one metric.
    pub(crate) fn get(&self, metric: Metric) -> Option<f64> {
        self.values.iter().find(|(m, _)| *m == metric).map(|&(_, value)| value)
    }
}

/// The latencies that are shown.
pub(crate) fn latencies(histogram: &Histogram) -> Vec<(Metric, f64)> {
    quantiles(histogram, [Metric::P50, Metric::P99])
}

/// The latencies of a producer's replies.
pub(crate) fn put_latencies(histogram: &Histogram) -> Vec<(Metric, f64)> {
    quantiles(histogram, [Metric::PutP50, Metric::PutP99])
}

fn quantiles(histogram: &Histogram, [half, most]: [Metric; 2]) -> Vec<(Metric, f64)> {
    [(half, 0.5), (most, 0.99)]
        .into_iter()
        .filter_map(|(metric, q)| Some((metric, histogram.quantile(q)?.as_secs_f64() * 1e6)))
        .collect()
}
