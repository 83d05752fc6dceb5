//! Produce in versions 0 to 2, whose message sets are of before Kafka 0.11: each partition is told that its format is not
//! taken. The layout is read and written here, as nobody else knows these versions any more.

use crate::kafka::codec::{self, Answer, Malformed};
use crate::kafka::errors::ResponseError;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Refuses every partition of a request.
///
/// # Errors
/// The bytes are no such request.
pub fn refuse(version: i16, correlation_id: i32, body: Bytes) -> Result<Answer, Malformed> {
    let mut out = BytesMut::new();
    let is_silent = walk(body, version, &mut out).ok_or_else(|| Malformed("it is cut off".to_string()))?;
    if is_silent {
        return Err(Malformed(
            "message formats of before Kafka 0.11 are not taken, and acks=0 hears of no error".into(),
        ));
    }
    let mut head = BytesMut::new();
    codec::put_head(&mut head, correlation_id, 0, out.len()).map_err(Malformed)?;
    Ok(Answer { pieces: vec![head.freeze(), out.freeze()], permit: None })
}

/// Reads a request and writes the answer's body; gives whether no answer is wanted, `None` where the bytes end early.
fn walk(mut body: Bytes, version: i16, out: &mut BytesMut) -> Option<bool> {
    let is_silent = body.try_get_i16().ok()? == 0;
    body.try_get_i32().ok()?;
    let topics = body.try_get_i32().ok()?;
    out.put_i32(topics);
    for _ in 0..topics {
        let len = usize::try_from(body.try_get_i16().ok()?).ok().filter(|len| *len <= body.len())?;
        out.put_i16(len as i16);
        out.put(body.split_to(len));
        let partitions = body.try_get_i32().ok()?;
        out.put_i32(partitions);
        for _ in 0..partitions {
            out.put_i32(body.try_get_i32().ok()?);
            let len = usize::try_from(body.try_get_i32().ok()?).unwrap_or(0);
            if len > body.len() {
                return None;
            }
            body.advance(len);
            out.put_i16(ResponseError::UnsupportedForMessageFormat.code());
            out.put_i64(-1);
            if version >= 2 {
                out.put_i64(-1);
            }
        }
    }
    if version >= 1 {
        out.put_i32(0);
    }
    Some(is_silent)
}
