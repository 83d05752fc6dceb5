//! What a spectator sees of the cluster at one moment: each host, and of each the Raft groups that it holds.
//!
//! Plain data, so that an invariant can be shown a state that no cluster should ever be in. Logs are followed, not read
//! anew each time: [`LogView::changed_from`] says from which index on a log differs from the last look.

use std::collections::{BTreeMap, BTreeSet};

pub type HostId = u64;
pub type Group = u64;

/// One log entry. `hash` covers its kind, its offsets, its attributes and its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryView {
    pub index: u64,
    pub term: u64,
    pub hash: u64,
    /// First record offset and number of records, of entries that have any.
    pub records: Option<(u64, u64)>,
}

/// A log as it was followed, also beyond the life of its process.
#[derive(Clone, Debug, Default)]
pub struct LogView {
    /// Without holes, from the first entry that was ever seen.
    pub entries: Vec<EntryView>,
    pub changed_from: u64,
    /// Not all entries could be read.
    pub is_partial: bool,
    pub flushed: Option<(u64, u64)>,
    /// First offset behind the records that are flushed.
    pub flushed_end: u64,
    pub log_end_offset: u64,
}

impl LogView {
    pub fn first(&self) -> u64 {
        self.entries.first().map_or(0, |entry| entry.index)
    }

    pub fn get(&self, index: u64) -> Option<&EntryView> {
        self.entries.get(index.checked_sub(self.first())? as usize)
    }

    pub fn last(&self) -> Option<&EntryView> {
        self.entries.last()
    }

    /// Entries that the last look did not have.
    pub fn news(&self) -> &[EntryView] {
        let from = self.changed_from.saturating_sub(self.first()) as usize;
        &self.entries[from.min(self.entries.len())..]
    }
}

/// One replica of a group.
#[derive(Clone, Debug, Default)]
pub struct ReplicaView {
    /// The term of its vote.
    pub term: u64,
    pub leader: Option<HostId>,
    /// The term in which it leads, as it says itself.
    pub leads_in: Option<u64>,
    pub awake: bool,
    /// Term and index of what it applied last.
    pub applied: Option<(u64, u64)>,
    pub high_watermark: u64,
    pub voters: Vec<HostId>,
    /// The last membership that it knows to be committed: its index, and the sets of which a majority each must agree.
    pub membership: Option<(u64, Vec<BTreeSet<HostId>>)>,
    pub failed: bool,
    /// Why its log takes no writes any more.
    pub latched: bool,
    /// Whether its process runs, and so `term` and what stands between it and here are of now.
    pub live: bool,
    pub log: LogView,
}

/// One host.
#[derive(Clone, Debug, Default)]
pub struct HostView {
    /// Which life of its process this is; raised at each start.
    pub life: u64,
    pub running: bool,
    /// Takes part in the cluster.
    pub ready: bool,
    pub held: bool,
    /// Files of it were changed behind its back.
    pub damaged: bool,
    /// When `running` last changed, in ms.
    pub since_ms: u64,
    pub replicas: BTreeMap<Group, ReplicaView>,
}

/// Everything.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub now_ms: u64,
    /// No link is cut or slow, no host is held or has a sick disk, since this time.
    pub calm_since_ms: Option<u64>,
    pub hosts: BTreeMap<HostId, HostView>,
    /// The group of each partition of each topic that any host ever knew.
    pub groups: BTreeMap<(uuid::Uuid, u32), Group>,
    /// The replicas of each group of a topic that stays.
    pub stays: BTreeMap<Group, BTreeSet<HostId>>,
}

impl View {
    /// All replicas of all groups, also of hosts that are down.
    pub fn replicas(&self) -> impl Iterator<Item = (HostId, &HostView, Group, &ReplicaView)> {
        self.hosts
            .iter()
            .flat_map(|(id, host)| host.replicas.iter().map(move |(group, replica)| (*id, host, *group, replica)))
    }

    /// Those whose process runs.
    pub fn live(&self) -> impl Iterator<Item = (HostId, &HostView, Group, &ReplicaView)> {
        self.replicas().filter(|(_, _, _, replica)| replica.live)
    }
}
