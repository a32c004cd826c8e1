//! How a process is started beside its command and its limits, and what its end means.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::file::HandlerSettings;
use crate::exec::{Identity, IoPriority, may_have_priority};
use crate::room::Need;

/// `EX_TEMPFAIL` of sysexits.h: try again later.
pub const EX_TEMPFAIL: i32 = 75;

/// `EX_DATAERR` of sysexits.h: the input is at fault, trying again is of no use.
pub const EX_DATAERR: i32 = 65;

/// Most of a resource that can be configured.
const MAX_UNITS: u32 = 1000;

/// Longest name of a resource, in bytes.
const MAX_NAME: usize = 64;

/// What an exit status means for the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExitMeaning {
    /// It is done, as with exit status 0.
    Success,
    /// It is tried again, as often as it may be.
    Retry,
    /// It has failed for good, and is buried.
    Bury,
}

impl ExitMeaning {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Retry => "retry",
            Self::Bury => "bury",
        }
    }
}

/// What each exit status means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExitTable(BTreeMap<i32, ExitMeaning>);

impl ExitTable {
    /// What this one means.
    pub fn meaning(&self, code: i32) -> ExitMeaning {
        self.0.get(&code).copied().unwrap_or(match code {
            0 => ExitMeaning::Success,
            EX_DATAERR => ExitMeaning::Bury,
            _ => ExitMeaning::Retry,
        })
    }

    /// Those that are configured.
    pub fn iter(&self) -> impl Iterator<Item = (i32, ExitMeaning)> {
        self.0.iter().map(|(code, meaning)| (*code, *meaning))
    }

    pub(super) fn read(exit: &BTreeMap<String, ExitMeaning>) -> Result<Self, String> {
        let entries = exit.iter().map(|(code, meaning)| {
            let status = code.parse().ok().filter(|status| (1..=255).contains(status));
            let status = status.ok_or_else(|| {
                format!("exit has the status {code:?}: expected 1 to 255; 0 is always success")
            })?;
            Ok((status, *meaning))
        });
        entries.collect::<Result<_, _>>().map(Self)
    }
}

/// The directory in which its processes start, if not in one of their own.
pub(super) fn working_directory(
    settings: &HandlerSettings,
    base: &Path,
) -> Result<Option<PathBuf>, String> {
    let Some(path) = &settings.working_directory else { return Ok(None) };
    let named =
        |why: &dyn std::fmt::Display| format!("working_directory: {}: {why}", path.display());
    let path = std::path::absolute(base.join(path)).map_err(|error| named(&error))?;
    match fs::metadata(&path) {
        Ok(meta) if meta.is_dir() => Ok(Some(path)),
        Ok(_) => Err(named(&"not a directory")),
        Err(error) => Err(named(&error)),
    }
}

/// What no process can be given would look like a machine that cannot start any.
pub(super) fn check_strings(
    settings: &HandlerSettings,
    program: &str,
    args: &[String],
) -> Result<(), String> {
    let has_nul = |text: &str| text.contains('\0');
    if std::iter::once(program).chain(args.iter().map(String::as_str)).any(has_nul) {
        return Err("command: expected strings without the character U+0000".to_owned());
    }
    let is_name = |name: &str| !name.is_empty() && !name.contains(['=', '\0']);
    let mut names = settings.env.keys().map(|it| ("env", it));
    let mut passed = settings.pass_env.iter().map(|it| ("pass_env", it));
    if let Some((setting, name)) =
        names.by_ref().chain(passed.by_ref()).find(|(_, it)| !is_name(it))
    {
        return Err(format!(
            "{setting} has the name {name:?}: expected one or more characters, neither = nor U+0000"
        ));
    }
    match settings.env.iter().find(|(_, value)| has_nul(value)) {
        Some((name, _)) => {
            Err(format!("env.{name}: expected a value without the character U+0000"))
        }
        None => Ok(()),
    }
}

/// The variables in the file of this handler. Their values may be secret: no message shows one.
pub(super) fn env_file(
    settings: &HandlerSettings,
    base: &Path,
) -> Result<Vec<(String, String)>, String> {
    let Some(path) = &settings.env_file else { return Ok(Vec::new()) };
    let named = |why: String| format!("env_file: {}{why}", path.display());
    let text = fs::read_to_string(base.join(path)).map_err(|error| named(format!(": {error}")))?;
    let lines = (1..).zip(text.lines().map(str::trim));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let variables = lines.map(|(number, line)| {
        variable(line).ok_or_else(|| named(format!(", line {number}: expected NAME=value")))
    });
    variables.collect()
}

/// `NAME=value`, `NAME="value"` or `NAME='value'`. Nothing in a value is replaced.
fn variable(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once('=')?;
    let name = name.trim_end();
    let is_start = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    let is_name = name.bytes().all(|byte| is_start(&byte) || byte.is_ascii_digit())
        && name.as_bytes().first().is_some_and(is_start);
    let value = value.trim_start();
    let quoted = ['"', '\'']
        .iter()
        .find_map(|quote| value.strip_prefix(*quote).map(|rest| rest.strip_suffix(*quote)));
    let value = match quoted {
        None => value,
        // A quote that does not end is a mistake.
        Some(value) => value?,
    };
    (is_name && !value.contains('\0')).then(|| (name.to_owned(), value.to_owned()))
}

/// Permissions that files never have which it makes.
pub(super) fn umask(settings: &HandlerSettings) -> Result<Option<u32>, String> {
    let Some(text) = &settings.umask else { return Ok(None) };
    let is_octal = (1..=4).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_digit());
    let mask = u32::from_str_radix(text, 8).ok().filter(|mask| is_octal && *mask <= 0o777);
    let bad = || format!("umask is {text:?}: expected three octal digits, such as \"027\"");
    mask.map(Some).ok_or_else(bad)
}

/// Its nice value and its place in the line for the disk: those that we may give.
pub(super) fn priorities(
    settings: &HandlerSettings,
    identity: Option<Identity>,
) -> Result<(Option<i32>, Option<IoPriority>), String> {
    let nice = settings.nice;
    if let Some(nice) = nice.filter(|nice| !(-20..=19).contains(nice)) {
        return Err(format!("nice is {nice}: expected -20 to 19"));
    }
    let io = settings.ionice.as_deref().map(str::parse).transpose();
    let io = io.map_err(|error| format!("ionice is {error}"))?;
    may_have_priority(nice, io, identity).map_err(|(name, error)| {
        format!("{name}: the worker may not give its processes this priority: {error}")
    })?;
    Ok((nice, io))
}

/// The resources that there are.
pub(super) fn resources(resources: &BTreeMap<String, u32>) -> Result<(), String> {
    for (name, count) in resources {
        // So that it can be a part of the name of a variable.
        let is_word = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_';
        let is_word = name.bytes().all(is_word);
        let starts = name.bytes().next().is_some_and(|it| it.is_ascii_lowercase());
        if !(is_word && starts && name.len() <= MAX_NAME) {
            return Err(format!(
                "resources: {name:?}: expected a name of 1 to {MAX_NAME} small letters, digits and \
                 '_' that begins with a letter"
            ));
        }
        if !(1..=MAX_UNITS).contains(count) {
            return Err(format!("resources.{name} is {count}: expected 1 to {MAX_UNITS}"));
        }
    }
    Ok(())
}

/// What a job needs of them.
pub(super) fn needs(
    settings: &HandlerSettings,
    resources: &BTreeMap<String, u32>,
) -> Result<Vec<Need>, String> {
    let needs = settings.needs.iter().filter(|(_, count)| **count > 0).map(|(name, count)| {
        let Some(&of) = resources.get(name) else {
            return Err(format!("needs.{name}: there is no such name in [resources]"));
        };
        if *count > of {
            return Err(format!("needs.{name} is {count}: resources.{name} is only {of}"));
        }
        Ok(Need { name: name.clone(), count: *count, of })
    });
    needs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_exit_status_means() {
        let exit = |entries: &[(&str, ExitMeaning)]| {
            let entries = entries.iter().map(|(code, meaning)| ((*code).to_owned(), *meaning));
            ExitTable::read(&entries.collect())
        };
        let table = exit(&[
            ("2", ExitMeaning::Bury),
            ("4", ExitMeaning::Success),
            ("65", ExitMeaning::Retry),
        ])
        .unwrap();
        let meanings = [0, 1, 2, 4, 65, 75].map(|code| table.meaning(code).as_str());
        assert_eq!(meanings, ["success", "retry", "bury", "success", "retry", "retry"]);
        assert_eq!(ExitTable::default().meaning(65), ExitMeaning::Bury);
        for code in ["0", "256", "-1", "x", ""] {
            assert!(exit(&[(code, ExitMeaning::Bury)]).unwrap_err().contains("1 to 255"), "{code}");
        }
    }

    #[test]
    fn lines_of_an_environment_file() {
        let read = |line: &str| variable(line);
        let pair = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
        assert_eq!(read("A=1"), pair("A", "1"));
        assert_eq!(read("_a9 = x = y"), pair("_a9", "x = y"));
        assert_eq!(read("A=\" x # $HOME\""), pair("A", " x # $HOME"));
        assert_eq!(read("A='\"'"), pair("A", "\""));
        assert_eq!(read("A="), pair("A", ""));
        for line in ["A", "=1", "9A=1", "a b=1", "export A=1", "A=\"x", "A='", "A=\0"] {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
