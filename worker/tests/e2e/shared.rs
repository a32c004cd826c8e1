//! Results outlive the worker that made them, and any worker answers for any other.
//!
//! `JQ_SHARED_JOBS` says with how many jobs workers behind a load balancer are tried, unless 60 will do.

use std::env;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::each_queue;
use crate::http;
use crate::many::patiently;
use crate::queue::{Kind, Queue, TUBE};
use crate::rig::{Job, Rig, Worker};
use crate::s3::{BUCKET, Balancer, S3, SECRET};
use crate::support::{eventually, scratch_path};

each_queue!(
    a_result_outlives_its_worker,
    what_another_worker_has_done_is_not_done_again,
    a_kicked_job_is_run_again_by_any_worker,
    whoever_runs_a_job_is_found,
    results_wait_while_the_store_is_down,
    behind_a_load_balancer_nothing_is_lost,
);

/// Leaves two files, and an output that tells its job.
const PLOT: &str = r#"mkdir "$JQ_OUTPUT_DIR/a"; echo "plot of $JQ_JOB_ID" > "$JQ_OUTPUT_DIR/plot.txt";
    head -c 100000 /dev/zero > "$JQ_OUTPUT_DIR/a/zeros"; echo "\"$JQ_JOB_ID\"""#;

/// An empty folder that workers share. It is removed at the end.
struct Shared(std::path::PathBuf);

impl Shared {
    fn new() -> Self {
        let path = scratch_path("shared");
        fs::create_dir(&path).expect("the temporary folder is writable");
        Self(path)
    }

    fn config(&self) -> String {
        format!("[store]\nurl = 'file://{}'", self.0.display())
    }

    fn result(&self, id: Uuid) -> std::path::PathBuf {
        self.0.join(format!("results/{:02x}/{id}.json", id.as_bytes()[0]))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn artifacts() -> &'static str {
    "artifacts = true"
}

fn work(rig: &Rig, queue: &Queue, name: &str) -> Worker {
    let worker = rig.work(queue, &["--results", name, "--id", name, "--concurrency", "4"]);
    // It serves before it has its state directory.
    worker.await_metric("jq_worker_ready", 1.0);
    worker
}

fn local(job: Job) -> Job {
    job.without("result")
}

fn a_result_outlives_its_worker(kind: Kind) {
    let (rig, queue, shared) = (Rig::new(), Queue::start(kind), Shared::new());
    rig.configure(&shared.config()).handler("plot", PLOT, artifacts());
    rig.handler("fails", "exit 3", "");
    let mut first = work(&rig, &queue, "first");
    let jobs = [local(rig.job("plot")), local(rig.job("fails"))];
    queue.put(jobs[0].body());
    queue.await_empty();
    let buried = queue.put(jobs[1].body());
    queue.await_state(buried, "buried");
    let told = jobs.each_ref().map(|job| first.get(&job.path()).body);
    first.kill();

    let second = work(&rig, &queue, "second");
    for (job, told) in jobs.iter().zip(&told) {
        let got = second.get(&job.path());
        assert_eq!((got.status(), &got.body), (200, told));
        let tag = got.header("etag").expect("it has one").to_owned();
        let again = second.ask("GET", &job.path(), &format!("If-None-Match: {tag}\r\n"));
        assert_eq!(again.status(), 304);
        assert_eq!(second.ask("HEAD", &job.path(), "").status(), 200);
    }
    let path = |name: &str| format!("{}/{name}", jobs[0].path());
    let plot = second.get(&path("plot.txt"));
    assert_eq!(plot.body, format!("plot of {}\n", jobs[0].id).as_bytes());
    let kind = plot.header("content-type").expect("it has one");
    assert!(kind.starts_with("text/plain"), "{kind}");
    let zeros = second.ask("GET", &path("a/zeros"), "Range: bytes=99990-\r\n");
    assert_eq!((zeros.status(), zeros.body), (206, vec![0; 10]));
    assert_eq!(second.get(&path("other")).status(), 404);
    assert_eq!(second.get(&format!("/{}", Uuid::new_v4())).status(), 404);
    // Whoever asks as a worker does gets what this one has itself.
    assert_eq!(second.ask("GET", &jobs[0].path(), "JQ-Peer: 1\r\n").status(), 404);

    // A folder that is not mounted is no reason to say that there is nothing.
    let elsewhere = shared.0.with_extension("away");
    fs::rename(&shared.0, &elsewhere).expect("it is there");
    assert_eq!(second.get(&jobs[0].path()).status(), 503);
    fs::rename(&elsewhere, &shared.0).expect("it is there");
    eventually("it is served again", || second.get(&jobs[0].path()).status() == 200);
    rig.finish(second);
}

fn what_another_worker_has_done_is_not_done_again(kind: Kind) {
    let (rig, queue, shared) = (Rig::new(), Queue::start(kind), Shared::new());
    rig.configure(&shared.config()).handler("plot", PLOT, artifacts());
    let mut first = work(&rig, &queue, "first");
    let job = rig.job("plot");
    queue.put(job.body());
    queue.await_empty();
    first.kill();
    assert_eq!(rig.sent(&job), 1);

    // The same job once more, under another number: its result answers it.
    queue.put(job.body());
    let mut second = work(&rig, &queue, "second");
    queue.await_empty();
    assert_eq!((rig.runs(&job), rig.sent(&job)), (vec![1], 1));
    second.kill();

    // As it is after a crash right after the result was stored: the job is in the queue, and nobody knows whether
    // the result was sent.
    let number = queue.put(job.body());
    let path = shared.result(job.id);
    let mut told: Value =
        serde_json::from_slice(&fs::read(&path).expect("it is there")).expect("JSON");
    told["queue"]["job"] = json!(number);
    told["queue"]["server"] = json!("another-name.example:11300");
    fs::write(&path, format!("{told}\n")).expect("it is writable");
    let third = work(&rig, &queue, "third");
    queue.await_deleted(number);
    third.await_log("another worker has done this job");
    assert_eq!(rig.runs(&job), [1]);
    eventually("it is sent again", || rig.sent(&job) == 2);
    let sent = rig.site.requests(&job.path()).pop().expect("it was sent").json();
    assert_eq!(sent["queue"]["job"], number);
    // Its artifacts are served as before.
    assert_eq!(third.get(&format!("{}/plot.txt", job.path())).status(), 200);
    // Other content under this id is refused.
    let other = job.clone().with("args", 7);
    let refused = queue.put(other.body());
    queue.await_state(refused, "buried");
    assert_eq!(rig.runs(&job), [1]);
    rig.finish(third);
}

fn a_kicked_job_is_run_again_by_any_worker(kind: Kind) {
    let (rig, queue, shared) = (Rig::new(), Queue::start(kind), Shared::new());
    rig.configure(&shared.config());
    rig.handler("once", r#"[ -e "$HOME/cured" ] || exit 3; echo 1"#, "");
    let first = work(&rig, &queue, "first");
    let job = local(rig.job("once"));
    let number = queue.put(job.body());
    queue.await_state(number, "buried");
    assert_eq!(first.result(&job)["status"], "failed");
    fs::write(rig.dir.join("cured"), "").expect("it is writable");
    // Only the second one takes it.
    first.signal(Signal::SIGTSTP);
    first.await_metric("jq_worker_ready", 0.0);
    let second = work(&rig, &queue, "second");
    let mut conn = queue.connect();
    conn.ask(format!("kick-job {number}"));
    queue.await_deleted(number);
    assert_eq!(rig.runs(&job).len(), 2);
    assert_eq!(second.result(&job)["status"], "successful");
    // The first one has a result of its own, which is not the last one.
    assert_eq!(first.result(&job)["status"], "successful");
    drop(first);
    rig.finish(second);
}

fn whoever_runs_a_job_is_found(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let script = format!("echo begun >&2; until [ -e \"$HOME/go\" ]; do sleep 0.05; done; {PLOT}");
    rig.handler("waits", &script, artifacts());
    let (first, second) = (work(&rig, &queue, "first"), work(&rig, &queue, "second"));
    let peers = format!("peers = ['{}', '{}/']", first.url(), second.url());
    rig.clear().configure(&peers).handler("waits", &script, artifacts());
    for worker in [&first, &second] {
        worker.signal(Signal::SIGHUP);
        worker.await_log("the configuration was read again");
    }
    second.signal(Signal::SIGTSTP);
    second.await_metric("jq_worker_ready", 0.0);
    let job = local(rig.job("waits"));
    let unknown = format!("/{}", Uuid::new_v4());
    assert_eq!(second.get(&job.path()).status(), 404);
    assert_eq!((first.get(&unknown).status(), second.get(&unknown).status()), (404, 404));
    queue.put(job.body());
    rig.await_runs(&job, 1);
    eventually("the other one tells of it", || second.get(&job.path()).status() == 202);
    assert_eq!(second.get(&job.path()).json()["worker"]["id"], "first");
    assert_eq!(second.ask("GET", &job.path(), "JQ-Peer: 1\r\n").status(), 404);

    // Its log too, from the beginning to the end.
    let (sender, log) = std::sync::mpsc::channel();
    let at: SocketAddr = second.url().trim_start_matches("http://").parse().expect("an address");
    let path = format!("{}/log", job.path());
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        let mut stream = TcpStream::connect(at).expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut text = String::new();
        let mut piece = [0; 1024];
        while !text.contains("begun") {
            let count = stream.read(&mut piece).expect("it answers");
            assert!(count > 0, "{text}");
            text += &String::from_utf8_lossy(&piece[..count]);
        }
        sender.send(text.clone()).expect("it is awaited");
        stream.read_to_string(&mut text).expect("it is text");
        sender.send(text).expect("it is awaited");
    });
    let patience = crate::support::PATIENCE;
    let begun = log.recv_timeout(patience).expect("the log begins");
    assert!(begun.contains("text/event-stream") && begun.contains("event: output"), "{begun}");
    fs::write(rig.dir.join("go"), "").expect("it is writable");
    let whole = log.recv_timeout(patience).expect("the log ends");
    assert!(whole.contains("event: end"), "{whole}");
    queue.await_empty();
    eventually("the result is found", || second.get(&job.path()).status() == 200);
    assert_eq!(second.get(&job.path()).body, first.get(&job.path()).body);
    let plot = second.get(&format!("{}/plot.txt", job.path()));
    assert_eq!(plot.body, format!("plot of {}\n", job.id).as_bytes());

    // One that hangs costs a few seconds.
    first.signal(Signal::SIGSTOP);
    assert_eq!(second.get(&job.path()).status(), 404);
    first.signal(Signal::SIGCONT);
    drop(first);
    rig.finish(second);
}

/// A worker whose results go to the server of S3.
fn work_with_s3(rig: &Rig, queue: &Queue, s3: &S3, name: &str) -> Worker {
    let mut command = rig.command();
    s3.show(&mut command);
    command.args(["--server", &queue.name(), "--tube", TUBE, "--listen", "127.0.0.1:0", "-V"]);
    command.args(["--results", name, "--id", name, "--concurrency", "4"]);
    command.args(["--allow-url", &rig.site.url("/")]);
    let worker = rig.work_with(command);
    let has_begun = || worker.status()["servers"].as_array().is_some_and(|it| !it.is_empty());
    eventually("it has its state directory", has_begun);
    worker
}

fn store_of_s3() -> String {
    format!("max_unpublished = 20\n[store]\nurl = 's3://{BUCKET}/of/workers/'")
}

fn results_wait_while_the_store_is_down(kind: Kind) {
    let Some(s3) = S3::start("a store that is down") else { return };
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure(&store_of_s3()).handler("plot", PLOT, artifacts());
    let mut worker = work_with_s3(&rig, &queue, &s3, "first");
    s3.set_up(false);
    let jobs: Vec<_> = (0..40).map(|_| rig.job("plot")).collect();
    jobs.iter().for_each(|job| _ = queue.put(job.body()));
    // They are sent meanwhile, and served. When too many wait, no more jobs are taken.
    let reasons = |worker: &Worker| worker.status()["reasons"].to_string();
    eventually("it says that the store is down", || {
        reasons(&worker).contains(&format!("nothing can be sent to s3://{BUCKET}/of/workers"))
    });
    eventually("no more jobs are taken", || worker.get("/readyz").status() == 503);
    assert!(reasons(&worker).contains("too many results wait to be sent"), "{}", reasons(&worker));
    assert!(worker.metric("jq_worker_store_failures_total") >= 5.0);
    let run = || jobs.iter().filter(|job| !rig.runs(job).is_empty()).collect::<Vec<_>>();
    eventually("what was run is sent", || run().iter().all(|job| rig.sent(job) == 1));
    let count = run().len();
    assert!((20..=24).contains(&count), "{count} were run");
    assert!(queue.count(TUBE, "current-jobs-ready") > 0);
    let waiting = run()[0].clone();
    assert_eq!(worker.get(&waiting.path()).status(), 200);

    // What is owed is owed by the next start too.
    worker.kill();
    let worker = work_with_s3(&rig, &queue, &s3, "first");
    eventually("it is owed still", || worker.metric("jq_worker_spool") >= 20.0);
    s3.set_up(true);
    patiently("all are done", 1000, || queue.count(TUBE, "current-jobs-ready") == 0);
    queue.await_empty();
    worker.await_metric("jq_worker_spool", 0.0);
    eventually("all is well", || reasons(&worker) == "[]");
    for job in &jobs {
        assert_eq!(rig.runs(job), [1]);
    }
    let output = rig.finish(worker);
    assert!(!output.contains(SECRET));

    // Another worker has them all.
    let other = work_with_s3(&rig, &queue, &s3, "second");
    for job in &jobs {
        assert_eq!(other.result(job)["output"], json!(job.id));
        assert_eq!(other.get(&format!("{}/plot.txt", job.path())).status(), 200);
    }
    // One that hangs is no better than one that is down.
    assert_eq!(other.get(&format!("/{}", Uuid::new_v4())).status(), 404);
    s3.set_hanging(true);
    assert_eq!(other.get(&format!("/{}", Uuid::new_v4())).status(), 503);
    let late = rig.job("plot");
    queue.put(late.body());
    eventually("it is sent meanwhile", || rig.sent(&late) == 1);
    assert_eq!(other.result(&late)["output"], json!(late.id));
    assert_eq!(other.metric("jq_worker_spool"), 1.0);
    s3.set_hanging(false);
    queue.await_empty();
    let told = [other.get("/"), other.get("/api/v1/status"), other.get("/metrics")];
    for told in told {
        assert!(!String::from_utf8_lossy(&told.body).contains(SECRET));
    }
    assert!(!rig.finish(other).contains(SECRET));
    assert!(!contains(&rig.dir, SECRET.as_bytes()), "the secret is in a file");
}

#[test]
fn mistakes_are_named() {
    let rig = Rig::new();
    rig.script("handlers/t", "echo 1");
    let check = |config: &str| {
        rig.clear().configure(&format!("tubes = ['t']\nhandlers_dir = 'handlers'\n{config}"));
        let mut command = rig.command();
        command.arg("check").env_remove("AWS_ACCESS_KEY_ID");
        let output = command.output().expect("it starts");
        assert!(!output.status.success());
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).expect("it is text");
        assert!(!said.contains(SECRET), "{said}");
        said
    };
    fs::write(rig.dir.join("wrong"), format!("AWS_SECRET={SECRET}\n")).expect("it is writable");
    fs::write(rig.dir.join("cut"), format!("# x\n{SECRET}\n")).expect("it is writable");
    for (config, expected) in [
        ("[store]\nurl = 'http://x/'", "store.url: expected s3://BUCKET/PATH"),
        ("[store]\nurl = 's3://a:b@c/'", "store.url: expected neither a user"),
        ("[store]\nurl = 'file:///nowhere/at/all'", "/nowhere/at/all: No such file"),
        ("[store]\noptions_file = 'x'", "store.options_file: there is no store.url"),
        ("[store]\nurl = 's3://b'\noptions_file = 'x'", "x: No such file"),
        ("[store]\nurl = 's3://b'\noptions_file = 'cut'", "cut: line 2: expected NAME=value"),
        ("[store]\nurl = 's3://b'\noptions_file = 'wrong'", "AWS_SECRET is no option of s3://"),
        ("[store]\nuri = 's3://b'", "unknown field `uri`"),
        ("peers = ['w2:11380']", "peers: entry 1: expected http://HOST:PORT"),
    ] {
        let said = check(config);
        assert!(said.contains(expected), "{config}: {said}");
    }
}

/// Whether a file below this folder has these bytes in it.
fn contains(folder: &Path, bytes: &[u8]) -> bool {
    fs::read_dir(folder).expect("it is a folder").any(|entry| {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            return contains(&path, bytes);
        }
        let content = fs::read(&path).unwrap_or_default();
        content.windows(bytes.len()).any(|it| it == bytes)
    })
}

fn behind_a_load_balancer_nothing_is_lost(kind: Kind) {
    const WHAT: &str = "workers behind a load balancer";
    let Some(s3) = S3::start(WHAT) else { return };
    let count = env::var("JQ_SHARED_JOBS").map_or(60, |count| count.parse().expect("a number"));
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure(&store_of_s3()).handler("plot", PLOT, artifacts());
    let (mut first, second) =
        (work_with_s3(&rig, &queue, &s3, "first"), work_with_s3(&rig, &queue, &s3, "second"));
    let at =
        |worker: &Worker| worker.url().trim_start_matches("http://").parse().expect("an address");
    let workers = [at(&first), at(&second)];
    let peers = format!("peers = ['{}', '{}']\n", first.url(), second.url());
    rig.clear().configure(&format!("{peers}{}", store_of_s3())).handler("plot", PLOT, artifacts());
    for worker in [&first, &second] {
        worker.signal(Signal::SIGHUP);
        worker.await_log("the configuration was read again");
    }
    let Some(balancer) = Balancer::start(WHAT, &workers) else { return };
    eventually("the balancer is up", || TcpStream::connect(balancer.address()).is_ok());
    let get = |path: &str| http::ask(balancer.address(), "GET", path, "");

    let jobs: Vec<_> = (0..count).map(|_| local(rig.job("plot"))).collect();
    let numbers: Vec<_> = jobs.iter().map(|job| queue.put(job.body())).collect();
    let begun = || jobs.iter().filter(|job| !rig.runs(job).is_empty()).count();
    patiently("a quarter has begun", count, || begun() >= count / 4);
    s3.set_up(false);
    patiently("half have begun, or no more are taken", count, || {
        begun() >= count / 2 || second.get("/readyz").status() == 503
    });
    first.kill();
    s3.set_up(true);
    patiently("all are done", count, || {
        queue.count(TUBE, "current-jobs-ready") + queue.count(TUBE, "current-jobs-reserved") == 0
    });
    queue.await_empty();
    assert_eq!(numbers.len(), count);
    for job in &jobs {
        // By whichever worker is asked. The dead one's are in the store.
        let result = get(&job.path());
        assert_eq!(result.status(), 200, "{}", job.id);
        assert_eq!(result.json()["output"], json!(job.id));
        let plot = get(&format!("{}/plot.txt", job.path()));
        assert_eq!(plot.body, format!("plot of {}\n", job.id).as_bytes());
    }
    // A new one in the dead one's place has nothing itself, and answers for all.
    let third = work_with_s3(&rig, &queue, &s3, "third");
    for job in &jobs {
        assert_eq!(third.get(&job.path()).json()["output"], json!(job.id));
    }
    drop(third);
    rig.finish(second);
}
