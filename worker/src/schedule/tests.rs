use serde_json::json;

use super::*;

fn schedule(cron: &str, zone: &str, missed: Missed) -> Schedule {
    let parser = croner::parser::CronParser::builder()
        .seconds(croner::parser::Seconds::Optional)
        .year(croner::parser::Year::Disallowed)
        .build();
    Schedule {
        name: "nightly".to_owned(),
        cron: parser.parse(cron).unwrap(),
        time_zone: TimeZone::get(zone).unwrap(),
        tube: "t".parse().unwrap(),
        baton: "schedule.nightly".parse().unwrap(),
        missed,
        job: [("type".to_owned(), json!("report"))].into_iter().collect(),
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The moments after this one, in the time of the zone.
fn moments(cron: &str, after: &str, count: usize) -> Vec<String> {
    let schedule = schedule(cron, "Europe/Berlin", Missed::Skip);
    let first = schedule.next(at(after));
    let all = std::iter::successors(first, |last| schedule.next(*last)).take(count);
    all.map(|it| it.to_zoned(schedule.time_zone.clone()).strftime("%d %H:%M%:z").to_string())
        .collect()
}

#[test]
fn an_hour_that_is_left_out_and_one_that_comes_twice() {
    // 02:00 to 03:00 is left out on 29 March 2026.
    assert_eq!(
        moments("30 2 * * *", "2026-03-28T00:00:00Z", 3),
        ["28 02:30+01:00", "29 03:00+02:00", "30 02:30+02:00"]
    );
    assert_eq!(
        moments("30 * * * *", "2026-03-29T00:00:00Z", 2),
        ["29 01:30+01:00", "29 03:30+02:00"]
    );
    // It comes twice on 25 October 2026.
    assert_eq!(
        moments("30 2 * * *", "2026-10-24T12:00:00Z", 2),
        ["25 02:30+02:00", "26 02:30+01:00"]
    );
    assert_eq!(
        moments("30 * * * *", "2026-10-25T00:00:00Z", 3),
        ["25 02:30+02:00", "25 02:30+01:00", "25 03:30+01:00"]
    );
}

#[test]
fn what_is_due_and_what_was_missed() {
    let skip = schedule("@daily", "UTC", Missed::Skip);
    let (last, next) = (at("2026-06-01T00:00:00Z"), at("2026-06-02T00:00:00Z"));
    assert_eq!(skip.due(last, at("2026-06-01T23:59:59Z")), Due::Wait(next));
    assert_eq!(skip.due(last, next), Due::Queue(next));
    assert_eq!(skip.due(last, at("2026-06-02T00:01:00Z")), Due::Queue(next));
    assert_eq!(skip.due(last, at("2026-06-02T00:01:01Z")), Due::Skip(next));
    let (newest, now) = (at("2026-06-09T00:00:00Z"), at("2026-06-09T12:00:00Z"));
    assert_eq!(skip.due(last, now), Due::Skip(newest));
    let once = schedule("@daily", "UTC", Missed::RunOnce);
    assert_eq!(once.due(last, now), Due::Queue(newest));
    assert_eq!(once.due(newest, now), Due::Wait(at("2026-06-10T00:00:00Z")));
}

#[test]
fn a_clock_that_jumps() {
    let schedule = schedule("*/10 * * * *", "UTC", Missed::Skip);
    let last = at("2026-06-01T12:00:00Z");
    // Back a little: nothing comes a second time.
    assert_eq!(
        schedule.due(last, at("2026-06-01T11:05:00Z")),
        Due::Wait(at("2026-06-01T12:10:00Z"))
    );
    // Back by more than an hour: it was ahead before.
    assert_eq!(schedule.due(last, at("2026-06-01T10:55:00Z")), Due::ClockWasWrong);
    let now = at("2026-06-01T11:05:00Z");
    assert_eq!(schedule.delay(at("2026-06-01T12:10:00Z"), now), 60);
    assert_eq!(schedule.delay(at("2026-06-01T11:05:00.001Z"), now), 1);
    assert_eq!(schedule.delay(at("2026-06-01T11:04:00Z"), now), 0);
}

#[test]
fn missed_moments_are_not_counted_one_by_one() {
    let schedule = schedule("* * * * * *", "UTC", Missed::RunOnce);
    let now = at("2026-06-01T12:00:00Z");
    assert_eq!(schedule.due(at("1970-01-01T00:00:00Z"), now), Due::Queue(now - LATE));
}

#[test]
fn each_moment_has_an_id_of_its_own() {
    let schedule = schedule("@daily", "UTC", Missed::Skip);
    let of = |moment| -> Value { serde_json::from_slice(&schedule.job_of(at(moment))).unwrap() };
    let job = of("2026-06-01T00:00:00Z");
    assert_eq!(job, of("2026-06-01T00:00:00Z"));
    assert_ne!(job["id"], of("2026-06-02T00:00:00Z")["id"]);
    assert_eq!(job["created_at"], "2026-06-01T00:00:00.000Z");
    let id: Uuid = job["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(id.get_version_num(), 8);
}
