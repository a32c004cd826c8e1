//! How things look: tables for people, JSON for programs, colours, questions.

use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, ContentArrangement, Table, TableStyle};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::cli::{Color, Global};
use crate::failed::{EXIT_NOT_CONFIRMED, Failed};

/// What hurts.
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
/// What deserves a look.
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default();

/// How a command shows what it has to say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// As JSON.
    pub(crate) json: bool,
    /// Destroy without a question.
    yes: bool,
}

impl Look {
    pub(crate) fn new(global: &Global) -> Self {
        match global.color {
            // anstream looks at the terminal and at NO_COLOR.
            Color::Auto => {}
            Color::Always => anstream::ColorChoice::Always.write_global(),
            Color::Never => anstream::ColorChoice::Never.write_global(),
        }
        Self { json: global.json, yes: global.yes }
    }

    /// Prints a document on a line of its own.
    pub(crate) fn document(self, value: &impl Serialize) -> Result<(), Failed> {
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, value).map_err(io::Error::from)?;
        Ok(writeln!(out)?)
    }

    /// Prints a document as JSON, or else what `text` makes of it.
    pub(crate) fn show<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce(&T, &mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Failed> {
        if self.json {
            return self.document(value);
        }
        let mut out = anstream::stdout().lock();
        text(value, &mut out)?;
        Ok(out.flush()?)
    }

    /// Says what was done, to people only: the status tells it to programs.
    pub(crate) fn done(self, what: impl std::fmt::Display) -> Result<(), Failed> {
        if self.json { Ok(()) } else { Ok(writeln!(anstream::stdout(), "{what}")?) }
    }

    /// Says what whoever asked should know although it went well: on standard error, to people and programs.
    pub(crate) fn note(self, what: impl std::fmt::Display) {
        // Nobody may be there to read it; what was asked for is done all the same.
        let _ = writeln!(anstream::stderr(), "jq-ctl: {what}");
    }

    /// Asks before something is destroyed. Without a terminal nobody can answer, so `--yes` is
    /// needed.
    pub(crate) fn confirm(self, question: &str) -> Result<(), Failed> {
        if self.yes {
            return Ok(());
        }
        let refused = |message: &str| Failed::new(EXIT_NOT_CONFIRMED, message);
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return Err(refused(&format!("{question} Nobody can be asked: use --yes")));
        }
        write!(io::stderr(), "{question} [y/N] ")?;
        io::stderr().flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        match answer.trim() {
            "y" | "Y" | "yes" | "Yes" => Ok(()),
            _ => Err(refused("nothing was done")),
        }
    }

    /// A bar for long work, on a terminal only. `total` is `None` if it is not known.
    pub(crate) fn bar(self, total: Option<u64>) -> ProgressBar {
        if self.json || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let (bar, template) = match total {
            Some(total) => (
                ProgressBar::new(total),
                "{wide_bar} {human_pos} of {human_len}, {per_sec}, {eta} left",
            ),
            None => (ProgressBar::no_length(), "{spinner} {human_pos}, {per_sec}"),
        };
        // A template that is not understood has been changed here.
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}

/// A table without lines: columns with a name, or all without; numbers to the right.
pub(crate) fn table(columns: &[(&str, Align)]) -> Table {
    let mut table = Table::new();
    table.load_style(TableStyle::new()).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|(name, _)| name.to_owned()));
    for (index, (_, align)) in columns.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, 2));
            column.set_cell_alignment(match align {
                Align::Left => CellAlignment::Left,
                Align::Right => CellAlignment::Right,
            });
        }
    }
    table
}

/// To which side of its column something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

/// Prints a table, without blanks at the ends of lines, and without a header if no column has a
/// name.
pub(crate) fn print(table: &Table, out: &mut dyn Write) -> io::Result<()> {
    let mut lines =
        table.lines().enumerate().map(|(index, line)| (index, line.trim_end().to_owned()));
    lines.try_for_each(|(index, line)| match (index, line.as_str()) {
        (0, "") => Ok(()),
        (_, line) => writeln!(out, "{line}"),
    })
}

/// With separators between thousands.
pub(crate) fn number(value: u64) -> String {
    indicatif::HumanCount(value).to_string()
}

/// A body as people can read it on a terminal: what is no text, and control characters, are shown
/// as escapes.
pub(crate) fn printable(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.chars().fold(String::with_capacity(text.len()), |mut shown, character| {
        match character {
            '\n' | '\t' => shown.push(character),
            character if character.is_control() => shown.extend(character.escape_default()),
            character => shown.push(character),
        }
        shown
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_move_the_cursor_is_escaped() {
        assert_eq!(printable(b"a\tb\n"), "a\tb\n");
        assert_eq!(printable(b"\x1b[2J\x07"), "\\u{1b}[2J\\u{7}");
        assert_eq!(printable("\u{9b}1m é".as_bytes()), "\\u{9b}1m é");
        assert_eq!(printable(b"\xff"), "\u{fffd}");
    }
}
