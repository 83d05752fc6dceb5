//! The transport itself: what the other floors hold and call.

use super::accept::run_listener;
use super::net::Net;
use super::shared::{Shared, run_deadlines, run_heartbeats};
use super::stats::LaneStats;
use super::{Answer, CallError, Handler, Lane, Liveness, LivenessConfig, LivenessWatch, Message};
use crate::random::Random;
use crate::tasks::{OnPanic, Tasks};
use crate::types::NodeId;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use uuid::Uuid;

/// What a transport is made from.
#[derive(Clone, Debug)]
pub struct TransportConfig {
    pub node_id: NodeId,
    /// Generated with the data directory; a node that lost it comes with another one.
    pub node_uuid: Uuid,
    /// Not known while the cluster forms; see `Transport::set_cluster_id`.
    pub cluster_id: Option<Uuid>,
    /// `host:port` to listen on; port 0 takes a free one.
    pub listen: String,
    /// Addresses (`host:port`) of the other nodes; this node's own entry is ignored.
    pub peers: BTreeMap<NodeId, String>,
    pub liveness: LivenessConfig,
    /// Largest frame, in bytes, with its headers.
    pub frame_bytes_max: usize,
    /// Most calls of one lane to one peer that may wait (to be sent, or for their answer).
    pub queue_messages_max: usize,
    /// Most bytes of one lane to one peer that may wait to be sent.
    pub queue_bytes_max: usize,
    /// Longest time for connecting, and for the handshake after it.
    pub handshake_deadline: Duration,
    /// Wait after a first failed connect; doubled up to `reconnect_delay_max`.
    pub reconnect_delay_min: Duration,
    pub reconnect_delay_max: Duration,
}

impl TransportConfig {
    /// The default limits.
    pub fn new(node_id: NodeId, node_uuid: Uuid, listen: String, peers: BTreeMap<NodeId, String>) -> TransportConfig {
        TransportConfig {
            node_id,
            node_uuid,
            cluster_id: None,
            listen,
            peers,
            liveness: LivenessConfig::default(),
            frame_bytes_max: 16 << 20,
            queue_messages_max: 65_536,
            queue_bytes_max: 64 << 20,
            handshake_deadline: Duration::from_secs(1),
            reconnect_delay_min: Duration::from_millis(10),
            reconnect_delay_max: Duration::from_secs(1),
        }
    }
}

/// Says whether a node may talk to this one, in words that its operator understands. Asked on both sides of each new
/// connection (and again by `Transport::recheck_admission`), after cluster and node ids were found to agree.
pub trait Admission: Send + Sync + 'static {
    fn check(&self, from: NodeId, uuid: Uuid, cluster: Option<Uuid>) -> Result<(), String>;
}

/// Connections to all other nodes. Cheap to clone; lives until `close`, or until the node stops.
#[derive(Clone)]
pub struct Transport {
    shared: Arc<Shared>,
}

impl Transport {
    /// Listens, and begins to send heartbeats to all peers. The handler may come later (`set_handler`): requests that
    /// arrive before that are answered so that their caller sees `Unreachable`.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(
        config: TransportConfig,
        net: Arc<dyn Net>,
        tasks: Tasks,
        random: Random,
        handler: Option<Arc<dyn Handler>>,
    ) -> io::Result<Transport> {
        let listener = net.listen(&config.listen).await?;
        let local_addr = listener.local_addr()?;
        let peers = config.peers.clone();
        let shared = Arc::new(Shared::new(config, net, tasks.clone(), random, handler, local_addr));
        for (node, address) in peers {
            shared.set_peer(node, address);
        }
        tasks.spawn("transport listener", OnPanic::StopNode, run_listener(shared.clone(), listener));
        tasks.spawn("transport heartbeats", OnPanic::StopNode, run_heartbeats(shared.clone()));
        tasks.spawn("transport deadlines", OnPanic::StopNode, run_deadlines(shared.clone()));
        Ok(Transport { shared })
    }

    pub fn set_handler(&self, handler: Arc<dyn Handler>) {
        self.shared.set_handler(handler);
    }

    /// Sets the check at the door, and asks it about all open connections.
    pub fn set_admission(&self, admission: Arc<dyn Admission>) {
        self.shared.set_admission(admission);
        self.recheck_admission();
    }

    /// Asks the admission check again about each open connection, and closes those that it refuses.
    pub fn recheck_admission(&self) {
        self.shared.recheck();
    }

    /// From now on nodes of other clusters are refused, also those that are connected.
    pub fn set_cluster_id(&self, cluster: Uuid) {
        self.shared.set_cluster_id(cluster);
        self.recheck_admission();
    }

    pub fn node_id(&self) -> NodeId {
        self.shared.config.node_id
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local_addr
    }

    /// Makes a peer known, or gives it a new address (connections to the old one are closed). Within the runtime only.
    pub fn set_peer(&self, node: NodeId, address: String) {
        self.shared.set_peer(node, address);
    }

    /// Forgets a peer and closes the connections to it.
    pub fn remove_peer(&self, node: NodeId) {
        self.shared.remove_peer(node);
    }

    /// The address that a peer is dialled at.
    pub fn peer_address(&self, node: NodeId) -> Option<String> {
        self.shared.peer(node).map(|peer| peer.address.clone())
    }

    /// Sends a request and waits for its answer.
    pub async fn call(
        &self,
        to: NodeId,
        lane: Lane,
        message: Message,
        deadline: Duration,
    ) -> Result<Message, CallError> {
        let answer = self.start_call(to, lane, message, deadline);
        answer.await.unwrap_or(Err(CallError::Broken(to)))
    }

    /// Queues a request at once, behind all that was queued before on this lane, and gives the receiver of its answer.
    /// The receiver always gets a value by the deadline. Dropping it does not take the request back.
    pub fn start_call(&self, to: NodeId, lane: Lane, message: Message, deadline: Duration) -> Answer {
        let Some(peer) = self.shared.peer(to) else {
            let (answer, receiver) = oneshot::channel();
            let _ = answer.send(Err(CallError::Unreachable(to)));
            return receiver;
        };
        let deadline = Instant::now() + deadline;
        let answer = peer.lane(lane).start(message, deadline);
        self.shared.watch_deadline(deadline);
        answer
    }

    /// Queues a message that has no answer; it may be lost.
    pub fn notify(&self, to: NodeId, lane: Lane, message: Message) {
        if let Some(peer) = self.shared.peer(to) {
            peer.lane(lane).notify(message);
        }
    }

    /// What all peers get to read by `peer_status`, with the heartbeats, and within about 10 ms of a change.
    pub fn set_status(&self, status: Bytes) {
        self.shared.set_status(status);
    }

    /// The newest status of a peer; none unless it is alive.
    pub fn peer_status(&self, node: NodeId) -> Option<Bytes> {
        self.shared.liveness.status(node)
    }

    /// Liveness of each peer (not of this node).
    pub fn liveness(&self) -> LivenessWatch {
        self.shared.liveness.watch()
    }

    /// Liveness of one peer now.
    pub fn peer_liveness(&self, node: NodeId) -> Liveness {
        self.shared.liveness.state(node).unwrap_or(Liveness::Unknown)
    }

    /// A number per peer that changes when its process was started again: even if it was back before it was missed,
    /// so that `liveness` never changed.
    pub fn incarnations(&self) -> watch::Receiver<Arc<BTreeMap<NodeId, u64>>> {
        self.shared.liveness.watch_incarnations()
    }

    /// The peers that refused this node when it dialled them (or that it refused then), with the reason.
    pub fn refusals(&self) -> watch::Receiver<Arc<BTreeMap<NodeId, String>>> {
        self.shared.refusals.subscribe()
    }

    pub fn stats(&self, lane: Lane) -> LaneStats {
        self.shared.counters[lane as usize].read()
    }

    /// Stops listening and closes all connections; calls fail from now on.
    pub fn close(&self) {
        self.shared.stop.cancel();
    }
}
