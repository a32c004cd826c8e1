//! How long something took, many times over: a histogram with fixed bounds.

use std::time::Duration;

/// Durations by their length. Counting one takes a dozen instructions; the size is fixed.
///
/// Durations are counted to the nanosecond, and summed up to the microsecond below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Histogram {
    /// By bucket; a power of two, so that an index needs no check.
    counts: [u64; PLACES],
    /// In units of 1024 nanoseconds, rounded down each time. Wraps after half a million years.
    sum: u64,
}

const PLACES: usize = 32;

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// The upper bounds of all buckets but the last, in nanoseconds. Each is at least twice the one
/// before, so that no two lie between a power of two and the next.
const BOUNDS: [u64; 26] = [
    100 * MICROSECOND,
    250 * MICROSECOND,
    500 * MICROSECOND,
    MILLISECOND,
    2 * MILLISECOND + 500 * MICROSECOND,
    5 * MILLISECOND,
    10 * MILLISECOND,
    25 * MILLISECOND,
    50 * MILLISECOND,
    100 * MILLISECOND,
    250 * MILLISECOND,
    500 * MILLISECOND,
    SECOND,
    2 * SECOND + 500 * MILLISECOND,
    5 * SECOND,
    10 * SECOND,
    30 * SECOND,
    60 * SECOND,
    120 * SECOND,
    300 * SECOND,
    900 * SECOND,
    1800 * SECOND,
    3600 * SECOND,
    10_800 * SECOND,
    43_200 * SECOND,
    86_400 * SECOND,
];

/// By the number of leading zeros of a duration: the first bound that is not below the power of two
/// that it begins with, and its bucket. The bound of the last bucket is never exceeded.
const FIRST: [(u64, u64); 65] = {
    let mut first = [(u64::MAX, BOUNDS.len() as u64); 65];
    let mut zeros = 0;
    while zeros < 65 {
        let least = if zeros == 64 { 0 } else { 1 << (63 - zeros) };
        let mut bucket = 0;
        while bucket < BOUNDS.len() && BOUNDS[bucket] < least {
            bucket += 1;
        }
        if bucket < BOUNDS.len() {
            first[zeros] = (BOUNDS[bucket], bucket as u64);
        }
        zeros += 1;
    }
    first
};

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; PLACES], sum: 0 }
    }
}

impl Histogram {
    /// Number of buckets.
    pub const BUCKETS: usize = BOUNDS.len() + 1;

    /// The longest duration that the bucket counts; `None` for the last bucket, which counts all that
    /// are longer than those of the others.
    pub fn bound(bucket: usize) -> Option<Duration> {
        BOUNDS.get(bucket).copied().map(Duration::from_nanos)
    }

    /// Counts a duration, in nanoseconds.
    #[inline]
    pub fn add(&mut self, nanos: u64) {
        let (bound, bucket) = FIRST[nanos.leading_zeros() as usize];
        let bucket = bucket + u64::from(nanos > bound);
        self.counts[bucket as usize % PLACES] += 1;
        self.sum = self.sum.wrapping_add(nanos >> 10);
    }

    /// Adds what `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// What was counted after `earlier`, which is a former value of this histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut counts = self.counts;
        for (count, before) in counts.iter_mut().zip(earlier.counts) {
            *count = count.saturating_sub(before);
        }
        Self { counts, sum: self.sum.wrapping_sub(earlier.sum) }
    }

    /// How many durations each bucket has.
    pub fn counts(&self) -> &[u64] {
        &self.counts[..Self::BUCKETS]
    }

    /// How many durations there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All durations together, in seconds. Of each, up to 1.024 microseconds are missing.
    pub fn sum_seconds(&self) -> f64 {
        self.sum as f64 * 1024e-9
    }

    /// The duration that this share of all does not exceed, in seconds; `None` if there are none. It
    /// is interpolated within its bucket, so it is off by a factor of 4 at most. Beyond a day, it is
    /// a day.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let all = self.count();
        if all == 0 {
            return None;
        }
        let rank = share.clamp(0.0, 1.0) * all as f64;
        let mut below = 0;
        for (bucket, count) in self.counts().iter().enumerate() {
            let least = if bucket == 0 { 0 } else { BOUNDS[bucket - 1] } as f64;
            if *count > 0 && (below + count) as f64 >= rank {
                let most = BOUNDS.get(bucket).map_or(least, |bound| *bound as f64);
                let part = (rank - below as f64).max(0.0) / *count as f64;
                return Some((least + (most - least) * part) / SECOND as f64);
            }
            below += count;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const _: () = assert!(Histogram::BUCKETS <= PLACES);

    #[test]
    fn bounds_leave_room_for_the_shortcut() {
        assert!(BOUNDS.windows(2).all(|pair| pair[1] >= 2 * pair[0]));
    }

    /// The definition.
    fn bucket_of(nanos: u64) -> usize {
        BOUNDS.iter().filter(|bound| **bound < nanos).count()
    }

    fn check(nanos: u64) {
        let mut histogram = Histogram::default();
        histogram.add(nanos);
        assert_eq!(histogram.counts()[bucket_of(nanos)], 1, "{nanos} ns");
        assert_eq!(histogram.count(), 1);
    }

    #[test]
    fn bounds_belong_to_the_bucket_below() {
        for bound in BOUNDS {
            [bound - 1, bound, bound + 1].into_iter().for_each(check);
        }
        [0, 1, u64::MAX].into_iter().for_each(check);
        (0..64).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 1]).for_each(check);
    }

    proptest! {
        #[test]
        fn any_duration_is_counted_where_it_belongs(nanos: u64, bits in 0..64u32) {
            check(nanos >> bits);
        }

        /// The median is in the bucket of the true one.
        #[test]
        fn quantiles_are_in_the_right_bucket(
            durations in prop::collection::vec((any::<u64>(), 10..60u32), 1..50),
            share in 0.01..1.0f64,
        ) {
            let mut all: Vec<u64> = durations.iter().map(|(nanos, bits)| nanos >> bits).collect();
            let mut histogram = Histogram::default();
            all.iter().for_each(|nanos| histogram.add(*nanos));
            all.sort_unstable();
            let rank = ((share * all.len() as f64).ceil() as usize).clamp(1, all.len());
            let bucket = bucket_of(all[rank - 1]);
            let told = histogram.quantile(share).expect("there are some");
            let least = if bucket == 0 { 0.0 } else { BOUNDS[bucket - 1] as f64 / 1e9 };
            let most = BOUNDS.get(bucket).map_or(least, |bound| *bound as f64 / 1e9);
            prop_assert!(least <= told && told <= most, "{} is not in {}..{}", told, least, most);
        }
    }

    #[test]
    fn a_difference_is_what_came_in_between() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        histogram.add(3 * SECOND);
        let earlier = histogram;
        let mut more = Histogram::default();
        for _ in 0..3 {
            more.add(MILLISECOND);
        }
        histogram.merge(&more);
        assert_eq!(histogram.since(&earlier), more);
        assert!((histogram.sum_seconds() - 3.003).abs() < 1e-5);
    }
}
