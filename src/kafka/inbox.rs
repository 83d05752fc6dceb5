//! The bytes of one connection that were read and not yet taken: where frames begin and end.
//!
//! Invariants: the buffer grows as bytes arrive, at most by what was there already, unless the client has lately sent
//! frames that large; all of its capacity is covered by permits of the node's budget; an empty buffer holds no memory;
//! a frame is split off without copying unless it is small.

use super::codec::{LENGTH_BYTES, Malformed};
use super::kib;
use bytes::{Bytes, BytesMut};
use tokio::sync::OwnedSemaphorePermit;

/// What a connection begins to read with.
const FIRST_BYTES: usize = 8 << 10;
/// Frames up to this length are copied out, so that what is kept of them does not keep a buffer of others.
const SMALL_BYTES: usize = 4 << 10;

pub(super) struct Inbox {
    buffer: BytesMut,
    permit: Option<OwnedSemaphorePermit>,
    /// About the largest frame of late.
    usual_bytes: usize,
    frame_bytes_max: usize,
}

/// One request as it came, without its length.
pub(super) struct Framed {
    pub bytes: Bytes,
    /// Held until the request is answered.
    pub permit: Option<OwnedSemaphorePermit>,
}

impl Inbox {
    pub(super) fn new(frame_bytes_max: usize) -> Inbox {
        Inbox { buffer: BytesMut::new(), permit: None, usual_bytes: 0, frame_bytes_max }
    }

    /// Length of the frame at the start of the buffer, its length field included.
    fn declared(&self) -> Result<Option<usize>, Malformed> {
        let Some(length) = self.buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = i32::from_be_bytes(*length);
        match usize::try_from(length) {
            Ok(length) if length <= self.frame_bytes_max => Ok(Some(length + LENGTH_BYTES)),
            Ok(_) => {
                let max = self.frame_bytes_max;
                Err(Malformed(format!("a request of {length} bytes is larger than {max}, or this is no Kafka client")))
            }
            Err(_) => Err(Malformed(format!("a request has a length of {length}: this is no Kafka client"))),
        }
    }

    /// Whether a whole frame is there.
    pub(super) fn has_frame(&self) -> bool {
        matches!(self.declared(), Ok(Some(total)) if total <= self.buffer.len())
    }

    /// Whether a part of a frame is there.
    pub(super) fn is_within_frame(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Takes the next whole frame.
    ///
    /// # Errors
    /// What stands there is no length of a frame.
    pub(super) fn take(&mut self) -> Result<Option<Framed>, Malformed> {
        let Some(total) = self.declared()?.filter(|total| *total <= self.buffer.len()) else { return Ok(None) };
        self.usual_bytes = total.max(self.usual_bytes - self.usual_bytes / 8);
        let whole = self.buffer.split_to(total);
        let bytes = if total <= SMALL_BYTES {
            Bytes::copy_from_slice(&whole[LENGTH_BYTES..])
        } else {
            whole.freeze().slice(LENGTH_BYTES..)
        };
        let permit = self.permit.as_mut().and_then(|all| {
            let count = (kib(total) as usize).min(all.num_permits());
            all.split(count)
        });
        self.release();
        Ok(Some(Framed { bytes, permit }))
    }

    /// Gives back the room of an empty buffer: a client that has nothing to say holds none.
    pub(super) fn release(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
            self.permit = None;
        }
    }

    /// Bytes by which the buffer is to grow before more can be read; 0 where there is room.
    ///
    /// # Errors
    /// What stands there is no length of a frame.
    pub(super) fn growth(&self) -> Result<usize, Malformed> {
        let (len, room) = (self.buffer.len(), self.buffer.capacity() - self.buffer.len());
        let Some(total) = self.declared()? else { return Ok(if room == 0 { FIRST_BYTES } else { 0 }) };
        let missing = total.saturating_sub(len);
        if room >= missing.max(1) {
            return Ok(0);
        }
        if total <= self.usual_bytes {
            return Ok(missing);
        }
        Ok(if room > 0 { 0 } else { missing.min(len.max(FIRST_BYTES)).max(1) })
    }

    /// Grows by what [`Inbox::growth`] said.
    pub(super) fn grow(&mut self, bytes: usize, permit: OwnedSemaphorePermit) {
        match &mut self.permit {
            Some(all) => all.merge(permit),
            None => self.permit = Some(permit),
        }
        self.buffer.reserve(bytes);
    }

    /// The buffer to read into.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BufMut;
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    fn read(inbox: &mut Inbox, budget: &Arc<Semaphore>, mut bytes: &[u8]) -> Result<Vec<Framed>, Malformed> {
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            let growth = inbox.growth()?;
            if growth > 0 {
                let permit = budget.clone().try_acquire_many_owned(kib(growth)).expect("the budget is large");
                inbox.grow(growth, permit);
            }
            let room = inbox.buffer().capacity() - inbox.buffer().len();
            let len = bytes.len().min(room).min(1_000);
            assert!(len > 0, "a grown buffer has room");
            inbox.buffer().put_slice(&bytes[..len]);
            bytes = &bytes[len..];
            while let Some(frame) = inbox.take()? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    fn frame(len: usize, fill: u8) -> Vec<u8> {
        let mut frame = (len as u32).to_be_bytes().to_vec();
        frame.resize(4 + len, fill);
        frame
    }

    #[test]
    fn frames_come_out_as_they_went_in_and_give_all_back() {
        let budget = Arc::new(Semaphore::new(1 << 20));
        let mut inbox = Inbox::new(1 << 20);
        let lengths = [0, 1, 5_000, 3, 70_000, 70_000, 10, 1 << 20, 4_096, 9_000];
        let all: Vec<u8> = lengths.iter().enumerate().flat_map(|(place, len)| frame(*len, place as u8)).collect();
        let frames = read(&mut inbox, &budget, &all).unwrap();
        assert_eq!(frames.iter().map(|frame| frame.bytes.len()).collect::<Vec<_>>(), lengths);
        for (place, frame) in frames.iter().enumerate() {
            assert!(frame.bytes.iter().all(|byte| *byte == place as u8));
        }
        assert!(!inbox.is_within_frame() && inbox.buffer().capacity() == 0);
        assert!(budget.available_permits() < 1 << 20, "frames hold their part");
        drop(frames);
        assert_eq!(budget.available_permits(), 1 << 20);
    }

    #[test]
    fn a_declared_length_allocates_nothing() {
        let budget = Arc::new(Semaphore::new(1 << 20));
        let mut inbox = Inbox::new(16 << 20);
        let mut bytes = ((16_u32 << 20) - 1).to_be_bytes().to_vec();
        bytes.resize(10_000, 7);
        read(&mut inbox, &budget, &bytes).unwrap();
        assert!(inbox.buffer().capacity() <= 20_000, "{}", inbox.buffer().capacity());
        assert!(inbox.is_within_frame() && !inbox.has_frame());
    }

    #[test]
    fn lengths_that_no_client_sends_are_refused() {
        let budget = Arc::new(Semaphore::new(1 << 20));
        for bytes in [&b"GET / HTTP/1.1\r\n"[..], &[0xff; 8], &[0x16, 3, 1, 2, 0]] {
            assert!(read(&mut Inbox::new(16 << 20), &budget, bytes).is_err());
        }
    }
}
