//! The one API that the fronts call: find the topic, coalesce, find the leader, forward, wait.
//!
//! Purpose: any node answers any request. What belongs to another node is forwarded to it, once per attempt; the node
//! that took a request carries it through elections until its deadline, exactly once.
//!
//! Invariants: every queue has a bound and every wait a deadline; an error other than "outcome unknown" means that
//! nothing was, or will be, written.
//!
//! Does not know HTTP or Kafka: no status, no error code, no JSON.

mod admin;
pub mod api;
mod direct;
mod endpoints;
pub mod forward;
mod front_metrics;
mod group_views;
pub mod groups;
mod keyed;
mod lane;
mod metrics;
mod polls;
mod reads;
mod route;
mod settings;
mod topics;
mod views;

pub use admin::{DataDirView, Elected, QuorumView, ReplicaView, quorum_here, transfer_here};
pub use api::*;
pub use direct::{
    Direct, DirectError, DirectFollower, DirectOffset, DirectProduced, DirectRead, LeaderView, OffsetQuery,
    PendingProduce, ProducerView,
};
pub use endpoints::NodeEndpoint;
pub use front_metrics::FrontMetrics;
pub use group_views::{Progress, Reset};
pub use metrics::Metrics;
pub use polls::{Poll, PollError, Polled};
pub use route::{Router, Target, append_here, command_here, offset_here, read_here};
pub use views::summaries_here;

use crate::clock::SharedClock;
use crate::controller::Controller;
use crate::coordinator::Coordinator;
use crate::raft::Groups;
use crate::random::Random;
use crate::state::meta::Topic;
use crate::storage::Store;
use crate::tasks::{OnPanic, Tasks};
use crate::transport::Transport;
use crate::types::{Acks, GroupId, NodeId, PartitionId, TopicId};
use lane::{Lane, LaneRequest};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// What an operator decides about the broker.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    pub node_id: NodeId,
    pub auto_create_topics: bool,
    pub default_partitions: u32,
    pub default_replication_factor: u32,
    /// Partitions of the topic of the consumer groups, when it is made.
    pub group_partitions: u32,
    pub partitions_per_topic_max: u32,
    /// Bytes of produce requests on this node at the same time; beyond it clients are told to wait.
    pub in_flight_bytes_max: usize,
    /// Where the data directory is, for what disk space there is.
    pub data_dir: std::path::PathBuf,
}

/// The parts below that the broker works with.
pub struct BrokerParts {
    pub controller: Controller,
    pub coordinator: Coordinator,
    pub groups: Groups,
    pub router: Router,
    pub transport: Transport,
    pub store: Arc<Store>,
    pub clock: SharedClock,
    pub random: Random,
    pub tasks: Tasks,
}

type CachedView = (Arc<Topic>, Arc<TopicView>);

struct Inner {
    config: BrokerConfig,
    parts: BrokerParts,
    lanes: Mutex<HashMap<GroupId, mpsc::Sender<LaneRequest>>>,
    views: Mutex<HashMap<TopicId, CachedView>>,
    /// Partitions that were never written when all replicas were last asked.
    unborn: Mutex<HashMap<GroupId, Instant>>,
    /// What is left of the block of producer ids that this node took last.
    producer_ids: tokio::sync::Mutex<std::ops::Range<u64>>,
    in_flight_bytes: AtomicUsize,
    metrics: Metrics,
}

/// The broker of this node. Cheap to clone.
#[derive(Clone)]
pub struct Broker {
    inner: Arc<Inner>,
}

/// Bytes of one produce request; given back when it is answered.
struct InFlight<'a> {
    bytes: usize,
    counter: &'a AtomicUsize,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.counter.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Broker {
    pub fn new(config: BrokerConfig, parts: BrokerParts) -> Broker {
        let inner = Inner {
            config,
            parts,
            lanes: Mutex::new(HashMap::new()),
            views: Mutex::new(HashMap::new()),
            unborn: Mutex::new(HashMap::new()),
            producer_ids: tokio::sync::Mutex::new(0..0),
            in_flight_bytes: AtomicUsize::new(0),
            metrics: Metrics::default(),
        };
        Broker { inner: Arc::new(inner) }
    }

    /// This node's id.
    pub fn node_id(&self) -> NodeId {
        self.inner.config.node_id
    }

    /// Wall clock in ms: the default timestamp of records.
    pub fn now_ms(&self) -> i64 {
        self.inner.parts.clock.now_ms()
    }

    /// The next number of a seeded source (spreading of records without key, cursors).
    pub fn random_below(&self, bound: u64) -> u64 {
        self.inner.parts.random.below(bound)
    }

    /// The partition that an idempotency key hashes to.
    pub fn home_partition(&self, topic: &TopicView, key: &str) -> PartitionId {
        crate::record::partition_for_key(key.as_bytes(), topic.partitions_at_create)
    }

    /// Writes. Carried through elections until the deadline, exactly once. Requests for one partition that are first
    /// polled one after the other keep that order.
    pub async fn produce(&self, request: Produce) -> Result<Produced, ProduceError> {
        let started = Instant::now();
        let bytes = match &request.records {
            ProduceRecords::Set(set) => set.batch_size_max(),
            ProduceRecords::Batches { bytes, .. } => bytes.len(),
        };
        let result = self.produce_within(request, bytes).await;
        let error = result.as_ref().err().map(metrics::error_name);
        self.inner.metrics.produced(bytes, started.elapsed(), error);
        result
    }

    async fn produce_within(&self, request: Produce, bytes: usize) -> Result<Produced, ProduceError> {
        let target = self.target(&request.topic, request.partition)?;
        let settings = &request.topic.effective;
        if let Err(reason) = self.check_in_sync(settings, &target, request.acks) {
            return Err(ProduceError::Unavailable { reason, retry_after_ms: 1000 });
        }
        let before = self.inner.in_flight_bytes.fetch_add(bytes, Ordering::Relaxed);
        let _in_flight = InFlight { bytes, counter: &self.inner.in_flight_bytes };
        if before + bytes > self.inner.config.in_flight_bytes_max {
            return Err(overloaded("this node has too many bytes of unfinished writes"));
        }
        if request.expected_offset.is_some() || request.idempotency.is_some() {
            return self.produce_keyed(request, target).await;
        }
        let default_timestamp_ms = match &request.records {
            ProduceRecords::Set(set) if !set.is_empty() => set.timestamp_ms(0),
            _ => 0,
        };
        let (reply, answer) = oneshot::channel();
        let Produce { topic, partition, records, acks, deadline, .. } = request;
        let records = settings::shaped(&topic.effective, records, self.now_ms())?;
        let lane_request = LaneRequest { records, acks, deadline, reply };
        self.submit(&target, lane_request, || format!("partition {partition} of topic {}", topic.name))?;
        let produced = |base_offset| Produced { base_offset, replayed: false, default_timestamp_ms };
        if acks == Acks::None {
            return Ok(produced(None));
        }
        match answer.await {
            Ok(Ok(base_offset)) => Ok(produced(Some(base_offset))),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ProduceError::OutcomeUnknown {
                reason: "this node is stopping: the write may have been made".to_string(),
            }),
        }
    }

    /// Queues a request with its partition's lane, making one if there is none.
    fn submit(&self, target: &Target, request: LaneRequest, name: impl Fn() -> String) -> Result<(), ProduceError> {
        let mut lanes = self.inner.lanes.lock();
        let mut request = request;
        if let Some(lane) = lanes.get(&target.group) {
            match lane.try_send(request) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Full(_)) => {
                    return Err(overloaded("too many writes to this partition are waiting"));
                }
                Err(mpsc::error::TrySendError::Closed(back)) => request = back,
            }
        }
        let (sender, receiver) = mpsc::channel(lane::QUEUE_MAX);
        let parts = &self.inner.parts;
        let lane = Lane::new(parts.router.clone(), parts.random.clone(), target.clone(), name(), receiver);
        parts.tasks.spawn("lane", OnPanic::StopNode, lane.run());
        if sender.try_send(request).is_err() {
            return Err(overloaded("this node is stopping"));
        }
        lanes.insert(target.group, sender);
        Ok(())
    }

    /// The group and replicas of a partition, as of the newest catalog that this node has.
    fn target(&self, topic: &TopicView, partition: PartitionId) -> Result<Target, Missing> {
        let image = self.inner.parts.controller.image();
        let Some(known) = image.topic_by_id(topic.id) else { return Err(Missing::Topic(topic.name.clone())) };
        match (known.group(partition), known.assignments.replicas(partition)) {
            (Some(group), Some(replicas)) => Ok(Target { group, replicas: replicas.into() }),
            _ => Err(Missing::Partition { topic: topic.name.clone(), partition, partitions: known.partitions() }),
        }
    }

    /// Drops what is kept for groups that are gone.
    pub fn forget_group(&self, group: GroupId) {
        self.inner.lanes.lock().remove(&group);
        self.inner.unborn.lock().remove(&group);
        self.inner.parts.router.forget(group);
    }
}

/// What a request names and the catalog does not have.
enum Missing {
    Topic(String),
    Partition { topic: String, partition: PartitionId, partitions: u32 },
}

impl From<Missing> for ProduceError {
    fn from(missing: Missing) -> ProduceError {
        match missing {
            Missing::Topic(topic) => ProduceError::UnknownTopic(topic),
            Missing::Partition { topic, partition, partitions } => {
                ProduceError::UnknownPartition { topic, partition, partitions }
            }
        }
    }
}

fn overloaded(reason: &str) -> ProduceError {
    ProduceError::Overloaded { reason: format!("{reason}; nothing was written, try again"), retry_after_ms: 500 }
}
