//! Frames: what goes over a connection after the handshake.
//!
//! ```text
//! 0        4        8                16     18     19       20            24
//! | length | crc32c | request id     | kind | type | (zero) | header size | header … | payload …
//! ```
//!
//! Numbers are little-endian. `length` counts all that follows it. The checksum covers the length, the fixed fields
//! after it and the header. The payload has a checksum of its own where it matters (a record batch), so that its bytes
//! are not read twice.
//!
//! A frame is parsed without copying: header and payload are split off the buffer that they arrived in. The buffer
//! grows by what arrived and a bounded step, never by a length that somebody declared.

use super::Message;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The fixed part of a frame, with its length field.
pub(super) const FIXED_BYTES: usize = 24;

/// The most that a read buffer grows beyond what has arrived.
const STEP_BYTES_MAX: usize = 1 << 20;
/// What an idle connection holds.
const CHUNK_BYTES_MIN: usize = 16 << 10;
/// What a busy connection reads at once.
const CHUNK_BYTES_MAX: usize = 512 << 10;
/// A buffer is filled up to here before the next one is taken, since whoever keeps one frame keeps its whole buffer.
const ROOM_BYTES_MIN: usize = 2048;
/// Pieces below this size are copied together: a copy costs less than one more entry in the kernel's list.
const COPY_BYTES_MAX: usize = 2048;
/// Pieces handed to the kernel at once (its limit is 1,024).
const SLICES_MAX: usize = 256;

const _: () = assert!(CHUNK_BYTES_MAX <= STEP_BYTES_MAX, "a plain read stays within the step");

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum FrameType {
    /// Wants an answer.
    Request = 0,
    /// Wants none.
    Notify = 1,
    /// Answers the request of its id.
    Answer = 2,
    /// The request of its id was dropped by its handler: it may have been carried out.
    Dropped = 3,
    /// The request of its id met no handler: it was not carried out.
    NotServed = 4,
    /// The sender lives; the header is its status.
    Heartbeat = 5,
}

impl FrameType {
    fn from_byte(byte: u8) -> Option<FrameType> {
        Some(match byte {
            0 => FrameType::Request,
            1 => FrameType::Notify,
            2 => FrameType::Answer,
            3 => FrameType::Dropped,
            4 => FrameType::NotServed,
            5 => FrameType::Heartbeat,
            _ => return None,
        })
    }
}

/// One frame, in parts. `request` is 0 for what has no answer.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub request: u64,
    pub frame_type: FrameType,
    pub message: Message,
}

/// Why bytes are not a frame. The connection cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a frame of {bytes} bytes is larger than the limit of {limit}")]
    TooLarge { bytes: usize, limit: usize },
    #[error("a frame of {0} bytes is shorter than its fixed fields")]
    TooShort(usize),
    #[error("a frame's header of {header} bytes does not fit into it ({bytes} bytes)")]
    HeaderTooLarge { header: usize, bytes: usize },
    #[error("a frame's checksum does not match")]
    Checksum,
    #[error("a frame of unknown type {0}")]
    UnknownType(u8),
}

impl Frame {
    /// The size of this frame on the wire, in bytes.
    pub fn wire_bytes(&self) -> usize {
        message_bytes(&self.message)
    }

    /// Appends this frame to what is to be written.
    pub fn encode(self, out: &mut Outgoing) {
        let Message { kind, header, payload } = self.message;
        let total = FIXED_BYTES + header.len() + payload.iter().map(Bytes::len).sum::<usize>();
        let fixed = &mut out.small;
        fixed.reserve(FIXED_BYTES + header.len().min(COPY_BYTES_MAX));
        let start = fixed.len();
        fixed
            .put_u32_le(u32::try_from(total - 4).expect("frames are checked against the limit before they are queued"));
        fixed.put_u32_le(0);
        fixed.put_u64_le(self.request);
        fixed.put_u16_le(kind);
        fixed.put_u8(self.frame_type as u8);
        fixed.put_u8(0);
        fixed.put_u32_le(header.len() as u32);
        let checksum = checksum(&fixed[start..start + FIXED_BYTES], &header);
        fixed[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
        out.push(header);
        for piece in payload {
            out.push(piece);
        }
    }
}

/// The size of a message's frame on the wire, in bytes.
pub(super) fn message_bytes(message: &Message) -> usize {
    FIXED_BYTES + message.header.len() + message.payload.iter().map(Bytes::len).sum::<usize>()
}

/// `fixed` holds the fixed fields; what stands in the checksum's place does not count.
fn checksum(fixed: &[u8], header: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&fixed[..4]);
    let crc = crc32c::crc32c_append(crc, &fixed[8..FIXED_BYTES]);
    crc32c::crc32c_append(crc, header)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a slice of four bytes is four bytes long"))
}

/// What stands at the front of a buffer.
#[derive(Debug)]
pub(super) enum Parsed {
    Frame(Frame),
    /// Not yet a whole frame; the buffer must hold at least so many bytes for the next step.
    Needs(usize),
}

/// Splits the next frame off `buffer`.
pub(super) fn parse(buffer: &mut BytesMut, bytes_max: usize) -> Result<Parsed, FrameError> {
    if buffer.len() < 4 {
        return Ok(Parsed::Needs(FIXED_BYTES));
    }
    let bytes = u32_at(buffer, 0) as usize + 4;
    if bytes > bytes_max {
        return Err(FrameError::TooLarge { bytes, limit: bytes_max });
    }
    if bytes < FIXED_BYTES {
        return Err(FrameError::TooShort(bytes));
    }
    if buffer.len() < bytes {
        return Ok(Parsed::Needs(bytes));
    }
    let fixed = &buffer[..FIXED_BYTES];
    let header_bytes = u32_at(fixed, 20) as usize;
    if header_bytes > bytes - FIXED_BYTES {
        return Err(FrameError::HeaderTooLarge { header: header_bytes, bytes });
    }
    if checksum(fixed, &buffer[FIXED_BYTES..FIXED_BYTES + header_bytes]) != u32_at(fixed, 4) {
        return Err(FrameError::Checksum);
    }
    let request = u64::from_le_bytes(fixed[8..16].try_into().expect("a slice of eight bytes is eight bytes long"));
    let kind = u16::from_le_bytes([fixed[16], fixed[17]]);
    let frame_type = FrameType::from_byte(fixed[18]).ok_or(FrameError::UnknownType(fixed[18]))?;
    let mut frame = buffer.split_to(bytes).freeze();
    frame.advance(FIXED_BYTES);
    let header = frame.split_to(header_bytes);
    let payload = if frame.is_empty() { Vec::new() } else { vec![frame] };
    Ok(Parsed::Frame(Frame { request, frame_type, message: Message { kind, header, payload } }))
}

/// Reads frames from a connection.
pub(super) struct FrameReader<R> {
    read: R,
    buffer: BytesMut,
    chunk_bytes: usize,
    frame_bytes_max: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub fn new(read: R, frame_bytes_max: usize) -> FrameReader<R> {
        FrameReader { read, buffer: BytesMut::new(), chunk_bytes: CHUNK_BYTES_MIN, frame_bytes_max }
    }

    /// The next frame; none, when the connection was closed between two frames.
    pub async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            let wanted = match parse(&mut self.buffer, self.frame_bytes_max) {
                Ok(Parsed::Frame(frame)) => return Ok(Some(frame)),
                Ok(Parsed::Needs(wanted)) => wanted,
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            };
            self.make_room(wanted);
            let before = self.buffer.capacity() - self.buffer.len();
            let got = self.read.read_buf(&mut self.buffer).await?;
            if got == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            self.adapt(got, before);
        }
    }

    /// Room for the rest of the frame, within the step, or for a chunk of whatever comes.
    fn make_room(&mut self, wanted: usize) {
        let missing = wanted.saturating_sub(self.buffer.len());
        let least = missing.clamp(ROOM_BYTES_MIN, STEP_BYTES_MAX);
        if self.buffer.capacity() - self.buffer.len() < least {
            self.buffer.reserve(least.max(self.chunk_bytes));
        }
    }

    /// Busy connections read in larger pieces, idle ones don't hold them.
    fn adapt(&mut self, got: usize, room: usize) {
        if got == room {
            self.chunk_bytes = (self.chunk_bytes * 2).min(CHUNK_BYTES_MAX);
        } else if got < self.chunk_bytes / 8 {
            self.chunk_bytes = (self.chunk_bytes / 2).max(CHUNK_BYTES_MIN);
        }
    }
}

/// Bytes on their way to a connection: small pieces joined, large ones as they are.
#[derive(Default)]
pub(super) struct Outgoing {
    pieces: VecDeque<Bytes>,
    small: BytesMut,
}

impl Outgoing {
    fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        if piece.len() <= COPY_BYTES_MAX {
            self.small.extend_from_slice(&piece);
            return;
        }
        self.seal();
        self.pieces.push_back(piece);
    }

    fn seal(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push_back(self.small.split().freeze());
        }
    }

    /// Writes everything, many pieces at a time.
    pub async fn write_all<W: AsyncWrite + Unpin>(&mut self, write: &mut W) -> io::Result<()> {
        self.seal();
        while !self.pieces.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut count = 0;
            for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                *slice = IoSlice::new(piece);
                count += 1;
            }
            let written = match count {
                1 => write.write(&slices[0]).await?,
                _ => write.write_vectored(&slices[..count]).await?,
            };
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.advance(written);
        }
        Ok(())
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(front) = self.pieces.front_mut() {
            if written < front.len() {
                front.advance(written);
                return;
            }
            written -= front.len();
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 1 << 16;

    fn frames() -> impl Strategy<Value = Frame> {
        let bytes = |most| proptest::collection::vec(any::<u8>(), 0..most).prop_map(Bytes::from);
        let types = proptest::sample::select(vec![FrameType::Request, FrameType::Notify, FrameType::Answer]);
        (any::<u64>(), types, any::<u16>(), bytes(5000), proptest::collection::vec(bytes(3000), 0..4)).prop_map(
            |(request, frame_type, kind, header, payload)| {
                let message = Message { kind, header, payload };
                Frame { request, frame_type, message }
            },
        )
    }

    fn written(frames: &[Frame]) -> Vec<u8> {
        let mut out = Outgoing::default();
        frames.iter().for_each(|frame| frame.clone().encode(&mut out));
        let mut bytes = Vec::new();
        futures::executor::block_on(out.write_all(&mut bytes)).unwrap();
        bytes
    }

    fn assert_same(read: &Frame, sent: &Frame) {
        assert_eq!(
            (read.request, read.frame_type, read.message.kind),
            (sent.request, sent.frame_type, sent.message.kind)
        );
        assert_eq!(read.message.header, sent.message.header);
        assert_eq!(read.message.payload.concat(), sent.message.payload.concat());
    }

    /// Feeds `bytes` in pieces of `step`; gives the frames before the first error.
    fn parsed(bytes: &[u8], step: usize) -> (Vec<Frame>, Option<FrameError>) {
        let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
        for piece in bytes.chunks(step) {
            buffer.extend_from_slice(piece);
            loop {
                match parse(&mut buffer, MAX) {
                    Ok(Parsed::Frame(frame)) => frames.push(frame),
                    Ok(Parsed::Needs(bytes)) => {
                        assert!(bytes > buffer.len() && bytes <= MAX);
                        break;
                    }
                    Err(error) => return (frames, Some(error)),
                }
            }
        }
        (frames, None)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(sent in proptest::collection::vec(frames(), 0..6), step in 1..7000usize) {
            let (read, error) = parsed(&written(&sent), step);
            prop_assert_eq!(error, None);
            prop_assert_eq!(read.len(), sent.len());
            read.iter().zip(&sent).for_each(|(read, sent)| assert_same(read, sent));
        }

        #[test]
        fn any_bytes_are_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), length in 0..300u32) {
            parsed(&bytes, 7);
            // With a plausible length in front, so that the rest is looked at too.
            let framed = [&length.to_le_bytes()[..], &bytes].concat();
            parsed(&framed, 50);
        }

        #[test]
        fn a_changed_header_is_noticed(frame in frames(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
            let mut bytes = written(std::slice::from_ref(&frame));
            let at = at.index(FIXED_BYTES + frame.message.header.len());
            bytes[at] ^= 1 << bit;
            let (read, error) = parsed(&bytes, bytes.len());
            // A length that grew waits for bytes that never come; all else is found out.
            prop_assert!(read.is_empty() && (error.is_some() || at < 4));
        }

        #[test]
        fn a_reader_of_any_bytes_ends(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut reader = FrameReader::new(&bytes[..], MAX);
            futures::executor::block_on(async { while let Ok(Some(_)) = reader.next().await {} });
        }
    }

    #[test]
    fn a_declared_length_takes_no_memory() {
        let mut reader = FrameReader::new(&[0xf0, 0xff, 0xff, 0x3f, 1, 2, 3][..], 1 << 31);
        let end = futures::executor::block_on(reader.next());
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(reader.buffer.capacity() <= 2 * STEP_BYTES_MAX, "{}", reader.buffer.capacity());
    }

    #[test]
    fn small_frames_that_are_kept_share_a_buffer() {
        let frame = Frame {
            request: 1,
            frame_type: FrameType::Request,
            message: Message { kind: 1, header: Bytes::new(), payload: vec![Bytes::from_static(&[1; 100])] },
        };
        let bytes = written(&vec![frame; 100]);
        // A slice gives all that there is room for, so each read fills the buffer.
        let mut reader = FrameReader::new(&bytes[..], MAX);
        let mut kept = Vec::new();
        futures::executor::block_on(async {
            while let Some(frame) = reader.next().await.unwrap() {
                kept.push(frame.message.payload[0].clone());
            }
        });
        let pages: std::collections::BTreeSet<usize> =
            kept.iter().map(|kept| kept.as_ptr() as usize / (64 << 10)).collect();
        assert_eq!(kept.len(), 100);
        assert!(pages.len() <= 3, "{pages:?}");
    }
}
