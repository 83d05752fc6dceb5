//! The log against a model: appends, cuts, clean stops, power cuts in the middle of anything, failing disks.
//!
//! What must hold after a crash: everything acknowledged is there and unchanged; of what was not, a prefix is.

use super::testing::{GROUP, all, append, blank, command, config, data, same, stamped, store_at};
use super::{DiskLog, LogEntry, RaftLog, Store};
use crate::types::{LogId, LogIndex, Offset, Term};
use crate::vfs::SimulatedFs;
use proptest::prelude::*;
use std::io;
use std::path::Path;
use std::sync::Arc;

#[derive(Clone, Debug)]
enum Op {
    Append(Vec<u16>),
    Truncate(u8),
    Purge(u8),
    Reset(u8),
    Vote(u8),
    Reopen,
    PowerCut,
    /// The machine dies at one of the next syncs.
    Die(u8),
    FailSync(u8),
    FailWrite(u8),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => prop::collection::vec(0u16..2_500, 1..8).prop_map(Op::Append),
        2 => any::<u8>().prop_map(Op::Truncate),
        1 => any::<u8>().prop_map(Op::Purge),
        1 => any::<u8>().prop_map(Op::Reset),
        1 => any::<u8>().prop_map(Op::Vote),
        1 => Just(Op::Reopen),
        1 => Just(Op::PowerCut),
        3 => (1u8..8).prop_map(Op::Die),
        1 => (1u8..5).prop_map(Op::FailSync),
        1 => (1u8..5).prop_map(Op::FailWrite),
    ]
}

/// What the log must hold.
#[derive(Clone, Debug, Default)]
struct Model {
    purged: Option<LogId>,
    log_start: u64,
    log_end: u64,
    entries: Vec<LogEntry>,
    vote: Option<u8>,
    term: u64,
}

impl Model {
    fn next_index(&self) -> u64 {
        self.purged.map_or(0, |purged| purged.index.0 + 1) + self.entries.len() as u64
    }

    fn base_of(entry: &LogEntry) -> Option<(u64, u64)> {
        let super::Payload::Data(data) = &entry.payload else { return None };
        Some((data.base_offset?.0, u64::from(data.record_count)))
    }

    fn truncate(&mut self, keep: usize) {
        for dropped in self.entries.drain(keep..).rev() {
            if let Some((base, _)) = Model::base_of(&dropped) {
                self.log_end = base;
            }
        }
    }

    fn purge(&mut self, count: usize) {
        for dropped in self.entries.drain(..count) {
            self.purged = Some(dropped.id);
            if let Some((base, records)) = Model::base_of(&dropped) {
                self.log_start = base + records;
            }
        }
    }

    fn new_entries(&self, sizes: &[u16]) -> (Vec<LogEntry>, Vec<LogEntry>) {
        let (mut given, mut expected, mut end) = (Vec::new(), Vec::new(), self.log_end);
        for (at, size) in sizes.iter().enumerate() {
            let index = self.next_index() + at as u64;
            let entry = match size % 8 {
                0 => blank(self.term, index),
                1 => command(self.term, index, "a command"),
                records => data(self.term, index, u32::from(records), usize::from(*size)),
            };
            expected.push(stamped(&entry, end));
            end += expected.last().and_then(Model::base_of).map_or(0, |(_, records)| records);
            given.push(entry);
        }
        (given, expected)
    }

    fn add(&mut self, expected: &[LogEntry]) {
        for entry in expected {
            self.log_end += Model::base_of(entry).map_or(0, |(_, records)| records);
            self.entries.push(entry.clone());
        }
    }

    fn check(&self, log: &dyn RaftLog) {
        let state = log.state();
        assert_eq!(state.purged, self.purged);
        assert_eq!(state.last, self.entries.last().map(|entry| entry.id).or(self.purged));
        assert_eq!(state.flushed, state.last);
        assert_eq!((state.log_start_offset, state.log_end_offset), (Offset(self.log_start), Offset(self.log_end)));
        assert!(self.agrees(log));
        assert_eq!(log.vote().map(|vote| vote[0]), self.vote);
        let end = Offset(self.log_end);
        let mut next = Offset(self.log_start);
        while next < end {
            for stored in log.fetch(next, end, 1_000).expect("fetches") {
                assert_eq!(stored.base_offset, next);
                next = stored.next_offset();
            }
        }
    }

    fn agrees(&self, log: &dyn RaftLog) -> bool {
        let found = all(log);
        found.len() == self.entries.len()
            && found.iter().zip(&self.entries).all(|(found, expected)| same(found, expected))
    }
}

struct World {
    fs: SimulatedFs,
    store: Arc<Store>,
    log: Arc<DiskLog>,
    model: Model,
}

impl World {
    fn open(fs: &SimulatedFs) -> io::Result<(Arc<Store>, Arc<DiskLog>)> {
        let store = store_at(Arc::new(fs.clone()), Path::new("node"), config())?;
        let log = store.open_log(GROUP)?;
        Ok((store, log))
    }

    fn new(seed: u64) -> World {
        let fs = SimulatedFs::new(seed);
        let (store, log) = World::open(&fs).expect("opens");
        World { fs, store, log, model: Model { term: 1, ..Model::default() } }
    }

    fn crash(&mut self) {
        self.fs.power_cut();
        let (store, log) = World::open(&self.fs).expect("a crash is no damage");
        (self.store, self.log) = (store, log);
        self.model.term += 1;
    }

    // After an operation that failed: power cut, and the log must be as one of these say.
    fn crash_into(&mut self, possible: Vec<Model>) {
        self.crash();
        let term = self.model.term;
        let state = self.log.state();
        let vote = self.log.vote().map(|vote| vote[0]);
        let fits = |model: &Model| {
            model.purged == state.purged
                && model.log_end == state.log_end_offset.0
                && model.vote == vote
                && model.agrees(&*self.log)
        };
        let found = possible.into_iter().find(fits).expect("one of what the crash may leave");
        self.model = Model { term, ..found };
        self.model.check(&*self.log);
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Append(sizes) => {
                let (given, expected) = self.model.new_entries(sizes);
                let before = self.model.clone();
                let done = append(&*self.log, given);
                if done.is_ok() {
                    return self.model.add(&expected);
                }
                let with = |count: usize| {
                    let mut model = before.clone();
                    model.add(&expected[..count]);
                    model
                };
                self.crash_into((0..=expected.len()).rev().map(with).collect());
            }
            Op::Truncate(keep) => {
                let keep = usize::from(*keep) % (self.model.entries.len() + 1);
                let last = keep.checked_sub(1).map(|at| self.model.entries[at].id).or(self.model.purged);
                let before = self.model.clone();
                let done = self.log.truncate_after(last);
                self.model.truncate(keep);
                if done.is_err() {
                    let with = |count: usize| {
                        let mut model = before.clone();
                        model.truncate(count);
                        model
                    };
                    self.crash_into((keep..=before.entries.len()).map(with).collect());
                }
            }
            Op::Purge(count) => {
                let count = usize::from(*count) % (self.model.entries.len() + 1);
                let Some(upto) = count.checked_sub(1).map(|at| self.model.entries[at].id) else { return };
                let before = self.model.clone();
                let done = self.log.purge(upto);
                self.model.purge(count);
                if done.is_err() {
                    self.crash_into(vec![before, self.model.clone()]);
                }
            }
            Op::Reset(ahead) => {
                let before = self.model.clone();
                let index = LogIndex(self.model.next_index() + u64::from(*ahead) % 50 + 1 - 1);
                let last = LogId { term: Term(self.model.term), index };
                let end = self.model.log_end + u64::from(*ahead);
                let done = self.log.reset(last, Offset(end));
                self.model =
                    Model { purged: Some(last), log_start: end, log_end: end, entries: Vec::new(), ..before.clone() };
                if done.is_err() {
                    self.crash_into(vec![before, self.model.clone()]);
                }
            }
            Op::Vote(vote) => {
                let before = self.model.clone();
                let done = self.log.save_vote(&[*vote]);
                self.model.vote = Some(*vote);
                if done.is_err() {
                    self.crash_into(vec![before, self.model.clone()]);
                }
            }
            other => self.fault(other),
        }
    }

    fn fault(&mut self, op: &Op) {
        match op {
            Op::Reopen => {
                self.fs.heal();
                self.store.close().expect("closes");
                let (store, log) = World::open(&self.fs).expect("opens");
                (self.store, self.log) = (store, log);
                self.model.term += 1;
            }
            Op::Die(syncs) => self.fs.die_at_sync(u64::from(*syncs)),
            Op::FailSync(syncs) => self.fs.fail_sync(u64::from(*syncs)),
            Op::FailWrite(writes) => self.fs.fail_write(u64::from(*writes)),
            _ => self.crash(),
        }
    }
}

proptest! {
    #[test]
    fn the_log_agrees_with_its_model(seed in any::<u64>(), ops in prop::collection::vec(op(), 1..40)) {
        let mut world = World::new(seed);
        for op in &ops {
            world.apply(op);
        }
        world.fs.heal();
        world.crash();
        world.model.check(&*world.log);
    }
}

#[test]
fn a_torn_new_segment_behind_a_purged_one_is_no_loss() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        world.apply(&Op::Append(vec![0, 1434, 5, 211, 1787]));
        world.apply(&Op::Purge(5));
        world.fs.fail_write(2);
        world.apply(&Op::Append(vec![2407]));
        world.apply(&Op::PowerCut);
        world.model.check(&*world.log);
    }
}

#[test]
fn making_a_store_and_a_log_survives_a_crash_at_every_sync() {
    for syncs in 1..30 {
        let fs = SimulatedFs::new(syncs);
        fs.die_at_sync(syncs);
        let made = World::open(&fs).is_ok();
        fs.power_cut();
        let (store, log) = World::open(&fs).expect("a crash is no damage");
        assert_eq!(store.logs(), vec![GROUP]);
        append(&*log, vec![data(1, 0, 1, 1)]).expect("appends");
        if made {
            return;
        }
    }
    panic!("never got through");
}

#[test]
fn removing_a_log_survives_a_crash_at_every_sync() {
    for syncs in 1..30 {
        let fs = SimulatedFs::new(syncs);
        let (store, log) = World::open(&fs).expect("opens");
        append(&*log, vec![data(1, 0, 1, 1)]).expect("appends");
        fs.die_at_sync(syncs);
        let removed = store.remove_log(GROUP).is_ok();
        fs.power_cut();
        let store = store_at(Arc::new(fs.clone()), Path::new("node"), config()).expect("opens");
        if store.has_log(GROUP) {
            assert!(!removed);
            let log = store.open_log(GROUP).expect("a crash is no damage");
            assert_eq!(log.state().log_end_offset, Offset(1));
        }
        if removed {
            assert!(!store.has_log(GROUP));
            assert_eq!(store.open_log(GROUP).expect("is made anew").state().last, None);
            return;
        }
    }
    panic!("never got through");
}

#[test]
fn a_failed_sync_latches_the_log_and_reads_go_on() {
    for fail_write in [false, true] {
        let mut world = World::new(1);
        world.apply(&Op::Append(vec![100, 200, 300]));
        if fail_write {
            world.fs.fail_write(1)
        } else {
            world.fs.fail_sync(1)
        }
        let (given, _) = world.model.new_entries(&[50]);
        append(&*world.log, given.clone()).expect_err("the disk fails");
        world.fs.heal();
        append(&*world.log, given).expect_err("the log is read-only");
        world.log.save_vote(&[1]).expect_err("the log is read-only");
        assert!(world.log.latched().is_some());
        assert_eq!(world.log.state().flushed, world.model.entries.last().map(|entry| entry.id));
        let read = world.log.read(LogIndex(0), LogIndex(3), usize::MAX).expect("reads");
        assert!(read.iter().zip(&world.model.entries).all(|(found, expected)| same(found, expected)));
        world.crash();
        world.model.check(&*world.log);
    }
}

#[test]
fn a_full_disk_is_told_before_and_loses_nothing() {
    let fs = SimulatedFs::new(1);
    let roomy = super::StoreConfig { reserve_bytes: 10_000, ..config() };
    let store = store_at(Arc::new(fs.clone()), Path::new("node"), roomy.clone()).expect("opens");
    let log = store.open_log(GROUP).expect("opens");
    let mut model = Model { term: 1, ..Model::default() };
    fs.set_capacity(Some(fs.used_bytes() + 30_000));
    while log.check_space().is_ok() {
        let (given, expected) = model.new_entries(&[1_023]);
        append(&*log, given).expect("there is room");
        model.add(&expected);
        assert!(model.entries.len() < 100);
    }
    assert_eq!(log.check_space().expect_err("full").kind(), io::ErrorKind::StorageFull);
    // What is the group's own goes into the reserve, and so does a purge, which makes room.
    append(&*log, vec![blank(1, model.next_index())]).expect("appends");
    log.save_vote(b"x").expect("saves");
    log.purge(model.entries[model.entries.len() - 2].id).expect("purges");
    assert!(log.check_space().is_ok());
    // And when the disk is full without a warning, what was acknowledged stays.
    let (_, last) = (model.purge(model.entries.len() - 1), model.entries[0].clone());
    fs.set_capacity(Some(fs.used_bytes() + 500));
    append(&*log, vec![data(1, model.next_index() + 1, 1, 5_000)]).expect_err("no room");
    fs.set_capacity(None);
    fs.power_cut();
    let store = store_at(Arc::new(fs.clone()), Path::new("node"), roomy).expect("opens");
    let log = store.open_log(GROUP).expect("a full disk is no damage");
    assert!(same(&all(&*log)[0], &last));
    assert_eq!(all(&*log).len(), 2);
}
