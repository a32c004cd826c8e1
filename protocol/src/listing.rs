//! The answer to `list-jobs`: a text that is YAML, one job to a line.

use std::io::Write;

use crate::stats::JobState;
use crate::types::{JobId, Priority, Seconds};

/// One page of the jobs of a tube.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobListing {
    /// The cursor of the next page; 0 after the last one.
    pub next: u32,
    /// The jobs of this page, possibly none.
    pub jobs: Vec<ListedJob>,
}

/// A job in a [`JobListing`]. Times are in seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are the keys of the text, as in `stats-job`.
pub struct ListedJob {
    pub id: JobId,
    pub state: JobState,
    pub priority: Priority,
    pub age: u64,
    pub delay: Seconds,
    pub ttr: Seconds,
    pub time_left: u64,
    pub reserves: u32,
    pub timeouts: u32,
    pub releases: u32,
    pub buries: u32,
    pub kicks: u32,
    pub disconnects: u32,
    /// Size of its body, in bytes.
    pub size: u64,
}

impl JobListing {
    /// The text, without the CRLF that ends a body.
    pub fn to_yaml(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + 192 * self.jobs.len());
        let _ = write!(out, "---\nnext: {}\njobs:", self.next);
        if self.jobs.is_empty() {
            out.extend_from_slice(b" []");
        }
        out.push(b'\n');
        for job in &self.jobs {
            job.put_yaml(&mut out);
        }
        out
    }

    /// Reads the text. Keys that are not known are ignored. `None` if it is no such text.
    pub fn from_yaml(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != "---" {
            return None;
        }
        let next = lines.next()?.strip_prefix("next: ")?.parse().ok()?;
        match lines.next()? {
            "jobs: []" | "jobs:" => {}
            _ => return None,
        }
        let jobs = lines.map(ListedJob::from_yaml).collect::<Option<_>>()?;
        Some(Self { next, jobs })
    }
}

impl ListedJob {
    fn put_yaml(&self, out: &mut Vec<u8>) {
        let _ = write!(out, "- {{id: {}, state: {}", self.id, self.state.as_str());
        let numbers = [
            ("pri", u64::from(self.priority)),
            ("age", self.age),
            ("delay", u64::from(self.delay)),
            ("ttr", u64::from(self.ttr)),
            ("time-left", self.time_left),
            ("reserves", u64::from(self.reserves)),
            ("timeouts", u64::from(self.timeouts)),
            ("releases", u64::from(self.releases)),
            ("buries", u64::from(self.buries)),
            ("kicks", u64::from(self.kicks)),
            ("disconnects", u64::from(self.disconnects)),
            ("size", self.size),
        ];
        for (key, number) in numbers {
            let _ = write!(out, ", {key}: {number}");
        }
        out.extend_from_slice(b"}\n");
    }

    fn from_yaml(line: &str) -> Option<Self> {
        let fields = line.strip_prefix("- {")?.strip_suffix('}')?;
        let field = |wanted: &str| {
            let mut pairs = fields.split(", ").filter_map(|pair| pair.split_once(": "));
            pairs.find(|(key, _)| *key == wanted).map(|(_, value)| value)
        };
        let number = |key: &str| field(key)?.parse::<u64>().ok();
        let short = |key: &str| field(key)?.parse::<u32>().ok();
        Some(Self {
            id: number("id")?,
            state: JobState::from_word(field("state")?.as_bytes())?,
            priority: short("pri")?,
            age: number("age")?,
            delay: short("delay")?,
            ttr: short("ttr")?,
            time_left: number("time-left")?,
            reserves: short("reserves")?,
            timeouts: short("timeouts")?,
            releases: short("releases")?,
            buries: short("buries")?,
            kicks: short("kicks")?,
            disconnects: short("disconnects")?,
            size: number("size")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: JobId, state: JobState) -> ListedJob {
        ListedJob {
            id,
            state,
            priority: 1,
            age: 2,
            delay: 3,
            ttr: 4,
            time_left: 5,
            reserves: 6,
            timeouts: 7,
            releases: 8,
            buries: 9,
            kicks: 10,
            disconnects: 11,
            size: 12,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let states = [JobState::Ready, JobState::Delayed, JobState::Reserved, JobState::Buried];
        let jobs = states.map(|state| job(u64::MAX, state)).to_vec();
        for listing in [JobListing { next: u32::MAX, jobs }, JobListing::default()] {
            let text = String::from_utf8(listing.to_yaml()).expect("it is ASCII");
            assert_eq!(JobListing::from_yaml(&text), Some(listing), "{text}");
        }
        let text = JobListing { next: 7, jobs: vec![job(9, JobState::Ready)] }.to_yaml();
        let expected = "---\nnext: 7\njobs:\n- {id: 9, state: ready, pri: 1, age: 2, delay: 3, \
                        ttr: 4, time-left: 5, reserves: 6, timeouts: 7, releases: 8, buries: 9, \
                        kicks: 10, disconnects: 11, size: 12}\n";
        assert_eq!(String::from_utf8_lossy(&text), expected);
        assert_eq!(JobListing::default().to_yaml(), b"---\nnext: 0\njobs: []\n");
    }

    #[test]
    fn what_is_no_listing_is_not_read() {
        for text in ["", "---", "---\nnext: x\njobs: []", "---\nnext: 1\njobs:\n- 1", "OK"] {
            assert_eq!(JobListing::from_yaml(text), None, "{text:?}");
        }
    }
}
