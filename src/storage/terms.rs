//! Where each term begins within a log: the log ids of first entries, ascending. Small, since terms are few.

use crate::types::{LogId, LogIndex, Term};

/// The first entry of each term. Covers the whole log, and possibly entries that are purged already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TermStarts(Vec<LogId>);

impl TermStarts {
    /// Notes an appended entry. Indexes ascend, terms don't descend.
    pub fn push(&mut self, id: LogId) {
        if self.0.last().is_none_or(|last| last.term < id.term) {
            self.0.push(id);
        }
    }

    /// Forgets terms that begin at or behind `index`.
    pub fn truncate_from(&mut self, index: LogIndex) {
        self.0.truncate(self.0.partition_point(|start| start.index < index));
    }

    /// Forgets terms that end before `first`.
    pub fn purge_before(&mut self, first: LogIndex) {
        let covering = self.0.partition_point(|start| start.index <= first);
        self.0.drain(..covering.saturating_sub(1));
    }

    /// The term at `index`; only right for an index within the log.
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        let after = self.0.partition_point(|start| start.index <= index);
        after.checked_sub(1).map(|at| self.0[at].term)
    }

    /// `from`, each start behind it up to `to`, and `to`. Both must lie within the log.
    pub fn between(&self, from: LogIndex, to: LogIndex) -> Vec<LogId> {
        let (Some(first), Some(last)) = (self.term_at(from), self.term_at(to)) else { return Vec::new() };
        let mut ids = vec![LogId { term: first, index: from }];
        ids.extend(self.0.iter().filter(|start| start.index > from && start.index <= to));
        if ids.last().is_some_and(|id| id.index < to) {
            ids.push(LogId { term: last, index: to });
        }
        ids
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}
