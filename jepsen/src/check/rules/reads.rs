//! Where a message that was delivered came from: `phantom`, `G1a`, `precommitted-read`; and `sent-twice`, a run's own
//! mistake, which would make half of the others false.

use crate::check::facts::{Facts, OpId};
use crate::check::finding::Findings;
use crate::check::ops::What;
use crate::check::rule::Rule;
use crate::history::Kind;

pub fn check(facts: &Facts, findings: &mut Findings) {
    for id in facts.message_ids() {
        let message = facts.message(id);
        let offsets = message.offset.as_slice();
        match (message.writer, message.any_reader) {
            (None, Some(reader)) => findings.add(Rule::Phantom, || {
                let text = format!("{} was delivered, and no operation sends it", message.value);
                facts.finding(message.key, offsets, &[reader], text)
            }),
            (Some(writer), _) if facts.op(writer).kind == Kind::Fail => {
                let Some(reader) = message.ok_reader else { continue };
                findings.add(Rule::G1a, || {
                    let text = format!("{} was delivered, but its send had failed for sure", message.value);
                    facts.finding(message.key, offsets, &[writer, reader], text)
                });
            }
            _ => {}
        }
    }
    for (at, op) in facts.ops.iter().enumerate().filter(|(_, op)| op.what == What::Txn && op.kind == Kind::Ok) {
        let id = OpId(at as u32);
        for read in facts.reads_of(op).filter(|read| facts.message(read.message).writer == Some(id)) {
            let message = facts.message(read.message);
            findings.add(Rule::PrecommittedRead, || {
                let text = format!("{} was delivered to the transaction that sends it", message.value);
                facts.finding(message.key, &[read.offset], &[id], text)
            });
        }
    }
    for (id, op) in &facts.sent_twice {
        let message = facts.message(*id);
        findings.add(Rule::SentTwice, || {
            let text = format!("{} is sent by two operations", message.value);
            facts.finding(message.key, &[], &[message.writer.unwrap_or(*op), *op], text)
        });
    }
}

/// `empty-transaction-graph`: no message that was sent was ever read, so that nothing could be found.
pub fn nothing_read(facts: &Facts, findings: &mut Findings) {
    let links = facts.messages.iter().any(|message| message.writer.is_some() && message.ok_reader.is_some());
    if !links {
        findings.add(Rule::EmptyTransactionGraph, || {
            facts.finding_of_ops(&[], "no message that was sent was ever delivered to an :ok poll".to_owned())
        });
    }
}
