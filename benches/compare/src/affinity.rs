//! Which cores the server and the client run on.

use std::{fmt, io, str::FromStr};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// A non-empty list of core numbers, written like `0` or `0,2-3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cpus(Vec<usize>);

impl Cpus {
    /// The cores that this process may use.
    pub(crate) fn allowed() -> io::Result<Self> {
        let set = sched_getaffinity(None)?;
        Ok(Self((0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect()))
    }

    /// The `index`th core of the list alone.
    pub(crate) fn nth(&self, index: usize) -> Option<Self> {
        self.0.get(index).map(|&cpu| Self(vec![cpu]))
    }

    /// The cores of both lists.
    pub(crate) fn union(&self, other: &Self) -> Self {
        let mut all = [&self.0[..], &other.0].concat();
        all.sort_unstable();
        all.dedup();
        Self(all)
    }

    /// The core numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().copied()
    }

    /// Moves the calling thread, and the processes that it starts from now on, to these cores.
    pub(crate) fn pin(&self) -> io::Result<()> {
        let mut set = CpuSet::new();
        self.iter().for_each(|cpu| set.set(cpu));
        Ok(sched_setaffinity(None, &set)?)
    }
}

impl FromStr for Cpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| {
            part.parse::<usize>()
                .ok()
                .filter(|&cpu| cpu < CpuSet::MAX_CPU)
                .ok_or_else(|| format!("'{part}' is not a core number"))
        };
        let mut cpus = Vec::new();
        for part in text.split(',') {
            match part.split_once('-') {
                Some((first, last)) => cpus.extend(number(first)?..=number(last)?),
                None => cpus.push(number(part)?),
            }
        }
        if cpus.is_empty() {
            return Err(format!("'{text}' names no core"));
        }
        Ok(Self(cpus))
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: Vec<_> = self.0.iter().map(usize::to_string).collect();
        f.write_str(&text.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges() {
        assert_eq!("0".parse(), Ok(Cpus(vec![0])));
        assert_eq!("0,2-4".parse(), Ok(Cpus(vec![0, 2, 3, 4])));
        assert_eq!("0,2-4".parse::<Cpus>().unwrap().to_string(), "0,2,3,4");
        for wrong in ["", "x", "1-", "3-2", "99999", "-1"] {
            assert!(wrong.parse::<Cpus>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn union_has_each_core_once() {
        let (a, b) = (Cpus(vec![1, 0]), Cpus(vec![1, 2]));
        assert_eq!(a.union(&b), Cpus(vec![0, 1, 2]));
    }
}
