//! Bytes on their way to a client, in pieces that are never joined: what a record batch lies in is handed to the
//! socket as it is.

use super::codec::Answer;
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::IoSlice;
use tokio::sync::OwnedSemaphorePermit;

/// Places for pieces that an empty queue may keep.
const PLACES_KEPT: usize = 16;

/// A queue of pieces, written in order. Bounded by whoever fills it.
#[derive(Default)]
pub(super) struct Outgoing {
    pieces: VecDeque<Bytes>,
    len: usize,
    /// Given back once nothing is left to be written.
    permits: Vec<OwnedSemaphorePermit>,
}

impl Outgoing {
    pub(super) fn push(&mut self, answer: Answer) {
        for piece in answer.pieces.into_iter().filter(|piece| !piece.is_empty()) {
            self.len += piece.len();
            self.pieces.push_back(piece);
        }
        self.permits.extend(answer.permit);
    }
}

impl Buf for Outgoing {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.len, "no more is written than there is");
        self.len -= count;
        while count > 0 {
            let front = self.pieces.front_mut().expect("the pieces are as long as their sum");
            let taken = front.len().min(count);
            count -= taken;
            if taken == front.len() {
                self.pieces.pop_front();
            } else {
                front.advance(taken);
            }
        }
        if self.pieces.is_empty() {
            self.permits.clear();
        }
        // An idle connection does not keep the places of the many pieces that it once had.
        if self.pieces.is_empty() && self.pieces.capacity() > PLACES_KEPT {
            self.pieces = VecDeque::new();
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let count = slices.len().min(self.pieces.len());
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_leave_in_order_however_they_are_cut() {
        let all: Vec<u8> = (0..100).collect();
        for step in 1..100 {
            let mut out = Outgoing::default();
            let pieces = all.chunks(7).map(Bytes::copy_from_slice).chain([Bytes::new()]).collect();
            out.push(Answer { pieces, permit: None });
            let mut left: Vec<u8> = Vec::new();
            while out.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 3];
                let count = out.chunks_vectored(&mut slices);
                let offered: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
                assert!(offered.starts_with(out.chunk()) && !offered.is_empty());
                let taken = step.min(offered.len());
                left.extend(&offered[..taken]);
                out.advance(taken);
            }
            assert_eq!(left, all);
        }
    }
}
