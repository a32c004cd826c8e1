//! One reply as it came over the wire.

use std::fmt;

/// A whole reply: its line, and the body if it carries one, with every CRLF.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Reply(Vec<u8>);

impl Reply {
    /// Cuts the first whole reply off the front of `input`; `None` while it is incomplete.
    pub(crate) fn take(input: &mut Vec<u8>) -> Option<Self> {
        let whole = length(input)?;
        let rest = input.split_off(whole);
        Some(Self(std::mem::replace(input, rest)))
    }

    /// Every byte of it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The first line without its CRLF.
    pub(crate) fn line(&self) -> &[u8] {
        &self.0[..find_crlf(&self.0).expect("a reply has a line")]
    }

    /// The body without the CRLF that ends the reply; `None` for a reply of one line.
    pub(crate) fn body(&self) -> Option<&[u8]> {
        let line = self.line();
        let size = body_size(line)?;
        Some(&self.0[line.len() + 2..][..size])
    }

    /// The jobs of a batch, each as the reply that it is; of other replies none.
    pub(crate) fn batch(&self) -> Vec<Self> {
        let Some(line) = batch_size(self.line()).map(|_| self.line().len() + 2) else {
            return Vec::new();
        };
        let mut rest = self.0[line..].to_vec();
        std::iter::from_fn(|| Self::take(&mut rest)).collect()
    }

    /// Whether the bytes where the final CRLF belongs are one.
    pub(crate) fn is_well_formed(&self) -> bool {
        self.0.ends_with(b"\r\n")
    }

    /// The value of `key:` in a body that is a YAML dictionary, as `stats` and the like answer.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        let body = std::str::from_utf8(self.body()?).ok()?;
        body.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// The length of the first whole reply, if it is complete.
fn length(input: &[u8]) -> Option<usize> {
    let line = find_crlf(input)?;
    let mut whole = line + 2 + body_size(&input[..line]).map_or(0, |size| size + 2);
    for _ in 0..batch_size(&input[..line]).unwrap_or(0) {
        whole += length(input.get(whole..)?)?;
    }
    (whole <= input.len()).then_some(whole)
}

/// The number of jobs that follow this line, if it begins a batch.
fn batch_size(line: &[u8]) -> Option<usize> {
    std::str::from_utf8(line).ok()?.strip_prefix("BATCH ")?.parse().ok()
}

fn find_crlf(bytes: &[u8]) -> Option<usize> {
    bytes.windows(2).position(|pair| pair == b"\r\n")
}

/// The size of the body that follows this line, if one does.
fn body_size(line: &[u8]) -> Option<usize> {
    let words: Vec<&str> = std::str::from_utf8(line).ok()?.split(' ').collect();
    match words[..] {
        ["OK", size] | ["RESERVED" | "FOUND", _, size] => size.parse().ok(),
        _ => None,
    }
}
