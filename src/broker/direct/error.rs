//! Why a direct request was not carried out; the fronts map each to an error of their protocol.

use crate::partition::{AppendError, LocalReadError};
use crate::record::ClientBatchError;
use crate::types::{NodeId, Offset, PartitionId, Term};

/// Why a direct request was not carried out. Surely nothing was written, except with `OutcomeUnknown`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectError {
    #[error("topic {0} does not exist")]
    UnknownTopic(String),
    #[error("topic {topic} has {partitions} partitions, so there is no partition {partition}")]
    UnknownPartition { topic: String, partition: PartitionId, partitions: u32 },
    /// Ask the leader instead, where it is known.
    #[error("this node does not lead the partition")]
    NotLeader { leader: Option<NodeId>, term: Term },
    /// Try again in a moment.
    #[error("{0}")]
    NotReady(String),
    /// The client's leader epoch is older than the term.
    #[error("the leader epoch is older than the partition's, which is {current}")]
    FencedTerm { current: Term },
    /// The client's leader epoch is newer than the term that this replica knows of.
    #[error("the leader epoch is newer than the one known here, which is {current}")]
    UnknownTerm { current: Term },
    #[error("offset {offset} is outside of {log_start_offset}..={high_watermark}")]
    OutOfRange { offset: Offset, log_start_offset: Offset, high_watermark: Offset },
    #[error("{0}")]
    Overloaded(String),
    #[error("{0}")]
    DiskFull(String),
    #[error("{0}")]
    StorageFailed(String),
    /// It may have been written.
    #[error("{0}")]
    OutcomeUnknown(String),
    #[error("{0}")]
    NotEnoughReplicas(String),
    #[error("{0}")]
    Corrupt(String),
    #[error("{0}")]
    UnsupportedFormat(String),
    #[error("{0}")]
    UnsupportedCompression(String),
    #[error("{what} of {size} bytes is larger than the {limit} bytes that it may have")]
    TooLarge { what: String, size: u64, limit: u64 },
    #[error("{0}")]
    InvalidTimestamp(String),
    #[error("{0}")]
    InvalidRecord(String),
    #[error("{0}")]
    OutOfOrderSequence(String),
    #[error("{0}")]
    DuplicateSequence(String),
    #[error("{0}")]
    InvalidProducerEpoch(String),
    #[error("{0}")]
    UnknownProducer(String),
    #[error("{0}")]
    Internal(String),
}

impl DirectError {
    /// For metrics.
    pub(super) fn name(&self) -> &'static str {
        match self {
            DirectError::UnknownTopic(_) => "unknown_topic",
            DirectError::UnknownPartition { .. } => "unknown_partition",
            DirectError::NotLeader { .. } => "not_leader",
            DirectError::NotReady(_) => "unavailable",
            DirectError::FencedTerm { .. } | DirectError::UnknownTerm { .. } => "leader_epoch",
            DirectError::OutOfRange { .. } => "out_of_range",
            DirectError::Overloaded(_) => "overloaded",
            DirectError::DiskFull(_) => "disk_full",
            DirectError::StorageFailed(_) => "storage_failed",
            DirectError::OutcomeUnknown(_) => "outcome_unknown",
            DirectError::NotEnoughReplicas(_) => "not_enough_replicas",
            DirectError::Corrupt(_)
            | DirectError::UnsupportedFormat(_)
            | DirectError::UnsupportedCompression(_)
            | DirectError::InvalidRecord(_) => "bad_batch",
            DirectError::TooLarge { .. } => "too_large",
            DirectError::InvalidTimestamp(_) => "invalid_timestamp",
            DirectError::OutOfOrderSequence(_) | DirectError::DuplicateSequence(_) => "sequence",
            DirectError::InvalidProducerEpoch(_) | DirectError::UnknownProducer(_) => "producer",
            DirectError::Internal(_) => "internal",
        }
    }
}

impl From<ClientBatchError> for DirectError {
    fn from(error: ClientBatchError) -> DirectError {
        match error {
            ClientBatchError::Corrupt(text) => DirectError::Corrupt(text),
            ClientBatchError::UnsupportedFormat(text) => DirectError::UnsupportedFormat(text),
            ClientBatchError::UnsupportedCompression(text) => DirectError::UnsupportedCompression(text),
            ClientBatchError::TooLarge { what, size, limit } => {
                DirectError::TooLarge { what: what.to_owned(), size, limit }
            }
            ClientBatchError::InvalidTimestamp(text) => DirectError::InvalidTimestamp(text),
            ClientBatchError::InvalidRecord(text) => DirectError::InvalidRecord(text),
        }
    }
}

impl From<AppendError> for DirectError {
    fn from(error: AppendError) -> DirectError {
        match error {
            AppendError::NotLeader { leader, term } => DirectError::NotLeader { leader, term },
            AppendError::NotReady => DirectError::NotReady("the partition's new leader is not ready yet".to_owned()),
            AppendError::Overloaded => {
                DirectError::Overloaded("the partition has too many bytes of unfinished writes".to_owned())
            }
            AppendError::DiskFull(reason) => DirectError::DiskFull(reason),
            AppendError::StorageFailed(reason) => DirectError::StorageFailed(reason),
            AppendError::NotHere(reason) => DirectError::NotReady(reason),
            AppendError::Unknown => DirectError::OutcomeUnknown(
                "the partition's leader changed before the write was confirmed; it may have been made".to_owned(),
            ),
            AppendError::ProducerOutOfOrder { expected } => DirectError::OutOfOrderSequence(format!(
                "the sequence number is neither the producer's next one, which is {expected}, nor one of its newest batches"
            )),
            AppendError::ProducerFenced { epoch } => {
                DirectError::InvalidProducerEpoch(format!("the producer has begun epoch {epoch}"))
            }
            // Of writers and keys, which a direct append does not have.
            AppendError::OutOfOrder { .. } | AppendError::OffsetMismatch { .. } | AppendError::KeyConflict => {
                DirectError::Internal(format!("an append without such an identity was refused with {error:?}"))
            }
        }
    }
}

impl From<LocalReadError> for DirectError {
    fn from(error: LocalReadError) -> DirectError {
        match error {
            LocalReadError::NotLeader { leader, term } => DirectError::NotLeader { leader, term },
            LocalReadError::NotReady => DirectError::NotReady("the partition's new leader is not ready yet".to_owned()),
            LocalReadError::OutOfRange { offset, log_start_offset, high_watermark } => {
                DirectError::OutOfRange { offset, log_start_offset, high_watermark }
            }
            LocalReadError::StorageFailed(reason) => DirectError::StorageFailed(reason),
            LocalReadError::NotHere(reason) => DirectError::NotReady(reason),
            LocalReadError::NeverWritten => DirectError::NotReady("the partition was never written".to_owned()),
        }
    }
}
