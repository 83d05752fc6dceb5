//! The bytes of a Fetch answer, around record batches that stay where they are.
//!
//! The message is written here and not by the crate that has all others, since that would copy every record. Layout as
//! of KIP-74, KIP-227, KIP-392, KIP-516 (topic ids), KIP-595 (diverging epochs) and KIP-951 (leaders).

use super::{broker_id, leader_epoch};
use crate::broker::StoredBatches;
use crate::kafka::codec::{self, Answer};
use crate::kafka::context::{Endpoint, RequestContext};
use crate::kafka::sessions::TopicKey;
use crate::types::{NodeId, Offset, Term};
use bytes::{BufMut, Bytes, BytesMut};

/// Batches up to this length are copied: a slice of its own costs the kernel more than so many bytes.
const INLINE_BYTES_MAX: usize = 1 << 10;

/// What is said of one partition.
#[derive(Debug, Default)]
pub struct PartitionAnswer {
    pub error_code: i16,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start_offset: i64,
    pub batches: Vec<StoredBatches>,
    /// The largest term known up to the one that the client read last, and where it ends.
    pub diverging: Option<(Term, Offset)>,
    /// Who leads instead.
    pub leader: Option<(NodeId, Term)>,
}

impl PartitionAnswer {
    /// Bytes of records.
    pub fn records_len(&self) -> usize {
        self.batches.iter().map(StoredBatches::len).sum()
    }
}

/// All of an answer.
pub struct FetchAnswer<'a> {
    pub error_code: i16,
    pub session_id: i32,
    /// In order; neighbours of one topic share its entry.
    pub partitions: Vec<(&'a TopicKey, i32, PartitionAnswer)>,
    /// Without aborted transactions the list of them is empty for those who ask for committed records only.
    pub lists_aborted: bool,
    /// Where the leaders are that `partitions` name.
    pub endpoints: Vec<Endpoint>,
}

/// Pieces of an answer, of which the last one grows.
struct Pieces {
    done: Vec<Bytes>,
    done_len: usize,
    last: BytesMut,
    /// Compact lengths and tagged fields (KIP-482).
    flexible: bool,
}

impl Pieces {
    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.last.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.last.put_u8(value as u8);
    }

    fn array(&mut self, count: usize) {
        if self.flexible { self.varint(count as u32 + 1) } else { self.last.put_i32(count as i32) }
    }

    fn null_array(&mut self) {
        if self.flexible { self.varint(0) } else { self.last.put_i32(-1) }
    }

    fn text(&mut self, text: &str) {
        if self.flexible {
            self.varint(text.len() as u32 + 1)
        } else {
            self.last.put_i16(text.len() as i16)
        }
        self.last.put_slice(text.as_bytes());
    }

    fn no_tags(&mut self) {
        if self.flexible {
            self.last.put_u8(0);
        }
    }

    fn records(&mut self, batches: Vec<StoredBatches>) {
        let len: usize = batches.iter().map(StoredBatches::len).sum();
        if self.flexible {
            self.varint(len as u32 + 1)
        } else {
            self.last.put_i32(len as i32)
        }
        for batch in batches {
            self.last.put_slice(&batch.prefix);
            if batch.rest.len() <= INLINE_BYTES_MAX {
                self.last.put_slice(&batch.rest);
                continue;
            }
            let head = self.last.split().freeze();
            self.done_len += head.len() + batch.rest.len();
            self.done.extend([head, batch.rest]);
        }
    }
}

impl FetchAnswer<'_> {
    /// The answer as it goes out.
    ///
    /// # Errors
    /// It is larger than a frame can be.
    pub fn encode(self, ctx: &RequestContext) -> Result<Answer, String> {
        let version = ctx.version;
        let flexible = version >= 12;
        let last = BytesMut::with_capacity(64 + 80 * self.partitions.len());
        // The first piece is the head, which is known at the end.
        let mut out = Pieces { done: vec![Bytes::new()], done_len: 0, last, flexible };
        out.last.put_i32(0);
        if version >= 7 {
            out.last.put_i16(self.error_code);
            out.last.put_i32(self.session_id);
        }
        put_topics(&mut out, version, self.partitions, self.lists_aborted);
        if version >= 16 && !self.endpoints.is_empty() {
            put_endpoints(&mut out, &self.endpoints);
        } else {
            out.no_tags();
        }
        let len = out.done_len + out.last.len();
        let mut head = BytesMut::new();
        codec::put_head(&mut head, ctx.correlation_id, i16::from(flexible), len)?;
        out.done[0] = head.freeze();
        out.done.push(out.last.freeze());
        Ok(Answer { pieces: out.done, permit: None })
    }
}

fn put_topics(out: &mut Pieces, version: i16, partitions: Vec<(&TopicKey, i32, PartitionAnswer)>, lists_aborted: bool) {
    let mut runs: Vec<usize> = Vec::new();
    let mut before = None;
    for (topic, ..) in &partitions {
        match runs.last_mut() {
            Some(run) if before == Some(*topic) => *run += 1,
            _ => runs.push(1),
        }
        before = Some(*topic);
    }
    out.array(runs.len());
    let mut partitions = partitions.into_iter();
    for run in runs {
        for place in 0..run {
            let (topic, partition, answer) = partitions.next().expect("the runs are counted from the partitions");
            if place == 0 {
                match topic {
                    TopicKey::Name(name) => out.text(name),
                    TopicKey::Id(id) => out.last.put_slice(id.0.as_bytes()),
                }
                out.array(run);
            }
            put_partition(out, version, partition, answer, lists_aborted);
        }
        out.no_tags();
    }
}

fn put_partition(out: &mut Pieces, version: i16, partition: i32, answer: PartitionAnswer, lists_aborted: bool) {
    out.last.put_i32(partition);
    out.last.put_i16(answer.error_code);
    out.last.put_i64(answer.high_watermark);
    out.last.put_i64(answer.last_stable_offset);
    if version >= 5 {
        out.last.put_i64(answer.log_start_offset);
    }
    if lists_aborted {
        out.array(0)
    } else {
        out.null_array()
    }
    if version >= 11 {
        out.last.put_i32(-1);
    }
    out.records(answer.batches);
    if version < 12 {
        return;
    }
    out.varint(u32::from(answer.diverging.is_some()) + u32::from(answer.leader.is_some()));
    if let Some((term, end)) = answer.diverging {
        // Tag 0, of 13 bytes: an epoch, an offset, no tagged fields.
        out.last.put_slice(&[0, 13]);
        out.last.put_i32(leader_epoch(term));
        out.last.put_i64(end.0 as i64);
        out.last.put_u8(0);
    }
    if let Some((leader, term)) = answer.leader {
        // Tag 1, of 9 bytes: a node, an epoch, no tagged fields.
        out.last.put_slice(&[1, 9]);
        out.last.put_i32(broker_id(leader).0);
        out.last.put_i32(leader_epoch(term));
        out.last.put_u8(0);
    }
}

/// The tagged fields of the whole answer: tag 0, where the leaders are.
fn put_endpoints(out: &mut Pieces, endpoints: &[Endpoint]) {
    let mut inner =
        Pieces { done: Vec::new(), done_len: 0, last: BytesMut::with_capacity(64 * endpoints.len()), flexible: true };
    inner.array(endpoints.len());
    for node in endpoints {
        inner.last.put_i32(broker_id(node.id).0);
        inner.text(&node.host);
        inner.last.put_i32(i32::from(node.port));
        match &node.rack {
            Some(rack) => inner.text(rack),
            None => inner.varint(0),
        }
        inner.no_tags();
    }
    out.last.put_slice(&[1, 0]);
    out.varint(inner.last.len() as u32);
    out.last.put_slice(&inner.last);
}
