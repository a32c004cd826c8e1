//! TLS and tokens: towards the queue, towards other machines, and of those who read results.

use std::fs;
use std::process::Output;

use serde_json::Value;

use crate::certificates::{Authority, Valid};
use crate::each_queue;
use crate::gate::Gate;
use crate::queue::{Kind, Queue, TUBE};
use crate::rig::{Rig, Worker};
use crate::support::eventually;

each_queue!(
    jobs_come_over_tls_with_a_certificate,
    a_token_is_shown_first_and_read_again,
    a_refused_token_harms_no_job,
    submit_and_check_take_the_same_flags,
);

/// An authority, and files of it: of the queue, and of the worker.
fn authority(rig: &Rig) -> Authority {
    let authority = Authority::new();
    let (cert, key) = authority.sign("worker", "worker1", Valid::Now);
    let files = [("ca.pem", authority.file()), ("worker.pem", cert), ("worker.key", key)];
    for (name, from) in files {
        fs::copy(from, rig.dir.join(name)).unwrap();
    }
    authority
}

fn await_reason(worker: &Worker, text: &str) {
    eventually(&format!("/readyz says {text:?}"), || {
        let answer = worker.get("/readyz");
        answer.status() == 503 && String::from_utf8_lossy(&answer.body).contains(text)
    });
}

fn await_ready(worker: &Worker) {
    eventually("jobs are taken", || worker.get("/readyz").status() == 200);
}

fn jobs_come_over_tls_with_a_certificate(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let authority = authority(&rig);
    let of_gate = authority.sign("queue", "localhost", Valid::Now);
    let gate = Gate::secure(queue.name().parse().unwrap(), of_gate, Some(authority.file()));
    rig.configure(&format!(
        "servers = ['{}']\ntubes = ['{TUBE}']\nlisten = '127.0.0.1:0'\n\
         server_tls_ca = 'ca.pem'\nserver_tls_cert = 'worker.pem'\nserver_tls_key = 'worker.key'\n\
         allow_urls = ['{}']",
        gate.url(),
        rig.site.url("/"),
    ));
    rig.handler("ok", "echo 1", "");
    let worker = rig.work_as_configured();
    let job = rig.job("ok");
    let id = queue.put(job.body());
    assert_eq!(rig.result(&job)["output"], 1);
    queue.await_deleted(id);

    // A certificate that the queue does not accept, and then one that it does.
    let stranger = Authority::new();
    let exchange = |authority: &Authority| {
        let (cert, key) = authority.sign("worker", "worker1", Valid::Now);
        fs::rename(cert, rig.dir.join("worker.pem")).unwrap();
        fs::rename(key, rig.dir.join("worker.key")).unwrap();
    };
    exchange(&stranger);
    gate.cut();
    await_reason(&worker, "it does not accept this side's certificate");
    worker.await_log("it does not accept this side's certificate");
    assert_eq!(worker.metric("jq_worker_servers_connected"), 0.0);
    let job = rig.job("ok");
    let id = queue.put(job.body());
    exchange(&authority);
    assert_eq!(rig.result(&job)["output"], 1);
    queue.await_deleted(id);
    await_ready(&worker);
    // The queue's own, which is another's now.
    authority.sign("queue", "elsewhere.example", Valid::Now);
    gate.cut();
    await_reason(&worker, "its certificate is for another name");
    authority.sign("queue", "localhost", Valid::Now);
    await_ready(&worker);
    rig.finish(worker);
}

fn a_token_is_shown_first_and_read_again(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let gate = Gate::with_token(queue.name().parse().unwrap(), "site.one");
    fs::write(rig.dir.join("token"), "site.one\n").unwrap();
    rig.configure(&format!(
        "servers = ['{}']\ntubes = ['{TUBE}']\nlisten = '127.0.0.1:0'\nserver_token_file = 'token'",
        gate.url()
    ));
    rig.handler("ok", "echo 1", "");
    let worker = rig.work_as_configured();
    await_ready(&worker);
    // As the test has written it.
    worker.await_log("every user of this machine can read the token");
    // New connections show the new token.
    gate.set_token(Some("site.two"));
    fs::write(rig.dir.join("token"), "site.two\n").unwrap();
    gate.cut();
    let job = rig.job("ok").without("result");
    let id = queue.put(job.body());
    assert_eq!(worker.result(&job)["output"], 1);
    queue.await_deleted(id);
    assert_eq!(gate.turned_away(), 0);
    // A server without the command is used all the same, here the one behind the gate.
    rig.clear().configure(&format!(
        "servers = ['{}']\ntubes = ['{TUBE}']\nserver_token_file = 'token'",
        queue.name()
    ));
    rig.handler("ok", "echo 2", "");
    worker.signal(nix::sys::signal::Signal::SIGHUP);
    worker.await_log("the configuration was read again");
    let job = rig.job("ok").without("result");
    let id = queue.put(job.body());
    assert_eq!(worker.result(&job)["output"], 2);
    queue.await_deleted(id);
    let output = rig.finish(worker);
    assert!(!output.contains("site.one") && !output.contains("site.two"), "{output}");
}

/// What runs goes on; what waits in the queue stays there; the worker says why.
fn a_refused_token_harms_no_job(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let gate = Gate::with_token(queue.name().parse().unwrap(), "site.one");
    fs::write(rig.dir.join("token"), "site.one\n").unwrap();
    rig.handler("slow", "until [ -e \"$HOME/go\" ]; do sleep 0.05; done; echo 1", "");
    let flags = ["--server", &gate.url(), "--token-file", "token", "--concurrency", "2"];
    let worker = rig.work_on(&[], &flags);
    let running = rig.job("slow");
    let id = queue.put(running.body());
    rig.await_runs(&running, 1);
    // The connection that waits for jobs is not the one that holds this one: it alone is closed, when its job
    // is taken by somebody else's hand.
    gate.set_token(Some("site.two"));
    let waiting = rig.job("slow");
    let next = queue.put(waiting.body());
    rig.await_runs(&waiting, 1);
    let third = rig.job("slow");
    let last = queue.put(third.body());
    fs::write(rig.dir.join("go"), "").unwrap();
    queue.await_deleted(id);
    queue.await_deleted(next);
    queue.await_deleted(last);
    // All of these went over connections that stood. Now there is none.
    gate.cut();
    await_reason(&worker, "does not know this program's token (NOT_AUTHENTICATED)");
    worker.await_log("does not know this program's token");
    assert_eq!(worker.metric("jq_worker_servers_connected"), 0.0);
    assert_eq!(worker.metric("jq_worker_reasons"), 1.0);
    let job = rig.job("slow");
    let id = queue.put(job.body());
    eventually("it was turned away again", || gate.turned_away() >= 3);
    for key in ["reserves", "releases", "timeouts", "buries"] {
        assert_eq!(queue.job(id, key).unwrap(), "0", "{key}");
    }
    // Not in a tight loop.
    assert!(gate.turned_away() < 20, "{}", gate.turned_away());
    fs::write(rig.dir.join("token"), "site.two").unwrap();
    assert_eq!(rig.result(&job)["output"], 1);
    queue.await_deleted(id);
    await_ready(&worker);
    rig.finish(worker);
}

fn submit_and_check_take_the_same_flags(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let authority = authority(&rig);
    let of_gate = authority.sign("queue", "localhost", Valid::Now);
    let gate = Gate::secure(queue.name().parse().unwrap(), of_gate, Some(authority.file()));
    gate.set_token(Some("site.one"));
    fs::write(rig.dir.join("token"), "site.one\n").unwrap();
    fs::write(rig.dir.join("job.json"), r#"{"type":"any"}"#).unwrap();
    let run = |args: &[&str], flags: &[&str]| -> (Output, String) {
        let mut command = rig.command();
        let output = command.args(args).args(flags).output().expect("it can be started");
        let said = [&output.stdout[..], &output.stderr].concat();
        (output, String::from_utf8_lossy(&said).into_owned())
    };
    let (url, with_token) = (gate.url(), gate.url().replace("://", "://site.one@"));
    let submit = ["submit", "--tube", TUBE, "job.json"];
    let check = ["check", "--tube", TUBE, "--listen", "none"];
    let tls = ["--tls-ca", "ca.pem", "--tls-cert", "worker.pem", "--tls-key", "worker.key"];
    let by_file = [&["--server", &url, "--token-file", "token"][..], &tls].concat();
    let by_url = [&["--server", &with_token][..], &tls].concat();
    for flags in [by_file, by_url] {
        let (output, said) = run(&submit, &flags);
        assert!(output.status.success(), "{said}");
        let (output, said) = run(&check, &[&flags[..], &["--", "true"]].concat());
        assert!(output.status.success(), "{said}");
        assert!(said.contains(&format!("{url}: version")) && !said.contains("site.one"), "{said}");
    }
    assert_eq!(queue.count(TUBE, "total-jobs"), 2);
    // Each of them wrong.
    fs::write(rig.dir.join("wrong"), "site.wrong").unwrap();
    let (ca, cert) = (["--tls-ca", "ca.pem"], &tls[2..]);
    for (flags, status, why) in [
        ([&["--server", &url, "--token-file", "wrong"][..], &tls].concat(), 1, "NOT_AUTHENTICATED"),
        ([&["--server", &with_token][..], &ca].concat(), 1, "it wants a certificate"),
        ([&["--server", &with_token][..], cert].concat(), 1, "no authority that is trusted here"),
        ([&["--server", &url, "--token-file", "missing"][..], &tls].concat(), 5, "missing"),
        (["--server", &with_token, "--tls-ca", "job.json"].to_vec(), 5, "job.json: expected cert"),
        (["--server", "localhost:1", "--tls-ca", "ca.pem"].to_vec(), 5, "beanstalks://"),
        (["--server", &with_token, "--tls-cert", "ca.pem"].to_vec(), 5, "--tls-key"),
        (["--server", "beanstalk://site.one@"].to_vec(), 5, "before the port"),
    ] {
        let (output, said) = run(&submit, &flags);
        assert_eq!(output.status.code(), Some(status), "{flags:?}: {said}");
        assert!(said.contains(why) && !said.contains("site.one"), "{flags:?}: {said}");
        let (output, said) = run(&check, &[&flags[..], &["--", "true"]].concat());
        assert_eq!(output.status.code(), Some(status), "{flags:?}: {said}");
        assert!(said.contains(why) && !said.contains("site.one"), "{flags:?}: {said}");
    }
}

/// What is fetched and sent goes to a website of a private authority, which wants a certificate from those who
/// send to a part of it.
#[test]
fn other_machines_by_private_authorities_and_with_certificates() {
    let (rig, queue) = (Rig::new(), Queue::start(Kind::Jq));
    let (authority, private) = (authority(&rig), Authority::new());
    fs::copy(private.file(), rig.dir.join("private.pem")).unwrap();
    let site = rig.site.url("/").trim_start_matches("http://").trim_end_matches('/').to_owned();
    let to = site.parse().unwrap();
    let open = Gate::secure(to, private.sign("open", "localhost", Valid::Now), None);
    let identity = private.sign("closed", "localhost", Valid::Now);
    let closed = Gate::secure(to, identity, Some(authority.file()));
    let at = |gate: &Gate| format!("https://localhost:{}", gate.port());
    rig.configure(&format!(
        "allow_urls = ['{0}/', '{1}/']\nretry_delay = 1\n[http]\nca_files = ['private.pem']\n\
         [[http.client_certificates]]\nprefix = '{1}/in/'\ncert = 'worker.pem'\nkey = 'worker.key'",
        at(&open),
        at(&closed)
    ));
    rig.handler("ok", "cat $JQ_INPUT_FILE", "");
    rig.site.script("/in/put", [crate::site::Answer::Body(200, b"[1,2]".to_vec())]);
    let mut command = rig.command();
    command.args(["--server", &queue.name(), "--tube", TUBE, "--listen", "127.0.0.1:0"]);
    let worker = rig.work_with(command);
    let job = rig.job("ok").with("input", format!("{}/in/put", at(&open)));
    let result = format!("{}/in/{}", at(&closed), job.id);
    let job = job.with("result", result);
    let id = queue.put(job.body());
    let sent: Value = rig.site.await_request(&format!("/in/{}", job.id)).json();
    assert_eq!(sent["output"].to_string(), "[1,2]");
    queue.await_deleted(id);
    // The certificate is for nobody else.
    let before = closed.let_in();
    let input = format!("{}/other", at(&closed));
    let job = rig.job("ok").with("input", input).without("result");
    queue.put(job.body());
    assert_eq!(worker.result(&job)["error"]["kind"], "input");
    assert_eq!(closed.let_in(), before);
    rig.finish(worker);
}

/// Those who read results do so by TLS.
#[test]
fn results_are_served_by_tls() {
    let (rig, queue) = (Rig::new(), Queue::start(Kind::Jq));
    let authority = authority(&rig);
    let exchange = |valid| {
        let (cert, key) = authority.sign("results", "localhost", valid);
        fs::rename(cert, rig.dir.join("results.pem")).unwrap();
        fs::rename(key, rig.dir.join("results.key")).unwrap();
    };
    exchange(Valid::Now);
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(rig.dir.join("results.key"), readable).unwrap();
    rig.configure("[http]\ntls_cert = 'results.pem'\ntls_key = 'results.key'");
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    worker.await_log("every user of this machine can read the private key");
    let url = worker.url().replace("http://127.0.0.1", "https://localhost");
    let submit = || {
        let mut command = rig.command();
        command.args(["submit", "--server", &queue.name(), "--tube", TUBE, "--wait", "job.json"]);
        command.args(["--results", &url, "--tls-ca", "ca.pem"]);
        command.output().expect("it can be started")
    };
    fs::write(rig.dir.join("job.json"), r#"{"type":"ok"}"#).unwrap();
    let output = submit();
    assert!(output.status.success(), "{output:?}");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["output"], 1);
    exchange(Valid::Now);
    assert!(submit().status.success());
    worker.await_log("certificates were read again");
    rig.finish(worker);
}

/// Half of an exchange, or nonsense, costs nobody a connection.
#[test]
fn what_cannot_be_used_is_not_taken_over() {
    let (rig, queue) = (Rig::new(), Queue::start(Kind::Jq));
    let authority = authority(&rig);
    let of_gate = authority.sign("queue", "localhost", Valid::Now);
    let gate = Gate::secure(queue.name().parse().unwrap(), of_gate, Some(authority.file()));
    rig.handler("ok", "echo 1", "");
    let flags = ["--server", &gate.url(), "--tls-ca", "ca.pem"];
    let flags = [&flags[..], &["--tls-cert", "worker.pem", "--tls-key", "worker.key"]].concat();
    let worker = rig.work_on(&[], &flags);
    let (cert, key) = authority.sign("worker", "worker1", Valid::Now);
    for spoil in ["a certificate of another key", "no certificate", "no file"] {
        match spoil {
            "no file" => fs::remove_file(rig.dir.join("worker.pem")).unwrap(),
            "no certificate" => fs::write(rig.dir.join("worker.pem"), "nonsense").unwrap(),
            _ => drop(fs::copy(&cert, rig.dir.join("worker.pem")).unwrap()),
        }
        gate.cut();
        let job = rig.job("ok");
        let id = queue.put(job.body());
        assert_eq!(rig.result(&job)["output"], 1, "{spoil}");
        queue.await_deleted(id);
    }
    let log = worker.await_log("a certificate cannot be used; the earlier one stays in use");
    assert!(log.contains("worker."), "{log}");
    fs::rename(cert, rig.dir.join("worker.pem")).unwrap();
    fs::rename(key, rig.dir.join("worker.key")).unwrap();
    gate.cut();
    worker.await_log("certificates were read again");
    await_ready(&worker);
    rig.finish(worker);
}
