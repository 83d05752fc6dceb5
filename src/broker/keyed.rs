//! Writes that stand for themselves: compare-and-append, and requests with an `Idempotency-Key`.
//!
//! Each is an append of its own, known to the replicated state by a key (the client's, or a random one of this node),
//! so that trying again meets the first attempt's result.

use super::Broker;
use super::api::{IdempotencyKey, Produce, ProduceError, ProduceRecords, Produced, TopicView};
use super::lane::describe;
use super::route::{Attempt, Target};
use super::settings;
use crate::partition::{Append, AppendError, Appended};
use crate::record::build_batch;
use crate::state::partition::{Applied, Identity, KeyHash, PartitionCommand};
use crate::types::{Acks, NodeId};
use sha2::{Digest, Sha256};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const ATTEMPT_PATIENCE: Duration = Duration::from_secs(3);
const BACKOFF_MAX: Duration = Duration::from_millis(100);

fn key_hash(key: &str) -> KeyHash {
    let digest = Sha256::digest(key.as_bytes());
    let mut hash = [0; 16];
    hash.copy_from_slice(&digest[..16]);
    KeyHash(hash)
}

/// How attempts to reach a leader went, when they did not get through.
struct Trouble {
    in_doubt: bool,
    last: String,
    overloaded: bool,
}

impl Trouble {
    fn into_error(self, name: &str) -> ProduceError {
        let last = if self.last.is_empty() { String::new() } else { format!(" ({})", self.last) };
        if self.in_doubt {
            let reason =
                format!("{name} did not confirm the write in time{last}; it may have been written, or may still be");
            return ProduceError::OutcomeUnknown { reason };
        }
        let reason = format!("{name} could not be written in time{last}; nothing was written, try again");
        if self.overloaded {
            return ProduceError::Overloaded { reason, retry_after_ms: 500 };
        }
        ProduceError::Unavailable { reason, retry_after_ms: 1000 }
    }
}

impl Broker {
    pub(super) async fn produce_keyed(&self, request: Produce, target: Target) -> Result<Produced, ProduceError> {
        let random = &self.inner.parts.random;
        let name = format!("partition {} of topic {}", request.partition, request.topic.name);
        let default_timestamp_ms = match &request.records {
            ProduceRecords::Set(set) if set.is_empty() => 0,
            ProduceRecords::Set(set) => set.timestamp_ms(0),
            ProduceRecords::Batches { timestamp_ms_max, .. } => *timestamp_ms_max,
        };
        let records = settings::shaped(&request.topic.effective, request.records, self.now_ms())?;
        let (bytes, record_count, timestamp_ms_max) = match records {
            ProduceRecords::Set(set) => {
                let built = build_batch(&[set]);
                (built.bytes, built.record_count, built.timestamp_ms_max)
            }
            ProduceRecords::Batches { bytes, record_count, timestamp_ms_max } => {
                (bytes, record_count, timestamp_ms_max)
            }
        };
        let identity = match &request.idempotency {
            Some(key) => Identity::Key {
                client: true,
                key: key_hash(&key.key),
                body: KeyHash(key.body_hash),
                default_timestamp_ms,
            },
            None => {
                let mut key = [0; 16];
                key[..8].copy_from_slice(&random.next_u64().to_be_bytes());
                key[8..].copy_from_slice(&random.next_u64().to_be_bytes());
                Identity::Key { client: false, key: KeyHash(key), body: KeyHash([0; 16]), default_timestamp_ms }
            }
        };
        let append = Append {
            batches: bytes,
            record_count,
            timestamp_ms_max,
            identity,
            expected_offset: request.expected_offset,
            acks: if request.acks == Acks::All { Acks::All } else { Acks::Leader },
        };
        let partition = request.partition;
        let appended = self
            .carry_through(&target, &name, request.deadline, |node| {
                self.inner.parts.router.append(node, &target, &append, ATTEMPT_PATIENCE)
            })
            .await
            .map_err(|refusal| match refusal {
                Refusal::Produce(error) => error,
                Refusal::Append(AppendError::OffsetMismatch { log_end_offset }) => {
                    ProduceError::OffsetMismatch { partition, log_end_offset }
                }
                Refusal::Append(other) => final_error(&name, &other),
            })?;
        Ok(produced(&appended, &identity, request.acks))
    }

    /// Asks leaders until one answers for good, or the deadline.
    async fn carry_through<T, F>(
        &self,
        target: &Target,
        name: &str,
        deadline: Instant,
        attempt: impl Fn(NodeId) -> F,
    ) -> Result<T, Refusal>
    where
        F: Future<Output = Attempt<T>>,
    {
        let router = &self.inner.parts.router;
        let mut trouble = Trouble { in_doubt: false, last: String::new(), overloaded: false };
        let mut backoff = Duration::from_millis(2);
        let mut hintless = 0;
        while Instant::now() < deadline {
            let node = router.guess(target, hintless);
            let outcome = match tokio::time::timeout_at(deadline, attempt(node)).await {
                Ok(outcome) => outcome,
                Err(_) => Attempt::Unknown("no answer until the deadline".to_string()),
            };
            match outcome {
                Attempt::Done(done) => {
                    router.learn(target.group, Some(node));
                    return Ok(done);
                }
                Attempt::Refused(AppendError::NotLeader { leader: Some(leader), .. })
                    if leader != node && router.is_reachable(leader) =>
                {
                    if router.learn(target.group, Some(leader)) {
                        continue;
                    }
                }
                Attempt::Refused(error) if is_final(&error, trouble.in_doubt) => return Err(Refusal::Append(error)),
                Attempt::Refused(error) => {
                    trouble.overloaded = error == AppendError::Overloaded;
                    trouble.last = describe(&error);
                    router.learn(target.group, None);
                }
                Attempt::Unknown(reason) => {
                    trouble.in_doubt = true;
                    trouble.last = reason;
                    router.learn(target.group, None);
                }
            }
            hintless += 1;
            tokio::time::sleep_until((Instant::now() + backoff).min(deadline)).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
        Err(Refusal::Produce(trouble.into_error(name)))
    }

    /// Before the partitions' parts of a request with an `Idempotency-Key` are sent: claims the key on its home
    /// partition. Gives the partition count that the first request with this key was spread over (use it to choose
    /// partitions by key), or `IdempotencyConflict`.
    pub async fn claim_idempotency_key(
        &self,
        topic: &Arc<TopicView>,
        key: &IdempotencyKey,
        deadline: Instant,
    ) -> Result<u32, ProduceError> {
        let command = PartitionCommand::ClaimKey {
            key: key_hash(&key.key),
            body: KeyHash(key.body_hash),
            partitions: topic.assignments.len() as u32,
            appended_at_ms: self.now_ms(),
        };
        match self.home_command(topic, &key.key, &command, deadline).await? {
            Applied::Claimed { partitions } => Ok(partitions),
            _ => Err(ProduceError::IdempotencyConflict),
        }
    }

    /// Gives a claimed key back: every part of its request was refused, so it was not used.
    pub async fn release_idempotency_key(&self, topic: &Arc<TopicView>, key: &IdempotencyKey, deadline: Instant) {
        let command = PartitionCommand::ReleaseKey { key: key_hash(&key.key), body: KeyHash(key.body_hash) };
        if let Err(error) = self.home_command(topic, &key.key, &command, deadline).await {
            tracing::info!(topic = topic.name, %error, "an idempotency key of a refused request was not released");
        }
    }

    async fn home_command(
        &self,
        topic: &Arc<TopicView>,
        key: &str,
        command: &PartitionCommand,
        deadline: Instant,
    ) -> Result<Applied, ProduceError> {
        let home = self.home_partition(topic, key);
        let target = self.target(topic, home)?;
        let name = format!("partition {home} of topic {}", topic.name);
        let done = self.carry_through(&target, &name, deadline, |node| {
            self.inner.parts.router.command(node, &target, command, ATTEMPT_PATIENCE)
        });
        done.await.map_err(|refusal| match refusal {
            Refusal::Produce(error) => error,
            Refusal::Append(error) => final_error(&name, &error),
        })
    }
}

enum Refusal {
    Append(AppendError),
    Produce(ProduceError),
}

/// Whether asking again can't change the answer, and no earlier attempt can either.
fn is_final(error: &AppendError, in_doubt: bool) -> bool {
    match error {
        // The end only grows: an attempt still on its way could meet its offset only if that is yet to come, and then
        // this answer would say so by a smaller end; it is told as it is, since the client asked for that very offset.
        AppendError::OffsetMismatch { .. } | AppendError::KeyConflict => true,
        AppendError::DiskFull(_) => !in_doubt,
        _ => false,
    }
}

fn final_error(name: &str, error: &AppendError) -> ProduceError {
    match error {
        AppendError::KeyConflict => ProduceError::IdempotencyConflict,
        AppendError::DiskFull(reason) => ProduceError::DiskFull(format!("{name}: {reason}")),
        other => ProduceError::StorageFailed(format!("{name}: {}", describe(other))),
    }
}

fn produced(appended: &Appended, identity: &Identity, acks: Acks) -> Produced {
    let own = match identity {
        Identity::Key { default_timestamp_ms, .. } => *default_timestamp_ms,
        Identity::Writer { .. } | Identity::Producer { .. } | Identity::Anonymous => 0,
    };
    Produced {
        base_offset: (acks != Acks::None).then_some(appended.base_offset),
        replayed: appended.replayed.is_some(),
        default_timestamp_ms: appended.replayed.unwrap_or(own),
    }
}
