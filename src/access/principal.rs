//! A principal and its rights.

use std::fmt;
use std::ops::BitOr;
use std::sync::Arc;

use memchr::memmem;

/// What may be done in a tube: a set.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Rights(u8);

impl Rights {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Put jobs.
    pub const PUT: Self = Self(1);
    /// Reserve jobs, and everything that concerns a job that the connection has reserved.
    pub const RESERVE: Self = Self(2);
    /// See jobs, and the statistics of the tube.
    pub const PEEK: Self = Self(4);
    /// Kick jobs.
    pub const KICK: Self = Self(8);
    /// Pause the tube.
    pub const PAUSE: Self = Self(16);
    /// Delete jobs that the connection has not reserved, and clear the tube.
    pub const DELETE: Self = Self(32);
    /// Everything.
    pub const ALL: Self = Self(63);

    /// Each right, with its name in the file.
    pub const NAMED: [(&'static str, Self); 6] = [
        ("put", Self::PUT),
        ("reserve", Self::RESERVE),
        ("peek", Self::PEEK),
        ("kick", Self::KICK),
        ("pause", Self::PAUSE),
        ("delete", Self::DELETE),
    ];

    /// Whether all of `needed` are among these.
    #[inline]
    pub const fn allow(self, needed: Self) -> bool {
        self.0 & needed.0 == needed.0
    }

    /// Whether there is none.
    pub const fn are_none(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Rights {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names =
            Self::NAMED.iter().filter(|(_, right)| self.allow(*right)).map(|(name, _)| name);
        f.debug_set().entries(names).finish()
    }
}

/// Which tubes a right is for: names in which `*` stands for any characters, or none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patterns(Vec<Box<str>>);

impl Patterns {
    /// These patterns.
    pub fn new(patterns: impl IntoIterator<Item = Box<str>>) -> Self {
        Self(patterns.into_iter().collect())
    }

    /// Whether one of them matches the name of this tube.
    pub fn match_tube(&self, tube: &str) -> bool {
        self.0.iter().any(|pattern| matches(pattern.as_bytes(), tube.as_bytes()))
    }
}

/// Whether a pattern matches all of a name, in a time that grows with the sum of their lengths.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let mut parts = pattern.split(|byte| *byte == b'*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        // Where a part is found first, most is left for those behind it.
        let Some(at) = memmem::find(rest, part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// What a principal, or an address, may have at most; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Connections at the same time.
    pub connections: Option<u32>,
    /// Commands in a second, all connections together. Who sends more has to wait.
    pub commands_per_second: Option<u32>,
    /// Bytes of bodies in the queue that were put since the server started.
    pub bytes: Option<u64>,
}

/// Who a connection acts for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Principal {
    /// 1 to 64 characters from `A-Z a-z 0-9 _ -`.
    pub name: Arc<str>,
    /// Whether it may do everything in all tubes, and see the whole of `stats`.
    pub operates: bool,
    /// For each right, in the order of [`Rights::NAMED`], the tubes that it is for.
    pub tubes: [Patterns; Rights::NAMED.len()],
    /// What it may have at most.
    pub limits: Limits,
}

impl Principal {
    /// What it may do in a tube of this name.
    pub fn rights_in(&self, tube: &str) -> Rights {
        if self.operates {
            return Rights::ALL;
        }
        let rights = self.tubes.iter().zip(Rights::NAMED);
        let there = rights.filter(|(tubes, _)| tubes.match_tube(tube)).map(|(_, (_, right))| right);
        there.fold(Rights::NONE, BitOr::bitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns() {
        for (pattern, yes, no) in [
            ("mail", &["mail"][..], &["", "mai", "mails", "xmail"][..]),
            ("*", &["", "a", "a.b"], &[]),
            ("sim.*", &["sim.", "sim.a", "sim.*"], &["sim", "xsim.a"]),
            ("*.high", &[".high", "a.high", "a.high.high"], &["a.high.low", "high"]),
            ("a*b*c", &["abc", "axbxc", "abbcc", "aXbYbZc"], &["ab", "acb", "abcd"]),
            ("**", &["", "x"], &[]),
            ("", &[""], &["a"]),
        ] {
            let patterns = Patterns::new([pattern.into()]);
            for name in yes {
                assert!(patterns.match_tube(name), "{pattern} matches {name}");
            }
            for name in no {
                assert!(!patterns.match_tube(name), "{pattern} does not match {name}");
            }
        }
        assert!(!Patterns::default().match_tube("a"));
    }

    /// The meaning, said as simply as possible.
    fn naive(pattern: &[u8], name: &[u8]) -> bool {
        match pattern {
            [] => name.is_empty(),
            [b'*', rest @ ..] => (0..=name.len()).any(|at| naive(rest, &name[at..])),
            [byte, rest @ ..] => name.first() == Some(byte) && naive(rest, &name[1..]),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn patterns_match_as_a_naive_matcher(pattern in "[ab*]{0,9}", name in "[ab]{0,12}") {
            let expected = naive(pattern.as_bytes(), name.as_bytes());
            prop_assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected);
        }

        #[test]
        fn patterns_match_the_names_they_were_made_of(
            parts in vec("[a-c.]{0,4}", 1..6),
            between in vec("[a-c.]{0,4}", 5),
        ) {
            let name: String = parts.iter().zip(&between).map(|(part, it)| format!("{part}{it}")).collect();
            let pattern = parts.join("*") + "*";
            prop_assert!(matches(pattern.as_bytes(), name.as_bytes()));
        }
    }

    #[test]
    fn rights_are_those_of_all_patterns_that_match() {
        let of = |patterns: &[&str]| Patterns::new(patterns.iter().map(|it| Box::from(*it)));
        let mut site = Principal { name: "site".into(), ..Principal::default() };
        site.tubes[0] = of(&["mail", "sim.*"]);
        site.tubes[2] = of(&["*"]);
        assert_eq!(site.rights_in("sim.1"), Rights::PUT | Rights::PEEK);
        assert_eq!(site.rights_in("other"), Rights::PEEK);
        assert!(site.rights_in("mail").allow(Rights::PUT));
        assert!(!site.rights_in("other").allow(Rights::PUT | Rights::PEEK));
        assert_eq!(format!("{:?}", site.rights_in("mail")), r#"{"put", "peek"}"#);
        let operator = Principal { operates: true, ..Principal::default() };
        assert_eq!(operator.rights_in("any"), Rights::ALL);
        assert!(Principal::default().rights_in("any").are_none());
    }
}
