//! The first exchange on a connection: who are you, and may we talk?
//!
//! ```text
//! identity:            node id u64, node uuid, incarnation u64, has cluster u8, cluster uuid
//! hello (dialler):     magic, version u16, size u16, identity, lane u8, dialled id u64
//! welcome (listener):  magic, version u16, size u16, identity, accepted u8, reason …
//! ```
//!
//! Magic, version and size keep their places in all versions, so that a newer node can be told by name. Whoever does
//! not begin with the magic gets no answer.

use super::Lane;
use crate::types::NodeId;
use bytes::{Buf, BufMut};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use uuid::Uuid;

const MAGIC: &[u8; 8] = b"balsapee";
/// The version of the protocol between nodes that this build speaks.
pub(super) const VERSION: u16 = 1;
/// Magic, version, size.
const PREFIX_BYTES: usize = 12;
/// Node id, uuid, incarnation, cluster.
const IDENTITY_BYTES: usize = 8 + 16 + 8 + 1 + 16;
const HELLO_BYTES: usize = IDENTITY_BYTES + 1 + 8;
/// Words of a refusal are cut to this.
const REASON_BYTES_MAX: usize = 1024;
const BODY_BYTES_MAX: usize = 2048;

/// Who a node says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub node: NodeId,
    pub uuid: Uuid,
    /// Random, new with each start of the process.
    pub incarnation: u64,
    pub cluster: Option<Uuid>,
}

/// What a dialler opens with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub identity: Identity,
    pub lane: Lane,
    /// The node that it wants to talk to.
    pub dialled: NodeId,
}

/// What a listener says to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Welcome {
    pub identity: Identity,
    pub refused: Option<String>,
}

/// Why a handshake came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("not a node: it does not speak this protocol")]
    NotANode,
    #[error(
        "node speaks version {theirs} of the peer protocol, this node speaks version {VERSION}: run the same release on both"
    )]
    Version { theirs: u16 },
    #[error("a handshake that makes no sense")]
    Malformed,
}

impl Lane {
    pub(super) const ALL: [Lane; 4] = [Lane::Control, Lane::Replicate, Lane::Forward, Lane::Read];

    fn from_byte(byte: u8) -> Option<Lane> {
        Lane::ALL.get(byte as usize).copied()
    }
}

fn prefix(out: &mut Vec<u8>, version: u16, size: usize) {
    out.put_slice(MAGIC);
    out.put_u16_le(version);
    out.put_u16_le(u16::try_from(size).expect("handshake bodies are bounded by BODY_BYTES_MAX"));
}

fn put_identity(out: &mut Vec<u8>, identity: &Identity) {
    out.put_u64_le(identity.node.0);
    out.put_slice(identity.uuid.as_bytes());
    out.put_u64_le(identity.incarnation);
    out.put_u8(u8::from(identity.cluster.is_some()));
    out.put_slice(identity.cluster.unwrap_or_default().as_bytes());
}

/// Takes an identity off the front of `body`, which has at least `IDENTITY_BYTES`.
fn take_identity(body: &mut &[u8]) -> Identity {
    let node = NodeId(body.get_u64_le());
    let mut uuid = [0; 16];
    body.copy_to_slice(&mut uuid);
    let incarnation = body.get_u64_le();
    let known = body.get_u8() != 0;
    let mut cluster = [0; 16];
    body.copy_to_slice(&mut cluster);
    Identity { node, uuid: Uuid::from_bytes(uuid), incarnation, cluster: known.then(|| Uuid::from_bytes(cluster)) }
}

/// Reads the prefix and the body of either message.
async fn read_body<R: AsyncRead + Unpin>(read: &mut R) -> Result<Vec<u8>, HandshakeError> {
    let mut start = [0; PREFIX_BYTES];
    read.read_exact(&mut start).await?;
    if &start[..8] != MAGIC {
        return Err(HandshakeError::NotANode);
    }
    let theirs = u16::from_le_bytes([start[8], start[9]]);
    if theirs != VERSION {
        return Err(HandshakeError::Version { theirs });
    }
    let size = u16::from_le_bytes([start[10], start[11]]) as usize;
    if size > BODY_BYTES_MAX {
        return Err(HandshakeError::Malformed);
    }
    let mut body = vec![0; size];
    read.read_exact(&mut body).await?;
    Ok(body)
}

impl Hello {
    pub async fn write<W: AsyncWrite + Unpin>(&self, write: &mut W) -> io::Result<()> {
        let mut out = Vec::with_capacity(PREFIX_BYTES + HELLO_BYTES);
        prefix(&mut out, VERSION, HELLO_BYTES);
        put_identity(&mut out, &self.identity);
        out.put_u8(self.lane as u8);
        out.put_u64_le(self.dialled.0);
        write.write_all(&out).await
    }

    pub async fn read<R: AsyncRead + Unpin>(read: &mut R) -> Result<Hello, HandshakeError> {
        let body = read_body(read).await?;
        if body.len() < HELLO_BYTES {
            return Err(HandshakeError::Malformed);
        }
        let mut rest = &body[..];
        let identity = take_identity(&mut rest);
        let lane = Lane::from_byte(rest.get_u8()).ok_or(HandshakeError::Malformed)?;
        Ok(Hello { identity, lane, dialled: NodeId(rest.get_u64_le()) })
    }
}

impl Welcome {
    pub async fn write<W: AsyncWrite + Unpin>(&self, write: &mut W) -> io::Result<()> {
        let reason = self.refused.as_deref().unwrap_or("");
        let end = (0..=reason.len().min(REASON_BYTES_MAX)).rev().find(|at| reason.is_char_boundary(*at)).unwrap_or(0);
        let mut out = Vec::new();
        prefix(&mut out, VERSION, IDENTITY_BYTES + 1 + end);
        put_identity(&mut out, &self.identity);
        out.put_u8(u8::from(self.refused.is_none()));
        out.put_slice(&reason.as_bytes()[..end]);
        write.write_all(&out).await
    }

    pub async fn read<R: AsyncRead + Unpin>(read: &mut R) -> Result<Welcome, HandshakeError> {
        let body = read_body(read).await?;
        if body.len() < IDENTITY_BYTES + 1 {
            return Err(HandshakeError::Malformed);
        }
        let mut rest = &body[..];
        let identity = take_identity(&mut rest);
        let accepted = rest.get_u8() != 0;
        let refused = (!accepted).then(|| String::from_utf8_lossy(rest).into_owned());
        Ok(Welcome { identity, refused })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use proptest::prelude::*;

    fn identities() -> impl Strategy<Value = Identity> {
        (any::<u64>(), any::<u128>(), any::<u64>(), any::<Option<u128>>()).prop_map(
            |(node, uuid, incarnation, cluster)| {
                let (uuid, cluster) = (Uuid::from_u128(uuid), cluster.map(Uuid::from_u128));
                Identity { node: NodeId(node), uuid, incarnation, cluster }
            },
        )
    }

    proptest! {
        #[test]
        fn both_messages_come_through(identity in identities(), lane in 0..4usize, dialled in any::<u64>(), refused in any::<Option<String>>()) {
            let hello = Hello { identity, lane: Lane::ALL[lane], dialled: NodeId(dialled) };
            let mut bytes = Vec::new();
            block_on(hello.write(&mut bytes)).unwrap();
            prop_assert_eq!(block_on(Hello::read(&mut &bytes[..])).unwrap(), hello);
            let welcome = Welcome { identity, refused };
            let mut bytes = Vec::new();
            block_on(welcome.write(&mut bytes)).unwrap();
            prop_assert_eq!(block_on(Welcome::read(&mut &bytes[..])).unwrap(), welcome);
        }

        #[test]
        fn any_bytes_are_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), known in any::<bool>()) {
            let start: &[u8] = if known { b"balsapee\x01\x00\x50\x00" } else { b"" };
            let bytes = [start, &bytes].concat();
            let _ = block_on(Hello::read(&mut &bytes[..]));
            let _ = block_on(Welcome::read(&mut &bytes[..]));
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let identity = Identity { node: NodeId(1), uuid: Uuid::nil(), incarnation: 0, cluster: None };
        let welcome = Welcome { identity, refused: Some("x".to_owned() + &"é".repeat(2000)) };
        let mut bytes = Vec::new();
        block_on(welcome.write(&mut bytes)).unwrap();
        let reason = block_on(Welcome::read(&mut &bytes[..])).unwrap().refused.unwrap();
        assert!(reason.len() <= REASON_BYTES_MAX && reason.ends_with('é'));
    }
}
