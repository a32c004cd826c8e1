//! The program as a whole: short runs against the echo and a real queue, failures, and how it
//! ends.

use std::{
    env, fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

#[allow(dead_code, reason = "servers are looked for by their names")]
#[path = "../../../tests/support/peer.rs"]
mod peer;

#[path = "../../../tests/support/certificates.rs"]
mod certificates;
#[path = "../../../tests/support/gate.rs"]
mod gate;

use certificates::{Authority, Valid};
use gate::Gate;

/// How long anything may take here.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command with a directory of its own for temporary files.
fn compare(name: &str) -> (Command, PathBuf) {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&temporary);
    fs::create_dir_all(&temporary).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_jq-compare"));
    command.env("TMPDIR", &temporary).stdin(Stdio::null());
    (command, temporary)
}

/// Runs with short rounds.
fn short(command: &mut Command, servers: &[&str], scenarios: &str, rounds: u32) -> Output {
    for server in servers {
        command.args(["--server", server]);
    }
    command.args(["--scenario", scenarios, "--seconds", "0.2", "--warm-up", "0.01"]);
    command.args(["--rounds", &rounds.to_string()]).output().unwrap()
}

fn text(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{out}{err}")
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().next().is_none()
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The path of another server; without it the test is skipped, unless the environment forbids
/// that.
fn peer(name: &str) -> Option<PathBuf> {
    let found = peer::executable(name);
    if found.is_none() {
        peer::skip(&format!("measuring {name}"), "it is not installed");
    }
    found
}

#[test]
fn two_echoes_in_tables_and_json() {
    let (mut command, temporary) = compare("echoes");
    let json = Path::new(env!("CARGO_TARGET_TMPDIR")).join("echoes.json");
    command.arg("--json").arg(&json);
    let scenarios = "cycle-1,cycle-5,pipeline-2x8,pipeline-2x8-shared,put-only-2,take-only-2,\
        body-60k,wakeup,handover-5,memory-5k@100";
    let output = short(&mut command, &["a=builtin:echo", "b=builtin:echo"], scenarios, 2);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("### pipeline-2x8-shared"), "{}", text(&output));
    assert!(is_empty(&temporary));

    let report: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    let scenarios = report["scenarios"].as_array().unwrap();
    assert_eq!(scenarios.len(), 10);
    for scenario in &scenarios[..7] {
        let servers = scenario["servers"].as_array().unwrap();
        assert_eq!(servers[0]["metrics"]["commands_per_second"]["ratio"], 1.0, "{scenario}");
        for server in servers {
            assert_eq!(server["rounds"].as_array().unwrap().len(), 2);
            for metric in ["commands_per_second", "p50_us", "p99_us", "resident_mib"] {
                let median = &server["metrics"][metric]["median"];
                assert!(median.as_f64().unwrap() > 0.0, "{metric} in {scenario}");
            }
        }
    }
    let wakeup = &scenarios[7]["servers"][1]["metrics"]["p50_us"]["median"];
    assert!(wakeup.as_f64().unwrap() > 0.0, "an echo forwards what is put to who waits");
    let handover = &scenarios[8]["servers"][1]["metrics"];
    for metric in ["hand_overs_per_second", "p50_us", "p99_us", "put_p50_us", "put_p99_us"] {
        assert!(handover[metric]["median"].as_f64().unwrap() > 0.0, "{metric}: {handover}");
    }
    let memory = &scenarios[9]["servers"][1];
    assert_eq!(memory["rounds"].as_array().unwrap().len(), 0, "an echo keeps nothing");
}

/// Every kind of scenario.
const ALL: &str = "cycle-1,cycle-5,pipeline-2x8,pipeline-2x8-shared,put-only-2,take-only-2,\
    body-60k,tubes-1,tubes-250,wakeup,handover-1,handover-5,waiting-300,memory-2k,deep-500,\
    delayed-700,kick-700,disconnect-700,delete-2001,drain-700,large-put-60k,lists-close-50,\
    lists-reset-50,stats-close-5,stats-reset-5";

#[test]
fn a_real_queue_passes_all_checks() {
    let Some(beanstalkd) = peer("beanstalkd") else { return };
    let server = format!("{} -l 127.0.0.1 -p {{port}}", beanstalkd.display());
    let logged = format!("logged={server} -b {{dir}}");
    let (mut command, temporary) = compare("queue");
    let output = short(&mut command, &[&format!("plain={server}"), &logged], ALL, 1);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("### tubes-250 in terms of tubes-1"), "{}", text(&output));
    assert!(is_empty(&temporary));
}

/// A server that runs already, behind a gate that speaks TLS and asks for a certificate and a token.
#[test]
fn a_queue_is_measured_by_tls_and_with_a_token() {
    let Some(beanstalkd) = peer("beanstalkd") else { return };
    let port = free_port();
    let mut queue = Command::new(beanstalkd);
    queue.args(["-l", "127.0.0.1", "-p", &port.to_string()]).stderr(Stdio::null());
    let queue = Ended(queue.spawn().unwrap());
    let address = (Ipv4Addr::LOCALHOST, port).into();
    wait_until("the queue listens", || TcpStream::connect(address).is_ok());

    let authority = Authority::new();
    let identity = authority.sign("queue", "localhost", Valid::Now);
    let gate = Gate::secure(address, identity, Some(authority.file()));
    gate.set_token(Some("site.s3cret"));
    let (certificate, key) = authority.sign("load", "load", Valid::Now);
    let file = |name: &str, text: &str| {
        let path = authority.folder().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let (token, wrong) = (file("token", "site.s3cret\n"), file("wrong", "site.wr0ng\n"));
    let run = |server: &str, flags: &[(&str, &Path)], scenarios: &str| {
        let (mut command, _) = compare("secure");
        for (flag, path) in flags {
            command.arg(flag).arg(path);
        }
        let output = short(&mut command, &[server], scenarios, 1);
        assert!(!text(&output).contains("s3cret"), "{}", text(&output));
        output
    };
    let ca = authority.file();
    let tls = [("--tls-ca", &*ca), ("--tls-cert", &certificate), ("--tls-key", &key)];
    let pid = queue.0.id();
    let at = format!("a=addr:{}@{pid}", gate.url());
    let with_token = at.replace("://", "://site.s3cret@");
    let by_file = [&tls[..], &[("--token-file", &*token)]].concat();
    // The kinds that differ in how they read and write.
    let scenarios =
        "cycle-1,cycle-5,pipeline-2x8,body-60k,wakeup,handover-5,waiting-50,delete-2001";
    let output = run(&at, &by_file, scenarios);
    assert!(output.status.success(), "{}", text(&output));
    let output = run(&with_token, &tls, "cycle-1");
    assert!(output.status.success(), "{}", text(&output));

    for (server, flags, why) in [
        (&at, [&tls[..], &[("--token-file", &*wrong)]].concat(), "got \"NOT_AUTHENTICATED\""),
        (&at, by_file[1..].to_vec(), "no authority that is trusted here"),
        (&with_token, tls[..1].to_vec(), "it wants a certificate from this side"),
        (&at, vec![("--token-file", authority.folder())], "the token file"),
        (&at, vec![("--tls-ca", &*token)], "expected certificates in PEM"),
        (&"a=addr:beanstalk://site.s3cret@nowhere".to_owned(), vec![], "nowhere: "),
        (&"a=addr:127.0.0.1:1".to_owned(), tls.to_vec(), "certificates are for TLS"),
    ] {
        let output = run(server, &flags, "cycle-1");
        assert!(!output.status.success(), "{why}");
        assert!(text(&output).contains(why), "{why}: {}", text(&output));
    }
}

/// A process that is ended with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

#[test]
fn a_job_that_is_too_large_for_the_server_is_named() {
    let Some(beanstalkd) = peer("beanstalkd") else { return };
    let server = format!("a={} -l 127.0.0.1 -p {{port}}", beanstalkd.display());
    let (mut command, temporary) = compare("large");
    let output = short(&mut command, &[&server], "large-put-100k", 1);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("JOB_TOO_BIG: let it take jobs"), "{}", text(&output));
    assert!(is_empty(&temporary));
}

/// What a bystander waited: each scenario has the whole of it, for every server.
#[test]
fn stalls_have_a_distribution() {
    let Some(beanstalkd) = peer("beanstalkd") else { return };
    let server = format!("a={} -l 127.0.0.1 -p {{port}} -b {{dir}}", beanstalkd.display());
    let (mut command, _) = compare("stalls");
    let json = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stalls.json");
    command.arg("--json").arg(&json);
    let output = short(&mut command, &[&server], "delete-3k", 1);
    assert!(output.status.success(), "{}", text(&output));
    let metrics = metrics(&json);
    let value = |metric: &str| metrics[metric]["median"].as_f64().unwrap();
    let (half, most) = (value("p50_us"), value("p99_us"));
    // Buckets are 1.6% wide.
    let longest = value("longest_stall_ms") * 1000.0 * 1.02;
    assert!(half > 0.0 && half <= most && most <= longest, "{metrics}");
}

/// The metrics of the only server in a report's only scenario.
fn metrics(json: &Path) -> Value {
    let report: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    report["scenarios"][0]["servers"][0]["metrics"].clone()
}

#[test]
fn a_queue_with_a_log_comes_back() {
    let Some(beanstalkd) = peer("beanstalkd") else { return };
    let server = format!("a={} -l 127.0.0.1 -p {{port}}", beanstalkd.display());
    let logged = format!("{server} -b {{dir}}");
    let (mut command, temporary) = compare("restart");
    let json = Path::new(env!("CARGO_TARGET_TMPDIR")).join("restart.json");
    command.arg("--json").arg(&json);
    let output = short(&mut command, &[&logged], "restart-3k", 1);
    assert!(output.status.success(), "{}", text(&output));
    let metrics = metrics(&json);
    assert!(metrics["restart_seconds"]["median"].as_f64().unwrap() > 0.0, "{metrics}");
    // Each job is there with its body, at least.
    assert!(metrics["disk_bytes_per_job"]["median"].as_f64().unwrap() > 100.0, "{metrics}");
    assert!(is_empty(&temporary));

    let (mut command, _) = compare("restart");
    let output = short(&mut command, &[&server], "restart-3k", 1);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("add '-b {dir}' to its command"), "{}", text(&output));
}

#[test]
fn a_queue_that_waits_for_its_disk_ends_its_rounds() {
    let Some(beanstalkd) = peer("beanstalkd") else { return };
    let server = format!("a={} -l 127.0.0.1 -p {{port}} -b {{dir}} -f 0", beanstalkd.display());
    let (mut command, temporary) = compare("slow");
    let output = short(&mut command, &[&server], "cycle-5,pipeline-2x4", 1);
    assert!(output.status.success(), "{}", text(&output));
    assert!(is_empty(&temporary));
}

#[test]
fn system_calls_are_counted_where_that_is_possible() {
    let (mut command, _) = compare("calls");
    let json = Path::new(env!("CARGO_TARGET_TMPDIR")).join("calls.json");
    command.arg("--json").arg(&json).arg("--syscalls");
    let output = short(&mut command, &["a=builtin:echo"], "cycle-1", 1);
    assert!(output.status.success(), "{}", text(&output));
    if text(&output).contains("neither perf nor strace works here") {
        return peer::skip("system calls", "neither perf nor strace works here");
    }
    // The echo waits, reads and writes once for each command, and reads what is not there.
    let calls = &metrics(&json)["system_calls_per_command"]["median"];
    assert!((2.0..=5.0).contains(&calls.as_f64().unwrap()), "{calls}");
}

#[test]
fn redis_in_the_same_shapes() {
    let Some(redis) = peer("redis-server") else { return };
    let options = "--bind 127.0.0.1 --port {port} --dir {dir} --save --appendonly no";
    let server = format!("redis:list={} {options}", redis.display());
    let (mut command, temporary) = compare("redis");
    let scenarios = "cycle-5,pipeline-2x8,pipeline-2x8-shared,put-only-2,take-only-2,body-60k,\
        wakeup,handover-5,memory-2k,deep-500,tubes-5";
    let output = short(&mut command, &[&server], scenarios, 1);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("list: redis has no equivalent"), "{}", text(&output));
    assert!(is_empty(&temporary));
}

/// Ends its process when the test does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_running_queue_is_left_as_it_was() {
    let Some(beanstalkd) = peer("beanstalkd") else { return };
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = free.local_addr().unwrap();
    drop(free);
    let port = addr.port().to_string();
    let server = Command::new(beanstalkd).args(["-l", "127.0.0.1", "-p", &port]).spawn().unwrap();
    let server = Running(server);
    wait_until("beanstalkd listens", || TcpStream::connect(addr).is_ok());

    let (mut command, _) = compare("running");
    let spec = format!("running=addr:{addr}@{}", server.0.id());
    let output = short(&mut command, &[&spec], ALL, 1);
    assert!(output.status.success(), "{}", text(&output));

    let stats = || {
        use std::io::{Read, Write};
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.write_all(b"stats\r\nquit\r\n").unwrap();
        let mut stats = String::new();
        stream.read_to_string(&mut stats).unwrap();
        stats
    };
    wait_until("connections are closed", || stats().contains("\ncurrent-connections: 1\n"));
    let stats = stats();
    for line in ["jobs-ready: 0", "jobs-delayed: 0", "jobs-reserved: 0", "tubes: 1"] {
        assert!(stats.contains(&format!("\ncurrent-{line}\n")), "{line} in {stats}");
    }
}

#[test]
fn what_cannot_be_measured_is_an_error() {
    let (mut command, temporary) = compare("failing");
    let missing = "bad=/no/such/program -p {port}";
    let output = short(&mut command, &["echo=builtin:echo", missing], "cycle-1", 1);
    assert_eq!(output.status.code(), Some(1));
    let text = text(&output);
    assert!(text.contains("COULD NOT BE MEASURED: bad, round 1: "), "{text}");
    assert!(text.contains("cannot run /no/such/program: No such file"), "{text}");
    assert!(is_empty(&temporary));

    for scenario in ["nothing", "cycle-0"] {
        let (mut command, _) = compare("usage");
        assert_eq!(short(&mut command, &["a=builtin:echo"], scenario, 1).status.code(), Some(2));
    }
}

/// The processes whose parent is `pid`.
fn children(pid: u32) -> Vec<u32> {
    let parent_of = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse::<u32>().ok()
    };
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .filter(|&child| parent_of(child) == Some(pid))
        .collect()
}

/// Whether a process has ended, even if nobody has asked for its status yet.
fn has_ended(pid: u32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z")),
        Err(_) => true,
    }
}

/// Sends a signal in the middle of a long round: the exit code, and whether files were left.
fn end_with(signal: Signal, name: &str) -> (Option<i32>, bool) {
    let (mut command, temporary) = compare(name);
    command.args(["--server", "a=builtin:echo", "--scenario", "cycle-2", "--seconds", "600"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut compare = Running(command.spawn().unwrap());
    let pid = compare.0.id();
    // The echo is a process of its own once it has two connections to serve.
    let sockets = |pid: u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let targets = files.filter_map(|file| fs::read_link(file.path()).ok());
        targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
    };
    wait_until("the load is on", || children(pid).iter().any(|&echo| sockets(echo) >= 3));
    let echo = children(pid)[0];
    kill_process(Pid::from_child(&compare.0), signal).unwrap();
    let status = compare.0.wait().unwrap();
    wait_until("the server has ended", || has_ended(echo));
    (status.code(), !is_empty(&temporary))
}

#[test]
fn an_interrupted_run_cleans_up() {
    assert_eq!(end_with(Signal::INT, "interrupted"), (Some(130), false));
}

#[test]
fn a_killed_run_leaves_no_server_behind() {
    assert_eq!(end_with(Signal::KILL, "killed"), (None, true));
}
