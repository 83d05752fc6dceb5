//! Record offsets are dense: an entry's records begin where those before it end, and nothing else takes an offset
//! (Kafka's log, without the holes that transactions leave there).
//!
//! Looks at the new entries of each log, and at the log end that it tells.

use super::Invariant;
use crate::view::View;

pub struct OffsetsDense;

impl Invariant for OffsetsDense {
    fn name(&self) -> &'static str {
        "offsets dense"
    }

    fn look(&mut self, view: &View) -> Result<(), String> {
        for (host, _, group, replica) in view.live() {
            let log = &replica.log;
            let news = log.news();
            let Some(first) = news.first() else { continue };
            let before = log.entries.iter().take_while(|entry| entry.index < first.index);
            let mut next = before.filter_map(|entry| entry.records).last().map(|(base, count)| base + count);
            if log.first() == 0 {
                next = next.or(Some(0));
            }
            for entry in news {
                let Some((base, count)) = entry.records else { continue };
                if next.is_some_and(|next| next != base) || count == 0 {
                    return Err(format!(
                        "group {group} on host {host}: entry {} has {count} records from offset {base}, expected from {next:?}",
                        entry.index
                    ));
                }
                next = Some(base + count);
            }
            // What damage hides of a log can't be compared.
            if !log.is_partial && next.is_some_and(|next| next != log.log_end_offset) {
                return Err(format!(
                    "group {group} on host {host}: its records end at {next:?}, and it tells {}",
                    log.log_end_offset
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::states::{cluster, data, entry, replica};
    use super::*;

    #[test]
    fn a_dense_log_is_fine() {
        let view = cluster(vec![replica(&[entry(0, 1), data(1, 1, 0, 3), entry(2, 2), data(3, 2, 3, 1)])]);
        assert_eq!(OffsetsDense.look(&view), Ok(()));
    }

    #[test]
    fn holes_overlaps_and_a_wrong_end_are_found() {
        for base in [2, 4] {
            let view = cluster(vec![replica(&[data(0, 1, 0, 3), data(1, 1, base, 1)])]);
            assert!(OffsetsDense.look(&view).is_err(), "{base}");
        }
        let mut wrong = replica(&[data(0, 1, 0, 3)]);
        wrong.log.log_end_offset = 2;
        assert!(OffsetsDense.look(&cluster(vec![wrong])).is_err());
    }
}
