//! The records of `__consumer_offsets`, byte for byte as Kafka has them: lag monitors read that topic.
//!
//! Keys begin with a version that says what they are: 0 and 1 a committed offset, 2 a group's metadata. Values begin with
//! the version of their own format; this writes version 3 of both and reads 0 to 3. A null value is a tombstone. Numbers are
//! big-endian, strings have a length of 16 bits, byte strings one of 32.
//!
//! Bytes that are none of these (another key version, a flexible value of a newer format, damage) are `None`, never a
//! panic. Does not know what a record means to a group: that is the table's.

use serde::{Deserialize, Serialize};

/// A committed offset of one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommittedOffset {
    /// The next offset to be read.
    pub offset: i64,
    /// -1 where the client did not say.
    pub leader_epoch: i32,
    pub metadata: String,
    pub committed_at_ms: i64,
}

/// What is kept of a group besides its offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMetadata {
    pub protocol_type: String,
    pub generation: i32,
    pub protocol: Option<String>,
    pub leader: Option<String>,
    /// When the group got into the state that it is in (with members: stable, without: empty).
    pub state_since_ms: i64,
    pub members: Vec<MemberMetadata>,
}

/// A member as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberMetadata {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    pub subscription: Vec<u8>,
    pub assignment: Vec<u8>,
}

/// What a record is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordKey {
    Offset { group: String, topic: String, partition: i32 },
    Group(String),
}

/// A record to be written: a key, and a value or a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRecord {
    pub key: RecordKey,
    pub value: Option<RecordValue>,
}

/// The value of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordValue {
    Offset(CommittedOffset),
    Group(GroupMetadata),
}

impl GroupRecord {
    /// A committed offset, or with `None` its tombstone.
    pub fn offset(group: &str, topic: &str, partition: i32, value: Option<CommittedOffset>) -> GroupRecord {
        let key = RecordKey::Offset { group: group.to_string(), topic: topic.to_string(), partition };
        GroupRecord { key, value: value.map(RecordValue::Offset) }
    }

    /// A group's metadata, or with `None` its tombstone.
    pub fn group(group: &str, value: Option<GroupMetadata>) -> GroupRecord {
        GroupRecord { key: RecordKey::Group(group.to_string()), value: value.map(RecordValue::Group) }
    }

    /// Key and value as they are stored.
    pub fn encode(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        (self.key.encode(), self.value.as_ref().map(RecordValue::encode))
    }
}

/// The longest text that a record can hold.
pub const TEXT_LEN_MAX: usize = i16::MAX as usize;

const OFFSET_KEY_VERSION: i16 = 1;
const GROUP_KEY_VERSION: i16 = 2;
const VALUE_VERSION: i16 = 3;

impl RecordKey {
    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            RecordKey::Offset { group, topic, partition } => {
                out.i16(OFFSET_KEY_VERSION).text(group).text(topic).i32(*partition);
            }
            RecordKey::Group(group) => {
                out.i16(GROUP_KEY_VERSION).text(group);
            }
        }
        out.0
    }

    /// The key that these bytes are, if it is one of the two kinds.
    pub fn decode(bytes: &[u8]) -> Option<RecordKey> {
        let mut from = Reader(bytes);
        let key = match from.i16()? {
            0 | 1 => RecordKey::Offset { group: from.text()?, topic: from.text()?, partition: from.i32()? },
            2 => RecordKey::Group(from.text()?),
            _ => return None,
        };
        from.is_done().then_some(key)
    }
}

impl RecordValue {
    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.i16(VALUE_VERSION);
        match self {
            RecordValue::Offset(offset) => {
                out.i64(offset.offset).i32(offset.leader_epoch).text(&offset.metadata).i64(offset.committed_at_ms);
            }
            RecordValue::Group(group) => {
                out.text(&group.protocol_type).i32(group.generation).nullable(group.protocol.as_deref());
                out.nullable(group.leader.as_deref()).i64(group.state_since_ms).i32(group.members.len() as i32);
                for member in &group.members {
                    out.text(&member.member_id).nullable(member.instance_id.as_deref()).text(&member.client_id);
                    out.text(&member.client_host).i32(member.rebalance_timeout_ms).i32(member.session_timeout_ms);
                    out.bytes(&member.subscription).bytes(&member.assignment);
                }
            }
        }
        out.0
    }
}

impl CommittedOffset {
    /// The value of an offset's record, of format 0 to 3.
    pub fn decode(bytes: &[u8]) -> Option<CommittedOffset> {
        let mut from = Reader(bytes);
        let version = from.i16()?;
        if !(0..=VALUE_VERSION).contains(&version) {
            return None;
        }
        let offset = from.i64()?;
        let leader_epoch = if version >= 3 { from.i32()? } else { -1 };
        let metadata = from.text()?;
        let committed_at_ms = from.i64()?;
        if version == 1 {
            // When the offset was to expire by the client's wish, which newer brokers do not look at either.
            from.i64()?;
        }
        from.is_done().then_some(CommittedOffset { offset, leader_epoch, metadata, committed_at_ms })
    }
}

impl GroupMetadata {
    /// The value of a group's record, of format 0 to 3.
    pub fn decode(bytes: &[u8]) -> Option<GroupMetadata> {
        let mut from = Reader(bytes);
        let version = from.i16()?;
        if !(0..=VALUE_VERSION).contains(&version) {
            return None;
        }
        let mut group = GroupMetadata {
            protocol_type: from.text()?,
            generation: from.i32()?,
            protocol: from.nullable()?,
            leader: from.nullable()?,
            state_since_ms: if version >= 2 { from.i64()? } else { -1 },
            members: Vec::new(),
        };
        let count = from.i32()?;
        for _ in 0..count.max(0) {
            let member_id = from.text()?;
            let instance_id = if version >= 3 { from.nullable()? } else { None };
            let (client_id, client_host) = (from.text()?, from.text()?);
            let rebalance_timeout_ms = if version >= 1 { from.i32()? } else { -1 };
            let session_timeout_ms = from.i32()?;
            group.members.push(MemberMetadata {
                member_id,
                instance_id,
                client_id,
                client_host,
                rebalance_timeout_ms: if version >= 1 { rebalance_timeout_ms } else { session_timeout_ms },
                session_timeout_ms,
                subscription: from.bytes()?,
                assignment: from.bytes()?,
            });
        }
        from.is_done().then_some(group)
    }
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn i16(&mut self, value: i16) -> &mut Writer {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn i32(&mut self, value: i32) -> &mut Writer {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn i64(&mut self, value: i64) -> &mut Writer {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn text(&mut self, text: &str) -> &mut Writer {
        let len = i16::try_from(text.len()).expect("texts were checked against TEXT_LEN_MAX at the door");
        self.i16(len);
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    fn nullable(&mut self, text: Option<&str>) -> &mut Writer {
        match text {
            Some(text) => self.text(text),
            None => self.i16(-1),
        }
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Writer {
        let len = i32::try_from(bytes.len()).expect("a request, and so its parts, stays far below 2 GiB");
        self.i32(len);
        self.0.extend_from_slice(bytes);
        self
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (part, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(part)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    fn nullable(&mut self) -> Option<Option<String>> {
        match self.i16()? {
            -1 => Some(None),
            len => {
                let bytes = self.take(usize::try_from(len).ok()?)?;
                Some(Some(std::str::from_utf8(bytes).ok()?.to_string()))
            }
        }
    }

    fn text(&mut self) -> Option<String> {
        self.nullable()?
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let len = usize::try_from(self.i32()?).ok()?;
        self.take(len).map(<[u8]>::to_vec)
    }

    fn is_done(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_committed_offset_has_kafkas_bytes() {
        let value = CommittedOffset { offset: 258, leader_epoch: 7, metadata: "m".into(), committed_at_ms: 1 };
        let (key, bytes) = GroupRecord::offset("g", "tt", 3, Some(value.clone())).encode();
        assert_eq!(key, [0, 1, 0, 1, b'g', 0, 2, b't', b't', 0, 0, 0, 3]);
        let bytes = bytes.unwrap();
        assert_eq!(
            bytes,
            [0, 3, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 7, 0, 1, b'm', 0, 0, 0, 0, 0, 0, 0, 1],
            "version, offset, leader epoch, metadata, commit timestamp"
        );
        assert_eq!(CommittedOffset::decode(&bytes), Some(value));
        let key_of = RecordKey::Offset { group: "g".into(), topic: "tt".into(), partition: 3 };
        assert_eq!(RecordKey::decode(&key), Some(key_of));
        assert_eq!(GroupRecord::offset("g", "tt", 3, None).encode().1, None, "a tombstone");
    }

    #[test]
    fn a_groups_metadata_has_kafkas_bytes() {
        let member = MemberMetadata {
            member_id: "a".into(),
            instance_id: None,
            client_id: "c".into(),
            client_host: "/h".into(),
            rebalance_timeout_ms: 2,
            session_timeout_ms: 1,
            subscription: vec![9],
            assignment: vec![8, 7],
        };
        let group = GroupMetadata {
            protocol_type: "consumer".into(),
            generation: 4,
            protocol: Some("range".into()),
            leader: Some("a".into()),
            state_since_ms: 5,
            members: vec![member],
        };
        let (key, bytes) = GroupRecord::group("g", Some(group.clone())).encode();
        assert_eq!(key, [0, 2, 0, 1, b'g']);
        let mut expected = vec![0, 3, 0, 8];
        expected.extend_from_slice(b"consumer");
        expected.extend_from_slice(&[0, 0, 0, 4, 0, 5]);
        expected.extend_from_slice(b"range");
        expected.extend_from_slice(&[0, 1, b'a', 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 1, 0, 1, b'a', 255, 255]);
        expected.extend_from_slice(&[0, 1, b'c', 0, 2, b'/', b'h', 0, 0, 0, 2, 0, 0, 0, 1]);
        expected.extend_from_slice(&[0, 0, 0, 1, 9, 0, 0, 0, 2, 8, 7]);
        let bytes = bytes.unwrap();
        assert_eq!(bytes, expected);
        assert_eq!(GroupMetadata::decode(&bytes), Some(group));
    }

    #[test]
    fn older_values_are_read() {
        let first = [0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5];
        let read = CommittedOffset::decode(&first).unwrap();
        assert_eq!((read.offset, read.leader_epoch, read.committed_at_ms), (9, -1, 5));
        let mut second = first.to_vec();
        second[1] = 1;
        assert_eq!(CommittedOffset::decode(&second), None, "it lacks the expiry");
        second.extend_from_slice(&[0; 8]);
        assert_eq!(CommittedOffset::decode(&second).unwrap().offset, 9);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>, version in 0_u8..6) {
            let mut known = vec![0, version];
            known.extend_from_slice(&bytes);
            for bytes in [&bytes, &known] {
                let _ = RecordKey::decode(bytes);
                let _ = CommittedOffset::decode(bytes);
                let _ = GroupMetadata::decode(bytes);
            }
        }
    }
}
