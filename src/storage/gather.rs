//! What was appended and is to be written: frames in the order of the log, and who is to be told.

use super::frame::FrameHeader;
use super::segment::{SegmentHeader, SparseIndex, Summary};
use super::window::HeldEntry;
use super::{Flushed, Payload, batches};
use crate::types::LogId;
use bytes::Bytes;
use std::sync::Arc;

/// Payloads up to here are copied, since a slice of their own costs more.
const COPIED_BYTES_MAX: usize = 4096;

/// One piece of what is to be written.
pub(super) enum Piece {
    /// So many bytes of `copied`.
    Copied(usize),
    Shared(Bytes),
    NextSegment(Box<NextSegment>),
}

/// A segment to be begun, and the one that it closes.
pub(super) struct NextSegment {
    pub header: SegmentHeader,
    pub closed: Option<(Summary, Arc<SparseIndex>)>,
}

/// Appends that wait for the flusher.
#[derive(Default)]
pub(super) struct Gather {
    pub copied: Vec<u8>,
    pub pieces: Vec<Piece>,
    pub bytes: u64,
    /// The last entry that is in here.
    pub upto: Option<LogId>,
    pub flushed: Vec<Flushed>,
}

impl Gather {
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.flushed.is_empty()
    }

    /// Adds the frame of an entry. Returns its header.
    pub fn push(&mut self, entry: &HeldEntry, durable_next: u64, salt: u32) -> FrameHeader {
        let (header, bytes) = FrameHeader::of(entry, durable_next, salt);
        self.copy(&bytes);
        match &entry.payload {
            Payload::Blank => {}
            Payload::Membership(payload) | Payload::Command(payload) => self.share(payload.clone()),
            Payload::Data(data) => {
                self.copy(&data.attributes);
                self.copy(&entry.prefix);
                self.share(data.batches.slice(batches::PREFIX_LEN..));
            }
        }
        self.bytes += header.frame_len();
        self.upto = Some(entry.id);
        header
    }

    fn copy(&mut self, bytes: &[u8]) {
        self.copied.extend_from_slice(bytes);
        match self.pieces.last_mut() {
            Some(Piece::Copied(len)) => *len += bytes.len(),
            _ => self.pieces.push(Piece::Copied(bytes.len())),
        }
    }

    fn share(&mut self, bytes: Bytes) {
        if bytes.len() <= COPIED_BYTES_MAX { self.copy(&bytes) } else { self.pieces.push(Piece::Shared(bytes)) }
    }
}
