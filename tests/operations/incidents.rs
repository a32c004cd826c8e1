//! The incidents of the runbook, really made.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::page::{Step, incidents};
use crate::scene::{Scene, can_type};
use crate::small_disk::SmallDisk;
use crate::support::{Conn, Endpoint, Input, eventually};

/// The other machine: an address of this one that is not the usual one.
const OTHER_HOST: &str = "127.0.0.2";

/// Descriptors of a server with too many connections, as the page shows them.
const DESCRIPTORS: usize = 64;

/// The steps of the incident with this heading.
fn steps(heading: &str) -> Vec<Step> {
    let mut all = incidents();
    let names: Vec<String> = all.iter().map(|(name, _)| name.clone()).collect();
    let at = names.iter().position(|name| name == heading);
    all.swap_remove(at.unwrap_or_else(|| panic!("{heading} is in {names:?}"))).1
}

/// Runs the commands of an incident. `make` makes what the page names, in the order in which it does.
fn play(heading: &str, scene: &Scene, mut make: impl FnMut(&str)) {
    for step in steps(heading) {
        match &step {
            Step::Make(name) => make(name),
            Step::Run { .. } => scene.run(&step),
        }
    }
}

/// Each has a test below.
#[test]
fn there_are_seven() {
    let names: Vec<String> = incidents().into_iter().map(|(name, _)| name).collect();
    let expected = [
        "The backlog grows",
        "Jobs come back again and again",
        "Buried jobs pile up",
        "The disk is full",
        "Too many connections",
        "One tube starves the others",
        "A worker host died",
    ];
    assert_eq!(names, expected);
}

fn put(conn: &mut Conn, priority: u32, ttr: u32, body: &str) {
    conn.send(format!("put {priority} 0 {ttr} {}\r\n{body}\r\n", body.len()));
    assert!(conn.reply().line().starts_with(b"INSERTED "), "it is put");
}

/// Puts so many jobs into a tube.
fn fill(scene: &Scene, tube: &str, priority: u32, jobs: u32) {
    let mut conn = scene.server.connect();
    conn.ask(format!("use {tube}"));
    (0..jobs).for_each(|number| put(&mut conn, priority, 600, &format!("job {number}")));
    conn.send("quit\r\n");
}

/// Workers of these tubes that do one job after the other, for so long each, until dropped.
struct Workers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    fn start(scene: &Scene, count: usize, tubes: &[&str], work: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let worker = |_| {
            let mut conn = scene.server.connect();
            for tube in tubes {
                conn.ask(format!("watch {tube}"));
            }
            conn.ask("ignore default");
            let stop = Arc::clone(&stop);
            thread::spawn(move || do_jobs(conn, work, &stop))
        };
        Self { threads: (0..count).map(worker).collect(), stop }
    }
}

fn do_jobs(mut conn: Conn, work: Duration, stop: &AtomicBool) {
    conn.send("reserve\r\n");
    while !stop.load(Ordering::Relaxed) {
        // In small pieces, so that it can be stopped.
        let Input::Reply(job) = conn.next(Duration::from_millis(20)) else { continue };
        let line = String::from_utf8_lossy(job.line()).into_owned();
        let id = line.strip_prefix("RESERVED ").and_then(|rest| rest.split(' ').next());
        let id = id.unwrap_or_else(|| panic!("a job, and not {line}")).to_owned();
        thread::sleep(work);
        conn.ask(format!("delete {id}"));
        conn.send("reserve\r\n");
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// A connection from the other host.
fn from_other_host(scene: &Scene) -> TcpStream {
    let Endpoint::Tcp(server) = *scene.server.endpoint() else { panic!("it has a port") };
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("there is a descriptor");
    let here: SocketAddr = format!("{OTHER_HOST}:0").parse().expect("it is an address");
    socket.bind(&here.into()).expect("all of 127.0.0.0/8 is this machine");
    socket.connect(&server.into()).expect("the kernel accepts");
    socket.into()
}

#[test]
fn the_backlog_grows() {
    if !can_type() {
        return;
    }
    let scene = Scene::start("", None, &[]);
    let mut workers = None;
    play("The backlog grows", &scene, |what| match what {
        "backlog" => fill(&scene, "mail", 1000, 1500),
        "workers" => workers = Some(Workers::start(&scene, 2, &["mail"], Duration::ZERO)),
        other => panic!("{other}"),
    });
}

#[test]
fn jobs_come_back() {
    if !can_type() {
        return;
    }
    let scene = Scene::start("", None, &[]);
    play("Jobs come back again and again", &scene, |what| match what {
        "comes-back" => {
            let mut producer = scene.server.connect();
            producer.ask("use mail");
            put(&mut producer, 1 << 31, 1, r#"{"to":"poison"}"#);
            put(&mut producer, 1 << 31, 60, r#"{"to":"other"}"#);
            producer.send("quit\r\n");
            let mut hangs = scene.server.connect();
            hangs.ask("watch mail");
            hangs.ask("reserve");
            let mut witness = scene.server.connect();
            eventually("it times out", || {
                witness.ask("stats-job 1").value("timeouts") == Some("1")
            });
            hangs.send("quit\r\n");
            hangs.expect_closed();
            for count in ["1", "2"] {
                let mut crashes = scene.server.connect();
                crashes.ask("watch mail");
                crashes.ask("reserve-job 1");
                drop(crashes);
                eventually("that is noticed", || {
                    witness.ask("stats-job 1").value("disconnects") == Some(count)
                });
            }
        }
        other => panic!("{other}"),
    });
}

#[test]
fn buried_pile_up() {
    if !can_type() {
        return;
    }
    let scene = Scene::start("", None, &[]);
    play("Buried jobs pile up", &scene, |what| match what {
        "buried" => {
            let mut worker = scene.server.connect();
            worker.ask("use mail");
            worker.ask("watch mail");
            for number in 1..=12 {
                let domain = if number % 3 == 0 { "old.example" } else { "example.com" };
                put(&mut worker, 1 << 31, 60, &format!(r#"{{"to":"{number}@{domain}"}}"#));
                worker.ask("reserve");
                worker.ask(format!("bury {number} {}", 1_u32 << 31));
            }
            worker.send("quit\r\n");
            worker.expect_closed();
        }
        other => panic!("{other}"),
    });
}

#[test]
fn the_disk_is_full() {
    let Some(disk) = SmallDisk::mount() else { return };
    if !can_type() {
        return;
    }
    let folder = disk.folder();
    let scene = Scene::start("", Some(&folder), &["-s", "262144"]);
    play("The disk is full", &scene, |what| match what {
        "disk-full" => {
            let mut conn = scene.server.connect();
            conn.ask("use mail");
            put(&mut conn, 0, 60, "one that is there");
            conn.ask("use thumbnails");
            let body = "x".repeat(1000);
            let mut is_full = false;
            while !is_full {
                conn.send(format!("put 0 0 60 1000\r\n{body}\r\n"));
                is_full = conn.reply().line() == b"OUT_OF_MEMORY";
            }
        }
        other => panic!("{other}"),
    });
}

#[test]
fn too_many_connections() {
    if !can_type() {
        return;
    }
    let scene = Scene::start(&format!("ulimit -n {DESCRIPTORS} &&"), None, &[]);
    let mut crowd: Vec<TcpStream> = Vec::new();
    play("Too many connections", &scene, |what| match what {
        "crowd" => crowd.extend((0..2 * DESCRIPTORS).map(|_| from_other_host(&scene))),
        "crowd-is-gone" => crowd.clear(),
        other => panic!("{other}"),
    });
}

/// What is kept back is there again after each request, whether clients of the queue try to get it or not.
#[test]
fn an_operator_gets_in_again_and_again() {
    let mut scene = Scene::start(&format!("ulimit -n {DESCRIPTORS} &&"), None, &[]);
    let mut crowd: Vec<TcpStream> = (0..2 * DESCRIPTORS).map(|_| from_other_host(&scene)).collect();
    scene.server.process().await_output("cannot accept connections");
    for _ in 0..20 {
        assert_eq!(scene.get("/readyz"), "200");
        // Makes the server try to accept the next one.
        drop(from_other_host(&scene));
    }
    // As a half of them goes, others come in their place.
    crowd.drain(..DESCRIPTORS / 2);
    assert_eq!(scene.get("/readyz"), "200");
    let said = scene.server.output();
    let complaints = said.lines().filter(|line| line.contains("cannot accept connections"));
    assert!(complaints.count() <= 2, "{said}");
}

#[test]
fn one_tube_starves_the_others() {
    if !can_type() {
        return;
    }
    let scene = Scene::start("", None, &[]);
    let mut workers = None;
    play("One tube starves the others", &scene, |what| match what {
        "starving" => {
            fill(&scene, "newsletter", 100, 3000);
            fill(&scene, "mail", 1 << 31, 5);
            let tubes = ["newsletter", "mail"];
            workers = Some(Workers::start(&scene, 1, &tubes, Duration::from_millis(20)));
        }
        other => panic!("{other}"),
    });
}

#[test]
fn a_worker_host_died() {
    if !can_type() {
        return;
    }
    let scene = Scene::start("", None, &[]);
    let mut host = Vec::new();
    play("A worker host died", &scene, |what| match what {
        "dead-host" => {
            fill(&scene, "mail", 1000, 3);
            for _ in 0..3 {
                // What it had sent before it died. Nothing comes from it any more, not even an end.
                let mut silent = from_other_host(&scene);
                let sent = b"watch mail\r\nignore default\r\nreserve\r\n";
                std::io::Write::write_all(&mut silent, sent).expect("the server is there");
                host.push(silent);
            }
        }
        other => panic!("{other}"),
    });
}
