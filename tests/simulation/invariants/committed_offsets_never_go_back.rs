//! Committed offsets never go back: a group that commits further and further, and asks how far it is, hears of no offset
//! before one that it knows to be committed (by the answer, or since it read it), and of none that it never committed.
//!
//! Each group has one client, which asks one thing at a time. Hears only what that is told.

use super::Invariant;
use crate::workload::{Call, Event, Outcome};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct CommittedOffsetsNeverGoBack {
    groups: BTreeMap<String, Known>,
}

#[derive(Default)]
struct Known {
    /// Surely committed up to here.
    at_least: u64,
    /// The furthest that was ever tried.
    at_most: u64,
}

impl Invariant for CommittedOffsetsNeverGoBack {
    fn name(&self) -> &'static str {
        "committed offsets never go back"
    }

    fn hear(&mut self, event: &Event) -> Result<(), String> {
        match (&event.call, &event.outcome) {
            (Call::Commit { group, offset, .. }, None) => {
                let known = self.groups.entry(group.clone()).or_default();
                known.at_most = known.at_most.max(*offset);
            }
            (Call::Commit { group, offset, .. }, Some(Outcome::Committed)) => {
                let known = self.groups.entry(group.clone()).or_default();
                known.at_least = known.at_least.max(*offset);
            }
            (Call::Committed { group, .. }, Some(Outcome::Offset { offset })) => {
                let known = self.groups.entry(group.clone()).or_default();
                let told = offset.unwrap_or(0);
                if told < known.at_least || told > known.at_most {
                    return Err(format!(
                        "{group} is told {told}, but is at {} at least and at {} at most",
                        known.at_least, known.at_most
                    ));
                }
                known.at_least = told;
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(call: Call, outcome: Option<Outcome>) -> Event {
        Event { op: 1, client: 1, call, outcome }
    }

    fn commit(offset: u64) -> Call {
        Call::Commit { topic: "t".into(), partition: 0, group: "g".into(), offset }
    }

    fn told(invariant: &mut CommittedOffsetsNeverGoBack, offset: Option<u64>) -> Result<(), String> {
        let call = Call::Committed { topic: "t".into(), partition: 0, group: "g".into() };
        invariant.hear(&event(call, Some(Outcome::Offset { offset })))
    }

    #[test]
    fn what_goes_back_or_was_never_committed_is_found() {
        let mut invariant = CommittedOffsetsNeverGoBack::default();
        told(&mut invariant, None).unwrap();
        invariant.hear(&event(commit(1), None)).unwrap();
        invariant.hear(&event(commit(1), Some(Outcome::Committed))).unwrap();
        invariant.hear(&event(commit(2), None)).unwrap();
        invariant.hear(&event(commit(2), Some(Outcome::Unknown { reason: String::new() }))).unwrap();
        told(&mut invariant, Some(1)).unwrap();
        told(&mut invariant, Some(2)).unwrap();
        assert!(told(&mut invariant, Some(1)).is_err(), "it was at 2");
        assert!(told(&mut invariant, None).is_err());
        assert!(told(&mut invariant, Some(3)).is_err(), "nobody committed that");
    }
}
