//! The order of one producer's messages: `nonmonotonic-send`, `int-nonmonotonic-send`; and that a batch is one piece:
//! `split-send`, and its harmless kin of transactions and of several batches, `int-send-skip`.

use crate::check::facts::{Facts, KeyId, OpId, Sent};
use crate::check::finding::Findings;
use crate::check::ops::What;
use crate::check::rule::Rule;
use crate::history::Offset;
use std::collections::HashMap;

pub fn check(facts: &Facts, findings: &mut Findings) {
    let mut last_of: HashMap<(u64, KeyId), (Offset, OpId)> = HashMap::new();
    for (at, op) in facts.ops.iter().enumerate().filter(|(_, op)| op.took_place) {
        let id = OpId(at as u32);
        for (key, offsets) in by_key(facts, facts.sends_of(op)) {
            for pair in offsets.windows(2) {
                within(facts, findings, id, key, pair[0], pair[1]);
            }
            let (Some(first), Some(last)) = (offsets.first(), offsets.iter().max()) else { continue };
            let before = last_of.insert((op.process, key), (*last, id));
            if let Some((before, earlier)) = before.filter(|(before, _)| before >= first) {
                findings.add(Rule::NonmonotonicSend, || {
                    let text = format!("process {} sent at offset {first} after it had sent at {before}", op.process);
                    facts.finding(key, &[before, *first], &[earlier, id], text)
                });
            }
        }
    }
}

/// Two messages of one operation and one key, in the order in which they were given.
fn within(facts: &Facts, findings: &mut Findings, id: OpId, key: KeyId, first: Offset, second: Offset) {
    if second <= first {
        findings.add(Rule::IntNonmonotonicSend, || {
            let text = format!("one send has offset {first}, then {second}");
            facts.finding(key, &[first, second], &[id], text)
        });
    } else if second.0 != first.0 + 1 {
        let transaction = facts.op(id).what == What::Txn;
        let rule = if transaction { Rule::IntSendSkip } else { Rule::SplitSend };
        findings.add(rule, || {
            let text = format!("one send has offset {first}, then {second}");
            facts.finding(key, &[first, second], &[id], text)
        });
    }
}

/// Where the messages of one operation are, in the order in which they were given, key by key.
fn by_key<'f>(facts: &Facts, sends: impl Iterator<Item = &'f Sent>) -> Vec<(KeyId, Vec<Offset>)> {
    let mut keys: Vec<(KeyId, Vec<Offset>)> = Vec::new();
    for sent in sends {
        let message = facts.message(sent.message);
        let Some(offset) = message.told.or(message.offset) else { continue };
        // Nearly always one key, or a few.
        match keys.iter_mut().find(|(key, _)| *key == message.key) {
            Some((_, offsets)) => offsets.push(offset),
            None => keys.push((message.key, vec![offset])),
        }
    }
    keys
}
