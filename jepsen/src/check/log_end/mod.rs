//! Whether what was seen of a log's end, and the appends to it, are linearizable: each key for itself.
//!
//! The end of a log only grows, and an append that was acknowledged says from where to where. So the order of what
//! took place is given, and there is one question left: whether times can be found for it. `chain` answers that in time
//! linear in the history (beside sorting). Where appends of unknown outcome can fill a gap in more than one way, and
//! refusals that don't say the end depend on which, it may not know; then `search` tries all orders, up to a limit.
//! What neither can decide is told as a warning, never as clean.

mod chain;
mod search;

use crate::check::finding::{Finding, Findings};
use crate::check::ops::{Op, What};
use crate::check::rule::Rule;
use crate::history::{Append, F, Kind, Line, LogKey, Value};
use std::collections::BTreeMap;

pub use chain::verdict as chain_verdict;
pub use search::verdict as search_verdict;

/// What an operation saw or did, and between which two lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub invoked: u32,
    /// Never, for what may yet happen.
    pub completed: u32,
    pub observation: Observation,
    /// The operation, for whoever reads the proof.
    pub op: usize,
}

/// What an operation says about the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// The end went from here on by this many.
    Appended { offset: u64, n: u64 },
    /// The end may have gone on by this many, once: from there, or from anywhere.
    MayAppend { n: u64, at: Option<u64> },
    /// The end was this.
    Saw(u64),
    /// The end was another.
    SawOther(u64),
}

/// What a history of one key comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Linearizable {
    Yes,
    /// Why not, and the events that show it.
    No {
        why: String,
        events: Vec<usize>,
    },
    /// Not found out.
    Undecided,
}

/// Checks each key; gives what could not be decided.
pub fn check(lines: &[Line], ops: &[Op], findings: &mut Findings) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut keys: BTreeMap<&LogKey, Vec<Event>> = BTreeMap::new();
    for (at, op) in ops.iter().enumerate().filter(|(_, op)| op.what == What::LogEnd) {
        let line = &lines[op.told() as usize];
        let (Value::Append(key, _) | Value::End(key, _)) = &line.value else { continue };
        match observation(line, op.kind) {
            Ok(None) => {}
            Ok(Some(observation)) => {
                let may_yet = matches!(observation, Observation::MayAppend { .. });
                let completed = op.completed.filter(|_| !may_yet).unwrap_or(u32::MAX);
                let event = Event { invoked: op.invoked, completed, observation, op: at };
                keys.entry(key).or_default().push(event);
            }
            Err(why) => findings.add(Rule::LogEnd, || finding(lines, ops, key, why, &[at])),
        }
    }
    for (key, events) in keys {
        let verdict = match chain::verdict(&events) {
            Linearizable::Undecided => search::verdict(&events),
            decided => decided,
        };
        match verdict {
            Linearizable::Yes => {}
            Linearizable::No { why, events: proof } => {
                let proof: Vec<usize> = proof.into_iter().map(|event| events[event].op).collect();
                findings.add(Rule::LogEnd, || finding(lines, ops, key, why, &proof));
            }
            Linearizable::Undecided => {
                warnings.push(format!("log end of key {key}: too many appends of unknown outcome to decide"));
            }
        }
    }
    warnings
}

/// What a completed operation says; an error where its own answer is wrong.
fn observation(line: &Line, kind: Kind) -> Result<Option<Observation>, String> {
    Ok(match (&line.f, kind, &line.value) {
        (F::End, Kind::Ok, Value::End(_, Some(end))) => Some(Observation::Saw(*end)),
        (F::End, Kind::Ok, _) => return Err("an answer without an end".to_owned()),
        (F::Append, Kind::Ok, Value::Append(_, append)) => Some(appended(append)?),
        (F::Append, Kind::Info | Kind::Invoke, Value::Append(_, Append { n, at, .. })) if *n > 0 => {
            Some(Observation::MayAppend { n: *n, at: *at })
        }
        (F::Append, Kind::Fail, Value::Append(_, Append { at, end: Some(end), .. })) => {
            if *at == Some(*end) {
                return Err(format!("an append at {end} was refused because the end was {end}"));
            }
            Some(Observation::Saw(*end))
        }
        (F::Append, Kind::Fail, Value::Append(_, Append { at: Some(at), .. })) => {
            let wrong = line.error.as_ref().is_some_and(|error| error.is("wrong-offset"));
            wrong.then_some(Observation::SawOther(*at))
        }
        _ => None,
    })
}

fn appended(append: &Append) -> Result<Observation, String> {
    let Some(offset) = append.offset else { return Err("an append was acknowledged without an offset".to_owned()) };
    if append.at.is_some_and(|at| at != offset) {
        return Err(format!("an append at {} landed at {offset}", append.at.unwrap_or_default()));
    }
    match (append.n, offset.checked_add(append.n)) {
        (0, _) => Ok(Observation::Saw(offset)),
        (n, Some(_)) => Ok(Observation::Appended { offset, n }),
        (_, None) => Err(format!("an append landed at {offset}, beyond all offsets")),
    }
}

fn finding(lines: &[Line], ops: &[Op], key: &LogKey, why: String, proof: &[usize]) -> Finding {
    let mut places: Vec<u32> = proof.iter().flat_map(|op| [ops[*op].invoked, ops[*op].told()]).collect();
    places.sort_unstable();
    places.dedup();
    let shown: Vec<&Line> = places.iter().map(|place| &lines[*place as usize]).collect();
    Finding {
        key: Some(key.to_string()),
        text: why,
        time_ns: shown.last().map_or(0, |line| line.time),
        proof: shown.iter().map(|line| line.to_string()).collect(),
    }
}
