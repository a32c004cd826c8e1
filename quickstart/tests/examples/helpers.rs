//! The helpers for handlers and for those who call them, in Python and Node: against both servers.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};

use jq_quickstart::folder::Folder;
use jq_quickstart::http;
use jq_quickstart::programs::project;
use jq_quickstart::service::Service;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::peer;
use crate::support::{clients, is_there, programs, until};

/// A queue, and a worker with the handlers that use the helpers.
struct Desk {
    queue: Queue,
    worker: Service,
    _folder: Folder,
}

enum Queue {
    Ours(Service),
    Beanstalkd(Child, SocketAddr),
}

impl Drop for Queue {
    fn drop(&mut self) {
        if let Self::Beanstalkd(child, _) = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Queue {
    fn address(&self) -> SocketAddr {
        match self {
            Self::Ours(service) => service.address,
            Self::Beanstalkd(_, address) => *address,
        }
    }

    /// It cannot say which port it was given, so it is told one that was free a moment ago.
    fn beanstalkd(program: &Path) -> Self {
        loop {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
            let mut child = std::process::Command::new(program)
                .args(["-l", "127.0.0.1", "-p", &free.port().to_string()])
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut has_ended = false;
            until("beanstalkd accepts connections, or has ended", || {
                has_ended = child.try_wait().unwrap().is_some();
                has_ended || TcpStream::connect(free).is_ok()
            });
            if !has_ended {
                return Self::Beanstalkd(child, free);
            }
        }
    }
}

const TUBE: &str = "averages";

impl Desk {
    async fn with(queue: Queue) -> Self {
        let folder = Folder::new().unwrap();
        let config = project().join("examples/helpers/jq-worker.toml");
        let worker = [
            "--config".into(),
            config,
            "--server".into(),
            queue.address().to_string().into(),
            "--tube".into(),
            TUBE.into(),
            "--listen".into(),
            "127.0.0.1:0".into(),
            "--results".into(),
            folder.join("results"),
        ];
        let worker: Vec<_> = worker.iter().map(|it: &PathBuf| it.to_str().unwrap()).collect();
        let worker = Service::start(&programs().worker, &worker, folder.join("worker.log")).await;
        Self { queue, worker: worker.unwrap(), _folder: folder }
    }

    async fn ours() -> Self {
        let folder = Folder::new().unwrap();
        let arguments = ["-l", "127.0.0.1", "-p", "0"];
        let queue = Service::start(&programs().server, &arguments, folder.join("queue.log"));
        Self::with(Queue::Ours(queue.await.unwrap())).await
    }

    /// What a program that calls says, of this handler and with these arguments.
    async fn ask(&self, asker: &Asker, handler: &str, args: &Value, within: u32) -> Output {
        Command::new(&asker.program)
            .arg(project().join("examples/helpers").join(asker.script))
            .args([handler, &args.to_string()])
            .env("QUEUE", self.queue.address().to_string())
            .env("TUBE", TUBE)
            .env("RESULTS", format!("http://{}/", self.worker.address))
            .env("WITHIN", within.to_string())
            .env("NODE_PATH", clients().join("node/node_modules"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .await
            .unwrap()
    }

    /// Whatever the handler: what it returns, what it refuses, what works at the second attempt.
    async fn serves(&self, asker: &Asker) {
        for handler in ["python_once", "python_stays", "node_once", "node_stays"] {
            let answer = async |args: Value| {
                let Output { status, stdout, stderr } = self.ask(asker, handler, &args, 60).await;
                let texts = [stdout, stderr].map(|text| String::from_utf8(text).unwrap());
                (status.code(), texts[0].clone(), texts[1].clone())
            };
            let (status, said, complained) = answer(json!({"numbers": [1, 2, 6]})).await;
            assert_eq!(status, Some(0), "{handler}: {said}{complained}");
            let output: Value = serde_json::from_str(&said).unwrap();
            assert_eq!(output["average"].as_f64(), Some(3.0), "{handler}: {said}");
            let (status, said, complained) = answer(json!({"numbers": []})).await;
            assert_eq!((status, &*said), (Some(1), ""), "{handler}: {complained}");
            assert!(complained.starts_with("executor: "), "{handler}: {complained}");
            assert!(complained.contains("args.numbers must be a list"), "{handler}: {complained}");
            let (status, said, complained) = answer(json!({"numbers": [4], "fails": 1})).await;
            assert_eq!(status, Some(0), "{handler}: {said}{complained}");
        }
        let too_late =
            self.ask(asker, "python_once", &json!({"numbers": [1], "fails": 3}), 0).await;
        assert_eq!(too_late.status.code(), Some(1));
        let complained = String::from_utf8(too_late.stderr).unwrap();
        assert!(complained.starts_with("too late: there is no result at http://"), "{complained}");
        // The worker has counted a first attempt and a second one, and one that is not repeated.
        let (_, metrics) = http::get(self.worker.address, "/metrics").await.unwrap();
        for (outcome, count) in [("successful", 2), ("failed", 1), ("retried", 1)] {
            for handler in ["python_stays", "node_stays"] {
                let line = format!(
                    "jq_worker_jobs_total{{type=\"{handler}\",outcome=\"{outcome}\"}} {count}"
                );
                assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
            }
        }
    }
}

/// A program that calls.
struct Asker {
    program: PathBuf,
    script: &'static str,
}

/// `None` where it, or a program for a handler, is missing.
fn python() -> Option<Asker> {
    let program = clients().join("python/bin/python");
    let is_here = is_there("examples/helpers", &program, &["-c", "import greenstalk"])
        && is_there("examples/helpers", "python3", &["--version"])
        && is_there("examples/helpers", "node", &["--version"]);
    is_here.then_some(Asker { program, script: "python/ask.py" })
}

fn node() -> Option<Asker> {
    let program = PathBuf::from("node");
    let probe = format!("require({:?})", clients().join("node/node_modules/jackd"));
    let is_here = is_there("examples/helpers", &program, &["-e", &probe])
        && is_there("examples/helpers", "python3", &["--version"]);
    is_here.then_some(Asker { program, script: "node/ask.js" })
}

#[tokio::test]
async fn python_calls_with_jq_server() {
    if let Some(asker) = python() {
        Desk::ours().await.serves(&asker).await;
    }
}

#[tokio::test]
async fn node_calls_with_jq_server() {
    if let Some(asker) = node() {
        Desk::ours().await.serves(&asker).await;
    }
}

#[tokio::test]
async fn python_calls_with_beanstalkd() {
    if let (Some(asker), Some(program)) = (python(), peer::beanstalkd("examples/helpers")) {
        Desk::with(Queue::beanstalkd(&program)).await.serves(&asker).await;
    }
}

#[tokio::test]
async fn node_calls_with_beanstalkd() {
    if let (Some(asker), Some(program)) = (node(), peer::beanstalkd("examples/helpers")) {
        Desk::with(Queue::beanstalkd(&program)).await.serves(&asker).await;
    }
}

/// Progress can be seen, and what the handler prints does no harm.
#[tokio::test]
async fn a_handler_that_stays_up_may_print() {
    let Some(asker) = python() else { return };
    let desk = Desk::ours().await;
    let output = desk.ask(&asker, "python_stays", &json!({"numbers": [5, 7]}), 60).await;
    assert!(output.status.success());
    let (_, status) = http::get(desk.worker.address, "/api/v1/status").await.unwrap();
    assert!(status.contains("\"successful\":1"), "{status}");
}

/// Each file that is to be copied says so, and is small enough to be read.
#[test]
fn they_are_small() {
    for name in
        ["python/jq_handler.py", "python/jq_call.py", "node/jq-handler.js", "node/jq-call.js"]
    {
        let text = std::fs::read_to_string(project().join("examples/helpers").join(name)).unwrap();
        assert!(text.contains("Copy this file."), "{name}");
        assert!(text.lines().count() <= 100, "{name}");
    }
}
