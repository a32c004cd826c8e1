//! What the worker notices by itself: stopped keepers, relays that lead nowhere, jobs that were deleted,
//! scripts that cannot start, settings that need a restart.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::sys::signal::Signal;

use crate::each_queue;
use crate::queue::{Kind, Queue, TUBE};
use crate::rig::Rig;
use crate::support::{Process, eventually};

each_queue!(
    a_stopped_keeper_goes_on,
    a_relay_that_forwards_no_more,
    a_job_deleted_while_it_waits_for_its_retry,
);

fn a_stopped_keeper_goes_on(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("stops", "kill -STOP $PPID; sleep 60", "timeout = 1\ngrace = 0");
    let worker = rig.work(&queue, &[]);
    let job = rig.job("stops");
    let id = queue.put(job.body());
    worker.await_log("a keeper was stopped by somebody: it goes on");
    let result = rig.result(&job);
    assert_eq!(result["error"]["kind"], "timeout");
    assert_eq!(result["signal"], 9, "the keeper has ended it, and says so");
    queue.await_state(id, "buried");
    rig.finish(worker);
}

/// Forwards connections to a server, until those that there are then are to lead nowhere.
struct Relay {
    address: SocketAddr,
    /// Which connections lead nowhere: those that were made before it was counted up.
    stalled: Arc<AtomicU32>,
}

impl Relay {
    fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
        let address = listener.local_addr().expect("it is bound");
        let stalled = Arc::new(AtomicU32::new(0));
        let relay = Self { address, stalled: Arc::clone(&stalled) };
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(to)) else { return };
                let made = stalled.load(Ordering::Relaxed);
                let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
                for (from, to) in [(client, server), back] {
                    let stalled = Arc::clone(&stalled);
                    thread::spawn(move || {
                        forward(from, to, || stalled.load(Ordering::Relaxed) > made);
                    });
                }
            }
        });
        relay
    }

    fn stall(&self) {
        self.stalled.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reads on and on, and forwards what comes unless it is stalled.
fn forward(mut from: TcpStream, mut to: TcpStream, is_stalled: impl Fn() -> bool) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if !is_stalled() && to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

fn a_relay_that_forwards_no_more(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let relay = Relay::start(queue.name().parse().expect("it is an address"));
    rig.configure("idle_check = 1").handler("ok", "echo 1", "");
    let mut command = rig.command();
    command.args(["--server", &relay.address.to_string(), "--tube", TUBE]);
    command.args(["--listen", "127.0.0.1:0", "-V", "--allow-url", &rig.site.url("/")]);
    let worker = rig.work_with(command);
    eventually("it waits for jobs", || queue.count(TUBE, "current-waiting") == 1);
    relay.stall();
    worker.await_log("the server has stopped answering");
    // Connections that are made from now on are forwarded.
    let job = rig.job("ok");
    let id = queue.put(job.body());
    assert_eq!(rig.result(&job)["output"], 1);
    queue.await_deleted(id);
    rig.finish(worker);
}

fn a_job_deleted_while_it_waits_for_its_retry(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("retry_delay = 3600").handler("fails", "exit 1", "");
    let worker = rig.work(&queue, &[]);
    let job = rig.job("fails").with("retry", 3);
    let id = queue.put(job.body());
    queue.await_state(id, "delayed");
    let waiting = worker.get(&job.path());
    assert_eq!((waiting.status(), &waiting.json()["status"]), (202, &"accepted".into()));
    assert_eq!(queue.connect().ask(format!("delete {id}")).line(), b"DELETED");
    eventually("it is unknown", || worker.get(&job.path()).status() == 404);
    worker.await_log("the job was deleted from the queue");
    rig.finish(worker);
}

#[test]
fn check_reads_the_first_lines_of_scripts() {
    let rig = Rig::new();
    for (name, script) in [("dos", "#!/bin/sh\r\necho 1\r\n"), ("good", "#!/bin/sh\necho 1\n")] {
        let path = rig.dir.join("handlers").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, script).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).unwrap();
    }
    let queue = Queue::start(Kind::Jq);
    let check = || {
        let mut command = rig.command();
        command.args(["check", "--tube", TUBE, "--server", &queue.name(), "--listen", "none"]);
        let mut process = Process::spawn(command);
        (process.exit_code(), process.output())
    };
    let (status, said) = check();
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("PROBLEM") && said.contains("handlers/dos: its #! line ends"), "{said}");
    std::fs::remove_file(rig.dir.join("handlers/dos")).unwrap();
    let (status, said) = check();
    assert_eq!(status, 0, "{said}");
}

#[test]
fn a_reload_says_which_settings_need_a_restart() {
    let (rig, queue) = (Rig::new(), Queue::start(Kind::Jq));
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    rig.clear()
        .configure("cors_origins = []\nsync = 'never'\npublic_url = 'http://other.example/'");
    rig.handler("ok", "echo 1", "");
    worker.signal(Signal::SIGHUP);
    worker.await_log("the configuration was read again");
    for name in ["sync", "public_url", "cors_origins"] {
        worker.await_log(&format!("{name} has changed: that counts after a restart only"));
    }
    rig.finish(worker);
}
