//! What must hold at every moment of every history; a file each, named as its source names it.
//!
//! An invariant looks at the cluster ([`View`]) at each tick of the spectator, or hears what clients ask and are told
//! ([`Event`]), or both. It remembers what it needs and says in words what is wrong. It is told when topics are gone.

mod acknowledged_is_durable;
mod committed_offsets_never_go_back;
mod compare_and_append;
mod election_safety;
mod flushed_survives;
mod high_watermark_never_goes_back;
mod keyed_writes_once;
mod leader_completeness;
mod linearizable_end;
mod log_matching;
mod no_phantom;
mod offsets_dense;
mod one_record_per_offset;
mod quiescent_groups_wake;
mod state_machine_safety;

use crate::view::View;
use crate::workload::Event;

/// One property.
pub trait Invariant {
    fn name(&self) -> &'static str;

    /// Looks at the cluster.
    ///
    /// # Errors
    /// What is wrong, in words.
    fn look(&mut self, _view: &View) -> Result<(), String> {
        Ok(())
    }

    /// Hears what a client asked or was told.
    ///
    /// # Errors
    /// What is wrong, in words.
    fn hear(&mut self, _event: &Event) -> Result<(), String> {
        Ok(())
    }

    /// After everything was healed and read to the end.
    ///
    /// # Errors
    /// What is wrong, in words.
    fn finish(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// All of them.
pub fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(election_safety::ElectionSafety::default()),
        Box::new(log_matching::LogMatching::default()),
        Box::new(leader_completeness::LeaderCompleteness::default()),
        Box::new(state_machine_safety::StateMachineSafety::default()),
        Box::new(acknowledged_is_durable::AcknowledgedIsDurable::default()),
        Box::new(flushed_survives::FlushedSurvives::default()),
        Box::new(offsets_dense::OffsetsDense),
        Box::new(high_watermark_never_goes_back::HighWatermarkNeverGoesBack::default()),
        Box::new(quiescent_groups_wake::QuiescentGroupsWake::default()),
        Box::new(keyed_writes_once::KeyedWritesOnce::default()),
        Box::new(no_phantom::NoPhantom::default()),
        Box::new(one_record_per_offset::OneRecordPerOffset::default()),
        Box::new(compare_and_append::CompareAndAppend::default()),
        Box::new(linearizable_end::LinearizableEnd::default()),
        Box::new(committed_offsets_never_go_back::CommittedOffsetsNeverGoBack::default()),
    ]
}

/// What the tests of invariants build their states from.
#[cfg(test)]
pub mod states {
    use crate::view::{EntryView, HostView, LogView, ReplicaView, View};

    pub fn entry(index: u64, term: u64) -> EntryView {
        EntryView { index, term, hash: 1000 * term + index, records: None }
    }

    pub fn data(index: u64, term: u64, base_offset: u64, count: u64) -> EntryView {
        EntryView { records: Some((base_offset, count)), ..entry(index, term) }
    }

    /// A live replica with this log, all flushed.
    pub fn replica(entries: &[EntryView]) -> ReplicaView {
        let flushed = entries.last().map(|entry| (entry.term, entry.index));
        let log_end_offset = entries.iter().filter_map(|entry| entry.records).map(|(base, count)| base + count).max();
        let end = log_end_offset.unwrap_or(0);
        let log =
            LogView { entries: entries.to_vec(), flushed, flushed_end: end, log_end_offset: end, ..LogView::default() };
        let membership = Some((0, vec![[1, 2, 3].into()]));
        ReplicaView { live: true, awake: true, voters: vec![1, 2, 3], membership, log, ..ReplicaView::default() }
    }

    /// Hosts 1, 2, … each with its replica of group 7.
    pub fn cluster(replicas: Vec<ReplicaView>) -> View {
        let host = |replica| HostView {
            life: 1,
            running: true,
            ready: true,
            replicas: [(7, replica)].into(),
            ..HostView::default()
        };
        let hosts = (1..).zip(replicas.into_iter().map(host)).collect();
        let groups = [((crate::workload::events::PLACE.topic, 0), 7)].into();
        View { now_ms: 1000, hosts, groups, ..View::default() }
    }
}
