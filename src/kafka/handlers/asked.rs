//! What the handlers of administrators' requests share: until when, for which topic, and why not, in words.

use super::is_internal;
use crate::broker::{TopicError, TopicView};
use crate::kafka::context::RequestContext;
use crate::kafka::errors::{self, ResponseError};
use crate::types::NodeId;
use kafka_protocol::messages::{BrokerId, TopicName};
use kafka_protocol::protocol::StrBytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// An error with the words that go with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub error: ResponseError,
    pub text: String,
}

impl Refusal {
    pub fn new(error: ResponseError, text: impl Into<String>) -> Refusal {
        Refusal { error, text: text.into() }
    }

    pub fn code(&self) -> i16 {
        self.error.code()
    }

    pub fn message(&self) -> Option<StrBytes> {
        Some(StrBytes::from_string(self.text.clone()))
    }
}

impl From<TopicError> for Refusal {
    fn from(error: TopicError) -> Refusal {
        Refusal::new(errors::of_topic(&error), error.to_string())
    }
}

/// Code and words of a result.
pub fn outcome<T>(result: &Result<T, Refusal>) -> (i16, Option<StrBytes>) {
    match result {
        Ok(_) => (errors::NONE, None),
        Err(refusal) => (refusal.code(), refusal.message()),
    }
}

/// The time that a request gives itself, within what this node takes.
pub fn deadline(ctx: &RequestContext, timeout_ms: i32) -> Instant {
    let asked = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
    ctx.deadline.min(Instant::now() + asked.max(Duration::from_millis(1)))
}

/// A topic that is to be changed: one that is there, and not the cluster's own.
pub async fn changeable(ctx: &RequestContext, name: &str) -> Result<Arc<TopicView>, Refusal> {
    refuse_internal(name)?;
    Ok(ctx.broker.resolve_topic(name, false, ctx.deadline).await?)
}

/// # Errors
/// The topic is the cluster's own.
pub fn refuse_internal(name: &str) -> Result<(), Refusal> {
    if is_internal(name) {
        let text = format!("topic {name} is internal: clients can't make, change or delete it");
        return Err(Refusal::new(ResponseError::InvalidTopicException, text));
    }
    Ok(())
}

pub fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// Nodes as this cluster numbers them.
pub fn nodes(ids: &[BrokerId]) -> Vec<NodeId> {
    ids.iter().map(|id| NodeId(u64::try_from(id.0).unwrap_or(u64::MAX))).collect()
}
