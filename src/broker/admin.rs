//! What administrators ask beyond topics and records: where leaders are to be, what disks hold, who votes on the catalog.

use super::api::{CreateTopic, TopicError};
use super::direct::{Direct, DirectError, ProducerView};
use super::{Broker, Target, forward};
use crate::controller::topic_config;
use crate::partition::Partitions;
use crate::raft::Groups;
use crate::transport::Lane;
use crate::types::{GroupId, LogIndex, META_GROUP, NodeId, PartitionId, Term};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How long a handed over leadership is waited for.
const TRANSFER_PATIENCE: Duration = Duration::from_secs(2);

/// What came of an election that an administrator asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Elected {
    /// The preferred replica leads now.
    Done,
    /// It led already.
    NotNeeded,
    /// The preferred replica is not alive, or lacks records.
    NotAvailable(String),
    /// It did not take over in time, or nobody leads.
    TimedOut(String),
}

/// One replica that this node holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaView {
    pub topic: String,
    pub partition: PartitionId,
    pub size_bytes: u64,
}

/// The data directory and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDirView {
    pub path: String,
    pub total_bytes: Option<u64>,
    pub free_bytes: Option<u64>,
    pub replicas: Vec<ReplicaView>,
}

/// The meta group, as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuorumView {
    pub leader: NodeId,
    pub term: Term,
    /// The entry behind the last committed one.
    pub high_watermark: LogIndex,
    /// Voters, with the entry behind the last that each surely has.
    pub voters: Vec<(NodeId, Option<LogIndex>)>,
}

/// The meta group as this node sees it, if it leads it.
pub fn quorum_here(groups: &Groups) -> Option<QuorumView> {
    let meta = groups.get(META_GROUP)?;
    let term = meta.leading()?;
    let last = meta.log.state().last.map(|last| last.index.next());
    let known: BTreeMap<NodeId, Option<LogIndex>> = meta.replication().into_iter().collect();
    let end_of = |node: NodeId| {
        if node == meta.node_id { last } else { known.get(&node).copied().flatten().map(LogIndex::next) }
    };
    Some(QuorumView {
        leader: meta.node_id,
        term,
        high_watermark: meta.applied_now().last.map_or(LogIndex(0), |last| last.index.next()),
        voters: meta.voters().into_iter().map(|node| (node, end_of(node))).collect(),
    })
}

/// Hands leadership of a group to `to`, if this node leads it and `to` has all that is committed.
pub async fn transfer_here(partitions: &Partitions, group: GroupId, to: NodeId) -> Elected {
    let Some(replica) = partitions.get(group) else {
        return Elected::TimedOut("this node does not have the partition open".to_owned());
    };
    let group = &replica.group;
    let Some(term) = group.leading() else {
        return Elected::TimedOut("this node does not lead the partition".to_owned());
    };
    group.touch();
    let committed = group.applied_now().last.map(|last| last.index);
    let has_all = |(node, matched): &(NodeId, Option<LogIndex>)| *node == to && *matched >= committed;
    if !group.replication().iter().any(has_all) {
        return Elected::NotAvailable(format!("node {to} lacks records that are committed"));
    }
    group.transfer_leader(to).await;
    let left = tokio::time::timeout(TRANSFER_PATIENCE, group.until_not_leading(term)).await;
    let known = group.await_leader(Instant::now() + TRANSFER_PATIENCE).await;
    match left {
        Ok(()) if known.leader == Some(to) => Elected::Done,
        _ => Elected::TimedOut(format!("node {to} did not take over in time")),
    }
}

impl Broker {
    /// Checks a topic without making it: how many partitions and replicas it would get.
    ///
    /// # Errors
    /// As for making it.
    pub fn check_new_topic(&self, request: &CreateTopic) -> Result<(u32, u32), TopicError> {
        topic_config::check_name(&request.name)?;
        topic_config::parse(&request.config)?;
        if self.topic(&request.name).is_some() {
            return Err(TopicError::Exists(request.name.clone()));
        }
        let assignments = self.assignments_for(request)?;
        Ok((assignments.partitions(), assignments.replication_factor()))
    }

    /// Checks changes of a topic's settings without making them.
    ///
    /// # Errors
    /// As for making them.
    pub fn check_topic_settings(&self, changes: &BTreeMap<String, Option<String>>) -> Result<(), TopicError> {
        Ok(topic_config::check_changes(changes)?)
    }

    /// Moves a partition's leadership to its preferred replica.
    ///
    /// # Errors
    /// There is no such partition.
    pub async fn elect_preferred(&self, at: &Direct, deadline: Instant) -> Result<Elected, DirectError> {
        let target = self.direct_target(at)?;
        let Some(preferred) = target.replicas.first().copied() else {
            return Ok(Elected::NotAvailable("the partition has no replicas".to_owned()));
        };
        let leaders = self.leaders(std::slice::from_ref(&at.topic), deadline).await;
        let view = leaders.first().and_then(|partitions| partitions.get(at.partition.0 as usize));
        let Some(leader) = view.and_then(|view| view.leader) else {
            return Ok(Elected::TimedOut("nobody leads the partition now".to_owned()));
        };
        if leader == preferred {
            return Ok(Elected::NotNeeded);
        }
        if !self.inner.parts.router.is_reachable(preferred) {
            return Ok(Elected::NotAvailable(format!("node {preferred} is not alive")));
        }
        Ok(self.transfer(leader, &target, preferred, deadline).await)
    }

    async fn transfer(&self, leader: NodeId, target: &Target, to: NodeId, deadline: Instant) -> Elected {
        let parts = &self.inner.parts;
        let patience = deadline.saturating_duration_since(Instant::now()).min(TRANSFER_PATIENCE * 3);
        if leader == self.node_id() {
            let work = transfer_here(parts.router.partitions(), target.group, to);
            let late = || Elected::TimedOut(format!("node {to} did not take over in time"));
            return tokio::time::timeout(patience, work).await.unwrap_or_else(|_| late());
        }
        let message = forward::message(forward::KIND_TRANSFER, &(target.group, to));
        let answer = parts.transport.call(leader, Lane::Control, message, patience).await;
        let told = answer.map_err(|error| error.to_string()).and_then(|answer| forward::header(&answer));
        told.unwrap_or_else(Elected::TimedOut)
    }

    /// The meta group, asked of its leader; `None` where that can't be asked now.
    pub async fn quorum(&self, deadline: Instant) -> Option<QuorumView> {
        let parts = &self.inner.parts;
        let leader = self.controller_node()?;
        if leader == self.node_id() {
            return quorum_here(&parts.groups);
        }
        let patience = deadline.saturating_duration_since(Instant::now()).min(Duration::from_secs(5));
        let message = forward::message(forward::KIND_QUORUM, &());
        let answer = parts.transport.call(leader, Lane::Control, message, patience).await.ok()?;
        forward::header::<Option<QuorumView>>(&answer).ok()?
    }

    /// The data directory of this node with all replicas that have a log in it. Opens those logs.
    pub async fn data_dir(&self) -> DataDirView {
        let parts = &self.inner.parts;
        let image = parts.controller.image();
        let mut replicas = Vec::new();
        for place in image.groups_of(self.node_id()) {
            let size_bytes = match parts.groups.get(place.group) {
                Some(group) => group.log.state().size_bytes,
                None if parts.groups.has_log(place.group) => match parts.groups.open(place.group).await {
                    Ok(group) => group.log.state().size_bytes,
                    Err(_) => continue,
                },
                None => 0,
            };
            let (topic, partition) = (place.topic.name.to_string(), place.partition);
            replicas.push(ReplicaView { topic, partition, size_bytes });
        }
        let status = self.own_status();
        let known = |bytes: u64| Some(bytes).filter(|_| status.disk_total_bytes > 0);
        DataDirView {
            path: self.inner.config.data_dir.display().to_string(),
            total_bytes: known(status.disk_total_bytes),
            free_bytes: known(status.disk_free_bytes),
            replicas,
        }
    }

    /// Kafka's producers that a partition's leader knows.
    ///
    /// # Errors
    /// This node does not lead.
    pub async fn producers_direct(&self, at: &Direct) -> Result<Vec<ProducerView>, DirectError> {
        match self.direct_replica(at).await? {
            Some(replica) => Ok(replica.producers()?),
            None => Ok(Vec::new()),
        }
    }
}
