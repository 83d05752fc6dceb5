//! Looks into the running nodes and keeps the spectator's [`View`] up to date.
//!
//! Reads only: nothing here wakes a group, asks a quorum, or writes.

use crate::view::{EntryView, LogView, ReplicaView, View};
use crate::world::host::Host;
use balsa::raft::Group;
use balsa::storage::{LogEntry, Payload, RaftLog};
use balsa::types::LogIndex;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Bytes of one read while a log is followed.
const READ_BYTES_MAX: usize = 1 << 20;
/// Bytes at the start of a batch that a log stamps: base offset, length, leader epoch.
const STAMPED_BYTES: usize = 16;

/// Brings the view of one host up to date.
pub fn look_at(view: &mut View, host: &Host, damaged: bool) {
    let now_ms = view.now_ms;
    let seen = view.hosts.entry(host.id).or_default();
    if seen.running != host.is_running() || seen.life != host.lives {
        seen.since_ms = now_ms;
    }
    if seen.life != host.lives {
        // What was read before may not be what the disk has: all of it is read again.
        seen.replicas.values_mut().for_each(|replica| replica.log.entries.clear());
    }
    (seen.life, seen.running, seen.held) = (host.lives, host.is_running(), host.held);
    (seen.ready, seen.damaged) = (host.is_ready(), damaged);
    for replica in seen.replicas.values_mut() {
        replica.live = false;
        replica.log.changed_from = u64::MAX;
    }
    let Some(node) = host.node() else { return };
    let mut open = node.groups().open_groups();
    open.sort_by_key(|group| group.id);
    for group in open {
        let replica = seen.replicas.entry(group.id.0).or_default();
        look_at_replica(replica, &group);
        // Of a disk that died before its log was read nothing more can be said in this life.
        replica.live = !(host.fs.is_dead() && replica.log.is_partial);
    }
    // A group that was deleted here: its log is gone for good.
    let kept = node.groups().groups_on_disk();
    seen.replicas.retain(|group, replica| replica.live || kept.iter().any(|id| id.0 == *group));
}

fn look_at_replica(replica: &mut ReplicaView, group: &Group) {
    let leadership = group.leadership();
    let applied = group.applied_now();
    replica.live = true;
    replica.term = leadership.term.0;
    replica.leader = leadership.leader.map(|node| node.0);
    replica.leads_in = group.leading().map(|term| term.0);
    replica.awake = group.is_awake();
    replica.failed = group.failure().is_some();
    replica.latched = group.log.latched().is_some();
    replica.voters = group.voters().into_iter().map(|node| node.0).collect();
    let committed = group.committed_voters();
    let quorums = committed.quorums.iter().map(|quorum| quorum.iter().map(|node| node.0).collect()).collect();
    replica.membership = committed.at.map(|at| (at.index.0, quorums));
    follow(&mut replica.log, &*group.log);
    // What is applied may be shown only once the entries are, too: a read of the log may have failed.
    let known = applied.last.filter(|last| replica.log.last().is_some_and(|own| own.index >= last.index.0));
    replica.applied = known.map(|last| (last.term.0, last.index.0)).or(replica.applied.filter(|_| known.is_some()));
    replica.high_watermark = applied.high_watermark.0;
}

/// Takes over what is new in a log, and drops what was cut off.
pub fn follow(seen: &mut LogView, log: &dyn RaftLog) {
    let state = log.state();
    let end = state.last.map_or(0, |last| last.index.0 + 1);
    let before = seen.entries.len();
    while let Some(last) = seen.entries.last() {
        let kept = last.index < end && log.term_at(LogIndex(last.index)).is_none_or(|term| term.0 == last.term);
        if kept {
            break;
        }
        seen.entries.pop();
    }
    let mut next = seen.entries.last().map_or(0, |last| last.index + 1);
    seen.changed_from = if seen.entries.len() < before || next < end { next } else { u64::MAX };
    if seen.entries.is_empty() {
        next = state.purged.map_or(0, |purged| purged.index.0 + 1);
        seen.changed_from = next;
    }
    while next < end {
        let read = log.read_cached(LogIndex(next), LogIndex(end), READ_BYTES_MAX).map(Ok);
        let read = read.unwrap_or_else(|| log.read(LogIndex(next), LogIndex(end), READ_BYTES_MAX));
        // A sick disk: the next look tries again.
        let Ok(entries) = read else { break };
        let Some(last) = entries.last() else { break };
        next = last.id.index.0 + 1;
        seen.entries.extend(entries.iter().map(entry_view));
    }
    seen.flushed = state.flushed.map(|id| (id.term.0, id.index.0));
    seen.log_end_offset = state.log_end_offset.0;
    let flushed = state.flushed.map_or(0, |id| id.index.0 + 1);
    let mut below = seen.entries.iter().rev().filter(|entry| entry.index < flushed).filter_map(|entry| entry.records);
    let records_end = below.next().map_or(0, |(base, count)| base + count);
    // Of a disk that died in this moment nothing can be read any more. What it holds shows when it starts again.
    let unread = next < flushed;
    seen.is_partial = next < end;
    seen.flushed_end = if unread || state.flushed == state.last { state.log_end_offset.0 } else { records_end };
}

fn entry_view(entry: &LogEntry) -> EntryView {
    let mut hasher = DefaultHasher::new();
    let records = match &entry.payload {
        Payload::Blank => {
            0_u8.hash(&mut hasher);
            None
        }
        Payload::Membership(bytes) => {
            (1_u8, bytes).hash(&mut hasher);
            None
        }
        Payload::Command(bytes) => {
            (2_u8, bytes).hash(&mut hasher);
            None
        }
        Payload::Data(data) => {
            let batches = data.batches.get(STAMPED_BYTES..).unwrap_or_default();
            (3_u8, data.base_offset, data.record_count, &data.attributes, batches).hash(&mut hasher);
            data.base_offset.map(|offset| (offset.0, u64::from(data.record_count)))
        }
    };
    EntryView { index: entry.id.index.0, term: entry.id.term.0, hash: hasher.finish(), records }
}
