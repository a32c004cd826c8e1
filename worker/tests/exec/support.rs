//! What the tests here share: commands to run, and a count of what they leave.

use jq_worker::exec::{self, Finished, Keepers, Limits, LiveLog, RunError, Spec};
use std::fs;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Far longer than anything here takes; a test that needs it all has failed.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_jq-worker").into()
}

pub(crate) fn keepers() -> Keepers {
    Keepers::new(program())
}

/// A command that can be found again: every process of it has a name in its environment that
/// nothing else has.
#[derive(Clone)]
pub(crate) struct Marked {
    pub(crate) spec: Spec,
    pub(crate) mark: Mark,
}

#[derive(Clone)]
pub(crate) struct Mark(String);

/// A shell script, with a mark.
pub(crate) fn sh(script: &str) -> Marked {
    command("/bin/sh", &["-c", script])
}

/// A program with arguments, with a mark.
pub(crate) fn command(program: impl AsRef<Path>, args: &[&str]) -> Marked {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mark = format!("JQ_TEST_MARK=<{}-{number}>", std::process::id());
    let (name, value) = mark.split_once('=').unwrap();
    let spec = Spec {
        program: program.as_ref().into(),
        args: args.iter().map(Into::into).collect(),
        env: vec![
            (name.into(), value.into()),
            ("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()),
        ],
        directory: "/tmp".into(),
        limits: Limits::default(),
        stdin: bytes::Bytes::new(),
        timeout: LONG,
        grace: LONG,
        output_limit: 1024 * 1024,
        tail_limit: 0,
    };
    Marked { spec, mark: Mark(mark) }
}

impl Mark {
    /// Says which one it is, for [`Mark::told`] in another process.
    pub(crate) fn tell(&self) {
        println!("\nmark {}", self.0);
    }

    pub(crate) fn told(line: &str) -> Option<Self> {
        line.strip_prefix("mark ").map(|mark| Self(mark.into()))
    }

    /// How many living processes have it.
    pub(crate) fn count(&self) -> usize {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        numbers.filter(|&pid| self.is_of(pid)).count()
    }

    /// Whether the living process `pid` has it.
    pub(crate) fn is_of(&self, pid: u32) -> bool {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|line| line == self.0.as_bytes())
    }

    /// Waits until so many processes have it.
    pub(crate) async fn wait_for(&self, count: usize) {
        eventually(&format!("{count} processes with {}", self.0), || self.count() == count).await;
    }
}

/// Runs it to its end with keepers of its own; nothing must be left of it.
pub(crate) async fn run(marked: Marked) -> Result<Finished, RunError> {
    run_until(marked, std::future::pending()).await
}

pub(crate) async fn run_until(
    Marked { spec, mark }: Marked,
    cancel: impl Future<Output = ()>,
) -> Result<Finished, RunError> {
    let finished = exec::run(&keepers(), spec, Arc::new(LiveLog::new()), cancel).await;
    assert_eq!(mark.count(), 0, "processes left behind");
    finished
}

/// Waits until a condition holds. Fails when it does not in [`LONG`].
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LONG, "still not: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The processes whose parent is `parent`: number, state and name.
pub(crate) fn children_of(parent: u32) -> Vec<(u32, char, String)> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let stats = processes.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    stats
        .filter_map(|stat| {
            let (pid, rest) = stat.split_once(" (")?;
            let (name, rest) = rest.rsplit_once(") ")?;
            let mut fields = rest.split(' ');
            let state = fields.next()?.chars().next()?;
            let is_child = fields.next()?.parse() == Ok(parent);
            is_child.then_some((pid.parse().ok()?, state, name.into()))
        })
        .collect()
}

/// A directory of a test's own, gone with it.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("jq-exec-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A file in it with these contents, that may be executed.
    pub(crate) fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
