//! How nodes become a cluster, and how a node that lost its data is kept out of it.
//!
//! A node with a cluster id, or with a meta log, goes on where it was. A *fresh* node (neither) first asks its peers.
//! If one of them belongs to a cluster, this node joins it, unless the cluster knows its id under another UUID: then its
//! directory was lost, with its votes and acknowledged records, and letting it vote could lose data. If a majority of
//! the configured nodes is fresh, they form a new cluster: the one with the smallest id among them writes the first
//! membership (all configured nodes), and the first leader the cluster id and the UUIDs that it heard.
//!
//! A majority that lost everything at once has nothing left to protect; a single lost node always meets a formed peer.

use super::wire::{self, Hello, HelloAnswer, KIND_HELLO};
use super::{Controller, Instant};
use crate::state::meta::{MetaChange, Node};
use crate::transport::{CallError, Lane, Message};
use crate::types::{META_GROUP, NodeId};
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// This node must not take part, in one line with the reason and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// The text for a node that comes back without its data.
pub(super) fn lost_directory(node: NodeId, known: Uuid, given: Uuid) -> String {
    format!(
        "node {node} is known to this cluster with UUID {known}, but came with {given}: its data directory was lost or \
         replaced, and with it its votes and acknowledged records, so letting it vote could lose data. Start it with \
         its old data directory; if that is gone for good, start the node under a new node id and data directory"
    )
}

enum Answers {
    /// A peer belongs to a cluster.
    Formed { cluster_id: Option<Uuid> },
    /// Peers that are fresh, too.
    Fresh(BTreeMap<NodeId, Uuid>),
}

impl Controller {
    /// Takes part in the cluster, forming it if need be; `may_take_part` is called once it is sure that this node may
    /// vote. Back once the cluster has its id.
    ///
    /// # Errors
    /// The cluster does not want this node.
    pub async fn start(&self, may_take_part: impl FnOnce() + Send) -> Result<(), Refused> {
        let inner = &self.inner;
        let identity = inner.store.identity();
        let fresh = identity.cluster_id.is_none() && !inner.groups.has_log(META_GROUP);
        let mut heard = BTreeMap::new();
        let mut initiate = false;
        if fresh && inner.members.len() > 1 {
            match self.ask_until_clear(identity.node_uuid).await? {
                Answers::Formed { cluster_id } => {
                    if let Some(cluster_id) = cluster_id {
                        self.adopt(cluster_id).await?;
                    }
                }
                Answers::Fresh(peers) => {
                    initiate = peers.keys().all(|peer| inner.node_id < *peer);
                    heard = peers;
                }
            }
        } else if fresh {
            initiate = true;
        }
        self.take_part().await.map_err(Refused)?;
        may_take_part();
        if initiate && let Some(meta) = self.meta() {
            let voters: Vec<NodeId> = inner.members.keys().copied().take(5).collect();
            meta.ensure_born(&voters).await;
        }
        self.await_cluster(&heard, identity.node_uuid).await
    }

    async fn ask_until_clear(&self, uuid: Uuid) -> Result<Answers, Refused> {
        let members = self.inner.members.len();
        let started = Instant::now();
        let mut told = false;
        loop {
            let answers = self.ask_all(uuid).await?;
            match answers {
                Answers::Fresh(peers) if peers.len() < members / 2 => {
                    if !told && started.elapsed() > Duration::from_secs(2) {
                        told = true;
                        tracing::info!(
                            reached = peers.len(),
                            members,
                            "waiting for a majority of the configured peers before forming a cluster"
                        );
                    }
                }
                clear => return Ok(clear),
            }
            if self.inner.tasks.stopping().is_cancelled() {
                return Err(Refused("stopped before the cluster was formed".to_string()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn ask_all(&self, uuid: Uuid) -> Result<Answers, Refused> {
        let peers = self.inner.members.keys().copied().filter(|node| *node != self.inner.node_id);
        let asked = peers.map(|node| async move {
            let message = wire::message(KIND_HELLO, &Hello { uuid });
            (node, self.inner.transport.call(node, Lane::Control, message, Duration::from_millis(500)).await)
        });
        let mut fresh = BTreeMap::new();
        let mut formed = None;
        for (node, answer) in futures::future::join_all(asked).await {
            let answer = match answer {
                Ok(answer) => answer,
                Err(CallError::Refused(_, reason)) => return Err(Refused(reason)),
                Err(_) => continue,
            };
            let Ok(answer) = wire::header::<HelloAnswer>(&answer) else { continue };
            if let Some(known) = answer.knows_you_as.filter(|known| *known != uuid) {
                return Err(Refused(lost_directory(self.inner.node_id, known, uuid)));
            }
            if answer.formed {
                formed = Some(answer.cluster_id.or(formed.flatten()));
            } else {
                fresh.insert(node, answer.uuid);
            }
        }
        Ok(match formed {
            Some(cluster_id) => Answers::Formed { cluster_id },
            None => Answers::Fresh(fresh),
        })
    }

    pub(super) fn hello(&self, from: NodeId, message: &Message) -> Message {
        if wire::header::<Hello>(message).is_err() {
            return wire::message(wire::ANSWER_BAD, &());
        }
        let identity = self.inner.store.identity();
        let answer = HelloAnswer {
            uuid: identity.node_uuid,
            cluster_id: identity.cluster_id,
            formed: identity.cluster_id.is_some() || self.image().cluster_id().is_some(),
            knows_you_as: self.image().node(from).and_then(|node| node.uuid),
        };
        wire::message(wire::ANSWER_OK, &answer)
    }

    /// Waits until the meta group has a cluster id, giving it one if this node leads; then adopts it.
    async fn await_cluster(&self, heard: &BTreeMap<NodeId, Uuid>, own: Uuid) -> Result<(), Refused> {
        let mut image = self.watch();
        let stopping = self.inner.tasks.stopping();
        let mut refusals = self.inner.transport.refusals();
        let started = Instant::now();
        loop {
            // The borrow ends here: while it is held, no newer image can be published.
            let known = image.borrow_and_update().cluster_id();
            if let Some(cluster_id) = known {
                return self.adopt(cluster_id).await;
            }
            let Some(meta) = self.meta() else { return Ok(()) };
            let leading = meta.leading().is_some_and(|term| meta.has_applied_in(term));
            if leading {
                let change = self.first_change(heard, own);
                if let Err(error) = self.change(change, Instant::now() + Duration::from_secs(3)).await {
                    tracing::debug!(%error, "the cluster has no id yet");
                }
            } else if meta.leadership().leader.is_none() && self.is_its_turn(started) {
                meta.nudge_election().await;
            }
            if let Some((_, reason)) = refusals.borrow_and_update().iter().next() {
                return Err(Refused(reason.clone()));
            }
            tokio::select! {
                () = stopping.cancelled() => return Err(Refused("stopped before the cluster was formed".to_string())),
                changed = image.changed() => if changed.is_err() { return Ok(()) },
                () = tokio::time::sleep(Duration::from_millis(10)) => {}
            }
        }
    }

    /// Whether this node should begin the meta group's election: a majority is heard of, and the nodes with smaller
    /// ids have had their chance. All at once would split the votes.
    fn is_its_turn(&self, started: Instant) -> bool {
        let alive = self.inner.groups.alive();
        let rank = alive.iter().position(|node| *node == self.inner.node_id).unwrap_or(0) as u32;
        alive.len() > self.inner.members.len() / 2 && started.elapsed() >= Duration::from_millis(300) * rank
    }

    fn first_change(&self, heard: &BTreeMap<NodeId, Uuid>, own: Uuid) -> MetaChange {
        let node = |(id, peer_address): (&NodeId, &String)| Node {
            id: *id,
            uuid: if *id == self.inner.node_id { Some(own) } else { heard.get(id).copied() },
            http_address: String::new(),
            kafka_address: None,
            peer_address: peer_address.clone(),
            rack: None,
            version: String::new(),
        };
        MetaChange::InitCluster {
            cluster_id: self.inner.random.uuid(),
            nodes: self.inner.members.iter().map(node).collect(),
        }
    }

    async fn adopt(&self, cluster_id: Uuid) -> Result<(), Refused> {
        self.inner.transport.set_cluster_id(cluster_id);
        if self.inner.store.identity().cluster_id == Some(cluster_id) {
            return Ok(());
        }
        let store = self.inner.store.clone();
        let saved = self.inner.tasks.blocking(move || store.set_cluster_id(cluster_id)).await;
        saved.map_err(|error| Refused(error.to_string()))
    }

    /// Whether a peer may connect: same cluster, and the UUID that the cluster knows.
    ///
    /// # Errors
    /// Why not, in words for its operator.
    pub fn check_peer(&self, from: NodeId, uuid: Uuid, cluster: Option<Uuid>) -> Result<(), String> {
        let own = self.inner.store.identity().cluster_id;
        if let (Some(own), Some(theirs)) = (own, cluster)
            && own != theirs
        {
            return Err(format!(
                "node {from} belongs to cluster {theirs}, but node {} belongs to cluster {own}: check the peers and \
                 the data directory of each",
                self.inner.node_id
            ));
        }
        match self.image().node(from).and_then(|node| node.uuid) {
            Some(known) if known != uuid => Err(lost_directory(from, known, uuid)),
            _ => Ok(()),
        }
    }
}
