//! One offset, one message: `inconsistent-offsets` and `duplicate`.

use crate::check::facts::{Facts, MessageId, OpId};
use crate::check::finding::Findings;
use crate::check::rule::Rule;
use crate::history::Offset;
use std::collections::BTreeSet;

pub fn check(facts: &Facts, findings: &mut Findings) {
    for key in facts.key_ids() {
        let known = facts.key(key);
        // Seen by many, it is still one finding.
        let mut told: BTreeSet<(Offset, MessageId)> = BTreeSet::new();
        for (offset, message, by) in &known.conflicts {
            if !told.insert((*offset, *message)) {
                continue;
            }
            findings.add(Rule::InconsistentOffsets, || {
                let stands = known.position(*offset).map(|at| known.log[at].1).unwrap_or(*message);
                let values = [stands, *message].map(|id| facts.message(id).value);
                let text = format!("offset {offset} holds both {} and {}", values[0], values[1]);
                let mut ops: Vec<OpId> = witnesses(facts, stands).collect();
                ops.push(*by);
                facts.finding(key, &[*offset], &ops, text)
            });
        }
        let mut told: BTreeSet<(Offset, MessageId)> = BTreeSet::new();
        for (offset, message, by) in &known.moved {
            if !told.insert((*offset, *message)) {
                continue;
            }
            findings.add(Rule::Duplicate, || {
                let first = facts.message(*message).offset.unwrap_or(*offset);
                let text = format!("{} stands at offset {first} and at {offset}", facts.message(*message).value);
                let mut ops: Vec<OpId> = witnesses(facts, *message).collect();
                ops.push(*by);
                facts.finding(key, &[first, *offset], &ops, text)
            });
        }
    }
}

/// Who sent it and who read it first.
fn witnesses<'f>(facts: &'f Facts, message: MessageId) -> impl Iterator<Item = OpId> + 'f {
    let message = facts.message(message);
    message.writer.into_iter().chain(message.any_reader)
}
