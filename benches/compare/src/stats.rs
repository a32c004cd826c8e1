//! Medians, spreads, and a histogram of latencies.

use std::time::Duration;

/// The middle and the ends of some rounds' values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    /// The median; of an even number of values, the mean of the middle two.
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Summary {
    /// `None` when there are no values.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Some(Self { median: f64::midpoint(low, high), min, max })
    }
}

/// log2 of the number of buckets for each power of two: buckets are at most 1/64 (1.6%) wide.
const PRECISION: u32 = 6;
/// Nanoseconds below this have a bucket each.
const LINEAR: u64 = 1 << (PRECISION + 1);
/// Buckets for every `u64`.
const BUCKETS: usize = ((64 - PRECISION as usize) << PRECISION) + (1 << PRECISION);

/// Counts of durations, in buckets that are 1.6% wide. Recording is a shift and an addition.
#[derive(Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    longest: Duration,
}

impl Histogram {
    /// An empty histogram.
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, longest: Duration::ZERO }
    }

    /// Counts one duration.
    pub(crate) fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
        self.longest = self.longest.max(duration);
    }

    /// The longest duration, exactly. `None` when nothing was recorded.
    pub(crate) fn longest(&self) -> Option<Duration> {
        (self.total > 0).then_some(self.longest)
    }

    /// The duration that a share `q` (0 to 1) of all durations does not exceed, within 1.6%.
    /// `None` when nothing was recorded.
    pub(crate) fn quantile(&self, q: f64) -> Option<Duration> {
        if self.total == 0 {
            return None;
        }
        let rank = ((self.total as f64 * q).ceil() as u64).clamp(1, self.total);
        let mut seen = 0;
        let found = self.counts.iter().position(|&count| {
            seen += count;
            seen >= rank
        })?;
        Some(Duration::from_nanos(middle(found)))
    }
}

fn bucket(nanos: u64) -> usize {
    if nanos < LINEAR {
        return nanos as usize;
    }
    let shift = nanos.ilog2() - PRECISION;
    // `nanos >> shift` is in 64..128, so each shift continues where the one before it ended.
    ((shift as usize) << PRECISION) + (nanos >> shift) as usize
}

/// The middle of a bucket, in nanoseconds.
fn middle(bucket: usize) -> u64 {
    if (bucket as u64) < LINEAR {
        return bucket as u64;
    }
    let shift = (bucket >> PRECISION) - 1;
    let low = ((bucket - (shift << PRECISION)) as u64) << shift;
    low + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_even_and_no_values() {
        let summary = |values: &[f64]| Summary::of(values.iter().copied());
        assert_eq!(summary(&[3.0, 1.0, 2.0]), Some(Summary { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(summary(&[4.0, 1.0, 2.0, 9.0]).unwrap().median, 3.0);
        assert_eq!(summary(&[5.0]), Some(Summary { median: 5.0, min: 5.0, max: 5.0 }));
        assert_eq!(summary(&[]), None);
    }

    #[test]
    fn median_ignores_one_outlier() {
        assert_eq!(Summary::of([10.0, 11.0, 1e9]).unwrap().median, 11.0);
    }

    #[test]
    fn buckets_follow_each_other_and_are_narrow() {
        let mut last = 0;
        for nanos in (0..100_000).chain((17..64).map(|power| (1 << power) - 1)) {
            let index = bucket(nanos);
            assert!(index == last || index == last + 1 || nanos >= 100_000, "{nanos}");
            assert!(index >= last, "{nanos}");
            last = index;
            let error = middle(index).abs_diff(nanos) as f64;
            assert!(error <= nanos as f64 / 64.0, "{nanos} is shown as {}", middle(index));
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn quantiles_of_a_known_series() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile(0.5), None);
        assert_eq!(histogram.longest(), None);
        for micros in 1..=1000 {
            histogram.record(Duration::from_micros(micros));
        }
        for (q, micros) in [(0.0, 1.0), (0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = histogram.quantile(q).unwrap().as_secs_f64() * 1e6;
            assert!((found / micros - 1.0).abs() < 1.0 / 64.0, "{q}: {found}");
        }
        assert_eq!(histogram.longest(), Some(Duration::from_millis(1)));
    }
}
