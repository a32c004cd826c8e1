//! What a process reads and writes.

use crate::support::{keepers, run, sh};
use bytes::Bytes;
use jq_worker::exec::{self, Exit, LiveLog, LogEvent, Stream, TAIL};
use std::fs;
use std::sync::Arc;

#[tokio::test]
async fn it_reads_its_input() {
    for size in [0, 1, 65_536, 65_537, 10_000_000] {
        let mut marked = sh("wc -c");
        marked.spec.stdin = Bytes::from(vec![b'x'; size]);
        let finished = run(marked).await.unwrap();
        assert_eq!(finished.stdout.head, format!("{size}\n").as_bytes());
    }
}

#[tokio::test]
async fn it_need_not_read_its_input() {
    for script in ["exit 3", "exec <&-; sleep 0.1; exit 3", "head -c 100000 > /dev/null; exit 3"] {
        let mut marked = sh(script);
        marked.spec.stdin = Bytes::from(vec![b'x'; 10_000_000]);
        assert_eq!(run(marked).await.unwrap().exit, Exit::Code(3), "{script}");
    }
}

#[tokio::test]
async fn both_outputs_are_kept_apart_and_whole() {
    let finished = run(sh("echo out; echo err >&2; echo out")).await.unwrap();
    assert_eq!((&finished.stdout.head[..], finished.stdout.bytes), (&b"out\nout\n"[..], 8));
    assert_eq!(finished.stdout.tail, finished.stdout.head);
    assert_eq!((&finished.stderr.head[..], finished.stderr.bytes), (&b"err\n"[..], 4));
}

#[tokio::test]
async fn it_may_close_its_outputs_and_go_on() {
    let finished = run(sh("echo out; exec >&- 2>&-; sleep 0.1; exit 3")).await.unwrap();
    assert_eq!((finished.exit, &finished.stdout.head[..]), (Exit::Code(3), &b"out\n"[..]));
}

#[tokio::test]
async fn what_it_writes_last_is_not_lost() {
    // As much as fits into the pipe, and then it is gone.
    let mut marked = sh("head -c 60000 /dev/zero; head -c 60000 /dev/zero >&2; kill -9 $$");
    marked.spec.output_limit = 100;
    for _ in 0..20 {
        let finished = run(marked.clone()).await.unwrap();
        assert_eq!((finished.stdout.bytes, finished.stderr.bytes), (60_000, 60_000));
    }
}

fn own_memory_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

#[tokio::test]
async fn a_flood_is_counted_and_takes_no_memory() {
    let gigabyte = 1_000_000_000;
    let mut marked = sh(&format!("head -c {gigabyte} /dev/zero; echo the end"));
    marked.spec.output_limit = 100_000;
    let before = own_memory_kib();
    let finished = run(marked).await.unwrap();
    let after = own_memory_kib();
    assert_eq!(finished.stdout.bytes, gigabyte + 8);
    assert_eq!(finished.stdout.head.len(), 100_000);
    assert_eq!(finished.stdout.tail.len(), TAIL);
    assert!(finished.stdout.tail.ends_with(b"\0the end\n"));
    // Other tests run in this process meanwhile, so it is only less than half of what was written.
    assert!(after < before + gigabyte / 2 / 1024, "{before} KiB before, {after} after");
}

#[tokio::test]
async fn others_can_watch() {
    let marked = sh("echo one; sleep 0.1; echo two >&2");
    let log = Arc::new(LiveLog::new());
    let keepers = keepers();
    let mut reader = log.reader();
    let watch = async {
        let mut seen = Vec::new();
        while let Some(event) = reader.next().await {
            let LogEvent::Output { stream, text, skipped: 0, .. } = event else {
                panic!("unexpected: {event:?}")
            };
            seen.push((stream, String::from_utf8(text).unwrap()));
        }
        seen
    };
    let run = async {
        let finished = exec::run(&keepers, marked.spec, log.clone(), std::future::pending()).await;
        log.finish();
        finished.unwrap()
    };
    let (seen, finished) = tokio::join!(watch, run);
    assert_eq!(finished.exit, Exit::Code(0));
    let expected = [(Stream::Stdout, "one\n".to_owned()), (Stream::Stderr, "two\n".to_owned())];
    assert_eq!(seen, expected);
}
