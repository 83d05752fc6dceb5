//! All Raft groups of this node: opened when first needed, fed with messages, put to sleep, shut down.
//!
//! Invariants: a group is opened at most once at a time; messages of one peer reach it in the order in which they
//! came, also those that came while it was being opened; a group that this node should not have is never made.
//!
//! Does not decide who holds which group: it asks the [`Directory`].

use super::group::{Group, RaftTiming};
use super::machine::MachineState;
use super::wire::{self, refused};
use crate::random::Random;
use crate::state::partition::PartitionState;
use crate::storage::Store;
use crate::tasks::{OnPanic, Tasks};
use crate::transport::{Incoming, Liveness, Transport};
use crate::types::{GroupId, META_GROUP, NodeId};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// Messages that wait while a group is being opened; more are refused, and their senders try again.
const OPENING_QUEUE_MAX: usize = 1024;

/// Says which groups this node holds.
pub trait Directory: Send + Sync + 'static {
    /// Replicas of a living group, or `None`: it is not known (yet), or was deleted.
    fn replicas(&self, group: GroupId) -> Option<Vec<NodeId>>;

    /// Whether the records of this group are those of consumer groups, which its state machine reads.
    fn holds_consumer_groups(&self, group: GroupId) -> bool;
}

/// Why a group is not to be had here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("group {0} is not known on this node")]
    Unknown(GroupId),
    #[error("{0}")]
    Failed(String),
}

type Waiting = oneshot::Sender<Result<Arc<Group>, OpenError>>;

enum Slot {
    Opening { messages: Vec<Incoming>, waiting: Vec<Waiting> },
    Open(Arc<Group>),
    Failed(String),
}

struct Inner {
    node_id: NodeId,
    store: Arc<Store>,
    transport: Transport,
    tasks: Tasks,
    random: Random,
    timing: RaftTiming,
    directory: RwLock<Option<Arc<dyn Directory>>>,
    slots: Mutex<HashMap<GroupId, Slot>>,
    /// Raised whenever a group was opened.
    opened: watch::Sender<u64>,
}

/// The registry. Cheap to clone.
#[derive(Clone)]
pub struct Groups {
    inner: Arc<Inner>,
}

impl Groups {
    pub fn new(
        node_id: NodeId,
        store: Arc<Store>,
        transport: Transport,
        tasks: Tasks,
        random: Random,
        timing: RaftTiming,
    ) -> Groups {
        let inner = Inner {
            node_id,
            store,
            transport,
            tasks,
            random,
            timing,
            directory: RwLock::new(None),
            slots: Mutex::new(HashMap::new()),
            opened: watch::Sender::new(0),
        };
        Groups { inner: Arc::new(inner) }
    }

    /// Sets who knows which groups there are; until then only the meta group is.
    pub fn set_directory(&self, directory: Arc<dyn Directory>) {
        *self.inner.directory.write() = Some(directory);
    }

    /// Whether the catalog has it that this node holds a replica of the group.
    pub fn is_held(&self, group: GroupId) -> bool {
        if group == META_GROUP {
            return true;
        }
        let directory = self.inner.directory.read().clone();
        let replicas = directory.and_then(|directory| directory.replicas(group));
        replicas.is_some_and(|replicas| replicas.contains(&self.inner.node_id))
    }

    /// The group, if it is open.
    pub fn get(&self, group: GroupId) -> Option<Arc<Group>> {
        match self.inner.slots.lock().get(&group) {
            Some(Slot::Open(open)) => Some(open.clone()),
            _ => None,
        }
    }

    /// Changes whenever a group was opened here: for those who wait for one to be born.
    pub fn opened(&self) -> watch::Receiver<u64> {
        self.inner.opened.subscribe()
    }

    /// All open groups.
    pub fn open_groups(&self) -> Vec<Arc<Group>> {
        let slots = self.inner.slots.lock();
        slots.values().filter_map(|slot| if let Slot::Open(open) = slot { Some(open.clone()) } else { None }).collect()
    }

    /// Groups that could not be opened, with the reason.
    pub fn failed_groups(&self) -> Vec<(GroupId, String)> {
        let slots = self.inner.slots.lock();
        let failed = slots.iter().filter_map(|(group, slot)| match slot {
            Slot::Failed(reason) => Some((*group, reason.clone())),
            _ => None,
        });
        failed.collect()
    }

    /// Whether the group was ever written on this node.
    pub fn has_log(&self, group: GroupId) -> bool {
        self.inner.store.has_log(group)
    }

    /// The group, opened if need be.
    ///
    /// # Errors
    /// This node holds no such group, or its log is damaged.
    pub async fn open(&self, group: GroupId) -> Result<Arc<Group>, OpenError> {
        let receiver = {
            let mut slots = self.inner.slots.lock();
            match slots.get_mut(&group) {
                Some(Slot::Open(open)) => return Ok(open.clone()),
                Some(Slot::Failed(reason)) => return Err(OpenError::Failed(reason.clone())),
                Some(Slot::Opening { waiting, .. }) => {
                    let (sender, receiver) = oneshot::channel();
                    waiting.push(sender);
                    receiver
                }
                None => {
                    if !self.is_held(group) {
                        return Err(OpenError::Unknown(group));
                    }
                    let (sender, receiver) = oneshot::channel();
                    slots.insert(group, Slot::Opening { messages: Vec::new(), waiting: vec![sender] });
                    self.start_opening(group);
                    receiver
                }
            }
        };
        receiver.await.unwrap_or(Err(OpenError::Unknown(group)))
    }

    fn start_opening(&self, group: GroupId) {
        let groups = self.clone();
        self.inner.tasks.spawn("open-group", OnPanic::StopNode, async move {
            let opened = groups.open_log(group).await;
            groups.finish_opening(group, opened);
        });
    }

    async fn open_log(&self, group: GroupId) -> Result<Arc<Group>, String> {
        let inner = &self.inner;
        let store = inner.store.clone();
        let log = inner.tasks.blocking(move || store.open_log(group)).await.map_err(|error| error.to_string())?;
        // Those of the meta group are for bootstrap to decide, which knows whether there is a cluster already.
        let directory = inner.directory.read().clone().filter(|_| group != META_GROUP);
        let empty = if group == META_GROUP {
            MachineState::Meta(Box::default())
        } else if directory.as_ref().is_some_and(|directory| directory.holds_consumer_groups(group)) {
            MachineState::Partition(Box::new(PartitionState::with_groups()))
        } else {
            MachineState::Partition(Box::default())
        };
        let (transport, tasks) = (inner.transport.clone(), inner.tasks.clone());
        let members = directory.and_then(|directory| directory.replicas(group));
        let opened = Group::open(group, inner.node_id, log, empty, members, transport, tasks, &inner.timing).await?;
        if opened.voters() == [inner.node_id] {
            // Nobody else could lead, so there is nothing to wait for.
            let _ = opened.raft.trigger().elect(false).await;
        }
        Ok(opened)
    }

    /// Hands over what has waited, in order, before anything newer can pass.
    fn finish_opening(&self, group: GroupId, opened: Result<Arc<Group>, String>) {
        loop {
            let (messages, waiting) = {
                let mut slots = self.inner.slots.lock();
                let Some(Slot::Opening { messages, waiting }) = slots.get_mut(&group) else { return };
                if messages.is_empty() && waiting.is_empty() {
                    let slot = match &opened {
                        Ok(open) => Slot::Open(open.clone()),
                        Err(reason) => {
                            tracing::error!(%group, reason, "a group can't be opened: this replica does not vote");
                            Slot::Failed(reason.clone())
                        }
                    };
                    slots.insert(group, slot);
                    drop(slots);
                    self.inner.opened.send_modify(|count| *count += 1);
                    return;
                }
                (std::mem::take(messages), std::mem::take(waiting))
            };
            for incoming in messages {
                match &opened {
                    Ok(open) => self.dispatch(open, incoming),
                    Err(reason) => incoming.reply.send(refused(reason)),
                }
            }
            for waiter in waiting {
                let _ = waiter.send(opened.clone().map_err(OpenError::Failed));
            }
        }
    }

    /// Takes a Raft message from a peer. Does not block; keeps the order of each peer's messages.
    pub fn handle(&self, incoming: Incoming) {
        let group = match wire::group_of(&incoming.message) {
            Ok(group) => group,
            Err(error) => return incoming.reply.send(refused(error.to_string())),
        };
        let open = {
            let mut slots = self.inner.slots.lock();
            match slots.get_mut(&group) {
                Some(Slot::Open(open)) => open.clone(),
                Some(Slot::Failed(reason)) => return incoming.reply.send(refused(reason.as_str())),
                Some(Slot::Opening { messages, .. }) => {
                    if messages.len() < OPENING_QUEUE_MAX {
                        messages.push(incoming);
                    } else {
                        incoming.reply.send(refused("the group is being opened"));
                    }
                    return;
                }
                None => {
                    if !self.is_held(group) {
                        return incoming.reply.send(refused(OpenError::Unknown(group).to_string()));
                    }
                    slots.insert(group, Slot::Opening { messages: vec![incoming], waiting: Vec::new() });
                    return self.start_opening(group);
                }
            }
        };
        self.dispatch(&open, incoming);
    }

    fn dispatch(&self, group: &Arc<Group>, incoming: Incoming) {
        let group = group.clone();
        // The first step puts the request into the group's queue, so that requests keep their order.
        let work = async move { super::inbound::carry_out(&group, incoming).await };
        self.inner.tasks.begin("raft-request", OnPanic::Log, work);
    }

    /// Puts idle groups to sleep and reacts to the loss and return of nodes, until the node stops.
    pub async fn watch_over(self) {
        let mut liveness = self.inner.transport.liveness();
        let stopping = self.inner.tasks.stopping();
        let mut incarnations = self.inner.transport.incarnations();
        let mut before = liveness.borrow().clone();
        let period = Duration::from_millis(500) + Duration::from_millis(self.inner.random.below(100));
        loop {
            let any_awake = self.open_groups().iter().any(|group| group.is_awake());
            tokio::select! {
                () = stopping.cancelled() => return,
                changed = liveness.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = liveness.borrow_and_update().clone();
                    for (node, life) in now.iter() {
                        if before.get(node) != Some(life) {
                            self.node_changed(*node, *life).await;
                        }
                    }
                    before = now;
                }
                changed = incarnations.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    incarnations.borrow_and_update();
                    self.wake_all();
                }
                // Nothing awake is nothing to put to sleep, but groups may wake: look again after a while.
                () = tokio::time::sleep(if any_awake { period } else { period * 4 }) => self.quiesce_idle().await,
            }
        }
    }

    /// A node was back before it was missed: whoever slept with it as leader, or owes it entries, looks again.
    fn wake_all(&self) {
        for group in self.open_groups() {
            group.touch();
        }
    }

    /// This node and the peers that it hears of.
    pub fn alive(&self) -> BTreeSet<NodeId> {
        let liveness = self.inner.transport.liveness();
        let peers = liveness.borrow();
        let alive = peers.iter().filter(|(_, life)| **life == Liveness::Alive).map(|(node, _)| *node);
        alive.chain([self.inner.node_id]).collect()
    }

    async fn node_changed(&self, node: NodeId, life: Liveness) {
        let alive = self.alive();
        tracing::info!(%node, ?life, "a node's liveness changed");
        for group in self.open_groups() {
            let leader = group.leadership().leader;
            match life {
                Liveness::Gone if leader == Some(node) => group.leader_gone(node, &alive).await,
                // Perhaps only this node does not hear it: the group's own timeouts and pre-votes decide.
                Liveness::Silent if leader == Some(node) => {
                    group.touch();
                }
                // It may lack what was written meanwhile.
                Liveness::Alive if leader == Some(self.inner.node_id) && group.voters().contains(&node) => {
                    group.touch();
                }
                _ => {}
            }
        }
    }

    async fn quiesce_idle(&self) {
        let alive = self.alive();
        let idle = self.inner.timing.quiesce_after;
        let awake: Vec<_> = self.open_groups().into_iter().filter(|group| group.is_awake()).collect();
        for group in awake {
            group.quiesce(idle, &alive).await;
        }
    }

    /// Ends a group that was deleted, and removes its log.
    pub async fn remove(&self, group: GroupId) -> std::io::Result<()> {
        let open = self.get(group);
        if let Some(open) = open {
            open.shutdown().await;
        }
        self.inner.slots.lock().remove(&group);
        let store = self.inner.store.clone();
        self.inner.tasks.blocking(move || store.remove_log(group)).await
    }

    /// Groups with a log in the data directory.
    pub fn groups_on_disk(&self) -> Vec<GroupId> {
        self.inner.store.logs()
    }

    /// Hands over every leadership, as far as that goes within `patience`.
    pub async fn hand_over(&self, patience: Duration) {
        let alive = self.alive();
        let deadline = tokio::time::Instant::now() + patience;
        let led: Vec<_> = self.open_groups().into_iter().filter(|group| group.leading().is_some()).collect();
        let followers = |group: &Group| {
            let voters = group.voters().into_iter();
            voters.filter(|node| *node != self.inner.node_id && alive.contains(node)).collect::<Vec<_>>()
        };
        for group in &led {
            let candidates = followers(group);
            if let Some(to) = candidates.get(group.id.0 as usize % candidates.len().max(1)) {
                group.transfer_leader(*to).await;
            }
        }
        let waits_for = |group: &Arc<Group>| group.leading().is_some() && !followers(group).is_empty();
        while tokio::time::Instant::now() < deadline && led.iter().any(waits_for) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends all groups; what was appended is flushed.
    pub async fn shutdown(&self) {
        let open = self.open_groups();
        futures::future::join_all(open.iter().map(|group| group.shutdown())).await;
    }
}
