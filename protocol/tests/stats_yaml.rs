//! The texts of the stats commands, key by key: upstream's keys in upstream's order. Every number
//! is another one, so that no two can be mixed up.

use beanstalk_protocol::{
    AccessStats, BinlogHealth, BinlogStats, BinlogUse, CommandCounts, Dialect, JobState, JobStats,
    PolicyCounts, ProcessStats, RefusedPuts, ServerStats, TubeStats, begin_tube_list,
    push_tube_list,
};

const JOB: &str = "---
id: 18446744073709551615
tube: \"a/b.c\"
state: reserved
pri: 4294967295
age: 101
delay: 102
ttr: 103
time-left: 104
file: 105
reserves: 106
timeouts: 107
releases: 108
buries: 109
kicks: 110
disconnects: 111
";

const TUBE: &str = "---
name: \"a/b.c\"
current-jobs-urgent: 201
current-jobs-ready: 202
current-jobs-reserved: 203
current-jobs-delayed: 204
current-jobs-buried: 205
total-jobs: 206
current-using: 207
current-watching: 208
current-waiting: 209
cmd-delete: 210
cmd-pause-tube: 211
pause: 212
pause-time-left: 213
current-jobs-bytes: 214
has-policy: true
refused-puts: 215
duplicate-puts: 216
jobs-expired: 217
jobs-dead-lettered: 218
jobs-buried-by-policy: 219
";

const SERVER: &str = "---
current-jobs-urgent: 301
current-jobs-ready: 302
current-jobs-reserved: 303
current-jobs-delayed: 304
current-jobs-buried: 305
cmd-put: 401
cmd-peek: 402
cmd-peek-ready: 403
cmd-peek-delayed: 404
cmd-peek-buried: 405
cmd-reserve: 406
cmd-reserve-with-timeout: 407
cmd-delete: 408
cmd-release: 409
cmd-use: 410
cmd-watch: 411
cmd-ignore: 412
cmd-bury: 413
cmd-kick: 414
cmd-touch: 415
cmd-stats: 416
cmd-stats-job: 417
cmd-stats-tube: 418
cmd-list-tubes: 419
cmd-list-tube-used: 420
cmd-list-tubes-watched: 421
cmd-pause-tube: 422
job-timeouts: 306
total-jobs: 307
max-job-size: 501
current-tubes: 308
current-connections: 309
current-producers: 310
current-workers: 311
current-waiting: 312
total-connections: 313
pid: 502
version: \"1.13\"
rusage-utime: 1.000002
rusage-stime: 0.123456
uptime: 503
binlog-oldest-index: 601
binlog-current-index: 602
binlog-records-migrated: 603
binlog-records-written: 604
binlog-max-size: 605
draining: true
id: a1b2c3d4e5f60718
hostname: \"host.example\"
os: \"#1 SMP Debian 6.1\"
platform: \"x86_64\"
jq-version: \"9.8.7\"
current-jobs-bytes: 314
job-disconnects: 315
memory-resident-bytes: 504
extensions: \"batch-reserve clear-tube list-jobs move\"
refused-puts-draining: 316
refused-puts-out-of-memory: 317
refused-puts-max-jobs: 318
refused-puts-max-memory: 319
refused-puts-tube-max-jobs: 320
refused-puts-tube-max-bytes: 321
refused-puts-job-too-big: 322
refused-connections: 505
duplicate-puts: 323
jobs-expired: 324
jobs-dead-lettered: 325
jobs-buried-by-policy: 326
";

/// What 1.12 prints: the quotes of the versions are the only ones.
fn without_quotes(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix("version: ") {
        Some(version) => format!("version: {}\n", version.replace("1.13", "1.12")),
        None if line.starts_with("jq-version: ") => format!("{line}\n"),
        None => format!("{}\n", line.replace('"', "")),
    };
    text.lines().map(line).collect()
}

fn assert_text(found: impl Fn(Dialect) -> Vec<u8>, expected: &str) {
    for (dialect, expected) in
        [(Dialect::V1_13, expected.to_owned()), (Dialect::V1_12, without_quotes(expected))]
    {
        let found = String::from_utf8(found(dialect)).expect("the texts are ASCII here");
        assert_eq!(found, expected, "{dialect:?}");
    }
}

#[test]
fn stats_job() {
    let stats = JobStats {
        id: u64::MAX,
        tube: "a/b.c",
        state: JobState::Reserved,
        priority: u32::MAX,
        age: 101,
        delay: 102,
        ttr: 103,
        time_left: 104,
        file: 105,
        reserves: 106,
        timeouts: 107,
        releases: 108,
        buries: 109,
        kicks: 110,
        disconnects: 111,
    };
    assert_text(|dialect| stats.to_yaml(dialect), JOB);
    for (state, word) in [
        (JobState::Ready, "ready"),
        (JobState::Delayed, "delayed"),
        (JobState::Reserved, "reserved"),
        (JobState::Buried, "buried"),
    ] {
        assert_eq!(state.as_str(), word);
    }
}

#[test]
fn stats_tube() {
    let stats = TubeStats {
        name: "a/b.c",
        urgent: 201,
        ready: 202,
        reserved: 203,
        delayed: 204,
        buried: 205,
        total_jobs: 206,
        using: 207,
        watching: 208,
        waiting: 209,
        deletes: 210,
        pauses: 211,
        pause: 212,
        pause_time_left: 213,
        body_bytes: 214,
        policy: Some(Box::new(PolicyCounts {
            refused: 215,
            duplicates: 216,
            expired: 217,
            dead_letters: 218,
            buried: 219,
        })),
    };
    assert_text(|dialect| stats.to_yaml(dialect), TUBE);
    // Without a policy there are the same keys.
    let keys = |stats: &TubeStats<&str>| -> Vec<String> {
        let text = String::from_utf8(stats.to_yaml(Dialect::default())).unwrap();
        text.lines().map(|line| line.split(':').next().unwrap().to_owned()).collect()
    };
    let without = TubeStats { policy: None, ..stats.clone() };
    assert_eq!(keys(&without), keys(&stats));
    let text = String::from_utf8(without.to_yaml(Dialect::default())).unwrap();
    assert!(text.contains("has-policy: false\nrefused-puts: 0\n"), "{text}");
}

#[test]
fn stats() {
    let commands = CommandCounts {
        put: 401,
        peek: 402,
        peek_ready: 403,
        peek_delayed: 404,
        peek_buried: 405,
        reserve: 406,
        reserve_with_timeout: 407,
        delete: 408,
        release: 409,
        use_: 410,
        watch: 411,
        ignore: 412,
        bury: 413,
        kick: 414,
        touch: 415,
        stats: 416,
        stats_job: 417,
        stats_tube: 418,
        list_tubes: 419,
        list_tube_used: 420,
        list_tubes_watched: 421,
        pause_tube: 422,
        // These are not in the text.
        batch_reserve: 901,
        clear_tube: 902,
        list_jobs: 903,
        move_: 904,
    };
    let server = ServerStats {
        urgent: 301,
        ready: 302,
        reserved: 303,
        delayed: 304,
        buried: 305,
        commands,
        timeouts: 306,
        total_jobs: 307,
        tubes: 308,
        connections: 309,
        producers: 310,
        workers: 311,
        waiting: 312,
        total_connections: 313,
        draining: true,
        body_bytes: 314,
        disconnects: 315,
        refused_puts: RefusedPuts {
            draining: 316,
            out_of_memory: 317,
            max_jobs: 318,
            max_memory: 319,
            tube_max_jobs: 320,
            tube_max_bytes: 321,
            job_too_big: 322,
        },
        policies: PolicyCounts {
            // Not in the text: it is the sum of two that are.
            refused: 999,
            duplicates: 323,
            expired: 324,
            dead_letters: 325,
            buried: 326,
        },
    };
    let process = ProcessStats {
        max_job_size: 501,
        pid: 502,
        version: "9.8.7",
        user_us: 1_000_002,
        system_us: 123_456,
        uptime: 503,
        id: "a1b2c3d4e5f60718",
        hostname: "host.example",
        os: "#1 SMP Debian 6.1",
        platform: "x86_64",
        resident_bytes: 504,
        refused_connections: 505,
        access: None,
    };
    let binlog = BinlogStats {
        oldest_index: 601,
        current_index: 602,
        records_migrated: 603,
        records_written: 604,
        max_size: 605,
        own: None,
    };
    assert_text(|dialect| server.to_yaml(&process, &binlog, dialect), SERVER);

    // A server that knows its clients has two keys more.
    let access = AccessStats { denied_commands: 506, failed_auths: 507 };
    let knowing = ProcessStats { access: Some(access), ..process.clone() };
    let text = server.to_yaml(&knowing, &binlog, Dialect::default());
    let without = server.to_yaml(&process, &binlog, Dialect::default());
    let more = text.strip_prefix(&without[..]).unwrap();
    assert_eq!(more, b"denied-commands: 506\nfailed-auths: 507\n");

    // What a log tells besides comes behind everything else.
    let mut own = BinlogUse {
        health: BinlogHealth::Full("no \"room\"\\\n left".into()),
        failures: 701,
        pending_bytes: 702,
        unsynced_bytes: 703,
        segments: 704,
        bytes: 1705,
        live_bytes: 706,
        oldest_bytes: 777,
        oldest_live_bytes: 70,
    };
    let text = |own: &BinlogUse| {
        let binlog = BinlogStats { own: Some(Box::new(own.clone())), ..binlog.clone() };
        String::from_utf8(server.to_yaml(&process, &binlog, Dialect::default())).unwrap()
    };
    let full = text(&own);
    let (before, after) = full.split_at(full.find("binlog-state").unwrap());
    assert!(before.ends_with("jobs-buried-by-policy: 326\n"), "{before}");
    assert_eq!(after, OWN);

    // Of the states, each has its word and its number.
    for (health, lines) in [
        (BinlogHealth::Good, "binlog-state: good\nbinlog-state-code: 0\nbinlog-error: \"\"\n"),
        (
            BinlogHealth::Failed("lost".into()),
            "binlog-state: failed\nbinlog-state-code: 2\nbinlog-error: \"lost\"\n",
        ),
    ] {
        own.health = health;
        assert!(text(&own).contains(lines), "{}", text(&own));
    }
}

/// Keys of our own.
const OWN: &str = "\
binlog-state: full
binlog-state-code: 1
binlog-error: \"no  room    left\"
binlog-failures: 701
binlog-pending-bytes: 702
binlog-unsynced-bytes: 703
binlog-segments: 704
binlog-bytes: 1705
binlog-live-bytes: 706
binlog-dead-bytes: 999
binlog-oldest-live-bytes: 70
binlog-oldest-dead-bytes: 707
";

#[test]
fn lists_are_never_quoted() {
    let mut text = Vec::new();
    begin_tube_list(&mut text);
    for name in ["default", "a/b.c"] {
        push_tube_list(&mut text, name);
    }
    assert_eq!(text, b"---\n- default\n- a/b.c\n");
}
