//! What the worker shows of itself to whom, and that nobody else sees it.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::certificates::{Authority, Valid};
use crate::each_queue;
use crate::gate::Gate;
use crate::queue::{Kind, Queue, TUBE};
use crate::rig::{Rig, Worker};
use crate::site::{Answer, Site};
use crate::support::eventually;

each_queue!(secrets_are_shown_to_those_of_their_prefix, a_token_is_fetched_and_fetched_again);

/// What all secrets of these tests have in them.
const MARK: &str = "s3cret";

/// A user and a password, as they are sent.
const BASIC: &str = "Basic d29ya2VyOnMzY3JldC1wYXNzd29yZA==";

/// Writes a secret, as tools do it: by renaming a new file.
fn write_secret(rig: &Rig, name: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt;

    let next = rig.dir.join("next");
    fs::write(&next, text).unwrap();
    fs::set_permissions(&next, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(next, rig.dir.join(name)).unwrap();
}

/// A worker that may speak to these sites, and whose environment has a secret.
fn work(rig: &Rig, queue: &Queue, flags: &[&str]) -> Worker {
    let mut command = rig.command();
    command.args(["--server", &queue.name(), "--tube", TUBE, "--listen", "127.0.0.1:0"]);
    command.args(flags).env("SITE_KEY", "s3cret-of-the-environment");
    rig.work_with(command)
}

/// Nothing that the worker has written, or shows, has a secret in it.
fn assert_hidden(rig: &Rig, worker: &Worker, paths: &[String]) {
    for path in ["/", "/api/v1/status", "/metrics", "/readyz"]
        .into_iter()
        .chain(paths.iter().map(String::as_str))
    {
        let shown = String::from_utf8_lossy(&worker.get(path).body).into_owned();
        assert!(!has_secret(&shown), "{path}: {shown}");
    }
    assert_hidden_on_disk(&rig.dir.join("results"));
    assert!(!has_secret(&worker.output()), "{}", worker.output());
}

fn has_secret(text: &str) -> bool {
    text.contains(MARK) || text.contains(BASIC.split_once(' ').unwrap().1)
}

fn assert_hidden_on_disk(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_hidden_on_disk(&path);
        } else {
            // What is gone meanwhile is no secret either.
            let bytes = fs::read(&path).unwrap_or_default();
            assert!(!has_secret(&String::from_utf8_lossy(&bytes)), "{}", path.display());
        }
    }
}

fn secrets_are_shown_to_those_of_their_prefix(kind: Kind) {
    let (rig, queue, other) = (Rig::new(), Queue::start(kind), Site::start());
    let site = |path: &str| rig.site.url(path);
    write_secret(&rig, "token", "s3cret-1\n");
    write_secret(&rig, "password", "s3cret-password");
    let configure = || {
        rig.clear().configure(&format!(
            "allow_urls = ['{0}', '{1}']\nretry_delay = 0\n\
             [[credentials]]\nprefix = '{0}in/'\nbearer = {{ file = 'token' }}\n\
             headers = {{ X-Site-Key = {{ env = 'SITE_KEY' }} }}\n\
             [[credentials]]\nprefix = '{0}out/'\n\
             basic = {{ user = 'worker', password = {{ file = 'password' }} }}",
            site("/"),
            other.url("/")
        ));
        // What a process is given has none of it.
        rig.handler("env", "env; cat; cat \"$JQ_INPUT_FILE\"", "output_from = 'none'");
        rig.handler("ok", "cat \"$JQ_INPUT_FILE\"", "");
    };
    configure();
    let worker = work(&rig, &queue, &["-VV"]);
    let input = || [Answer::Body(200, b"[1]".to_vec())];
    let shown = |path: &str, name: &str| {
        let request = rig.site.requests(path).pop().expect("there was one");
        request.header(name).map(str::to_owned)
    };
    for path in ["/in/1", "/in/2", "/in/3", "/in/4", "/inside", "/open"] {
        rig.site.script(path, input());
    }
    // Input, result and callback, each by the prefix of its URL.
    let job = rig.job("env").with("input", site("/in/1"));
    let (result, done) = (format!("/out/{}", job.id), format!("/in/done/{}", job.id));
    let callback = serde_json::json!({"successUri": site(&done)});
    let job = job.with("result", site(&result)).with("callback", callback);
    let id = queue.put(job.body());
    queue.await_deleted(id);
    rig.site.await_request(&done);
    assert_eq!(shown("/in/1", "authorization").unwrap(), "Bearer s3cret-1");
    assert_eq!(shown("/in/1", "x-site-key").unwrap(), "s3cret-of-the-environment");
    assert_eq!(shown(&result, "authorization").unwrap(), BASIC);
    assert_eq!(shown(&result, "x-site-key"), None);
    assert_eq!(shown(&done, "authorization").unwrap(), "Bearer s3cret-1");
    let mut paths = vec![job.path()];
    // Nobody else: by whole segments, and of the same host.
    for url in [site("/inside"), site("/open"), other.url("/in/1")] {
        let job = rig.job("ok").with("input", url);
        queue.put(job.body());
        rig.result(&job);
        assert_eq!(shown(&job.path(), "authorization"), None);
        paths.push(job.path());
    }
    for (of, path) in [(&rig.site, "/inside"), (&rig.site, "/open"), (&other, "/in/1")] {
        let request = of.await_request(path);
        assert_eq!((request.header("authorization"), request.header("x-site-key")), (None, None));
    }
    // Not along a redirect, and an answer that refuses them does not tell what they were.
    rig.site.script("/in/redirect", [Answer::Redirect(other.url("/taken"))]);
    rig.site.script("/in/refused", [Answer::Body(403, b"s3cret-1 is wrong".to_vec())]);
    for path in ["/in/redirect", "/in/refused"] {
        let job = rig.job("ok").with("input", site(path));
        queue.put(job.body());
        assert_eq!(rig.result(&job)["error"]["kind"], "input");
        paths.push(job.path());
    }
    assert!(other.requests("/taken").is_empty());
    // A file that has changed is read again; one that is of no use is not taken over.
    let mut run = |path: &str| {
        let job = rig.job("ok").with("input", site(path));
        queue.put(job.body());
        assert_eq!(rig.result(&job)["output"][0], 1);
        paths.push(job.path());
        shown(path, "authorization").unwrap()
    };
    write_secret(&rig, "token", "s3cret-number-2\n");
    assert_eq!(run("/in/2"), "Bearer s3cret-number-2");
    worker.await_log("secrets were read again");
    fs::remove_file(rig.dir.join("token")).unwrap();
    assert_eq!(run("/in/3"), "Bearer s3cret-number-2");
    worker.await_log("a secret cannot be used; the earlier one stays in use");
    worker.signal(Signal::SIGHUP);
    worker.await_log("the configuration cannot be used; the old one stays in force");
    assert_eq!(run("/in/4"), "Bearer s3cret-number-2");
    assert_hidden(&rig, &worker, &paths);
    let output = rig.finish(worker);
    assert!(!has_secret(&output), "{output}");
}

fn a_token_is_fetched_and_fetched_again(kind: Kind) {
    let (rig, queue, login) = (Rig::new(), Queue::start(kind), Site::start());
    write_secret(&rig, "secret", "s3cret-of-the-client");
    rig.configure(&format!(
        "allow_urls = ['{0}']\nretry_delay = 1\n[[credentials]]\nprefix = '{0}in/'\n\
         [credentials.oauth]\ntoken_url = '{1}'\nclient_id = 'worker'\n\
         client_secret = {{ file = 'secret' }}\nscope = 'read'",
        rig.site.url("/"),
        login.url("/token"),
    ));
    rig.handler("ok", "cat \"$JQ_INPUT_FILE\"", "");
    let token = |number: u32| {
        let text = format!(
            r#"{{"access_token":"s3cret-token-{number}","token_type":"Bearer","expires_in":3600}}"#
        );
        Answer::Body(200, text.into_bytes())
    };
    let input = || Answer::Body(200, b"[1]".to_vec());
    // The server of tokens is down at first, and again after the second token.
    let (down, no) = (|| Answer::Body(503, Vec::new()), || Answer::Body(401, Vec::new()));
    login.script("/token", [down(), token(1), token(2), down(), token(3)]);
    rig.site.script("/in/1", [no(), input()]);
    rig.site.script("/in/2", [no(), input()]);
    let worker = work(&rig, &queue, &["-VV"]);
    // A result waits for a token.
    let job = rig.job("ok").with("input", rig.site.url("/open"));
    rig.site.script("/open", [input()]);
    let result = format!("/in/{}", job.id);
    let id = queue.put(job.clone().with("result", rig.site.url(&result)).body());
    let sent = rig.site.await_request(&result);
    assert_eq!(sent.header("authorization"), Some("Bearer s3cret-token-1"));
    queue.await_deleted(id);
    let mut paths = vec![job.path()];
    // One that is refused is replaced at once, if there is another, and else the job is tried again.
    for (path, shown) in [("/in/1", [1, 2]), ("/in/2", [2, 3])] {
        let job = rig.job("ok").with("input", rig.site.url(path)).with("retry", 2);
        queue.put(job.body());
        assert_eq!(rig.result(&job)["output"][0], 1);
        let requests = rig.site.requests(path);
        let found: Vec<_> = requests.iter().map(|it| it.header("authorization").unwrap()).collect();
        let shown: Vec<_> = shown.iter().map(|it| format!("Bearer s3cret-token-{it}")).collect();
        assert_eq!(found, shown);
        paths.push(job.path());
    }
    let asked = login.requests("/token");
    assert_eq!(asked.len(), 5);
    assert_eq!(asked[0].method(), "POST");
    assert_eq!(asked[0].body, b"grant_type=client_credentials&scope=read");
    // "worker:s3cret-of-the-client"
    let basic = "Basic d29ya2VyOnMzY3JldC1vZi10aGUtY2xpZW50";
    assert_eq!(asked[0].header("authorization"), Some(basic));
    // Who the client is, is not accepted: the job's result says so, and no more.
    let denied = br#"{"error":"invalid_client","error_description":"s3cret-of-the-client"}"#;
    rig.site.script("/in/3", [no()]);
    login.script("/token", [Answer::Body(401, denied.to_vec())]);
    let job = rig.job("ok").with("input", rig.site.url("/in/3"));
    queue.put(job.body());
    let said = rig.result(&job)["error"]["message"].as_str().unwrap().to_owned();
    assert!(said.contains("/in/3: no credentials for it: "), "{said}");
    assert!(said.ends_with("/token: answered 401 Unauthorized (invalid_client)"), "{said}");
    paths.push(job.path());
    assert_hidden(&rig, &worker, &paths);
    let log = rig.finish(worker);
    assert!(!has_secret(&log) && !log.contains(basic), "{log}");
}

/// A certificate goes with the other credentials of its prefix, through a proxy by CONNECT.
#[test]
fn a_certificate_and_a_header_through_a_proxy() {
    let (rig, queue) = (Rig::new(), Queue::start(Kind::Jq));
    let (authority, proxy) = (Authority::new(), crate::proxy::Proxy::start());
    let (cert, key) = authority.sign("worker", "worker1", Valid::Now);
    for (from, name) in [(authority.file(), "ca.pem"), (cert, "cert.pem"), (key, "key.pem")] {
        fs::copy(from, rig.dir.join(name)).unwrap();
    }
    write_secret(&rig, "secret", "s3cret-1");
    write_secret(&rig, "password", "s3cret-password");
    let site = rig.site.url("").trim_start_matches("http://").parse().unwrap();
    let of_gate = authority.sign("site", "localhost", Valid::Now);
    let gate = Gate::secure(site, of_gate, Some(authority.file()));
    // Only the proxy knows the second name.
    let (closed, open) = (format!("https://localhost:{}", gate.port()), "http://site.invalid");
    proxy.leads("site.invalid:80", site);
    rig.configure(&format!(
        "allow_urls = ['{closed}/', '{open}/']\n[http]\nca_files = ['ca.pem']\nproxy = '{}'\n\
         proxy_basic = {{ user = 'worker', password = {{ file = 'password' }} }}\n\
         [[credentials]]\nprefix = '{closed}/plain/'\nbearer = {{ file = 'secret' }}\n\
         [[credentials]]\nprefix = '{closed}/'\nheaders = {{ X-Key = {{ file = 'secret' }} }}\n\
         cert = 'cert.pem'\nkey = 'key.pem'",
        proxy.url()
    ));
    rig.handler("ok", "cat \"$JQ_INPUT_FILE\"", "");
    let worker = work(&rig, &queue, &["-VV"]);
    rig.site.script("/in/1", [Answer::Body(200, b"[1]".to_vec())]);
    let job = rig.job("ok").with("input", format!("{open}/in/1"));
    let result = format!("{closed}{}", job.path());
    let job = job.with("result", result);
    let id = queue.put(job.body());
    let sent = rig.site.await_request(&job.path());
    assert_eq!(sent.json()["output"][0], 1);
    assert_eq!(sent.header("x-key"), Some("s3cret-1"));
    queue.await_deleted(id);
    let input = rig.site.await_request("/in/1");
    assert_eq!((input.header("x-key"), input.header("proxy-authorization")), (None, None));
    assert_eq!(proxy.asked()[0], format!("GET {open}/in/1 {BASIC}"));
    assert_eq!(proxy.asked()[1], format!("CONNECT localhost:{} {BASIC}", gate.port()));
    assert!(gate.let_in() >= 1);
    // Only the first entry that fits counts, and it has no certificate.
    let before = gate.let_in();
    let job = rig.job("ok").with("input", format!("{closed}/plain/1")).without("result");
    queue.put(job.body());
    let said = worker.result(&job)["error"]["message"].as_str().unwrap().to_owned();
    assert!(said.contains("no secure connection (TLS)"), "{said}");
    assert_eq!(gate.let_in(), before);
    // The proxy does not accept the password any more: that is not the job's fault.
    proxy.refuse();
    let job = rig.job("ok").with("input", format!("{open}/in/2")).with("result", open.to_owned());
    queue.put(job.body());
    let result = worker.result(&job);
    let said = result["error"]["message"].as_str().unwrap();
    assert!(said.contains("answered 407 Proxy Authentication Required"), "{said}");
    assert_hidden(&rig, &worker, &[job.path()]);
    let mut worker = worker;
    worker.stop();
    assert!(!has_secret(&worker.output()));
}

#[test]
fn check_shows_who_is_shown_what_and_names_the_line_of_a_mistake() {
    let (rig, queue) = (Rig::new(), Queue::start(Kind::Jq));
    write_secret(&rig, "secret", "s3cret-1");
    let check = |settings: &str| {
        rig.clear().configure(&format!("servers = ['{}']\ntubes = ['t']", queue.name()));
        rig.configure(
            "listen = 'none'\nallow_urls = ['https://site.example/in/', 'http://site.example/']",
        );
        rig.configure(settings).handler("x", "", "");
        let output = rig.command().arg("check").output().expect("it can be started");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).expect("it is text");
        assert!(!text.contains(MARK), "{text}");
        (output.status.code(), text)
    };
    let table = "[[credentials]]\nprefix = 'https://site.example/'\n";
    let (code, text) = check(&format!(
        "[http]\nproxy = 'http://proxy.example:3128'\n{table}headers = {{ X-Key = {{ file = 'secret' }} }}\n\
         oauth = {{ token_url = 'https://login.example/token?s3cret', client_id = 'w', client_secret = {{ file = 'secret' }} }}"
    ));
    assert_eq!(code, Some(0), "{text}");
    let line = "credentials  https://site.example/: header x-key, a token from https://login.example/token\n";
    assert!(text.contains(line), "{text}");
    let line = "proxy  http://proxy.example:3128/, which resolves the names in URLs\n";
    assert!(text.contains(line), "{text}");
    let warnings = [
        "every user of this machine can read the secret",
        "credentials are sent without TLS",
        "the client secret is sent without TLS",
    ];
    assert!(warnings.iter().all(|warning| !text.contains(warning)), "{text}");
    // As everybody on this machine, or on the way, could read them.
    fs::write(rig.dir.join("open"), "s3cret-2").unwrap();
    let (code, text) = check(
        "[[credentials]]\nprefix = 'http://site.example/'\nbearer = { file = 'open' }\n\
         [[credentials]]\nprefix = 'https://site.example/in/'\n\
         oauth = { token_url = 'http://login.example/?s3cret', client_id = 'w', client_secret = { file = 'open' } }",
    );
    assert_eq!(code, Some(0), "{text}");
    assert!(warnings.iter().all(|warning| text.contains(warning)), "{text}");
    for (settings, line, why) in [
        (&table.replace("site", "other"), 6, "is for no URL that allow_urls allows"),
        (&format!("{table}bearer = {{ file = 'none' }}"), 7, "the secret none: No such file"),
        (
            &format!("{table}headers = {{ 'X Key' = {{ file = 'secret' }} }}"),
            7,
            "\"X Key\" is not the name",
        ),
        (&format!("{table}bearer = 's3cret-1'"), 7, "expected { file = \"PATH\" }"),
    ] {
        let (code, text) = check(settings);
        assert_eq!(code, Some(5), "{settings}: {text}");
        assert!(
            text.contains(&format!("jq-worker.toml: line {line}: ")) && text.contains(why),
            "{text}"
        );
    }
}

/// Nobody is shown a token that could not be had, and the worker goes on with other jobs.
#[test]
fn a_server_of_tokens_that_hangs_holds_up_nobody_else() {
    let (rig, queue, login) = (Rig::new(), Queue::start(Kind::Jq), Site::start());
    write_secret(&rig, "secret", "s3cret-1");
    rig.configure(&format!(
        "allow_urls = ['{0}']\nconcurrency = 2\n[http]\ntimeout = 2\n[[credentials]]\nprefix = '{0}in/'\n\
         oauth = {{ token_url = '{1}', client_id = 'w', client_secret = {{ file = 'secret' }} }}",
        rig.site.url("/"),
        login.url("/token"),
    ));
    rig.handler("ok", "echo 1", "");
    login.script("/token", [Answer::Hold]);
    let worker = work(&rig, &queue, &["-V"]);
    let waits = rig.job("ok").with("input", rig.site.url("/in/1"));
    queue.put(waits.body());
    eventually("a token is asked for", || login.requests("/token").len() == 1);
    let job = rig.job("ok");
    queue.put(job.body());
    assert_eq!(rig.result(&job)["output"], 1);
    let said = rig.result(&waits)["error"]["message"].as_str().unwrap().to_owned();
    assert!(said.ends_with("/token: timed out waiting for the answer"), "{said}");
    assert!(rig.site.requests("/in/1").is_empty());
    rig.finish(worker);
}
