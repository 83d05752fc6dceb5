//! Counters of a store, for metrics. They never go back, but for those that say so.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets of `sync_buckets`, in microseconds; a last bucket has all that took longer.
pub const SYNC_BUCKETS_MICROS: [u64; 12] =
    [64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192, 16_384, 65_536, 262_144, 1_048_576];

/// What a store has done since it was opened.
#[derive(Debug, Default)]
pub struct StorageStats {
    /// Entries appended.
    pub entries: AtomicU64,
    /// Bytes written to segments.
    pub bytes_written: AtomicU64,
    /// Syncs of segments; each covers one or many appends.
    pub syncs: AtomicU64,
    /// What these took together, in microseconds, and by bucket.
    pub sync_micros: AtomicU64,
    pub sync_buckets: [AtomicU64; SYNC_BUCKETS_MICROS.len() + 1],
    /// Bytes read from segments that were not in memory.
    pub bytes_read: AtomicU64,
    /// Memory for entries, those not yet on disk included. Goes up and down.
    pub cache_bytes: AtomicU64,
    /// Bytes appended and not on disk yet. Goes up and down.
    pub pending_bytes: AtomicU64,
    /// Logs that became read-only after a failed write or sync.
    pub latched_logs: AtomicU64,
    /// Appends refused because the disk reserve was reached.
    pub refused_full: AtomicU64,
}

impl StorageStats {
    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn subtract(counter: &AtomicU64, count: u64) {
        counter.fetch_sub(count, Ordering::Relaxed);
    }

    pub(super) fn synced(&self, took: Duration) {
        let micros = took.as_micros().min(u128::from(u64::MAX)) as u64;
        let bucket = SYNC_BUCKETS_MICROS.partition_point(|bound| *bound < micros);
        Self::add(&self.syncs, 1);
        Self::add(&self.sync_micros, micros);
        Self::add(&self.sync_buckets[bucket], 1);
    }
}
