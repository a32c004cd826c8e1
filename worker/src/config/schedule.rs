//! Jobs that are queued at certain times.

use std::collections::HashSet;
use std::path::Path;

use croner::parser::{CronParser, Seconds, Year};
use jiff::{Timestamp, tz::TimeZone};
use jq_client::TubeName;
use serde::Deserialize;
use serde_json::{Map, Value};
use toml::Spanned;

use super::{ConfigError, credentials::line_of};
use crate::job::Job;
use crate::schedule::{Missed, Schedule};

/// A table `[[schedule]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ScheduleSettings {
    name: Spanned<String>,
    cron: Spanned<String>,
    time_zone: Option<Spanned<String>>,
    tube: Option<Spanned<String>>,
    #[serde(default)]
    missed: Missed,
    job: Spanned<Map<String, Value>>,
}

/// The tables, checked. `tubes`: those of the worker.
pub(super) fn read(
    tables: &[ScheduleSettings],
    tubes: &[TubeName],
    path: &Path,
    text: &str,
) -> Result<Vec<Schedule>, ConfigError> {
    let mut names = HashSet::new();
    let tables = tables.iter().map(|table| {
        let schedule = one(table, tubes).and_then(|schedule| {
            let is_new = names.insert(schedule.name.clone());
            let at = table.name.span().start;
            is_new.then_some(schedule).ok_or((at, "name: there is another of this name".to_owned()))
        });
        schedule.map_err(|(at, why)| {
            let line = line_of(text, at);
            ConfigError(format!("{}: line {line}: schedule: {why}", path.display()))
        })
    });
    tables.collect()
}

/// What is wrong, and where in the text.
type Wrong = (usize, String);

fn one(table: &ScheduleSettings, tubes: &[TubeName]) -> Result<Schedule, Wrong> {
    let ScheduleSettings { name, cron, time_zone, tube, missed, job } = table;
    let baton = format!("schedule.{}", name.as_ref()).parse::<TubeName>();
    let baton = baton.map_err(|error| (name.span().start, format!("name: {error}")))?;
    let pattern = cron.as_ref();
    let at_cron =
        |why: &dyn std::fmt::Display| (cron.span().start, format!("cron: {pattern:?}: {why}"));
    let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
    let parsed = parser.parse(pattern).map_err(|error| at_cron(&error))?;
    let time_zone = match time_zone {
        None => TimeZone::UTC,
        Some(name) => TimeZone::get(name.as_ref())
            .map_err(|error| (name.span().start, format!("time_zone: {error}")))?,
    };
    let tube = match (tube, tubes.first()) {
        (Some(tube), _) => tube.as_ref().parse().map_err(|error| {
            let name: &str = tube.as_ref();
            (tube.span().start, format!("tube: {name:?} is not the name of a tube: {error}"))
        })?,
        (None, Some(tube)) => tube.clone(),
        (None, None) => return Err((name.span().start, "expected a tube".to_owned())),
    };
    let at_job = |why: String| (job.span().start, format!("job: {why}"));
    for member in ["id", "uuid", "jid", "created_at"] {
        if job.as_ref().contains_key(member) {
            return Err(at_job(format!("{member:?} cannot be given: each job has its own")));
        }
    }
    let schedule = Schedule {
        name: name.as_ref().clone(),
        cron: parsed,
        time_zone,
        tube,
        baton,
        missed: *missed,
        job: job.as_ref().clone(),
    };
    let now = Timestamp::now();
    Job::parse(&schedule.job_of(now)).map_err(|bad| at_job(bad.reason))?;
    if schedule.next(now).is_none() {
        return Err(at_cron(&"there is no such time"));
    }
    Ok(schedule)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Result<Vec<Schedule>, String> {
        #[derive(Deserialize)]
        struct File {
            schedule: Vec<ScheduleSettings>,
        }
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        let tubes = ["first".parse().unwrap()];
        read(&file.schedule, &tubes, Path::new("w.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_left_out() {
        let text = "[[schedule]]\nname = 'a'\ncron = '@hourly'\njob = { type = 'x' }\n";
        let schedules = told(text).unwrap();
        assert_eq!(schedules[0].tube.as_str(), "first");
        assert_eq!(schedules[0].baton.as_str(), "schedule.a");
        assert_eq!((&schedules[0].time_zone, schedules[0].missed), (&TimeZone::UTC, Missed::Skip));
    }

    #[test]
    fn mistakes_name_the_line() {
        const GOOD: &str = "[[schedule]]\nname = 'a'\ncron = '@daily'\njob = { type = 'x' }\n";
        for (from, to, why) in [
            (
                "'@daily'",
                "'0 0 30 2 *'",
                "w.toml: line 3: schedule: cron: \"0 0 30 2 *\": there is no",
            ),
            ("'@daily'", "'61 * * * *'", "line 3: schedule: cron: \"61 * * * *\": "),
            ("'@daily'", "'daily'", "line 3: schedule: cron: \"daily\": "),
            ("'@daily'", "'@daily'\ntime_zone = 'Mars/Base'", "line 4: schedule: time_zone: "),
            (
                "'@daily'",
                "'@daily'\ntube = 'a b'",
                "line 4: schedule: tube: \"a b\" is not the name",
            ),
            ("'@daily'", "'@daily'\nmissed = 'twice'", "expected `skip` or `run-once`"),
            ("'a'", "'a b'", "line 2: schedule: name: "),
            ("type = 'x'", "args = 1", "line 4: schedule: job: "),
            ("type = 'x'", "type = 'x', id = 5", "line 4: schedule: job: \"id\" cannot be given"),
        ] {
            let told = told(&GOOD.replace(from, to)).map(drop).unwrap_err();
            assert!(told.contains(why), "{told} does not say {why}");
        }
        let told = told(&GOOD.repeat(2)).map(drop).unwrap_err();
        assert_eq!(told, "w.toml: line 6: schedule: name: there is another of this name");
    }
}
