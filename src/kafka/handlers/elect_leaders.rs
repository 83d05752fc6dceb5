//! ElectLeaders (43): moves leadership to the preferred replicas (KIP-460). A replica that lacks acknowledged records is
//! never made leader, so there is no unclean election.

use super::asked::{deadline, topic_name};
use super::{CONCURRENT_PARTITIONS, partition_of, topic_of};
use crate::broker::Elected;
use crate::kafka::context::RequestContext;
use crate::kafka::errors::{self, ResponseError};
use futures::stream::StreamExt;
use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use tokio::time::Instant;

pub const VERSIONS: RangeInclusive<i16> = 0..=2;

const PREFERRED: i8 = 0;

pub async fn handle(ctx: &RequestContext, request: ElectLeadersRequest) -> ElectLeadersResponse {
    let until = deadline(ctx, request.timeout_ms);
    let is_preferred = ctx.version == 0 || request.election_type == PREFERRED;
    let asks_for_all = request.topic_partitions.is_none();
    let named: Vec<(String, i32)> = match request.topic_partitions {
        Some(topics) => {
            let each = |topic: kafka_protocol::messages::elect_leaders_request::TopicPartitions| {
                let name = topic.topic.to_string();
                topic.partitions.into_iter().map(move |partition| (name.clone(), partition))
            };
            topics.into_iter().flat_map(each).collect()
        }
        None => {
            let topics = ctx.broker.topics();
            let each = |topic: &std::sync::Arc<crate::broker::TopicView>| {
                let name = topic.name.clone();
                (0..topic.assignments.len() as i32).map(move |partition| (name.clone(), partition))
            };
            topics.iter().flat_map(each).collect()
        }
    };
    let elections = named.into_iter().map(|(topic, partition)| async move {
        let (error, text) = elect(ctx, &topic, partition, is_preferred, until).await;
        (topic, partition, error, text)
    });
    let results: Vec<_> = futures::stream::iter(elections).buffered(CONCURRENT_PARTITIONS).collect().await;
    let mut by_topic: BTreeMap<String, Vec<PartitionResult>> = BTreeMap::new();
    for (topic, partition, error, text) in results {
        // Who asks for all wants to hear of those where something was to be done.
        if asks_for_all && error == Some(ResponseError::ElectionNotNeeded) {
            continue;
        }
        let result = PartitionResult::default()
            .with_partition_id(partition)
            .with_error_code(error.map_or(errors::NONE, |error| error.code()))
            .with_error_message(text.map(StrBytes::from_string));
        by_topic.entry(topic).or_default().push(result);
    }
    let results = by_topic.into_iter().map(|(topic, results)| {
        ReplicaElectionResult::default().with_topic(topic_name(&topic)).with_partition_result(results)
    });
    ElectLeadersResponse::default().with_replica_election_results(results.collect())
}

async fn elect(
    ctx: &RequestContext,
    topic: &str,
    partition: i32,
    is_preferred: bool,
    until: Instant,
) -> (Option<ResponseError>, Option<String>) {
    let at = match topic_of(ctx, topic).await.and_then(|view| partition_of(&view, partition)) {
        Ok(at) => at,
        Err(error) => return (Some(error), None),
    };
    if !is_preferred {
        let text = "unclean elections are not to be had: replicas that lack acknowledged records never lead";
        return (Some(ResponseError::EligibleLeadersNotAvailable), Some(text.to_owned()));
    }
    match ctx.broker.elect_preferred(&at, until).await {
        Ok(Elected::Done) => (None, None),
        Ok(Elected::NotNeeded) => {
            (Some(ResponseError::ElectionNotNeeded), Some("the preferred replica leads".to_owned()))
        }
        Ok(Elected::NotAvailable(text)) => (Some(ResponseError::PreferredLeaderNotAvailable), Some(text)),
        Ok(Elected::TimedOut(text)) => (Some(ResponseError::RequestTimedOut), Some(text)),
        Err(error) => (Some(errors::of_write(&error)), Some(error.to_string())),
    }
}
