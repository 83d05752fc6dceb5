//! What all connections of one transport share, and its two clocks: heartbeats and deadlines.

use super::dial::run_lane;
use super::handshake::{Hello, Identity};
use super::lane::{LaneQueue, Limits};
use super::liveness::{LivenessTable, PeerMap, publish};
use super::net::Net;
use super::stats::Counters;
use super::{Admission, Handler, Lane, TransportConfig};
use crate::random::Random;
use crate::tasks::{OnPanic, Tasks};
use crate::types::NodeId;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Changes of the status are sent at once, but not more often than this.
const STATUS_GAP: Duration = Duration::from_millis(10);

/// Another node, as this one dials it.
pub(super) struct Peer {
    pub node: NodeId,
    pub address: String,
    lanes: [Arc<LaneQueue>; 4],
    /// Cancelled when the peer is removed, gets another address, or the transport closes.
    pub stop: CancellationToken,
    /// Told when the peer was seen to live: a pause before the next attempt to connect is cut short.
    pub back: Notify,
    /// Told when the connections to the peer are worth nothing any more.
    pub give_up: Notify,
    /// Who answered there last.
    pub identity: Mutex<Option<Identity>>,
}

impl Peer {
    pub fn lane(&self, lane: Lane) -> &Arc<LaneQueue> {
        &self.lanes[lane as usize]
    }
}

/// One transport.
pub(super) struct Shared {
    pub config: TransportConfig,
    pub net: Arc<dyn Net>,
    pub tasks: Tasks,
    pub random: Random,
    pub local_addr: SocketAddr,
    pub stop: CancellationToken,
    pub counters: [Arc<Counters>; 4],
    pub liveness: LivenessTable,
    pub refusals: watch::Sender<PeerMap<String>>,
    /// Accepted connections that passed the handshake, by their number.
    pub accepted: Mutex<BTreeMap<u64, (Identity, CancellationToken)>>,
    incarnation: u64,
    handler: RwLock<Option<Arc<dyn Handler>>>,
    admission: RwLock<Option<Arc<dyn Admission>>>,
    cluster: RwLock<Option<Uuid>>,
    peers: RwLock<BTreeMap<NodeId, Arc<Peer>>>,
    status: RwLock<Bytes>,
    status_changed: Notify,
    last_refusal: Mutex<String>,
    started: Instant,
    /// When the deadlines are looked at next, in nanoseconds since `started`.
    next_deadline_ns: AtomicU64,
    deadline_changed: Notify,
}

impl Shared {
    pub fn new(
        config: TransportConfig,
        net: Arc<dyn Net>,
        tasks: Tasks,
        random: Random,
        handler: Option<Arc<dyn Handler>>,
        local_addr: SocketAddr,
    ) -> Shared {
        Shared {
            net,
            local_addr,
            stop: tasks.stopping().child_token(),
            counters: Default::default(),
            liveness: LivenessTable::new(config.liveness),
            refusals: watch::Sender::default(),
            accepted: Mutex::default(),
            incarnation: random.next_u64(),
            handler: RwLock::new(handler),
            admission: RwLock::default(),
            cluster: RwLock::new(config.cluster_id),
            peers: RwLock::default(),
            status: RwLock::default(),
            status_changed: Notify::new(),
            last_refusal: Mutex::default(),
            started: Instant::now(),
            next_deadline_ns: AtomicU64::new(u64::MAX),
            deadline_changed: Notify::new(),
            config,
            tasks,
            random,
        }
    }

    pub fn identity(&self) -> Identity {
        Identity {
            node: self.config.node_id,
            uuid: self.config.node_uuid,
            incarnation: self.incarnation,
            cluster: *self.cluster.read(),
        }
    }

    /// Whether a node of this identity may talk to this one.
    pub fn check(&self, other: &Identity) -> Result<(), String> {
        let own = self.identity();
        if other.node == own.node {
            return Err(format!(
                "node id {} is in use by another node ({}): each node needs its own",
                own.node, own.uuid
            ));
        }
        if let (Some(ours), Some(theirs)) = (own.cluster, other.cluster)
            && ours != theirs
        {
            return Err(format!(
                "node {} belongs to cluster {theirs}, node {} to cluster {ours}: check the list of peers and the data directory",
                other.node, own.node
            ));
        }
        match &*self.admission.read() {
            Some(admission) => admission.check(other.node, other.uuid, other.cluster),
            None => Ok(()),
        }
    }

    pub fn check_hello(&self, hello: &Hello) -> Result<(), String> {
        if hello.dialled != self.config.node_id {
            return Err(format!(
                "this is node {}, not node {}: check the list of peers",
                self.config.node_id, hello.dialled
            ));
        }
        self.check(&hello.identity)
    }

    /// Closes each connection, in or out, whose other side would not be let in now.
    pub fn recheck(&self) {
        for (identity, stop) in self.accepted.lock().values() {
            if let Err(reason) = self.check(identity) {
                tracing::warn!(peer = identity.node.0, reason, "a connected node is refused");
                stop.cancel();
            }
        }
        for peer in self.all_peers() {
            let identity = *peer.identity.lock();
            if identity.is_some_and(|identity| self.check(&identity).is_err()) {
                peer.give_up.notify_waiters();
            }
        }
    }

    pub fn handler(&self) -> Option<Arc<dyn Handler>> {
        self.handler.read().clone()
    }

    pub fn set_handler(&self, handler: Arc<dyn Handler>) {
        *self.handler.write() = Some(handler);
    }

    pub fn set_admission(&self, admission: Arc<dyn Admission>) {
        *self.admission.write() = Some(admission);
    }

    pub fn set_cluster_id(&self, cluster: Uuid) {
        *self.cluster.write() = Some(cluster);
    }

    pub fn peer(&self, node: NodeId) -> Option<Arc<Peer>> {
        self.peers.read().get(&node).cloned()
    }

    fn all_peers(&self) -> Vec<Arc<Peer>> {
        self.peers.read().values().cloned().collect()
    }

    pub fn set_peer(self: &Arc<Self>, node: NodeId, address: String) {
        if node == self.config.node_id {
            return;
        }
        let limits = Limits {
            frame_bytes_max: self.config.frame_bytes_max,
            queue_messages_max: self.config.queue_messages_max,
            queue_bytes_max: self.config.queue_bytes_max,
        };
        let lane = |lane: Lane| Arc::new(LaneQueue::new(node, lane, limits, self.counters[lane as usize].clone()));
        let peer = {
            let mut peers = self.peers.write();
            if peers.get(&node).is_some_and(|peer| peer.address == address) {
                return;
            }
            let peer = Arc::new(Peer {
                node,
                address,
                lanes: Lane::ALL.map(lane),
                stop: self.stop.child_token(),
                back: Notify::new(),
                give_up: Notify::new(),
                identity: Mutex::default(),
            });
            if let Some(old) = peers.insert(node, peer.clone()) {
                old.stop.cancel();
            }
            peer
        };
        self.liveness.add(node);
        for lane in Lane::ALL {
            self.tasks.spawn("transport lane", OnPanic::StopNode, run_lane(self.clone(), peer.clone(), lane));
        }
    }

    pub fn remove_peer(&self, node: NodeId) {
        if let Some(peer) = self.peers.write().remove(&node) {
            peer.stop.cancel();
        }
        self.liveness.remove(node);
        self.refused_by(node, None);
    }

    /// The peer has just made a connection to this node: it lives, so it can be dialled.
    pub fn peer_is_back(&self, node: NodeId) {
        if let Some(peer) = self.peer(node) {
            peer.lanes.iter().for_each(|lane| lane.retry_now());
            peer.back.notify_one();
        }
    }

    pub fn refused_by(&self, node: NodeId, reason: Option<String>) {
        publish(&self.refusals, node, reason, false);
    }

    /// Says once why somebody was not let in, not with each of the attempts that follow.
    pub fn log_refusal(&self, text: String) {
        let reason = text.split_once(": ").map_or(text.as_str(), |(_, reason)| reason).to_owned();
        let mut last = self.last_refusal.lock();
        if *last != reason {
            tracing::warn!("a connection was refused: {text}");
            *last = reason;
        }
    }

    pub fn status(&self) -> Bytes {
        self.status.read().clone()
    }

    pub fn set_status(&self, status: Bytes) {
        let mut current = self.status.write();
        if *current != status {
            *current = status;
            self.status_changed.notify_one();
        }
    }

    fn send_heartbeats(&self) {
        let status = self.status();
        for peer in self.all_peers() {
            peer.lane(Lane::Control).heartbeat(status.clone());
        }
    }

    /// A peer is silent: its connections are dead weight, and the kernel would go on retrying on them with ever longer
    /// pauses after the network is whole again.
    fn give_up(&self, node: NodeId) {
        if let Some(peer) = self.peer(node) {
            peer.give_up.notify_waiters();
        }
        for (identity, stop) in self.accepted.lock().values() {
            if identity.node == node {
                stop.cancel();
            }
        }
    }

    /// Sees to it that a call with this deadline fails in time.
    pub fn watch_deadline(&self, deadline: Instant) {
        let at = deadline.duration_since(self.started).as_nanos() as u64;
        if at < self.next_deadline_ns.fetch_min(at, SeqCst) {
            self.deadline_changed.notify_one();
        }
    }
}

/// One heartbeat to each peer per interval, and the look at who has not sent one.
pub(super) async fn run_heartbeats(shared: Arc<Shared>) {
    let period = shared.config.liveness.heartbeat_interval;
    let phase = Duration::from_micros(shared.random.below(period.as_micros() as u64));
    let mut ticks = interval_at(Instant::now() + phase, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stop = shared.stop.clone();
    let beat = async {
        loop {
            tokio::select! {
                biased;
                _ = ticks.tick() => {}
                () = shared.status_changed.notified() => {}
            }
            shared.send_heartbeats();
            for node in shared.liveness.tick(Instant::now()) {
                shared.give_up(node);
            }
            sleep(STATUS_GAP.min(period)).await;
        }
    };
    stop.run_until_cancelled(beat).await;
}

/// Fails the calls whose deadline has passed. It sleeps until the earliest deadline that it saw, and is woken for an
/// earlier one; so calls that are answered in time, as almost all are, cost no timer each.
pub(super) async fn run_deadlines(shared: Arc<Shared>) {
    let stop = shared.stop.clone();
    let watch = async {
        loop {
            shared.next_deadline_ns.store(u64::MAX, SeqCst);
            let now = Instant::now();
            let lanes = shared.all_peers();
            let earliest = lanes.iter().flat_map(|peer| &peer.lanes).filter_map(|lane| lane.expire(now)).min();
            match earliest {
                None => shared.deadline_changed.notified().await,
                Some(earliest) => {
                    let at = earliest.duration_since(shared.started).as_nanos() as u64;
                    shared.next_deadline_ns.fetch_min(at, SeqCst);
                    tokio::select! {
                        biased;
                        () = sleep_until(earliest) => {}
                        () = shared.deadline_changed.notified() => {}
                    }
                }
            }
        }
    };
    stop.run_until_cancelled(watch).await;
}
