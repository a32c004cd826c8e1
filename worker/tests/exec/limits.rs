//! What a process may use.

use crate::support::{command, run, sh};
use jq_worker::exec::{Exit, Limits};
use std::time::Duration;

#[tokio::test]
async fn processor_time_ends() {
    let mut marked = sh("while true; do :; done");
    marked.spec.limits.cpu_seconds = Some(1);
    let finished = run(marked).await.unwrap();
    assert_eq!(finished.exit, Exit::Signal(24));
    let cpu = finished.usage.cpu;
    assert!(cpu >= Duration::from_millis(500) && cpu < Duration::from_secs(5), "{cpu:?}");

    // One that does not mind the signal has another second.
    let mut marked = sh("trap '' XCPU; while true; do :; done");
    marked.spec.limits.cpu_seconds = Some(1);
    assert_eq!(run(marked).await.unwrap().exit, Exit::Signal(9));
}

#[tokio::test]
async fn memory_ends() {
    // `tail` takes as much memory as the line is long.
    let script = "head -c 200000000 /dev/zero | tail -n 1 | wc -c; exit 3";
    let mut marked = sh(script);
    assert_eq!(run(marked.clone()).await.unwrap().stdout.head, b"200000000\n");
    marked.spec.limits.memory_bytes = Some(50_000_000);
    let finished = run(marked).await.unwrap();
    assert_eq!((finished.exit, &finished.stdout.head[..]), (Exit::Code(3), &b"0\n"[..]));
    assert!(!finished.stderr.head.is_empty());
}

#[tokio::test]
async fn files_end() {
    let mut marked = sh("head -c 200000 /dev/zero > big; exit 3");
    let directory = crate::support::TempDir::new();
    marked.spec.directory = directory.path().into();
    marked.spec.limits.file_bytes = Some(100_000);
    assert_eq!(run(marked).await.unwrap().exit, Exit::Code(3));
    let written = std::fs::metadata(directory.path().join("big")).unwrap().len();
    assert_eq!(written, 100_000);
}

#[tokio::test]
async fn limits_are_what_the_process_sees() {
    let mut marked = command("/bin/cat", &["/proc/self/limits"]);
    marked.spec.limits = Limits {
        cpu_seconds: Some(7),
        memory_bytes: Some(1 << 30),
        open_files: Some(50),
        processes: Some(500),
        file_bytes: Some(1 << 20),
        cpu_cores: None,
        ..Limits::default()
    };
    let finished = run(marked).await.unwrap();
    let text = String::from_utf8(finished.stdout.head).unwrap();
    let limit = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let mut fields = line.split_whitespace();
        (fields.next().unwrap().to_owned(), fields.next().unwrap().to_owned())
    };
    let both = |value: &str| (value.to_owned(), value.to_owned());
    assert_eq!(limit("Max cpu time"), ("7".into(), "8".into()));
    assert_eq!(limit("Max data size"), both("1073741824"));
    assert_eq!(limit("Max open files"), both("50"));
    assert_eq!(limit("Max processes"), both("500"));
    assert_eq!(limit("Max file size"), both("1048576"));
}

#[tokio::test]
async fn a_limit_beyond_our_own_is_cut_to_it() {
    let mut marked = sh("ulimit -Hn");
    marked.spec.limits.open_files = Some(u64::MAX / 2);
    let finished = run(marked).await.unwrap();
    let ours = run(sh("ulimit -Hn")).await.unwrap();
    assert_eq!(finished.exit, Exit::Code(0));
    assert_eq!(finished.stdout.head, ours.stdout.head);
}
