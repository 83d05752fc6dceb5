//! One member of a living group.

use super::super::records::MemberMetadata;
use super::types::{Join, Ticket};

/// A member.
#[derive(Debug)]
pub(super) struct Member {
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    /// In its order of preference.
    pub protocols: Vec<(String, Vec<u8>)>,
    /// As it was assigned last.
    pub assignment: Vec<u8>,
    pub joining: Option<Ticket>,
    pub syncing: Option<Ticket>,
    /// It has not been through a rebalance yet.
    pub is_new: bool,
    /// When it counts as gone, unless it is heard of.
    pub deadline_ms: i64,
}

impl Member {
    pub fn new(join: &Join, deadline_ms: i64) -> Member {
        Member {
            instance_id: join.instance_id.clone(),
            client_id: join.client_id.clone(),
            client_host: join.client_host.clone(),
            session_timeout_ms: join.session_timeout_ms,
            rebalance_timeout_ms: join.rebalance_timeout_ms,
            protocols: join.protocols.clone(),
            assignment: Vec::new(),
            joining: None,
            syncing: None,
            is_new: true,
            deadline_ms,
        }
    }

    pub fn restore(kept: &MemberMetadata, protocol: &str, now_ms: i64) -> Member {
        Member {
            instance_id: kept.instance_id.clone(),
            client_id: kept.client_id.clone(),
            client_host: kept.client_host.clone(),
            session_timeout_ms: kept.session_timeout_ms,
            rebalance_timeout_ms: kept.rebalance_timeout_ms,
            protocols: vec![(protocol.to_string(), kept.subscription.clone())],
            assignment: kept.assignment.clone(),
            joining: None,
            syncing: None,
            is_new: false,
            deadline_ms: now_ms + i64::from(kept.session_timeout_ms),
        }
    }

    /// Takes over what a member that joins again says of itself.
    pub fn update(&mut self, join: &Join) {
        self.client_id.clone_from(&join.client_id);
        self.client_host.clone_from(&join.client_host);
        self.session_timeout_ms = join.session_timeout_ms;
        self.rebalance_timeout_ms = join.rebalance_timeout_ms;
        self.protocols.clone_from(&join.protocols);
    }

    /// When it counts as gone. One whose request waits here is there; but of a new one only that it was: its client may
    /// have given up on a rebalance that takes long, and will come as another.
    pub fn expires_at_ms(&self) -> Option<i64> {
        let waits = self.joining.is_some() || self.syncing.is_some();
        (!waits || self.is_new).then_some(self.deadline_ms)
    }

    /// What it tells the leader under this protocol.
    pub fn metadata(&self, protocol: &str) -> Vec<u8> {
        let found = self.protocols.iter().find(|(name, _)| name == protocol);
        found.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }

    pub fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }
}

/// The topics of a `consumer` protocol's subscription: a version, then a list of names. `None` for other bytes.
pub fn subscribed_topics(subscription: &[u8]) -> Option<Vec<&str>> {
    let (_version, rest) = subscription.split_at_checked(2)?;
    let (count, mut rest) = rest.split_at_checked(4)?;
    let count = i32::from_be_bytes(count.try_into().ok()?);
    let mut topics = Vec::new();
    for _ in 0..count.max(0) {
        let (len, after) = rest.split_at_checked(2)?;
        let len = usize::try_from(i16::from_be_bytes(len.try_into().ok()?)).ok()?;
        let (name, after) = after.split_at_checked(len)?;
        topics.push(std::str::from_utf8(name).ok()?);
        rest = after;
    }
    Some(topics)
}

/// The partitions of a `consumer` protocol's assignment: a version, then topics with their partitions. `None` for other
/// bytes.
pub fn assigned_partitions(assignment: &[u8]) -> Option<Vec<(String, i32)>> {
    let number = |bytes: &[u8]| Some(i32::from_be_bytes(bytes.try_into().ok()?));
    let (_version, rest) = assignment.split_at_checked(2)?;
    let (count, mut rest) = rest.split_at_checked(4)?;
    let mut partitions = Vec::new();
    for _ in 0..number(count)?.max(0) {
        let (len, after) = rest.split_at_checked(2)?;
        let len = usize::try_from(i16::from_be_bytes(len.try_into().ok()?)).ok()?;
        let (name, after) = after.split_at_checked(len)?;
        let name = std::str::from_utf8(name).ok()?;
        let (count, mut after) = after.split_at_checked(4)?;
        for _ in 0..number(count)?.max(0) {
            let (partition, next) = after.split_at_checked(4)?;
            partitions.push((name.to_string(), number(partition)?));
            after = next;
        }
        rest = after;
    }
    Some(partitions)
}
