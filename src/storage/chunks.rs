//! Buffers that cold reads use again.
//!
//! A fresh megabyte costs more to get than to fill: the kernel clears each page at its first touch (measured: half of the
//! time of reading back what the page cache has). So a few buffers stay here between reads; what was cut out of one
//! keeps it from coming back until the last part is dropped.
//!
//! Invariant: at most [`KEPT_MAX`] buffers are kept. How many are out at a time is the readers' business.

use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};

/// The length of each.
pub(super) const CHUNK_BYTES: usize = 1 << 20;
/// Buffers kept for the next read.
const KEPT_MAX: usize = 8;

#[derive(Default)]
pub(super) struct Chunks {
    kept: Mutex<Vec<Box<[u8]>>>,
}

impl Chunks {
    /// A buffer of `len` bytes, filled by `fill`, which returns how many of them count. What it held before is visible
    /// to `fill` and never to anyone else.
    pub fn read<E>(
        self: &Arc<Chunks>,
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Bytes, E> {
        // Small reads are not worth a place, and larger ones are of one large batch.
        if !(CHUNK_BYTES / 4..=CHUNK_BYTES).contains(&len) {
            let mut own = vec![0; len];
            let got = fill(&mut own)?;
            own.truncate(got);
            return Ok(own.into());
        }
        let known = self.kept.lock().pop();
        let buffer = known.unwrap_or_else(|| vec![0; CHUNK_BYTES].into_boxed_slice());
        let mut lent = Lent { buffer, len: 0, home: Arc::downgrade(self) };
        lent.len = fill(&mut lent.buffer[..len])?.min(len);
        Ok(Bytes::from_owner(lent))
    }
}

struct Lent {
    buffer: Box<[u8]>,
    len: usize,
    home: Weak<Chunks>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(home) = self.home.upgrade() else { return };
        let mut kept = home.kept.lock();
        if kept.len() < KEPT_MAX {
            kept.push(std::mem::take(&mut self.buffer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chunks: &Arc<Chunks>, byte: u8, len: usize, got: usize) -> Bytes {
        let fill = |buffer: &mut [u8]| {
            assert_eq!(buffer.len(), len);
            buffer[..got].fill(byte);
            Ok::<_, ()>(got)
        };
        chunks.read(len, fill).unwrap()
    }

    #[test]
    fn a_buffer_comes_back_with_its_last_part_and_shows_nothing_old() {
        let chunks = Arc::<Chunks>::default();
        let first = read(&chunks, 7, CHUNK_BYTES, CHUNK_BYTES);
        let place = first.as_ptr();
        let part = first.slice(10..20);
        drop(first);
        let second = read(&chunks, 8, CHUNK_BYTES, 5);
        assert_ne!(second.as_ptr(), place, "a part of the first is still out");
        assert_eq!(&second[..], [8; 5]);
        assert_eq!(&part[..], [7; 10]);
        drop(part);
        let third = read(&chunks, 9, CHUNK_BYTES / 2, 3);
        assert_eq!((third.as_ptr(), &third[..]), (place, &[9; 3][..]));
    }

    #[test]
    fn few_are_kept() {
        let chunks = Arc::<Chunks>::default();
        let out: Vec<Bytes> = (0..KEPT_MAX + 5).map(|_| read(&chunks, 1, CHUNK_BYTES, 1)).collect();
        drop(out);
        assert_eq!(chunks.kept.lock().len(), KEPT_MAX);
        assert_eq!(read(&chunks, 1, 100, 100).len(), 100);
        assert_eq!(read(&chunks, 1, 2 * CHUNK_BYTES, 8).len(), 8);
        assert_eq!(chunks.kept.lock().len(), KEPT_MAX, "neither small nor large reads take one");
    }

    #[test]
    fn a_failed_read_gives_its_buffer_back() {
        let chunks = Arc::<Chunks>::default();
        assert_eq!(chunks.read(CHUNK_BYTES, |_| Err("broken")), Err("broken"));
        assert_eq!(chunks.kept.lock().len(), 1);
    }
}
