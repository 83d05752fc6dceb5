//! The transport itself: what the other floors hold and call.

use super::net::Net;
use super::{Answer, CallError, Handler, Lane, LivenessConfig, LivenessWatch, Message};
use crate::random::Random;
use crate::tasks::Tasks;
use crate::types::NodeId;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
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

/// What went over one lane since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneStats {
    pub messages_sent: u64,
    pub bytes_sent: u64,
    pub messages_received: u64,
    pub bytes_received: u64,
}

/// Connections to all other nodes. Cheap to clone.
#[derive(Clone)]
pub struct Transport {
    _inner: Arc<()>,
}

impl Transport {
    /// Listens, and begins to send heartbeats to all peers. The handler may come later (`set_handler`): requests that
    /// arrive before that are answered so that their caller sees `Unreachable`.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(
        _config: TransportConfig,
        _net: Arc<dyn Net>,
        _tasks: Tasks,
        _random: Random,
        _handler: Option<Arc<dyn Handler>>,
    ) -> io::Result<Transport> {
        todo!()
    }

    pub fn set_handler(&self, _handler: Arc<dyn Handler>) {
        todo!()
    }

    pub fn set_admission(&self, _admission: Arc<dyn Admission>) {
        todo!()
    }

    /// Asks the admission check again about each open connection, and closes those that it refuses.
    pub fn recheck_admission(&self) {
        todo!()
    }

    /// From now on nodes of other clusters are refused.
    pub fn set_cluster_id(&self, _cluster: Uuid) {
        todo!()
    }

    pub fn node_id(&self) -> NodeId {
        todo!()
    }

    pub fn local_addr(&self) -> SocketAddr {
        todo!()
    }

    /// Makes a peer known, or gives it a new address (open connections to the old one are closed).
    pub fn set_peer(&self, _node: NodeId, _address: String) {
        todo!()
    }

    pub fn remove_peer(&self, _node: NodeId) {
        todo!()
    }

    /// Sends a request and waits for its answer.
    pub async fn call(
        &self,
        _to: NodeId,
        _lane: Lane,
        _message: Message,
        _deadline: Duration,
    ) -> Result<Message, CallError> {
        todo!()
    }

    /// Queues a request at once, behind all that was queued before on this lane, and gives the receiver of its answer.
    /// The receiver always gets a value by the deadline. Dropping it does not take the request back.
    pub fn start_call(&self, _to: NodeId, _lane: Lane, _message: Message, _deadline: Duration) -> Answer {
        todo!()
    }

    /// Queues a message that has no answer; it may be lost.
    pub fn notify(&self, _to: NodeId, _lane: Lane, _message: Message) {
        todo!()
    }

    /// What all peers get to read by `peer_status`, with the heartbeats (soon after a change).
    pub fn set_status(&self, _status: Bytes) {
        todo!()
    }

    /// The newest status of a peer that is heard of.
    pub fn peer_status(&self, _node: NodeId) -> Option<Bytes> {
        todo!()
    }

    /// Liveness of each peer (not of this node).
    pub fn liveness(&self) -> LivenessWatch {
        todo!()
    }

    /// The peers that refuse this node (or that this node refuses), with the reason.
    pub fn refusals(&self) -> watch::Receiver<Arc<BTreeMap<NodeId, String>>> {
        todo!()
    }

    pub fn stats(&self, _lane: Lane) -> LaneStats {
        todo!()
    }

    /// Stops listening, then closes all connections; calls fail from now on.
    pub fn close(&self) {
        todo!()
    }
}
