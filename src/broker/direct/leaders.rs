//! Who leads which partition, for clients that find their way by themselves.
//!
//! Asked often (every client refreshes its metadata), so that what this node knows as a replica is taken as it is: a
//! client that is sent to a node that does not lead any more hears so there, and asks again.

use super::super::Broker;
use super::super::api::TopicView;
use super::super::views::Search;
use crate::types::{NodeId, PartitionId, Term};
use std::sync::Arc;
use tokio::time::Instant;

/// Rounds of asking others for what this node does not know.
const ROUNDS_MAX: usize = 3;

/// Who leads one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderView {
    /// `None` while there is none, as far as this node can find out.
    pub leader: Option<NodeId>,
    /// 0 before the first election: then clients are not to be told of any.
    pub term: Term,
    pub replicas: Vec<NodeId>,
    pub in_sync: Vec<NodeId>,
}

impl Broker {
    /// Leaders of all partitions of each topic, by partition. Gives birth to nothing.
    pub async fn leaders(&self, topics: &[Arc<TopicView>], deadline: Instant) -> Vec<Vec<LeaderView>> {
        let mut views: Vec<Vec<LeaderView>> = Vec::with_capacity(topics.len());
        let mut searches: Vec<Option<Search>> = Vec::new();
        let mut places = Vec::new();
        for (topic_at, topic) in topics.iter().enumerate() {
            let mut partitions = Vec::with_capacity(topic.assignments.len());
            for (partition, replicas) in topic.assignments.iter().enumerate() {
                let known = self.known_leader(topic, PartitionId(partition as u32), replicas);
                if known.is_none()
                    && let Ok(target) = self.target(topic, PartitionId(partition as u32))
                {
                    searches.push(Some(Search::new(target)));
                    places.push((topic_at, partition));
                }
                partitions.push(known.unwrap_or_else(|| self.view_of(None, Term(0), replicas)));
            }
            views.push(partitions);
        }
        for round in 0..ROUNDS_MAX {
            if !self.search_round(&mut searches, round, deadline).await || Instant::now() >= deadline {
                break;
            }
        }
        for ((topic_at, partition), search) in places.into_iter().zip(searches) {
            let replicas = topics[topic_at].assignments[partition].clone();
            let found = self.partition_view(PartitionId(partition as u32), replicas, search);
            let view = &mut views[topic_at][partition];
            (view.leader, view.term) = (found.leader, found.term);
            if !found.in_sync.is_empty() {
                view.in_sync = found.in_sync;
            }
        }
        views
    }

    /// What this node knows as a replica; `None` where others have to be asked.
    fn known_leader(&self, topic: &TopicView, partition: PartitionId, replicas: &[NodeId]) -> Option<LeaderView> {
        let parts = &self.inner.parts;
        if !replicas.contains(&self.node_id()) {
            return None;
        }
        let target = self.target(topic, partition).ok()?;
        if let Some(group) = parts.groups.get(target.group) {
            let known = group.leadership();
            let leader = known.leader.filter(|leader| parts.router.is_reachable(*leader))?;
            let mut view = self.view_of(Some(leader), known.term, replicas);
            if leader == self.node_id()
                && let Some(in_sync) = self.in_sync_here(&target)
            {
                view.in_sync = in_sync;
            }
            return Some(view);
        }
        let is_unborn = parts.router.partitions().is_unwritten(target.group);
        is_unborn.then(|| self.view_of(self.birthplace(&target), Term(0), replicas))
    }

    /// Replicas in sync of a partition that this node leads.
    pub(in crate::broker) fn in_sync_here(&self, target: &super::Target) -> Option<Vec<NodeId>> {
        let parts = &self.inner.parts;
        let replica = parts.router.partitions().get(target.group)?;
        replica.summary(&parts.groups.alive()).ok().map(|summary| summary.in_sync)
    }

    /// Only the leader knows how far its followers are; a living replica counts as in sync elsewhere.
    fn view_of(&self, leader: Option<NodeId>, term: Term, replicas: &[NodeId]) -> LeaderView {
        let router = &self.inner.parts.router;
        let in_sync = replicas.iter().copied().filter(|node| router.is_reachable(*node)).collect();
        LeaderView { leader, term, replicas: replicas.to_vec(), in_sync }
    }
}
