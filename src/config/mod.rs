//! What a node is told at its start: one typed value, [`Config`], made once and handed down. Nothing reads it globally.
//!
//! Sources, the later one winning: the defaults below, a TOML file, `BALSA_*` variables, flags. A key that does not
//! exist is refused by name in each of them, and so is a value of the wrong kind, in one line that says which source
//! it came from and what would be accepted.
//!
//! Invariants: a `Config` that [`Config::load`] gave out is consistent (see [`Config::validate`]); every key of the
//! structs is in [`keys::KEYS`] and in `deploy/balsa.toml` with the same default (held by `tests/config.rs`).
//!
//! This module does no I/O beyond reading the one file that it is given, resolves no names and binds nothing.

mod error;
mod field;
pub mod keys;
mod load;
mod validate;

pub use error::ConfigError;
pub use load::{FlagValue, Sources};

use crate::types::NodeId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Mebibytes, in bytes.
const MIB: u64 = 1024 * 1024;

/// All that a node is told. Units stand at the end of each name; `deploy/balsa.toml` gives the reasons.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// This node's number in `peers`, from 1.
    pub node_id: NodeId,
    pub data_dir: PathBuf,
    /// Where the node stands; replicas are spread over racks.
    #[serde(with = "field::optional_text")]
    pub rack: Option<String>,
    /// A write to an unknown topic makes it.
    pub auto_create_topics: bool,
    pub default_partitions: u32,
    /// Fewer replicas are made where the cluster has fewer nodes.
    pub default_replication_factor: u32,
    /// A listener on a non-loopback address has no authentication yet, so it must be asked for.
    pub allow_insecure_listener: bool,
    /// 0: as many as there are cores.
    pub worker_threads: usize,
    /// Most threads for blocking file reads.
    pub blocking_threads: usize,
    pub http: HttpConfig,
    pub kafka: KafkaConfig,
    pub peer: PeerConfig,
    /// The nodes that form the cluster, by id; the same on each. Empty: this node alone (see [`Config::members`]).
    #[serde(with = "field::peers")]
    pub peers: BTreeMap<NodeId, String>,
    pub liveness: LivenessSettings,
    pub raft: RaftConfig,
    pub storage: StorageConfig,
    pub groups: GroupsConfig,
    pub limits: LimitsConfig,
    pub log: LogConfig,
}

/// The HTTP listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    pub listen: SocketAddr,
    /// `host:port` by which clients and other nodes' answers name this listener; `None`: see [`Config::http_advertised`].
    #[serde(with = "field::optional_text")]
    pub advertised: Option<String>,
}

/// The Kafka listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaConfig {
    /// `None`: no such listener.
    #[serde(with = "field::optional_address")]
    pub listen: Option<SocketAddr>,
    /// `host:port` that clients are told for this node; `None`: what they came in by (see [`Config::kafka_registered`]).
    #[serde(with = "field::optional_text")]
    pub advertised: Option<String>,
    pub idle_ms: u64,
}

/// Consumer groups.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupsConfig {
    /// Of the topic that holds the groups, when it is made.
    pub partitions: u32,
    /// Most members of one group.
    pub members: usize,
    /// How long an empty group waits for further members after each one that came.
    pub initial_rebalance_delay_ms: u64,
    pub session_timeout_min_ms: u64,
    pub session_timeout_max_ms: u64,
    /// How long the offsets of a group without members are kept.
    pub offsets_retention_ms: u64,
}

/// The listener for other nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PeerConfig {
    pub listen: SocketAddr,
}

/// How nodes hear of each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LivenessSettings {
    pub heartbeat_interval_ms: u64,
    pub silent_after_ms: u64,
}

/// Timers of Raft groups.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RaftConfig {
    pub election_timeout_min_ms: u64,
    pub election_timeout_max_ms: u64,
    pub heartbeat_interval_ms: u64,
    /// A group without writes for this long stops its heartbeats and timers.
    pub quiesce_after_ms: u64,
}

/// Logs on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageConfig {
    pub segment_bytes: u64,
    /// One cache of newest entries for the whole node.
    pub tail_cache_bytes: u64,
    pub flusher_threads: usize,
    /// Below this much free space writes are refused, so that trims and deletes still work.
    pub disk_reserve_bytes: u64,
    /// An entry of the offset and time index is made after this many bytes of records.
    pub index_interval_bytes: u64,
}

/// Bounds of what clients may ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    pub http_body_bytes: u64,
    pub http_headers_bytes: u64,
    pub kafka_frame_bytes: u64,
    /// A line of ndjson, its line end not counted.
    pub ndjson_line_bytes: u64,
    pub connections: usize,
    pub idle_ms: u64,
    pub header_timeout_ms: u64,
    pub in_flight_connection_bytes: u64,
    /// 0: a quarter of the machine's memory (see [`LimitsConfig::in_flight_or`]).
    pub in_flight_bytes: u64,
    /// Default of a topic's `max.message.bytes`.
    pub record_bytes: u64,
    pub batch_bytes: u64,
    /// A compressed batch, inflated.
    pub inflated_batch_bytes: u64,
    pub partitions_per_topic: u32,
}

/// The node's own log, on standard error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    pub format: LogFormat,
    /// A level, or `tracing` directives such as `info,balsa::raft=debug`.
    pub level: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            node_id: NodeId(1),
            data_dir: PathBuf::from("balsa-data"),
            rack: None,
            auto_create_topics: false,
            default_partitions: 1,
            default_replication_factor: 3,
            allow_insecure_listener: false,
            worker_threads: 0,
            blocking_threads: 64,
            http: HttpConfig::default(),
            kafka: KafkaConfig::default(),
            peer: PeerConfig::default(),
            peers: BTreeMap::new(),
            liveness: LivenessSettings::default(),
            raft: RaftConfig::default(),
            storage: StorageConfig::default(),
            groups: GroupsConfig::default(),
            limits: LimitsConfig::default(),
            log: LogConfig::default(),
        }
    }
}

impl Default for HttpConfig {
    fn default() -> HttpConfig {
        HttpConfig { listen: SocketAddr::from(([127, 0, 0, 1], 8082)), advertised: None }
    }
}

impl Default for GroupsConfig {
    fn default() -> GroupsConfig {
        GroupsConfig {
            partitions: 16,
            members: 5_000,
            initial_rebalance_delay_ms: 500,
            session_timeout_min_ms: 6_000,
            session_timeout_max_ms: 1_800_000,
            offsets_retention_ms: 604_800_000,
        }
    }
}

impl Default for KafkaConfig {
    fn default() -> KafkaConfig {
        KafkaConfig { listen: Some(SocketAddr::from(([127, 0, 0, 1], 9092))), advertised: None, idle_ms: 600_000 }
    }
}

impl Default for PeerConfig {
    fn default() -> PeerConfig {
        PeerConfig { listen: SocketAddr::from(([127, 0, 0, 1], 9192)) }
    }
}

impl Default for LivenessSettings {
    fn default() -> LivenessSettings {
        LivenessSettings { heartbeat_interval_ms: 100, silent_after_ms: 1500 }
    }
}

impl Default for RaftConfig {
    fn default() -> RaftConfig {
        RaftConfig {
            election_timeout_min_ms: 1500,
            election_timeout_max_ms: 3000,
            heartbeat_interval_ms: 400,
            quiesce_after_ms: 3000,
        }
    }
}

impl Default for StorageConfig {
    fn default() -> StorageConfig {
        StorageConfig {
            segment_bytes: 128 * MIB,
            tail_cache_bytes: 32 * MIB,
            flusher_threads: 2,
            disk_reserve_bytes: 128 * MIB,
            index_interval_bytes: 16 * 1024,
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> LimitsConfig {
        LimitsConfig {
            http_body_bytes: 8 * MIB,
            http_headers_bytes: 16 * 1024,
            kafka_frame_bytes: 16 * MIB,
            ndjson_line_bytes: MIB,
            connections: 4096,
            idle_ms: 300_000,
            header_timeout_ms: 5000,
            in_flight_connection_bytes: 32 * MIB,
            in_flight_bytes: 0,
            record_bytes: MIB,
            batch_bytes: 8 * MIB,
            inflated_batch_bytes: 32 * MIB,
            partitions_per_topic: 10_000,
        }
    }
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig { format: LogFormat::Text, level: "info".to_owned() }
    }
}

impl Config {
    /// The cluster's nodes: `peers`, or this node alone at its own listener where none are named.
    pub fn members(&self) -> BTreeMap<NodeId, String> {
        if self.peers.is_empty() {
            return BTreeMap::from([(self.node_id, self.peer.listen.to_string())]);
        }
        self.peers.clone()
    }

    /// The address by which others name this node's HTTP listener. One that listens on all interfaces without
    /// `http.advertised` goes by the host under which its peers know it.
    pub fn http_advertised(&self) -> String {
        self.http.advertised.clone().unwrap_or_else(|| self.reached_at(self.http.listen))
    }

    /// The address that other nodes tell Kafka's clients for this node, if it has such a listener. (This node tells its
    /// own clients the address that they came in by, where nothing is advertised.)
    pub fn kafka_registered(&self) -> Option<String> {
        let listen = self.kafka.listen?;
        Some(self.kafka.advertised.clone().unwrap_or_else(|| self.reached_at(listen)))
    }

    fn reached_at(&self, listen: SocketAddr) -> String {
        let own_host = self.peers.get(&self.node_id).and_then(|address| address.rsplit_once(':')).map(|(host, _)| host);
        match own_host {
            Some(host) if listen.ip().is_unspecified() => format!("{host}:{}", listen.port()),
            _ => listen.to_string(),
        }
    }

    /// The configuration as TOML, every key given.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("every key of the configuration has a TOML form")
    }
}

impl LivenessSettings {
    pub fn heartbeat_interval(&self) -> Duration {
        Duration::from_millis(self.heartbeat_interval_ms)
    }

    pub fn silent_after(&self) -> Duration {
        Duration::from_millis(self.silent_after_ms)
    }
}

impl LimitsConfig {
    /// Bytes in flight for the whole node, where `memory_bytes` is what the machine has.
    pub fn in_flight_or(&self, memory_bytes: u64) -> u64 {
        if self.in_flight_bytes == 0 { (memory_bytes / 4).max(64 * MIB) } else { self.in_flight_bytes }
    }
}
