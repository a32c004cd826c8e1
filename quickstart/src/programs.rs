//! Where the programs are that are shown: built first, as users build them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Failed;

/// Names a folder with both programs in it, which are not built then.
pub const BIN_DIR: &str = "JQ_QUICKSTART_BIN_DIR";

/// What is built.
const NAMES: [&str; 2] = ["jq-server", "jq-worker"];

/// The programs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The queue.
    pub server: PathBuf,
    /// The worker.
    pub worker: PathBuf,
}

/// The folder of the project.
pub fn project() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

impl Programs {
    /// Those in the folder that [`BIN_DIR`] names.
    pub fn named() -> Option<Self> {
        std::env::var_os(BIN_DIR).map(|folder| Self::within(Path::new(&folder)))
    }

    /// Those in a folder.
    pub fn within(folder: &Path) -> Self {
        let [server, worker] = NAMES.map(|name| folder.join(name));
        Self { server, worker }
    }

    /// Has cargo build them, and tell where they are. What it says meanwhile is to be seen.
    ///
    /// # Errors
    ///
    /// If it cannot.
    pub fn build(arguments: &[&str]) -> Result<Self, Failed> {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(project()).args(["build", "--message-format=json-render-diagnostics"]);
        cargo.args(arguments).stderr(Stdio::inherit());
        for name in NAMES {
            cargo.args(["-p", name]);
        }
        let output = cargo.output().map_err(Failed::to("run cargo"))?;
        if !output.status.success() {
            return Err(Failed("cargo build failed".to_owned()));
        }
        let said = String::from_utf8_lossy(&output.stdout);
        let messages: Vec<Value> =
            said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let find = |name: &str| {
            let named = |message: &&Value| message["target"]["name"] == name;
            let mut paths =
                messages.iter().filter(named).filter_map(|it| it["executable"].as_str());
            paths.next().map(PathBuf::from).ok_or_else(|| Failed(format!("cargo built no {name}")))
        };
        let [server, worker] = NAMES.map(find);
        Ok(Self { server: server?, worker: worker? })
    }
}
