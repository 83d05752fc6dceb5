//! Where a read of all partitions of a topic goes on: the opaque `cursor=` (and the id of its server-sent events).
//!
//! Base64url, without padding, of
//!
//! ```text
//! u8 version (1) · 16 bytes topic id · varint first · varint count · count x varint offset · u32 CRC-32C of all before
//! ```
//!
//! `first` is the partition that the next answer begins with, so that no partition starves the others. The topic id
//! ties a cursor to one life of a topic. Varints are little-endian base 128 (LEB128). The checksum tells a cut or
//! mistyped cursor from one that means something; it is no secret.

use super::problem::{self, Problem};
use crate::types::{Offset, TopicId};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const VERSION: u8 = 1;

/// The longest cursor that still fits into a request line beside the rest (request lines and headers have 16 KiB).
pub const TEXT_BYTES_MAX: usize = 12 << 10;

/// Positions in all partitions of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub topic: TopicId,
    /// The partition to begin with.
    pub first: u32,
    /// The next offset to read, by partition. A topic may have more partitions by now: those begin at their start.
    pub positions: Vec<Offset>,
}

impl Cursor {
    /// The cursor as text.
    pub fn encode(&self) -> String {
        let mut bytes = Vec::with_capacity(32 + self.positions.len() * 3);
        bytes.push(VERSION);
        bytes.extend_from_slice(self.topic.0.as_bytes());
        put_varint(&mut bytes, u64::from(self.first));
        put_varint(&mut bytes, self.positions.len() as u64);
        for position in &self.positions {
            put_varint(&mut bytes, position.0);
        }
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a cursor that was given for the topic `topic` of `partitions` partitions; `origin` names where the text
    /// came from (`cursor`, `Last-Event-ID`).
    pub fn decode(text: &str, topic: TopicId, partitions: usize, origin: &str) -> Result<Cursor, Problem> {
        let refused = |why: &str| {
            Problem::new(
                &problem::BAD_PARAMETER,
                format!(
                    "{origin}={} {why}; pass the next_cursor of an answer (or the id of an event) unchanged, or begin again with offset=earliest",
                    super::query::shown(text)
                ),
            )
            .with("parameter", origin)
        };
        let Some(cursor) = parse(text) else {
            return Err(refused("is not a cursor that this node gave"));
        };
        if cursor.topic != topic {
            return Err(refused("belongs to another topic, or to an earlier one of the same name that was deleted"));
        }
        if cursor.positions.len() > partitions {
            return Err(refused("has more partitions than the topic"));
        }
        Ok(cursor)
    }
}

fn parse(text: &str) -> Option<Cursor> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (body, checksum) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let (&version, mut rest) = body.split_first()?;
    if version != VERSION {
        return None;
    }
    let topic = TopicId(uuid::Uuid::from_bytes(*rest.split_off(..16)?.first_chunk::<16>()?));
    let first = u32::try_from(take_varint(&mut rest)?).ok()?;
    let count = usize::try_from(take_varint(&mut rest)?).ok()?;
    // Every position takes at least a byte, so a count beyond what is left is a lie.
    if count > rest.len() {
        return None;
    }
    let positions = (0..count).map(|_| take_varint(&mut rest).map(Offset)).collect::<Option<Vec<Offset>>>()?;
    rest.is_empty().then_some(Cursor { topic, first, positions })
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, behind) = rest.split_first()?;
        *rest = behind;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn topic(n: u128) -> TopicId {
        TopicId(uuid::Uuid::from_u128(n))
    }

    fn cursor(positions: &[u64]) -> Cursor {
        Cursor { topic: topic(7), first: 1, positions: positions.iter().copied().map(Offset).collect() }
    }

    #[test]
    fn garbage_and_strangers_are_refused_with_a_reason() {
        let good = cursor(&[0, 5, u64::MAX]).encode();
        assert_eq!(Cursor::decode(&good, topic(7), 3, "cursor").unwrap(), cursor(&[0, 5, u64::MAX]));
        for (text, id, partitions, why) in [
            ("", 7, 3, "not a cursor"),
            ("42", 7, 3, "not a cursor"),
            ("{}", 7, 3, "not a cursor"),
            (&good[..good.len() - 2], 7, 3, "not a cursor"),
            (&format!("{good}AA"), 7, 3, "not a cursor"),
            (&good, 8, 3, "another topic"),
            (&good, 7, 2, "more partitions"),
        ] {
            let problem = Cursor::decode(text, topic(id), partitions, "cursor").unwrap_err();
            assert_eq!(problem.status(), 400);
            assert!(problem.detail().contains(why), "{text}: {problem}");
        }
    }

    #[test]
    fn positions_of_ten_partitions_stay_short() {
        assert!(cursor(&[1_000_000; 10]).encode().len() < 80);
    }

    proptest! {
        #[test]
        fn round_trips(positions in proptest::collection::vec(any::<u64>(), 0..20), first in any::<u32>()) {
            let cursor = Cursor { first, ..cursor(&positions) };
            prop_assert_eq!(parse(&cursor.encode()), Some(cursor));
        }

        #[test]
        fn any_text_is_refused_or_read_without_a_panic(text in "[A-Za-z0-9_-]{0,60}") {
            let _ = parse(&text);
        }

        #[test]
        fn a_changed_character_is_noticed(at in 0_usize..40, with in "[A-Za-z0-9]") {
            let good = cursor(&[3, 70_000, 9]).encode();
            let at = at % good.len();
            let changed = format!("{}{}{}", &good[..at], with, &good[at + 1..]);
            prop_assume!(changed != good);
            prop_assert_eq!(parse(&changed), None);
        }
    }
}
