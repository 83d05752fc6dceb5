//! What stands in the log beside the records: by what an entry is known, and commands. In bytes, and back.

use super::super::group::GroupCommand;
use crate::types::Offset;
use serde::{Deserialize, Serialize};

/// The newest format of attributes, commands and checkpoints. Version 2 has Kafka's producers, terms and a log start of
/// its own; what version 1 could say is still written as version 1, and a newer one is refused.
pub(super) const FORMAT_VERSION: u8 = 2;

/// A node's lane to a partition, for the life of that lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WriterId(pub u64);

/// Hash of a key, and of the body that was sent with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyHash(pub [u8; 16]);

/// By what a retry of this entry is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Identity {
    /// The `sequence`-th entry of a lane.
    Writer { writer: WriterId, sequence: u64 },
    /// A request with a key of its own: a client's `Idempotency-Key`, or (`client: false`) a node's random one.
    Key { client: bool, key: KeyHash, body: KeyHash, default_timestamp_ms: i64 },
    /// By nothing: a retry is another entry (a Kafka producer without idempotence).
    Anonymous,
    /// A batch of an idempotent Kafka producer (KIP-98), whose records are numbered from `first_sequence`.
    Producer { producer_id: i64, epoch: i16, first_sequence: i32 },
}

/// What a data entry says of itself besides its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryAttributes {
    /// The leader's wall clock when it appended; only ages idempotency keys.
    pub appended_at_ms: i64,
    pub identity: Identity,
}

impl EntryAttributes {
    /// Encodes with a format version in front.
    pub fn encode(&self) -> Vec<u8> {
        let version = match self.identity {
            Identity::Writer { .. } | Identity::Key { .. } => 1,
            Identity::Anonymous | Identity::Producer { .. } => 2,
        };
        encode(version, self)
    }

    /// Decodes what `encode` wrote.
    ///
    /// # Errors
    /// A newer format, or other bytes.
    pub fn decode(bytes: &[u8]) -> Result<EntryAttributes, String> {
        decode(bytes, "entry attributes")
    }
}

/// Changes of a partition's state that are not records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartitionCommand {
    /// Registers a client's key on its home partition before a request that reaches beyond it.
    ClaimKey { key: KeyHash, body: KeyHash, partitions: u32, appended_at_ms: i64 },
    /// Undoes a claim whose request was refused as a whole.
    ReleaseKey { key: KeyHash, body: KeyHash },
    /// A lease of a consumer group, on the partition that holds the group.
    Group(GroupCommand),
    /// Makes this, or the high watermark where that is less, the first offset that readers see.
    Trim { log_start_offset: Offset },
}

impl PartitionCommand {
    /// Encodes with a format version in front.
    pub fn encode(&self) -> Vec<u8> {
        let version = match self {
            PartitionCommand::ClaimKey { .. } | PartitionCommand::ReleaseKey { .. } => 1,
            PartitionCommand::Group(_) | PartitionCommand::Trim { .. } => 2,
        };
        encode(version, self)
    }

    /// Decodes what `encode` wrote.
    ///
    /// # Errors
    /// A newer format, or other bytes.
    pub fn decode(bytes: &[u8]) -> Result<PartitionCommand, String> {
        decode(bytes, "partition command")
    }
}

/// What applying an entry gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Applied {
    /// Nothing to tell (blank, membership).
    Nothing,
    /// Records stand at `base_offset`.
    Records { base_offset: Offset },
    /// The claim holds (made now or before by the same body); records are spread over so many partitions.
    Claimed { partitions: u32 },
    /// The key is in use with another body.
    KeyConflict,
    /// A command about a lease was taken, or came too late.
    Lease { holds: bool },
    /// The log starts here now.
    Trimmed { log_start_offset: Offset },
}

pub(super) fn encode<T: Serialize>(version: u8, value: &T) -> Vec<u8> {
    let mut bytes = vec![version];
    bincode::serialize_into(&mut bytes, value).expect("plain data is always serialized");
    bytes
}

pub(super) fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8], what: &str) -> Result<T, String> {
    let (version, rest) = bytes.split_first().ok_or_else(|| format!("{what}: no bytes"))?;
    if !(1..=FORMAT_VERSION).contains(version) {
        return Err(format!(
            "{what}: format version {version}, but this version of balsa reads up to {FORMAT_VERSION}"
        ));
    }
    bincode::deserialize(rest).map_err(|error| format!("{what}: {error}"))
}
