//! Wall clocks: the simulated time, with what faults do to a node's own clock.
//!
//! Timers are not here: each host's tokio runtime has its own paused clock, moved on by [`super::host`].

use balsa::clock::Clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Where simulated time begins, in ms since the Unix epoch; any number would do.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// Simulated time since the beginning of a history, in microseconds. Shared by all that lives in it.
#[derive(Clone, Default)]
pub struct Now(Arc<AtomicU64>);

impl Now {
    pub fn micros(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub fn ms(&self) -> u64 {
        self.micros() / 1000
    }

    pub fn advance(&self, micros: u64) {
        self.0.fetch_add(micros, Ordering::Relaxed);
    }
}

/// A node's wall clock: it may be off, jump, and run fast or slow.
#[derive(Clone)]
pub struct NodeClock {
    now: Now,
    offset_ms: Arc<AtomicI64>,
    /// Ms that it gains in each second.
    drift: Arc<AtomicI64>,
}

impl NodeClock {
    pub fn new(now: Now) -> NodeClock {
        NodeClock { now, offset_ms: Arc::default(), drift: Arc::default() }
    }

    pub fn jump(&self, by_ms: i64) {
        self.offset_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    pub fn set_drift(&self, ms_per_second: i64) {
        self.drift.store(ms_per_second, Ordering::Relaxed);
    }

    /// Sets it right.
    pub fn heal(&self) {
        self.offset_ms.store(0, Ordering::Relaxed);
        self.drift.store(0, Ordering::Relaxed);
    }
}

impl Clock for NodeClock {
    fn now_ms(&self) -> i64 {
        let true_ms = self.now.ms() as i64;
        let drifted = true_ms * self.drift.load(Ordering::Relaxed) / 1000;
        EPOCH_MS + true_ms + drifted + self.offset_ms.load(Ordering::Relaxed)
    }
}
