//! How many operations there were, how they ended, and whether the run is worth checking at all.
//!
//! A run that says nothing passes every rule. The limits are those of the history's format: thousands of sends and
//! polls that were answered, several processes on each key, less than a tenth of unknown outcomes, some re-assigning,
//! each message polled by more than one process, and a last reading.

use crate::check::facts::Facts;
use crate::check::ops::{Op, What};
use crate::check::rules::vanished::last_send;
use crate::history::{Kind, Line, Process};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};

/// How operations of one kind ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    pub ok: u64,
    pub fail: u64,
    pub info: u64,
}

/// All that is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub operations: u64,
    pub by_f: BTreeMap<String, Count>,
    /// Lines of what made the faults, by its name.
    pub faults: BTreeMap<String, u64>,
    pub keys: u64,
    pub messages_acknowledged: u64,
    /// Acknowledged, and read by nobody: none, unless the run allows losses.
    pub messages_lost: u64,
    /// Messages as often as they were delivered.
    pub messages_delivered: u64,
    /// Whether, and by how many processes, all was read again at the end.
    pub last_readings: u64,
    /// Operations that the history ends within: it is of a run that was killed.
    pub open: u64,
}

impl Counts {
    /// Counts the operations of one history, on top of those of another.
    pub fn add_ops(&mut self, lines: &[Line], ops: &[Op]) {
        self.operations += ops.len() as u64;
        for op in ops {
            let name = lines[op.invoked as usize].f.name();
            let count = match self.by_f.get_mut(name) {
                Some(count) => count,
                None => self.by_f.entry(name.to_owned()).or_default(),
            };
            match op.kind {
                Kind::Ok => count.ok += 1,
                Kind::Fail => count.fail += 1,
                Kind::Info | Kind::Invoke => count.info += 1,
            }
            self.open += u64::from(op.completed.is_none());
        }
        for line in lines.iter().filter(|line| line.process == Process::Nemesis) {
            *self.faults.entry(line.f.name().to_owned()).or_default() += 1;
        }
    }

    /// Counts what became of messages.
    pub fn add_messages(&mut self, facts: &Facts) {
        self.keys += facts.keys.len() as u64;
        self.messages_delivered += facts.reads.len() as u64;
        for message in facts.messages.iter().filter(|message| facts.acknowledged(message)) {
            self.messages_acknowledged += 1;
            self.messages_lost += u64::from(message.any_reader.is_none());
        }
        self.last_readings += last_readings(facts);
    }

    pub fn count(&self, names: &[&str]) -> Count {
        let counts = names.iter().filter_map(|name| self.by_f.get(*name));
        counts.fold(Count::default(), |sum, one| Count {
            ok: sum.ok + one.ok,
            fail: sum.fail + one.fail,
            info: sum.info + one.info,
        })
    }
}

/// How many processes were assigned to read from the beginning after the last send.
fn last_readings(facts: &Facts) -> u64 {
    let last_send = last_send(facts);
    let late = facts.ops.iter().filter(|op| matches!(op.what, What::Assign | What::Subscribe));
    let late = late.filter(|op| op.kind == Kind::Ok && op.invoked > last_send);
    late.filter(|op| facts.lines[op.told() as usize].seek_to_beginning).count() as u64
}

/// Why a run of sends and polls is not worth much.
pub fn warnings(facts: &Facts, counts: &Counts) -> Vec<String> {
    let mut warnings = Vec::new();
    let (sends, polls) = (counts.count(&["send", "txn"]), counts.count(&["poll", "txn"]));
    let all = counts.count(&["send", "poll", "txn"]);
    if sends.ok < 1000 {
        warnings.push(format!("only {} sends were answered: thousands say more", sends.ok));
    }
    if polls.ok < 1000 {
        warnings.push(format!("only {} polls were answered: thousands say more", polls.ok));
    }
    let total = all.ok + all.fail + all.info;
    if all.info * 10 > total {
        let share = all.info as f64 * 100.0 / total as f64;
        warnings.push(format!("{share:.0}% of sends and polls have an unknown outcome: more than a tenth"));
    }
    let assigns = counts.count(&["assign", "subscribe"]);
    let assigned = assigns.ok + assigns.fail + assigns.info;
    if assigned * 100 < counts.operations {
        warnings.push(format!("{assigned} assigns are less than a hundredth: consumers hardly ever moved"));
    }
    let lonely = lonely_keys(facts);
    if lonely > 0 {
        warnings.push(format!("{lonely} of {} keys had a single process only", facts.keys.len()));
    }
    let read = facts.messages.iter().filter(|message| message.any_reader.is_some());
    let (read, twice) = read.fold((0u64, 0u64), |sum, one| (sum.0 + 1, sum.1 + u64::from(one.many_readers)));
    if twice < read {
        warnings.push(format!("{} of {read} delivered messages were polled by one process only", read - twice));
    }
    if counts.last_readings == 0 {
        warnings.push("there is no last reading: what was lost or never delivered cannot be told".to_owned());
    }
    if counts.open > 0 {
        warnings.push(format!("{} operations are open at the end: the run was killed", counts.open));
    }
    warnings
}

/// Keys with one process, of those that were used.
fn lonely_keys(facts: &Facts) -> usize {
    let mut processes: HashMap<u32, HashSet<u64>> = HashMap::new();
    for op in &facts.ops {
        let keys = facts.sends_of(op).map(|sent| sent.message).chain(facts.reads_of(op).map(|read| read.message));
        let mut last = None;
        for key in keys.map(|message| facts.message(message).key.0) {
            // Runs of one key are what polls are made of; and two are enough.
            if last.replace(key) != Some(key) {
                let of_key = processes.entry(key).or_default();
                if of_key.len() < 2 {
                    of_key.insert(op.process);
                }
            }
        }
    }
    processes.values().filter(|of_key| of_key.len() < 2).count()
}
