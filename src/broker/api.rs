//! What the fronts ask of the broker, and what they get. Shared vocabulary of `http/`, `kafka/`, `peer/`.

use crate::types::{Acks, NodeId, Offset, PartitionId, Term, TopicId};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

pub use crate::controller::topic_config::{SettingKind, TimestampType, TopicSettings as TopicConfig};
pub use crate::partition::ReadFrom;
pub use crate::record::RecordSet;
pub use crate::storage::StoredBatches;

/// One produce request for one partition. The unit of all-or-nothing.
#[derive(Debug)]
pub struct Produce {
    pub topic: Arc<TopicView>,
    pub partition: PartitionId,
    pub records: ProduceRecords,
    pub acks: Acks,
    /// Until when the broker carries the request through elections by itself.
    pub deadline: Instant,
    /// Lands only where the first record's offset would be this one.
    pub expected_offset: Option<Offset>,
    pub idempotency: Option<IdempotencyKey>,
}

/// The records of a produce request.
#[derive(Debug)]
pub enum ProduceRecords {
    /// Built here from JSON or raw values: may be merged with those of other requests into one batch.
    Set(RecordSet),
    /// One or more Kafka record batches v2, checked at the door, kept as they are.
    Batches { bytes: Bytes, record_count: u32, timestamp_ms_max: i64 },
}

/// `Idempotency-Key` of a request. Scope: the topic and the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    pub key: String,
    /// First 16 bytes of SHA-256 over what makes two bodies "the same" (method, path, query that matters, type, body).
    pub body_hash: [u8; 16],
}

/// A produce request that took place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Produced {
    /// Offset of the request's first record; `None` for acks=0.
    pub base_offset: Option<Offset>,
    /// The answer of an earlier request with the same idempotency key.
    pub replayed: bool,
    /// Default timestamp that the first request of an idempotency key gave its records (differs from this request's
    /// own default where `replayed`).
    pub default_timestamp_ms: i64,
}

/// Why a produce request did not take place, or may not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ProduceError {
    #[error("topic {0} does not exist")]
    UnknownTopic(String),
    #[error("topic {topic} has {partitions} partitions, so there is no partition {partition}")]
    UnknownPartition { topic: String, partition: PartitionId, partitions: u32 },
    /// Surely not written: there was no leader, or no quorum, until the deadline.
    #[error("{reason}")]
    Unavailable { reason: String, retry_after_ms: u64 },
    /// Surely not written: a queue is full.
    #[error("{reason}")]
    Overloaded { reason: String, retry_after_ms: u64 },
    /// May have been written.
    #[error("{reason}")]
    OutcomeUnknown { reason: String },
    /// The compare-and-append found another end.
    #[error("the log of partition {partition} ends at offset {log_end_offset}, not at the expected one")]
    OffsetMismatch { partition: PartitionId, log_end_offset: Offset },
    /// The idempotency key was used with another body.
    #[error("this Idempotency-Key was used before with another request body")]
    IdempotencyConflict,
    /// Larger than the topic's `max.message.bytes`, or than a batch may be.
    #[error("{what} of {size} bytes is larger than the {limit} bytes that {name} allows")]
    TooLarge { what: String, size: u64, limit: u64, name: String },
    /// The batch's bytes are not what they say (length, magic, CRC, counts, compression).
    #[error("{0}")]
    BadBatch(String),
    /// The disk of the partition's leader is full; surely not written.
    #[error("{0}")]
    DiskFull(String),
    /// The partition's log on this node takes no writes after a failed write or flush.
    #[error("{0}")]
    StorageFailed(String),
}

/// What a read may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Isolation {
    ReadCommitted,
    ReadUncommitted,
}

/// One read of one partition.
#[derive(Clone, Debug)]
pub struct Fetch {
    pub topic: Arc<TopicView>,
    pub partition: PartitionId,
    pub from: ReadFrom,
    /// At least one entry's batches come, however large.
    pub max_bytes: usize,
    /// How long to hold the answer until a record is there. Zero: at once.
    pub wait_ms: u64,
    pub isolation: Isolation,
    /// Asks the quorum before reading (ReadIndex).
    pub linearizable: bool,
    pub deadline: Instant,
}

/// What a read found. Never shows what is not committed.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Where `from` resolved to.
    pub start_offset: Offset,
    pub log_start_offset: Offset,
    pub high_watermark: Offset,
    pub leader: NodeId,
    pub term: Term,
    /// The first may begin before `start_offset`. Empty at the high watermark.
    pub batches: Vec<StoredBatches>,
}

/// Why a read gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum FetchError {
    #[error("topic {0} does not exist")]
    UnknownTopic(String),
    #[error("topic {topic} has {partitions} partitions, so there is no partition {partition}")]
    UnknownPartition { topic: String, partition: PartitionId, partitions: u32 },
    #[error("offset {offset} is outside of {log_start_offset}..={high_watermark}")]
    OutOfRange { offset: Offset, log_start_offset: Offset, high_watermark: Offset },
    #[error("{reason}")]
    Unavailable { reason: String, retry_after_ms: u64 },
    #[error("{reason}")]
    Overloaded { reason: String, retry_after_ms: u64 },
    #[error("{0}")]
    StorageFailed(String),
}

/// Offsets of one partition at a point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetAt {
    pub partition: PartitionId,
    pub offset: Offset,
    /// Timestamp of the record there; `None` at the ends.
    pub timestamp_ms: Option<i64>,
}

/// A topic as the catalog has it, immutable; a new one is made at each change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicView {
    pub name: String,
    pub id: TopicId,
    pub replication_factor: u32,
    /// Partition count when the topic was made: what an idempotency key hashes over, so that adding partitions does
    /// not move a key.
    pub partitions_at_create: u32,
    /// Replicas by partition; the first is the preferred leader.
    pub assignments: Vec<Vec<NodeId>>,
    /// Only what was set; see [`TopicConfig`] for the values in force.
    pub config: BTreeMap<String, String>,
    /// The values in force.
    pub effective: TopicConfig,
}

/// A setting as administrators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingView {
    pub name: &'static str,
    pub value: String,
    /// It was not set.
    pub is_default: bool,
    pub default: Option<String>,
    pub kind: SettingKind,
    pub doc: &'static str,
}

/// What `describe` says of one partition beyond the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionView {
    pub partition: PartitionId,
    /// `None` while there is none.
    pub leader: Option<NodeId>,
    pub term: Term,
    pub replicas: Vec<NodeId>,
    pub in_sync: Vec<NodeId>,
    pub log_start_offset: Offset,
    pub high_watermark: Offset,
    pub size_bytes: u64,
}

/// A request to make a topic.
#[derive(Clone, Debug, Default)]
pub struct CreateTopic {
    pub name: String,
    /// Default: the node's `default_partitions`, or as many as `assignments` has.
    pub partitions: Option<u32>,
    /// Default: the smaller of 3 and the number of nodes, or as `assignments` has.
    pub replication_factor: Option<u32>,
    pub assignments: Option<Vec<Vec<NodeId>>>,
    pub config: BTreeMap<String, String>,
}

/// A request to change a topic. `None` leaves a part as it is; a config value of `None` resets it to its default.
#[derive(Clone, Debug, Default)]
pub struct AlterTopic {
    pub partitions: Option<u32>,
    /// Replicas of the partitions that are added.
    pub assignments: Option<Vec<Vec<NodeId>>>,
    pub config: BTreeMap<String, Option<String>>,
}

/// Why a change of the catalog did not take place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum TopicError {
    #[error("topic {0} does not exist")]
    UnknownTopic(String),
    #[error("topic {0} exists already")]
    Exists(String),
    /// `field` is a JSON pointer into the request body ("/partitions").
    #[error("{detail}")]
    Invalid { field: String, detail: String },
    #[error("{reason}")]
    Unavailable { reason: String, retry_after_ms: u64 },
    #[error("{reason}")]
    OutcomeUnknown { reason: String },
}

/// A node as `GET /v1/nodes` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    pub id: NodeId,
    pub uuid: String,
    pub version: String,
    pub http_address: String,
    pub kafka_address: Option<String>,
    pub peer_address: String,
    pub rack: Option<String>,
    /// "alive", "silent", "gone", "unknown".
    pub state: String,
    pub controller: bool,
    /// Partitions that it leads, and of which it holds a replica.
    pub leaders: u64,
    pub replicas: u64,
    pub disk_total_bytes: Option<u64>,
    pub disk_free_bytes: Option<u64>,
}

/// The cluster as `GET /v1/cluster` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterView {
    pub cluster_id: String,
    pub version: String,
    pub controller: Option<NodeId>,
    pub nodes: Vec<NodeView>,
    pub topics: u64,
    pub partitions: u64,
}

/// One condition of readiness, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyCheck {
    pub name: &'static str,
    pub ok: bool,
    pub detail: String,
}
