//! A linearizable end is never stale: it is at or behind all that was acknowledged, and all that such reads were told,
//! before it was asked for (ReadIndex, Ongaro's dissertation, section 6.4).
//!
//! Hears linearizable reads and acks=all writes. Any other read must show at least what it says itself.

use super::Invariant;
use crate::workload::{Event, Outcome, Place};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct LinearizableEnd {
    sure: BTreeMap<Place, u64>,
    at_begin: BTreeMap<u64, BTreeMap<Place, u64>>,
}

impl Invariant for LinearizableEnd {
    fn name(&self) -> &'static str {
        "linearizable end"
    }

    fn hear(&mut self, event: &Event) -> Result<(), String> {
        let linearizable = event.call.is_linearizable();
        let Some(outcome) = &event.outcome else {
            if linearizable {
                self.at_begin.insert(event.op, self.sure.clone());
            }
            return Ok(());
        };
        let at_begin = self.at_begin.remove(&event.op).unwrap_or_default();
        let (place, end) = match outcome {
            Outcome::Produced { place, base_offset, acks_all: true, .. } => {
                (place, base_offset + event.call.values().len() as u64)
            }
            Outcome::Read { place, high_watermark, .. } if linearizable => {
                let sure = at_begin.get(place).copied().unwrap_or(0);
                if *high_watermark < sure {
                    return Err(format!(
                        "{place}: a linearizable read was told an end of {high_watermark}, when {sure} was sure"
                    ));
                }
                (place, *high_watermark)
            }
            _ => return Ok(()),
        };
        let sure = self.sure.entry(*place).or_default();
        *sure = (*sure).max(end);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::events;

    fn heard(all: Vec<Vec<Event>>) -> Result<(), String> {
        let mut invariant = LinearizableEnd::default();
        all.iter().flatten().try_for_each(|event| invariant.hear(event))
    }

    #[test]
    fn a_stale_end_is_found() {
        assert_eq!(heard(vec![events::produced(1, 0, &[11, 12]), events::end(2, 2)]), Ok(()));
        assert!(heard(vec![events::produced(1, 0, &[11, 12]), events::end(2, 1)]).is_err());
        assert!(heard(vec![events::end(1, 5), events::end(2, 4)]).is_err());
    }

    #[test]
    fn what_ended_while_it_was_asked_may_be_missing() {
        let (read, write) = (events::end(2, 1), events::produced(1, 0, &[11, 12]));
        let order = vec![vec![read[0].clone()], write, vec![read[1].clone()]];
        assert_eq!(heard(order), Ok(()));
    }
}
