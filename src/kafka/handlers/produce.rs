//! Produce (0): writes of record batches, one for each partition.
//!
//! The batches go to the log as they came, in the order in which the requests of a connection came: a request's batches
//! have their places before the next request is looked at, while their answer may come much later. Versions 0 to 2 carry
//! formats of before Kafka 0.11, which are refused; they are listed all the same, since old librdkafka looks for them.

use super::{broker_id, is_internal, leader_epoch, partition_of, produce_old, topic_of};
use crate::broker::{DirectError, DirectProduced, PendingProduce};
use crate::kafka::codec::{Answer, Malformed};
use crate::kafka::context::RequestContext;
use crate::kafka::dispatch::{Answering, Begun, IntoAnswer};
use crate::kafka::errors::{self, ResponseError};
use crate::types::Acks;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::join_all;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse, TopicName};
use kafka_protocol::protocol::{Decodable, StrBytes};
use std::ops::RangeInclusive;
use std::time::Duration;
use tokio::time::Instant;

pub const VERSIONS: RangeInclusive<i16> = 0..=10;

/// What a client may say of how long a write may take.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(600);
/// From this version on an answer may name the leader (KIP-951).
const NAMES_LEADERS_FROM: i16 = 10;

/// A write of one partition, begun or refused.
struct Write {
    index: i32,
    pending: Result<PendingProduce, Refused>,
}

struct Refused {
    code: ResponseError,
    text: Option<String>,
}

impl From<ResponseError> for Refused {
    fn from(code: ResponseError) -> Refused {
        Refused { code, text: None }
    }
}

/// Reads a request; its writes take their places when what this gives back is awaited.
///
/// # Errors
/// The bytes are no such request.
pub fn begin(mut ctx: RequestContext, mut body: Bytes) -> Result<Begun, Malformed> {
    if ctx.version < 3 {
        let answer = produce_old::refuse(ctx.version, ctx.correlation_id, body)?;
        return Ok(Begun::InTurn(std::future::ready(Ok(answer)).boxed()));
    }
    let request = ProduceRequest::decode(&mut body, ctx.version).map_err(|error| Malformed(error.to_string()))?;
    let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    ctx.deadline = Instant::now() + timeout.clamp(*TIMEOUT.start(), *TIMEOUT.end());
    Ok(Begun::Placing(place(ctx, request).boxed()))
}

async fn place(ctx: RequestContext, request: ProduceRequest) -> Answering {
    let acks = match request.acks {
        0 => Ok(Acks::None),
        1 => Ok(Acks::Leader),
        -1 => Ok(Acks::All),
        _ => Err(ResponseError::InvalidRequiredAcks),
    };
    // Transactions are not served, so nothing of one may be written as if it were no part of any.
    let acks = if request.transactional_id.is_some() { Err(ResponseError::UnsupportedVersion) } else { acks };
    let is_silent = request.acks == 0;
    let partitions = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
    let bytes = partitions.filter_map(|partition| partition.records.as_ref()).map(Bytes::len).sum();
    let topics = request.topic_data.into_iter().map(|topic| place_topic(&ctx, topic, acks, bytes));
    let topics = join_all(topics).await;
    answer(ctx, topics, is_silent).boxed()
}

async fn place_topic(
    ctx: &RequestContext,
    topic: TopicProduceData,
    acks: Result<Acks, ResponseError>,
    bytes: usize,
) -> (TopicName, Vec<Write>) {
    let found = match acks {
        Ok(_) if is_internal(&topic.name) => Err(ResponseError::InvalidTopicException),
        Ok(acks) => topic_of(ctx, &topic.name).await.map(|view| (view, acks)),
        Err(error) => Err(error),
    };
    let writes = topic.partition_data.into_iter().map(|data| {
        let found = &found;
        async move {
            let index = data.index;
            let pending = match found {
                Ok((view, acks)) => match partition_of(view, index) {
                    Ok(at) => {
                        let batch = owned(data, bytes);
                        Ok(ctx.broker.produce_direct(&at, batch, *acks, ctx.deadline).await)
                    }
                    Err(error) => Err(error.into()),
                },
                Err(error) => Err((*error).into()),
            };
            Write { index, pending }
        }
    });
    (topic.name, join_all(writes).await)
}

/// The batch of one partition. One that is a small part of its request is copied, since what is kept of it in memory
/// would keep the rest, too.
fn owned(data: PartitionProduceData, request_bytes: usize) -> Bytes {
    let batch = data.records.unwrap_or_default();
    if batch.len() < request_bytes / 4 { Bytes::copy_from_slice(&batch) } else { batch }
}

async fn answer(ctx: RequestContext, topics: Vec<(TopicName, Vec<Write>)>, is_silent: bool) -> Result<Answer, String> {
    let mut response = ProduceResponse::default();
    for (name, writes) in topics {
        let mut partitions = Vec::with_capacity(writes.len());
        for Write { index, pending } in writes {
            let done = match pending {
                Ok(pending) => pending.await,
                Err(refused) => {
                    if is_silent {
                        return Err(unheard(&name, index, &refused.code.to_string()));
                    }
                    partitions.push(refused_partition(&ctx, index, refused));
                    continue;
                }
            };
            if let (true, Err(error)) = (is_silent, &done) {
                return Err(unheard(&name, index, &error.to_string()));
            }
            if let Err(DirectError::NotLeader { leader: Some(leader), .. }) = &done
                && ctx.version >= NAMES_LEADERS_FROM
                && !response.node_endpoints.iter().any(|known| known.node_id == broker_id(*leader))
            {
                let nodes = ctx.endpoints();
                response.node_endpoints.extend(nodes.iter().find(|node| node.id == *leader).map(endpoint));
            }
            partitions.push(partition(&ctx, index, done));
        }
        let topic = TopicProduceResponse::default().with_name(name).with_partition_responses(partitions);
        response.responses.push(topic);
    }
    if is_silent {
        return Ok(Answer::default());
    }
    response.into_answer(&ctx)
}

/// A client that asked for no answer learns of an error by the end of its connection, and looks for the leader again.
fn unheard(topic: &str, index: i32, error: &str) -> String {
    format!("a write with acks=0 to partition {index} of topic {topic} failed: {error}")
}

fn endpoint(node: &crate::kafka::context::Endpoint) -> NodeEndpoint {
    NodeEndpoint::default()
        .with_node_id(broker_id(node.id))
        .with_host(StrBytes::from_string(node.host.clone()))
        .with_port(i32::from(node.port))
        .with_rack(node.rack.clone().map(StrBytes::from_string))
}

fn refused_partition(ctx: &RequestContext, index: i32, refused: Refused) -> PartitionProduceResponse {
    let Refused { code, text } = refused;
    let answer =
        PartitionProduceResponse::default().with_index(index).with_error_code(code.code()).with_base_offset(-1);
    // Before version 8 there is no place for a text.
    if ctx.version >= 8 { answer.with_error_message(text.map(StrBytes::from_string)) } else { answer }
}

fn partition(ctx: &RequestContext, index: i32, done: Result<DirectProduced, DirectError>) -> PartitionProduceResponse {
    match done {
        Ok(done) => {
            let base_offset = done.base_offset.map_or(-1, |offset| offset.0 as i64);
            let answer = PartitionProduceResponse::default()
                .with_index(index)
                .with_error_code(errors::NONE)
                .with_base_offset(base_offset)
                .with_log_append_time_ms(done.log_append_time_ms.unwrap_or(-1));
            if ctx.version >= 5 { answer.with_log_start_offset(done.log_start_offset.0 as i64) } else { answer }
        }
        Err(error) => {
            let refused = Refused { code: errors::of_write(&error), text: Some(error.to_string()) };
            let answer = refused_partition(ctx, index, refused);
            match error {
                DirectError::NotLeader { leader: Some(leader), term }
                    if ctx.version >= NAMES_LEADERS_FROM && term.0 > 0 =>
                {
                    let leader = LeaderIdAndEpoch::default()
                        .with_leader_id(broker_id(leader))
                        .with_leader_epoch(leader_epoch(term));
                    answer.with_current_leader(leader)
                }
                _ => answer,
            }
        }
    }
}
