//! The names of two exporters for beanstalkd, for dashboards that exist.
//!
//! Both make a gauge of each number, whatever it is. The first makes one of everything in `stats` and
//! `stats-tube`; what is no number is 0 there, and here. The second has a list, and adds two of its
//! own. Neither knows of sums: here, tubes without series of their own are summed under the empty name.

use std::fmt;

use super::families::{Encoder, OTHERS};
use super::{Compat, Exposition};
use crate::observe::snapshot::TubeRow;

/// A number of a tube, by its key in `stats-tube`.
type OfTube = (&'static str, fn(&TubeRow) -> u64);

const TUBE: [OfTube; 13] = [
    ("current-jobs-urgent", |row| row.stats.urgent),
    ("current-jobs-ready", |row| row.stats.ready),
    ("current-jobs-reserved", |row| row.stats.reserved),
    ("current-jobs-delayed", |row| row.stats.delayed),
    ("current-jobs-buried", |row| row.stats.buried),
    ("total-jobs", |row| row.stats.total_jobs),
    ("current-using", |row| row.stats.using),
    ("current-watching", |row| row.stats.watching),
    ("current-waiting", |row| row.stats.waiting),
    ("cmd-delete", |row| row.stats.deletes),
    ("cmd-pause-tube", |row| row.stats.pauses),
    ("pause", |row| row.stats.pause),
    ("pause-time-left", |row| row.stats.pause_time_left),
];

impl Exposition {
    pub(super) fn compat(
        &self,
        compat: Compat,
        encoder: &mut Encoder<'_>,
        own: &[&TubeRow],
        others: &[&TubeRow],
    ) -> fmt::Result {
        for (key, value) in self.stats() {
            if let Some(name) = compat.name(key) {
                encoder.gauge(&name, &format!("{key} of stats"), None, value)?;
            }
        }
        for (key, number) in TUBE {
            let name = compat.tube_name(key);
            let own = own.iter().map(|row| ([("tube", &*row.name)], number(row)));
            let sum = others.iter().map(|row| number(row)).reduce(|a, b| a + b);
            let others = sum.map(|sum| ([("tube", OTHERS)], sum));
            let values = own.chain(others);
            encoder.gauges(&name, &format!("{key} of stats-tube"), None, values)?;
        }
        if compat == Compat::Davidtannock {
            encoder.gauge("beanstalkd_up", "Always 1", None, 1_u64)?;
        }
        Ok(())
    }

    /// The numbers of `stats`, by their keys. What is no number there is 0.
    fn stats(&self) -> Vec<(&'static str, f64)> {
        let (server, log) = (&self.snapshot.server, &self.snapshot.log);
        let mut stats = vec![
            ("current-jobs-urgent", server.urgent),
            ("current-jobs-ready", server.ready),
            ("current-jobs-reserved", server.reserved),
            ("current-jobs-delayed", server.delayed),
            ("current-jobs-buried", server.buried),
        ];
        stats.extend(server.commands.by_key());
        stats.extend([
            ("job-timeouts", server.timeouts),
            ("total-jobs", server.total_jobs),
            ("max-job-size", u64::from(self.max_job_size)),
            ("current-tubes", server.tubes),
            ("current-connections", server.connections),
            ("current-producers", server.producers),
            ("current-workers", server.workers),
            ("current-waiting", server.waiting),
            ("total-connections", server.total_connections),
            ("uptime", self.uptime as u64),
            ("binlog-oldest-index", log.oldest_index),
            ("binlog-current-index", log.current_index),
            ("binlog-records-migrated", log.records_migrated),
            ("binlog-records-written", log.records_written),
            ("binlog-max-size", log.max_size),
            ("draining", 0),
            ("os", 0),
            ("platform", 0),
        ]);
        let mut stats: Vec<(&'static str, f64)> =
            stats.into_iter().map(|(key, value)| (key, value as f64)).collect();
        stats.extend([
            // A number only if it has one dot.
            ("version", self.compat_version.parse().unwrap_or_default()),
            ("rusage-utime", self.process.user_seconds.unwrap_or_default()),
            ("rusage-stime", self.process.system_seconds.unwrap_or_default()),
        ]);
        stats
    }
}

impl Compat {
    /// The metric for this key of `stats`, if it has one.
    fn name(self, key: &str) -> Option<String> {
        let plain = key.replace('-', "_");
        match self {
            Self::Messagebird => Some(plain),
            Self::Davidtannock if key.starts_with("cmd-") => {
                Some(format!("beanstalkd_{plain}_total"))
            }
            Self::Davidtannock => {
                let counted = key.starts_with("current-") || key.starts_with("total-");
                let is_count = counted || key == "job-timeouts";
                is_count.then(|| format!("beanstalkd_{plain}_count"))
            }
        }
    }

    /// The metric for this key of `stats-tube`.
    fn tube_name(self, key: &str) -> String {
        let plain = key.replace('-', "_");
        match self {
            Self::Messagebird => format!("tube_{plain}"),
            Self::Davidtannock if key.starts_with("cmd-") => {
                format!("beanstalkd_tube_{plain}_total")
            }
            Self::Davidtannock if key.starts_with("pause") => {
                format!("beanstalkd_tube_{plain}_seconds_total")
            }
            Self::Davidtannock => format!("beanstalkd_tube_{plain}_count"),
        }
    }
}
