//! What each writer, a node's lane to this partition, wrote last.

use super::entries::WriterId;
use crate::types::{LogIndex, Offset};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// How many answers are kept per writer: more than a lane ever has in flight.
pub const WRITER_ANSWERS_KEPT: usize = 32;
/// How many writers are kept: each node has one per process life, so that this outlasts many restarts.
pub const WRITERS_KEPT: usize = 64;
/// What a writer's entry got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct WriterAnswer {
    sequence: u64,
    base_offset: Offset,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Writer {
    next_sequence: u64,
    last_index: LogIndex,
    answers: VecDeque<WriterAnswer>,
}

/// Whether a writer's entry is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceCheck {
    /// The next one.
    New,
    /// Written before; its records begin here.
    Duplicate(Offset),
    /// Neither: the next one would be this.
    OutOfOrder { expected: u64 },
}

/// All writers that are known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Writers(BTreeMap<WriterId, Writer>);

impl Writers {
    /// Whether `writer`'s entry `sequence` was applied before.
    pub fn check(&self, writer: WriterId, sequence: u64) -> SequenceCheck {
        let Some(known) = self.0.get(&writer) else {
            return if sequence == 0 { SequenceCheck::New } else { SequenceCheck::OutOfOrder { expected: 0 } };
        };
        if sequence == known.next_sequence {
            return SequenceCheck::New;
        }
        match known.answers.iter().find(|answer| answer.sequence == sequence) {
            Some(answer) => SequenceCheck::Duplicate(answer.base_offset),
            None => SequenceCheck::OutOfOrder { expected: known.next_sequence },
        }
    }

    /// The sequence number that `writer` has to use next; `None` for one that is not known.
    pub fn next_sequence(&self, writer: WriterId) -> Option<u64> {
        self.0.get(&writer).map(|known| known.next_sequence)
    }

    /// Notes the entry at `index`.
    ///
    /// # Errors
    /// It is not the writer's next one.
    pub fn note(
        &mut self,
        index: LogIndex,
        writer: WriterId,
        sequence: u64,
        base_offset: Offset,
    ) -> Result<(), String> {
        match self.check(writer, sequence) {
            SequenceCheck::New => {}
            other => return Err(format!("entry {index}: sequence {sequence} of writer {writer:?} is {other:?}")),
        }
        let known = self.0.entry(writer).or_insert_with(|| Writer {
            next_sequence: 0,
            last_index: index,
            answers: VecDeque::new(),
        });
        known.next_sequence = sequence + 1;
        known.last_index = index;
        known.answers.push_back(WriterAnswer { sequence, base_offset });
        if known.answers.len() > WRITER_ANSWERS_KEPT {
            known.answers.pop_front();
        }
        if self.0.len() > WRITERS_KEPT {
            let oldest = self.0.iter().min_by_key(|(_, known)| known.last_index).map(|(writer, _)| *writer);
            if let Some(oldest) = oldest {
                self.0.remove(&oldest);
            }
        }
        Ok(())
    }
}
