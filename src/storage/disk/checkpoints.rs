//! Checkpoints: the state machine as of a log index, beside the log.

use super::DiskLog;
use crate::storage::small_file::{self, CHECKPOINT_MAGIC, Fields};
use crate::storage::{layout, require_checkpoint};
use crate::types::{LogId, LogIndex};
use bytes::Bytes;
use std::io;

/// Bytes of a checkpoint's body before the state: term and log index.
const ID_LEN: usize = 16;

impl DiskLog {
    pub(super) fn write_checkpoint(&self, upto: LogId, state: &[u8]) -> io::Result<()> {
        let _maintenance = self.maintenance.lock();
        let mut body = Vec::with_capacity(ID_LEN + state.len());
        body.extend_from_slice(&upto.term.0.to_le_bytes());
        body.extend_from_slice(&upto.index.0.to_le_bytes());
        body.extend_from_slice(state);
        let name = layout::checkpoint_name(upto.index);
        // A failure changes nothing that is needed: the older checkpoints stay.
        small_file::save(&*self.shared.fs, &self.dir, &name, CHECKPOINT_MAGIC, &body)?;
        let unneeded = {
            let mut inner = self.inner.lock();
            if let Err(at) = inner.checkpoints.binary_search(&upto.index) {
                inner.checkpoints.insert(at, upto.index);
            }
            let flushed = inner.flushed.map(|flushed| flushed.index);
            let purged = inner.start.purged.map(|purged| purged.index);
            split_unneeded(&mut inner.checkpoints, flushed, purged)
        };
        self.remove_checkpoints(&unneeded);
        Ok(())
    }

    /// Removes the files of checkpoints that are no longer needed. One that stays does no harm.
    pub(super) fn remove_checkpoints(&self, unneeded: &[LogIndex]) {
        for index in unneeded {
            let path = self.dir.join(layout::checkpoint_name(*index));
            if let Err(error) = self.shared.fs.remove_file(&path) {
                tracing::warn!(group = %self.group, %error, path = %path.display(), "cannot remove a checkpoint");
            }
        }
    }

    pub(super) fn newest_checkpoint(&self) -> io::Result<Option<(LogId, Bytes)>> {
        let (usable, purged) = {
            let inner = self.inner.lock();
            let purged = inner.start.purged;
            let usable = |index: &LogIndex| {
                inner.flushed.is_some_and(|flushed| *index <= flushed.index)
                    && purged.is_none_or(|purged| *index >= purged.index)
            };
            (inner.checkpoints.iter().copied().filter(usable).collect::<Vec<_>>(), purged)
        };
        for index in usable.into_iter().rev() {
            match self.load(index) {
                Ok(found) => return Ok(Some(found)),
                // An older one, and more of the log, give the same state.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    tracing::warn!(group = %self.group, %error, "a checkpoint is damaged");
                }
                Err(error) => return Err(error),
            }
        }
        require_checkpoint(None, purged)
    }

    fn load(&self, index: LogIndex) -> io::Result<(LogId, Bytes)> {
        let path = self.dir.join(layout::checkpoint_name(index));
        let body = small_file::load(&*self.shared.fs, &path, CHECKPOINT_MAGIC)?;
        match Fields(&body).log_id() {
            Some(id) if id.index == index => Ok((id, Bytes::from(body).slice(ID_LEN..))),
            _ => Err(small_file::damaged(&path, "it is of another log index than its name says")),
        }
    }
}

/// Takes out what is not needed: all but the newest two, the newest that is within the flushed log (the two may be
/// ahead of it, and a crash would leave none), and the one at the log's start, which is the snapshot for others.
fn split_unneeded(kept: &mut Vec<LogIndex>, flushed: Option<LogIndex>, purged: Option<LogIndex>) -> Vec<LogIndex> {
    let newest = kept.len().saturating_sub(2);
    let within = flushed.and_then(|flushed| kept.iter().copied().rfind(|index| *index <= flushed));
    let needed = |at: usize, index: LogIndex| at >= newest || Some(index) == within || Some(index) == purged;
    let unneeded = kept.iter().enumerate().filter(|(at, index)| !needed(*at, **index)).map(|(_, index)| *index);
    let unneeded: Vec<LogIndex> = unneeded.collect();
    kept.retain(|index| !unneeded.contains(index));
    unneeded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_newest_two_the_flushed_one_and_the_start() {
        let indexes = |numbers: &[u64]| numbers.iter().map(|number| LogIndex(*number)).collect::<Vec<_>>();
        let mut kept = indexes(&[1, 3, 5, 7, 9, 11]);
        let unneeded = split_unneeded(&mut kept, Some(LogIndex(6)), Some(LogIndex(3)));
        assert_eq!(kept, indexes(&[3, 5, 9, 11]));
        assert_eq!(unneeded, indexes(&[1, 7]));
    }
}
