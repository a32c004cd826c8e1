//! What a server counts and lists of its tubes: each job is in one tube, once.

use std::collections::BTreeSet;

use beanstalk_protocol::{Command, JobId, JobListing, JobQuery, Request};
use jq_engine::CloseReason;

use crate::job::Place;
use crate::model::TUBES;
use crate::observe::tube_name;
use crate::server::replies;
use crate::sim::{Sim, Violation};

/// The most jobs that a list can have.
const LISTED: u32 = 100;

impl Sim {
    /// Compares the counts and the lists of all tubes with the model. Nobody may be connected.
    pub(crate) fn check_counts(&mut self) -> Result<(), Violation> {
        let conn = self.server.connect();
        for (tube, name) in TUBES.iter().enumerate() {
            let query =
                JobQuery { tube: Some(tube_name(tube)), state: None, cursor: 0, count: LISTED };
            let asks = [Command::StatsTube(tube_name(tube)), Command::ListJobs(Box::new(query))];
            let answers = self.apply(conn, asks.map(Request::Command).into())?;
            self.model.expect_nothing()?;
            let replies = replies(&answers.out);
            let [stats, list] = &replies[..] else { return Err("two questions".into()) };

            let jobs =
                self.model.jobs.iter().filter_map(|(id, job)| Some((*id, job.now.as_ref()?)));
            let here: Vec<_> = jobs.filter(|(_, now)| now.tube == tube).collect();
            let of = |is: fn(Place) -> bool| here.iter().filter(|(_, now)| is(now.place)).count();
            let counts = [
                ("current-jobs-ready", of(|place| place == Place::Ready)),
                ("current-jobs-delayed", of(|place| matches!(place, Place::Delayed(_)))),
                ("current-jobs-buried", of(|place| matches!(place, Place::Buried(_)))),
                ("current-jobs-reserved", 0),
            ];
            for (key, count) in counts {
                let said = stats.value(key).map_or(Ok(0), str::parse::<usize>);
                if said != Ok(count) {
                    return Err(format!("{name} should have {count} {key}: {stats}"));
                }
            }
            let text = String::from_utf8_lossy(list.body().unwrap_or_default()).into_owned();
            let listed = JobListing::from_yaml(&text).map(|list| list.jobs).unwrap_or_default();
            let ids: BTreeSet<JobId> = listed.iter().map(|job| job.id).collect();
            let all = here.iter().all(|(id, _)| ids.contains(id)) || here.len() > LISTED as usize;
            let only = listed.iter().all(|job| here.iter().any(|(id, _)| *id == job.id));
            if !all || !only || ids.len() != listed.len() {
                return Err(format!("{name} should list {here:?}: {listed:?}"));
            }
        }
        self.server.hub.disconnect(conn, CloseReason::Quit);
        Ok(())
    }
}
