//! Short histories for the tests of invariants.

use super::{Call, Event, Outcome, Place};
use uuid::Uuid;

pub const PLACE: Place = Place { topic: Uuid::from_u128(1), partition: 0 };

fn both(op: u64, call: Call, outcome: Outcome) -> Vec<Event> {
    let begin = Event { op, client: 1, call, outcome: None };
    vec![begin.clone(), Event { outcome: Some(outcome), ..begin }]
}

fn produce(values: &[u64], expected: Option<u64>) -> Call {
    let (topic, values) = ("topic".to_string(), values.to_vec());
    Call::Produce { topic, partition: 0, values, value_bytes: 8, acks_all: true, expected, key: None, producer: None }
}

fn produced_at(base_offset: u64) -> Outcome {
    Outcome::Produced { place: PLACE, base_offset, acks_all: true, replayed: false }
}

/// A write with acks=all that succeeds.
pub fn produced(op: u64, base_offset: u64, values: &[u64]) -> Vec<Event> {
    both(op, produce(values, None), produced_at(base_offset))
}

/// A write that is refused.
pub fn refused(op: u64, values: &[u64]) -> Vec<Event> {
    both(op, produce(values, None), Outcome::Refused { reason: String::new(), earlier_in_doubt: false })
}

/// A compare-and-append that lands (`Ok`), or finds another end.
pub fn compared(op: u64, expected: u64, result: Result<u64, u64>, values: &[u64]) -> Vec<Event> {
    let outcome = match result {
        Ok(base_offset) => produced_at(base_offset),
        Err(end) => Outcome::Mismatch { place: PLACE, end },
    };
    both(op, produce(values, Some(expected)), outcome)
}

/// A read from the first record given, or from 0.
pub fn read(op: u64, term: u64, high_watermark: u64, records: &[(u64, u64)]) -> Vec<Event> {
    let start_offset = records.first().map_or(0, |(offset, _)| *offset);
    let call = Call::Read { topic: "topic".to_string(), partition: 0, from: start_offset, linearizable: false };
    both(op, call, Outcome::Read { place: PLACE, start_offset, high_watermark, term, records: records.to_vec() })
}

/// A linearizable read of the end.
pub fn end(op: u64, high_watermark: u64) -> Vec<Event> {
    let call = Call::End { topic: "topic".to_string(), partition: 0 };
    let outcome =
        Outcome::Read { place: PLACE, start_offset: high_watermark, high_watermark, term: 1, records: vec![] };
    both(op, call, outcome)
}
