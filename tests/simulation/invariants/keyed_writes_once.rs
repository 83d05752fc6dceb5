//! A value is written once: whatever is tried again, under an idempotency key or by the node itself (client sessions,
//! Ongaro's dissertation, section 6.3).
//!
//! Hears what reads show and what writes are told: each value stands at one offset of one partition.

use super::Invariant;
use crate::workload::{Event, Outcome, Place};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct KeyedWritesOnce {
    stands_at: BTreeMap<u64, (Place, u64)>,
}

impl KeyedWritesOnce {
    fn stands(&mut self, value: u64, place: Place, offset: u64) -> Result<(), String> {
        let known = *self.stands_at.entry(value).or_insert((place, offset));
        if known != (place, offset) {
            return Err(format!(
                "value {value} stands at offset {} of {} and at offset {offset} of {place}",
                known.1, known.0
            ));
        }
        Ok(())
    }
}

impl Invariant for KeyedWritesOnce {
    fn name(&self) -> &'static str {
        "keyed writes once"
    }

    fn hear(&mut self, event: &Event) -> Result<(), String> {
        match &event.outcome {
            Some(Outcome::Read { place, records, .. }) => {
                records.iter().try_for_each(|(offset, value)| self.stands(*value, *place, *offset))
            }
            // What acks=1 was told may be lost, and may be written anew elsewhere by the node that carries it.
            Some(Outcome::Produced { place, base_offset, acks_all: true, .. }) => {
                let values = event.call.values().iter().copied();
                (*base_offset..).zip(values).try_for_each(|(offset, value)| self.stands(value, *place, offset))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::events;

    #[test]
    fn a_value_at_two_offsets_is_found() {
        let mut invariant = KeyedWritesOnce::default();
        let mut hear = |events: Vec<Event>| events.iter().try_for_each(|event| invariant.hear(event));
        assert_eq!(hear(events::produced(1, 3, &[11, 12])), Ok(()));
        assert_eq!(hear(events::read(2, 1, 5, &[(3, 11), (4, 12)])), Ok(()));
        assert!(hear(events::read(3, 1, 9, &[(8, 11)])).is_err());
    }
}
