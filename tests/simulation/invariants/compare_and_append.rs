//! Compare-and-append: a write that expects an end lands there or nowhere, and is refused only for an end that was real.
//!
//! Hears writes with an expected offset, and what they are told.

use super::Invariant;
use crate::workload::{Event, Outcome, Place};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct CompareAndAppend {
    /// What is surely committed: behind the last acknowledged record.
    ends: BTreeMap<Place, u64>,
    at_begin: BTreeMap<u64, BTreeMap<Place, u64>>,
}

impl Invariant for CompareAndAppend {
    fn name(&self) -> &'static str {
        "compare and append"
    }

    fn hear(&mut self, event: &Event) -> Result<(), String> {
        let Some(outcome) = &event.outcome else {
            if event.call.expected().is_some() {
                self.at_begin.insert(event.op, self.ends.clone());
            }
            return Ok(());
        };
        let at_begin = self.at_begin.remove(&event.op).unwrap_or_default();
        match outcome {
            Outcome::Produced { place, base_offset, acks_all, .. } => {
                if let Some(expected) = event.call.expected()
                    && expected != *base_offset
                {
                    return Err(format!("{place}: a write that expected offset {expected} landed at {base_offset}"));
                }
                if *acks_all {
                    let end = self.ends.entry(*place).or_default();
                    *end = (*end).max(base_offset + event.call.values().len() as u64);
                }
            }
            Outcome::Mismatch { place, end } => {
                let expected = event.call.expected();
                let known = at_begin.get(place).copied().unwrap_or(0);
                if expected.is_none_or(|expected| expected == *end) || *end < known {
                    return Err(format!(
                        "{place}: a write that expected {expected:?} was refused for an end of {end}, when {known} was sure"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::events;

    fn heard(all: Vec<Vec<Event>>) -> Result<(), String> {
        let mut invariant = CompareAndAppend::default();
        all.iter().flatten().try_for_each(|event| invariant.hear(event))
    }

    #[test]
    fn landing_elsewhere_is_found() {
        assert_eq!(heard(vec![events::compared(1, 4, Ok(4), &[11])]), Ok(()));
        assert!(heard(vec![events::compared(1, 4, Ok(5), &[11])]).is_err());
    }

    #[test]
    fn a_refusal_without_reason_is_found() {
        assert_eq!(heard(vec![events::compared(1, 4, Err(5), &[11])]), Ok(()));
        assert!(heard(vec![events::compared(1, 4, Err(4), &[11])]).is_err());
        assert!(heard(vec![events::produced(1, 0, &[1, 2, 3]), events::compared(2, 4, Err(2), &[11])]).is_err());
    }
}
