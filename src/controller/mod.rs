//! Drives the meta group: forms the cluster, keeps this node's image of the catalog, carries changes to the leader.
//!
//! Purpose: any node takes a change; it goes to the meta group's leader under one request id until it is answered, so
//! that a lost answer never makes a change twice. Leaders of partitions go back to their preferred replica once that
//! is well again.
//!
//! Invariant: a node votes in the meta group only once it knows that it never voted under this id before, or still
//! has what it voted (see [`bootstrap`]).
//!
//! Does not read or write records, and does not know HTTP.

pub mod balance;
mod bootstrap;
mod handback;
mod invalid;
pub mod placement;
pub mod topic_config;
mod wire;

pub use bootstrap::Refused;
pub use invalid::Invalid;
pub use wire::{KIND_END, KIND_HELLO, KIND_META_CHANGE, KIND_META_WAIT, NodeStatus};

use crate::raft::{Directory, Group, Groups, MachineState, Proposal, ProposeError, Reply};
use crate::random::Random;
use crate::state::group::GROUP_TOPIC;
use crate::state::meta::{MetaChange, MetaCommand, MetaImage, MetaResponse, Node};
use crate::storage::Store;
use crate::tasks::{OnPanic, Tasks};
use crate::transport::{Incoming, Lane, Message, Transport};
use crate::types::{GroupId, LogIndex, META_GROUP, NodeId};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

/// How long one attempt to change the catalog may take before another is made.
const ATTEMPT_PATIENCE: Duration = Duration::from_secs(3);

/// Why a change has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Surely not made.
    #[error("the controller cannot be reached: {0}")]
    Unavailable(String),
    /// May have been made, or may still be.
    #[error("the controller did not confirm the change in time")]
    Unknown,
}

struct Inner {
    node_id: NodeId,
    store: Arc<Store>,
    groups: Groups,
    transport: Transport,
    tasks: Tasks,
    random: Random,
    members: BTreeMap<NodeId, String>,
    image: watch::Sender<Arc<MetaImage>>,
    /// Set once this node may take part in the meta group.
    meta: Mutex<Option<Arc<Group>>>,
    /// The end of this node's meta log when the process started: what it knew before, it must know again.
    known_before: Mutex<Option<LogIndex>>,
    /// The meta entry up to which the image is complete (entries that change nothing count, too).
    followed: Mutex<Option<LogIndex>>,
}

/// The controller's part on this node. Cheap to clone.
#[derive(Clone)]
pub struct Controller {
    inner: Arc<Inner>,
}

impl Directory for Controller {
    fn replicas(&self, group: GroupId) -> Option<Vec<NodeId>> {
        self.image().group(group).map(|place| place.replicas.to_vec())
    }

    fn holds_consumer_groups(&self, group: GroupId) -> bool {
        self.image().group(group).is_some_and(|place| *place.topic.name == *GROUP_TOPIC)
    }
}

impl Controller {
    /// `members` are the nodes that form the cluster, with their peer addresses.
    pub fn new(
        node_id: NodeId,
        store: Arc<Store>,
        groups: Groups,
        transport: Transport,
        tasks: Tasks,
        random: Random,
        members: BTreeMap<NodeId, String>,
    ) -> Controller {
        let image = watch::Sender::new(Arc::new(MetaImage::default()));
        let inner = Inner {
            node_id,
            store,
            groups,
            transport,
            tasks,
            random,
            members,
            image,
            meta: Mutex::default(),
            known_before: Mutex::default(),
            followed: Mutex::default(),
        };
        Controller { inner: Arc::new(inner) }
    }

    /// The catalog as this node knows it.
    pub fn image(&self) -> Arc<MetaImage> {
        self.inner.image.borrow().clone()
    }

    /// Follows the catalog.
    pub fn watch(&self) -> watch::Receiver<Arc<MetaImage>> {
        self.inner.image.subscribe()
    }

    /// Who leads the meta group, as far as this node knows.
    pub fn leader(&self) -> Option<NodeId> {
        let meta = self.inner.meta.lock().clone();
        meta.and_then(|meta| meta.leadership().leader)
    }

    fn meta(&self) -> Option<Arc<Group>> {
        self.inner.meta.lock().clone()
    }

    /// Opens the meta group and follows it. Called once this node may take part.
    async fn take_part(&self) -> Result<(), String> {
        let meta = self.inner.groups.open(META_GROUP).await.map_err(|error| error.to_string())?;
        *self.inner.known_before.lock() = meta.log.state().last.map(|last| last.index);
        *self.inner.meta.lock() = Some(meta.clone());
        let controller = self.clone();
        self.inner.tasks.spawn("follow-meta", OnPanic::StopNode, async move { controller.follow(meta).await });
        Ok(())
    }

    async fn follow(&self, meta: Arc<Group>) {
        let stopping = self.inner.tasks.stopping();
        let mut applied = meta.applied();
        loop {
            let upto = applied.borrow_and_update().last.map(|last| last.index);
            let image = meta.with_state(|state| match state {
                MachineState::Meta(meta) => meta.image(),
                MachineState::Partition(_) => unreachable!("the meta group has the meta group's state"),
            });
            self.inner.image.send_if_modified(|known| {
                let news = known.applied() != image.applied();
                *known = image;
                news
            });
            *self.inner.followed.lock() = upto;
            tokio::select! {
                () = stopping.cancelled() => return,
                changed = applied.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Whether the image shows all that this node knew before it was started again. Until then, what is not in it may
    /// exist all the same. (Entries that were cut off meanwhile, since they were never committed, are not waited for.)
    pub fn is_caught_up(&self) -> bool {
        let Some(meta) = self.meta() else { return false };
        let last = meta.log.state().last.map(|last| last.index);
        let followed = *self.inner.followed.lock();
        self.image().cluster_id().is_some() && followed >= last.min(*self.inner.known_before.lock())
    }

    /// Waits for `is_caught_up`; gives up at the deadline.
    pub async fn await_caught_up(&self, deadline: Instant) -> bool {
        let mut image = self.inner.image.subscribe();
        while !self.is_caught_up() {
            if Instant::now() >= deadline {
                return false;
            }
            // Not all that it rests on is told of.
            let _ = tokio::time::timeout(Duration::from_millis(20), image.changed()).await;
        }
        true
    }

    /// Waits until this node's image shows what was applied at `index`.
    pub async fn await_applied(&self, index: LogIndex, deadline: Instant) -> bool {
        let mut image = self.inner.image.subscribe();
        let reached = image.wait_for(|image| image.applied() >= Some(index));
        matches!(tokio::time::timeout_at(deadline, reached).await, Ok(Ok(_)))
    }

    /// Waits until every living node's image shows `index`.
    pub async fn await_applied_everywhere(&self, index: LogIndex, deadline: Instant) {
        let own = self.await_applied(index, deadline);
        let others = self.inner.groups.alive().into_iter().filter(|node| *node != self.inner.node_id);
        let asked = others.map(|node| {
            let patience = deadline.saturating_duration_since(Instant::now()).min(Duration::from_secs(5));
            let message = wire::message(KIND_META_WAIT, &(index, patience.as_millis() as u64));
            self.inner.transport.call(node, Lane::Control, message, patience + Duration::from_millis(200))
        });
        futures::future::join(own, futures::future::join_all(asked)).await;
    }

    /// Changes the catalog, wherever the meta group's leader is.
    ///
    /// # Errors
    /// No answer until the deadline. What the catalog itself refuses is in the response.
    pub async fn change(&self, change: MetaChange, deadline: Instant) -> Result<MetaResponse, ChangeError> {
        let request_id = (u128::from(self.inner.random.next_u64()) << 64) | u128::from(self.inner.random.next_u64());
        let command = MetaCommand { request_id, change };
        let bytes: bytes::Bytes = command.encode().into();
        let mut in_doubt = false;
        let mut backoff = Duration::from_millis(5);
        let mut trouble = "the meta group has no leader".to_string();
        while Instant::now() < deadline {
            let patience = deadline.saturating_duration_since(Instant::now()).min(ATTEMPT_PATIENCE);
            match self.attempt(&bytes, patience).await {
                Ok(response) => return Ok(response),
                Err(ChangeError::Unknown) => in_doubt = true,
                Err(ChangeError::Unavailable(reason)) => trouble = reason,
            }
            tokio::time::sleep_until((Instant::now() + backoff).min(deadline)).await;
            backoff = (backoff * 2).min(Duration::from_millis(100));
        }
        Err(if in_doubt { ChangeError::Unknown } else { ChangeError::Unavailable(trouble) })
    }

    async fn attempt(&self, command: &bytes::Bytes, patience: Duration) -> Result<MetaResponse, ChangeError> {
        let Some(leader) = self.find_leader(patience).await else {
            return Err(ChangeError::Unavailable("the meta group has no leader".to_string()));
        };
        if leader == self.inner.node_id {
            return self.change_here(command.clone(), patience).await;
        }
        let message = Message { kind: KIND_META_CHANGE, header: command.clone(), payload: Vec::new() };
        let answer = self.inner.transport.call(leader, Lane::Control, message, patience).await;
        wire::change_result(answer)
    }

    async fn find_leader(&self, patience: Duration) -> Option<NodeId> {
        let meta = self.meta()?;
        meta.touch();
        if meta.leadership().leader.is_none() {
            meta.nudge_election().await;
        }
        meta.await_leader(Instant::now() + patience.min(Duration::from_millis(500))).await.leader
    }

    /// Changes the catalog if this node leads the meta group.
    ///
    /// # Errors
    /// It doesn't (surely not made), or lost its place on the way.
    async fn change_here(&self, command: bytes::Bytes, patience: Duration) -> Result<MetaResponse, ChangeError> {
        let meta = self.meta().ok_or_else(|| ChangeError::Unavailable("this node is starting".to_string()))?;
        let Some(term) = meta.leading() else {
            return Err(ChangeError::Unavailable("the meta group's leader has changed".to_string()));
        };
        let (sender, receiver) = oneshot::channel();
        let done = Box::new(move |result| {
            let _ = sender.send(result);
        });
        meta.propose(term, Proposal::Command(command), done).await;
        match tokio::time::timeout(patience, receiver).await {
            Ok(Ok(Ok((_, Reply::Meta(response))))) => Ok(response),
            Ok(Ok(Err(ProposeError::NotLeader(_)))) => {
                Err(ChangeError::Unavailable("the meta group's leader has changed".to_string()))
            }
            _ => Err(ChangeError::Unknown),
        }
    }

    /// Serves what other nodes' controllers ask. Spawns what has to wait.
    pub fn handle(&self, incoming: Incoming) {
        let controller = self.clone();
        self.inner.tasks.spawn("controller-request", OnPanic::Log, async move {
            let Incoming { from, message, reply, .. } = incoming;
            let answer = match message.kind {
                KIND_HELLO => controller.hello(from, &message),
                KIND_META_CHANGE => {
                    wire::change_answer(controller.change_here(message.header.clone(), ATTEMPT_PATIENCE).await)
                }
                KIND_META_WAIT => controller.wait_for_peer(&message).await,
                _ => wire::message(wire::ANSWER_BAD, &()),
            };
            reply.send(answer);
        });
    }

    async fn wait_for_peer(&self, message: &Message) -> Message {
        let Ok((index, patience_ms)) = wire::header::<(LogIndex, u64)>(message) else {
            return wire::message(wire::ANSWER_BAD, &());
        };
        let patience = Duration::from_millis(patience_ms.min(10_000));
        let reached = self.await_applied(index, Instant::now() + patience).await;
        wire::message(wire::ANSWER_OK, &reached)
    }

    /// What this node tells the cluster about itself.
    pub async fn register(&self, node: Node) -> Result<(), Refused> {
        loop {
            let known = self.image().node(node.id).is_some_and(|known| **known == node);
            if known {
                return Ok(());
            }
            let change = MetaChange::RegisterNode { node: node.clone() };
            match self.change(change, Instant::now() + Duration::from_secs(5)).await {
                Ok(response) => return response.result.map(|_| ()).map_err(|error| Refused(error.to_string())),
                Err(error) => tracing::debug!(%error, "not registered yet"),
            }
            if self.inner.tasks.stopping().is_cancelled() {
                return Ok(());
            }
        }
    }
}
