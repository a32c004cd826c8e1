//! Runs the program and keeps what it said.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Endpoint, Server};

/// The program, with the flags that lead it to a server.
pub(crate) struct Ctl {
    flags: Vec<String>,
}

/// What it said, and its exit status.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ctl {
    pub(crate) fn of(server: &Server) -> Self {
        let Endpoint::Tcp(address) = server.endpoint() else { panic!("it has a port") };
        Self { flags: vec!["--server".into(), address.to_string()] }
    }

    /// To this address.
    pub(crate) fn to(address: &str) -> Self {
        Self { flags: vec!["--server".into(), address.into()] }
    }

    /// To wherever the arguments or the environment say.
    pub(crate) fn unled() -> Self {
        Self { flags: Vec::new() }
    }

    pub(crate) fn with(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(ToString::to_string));
        self
    }

    /// A command with these arguments, in an environment without settings of the one who tests.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jq-ctl"));
        for name in [
            "JQ_SERVER",
            "JQ_HTTP",
            "JQ_TOKEN_FILE",
            "JQ_HTTP_TOKEN_FILE",
            "JQ_TLS_CA",
            "JQ_TLS_CERT",
            "JQ_TLS_KEY",
            "JQ_PROFILE",
            "JQ_CTL_CONFIG",
        ] {
            command.env_remove(name);
        }
        command.env("XDG_CONFIG_HOME", "/nonexistent").args(&self.flags).args(args);
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Said {
        self.run_on(args, b"")
    }

    /// Runs it with this as its standard input.
    pub(crate) fn run_on(&self, args: &[&str], input: &[u8]) -> Said {
        run(self.command(args), input)
    }

    /// Its output; it must succeed.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let said = self.run(args);
        assert_eq!(said.status, 0, "{args:?}: {said:?}");
        said.out
    }

    /// Its output as JSON; it must succeed.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let out = self.ok(&[&["--json"], args].concat());
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{args:?}: {error} in {out}"))
    }
}

/// Runs a command with this as its standard input.
pub(crate) fn run(mut command: Command, input: &[u8]) -> Said {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program is there");
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_vec();
    // It may end before it has read everything.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("it does not panic");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said {
        status: output.status.code().expect("no signal"),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}
