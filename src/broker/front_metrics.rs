//! What fronts count of their clients, beside what the broker counts of its work.
//!
//! A front asks for its counters once, when it is made; counting is then one addition.

use super::Broker;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

type Labels = Vec<(&'static str, &'static str)>;

/// Of all fronts, by protocol.
#[derive(Default)]
pub(super) struct FrontFamilies {
    connections: Family<Labels, Gauge>,
    refused: Family<Labels, Counter>,
    requests: Family<Labels, Counter>,
    received: Family<Labels, Counter>,
    sent: Family<Labels, Counter>,
}

/// The counters of one front.
pub struct FrontMetrics {
    pub connections: Gauge,
    /// Connections that this side ended, with a reason in the log.
    pub refused: Counter,
    pub received_bytes: Counter,
    pub sent_bytes: Counter,
    requests: Family<Labels, Counter>,
    protocol: &'static str,
}

impl FrontFamilies {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("client_connections", "Connections of clients", self.connections.clone());
        let text = "Connections that the node ended for what the client did";
        registry.register("client_connections_refused", text, self.refused.clone());
        registry.register("client_requests", "Requests of clients, by API", self.requests.clone());
        let text = "Bytes that clients sent";
        registry.register_with_unit("client_received", text, Unit::Bytes, self.received.clone());
        registry.register_with_unit("client_sent", "Bytes sent to clients", Unit::Bytes, self.sent.clone());
    }
}

impl FrontMetrics {
    /// The counter of an API's requests.
    pub fn requests_of(&self, api: &'static str) -> Counter {
        self.requests.get_or_create_owned(&vec![("protocol", self.protocol), ("api", api)])
    }
}

impl Broker {
    /// The counters of a front.
    pub fn front_metrics(&self, protocol: &'static str) -> FrontMetrics {
        let families = self.inner.metrics.fronts();
        let labels = vec![("protocol", protocol)];
        FrontMetrics {
            connections: families.connections.get_or_create_owned(&labels),
            refused: families.refused.get_or_create_owned(&labels),
            received_bytes: families.received.get_or_create_owned(&labels),
            sent_bytes: families.sent.get_or_create_owned(&labels),
            requests: families.requests.clone(),
            protocol,
        }
    }
}
