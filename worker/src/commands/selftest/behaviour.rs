//! The built-in handlers: what each of them does as a process.

use std::io::{self, BufRead, Write};
use std::process::{Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{SigHandler, Signal, raise};

/// How much the flood writes, in bytes.
pub(super) const FLOOD: u64 = 64 << 20;

/// Longest that any of these lives, should nobody end it.
const FOREVER: Duration = Duration::from_secs(300);

/// What a built-in handler does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Behaviour {
    /// Gives JSON and exits with 0.
    Succeed,
    /// Exits with 3.
    Fail,
    /// Exits with 65.
    Refuse,
    /// Exits with 75 at the first attempt.
    Later,
    /// Ends by a signal.
    Crash,
    /// Does nothing, for long.
    Hang,
    /// Ignores SIGTERM, and has a child of another session that does too.
    Stubborn,
    /// Exits at once, and leaves a process of another session behind.
    Leave,
    /// Writes without end, nearly.
    Flood,
    /// Gives a result that is no JSON.
    BadJson,
    /// Answers one line after the other.
    Stay,
    /// Answers with something that is no JSON.
    Babble,
    /// What [`Behaviour::Stubborn`] and [`Behaviour::Leave`] start.
    Orphan,
}

impl Behaviour {
    /// As an argument.
    pub(super) fn name(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self);
        value.map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// Is the handler of this name.
pub(crate) fn behave(behaviour: Behaviour) -> ExitCode {
    match act(behaviour) {
        Ok(status) => ExitCode::from(status),
        // As of a broken pipe, when somebody ends us.
        Err(_) => ExitCode::FAILURE,
    }
}

fn act(behaviour: Behaviour) -> io::Result<u8> {
    let mut out = io::stdout();
    match behaviour {
        Behaviour::Succeed => {
            let mut job = String::new();
            io::stdin().read_line(&mut job)?;
            writeln!(out, "{{\"bytes\":{}}}", job.trim_end().len())?;
        }
        Behaviour::Fail => return Ok(3),
        Behaviour::Refuse => return Ok(65),
        Behaviour::Later => {
            if std::env::var("JQ_ATTEMPT").as_deref() == Ok("1") {
                return Ok(75);
            }
        }
        Behaviour::Crash => raise(Signal::SIGKILL)?,
        Behaviour::Hang => sleep(FOREVER),
        Behaviour::Stubborn => {
            start_orphan()?;
            ignore_term()?;
            sleep(FOREVER);
        }
        Behaviour::Leave => start_orphan()?,
        Behaviour::Flood => {
            let piece = [b'x'; 1 << 16];
            for _ in 0..FLOOD / piece.len() as u64 {
                out.write_all(&piece)?;
            }
        }
        Behaviour::BadJson => {
            if let Some(path) = std::env::var_os("JQ_RESULT_FILE") {
                std::fs::write(path, "{\"half\":")?;
            }
        }
        Behaviour::Stay => {
            for line in io::stdin().lock().lines() {
                writeln!(out, "{{\"progress\":50}}\n{{\"output\":{}}}", line?.len())?;
                out.flush()?;
            }
        }
        Behaviour::Babble => {
            for line in io::stdin().lock().lines() {
                line?;
                writeln!(out, "working on it ...")?;
                out.flush()?;
            }
        }
        Behaviour::Orphan => {
            rustix::process::setsid()?;
            ignore_term()?;
            // Whoever started it may go.
            writeln!(out, "ready")?;
            out.flush()?;
            sleep(FOREVER);
        }
    }
    Ok(0)
}

/// Starts a process of another session, and waits until it is one.
fn start_orphan() -> io::Result<()> {
    let name = Behaviour::Orphan.name();
    let mut child = Command::new(std::env::current_exe()?)
        .args(["selftest-handler", &name])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut ready = String::new();
    if let Some(stdout) = child.stdout.take() {
        io::BufReader::new(stdout).read_line(&mut ready)?;
    }
    Ok(())
}

fn ignore_term() -> io::Result<()> {
    // SAFETY: ignoring a signal installs no handler, so no code runs in a signal's context; what the
    // call says about handlers that are no longer valid does not apply.
    #[allow(unsafe_code)]
    unsafe {
        nix::sys::signal::signal(Signal::SIGTERM, SigHandler::SigIgn)?;
    }
    Ok(())
}
