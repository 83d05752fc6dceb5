//! InitProducerId (22): a producer id for an idempotent producer. Transactional producers are refused.

use crate::kafka::context::RequestContext;
use crate::kafka::errors::{self, ResponseError};
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};
use std::ops::RangeInclusive;

pub const VERSIONS: RangeInclusive<i16> = 0..=4;

pub async fn handle(ctx: &RequestContext, request: InitProducerIdRequest) -> InitProducerIdResponse {
    let refused = |error: ResponseError| {
        InitProducerIdResponse::default()
            .with_error_code(error.code())
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1)
    };
    if request.transactional_id.is_some() {
        // Java's producer shows this code's text ("not supported"), and gives up instead of trying again for ever.
        return refused(ResponseError::UnsupportedVersion);
    }
    // Whoever has an id already and asks again wants a new one: only transactions go on with the old.
    match ctx.broker.allocate_producer_id(ctx.deadline).await {
        Ok(id) => InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(0),
        Err(error) => refused(errors::of_allocation(&error)),
    }
}
