//! A consumer goes on where it was: `poll-skip`, `nonmonotonic-poll`, the same within one poll (`int-…`), and `hole`.
//!
//! Steps are counted in positions: offsets at which a message is known. A step over offsets at which nothing is known
//! is no skip but a `hole`; only a log without transactions has none of those. Only `:ok` polls count. An assign that
//! keeps a key goes on where it was; one that drops it, or leads back to the beginning under a new process, may start
//! anywhere. Keys that were given or taken during a poll are excused within it.

use crate::check::facts::{Facts, KeyId, OpId, Read};
use crate::check::finding::Findings;
use crate::check::ops::{Op, What};
use crate::check::rule::Rule;
use crate::history::{Kind, Offset, Value};
use std::collections::HashMap;

pub fn check(facts: &Facts, findings: &mut Findings) {
    let mut consumers: HashMap<u64, Consumer> = HashMap::new();
    for (at, op) in facts.ops.iter().enumerate() {
        let id = OpId(at as u32);
        match op.what {
            What::Assign | What::Subscribe if op.kind != Kind::Fail => {
                consumers.entry(op.process).or_default().assign(facts, op);
            }
            What::Poll | What::Txn if op.kind == Kind::Ok => {
                let consumer = consumers.entry(op.process).or_default();
                poll(facts, findings, consumer, id, op);
            }
            _ => {}
        }
    }
}

/// Where a process is in each key that it has read.
#[derive(Default)]
struct Consumer {
    at: HashMap<KeyId, (Offset, OpId)>,
}

impl Consumer {
    fn assign(&mut self, facts: &Facts, op: &Op) {
        let Value::Keys(keys) = &facts.lines[op.told() as usize].value else { return };
        let kept: Vec<KeyId> = keys.iter().filter_map(|key| facts.key_id(*key)).collect();
        self.at.retain(|key, _| kept.contains(key));
    }
}

fn poll(facts: &Facts, findings: &mut Findings, consumer: &mut Consumer, id: OpId, op: &Op) {
    let rebalanced = &facts.lines[op.told() as usize].rebalanced;
    for (key, reads) in facts.runs_of(op) {
        let mut before = consumer.at.get(&key).copied();
        let excused = rebalanced.contains(&facts.key_name(key));
        for read in reads {
            if let Some((before, earlier)) = before.filter(|(_, earlier)| !(excused && *earlier == id)) {
                step(facts, findings, key, Step { before, earlier, read, id, within: earlier == id });
            }
            before = Some((read.offset, id));
        }
        consumer.at.extend(before.map(|before| (key, before)));
    }
}

/// From one message of a key to the next that the same consumer was given.
struct Step<'a> {
    before: Offset,
    earlier: OpId,
    read: &'a Read,
    id: OpId,
    within: bool,
}

fn step(facts: &Facts, findings: &mut Findings, key: KeyId, step: Step) {
    let Step { before, earlier, read, id, within } = step;
    let now = read.offset;
    let log = facts.key(key);
    let describe = |text: String| facts.finding(key, &[before, now], &[earlier, id], text);
    let process = facts.op(id).process;
    if now <= before {
        let rule = if within { Rule::IntNonmonotonicPoll } else { Rule::NonmonotonicPoll };
        findings.add(rule, || describe(format!("process {process} was given offset {now} after {before}")));
        return;
    }
    if now.0 == before.0 + 1 {
        return;
    }
    let (from, to) = (log.below(before) + 1, log.below(now));
    if to > from {
        let rule = if within { Rule::IntPollSkip } else { Rule::PollSkip };
        findings.add(rule, || {
            let passed = log.log[from..to].iter().take(4).map(|(offset, message)| {
                let value = facts.message(*message).value;
                format!("{value} at {offset}")
            });
            let passed: Vec<String> = passed.collect();
            let more = if to - from > 4 { format!(" and {} more", to - from - 4) } else { String::new() };
            let passed = passed.join(", ");
            describe(format!("process {process} went from {before} to {now}, past {passed}{more}"))
        });
    }
    if (to - from) as u64 != now.0 - before.0 - 1 {
        findings.add(Rule::Hole, || {
            describe(format!("process {process} went from {before} to {now}; not all offsets between hold a message"))
        });
    }
}
