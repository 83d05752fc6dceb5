//! Consumer groups, as the fronts ask for them: who coordinates, and the way there.
//!
//! Purpose: a group belongs to a partition of `__consumer_offsets` by its name, and is coordinated by whoever leads that.
//! Kafka's clients go there themselves, so for them a request is answered here or refused. Everybody else asks any node,
//! which asks the coordinator, through elections until the deadline.
//!
//! Does not decide anything about groups: that is `coordinator`.

use super::api::{CreateTopic, TopicError, TopicView};
use super::{Broker, Target, forward};
pub use crate::coordinator::{
    Ack, Commit, Coordinator, Described, Grant, GroupKind, LINGER_MS, Listed, OffsetsOf, Poller, Reply, Request, Turns,
};
pub use crate::state::group::live::{
    Join, Joined, MemberView, Phase, Speaker, Sync, Synced, assigned_partitions, subscribed_topics,
};
pub use crate::state::group::{
    CommittedOffset, GROUP_TOPIC, GroupError, LeaseId, LeasedRange, PartitionKey, partition_of_group,
};
use crate::transport::{CallError, Lane};
use crate::types::{GroupId, NodeId, PartitionId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long one node is given for an answer; longer than its own waits.
const ANSWER_PATIENCE: Duration = Duration::from_secs(12);
/// Between two attempts to find a coordinator.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_millis(200);
/// Replicas of the groups, where there are as many nodes.
const REPLICATION_FACTOR: u32 = 3;

/// A request about a group, to the node that leads the partition `at`.
#[derive(Debug, Serialize, Deserialize)]
pub struct GroupHeader {
    pub at: GroupId,
    pub request: Request,
}

pub type GroupAnswer = Result<Reply, GroupError>;

/// Whether a topic belongs to the cluster itself: it is shown where it is asked for, and nobody writes, alters or deletes
/// it but the cluster.
pub fn is_internal(topic: &str) -> bool {
    topic == GROUP_TOPIC
}

/// A group that is coordinated here.
#[derive(Clone)]
pub struct Here {
    pub coordinator: Coordinator,
    pub at: GroupId,
}

impl Broker {
    /// The topic of the groups, made where it is not there yet.
    async fn group_topic(&self, deadline: Instant) -> Result<Arc<TopicView>, GroupError> {
        if let Some(topic) = self.topic(GROUP_TOPIC) {
            return Ok(topic);
        }
        let unavailable = |error: TopicError| GroupError::Unavailable(error.to_string());
        match self.resolve_topic(GROUP_TOPIC, false, deadline).await {
            Ok(topic) => return Ok(topic),
            Err(TopicError::UnknownTopic(_)) => {}
            Err(error) => return Err(unavailable(error)),
        }
        let nodes = u32::try_from(self.endpoints().len()).unwrap_or(REPLICATION_FACTOR);
        let request = CreateTopic {
            name: GROUP_TOPIC.to_string(),
            partitions: Some(self.inner.config.group_partitions),
            replication_factor: Some(nodes.clamp(1, REPLICATION_FACTOR)),
            ..CreateTopic::default()
        };
        match self.make_topic(request, deadline).await {
            Ok(topic) => Ok(topic),
            Err(TopicError::Exists(_)) => self.resolve_topic(GROUP_TOPIC, false, deadline).await.map_err(unavailable),
            Err(error) => Err(unavailable(error)),
        }
    }

    fn group_target(&self, topic: &TopicView, group: &str) -> Result<Target, GroupError> {
        let partitions = topic.assignments.len() as u32;
        let partition = PartitionId(partition_of_group(group, partitions));
        self.target(topic, partition).map_err(|_| GroupError::Unavailable("its partition is not known yet".to_string()))
    }

    /// The node that coordinates a group; begins one where there is none.
    ///
    /// # Errors
    /// It can't be found in time.
    pub async fn coordinator_of(&self, group: &str, deadline: Instant) -> Result<NodeId, GroupError> {
        let topic = self.group_topic(deadline).await?;
        let target = self.group_target(&topic, group)?;
        if let Some(open) = self.inner.parts.groups.get(target.group) {
            let known = open.leadership().leader;
            if let Some(leader) = known.filter(|leader| self.inner.parts.router.is_reachable(*leader)) {
                return Ok(leader);
            }
        }
        self.ask(&target, Request::Ping, deadline).await.map(|(node, _)| node)
    }

    /// A group for a client that came here as to its coordinator. Whether it is one shows at the first call.
    ///
    /// # Errors
    /// `NotCoordinator` where it surely is not.
    pub fn group_here(&self, group: &str) -> Result<Here, GroupError> {
        let topic = self.topic(GROUP_TOPIC).ok_or(GroupError::NotCoordinator)?;
        let target = self.group_target(&topic, group)?;
        if !target.replicas.contains(&self.node_id()) {
            return Err(GroupError::NotCoordinator);
        }
        Ok(Here { coordinator: self.inner.parts.coordinator.clone(), at: target.group })
    }

    /// Longest metadata that a client may commit with an offset, in bytes.
    pub fn offset_metadata_bytes_max(&self) -> usize {
        self.inner.parts.coordinator.config().metadata_bytes_max
    }

    /// The groups that this node coordinates.
    pub async fn groups_here(&self) -> Vec<Listed> {
        let Some(topic) = self.topic(GROUP_TOPIC) else { return Vec::new() };
        let mut listed = Vec::new();
        for partition in 0..topic.assignments.len() as u32 {
            let Ok(target) = self.target(&topic, PartitionId(partition)) else { continue };
            let open = self.inner.parts.groups.get(target.group);
            if open.is_some_and(|open| open.leading().is_some()) {
                listed.extend(self.inner.parts.coordinator.list(target.group).await.unwrap_or_default());
            }
        }
        listed
    }

    /// All groups of the cluster, by name.
    ///
    /// # Errors
    /// A coordinator can't be asked.
    pub async fn groups(&self, deadline: Instant) -> Result<Vec<Listed>, GroupError> {
        let Some(topic) = self.known_group_topic(deadline).await? else { return Ok(Vec::new()) };
        let views = self.leaders(std::slice::from_ref(&topic), deadline).await.pop().unwrap_or_default();
        let targets = (0..).zip(views).filter_map(|(partition, view)| {
            // Nobody was ever coordinated by a partition that had no election, and it is not to begin for a look at it.
            let is_unborn = view.term.0 == 0 && view.leader.is_some();
            if is_unborn { None } else { self.target(&topic, PartitionId(partition)).ok() }
        });
        let targets: Vec<Target> = targets.collect();
        let asked = targets.iter().map(|target| self.ask(target, Request::List, deadline));
        let mut all = Vec::new();
        for answer in futures::future::join_all(asked).await {
            if let (_, Reply::Listed(listed)) = answer? {
                all.extend(listed);
            }
        }
        all.sort_by(|a: &Listed, b: &Listed| a.group.cmp(&b.group));
        Ok(all)
    }

    /// The topic of the groups, if there ever was one.
    async fn known_group_topic(&self, deadline: Instant) -> Result<Option<Arc<TopicView>>, GroupError> {
        match self.resolve_topic(GROUP_TOPIC, false, deadline).await {
            Ok(topic) => Ok(Some(topic)),
            Err(TopicError::UnknownTopic(_)) => Ok(None),
            Err(error) => Err(GroupError::Unavailable(error.to_string())),
        }
    }

    /// Asks a group's coordinator, wherever it is; begins one where `begins`, else there is no such group.
    ///
    /// # Errors
    /// As the coordinator decides, or it can't be found in time.
    pub async fn ask_group(
        &self,
        group: &str,
        request: Request,
        begins: bool,
        deadline: Instant,
    ) -> Result<Reply, GroupError> {
        let topic = match begins {
            true => self.group_topic(deadline).await?,
            false => {
                self.known_group_topic(deadline).await?.ok_or_else(|| GroupError::UnknownGroup(group.to_string()))?
            }
        };
        let target = self.group_target(&topic, group)?;
        self.ask(&target, request, deadline).await.map(|(_, reply)| reply)
    }

    /// Asks whoever leads `target`, and goes on asking while it is being found.
    async fn ask(&self, target: &Target, request: Request, deadline: Instant) -> Result<(NodeId, Reply), GroupError> {
        let router = &self.inner.parts.router;
        let (mut backoff, mut attempt) = (BACKOFF_MIN, 0);
        loop {
            let known = self.inner.parts.groups.get(target.group).and_then(|open| open.leadership().leader);
            let known = known.filter(|leader| attempt % 2 == 0 && router.is_reachable(*leader));
            let node = known.unwrap_or_else(|| router.guess(target, attempt));
            let error = match self.ask_node(node, target.group, &request, deadline).await {
                Ok(reply) => {
                    router.learn(target.group, Some(node));
                    return Ok((node, reply));
                }
                Err(error @ (GroupError::NotCoordinator | GroupError::Loading(_) | GroupError::Unavailable(_))) => {
                    error
                }
                Err(error) => return Err(error),
            };
            router.learn(target.group, None);
            if Instant::now() + backoff >= deadline {
                return Err(match error {
                    GroupError::NotCoordinator => GroupError::Unavailable("its partition has no leader".to_string()),
                    other => other,
                });
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
            attempt += 1;
        }
    }

    async fn ask_node(&self, node: NodeId, at: GroupId, request: &Request, deadline: Instant) -> GroupAnswer {
        let parts = &self.inner.parts;
        let patience = deadline.saturating_duration_since(Instant::now()).min(ANSWER_PATIENCE);
        if node == self.node_id() {
            let served = tokio::time::timeout(patience, parts.coordinator.serve(at, request.clone())).await;
            return served.unwrap_or_else(|_| Err(GroupError::Unknown("a quorum did not answer in time".to_string())));
        }
        let header = GroupHeader { at, request: request.clone() };
        let message = forward::message(forward::KIND_GROUP, &header);
        match parts.transport.call(node, Lane::Forward, message, patience).await {
            Ok(answer) => {
                forward::header::<GroupAnswer>(&answer).unwrap_or_else(|error| Err(GroupError::Unknown(error)))
            }
            Err(error @ (CallError::Unreachable(_) | CallError::Refused(..) | CallError::Busy(_))) => {
                Err(GroupError::Unavailable(error.to_string()))
            }
            Err(error) if request.is_safe_twice() => Err(GroupError::Unavailable(error.to_string())),
            Err(error) => Err(GroupError::Unknown(error.to_string())),
        }
    }
}
