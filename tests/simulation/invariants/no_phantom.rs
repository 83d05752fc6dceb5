//! No phantom: what is read was sent by a client, to that partition, and was not refused ("aborted read", G1a, and
//! "phantom" in the words of Jepsen's checkers).
//!
//! Hears what clients send, what they are refused, and what reads show.

use super::Invariant;
use crate::workload::{Event, Outcome};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub struct NoPhantom {
    /// Name of topic and partition that a value was sent to.
    sent: BTreeMap<u64, (String, u32)>,
    refused: BTreeSet<u64>,
}

impl Invariant for NoPhantom {
    fn name(&self) -> &'static str {
        "no phantom"
    }

    fn hear(&mut self, event: &Event) -> Result<(), String> {
        match &event.outcome {
            None => {
                let to = (event.call.topic().to_string(), event.call.partition());
                self.sent.extend(event.call.values().iter().map(|value| (*value, to.clone())));
                // Sent again: the refusal of one attempt says nothing of the next.
                event.call.values().iter().for_each(|value| {
                    self.refused.remove(value);
                });
            }
            Some(Outcome::Refused { earlier_in_doubt: false, .. } | Outcome::Mismatch { .. }) => {
                self.refused.extend(event.call.values());
            }
            Some(Outcome::Read { place, records, .. }) => {
                for (offset, value) in records {
                    let at = (event.call.topic().to_string(), event.call.partition());
                    if self.sent.get(value) != Some(&at) {
                        return Err(format!("{place}: value {value} at offset {offset} was never sent there"));
                    }
                    if self.refused.contains(value) {
                        return Err(format!("{place}: value {value} at offset {offset} was refused as not written"));
                    }
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
        let mut invariant = NoPhantom::default();
        all.iter().flatten().try_for_each(|event| invariant.hear(event))
    }

    #[test]
    fn what_was_sent_may_be_read() {
        assert_eq!(heard(vec![events::produced(1, 0, &[11]), events::read(2, 1, 1, &[(0, 11)])]), Ok(()));
    }

    #[test]
    fn what_nobody_sent_and_what_was_refused_is_found() {
        assert!(heard(vec![events::read(1, 1, 1, &[(0, 11)])]).is_err());
        assert!(heard(vec![events::refused(1, &[11]), events::read(2, 1, 1, &[(0, 11)])]).is_err());
    }
}
