//! Idempotent Kafka producers (KIP-98): which sequence numbers each has used, so that a batch that is sent again is
//! answered with the offset that it got, and none is written twice or out of order.
//!
//! As Kafka 4 has it: a producer that is not known here may begin with any number (its state may have expired, KIP-360);
//! a new epoch begins at 0; an older epoch is fenced; the newest five batches of a producer are remembered. Numbers go
//! from 0 to 2^31 - 1 and then from 0 again.
//!
//! Producers are forgotten a day after their last batch by the leaders' clock, as it stands in the entries, and the
//! longest idle ones where there are too many.

use crate::types::{LogIndex, Offset};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Batches remembered per producer: as many as a client may have in flight.
pub const PRODUCER_BATCHES_KEPT: usize = 5;
/// Producers kept per partition.
pub const PRODUCERS_KEPT: usize = 10_000;
/// How long a producer without batches is kept, in ms (Kafka's default of `producer.id.expiration.ms`).
pub const PRODUCER_AGE_MS_MAX: i64 = 24 * 60 * 60 * 1000;

/// The sequence numbers of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerBatch {
    pub producer_id: i64,
    pub epoch: i16,
    pub first_sequence: i32,
    pub record_count: u32,
}

impl ProducerBatch {
    fn last_sequence(&self) -> i32 {
        plus(self.first_sequence, self.record_count.saturating_sub(1))
    }
}

/// `sequence` and `count` more, in 31 bits.
fn plus(sequence: i32, count: u32) -> i32 {
    ((i64::from(sequence) + i64::from(count)) % (i64::from(i32::MAX) + 1)) as i32
}

/// Whether a producer's batch is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProducerCheck {
    New,
    /// Written before; its records begin here.
    Duplicate(Offset),
    /// The next number would be this.
    OutOfOrder {
        expected: i32,
    },
    /// The producer has begun this newer epoch.
    Fenced {
        epoch: i16,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Written {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: Offset,
}

/// One producer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Producer {
    epoch: i16,
    last_index: LogIndex,
    last_appended_at_ms: i64,
    /// Of this epoch, oldest first; never empty.
    written: VecDeque<Written>,
}

impl Producer {
    fn next_sequence(&self) -> i32 {
        self.written.back().map_or(0, |last| plus(last.last_sequence, 1))
    }

    fn check(&self, batch: &ProducerBatch) -> ProducerCheck {
        if batch.epoch < self.epoch {
            return ProducerCheck::Fenced { epoch: self.epoch };
        }
        let expected = if batch.epoch == self.epoch { self.next_sequence() } else { 0 };
        if batch.first_sequence == expected {
            return ProducerCheck::New;
        }
        let last_sequence = batch.last_sequence();
        let same = |written: &&Written| {
            batch.epoch == self.epoch
                && written.first_sequence == batch.first_sequence
                && written.last_sequence == last_sequence
        };
        match self.written.iter().find(same) {
            Some(written) => ProducerCheck::Duplicate(written.base_offset),
            None => ProducerCheck::OutOfOrder { expected },
        }
    }

    fn note(&mut self, batch: &ProducerBatch, base_offset: Offset) {
        if batch.epoch != self.epoch {
            self.epoch = batch.epoch;
            self.written.clear();
        }
        let (first_sequence, last_sequence) = (batch.first_sequence, batch.last_sequence());
        self.written.push_back(Written { first_sequence, last_sequence, base_offset });
        if self.written.len() > PRODUCER_BATCHES_KEPT {
            self.written.pop_front();
        }
    }
}

/// What an administrator is shown of a producer (KIP-664).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerView {
    pub producer_id: i64,
    pub epoch: i16,
    pub last_sequence: i32,
    pub last_appended_at_ms: i64,
}

/// All producers of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producers {
    by_id: BTreeMap<i64, Producer>,
    /// Producer ids by their last entry: the longest idle one first.
    by_last_entry: BTreeMap<LogIndex, i64>,
}

impl Producers {
    /// Whether a batch is new, by what is known of its producer.
    pub fn check(&self, batch: &ProducerBatch) -> ProducerCheck {
        self.by_id.get(&batch.producer_id).map_or(ProducerCheck::New, |known| known.check(batch))
    }

    /// Producers with what they sent last, by id.
    pub fn views(&self) -> impl Iterator<Item = ProducerView> {
        self.by_id.iter().map(|(producer_id, known)| ProducerView {
            producer_id: *producer_id,
            epoch: known.epoch,
            last_sequence: known.written.back().map_or(-1, |last| last.last_sequence),
            last_appended_at_ms: known.last_appended_at_ms,
        })
    }

    /// Notes the batch of the entry at `index`.
    ///
    /// # Errors
    /// It is not the producer's next one: its leader should have refused it.
    pub(super) fn note(
        &mut self,
        index: LogIndex,
        appended_at_ms: i64,
        batch: &ProducerBatch,
        base_offset: Offset,
    ) -> Result<(), String> {
        match self.check(batch) {
            ProducerCheck::New => {}
            other => return Err(format!("entry {index}: {batch:?} is {other:?}")),
        }
        let known = self.by_id.entry(batch.producer_id).or_insert_with(|| Producer {
            epoch: batch.epoch,
            last_index: index,
            last_appended_at_ms: appended_at_ms,
            written: VecDeque::new(),
        });
        self.by_last_entry.remove(&known.last_index);
        known.note(batch, base_offset);
        (known.last_index, known.last_appended_at_ms) = (index, appended_at_ms);
        self.by_last_entry.insert(index, batch.producer_id);
        Ok(())
    }

    /// Forgets who was idle for a day at `now_ms`, and the longest idle ones of too many.
    pub(super) fn expire(&mut self, now_ms: i64) {
        while let Some(entry) = self.by_last_entry.first_entry() {
            let oldest = *entry.get();
            let idle = self
                .by_id
                .get(&oldest)
                .is_none_or(|known| now_ms.saturating_sub(known.last_appended_at_ms) > PRODUCER_AGE_MS_MAX);
            if !idle && self.by_id.len() <= PRODUCERS_KEPT {
                return;
            }
            entry.remove();
            self.by_id.remove(&oldest);
        }
    }

    pub(super) fn to_list(&self) -> Vec<(i64, Producer)> {
        self.by_id.iter().map(|(id, known)| (*id, known.clone())).collect()
    }

    pub(super) fn from_list(list: Vec<(i64, Producer)>) -> Producers {
        Producers {
            by_last_entry: list.iter().map(|(id, known)| (known.last_index, *id)).collect(),
            by_id: list.into_iter().collect(),
        }
    }
}

/// Producers with batches on their way, as they will be once those are applied.
///
/// A leader admits a batch by what will be known when it is applied; a batch that was admitted and is not applied yet is
/// known here.
#[derive(Debug, Default)]
pub struct ProducersInFlight(BTreeMap<i64, InFlight>);

#[derive(Debug)]
struct InFlight {
    batches: usize,
    expected: Producer,
}

impl ProducersInFlight {
    /// As [`Producers::check`]; `None` where nothing of the producer is on its way.
    pub fn check(&self, batch: &ProducerBatch) -> Option<ProducerCheck> {
        self.0.get(&batch.producer_id).map(|known| known.expected.check(batch))
    }

    /// Notes a batch that was admitted and will stand at `base_offset`.
    pub fn admit(&mut self, applied: &Producers, batch: &ProducerBatch, base_offset: Offset) {
        let known = self.0.entry(batch.producer_id).or_insert_with(|| {
            let unknown = || Producer {
                epoch: batch.epoch,
                last_index: LogIndex(0),
                last_appended_at_ms: 0,
                written: VecDeque::new(),
            };
            InFlight { batches: 0, expected: applied.by_id.get(&batch.producer_id).cloned().unwrap_or_else(unknown) }
        });
        known.batches += 1;
        known.expected.note(batch, base_offset);
    }

    /// Forgets a batch that was admitted: it was applied, or never will be.
    pub fn settle(&mut self, producer_id: i64) {
        if let Some(known) = self.0.get_mut(&producer_id) {
            known.batches -= 1;
            if known.batches == 0 {
                self.0.remove(&producer_id);
            }
        }
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}
