//! Wall-clock time as a trait, so that a simulation can own it.
//!
//! Only timestamps come from here. Timers use `tokio::time`, which a simulation controls by itself.
//! No clock guards a write.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
pub trait Clock: Send + Sync + 'static {
    /// The time now, in milliseconds since the Unix epoch; may step back.
    fn now_ms(&self) -> i64;
}

/// A clock shared by all parts of a node.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
    }
}
