//! How a call is carried out on a node: through its broker, as a front does it.

use super::{Call, Outcome, Place, Producer};
use balsa::broker::groups::{Commit, GroupError, PartitionKey, Reply, Request};
use balsa::broker::{
    Broker, CreateTopic, Direct, DirectError, Fetch, FetchError, IdempotencyKey, Isolation, Produce, ProduceError,
    ProduceRecords, ReadFrom, RecordSet, TopicError, TopicView,
};
use balsa::record::{Limits, build_batch, records};
use balsa::types::{Acks, Offset, PartitionId};
use bytes::BytesMut;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Bytes that one read asks for.
const READ_BYTES_MAX: usize = 256 << 10;
const LIMITS: Limits = Limits { record_bytes_max: 1 << 20, batch_bytes_max: 8 << 20, inflated_bytes_max: 32 << 20 };

/// The bytes of a value: the number, and a filling that follows from it, so that damage shows.
fn value_bytes(value: u64, len: usize) -> Vec<u8> {
    let mut bytes = value.to_be_bytes().to_vec();
    bytes.extend((8..len.max(8)).map(|at| (value as usize).wrapping_add(at) as u8));
    bytes
}

fn value_of(bytes: &[u8]) -> Option<u64> {
    let value = u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?);
    (value_bytes(value, bytes.len()) == bytes).then_some(value)
}

fn refused(reason: impl ToString) -> Outcome {
    Outcome::Refused { reason: reason.to_string(), earlier_in_doubt: false }
}

fn unknown(reason: impl ToString) -> Outcome {
    Outcome::Unknown { reason: reason.to_string() }
}

fn topic_failed(error: &TopicError) -> Outcome {
    match error {
        TopicError::OutcomeUnknown { .. } => unknown(error),
        _ => refused(error),
    }
}

/// Carries a call out; the node's own deadline is `patience`.
pub async fn carry_out(broker: Broker, call: Call, patience: Duration) -> Outcome {
    let deadline = Instant::now() + patience;
    let topic = match &call {
        Call::Create { topic, partitions, replication } => {
            let request = CreateTopic {
                name: topic.clone(),
                partitions: Some(*partitions),
                replication_factor: Some(*replication),
                ..CreateTopic::default()
            };
            return match broker.create_topic(request, deadline).await {
                Ok(view) => Outcome::Created { topic: view.id.0 },
                Err(error) => topic_failed(&error),
            };
        }
        Call::Commit { topic, partition, group, offset } => {
            return commit(&broker, (topic, *partition), group, *offset, deadline).await;
        }
        Call::Committed { topic, partition, group } => {
            return committed(&broker, (topic, *partition), group, deadline).await;
        }
        other => match broker.resolve_topic(other.topic(), false, deadline).await {
            Ok(topic) => topic,
            Err(error) => return refused(error),
        },
    };
    match call {
        Call::Produce { partition, values, value_bytes, acks_all, expected, key, producer, .. } => {
            let write = Write { partition, values, value_bytes, acks_all, expected, key };
            match producer {
                Some(producer) => produce_as_kafka(&broker, topic, write, producer, deadline).await,
                None => produce(&broker, topic, write, deadline).await,
            }
        }
        Call::Read { partition, from, linearizable, .. } => {
            read(&broker, topic, partition, ReadFrom::Offset(Offset(from)), linearizable, deadline).await
        }
        Call::End { partition, .. } => read(&broker, topic, partition, ReadFrom::Latest, true, deadline).await,
        Call::Delete { topic: name } => match broker.delete_topic(&name, deadline).await {
            Ok(()) => Outcome::Deleted { topic: topic.id.0 },
            Err(error) => topic_failed(&error),
        },
        Call::Create { .. } | Call::Commit { .. } | Call::Committed { .. } => unreachable!("done above"),
    }
}

fn group_failed(error: &GroupError) -> Outcome {
    match error {
        GroupError::Unknown(_) => unknown(error),
        _ => refused(error),
    }
}

async fn commit(broker: &Broker, at: (&str, u32), group: &str, offset: u64, deadline: Instant) -> Outcome {
    let at = PartitionKey::new(at.0, at.1 as i32);
    let commit = Commit { at, offset: offset as i64, leader_epoch: -1, metadata: String::new() };
    let request = Request::Commit { group: group.to_string(), commits: vec![commit] };
    match broker.ask_group(group, request, true, deadline).await {
        Ok(_) => Outcome::Committed,
        Err(error) => group_failed(&error),
    }
}

async fn committed(broker: &Broker, at: (&str, u32), group: &str, deadline: Instant) -> Outcome {
    let partitions = Some(vec![PartitionKey::new(at.0, at.1 as i32)]);
    let request = Request::Offsets { group: group.to_string(), partitions };
    match broker.ask_group(group, request, true, deadline).await {
        Ok(Reply::Offsets(offsets)) => {
            let found = offsets.into_iter().find_map(|(_, offset)| offset);
            Outcome::Offset { offset: found.map(|kept| kept.offset as u64) }
        }
        Ok(other) => refused(format!("{other:?}")),
        Err(error) => group_failed(&error),
    }
}

struct Write {
    partition: u32,
    values: Vec<u64>,
    value_bytes: usize,
    acks_all: bool,
    expected: Option<u64>,
    key: Option<u64>,
}

impl Write {
    fn records(&self, now_ms: i64) -> RecordSet {
        let mut set = RecordSet::new();
        for value in &self.values {
            set.push(now_ms, None, Some(&value_bytes(*value, self.value_bytes)), &[]);
        }
        set
    }
}

/// One batch of an idempotent producer: base offset, producer id, epoch 0, first sequence, and a new CRC.
async fn produce_as_kafka(
    broker: &Broker,
    topic: Arc<TopicView>,
    write: Write,
    producer: Producer,
    deadline: Instant,
) -> Outcome {
    let place = Place { topic: topic.id.0, partition: write.partition };
    let mut batch = BytesMut::from(&build_batch(&[write.records(broker.now_ms())]).bytes[..]);
    batch[43..51].copy_from_slice(&producer.id.to_be_bytes());
    batch[51..53].copy_from_slice(&0_i16.to_be_bytes());
    batch[53..57].copy_from_slice(&producer.sequence.to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    let at = Direct { topic, partition: PartitionId(write.partition) };
    let pending = broker.produce_direct(&at, batch.freeze(), Acks::All, deadline).await;
    match pending.await {
        Ok(produced) => {
            let base_offset = produced.base_offset.map_or(0, |offset| offset.0);
            Outcome::Produced { place, base_offset, acks_all: true, replayed: false }
        }
        Err(error @ DirectError::OutcomeUnknown(_)) => unknown(error),
        // Its numbers follow on each other, and it sends each until it is answered.
        Err(error @ (DirectError::OutOfOrderSequence(_) | DirectError::UnknownProducer(_))) => {
            Outcome::Wrong { place, what: format!("{error}") }
        }
        Err(error) => refused(error),
    }
}

async fn produce(broker: &Broker, topic: Arc<TopicView>, write: Write, deadline: Instant) -> Outcome {
    let place = Place { topic: topic.id.0, partition: write.partition };
    let set = write.records(broker.now_ms());
    let mut body_hash = [0; 16];
    body_hash[..8].copy_from_slice(&write.values[0].to_be_bytes());
    let request = Produce {
        topic,
        partition: PartitionId(write.partition),
        records: ProduceRecords::Set(set),
        acks: if write.acks_all { Acks::All } else { Acks::Leader },
        deadline,
        expected_offset: write.expected.map(Offset),
        idempotency: write.key.map(|key| IdempotencyKey { key: format!("key-{key}"), body_hash }),
    };
    match broker.produce(request).await {
        Ok(produced) => {
            let base_offset = produced.base_offset.map_or(0, |offset| offset.0);
            Outcome::Produced { place, base_offset, acks_all: write.acks_all, replayed: produced.replayed }
        }
        Err(ProduceError::OffsetMismatch { log_end_offset, .. }) => Outcome::Mismatch { place, end: log_end_offset.0 },
        Err(error @ ProduceError::OutcomeUnknown { .. }) => unknown(error),
        Err(error) => refused(error),
    }
}

async fn read(
    broker: &Broker,
    topic: Arc<TopicView>,
    partition: u32,
    from: ReadFrom,
    linearizable: bool,
    deadline: Instant,
) -> Outcome {
    let place = Place { topic: topic.id.0, partition };
    let request = Fetch {
        topic,
        partition: PartitionId(partition),
        from,
        max_bytes: READ_BYTES_MAX,
        wait_ms: 0,
        isolation: Isolation::ReadCommitted,
        linearizable,
        deadline,
    };
    let fetched = match broker.fetch(request).await {
        Ok(fetched) => fetched,
        Err(FetchError::StorageFailed(reason)) => return refused(reason),
        Err(error) => return refused(error),
    };
    let start_offset = fetched.start_offset.0;
    let mut found = Vec::new();
    for batches in &fetched.batches {
        for record in records(batches.to_bytes(), &LIMITS) {
            let record = match record {
                Ok(record) => record,
                Err(error) => return Outcome::Wrong { place, what: format!("a batch that was served: {error}") },
            };
            if record.offset < fetched.start_offset {
                continue;
            }
            match record.value.as_deref().and_then(value_of) {
                Some(value) => found.push((record.offset.0, value)),
                None => {
                    let what = format!("the bytes of the record at offset {} were never written", record.offset);
                    return Outcome::Wrong { place, what };
                }
            }
        }
    }
    Outcome::Read {
        place,
        start_offset,
        high_watermark: fetched.high_watermark.0,
        term: fetched.term.0,
        records: found,
    }
}
