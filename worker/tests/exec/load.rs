//! What it costs. Measured by hand, in a release build: timings are no assertions.
//!
//! `cargo test --release -p jq-worker --test exec load -- --ignored --nocapture --test-threads 1`

use crate::support::{command, keepers};
use bytes::Bytes;
use jq_worker::exec::{self, Exit, LiveLog, Persistent, PersistentOptions};
use std::future::pending;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const RUNS: u32 = 1000;
const CONCURRENCY: u32 = 8;
const ROUNDS: u32 = 5;

fn report(what: &str, count: u32, elapsed: Duration) {
    let rate = f64::from(count) / elapsed.as_secs_f64();
    println!("{what}: {count} in {elapsed:.1?}, {:.1?} each, {rate:.0} a second", elapsed / count);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures, and asserts nothing"]
async fn starts_against_xargs() {
    let keepers = keepers();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let next = Arc::new(AtomicU32::new(0));
        let runners: Vec<_> = (0..CONCURRENCY)
            .map(|_| {
                let (keepers, next) = (keepers.clone(), next.clone());
                tokio::spawn(async move {
                    while next.fetch_add(1, Ordering::Relaxed) < RUNS {
                        let spec = command("/bin/true", &[]).spec;
                        let log = Arc::new(LiveLog::new());
                        let finished = exec::run(&keepers, spec, log, pending()).await.unwrap();
                        assert_eq!(finished.exit, Exit::Code(0));
                    }
                })
            })
            .collect();
        for runner in runners {
            runner.await.unwrap();
        }
        report("jq-worker", RUNS, began.elapsed());

        let began = Instant::now();
        let script = format!("seq {RUNS} | xargs -P{CONCURRENCY} -n1 /bin/true");
        let mut xargs = Command::new("/bin/sh");
        // Without what cargo adds, where the loader would look for libraries first.
        xargs.args(["-c", &script]).env_clear().env("PATH", "/usr/bin:/bin");
        let xargs = xargs.stdin(Stdio::null()).status();
        assert!(xargs.unwrap().success());
        report("xargs -P8", RUNS, began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures, and asserts nothing"]
async fn lines_through_cat() {
    const LINES: u32 = 100_000;
    const PIPELINE: usize = 16;
    let spec = command("/bin/cat", &[]).spec;
    let options = PersistentOptions {
        program: spec.program,
        args: spec.args,
        env: spec.env,
        directory: spec.directory,
        limits: spec.limits,
        grace: Duration::from_secs(1),
        processes: 1,
        pipeline: PIPELINE,
        output_limit: 1024 * 1024,
    };
    let persistent = Arc::new(Persistent::new(keepers(), options));
    let line = Bytes::from(format!("{{\"args\":\"{}\"}}", "x".repeat(200)));
    for _ in 0..ROUNDS {
        let next = Arc::new(AtomicU32::new(0));
        let began = Instant::now();
        let runners: Vec<_> = (0..PIPELINE)
            .map(|_| {
                let (persistent, next, line) = (persistent.clone(), next.clone(), line.clone());
                tokio::spawn(async move {
                    while next.fetch_add(1, Ordering::Relaxed) < LINES {
                        let log = Arc::new(LiveLog::new());
                        let timeout = Duration::from_secs(10);
                        persistent.run(line.clone(), timeout, log, pending()).await.unwrap();
                    }
                })
            })
            .collect();
        for runner in runners {
            runner.await.unwrap();
        }
        report("persistent cat", LINES, began.elapsed());
    }
    persistent.stop().await;
}
