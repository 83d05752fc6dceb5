//! Reads what a Fetch asks for, until there is enough of it or its time is over.
//!
//! One pass looks at every partition in order. What lies in memory is taken at once; what has to come from disk, or from
//! a replica that is being elected, is waited for side by side. The bytes of an answer have a bound (`Reading::limit`):
//! only the first batch of an answer may be larger, so that a consumer gets past a batch that is larger than it asked
//! for. Then the partitions are followed, and only those that moved are looked at again.
//!
//! Invariants: what an answer holds is counted in the node's budget until it is written; a read never waits past its
//! deadline for records, and not at all once something has to be told.

use super::fetch_answer::PartitionAnswer;
use super::{partition_of, term_of};
use crate::broker::{Direct, DirectError, DirectFollower, Isolation, OffsetQuery, TopicView};
use crate::kafka::context::RequestContext;
use crate::kafka::errors::{self, ResponseError};
use crate::kafka::kib;
use crate::kafka::sessions::{Asked, Key, TopicKey};
use crate::types::{NodeId, Offset, Term};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use futures::{FutureExt, future};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// How long a read that may not wait for records may wait for memory.
const MEMORY_PATIENCE: Duration = Duration::from_millis(100);

type Topics = HashMap<TopicKey, Result<Arc<TopicView>, ResponseError>>;
type Moved = BoxFuture<'static, (usize, DirectFollower)>;

/// One Fetch at work.
pub struct Reading<'a> {
    pub ctx: &'a RequestContext,
    pub items: &'a [(Key, Asked)],
    pub isolation: Isolation,
    /// Bytes of records in the answer, but for a first batch that is larger.
    pub limit: usize,
    /// From so many bytes on the answer does not wait.
    pub enough: usize,
    /// Until when it waits.
    pub until: Instant,
    /// One for each item.
    pub answers: Vec<PartitionAnswer>,
    /// Memory of the batches in `answers`.
    pub permit: Option<OwnedSemaphorePermit>,
}

impl Reading<'_> {
    /// Reads, and waits where there is not enough.
    pub async fn run(&mut self) {
        let topics = self.topics();
        self.answers = self.items.iter().map(|_| PartitionAnswer::default()).collect();
        self.pass(&topics, 0..self.items.len()).await;
        if self.is_done() {
            return;
        }
        let mut moving: FuturesUnordered<Moved> = FuturesUnordered::new();
        for index in 0..self.items.len() {
            // Who cannot be followed is not led here: the next pass tells.
            if let Ok(at) = self.at(&topics, index)
                && let Ok(follower) = self.ctx.broker.follow_direct(&at).await
            {
                moving.push(moved(index, follower));
            }
        }
        // What came before it was followed.
        self.pass(&topics, 0..self.items.len()).await;
        let stopping = self.ctx.front.tasks.stopping();
        while !self.is_done() {
            let mut changed = tokio::select! {
                Some((index, follower)) = moving.next() => vec![(index, follower)],
                () = tokio::time::sleep_until(self.until) => return,
                () = stopping.cancelled() => return,
            };
            while let Some(Some(more)) = moving.next().now_or_never() {
                changed.push(more);
            }
            self.pass(&topics, changed.iter().map(|(index, _)| *index)).await;
            moving.extend(changed.into_iter().map(|(index, follower)| moved(index, follower)));
        }
    }

    fn topics(&self) -> Topics {
        let mut topics = Topics::new();
        for (key, _) in self.items {
            if !topics.contains_key(&key.topic) {
                let found = match &key.topic {
                    TopicKey::Name(name) => self.ctx.broker.topic(name).ok_or(ResponseError::UnknownTopicOrPartition),
                    TopicKey::Id(id) => self.ctx.broker.topic_by_id(*id).ok_or(ResponseError::UnknownTopicId),
                };
                topics.insert(key.topic.clone(), found);
            }
        }
        topics
    }

    fn at(&self, topics: &Topics, index: usize) -> Result<Direct, ResponseError> {
        let key = &self.items[index].0;
        match &topics[&key.topic] {
            Ok(topic) => partition_of(topic, key.partition),
            Err(error) => Err(*error),
        }
    }

    /// Whether the answer is not to wait any longer.
    fn is_done(&self) -> bool {
        let telling = |answer: &PartitionAnswer| answer.error_code != errors::NONE || answer.diverging.is_some();
        self.items.is_empty()
            || Instant::now() >= self.until
            || self.records_len() >= self.enough
            || self.answers.iter().any(telling)
    }

    fn records_len(&self) -> usize {
        self.answers.iter().map(PartitionAnswer::records_len).sum()
    }

    /// Reads these partitions anew; what the others have stays.
    async fn pass(&mut self, topics: &Topics, which: impl Iterator<Item = usize> + Clone) {
        let mut wanted: usize = 0;
        for index in which.clone() {
            self.answers[index].batches = Vec::new();
            wanted = wanted.saturating_add(cap_of(&self.items[index].1));
        }
        let others = self.records_len();
        let mut room = Room { left: self.limit.saturating_sub(others), given: others > 0 };
        match self.memory(wanted.min(room.left)).await {
            Some(permit) => match &mut self.permit {
                Some(all) => all.merge(permit),
                None => self.permit = Some(permit),
            },
            // Then only where the logs begin and end.
            None => room = Room { left: 0, given: true },
        }
        let (ctx, isolation) = (self.ctx, self.isolation);
        let mut slow = FuturesUnordered::new();
        for index in which {
            let (at, asked) = (self.at(topics, index), self.items[index].1);
            let cap = cap_of(&asked).min(room.left);
            let mut read = async move { read(ctx, at, asked, isolation, cap).await }.boxed();
            match (&mut read).now_or_never() {
                Some(answer) => self.answers[index] = room.take(answer, cap),
                None => {
                    // Its part is kept free until it is known.
                    room.left -= cap;
                    slow.push(read.map(move |answer| (index, cap, answer)));
                }
            }
        }
        while let Some((index, cap, answer)) = slow.next().await {
            room.left += cap;
            self.answers[index] = room.take(answer, cap);
        }
        self.shrink();
    }

    /// Memory for what is about to be read; `None` where there is none in time.
    async fn memory(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let budget = self.ctx.front.answers.clone();
        let until = self.until.max(Instant::now() + MEMORY_PATIENCE);
        tokio::time::timeout_at(until, budget.acquire_many_owned(kib(bytes))).await.ok()?.ok()
    }

    /// Gives back the memory that was not needed.
    fn shrink(&mut self) {
        let needed = kib(self.records_len()) as usize;
        if let Some(permit) = &mut self.permit {
            drop(permit.split(permit.num_permits().saturating_sub(needed)));
        }
    }
}

/// What an answer still has room for.
struct Room {
    left: usize,
    /// Some partition has given records: from now on nothing is larger than it was asked for.
    given: bool,
}

impl Room {
    fn take(&mut self, mut answer: PartitionAnswer, cap: usize) -> PartitionAnswer {
        if self.given {
            let mut len = 0;
            let fitting = answer.batches.iter().take_while(|batch| {
                len += batch.len();
                len <= cap
            });
            let count = fitting.count();
            answer.batches.truncate(count);
        }
        self.given |= !answer.batches.is_empty();
        self.left = self.left.saturating_sub(answer.records_len());
        answer
    }
}

/// Bytes that a client wants of a partition; at least one, since 0 would be no records at all, for ever.
fn cap_of(asked: &Asked) -> usize {
    usize::try_from(asked.max_bytes).unwrap_or(0).max(1)
}

fn moved(index: usize, mut follower: DirectFollower) -> Moved {
    async move {
        follower.changed().await;
        (index, follower)
    }
    .boxed()
}

/// Reads one partition, once.
async fn read(
    ctx: &RequestContext,
    at: Result<Direct, ResponseError>,
    asked: Asked,
    isolation: Isolation,
    cap: usize,
) -> PartitionAnswer {
    let at = match at {
        Ok(at) => at,
        Err(error) => return refused(error, None),
    };
    let current = term_of(asked.leader_epoch);
    if let Some(last) = term_of(asked.last_fetched_epoch) {
        match diverging(ctx, &at, last, asked.offset, current).await {
            Ok(None) => {}
            Ok(diverging) => return ends(ctx, &at, current, isolation, diverging).await,
            Err(error) => return failed(&error),
        }
    }
    let Ok(offset) = u64::try_from(asked.offset) else { return refused(ResponseError::OffsetOutOfRange, None) };
    match ctx.broker.read_direct(&at, Offset(offset), cap, current, isolation).await {
        Ok(read) => PartitionAnswer {
            high_watermark: read.high_watermark.0 as i64,
            last_stable_offset: read.last_stable_offset.0 as i64,
            log_start_offset: read.log_start_offset.0 as i64,
            batches: read.batches,
            ..PartitionAnswer::default()
        },
        Err(error) => failed(&error),
    }
}

/// Where the log of a reader parts from this one: `None` where what it read last stands here too (KIP-595).
async fn diverging(
    ctx: &RequestContext,
    at: &Direct,
    last: Term,
    offset: i64,
    current: Option<Term>,
) -> Result<Option<(Term, Offset)>, DirectError> {
    let found = ctx.broker.end_of_term(at, last, current).await?;
    Ok(found.filter(|(term, end)| *term < last || (end.0 as i64) < offset))
}

/// An answer without records, with where they are.
async fn ends(
    ctx: &RequestContext,
    at: &Direct,
    current: Option<Term>,
    isolation: Isolation,
    diverging: Option<(Term, Offset)>,
) -> PartitionAnswer {
    let ask = |what| ctx.broker.offset_direct(at, what, current);
    match future::try_join(ask(OffsetQuery::Earliest), ask(OffsetQuery::Latest(isolation))).await {
        Ok((first, last)) => {
            let end = last.offset.map_or(-1, |offset| offset.0 as i64);
            PartitionAnswer {
                high_watermark: end,
                last_stable_offset: end,
                log_start_offset: first.offset.map_or(-1, |offset| offset.0 as i64),
                diverging,
                ..PartitionAnswer::default()
            }
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &DirectError) -> PartitionAnswer {
    let leader = match error {
        DirectError::NotLeader { leader: Some(leader), term } if term.0 > 0 => Some((*leader, *term)),
        _ => None,
    };
    refused(errors::of_read(error), leader)
}

fn refused(error: ResponseError, leader: Option<(NodeId, Term)>) -> PartitionAnswer {
    PartitionAnswer {
        error_code: error.code(),
        high_watermark: -1,
        last_stable_offset: -1,
        log_start_offset: -1,
        leader,
        ..PartitionAnswer::default()
    }
}
