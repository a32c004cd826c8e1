//! Why a job failed can be seen: in its result, in the log, on the page, and while it waits.

use serde_json::{Value, json};

use crate::each_queue;
use crate::queue::{Kind, Queue};
use crate::rig::Rig;
use crate::support::eventually;

each_queue!(
    a_failure_ends_with_what_the_process_said_last,
    a_job_that_waits_says_why,
    a_result_lists_its_attempts,
    a_restart_forgets_no_attempt,
);

fn a_failure_ends_with_what_the_process_said_last(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let cases = [
        ("three", "echo one >&2; echo 'no wind' >&2; exit 3", "exit status 3: no wind"),
        ("blank", "printf 'no wind\\n \\n{\"progress\":40}\\n' >&2; exit 3", "status 3: no wind"),
        ("bar", "printf '10 %%\\r20 %%' >&2; exit 3", "exit status 3: 20 %"),
        ("silent", "exit 3", "exit status 3"),
        ("escape", "printf 'a\\033[31m\\tb' >&2; exit 3", "exit status 3: a\\u{1b}[31m\\tb"),
        ("data", "echo 'no such boat' >&2; exit 65", "(exit status 65): no such boat"),
        ("again", "echo busy >&2; exit 75", "(exit status 75): busy"),
        ("signal", "echo sinking >&2; kill -KILL $$", "ended by signal 9: sinking"),
        ("late", "echo slow >&2; exec sleep 60", "not done within 1 seconds: slow"),
        ("stays", "read -r line; echo 'no sea' >&2; exit 4", "exit status 4: no sea"),
    ];
    for (name, script, _) in &cases {
        let persistent = if *name == "stays" { "mode = 'persistent'" } else { "" };
        rig.handler(name, script, &format!("timeout = 1\ngrace = 0\n{persistent}"));
    }
    rig.handler("long", "head -c 5000 /dev/zero | tr '\\000' x >&2; exit 3", "");
    let worker = rig.work(&queue, &["--concurrency", "4"]);
    for (name, _, message) in &cases {
        let job = rig.job(name).with("timeout", 1);
        queue.put(job.body());
        let result = rig.result(&job);
        let said = result["error"]["message"].as_str().expect("it is text");
        assert!(said.ends_with(message), "{name}: {said}");
        // The log escapes what is in quotes once more.
        worker.await_log(&message.replace('\\', "\\\\"));
        let failures = &worker.status()["failures"];
        assert_eq!(failures[0]["message"], json!(said), "{name}");
        assert_eq!(result["attempts"][0]["message"], json!(said), "{name}");
    }
    let page = String::from_utf8(worker.get("/").body).expect("it is text");
    assert!(page.contains("exit status 3: no wind"), "{page}");
    let job = rig.job("long");
    queue.put(job.body());
    let result = rig.result(&job);
    let said = result["error"]["message"].as_str().expect("it is text");
    assert_eq!(said.len(), "exit status 3: ".len() + 500 + " ...".len(), "it is bounded");
    let mut worker = worker;
    worker.stop();
    rig.assert_no_process(&[]);
}

fn a_job_that_waits_says_why(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("retry_delay = 1000");
    rig.handler("fails", "echo 'so far'; echo 'no wind' >&2; exit 3", "");
    rig.handler("long", "seq 5000; exit 3", "");
    let worker = rig.work(&queue, &[]);
    let job = rig.job("fails").with("retry", 1);
    let id = queue.put(job.body());
    queue.await_state(id, "delayed");
    let answer = worker.get(&job.path());
    assert_eq!(answer.status(), 202);
    let waiting = answer.json();
    assert_eq!((&waiting["status"], &waiting["finished"]), (&json!("accepted"), &Value::Null));
    assert_eq!(waiting["error"]["message"], "exit status 3: no wind");
    assert_eq!(waiting["stderr"]["tail"], "no wind\n");
    assert_eq!(waiting["stdout"]["tail"], "so far\n");
    assert_eq!(waiting["exit_code"], 3);
    assert_eq!(waiting["attempts"].as_array().map(Vec::len), Some(1));
    let job = rig.job("long").with("retry", 1);
    let id = queue.put(job.body());
    queue.await_state(id, "delayed");
    let stdout = &worker.get(&job.path()).json()["stdout"];
    let tail = stdout["tail"].as_str().expect("it is text");
    assert!(tail.ends_with("\n5000\n") && tail.len() == 2048, "{tail}");
    assert_eq!((&stdout["bytes"], &stdout["truncated"]), (&json!(23_893), &json!(true)));
    rig.finish(worker);
}

fn a_result_lists_its_attempts(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("retry_delay = 0\nid = 'w1'");
    rig.handler("moody", "test $JQ_ATTEMPT -eq 3 || { echo busy >&2; exit 75; }; echo 1", "");
    rig.handler("fails", "kill -KILL $$", "");
    let worker = rig.work(&queue, &[]);
    let job = rig.job("moody").with("retry", 5);
    queue.put(job.body());
    let result = rig.result(&job);
    let attempts = result["attempts"].as_array().expect("it is a list");
    let busy = "the process asks to be tried again later (exit status 75): busy";
    let expected = [(1, 75, json!(busy)), (2, 75, json!(busy)), (3, 0, Value::Null)];
    assert_eq!(attempts.len(), expected.len());
    for (made, (attempt, code, message)) in attempts.iter().zip(expected) {
        assert_eq!((&made["attempt"], &made["exit_code"]), (&json!(attempt), &json!(code)));
        assert_eq!((&made["message"], &made["signal"]), (&message, &Value::Null));
        assert_eq!(made["worker"], "w1");
        assert!(made["started"].as_str() <= made["finished"].as_str(), "{made}");
    }
    assert_eq!(attempts[2]["finished"], result["finished"]);
    let job = rig.job("fails").with("retry", 29);
    queue.put(job.body());
    let result = rig.result(&job);
    let attempts = result["attempts"].as_array().expect("it is a list");
    let numbers: Vec<_> = attempts.iter().filter_map(|made| made["attempt"].as_u64()).collect();
    assert_eq!(numbers, (11..=30).collect::<Vec<_>>(), "the latest twenty");
    assert_eq!((&attempts[0]["exit_code"], &attempts[0]["signal"]), (&Value::Null, &json!(9)));
    rig.finish(worker);
}

fn a_restart_forgets_no_attempt(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("retry_delay = 1000");
    rig.handler("moody", "test $JQ_ATTEMPT -eq 2 || { echo busy >&2; exit 75; }; echo 1", "");
    let mut worker = rig.work(&queue, &[]);
    let job = rig.job("moody").with("retry", 5);
    let id = queue.put(job.body());
    queue.await_state(id, "delayed");
    let waiting = worker.get(&job.path()).json();
    worker.stop();
    let worker = rig.work(&queue, &[]);
    // It serves before it has read its state directory.
    eventually("it knows the job", || worker.get(&job.path()).status() != 503);
    let answer = worker.get(&job.path());
    assert_eq!((answer.status(), answer.json()), (202, waiting), "it says the same");
    queue.connect().ask(format!("kick-job {id}"));
    let result = rig.result(&job);
    let attempts = result["attempts"].as_array().expect("it is a list");
    let codes: Vec<_> = attempts.iter().map(|made| made["exit_code"].clone()).collect();
    assert_eq!(codes, [json!(75), json!(0)]);
    // It is over, so the next start does not know it as waiting.
    let log = rig.finish(worker);
    assert!(!log.contains("cannot"), "{log}");
    assert_eq!(crate::rig::read(&rig.dir.join("results/waiting")), "");
}
