//! Which peers live: heard of by heartbeats, lost by silence or by a refused connection.
//!
//! - `Alive` at the first heartbeat of a process.
//! - `Gone` when a connection to the peer was refused and none from it is open: both are what the kernel does when it
//!   buries a process, within milliseconds. One without the other is no proof (a firewall, a closing listener).
//! - `Silent` when no heartbeat came for `silent_after`.
//!
//! A process that was itself paused has heard nothing either, and blames nobody for that (`tick`).

use super::{Liveness, LivenessConfig, LivenessWatch};
use crate::types::NodeId;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::Instant;

/// A map by peer that others watch.
pub(super) type PeerMap<T> = Arc<BTreeMap<NodeId, T>>;

/// What is known of all peers' lives.
pub(super) struct LivenessTable {
    config: LivenessConfig,
    peers: Mutex<Table>,
    liveness: watch::Sender<PeerMap<Liveness>>,
    incarnations: watch::Sender<PeerMap<u64>>,
}

struct Table {
    lives: BTreeMap<NodeId, Life>,
    last_tick: Instant,
}

struct Life {
    state: Liveness,
    last_heard: Instant,
    /// Connections from the peer that are open.
    open: usize,
    /// The last attempt to connect met a closed port.
    refused: bool,
    /// Of the newest connection from the peer, and that connection's number.
    incarnation: Option<u64>,
    newest_connection: u64,
    status: Option<Bytes>,
}

impl LivenessTable {
    pub fn new(config: LivenessConfig) -> LivenessTable {
        let table = Table { lives: BTreeMap::new(), last_tick: Instant::now() };
        LivenessTable {
            config,
            peers: Mutex::new(table),
            liveness: watch::Sender::default(),
            incarnations: watch::Sender::default(),
        }
    }

    pub fn watch(&self) -> LivenessWatch {
        self.liveness.subscribe()
    }

    pub fn watch_incarnations(&self) -> watch::Receiver<PeerMap<u64>> {
        self.incarnations.subscribe()
    }

    pub fn add(&self, node: NodeId) {
        let mut table = self.peers.lock();
        table.lives.entry(node).or_insert_with(|| Life {
            state: Liveness::Unknown,
            last_heard: Instant::now(),
            open: 0,
            refused: false,
            incarnation: None,
            newest_connection: 0,
            status: None,
        });
        publish(&self.liveness, node, Some(Liveness::Unknown), true);
    }

    pub fn remove(&self, node: NodeId) {
        let mut table = self.peers.lock();
        table.lives.remove(&node);
        publish(&self.liveness, node, None, false);
        publish(&self.incarnations, node, None, false);
    }

    /// Runs `change` on a known peer and tells the watchers what came of it.
    fn update(&self, node: NodeId, change: impl FnOnce(&mut Life)) {
        let mut table = self.peers.lock();
        let Some(life) = table.lives.get_mut(&node) else { return };
        let (state, incarnation) = (life.state, life.incarnation);
        change(life);
        if life.refused && life.open == 0 && life.state != Liveness::Unknown {
            life.state = Liveness::Gone;
        }
        if life.state != state {
            tracing::info!(peer = node.0, from = ?state, to = ?life.state, "liveness of a peer changed");
            publish(&self.liveness, node, Some(life.state), false);
        }
        if life.incarnation != incarnation {
            publish(&self.incarnations, node, life.incarnation, false);
        }
    }

    /// A heartbeat of the given process came. One of an earlier process of the same node (from a connection that is
    /// being drained) says nothing.
    pub fn heard(&self, node: NodeId, incarnation: u64, status: Bytes) {
        self.update(node, |life| {
            if life.incarnation == Some(incarnation) {
                life.last_heard = Instant::now();
                life.status = Some(status);
                life.refused = false;
                life.state = Liveness::Alive;
            }
        });
    }

    /// A connection from the peer was accepted; `connection` counts all connections in their order.
    pub fn opened(&self, node: NodeId, connection: u64, incarnation: u64) {
        self.update(node, |life| {
            life.open += 1;
            if connection > life.newest_connection {
                life.newest_connection = connection;
                if life.incarnation != Some(incarnation) {
                    life.status = None;
                }
                life.incarnation = Some(incarnation);
            }
        });
    }

    pub fn closed(&self, node: NodeId) {
        self.update(node, |life| life.open = life.open.saturating_sub(1));
    }

    /// A connection to the peer was refused by its machine.
    pub fn refused(&self, node: NodeId) {
        self.update(node, |life| life.refused = true);
    }

    pub fn connected(&self, node: NodeId) {
        self.update(node, |life| life.refused = false);
    }

    /// Finds who has fallen silent; to be called about every heartbeat interval.
    pub fn tick(&self, now: Instant) -> Vec<NodeId> {
        let mut table = self.peers.lock();
        let paused = now.duration_since(table.last_tick) > self.config.silent_after / 2;
        table.last_tick = now;
        let mut silent = Vec::new();
        for (node, life) in &mut table.lives {
            if paused {
                life.last_heard = now;
            }
            if life.state == Liveness::Alive && now.duration_since(life.last_heard) >= self.config.silent_after {
                life.state = Liveness::Silent;
                silent.push(*node);
                tracing::warn!(peer = node.0, "a peer has fallen silent");
                publish(&self.liveness, *node, Some(Liveness::Silent), false);
            }
        }
        silent
    }

    pub fn status(&self, node: NodeId) -> Option<Bytes> {
        let table = self.peers.lock();
        let life = table.lives.get(&node)?;
        if life.state == Liveness::Alive { life.status.clone() } else { None }
    }

    pub fn state(&self, node: NodeId) -> Option<Liveness> {
        self.peers.lock().lives.get(&node).map(|life| life.state)
    }
}

/// Sets or takes away one entry, and wakes the watchers if that changed anything.
pub(super) fn publish<T: Clone + PartialEq>(
    watched: &watch::Sender<PeerMap<T>>,
    node: NodeId,
    value: Option<T>,
    only_if_absent: bool,
) {
    watched.send_if_modified(|map| {
        let old = map.get(&node);
        if old == value.as_ref() || (only_if_absent && old.is_some()) {
            return false;
        }
        match value {
            Some(value) => Arc::make_mut(map).insert(node, value),
            None => Arc::make_mut(map).remove(&node),
        };
        true
    });
}
