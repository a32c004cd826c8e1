//! Keepers that are killed, and a worker that is.

use crate::support::{Mark, children_of, eventually, keepers, program, sh};
use jq_worker::exec::{self, Exit, LiveLog, RunError};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// What a test starts of this very test program, so that a worker can be killed, and so that
/// adopting orphans concerns no other test.
const INNER: &str = "JQ_TEST_INNER";

/// Everything that can be left behind: in a session of its own, and below a living parent.
const SCRIPT: &str =
    "trap '' TERM; (setsid sleep 60 &); setsid sh -c 'sleep 60; true' & sleep 60; true";
const PROCESSES: usize = 5;

fn inner(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]).env(INNER, "1");
    command
}

fn is_inner() -> bool {
    std::env::var_os(INNER).is_some()
}

/// The keeper that a marked process hangs below.
fn keeper_of(mark: &Mark) -> Option<u32> {
    let mut children = children_of(std::process::id()).into_iter();
    children
        .find(|(pid, _, name)| {
            name == "jq-keeper" && children_of(*pid).iter().any(|(child, ..)| mark.is_of(*child))
        })
        .map(|(pid, ..)| pid)
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn what_a_lost_keeper_leaves_is_adopted_and_ended() {
    let output = inner("keeper::inner_loses_a_keeper").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1 passed"), "did not run: {text}");
}

#[tokio::test]
#[ignore = "started by the test above, as a process of its own"]
async fn inner_loses_a_keeper() {
    if !is_inner() {
        return;
    }
    exec::adopt_orphans().unwrap();
    let keepers = keepers();
    for _ in 0..10 {
        let marked = sh(SCRIPT);
        let log = Arc::new(LiveLog::new());
        let run = exec::run(&keepers, marked.spec, log, std::future::pending());
        let attack = async {
            marked.mark.wait_for(PROCESSES).await;
            kill(keeper_of(&marked.mark).unwrap());
        };
        // Another run, with another keeper, is none of its business.
        let other = sh("sleep 0.3; exit 3");
        let other = exec::run(&keepers, other.spec, Arc::default(), std::future::pending());
        let (lost, (), other) = tokio::join!(run, attack, other);
        assert!(matches!(lost, Err(RunError::KeeperLost)), "{lost:?}");
        assert_eq!(other.unwrap().exit, Exit::Code(3));
        assert_eq!(marked.mark.count(), 0);
        // No zombies, no orphans: only the other keeper.
        let children = children_of(std::process::id());
        assert_eq!(children.len(), 1, "{children:?}");
    }
}

#[tokio::test]
async fn the_command_itself_dies_with_its_keeper() {
    let marked = sh("trap '' TERM; while true; do :; done");
    let keepers = keepers();
    let run = exec::run(&keepers, marked.spec, Arc::default(), std::future::pending());
    let attack = async {
        marked.mark.wait_for(1).await;
        kill(keeper_of(&marked.mark).unwrap());
    };
    let (lost, ()) = tokio::join!(run, attack);
    assert!(matches!(lost, Err(RunError::KeeperLost)), "{lost:?}");
    marked.mark.wait_for(0).await;
}

#[tokio::test]
async fn a_keeper_that_was_killed_while_idle_is_replaced() {
    let keepers = keepers();
    for _ in 0..3 {
        let marked = sh("echo $PPID");
        let run = exec::run(&keepers, marked.spec, Arc::default(), std::future::pending()).await;
        let keeper: u32 =
            String::from_utf8(run.unwrap().stdout.head).unwrap().trim().parse().unwrap();
        kill(keeper);
        eventually("it is dead", || {
            children_of(std::process::id())
                .iter()
                .all(|(pid, state, _)| *pid != keeper || *state == 'Z')
        })
        .await;
    }
}

#[tokio::test]
async fn nothing_outlives_a_worker_that_is_killed() {
    let mut worker =
        inner("keeper::inner_waits_to_be_killed").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(worker.stdout.take().unwrap()).lines();
    let mark = lines.by_ref().map_while(Result::ok).find_map(|line| Mark::told(&line)).unwrap();
    let keepers = children_of(worker.id());
    assert_eq!((mark.count(), keepers.len()), (PROCESSES, 1));
    worker.kill().unwrap();
    worker.wait().unwrap();
    mark.wait_for(0).await;
    let keeper = keepers[0].0;
    eventually("the keeper is gone", || {
        std::fs::read_link(format!("/proc/{keeper}/exe")).ok() != Some(program())
    })
    .await;
}

#[tokio::test]
#[ignore = "started by the test above, as a process of its own"]
async fn inner_waits_to_be_killed() {
    if !is_inner() {
        return;
    }
    let keepers = keepers();
    let marked = sh(SCRIPT);
    let tell = async {
        marked.mark.wait_for(PROCESSES).await;
        marked.mark.tell();
        std::future::pending::<()>().await;
    };
    let run = exec::run(&keepers, marked.spec, Arc::default(), std::future::pending());
    let finished = tokio::select! { finished = run => finished, () = tell => return };
    panic!("ended by itself: {finished:?}");
}

#[test]
fn a_keeper_is_nothing_to_start_by_hand() {
    let output = Command::new(program()).arg("keeper").stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("only jq-worker itself"));
}
