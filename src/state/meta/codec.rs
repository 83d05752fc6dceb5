//! Bytes of commands, answers and snapshots: a version byte, then bincode with variable-length integers.
//!
//! Bytes that this version does not know are an error, never a panic: a newer version is named as such, so that an
//! operator learns that a node must be upgraded, not that its data is damaged. Checksums are the business of whoever
//! stores or sends the bytes.

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why bytes could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Written by a later version of the program.
    #[error("{what} has format version {found}, and this program knows only up to {newest}: upgrade this node")]
    NewerVersion { what: &'static str, found: u8, newest: u8 },
    /// Not what any version writes.
    #[error("{what} cannot be read: {reason}")]
    Malformed { what: &'static str, reason: String },
}

/// `value` in bytes, with `version` in front.
pub(super) fn encode<T: Serialize>(version: u8, value: &T) -> Vec<u8> {
    let mut bytes = vec![version];
    options()
        .serialize_into(&mut bytes, value)
        .expect("the meta group's types have no unsized parts, and memory takes any length");
    bytes
}

/// The value in `bytes`, which must be of `version` or an earlier one: what a later version added stands behind what
/// was there, so that one description reads all of them.
pub(super) fn decode<T: DeserializeOwned>(what: &'static str, version: u8, bytes: &[u8]) -> Result<T, DecodeError> {
    let (&found, body) = bytes.split_first().ok_or_else(|| malformed(what, "it is empty"))?;
    if found > version {
        return Err(DecodeError::NewerVersion { what, found, newest: version });
    }
    if found == 0 {
        return Err(malformed(what, format!("format version {found} was never used")));
    }
    // Reading from a slice: a declared length beyond the end is an error before anything is allocated for it.
    options().deserialize(body).map_err(|error| malformed(what, error.to_string()))
}

pub(super) fn malformed(what: &'static str, reason: impl Into<String>) -> DecodeError {
    DecodeError::Malformed { what, reason: reason.into() }
}

fn options() -> impl Options {
    bincode::DefaultOptions::new()
}
