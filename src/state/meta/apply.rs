//! The effect of each command. Checks come first: a command that is refused has changed nothing.

use super::assignments::PARTITIONS_MAX;
use super::image::{Extent, MetaImage, Node, Topic};
use super::{AddPartitions, Assignments, MetaChange, MetaError, MetaOutcome, MetaResponse};
use crate::types::{GroupId, LogIndex, NodeId, TopicId};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use uuid::Uuid;

/// How many answers are remembered for retries.
pub(super) const REQUESTS_MAX: usize = 1024;
/// Longest topic name, in bytes. What characters it may have is checked at the door.
const TOPIC_NAME_LEN_MAX: usize = 249;

type Applied = Result<MetaOutcome, MetaError>;

pub(super) fn change(image: &mut MetaImage, at: LogIndex, change: MetaChange) -> Applied {
    match change {
        MetaChange::InitCluster { cluster_id, nodes } => init_cluster(image, cluster_id, nodes),
        _ if image.cluster_id.is_none() => Err(MetaError::NotInitialized),
        MetaChange::RegisterNode { node } => register_node(image, node),
        MetaChange::CreateTopic { topic_id, name, assignments, config } => {
            create_topic(image, at, topic_id, name, assignments, config)
        }
        MetaChange::TakeProducerIds { count } => take_producer_ids(image, count),
        MetaChange::AlterTopic { topic_id, add, config } => alter_topic(image, topic_id, add, config),
        MetaChange::DeleteTopic { topic_id } => {
            image.remove_topic(topic_id).map(|_| MetaOutcome::TopicDeleted).ok_or(MetaError::UnknownTopic(topic_id))
        }
    }
}

fn init_cluster(image: &mut MetaImage, cluster_id: Uuid, nodes: Vec<Node>) -> Applied {
    if let Some(cluster_id) = image.cluster_id {
        return Err(MetaError::AlreadyInitialized { cluster_id });
    }
    let mut by_id = BTreeMap::new();
    let mut uuids = HashMap::new();
    for node in nodes {
        check_node_id(node.id)?;
        if let Some(uuid) = node.uuid
            && let Some(known) = uuids.insert(uuid, node.id)
        {
            return Err(MetaError::NodeUuidTaken { uuid, known, given: node.id });
        }
        if let Some(twice) = by_id.insert(node.id, Arc::new(node)) {
            return Err(MetaError::Invalid(format!("node {} is named twice", twice.id)));
        }
    }
    image.cluster_id = Some(cluster_id);
    image.nodes = Arc::new(by_id);
    Ok(MetaOutcome::ClusterInitialized)
}

fn register_node(image: &mut MetaImage, node: Node) -> Applied {
    check_node_id(node.id)?;
    let Some(given) = node.uuid else {
        return Err(MetaError::Invalid(format!("node {} registers without a UUID", node.id)));
    };
    if let Some(known) = image.node(node.id).and_then(|known| known.uuid).filter(|known| *known != given) {
        return Err(MetaError::NodeIdentity { node: node.id, known, given });
    }
    if let Some(other) = image.nodes().find(|other| other.id != node.id && other.uuid == Some(given)) {
        return Err(MetaError::NodeUuidTaken { uuid: given, known: other.id, given: node.id });
    }
    if image.node(node.id).is_none_or(|known| **known != node) {
        Arc::make_mut(&mut image.nodes).insert(node.id, Arc::new(node));
    }
    Ok(MetaOutcome::NodeRegistered)
}

fn create_topic(
    image: &mut MetaImage,
    at: LogIndex,
    topic_id: TopicId,
    name: String,
    assignments: Assignments,
    config: BTreeMap<String, String>,
) -> Applied {
    if name.is_empty() || name.len() > TOPIC_NAME_LEN_MAX {
        return Err(MetaError::Invalid(format!("a topic's name has 1 to {TOPIC_NAME_LEN_MAX} characters")));
    }
    if image.topic(&name).is_some() {
        return Err(MetaError::TopicExists(name));
    }
    if image.topic_by_id(topic_id).is_some() {
        return Err(MetaError::Invalid(format!("the topic id {topic_id} is in use")));
    }
    check_nodes(image, &assignments)?;
    let partitions = assignments.partitions();
    let first_group = take_group_ids(image, partitions)?;
    image.put_topic(Topic {
        id: topic_id,
        name: name.into(),
        assignments,
        partitions_at_create: partitions,
        config,
        created_at: at,
        extents: vec![Extent { first_partition: 0, first_group, count: partitions }],
    });
    Ok(MetaOutcome::TopicCreated { topic_id, first_group })
}

fn alter_topic(
    image: &mut MetaImage,
    topic_id: TopicId,
    add: Option<AddPartitions>,
    config: BTreeMap<String, Option<String>>,
) -> Applied {
    let before = image.topic_by_id(topic_id).ok_or(MetaError::UnknownTopic(topic_id))?;
    let mut topic = Topic::clone(before);
    for (key, value) in config {
        match value {
            Some(value) => topic.config.insert(key, value),
            None => topic.config.remove(&key),
        };
    }
    if let Some(add) = add {
        let first_partition = topic.partitions();
        if add.expected_partitions != first_partition {
            return Err(MetaError::PartitionsChanged {
                name: topic.name.to_string(),
                partitions: first_partition,
                expected: add.expected_partitions,
            });
        }
        check_nodes(image, &add.assignments)?;
        let count = add.assignments.partitions();
        topic.assignments = topic.assignments.extended(&add.assignments).map_err(|wrong| {
            MetaError::Invalid(format!(
                "{count} partitions cannot be added to topic {} (of at most {PARTITIONS_MAX}): {wrong}",
                topic.name
            ))
        })?;
        let first_group = take_group_ids(image, count)?;
        topic.extents.push(Extent { first_partition, first_group, count });
    }
    image.put_topic(topic);
    Ok(MetaOutcome::TopicAltered)
}

/// The last check of a command: what follows must not fail.
fn take_group_ids(image: &mut MetaImage, count: u32) -> Result<GroupId, MetaError> {
    let first = image.next_group_id;
    let next =
        first.0.checked_add(u64::from(count)).ok_or_else(|| MetaError::Invalid("the group ids are used up".into()))?;
    image.next_group_id = GroupId(next);
    Ok(first)
}

fn take_producer_ids(image: &mut MetaImage, count: u32) -> Applied {
    let first = image.next_producer_id;
    // Kafka's ids have 63 bits.
    let next = first.checked_add(u64::from(count)).filter(|next| i64::try_from(*next).is_ok());
    image.next_producer_id = next.ok_or_else(|| MetaError::Invalid("the producer ids are used up".into()))?;
    Ok(MetaOutcome::ProducerIds { first })
}

fn check_node_id(id: NodeId) -> Result<(), MetaError> {
    if id.0 == 0 { Err(MetaError::Invalid("node ids begin with 1".into())) } else { Ok(()) }
}

fn check_nodes(image: &MetaImage, assignments: &Assignments) -> Result<(), MetaError> {
    match assignments.iter().flatten().find(|node| image.node(**node).is_none()) {
        Some(unknown) => Err(MetaError::UnknownNode(*unknown)),
        None => Ok(()),
    }
}

/// The newest answers, so that a retried command gets its first one. Part of the replicated state: every replica
/// remembers the same ones.
#[derive(Clone, Debug, Default)]
pub(super) struct RequestMemory {
    /// Oldest first.
    order: VecDeque<(u128, MetaResponse)>,
    /// Request id → how many answers were remembered before it.
    numbers: HashMap<u128, u64>,
    forgotten: u64,
}

impl RequestMemory {
    pub(super) fn restored(answered: Vec<(u128, MetaResponse)>) -> Result<RequestMemory, String> {
        if answered.len() > REQUESTS_MAX {
            return Err(format!("it remembers {} requests, more than {REQUESTS_MAX}", answered.len()));
        }
        let mut memory = RequestMemory::default();
        for (request_id, response) in answered {
            if memory.answer(request_id).is_some() {
                return Err(format!("it remembers request {request_id:032x} twice"));
            }
            memory.remember(request_id, response);
        }
        Ok(memory)
    }

    pub(super) fn answer(&self, request_id: u128) -> Option<&MetaResponse> {
        let at = self.numbers.get(&request_id)? - self.forgotten;
        self.order.get(at as usize).map(|(_, response)| response)
    }

    pub(super) fn remember(&mut self, request_id: u128, response: MetaResponse) {
        if self.order.len() == REQUESTS_MAX
            && let Some((oldest, _)) = self.order.pop_front()
        {
            self.numbers.remove(&oldest);
            self.forgotten += 1;
        }
        self.numbers.insert(request_id, self.forgotten + self.order.len() as u64);
        self.order.push_back((request_id, response));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(u128, MetaResponse)> {
        self.order.iter()
    }
}
