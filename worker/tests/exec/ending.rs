//! How a run ends, and what is told of it.

use crate::support::{LONG, run, run_until, sh};
use jq_worker::exec::{EndedBy, Exit};
use std::time::Duration;

/// A time limit; long enough for a shell to have set its traps, on a machine that is busy.
const SHORT: Duration = Duration::from_secs(2);

#[tokio::test]
async fn the_exit_code_is_told() {
    for code in [0, 1, 65, 75, 255] {
        let finished = run(sh(&format!("exit {code}"))).await.unwrap();
        assert_eq!(finished.exit, Exit::Code(code));
        assert_eq!(finished.ended_by, EndedBy::Itself);
        assert_eq!((finished.left_behind, finished.beyond_reach), (0, 0));
    }
}

#[tokio::test]
async fn so_is_the_signal() {
    for signal in [1, 2, 6, 9, 13, 15] {
        let finished = run(sh(&format!("kill -{signal} $$; sleep 60"))).await.unwrap();
        assert_eq!(finished.exit, Exit::Signal(signal));
        assert_eq!(finished.ended_by, EndedBy::Itself);
    }
}

#[tokio::test]
async fn what_it_used_is_told() {
    // The loop is in a child that is waited for, and in an orphan that is not: both count.
    let script = "loop='i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done'
        sh -c \"$loop\"; (sh -c \"$loop; echo done > /dev/null\" & ) ; sleep 60 & wait $!";
    let mut marked = sh(script);
    marked.spec.timeout = Duration::from_secs(2);
    let finished = run(marked).await.unwrap();
    let usage = finished.usage;
    assert!(usage.wall >= Duration::from_secs(1) && usage.wall < LONG, "{usage:?}");
    assert!(usage.cpu >= Duration::from_millis(20) && usage.cpu < LONG, "{usage:?}");
    assert!((100_000..100_000_000).contains(&usage.max_rss_bytes), "{usage:?}");
}

#[tokio::test]
async fn at_its_time_limit_it_is_asked_to_end() {
    // The shell is asked, and so is what it waits for, which is in its process group.
    let mut marked = sh("trap 'echo asked; exit 7' TERM; echo ready; sleep 60; exit 1");
    marked.spec.timeout = SHORT;
    let finished = run(marked).await.unwrap();
    assert_eq!(finished.ended_by, EndedBy::Timeout);
    assert_eq!(finished.exit, Exit::Code(7));
    assert_eq!(finished.stdout.head, b"ready\nasked\n");
    assert_eq!(finished.left_behind, 0);
}

#[tokio::test]
async fn a_stopped_process_is_asked_too() {
    let mut marked = sh("kill -STOP $$; sleep 60");
    marked.spec.timeout = SHORT;
    let finished = run(marked).await.unwrap();
    assert_eq!((finished.ended_by, finished.exit), (EndedBy::Timeout, Exit::Signal(15)));
}

#[tokio::test]
async fn who_does_not_end_when_asked_is_killed() {
    let mut marked = sh("trap '' TERM; (sleep 60; true) & while true; do sleep 60; done");
    marked.spec.timeout = SHORT;
    marked.spec.grace = SHORT;
    let finished = run(marked).await.unwrap();
    assert_eq!((finished.ended_by, finished.exit), (EndedBy::Timeout, Exit::Signal(9)));
    assert_eq!(finished.left_behind, 0);
}

#[tokio::test]
async fn without_grace_it_is_killed_at_once() {
    let mut marked = sh("trap 'exit 7' TERM; sleep 60");
    marked.spec.timeout = SHORT;
    marked.spec.grace = Duration::ZERO;
    let finished = run(marked).await.unwrap();
    assert_eq!((finished.ended_by, finished.exit), (EndedBy::Timeout, Exit::Signal(9)));
}

#[tokio::test]
async fn cancelled_it_is_killed_at_once() {
    let marked = sh("trap '' TERM; sleep 60 & sleep 60");
    let mark = marked.mark.clone();
    let finished = run_until(marked, mark.wait_for(3)).await.unwrap();
    assert_eq!((finished.ended_by, finished.exit), (EndedBy::Cancelled, Exit::Signal(9)));
}

#[tokio::test]
async fn cancelled_while_it_is_asked_to_end() {
    let mut marked = sh("trap 'echo asked > /dev/null; sleep 60 & sleep 60' TERM; sleep 60");
    let mark = marked.mark.clone();
    marked.spec.timeout = SHORT;
    let finished = run_until(marked, mark.wait_for(3)).await.unwrap();
    assert_eq!((finished.ended_by, finished.exit), (EndedBy::Cancelled, Exit::Signal(9)));
}
