//! Writes of Kafka's clients: one record batch, checked once, becomes one entry of the partition's log.

use super::super::{Broker, InFlight};
use super::{Direct, DirectError, Place};
use crate::partition::{Append, AppendDone, AppendError, Appended, Replica};
use crate::record::{ClientBatch, ProducerStamp, TimestampRule, is_compressed, take_client_batch};
use crate::state::partition::Identity;
use crate::types::{Acks, Offset};
use bytes::Bytes;
use futures::future::BoxFuture;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Compressed batches from this size on are checked beside the tasks of other connections: small ones are faster
/// checked than handed over.
const CHECKED_ASIDE_BYTES: usize = 128 << 10;

/// How long a write waits for a new leader's first entry.
const READY_PATIENCE: Duration = Duration::from_secs(3);

/// A write that took place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectProduced {
    /// `None` for acks=0.
    pub base_offset: Option<Offset>,
    /// Where the topic stamps records with the time of their append: that time.
    pub log_append_time_ms: Option<i64>,
    pub log_start_offset: Offset,
}

/// A write that has its place in the log's order; its outcome is still to come.
pub struct PendingProduce(BoxFuture<'static, Result<DirectProduced, DirectError>>);

impl Future for PendingProduce {
    type Output = Result<DirectProduced, DirectError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

/// Bytes of one write on its way; given back when it is answered.
struct Held {
    broker: Broker,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(InFlight { bytes: self.bytes, counter: &self.broker.inner.in_flight_bytes });
    }
}

impl Broker {
    /// Writes one record batch v2 of a client. Back once it has its place in the log's order, so that what a connection
    /// sends one after the other keeps its order; the rest is awaited later.
    pub async fn produce_direct(&self, at: &Direct, batches: Bytes, acks: Acks, deadline: Instant) -> PendingProduce {
        let started = Instant::now();
        let bytes = batches.len();
        let broker = self.clone();
        let begun = self.begin_produce(at, batches, acks, deadline).await;
        PendingProduce(Box::pin(async move {
            let result = match begun {
                Ok(begun) => begun.finish(acks, deadline).await,
                Err(error) => Err(error),
            };
            let error = result.as_ref().err().map(DirectError::name);
            broker.inner.metrics.produced(bytes, started.elapsed(), error);
            result
        }))
    }

    async fn begin_produce(
        &self,
        at: &Direct,
        batches: Bytes,
        acks: Acks,
        deadline: Instant,
    ) -> Result<Begun, DirectError> {
        let target = self.direct_target(at)?;
        let bytes = batches.len();
        let before = self.inner.in_flight_bytes.fetch_add(bytes, Ordering::Relaxed);
        let held = Held { broker: self.clone(), bytes };
        if before + bytes > self.inner.config.in_flight_bytes_max {
            let text = "this node has too many bytes of unfinished writes; nothing was written, try again";
            return Err(DirectError::Overloaded(text.to_owned()));
        }
        // Before the batch is looked at: a client that came to the wrong node is to hear so at once.
        let replica = match self.direct_place(&target).await? {
            Place::Replica(replica) => replica,
            Place::Unborn => self.open_replica(&target).await?,
        };
        let in_sync = self.check_in_sync(&at.topic.effective, &target, acks);
        in_sync.map_err(DirectError::NotEnoughReplicas)?;
        let (batch, append_time_ms) = self.check_client_batch(at, batches).await?;
        let identity = match batch.producer {
            Some(ProducerStamp { producer_id, epoch, first_sequence }) => {
                Identity::Producer { producer_id, epoch, first_sequence }
            }
            None => Identity::Anonymous,
        };
        let append = Append {
            batches: batch.bytes,
            record_count: batch.record_count,
            timestamp_ms_max: batch.timestamp_ms_max,
            identity,
            expected_offset: None,
            acks,
        };
        let answer = append_when_ready(&replica, append, deadline.min(Instant::now() + READY_PATIENCE)).await;
        Ok(Begun { replica, answer, append_time_ms, _held: held })
    }

    async fn check_client_batch(&self, at: &Direct, batches: Bytes) -> Result<(ClientBatch, Option<i64>), DirectError> {
        let rules = self.rules_of(at);
        let append_time_ms = match rules.timestamps {
            TimestampRule::Append { now_ms } => Some(now_ms),
            TimestampRule::Create { .. } => None,
        };
        let is_quick = rules.compression.is_none() && !is_compressed(&batches);
        let taken = if is_quick || batches.len() < CHECKED_ASIDE_BYTES {
            take_client_batch(batches, &rules)?
        } else {
            self.inner.parts.tasks.blocking(move || take_client_batch(batches, &rules)).await?
        };
        Ok((taken, append_time_ms))
    }
}

type Answer = oneshot::Receiver<Result<Appended, AppendError>>;

/// Appends, and waits a moment where the leader is elected but not ready: were it refused, what the same client sent
/// behind it could be taken before it comes again.
async fn append_when_ready(replica: &Arc<Replica>, append: Append, until: Instant) -> Answer {
    loop {
        let (sender, mut answer) = oneshot::channel();
        let done: AppendDone = Box::new(move |result| {
            let _ = sender.send(result);
        });
        replica.append(append.clone(), done).await;
        match answer.try_recv() {
            Ok(Err(AppendError::NotReady)) if Instant::now() < until => {}
            Ok(told) => {
                let (sender, answer) = oneshot::channel();
                let _ = sender.send(told);
                return answer;
            }
            Err(_) => return answer,
        }
    }
}

/// A write that was handed to its replica.
struct Begun {
    replica: Arc<Replica>,
    answer: Answer,
    append_time_ms: Option<i64>,
    _held: Held,
}

impl Begun {
    async fn finish(mut self, acks: Acks, deadline: Instant) -> Result<DirectProduced, DirectError> {
        let log_start_offset = self.replica.log_start_offset();
        let log_append_time_ms = self.append_time_ms;
        let produced = |base_offset| Ok(DirectProduced { base_offset, log_append_time_ms, log_start_offset });
        if acks == Acks::None {
            // Nobody is told; but what was refused at once may be counted.
            return match self.answer.try_recv() {
                Ok(Err(error)) => Err(error.into()),
                _ => produced(None),
            };
        }
        match tokio::time::timeout_at(deadline, &mut self.answer).await {
            Ok(Ok(Ok(appended))) => produced(Some(appended.base_offset)),
            Ok(Ok(Err(error))) => Err(error.into()),
            Ok(Err(_)) => {
                Err(DirectError::OutcomeUnknown("this node is stopping: the write may have been made".to_owned()))
            }
            Err(_) => Err(DirectError::OutcomeUnknown(
                "a quorum did not confirm the write in time; it may have been made, or may still be".to_owned(),
            )),
        }
    }
}
