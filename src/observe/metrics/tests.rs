//! The exposition, and the names of others.

use std::collections::{BTreeMap, BTreeSet};

use beanstalk_protocol::Command;

use super::*;
use crate::observe::tests::Observed;

/// The lines that are no comments, by what is before the value.
fn samples(text: &str) -> BTreeMap<&str, &str> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').expect("a value")).collect()
}

/// The names of all samples.
fn names(text: &str) -> BTreeSet<&str> {
    let all = samples(text).into_keys();
    all.map(|series| series.split('{').next().unwrap_or_default()).collect()
}

async fn text(options: Options) -> String {
    let it = Observed::new(options);
    it.put("a");
    it.put("a");
    it.pass(3000);
    it.command(Command::ReserveJob(1));
    it.pass(20);
    it.command(Command::Delete(1));
    it.put("b");
    it.observatory.metrics().await
}

#[tokio::test]
async fn what_happened_is_shown() {
    let text = text(Options { max_tubes: 1, compat: Vec::new() }).await;
    let samples = samples(&text);
    for (series, value) in [
        ("jq_jobs{tube=\"a\",state=\"ready\"}", "1"),
        ("jq_jobs{tube=\"\",state=\"ready\"}", "1"),
        ("jq_urgent_jobs{tube=\"a\"}", "1"),
        ("jq_job_events_total{tube=\"a\",event=\"put\"}", "2"),
        ("jq_job_events_total{tube=\"\",event=\"put\"}", "1"),
        ("jq_job_events_total{tube=\"a\",event=\"delete\"}", "1"),
        ("jq_pause_left_seconds{tube=\"a\"}", "0"),
        ("jq_wait_seconds_bucket{le=\"2.5\",tube=\"a\"}", "0"),
        ("jq_wait_seconds_bucket{le=\"10.0\",tube=\"a\"}", "1"),
        ("jq_wait_seconds_bucket{le=\"+Inf\",tube=\"a\"}", "1"),
        ("jq_wait_seconds_count{tube=\"a\"}", "1"),
        ("jq_wait_seconds_count{tube=\"\"}", "0"),
        ("jq_service_seconds_bucket{le=\"0.005\",tube=\"a\"}", "0"),
        ("jq_service_seconds_bucket{le=\"0.025\",tube=\"a\"}", "1"),
        ("jq_commands_total{command=\"put\"}", "3"),
        ("jq_tubes", "3"),
        ("jq_summed_tubes", "2"),
        ("jq_connections", "1"),
        ("jq_ready", "1"),
        ("jq_reasons{reason=\"draining\"}", "0"),
        ("jq_body_bytes", "2"),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series} in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn without_a_limit_for_tubes_all_are_summed() {
    let text = text(Options::default()).await;
    assert!(samples(&text).keys().all(|series| !series.contains("tube=\"a\"")));
    assert!(text.contains("jq_job_events_total{tube=\"\",event=\"put\"} 3\n"));
}

#[test]
fn buckets_are_sums_of_those_that_are_counted() {
    let mut histogram = jq_engine::Histogram::default();
    for nanos in [50_000, 100_000, 100_001, 1_000_000_000, u64::MAX] {
        histogram.add(nanos);
    }
    let buckets = families::buckets(&histogram, &[0.0001, 0.5, 2.5]);
    assert_eq!(buckets, [(0.0001, 2), (0.5, 1), (2.5, 1), (f64::INFINITY, 1)]);
    // Each bound is one that is counted, or a bucket would be split.
    let counted: Vec<f64> = (0..jq_engine::Histogram::BUCKETS)
        .filter_map(jq_engine::Histogram::bound)
        .map(|bound| bound.as_secs_f64())
        .collect();
    for bound in families::BOUNDS.iter().chain(&families::SYNC_BOUNDS) {
        assert!(counted.contains(bound), "{bound}");
    }
}

/// What `stat_help.go` and `exporter.go` of messagebird/beanstalkd_exporter make of `stats` and
/// `stats-tube` of beanstalkd 1.13: each key, with underscores, but for `hostname`, `id`, `pid` and
/// the name of a tube.
const MESSAGEBIRD: &str = "
    current_jobs_urgent current_jobs_ready current_jobs_reserved current_jobs_delayed
    current_jobs_buried cmd_put cmd_peek cmd_peek_ready cmd_peek_delayed cmd_peek_buried cmd_reserve
    cmd_reserve_with_timeout cmd_delete cmd_release cmd_use cmd_watch cmd_ignore cmd_bury cmd_kick
    cmd_touch cmd_stats cmd_stats_job cmd_stats_tube cmd_list_tubes cmd_list_tube_used
    cmd_list_tubes_watched cmd_pause_tube job_timeouts total_jobs max_job_size current_tubes
    current_connections current_producers current_workers current_waiting total_connections version
    rusage_utime rusage_stime uptime binlog_oldest_index binlog_current_index binlog_records_migrated
    binlog_records_written binlog_max_size draining os platform
    tube_current_jobs_urgent tube_current_jobs_ready tube_current_jobs_reserved
    tube_current_jobs_delayed tube_current_jobs_buried tube_total_jobs tube_current_using
    tube_current_watching tube_current_waiting tube_cmd_delete tube_cmd_pause_tube tube_pause
    tube_pause_time_left";

/// The names in `internal/exporter/metrics.go` of davidtannock/beanstalkd_exporter, and `up` of its
/// `collector.go`. It also counts its own scrapes, of which there are none here.
const DAVIDTANNOCK: &str = "
    beanstalkd_cmd_bury_total beanstalkd_cmd_delete_total beanstalkd_cmd_ignore_total
    beanstalkd_cmd_kick_total beanstalkd_cmd_list_tube_used_total beanstalkd_cmd_list_tubes_total
    beanstalkd_cmd_list_tubes_watched_total beanstalkd_cmd_pause_tube_total beanstalkd_cmd_peek_total
    beanstalkd_cmd_peek_buried_total beanstalkd_cmd_peek_delayed_total
    beanstalkd_cmd_peek_ready_total beanstalkd_cmd_put_total beanstalkd_cmd_release_total
    beanstalkd_cmd_reserve_total beanstalkd_cmd_reserve_with_timeout_total
    beanstalkd_cmd_stats_total beanstalkd_cmd_stats_job_total beanstalkd_cmd_stats_tube_total
    beanstalkd_cmd_touch_total beanstalkd_cmd_use_total beanstalkd_cmd_watch_total
    beanstalkd_current_connections_count beanstalkd_current_jobs_buried_count
    beanstalkd_current_jobs_delayed_count beanstalkd_current_jobs_ready_count
    beanstalkd_current_jobs_reserved_count beanstalkd_current_jobs_urgent_count
    beanstalkd_current_producers_count beanstalkd_current_tubes_count
    beanstalkd_current_waiting_count beanstalkd_current_workers_count beanstalkd_job_timeouts_count
    beanstalkd_total_connections_count beanstalkd_total_jobs_count beanstalkd_up
    beanstalkd_tube_cmd_delete_total beanstalkd_tube_cmd_pause_tube_total
    beanstalkd_tube_current_jobs_buried_count beanstalkd_tube_current_jobs_delayed_count
    beanstalkd_tube_current_jobs_ready_count beanstalkd_tube_current_jobs_reserved_count
    beanstalkd_tube_current_jobs_urgent_count beanstalkd_tube_current_using_count
    beanstalkd_tube_current_waiting_count beanstalkd_tube_current_watching_count
    beanstalkd_tube_pause_seconds_total beanstalkd_tube_pause_time_left_seconds_total
    beanstalkd_tube_total_jobs_count";

#[tokio::test]
async fn the_names_of_the_exporters_are_all_there_and_no_others() {
    for (compat, list) in [(Compat::Messagebird, MESSAGEBIRD), (Compat::Davidtannock, DAVIDTANNOCK)]
    {
        let text = text(Options { max_tubes: 10, compat: vec![compat] }).await;
        let all = names(&text);
        let theirs: BTreeSet<&str> =
            all.iter().copied().filter(|name| !name.starts_with("jq_")).collect();
        assert_eq!(theirs, list.split_whitespace().collect(), "{compat:?}");
        let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let mut kinds = kinds.filter(|line| !line.starts_with("jq_"));
        assert!(kinds.all(|line| line.ends_with(" gauge")), "both know gauges only");
    }
}

#[tokio::test]
async fn the_numbers_of_the_exporters_are_those_of_stats() {
    let text = text(Options { max_tubes: 10, compat: Compat::ALL.to_vec() }).await;
    let samples = samples(&text);
    for (series, value) in [
        ("current_jobs_ready", "2.0"),
        ("cmd_put", "3.0"),
        ("version", "1.13"),
        ("uptime", "3.0"),
        ("tube_current_jobs_ready{tube=\"a\"}", "1"),
        ("beanstalkd_current_jobs_ready_count", "2.0"),
        ("beanstalkd_tube_current_jobs_ready_count{tube=\"a\"}", "1"),
        ("beanstalkd_tube_total_jobs_count{tube=\"a\"}", "2"),
        ("beanstalkd_cmd_put_total", "3.0"),
        ("beanstalkd_up", "1"),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series} in\n{text}");
    }
}

#[test]
fn exporters_have_names() {
    for compat in Compat::ALL {
        assert_eq!(compat.as_str().parse(), Ok(compat));
    }
    let wrong = "prometheus".parse::<Compat>();
    assert_eq!(wrong, Err("expected messagebird or davidtannock".to_owned()));
}
