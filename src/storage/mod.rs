//! Durable logs: segments, indexes, flusher, recovery, checkpoints, vote files.
//!
//! [`RaftLog`] is what the floors above see; [`Store`] is a node's data directory, which opens a [`DiskLog`] per Raft
//! group; [`MemoryLog`] is the same without a disk. What stands where on disk, and what a crash may leave, is told in
//! [`layout`]. Nothing here knows roles, commits or what a payload means.

mod batches;
mod born;
mod chunks;
mod config;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod damage_tests;
mod disk;
mod flusher;
mod frame;
mod gather;
pub mod layout;
pub mod log;
mod memory_log;
mod reader;
mod recent;
mod segment;
mod shared;
mod small_file;
mod space;
mod start;
mod stats;
mod store;
mod terms;
#[cfg(test)]
mod testing;
mod window;

pub use config::StoreConfig;
pub use disk::DiskLog;
pub use log::{DataEntry, Flushed, LogEntry, LogState, Payload, RaftLog, StoredBatches};
pub use memory_log::MemoryLog;
pub use stats::{SYNC_BUCKETS_MICROS, StorageStats};
pub use store::{Identity, Store};

use crate::types::{LogId, LogIndex, Offset, Term};
use bytes::Bytes;
use std::io;

/// The rule of every append: indexes without holes, terms that don't go back.
fn check_follows(id: LogId, next: LogIndex, last_term: Term) -> io::Result<()> {
    if id.index != next {
        let text = format!("entry {id} was appended where index {next} is next");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    if id.term < last_term {
        let text = format!("entry {id} was appended behind an entry of term {last_term}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(())
}

/// A log with a purged beginning is of no use without the state at, or behind, its start.
fn require_checkpoint(found: Option<(LogId, Bytes)>, purged: Option<LogId>) -> io::Result<Option<(LogId, Bytes)>> {
    match purged {
        Some(purged) if found.is_none() => {
            let text = format!("no sound checkpoint at or behind {purged}, up to which the log is purged");
            Err(io::Error::new(io::ErrorKind::InvalidData, text))
        }
        _ => Ok(found),
    }
}

fn not_found(index: LogIndex) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no entry at log index {index}"))
}

fn offset_not_found(offset: Offset) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no record at offset {offset}"))
}

/// A copy of an error that several are told of.
fn same_error(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}
