//! Frames, request headers and response headers.
//!
//! A frame is a length of four bytes and so many bytes behind it. A request begins with its API's key, its version and
//! a correlation id, and then (header version 1) the client's id; version 2 adds tagged fields (KIP-482). An answer
//! begins with the correlation id; version 1 adds tagged fields, of which there are none yet.
//!
//! Invariants: nothing here panics, whatever the bytes are; nothing is allocated by a declared length.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::{Encodable, StrBytes};
use tokio::sync::OwnedSemaphorePermit;

/// Bytes of the length before each frame.
pub const LENGTH_BYTES: usize = 4;

/// Why bytes are no request; the connection cannot go on, since the client speaks something else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// What every request begins with, whatever its header's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preamble {
    pub api_key: i16,
    pub version: i16,
    pub correlation_id: i32,
}

impl Preamble {
    /// Bytes on the wire.
    const LEN: usize = 8;

    /// Reads the first bytes of a frame.
    ///
    /// # Errors
    /// The frame is shorter.
    pub fn read(frame: &mut Bytes) -> Result<Preamble, Malformed> {
        if frame.len() < Preamble::LEN {
            return Err(Malformed(format!("a request of {} bytes is shorter than its header", frame.len())));
        }
        Ok(Preamble { api_key: frame.get_i16(), version: frame.get_i16(), correlation_id: frame.get_i32() })
    }
}

/// Reads the rest of a request's header: the client's id and, where `flexible`, the tagged fields.
///
/// # Errors
/// The bytes end early, or the id is no text.
pub fn client_id(frame: &mut Bytes, flexible: bool) -> Result<Option<StrBytes>, Malformed> {
    let short = || Malformed("the request's header is cut off".to_string());
    let len = frame.try_get_i16().map_err(|_| short())?;
    let client_id = match usize::try_from(len) {
        Err(_) if len == -1 => None,
        Err(_) => return Err(Malformed(format!("the client's id has a length of {len}"))),
        Ok(len) if len > frame.len() => return Err(short()),
        Ok(len) => Some(
            StrBytes::from_utf8(frame.split_to(len))
                .map_err(|_| Malformed("the client's id is not UTF-8".to_string()))?,
        ),
    };
    if flexible {
        let fields = varint(frame).ok_or_else(short)?;
        for _ in 0..fields {
            varint(frame).ok_or_else(short)?;
            let len = varint(frame).ok_or_else(short)? as usize;
            if len > frame.len() {
                return Err(short());
            }
            frame.advance(len);
        }
    }
    Ok(client_id)
}

/// An unsigned variable-length number of at most 32 bits.
fn varint(bytes: &mut Bytes) -> Option<u32> {
    let mut value = 0;
    for place in 0..5 {
        let byte = bytes.try_get_u8().ok()?;
        value |= u32::from(byte & 0x7f) << (place * 7);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// An answer as it goes out: whole frames in pieces, none of which is empty. No pieces: no answer (acks=0).
#[derive(Debug, Default)]
pub struct Answer {
    pub pieces: Vec<Bytes>,
    /// Held until it is written.
    pub permit: Option<OwnedSemaphorePermit>,
}

impl Answer {
    /// Bytes on the wire.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// Whether nothing is to be sent.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}

/// Puts length and header before a body of `body_len` bytes; the body is to follow.
pub fn put_head(out: &mut BytesMut, correlation_id: i32, header_version: i16, body_len: usize) -> Result<(), String> {
    let header_len = if header_version >= 1 { 5 } else { 4 };
    let length = i32::try_from(body_len + header_len)
        .map_err(|_| format!("an answer of {body_len} bytes is larger than a frame can be"))?;
    out.put_i32(length);
    out.put_i32(correlation_id);
    if header_version >= 1 {
        out.put_u8(0);
    }
    Ok(())
}

/// A whole answer from a message.
///
/// # Errors
/// The message has a value that its version cannot say: a mistake of whoever made it.
pub fn encode<R: Encodable>(
    response: &R,
    version: i16,
    correlation_id: i32,
    header_version: i16,
) -> Result<Answer, String> {
    let len = response.compute_size(version).map_err(|error| error.to_string())?;
    let mut out = BytesMut::with_capacity(len + LENGTH_BYTES + 5);
    put_head(&mut out, correlation_id, header_version, len)?;
    let head = out.len();
    response.encode(&mut out, version).map_err(|error| error.to_string())?;
    if out.len() - head != len {
        return Err(format!("an answer has {} bytes and was measured as {len}", out.len() - head));
    }
    Ok(Answer { pieces: vec![out.freeze()], permit: None })
}
