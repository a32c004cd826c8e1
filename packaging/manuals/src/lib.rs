//! The manual pages and the completions of jq-server, jq-worker and jq-ctl, made from the command
//! lines that the programs themselves parse.
//!
//! Owns: what a manual page says beyond the flags ([`facts`]). Must not know: what a flag means,
//! which is in the help of the programs.

pub mod facts;
mod man;

use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use facts::Facts;

/// The folder that they are in.
pub fn packaging() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The programs: their command lines, and what else there is to say of them.
pub fn programs() -> [(Command, Facts); 3] {
    [
        (jq_server::config::command(), facts::server()),
        (jq_worker::commands::command(), facts::worker()),
        (jq_ctl::cli::Cli::command(), facts::ctl()),
    ]
}

/// All files, with their paths in [`packaging`].
pub fn files() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for (command, facts) in programs() {
        let name = command.get_name().to_owned();
        files.push((format!("man/{name}.1").into(), man::page(&command, &facts)));
        // The names by which the shells look for them in their directories.
        for (shell, path) in [
            (Shell::Bash, format!("completions/bash/{name}")),
            (Shell::Zsh, format!("completions/zsh/_{name}")),
            (Shell::Fish, format!("completions/fish/{name}.fish")),
        ] {
            files.push((path.into(), tidy(&jq_ctl::completions(shell, &mut command.clone()))));
        }
    }
    files
}

/// Without blanks at the ends of lines, and with one line end at the end.
fn tidy(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}
