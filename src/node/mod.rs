//! The composition root: builds every long-lived object of a node, in order, and owns its end.
//!
//! ```text
//! store → transport → groups → controller → partitions → router → broker → fronts
//! ```
//!
//! Shutdown goes the other way: stop accepting, hand leaderships over, end the tasks, flush and close the store.
//!
//! What a node is built on (disk, network, clock, randomness, tasks) is one value, [`World`]: a simulation hands over
//! another one and gets the same node. All but the HTTP front is part of a [`Node`]; [`run`] adds that.

mod reconcile;
mod world;

pub use world::World;

use crate::broker::{Broker, BrokerConfig, BrokerParts, Router};
use crate::clock::SharedClock;
use crate::config::Config;
use crate::controller::{Controller, Refused};
use crate::coordinator::{Coordinator, CoordinatorConfig, CoordinatorParts};
use crate::http;
use crate::kafka;
use crate::partition::Partitions;
use crate::peer::PeerServer;
use crate::raft::{Groups, RaftTiming};
use crate::random::Random;
use crate::state::meta::Node as NodeEntry;
use crate::storage::{Store, StoreConfig};
use crate::tasks::{OnPanic, Tasks};
use crate::transport::{Admission, LivenessConfig, Transport, TransportConfig};
use crate::types::NodeId;
use anyhow::{Context, anyhow};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long leaderships are handed over for at shutdown; a node must be gone within five seconds in all.
const HAND_OVER_PATIENCE: Duration = Duration::from_millis(1500);
/// How long tasks may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(2);
/// How often a node tells the others how it is.
const STATUS_INTERVAL: Duration = Duration::from_millis(500);

struct Door(Controller);

impl Admission for Door {
    fn check(&self, from: NodeId, uuid: Uuid, cluster: Option<Uuid>) -> Result<(), String> {
        self.0.check_peer(from, uuid, cluster)
    }
}

/// All that lives as long as the node.
pub struct Node {
    config: Config,
    tasks: Tasks,
    store: Arc<Store>,
    transport: Transport,
    groups: Groups,
    controller: Controller,
    coordinator: Coordinator,
    partitions: Partitions,
    broker: Broker,
    peers: Arc<PeerServer>,
}

/// Runs a node until `shutdown` resolves, or until it can't go on.
///
/// # Errors
/// In one line: an address in use, a data directory that belongs to another node, a cluster that refuses this node.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let http_listener = TcpListener::bind(config.http.listen)
        .await
        .with_context(|| format!("cannot listen on {} for HTTP", config.http.listen))?;
    let kafka_listener = match config.kafka.listen {
        Some(address) => Some(
            TcpListener::bind(address)
                .await
                .with_context(|| format!("cannot listen on {address} for Kafka clients"))?,
        ),
        None => None,
    };
    let node = Node::build(config, World::real()).await?;
    let failed = node.tasks.failed();
    let (http_tasks, kafka_tasks) = (Tasks::new(), Tasks::new());
    node.serve_http(http_listener, &http_tasks);
    let mut shutdown = std::pin::pin!(shutdown);
    let joined = tokio::select! {
        joined = node.join_cluster() => Some(joined),
        () = &mut shutdown => None,
        () = failed.cancelled() => None,
    };
    if let Some(Err(refused)) = joined {
        node.stop(&http_tasks, &kafka_tasks).await;
        return Err(anyhow!("{refused}"));
    }
    if joined.is_some() {
        node.start_background();
        // Not before: whoever finds a partition's leader by this front is to find it.
        if let Some(listener) = kafka_listener {
            node.serve_kafka(listener, &kafka_tasks);
        }
        tokio::select! {
            () = &mut shutdown => {}
            () = failed.cancelled() => {}
        }
    }
    let has_failed = failed.is_cancelled();
    node.stop(&http_tasks, &kafka_tasks).await;
    if has_failed { Err(anyhow!("the node could not go on; the log says why")) } else { Ok(()) }
}

fn store_config(config: &Config, world: &World) -> StoreConfig {
    let storage = &config.storage;
    StoreConfig {
        segment_bytes: storage.segment_bytes,
        index_interval_bytes: storage.index_interval_bytes,
        cache_bytes: storage.tail_cache_bytes,
        flusher_threads: storage.flusher_threads,
        flush_on_demand: world.flush_on_demand,
        reserve_bytes: storage.disk_reserve_bytes,
        ..StoreConfig::default()
    }
}

fn transport_config(config: &Config, store: &Store) -> TransportConfig {
    let identity = store.identity();
    let mut peers = config.members();
    peers.remove(&config.node_id);
    TransportConfig {
        cluster_id: identity.cluster_id,
        liveness: LivenessConfig {
            heartbeat_interval: config.liveness.heartbeat_interval(),
            silent_after: config.liveness.silent_after(),
        },
        ..TransportConfig::new(config.node_id, identity.node_uuid, config.peer.listen.to_string(), peers)
    }
}

fn raft_timing(config: &Config) -> RaftTiming {
    RaftTiming {
        heartbeat_interval_ms: config.raft.heartbeat_interval_ms,
        election_timeout_ms_min: config.raft.election_timeout_min_ms,
        election_timeout_ms_max: config.raft.election_timeout_max_ms,
        quiesce_after: Duration::from_millis(config.raft.quiesce_after_ms),
    }
}

impl Node {
    /// Opens the data directory, listens for peers, and puts the parts together; takes part in nothing yet.
    ///
    /// # Errors
    /// In one line: an address in use, a data directory that is damaged or belongs to another node.
    pub async fn build(config: Config, world: World) -> anyhow::Result<Node> {
        let (dir, node_id, for_store) = (config.data_dir.clone(), config.node_id, store_config(&config, &world));
        let World { fs, net, clock, random, tasks, .. } = world;
        let store_random = random.clone();
        let store = tasks
            .blocking(move || Store::open(fs, &dir, node_id, for_store, &store_random))
            .await
            .with_context(|| format!("data directory {}", config.data_dir.display()))?;
        let transport_config = transport_config(&config, &store);
        let transport = Transport::start(transport_config, net, tasks.clone(), random.clone(), None)
            .await
            .with_context(|| format!("cannot listen on {} for peers", config.peer.listen))?;
        let groups = Groups::new(
            config.node_id,
            store.clone(),
            transport.clone(),
            tasks.clone(),
            random.clone(),
            raft_timing(&config),
        );
        let controller = Controller::new(
            config.node_id,
            store.clone(),
            groups.clone(),
            transport.clone(),
            tasks.clone(),
            random.clone(),
            config.members(),
        );
        groups.set_directory(Arc::new(controller.clone()));
        let partitions = Partitions::new(groups.clone(), clock.clone(), tasks.clone());
        let router = Router::new(config.node_id, partitions.clone(), transport.clone());
        let coordinator = coordinator(&config, &partitions, &controller, &clock, &random, &tasks);
        let parts = BrokerParts {
            controller: controller.clone(),
            coordinator: coordinator.clone(),
            groups: groups.clone(),
            router,
            transport: transport.clone(),
            store: store.clone(),
            clock,
            random,
            tasks: tasks.clone(),
        };
        let broker = Broker::new(broker_config(&config), parts);
        let peers = PeerServer::new(
            groups.clone(),
            partitions.clone(),
            controller.clone(),
            coordinator.clone(),
            transport.clone(),
            tasks.clone(),
        );
        transport.set_admission(Arc::new(Door(controller.clone())));
        transport.set_handler(peers.clone());
        Ok(Node { config, tasks, store, transport, groups, controller, coordinator, partitions, broker, peers })
    }

    fn serve_http(&self, listener: TcpListener, tasks: &Tasks) {
        let limits = &self.config.limits;
        let config = http::HttpConfig {
            body_bytes_max: limits.http_body_bytes as usize,
            inflated_body_bytes_max: limits.http_body_bytes as usize * 4,
            line_bytes_max: limits.ndjson_line_bytes as usize,
            header_bytes_max: limits.http_headers_bytes as usize,
            connections_max: limits.connections,
            header_timeout: Duration::from_millis(limits.header_timeout_ms),
            idle_timeout: Duration::from_millis(limits.idle_ms),
            shutdown_grace: Duration::from_secs(2),
            ..http::HttpConfig::default()
        };
        let router = http::router(self.broker.clone(), tasks.clone(), config.clone());
        let served = http::server::serve(listener, router, tasks.clone(), config);
        tasks.spawn("http", OnPanic::StopNode, served);
    }

    fn serve_kafka(&self, listener: TcpListener, tasks: &Tasks) {
        let limits = &self.config.limits;
        let config = kafka::KafkaConfig {
            advertised: self.config.kafka.advertised.as_deref().and_then(kafka::context::split),
            frame_bytes_max: limits.kafka_frame_bytes as usize,
            connections_max: limits.connections,
            idle_timeout: Duration::from_millis(self.config.kafka.idle_ms),
            connection_bytes_max: limits.in_flight_connection_bytes as usize,
            node_bytes_max: broker_config(&self.config).in_flight_bytes_max,
            ..kafka::KafkaConfig::default()
        };
        let front = kafka::Front::new(self.broker.clone(), tasks.clone(), config);
        tasks.spawn("kafka", OnPanic::StopNode, kafka::server::serve(listener, front));
    }

    /// Takes part in the cluster, forming it if need be. Back once the cluster knows this node.
    ///
    /// # Errors
    /// The cluster does not want this node.
    pub async fn join_cluster(&self) -> Result<(), Refused> {
        // Raft messages are taken from the moment that bootstrap decides to take part; `start` calls back for that.
        // From then on the loss of a leader's node must be acted upon: a replica that still believes in its lease refuses its
        // vote to the others.
        self.tasks.spawn("raft-watch", OnPanic::StopNode, self.groups.clone().watch_over());
        let peers = self.peers.clone();
        self.controller.start(move || peers.open()).await?;
        let identity = self.store.identity();
        let entry = NodeEntry {
            id: self.config.node_id,
            uuid: Some(identity.node_uuid),
            http_address: self.config.http_advertised(),
            kafka_address: self.config.kafka_registered(),
            peer_address: self.config.members().get(&self.config.node_id).cloned().unwrap_or_default(),
            rack: self.config.rack.clone(),
            version: env!("CARGO_PKG_VERSION").to_string(),
        };
        self.transport.set_status(self.broker.own_status().encode().into());
        self.controller.register(entry).await
    }

    /// The one API that fronts call.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// The Raft groups of this node.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// The data directory.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Becomes cancelled when the node cannot go on.
    pub fn failed(&self) -> CancellationToken {
        self.tasks.failed()
    }

    /// Begins what runs beside requests, once the cluster was joined.
    pub fn start_background(&self) {
        let tasks = &self.tasks;
        tasks.spawn("group-sweep", OnPanic::StopNode, self.coordinator.clone().sweep());
        tasks.spawn("hand-back", OnPanic::StopNode, self.controller.clone().hand_back_leaderships());
        let reconciler = reconcile::Reconciler {
            controller: self.controller.clone(),
            groups: self.groups.clone(),
            partitions: self.partitions.clone(),
            broker: self.broker.clone(),
            transport: self.transport.clone(),
            tasks: tasks.clone(),
        };
        tasks.spawn("reconcile", OnPanic::StopNode, reconciler.run());
        let (broker, transport, own) = (self.broker.clone(), self.transport.clone(), tasks.clone());
        tasks.spawn("status", OnPanic::StopNode, async move {
            let mut told = None;
            loop {
                let status = broker.own_status();
                if told.as_ref() != Some(&status) {
                    transport.set_status(status.encode().into());
                    told = Some(status);
                }
                if !own.pause(STATUS_INTERVAL).await {
                    return;
                }
            }
        });
        tracing::info!(node = %self.config.node_id, http = %self.config.http.listen, "the node is ready");
    }

    /// Stops accepting, hands leaderships over, flushes. Bounded in time: what hangs is left behind.
    /// Kafka's clients are served while leaderships move, so that they hear where to.
    pub async fn stop(self, http_tasks: &Tasks, kafka_tasks: &Tasks) {
        let started = Instant::now();
        http_tasks.stopping().cancel();
        self.groups.hand_over(HAND_OVER_PATIENCE).await;
        let fronts = async { tokio::join!(http_tasks.stop(), kafka_tasks.stop()) };
        let _ = tokio::time::timeout(STOP_PATIENCE, fronts).await;
        self.tasks.stopping().cancel();
        if tokio::time::timeout(STOP_PATIENCE, self.groups.shutdown()).await.is_err() {
            tracing::warn!("some groups did not end in time");
        }
        self.transport.close();
        let _ = tokio::time::timeout(Duration::from_millis(500), self.tasks.stop()).await;
        let store = self.store.clone();
        match tokio::time::timeout(Duration::from_secs(1), self.tasks.blocking(move || store.close())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the store was not closed cleanly"),
            Err(_) => tracing::warn!("the store did not close in time"),
        }
        tracing::info!(took_ms = started.elapsed().as_millis() as u64, "the node has stopped");
    }
}

fn coordinator(
    config: &Config,
    partitions: &Partitions,
    controller: &Controller,
    clock: &SharedClock,
    random: &Random,
    tasks: &Tasks,
) -> Coordinator {
    let parts = CoordinatorParts {
        partitions: partitions.clone(),
        controller: controller.clone(),
        clock: clock.clone(),
        random: random.clone(),
        tasks: tasks.clone(),
    };
    Coordinator::new(coordinator_config(config), parts)
}

fn coordinator_config(config: &Config) -> CoordinatorConfig {
    let groups = &config.groups;
    let mut coordinator = CoordinatorConfig {
        retention: Duration::from_millis(groups.offsets_retention_ms),
        ..CoordinatorConfig::default()
    };
    coordinator.live.initial_delay_ms = groups.initial_rebalance_delay_ms as i64;
    coordinator.live.session_timeout_ms_min = groups.session_timeout_min_ms as i32;
    coordinator.live.session_timeout_ms_max = groups.session_timeout_max_ms as i32;
    coordinator.live.members_max = groups.members;
    coordinator
}

fn broker_config(config: &Config) -> BrokerConfig {
    let memory = rustix::system::sysinfo();
    let memory_bytes = memory.totalram as u64 * u64::from(memory.mem_unit);
    BrokerConfig {
        node_id: config.node_id,
        auto_create_topics: config.auto_create_topics,
        default_partitions: config.default_partitions,
        default_replication_factor: config.default_replication_factor,
        group_partitions: config.groups.partitions,
        partitions_per_topic_max: config.limits.partitions_per_topic,
        in_flight_bytes_max: config.limits.in_flight_or(memory_bytes) as usize,
        data_dir: config.data_dir.clone(),
    }
}
