//! Connections between nodes: TCP, length-prefixed frames, lanes. Knows peers and bytes, not what they mean.
//!
//! The API below is fixed; `Transport` is its only maker.

mod accept;
mod api;
mod dial;
mod frame;
mod handshake;
mod lane;
mod liveness;
pub mod net;
mod shared;
mod stats;
#[cfg(test)]
mod tests;
mod writer;

pub use api::{Admission, Transport, TransportConfig};
pub use stats::LaneStats;

use crate::types::NodeId;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// Separate connections, so that a bulk transfer never delays a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Lane {
    /// Node heartbeats, votes, small control messages.
    Control = 0,
    /// AppendEntries.
    Replicate = 1,
    /// Forwarded produce requests.
    Forward = 2,
    /// Forwarded reads, snapshots.
    Read = 3,
}

/// One request to another node, or its answer. `kind` is for the receiver's dispatch.
#[derive(Clone, Debug, Default)]
pub struct Message {
    pub kind: u16,
    pub header: Bytes,
    /// Sent with vectored writes, in order, without copying; arrives as one piece.
    pub payload: Vec<Bytes>,
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The request surely did not reach the peer: it was never written to a connection.
    #[error("node {0} cannot be reached")]
    Unreachable(NodeId),
    /// The request may have been carried out: the connection broke after it was written.
    #[error("the connection to node {0} broke before the answer")]
    Broken(NodeId),
    /// The request may have been carried out: no answer within the deadline.
    #[error("node {0} did not answer in time")]
    Timeout(NodeId),
    /// The lane's queue is full: surely not sent.
    #[error("too many requests to node {0} are waiting")]
    Busy(NodeId),
    /// The peer refused this node (other cluster, other node identity), in its words.
    #[error("node {0} refused this node: {1}")]
    Refused(NodeId, String),
}

/// A request as it arrived. Dropping `reply` unanswered makes the caller see `Broken`.
pub struct Incoming {
    pub from: NodeId,
    pub lane: Lane,
    pub message: Message,
    pub reply: ReplySender,
}

/// Answers one request, from any task, in any order.
pub struct ReplySender {
    send: Box<dyn FnOnce(Message) + Send>,
}

impl ReplySender {
    /// Made by the transport (and by tests).
    pub fn new(send: impl FnOnce(Message) + Send + 'static) -> ReplySender {
        ReplySender { send: Box::new(send) }
    }

    /// Queues the answer; does not wait.
    pub fn send(self, answer: Message) {
        (self.send)(answer);
    }
}

/// Gets requests in the order in which each connection (peer, lane) received them. Must not block: it queues or spawns.
pub trait Handler: Send + Sync + 'static {
    fn handle(&self, incoming: Incoming);
}

/// What this node knows of a peer's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// Heartbeats arrive.
    Alive,
    /// The peer's process has ended: its connections were closed and a new one was refused.
    Gone,
    /// No heartbeat within the timeout, though nothing was refused (paused, partitioned, powered off).
    Silent,
    /// Never heard of since this node started.
    Unknown,
}

/// Liveness of each peer, as a watched value; changes at once on loss.
pub type LivenessWatch = watch::Receiver<Arc<BTreeMap<NodeId, Liveness>>>;

/// The answer to one call, by its receiver.
pub type Answer = oneshot::Receiver<Result<Message, CallError>>;

/// How long a node may be silent, and how often it is heard of.
#[derive(Clone, Copy, Debug)]
pub struct LivenessConfig {
    pub heartbeat_interval: Duration,
    pub silent_after: Duration,
}

impl Default for LivenessConfig {
    fn default() -> LivenessConfig {
        LivenessConfig { heartbeat_interval: Duration::from_millis(200), silent_after: Duration::from_millis(1500) }
    }
}

/// Splits any bytes into frames, as the reader of a connection does; what the fuzz target of frames runs.
#[cfg(any(test, fuzzing))]
pub(crate) fn split_frames(bytes: &[u8], frame_bytes_max: usize) {
    let mut buffer = bytes::BytesMut::from(bytes);
    while let Ok(frame::Parsed::Frame(_)) = frame::parse(&mut buffer, frame_bytes_max) {}
}
