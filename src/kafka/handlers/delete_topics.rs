//! DeleteTopics (20): by name, or by id from version 6 on.

use super::asked::{Refusal, deadline, outcome, refuse_internal, topic_name};
use crate::kafka::context::RequestContext;
use crate::kafka::errors::ResponseError;
use crate::types::TopicId;
use futures::stream::StreamExt;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use std::ops::RangeInclusive;
use tokio::time::Instant;

pub const VERSIONS: RangeInclusive<i16> = 1..=6;

/// Topics that are deleted side by side.
const CONCURRENT_TOPICS: usize = 16;

pub async fn handle(ctx: &RequestContext, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let until = deadline(ctx, request.timeout_ms);
    let by_name = request.topic_names.into_iter().map(|name| DeleteTopicState::default().with_name(Some(name)));
    let named = request.topics.into_iter().chain(by_name).collect::<Vec<_>>();
    let deleted = named.into_iter().map(|topic| async move {
        let mut topic = topic;
        let result = delete(ctx, &mut topic, until).await;
        let (code, message) = outcome(&result);
        let answer = DeletableTopicResult::default().with_name(topic.name).with_error_code(code);
        let answer = if ctx.version >= 6 { answer.with_topic_id(topic.topic_id) } else { answer };
        if ctx.version >= 5 { answer.with_error_message(message) } else { answer }
    });
    let responses = futures::stream::iter(deleted).buffered(CONCURRENT_TOPICS).collect().await;
    DeleteTopicsResponse::default().with_responses(responses)
}

/// Fills in what the request left out: the answer has a topic's name and its id.
async fn delete(ctx: &RequestContext, topic: &mut DeleteTopicState, until: Instant) -> Result<(), Refusal> {
    let name = match &topic.name {
        Some(name) => name.to_string(),
        None => {
            let found = ctx.broker.topic_by_id(TopicId(topic.topic_id));
            let missing = || Refusal::new(ResponseError::UnknownTopicId, "no topic has this id");
            let view = found.ok_or_else(missing)?;
            topic.name = Some(topic_name(&view.name));
            view.name.clone()
        }
    };
    refuse_internal(&name)?;
    if let Some(view) = ctx.broker.topic(&name) {
        topic.topic_id = view.id.0;
    }
    Ok(ctx.broker.delete_topic(&name, until).await?)
}
