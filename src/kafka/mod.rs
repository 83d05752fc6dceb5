//! The Kafka front: the wire protocol of Kafka's clients over the same records that HTTP serves.
//!
//! Purpose: turn Kafka's requests into calls of [`Broker`] and its answers into Kafka's. Invariants: a request that can
//! be read is answered, or its connection is closed with a line in the log that says why; answers leave in the order
//! of their requests; record batches are neither decoded nor encoded anew between socket and disk; [`errors`] is the
//! only place where broker errors become Kafka's codes; nothing is allocated by a number that a client declares.
//!
//! Not here: where a partition's leader is, what a record is, and any forwarding: Kafka's clients find leaders by
//! themselves. No authentication, TLS, transactions or quotas yet.

pub mod codec;
pub mod connection;
pub mod context;
pub mod dispatch;
pub mod errors;
pub mod handlers;
mod inbox;
mod outgoing;
pub mod prescan;
pub mod schema;

pub mod server;
pub mod sessions;

use crate::broker::{Broker, FrontMetrics};
use crate::tasks::Tasks;
use prometheus_client::metrics::counter::Counter;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Limits of the Kafka front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaConfig {
    /// Host and port that clients are told for this node, whatever address they came in by.
    pub advertised: Option<(String, u16)>,
    /// Largest request.
    pub frame_bytes_max: usize,
    /// Connections at the same time; one more is closed.
    pub connections_max: usize,
    /// How long a connection may stay open without a request.
    pub idle_timeout: Duration,
    /// How long a request may pause before it is complete.
    pub pause_max: Duration,
    /// Bytes of records in one answer, whatever a client asks for; a first batch may be larger.
    pub answer_bytes_max: usize,
    /// Bytes of requests of one connection that are not answered; beyond it nothing more is read from it.
    pub connection_bytes_max: usize,
    /// The same of all connections together, and apart from it of all answers with records.
    pub node_bytes_max: usize,
    /// How long open requests may take to end once the node stops.
    pub shutdown_grace: Duration,
}

impl Default for KafkaConfig {
    fn default() -> KafkaConfig {
        KafkaConfig {
            advertised: None,
            frame_bytes_max: 16 << 20,
            connections_max: 4096,
            idle_timeout: Duration::from_secs(600),
            pause_max: Duration::from_secs(60),
            answer_bytes_max: 8 << 20,
            connection_bytes_max: 32 << 20,
            node_bytes_max: 512 << 20,
            shutdown_grace: Duration::from_secs(1),
        }
    }
}

/// What all connections of this front share.
pub struct Front {
    pub broker: Broker,
    pub tasks: Tasks,
    pub config: KafkaConfig,
    /// Unanswered requests, in KiB.
    requests: Arc<Semaphore>,
    /// Records in answers, in KiB.
    answers: Arc<Semaphore>,
    pub sessions: sessions::Sessions,
    metrics: FrontMetrics,
    /// Of each API, in the order of [`dispatch::APIS`].
    requests_of: Vec<Counter>,
}

impl Front {
    /// The front of a node.
    pub fn new(broker: Broker, tasks: Tasks, config: KafkaConfig) -> Arc<Front> {
        let budget = || Arc::new(Semaphore::new(kib(config.node_bytes_max) as usize));
        let (requests, answers) = (budget(), budget());
        let metrics = broker.front_metrics("kafka");
        let requests_of = dispatch::APIS.iter().map(|api| metrics.requests_of(api.name)).collect();
        let sessions = sessions::Sessions::default();
        Arc::new(Front { broker, tasks, config, requests, answers, sessions, metrics, requests_of })
    }
}

/// Permits for so many bytes.
fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX).min((Semaphore::MAX_PERMITS >> 1) as u32)
}
