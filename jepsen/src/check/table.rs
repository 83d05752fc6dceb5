//! Tables for millions of numbers: offset to message where offsets are nearly dense (an array, and a map for what is far
//! beyond its end), and a hasher for keys that are numbers already.

use std::collections::BTreeMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Hashes numbers by multiplying: a message is looked up each time it was delivered, and nobody attacks a checker by
/// the messages of his own history.
pub type Quick = BuildHasherDefault<QuickHasher>;

#[derive(Default)]
pub struct QuickHasher(u64);

impl Hasher for QuickHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(26) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        // The map takes the lowest and the highest bits; a product is best in its middle.
        self.0 ^ (self.0 >> 29)
    }
}

const EMPTY: u32 = u32::MAX;
/// How far beyond twice its length the array grows at a time; one wild offset must not take all memory.
const AHEAD: u64 = 4096;

#[derive(Debug, Default)]
pub struct OffsetTable {
    dense: Vec<u32>,
    sparse: BTreeMap<u64, u32>,
}

impl OffsetTable {
    /// Puts a message at an offset where none is, and gives the one that is there now.
    pub fn put(&mut self, offset: u64, message: u32) -> u32 {
        let length = self.dense.len() as u64;
        if offset >= length && offset > length * 2 + AHEAD {
            return *self.sparse.entry(offset).or_insert(message);
        }
        if offset >= length {
            self.dense.resize(offset as usize + 1, EMPTY);
        }
        let place = &mut self.dense[offset as usize];
        if *place == EMPTY {
            // It may have been far beyond the end when it came.
            *place = self.sparse.remove(&offset).unwrap_or(message);
        }
        *place
    }

    /// All of it, by offset.
    pub fn into_sorted(self) -> impl Iterator<Item = (u64, u32)> {
        let dense = (0..).zip(self.dense).filter(|(_, message)| *message != EMPTY);
        let mut all: Vec<(u64, u32)> = dense.chain(self.sparse).collect();
        all.sort_unstable();
        all.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_at_an_offset_stays() {
        let mut table = OffsetTable::default();
        let far = 1 << 40;
        assert_eq!(table.put(0, 7), 7);
        assert_eq!(table.put(0, 8), 7);
        assert_eq!(table.put(far, 9), 9);
        assert_eq!(table.put(far, 10), 9);
        assert_eq!(table.into_sorted().collect::<Vec<_>>(), vec![(0, 7), (far, 9)]);
    }

    #[test]
    fn what_came_early_is_found_when_the_array_has_grown() {
        let mut table = OffsetTable::default();
        assert_eq!(table.put(9_000, 1), 1);
        for offset in 0..8_999 {
            table.put(offset, 5);
        }
        assert_eq!(table.put(9_000, 2), 1);
        assert_eq!(table.into_sorted().filter(|(offset, _)| *offset == 9_000).count(), 1);
    }
}
