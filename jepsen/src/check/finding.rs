//! What rules find, and how much of it is kept.

use crate::check::facts::{Facts, KeyId, OpId};
use crate::check::rule::Rule;
use crate::history::{Key, Line, Micro, Offset, Polled, Value};
use serde::Serialize;
use std::collections::BTreeMap;

/// How many findings of a rule are kept whole; all are counted.
pub const EXAMPLES_MAX: usize = 8;

/// A place in the history that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The partition that it concerns.
    pub key: Option<String>,
    /// What is wrong, in a sentence.
    pub text: String,
    /// When it came to light: the time of its last operation, in nanoseconds since the run began.
    pub time_ns: u64,
    /// The lines that prove it, shortened to what matters.
    pub proof: Vec<String>,
}

/// How often a rule was broken, and some of the places.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Found {
    pub count: u64,
    pub examples: Vec<Finding>,
}

/// All that was found, by rule.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    pub by_rule: BTreeMap<Rule, Found>,
}

impl Findings {
    /// Counts a finding; `describe` is asked only if it is to be kept.
    pub fn add(&mut self, rule: Rule, describe: impl FnOnce() -> Finding) {
        let found = self.by_rule.entry(rule).or_default();
        found.count += 1;
        if found.examples.len() < EXAMPLES_MAX {
            found.examples.push(describe());
        }
    }
}

/// What matters of a poll's many messages: this key, around these offsets.
pub struct Focus {
    pub key: Key,
    pub offsets: Vec<Offset>,
}

/// How many messages around a wanted one are shown.
const AROUND: u64 = 2;
/// Longer lines are cut.
const LINE_CHARS_MAX: usize = 400;

impl Facts<'_> {
    /// A finding about one key, proved by operations.
    pub fn finding(&self, key: KeyId, offsets: &[Offset], ops: &[OpId], text: String) -> Finding {
        let key = self.key_name(key);
        let focus = Focus { key, offsets: offsets.to_vec() };
        let mut places: Vec<u32> = ops.iter().flat_map(|op| [self.op(*op).invoked, self.op(*op).told()]).collect();
        places.sort_unstable();
        places.dedup();
        let lines: Vec<&Line> = places.iter().map(|place| &self.lines[*place as usize]).collect();
        Finding {
            key: Some(key.to_string()),
            text,
            time_ns: lines.last().map_or(0, |line| line.time),
            proof: lines.iter().map(|line| shorten(line, &focus)).collect(),
        }
    }
}

/// How many operations of a cycle are shown.
const OPS_MAX: usize = 8;

impl Facts<'_> {
    /// A finding about operations as a whole.
    pub fn finding_of_ops(&self, ops: &[OpId], text: String) -> Finding {
        let told: Vec<&Line> = ops.iter().take(OPS_MAX).map(|op| &self.lines[self.op(*op).told() as usize]).collect();
        Finding {
            key: None,
            text,
            time_ns: told.iter().map(|line| line.time).max().unwrap_or(0),
            proof: told.iter().map(|line| cut(line.to_string())).collect(),
        }
    }
}

fn cut(mut text: String) -> String {
    if let Some((at, _)) = text.char_indices().nth(LINE_CHARS_MAX) {
        text.truncate(at);
        text.push('…');
    }
    text
}

/// A line's text without the messages that are not in focus.
pub fn shorten(line: &Line, focus: &Focus) -> String {
    let mut short = Line { value: Value::Nil, ..line.clone() };
    let mut left_out = 0;
    short.value = match &line.value {
        Value::Micros(micros) => Value::Micros(micros.iter().filter_map(|m| micro(m, focus, &mut left_out)).collect()),
        other => other.clone(),
    };
    let mut text = cut(short.to_string());
    if left_out > 0 {
        text.push_str(&format!(" ; {left_out} more messages"));
    }
    text
}

fn micro(micro: &Micro, focus: &Focus, left_out: &mut usize) -> Option<Micro> {
    match micro {
        Micro::Send { key, .. } if *key != focus.key => {
            *left_out += 1;
            None
        }
        Micro::Poll(Some(keys)) => {
            let mut kept = Vec::new();
            for polled in keys {
                let near = |offset: Offset| focus.offsets.iter().any(|wanted| wanted.0.abs_diff(offset.0) <= AROUND);
                let wanted = |(offset, _): &&(Offset, _)| polled.key == focus.key && near(*offset);
                let messages: Vec<_> = polled.messages.iter().filter(wanted).copied().collect();
                *left_out += polled.messages.len() - messages.len();
                if !messages.is_empty() {
                    kept.push(Polled { key: polled.key, messages });
                }
            }
            Some(Micro::Poll(Some(kept)))
        }
        other => Some(other.clone()),
    }
}
