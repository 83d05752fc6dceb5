//! The one API that the fronts call: find the topic, coalesce, find the leader, forward, wait.
//!
//! TODO(skeleton): the bodies.

pub mod api;

use crate::types::{NodeId, PartitionId};
pub use api::*;
use std::sync::Arc;
use tokio::time::Instant;

/// The broker of this node. Cheap to clone.
#[derive(Clone)]
pub struct Broker {
    _inner: Arc<()>,
}

impl Broker {
    /// This node's id.
    pub fn node_id(&self) -> NodeId {
        todo!()
    }

    /// Wall clock in ms: the default timestamp of records.
    pub fn now_ms(&self) -> i64 {
        todo!()
    }

    /// The next number of a seeded source (spreading of records without key, cursors).
    pub fn random_below(&self, _bound: u64) -> u64 {
        todo!()
    }

    /// All topics that clients see, by name.
    pub fn topics(&self) -> Vec<Arc<TopicView>> {
        todo!()
    }

    /// One topic, from this node's image of the catalog (which may lag by a moment).
    pub fn topic(&self, _name: &str) -> Option<Arc<TopicView>> {
        todo!()
    }

    /// One topic for a write or read: looks again with the controller where the image has none (it may lag), and
    /// makes it where `auto_create` is asked for and the configuration allows it.
    pub async fn resolve_topic(
        &self,
        _name: &str,
        _auto_create: bool,
        _deadline: Instant,
    ) -> Result<Arc<TopicView>, TopicError> {
        todo!()
    }

    /// Makes a topic; back once any node takes writes to every partition.
    pub async fn create_topic(&self, _request: CreateTopic, _deadline: Instant) -> Result<Arc<TopicView>, TopicError> {
        todo!()
    }

    pub async fn alter_topic(
        &self,
        _name: &str,
        _request: AlterTopic,
        _deadline: Instant,
    ) -> Result<Arc<TopicView>, TopicError> {
        todo!()
    }

    pub async fn delete_topic(&self, _name: &str, _deadline: Instant) -> Result<(), TopicError> {
        todo!()
    }

    /// Per partition: leader, term, replicas in sync, offsets, size; asked of the leaders.
    pub async fn describe_partitions(&self, _topic: &Arc<TopicView>, _deadline: Instant) -> Vec<PartitionView> {
        todo!()
    }

    /// Offsets of all partitions at `at` (`ReadFrom::Earliest`, `Latest`, `Time`).
    pub async fn offsets(
        &self,
        _topic: &Arc<TopicView>,
        _at: ReadFrom,
        _deadline: Instant,
    ) -> Result<Vec<OffsetAt>, FetchError> {
        todo!()
    }

    /// Writes. Carried through elections until the deadline, exactly once.
    pub async fn produce(&self, _request: Produce) -> Result<Produced, ProduceError> {
        todo!()
    }

    /// Before the partitions' parts of a request with an `Idempotency-Key` are sent: claims the key on its home
    /// partition. Gives the partition count that the first request with this key was spread over (use it to choose
    /// partitions by key), or `IdempotencyConflict`.
    pub async fn claim_idempotency_key(
        &self,
        _topic: &Arc<TopicView>,
        _key: &IdempotencyKey,
        _deadline: Instant,
    ) -> Result<u32, ProduceError> {
        todo!()
    }

    /// Gives a claimed key back: every part of its request was refused, so it was not used.
    pub async fn release_idempotency_key(&self, _topic: &Arc<TopicView>, _key: &IdempotencyKey, _deadline: Instant) {
        todo!()
    }

    /// Reads, on the partition's leader, wherever that is.
    pub async fn fetch(&self, _request: Fetch) -> Result<Fetched, FetchError> {
        todo!()
    }

    pub async fn cluster(&self) -> ClusterView {
        todo!()
    }

    /// Conditions of `/readyz`: the meta group is known, the catalog is caught up, storage takes writes, …
    pub async fn readiness(&self) -> Vec<ReadyCheck> {
        todo!()
    }

    /// Metrics of the whole node in the Prometheus text format.
    pub fn metrics_text(&self) -> String {
        todo!()
    }

    /// The partition that an idempotency key hashes to.
    pub fn home_partition(&self, topic: &TopicView, key: &str) -> PartitionId {
        crate::record::partition_for_key(key.as_bytes(), topic.partitions_at_create)
    }
}
