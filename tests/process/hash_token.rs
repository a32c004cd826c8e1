//! `jq-server hash-token`: by a pipe, and at a terminal.

use std::fs::{self, File};
use std::io::{Read, Write, pipe};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Output, Stdio};

use nix::fcntl::OFlag;
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::Signal;
use nix::sys::termios::{LocalFlags, tcgetattr};

use crate::run::start;
use crate::support::{Process, by_shell, eventually, executable, jq_server, scratch_path, skip};

const SECRET: &str = "0123456789abcdef";
const EXIT_USAGE: i32 = 5;

/// Runs the program with this as its standard input.
fn hash_token(args: &[&str], input: &[u8]) -> (i32, String, String) {
    let path = scratch_path("input");
    fs::write(&path, input).unwrap();
    let mut command = Command::new(jq_server());
    command.arg("hash-token").args(args).stdin(File::open(&path).unwrap());
    let Output { status, stdout, stderr } = command.output().unwrap();
    fs::remove_file(path).unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// Whether these are the lines for the file of a principal of this name.
fn are_lines(output: &str, name: &str) -> bool {
    let start =
        format!("\n[[principal]]\nname = \"{name}\"\ntokens = [\"$argon2id$v=19$m=19456,t=2,p=1$");
    output.starts_with(&start) && output.ends_with("\"]\n") && output.lines().count() == 4
}

#[test]
fn the_lines_of_a_token_go_to_standard_output() {
    for input in [SECRET.to_owned(), format!("{SECRET}\n"), format!("site.{SECRET}\r\n")] {
        let (status, output, errors) = hash_token(&["site"], input.as_bytes());
        assert_eq!((status, &*errors), (0, ""), "{input:?}");
        assert!(are_lines(&output, "site"), "{output}");
        assert!(!output.contains(SECRET), "{output}");
    }
}

#[test]
fn a_token_that_is_made_goes_to_standard_error() {
    let (status, output, token) = hash_token(&["site", "--generate"], b"");
    assert_eq!(status, 0, "{token}");
    assert!(are_lines(&output, "site"), "{output}");
    let secret = token.strip_prefix("site.").and_then(|rest| rest.strip_suffix('\n'));
    let secret = secret.unwrap_or_else(|| panic!("a token on a line: {token:?}"));
    assert_eq!(secret.len(), 43, "32 bytes as base64");
    assert!(secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    assert!(!output.contains(secret));
    assert_ne!(hash_token(&["--generate", "site"], b"").2, token);
}

#[test]
fn the_lines_make_a_file_that_the_server_takes() {
    let path = scratch_path("toml");
    let mut file = File::create(&path).unwrap();
    for name in ["site", "other"] {
        let (_, lines, _) = hash_token(&[name, "--generate"], b"");
        // Whoever appends does not look whether there is a line end.
        file.write_all(lines.trim_end().as_bytes()).unwrap();
    }
    let path = path.to_str().unwrap();
    let server = start(&["-l", "127.0.0.1", "-p", "0", "--auth", path]);
    server.await_output("listening address=");
    fs::remove_file(path).unwrap();
}

#[test]
fn what_cannot_be_a_token_exits_with_5() {
    let long = "x".repeat(300);
    for (input, told) in [
        (&b""[..], "the token is empty"),
        (b"\n", "the token is empty"),
        (b"other.0123456789abcdef\r\n", "looks like the token of another principal"),
        (b"short\n", "the secret is too short: expected at least 16"),
        (long.as_bytes(), "the secret is too long: expected at most 212"),
        ("0123456789abcde\u{e9}\n".as_bytes(), "other than visible ASCII"),
        (b"0123456789abcdef\n0123456789abcdef\n", "expected one line"),
        (b"0123456789abcdef \n", "other than visible ASCII"),
        (b"0123456789abcdef\0", "other than visible ASCII"),
    ] {
        let (status, output, errors) = hash_token(&["site"], input);
        assert_eq!((status, &*output), (EXIT_USAGE, ""), "{errors}");
        assert!(errors.starts_with("error: hash-token: ") && errors.contains(told), "{errors}");
        assert!(!errors.contains(SECRET), "{errors}");
    }
}

#[test]
fn flags_that_make_no_sense_exit_with_5() {
    let long = "x".repeat(65);
    for args in [&[][..], &["a b"], &["a.b"], &[""], &[&long], &["a", "b"], &["a", "-p", "1"]] {
        let (status, output, errors) = hash_token(args, SECRET.as_bytes());
        assert_eq!((status, &*output), (EXIT_USAGE, ""), "{args:?}: {errors}");
        assert!(errors.starts_with("error: "), "{args:?}: {errors}");
    }
    let mut before = start(&["-p", "0", "hash-token", "site"]);
    assert_eq!(before.exit_code(), EXIT_USAGE);
}

/// The standard library opens `/dev/null` in place of a standard stream that is closed.
#[test]
fn a_closed_stream_loses_neither_hash_nor_token() {
    for (streams, told) in [
        (">&-", "cannot write the hash: Bad file descriptor"),
        // Nobody can be told why. Nor must the hash of a token that nobody has be in the file.
        ("2>&-", ""),
    ] {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("\"$1\" hash-token site --generate {streams}"), "sh"]);
        let Output { status, stdout, stderr } = command.arg(jq_server()).output().unwrap();
        let errors = String::from_utf8(stderr).unwrap();
        assert_eq!((status.code(), &*stdout), (Some(1), &b""[..]), "{streams}: {errors}");
        assert!(errors.contains(told) && !errors.contains("site."), "{streams}: {errors}");
    }
    // What is meant to be nothing is fine.
    let mut command = Command::new("sh");
    command.args(["-c", "\"$1\" hash-token site --generate >/dev/null 2>/dev/null", "sh"]);
    assert!(command.arg(jq_server()).status().unwrap().success());
}

#[test]
fn output_that_cannot_be_written_is_told() {
    let (reader, nobody_reads) = pipe().unwrap();
    drop(reader);
    let full = || File::options().write(true).open("/dev/full").unwrap();
    for (output, told) in [
        (Stdio::from(full()), "cannot write the hash: No space left"),
        (Stdio::from(nobody_reads), "cannot write the hash: Broken pipe"),
    ] {
        let mut command = Command::new(jq_server());
        command.args(["hash-token", "site", "--generate"]).stdin(Stdio::null()).stdout(output);
        let Output { status, stderr, .. } = command.stderr(Stdio::piped()).output().unwrap();
        let errors = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(1), "{errors}");
        // A token without its hash would be of no use, and is not shown.
        assert!(errors.starts_with(&format!("error: hash-token: {told}")), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
    let mut command = Command::new(jq_server());
    command.args(["hash-token", "site", "--generate"]).stderr(full());
    assert_eq!(command.output().unwrap().status.code(), Some(1));
}

#[test]
fn input_that_cannot_be_read_is_told() {
    let mut process = Process::spawn(by_shell(r#"exec "$@" hash-token site </"#));
    assert_eq!(process.exit_code(), 1);
    let output = process.output();
    assert!(output.starts_with("error: hash-token: cannot read standard input: "), "{output}");
}

#[test]
fn too_little_memory_is_told() {
    let mut was_told = false;
    for mib in (16..=1024).step_by(8) {
        let script = format!("ulimit -v {} && exec \"$@\" hash-token a --generate", mib << 10);
        let Output { status, stderr, .. } = by_shell(&script).output().unwrap();
        let told = String::from_utf8_lossy(&stderr);
        match status.code() {
            Some(0) => break,
            Some(1) if told == "error: hash-token: there is no memory to hash a token\n" => {
                was_told = true;
            }
            // The program is not even loaded. Once it was, it has to tell.
            _ => assert!(!was_told, "{mib} MiB: {status}: {told}"),
        }
    }
    assert!(was_told, "a program that runs has too little memory somewhere");
}

/// The program at a terminal of its own.
struct AtTerminal {
    process: Process,
    /// The user's end, and the program's.
    keyboard: Option<PtyMaster>,
    terminal: OwnedFd,
}

impl AtTerminal {
    /// `None` if nothing can give it a terminal.
    fn start() -> Option<Self> {
        let Some(setsid) = executable("setsid") else {
            skip("setsid", "hash-token is not run at a terminal");
            return None;
        };
        // Neither end goes to a program that another test starts. What is shown is looked at without waiting.
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let keyboard = posix_openpt(flags).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let mut options = File::options();
        let terminal = options.read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits());
        let terminal = OwnedFd::from(terminal.open(ptsname_r(&keyboard).unwrap()).unwrap());
        let mut command = Command::new(setsid);
        command.arg("--ctty").arg(jq_server()).args(["hash-token", "site"]);
        let stdin = Stdio::from(terminal.try_clone().unwrap());
        let process = Process::spawn_on(command, stdin);
        let started = Self { process, keyboard: Some(keyboard), terminal };
        started.await_prompt("Token of site: ");
        assert!(!started.shows());
        Some(started)
    }

    fn await_prompt(&self, prompt: &str) {
        eventually(&format!("it asks {prompt:?}"), || self.process.output().ends_with(prompt));
    }

    fn write(&mut self, text: &str) {
        self.keyboard.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Whether the terminal shows what is typed.
    fn shows(&self) -> bool {
        tcgetattr(&self.terminal).unwrap().local_flags.contains(LocalFlags::ECHO)
    }

    /// What it has shown.
    fn shown(&mut self) -> Vec<u8> {
        let mut bytes = [0; 4096];
        let length = self.keyboard.as_mut().unwrap().read(&mut bytes).unwrap_or(0);
        bytes[..length].to_owned()
    }
}

#[test]
fn a_terminal_does_not_show_a_token() {
    let Some(mut it) = AtTerminal::start() else { return };
    it.write(&format!("{SECRET}\n"));
    it.await_prompt("The same again: ");
    assert!(!it.shows());
    // The keys of a terminal work.
    it.write(&format!("mistyped\u{15}site.{SECRET}x\u{7f}\n"));
    assert_eq!(it.process.exit_code(), 0);
    let output = it.process.output();
    let lines = output.strip_prefix("Token of site: \nThe same again: \n");
    assert!(lines.is_some_and(|lines| are_lines(lines, "site")), "{output}");
    assert!(it.shows());
    assert_eq!(String::from_utf8_lossy(&it.shown()), "");
}

#[test]
fn two_tokens_that_differ_are_told() {
    let Some(mut it) = AtTerminal::start() else { return };
    it.write(&format!("{SECRET}\n"));
    it.await_prompt("The same again: ");
    it.write(&format!("{SECRET}x\n"));
    assert_eq!(it.process.exit_code(), EXIT_USAGE);
    assert!(it.process.output().ends_with("error: hash-token: the two tokens differ\n"));
    assert!(it.shows());
}

#[test]
fn whatever_ends_it_the_terminal_shows_what_is_typed_afterwards() {
    // What is typed, or the signal, and the exit status.
    let cases = [
        (Err("\u{3}"), 128 + 2),
        (Err("\u{4}"), EXIT_USAGE),
        (Err("short\n"), EXIT_USAGE),
        (Ok(Signal::SIGTERM), 128 + 15),
        (Ok(Signal::SIGHUP), 128 + 1),
    ];
    for (end, status) in cases {
        let Some(mut it) = AtTerminal::start() else { return };
        match end {
            Err(typed) => it.write(typed),
            Ok(signal) => {
                it.write("half of a tok");
                it.process.signal(signal);
            }
        }
        assert_eq!(it.process.exit_code(), status, "{end:?}");
        assert!(it.shows(), "{end:?}");
        assert!(!it.process.output().contains("half"), "{end:?}");
    }
}

#[test]
fn a_terminal_that_is_closed_ends_it() {
    let Some(mut it) = AtTerminal::start() else { return };
    it.keyboard = None;
    // The signal, the end of the input and its failure come at once.
    let status = it.process.exit_code();
    assert!([128 + 1, EXIT_USAGE, 1].contains(&status), "{status}");
}
