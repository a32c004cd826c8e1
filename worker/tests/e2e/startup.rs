//! Why a worker does not start, and what it exits with then.

use std::net::TcpListener;

use crate::each_queue;
use crate::queue::{Kind, Queue, TUBE};
use crate::rig::Rig;
use crate::support::Process;

each_queue!(one_directory_is_of_one_worker);

/// Runs our program, which is to end by itself: its exit status and what it wrote.
fn refused(rig: &Rig, flags: &[&str]) -> (i32, String) {
    let mut command = rig.command();
    command.args(flags);
    let mut process = Process::spawn(command);
    (process.exit_code(), process.output())
}

fn one_directory_is_of_one_worker(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    let flags = ["--server", &queue.name(), "--tube", TUBE, "--listen", "127.0.0.1:0"];
    let (status, said) = refused(&rig, &flags);
    assert_eq!(status, 10, "{said}");
    assert!(said.contains("another worker keeps its results there"), "{said}");
    // The first is none the worse for it.
    let job = rig.job("ok");
    queue.put(job.body());
    assert_eq!(rig.result(&job)["status"], "successful");
    queue.await_empty();
    rig.finish(worker);
}

#[test]
fn its_port_is_in_use() {
    let rig = Rig::new();
    rig.handler("ok", "echo 1", "");
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let (status, said) = refused(&rig, &["--tube", TUBE, "--listen", &address]);
    assert_eq!(status, 111, "{said}");
    assert!(said.contains(&address), "{said}");
}

/// Waiting would not help.
#[test]
fn a_state_directory_that_cannot_be_one() {
    let rig = Rig::new();
    rig.handler("ok", "echo 1", "");
    std::fs::write(rig.dir.join("file"), "").unwrap();
    for path in ["file", "file/below"] {
        let flags = ["--tube", TUBE, "--listen", "127.0.0.1:0", "--results", path];
        let (status, said) = refused(&rig, &flags);
        assert_eq!(status, 10, "{said}");
        assert!(said.contains(path), "{said}");
    }
}

#[test]
fn its_configuration_is_no_use() {
    let cases: [(&str, &[&str], &str); 7] = [
        ("", &["--tube", TUBE], "handlers"),
        ("concurrency = 'many'", &["--tube", TUBE], "jq-worker.toml"),
        ("surprise = 1", &["--tube", TUBE], "surprise"),
        ("[handlers.ok]\ncommand = ['sh']", &[], "tube"),
        ("[handlers.ok]\ncommand = ['sh']", &["--tube", TUBE, "--surprise"], "--surprise"),
        ("[handlers.ok]\ncommand = ['./nowhere']", &["--tube", TUBE], "nowhere"),
        ("allow_urls = ['x']\n[handlers.ok]\ncommand = ['sh']", &["--tube", TUBE], "allow_urls"),
    ];
    for (config, flags, why) in cases {
        let rig = Rig::new();
        if !config.is_empty() {
            rig.configure(config);
        }
        let (status, said) = refused(&rig, flags);
        assert_eq!(status, 5, "{config:?} {flags:?}: {said}");
        assert!(said.contains(why), "{config:?} {flags:?}: {said}");
    }
}
