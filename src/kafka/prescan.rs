//! Walks over a request before it is decoded: every count and every length must fit into the bytes that are there, and
//! what decoding makes of them must fit into memory.
//!
//! The decoder makes room for as many elements as a list declares before it looks at the first, so a few bytes could
//! have it ask for hundreds of gigabytes. Here nothing is made, only counted. Invariant: what [`measure`] lets pass,
//! the decoder takes or refuses without asking for more than about what was measured.
//!
//! Does not judge contents (UTF-8, nulls, values), nor bytes behind the last field: the decoder ignores them, as
//! Kafka's brokers do.

use super::codec::Malformed;
use super::schema::{Field, Kind};

/// What decoding one request may take beside its own bytes. 100,000 partitions fit.
const DECODED_BYTES_MAX: usize = 16 << 20;
/// About what the decoder's structures need: for a text or bytes, a list, the unknown tagged fields, and each of them.
const TEXT_BYTES: usize = 32;
const LIST_BYTES: usize = 24;
const TAGS_BYTES: usize = 24;
const TAG_BYTES: usize = 128;

/// What a request is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Bytes of the body that its fields take.
    pub wire_bytes: usize,
    /// About what decoding takes beside them.
    pub decoded_bytes: usize,
}

/// Measures a request's body.
///
/// # Errors
/// A count or length does not fit, or decoding would take too much memory.
pub fn measure(fields: &[Field], version: i16, flexible: bool, body: &[u8]) -> Result<Measured, Malformed> {
    let mut walk = Walk { bytes: body, version, flexible, decoded_bytes: 0 };
    walk.fields(fields)?;
    Ok(Measured { wire_bytes: body.len() - walk.bytes.len(), decoded_bytes: walk.decoded_bytes })
}

struct Walk<'a> {
    /// What is left.
    bytes: &'a [u8],
    version: i16,
    /// Compact lengths and tagged fields (KIP-482).
    flexible: bool,
    decoded_bytes: usize,
}

impl Walk<'_> {
    /// A structure: its fields and then, in flexible versions, the tagged ones.
    fn fields(&mut self, fields: &[Field]) -> Result<(), Malformed> {
        let version = self.version;
        for field in fields.iter().filter(|field| field.tag.is_none() && field.is_in(version)) {
            self.field(&field.kind)?;
        }
        if !self.flexible {
            return Ok(());
        }
        let count = self.varint()?;
        for _ in 0..count {
            let tag = self.varint()?;
            let len = self.varint()? as usize;
            let known = fields.iter().find(|field| field.tag == Some(tag) && field.is_in(self.version));
            match known {
                Some(field) => {
                    let before = self.bytes.len();
                    self.field(&field.kind)?;
                    // The decoder goes by the field alone: with another length the two would part.
                    if before - self.bytes.len() != len {
                        return Err(Malformed(format!(
                            "tagged field {tag} does not have the {len} bytes that it says"
                        )));
                    }
                }
                None => {
                    self.skip(len)?;
                    self.make(TAG_BYTES)?;
                }
            }
        }
        Ok(())
    }

    fn field(&mut self, kind: &Kind) -> Result<(), Malformed> {
        match kind {
            Kind::Fixed(len) => self.skip(*len),
            Kind::Text => {
                let len = if self.flexible { self.compact()? } else { self.signed(2)? };
                self.skip(len)
            }
            Kind::Bytes => {
                let len = if self.flexible { self.compact()? } else { self.signed(4)? };
                self.skip(len)
            }
            Kind::Values(of) => self.list(size_of(of), |walk| walk.field(of)),
            Kind::Structs(fields) => self.list(size_of_all(fields), |walk| walk.fields(fields)),
            Kind::Struct(fields) => self.fields(fields),
            Kind::Optional(fields) => match self.take(1)?[0] {
                1 => self.fields(fields),
                _ => Ok(()),
            },
        }
    }

    fn list(&mut self, size: usize, each: impl Fn(&mut Self) -> Result<(), Malformed>) -> Result<(), Malformed> {
        let count = if self.flexible { self.compact()? } else { self.signed(4)? };
        // No element is without a byte.
        if count > self.bytes.len() {
            let left = self.bytes.len();
            return Err(Malformed(format!(
                "a list of {count} elements does not fit into the {left} bytes that are left"
            )));
        }
        self.make(count.saturating_mul(size))?;
        for _ in 0..count {
            each(self)?;
        }
        Ok(())
    }

    /// Counts what the decoder is going to make.
    fn make(&mut self, bytes: usize) -> Result<(), Malformed> {
        self.decoded_bytes = self.decoded_bytes.saturating_add(bytes);
        if self.decoded_bytes > DECODED_BYTES_MAX {
            return Err(Malformed(format!(
                "it names so much that reading it takes more than {DECODED_BYTES_MAX} bytes"
            )));
        }
        Ok(())
    }

    fn take(&mut self, len: usize) -> Result<&[u8], Malformed> {
        let (taken, rest) = self
            .bytes
            .split_at_checked(len)
            .ok_or_else(|| Malformed(format!("{len} bytes are announced where {} are left", self.bytes.len())))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn skip(&mut self, len: usize) -> Result<(), Malformed> {
        self.take(len).map(|_| ())
    }

    /// A length or count of `width` bytes; -1, for null, is 0 here.
    fn signed(&mut self, width: usize) -> Result<usize, Malformed> {
        let value = match *self.take(width)? {
            [a, b] => i32::from(i16::from_be_bytes([a, b])),
            [a, b, c, d] => i32::from_be_bytes([a, b, c, d]),
            _ => -2,
        };
        match usize::try_from(value) {
            Ok(len) => Ok(len),
            Err(_) if value == -1 => Ok(0),
            Err(_) => Err(Malformed(format!("a length or count is {value}"))),
        }
    }

    /// A compact length or count: one more than it is, 0 for null.
    fn compact(&mut self) -> Result<usize, Malformed> {
        Ok((self.varint()? as usize).saturating_sub(1))
    }

    fn varint(&mut self) -> Result<u32, Malformed> {
        let mut value = 0;
        for place in 0..5 {
            let byte = self.take(1)?[0];
            value |= u32::from(byte & 0x7f) << (place * 7);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed("a variable-length number has more than five bytes".to_string()))
    }
}

/// About what the decoder makes of one element.
fn size_of(kind: &Kind) -> usize {
    match kind {
        Kind::Fixed(len) => (*len).max(4),
        Kind::Text | Kind::Bytes => TEXT_BYTES,
        Kind::Values(_) | Kind::Structs(_) => LIST_BYTES,
        Kind::Struct(fields) | Kind::Optional(fields) => size_of_all(fields),
    }
}

fn size_of_all(fields: &[Field]) -> usize {
    // The decoder's structures have room for the fields of all versions.
    TAGS_BYTES + fields.iter().map(|field| size_of(&field.kind)).sum::<usize>()
}

#[cfg(test)]
#[path = "prescan_tests.rs"]
mod tests;
