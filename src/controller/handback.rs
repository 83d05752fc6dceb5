//! Gives leaderships back to the preferred replicas of partitions once those are well again, so that leaders spread.
//!
//! Decided by each leader for itself: placement spread the preferred replicas evenly, so no plan of the whole is needed.

use super::Controller;
use crate::transport::Liveness;
use crate::types::{META_GROUP, NodeId};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// A node must have been heard of for so long before it gets leaderships back.
const STEADY: Duration = Duration::from_secs(3);
/// Leaderships handed over per second and node: each pauses its partition for a moment.
const MOVES_PER_ROUND: usize = 50;

impl Controller {
    /// Runs until the node stops.
    pub async fn hand_back_leaderships(self) {
        let stopping = self.inner.tasks.stopping();
        let liveness = self.inner.transport.liveness();
        let mut alive_since: BTreeMap<NodeId, Instant> = BTreeMap::new();
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
            let now = Instant::now();
            for (node, life) in liveness.borrow().iter() {
                if *life == Liveness::Alive {
                    alive_since.entry(*node).or_insert(now);
                } else {
                    alive_since.remove(node);
                }
            }
            let steady = |node: &NodeId| alive_since.get(node).is_some_and(|since| since.elapsed() >= STEADY);
            self.hand_back_round(steady).await;
        }
    }

    async fn hand_back_round(&self, steady: impl Fn(&NodeId) -> bool) {
        let image = self.image();
        let mut moves = 0;
        for group in self.inner.groups.open_groups() {
            if moves >= MOVES_PER_ROUND || group.id == META_GROUP || group.leading().is_none() {
                continue;
            }
            let Some(place) = image.group(group.id) else { continue };
            let Some(preferred) = place.replicas.first().copied() else { continue };
            if preferred == self.inner.node_id || !steady(&preferred) {
                continue;
            }
            // A transfer to a replica that lacks entries would only pause the partition.
            let committed = group.applied_now().last.map(|last| last.index);
            let caught_up = group
                .replication()
                .iter()
                .any(|(node, matched)| *node == preferred && *matched >= committed && matched.is_some());
            if caught_up {
                tracing::info!(group = %group.id, to = %preferred, "leadership goes back to the preferred replica");
                group.transfer_leader(preferred).await;
                moves += 1;
            } else {
                group.touch();
            }
        }
    }
}
