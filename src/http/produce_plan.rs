//! Which partition each record of a request goes to, and the checks that need the topic.
//!
//! Invariants: records of one request to one partition stay in the order sent; whatever is wrong with any record is
//! found here, before anything is written; nothing here waits.

use super::errors;
use super::json_record::RecordView;
use super::problem::{self, Problem};
use crate::broker::{ProduceError, RecordSet, TopicView};
use crate::record::partition_for_key;
use crate::types::PartitionId;
use std::collections::HashMap;
use std::sync::Arc;

/// Largest batch that one request may make in one partition.
pub const BATCH_BYTES_MAX: usize = 8 << 20;

/// How a request's records are spread over partitions.
#[derive(Clone, Debug)]
pub struct Spread {
    pub topic: Arc<TopicView>,
    /// The partition of the path.
    pub fixed: Option<PartitionId>,
    /// Over how many partitions keys are hashed.
    pub key_partitions: u32,
    /// Where records without key and partition go.
    pub keyless: PartitionId,
    /// Timestamp of records without one.
    pub now_ms: i64,
    /// Whether errors point into a list of records, or at the one record of a line.
    pub listed: bool,
}

/// The records of one partition.
#[derive(Debug)]
pub struct Part {
    pub partition: PartitionId,
    pub set: RecordSet,
}

/// Where one record of the request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Place in [`Plan::parts`].
    pub part: u32,
    /// The record's own timestamp, if it came with one.
    pub timestamp_ms: Option<i64>,
}

/// A request's records by partition, and the order they were sent in.
#[derive(Debug, Default)]
pub struct Plan {
    pub parts: Vec<Part>,
    pub placed: Vec<Placed>,
    /// Whether some record's partition was chosen by its key.
    pub by_key: bool,
    /// Whether every record came with its partition, or the path has it.
    pub all_explicit: bool,
    places: HashMap<PartitionId, u32>,
}

/// More parts than this are found by a map, fewer by looking at each.
const LOOKED_THROUGH_MAX: usize = 16;

impl Plan {
    /// A plan without records.
    pub fn new() -> Plan {
        Plan { all_explicit: true, ..Plan::default() }
    }

    /// Adds the record at `place` of the request.
    #[inline]
    pub fn add(&mut self, spread: &Spread, place: usize, record: RecordView<'_>) -> Result<(), Problem> {
        let limit = spread.topic.effective.max_message_bytes as usize;
        if record.size() > limit {
            return Err(record_too_large(spread, place, record.size(), limit));
        }
        let partition = self.partition(spread, place, &record)?;
        let part = self.part(partition);
        let timestamp_ms = record.timestamp_ms.unwrap_or(spread.now_ms);
        self.parts[part as usize].set.push(timestamp_ms, record.key, record.value, record.headers);
        self.placed.push(Placed { part, timestamp_ms: record.timestamp_ms });
        Ok(())
    }

    #[inline]
    fn partition(&mut self, spread: &Spread, place: usize, record: &RecordView<'_>) -> Result<PartitionId, Problem> {
        let partitions = spread.topic.assignments.len() as u32;
        match (record.partition.map(PartitionId), spread.fixed) {
            (None, Some(fixed)) => Ok(fixed),
            (Some(asked), Some(fixed)) if asked != fixed => Err(disagrees(spread, place, asked, fixed)),
            (Some(asked), _) if asked.0 < partitions => Ok(asked),
            (Some(asked), _) => Err(errors::unknown_partition(&spread.topic.name, asked, partitions)
                .with("field", pointer(spread, place, "partition"))),
            (None, None) => {
                self.all_explicit = false;
                match record.key {
                    Some(key) => {
                        self.by_key = true;
                        Ok(partition_for_key(key, spread.key_partitions))
                    }
                    None => Ok(spread.keyless),
                }
            }
        }
    }

    #[inline]
    fn part(&mut self, partition: PartitionId) -> u32 {
        if self.parts.len() <= LOOKED_THROUGH_MAX {
            if let Some(part) = self.parts.iter().position(|part| part.partition == partition) {
                return part as u32;
            }
        } else if let Some(part) = self.places.get(&partition) {
            return *part;
        }
        let part = self.parts.len() as u32;
        self.parts.push(Part { partition, set: RecordSet::new() });
        if self.places.is_empty() && self.parts.len() > LOOKED_THROUGH_MAX {
            self.places.extend(self.parts.iter().zip(0..).map(|(part, place)| (part.partition, place)));
        } else if !self.places.is_empty() {
            self.places.insert(partition, part);
        }
        part
    }

    /// Refuses a plan with a batch that no partition would take.
    pub fn check_batches(&self, topic: &TopicView) -> Result<(), Problem> {
        for part in &self.parts {
            let size = part.set.batch_size_max();
            if size > BATCH_BYTES_MAX {
                let error = ProduceError::TooLarge {
                    what: "a batch".to_owned(),
                    size: size as u64,
                    limit: BATCH_BYTES_MAX as u64,
                    name: "one request to one partition".to_owned(),
                };
                return Err(errors::produce(error, &topic.name, part.partition));
            }
        }
        Ok(())
    }
}

#[cold]
fn pointer(spread: &Spread, place: usize, name: &str) -> String {
    if spread.listed { format!("/records/{place}/{name}") } else { format!("/{name}") }
}

#[cold]
fn record_too_large(spread: &Spread, place: usize, size: usize, limit: usize) -> Problem {
    let name = format!("max.message.bytes of topic {:?}", spread.topic.name);
    let problem = errors::too_large("a record", size as u64, limit as u64, &name).with("topic", &*spread.topic.name);
    if spread.listed { problem.with("field", format!("/records/{place}")) } else { problem }
}

#[cold]
fn disagrees(spread: &Spread, place: usize, asked: PartitionId, fixed: PartitionId) -> Problem {
    Problem::new(
        &problem::BAD_FIELD,
        format!(
            "the record asks for partition {asked}, the path for {fixed}; leave one out, or send to /v1/topics/{}/records",
            spread.topic.name
        ),
    )
    .with("field", pointer(spread, place, "partition"))
    .with("partition", asked.0)
}
