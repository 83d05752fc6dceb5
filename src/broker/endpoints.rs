//! The few facts about the cluster that a front needs for many of its answers, without asking anyone.
//!
//! All of it is what this node knows now: nothing waits, nothing is counted (that is `views`).

use super::Broker;
use super::api::TopicView;
use crate::transport::Liveness;
use crate::types::{NodeId, TopicId};
use std::sync::Arc;

/// A node, as clients come to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEndpoint {
    pub id: NodeId,
    pub kafka_address: Option<String>,
    pub rack: Option<String>,
    /// This node hears of it.
    pub alive: bool,
}

impl Broker {
    /// All nodes of the cluster, by id.
    pub fn endpoints(&self) -> Vec<NodeEndpoint> {
        let parts = &self.inner.parts;
        let liveness = parts.transport.liveness();
        let liveness = liveness.borrow();
        let image = parts.controller.image();
        let nodes = image.nodes().map(|node| NodeEndpoint {
            id: node.id,
            kafka_address: node.kafka_address.clone(),
            rack: node.rack.clone(),
            alive: node.id == self.node_id() || liveness.get(&node.id) == Some(&Liveness::Alive),
        });
        nodes.collect()
    }

    /// The node that changes the catalog, if there is one now.
    pub fn controller_node(&self) -> Option<NodeId> {
        self.inner.parts.controller.leader()
    }

    /// The cluster's id, once it is formed.
    pub fn cluster_id(&self) -> Option<String> {
        self.inner.parts.controller.image().cluster_id().map(|id| id.to_string())
    }

    /// A topic by its id, from this node's image of the catalog (which may lag by a moment).
    pub fn topic_by_id(&self, id: TopicId) -> Option<Arc<TopicView>> {
        self.inner.parts.controller.image().topic_by_id(id).map(|topic| self.view(topic))
    }
}
