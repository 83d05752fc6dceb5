//! Durable logs: segments, indexes, flusher, recovery, checkpoints, vote files.
//!
//! TODO(skeleton): DiskLog, MemoryLog, Store.

pub mod log;

pub use log::{DataEntry, Flushed, LogEntry, LogState, Payload, RaftLog, StoredBatches};
