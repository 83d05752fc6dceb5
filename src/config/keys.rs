//! All keys by name, with the kind of value that each takes; and the check of one value against its kind.
//!
//! The table and the structs of [`super::Config`] say the same twice, so that an error can name a key, and so that
//! variables and flags need no code of their own; a test holds the two together.

use std::net::SocketAddr;
use toml::Value;

/// A setting.
pub struct Key {
    /// As in the file, its tables joined by dots.
    pub name: &'static str,
    pub kind: Kind,
}

/// What values a setting takes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Flag,
    Number {
        min: u64,
        max: u64,
    },
    /// A number, or a text with a unit ("128 MiB").
    Bytes {
        min: u64,
        max: u64,
    },
    Text,
    /// An address of this machine to listen on.
    Listen,
    /// The same, or "" for none.
    ListenOrNone,
    /// `host:port` as others reach it, or "" for none.
    HostPortOrNone,
    Choice(&'static [&'static str]),
    /// A table from node id to `host:port`.
    Peers,
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
/// One day: no timer needs more, and sums of timers stay far from overflow.
const DAY_MS: u64 = 86_400_000;

const fn key(name: &'static str, kind: Kind) -> Key {
    Key { name, kind }
}

const fn number(name: &'static str, min: u64, max: u64) -> Key {
    key(name, Kind::Number { min, max })
}

const fn bytes(name: &'static str, min: u64, max: u64) -> Key {
    key(name, Kind::Bytes { min, max })
}

/// Every setting, in the order of `deploy/balsa.toml`.
pub const KEYS: &[Key] = &[
    number("node_id", 1, u32::MAX as u64),
    key("data_dir", Kind::Text),
    key("rack", Kind::Text),
    key("auto_create_topics", Kind::Flag),
    number("default_partitions", 1, 10_000),
    number("default_replication_factor", 1, 5),
    key("allow_insecure_listener", Kind::Flag),
    number("worker_threads", 0, 1024),
    number("blocking_threads", 1, 4096),
    key("http.listen", Kind::Listen),
    key("http.advertised", Kind::HostPortOrNone),
    key("kafka.listen", Kind::ListenOrNone),
    key("kafka.advertised", Kind::HostPortOrNone),
    number("kafka.idle_ms", 1, DAY_MS),
    key("peer.listen", Kind::Listen),
    key("peers", Kind::Peers),
    number("liveness.heartbeat_interval_ms", 1, DAY_MS),
    number("liveness.silent_after_ms", 2, DAY_MS),
    number("raft.election_timeout_min_ms", 2, DAY_MS),
    number("raft.election_timeout_max_ms", 2, DAY_MS),
    number("raft.heartbeat_interval_ms", 1, DAY_MS),
    number("raft.quiesce_after_ms", 1, DAY_MS),
    bytes("storage.segment_bytes", 64 * KIB, 4 * GIB - 1),
    bytes("storage.tail_cache_bytes", MIB, 1024 * GIB),
    number("storage.flusher_threads", 1, 64),
    bytes("storage.disk_reserve_bytes", 0, 1024 * GIB),
    bytes("storage.index_interval_bytes", 512, GIB),
    number("groups.partitions", 1, 1_000),
    number("groups.members", 1, 100_000),
    number("groups.initial_rebalance_delay_ms", 0, DAY_MS),
    number("groups.session_timeout_min_ms", 1, DAY_MS),
    number("groups.session_timeout_max_ms", 1, DAY_MS),
    number("groups.offsets_retention_ms", 1, 3650 * DAY_MS),
    bytes("limits.http_body_bytes", KIB, GIB),
    bytes("limits.http_headers_bytes", 8 * KIB, MIB),
    bytes("limits.kafka_frame_bytes", 64 * KIB, GIB),
    bytes("limits.ndjson_line_bytes", KIB, GIB),
    number("limits.connections", 1, 1_000_000),
    number("limits.idle_ms", 1, DAY_MS),
    number("limits.header_timeout_ms", 1, DAY_MS),
    bytes("limits.in_flight_connection_bytes", MIB, 64 * GIB),
    bytes("limits.in_flight_bytes", 0, 1024 * GIB),
    bytes("limits.record_bytes", 1, GIB),
    bytes("limits.batch_bytes", KIB, GIB),
    bytes("limits.inflated_batch_bytes", KIB, GIB),
    number("limits.partitions_per_topic", 1, 100_000),
    key("log.format", Kind::Choice(&["text", "json"])),
    key("log.level", Kind::Text),
];

/// The setting of that name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

impl Key {
    /// The environment variable that sets it: `http.listen` is `BALSA_HTTP_LISTEN`.
    pub fn variable(&self) -> String {
        format!("BALSA_{}", self.name.replace('.', "_").to_uppercase())
    }
}

impl Kind {
    /// What an error says would be accepted.
    pub fn expected(&self) -> String {
        match self {
            Kind::Flag => "true or false".to_owned(),
            Kind::Number { min, max } => format!("a whole number from {min} to {max}"),
            Kind::Bytes { min, max } => format!("bytes from {min} to {max}, as a number or with a unit (\"64 MiB\")"),
            Kind::Text => "a text".to_owned(),
            Kind::Listen => "an IP address and port such as \"127.0.0.1:8082\"".to_owned(),
            Kind::ListenOrNone => "an IP address and port such as \"127.0.0.1:9092\", or \"\" for none".to_owned(),
            Kind::HostPortOrNone => "a host and port such as \"balsa-1.example:8082\", or \"\" for none".to_owned(),
            Kind::Choice(names) => format!("one of {}", names.join(", ")),
            Kind::Peers => "node ids from 1 with host and port (\"1=10.0.0.1:9192,2=10.0.0.2:9192\")".to_owned(),
        }
    }

    /// A variable's or flag's text as the value that a file would have had.
    pub fn value_of_text(&self, text: &str) -> Value {
        match self {
            Kind::Flag => text.parse().map_or_else(|_| Value::String(text.to_owned()), Value::Boolean),
            Kind::Number { .. } => text.parse().map_or_else(|_| Value::String(text.to_owned()), Value::Integer),
            _ => Value::String(text.to_owned()),
        }
    }

    /// The value in its final form, or `None` where it is not of this kind.
    pub fn accept(&self, value: &Value) -> Option<Value> {
        match (self, value) {
            (Kind::Flag, Value::Boolean(_)) | (Kind::Text, Value::String(_)) => Some(value.clone()),
            (Kind::Number { min, max }, Value::Integer(number)) => within(*number, *min, *max),
            (Kind::Bytes { min, max }, Value::Integer(number)) => within(*number, *min, *max),
            (Kind::Bytes { min, max }, Value::String(text)) => within(parse_bytes(text)?, *min, *max),
            (Kind::Listen, Value::String(text)) => listen_address(text),
            (Kind::ListenOrNone | Kind::HostPortOrNone, Value::String(text)) if text.is_empty() => Some(value.clone()),
            (Kind::ListenOrNone, Value::String(text)) => listen_address(text),
            (Kind::HostPortOrNone, Value::String(text)) => is_host_port(text).then(|| value.clone()),
            (Kind::Choice(names), Value::String(text)) => names.contains(&text.as_str()).then(|| value.clone()),
            (Kind::Peers, Value::String(text)) => peers_of_text(text),
            (Kind::Peers, Value::Table(table)) => {
                peers_of_pairs(table.iter().map(|(id, address)| (id.as_str(), address.as_str().unwrap_or(""))))
            }
            _ => None,
        }
    }
}

fn within(number: i64, min: u64, max: u64) -> Option<Value> {
    let unsigned = u64::try_from(number).ok()?;
    (min..=max).contains(&unsigned).then_some(Value::Integer(number))
}

/// "128 MiB", "1GB", "4096": bytes. Units of 1,000 and of 1,024 are both known.
fn parse_bytes(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: i64 = text[..digits_end].parse().ok()?;
    let factor: i64 = match text[digits_end..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "kib" => KIB as i64,
        "mib" => MIB as i64,
        "gib" => GIB as i64,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// An address to listen on; `localhost` means 127.0.0.1, since nothing is resolved here.
fn listen_address(text: &str) -> Option<Value> {
    let text = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    let address: SocketAddr = text.parse().ok()?;
    Some(Value::String(address.to_string()))
}

fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let host_fits = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok()),
        None => {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
        }
    };
    host_fits && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn peers_of_text(text: &str) -> Option<Value> {
    let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    let pairs: Vec<(&str, &str)> = parts.iter().map(|part| part.split_once('=')).collect::<Option<_>>()?;
    peers_of_pairs(pairs.into_iter())
}

fn peers_of_pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Value> {
    let mut table = toml::Table::new();
    for (id, address) in pairs {
        let id: u32 = id.trim().parse().ok().filter(|id| *id >= 1)?;
        if !is_host_port(address.trim()) {
            return None;
        }
        let before = table.insert(id.to_string(), Value::String(address.trim().to_owned()));
        if before.is_some() {
            return None;
        }
    }
    Some(Value::Table(table))
}
