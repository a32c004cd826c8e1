//! What a process starts, and tries to leave running.

use crate::support::{Marked, TempDir, children_of, command, eventually, keepers, run, sh};
use jq_worker::exec::{self, EndedBy, Exit, LiveLog};
use std::fs;
use std::sync::Arc;
use std::time::Duration;

/// A process that leaves its group, its session, its parent, and ignores what can be ignored.
/// Three processes, once all are there.
const DAEMON: &str = "setsid sh -c 'trap \"\" TERM HUP INT; (setsid sleep 60 &); sleep 60; true' &";

#[tokio::test]
async fn a_child_in_the_background_goes_with_its_parent() {
    let finished = run(sh("sleep 60 & exit 3")).await.unwrap();
    assert_eq!((finished.exit, finished.left_behind), (Exit::Code(3), 1));
}

#[tokio::test]
async fn so_does_a_daemon() {
    let directory = TempDir::new();
    let script = format!("{DAEMON} while [ ! -e go ]; do sleep 0.01; done; exit 3");
    let mut marked = sh(&script);
    marked.spec.directory = directory.path().into();
    let mark = marked.mark.clone();
    let go = async {
        // The shell, the three, and from time to time the shell's own sleep.
        eventually("the daemon is there", || mark.count() == 5).await;
        fs::write(directory.path().join("go"), "").unwrap();
    };
    let (finished, ()) = tokio::join!(run(marked), go);
    let finished = finished.unwrap();
    // How many are counted is chance: the daemon's shell may take note of its child's death and
    // then die itself.
    assert_eq!(finished.exit, Exit::Code(3));
    assert!(finished.left_behind >= 1, "{finished:?}");
}

#[tokio::test]
async fn and_one_that_holds_the_output() {
    let finished = run(sh("(setsid sleep 60 &) ; echo out; echo err >&2")).await.unwrap();
    assert_eq!(finished.stdout.head, b"out\n");
    assert_eq!(finished.stderr.head, b"err\n");
    assert_eq!(finished.left_behind, 1);
}

#[tokio::test]
async fn all_of_it_goes_at_the_time_limit() {
    let mut marked = sh(&format!("trap '' TERM; {DAEMON} while true; do sleep 60; done"));
    marked.spec.timeout = Duration::from_millis(500);
    marked.spec.grace = Duration::from_millis(100);
    let finished = run(marked).await.unwrap();
    assert_eq!((finished.ended_by, finished.exit), (EndedBy::Timeout, Exit::Signal(9)));
}

#[tokio::test]
async fn many_at_once_in_sessions_of_their_own() {
    let script = "i=0; while [ $i -lt 100 ]; do setsid sleep 60 & i=$((i+1)); done; exit 0";
    let finished = run(sh(script)).await.unwrap();
    assert_eq!((finished.exit, finished.left_behind), (Exit::Code(0), 100));
}

#[tokio::test]
async fn a_chain_of_sessions_is_followed_down() {
    let script = "if [ $0 -gt 0 ]; then exec setsid sh -c \"$1\" $(($0 - 1)) \"$1\" & wait; fi
        exec sleep 60";
    let marked = command("/bin/sh", &["-c", "sh -c \"$1\" 20 \"$1\" & sleep 1", "x", script]);
    let finished = run(marked).await.unwrap();
    assert_eq!(finished.exit, Exit::Code(0));
    assert!(finished.left_behind >= 10, "{finished:?}");
}

#[tokio::test]
async fn what_forks_all_the_time_ends_too() {
    // Bounded, in case that it does not: each generation leaves its session and its parent.
    let script = "if [ $0 -gt 0 ]; then setsid sh -c \"$1\" $(($0 - 1)) \"$1\" & exit; fi";
    let marked = command("/bin/sh", &["-c", "sh -c \"$1\" 20000 \"$1\" & sleep 0.5", "x", script]);
    let finished = run(marked).await.unwrap();
    assert_eq!((finished.exit, finished.beyond_reach), (Exit::Code(0), 0));
}

#[tokio::test]
async fn orphans_that_end_early_are_no_zombies_meanwhile() {
    let marked = sh("for i in 1 2 3 4 5; do (sh -c 'exit 0' &); done; sleep 60");
    let keepers = keepers();
    let run = exec::run(&keepers, marked.spec, Arc::new(LiveLog::new()), std::future::pending());
    let look = eventually("only the shell and its sleep", || {
        let Some((keeper, ..)) = keeper_of(&marked.mark) else { return false };
        let children = children_of(keeper);
        marked.mark.count() == 2 && children.len() == 1
    });
    tokio::select! {
        finished = run => panic!("ended by itself: {finished:?}"),
        () = look => {}
    }
    marked.mark.wait_for(0).await;
}

/// The keeper that a marked process hangs below, and that process.
fn keeper_of(mark: &crate::support::Mark) -> Option<(u32, u32)> {
    let keepers = children_of(std::process::id()).into_iter();
    keepers
        .filter(|(_, _, name)| name == "jq-keeper")
        .flat_map(|(keeper, ..)| {
            children_of(keeper).into_iter().map(move |child| (keeper, child.0))
        })
        .find(|&(_, child)| mark.is_of(child))
}

#[tokio::test]
async fn dropping_the_run_ends_it() {
    let Marked { spec, mark } = sh(&format!("trap '' TERM; {DAEMON} sleep 60; true"));
    let keepers = keepers();
    let run = exec::run(&keepers, spec, Arc::new(LiveLog::new()), std::future::pending());
    tokio::select! {
        finished = run => panic!("ended by itself: {finished:?}"),
        () = mark.wait_for(5) => {}
    }
    mark.wait_for(0).await;
}

#[tokio::test]
async fn keepers_are_used_again_and_end_with_the_pool() {
    let keepers = keepers();
    let mut seen = Vec::new();
    for _ in 0..20 {
        let marked = command("/bin/sh", &["-c", "echo $PPID"]);
        let log = Arc::new(LiveLog::new());
        let finished = exec::run(&keepers, marked.spec, log, std::future::pending()).await;
        let keeper = String::from_utf8(finished.unwrap().stdout.head).unwrap();
        seen.push(keeper.trim().parse::<u32>().unwrap());
    }
    seen.dedup();
    let [keeper] = seen[..] else { panic!("several keepers: {seen:?}") };
    let is_there = || children_of(std::process::id()).iter().any(|(pid, ..)| *pid == keeper);
    assert!(is_there());
    let clone = keepers.clone();
    drop(keepers);
    assert!(is_there());
    drop(clone);
    eventually("the keeper is gone, and no zombie", || !is_there()).await;
}
