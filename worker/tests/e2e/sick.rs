//! A worker whose machine cannot do its part: it costs no job anything, says so, and goes on by itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use crate::each_queue;
use crate::queue::{Kind, Queue, TUBE};
use crate::rig::{Job, Rig, Worker};
use crate::support::{eventually, skip};

each_queue!(
    a_handler_that_is_gone,
    a_handler_that_may_not_be_executed,
    a_handler_without_its_interpreter,
    a_persistent_handler_that_is_gone,
    an_input_that_does_not_fit,
    a_disk_that_is_full,
    a_state_directory_that_is_gone,
    no_descriptors_are_left,
    other_types_are_run_meanwhile,
    a_look_accuses_nobody,
    what_went_back_says_why,
    a_working_directory_that_is_gone,
    a_job_that_kills_its_keeper_comes_to_an_end,
    a_disk_that_is_full_at_the_start,
    a_result_waits_for_the_disk,
    artifacts_wait_for_the_disk,
);

/// A small file system, unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    /// One with room for half a megabyte. `None`, after saying so, if none can be mounted.
    fn mount(rig: &Rig, what: &str) -> Option<Self> {
        let dir = rig.dir.join("disk");
        fs::create_dir(&dir).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=512k", "jq-test"]).arg(&dir);
        if mount.status().is_ok_and(|status| status.success()) {
            return Some(Self(dir));
        }
        skip(what, "no file system can be mounted");
        None
    }

    fn results(&self) -> String {
        self.0.join("results").display().to_string()
    }

    fn fill(&self) {
        // Whatever fits of it.
        let _ = fs::write(self.0.join("filler"), vec![b' '; 1 << 20]);
    }

    fn clear(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn reasons(worker: &Worker) -> String {
    worker.status()["reasons"].to_string()
}

/// Waits until it takes no jobs, and says in all places that this is why.
fn await_sick(worker: &Worker, name: &str, why: &str) {
    let text = |path| String::from_utf8(worker.get(path).body).unwrap();
    let counted = format!("jq_worker_reasons{{reason=\"{name}\"}} 1\n");
    // At once, since a job tries it now and then.
    eventually(&format!("it is not ready because of {name}"), || {
        let ready = worker.get("/readyz");
        let (metrics, page) = (text("/metrics"), text("/"));
        ready.status() == 503
            && String::from_utf8_lossy(&ready.body).contains(why)
            && worker.status()["state"] == "waiting"
            && reasons(worker).contains(why)
            && page.contains("waiting: takes no new jobs")
            && metrics.contains(&counted)
            && metrics.contains("jq_worker_ready 0\n")
    });
    worker.await_log(&format!("reason=\"{name}\""));
}

fn await_well(worker: &Worker) {
    eventually("it is ready", || worker.get("/readyz").status() == 200);
    assert_eq!(reasons(worker), "[]");
    worker.await_metric("jq_worker_ready", 1.0);
}

/// What is played with a worker that is to become sick.
struct Play<'a> {
    rig: &'a Rig,
    queue: &'a Queue,
    worker: &'a Worker,
    kind: &'a str,
    name: &'a str,
    why: &'a str,
}

impl Play<'_> {
    /// A hundred jobs, which may not fail even once, for the sick worker and a healthy one: all are done
    /// in their first attempt. Then the sick one is cured, and runs a job.
    fn run(&self, with: impl Fn(Job) -> Job, cure: impl FnOnce()) {
        let Play { rig, queue, worker, kind, name, why } = *self;
        let jobs: Vec<_> = (0..100).map(|_| with(rig.job(kind))).collect();
        let ids: Vec<_> = jobs.iter().map(|job| queue.put(job.body())).collect();
        await_sick(worker, name, why);
        // What had come here is ready for others, and nobody has counted anything.
        eventually("all are ready", || queue.count(TUBE, "current-jobs-ready") == 100);
        for key in ["releases", "timeouts", "buries"] {
            assert!(ids.iter().all(|id| queue.job(*id, key).as_deref() == Some("0")), "{key}");
        }
        let other = Rig::new();
        other.handler(kind, "echo 1", "");
        let allowed = rig.site.url("/");
        let mut healthy = other.work(queue, &["--allow-url", &allowed, "--concurrency", "4"]);
        eventually("all are done", || jobs.iter().all(|job| rig.sent(job) == 1));
        assert_eq!(queue.count(TUBE, "current-jobs-buried"), 0);
        for job in &jobs {
            let result = rig.result(job);
            assert_eq!((&result["status"], &result["attempt"]), (&json!("successful"), &json!(1)));
        }
        healthy.stop();
        cure();
        let job = rig.job(kind);
        let id = queue.put(job.body());
        queue.await_deleted(id);
        let result = worker.result(&job);
        assert_eq!((&result["status"], &result["attempt"]), (&json!("successful"), &json!(1)));
        await_well(worker);
        worker.await_log("works again");
    }
}

/// Plays a handler whose file is spoilt so.
fn spoilt(kind: Kind, script: &str, settings: &str, why: &str, spoil: impl Fn(&PathBuf)) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.script("ok", script);
    rig.configure(&format!("[handlers.ok]\ncommand = ['./ok']\n{settings}"));
    let mut worker = rig.work(&queue, &["--concurrency", "3"]);
    let path = rig.dir.join("ok");
    spoil(&path);
    let play = Play { rig: &rig, queue: &queue, worker: &worker, kind: "ok", name: "handler", why };
    play.run(
        |job| job,
        || {
            let _ = fs::remove_file(&path);
            rig.script("ok", script);
        },
    );
    // Persistent processes are up until then.
    worker.stop();
    rig.assert_no_process(&[]);
}

fn a_handler_that_is_gone(kind: Kind) {
    spoilt(kind, "echo 1", "", "No such file", |path| fs::remove_file(path).unwrap());
}

fn a_handler_that_may_not_be_executed(kind: Kind) {
    let spoil = |path: &PathBuf| fs::set_permissions(path, fs::Permissions::from_mode(0o600));
    spoilt(kind, "echo 1", "", "may not be executed", |path| spoil(path).unwrap());
}

fn a_handler_without_its_interpreter(kind: Kind) {
    // Only a job can tell that it does not work.
    let spoil = |path: &PathBuf| fs::write(path, "#!/no/such/interpreter\n");
    spoilt(kind, "echo 1", "", "interpreter", |path| spoil(path).unwrap());
}

fn a_persistent_handler_that_is_gone(kind: Kind) {
    let script = "while read -r line; do echo 1; done";
    let settings = "mode = 'persistent'\npipeline = 3";
    spoilt(kind, script, settings, "No such file", |path| fs::remove_file(path).unwrap());
}

fn a_working_directory_that_is_gone(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let data = rig.dir.join("data");
    fs::create_dir(&data).unwrap();
    rig.handler("ok", "echo 1", "working_directory = 'data'");
    let worker = rig.work(&queue, &["--concurrency", "3"]);
    fs::remove_dir(&data).unwrap();
    let (name, why) = ("handler", "data");
    let play = Play { rig: &rig, queue: &queue, worker: &worker, kind: "ok", name, why };
    play.run(|job| job, || fs::create_dir(&data).unwrap());
    rig.finish(worker);
}

/// The document at the job's URL, while it is ready for other workers.
fn what_went_back_says_why(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.script("gone", "echo 1");
    rig.configure("[handlers.gone]\ncommand = ['./gone']");
    let worker = rig.work(&queue, &[]);
    fs::remove_file(rig.dir.join("gone")).unwrap();
    let job = rig.job("gone");
    let id = queue.put(job.body());
    eventually("it went back", || worker.get(&job.path()).status() == 202);
    let mut document = worker.get(&job.path()).json();
    eventually("it says why", || {
        document = worker.get(&job.path()).json();
        document["error"]["kind"] == "system"
    });
    assert_eq!((&document["status"], &document["attempts"]), (&json!("accepted"), &json!([])));
    let counted = r#"jq_worker_jobs_total{type="gone",outcome="returned"} "#;
    let metrics = String::from_utf8(worker.get("/metrics").body).unwrap();
    assert!(metrics.contains(counted), "{metrics}");
    queue.await_state(id, "ready");
    rig.script("gone", "echo 1");
    queue.await_deleted(id);
    assert_eq!(worker.result(&job)["attempt"], 1);
    rig.finish(worker);
}

fn an_input_that_does_not_fit(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let Some(disk) = Disk::mount(&rig, "an input that does not fit") else { return };
    rig.handler("ok", "echo 1", "");
    let flags = ["--results", &disk.results(), "--concurrency", "3"];
    let worker = rig.work(&queue, &flags);
    // A hundred of them are fetched: they are as small as may be, with room for a result still.
    fs::write(disk.0.join("filler"), vec![b' '; 320 << 10]).unwrap();
    let input = rig.site.url("/big");
    let big = crate::site::Answer::Body(200, vec![b'x'; 200 << 10]);
    rig.site.script("/big", vec![big; 400]);
    let (name, why) = ("handler", "cannot write the input (204800 bytes)");
    let play = Play { rig: &rig, queue: &queue, worker: &worker, kind: "ok", name, why };
    play.run(|job| job.with("input", input.as_str()), || {});
    rig.finish(worker);
}

fn a_disk_that_is_full(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let Some(disk) = Disk::mount(&rig, "a disk that is full") else { return };
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &["--results", &disk.results(), "--concurrency", "3"]);
    disk.fill();
    let stuck = rig.job("ok");
    let id = queue.put(stuck.body());
    // It ran, and its result waits for the disk. The worker takes nothing more.
    let why = "No space left on device";
    await_sick(&worker, "state_directory", why);
    let name = "state_directory";
    let play = Play { rig: &rig, queue: &queue, worker: &worker, kind: "ok", name, why };
    play.run(|job| job, || disk.clear());
    queue.await_deleted(id);
    assert_eq!((rig.runs(&stuck), rig.sent(&stuck)), (vec![1], 1));
    rig.finish(worker);
}

fn a_state_directory_that_is_gone(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &["--concurrency", "3"]);
    let (results, aside) = (rig.dir.join("results"), rig.dir.join("aside"));
    fs::rename(&results, &aside).unwrap();
    let (name, why) = ("state_directory", "No such file");
    let play = Play { rig: &rig, queue: &queue, worker: &worker, kind: "ok", name, why };
    play.run(|job| job, || fs::rename(&aside, &results).unwrap());
    rig.finish(worker);
}

/// Sets how many files a worker may have open.
fn limit_files(worker: &Worker, limit: usize) {
    let mut command = Command::new("prlimit");
    command.arg(format!("--pid={}", worker.pid())).arg(format!("--nofile={limit}:"));
    assert!(command.status().expect("util-linux is installed").success());
}

fn no_descriptors_are_left(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &["--concurrency", "1"]);
    eventually("it waits for a job", || queue.count(TUBE, "current-waiting") == 1);
    let open = fs::read_dir(format!("/proc/{}/fd", worker.pid())).unwrap().count();
    // Enough to be asked how it is, and not for a process.
    limit_files(&worker, open + 3);
    let (name, why) = ("processes", "Too many open files");
    let play = Play { rig: &rig, queue: &queue, worker: &worker, kind: "ok", name, why };
    play.run(|job| job, || limit_files(&worker, 1000));
    rig.finish(worker);
}

fn other_types_are_run_meanwhile(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.script("gone", "echo 1");
    rig.handler("ok", "echo 1", "");
    rig.configure("[handlers.gone]\ncommand = ['./gone']");
    let worker = rig.work(&queue, &["--concurrency", "2"]);
    fs::remove_file(rig.dir.join("gone")).unwrap();
    let jobs = |kind, count| (0..count).map(|_| rig.job(kind)).collect::<Vec<_>>();
    let sick = jobs("gone", 100);
    let ids: Vec<_> = sick.iter().map(|job| queue.put(job.body())).collect();
    let well = jobs("ok", 50);
    for job in &well {
        queue.put(job.body());
    }
    // These are behind the others.
    for job in &well {
        assert_eq!(rig.result(job)["status"], "successful");
    }
    assert_eq!(worker.get("/readyz").status(), 200, "jobs are taken");
    assert!(reasons(&worker).contains("the handler of the type gone"), "{}", reasons(&worker));
    worker.await_log("taking not all jobs");
    let is_untouched = |id: &u64| queue.job(*id, "releases").as_deref() == Some("0");
    assert!(ids.iter().all(is_untouched), "the queue counts nothing");
    assert!(sick.iter().all(|job| rig.sent(job) == 0));
    rig.script("gone", "echo 1");
    queue.await_empty();
    for job in &sick {
        assert_eq!((&rig.result(job)["attempt"], rig.sent(job)), (&json!(1), 1));
    }
    await_well(&worker);
    rig.finish(worker);
}

/// A worker that looks through the jobs again and again, since it cannot run some, makes no other worker think
/// that workers die of them: these would run one at a time.
fn a_look_accuses_nobody(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.script("gone", "echo 1");
    rig.handler("ok", "echo 1", "");
    rig.configure("[handlers.gone]\ncommand = ['./gone']");
    let worker = rig.work(&queue, &["--concurrency", "2"]);
    fs::remove_file(rig.dir.join("gone")).unwrap();
    let jobs: Vec<_> = (0..4).map(|_| rig.job("gone")).collect();
    let ids: Vec<_> = jobs.iter().map(|job| queue.put(job.body())).collect();
    eventually("they were looked at again and again", || {
        // Each of these has it look.
        queue.put(rig.job("ok").body());
        let reserves = |id: &u64| queue.job(*id, "reserves").unwrap().parse::<u64>().unwrap();
        ids.iter().all(|id| reserves(id) > 4)
    });
    let other = Rig::new();
    other.handler("gone", r#"while [ ! -e "$HOME/go" ]; do sleep 0.05; done; echo 1"#, "");
    let allowed = rig.site.url("/");
    let helper = other.work(&queue, &["--concurrency", "4", "--allow-url", &allowed]);
    eventually("all run at a time", || {
        jobs.iter().all(|job| !other.runs(job).is_empty()) && helper.get("/readyz").status() == 200
    });
    fs::write(other.dir.join("go"), "").unwrap();
    for job in &jobs {
        let result = rig.result(job);
        assert_eq!((&result["status"], &result["attempt"]), (&json!("successful"), &json!(1)));
    }
    other.finish(helper);
    let mut worker = worker;
    worker.stop();
}

/// That is no fault of the machine: such a job would be run for ever.
fn a_job_that_kills_its_keeper_comes_to_an_end(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("retry_delay = 0");
    rig.handler("kills", "kill -9 $PPID; sleep 60", "");
    let worker = rig.work(&queue, &[]);
    let job = rig.job("kills").with("retry", 2);
    let id = queue.put(job.body());
    let result = rig.result(&job);
    assert_eq!((&result["status"], &result["attempt"]), (&json!("failed"), &json!(3)));
    assert_eq!(result["error"]["kind"], "executor", "{result}");
    queue.await_state(id, "buried");
    assert_eq!(rig.runs(&job), [1, 2, 3]);
    assert_eq!((worker.get("/readyz").status(), reasons(&worker)), (200, "[]".to_owned()));
    rig.finish(worker);
}

fn a_disk_that_is_full_at_the_start(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let Some(disk) = Disk::mount(&rig, "a disk that is full at the start") else { return };
    rig.handler("ok", "echo 1", "");
    let flags = ["--results", &disk.results()];
    let mut worker = rig.work(&queue, &flags);
    let done = rig.job("ok");
    queue.put(done.body());
    assert_eq!(worker.result(&done)["status"], "successful");
    queue.await_empty();
    worker.kill();
    // What it leaves here is removed at the start, which would make room.
    fs::write(disk.0.join("results/running"), "").unwrap();
    disk.fill();
    // While it waits it can be stopped.
    let mut waiting = rig.work(&queue, &flags);
    waiting.await_log("No space left on device");
    waiting.stop();
    let worker = rig.work(&queue, &flags);
    let job = rig.job("ok");
    let id = queue.put(job.body());
    eventually("it says why it waits", || {
        let answer = worker.get("/readyz");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        answer.status() == 503 && text.contains("No space left on device")
    });
    assert_eq!(worker.get("/healthz").status(), 200);
    assert_eq!(worker.status()["state"], "waiting");
    assert_eq!(worker.metric("jq_worker_ready"), 0.0);
    worker.await_log("No space left on device");
    assert_eq!(worker.get(&done.path()).status(), 200, "what is there is served");
    assert_eq!(worker.get(&job.path()).status(), 503, "it does not know");
    queue.await_state(id, "ready");
    disk.clear();
    queue.await_deleted(id);
    await_well(&worker);
    rig.finish(worker);
}

fn a_result_waits_for_the_disk(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let Some(disk) = Disk::mount(&rig, "a result waits for the disk") else { return };
    rig.handler("ok", r#"while [ ! -e "$HOME/go" ]; do sleep 0.05; done; echo 1"#, "");
    let mut worker = rig.work(&queue, &["--results", &disk.results()]);
    let job = rig.job("ok");
    let id = queue.put_with(5, job.body());
    rig.await_runs(&job, 1);
    disk.fill();
    fs::write(rig.dir.join("go"), "").unwrap();
    await_sick(&worker, "state_directory", "No space left on device");
    let touches = worker.metric("jq_worker_touches_total");
    eventually("the job is kept", || worker.metric("jq_worker_touches_total") >= touches + 3.0);
    disk.clear();
    queue.await_deleted(id);
    assert_eq!((rig.runs(&job), rig.sent(&job)), (vec![1], 1));
    await_well(&worker);
    worker.stop();
}

fn artifacts_wait_for_the_disk(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let Some(disk) = Disk::mount(&rig, "artifacts wait for the disk") else { return };
    // Twice the same file, which is why it is copied, and a copy does not fit.
    let script = r#"cd "$JQ_OUTPUT_DIR"; head -c 100000 /dev/zero > a; ln a b; : > before
        while [ ! -e "$HOME/go" ]; do sleep 0.05; done"#;
    rig.handler("ok", script, "");
    let mut worker = rig.work(&queue, &["--results", &disk.results()]);
    let job = rig.job("ok");
    let id = queue.put_with(5, job.body());
    rig.await_runs(&job, 1);
    let output = || {
        let folders = fs::read_dir(disk.0.join("results/work")).unwrap();
        folders.map(|it| it.unwrap().path().join("before")).any(|it| it.exists())
    };
    eventually("all is written", output);
    disk.fill();
    fs::write(rig.dir.join("go"), "").unwrap();
    await_sick(&worker, "state_directory", "No space left on device");
    let touches = worker.metric("jq_worker_touches_total");
    eventually("the job is kept", || worker.metric("jq_worker_touches_total") >= touches + 3.0);
    disk.clear();
    queue.await_deleted(id);
    assert_eq!((rig.runs(&job), rig.sent(&job)), (vec![1], 1));
    let result = rig.result(&job);
    assert!(result.get("notes").is_none(), "{result}");
    for (name, length) in [("a", 100_000), ("b", 100_000), ("before", 0)] {
        assert_eq!(worker.get(&format!("{}/{name}", job.path())).body.len(), length);
    }
    await_well(&worker);
    worker.stop();
}
