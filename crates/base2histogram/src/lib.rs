//! Histograms for openraft's runtime statistics, without precomputed tables.
//!
//! openraft counts batch sizes and stage latencies of every group, whether its `runtime-stats` are read or not; here
//! they are not. The crate that it uses for that computes tables for all sixteen of its resolutions at the first
//! histogram: 22 MB in every process, and the time to fill them at every start. This one has the same interface (as far
//! as openraft uses it), a bucket for each power of two, and 528 bytes a histogram.
//!
//! Invariant: a percentile lies in the bucket of the value that has that rank: at most a factor of two off.
//! What this does not do: sliding windows, other resolutions, merging.

use std::fmt;
use std::marker::PhantomData;

/// One for 0, and one for each position of the highest bit.
const BUCKETS: usize = 65;

/// How many values were recorded in each power of two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: [u64; BUCKETS],
    total: u64,
    data: PhantomData<fn() -> T>,
}

impl<T> Default for Histogram<T> {
    fn default() -> Histogram<T> {
        Histogram::new()
    }
}

impl<T> Histogram<T> {
    pub fn new() -> Histogram<T> {
        Histogram { counts: [0; BUCKETS], total: 0, data: PhantomData }
    }

    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Records a value `count` times.
    pub fn record_n(&mut self, value: u64, count: u64) {
        let bucket = (u64::BITS - value.leading_zeros()) as usize;
        self.counts[bucket] = self.counts[bucket].saturating_add(count);
        self.total = self.total.saturating_add(count);
    }

    /// How many values were recorded.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The value that a share `p` (0 to 1) of all values does not exceed, interpolated within its bucket; 0 without any.
    pub fn percentile(&self, p: f64) -> u64 {
        let rank = (self.total as f64 * p.clamp(0.0, 1.0)).ceil().max(1.0) as u64;
        let mut below = 0_u64;
        for (bucket, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            if below + count >= rank {
                let least = if bucket == 0 { 0 } else { 1_u64 << (bucket - 1) };
                let width = least.saturating_sub(1);
                return least.saturating_add((width as f64 * ((rank - below) as f64 / *count as f64)) as u64);
            }
            below += count;
        }
        0
    }

    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total,
            p0_1: self.percentile(0.001),
            p1: self.percentile(0.01),
            p5: self.percentile(0.05),
            p10: self.percentile(0.1),
            p50: self.percentile(0.5),
            p90: self.percentile(0.9),
            p99: self.percentile(0.99),
            p99_9: self.percentile(0.999),
        }
    }
}

/// Percentiles of a histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PercentileStats { samples, p50, p90, p99, p99_9, .. } = self;
        write!(out, "samples {samples}, p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p99_9}")
    }
}

/// Histograms side by side, a line each, as text.
#[derive(Clone, Debug, Default)]
pub struct AsciiChart<T = ()> {
    series: Vec<(String, Histogram<T>)>,
}

impl<T> AsciiChart<T> {
    pub fn new() -> AsciiChart<T> {
        AsciiChart { series: Vec::new() }
    }

    #[must_use]
    pub fn add(mut self, name: &str, histogram: Histogram<T>) -> AsciiChart<T> {
        self.series.push((name.to_string(), histogram));
        self
    }
}

impl<T> fmt::Display for AsciiChart<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, histogram) in &self.series {
            writeln!(out, "{name}: {}", histogram.percentile_stats())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_factor_of_two() {
        let mut histogram = Histogram::<()>::new();
        (1..=1000).for_each(|value| histogram.record(value));
        for (p, exact) in [(0.01, 10), (0.1, 100), (0.5, 500), (0.9, 900), (1.0, 1000)] {
            let found = histogram.percentile(p);
            assert!(found * 2 > exact && found <= exact * 2, "p{p}: {found} for {exact}");
        }
        assert_eq!(histogram.percentile_stats().samples, 1000);
    }

    #[test]
    fn nothing_and_the_extremes() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!(histogram.percentile(0.5), 0);
        histogram.record(0);
        assert_eq!(histogram.percentile(1.0), 0);
        histogram.record_n(u64::MAX, 3);
        assert!(histogram.percentile(1.0) > u64::MAX / 2);
        assert_eq!(histogram.total(), 4);
    }
}
