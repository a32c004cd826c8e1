//! Which release of beanstalkd the server imitates.

use std::fmt;
use std::str::FromStr;

/// The release of beanstalkd whose wire behaviour is followed. They differ in two ways only: how
/// `reserve-with-timeout` reads its number, and which values in the stats are quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// 1.12: `reserve-with-timeout` accepts anything that C's `strtol` accepts, wrapped to 32 bits,
    /// and a negative number waits forever; stats quote only the version. Some clients (Pheanstalk
    /// 4) compare tube names with the quotes on and need this.
    V1_12,
    /// 1.13 and later.
    #[default]
    V1_13,
}

impl Dialect {
    /// The version that the stats report, before ours is appended.
    pub fn version(self) -> &'static str {
        match self {
            Self::V1_12 => "1.12",
            Self::V1_13 => "1.13",
        }
    }

    /// The quote around string values in the stats, other than the version.
    pub(crate) fn quote(self) -> &'static str {
        match self {
            Self::V1_12 => "",
            Self::V1_13 => "\"",
        }
    }
}

impl FromStr for Dialect {
    type Err = UnknownDialect;

    fn from_str(text: &str) -> Result<Self, UnknownDialect> {
        match text {
            "1.12" => Ok(Self::V1_12),
            "1.13" => Ok(Self::V1_13),
            _ => Err(UnknownDialect),
        }
    }
}

/// The text does not name a known dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownDialect;

impl fmt::Display for UnknownDialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected 1.12 or 1.13")
    }
}

impl std::error::Error for UnknownDialect {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_two_releases_are_dialects() {
        for dialect in [Dialect::V1_12, Dialect::V1_13] {
            assert_eq!(dialect.version().parse(), Ok(dialect));
        }
        for text in ["", "1.1", "1.12 ", "v1.12", "1.120", "1.14"] {
            assert_eq!(text.parse::<Dialect>(), Err(UnknownDialect), "{text:?}");
        }
        assert_eq!(Dialect::default(), Dialect::V1_13);
    }
}
