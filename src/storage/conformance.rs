//! One suite for every maker of logs, so that the one in memory stays honest.

use super::testing::{all, append, batch, blank, command, data, id, same, stamped, timed};
use super::{LogEntry, LogState, MemoryLog, Payload, RaftLog, StoreConfig};
use crate::types::{LogIndex, Offset, Term};
use bytes::Bytes;
use std::io;
use std::sync::Arc;

type Check = fn(&dyn RaftLog);

const CHECKS: &[(&str, Check)] = &[
    ("an empty log", empty),
    ("appending and reading", append_and_read),
    ("stamping", stamping),
    ("several batches in an entry", several_batches),
    ("appends that don't follow", refusals),
    ("fetching", fetching),
    ("reading headers", headers),
    ("cutting a suffix", truncating),
    ("purging", purging),
    ("resetting", resetting),
    ("term starts", term_starts),
    ("finding a time", times),
    ("votes", votes),
    ("checkpoints", checkpoints),
];

fn run(make: impl Fn() -> Arc<dyn RaftLog>) {
    for (name, check) in CHECKS {
        eprintln!("conformance: {name}");
        let log = make();
        check(&*log);
        log.close().expect("closes");
    }
}

#[test]
fn memory_log_conforms() {
    run(|| Arc::new(MemoryLog::new()));
}

fn run_on_disk(config: &StoreConfig) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let number = std::cell::Cell::new(0);
    run(|| {
        number.set(number.get() + 1);
        let path = dir.path().join(number.get().to_string());
        let store = super::testing::store_at(Arc::new(crate::vfs::RealFs), &path, config.clone()).expect("opens");
        store.open_log(super::testing::GROUP).expect("opens")
    });
}

#[test]
fn disk_log_conforms_reading_from_disk() {
    run_on_disk(&super::testing::config());
}

#[test]
fn disk_log_conforms_as_it_is_by_default() {
    run_on_disk(&StoreConfig { reserve_bytes: 0, ..StoreConfig::default() });
}

#[test]
fn disk_log_conforms_with_flushers_and_small_segments() {
    run_on_disk(&StoreConfig { flusher_threads: 2, cache_bytes: 2_000, ..super::testing::config() });
}

fn check_all(log: &dyn RaftLog, expected: &[LogEntry]) {
    let found = all(log);
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!(same(found, expected), "{found:?} is not {expected:?}");
    }
}

fn empty(log: &dyn RaftLog) {
    assert_eq!(log.state().last, None);
    assert_eq!(log.state().flushed, None);
    assert_eq!(log.state().log_end_offset, Offset(0));
    assert_eq!(log.read(LogIndex(0), LogIndex(1), 100).expect_err("nothing").kind(), io::ErrorKind::NotFound);
    assert_eq!(log.read(LogIndex(0), LogIndex(0), 100).expect("an empty range"), vec![]);
    assert_eq!(log.fetch(Offset(0), Offset(0), 100).expect("nothing"), vec![]);
    assert_eq!(log.term_at(LogIndex(0)), None);
    assert_eq!(log.offset_for_time(0).expect("none"), None);
    assert_eq!(log.vote(), None);
    assert_eq!(log.load_checkpoint().expect("none"), None);
    append(log, vec![]).expect("an empty append is flushed");
}

fn mixed() -> (Vec<LogEntry>, Vec<LogEntry>) {
    let mut given = vec![blank(1, 0), command(1, 1, "one")];
    let mut expected = given.clone();
    let mut base = 0;
    for index in 2..60 {
        let records = 1 + (index % 3) as u32;
        let entry = data(1 + index / 20, index, records, (index as usize * 37) % 900);
        expected.push(stamped(&entry, base));
        base += u64::from(records);
        given.push(entry);
        if index % 10 == 9 {
            // Keeps the indexes without holes: the next data entry takes the next number.
            given.pop();
            expected.pop();
            base -= u64::from(records);
            given.push(command(1 + index / 20, index, "between"));
            expected.push(command(1 + index / 20, index, "between"));
        }
    }
    (given, expected)
}

fn append_and_read(log: &dyn RaftLog) {
    let (given, expected) = mixed();
    let (first, second) = given.split_at(30);
    append(log, first.to_vec()).expect("appends");
    for entry in second {
        append(log, vec![entry.clone()]).expect("appends");
    }
    let state = log.state();
    assert_eq!(state.last, Some(given.last().expect("some").id));
    assert_eq!(state.flushed, state.last);
    check_all(log, &expected);
    // At most so many bytes, one entry at least, and never beyond `to`.
    assert_eq!(log.read(LogIndex(5), LogIndex(50), 1).expect("reads").len(), 1);
    assert_eq!(log.read(LogIndex(5), LogIndex(7), usize::MAX).expect("reads").len(), 2);
    assert_eq!(log.read(LogIndex(60), LogIndex(61), 1).expect_err("behind the end").kind(), io::ErrorKind::NotFound);
}

fn stamping(log: &dyn RaftLog) {
    append(log, vec![data(3, 0, 5, 10), data(4, 1, 2, 10)]).expect("appends");
    let fetched = log.fetch(Offset(0), Offset(7), usize::MAX).expect("fetches");
    assert_eq!(fetched.len(), 2);
    assert_eq!((fetched[1].base_offset, fetched[1].record_count, fetched[1].term), (Offset(5), 2, Term(4)));
    let bytes = fetched[1].to_bytes();
    assert_eq!(bytes[..8], 5u64.to_be_bytes());
    assert_eq!(bytes[12..16], 4u32.to_be_bytes());
    assert_eq!(bytes[16..], batch(2, 10, 1)[16..]);
    // As replicated: the leader's base offset is taken when it agrees, and refused otherwise.
    let mut entry = data(4, 2, 1, 10);
    let Payload::Data(data) = &mut entry.payload else { unreachable!() };
    data.base_offset = Some(Offset(8));
    let error = append(log, vec![entry.clone()]).expect_err("the log ends at 7");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let Payload::Data(data) = &mut entry.payload else { unreachable!() };
    data.base_offset = Some(Offset(7));
    append(log, vec![entry]).expect("appends");
    assert_eq!(log.state().log_end_offset, Offset(8));
}

fn several_batches(log: &dyn RaftLog) {
    let mut entry = data(2, 0, 6, 0);
    let Payload::Data(parts) = &mut entry.payload else { unreachable!() };
    parts.batches = [batch(1, 30, 1), batch(2, 2000, 2), batch(3, 5, 3)].concat().into();
    append(log, vec![entry.clone()]).expect("appends");
    append(log, vec![data(2, 1, 1, 3)]).expect("appends");
    let expected = stamped(&entry, 0);
    let Payload::Data(parts) = &expected.payload else { unreachable!() };
    let fetched = log.fetch(Offset(4), Offset(6), usize::MAX).expect("fetches");
    assert_eq!(fetched.len(), 1);
    assert_eq!(fetched[0].to_bytes(), parts.batches);
    let read = log.read(LogIndex(0), LogIndex(1), 1).expect("reads");
    assert!(same(&read[0], &expected));
    assert_eq!(log.state().log_end_offset, Offset(7));
}

fn refusals(log: &dyn RaftLog) {
    append(log, vec![blank(2, 0)]).expect("appends");
    let before = log.state();
    let mut miscounted = data(2, 1, 3, 9);
    let Payload::Data(parts) = &mut miscounted.payload else { unreachable!() };
    parts.record_count = 4;
    let mut cut = data(2, 1, 3, 9);
    let Payload::Data(parts) = &mut cut.payload else { unreachable!() };
    parts.batches = parts.batches.slice(..65);
    let mut short = data(2, 1, 3, 9);
    let Payload::Data(parts) = &mut short.payload else { unreachable!() };
    parts.batches = Bytes::from_static(b"no batch");
    for entry in [blank(2, 3), blank(2, 0), blank(1, 1), miscounted, cut, short] {
        append(log, vec![blank(2, 1), entry.clone()]).expect_err("the second does not follow the first");
        if entry.id.index == LogIndex(1) {
            append(log, vec![entry]).expect_err("does not follow");
        }
    }
    assert_eq!(log.state(), before);
    append(log, vec![blank(2, 1)]).expect("nothing was appended by what was refused");
}

fn fetching(log: &dyn RaftLog) {
    let (given, _) = mixed();
    append(log, given).expect("appends");
    let end = log.state().log_end_offset;
    let every = log.fetch(Offset(0), end, usize::MAX);
    let mut next = Offset(0);
    for from in 0..end.0 {
        let batches = log.fetch(Offset(from), end, 500).expect("fetches");
        assert!(batches[0].base_offset <= Offset(from) && Offset(from) < batches[0].next_offset());
    }
    assert!(!every.expect("fetches").is_empty());
    while next < end {
        for stored in log.fetch(next, end, 700).expect("fetches") {
            assert_eq!(stored.base_offset, next);
            next = stored.next_offset();
        }
    }
    assert_eq!(next, end);
    assert_eq!(log.fetch(end, end, 100).expect("empty"), vec![]);
    // Never a batch that is not wholly below.
    let first = log.fetch(Offset(0), end, 1).expect("fetches").remove(0);
    assert_eq!(log.fetch(Offset(0), first.next_offset(), usize::MAX).expect("fetches").len(), 1);
    assert_eq!(log.fetch(Offset(0), Offset(first.next_offset().0 - 1), usize::MAX).expect("fetches").len(), 0);
}

fn headers(log: &dyn RaftLog) {
    let (given, expected) = mixed();
    append(log, given).expect("appends");
    let mut next = LogIndex(0);
    while next < LogIndex(60) {
        let some = log.read_headers(next, LogIndex(60), 7).expect("reads");
        assert!(!some.is_empty() && some.len() <= 7);
        for entry in some {
            let mut whole = expected[next.0 as usize].clone();
            if let Payload::Data(data) = &mut whole.payload {
                data.batches = Bytes::new();
            }
            assert_eq!(entry, whole);
            next = next.next();
        }
    }
}

fn truncating(log: &dyn RaftLog) {
    let (given, expected) = mixed();
    append(log, given.clone()).expect("appends");
    log.truncate_after(Some(given[59].id)).expect("nothing to cut");
    for keep in [58usize, 40, 23, 9, 1] {
        log.truncate_after(Some(given[keep].id)).expect("cuts");
        assert_eq!(log.state().last, Some(given[keep].id));
        assert_eq!(log.state().flushed, Some(given[keep].id));
        assert_eq!(log.term_at(LogIndex(keep as u64 + 1)), None);
        check_all(log, &expected[..=keep]);
        let offset = log.state().log_end_offset;
        let entry = data(9, keep as u64 + 1, 2, 50);
        append(log, vec![entry.clone()]).expect("appends");
        check_all(log, &[&expected[..=keep], &[stamped(&entry, offset.0)]].concat());
    }
    log.truncate_after(None).expect("cuts all");
    assert_eq!(log.state(), LogState { size_bytes: log.state().size_bytes, ..LogState::default() });
    append(log, vec![data(10, 0, 1, 1)]).expect("appends");
    assert_eq!(log.state().log_end_offset, Offset(1));
}

fn purging(log: &dyn RaftLog) {
    let (given, expected) = mixed();
    append(log, given.clone()).expect("appends");
    let end = log.state().log_end_offset;
    for upto in [0usize, 3, 19, 29, 45] {
        log.purge(given[upto].id).expect("purges");
        log.purge(given[upto].id).expect("purges again");
        let state = log.state();
        assert_eq!((state.purged, state.last), (Some(given[upto].id), Some(given[59].id)));
        check_all(log, &expected[upto + 1..]);
        let error = log.read(LogIndex(upto as u64), LogIndex(60), 1).expect_err("purged");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(log.term_at(LogIndex(upto as u64)), None);
        assert_eq!(log.term_at(LogIndex(upto as u64 + 1)), Some(given[upto + 1].id.term));
        let first = log.fetch(state.log_start_offset, end, 1).expect("fetches").remove(0);
        assert_eq!(first.base_offset, state.log_start_offset);
        if state.log_start_offset > Offset(0) {
            let error = log.fetch(Offset(0), end, 1).expect_err("purged");
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
        }
    }
    log.purge(given[59].id).expect("purges all");
    assert_eq!(log.state().log_start_offset, end);
    append(log, vec![data(6, 60, 1, 1)]).expect("appends");
    // Beyond the end, as after a snapshot that was ahead.
    log.purge(id(7, 90)).expect("purges");
    assert_eq!((log.state().last, log.state().log_end_offset), (Some(id(7, 90)), end.plus(1)));
    append(log, vec![data(7, 91, 1, 1)]).expect("appends");
    assert_eq!(log.fetch(end.plus(1), end.plus(2), 1).expect("fetches").len(), 1);
}

fn resetting(log: &dyn RaftLog) {
    let (given, _) = mixed();
    append(log, given.clone()).expect("appends");
    log.reset(id(8, 30), Offset(1000)).expect("resets");
    let state = log.state();
    assert_eq!((state.purged, state.last, state.flushed), (Some(id(8, 30)), Some(id(8, 30)), Some(id(8, 30))));
    assert_eq!((state.log_start_offset, state.log_end_offset), (Offset(1000), Offset(1000)));
    let entry = data(8, 31, 4, 100);
    append(log, vec![entry.clone()]).expect("appends");
    check_all(log, &[stamped(&entry, 1000)]);
    assert_eq!(log.fetch(Offset(1002), Offset(1004), 1).expect("fetches")[0].base_offset, Offset(1000));
}

fn term_starts(log: &dyn RaftLog) {
    let entries =
        [(1, 0), (1, 1), (1, 2), (3, 3), (3, 4), (5, 5), (5, 6)].map(|(term, index)| blank(term, index)).to_vec();
    append(log, entries).expect("appends");
    let between = |from, to| log.term_starts(LogIndex(from), LogIndex(to));
    assert_eq!(between(0, 6), vec![id(1, 0), id(3, 3), id(5, 5), id(5, 6)]);
    assert_eq!(between(1, 5), vec![id(1, 1), id(3, 3), id(5, 5)]);
    assert_eq!(between(4, 4), vec![id(3, 4)]);
    assert_eq!(between(0, 7), vec![]);
    log.purge(id(3, 3)).expect("purges");
    assert_eq!(between(4, 6), vec![id(3, 4), id(5, 5), id(5, 6)]);
    assert_eq!((log.term_at(LogIndex(4)), log.term_at(LogIndex(6))), (Some(Term(3)), Some(Term(5))));
    assert_eq!((log.term_at(LogIndex(3)), log.term_at(LogIndex(7))), (None, None));
}

fn times(log: &dyn RaftLog) {
    let mut entries = vec![blank(1, 0)];
    for index in 1..50 {
        entries.push(timed(1, index, 2, 300, 1_000 + 10 * index as i64));
    }
    append(log, entries).expect("appends");
    for index in 1..50u64 {
        let base = Offset((index - 1) * 2);
        let at = 1_000 + 10 * index as i64;
        assert_eq!(log.offset_for_time(at).expect("finds"), Some(base));
        assert_eq!(log.offset_for_time(at - 9).expect("finds"), Some(base));
    }
    assert_eq!(log.offset_for_time(i64::MIN).expect("finds"), Some(Offset(0)));
    assert_eq!(log.offset_for_time(1_491).expect("finds"), None);
    log.purge(id(1, 20)).expect("purges");
    assert_eq!(log.offset_for_time(0).expect("finds"), Some(Offset(40)));
}

fn votes(log: &dyn RaftLog) {
    log.save_vote(b"").expect("saves");
    assert_eq!(log.vote().expect("saved"), Bytes::new());
    log.save_vote(b"for me").expect("saves");
    assert_eq!(log.vote().expect("saved"), Bytes::from_static(b"for me"));
}

fn checkpoints(log: &dyn RaftLog) {
    append(log, (0..10).map(|index| blank(1, index)).collect()).expect("appends");
    for index in [2, 4, 6] {
        log.save_checkpoint(id(1, index), format!("state {index}").as_bytes()).expect("saves");
    }
    let newest = |log: &dyn RaftLog| log.load_checkpoint().expect("loads").expect("there is one");
    assert_eq!(newest(log), (id(1, 6), Bytes::from_static(b"state 6")));
    // Ahead of the log: of no use as long as it is.
    log.save_checkpoint(id(1, 30), b"state 30").expect("saves");
    log.save_checkpoint(id(1, 40), b"state 40").expect("saves");
    assert_eq!(newest(log).0, id(1, 6));
    log.purge(id(1, 6)).expect("purges");
    assert_eq!(newest(log).0, id(1, 6));
    log.purge(id(1, 7)).expect("purges");
    assert_eq!(log.load_checkpoint().expect_err("none fits").kind(), io::ErrorKind::InvalidData);
    log.reset(id(1, 40), Offset(0)).expect("resets");
    assert_eq!(newest(log).0, id(1, 40));
}
