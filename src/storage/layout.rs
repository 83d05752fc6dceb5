//! What stands where in a data directory, and what a crash may leave. Recovery is to be read against this text.
//!
//! ```text
//! lock                        locked while a process has the directory open; empty
//! identity                    whose directory this is
//! born                        which groups were made here, and not removed
//! groups/<id>/                a group's log (the id in decimal)
//!     start                   where the log begins: purged entry, generation
//!     vote                    the group's vote
//!     <index>.segment         entries from that log index on
//!     <index>.index           of a closed segment, or of the last one after a clean stop: can be rebuilt
//!     <index>.checkpoint      the state machine as of that log index
//! groups/<id>.new/            a log being made; removed at open
//! groups/<id>.trash/          a log being removed; removed at open
//! *.tmp                       a small file being written; removed at open
//! ```
//!
//! Indexes in names have 20 digits, so that names sort as numbers do. Each file begins with eight bytes that say what
//! it is, and a format version. A newer version than this program knows is refused by name, and nothing is touched.
//!
//! # Small files
//!
//! `identity`, `start`, `vote` and checkpoints are replaced whole: written under a temporary name, synced, renamed,
//! directory synced. A crash leaves the old or the new one. One that is missing or damaged where it must be is an
//! error that names the file. It is never made anew: a forgotten vote elects two leaders.
//!
//! # Segments
//!
//! A header of 64 bytes, then frames without gaps, one per entry (see [`super::frame`]). Segments follow each other
//! without holes. Only the last one is written to. It is begun when everything before it is on disk, so damage before
//! the last segment is never explained by a crash. Its header is synced, and its name, before a frame is written.
//!
//! The last segment may end with frames that were written but not synced: any part of them may be there. Recovery
//! keeps the longest run of sound frames and cuts the rest off, unless a sound frame behind the damage says that the
//! damaged one had been synced before it (`durable_next`), or the index file of a clean stop says so. That is damage,
//! not a torn tail: the log refuses to open, and nothing is changed.
//!
//! Frame checksums start from a number drawn for each segment (*salt*), so that neither what a file held before nor
//! what a client put into a record can pass for a frame.
//!
//! Cutting a suffix removes whole segments from the last one backwards, each durably, so that a crash leaves a log
//! that is longer than asked for, and never one with a hole. Cutting a prefix saves `start` first; segments that lie
//! before it are leftovers. A reset counts up the generation in `start`; segments of an earlier one are leftovers.
//!
//! # A log's life
//!
//! A log is made complete (`start`, `vote` and an empty first segment) beside its place, renamed into it, and then
//! written to `born`. So a directory has all its files or is none, and a directory that vanished is noticed: `born`
//! has it. One that `born` lacks (a crash between the two) is taken in. Removing a log renames it to the trash first,
//! then takes it out of `born`, then deletes.

use crate::types::{GroupId, LogIndex};
use std::path::{Path, PathBuf};

pub(super) const LOCK: &str = "lock";
pub(super) const IDENTITY: &str = "identity";
pub(super) const BORN: &str = "born";
pub(super) const GROUPS: &str = "groups";
pub(super) const START: &str = "start";
pub(super) const VOTE: &str = "vote";
pub(super) const NEW_SUFFIX: &str = ".new";
pub(super) const TRASH_SUFFIX: &str = ".trash";
pub(super) const TEMPORARY_SUFFIX: &str = ".tmp";
const SEGMENT_SUFFIX: &str = ".segment";
const INDEX_SUFFIX: &str = ".index";
const CHECKPOINT_SUFFIX: &str = ".checkpoint";

/// The format version of every file, written and read.
pub(super) const VERSION: u32 = 1;

/// The directory of a group's log.
pub(super) fn group_dir(store_dir: &Path, group: GroupId) -> PathBuf {
    store_dir.join(GROUPS).join(group.to_string())
}

pub(super) fn segment_path(group_dir: &Path, first: LogIndex) -> PathBuf {
    group_dir.join(format!("{:020}{SEGMENT_SUFFIX}", first.0))
}

pub(super) fn index_path(group_dir: &Path, first: LogIndex) -> PathBuf {
    group_dir.join(format!("{:020}{INDEX_SUFFIX}", first.0))
}

pub(super) fn checkpoint_name(upto: LogIndex) -> String {
    format!("{:020}{CHECKPOINT_SUFFIX}", upto.0)
}

/// What a name within a group's directory stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum GroupFile {
    Segment(LogIndex),
    Index(LogIndex),
    Checkpoint(LogIndex),
    Temporary,
    Other,
}

/// Reads a name within a group's directory.
pub(super) fn group_file(name: &str) -> GroupFile {
    let number = |stem: &str| {
        let digits = stem.len() == 20 && stem.bytes().all(|byte| byte.is_ascii_digit());
        stem.parse().ok().filter(|_| digits).map(LogIndex)
    };
    if name.ends_with(TEMPORARY_SUFFIX) {
        return GroupFile::Temporary;
    }
    let found = if let Some(stem) = name.strip_suffix(SEGMENT_SUFFIX) {
        number(stem).map(GroupFile::Segment)
    } else if let Some(stem) = name.strip_suffix(INDEX_SUFFIX) {
        number(stem).map(GroupFile::Index)
    } else if let Some(stem) = name.strip_suffix(CHECKPOINT_SUFFIX) {
        number(stem).map(GroupFile::Checkpoint)
    } else {
        None
    };
    found.unwrap_or(GroupFile::Other)
}
