//! The file of `--tubes`: a table for each tube.
//!
//! ```toml
//! [tubes.mail]
//! max-jobs = 100000
//! dead-letter = "mail-failed"
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use beanstalk_protocol::TubeName;
use jq_api::server::{self, PolicySource};
use jq_engine::Policy;
use serde::Deserialize;
use toml::{Spanned, Value};

use super::check::checked;
use crate::settings_file::{FileError, Mistake, SettingsFile, from_toml};

/// The largest file that is read, in bytes: some 50,000 tubes.
const MAX_FILE: u64 = 4 << 20;

/// What the file of `--tubes` said when it was read.
#[derive(Debug)]
pub struct TubesFile {
    path: PathBuf,
    /// By the name of the tube. One may have nothing set.
    tubes: BTreeMap<TubeName, Policy<TubeName>>,
}

/// The file that counts, if there is one: what it says cannot be set otherwise.
#[derive(Debug, Default)]
pub(crate) struct InForce(RwLock<Option<Arc<TubesFile>>>);

impl InForce {
    /// This file counts from now on.
    pub(crate) fn set(&self, file: &Arc<TubesFile>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(file));
    }

    /// The path of the file, if it says something about this tube.
    pub(crate) fn says(&self, tube: &TubeName) -> Option<PathBuf> {
        let file = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let file = file.as_ref()?;
        file.tubes.contains_key(tube).then(|| file.path.clone())
    }

    /// Where the policy of this tube is from, if it has one.
    pub(crate) fn source(&self, tube: &TubeName) -> PolicySource {
        if self.says(tube).is_some() { PolicySource::File } else { PolicySource::Api }
    }
}

impl TubesFile {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// Those of the system, and a mistake in it with its line and column.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let file = SettingsFile { flag: "--tubes", path, most: MAX_FILE };
        let (tubes, _) = file.read(parse)?;
        Ok(Self { path: path.to_owned(), tubes })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What it says about each tube.
    pub(crate) fn tubes(&self) -> &BTreeMap<TubeName, Policy<TubeName>> {
        &self.tubes
    }
}

/// The file, as it is written. The members are looked at one by one, so that each mistake has its place.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    tubes: BTreeMap<Spanned<String>, Members>,
}

type Members = BTreeMap<Spanned<String>, Spanned<Value>>;

/// The policies of the tubes in a text.
fn parse(text: &str) -> Result<BTreeMap<TubeName, Policy<TubeName>>, Mistake> {
    let file: File = from_toml(text)?;
    // In the order of the file, so that the first mistake is told.
    let mut tubes: Vec<(&Spanned<String>, &Members)> = file.tubes.iter().collect();
    tubes.sort_by_key(|(name, _)| name.span().start);
    let policy = |(name, members): (&Spanned<String>, &Members)| {
        let at = name.span().start;
        let tube = TubeName::new(name.get_ref().as_bytes())
            .map_err(|error| Mistake::at(text, at, format!("tubes: {error}")))?;
        let policy = policy(text, &tube, members)?;
        Ok((tube, policy))
    };
    tubes.into_iter().map(policy).collect()
}

/// The policy of a tube.
fn policy(text: &str, tube: &TubeName, members: &Members) -> Result<Policy<TubeName>, Mistake> {
    let mut document = server::Policy::default();
    let mut in_order: Vec<(&Spanned<String>, &Spanned<Value>)> = members.iter().collect();
    in_order.sort_by_key(|(name, _)| name.span().start);
    for (name, value) in in_order {
        let (name, at) = (name.get_ref(), name.span().start);
        match set(&mut document, name, value.get_ref()) {
            Ok(true) => {}
            Ok(false) => {
                let message = format!("{name}: expected one of {}", MEMBERS.join(", "));
                return Err(Mistake::at(text, at, message));
            }
            Err(expected) => {
                let message = format!("{name}: {expected}");
                return Err(Mistake::at(text, value.span().start, message));
            }
        }
    }
    let policy = checked(tube, &document).map_err(|mistake| {
        let member = mistake.member.replace('_', "-");
        let value = members.iter().find(|(name, _)| *name.get_ref() == member);
        let at = value.map_or(0, |(_, value)| value.span().start);
        Mistake::at(text, at, format!("{member}: {}", mistake.expected))
    })?;
    Ok(Policy { from_file: true, ..policy })
}

/// What can be set.
const MEMBERS: [&str; 10] = [
    "max-jobs",
    "max-bytes",
    "max-reserves",
    "max-timeouts",
    "max-disconnects",
    "dead-letter",
    "expires",
    "unique",
    "default-ttr",
    "reserve-rate",
];

/// Sets a member of the document. Returns false if there is none of this name; the error says what was
/// expected.
fn set(document: &mut server::Policy, name: &str, value: &Value) -> Result<bool, String> {
    match name {
        "max-jobs" => document.max_jobs = Some(whole(value, u64::MAX)?),
        "max-bytes" => document.max_bytes = Some(whole(value, u64::MAX)?),
        "max-reserves" => document.max_reserves = Some(whole(value, u32::MAX)?),
        "max-timeouts" => document.max_timeouts = Some(whole(value, u32::MAX)?),
        "max-disconnects" => document.max_disconnects = Some(whole(value, u32::MAX)?),
        "dead-letter" => document.dead_letter = Some(text(value)?),
        "expires" => document.expires = Some(whole(value, u32::MAX)?),
        "unique" => {
            document.unique = value.as_bool().ok_or_else(|| expected("true or false", value))?;
        }
        "default-ttr" => document.default_ttr = Some(whole(value, u32::MAX)?),
        "reserve-rate" => {
            let rate = value.as_float().or_else(|| value.as_integer().map(|rate| rate as f64));
            document.reserve_rate = Some(rate.ok_or_else(|| expected("a number", value))?);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// A whole number; TOML has none above 2^63 - 1.
fn whole<T: TryFrom<i64> + Into<u64>>(value: &Value, most: T) -> Result<T, String> {
    let number = value.as_integer().and_then(|number| T::try_from(number).ok());
    let most = most.into().min(i64::MAX as u64);
    number.ok_or_else(|| expected(&format!("a whole number from 1 to {most}"), value))
}

fn text(value: &Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| expected("the name of a tube in quotes", value))
}

fn expected(what: &str, found: &Value) -> String {
    match found {
        Value::Integer(number) => format!("expected {what}, not {number}"),
        other => format!("expected {what}, not a value of type {}", other.type_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TubeName {
        TubeName::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn everything_that_can_be_set() {
        let text = "[tubes.mail]\nmax-jobs = 1\nmax-bytes = 9223372036854775807\nmax-reserves = 2\n\
                    max-timeouts = 3\nmax-disconnects = 4294967295\ndead-letter = \"mail/dead\"\n\
                    expires = 5\nunique = true\ndefault-ttr = 6\nreserve-rate = 0.5\n\
                    [tubes.\"mail/dead\"]\n[tubes.more]\nreserve-rate = 7\nunique = false\n";
        let tubes = parse(text).unwrap();
        let expected = Policy {
            max_jobs: Some(1),
            max_bytes: Some(i64::MAX as u64),
            max_reserves: Some(2),
            max_timeouts: Some(3),
            max_disconnects: Some(u32::MAX),
            dead_letter: Some(name("mail/dead")),
            expires: Some(5),
            unique: true,
            default_ttr: Some(6),
            reserve_rate: Some(500),
            from_file: true,
        };
        assert_eq!(tubes[&name("mail")], expected);
        assert!(tubes[&name("mail/dead")].is_empty());
        assert_eq!(tubes[&name("more")].reserve_rate, Some(7000));
        assert_eq!(tubes.len(), 3);
        for nothing in ["", "# only a comment\n", "[tubes]\n"] {
            assert!(parse(nothing).unwrap().is_empty(), "{nothing}");
        }
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        let members = |rest: &str| format!("# \u{e9}\n[tubes.mail]\n{rest}\n");
        for (text, place, told) in [
            ("x = 1".to_owned(), (1, 1), "unknown field `x`, expected `tubes`"),
            ("[tube.mail]\n".to_owned(), (1, 2), "unknown field `tube`, expected `tubes`"),
            ("[tubes.mail\n".to_owned(), (1, 12), ""),
            ("tubes = 1".to_owned(), (1, 9), "expected a map"),
            ("[tubes]\nmail = 1".to_owned(), (2, 8), "expected a map"),
            ("\n[tubes.\"-x\"]\n".to_owned(), (2, 8), "tubes: "),
            ("[tubes.a]\n[tubes.a]\n".to_owned(), (2, 8), "duplicate"),
            (members("unique = true\nunique = true"), (4, 1), "duplicate"),
            (members("max-job = 1"), (3, 1), "max-job: expected one of max-jobs, max-bytes"),
            (members("max_jobs = 1"), (3, 1), "max_jobs: expected one of max-jobs"),
            (
                members("max-jobs = -1"),
                (3, 12),
                "max-jobs: expected a whole number from 1 to 9223372036854775807, not -1",
            ),
            (members("max-jobs = 0"), (3, 12), "max-jobs: expected at least 1"),
            (members("max-jobs = 99999999999999999999"), (3, 12), ""),
            (members("max-bytes = 1.5"), (3, 13), "from 1 to 9223372036854775807, not a value of"),
            (
                members("expires = 4294967296"),
                (3, 11),
                "expires: expected a whole number from 1 to 4294967295, not 4294967296",
            ),
            (members("expires = \"1h\""), (3, 11), "not a value of type string"),
            (members("unique = 1"), (3, 10), "unique: expected true or false, not 1"),
            (members("dead-letter = 7"), (3, 15), "expected the name of a tube in quotes, not 7"),
            (members("dead-letter = \"a b\""), (3, 15), "dead-letter: "),
            (members("dead-letter = \"mail\""), (3, 15), "dead-letter: expected another tube"),
            (
                members("reserve-rate = 0"),
                (3, 16),
                "reserve-rate: expected a number from 0.001 to 4294967",
            ),
            (members("reserve-rate = nan"), (3, 16), "expected a number from 0.001"),
            (members("reserve-rate = \"5\""), (3, 16), "expected a number, not"),
            // The first of two.
            (members("unique = 1\nexpires = -1"), (3, 10), "unique: "),
            ("[tubes.b]\nexpires = -1\n[tubes.a]\nexpires = -1".to_owned(), (2, 11), "expires: "),
        ] {
            let mistake = parse(&text).unwrap_err();
            assert_eq!((mistake.line, mistake.column), place, "{text}: {mistake:?}");
            assert!(mistake.message.contains(told), "{text}: {mistake:?}");
        }
    }
}
