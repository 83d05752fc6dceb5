//! Counters of the broker's work and gauges of the node, in the Prometheus text format.

use super::api::ProduceError;
use super::front_metrics::FrontFamilies;
use crate::partition::ReadResult;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

type Labels = Vec<(&'static str, &'static str)>;

/// Metrics that are counted as the work goes on.
pub struct Metrics {
    registry: Registry,
    produce_requests: Counter,
    produce_bytes: Counter,
    produce_errors: Family<Labels, Counter>,
    produce_seconds: Histogram,
    fetch_requests: Counter,
    fetch_bytes: Counter,
    fronts: FrontFamilies,
    gauges: Gauges,
}

/// What is looked up at each scrape.
pub(super) struct Snapshot {
    pub groups_open: u64,
    pub groups_awake: u64,
    pub groups_leading: u64,
    pub groups_failed: u64,
    pub topics: u64,
    pub partitions: u64,
    pub in_flight_bytes: u64,
    pub disk: Option<(u64, u64)>,
    pub is_controller: bool,
}

type Number = Gauge<u64, AtomicU64>;

#[derive(Default)]
struct Gauges {
    groups: Family<Labels, Number>,
    topics: Number,
    partitions: Number,
    in_flight: Number,
    disk_total: Number,
    disk_free: Number,
    controller: Number,
    resident: Number,
}

/// 50 µs … 13 s.
fn latency_buckets() -> Histogram {
    Histogram::new((0..18).map(|power| 0.000_05 * f64::from(1_u32 << power)))
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut registry = Registry::with_prefix("balsa");
        let metrics = Metrics {
            produce_requests: Counter::default(),
            produce_bytes: Counter::default(),
            produce_errors: Family::default(),
            produce_seconds: latency_buckets(),
            fetch_requests: Counter::default(),
            fetch_bytes: Counter::default(),
            fronts: FrontFamilies::default(),
            gauges: Gauges::default(),
            registry: Registry::default(),
        };
        registry.register("produce_requests", "Produce requests taken", metrics.produce_requests.clone());
        registry.register_with_unit(
            "produce",
            "Bytes of record batches in produce requests",
            Unit::Bytes,
            metrics.produce_bytes.clone(),
        );
        registry.register("produce_errors", "Produce requests by error", metrics.produce_errors.clone());
        registry.register_with_unit(
            "produce_latency",
            "From a produce request to its answer",
            Unit::Seconds,
            metrics.produce_seconds.clone(),
        );
        registry.register("fetch_requests", "Reads of one partition", metrics.fetch_requests.clone());
        registry.register_with_unit("fetch", "Bytes of record batches read", Unit::Bytes, metrics.fetch_bytes.clone());
        metrics.fronts.register(&mut registry);
        metrics.gauges.register(&mut registry);
        Metrics { registry, ..metrics }
    }
}

impl Gauges {
    fn register(&self, registry: &mut Registry) {
        registry.register("raft_groups", "Raft groups on this node, by what they do", self.groups.clone());
        registry.register("topics", "Topics in the catalog", self.topics.clone());
        registry.register("partitions", "Partitions in the catalog", self.partitions.clone());
        let bytes = Unit::Bytes;
        registry.register_with_unit(
            "in_flight",
            "Produce requests without answer",
            bytes.clone(),
            self.in_flight.clone(),
        );
        registry.register_with_unit("disk_total", "Size of the data disk", bytes.clone(), self.disk_total.clone());
        registry.register_with_unit("disk_free", "Free space of the data disk", bytes.clone(), self.disk_free.clone());
        registry.register("is_controller", "1 on the node that leads the meta group", self.controller.clone());
        registry.register_with_unit("resident_memory", "Memory of this process", bytes, self.resident.clone());
    }

    fn set(&self, now: &Snapshot) {
        let states = [
            ("open", now.groups_open),
            ("awake", now.groups_awake),
            ("leading", now.groups_leading),
            ("failed", now.groups_failed),
        ];
        for (state, count) in states {
            self.groups.get_or_create(&vec![("state", state)]).set(count);
        }
        self.topics.set(now.topics);
        self.partitions.set(now.partitions);
        self.in_flight.set(now.in_flight_bytes);
        let (total, free) = now.disk.unwrap_or((0, 0));
        self.disk_total.set(total);
        self.disk_free.set(free);
        self.controller.set(u64::from(now.is_controller));
        self.resident.set(resident_bytes().unwrap_or(0));
    }
}

fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

pub(super) fn error_name(error: &ProduceError) -> &'static str {
    match error {
        ProduceError::UnknownTopic(_) => "unknown_topic",
        ProduceError::UnknownPartition { .. } => "unknown_partition",
        ProduceError::Unavailable { .. } => "unavailable",
        ProduceError::Overloaded { .. } => "overloaded",
        ProduceError::OutcomeUnknown { .. } => "outcome_unknown",
        ProduceError::OffsetMismatch { .. } => "offset_mismatch",
        ProduceError::IdempotencyConflict => "idempotency_conflict",
        ProduceError::TooLarge { .. } => "too_large",
        ProduceError::BadBatch(_) => "bad_batch",
        ProduceError::DiskFull(_) => "disk_full",
        ProduceError::StorageFailed(_) => "storage_failed",
    }
}

impl Metrics {
    pub(super) fn produced(&self, bytes: usize, took: Duration, error: Option<&'static str>) {
        self.produce_requests.inc();
        self.produce_bytes.inc_by(bytes as u64);
        self.produce_seconds.observe(took.as_secs_f64());
        if let Some(error) = error {
            self.produce_errors.get_or_create(&vec![("error", error)]).inc();
        }
    }

    pub(super) fn fetched(&self, read: &ReadResult) {
        self.fetch_requests.inc();
        self.fetch_bytes.inc_by(read.batches.iter().map(|stored| stored.len() as u64).sum());
    }

    pub(super) fn fronts(&self) -> &FrontFamilies {
        &self.fronts
    }

    pub(super) fn text(&self, now: &Snapshot) -> String {
        self.gauges.set(now);
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes all that is written");
        text
    }
}
