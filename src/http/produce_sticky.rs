//! Where records without key and partition go: batch by batch to one partition after another.
//!
//! Purpose: many small requests at the same time are cheapest when they meet in one partition, whose lane makes one
//! batch of them; over time all partitions get as much (the reasoning of KIP-480). Invariant: no lock and no state for
//! each topic; one counter moves all topics on, each from a place of its own.

use crate::broker::Broker;
use crate::types::{PartitionId, TopicId};
use std::sync::atomic::{AtomicU64, Ordering};

/// So many bytes go to a partition before the next one has its turn.
const TURN_BYTES: u64 = 16 << 10;

/// What a request counts at least, so that a client that writes little still meets all partitions.
const REQUEST_BYTES_MIN: u64 = 2 << 10;

/// Chooses partitions for batches that may go anywhere.
pub struct Sticky {
    seed: u64,
    bytes: AtomicU64,
}

impl Sticky {
    /// Begins at a place that differs from node to node.
    pub fn new(broker: &Broker) -> Sticky {
        Sticky::seeded(broker.random_below(u64::MAX))
    }

    fn seeded(seed: u64) -> Sticky {
        Sticky { seed, bytes: AtomicU64::new(0) }
    }

    /// The partition for a request of `bytes`.
    pub fn request(&self, topic: TopicId, partitions: u32, bytes: usize) -> PartitionId {
        self.turn(topic, partitions, (bytes as u64).clamp(REQUEST_BYTES_MIN, TURN_BYTES))
    }

    /// The partition for a batch that is large enough to have a turn of its own.
    pub fn batch(&self, topic: TopicId, partitions: u32) -> PartitionId {
        self.turn(topic, partitions, TURN_BYTES)
    }

    fn turn(&self, topic: TopicId, partitions: u32, bytes: u64) -> PartitionId {
        let turn = self.bytes.fetch_add(bytes, Ordering::Relaxed) / TURN_BYTES;
        let (high, low) = topic.0.as_u64_pair();
        let place = (high ^ low ^ self.seed).wrapping_add(turn);
        // A topic has at least one partition.
        PartitionId((place % u64::from(partitions.max(1))) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_requests_stay_together_and_all_partitions_get_as_much() {
        let sticky = Sticky::seeded(7);
        let mut counts = [0; 5];
        let mut changes = 0;
        let mut before = None;
        for _ in 0..8000 {
            let partition = sticky.request(TopicId::default(), 5, 100);
            counts[partition.0 as usize] += 1;
            changes += usize::from(before.replace(partition) != Some(partition));
        }
        assert_eq!(counts, [1600; 5]);
        assert_eq!(changes, 1000);
        let batches: Vec<u32> = (0..5).map(|_| sticky.batch(TopicId::default(), 5).0).collect();
        assert_eq!(batches.iter().sum::<u32>(), 1 + 2 + 3 + 4);
    }
}
