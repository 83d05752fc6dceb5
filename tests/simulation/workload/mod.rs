//! What clients do, and what they hear: calls and outcomes as invariants see them.
//!
//! Each record holds one *value*, a number that is sent by one call only (or again by the same client, for the same
//! purpose). So a value that is read tells which call wrote it.

pub mod calls;
pub mod client;
#[cfg(test)]
pub mod events;

use std::fmt;
use uuid::Uuid;

/// The client that reads everything in the end.
pub const READ_FROM_ALL: u64 = u64::MAX;

/// A partition of one life of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub topic: Uuid,
    pub partition: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "partition {} of topic {}", self.partition, self.topic.as_fields().0)
    }
}

/// What an idempotent producer says of a batch (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    pub id: i64,
    /// Of the batch's first record.
    pub sequence: i32,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    Produce {
        topic: String,
        partition: u32,
        values: Vec<u64>,
        /// Bytes of each record's value.
        value_bytes: usize,
        acks_all: bool,
        expected: Option<u64>,
        key: Option<u64>,
        /// As an idempotent producer of Kafka sends it, to the leader itself.
        producer: Option<Producer>,
    },
    Read {
        topic: String,
        partition: u32,
        from: u64,
        linearizable: bool,
    },
    /// A linearizable read at the end.
    End {
        topic: String,
        partition: u32,
    },
    Create {
        topic: String,
        partitions: u32,
        replication: u32,
    },
    Delete {
        topic: String,
    },
    /// A group of the client's own says how far it has read: further each time.
    Commit {
        topic: String,
        partition: u32,
        group: String,
        offset: u64,
    },
    /// How far has that group read?
    Committed {
        topic: String,
        partition: u32,
        group: String,
    },
}

impl Call {
    pub fn topic(&self) -> &str {
        match self {
            Call::Produce { topic, .. }
            | Call::Read { topic, .. }
            | Call::End { topic, .. }
            | Call::Create { topic, .. }
            | Call::Commit { topic, .. }
            | Call::Committed { topic, .. }
            | Call::Delete { topic } => topic,
        }
    }

    pub fn partition(&self) -> u32 {
        match self {
            Call::Produce { partition, .. }
            | Call::Read { partition, .. }
            | Call::End { partition, .. }
            | Call::Commit { partition, .. }
            | Call::Committed { partition, .. } => *partition,
            Call::Create { .. } | Call::Delete { .. } => 0,
        }
    }

    /// What it writes.
    pub fn values(&self) -> &[u64] {
        match self {
            Call::Produce { values, .. } => values,
            _ => &[],
        }
    }

    pub fn expected(&self) -> Option<u64> {
        match self {
            Call::Produce { expected, .. } => *expected,
            _ => None,
        }
    }

    pub fn reads(&self) -> bool {
        matches!(self, Call::Read { .. } | Call::End { .. })
    }

    pub fn is_linearizable(&self) -> bool {
        matches!(self, Call::Read { linearizable: true, .. } | Call::End { .. })
    }
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Produced {
        place: Place,
        base_offset: u64,
        acks_all: bool,
        replayed: bool,
    },
    Read {
        place: Place,
        start_offset: u64,
        high_watermark: u64,
        term: u64,
        /// Offset and value of each record.
        records: Vec<(u64, u64)>,
    },
    Created {
        topic: Uuid,
    },
    Deleted {
        topic: Uuid,
    },
    /// The group's offset is durable.
    Committed,
    /// The group's offset, if it has one.
    Offset {
        offset: Option<u64>,
    },
    /// The compare-and-append found another end.
    Mismatch {
        place: Place,
        end: u64,
    },
    /// Surely nothing was done. `earlier_in_doubt`: by this attempt; an earlier one of the same write may have.
    Refused {
        reason: String,
        earlier_in_doubt: bool,
    },
    /// May have been done, or may still be.
    Unknown {
        reason: String,
    },
    /// What was served cannot be what was written.
    Wrong {
        place: Place,
        what: String,
    },
}

/// A request was made (`outcome` is `None`), or has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub op: u64,
    pub client: u64,
    pub call: Call,
    pub outcome: Option<Outcome>,
}
