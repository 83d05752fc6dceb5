//! What a handler knows of the request beside its body: who asks, by which address, until when.
//!
//! Also the one place that says how clients reach a node. The address that a client came in by is an address that works
//! for it, so that is what it is told of this node. Other nodes go by what they registered, but one that registered the
//! same host as this node stands beside it, so the client reaches it by the same host too. `kafka.advertised` overrides
//! all this for the node that sets it.

use super::Front;
use crate::broker::{Broker, NodeView};
use crate::types::NodeId;
use kafka_protocol::protocol::StrBytes;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a request may take whose body says nothing about it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// One request's surroundings.
#[derive(Clone)]
pub struct RequestContext {
    pub front: Arc<Front>,
    pub broker: Broker,
    pub api_key: i16,
    pub version: i16,
    pub correlation_id: i32,
    pub client_id: Option<StrBytes>,
    /// The client's address, without port.
    pub client_host: Arc<str>,
    /// The address of this node that the client came in by.
    pub local: SocketAddr,
    pub deadline: Instant,
}

/// Where clients find a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub id: NodeId,
    pub host: String,
    pub port: u16,
    pub rack: Option<String>,
    pub alive: bool,
}

impl RequestContext {
    /// Where this client finds `node`; `None` where that has no Kafka listener.
    pub fn address_of(&self, node: &NodeView) -> Option<(String, u16)> {
        let nodes = self.broker.endpoints();
        let own = nodes.iter().find(|own| own.id == self.broker.node_id()).and_then(|own| own.kafka_address.as_deref());
        self.address(node.id, node.kafka_address.as_deref(), own)
    }

    /// All nodes with a Kafka listener, as this client finds them.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        let nodes = self.broker.endpoints();
        let own = nodes.iter().find(|own| own.id == self.broker.node_id()).and_then(|own| own.kafka_address.as_deref());
        let endpoint = |node: &crate::broker::NodeEndpoint| {
            let (host, port) = self.address(node.id, node.kafka_address.as_deref(), own)?;
            Some(Endpoint { id: node.id, host, port, rack: node.rack.clone(), alive: node.alive })
        };
        nodes.iter().filter_map(endpoint).collect()
    }

    fn address(&self, id: NodeId, registered: Option<&str>, own: Option<&str>) -> Option<(String, u16)> {
        let advertised = self.front.config.advertised.as_ref();
        reached_at(id == self.broker.node_id(), registered, own, self.local, advertised)
    }
}

/// The rule of this module's head. `own` is what this node registered.
fn reached_at(
    is_own: bool,
    registered: Option<&str>,
    own: Option<&str>,
    local: SocketAddr,
    advertised: Option<&(String, u16)>,
) -> Option<(String, u16)> {
    if is_own {
        let came_in_by = || (local.ip().to_canonical().to_string(), local.port());
        return Some(advertised.cloned().unwrap_or_else(came_in_by));
    }
    let (host, port) = split(registered?)?;
    let beside = own.and_then(split).is_some_and(|(own_host, _)| own_host == host);
    if beside && advertised.is_none() {
        return Some((local.ip().to_canonical().to_string(), port));
    }
    Some((host, port))
}

/// Host and port of `host:port` or `[v6]:port`.
pub fn split(address: &str) -> Option<(String, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host);
    Some((host.to_owned(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(registered: &str, own: &str, local: &str, advertised: Option<(&str, u16)>) -> String {
        let advertised = advertised.map(|(host, port)| (host.to_owned(), port));
        let local = local.parse().unwrap();
        let (host, port) =
            reached_at(registered == own, Some(registered), Some(own), local, advertised.as_ref()).unwrap();
        format!("{host}:{port}")
    }

    #[test]
    fn a_client_is_told_addresses_that_work_for_it() {
        // A cluster on one machine, reached by loopback: of itself, and of the node beside it.
        assert_eq!(told("127.0.0.1:9092", "127.0.0.1:9092", "127.0.0.1:9092", None), "127.0.0.1:9092");
        assert_eq!(told("127.0.0.1:9093", "127.0.0.1:9092", "127.0.0.1:9092", None), "127.0.0.1:9093");
        // The same with listeners on all addresses, reached from another machine.
        assert_eq!(told("127.0.0.1:9093", "127.0.0.1:9092", "10.0.0.5:9092", None), "10.0.0.5:9093");
        // Three machines: by the network, by this machine's loopback, by IPv6 that carries IPv4.
        assert_eq!(told("10.0.0.5:9092", "10.0.0.5:9092", "10.0.0.5:9092", None), "10.0.0.5:9092");
        assert_eq!(told("10.0.0.6:9092", "10.0.0.5:9092", "10.0.0.5:9092", None), "10.0.0.6:9092");
        assert_eq!(told("10.0.0.6:9092", "10.0.0.5:9092", "127.0.0.1:9092", None), "10.0.0.6:9092");
        assert_eq!(told("10.0.0.5:9092", "10.0.0.5:9092", "[::ffff:10.0.0.5]:9092", None), "10.0.0.5:9092");
        assert_eq!(told("[fd00::2]:9092", "[fd00::1]:9092", "[fd00::1]:9092", None), "fd00::2:9092");
        // What an operator says stands, also for nodes that differ by their port only.
        let advertised = Some(("kafka.example", 19092));
        assert_eq!(
            told("kafka.example:19092", "kafka.example:19092", "10.0.0.5:9092", advertised),
            "kafka.example:19092"
        );
        assert_eq!(
            told("kafka.example:19093", "kafka.example:19092", "10.0.0.5:9092", advertised),
            "kafka.example:19093"
        );
    }

    #[test]
    fn a_node_without_a_listener_has_no_address() {
        let local = "127.0.0.1:9092".parse().unwrap();
        assert_eq!(reached_at(false, None, Some("127.0.0.1:9092"), local, None), None);
        assert_eq!(reached_at(false, Some("nonsense"), None, local, None), None);
    }
}
