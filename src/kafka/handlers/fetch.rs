//! Fetch (1): records of many partitions, now or as soon as there are any.
//!
//! Sessions say what is read, [`super::fetch_read`] reads, [`super::fetch_answer`] makes the bytes; here it is decided
//! what of it the client is told.

use super::fetch_answer::{FetchAnswer, PartitionAnswer};
use super::fetch_read::Reading;
use super::isolation_of;
use crate::broker::Isolation;
use crate::kafka::codec::Answer;
use crate::kafka::context::{Endpoint, RequestContext};
use crate::kafka::dispatch::IntoAnswer;
use crate::kafka::errors::{self, ResponseError};
use crate::kafka::sessions::{Asked, Key, SessionError, Told, Turn};
use kafka_protocol::messages::FetchRequest;
use std::ops::RangeInclusive;
use std::time::Duration;
use tokio::time::Instant;

pub const VERSIONS: RangeInclusive<i16> = 4..=16;

/// How long a client may want to wait.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// From this version on an answer says where the leaders are that it names.
const NAMES_ENDPOINTS_FROM: i16 = 16;

/// An answer whose bytes are made, or the mistake in making it.
pub struct Fetched(Result<Answer, String>);

impl IntoAnswer for Fetched {
    fn into_answer(self, _: &RequestContext) -> Result<Answer, String> {
        self.0
    }
}

pub async fn handle(ctx: &RequestContext, request: FetchRequest) -> Fetched {
    let random = || ctx.broker.random_below(i32::MAX as u64) as i32;
    let mut turn = match ctx.front.sessions.begin(&request, ctx.version, random) {
        Ok(turn) => turn,
        Err(error) => return Fetched(session_error(ctx, error)),
    };
    let items = match &mut turn {
        Turn::Full { items, .. } => std::mem::take(items),
        Turn::Changes(held) => held.items(),
    };
    let limit = usize::try_from(request.max_bytes).unwrap_or(0).clamp(1, ctx.front.config.answer_bytes_max);
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(WAIT_MAX);
    let isolation = isolation_of(request.isolation_level);
    // Its bytes are not needed while this waits.
    let (enough, lists_aborted) = (request.min_bytes, isolation == Isolation::ReadCommitted);
    drop(request);
    let mut reading = Reading {
        ctx,
        items: &items,
        isolation,
        limit,
        enough: usize::try_from(enough).unwrap_or(0).min(limit),
        until: Instant::now() + wait,
        answers: Vec::new(),
        permit: None,
    };
    reading.run().await;
    let Reading { answers, permit, .. } = reading;
    let (session_id, told) = tell(&mut turn, &items, answers);
    let partitions: Vec<_> = told.into_iter().map(|(key, answer)| (&key.topic, key.partition, answer)).collect();
    let endpoints = endpoints_of(ctx, &partitions);
    let answer = FetchAnswer { error_code: errors::NONE, session_id, partitions, lists_aborted, endpoints };
    Fetched(answer.encode(ctx).map(|answer| Answer { permit, ..answer }))
}

fn session_error(ctx: &RequestContext, error: SessionError) -> Result<Answer, String> {
    let code = match error {
        SessionError::Unknown => ResponseError::FetchSessionIdNotFound,
        SessionError::OtherEpoch => ResponseError::InvalidFetchSessionEpoch,
        SessionError::OtherKeys => ResponseError::FetchSessionTopicIdError,
    };
    let answer = FetchAnswer {
        error_code: code.code(),
        session_id: 0,
        partitions: Vec::new(),
        lists_aborted: false,
        endpoints: Vec::new(),
    };
    answer.encode(ctx)
}

/// What the client is told, and by which session: all, or in a session what is new to it.
fn tell<'a>(
    turn: &mut Turn,
    items: &'a [(Key, Asked)],
    answers: Vec<PartitionAnswer>,
) -> (i32, Vec<(&'a Key, PartitionAnswer)>) {
    let (mut held, all) = match turn {
        Turn::Full { session, .. } => (session.as_mut(), true),
        Turn::Changes(held) => (Some(held), false),
    };
    let mut told = Vec::with_capacity(answers.len());
    let mut last_with_records = None;
    for ((key, _), answer) in items.iter().zip(answers) {
        let has_records = !answer.batches.is_empty();
        if has_records {
            last_with_records = Some(key);
        }
        let now = (answer.error_code == errors::NONE)
            .then_some(Told { high_watermark: answer.high_watermark, log_start_offset: answer.log_start_offset });
        let is_new = held.as_mut().is_none_or(|held| held.tell(key, now));
        if all || is_new || has_records || answer.diverging.is_some() {
            told.push((key, answer));
        }
    }
    if let (Some(held), Some(last)) = (&mut held, last_with_records) {
        held.served(last);
    }
    (held.map_or(0, |held| held.id()), told)
}

/// Where the leaders are that an answer names.
fn endpoints_of<T>(ctx: &RequestContext, partitions: &[(T, i32, PartitionAnswer)]) -> Vec<Endpoint> {
    let named = |node: &Endpoint| {
        partitions.iter().any(|(_, _, answer)| answer.leader.is_some_and(|(leader, _)| leader == node.id))
    };
    if ctx.version < NAMES_ENDPOINTS_FROM || partitions.iter().all(|(_, _, answer)| answer.leader.is_none()) {
        return Vec::new();
    }
    ctx.endpoints().into_iter().filter(named).collect()
}
