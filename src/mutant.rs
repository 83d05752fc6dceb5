//! Known bugs that a fault-injection suite must find, behind the cargo feature `mutants`.
//!
//! A suite that never turns red proves nothing. Each [`Mutant`] here breaks one promise on purpose; `jepsen mutants`
//! and the simulation run with each and expect the anomaly that it causes. Without the feature [`on`] is a constant
//! `false`, and the compiler removes what it guards. A build with the feature and without debug assertions is refused,
//! so that none can be shipped by mistake.
//!
//! This module decides which mutant is on, and nothing else: what a mutant does stands where it does it.

#[cfg(all(feature = "mutants", not(debug_assertions)))]
compile_error!("the feature `mutants` breaks Balsa on purpose: build it with `--profile mutants`, never for release");

/// A bug that can be switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mutant {
    /// Frames are written and never synced, and called durable.
    FlushSkipped = 1,
    /// acks=all answers when the leader alone has flushed.
    LeaderOnlyAck,
    /// A read goes up to the end of the leader's log.
    ServedAboveCommit,
    /// Sequences of writers and idempotency keys are not in a restored snapshot or checkpoint.
    ProducerTableDropped,
    /// What is read from disk is taken as it is.
    ChecksumIgnored,
    /// A vote is kept in memory only.
    VoteNotPersisted,
    /// A group that the catalog does not know (yet) is taken for one that was deleted.
    MetadataMissingDeletes,
    /// Replicas take the new voters of a joint membership alone for the quorum.
    MembershipWithoutJoint,
}

/// All mutants, with the names by which `BALSA_MUTANT` selects them.
pub const MUTANTS: [(&str, Mutant); 8] = [
    ("flush-skipped", Mutant::FlushSkipped),
    ("leader-only-ack", Mutant::LeaderOnlyAck),
    ("served-above-commit", Mutant::ServedAboveCommit),
    ("producer-table-dropped", Mutant::ProducerTableDropped),
    ("checksum-ignored", Mutant::ChecksumIgnored),
    ("vote-not-persisted", Mutant::VoteNotPersisted),
    ("metadata-missing-deletes", Mutant::MetadataMissingDeletes),
    ("membership-without-joint", Mutant::MembershipWithoutJoint),
];

/// The mutant of a name.
///
/// # Errors
/// A text that lists the names.
pub fn named(name: &str) -> Result<Mutant, String> {
    MUTANTS.iter().find(|(known, _)| *known == name).map(|(_, mutant)| *mutant).ok_or_else(|| {
        let names = MUTANTS.map(|(name, _)| name);
        format!("there is no mutant {name:?}; there are {}", names.join(", "))
    })
}

#[cfg(feature = "mutants")]
mod selected {
    use super::Mutant;
    use std::sync::atomic::{AtomicU8, Ordering};

    static SELECTED: AtomicU8 = AtomicU8::new(0);

    /// Switches a mutant on for this process, and any other off.
    pub fn select(mutant: Option<Mutant>) {
        SELECTED.store(mutant.map_or(0, |mutant| mutant as u8), Ordering::Relaxed);
    }

    /// Whether a mutant is on.
    pub fn on(mutant: Mutant) -> bool {
        SELECTED.load(Ordering::Relaxed) == mutant as u8
    }
}

#[cfg(feature = "mutants")]
pub use selected::{on, select};

/// Whether a mutant is on: never, in a build without the feature.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn on(_: Mutant) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_does_not_exist_is_answered_with_those_that_do() {
        assert_eq!(named("flush-skipped"), Ok(Mutant::FlushSkipped));
        assert!(named("flush").unwrap_err().contains("vote-not-persisted"));
    }
}
