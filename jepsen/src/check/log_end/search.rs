//! Linearizability by trying all orders (after Wing and Gong, with Lowe's memory of what was tried): exponential at
//! worst, so with a limit. It is the last resort of the checker, and what `chain` is tested against.

use crate::check::log_end::{Event, Linearizable, Observation};
use std::collections::HashSet;

/// How much is looked at before giving up: situations times events.
const WORK_MAX: usize = 100_000_000;

/// What has taken place so far, and where it led.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Situation {
    taken: Vec<u64>,
    end: u64,
}

impl Situation {
    fn has(&self, event: usize) -> bool {
        self.taken[event / 64] & (1 << (event % 64)) != 0
    }

    fn with(&self, event: usize, end: u64) -> Situation {
        let mut next = Situation { taken: self.taken.clone(), end };
        next.taken[event / 64] |= 1 << (event % 64);
        next
    }
}

/// Tries all orders.
pub fn verdict(events: &[Event]) -> Linearizable {
    let mut order: Vec<usize> = (0..events.len()).collect();
    order.sort_unstable_by_key(|event| events[*event].invoked);
    let must = |event: &Event| !matches!(event.observation, Observation::MayAppend { .. });
    let first = Situation { taken: vec![0; events.len().div_ceil(64)], end: 0 };
    let mut tried = HashSet::from([first.clone()]);
    let mut stack = vec![first];
    while let Some(situation) = stack.pop() {
        let left = order.iter().copied().filter(|event| !situation.has(*event));
        let missing = left.clone().filter(|event| must(&events[*event]));
        // Whoever is answered first has to come before all that is invoked after that.
        let Some(first_answer) = missing.map(|event| events[event].completed).min() else {
            return Linearizable::Yes;
        };
        for event in left.take_while(|event| events[*event].invoked < first_answer) {
            let Some(end) = step(events[event].observation, situation.end) else { continue };
            let next = situation.with(event, end);
            if tried.insert(next.clone()) {
                stack.push(next);
            }
        }
        if tried.len() > WORK_MAX / events.len() {
            return Linearizable::Undecided;
        }
    }
    let why = "no order of these operations explains what they saw".to_owned();
    Linearizable::No { why, events: order.into_iter().take(12).collect() }
}

/// Where the end is after it, if it can happen at `end`.
fn step(observation: Observation, end: u64) -> Option<u64> {
    match observation {
        Observation::Appended { offset, n } => (offset == end).then_some(end + n),
        Observation::MayAppend { n, at } => at.is_none_or(|at| at == end).then(|| end.checked_add(n)).flatten(),
        Observation::Saw(seen) => (seen == end).then_some(end),
        Observation::SawOther(other) => (other != end).then_some(end),
    }
}
