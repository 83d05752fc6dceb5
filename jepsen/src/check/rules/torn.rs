//! All or nothing: `torn-send` for a batch (the messages that one send has for one key), `torn-transaction` for a
//! transaction. Only judged where the run has a last reading: before it, the rest may be on its way.

use crate::check::facts::{Facts, KeyId, MessageId, OpId};
use crate::check::finding::Findings;
use crate::check::ops::What;
use crate::check::rule::Rule;

pub fn check(facts: &Facts, findings: &mut Findings) {
    for (at, op) in facts.ops.iter().enumerate() {
        let id = OpId(at as u32);
        let sent: Vec<(KeyId, MessageId)> =
            facts.sends_of(op).map(|sent| (facts.message(sent.message).key, sent.message)).collect();
        if sent.len() < 2 {
            continue;
        }
        let seen = |(_, message): &&(KeyId, MessageId)| facts.message(*message).ok_reader.is_some();
        if op.what == What::Txn {
            let there = sent.iter().find(seen);
            let missing = sent.iter().find(|one| !seen(one));
            if let (Some(there), Some(missing)) = (there, missing) {
                report(facts, findings, Rule::TornTransaction, id, there.1, missing.1);
            }
            continue;
        }
        let mut keys: Vec<KeyId> = sent.iter().map(|(key, _)| *key).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let mut batch = sent.iter().filter(|(of, _)| *of == key);
            let there = batch.clone().find(seen);
            let missing = batch.find(|one| !seen(one));
            if let (Some(there), Some(missing)) = (there, missing) {
                report(facts, findings, Rule::TornSend, id, there.1, missing.1);
            }
        }
    }
}

fn report(facts: &Facts, findings: &mut Findings, rule: Rule, op: OpId, there: MessageId, missing: MessageId) {
    findings.add(rule, || {
        let (there, missing) = (facts.message(there), facts.message(missing));
        let text = format!("of one operation, {} was read and {} never was", there.value, missing.value);
        let ops: Vec<OpId> = [Some(op), there.ok_reader].into_iter().flatten().collect();
        facts.finding(missing.key, there.offset.as_slice(), &ops, text)
    });
}
