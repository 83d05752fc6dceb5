//! Which nodes hold which partition of one topic, flat: 10,000 partitions x 3 are one allocation, and about 30 KB on
//! the wire.
//!
//! Invariants, held by every value (decoding checks them too): 1-10,000 partitions, 1-5 replicas each, the same number
//! for all, no node twice in one partition. Whether the nodes exist is checked where they are known.

use crate::types::{NodeId, PartitionId};
use serde::{Deserialize, Serialize};

/// Most partitions that a topic may have.
pub const PARTITIONS_MAX: u32 = 10_000;
/// Most replicas that a partition may have.
pub const REPLICATION_FACTOR_MAX: u32 = 5;

/// Replicas by partition; the first of each is the preferred leader. See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Flat", into = "Flat")]
pub struct Assignments {
    replication_factor: u8,
    nodes: Vec<NodeId>,
}

/// What a list of assignments has wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssignmentsError {
    #[error("a topic has 1 to {PARTITIONS_MAX} partitions, not {0}")]
    PartitionCount(usize),
    #[error("partition {partition} has {replicas} replicas; 1 to {REPLICATION_FACTOR_MAX} are possible")]
    ReplicaCount { partition: PartitionId, replicas: usize },
    #[error(
        "partition {partition} has {replicas} replicas, but partition 0 has {expected}; all partitions of a topic have the same number"
    )]
    Uneven { partition: PartitionId, replicas: usize, expected: usize },
    #[error("partition {partition} names node {node} twice")]
    Duplicate { partition: PartitionId, node: NodeId },
}

impl AssignmentsError {
    /// The first partition that is wrong; `None` where the number of partitions is.
    pub fn partition(&self) -> Option<PartitionId> {
        match self {
            AssignmentsError::PartitionCount(_) => None,
            AssignmentsError::ReplicaCount { partition, .. }
            | AssignmentsError::Uneven { partition, .. }
            | AssignmentsError::Duplicate { partition, .. } => Some(*partition),
        }
    }
}

impl Assignments {
    /// From one list per partition.
    pub fn from_lists(lists: &[Vec<NodeId>]) -> Result<Assignments, AssignmentsError> {
        if lists.is_empty() || lists.len() > PARTITIONS_MAX as usize {
            return Err(AssignmentsError::PartitionCount(lists.len()));
        }
        let expected = lists[0].len();
        let mut nodes = Vec::with_capacity(lists.len() * expected.min(REPLICATION_FACTOR_MAX as usize));
        for (partition, list) in (0..).map(PartitionId).zip(lists) {
            if list.is_empty() || list.len() > REPLICATION_FACTOR_MAX as usize {
                return Err(AssignmentsError::ReplicaCount { partition, replicas: list.len() });
            }
            if list.len() != expected {
                return Err(AssignmentsError::Uneven { partition, replicas: list.len(), expected });
            }
            nodes.extend_from_slice(list);
        }
        Assignments::from_flat(expected, nodes)
    }

    /// From the replicas of all partitions in one list, `replication_factor` each.
    pub fn from_flat(replication_factor: usize, nodes: Vec<NodeId>) -> Result<Assignments, AssignmentsError> {
        if replication_factor == 0 || replication_factor > REPLICATION_FACTOR_MAX as usize {
            return Err(AssignmentsError::ReplicaCount { partition: PartitionId(0), replicas: replication_factor });
        }
        let partitions = nodes.len() / replication_factor;
        if partitions == 0 || partitions > PARTITIONS_MAX as usize {
            return Err(AssignmentsError::PartitionCount(partitions));
        }
        let ragged = nodes.len() % replication_factor;
        if ragged != 0 {
            let partition = PartitionId(partitions as u32);
            return Err(AssignmentsError::Uneven { partition, replicas: ragged, expected: replication_factor });
        }
        for (partition, replicas) in (0..).map(PartitionId).zip(nodes.chunks_exact(replication_factor)) {
            if let Some(node) = (1..replicas.len()).find(|&at| replicas[..at].contains(&replicas[at])) {
                return Err(AssignmentsError::Duplicate { partition, node: replicas[node] });
            }
        }
        Ok(Assignments { replication_factor: replication_factor as u8, nodes })
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> u32 {
        (self.nodes.len() / usize::from(self.replication_factor)) as u32
    }

    /// How many replicas each partition has.
    pub fn replication_factor(&self) -> u32 {
        u32::from(self.replication_factor)
    }

    /// The replicas of one partition, the preferred leader first.
    pub fn replicas(&self, partition: PartitionId) -> Option<&[NodeId]> {
        let width = usize::from(self.replication_factor);
        let from = (partition.0 as usize).checked_mul(width)?;
        self.nodes.get(from..from.checked_add(width)?)
    }

    /// The replicas of all partitions, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[NodeId]> {
        self.nodes.chunks_exact(usize::from(self.replication_factor))
    }

    /// One list per partition.
    pub fn to_lists(&self) -> Vec<Vec<NodeId>> {
        self.iter().map(<[NodeId]>::to_vec).collect()
    }

    /// All of these partitions, then all of `more`, which must have the same number of replicas.
    pub(super) fn extended(&self, more: &Assignments) -> Result<Assignments, AssignmentsError> {
        if more.replication_factor != self.replication_factor {
            return Err(AssignmentsError::Uneven {
                partition: PartitionId(self.partitions()),
                replicas: usize::from(more.replication_factor),
                expected: usize::from(self.replication_factor),
            });
        }
        let partitions = (self.partitions() + more.partitions()) as usize;
        if partitions > PARTITIONS_MAX as usize {
            return Err(AssignmentsError::PartitionCount(partitions));
        }
        let nodes = [self.nodes.as_slice(), more.nodes.as_slice()].concat();
        Ok(Assignments { replication_factor: self.replication_factor, nodes })
    }
}

/// As it is encoded.
#[derive(Serialize, Deserialize)]
struct Flat {
    replication_factor: u8,
    nodes: Vec<NodeId>,
}

impl From<Assignments> for Flat {
    fn from(assignments: Assignments) -> Flat {
        Flat { replication_factor: assignments.replication_factor, nodes: assignments.nodes }
    }
}

impl TryFrom<Flat> for Assignments {
    type Error = AssignmentsError;

    fn try_from(flat: Flat) -> Result<Assignments, AssignmentsError> {
        Assignments::from_flat(usize::from(flat.replication_factor), flat.nodes)
    }
}
