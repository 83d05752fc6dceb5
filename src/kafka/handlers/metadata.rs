//! Metadata (3): nodes, topics, and who leads their partitions.
//!
//! Any node answers from what it knows or finds out; a topic that is not there is made first where the client and the
//! configuration both allow it, so that the answer already names its leaders. The controller that is named takes
//! changes of the catalog, as all nodes do.

use super::{broker_id, is_internal, leader_epoch};
use crate::broker::{LeaderView, TopicView};
use crate::kafka::context::{Endpoint, RequestContext};
use crate::kafka::errors::{self, ResponseError};
use crate::types::{NodeId, TopicId};
use futures::stream::StreamExt;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

pub const VERSIONS: RangeInclusive<i16> = 0..=12;

/// Topics looked up, or made, at the same time.
const CONCURRENT_TOPICS: usize = 16;
/// What anybody may do where nobody is kept from anything: bits of operations (KIP-430).
pub const TOPIC_OPERATIONS: i32 = bits(&[3, 4, 5, 6, 7, 8, 10, 11]);
pub const CLUSTER_OPERATIONS: i32 = bits(&[5, 7, 8, 9, 10, 11, 12]);

const fn bits(numbers: &[u32]) -> i32 {
    let (mut all, mut place) = (0, 0);
    while place < numbers.len() {
        all |= 1 << numbers[place];
        place += 1;
    }
    all
}

/// A topic of the answer: found, or why not.
enum Found {
    Topic(Arc<TopicView>),
    Missing { name: Option<TopicName>, id: TopicId, error: ResponseError },
}

pub async fn handle(ctx: &RequestContext, request: MetadataRequest) -> MetadataResponse {
    let nodes = ctx.endpoints();
    let found = match &request.topics {
        Some(topics) if !(topics.is_empty() && ctx.version == 0) => find(ctx, topics, &request).await,
        _ => ctx.broker.topics().into_iter().map(Found::Topic).collect(),
    };
    let there: Vec<Arc<TopicView>> = found.iter().filter_map(Found::topic).collect();
    let mut leaders = ctx.broker.leaders(&there, ctx.deadline).await.into_iter();
    let with_operations = request.include_topic_authorized_operations;
    let topics = found.into_iter().map(|found| match found {
        Found::Topic(topic) => topic_of(ctx, &topic, leaders.next().unwrap_or_default(), &nodes, with_operations),
        Found::Missing { name, id, error } => {
            let answer = MetadataResponseTopic::default().with_error_code(error.code()).with_topic_id(id.0);
            // Before version 12 a topic always has a name.
            answer.with_name(name.or_else(|| (ctx.version < 12).then(TopicName::default)))
        }
    });
    let response = MetadataResponse::default()
        .with_topics(topics.collect())
        .with_cluster_id(ctx.broker.cluster_id().map(StrBytes::from_string))
        .with_controller_id(controller(ctx, &nodes))
        .with_brokers(nodes.iter().filter(|node| node.alive).map(broker_of).collect());
    if request.include_cluster_authorized_operations && (8..=10).contains(&ctx.version) {
        return response.with_cluster_authorized_operations(CLUSTER_OPERATIONS);
    }
    response
}

impl Found {
    fn topic(&self) -> Option<Arc<TopicView>> {
        match self {
            Found::Topic(topic) => Some(topic.clone()),
            Found::Missing { .. } => None,
        }
    }
}

/// The topics that were asked for, each once.
async fn find(ctx: &RequestContext, topics: &[MetadataRequestTopic], request: &MetadataRequest) -> Vec<Found> {
    let auto_create = ctx.version < 4 || request.allow_auto_topic_creation;
    let mut asked = BTreeMap::new();
    for topic in topics {
        asked.entry((topic.name.clone(), topic.topic_id)).or_insert(());
    }
    let looked_up = asked.into_keys().map(|(name, id)| async move {
        let id = TopicId(id);
        // An id goes first: Java's client sends an empty name beside it, not none.
        let Some(name) = name.filter(|_| id == TopicId::default()) else {
            let missing = Found::Missing { name: None, id, error: ResponseError::UnknownTopicId };
            return ctx.broker.topic_by_id(id).map_or(missing, Found::Topic);
        };
        match ctx.broker.resolve_topic(&name, auto_create, ctx.deadline).await {
            Ok(topic) => Found::Topic(topic),
            Err(error) => {
                let error = errors::of_lookup(&error);
                Found::Missing { name: Some(name), id: TopicId::default(), error }
            }
        }
    });
    futures::stream::iter(looked_up).buffered(CONCURRENT_TOPICS).collect().await
}

/// Who is named as controller: the real one if clients reach it, else any node, as each takes such requests.
pub fn controller(ctx: &RequestContext, nodes: &[Endpoint]) -> BrokerId {
    let real = ctx.broker.controller_node();
    let named = nodes.iter().find(|node| node.alive && Some(node.id) == real);
    broker_id(named.map_or(ctx.broker.node_id(), |node| node.id))
}

fn broker_of(node: &Endpoint) -> MetadataResponseBroker {
    MetadataResponseBroker::default()
        .with_node_id(broker_id(node.id))
        .with_host(StrBytes::from_string(node.host.clone()))
        .with_port(i32::from(node.port))
        .with_rack(node.rack.clone().map(StrBytes::from_string))
}

fn topic_of(
    ctx: &RequestContext,
    topic: &TopicView,
    leaders: Vec<LeaderView>,
    nodes: &[Endpoint],
    with_operations: bool,
) -> MetadataResponseTopic {
    let answer = MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_string(topic.name.clone()))))
        .with_topic_id(topic.id.0)
        .with_is_internal(is_internal(&topic.name))
        .with_partitions((0..).zip(leaders).map(|(index, leader)| partition_of(index, leader, nodes)).collect());
    if with_operations && ctx.version >= 8 {
        return answer.with_topic_authorized_operations(TOPIC_OPERATIONS);
    }
    answer
}

fn partition_of(index: i32, view: LeaderView, nodes: &[Endpoint]) -> MetadataResponsePartition {
    let ids = |nodes: Vec<NodeId>| nodes.into_iter().map(broker_id).collect::<Vec<_>>();
    let is_alive = |id: &NodeId| nodes.iter().any(|node| node.id == *id && node.alive);
    let offline = view.replicas.iter().copied().filter(|id| !is_alive(id)).collect();
    let leader = view.leader.filter(is_alive);
    let error = if leader.is_some() { errors::NONE } else { ResponseError::LeaderNotAvailable.code() };
    MetadataResponsePartition::default()
        .with_error_code(error)
        .with_partition_index(index)
        .with_leader_id(leader.map_or(BrokerId(-1), broker_id))
        .with_leader_epoch(leader_epoch(view.term))
        .with_replica_nodes(ids(view.replicas))
        .with_isr_nodes(ids(view.in_sync))
        .with_offline_replicas(ids(offline))
}
