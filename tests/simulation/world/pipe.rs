//! One direction of a connection: bytes that arrive later than they were sent, in order, or not at all.
//!
//! A pipe holds a bounded number of bytes, as sockets do: a writer waits while its reader does not read or its link is
//! cut. What was sent before a connection was closed arrives before its end; what was sent before it was reset may not.

use super::network::Delivered;
use std::collections::VecDeque;
use std::task::Waker;

/// Bytes that are sent and not yet read, at most.
const WINDOW_BYTES: usize = 256 << 10;

/// How a pipe ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The writer closed it: what was sent arrives first.
    Closed,
    /// Reset: whoever reads or writes hears so.
    Reset,
}

/// See the module.
pub struct Pipe {
    pub from: u64,
    pub to: u64,
    /// On its way, each with the time of its arrival, in microseconds.
    pub on_way: VecDeque<(u64, Vec<u8>)>,
    arrived: VecDeque<u8>,
    pub held: usize,
    /// When the end arrives at the reader, and which it is.
    pub ends: Option<(u64, End)>,
    ended: Option<End>,
    pub reader_gone: bool,
    pub writer_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// What reading or writing gives.
pub enum Step {
    Done(usize),
    /// Nothing now: the waker is kept.
    Wait,
    Reset,
}

impl Pipe {
    pub fn new(from: u64, to: u64) -> Pipe {
        Pipe {
            from,
            to,
            on_way: VecDeque::new(),
            arrived: VecDeque::new(),
            held: 0,
            ends: None,
            ended: None,
            reader_gone: false,
            writer_gone: false,
            reader: None,
            writer: None,
        }
    }

    /// Sends bytes that arrive at `at`, behind all that was sent before.
    pub fn write(&mut self, bytes: &[u8], at: u64, waker: &Waker) -> Step {
        if self.reader_gone || self.ended.is_some() || matches!(self.ends, Some((_, End::Reset))) {
            return Step::Reset;
        }
        let room = WINDOW_BYTES.saturating_sub(self.held);
        if room == 0 {
            self.writer = Some(waker.clone());
            return Step::Wait;
        }
        let count = room.min(bytes.len());
        let at = self.on_way.back().map_or(at, |(last, _)| at.max(*last));
        self.on_way.push_back((at, bytes[..count].to_vec()));
        self.held += count;
        Step::Done(count)
    }

    /// Takes what has arrived; `Done(0)` at the end.
    pub fn read(&mut self, into: &mut [u8], waker: &Waker) -> Step {
        if self.ended == Some(End::Reset) {
            return Step::Reset;
        }
        let count = into.len().min(self.arrived.len());
        if count == 0 && self.ended.is_none() {
            self.reader = Some(waker.clone());
            return Step::Wait;
        }
        for (place, byte) in into.iter_mut().zip(self.arrived.drain(..count)) {
            *place = byte;
        }
        self.held -= count;
        if count > 0
            && let Some(writer) = self.writer.take()
        {
            writer.wake();
        }
        Step::Done(count)
    }

    /// Plans the end; an earlier plan stays unless it was milder.
    pub fn end(&mut self, at: u64, end: End) {
        if end == End::Reset || self.ends.is_none() {
            let at = match end {
                End::Closed => self.on_way.back().map_or(at, |(last, _)| at.max(*last)),
                End::Reset => at,
            };
            self.ends = Some((at, end));
        }
    }

    /// Whether anything is still to arrive.
    pub fn is_busy(&self) -> bool {
        !self.on_way.is_empty() || (self.ends.is_some() && self.ended.is_none())
    }

    /// Whether nobody will ever look at it again.
    pub fn is_over(&self) -> bool {
        self.reader_gone && self.writer_gone
    }

    /// Lets arrive what is due, and adds it to what ever arrived.
    pub fn deliver(&mut self, now: u64, delivered: &mut Delivered) {
        let before = self.arrived.len();
        while self.on_way.front().is_some_and(|(at, _)| *at <= now) {
            let (_, bytes) = self.on_way.pop_front().expect("just looked at");
            delivered.bytes += bytes.len() as u64;
            delivered.checksum = crc32c::crc32c_append(delivered.checksum, &bytes);
            self.arrived.extend(bytes);
        }
        let ends = self.ends.filter(|(at, _)| *at <= now && self.ended.is_none());
        if let Some((_, end)) = ends {
            self.ended = Some(end);
            if end == End::Reset {
                self.on_way.clear();
                self.writer.take().into_iter().for_each(Waker::wake);
            }
        }
        if (self.arrived.len() > before || ends.is_some())
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
    }

    /// The reader is gone: a waiting writer hears of it.
    pub fn drop_reader(&mut self) {
        self.reader_gone = true;
        self.writer.take().into_iter().for_each(Waker::wake);
    }
}
