//! What a handler's settings do: what its exit statuses mean, how its processes are started, and what
//! its jobs have for themselves.

use std::fs;

use serde_json::json;

use crate::each_queue;
use crate::queue::{Kind, Queue};
use crate::rig::Rig;
use crate::support::eventually;

each_queue!(
    a_table_of_exit_statuses,
    how_a_process_is_started,
    a_resource_is_for_one_job_at_a_time,
    a_large_need_is_not_starved_by_small_ones,
    a_timeout_is_tried_again,
);

fn a_table_of_exit_statuses(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("retry_delay = 0\n[defaults]\nexit = { 2 = 'bury', 3 = 'retry', 4 = 'success' }");
    for code in [2, 3, 4, 5, 65, 75] {
        rig.handler(&format!("exit{code}"), &format!("echo {{}}; exit {code}"), "");
    }
    rig.handler("other", "exit 65", "exit = { 65 = 'retry' }");
    let worker = rig.work(&queue, &[]);
    let cases = [
        ("exit2", "failed", 1, Some("exit status 2")),
        ("exit3", "failed", 2, Some("exit status 3")),
        ("exit4", "successful", 1, None),
        ("exit5", "failed", 2, Some("exit status 5")),
        ("exit65", "failed", 1, Some("cannot be done (exit status 65)")),
        ("exit75", "failed", 2, Some("again later (exit status 75)")),
        ("other", "failed", 2, Some("exit status 65")),
    ];
    for (name, status, attempts, message) in cases {
        let job = rig.job(name).with("retry", 1);
        let id = queue.put(job.body());
        let result = rig.result(&job);
        assert_eq!(
            (&result["status"], &result["attempt"]),
            (&json!(status), &json!(attempts)),
            "{name}"
        );
        match message {
            None => {
                assert_eq!((&result["output"], &result["exit_code"]), (&json!({}), &json!(4)));
                queue.await_deleted(id);
            }
            Some(message) => {
                let said = result["error"]["message"].as_str().expect("it is text");
                assert!(said.ends_with(message), "{name}: {said}");
                queue.await_state(id, "buried");
            }
        }
    }
    rig.finish(worker);
}

fn how_a_process_is_started(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    fs::create_dir(rig.dir.join("data")).expect("it is writable");
    fs::write(rig.dir.join("secrets"), "# of the site\nTOKEN='a b'\nNAME=file\n").expect("as well");
    let script = r#"
        printf '{"cwd":"%s","umask":"%s","nice":%s,"io":"%s","token":"%s","name":"%s","tmp":"%s"}' \
            "$PWD" "$(umask)" "$(nice)" "$(ionice 2>/dev/null)" "$TOKEN" "$NAME" "$TMPDIR"
        echo x > "$TMPDIR/file" && echo x > "${JQ_RESULT_FILE%/*}/file2""#;
    let settings = "working_directory = 'data'\nenv_file = 'secrets'\nenv = { NAME = 'table' }\n\
                    umask = '027'\nnice = 11\nionice = 'best-effort:7'";
    rig.handler("set", script, settings);
    rig.handler("plain", script, "");
    let stays = format!("while read -r line; do {script}; echo; done");
    rig.handler(
        "stays",
        &stays.replace("&& echo x", "; : "),
        &format!("{settings}\nmode = 'persistent'"),
    );
    let mut worker = rig.work(&queue, &[]);
    let output = |name: &str| {
        let job = rig.job(name);
        queue.put(job.body());
        let result = rig.result(&job);
        assert_eq!(result["status"], "successful", "{result}");
        result["output"].clone()
    };
    let data = json!(rig.dir.join("data"));
    for name in ["set", "stays"] {
        let output = output(name);
        assert_eq!((&output["cwd"], &output["umask"]), (&data, &json!("0027")), "{name}");
        assert_eq!((&output["nice"], &output["token"]), (&json!(11), &json!("a b")), "{name}");
        assert_eq!(output["name"], "table", "{name}");
        let io = output["io"].as_str().expect("it is text");
        assert_eq!(io, "best-effort: prio 7", "{name}");
    }
    let left: Vec<_> = fs::read_dir(rig.dir.join("data")).expect("it is there").collect();
    assert!(left.is_empty(), "temporary files are elsewhere: {left:?}");
    let plain = output("plain");
    assert_ne!(plain["cwd"], data);
    assert_eq!((&plain["cwd"], &plain["token"]), (&plain["tmp"], &json!("")));
    worker.stop();
    rig.assert_no_process(&[]);
}

/// A handler that notes what it has, and goes on when the file of its job is there.
const WAITS: &str = r#"echo "$JQ_JOB_ID ${JQ_RESOURCE_GPU:-none}" >> "$HOME/has";
    until test -e "$HOME/$JQ_JOB_ID"; do sleep 0.05; done"#;

fn a_resource_is_for_one_job_at_a_time(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("[resources]\ngpu = 2");
    rig.handler("train", WAITS, "needs = { gpu = 1 }");
    rig.handler("render", WAITS, "needs = { gpu = 1 }");
    rig.handler("other", "echo 1", "");
    let worker = rig.work(&queue, &["--concurrency", "8"]);
    let go_on = |job: &crate::rig::Job| {
        fs::write(rig.dir.join(job.id.to_string()), "").expect("it is writable");
    };
    let has = |job: &crate::rig::Job| {
        let text = fs::read_to_string(rig.dir.join("has")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{} ", job.id)));
        line.map(str::to_owned)
    };
    let jobs: Vec<_> =
        ["train", "render", "train", "render"].into_iter().map(|kind| rig.job(kind)).collect();
    for job in &jobs[..2] {
        queue.put(job.body());
        eventually("it runs", || has(job).is_some());
    }
    let ids: Vec<_> = jobs[2..].iter().map(|job| queue.put(job.body())).collect();
    // They go back for want of room, where other workers can have them, and the queue counts nothing.
    worker.await_metric("jq_worker_resource_waiting", 2.0);
    for id in ids {
        queue.await_state(id, "ready");
        assert_eq!(queue.job(id, "releases").as_deref(), Some("0"));
    }
    let gpu = json!([{"name": "gpu", "total": 2, "in_use": 2, "waiting": 2}]);
    assert_eq!(worker.status()["resources"], gpu);
    let page = String::from_utf8(worker.get("/").body).expect("it is text");
    assert!(page.contains("<tr><td>gpu<td class=n>2 of 2<td class=n>2</tr>"), "{page}");
    assert_eq!(worker.metric("jq_worker_resource_units"), 2.0);
    assert_eq!(worker.metric("jq_worker_resource_in_use"), 2.0);
    let units = [has(&jobs[0]), has(&jobs[1])];
    assert_eq!(units, [Some("0".to_owned()), Some("1".to_owned())]);
    // What needs none of it runs beside them.
    let other = rig.job("other");
    queue.put(other.body());
    assert_eq!(rig.result(&other)["status"], "successful");
    assert_eq!((has(&jobs[2]), has(&jobs[3])), (None, None));
    go_on(&jobs[1]);
    eventually("the next one runs", || has(&jobs[2]).is_some());
    assert_eq!(has(&jobs[2]), Some("1".to_owned()), "with what is free now");
    assert_eq!(has(&jobs[3]), None);
    for job in &jobs {
        go_on(job);
        assert_eq!(rig.result(job)["status"], "successful");
    }
    queue.await_empty();
    rig.finish(worker);
}

fn a_large_need_is_not_starved_by_small_ones(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("[resources]\ngpu = 2");
    rig.handler("small", WAITS, "needs = { gpu = 1 }");
    rig.handler("large", "echo \"\\\"$JQ_RESOURCE_GPU\\\"\"", "needs = { gpu = 2 }");
    let worker = rig.work(&queue, &["--concurrency", "8"]);
    let small: Vec<_> = (0..3).map(|_| rig.job("small")).collect();
    for job in &small[..2] {
        queue.put(job.body());
        rig.await_runs(job, 1);
    }
    let large = rig.job("large");
    queue.put(large.body());
    worker.await_metric("jq_worker_resource_waiting", 1.0);
    queue.put(small[2].body());
    for job in &small[..2] {
        fs::write(rig.dir.join(job.id.to_string()), "").expect("it is writable");
        assert_eq!(rig.result(job)["status"], "successful");
    }
    // The third one would not end before it is told to, so it was not the next.
    assert_eq!(rig.result(&large)["output"], "0,1");
    fs::write(rig.dir.join(small[2].id.to_string()), "").expect("it is writable");
    assert_eq!(rig.result(&small[2])["status"], "successful");
    queue.await_empty();
    rig.finish(worker);
}

#[test]
fn check_shows_and_validates_all_of_it() {
    let rig = Rig::new();
    let queue = Queue::start(Kind::Jq);
    let check = |settings: &str| {
        rig.clear().configure(&format!("servers = ['{}']\ntubes = ['t']", queue.name()));
        rig.configure("listen = 'none'\n[resources]\ngpu = 2").handler("x", "", settings);
        let output = rig.command().arg("check").output().expect("it can be started");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).expect("it is text"))
    };
    let settings = "output_from = 'last-line'\nexit = { 2 = 'bury', 4 = 'success' }\n\
                    working_directory = '/tmp'\numask = '027'\nnice = 10\nionice = 'idle'\n\
                    needs = { gpu = 1 }\nenv_file = 'variables'";
    fs::write(rig.dir.join("variables"), "SECRET=do not show").expect("it is writable");
    let (code, text) = check(settings);
    assert_eq!(code, Some(0), "{text}");
    for shown in [
        "resource  gpu: 2",
        "output from last-line",
        "exit status 2 bury, 4 success",
        "in /tmp",
        "umask 027, nice 10, ionice idle",
        "needs 1 gpu",
        "environment from variables",
    ] {
        assert!(text.contains(shown), "{shown} is not in {text}");
    }
    assert!(!text.contains("do not show"), "{text}");
    for (settings, why) in [
        ("exit = { 300 = 'bury' }", "expected 1 to 255"),
        ("working_directory = '/no/such'", "working_directory: /no/such"),
        ("env_file = 'gone'", "env_file: gone"),
        ("umask = '8'", "umask is \"8\""),
        ("nice = 100", "nice is 100"),
        ("ionice = 'idle:1'", "ionice is \"idle:1\""),
        ("needs = { gpu = 3 }", "needs.gpu is 3: resources.gpu is only 2"),
        ("output_from = 'x'", "output_from"),
    ] {
        let (code, text) = check(settings);
        assert_eq!(code, Some(5), "{settings}: {text}");
        assert!(text.contains(why), "{settings}: {text}");
    }
}

fn a_timeout_is_tried_again(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("retry_delay = 0");
    rig.handler(
        "late",
        "[ $JQ_ATTEMPT = 2 ] || sleep 60; echo $JQ_ATTEMPT",
        "timeout = 1\ngrace = 0",
    );
    let worker = rig.work(&queue, &[]);
    let job = rig.job("late").with("retry", 1);
    queue.put(job.body());
    let result = rig.result(&job);
    assert_eq!((&result["status"], &result["output"]), (&json!("successful"), &json!(2)));
    assert!(result["attempts"][0]["message"].as_str().unwrap().contains("not done within 1"));
    rig.finish(worker);
}
