//! Processes that stay up.

use crate::support::{LONG, Mark, Marked, command, eventually, keepers, sh};
use bytes::Bytes;
use jq_worker::exec::{
    Answer, Exit, LiveLog, LogEvent, Persistent, PersistentError, PersistentOptions,
};
use std::future::{Future, pending, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

struct Kept {
    persistent: Persistent,
    mark: Mark,
}

fn keep(Marked { spec, mark }: Marked, processes: usize, pipeline: usize) -> Kept {
    let options = PersistentOptions {
        program: spec.program,
        args: spec.args,
        env: spec.env,
        directory: spec.directory,
        limits: spec.limits,
        grace: Duration::from_millis(200),
        processes,
        pipeline,
        output_limit: 100_000,
    };
    Kept { persistent: Persistent::new(keepers(), options), mark }
}

impl Kept {
    async fn run(&self, line: &str) -> Result<Answer, PersistentError> {
        self.run_for(line, LONG).await
    }

    async fn run_for(&self, line: &str, timeout: Duration) -> Result<Answer, PersistentError> {
        let line = Bytes::from(line.to_owned());
        self.persistent.run(line, timeout, Arc::default(), pending()).await
    }

    /// The answer as text.
    async fn answer(&self, line: &str) -> String {
        String::from_utf8(self.run(line).await.unwrap().line.to_vec()).unwrap()
    }

    /// Stops it: nothing is left of it.
    async fn end(self) {
        self.persistent.stop().await;
        assert_eq!(self.mark.count(), 0);
    }
}

/// Answers with its number and the line. Some lines it treats in another way.
const SERVER: &str = r#"while read -r line; do
    case $line in
    '"die"') echo dying >&2; exit 9;;
    '"recycle"') echo '"recycled"'; exit 0;;
    '"hang"') sleep 60;;
    '"noise"') echo noise;;
    '"long"') head -c 200000 /dev/zero | tr '\0' 1;;
    '"close"') exec >&-; exit 4;;
    '"progress"') echo '{"progress":40}'; echo working >&2; sleep 0.05; echo '{"progress":80}'; echo null;;
    *) echo "[$$,$line]";;
    esac
done"#;

#[tokio::test]
async fn one_process_answers_many_jobs() {
    let kept = keep(sh(SERVER), 1, 4);
    assert_eq!(kept.mark.count(), 0, "started before there was a job");
    let first = kept.answer("1").await;
    let process = first.trim_end_matches(",1]").to_owned();
    for number in 2..50 {
        assert_eq!(kept.answer(&number.to_string()).await, format!("{process},{number}]"));
    }
    assert_eq!(kept.mark.count(), 1);
    kept.end().await;
}

#[tokio::test]
async fn many_at_once_get_their_own_answers() {
    let kept = keep(command("/bin/cat", &[]), 2, 16);
    let long = "x".repeat(50_000);
    let jobs = (0..500)
        .map(|number| format!("[{number},\"{}\"]", if number % 50 == 0 { &long } else { "" }));
    let runs = jobs.map(|job| {
        let kept = &kept;
        async move { assert_eq!(kept.answer(&job).await, job) }
    });
    all(runs).await;
    assert_eq!(kept.mark.count(), 2);
    kept.end().await;
}

/// Runs all of these at the same time.
async fn all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    poll_fn(|context| {
        for (future, result) in &mut futures {
            if result.is_none()
                && let Poll::Ready(ready) = future.as_mut().poll(context)
            {
                *result = Some(ready);
            }
        }
        if futures.iter().all(|(_, result)| result.is_some()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    futures.into_iter().filter_map(|(_, result)| result).collect()
}

#[tokio::test]
async fn only_the_job_that_it_was_at_fails_when_it_dies() {
    let kept = keep(sh(SERVER), 1, 16);
    let jobs = ["1", "2", "\"die\"", "4", "\"die\"", "6"];
    let results = all(jobs.iter().map(|job| kept.run(job))).await;
    for (job, result) in jobs.iter().zip(results) {
        match result {
            Ok(answer) => assert!(answer.line.ends_with(format!(",{job}]").as_bytes())),
            Err(PersistentError::Died { exit, stderr_tail }) => {
                assert_eq!((*job, exit), ("\"die\"", Exit::Code(9)));
                assert_eq!(stderr_tail, b"dying\n");
            }
            other => panic!("{job}: {other:?}"),
        }
    }
    kept.end().await;
}

#[tokio::test]
async fn one_that_exits_well_between_jobs_is_replaced() {
    let kept = keep(sh(SERVER), 1, 16);
    let jobs = ["\"recycle\"", "\"recycle\"", "3", "\"recycle\"", "5"];
    let results = all(jobs.iter().map(|job| kept.run(job))).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    // Idle, too.
    kept.answer("\"recycle\"").await;
    kept.mark.wait_for(0).await;
    kept.answer("6").await;
    kept.end().await;
}

#[tokio::test]
async fn the_time_of_each_job_is_limited() {
    let kept = keep(sh(SERVER), 1, 16);
    let short = Duration::from_millis(300);
    // The second one has its own time, from when it is its turn.
    let (late, second) = tokio::join!(kept.run_for("\"hang\"", short), kept.run("2"));
    assert!(matches!(late, Err(PersistentError::Timeout { .. })), "{late:?}");
    assert!(second.unwrap().line.ends_with(b",2]"));
    eventually("only the new one is there", || kept.mark.count() == 1).await;
    kept.end().await;
}

#[tokio::test]
async fn a_process_that_breaks_the_rules_is_replaced() {
    let kept = keep(sh(SERVER), 1, 16);
    let (noise, after) = tokio::join!(kept.run("\"noise\""), kept.run("2"));
    assert!(
        matches!(&noise, Err(PersistentError::BadLine { text }) if text == "noise"),
        "{noise:?}"
    );
    assert!(after.unwrap().line.ends_with(b",2]"));
    let (long, after) = tokio::join!(kept.run("\"long\""), kept.run("3"));
    assert!(matches!(long, Err(PersistentError::LineTooLong { limit: 100_000 })), "{long:?}");
    assert!(after.unwrap().line.ends_with(b",3]"));
    let (closed, after) = tokio::join!(kept.run("\"close\""), kept.run("4"));
    assert!(matches!(closed, Err(PersistentError::Died { exit: Exit::Code(4), .. })), "{closed:?}");
    assert!(after.unwrap().line.ends_with(b",4]"));
    kept.end().await;
    // It is told to end, and that is not what is wrong with it.
    let kept = keep(sh("echo why >&2; exec >&-; sleep 60"), 1, 1);
    let mute = kept.run("1").await;
    let Err(PersistentError::Mute { stderr_tail }) = &mute else { panic!("{mute:?}") };
    assert_eq!(stderr_tail, b"why\n");
    kept.end().await;
}

#[tokio::test]
async fn cancelling_what_it_is_at_kills_it() {
    let kept = keep(sh(SERVER), 1, 16);
    let first = kept.answer("1").await;
    let hang = Bytes::from("\"hang\"");
    // The shell and what it waits for.
    let begun = kept.mark.wait_for(2);
    let (cancelled, after) =
        tokio::join!(kept.persistent.run(hang, LONG, Arc::default(), begun), kept.run("3"));
    assert!(matches!(cancelled, Err(PersistentError::Cancelled)), "{cancelled:?}");
    let after = after.unwrap().line;
    assert_ne!(
        first.split(',').next().unwrap().as_bytes(),
        after.split(|&b| b == b',').next().unwrap()
    );
    eventually("only the new one is there", || kept.mark.count() == 1).await;
    kept.end().await;
}

#[tokio::test]
async fn dropping_what_it_is_at_kills_it() {
    let kept = keep(sh(SERVER), 1, 16);
    tokio::select! {
        result = kept.run("\"hang\"") => panic!("{result:?}"),
        () = kept.mark.wait_for(2) => {}
    }
    kept.mark.wait_for(0).await;
    kept.answer("2").await;
    kept.end().await;
}

#[tokio::test]
async fn cancelling_what_has_not_begun_kills_nothing() {
    let slow = "while read -r line; do sleep 0.3; echo \"[$$,$line]\"; done";
    let kept = keep(sh(slow), 1, 16);
    let (first, second, third) = tokio::join!(
        kept.run("1"),
        kept.persistent.run(Bytes::from("2"), LONG, Arc::default(), async {}),
        kept.run("3"),
    );
    assert!(matches!(second, Err(PersistentError::Cancelled)), "{second:?}");
    let process = |answer: Result<Answer, PersistentError>| {
        answer.unwrap().line.split(|&byte| byte == b',').next().unwrap().to_vec()
    };
    assert_eq!(process(first), process(third));
    kept.end().await;
}

#[tokio::test]
async fn progress_and_complaints_go_to_who_watches() {
    let kept = keep(sh(SERVER), 1, 16);
    let log = Arc::new(LiveLog::new());
    let mut reader = log.reader();
    let watch = async {
        let mut seen = Vec::new();
        while let Some(event) = reader.next().await {
            seen.push(event);
        }
        seen
    };
    let run = async {
        let line = Bytes::from("\"progress\"");
        let answer = kept.persistent.run(line, LONG, log.clone(), pending()).await.unwrap();
        log.finish();
        answer
    };
    let (seen, answer) = tokio::join!(watch, run);
    assert_eq!((&answer.line[..], &answer.stderr_tail[..]), (&b"null"[..], &b"working\n"[..]));
    assert!(seen.contains(&LogEvent::Progress(80.0)), "{seen:?}");
    let text = seen.iter().filter_map(|event| match event {
        LogEvent::Output { text, .. } => Some(text.as_slice()),
        LogEvent::Progress(_) => None,
    });
    assert_eq!(text.collect::<Vec<_>>().concat(), b"working\n");
    kept.end().await;
}

#[tokio::test]
async fn what_cannot_be_started_fails_each_job_in_turn() {
    let kept = keep(command("/no/such/program", &[]), 1, 16);
    let results = all((0..3).map(|_| kept.run("1"))).await;
    assert!(
        results.iter().all(|result| matches!(result, Err(PersistentError::Run(_)))),
        "{results:?}"
    );
    let kept = keep(command("/bin/false", &[]), 1, 16);
    let results = all((0..3).map(|_| kept.run("1"))).await;
    let died = |result: &Result<_, _>| {
        matches!(result, Err(PersistentError::Died { exit: Exit::Code(1), .. }))
    };
    assert!(results.iter().all(died), "{results:?}");
    kept.end().await;
}

#[tokio::test]
async fn stopping_lets_it_end_well() {
    let polite = "while read -r line; do sleep 0.1; echo \"$line\"; done; exit 0";
    let kept = keep(sh(polite), 1, 2);
    let (first, second, third, ()) =
        tokio::join!(kept.run("1"), kept.run("2"), kept.run("3"), async {
            kept.mark.wait_for(2).await;
            kept.persistent.stop().await;
        });
    // What it had been sent may still be answered, what it had not been sent is not.
    assert_eq!(&first.unwrap().line[..], b"1");
    assert!(second.is_ok() || matches!(second, Err(PersistentError::Stopped)), "{second:?}");
    assert!(matches!(third, Err(PersistentError::Stopped)), "{third:?}");
    assert!(matches!(kept.run("4").await, Err(PersistentError::Stopped)));
    kept.end().await;
}

#[tokio::test]
async fn stopping_ends_one_that_does_not_listen() {
    let kept = keep(sh("trap '' TERM; read -r line; echo 1; while true; do sleep 60; done"), 1, 1);
    kept.answer("1").await;
    kept.end().await;
}

#[tokio::test]
async fn dropping_it_kills_its_processes() {
    let Kept { persistent, mark } = keep(sh(SERVER), 3, 1);
    let run =
        |line: &'static str| persistent.run(Bytes::from(line), LONG, Arc::default(), pending());
    let (one, two, three) = tokio::join!(run("1"), run("2"), run("3"));
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    assert_eq!(mark.count(), 3);
    drop(persistent);
    mark.wait_for(0).await;
}

#[tokio::test]
async fn a_job_is_one_line() {
    let kept = keep(sh(SERVER), 1, 1);
    assert!(matches!(kept.run("[1,\n2]").await, Err(PersistentError::NotOneLine)));
    assert_eq!(kept.mark.count(), 0);
}
