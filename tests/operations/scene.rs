//! A server that an operator is responsible for, and what the operator types.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::output::is_as_shown;
use crate::page::Step;
use crate::support::{PATIENCE, Server, comes_true, executable, program, scratch_path, skip};

/// The addresses and the directory on the page.
const QUEUE: &str = "127.0.0.1:11300";
const HTTP: &str = "127.0.0.1:11380";
const DIR: &str = "/var/lib/jq-server";

/// Commands that change nothing. What they print is awaited, since counts are taken once a second and
/// workers need a moment.
const LOOKS: &[&str] = &[
    "jq-ctl tubes",
    "jq-ctl tube ",
    "jq-ctl jobs ",
    "jq-ctl job ",
    "jq-ctl peek ",
    "jq-ctl stats",
    "jq-ctl --timeout 1 stats",
    "jq-ctl connections --by-host",
    "curl -s http://127.0.0.1:11380/readyz",
];

/// A server with `--http` and an operator's token.
pub(crate) struct Scene {
    pub(crate) server: Server,
    http: String,
    /// The directory of `-b`, if there is one.
    dir: Option<PathBuf>,
    tokens: PathBuf,
    token: PathBuf,
}

impl Scene {
    /// A server with more flags. What the shell does before it starts is for limits.
    pub(crate) fn start(before: &str, dir: Option<&Path>, flags: &[&str]) -> Self {
        let (tokens, token) = (scratch_path("toml"), scratch_path("token"));
        let secret = "the-token-of-the-operator";
        let text =
            format!("[[token]]\nname = \"operator\"\nrole = \"operate\"\ntoken = \"{secret}\"\n");
        for (path, text) in [(&tokens, &*text), (&token, secret)] {
            fs::write(path, text).expect("the temporary folder is writable");
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("it is ours");
        }
        let mut all: Vec<&str> = vec!["--http", "127.0.0.1:0", "--http-token-file"];
        all.push(tokens.to_str().expect("it is UTF-8"));
        if let Some(dir) = dir {
            all.extend(["-b", dir.to_str().expect("it is UTF-8")]);
        }
        all.extend(flags);
        let mut server = Server::jq_by_shell(&format!("{before} exec \"$@\""), &all);
        let line = server.process().await_output("serving HTTP");
        let address = line.split("address=\"").nth(1).and_then(|rest| rest.split('"').next());
        let http = address.expect("it says where").to_owned();
        Self { server, http, dir: dir.map(Path::to_owned), tokens, token }
    }

    /// The status of the answer to a GET over a connection of its own.
    pub(crate) fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.http).expect("the kernel accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("it can be set");
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("the server is there");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap_or_else(|error| panic!("{path}: {error}"));
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    /// Runs a command, and compares what it prints.
    pub(crate) fn run(&self, step: &Step) {
        let Step::Run { line, command, shown } = step else { panic!("{step:?} is no command") };
        let mut printed = self.type_in(command);
        let looks = LOOKS.iter().any(|start| command.starts_with(start))
            || (command.starts_with("curl ") && !command.contains(" -d "));
        if looks {
            comes_true(|| {
                is_as_shown(shown, &printed) || {
                    printed = self.type_in(command);
                    false
                }
            });
        }
        assert!(
            is_as_shown(shown, &printed),
            "docs/operations.md:{line}: {command}\nshown:\n{}\nprinted:\n{printed}",
            shown.join("\n"),
        );
    }

    /// What a command prints, whether it succeeds or not.
    fn type_in(&self, command: &str) -> String {
        let queue = format!("127.0.0.1:{}", self.server.port());
        let mut typed = command.replace(QUEUE, &queue).replace(HTTP, &self.http);
        if let Some(dir) = &self.dir {
            typed = typed.replace(DIR, dir.to_str().expect("it is UTF-8"));
        }
        let ours = program("jq-ctl");
        let folder = ours.parent().expect("it is in a folder").to_owned();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path =
            std::env::join_paths(std::iter::once(folder).chain(std::env::split_paths(&path)));
        let output = Command::new("/bin/sh")
            .args(["-c", &format!("{{ {typed} ; }} 2>&1")])
            .env("PATH", path.expect("no folder has a colon"))
            .envs([("JQ_SERVER", &*queue), ("JQ_HTTP", &format!("http://{}/", self.http))])
            .env("JQ_TOKEN_FILE", &self.token)
            .env("XDG_CONFIG_HOME", "/nonexistent")
            .env("LC_ALL", "C")
            .env_remove("JQ_PROFILE")
            .env_remove("JQ_CTL_CONFIG")
            .stdin(Stdio::null())
            .output()
            .expect("there is a shell");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for path in [&self.tokens, &self.token] {
            let _ = fs::remove_file(path);
        }
    }
}

/// Whether there is what the commands need.
pub(crate) fn can_type() -> bool {
    let there = executable("curl").is_some();
    if !there {
        skip("curl", "it is not installed (Debian: apt-get install curl)");
    }
    there
}
