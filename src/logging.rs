//! Where diagnostics go: standard error, as text or as one JSON object per line.

use std::io::IsTerminal;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// Human-readable text.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Starts logging. `verbosity` counts the `-V` flags: 0 tells what an operator wants to know, 1
/// adds each connection, 2 and more each batch of commands.
pub fn init(format: Format, verbosity: u8) {
    let level = match verbosity {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let registry = tracing_subscriber::registry().with(level);
    let lines = layer().with_writer(std::io::stderr).with_target(false);
    match format {
        Format::Text => {
            let ansi = std::io::stderr().is_terminal();
            registry.with(lines.with_ansi(ansi)).init();
        }
        Format::Json => registry.with(lines.json().flatten_event(true)).init(),
    }
}
