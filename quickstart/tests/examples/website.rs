//! The website's part: a client library queues a job, and the URL of its result is known.

use std::path::Path;

use jq_quickstart::folder::Folder;
use jq_quickstart::http;
use jq_quickstart::programs::project;
use jq_quickstart::service::Service;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::support::{EVERY, PATIENCE, clients, is_there, programs};

/// Where jobs are queued.
pub(crate) const TUBE: &str = "walks";

/// The servers behind the website.
pub(crate) struct Site {
    pub(crate) queue: Service,
    pub(crate) worker: Service,
    _folder: Folder,
}

impl Site {
    pub(crate) async fn start() -> Self {
        let folder = Folder::new().unwrap();
        let queue = ["-l", "127.0.0.1", "-p", "0"];
        let queue = Service::start(&programs().server, &queue, folder.join("queue.log")).await;
        let queue = queue.unwrap();
        // The handlers of the examples, and a resource: without one, some metrics are not there.
        let (examples, handlers) = (project().join("examples/handlers"), folder.join("handlers"));
        std::fs::create_dir(&handlers).unwrap();
        for entry in std::fs::read_dir(examples).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, handlers.join(path.file_name().unwrap())).unwrap();
        }
        let config = handlers.join("jq-worker.toml");
        let text = std::fs::read_to_string(&config).unwrap() + "\n[resources]\nsample = 1\n";
        std::fs::write(&config, text).unwrap();
        let (config, results) = (config.to_string_lossy(), folder.join("results"));
        let (results, server) = (results.to_string_lossy(), queue.address.to_string());
        let worker = [
            "--config",
            &config,
            "--server",
            &server,
            "--tube",
            TUBE,
            "--listen",
            "127.0.0.1:0",
            "--results",
            &results,
        ];
        let worker = Service::start(&programs().worker, &worker, folder.join("worker.log")).await;
        Self { queue, worker: worker.unwrap(), _folder: folder }
    }

    /// Has a program queue a job. The result is where the link says that it is.
    async fn serves_what_is_queued_by(self, program: &Path, script: &str) {
        let output = Command::new(program)
            .arg(project().join("examples/website").join(script))
            .env("QUEUE", self.queue.address.to_string())
            .env("TUBE", TUBE)
            .output()
            .await
            .unwrap();
        let link = String::from_utf8(output.stdout).unwrap();
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{link}\n{complained}");
        let (page, id) = link.trim().split_once("?id=").expect(&link);
        assert!(page.ends_with("result.html"), "{link}");
        let result = self.result(id).await;
        assert!(result.contains("\"status\":\"successful\""), "{result}");
        assert!(result.contains("\"end\": [57.5, 30.4]"), "{result}");
        self.stop().await;
    }

    /// The result of a job, when it is there.
    pub(crate) async fn result(&self, id: &str) -> String {
        let path = format!("/{id}");
        let result = async {
            loop {
                match http::get(self.worker.address, &path).await.unwrap() {
                    (200, body) => return body,
                    (202 | 404 | 503, _) => sleep(EVERY).await,
                    (other, body) => panic!("{other}: {body}"),
                }
            }
        };
        timeout(PATIENCE, result).await.unwrap()
    }

    pub(crate) async fn stop(self) {
        self.worker.stop().await.unwrap();
        self.queue.stop().await.unwrap();
    }
}

#[tokio::test]
async fn python_with_greenstalk() {
    let python = clients().join("python/bin/python");
    if is_there("submit.py", &python, &["-c", "import greenstalk"]) {
        Site::start().await.serves_what_is_queued_by(&python, "submit.py").await;
    }
}

#[tokio::test]
async fn php_with_pheanstalk() {
    let library = "require 'Pheanstalk/autoload.php';";
    if is_there("submit.php", "php", &["-r", library])
        && is_there("the handler of submit.php", "python3", &["--version"])
    {
        Site::start().await.serves_what_is_queued_by(Path::new("php"), "submit.php").await;
    }
}
