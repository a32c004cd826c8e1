//! SIGHUP: another configuration, without losing a job.

use nix::sys::signal::Signal;

use crate::each_queue;
use crate::outcomes::PERSISTENT;
use crate::queue::{Kind, Queue, TUBE};
use crate::rig::{Rig, Worker};
use crate::support::eventually;

each_queue!(
    the_configuration_is_read_again,
    a_broken_file_changes_nothing,
    jobs_that_run_keep_what_they_have,
    another_tube,
);

const WAIT: &str = r#"while [ ! -e "$HOME/go" ]; do sleep 0.05; done; echo 1"#;

/// Has it read the file again, and waits until it has.
fn reload(worker: &Worker, says: &str) {
    let count = || worker.output().matches(says).count();
    let before = count();
    worker.signal(Signal::SIGHUP);
    eventually(&format!("it says: {says}"), || count() > before);
}

const READ: &str = "the configuration was read again";

fn the_configuration_is_read_again(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("concurrency = 1");
    rig.handler("wait", WAIT, "");
    let worker = rig.work(&queue, &[]);
    let jobs = [rig.job("wait"), rig.job("wait")];
    for job in &jobs {
        queue.put(job.body());
    }
    rig.await_runs(&jobs[0], 1);
    assert!(rig.runs(&jobs[1]).is_empty());
    rig.clear().configure("concurrency = 2").handler("wait", WAIT, "");
    rig.handler("new", "echo 2", "");
    reload(&worker, READ);
    rig.await_runs(&jobs[1], 1);
    std::fs::write(rig.dir.join("go"), "").unwrap();
    let job = rig.job("new");
    queue.put(job.body());
    assert_eq!(rig.result(&job)["output"], 2);
    queue.await_empty();
    rig.finish(worker);
}

fn a_broken_file_changes_nothing(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    for broken in ["concurrency = 'many'", "surprise = 1", "[handlers.ok]\ncommand = ['./nowhere']"]
    {
        rig.clear().configure(broken);
        reload(&worker, "the configuration cannot be used");
        let job = rig.job("ok");
        let id = queue.put(job.body());
        assert_eq!(rig.result(&job)["output"], 1);
        queue.await_deleted(id);
    }
    rig.finish(worker);
}

fn jobs_that_run_keep_what_they_have(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let persistent = "mode = 'persistent'\ngrace = 1";
    rig.handler("wait", WAIT, "").handler("stays", PERSISTENT, persistent);
    let worker = rig.work(&queue, &["--concurrency", "2"]);
    let (wait, stays) = (rig.job("wait"), rig.job("stays"));
    queue.put(stays.body());
    let before = rig.result(&stays)["output"].clone();
    queue.put(wait.body());
    rig.await_runs(&wait, 1);
    // Neither of the types is known any more.
    rig.clear().handler("other", PERSISTENT, persistent);
    reload(&worker, READ);
    std::fs::write(rig.dir.join("go"), "").unwrap();
    assert_eq!(rig.result(&wait)["output"], 1);
    let other = rig.job("other");
    queue.put(other.body());
    assert_ne!(rig.result(&other)["output"], before);
    queue.await_empty();
    eventually("the process of before is gone", || rig.processes(&[&worker]).len() == 1);
    let mut worker = worker;
    worker.stop();
    rig.assert_no_process(&[]);
}

fn another_tube(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let configure = |tube: &str| {
        let (server, url) = (queue.name(), rig.site.url("/"));
        rig.clear().configure(&format!(
            "servers = ['{server}']\ntubes = ['{tube}']\nallow_urls = ['{url}']\nlisten = '127.0.0.1:0'"
        ));
        rig.handler("ok", "echo 1", "");
    };
    configure("elsewhere");
    let worker = rig.work_as_configured();
    let job = rig.job("ok");
    let id = queue.put(job.body());
    eventually("it waits there", || queue.count("elsewhere", "current-waiting") == 1);
    queue.await_state(id, "ready");
    configure(TUBE);
    reload(&worker, READ);
    queue.await_deleted(id);
    eventually("it waits there no more", || queue.count("elsewhere", "current-waiting") == 0);
    rig.finish(worker);
}
