//! How long a server takes to come back with all its jobs.

use crate::{
    control::Control,
    failure::Failure,
    metric::{Metric, Sample},
    session::Session,
};

/// Fills the server, ends it with SIGTERM, and starts it again on the same files. The kernel has
/// them in its cache: what is measured is the server and not the disk.
pub(crate) fn measure(
    session: &mut Session<'_>,
    jobs: u64,
    body: usize,
) -> Result<Sample, Failure> {
    session.fill(jobs, body)?;
    let stop = session.server.stop()?;
    let disk = session.server.disk()?;
    let start = session.server.start_again()?;
    let found = Control::connect(&session.server.way)?.stat("stats", "current-jobs-ready")?;
    if found != jobs {
        let message = format!("{found} jobs are ready after the restart, expected {jobs}");
        return Err(Failure::Untrue(message));
    }
    session.meter.server = session.server.pid;
    let mut values = vec![
        (Metric::RestartSeconds, start.as_secs_f64()),
        (Metric::StopSeconds, stop.as_secs_f64()),
        (Metric::DiskPerJob, disk as f64 / jobs as f64),
    ];
    if let Some(resident) = session.meter.resident()? {
        values.push((Metric::Resident, resident as f64 / (1024.0 * 1024.0)));
    }
    Ok(Sample { values, others: None })
}
