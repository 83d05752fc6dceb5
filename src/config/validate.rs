//! Relations between settings that are fine alone.

use super::{Config, ConfigError};
use std::collections::BTreeMap;

fn wrong(key: &'static str, value: impl ToString, reason: impl Into<String>) -> Result<(), ConfigError> {
    Err(ConfigError::Inconsistent { key, value: value.to_string(), reason: reason.into() })
}

impl Config {
    /// Checks what no single value shows.
    ///
    /// # Errors
    /// The first relation that does not hold, by the key that should change.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_cluster()?;
        self.validate_listeners()?;
        self.validate_timers()?;
        self.validate_limits()
    }

    fn validate_cluster(&self) -> Result<(), ConfigError> {
        if self.data_dir.as_os_str().is_empty() {
            return wrong("data_dir", "\"\"", "expected the path of a directory");
        }
        if !self.peers.is_empty() && !self.peers.contains_key(&self.node_id) {
            let ids: Vec<String> = self.peers.keys().map(ToString::to_string).collect();
            return wrong(
                "node_id",
                self.node_id,
                format!("peers has only {}; name this node there too", ids.join(", ")),
            );
        }
        let mut seen = BTreeMap::new();
        for (id, address) in &self.peers {
            if let Some(other) = seen.insert(address, id) {
                return wrong("peers", address, format!("nodes {other} and {id} have the same address"));
            }
        }
        Ok(())
    }

    fn validate_listeners(&self) -> Result<(), ConfigError> {
        let mut listeners = vec![("http.listen", self.http.listen), ("peer.listen", self.peer.listen)];
        listeners.extend(self.kafka.listen.map(|address| ("kafka.listen", address)));
        for (position, (key, address)) in listeners.iter().enumerate() {
            if !self.allow_insecure_listener && !address.ip().is_loopback() {
                let reason = "not a loopback address, and this version has no authentication: whoever reaches it can \
                              read and write everything; set allow_insecure_listener = true if the network is closed";
                return wrong(key, address, reason);
            }
            let same = |(_, other): &&(&str, std::net::SocketAddr)| other == address && address.port() != 0;
            if let Some((other, _)) = listeners[..position].iter().find(same) {
                return wrong(key, address, format!("{other} has the same address"));
            }
        }
        Ok(())
    }

    fn validate_timers(&self) -> Result<(), ConfigError> {
        if self.groups.session_timeout_min_ms > self.groups.session_timeout_max_ms {
            let reason = "longer than groups.session_timeout_max_ms";
            return wrong("groups.session_timeout_min_ms", self.groups.session_timeout_min_ms, reason);
        }
        let raft = &self.raft;
        if raft.election_timeout_min_ms < 2 * raft.heartbeat_interval_ms {
            let reason = "expected at least twice raft.heartbeat_interval_ms, or one late heartbeat is an election";
            return wrong("raft.election_timeout_min_ms", raft.election_timeout_min_ms, reason);
        }
        if raft.election_timeout_max_ms <= raft.election_timeout_min_ms {
            let reason = "expected more than raft.election_timeout_min_ms, or votes split";
            return wrong("raft.election_timeout_max_ms", raft.election_timeout_max_ms, reason);
        }
        if self.liveness.silent_after_ms < 2 * self.liveness.heartbeat_interval_ms {
            let reason = "expected at least twice liveness.heartbeat_interval_ms, or one late heartbeat is a lost node";
            return wrong("liveness.silent_after_ms", self.liveness.silent_after_ms, reason);
        }
        Ok(())
    }

    fn validate_limits(&self) -> Result<(), ConfigError> {
        let limits = &self.limits;
        if limits.record_bytes > limits.batch_bytes {
            return wrong("limits.record_bytes", limits.record_bytes, "expected at most limits.batch_bytes");
        }
        if limits.batch_bytes > limits.inflated_batch_bytes {
            return wrong("limits.batch_bytes", limits.batch_bytes, "expected at most limits.inflated_batch_bytes");
        }
        if limits.in_flight_connection_bytes < limits.http_body_bytes {
            let reason = "expected at least limits.http_body_bytes, or the largest request never fits";
            return wrong("limits.in_flight_connection_bytes", limits.in_flight_connection_bytes, reason);
        }
        if limits.kafka_frame_bytes < limits.batch_bytes {
            let reason = "expected at least limits.batch_bytes, or the largest batch never fits";
            return wrong("limits.kafka_frame_bytes", limits.kafka_frame_bytes, reason);
        }
        if u64::from(self.default_partitions) > u64::from(limits.partitions_per_topic) {
            return wrong(
                "default_partitions",
                self.default_partitions,
                "expected at most limits.partitions_per_topic",
            );
        }
        if self.storage.segment_bytes < self.storage.index_interval_bytes {
            let reason = "expected at least storage.index_interval_bytes";
            return wrong("storage.segment_bytes", self.storage.segment_bytes, reason);
        }
        Ok(())
    }
}
