//! Writes the manual pages and the completions into `packaging/`: `cargo manuals`.

use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    match write() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jq-manuals: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write() -> io::Result<()> {
    for (path, text) in jq_manuals::files() {
        let path = jq_manuals::packaging().join(path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, text)
            .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
    }
    Ok(())
}
