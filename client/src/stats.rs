//! Parses the replies to the stats and list commands.

use std::fmt;
use std::str::FromStr;

use beanstalk_protocol::TubeName;

/// Statistics of a server, a tube or a job: strings by name, in the server's order.
///
/// Quotes around a value are removed, because servers differ in what they quote.
///
/// ```no_run
/// # async fn example(connection: &mut jq_client::Connection) -> Result<(), jq_client::Error> {
/// let stats = connection.stats().await?;
/// let ready: Option<u64> = stats.number("current-jobs-ready");
/// for (name, value) in stats.iter() {
///     println!("{name}: {value}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Stats {
    entries: Vec<(String, String)>,
}

impl Stats {
    /// Parses the body of a reply to a stats command, as a [`Pipeline`](crate::Pipeline) returns
    /// it.
    ///
    /// # Errors
    ///
    /// The first line that is not `name: value`.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let text = String::from_utf8_lossy(text);
        let mut entries = Vec::new();
        for line in content(&text) {
            // The name goes up to the first colon that YAML would see: one with a space or nothing
            // after it. Values may have colons of their own.
            let (name, value) = line
                .split_once(": ")
                .or_else(|| line.strip_suffix(':').map(|name| (name, "")))
                .ok_or_else(|| line.to_owned())?;
            entries.push((name.trim().to_owned(), unquoted(value).to_owned()));
        }
        Ok(Self { entries })
    }

    /// The value of this name as a string.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    /// The value of this name as a `T`; `None` if there is none or it cannot be parsed as `T`.
    pub fn parsed<T: FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.parse().ok()
    }

    /// The value of this name as a whole number, for counts and times in seconds.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.parsed(name)
    }

    /// The value of this name as a decimal number, for example `rusage-utime`.
    pub fn decimal(&self, name: &str) -> Option<f64> {
        self.parsed(name)
    }

    /// The value of this name as a boolean, for example `draining`.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.parsed(name)
    }

    /// Of a job: how often the connection that had it reserved vanished. `None` if the server does not
    /// count that, as beanstalkd does not.
    pub fn disconnects(&self) -> Option<u64> {
        self.number("disconnects")
    }

    /// All names and values in the server's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The number of names.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no names.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Reads a list of tubes. The error is the first line that is not `- name`.
pub(crate) fn parse_tubes(text: &[u8]) -> Result<Vec<TubeName>, String> {
    let text = String::from_utf8_lossy(text);
    content(&text)
        .map(|line| {
            let name = line.strip_prefix("- ").and_then(|name| unquoted(name).parse().ok());
            name.ok_or_else(|| line.to_owned())
        })
        .collect()
}

/// The lines that say something.
fn content(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim_end).filter(|line| !line.is_empty() && *line != "---")
}

fn unquoted(value: &str) -> &str {
    let value = value.trim();
    let within = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    within('"').or_else(|| within('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_and_unquoted_values() {
        let stats = Stats::parse(
            b"---\nname: \"a;b\"\nstate: ready\npri: 4294967295\nversion: '1.13'\n\
              rusage-utime: 0.002544\ndraining: false\nhostname:\nempty: \"\"\n\
              os: \"#1 SMP: \"x\" 12:00\"\n",
        )
        .unwrap();
        assert_eq!(stats.get("name"), Some("a;b"));
        assert_eq!(stats.get("state"), Some("ready"));
        assert_eq!(stats.get("version"), Some("1.13"));
        assert_eq!(stats.get("hostname"), Some(""));
        assert_eq!(stats.get("empty"), Some(""));
        assert_eq!(stats.get("os"), Some("#1 SMP: \"x\" 12:00"));
        assert_eq!(stats.number("pri"), Some(4_294_967_295));
        assert_eq!(stats.decimal("rusage-utime"), Some(0.002_544));
        assert_eq!(stats.flag("draining"), Some(false));
        assert_eq!(stats.parsed::<u16>("pri"), None);
        assert_eq!(stats.number("state"), None);
        assert_eq!(stats.number("missing"), None);
    }

    /// beanstalkd's `stats-job` has no such key.
    #[test]
    fn keys_that_not_every_server_has() {
        let ours = Stats::parse(b"---\nid: 1\nkicks: 4\ndisconnects: 2\n").unwrap();
        let theirs = Stats::parse(b"---\nid: 1\nkicks: 4\n").unwrap();
        assert_eq!([ours.number("kicks"), theirs.number("kicks")], [Some(4), Some(4)]);
        assert_eq!([&ours, &theirs].map(Stats::disconnects), [Some(2), None]);
    }

    #[test]
    fn the_order_is_kept() {
        let stats = Stats::parse(b"---\r\nz: 1\r\na: 2\r\nm: 3\r\n").unwrap();
        assert_eq!(stats.iter().collect::<Vec<_>>(), [("z", "1"), ("a", "2"), ("m", "3")]);
        assert_eq!((stats.len(), stats.is_empty()), (3, false));
        assert_eq!(format!("{stats:?}"), r#"{"z": "1", "a": "2", "m": "3"}"#);
    }

    #[test]
    fn a_line_that_is_no_entry_is_named() {
        assert_eq!(Stats::parse(b"---\na: 1\nnonsense\n"), Err("nonsense".to_owned()));
        assert_eq!(parse_tubes(b"---\n- a\nb\n"), Err("b".to_owned()));
        assert_eq!(parse_tubes(b"---\n- a b\n"), Err("- a b".to_owned()));
    }

    #[test]
    fn lists_of_tubes() {
        let tubes = parse_tubes(b"---\n- default\n- \"quoted\"\n- $x_(1)\n").unwrap();
        let names: Vec<_> = tubes.iter().map(TubeName::as_str).collect();
        assert_eq!(names, ["default", "quoted", "$x_(1)"]);
        assert_eq!(parse_tubes(b"---\n"), Ok(vec![]));
    }
}
