//! Consumer groups: `group-offset-back`, `group-offset-ahead`, `group-shared-key`.
//!
//! Of histories that have `own` (a member was given keys in a generation), `commit` and `committed` (offsets were
//! committed, or read). A committed offset is that of the next message to be read. What was delivered to a group is
//! what its members' processes polled.

use crate::check::facts::{Facts, OpId};
use crate::check::finding::{Finding, Findings};
use crate::check::ops::What;
use crate::check::rule::Rule;
use crate::history::{F, GroupValue, Key, Kind, Offset, Value};
use std::collections::{HashMap, HashSet};

pub fn check(facts: &Facts, findings: &mut Findings) {
    if !facts.ops.iter().any(|op| op.what == What::Group) {
        return;
    }
    owners(facts, findings);
    back(facts, findings);
    ahead(facts, findings);
}

/// What a group's operation says, and whether it is `own`, `commit` or `committed`.
fn told<'f>(facts: &'f Facts, op: OpId) -> Option<(&'f F, &'f GroupValue)> {
    let line = &facts.lines[facts.op(op).told() as usize];
    match &line.value {
        Value::Group(group) => Some((&line.f, group)),
        _ => None,
    }
}

fn describe(facts: &Facts, key: Key, ops: &[OpId], text: String) -> Finding {
    Finding { key: Some(key.to_string()), ..facts.finding_of_ops(ops, text) }
}

fn owners(facts: &Facts, findings: &mut Findings) {
    let mut owners: HashMap<(&str, u64, Key), (&str, OpId)> = HashMap::new();
    for op in facts.op_ids().filter(|op| facts.op(*op).kind == Kind::Ok) {
        let Some((F::Own, value)) = told(facts, op) else { continue };
        let Some(generation) = value.generation else { continue };
        for key in &value.keys {
            let (owner, before) = *owners.entry((&value.group, generation, *key)).or_insert((&value.member, op));
            if owner != value.member {
                findings.add(Rule::GroupSharedKey, || {
                    let text = format!(
                        "in generation {generation} of group {}, both {owner} and {} own key {key}",
                        value.group, value.member
                    );
                    describe(facts, *key, &[before, op], text)
                });
            }
        }
    }
}

/// A commit or a read of a group's offsets that begins after a commit was acknowledged is not below it.
fn back(facts: &Facts, findings: &mut Findings) {
    let mut events: Vec<(u32, bool, OpId)> = Vec::new();
    for id in facts.op_ids().filter(|op| facts.op(*op).what == What::Group && facts.op(*op).kind == Kind::Ok) {
        events.push((facts.op(id).invoked, false, id));
        events.push((facts.op(id).done(), true, id));
    }
    events.sort_unstable();
    let mut highest: HashMap<(&str, Key), (Offset, OpId)> = HashMap::new();
    let mut floors: HashMap<OpId, Vec<(Offset, OpId)>> = HashMap::new();
    for (_, completes, id) in events {
        let Some((F::Commit | F::Committed, value)) = told(facts, id) else { continue };
        let floor_of = |(key, _): &(Key, Offset)| highest.get(&(value.group.as_str(), *key)).copied();
        if !completes {
            // Aligned with the offsets: nothing below 0 can be said.
            floors.insert(id, value.offsets.iter().map(|one| floor_of(one).unwrap_or((Offset(0), id))).collect());
            continue;
        }
        for ((key, offset), (floor, by)) in value.offsets.iter().zip(floors.remove(&id).unwrap_or_default()) {
            if *offset < floor {
                findings.add(Rule::GroupOffsetBack, || {
                    let text = format!("group {} had committed {floor} of key {key}, then {offset}", value.group);
                    describe(facts, *key, &[by, id], text)
                });
            }
            let entry = highest.entry((&value.group, *key)).or_insert((*offset, id));
            *entry = (*entry).max((*offset, id));
        }
    }
}

/// A commit is not past what the members' processes had polled when it began.
fn ahead(facts: &Facts, findings: &mut Findings) {
    let mut groups: HashMap<u64, HashSet<&str>> = HashMap::new();
    let mut delivered: HashMap<(&str, Key), Offset> = HashMap::new();
    for id in facts.op_ids() {
        if let Some((F::Own | F::Commit, value)) = told(facts, id) {
            groups.entry(facts.op(id).process).or_default().insert(&value.group);
        }
    }
    // Polls that were invoked before a commit and completed after it count as delivered: in doubt, no alarm.
    for id in facts.op_ids() {
        let op = facts.op(id);
        for read in facts.reads_of(op) {
            for group in groups.get(&op.process).into_iter().flatten() {
                let key = facts.key_name(facts.message(read.message).key);
                let next = Offset(read.offset.0 + 1);
                let entry = delivered.entry((group, key)).or_insert(next);
                *entry = (*entry).max(next);
            }
        }
        let Some((F::Commit, value)) = told(facts, id) else { continue };
        for (key, offset) in value.offsets.iter().filter(|_| op.kind != Kind::Fail) {
            let next = delivered.get(&(value.group.as_str(), *key)).copied().unwrap_or(Offset(0));
            if *offset > next {
                findings.add(Rule::GroupOffsetAhead, || {
                    let text = format!("group {} committed {offset} of key {key}; {next} is next", value.group);
                    describe(facts, *key, &[id], text)
                });
            }
        }
    }
}
