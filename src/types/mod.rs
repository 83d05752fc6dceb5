//! Newtypes that every floor shares. Mixing two of them must not compile.
//!
//! This module knows no behaviour beyond arithmetic and formatting.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map($name)
            }
        }
    };
}

number!(
    /// A node of the cluster, chosen by the operator, from 1.
    NodeId, u64
);
number!(
    /// A Raft group. 0 is the meta group; a number is never used again.
    GroupId, u64
);
number!(
    /// A partition of a topic, from 0.
    PartitionId, u32
);
number!(
    /// A record offset within a partition, from 0, without holes.
    Offset, u64
);
number!(
    /// The index of an entry in a Raft log, from 0.
    LogIndex, u64
);
number!(
    /// A Raft term (shown to Kafka clients as the leader epoch).
    Term, u64
);
number!(
    /// A position within a file, in bytes.
    BytePosition, u64
);

/// The meta group's id.
pub const META_GROUP: GroupId = GroupId(0);

impl Offset {
    /// The offset `count` records further on.
    pub fn plus(self, count: u64) -> Offset {
        Offset(self.0 + count)
    }
}

impl LogIndex {
    /// The index after this one.
    pub fn next(self) -> LogIndex {
        LogIndex(self.0 + 1)
    }
}

/// Where an entry stands in a Raft log. Ordered by term, then index (Raft paper, section 5.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogId {
    pub term: Term,
    pub index: LogIndex,
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "T{}-{}", self.term, self.index)
    }
}

/// Identifies one life of a topic: a topic that is created again under the same name gets a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TopicId(pub uuid::Uuid);

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// When a produce request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Acks {
    /// At once, before anything is written.
    None,
    /// When the leader has flushed.
    Leader,
    /// When a quorum has flushed.
    All,
}
