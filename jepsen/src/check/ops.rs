//! Operations: an invocation and its completion.

use crate::history::{F, Kind, Line, Process};
use std::collections::HashMap;
use std::ops::Range;

/// What an operation is, as far as rules tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Send,
    Poll,
    Txn,
    Assign,
    Subscribe,
    Crash,
    /// Of a consumer group.
    Group,
    /// Of the history of a log's end.
    LogEnd,
    /// Not checked.
    Other,
}

/// A part of an operation: indices into the facts' arrays.
#[derive(Clone, Debug)]
pub enum Part {
    Send(u32),
    Poll(Range<u32>),
}

/// An operation. Real time is the order of lines: `invoked` and `completed` are places in the file.
#[derive(Clone, Debug)]
pub struct Op {
    pub process: u64,
    pub what: What,
    /// `Info` as well where the history ends before it does.
    pub kind: Kind,
    pub invoked: u32,
    pub completed: Option<u32>,
    pub parts: Range<u32>,
    /// Whether its sends are known to have taken place.
    pub took_place: bool,
}

impl Op {
    /// The line that says most of it.
    pub fn told(&self) -> u32 {
        self.completed.unwrap_or(self.invoked)
    }

    /// From when on everybody must see what it did: never, if nobody was told.
    pub fn done(&self) -> u32 {
        match (self.kind, self.completed) {
            (Kind::Ok, Some(completed)) => completed,
            _ => u32::MAX,
        }
    }
}

/// Pairs the lines of clients. Those of the nemesis are left out.
pub fn pair(lines: &[Line]) -> Result<Vec<Op>, String> {
    if u32::try_from(lines.len()).is_err() {
        return Err("more lines than a checker can number".to_owned());
    }
    let mut ops: Vec<Op> = Vec::with_capacity(lines.len() / 2);
    let mut open: HashMap<u64, usize> = HashMap::new();
    for (at, line) in lines.iter().enumerate() {
        let Process::Client(process) = line.process else { continue };
        let at = at as u32;
        if line.kind == Kind::Invoke {
            let op = Op {
                process,
                what: what(&line.f),
                kind: Kind::Info,
                invoked: at,
                completed: None,
                parts: 0..0,
                took_place: false,
            };
            if open.insert(process, ops.len()).is_some() {
                return Err(format!("index {}: process {process} invokes while it has an operation open", line.index));
            }
            ops.push(op);
            continue;
        }
        let Some(op) = open.remove(&process).map(|op| &mut ops[op]) else {
            return Err(format!("index {}: process {process} completes what it did not invoke", line.index));
        };
        if lines[op.invoked as usize].f != line.f {
            return Err(format!("index {}: process {process} completes another :f than it invoked", line.index));
        }
        op.kind = line.kind;
        op.completed = Some(at);
    }
    Ok(ops)
}

fn what(f: &F) -> What {
    match f {
        F::Send => What::Send,
        F::Poll => What::Poll,
        F::Txn => What::Txn,
        F::Assign => What::Assign,
        F::Subscribe => What::Subscribe,
        F::Crash => What::Crash,
        F::Own | F::Commit | F::Committed => What::Group,
        F::Append | F::End => What::LogEnd,
        F::DebugTopicPartitions | F::Named(_) => What::Other,
    }
}
