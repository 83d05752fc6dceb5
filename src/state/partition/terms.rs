//! Where each term begins, by record offset: what Kafka's clients call leader epochs (KIP-101).

use crate::types::{Offset, Term};
use serde::{Deserialize, Serialize};

/// Terms that are kept, the newest: each is one change of leader with records behind it.
pub const TERMS_KEPT: usize = 4096;

/// The first record of each term that has records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TermStarts(Vec<(Term, Offset)>);

impl TermStarts {
    /// Notes that records of `term` stand at `offset`. Both only grow.
    pub(super) fn note(&mut self, term: Term, offset: Offset) {
        if self.0.last().is_some_and(|(last, _)| *last >= term) {
            return;
        }
        if self.0.len() == TERMS_KEPT {
            self.0.remove(0);
        }
        self.0.push((term, offset));
    }

    /// Forgets terms that end at or before `log_start_offset`.
    pub(super) fn trim(&mut self, log_start_offset: Offset) {
        let begun = self.0.partition_point(|(_, start)| *start <= log_start_offset);
        self.0.drain(..begun.saturating_sub(1));
        if let Some((_, start)) = self.0.first_mut() {
            *start = (*start).max(log_start_offset);
        }
    }

    /// The largest term up to `wanted`, and the offset behind its last record; as Kafka answers OffsetForLeaderEpoch.
    /// `current` is the term of the leader that is asked, which has begun at `end` if it has no records yet. `None` for
    /// a term that is newer.
    pub fn end_of(&self, wanted: Term, current: Term, end: Offset) -> Option<(Term, Offset)> {
        if wanted > current {
            return None;
        }
        if wanted == current {
            return Some((wanted, end));
        }
        let behind = self.0.partition_point(|(term, _)| *term <= wanted);
        let next = self.0.get(behind).map_or(end, |(_, start)| *start);
        let found = behind.checked_sub(1).map_or(wanted, |at| self.0[at].0);
        Some((found, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(list: &[(u64, u64)]) -> TermStarts {
        let mut starts = TermStarts::default();
        for (term, offset) in list {
            starts.note(Term(*term), Offset(*offset));
        }
        starts
    }

    fn end_of(starts: &TermStarts, wanted: u64, current: u64) -> Option<(u64, u64)> {
        starts.end_of(Term(wanted), Term(current), Offset(100)).map(|(term, end)| (term.0, end.0))
    }

    #[test]
    fn a_term_ends_where_the_next_one_with_records_begins() {
        let starts = starts(&[(2, 0), (2, 5), (4, 10), (7, 30)]);
        assert_eq!(end_of(&starts, 2, 7), Some((2, 10)));
        assert_eq!(end_of(&starts, 3, 7), Some((2, 10)), "the largest term up to the wanted one");
        assert_eq!(end_of(&starts, 4, 7), Some((4, 30)));
        assert_eq!(end_of(&starts, 7, 7), Some((7, 100)));
        assert_eq!(end_of(&starts, 1, 7), Some((1, 0)), "before all records");
        assert_eq!(end_of(&starts, 8, 7), None, "a term that this leader knows nothing of");
        assert_eq!(end_of(&starts, 9, 9), Some((9, 100)), "the leader's own, without records yet");
        assert_eq!(end_of(&starts, 8, 9), Some((7, 100)));
        assert_eq!(end_of(&TermStarts::default(), 3, 4), Some((3, 100)));
    }

    #[test]
    fn terms_before_the_log_start_are_forgotten() {
        let mut starts = starts(&[(2, 0), (4, 10), (7, 30)]);
        starts.trim(Offset(20));
        assert_eq!(starts.0, [(Term(4), Offset(20)), (Term(7), Offset(30))]);
        starts.trim(Offset(30));
        assert_eq!(starts.0, [(Term(7), Offset(30))]);
        starts.trim(Offset(90));
        assert_eq!(starts.0, [(Term(7), Offset(90))]);
    }

    #[test]
    fn terms_are_bounded() {
        let mut starts = TermStarts::default();
        for term in 0..TERMS_KEPT as u64 + 5 {
            starts.note(Term(term), Offset(term));
        }
        assert_eq!((starts.0.len(), starts.0[0].0), (TERMS_KEPT, Term(5)));
    }
}
