//! The order of a log against the order of events: `G0-process`, `G0-realtime`, `G1c-process`, `G1c-realtime`.
//!
//! Where each key is a log of its own, a cycle of writes, reads, a process's order and real time always contains one of
//! two operations on one key (linearizability is local), so that no graph is needed: going down a log, a write must
//! not begin after something above it was acknowledged (`G0`) or delivered (`G1c`). And nothing is delivered before it
//! was sent. Cycles among transactions of several keys are `cycles`.

use crate::check::facts::{Facts, KeyId, MessageId, OpId};
use crate::check::finding::Findings;
use crate::check::rule::Rule;
use crate::history::{Kind, Offset};
use std::collections::HashMap;

pub fn check(facts: &Facts, findings: &mut Findings) {
    let first_reads = first_reads(facts);
    for key in facts.key_ids() {
        down_the_log(facts, findings, key, &first_reads);
    }
    read_before_sent(facts, findings);
    sends_below_own_reads(facts, findings);
}

/// For each message, the `:ok` poll of it that was completed first.
fn first_reads(facts: &Facts) -> Vec<Option<OpId>> {
    let mut first: Vec<Option<OpId>> = vec![None; facts.messages.len()];
    for (at, op) in facts.ops.iter().enumerate().filter(|(_, op)| op.kind == Kind::Ok) {
        for read in facts.reads_of(op) {
            let place = &mut first[read.message.0 as usize];
            if place.is_none_or(|before| facts.op(before).done() > op.done()) {
                *place = Some(OpId(at as u32));
            }
        }
    }
    first
}

/// The earliest sign that an offset was written.
type Sign = Option<(u32, Offset, OpId)>;

fn down_the_log(facts: &Facts, findings: &mut Findings, key: KeyId, first_reads: &[Option<OpId>]) {
    let (mut acknowledged, mut delivered): (Sign, Sign) = (None, None);
    let mut begun: HashMap<u64, (u32, Offset, OpId)> = HashMap::new();
    for (offset, id) in facts.key(key).log.iter().rev() {
        let Some((writer, op)) = writer(facts, *id) else { continue };
        let earlier = |sign: Sign| sign.filter(|(at, _, _)| *at < op.invoked);
        if let Some((_, above, by)) = earlier(acknowledged) {
            findings.add(Rule::G0Realtime, || {
                let text = format!("offset {offset} was written by a send that began after {above} was acknowledged");
                facts.finding(key, &[*offset, above], &[by, writer], text)
            });
        }
        if let Some((_, above, by)) = earlier(delivered) {
            findings.add(Rule::G1cRealtime, || {
                let text = format!("offset {offset} was written by a send that began after {above} was delivered");
                facts.finding(key, &[*offset, above], &[by, writer], text)
            });
        }
        let own = begun.entry(op.process).or_insert((op.invoked, *offset, writer));
        if own.0 < op.invoked {
            let (_, above, by) = *own;
            findings.add(Rule::G0Process, || {
                let text = format!("process {} wrote {above}, and after that {offset}", op.process);
                facts.finding(key, &[*offset, above], &[by, writer], text)
            });
        } else {
            *own = (op.invoked, *offset, writer);
        }
        let sooner = |sign: &mut Sign, at: u32, by: OpId| {
            if at != u32::MAX && sign.is_none_or(|(before, _, _)| at < before) {
                *sign = Some((at, *offset, by));
            }
        };
        sooner(&mut acknowledged, op.done(), writer);
        if let Some(reader) = first_reads[id.0 as usize] {
            sooner(&mut delivered, facts.op(reader).done(), reader);
        }
    }
}

fn writer<'f>(facts: &'f Facts, message: MessageId) -> Option<(OpId, &'f crate::check::ops::Op)> {
    facts.message(message).writer.map(|writer| (writer, facts.op(writer)))
}

fn read_before_sent(facts: &Facts, findings: &mut Findings) {
    for (at, op) in facts.ops.iter().enumerate().filter(|(_, op)| op.kind == Kind::Ok) {
        for read in facts.reads_of(op) {
            let Some((writer, sent)) = writer(facts, read.message) else { continue };
            if op.done() < sent.invoked {
                let message = facts.message(read.message);
                findings.add(Rule::G1cRealtime, || {
                    let text = format!("{} was delivered before its send began", message.value);
                    facts.finding(message.key, &[read.offset], &[OpId(at as u32), writer], text)
                });
            }
        }
    }
}

/// What a process sends is above all that it was given before.
fn sends_below_own_reads(facts: &Facts, findings: &mut Findings) {
    let mut read_to: HashMap<(u64, KeyId), (Offset, OpId)> = HashMap::new();
    for (at, op) in facts.ops.iter().enumerate() {
        let id = OpId(at as u32);
        for sent in facts.sends_of(op).filter(|_| op.took_place) {
            let message = facts.message(sent.message);
            let (Some(offset), Some((above, by))) = (message.offset, read_to.get(&(op.process, message.key))) else {
                continue;
            };
            if offset <= *above {
                findings.add(Rule::G1cProcess, || {
                    let text = format!("process {} was given {above}, and after that wrote {offset}", op.process);
                    facts.finding(message.key, &[offset, *above], &[*by, id], text)
                });
            }
        }
        if op.kind == Kind::Ok {
            for (key, reads) in facts.runs_of(op) {
                let Some(highest) = reads.iter().map(|read| read.offset).max() else { continue };
                let to = read_to.entry((op.process, key)).or_insert((highest, id));
                *to = (*to).max((highest, id));
            }
        }
    }
}
