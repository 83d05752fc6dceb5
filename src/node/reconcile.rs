//! Makes this node what the catalog says: removes groups of deleted topics, follows the addresses of nodes.
//!
//! A group id is never used again, so a directory whose group is below the next id and in no topic is of a deleted one.

use crate::broker::Broker;
use crate::controller::Controller;
use crate::mutant::{self, Mutant};
use crate::partition::Partitions;
use crate::raft::Groups;
use crate::state::meta::{GroupStatus, MetaImage};
use crate::tasks::Tasks;
use crate::transport::Transport;
use crate::types::{GroupId, META_GROUP};
use std::collections::BTreeSet;

pub(super) struct Reconciler {
    pub controller: Controller,
    pub groups: Groups,
    pub partitions: Partitions,
    pub broker: Broker,
    pub transport: Transport,
    pub tasks: Tasks,
}

impl Reconciler {
    /// Runs until the node stops.
    pub async fn run(self) {
        let mut image = self.controller.watch();
        let stopping = self.tasks.stopping();
        loop {
            let now = image.borrow_and_update().clone();
            self.follow_nodes(&now);
            self.remove_deleted(&now).await;
            tokio::select! {
                () = stopping.cancelled() => return,
                changed = image.changed() => if changed.is_err() { return },
            }
        }
    }

    fn follow_nodes(&self, image: &MetaImage) {
        for node in image.nodes().filter(|node| node.id != self.transport.node_id()) {
            let known = self.transport.peer_address(node.id);
            if !node.peer_address.is_empty() && known.as_ref() != Some(&node.peer_address) {
                self.transport.set_peer(node.id, node.peer_address.clone());
            }
        }
        self.transport.recheck_admission();
    }

    async fn remove_deleted(&self, image: &MetaImage) {
        let mut present: BTreeSet<GroupId> = self.groups.groups_on_disk().into_iter().collect();
        present.extend(self.groups.open_groups().iter().map(|group| group.id));
        for group in present {
            let is_gone = match image.group_status(group) {
                GroupStatus::Live(_) => false,
                GroupStatus::Deleted => true,
                GroupStatus::NotGivenOut => mutant::on(Mutant::MetadataMissingDeletes),
            };
            if group == META_GROUP || !is_gone {
                continue;
            }
            self.broker.forget_group(group);
            match self.partitions.remove(group).await {
                Ok(()) => tracing::info!(%group, "the log of a deleted partition was removed"),
                Err(error) => tracing::warn!(%group, %error, "the log of a deleted partition was not removed yet"),
            }
        }
    }
}
