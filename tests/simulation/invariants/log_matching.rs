//! Log matching: two logs with an entry of the same index and term are the same up to there (Raft paper, section 5.3).
//!
//! Looks at each new entry of each log, together with the term of the entry before it: if any two logs agree on both
//! wherever they share an index and a term, they agree on all that comes before, by induction.

use super::Invariant;
use crate::view::{EntryView, Group, HostId, View};
use std::collections::BTreeMap;

struct Known {
    hash: u64,
    term_before: Option<u64>,
    seen_on: HostId,
}

#[derive(Default)]
pub struct LogMatching {
    known: BTreeMap<(Group, u64, u64), Known>,
}

impl LogMatching {
    fn compare(&mut self, group: Group, host: HostId, entry: &EntryView, before: Option<u64>) -> Result<(), String> {
        let place = (group, entry.index, entry.term);
        let new = Known { hash: entry.hash, term_before: before, seen_on: host };
        let known = self.known.entry(place).or_insert(new);
        if known.hash != entry.hash {
            return Err(format!(
                "group {group}: entry {} of term {} differs between hosts {} and {host}",
                entry.index, entry.term, known.seen_on
            ));
        }
        match (known.term_before, before) {
            (Some(one), Some(other)) if one != other => Err(format!(
                "group {group}: before entry {} of term {} stands term {one} on host {} and term {other} on host {host}",
                entry.index, entry.term, known.seen_on
            )),
            (None, Some(_)) => {
                known.term_before = before;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Invariant for LogMatching {
    fn name(&self) -> &'static str {
        "log matching"
    }

    fn look(&mut self, view: &View) -> Result<(), String> {
        for (host, _, group, replica) in view.live() {
            for entry in replica.log.news() {
                let before = entry.index.checked_sub(1).and_then(|index| replica.log.get(index));
                self.compare(group, host, entry, before.map(|before| before.term))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::states::{cluster, entry, replica};
    use super::*;

    #[test]
    fn logs_may_differ_where_terms_do() {
        let view = cluster(vec![replica(&[entry(0, 1), entry(1, 1)]), replica(&[entry(0, 1), entry(1, 2)])]);
        assert_eq!(LogMatching::default().look(&view), Ok(()));
    }

    #[test]
    fn other_content_under_the_same_term_is_found() {
        let other = EntryView { hash: 5, ..entry(1, 1) };
        let view = cluster(vec![replica(&[entry(0, 1), entry(1, 1)]), replica(&[entry(0, 1), other])]);
        assert!(LogMatching::default().look(&view).is_err());
    }

    #[test]
    fn another_past_is_found() {
        let view = cluster(vec![replica(&[entry(0, 1), entry(1, 3)]), replica(&[entry(0, 2), entry(1, 3)])]);
        assert!(LogMatching::default().look(&view).is_err());
    }
}
