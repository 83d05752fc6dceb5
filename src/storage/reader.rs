//! Reads frames of a segment one behind the other, in large chunks.

use super::chunks::Chunks;
use super::frame::{Frame, FrameHeader, HEADER_LEN};
use crate::vfs::VfsFile;
use bytes::Bytes;
use std::io;
use std::sync::Arc;

/// What is read of each frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// Everything, and all checksums are checked.
    Whole,
    /// Without the batches of data, which are skipped; the frame's checksum is checked, the batch's CRC is not.
    Headers,
}

/// What the next bytes are.
pub(super) enum Step {
    Frame(Frame),
    End,
    /// No sound frame begins here.
    Damaged(String),
}

/// Reads frames from a position on.
pub(super) struct FrameReader<'a> {
    file: &'a dyn VfsFile,
    salt: u32,
    detail: Detail,
    position: u64,
    end: u64,
    chunks: &'a Arc<Chunks>,
    chunk: Bytes,
    chunk_start: u64,
    chunk_bytes: usize,
}

impl<'a> FrameReader<'a> {
    /// Reads `[position, end)` of a segment, `chunk_bytes` at a time.
    pub fn new(
        file: &'a dyn VfsFile,
        chunks: &'a Arc<Chunks>,
        salt: u32,
        detail: Detail,
        position: u64,
        end: u64,
        chunk_bytes: usize,
    ) -> FrameReader<'a> {
        let chunk_bytes = chunk_bytes.max(4096);
        FrameReader {
            file,
            salt,
            detail,
            position,
            end,
            chunks,
            chunk: Bytes::new(),
            chunk_start: position,
            chunk_bytes,
        }
    }

    /// Where the next frame begins.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next frame. After `End` or `Damaged` it says the same again.
    pub fn step(&mut self) -> io::Result<Step> {
        let left = self.end.saturating_sub(self.position);
        if left == 0 {
            return Ok(Step::End);
        }
        if left < HEADER_LEN as u64 {
            return Ok(Step::Damaged(format!("only {left} bytes of a frame are there")));
        }
        let Some(head) = self.fill(HEADER_LEN as u64)? else { return Ok(self.cut_short()) };
        let header = match FrameHeader::parse(head.first_chunk().expect("as many bytes as asked for")) {
            Ok(header) => header,
            Err(reason) => return Ok(Step::Damaged(reason.to_string())),
        };
        if header.frame_len() > left {
            let len = header.frame_len();
            return Ok(Step::Damaged(format!("a frame says that it has {len} bytes, {left} are there")));
        }
        let skip_payload = self.detail == Detail::Headers && header.is_data();
        let needed = if skip_payload { header.checked_len() } else { header.frame_len() };
        let Some(bytes) = self.fill(needed)? else { return Ok(self.cut_short()) };
        let sound =
            if skip_payload { header.checksum_holds(&bytes, self.salt) } else { header.whole_holds(&bytes, self.salt) };
        if !sound {
            return Ok(Step::Damaged("a frame's checksum is wrong".to_string()));
        }
        let payload_at = HEADER_LEN + header.attributes_len as usize;
        let attributes = bytes.slice(HEADER_LEN..payload_at);
        let payload = if skip_payload { Bytes::new() } else { bytes.slice(payload_at..) };
        let frame = Frame { header, position: self.position, attributes, payload };
        self.position += header.frame_len();
        Ok(Step::Frame(frame))
    }

    fn cut_short(&self) -> Step {
        Step::Damaged("the file is shorter than it was".to_string())
    }

    // The next `len` bytes from the position on, which lie before `end`; `None` when the file lacks them.
    fn fill(&mut self, len: u64) -> io::Result<Option<Bytes>> {
        let len = len as usize;
        let have = self.chunk_start + self.chunk.len() as u64;
        if self.position < self.chunk_start || self.position + len as u64 > have {
            let left = (self.end - self.position).min(usize::MAX as u64) as usize;
            // The old chunk may be the one to use again.
            self.chunk = Bytes::new();
            let len = len.max(self.chunk_bytes).min(left);
            self.chunk = self.chunks.read(len, |chunk| self.file.read_at(chunk, self.position))?;
            self.chunk_start = self.position;
        }
        let at = (self.position - self.chunk_start) as usize;
        Ok((self.chunk.len() >= at + len).then(|| self.chunk.slice(at..at + len)))
    }
}
