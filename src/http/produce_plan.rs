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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::TopicConfig;
    use crate::types::{NodeId, TopicId};

    fn spread(partitions: usize, fixed: Option<u32>) -> Spread {
        let topic = TopicView {
            name: "t".to_owned(),
            id: TopicId::default(),
            replication_factor: 1,
            partitions_at_create: partitions as u32,
            assignments: vec![vec![NodeId(1)]; partitions],
            config: Default::default(),
            effective: TopicConfig { max_message_bytes: 100, ..TopicConfig::default() },
        };
        Spread {
            topic: Arc::new(topic),
            fixed: fixed.map(PartitionId),
            key_partitions: partitions as u32,
            keyless: PartitionId(2),
            now_ms: 1000,
            listed: true,
        }
    }

    fn record<'a>(partition: Option<u32>, key: Option<&'a [u8]>, value: &'a [u8]) -> RecordView<'a> {
        RecordView { partition, timestamp_ms: None, key, value: Some(value), headers: &[] }
    }

    #[test]
    fn records_go_by_number_then_key_then_to_the_keyless_one() {
        let spread = spread(40, None);
        let mut plan = Plan::new();
        plan.add(&spread, 0, record(Some(7), Some(b"k"), b"1")).unwrap();
        assert!(plan.all_explicit && !plan.by_key);
        plan.add(&spread, 1, record(None, None, b"2")).unwrap();
        plan.add(&spread, 2, RecordView { timestamp_ms: Some(5), ..record(None, Some(b"k"), b"3") }).unwrap();
        plan.add(&spread, 3, record(Some(7), None, b"4")).unwrap();
        assert!(!plan.all_explicit && plan.by_key);
        let partitions: Vec<PartitionId> = plan.parts.iter().map(|part| part.partition).collect();
        assert_eq!(partitions, [PartitionId(7), PartitionId(2), partition_for_key(b"k", 40)]);
        let placed: Vec<(u32, Option<i64>)> =
            plan.placed.iter().map(|placed| (placed.part, placed.timestamp_ms)).collect();
        assert_eq!(placed, [(0, None), (1, None), (2, Some(5)), (0, None)]);
        assert_eq!((plan.parts[0].set.len(), plan.parts[0].set.timestamp_ms(1)), (2, 1000));
        assert_eq!(plan.parts[2].set.timestamp_ms(0), 5);
        // Many partitions are found by another way than few.
        for round in 0..3 {
            for partition in 0..40 {
                plan.add(&spread, 0, record(Some(partition), None, b"x")).unwrap();
            }
            assert_eq!((plan.parts.len(), plan.parts[0].set.len()), (40, 3 + round));
        }
    }

    #[test]
    fn what_does_not_fit_the_topic_is_refused() {
        let mut plan = Plan::new();
        let problem = plan.add(&spread(3, None), 4, record(Some(3), None, b"x")).unwrap_err();
        assert_eq!(
            (problem.kind().name, problem.member("field").unwrap().as_str()),
            ("unknown-partition", Some("/records/4/partition"))
        );
        let problem = plan.add(&spread(3, Some(1)), 4, record(Some(2), None, b"x")).unwrap_err();
        assert_eq!(problem.kind(), &problem::BAD_FIELD);
        plan.add(&spread(3, Some(1)), 4, record(Some(1), None, &[0; 100])).unwrap();
        let problem = plan.add(&spread(3, Some(1)), 5, record(None, Some(b"k"), &[0; 100])).unwrap_err();
        assert_eq!((problem.kind().name, problem.member("limit").unwrap().as_u64()), ("record-too-large", Some(100)));
        assert!(problem.detail().contains("max.message.bytes"), "{problem}");
        assert_eq!(plan.placed.len(), 1, "what is refused is not in the plan");
    }
}
