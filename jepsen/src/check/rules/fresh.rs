//! `stale-poll`: a linearizable poll sees what was acknowledged before it began.
//!
//! Judged where it is certain: the poll says that it is linearizable, the consumer's place in a key is known, and the
//! poll was given nothing at all although an acknowledged message was at or above that place.

use crate::check::facts::{Facts, KeyId, OpId};
use crate::check::finding::Findings;
use crate::check::ops::{Op, What};
use crate::check::rule::Rule;
use crate::history::{Kind, Offset, Value};
use std::collections::HashMap;

pub fn check(facts: &Facts, findings: &mut Findings) {
    let mut acks: Vec<OpId> = facts.op_ids().filter(|op| facts.op(*op).done() != u32::MAX).collect();
    acks.sort_unstable_by_key(|op| facts.op(*op).done());
    let mut acks = acks.into_iter().peekable();
    let mut acknowledged: HashMap<KeyId, (Offset, OpId)> = HashMap::new();
    let mut consumers: HashMap<u64, HashMap<KeyId, Option<Offset>>> = HashMap::new();
    for (at, op) in facts.ops.iter().enumerate() {
        while let Some(ack) = acks.next_if(|ack| facts.op(*ack).done() < op.invoked) {
            for sent in facts.sends_of(facts.op(ack)) {
                let Some(offset) = sent.place.offset() else { continue };
                let entry = acknowledged.entry(facts.message(sent.message).key).or_insert((offset, ack));
                *entry = (*entry).max((offset, ack));
            }
        }
        match op.what {
            What::Assign | What::Subscribe if op.kind == Kind::Ok => {
                assign(facts, op, consumers.entry(op.process).or_default());
            }
            What::Poll if op.kind == Kind::Ok => {
                let consumer = consumers.entry(op.process).or_default();
                if facts.lines[op.invoked as usize].linearizable {
                    judge(facts, findings, OpId(at as u32), consumer, &acknowledged);
                }
                for read in facts.reads_of(op) {
                    consumer.insert(facts.message(read.message).key, Some(Offset(read.offset.0 + 1)));
                }
            }
            _ => {}
        }
    }
}

fn assign(facts: &Facts, op: &Op, consumer: &mut HashMap<KeyId, Option<Offset>>) {
    let line = &facts.lines[op.told() as usize];
    let Value::Keys(keys) = &line.value else { return };
    let before = std::mem::take(consumer);
    for key in keys.iter().filter_map(|key| facts.key_id(*key)) {
        let place = if line.seek_to_beginning { Some(Offset(0)) } else { before.get(&key).copied().flatten() };
        consumer.insert(key, place);
    }
}

fn judge(
    facts: &Facts,
    findings: &mut Findings,
    poll: OpId,
    consumer: &HashMap<KeyId, Option<Offset>>,
    acknowledged: &HashMap<KeyId, (Offset, OpId)>,
) {
    if facts.reads_of(facts.op(poll)).next().is_some() {
        return;
    }
    for (key, place) in consumer {
        let (Some(place), Some((offset, ack))) = (place, acknowledged.get(key)) else { continue };
        if place <= offset {
            findings.add(Rule::StalePoll, || {
                let text = format!("a linearizable poll from {place} on was given nothing; {offset} was acknowledged");
                facts.finding(*key, &[*offset], &[*ack, poll], text)
            });
        }
    }
}
