//! An offset holds one record for good ("inconsistent offsets" in the words of Jepsen's checkers), and a read gives
//! offsets without holes, from where it was asked to begin.
//!
//! Hears what reads show and what acks=all was told.

use super::Invariant;
use crate::workload::{Event, Outcome, Place};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct OneRecordPerOffset {
    holds: BTreeMap<(Place, u64), u64>,
}

impl OneRecordPerOffset {
    fn holds(&mut self, place: Place, offset: u64, value: u64) -> Result<(), String> {
        let known = *self.holds.entry((place, offset)).or_insert(value);
        if known != value {
            return Err(format!("{place}: offset {offset} held value {known}, and holds {value} now"));
        }
        Ok(())
    }
}

impl Invariant for OneRecordPerOffset {
    fn name(&self) -> &'static str {
        "one record per offset"
    }

    fn hear(&mut self, event: &Event) -> Result<(), String> {
        match &event.outcome {
            Some(Outcome::Read { place, records, high_watermark, start_offset, .. }) => {
                for (expected, (offset, value)) in (*start_offset..).zip(records) {
                    if *offset != expected || offset >= high_watermark {
                        return Err(format!(
                            "{place}: a read gave offset {offset}, where {expected} was next, below {high_watermark}"
                        ));
                    }
                    self.holds(*place, *offset, *value)?;
                }
                Ok(())
            }
            Some(Outcome::Produced { place, base_offset, acks_all: true, .. }) => {
                let values = event.call.values().iter().copied();
                (*base_offset..).zip(values).try_for_each(|(offset, value)| self.holds(*place, offset, value))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::events;

    fn heard(all: Vec<Vec<Event>>) -> Result<(), String> {
        let mut invariant = OneRecordPerOffset::default();
        all.iter().flatten().try_for_each(|event| invariant.hear(event))
    }

    #[test]
    fn an_offset_with_two_values_is_found() {
        assert_eq!(heard(vec![events::produced(1, 0, &[11]), events::read(2, 1, 1, &[(0, 11)])]), Ok(()));
        assert!(heard(vec![events::produced(1, 0, &[11]), events::read(2, 1, 1, &[(0, 12)])]).is_err());
    }

    #[test]
    fn holes_and_what_is_not_committed_are_found() {
        assert!(heard(vec![events::read(1, 1, 5, &[(0, 1), (2, 3)])]).is_err());
        assert!(heard(vec![events::read(1, 1, 1, &[(0, 1), (1, 2)])]).is_err());
    }
}
