//! Election safety: at most one leader is elected in a term (Raft paper, section 5.2 and figure 3).
//!
//! Looks at who says of itself that it leads. (What a follower tells of its leader may be newer than the term that it
//! tells, which is that of the vote it has flushed.)

use super::Invariant;
use crate::view::{Group, HostId, View};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct ElectionSafety {
    leaders: BTreeMap<(Group, u64), HostId>,
}

impl ElectionSafety {
    /// Elections that led to a leader, over all groups.
    #[cfg(test)]
    fn elections(&self) -> usize {
        self.leaders.len()
    }
}

impl Invariant for ElectionSafety {
    fn name(&self) -> &'static str {
        "election safety"
    }

    fn look(&mut self, view: &View) -> Result<(), String> {
        for (host, _, group, replica) in view.live() {
            let Some(term) = replica.leads_in else { continue };
            let known = *self.leaders.entry((group, term)).or_insert(host);
            if known != host {
                return Err(format!("group {group} has two leaders in term {term}: hosts {known} and {host}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::states::{cluster, replica};
    use super::*;
    use crate::view::ReplicaView;

    fn leads(term: u64) -> ReplicaView {
        ReplicaView { leads_in: Some(term), term, ..replica(&[]) }
    }

    #[test]
    fn leaders_of_different_terms_are_fine() {
        let mut invariant = ElectionSafety::default();
        assert_eq!(invariant.look(&cluster(vec![leads(1), leads(2), replica(&[])])), Ok(()));
        assert_eq!(invariant.elections(), 2);
    }

    #[test]
    fn two_leaders_of_a_term_are_found_also_one_after_the_other() {
        assert!(ElectionSafety::default().look(&cluster(vec![leads(1), leads(1)])).is_err());
        let mut invariant = ElectionSafety::default();
        assert_eq!(invariant.look(&cluster(vec![leads(4), replica(&[])])), Ok(()));
        assert!(invariant.look(&cluster(vec![replica(&[]), leads(4)])).is_err());
    }
}
