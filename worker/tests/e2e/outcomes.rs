//! What the end of a process means for its job, and when it is tried again.

use serde_json::{Value, json};

use crate::each_queue;
use crate::queue::{Kind, PRIORITY, Queue, TUBE, inserted, put};
use crate::rig::Rig;
use crate::support::eventually;

/// Bytes that a result keeps of the end of an output; `docs/worker.md` promises that many.
const TAIL: usize = 8 * 1024;

each_queue!(
    each_end_of_a_process,
    a_job_over_its_time_is_ended_with_all_that_it_started,
    retries_are_used_up_and_come_later_each_time,
    a_job_that_asks_to_be_tried_again_succeeds_in_the_end,
    retries_without_a_delay,
    what_it_leaves_behind_is_killed,
    an_output_that_never_ends_is_counted_and_not_kept,
    a_process_that_stays_up,
    what_is_known_of_a_job_of_a_process_that_stays_up,
    errors_end_no_process,
    limits_are_of_a_persistent_process_not_of_a_job,
);

fn each_end_of_a_process(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let cases = [
        ("zero", "exit 0", json!(0), Value::Null),
        ("dataerr", "exit 65", json!(65), Value::Null),
        ("tempfail", "exit 75", json!(75), Value::Null),
        ("three", "exit 3", json!(3), Value::Null),
        ("signal", "kill -KILL $$", Value::Null, json!(9)),
        ("nojson", "echo '{' > $JQ_RESULT_FILE", json!(0), Value::Null),
    ];
    for (name, script, _, _) in &cases {
        rig.handler(name, script, "");
    }
    let worker = rig.work(&queue, &["--concurrency", "2"]);
    let jobs: Vec<_> = cases.iter().map(|(name, ..)| rig.job(name)).collect();
    let ids: Vec<_> = jobs.iter().map(|job| queue.put(job.body())).collect();
    for ((job, id), (name, _, code, signal)) in jobs.iter().zip(&ids).zip(&cases) {
        let result = rig.result(job);
        assert_eq!((&result["exit_code"], &result["signal"]), (code, signal), "{name}");
        if *name == "zero" {
            assert_eq!((&result["status"], &result["error"]), (&json!("successful"), &Value::Null));
            queue.await_deleted(*id);
        } else {
            assert_eq!(result["status"], "failed", "{name}");
            assert_eq!(result["error"]["kind"], "executor", "{name}");
            queue.await_state(*id, "buried");
            assert_eq!(queue.job(*id, "pri"), Some(PRIORITY.to_string()), "{name}");
        }
        assert_eq!(result["timestamp"], result["finished"]);
        assert_eq!(rig.runs(job), [1], "{name}");
    }
    rig.finish(worker);
}

fn a_job_over_its_time_is_ended_with_all_that_it_started(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    // It does not want to end, and what it has started is in a session of its own.
    let script = "trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 60; sleep 60' & sleep 60; wait";
    rig.handler("stubborn", script, "grace = 1");
    let worker = rig.work(&queue, &[]);
    let job = rig.job("stubborn").with("timeout", 1);
    // It is kept for longer than its time to run.
    let id = queue.put_with(1, job.body());
    let result = rig.result(&job);
    assert_eq!(
        (&result["status"], &result["error"]["kind"]),
        (&json!("failed"), &json!("timeout"))
    );
    assert!(result["usage"]["wall_ms"].as_u64() >= Some(1000));
    queue.await_state(id, "buried");
    assert_eq!(queue.job(id, "timeouts").as_deref(), Some("0"));
    rig.finish(worker);
}

fn retries_are_used_up_and_come_later_each_time(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("retry_delay = 2\nmax_retry_delay = 60");
    rig.handler("fails", "exit 3", "");
    let worker = rig.work(&queue, &[]);
    let job = rig.job("fails").with("retry", 2);
    let id = queue.put(job.body());
    let mut delays = Vec::new();
    for attempt in 1..=2 {
        rig.await_runs(&job, attempt);
        queue.await_state(id, "delayed");
        let number = |key| queue.job(id, key).and_then(|it| it.parse::<u64>().ok()).expect(key);
        delays.push(number("delay"));
        assert_eq!(number("pri"), u64::from(PRIORITY));
        assert_eq!(worker.get(&job.path()).status(), 202, "it is not over");
        // Nobody has to wait for it here.
        if attempt == 2 {
            let mut conn = queue.connect();
            conn.ask(format!("kick-job {id}"));
        }
    }
    // Two seconds at most, half of them random, and then twice that.
    assert!((1..=2).contains(&delays[0]) && (2..=4).contains(&delays[1]), "{delays:?}");
    let result = rig.result(&job);
    assert_eq!((&result["status"], &result["attempt"]), (&json!("failed"), &json!(3)));
    queue.await_state(id, "buried");
    assert_eq!(queue.job(id, "pri"), Some(PRIORITY.to_string()));
    assert_eq!(rig.runs(&job), [1, 2, 3]);
    assert_eq!(rig.sent(&job), 1, "only the last attempt is told");
    rig.finish(worker);
}

fn a_job_that_asks_to_be_tried_again_succeeds_in_the_end(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("retry_delay = 1");
    rig.handler("moody", "test $JQ_ATTEMPT -eq 2 || exit 75; echo $JQ_ATTEMPT", "");
    let worker = rig.work(&queue, &[]);
    let job = rig.job("moody").with("retry", 5);
    let id = queue.put(job.body());
    queue.await_deleted(id);
    let result = rig.result(&job);
    assert_eq!((&result["status"], &result["output"]), (&json!("successful"), &json!(2)));
    assert_eq!((rig.runs(&job), rig.sent(&job)), (vec![1, 2], 1));
    rig.finish(worker);
}

fn retries_without_a_delay(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("retry_delay = 0");
    rig.handler("fails", "exit 1", "");
    let worker = rig.work(&queue, &["--concurrency", "4"]);
    let jobs: Vec<_> = (0..10).map(|_| rig.job("fails").with("retry", 9)).collect();
    for job in &jobs {
        queue.put(job.body());
    }
    for job in &jobs {
        assert_eq!(rig.result(job)["attempt"], 10);
        assert_eq!(rig.runs(job), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    }
    // A job that is taken again is not taken for another of the same id.
    assert_eq!(worker.metric("jq_worker_given_back_total"), 0.0);
    queue.await_empty();
    rig.finish(worker);
}

fn what_it_leaves_behind_is_killed(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler(
        "litter",
        "setsid sleep 60 & sleep 60 & (setsid sh -c 'sleep 60; :' &) ; echo 1",
        "",
    );
    let worker = rig.work(&queue, &[]);
    let job = rig.job("litter");
    let id = queue.put(job.body());
    let result = rig.result(&job);
    assert_eq!((&result["status"], &result["output"]), (&json!("successful"), &json!(1)));
    assert!(worker.metric("jq_worker_left_behind_total") >= 3.0);
    // Not only in the end: none is there when the result is.
    rig.assert_no_process(&[&worker]);
    queue.await_deleted(id);
    rig.finish(worker);
}

fn an_output_that_never_ends_is_counted_and_not_kept(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("flood", "exec yes", "output = 1000");
    let worker = rig.work(&queue, &[]);
    let job = rig.job("flood").with("timeout", 1);
    let id = queue.put(job.body());
    let result = rig.result(&job);
    let stdout = &result["stdout"];
    assert_eq!(result["error"]["kind"], "timeout");
    assert_eq!(result["output"], Value::Null);
    assert_eq!(stdout["truncated"], true);
    assert!(stdout["bytes"].as_u64() > Some(100_000), "{}", stdout["bytes"]);
    assert_eq!(stdout["tail"].as_str().map(str::len), Some(TAIL), "as much as is kept, no more");
    queue.await_state(id, "buried");
    rig.finish(worker);
}

/// A handler that reads job after job.
pub(crate) const PERSISTENT: &str = r#"while read -r line; do
    case "$line" in
    *'"die"'*) exit 7 ;;
    *'"hang"'*) sleep 60 ;;
    *'"no"'*) echo '{"error":{"message":"no wind","retry":false}}' ;;
    *) echo "{\"output\":$$}" ;;
    esac
done"#;

fn a_process_that_stays_up(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("short", PERSISTENT, "mode = 'persistent'\npipeline = 4\ngrace = 1");
    let mut worker = rig.work(&queue, &["--concurrency", "4"]);
    let mut conn = queue.connect();
    let jobs: Vec<_> = (0..20).map(|_| rig.job("short")).collect();
    for job in &jobs {
        put(&mut conn, 10, job.body());
    }
    let first = rig.result(&jobs[0])["output"].clone();
    assert!(first.is_u64());
    for job in &jobs {
        assert_eq!(rig.result(job)["output"], first, "one process for all");
    }
    queue.await_empty();
    for (args, error, message) in [
        ("die", "executor", "exit status 7"),
        ("hang", "timeout", "1 seconds"),
        ("no", "executor", "no wind"),
    ] {
        let job = rig.job("short").with("args", args).with("timeout", 1);
        let id = queue.put(job.body());
        let result = rig.result(&job);
        assert_eq!(result["error"]["kind"], error, "{args}");
        assert!(result["error"]["message"].as_str().is_some_and(|it| it.contains(message)));
        queue.await_state(id, "buried");
    }
    let job = rig.job("short");
    queue.put(job.body());
    assert_ne!(rig.result(&job)["output"], first, "another process by now");
    worker.stop();
    rig.assert_no_process(&[]);
}

fn what_is_known_of_a_job_of_a_process_that_stays_up(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let script = r#"while read -r line; do
        head -c 9000 /dev/zero | tr '\000' x >&2; echo >&2
        file=$(echo "$line" | sed 's/.*"input_file":"\([^"]*\)".*/\1/')
        echo "{\"pwd\":\"$PWD\",\"in\":\"$(cat "$file")\"}"
    done"#;
    rig.handler("stays", script, "mode = 'persistent'\ngrace = 1");
    rig.site.script("/in", [crate::site::Answer::Body(200, b"ahoy".to_vec())]);
    let mut worker = rig.work(&queue, &[]);
    let job = rig.job("stays").with("input", rig.site.url("/in"));
    queue.put(job.body());
    let result = rig.result(&job);
    assert_eq!(result["output"], json!({"pwd": "/", "in": "ahoy"}), "any other JSON is the output");
    for member in ["stdout", "exit_code", "signal", "output_note"] {
        assert!(result.get(member).is_none_or(Value::is_null), "{member}: {result}");
    }
    let usage = &result["usage"];
    assert!(usage["wall_ms"].is_u64(), "{usage}");
    assert_eq!((&usage["cpu_ms"], &usage["max_rss_bytes"]), (&Value::Null, &Value::Null));
    let tail = result["stderr"]["tail"].as_str().expect("it is text");
    assert_eq!(tail.len(), TAIL);
    worker.stop();
    rig.assert_no_process(&[]);
}

fn errors_end_no_process(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let script = r#"while read -r line; do
        case "$line" in
        *'"moody"'*'"attempt":1'*|*'"attempt":1'*'"moody"'*) echo '{"error":"not yet"}' ;;
        *'"never"'*) echo '{"error":{"message":"no","retry":false}}' ;;
        *) echo "{\"output\":$$}" ;;
        esac
    done"#;
    rig.configure("retry_delay = 0").handler("stays", script, "mode = 'persistent'\ngrace = 1");
    let mut worker = rig.work(&queue, &[]);
    let ask = |args: &str| {
        let job = rig.job("stays").with("args", args).with("retry", 3);
        queue.put(job.body());
        rig.result(&job)
    };
    let first = ask("good")["output"].clone();
    let moody = ask("moody");
    assert_eq!((&moody["attempt"], &moody["output"]), (&json!(2), &first));
    let never = ask("never");
    assert_eq!((&never["attempt"], &never["status"]), (&json!(1), &json!("failed")));
    assert_eq!(never["error"]["message"], "no");
    assert_eq!(ask("good")["output"], first, "it is the same process");
    worker.stop();
    rig.assert_no_process(&[]);
}

fn limits_are_of_a_persistent_process_not_of_a_job(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    // No job takes a second by itself.
    let script = r#"while read -r line; do
        n=0; while [ $n -lt 20000 ]; do n=$((n + 1)); done; echo $$
    done"#;
    rig.handler("stays", script, "mode = 'persistent'\ncpu_seconds = 1\ngrace = 1");
    let mut worker = rig.work(&queue, &[]);
    let ask = || {
        let job = rig.job("stays");
        queue.put(job.body());
        rig.result(&job)
    };
    let (first, mut count, mut last) = (ask(), 1, ask());
    while last["status"] == "successful" {
        assert_eq!(last["output"], first["output"]);
        (count, last) = (count + 1, ask());
        assert!(count < 2000, "the limit is never reached");
    }
    assert_eq!(last["error"]["kind"], "executor", "{last}");
    assert!(count > 2, "one job after another uses it up: {count}");
    assert_ne!(ask()["output"], first["output"], "another process");
    worker.stop();
    rig.assert_no_process(&[]);
}

/// Jobs with the highest priority go first, also among those that are tried again.
#[test]
fn priority_decides_which_job_goes_first() {
    let (rig, queue) = (Rig::new(), Queue::start(Kind::Jq));
    rig.handler("ok", "", "");
    let mut conn = queue.connect();
    let jobs: Vec<_> = (0..3).map(|_| rig.job("ok")).collect();
    for (job, priority) in jobs.iter().zip([30, 10, 20]) {
        let body = job.body();
        conn.send(format!("put {priority} 0 10 {}\r\n{body}\r\n", body.len()));
        inserted(&mut conn);
    }
    let worker = rig.work(&queue, &["--concurrency", "1"]);
    eventually("all have run", || queue.count(TUBE, "cmd-delete") == 3);
    let text = crate::rig::read(&rig.dir.join("runs"));
    let order: Vec<_> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    let wanted = [1, 2, 0].map(|index: usize| jobs[index].id.to_string());
    assert_eq!(order, wanted);
    rig.finish(worker);
}
