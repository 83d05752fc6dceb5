//! Record batches (Kafka record batch v2, KIP-98): parse, check, build, iterate; the default partitioner.
//!
//! A batch is the unit on the wire, in a Raft entry and on disk. Bytes from outside are checked once, whole, by
//! `check_batches`; from then on they are stamped, stored and given out unchanged. Records that come one by one are
//! gathered in `RecordSet`s, which `build_batch` turns into a batch.
//!
//! Invariants: no bytes make anything here panic; nothing is allocated by a length that bytes declare; nothing
//! inflates beyond its bound. This module knows no offsets but those within a batch, and no producer state.

mod build;
mod check;
mod client;
mod compression;
mod header;
mod iterate;
mod partitioner;
#[cfg(test)]
mod tests;
mod varint;
mod walk;

pub use build::{BuiltBatch, RecordSet, build_batch};
pub use check::{BatchInfo, check_batches};
pub use client::{ClientBatch, ClientBatchError, ClientRules, ProducerStamp, TimestampRule, recode, take_client_batch};
pub use compression::Codec as Compression;
pub use header::{BatchHeader, HEADER_LEN, is_compressed, parse_header, stamp};
pub use iterate::{Record, Records, records};
pub use partitioner::partition_for_key;

/// What inflating and sizes may reach.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// One record: key, value, header names and header values.
    pub record_bytes_max: usize,
    /// One batch as it is sent and stored, header included.
    pub batch_bytes_max: usize,
    /// The inflated records: of all batches together when they are checked, of each one when they are read.
    pub inflated_bytes_max: usize,
}

/// Why bytes are no sound batch; the text names the field and the values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("{0}")]
    Corrupt(String),
    #[error("{what} of {size} bytes is larger than {limit} bytes")]
    TooLarge { what: &'static str, size: u64, limit: u64 },
    #[error("{0}")]
    Unsupported(String),
}

impl BatchError {
    /// Says which batch of several it is about; of the first one there is nothing to say.
    fn in_batch(self, place: usize, start: usize) -> BatchError {
        let text = |text: String| {
            if place == 0 { text } else { format!("batch {place} (at byte {start}): {text}") }
        };
        match self {
            BatchError::Corrupt(detail) => BatchError::Corrupt(text(detail)),
            BatchError::Unsupported(detail) => BatchError::Unsupported(text(detail)),
            other => other,
        }
    }
}
