//! The table and the decoder agree, and what the walk lets pass is safe to decode.

use super::*;
use crate::kafka::dispatch::APIS;
use crate::kafka::schema;
use bytes::{Buf, Bytes};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{HeaderVersion, Request};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Writes a request at random by the table.
struct Writer<'a> {
    random: &'a mut TestRng,
    version: i16,
    flexible: bool,
    out: Vec<u8>,
}

impl Writer<'_> {
    fn below(&mut self, bound: u32) -> u32 {
        self.random.next_u32() % bound
    }

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    fn len(&mut self, len: u32, width: usize) {
        if self.flexible {
            self.varint(len + 1);
        } else {
            self.out.extend_from_slice(&len.to_be_bytes()[4 - width..]);
        }
    }

    fn fields(&mut self, fields: &[Field]) {
        let version = self.version;
        for field in fields.iter().filter(|field| field.tag.is_none() && field.is_in(version)) {
            self.field(&field.kind);
        }
        if !self.flexible {
            return;
        }
        let known: Vec<Field> =
            fields.iter().filter(|field| field.tag.is_some() && field.is_in(self.version)).copied().collect();
        let unknown = self.below(2);
        self.varint(known.len() as u32 + unknown);
        for field in known {
            let outer = std::mem::take(&mut self.out);
            self.field(&field.kind);
            let inner = std::mem::replace(&mut self.out, outer);
            self.varint(field.tag.unwrap());
            self.varint(inner.len() as u32);
            self.out.extend(inner);
        }
        if unknown == 1 {
            self.varint(1_000);
            self.varint(3);
            self.out.extend_from_slice(b"???");
        }
    }

    fn field(&mut self, kind: &Kind) {
        match kind {
            Kind::Fixed(len) => {
                for _ in 0..*len {
                    // Also a boolean, which the decoder writes back as 0 or 1.
                    let byte = self.below(2) as u8;
                    self.out.push(byte);
                }
            }
            Kind::Text | Kind::Bytes => {
                let width = if matches!(kind, Kind::Text) { 2 } else { 4 };
                let len = self.below(9);
                self.len(len, width);
                self.out.extend(std::iter::repeat_n(b'x', len as usize));
            }
            Kind::Values(of) => {
                let count = self.below(4);
                self.len(count, 4);
                (0..count).for_each(|_| self.field(of));
            }
            Kind::Structs(fields) => {
                let count = self.below(4);
                self.len(count, 4);
                (0..count).for_each(|_| self.fields(fields));
            }
            Kind::Struct(fields) => self.fields(fields),
            Kind::Optional(fields) => {
                let is_there = self.below(2) as u8;
                self.out.push(is_there);
                if is_there == 1 {
                    self.fields(fields);
                }
            }
        }
    }
}

fn written(random: &mut TestRng, fields: &[Field], version: i16, flexible: bool) -> Vec<u8> {
    let mut writer = Writer { random, version, flexible, out: Vec::new() };
    writer.fields(fields);
    writer.out
}

/// A decoder of one API's requests: gives how many bytes it left, and the request encoded anew.
type Decode = fn(i16, Bytes) -> Result<(usize, Vec<u8>), String>;

fn decode<Q: Request>(version: i16, mut body: Bytes) -> Result<(usize, Vec<u8>), String> {
    let request = Q::decode(&mut body, version).map_err(|error| error.to_string())?;
    let mut again = Vec::new();
    // Values at random need not be ones that the encoder takes.
    let _ = request.encode(&mut again, version);
    Ok((body.remaining(), again))
}

macro_rules! decoders {
    ($($request:ident)*) => {
        [$((<$request as Request>::KEY, <$request as HeaderVersion>::header_version as fn(i16) -> i16,
            <$request as kafka_protocol::protocol::Message>::VERSIONS, decode::<$request> as Decode)),*]
    };
}

/// An API's key, its header's version by its own, the versions that are checked, and its decoder.
type Checked = (i16, fn(i16) -> i16, std::ops::RangeInclusive<i16>, Decode);

fn decoders() -> impl Iterator<Item = Checked> {
    let all = decoders![
        ProduceRequest FetchRequest ListOffsetsRequest MetadataRequest OffsetCommitRequest OffsetFetchRequest
        FindCoordinatorRequest JoinGroupRequest HeartbeatRequest LeaveGroupRequest SyncGroupRequest
        DescribeGroupsRequest ListGroupsRequest ApiVersionsRequest CreateTopicsRequest DeleteTopicsRequest
        DeleteRecordsRequest InitProducerIdRequest OffsetForLeaderEpochRequest DescribeConfigsRequest
        AlterConfigsRequest DescribeLogDirsRequest CreatePartitionsRequest DeleteGroupsRequest ElectLeadersRequest
        IncrementalAlterConfigsRequest AlterPartitionReassignmentsRequest ListPartitionReassignmentsRequest
        OffsetDeleteRequest DescribeQuorumRequest DescribeClusterRequest DescribeProducersRequest
        DescribeTopicPartitionsRequest
    ];
    // Of Fetch and InitProducerId the newest versions are not in the table: they are not served.
    let newest = |key| match key {
        1 => 16,
        22 => 4,
        _ => i16::MAX,
    };
    all.into_iter()
        .map(move |(key, header, known, decode)| (key, header, known.min..=known.max.min(newest(key)), decode))
}

#[test]
fn every_api_that_is_served_has_a_layout() {
    for api in APIS {
        assert!(schema::of(api.key).is_some(), "{}", api.name);
        let (_, _, versions, _) = decoders().find(|(key, ..)| *key == api.key).expect("and a decoder here");
        assert!(api.max <= *versions.end(), "{}: {} is not checked", api.name, api.max);
    }
}

#[test]
fn the_decoder_reads_what_the_table_says_to_the_last_byte() {
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    for (key, header, versions, decode) in decoders() {
        let fields = schema::of(key).unwrap();
        for version in versions {
            let flexible = header(version) >= 2;
            for _ in 0..50 {
                let body = written(&mut random, fields, version, flexible);
                let measured = measure(fields, version, flexible, &body).unwrap();
                assert_eq!(measured.wire_bytes, body.len(), "API {key}, version {version}");
                let (left, again) = decode(version, body.clone().into())
                    .unwrap_or_else(|error| panic!("API {key}, version {version}: {error}"));
                assert_eq!(left, 0, "API {key}, version {version}");
                assert!(again.is_empty() || again.len() <= body.len(), "API {key}, version {version}");
                for cut in 0..body.len() {
                    assert!(measure(fields, version, flexible, &body[..cut]).is_err(), "API {key}, cut at {cut}");
                }
            }
        }
    }
}

#[test]
fn counts_that_do_not_fit_are_refused() {
    let metadata = schema::of(3).unwrap();
    assert!(measure(metadata, 1, false, &i32::MAX.to_be_bytes()).is_err());
    assert!(measure(metadata, 1, false, &(-2_i32).to_be_bytes()).is_err());
    assert!(measure(metadata, 9, true, &[0xff, 0xff, 0xff, 0xff, 0x0f]).is_err());
    assert!(measure(metadata, 9, true, &[0xff; 9]).is_err());
    // As many as there are bytes for, but too many for memory.
    let mut many = 1_000_000_i32.to_be_bytes().to_vec();
    many.resize(4 + 2_000_000, 0);
    let refused = measure(metadata, 1, false, &many).unwrap_err();
    assert!(refused.0.contains("takes more than"), "{refused}");
    // Tagged fields that nobody knows are kept by the decoder, each with a place of its own.
    let mut tags = vec![1, 0, 0, 0x80, 0x80, 0x40];
    tags.extend((0..(1 << 20)).flat_map(|tag: u32| [tag as u8 | 0x80, (tag >> 7) as u8 | 0x80, (tag >> 14) as u8, 0]));
    assert!(measure(metadata, 12, true, &tags).is_err());
}

#[test]
fn whatever_passes_is_decoded_or_refused() {
    let mut runner = TestRunner::new_with_rng(
        Config { cases: 4_000, failure_persistence: None, ..Config::default() },
        TestRng::deterministic_rng(RngAlgorithm::ChaCha),
    );
    let apis: Vec<_> = decoders().collect();
    let input = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u64>(), any::<[(u16, u8); 3]>());
    let run = |(api, version, seed, edits): (prop::sample::Index, prop::sample::Index, u64, [(u16, u8); 3])| {
        let (key, header, versions, decode) = api.get(&apis);
        let versions: Vec<i16> = versions.clone().collect();
        let (version, fields) = (*version.get(&versions), schema::of(*key).unwrap());
        let flexible = header(version) >= 2;
        let mut seeded = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed.to_be_bytes(); 4].concat());
        let mut body = written(&mut seeded, fields, version, flexible);
        for (at, byte) in edits {
            let at = usize::from(at) % body.len().max(1);
            if let Some(place) = body.get_mut(at) {
                *place = byte;
            }
        }
        if measure(fields, version, flexible, &body).is_ok() {
            // It may be refused for what it says; it must not panic, nor ask for memory that it has no use for.
            let _ = decode(version, Bytes::from(body));
        }
        Ok(())
    };
    runner.run(&input, run).unwrap();
}

/// How the seeds of the fuzz target were made: `cargo test --lib prescan -- --ignored`.
#[test]
#[ignore = "writes the corpus into the source tree"]
fn write_seeds() {
    let dir = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/kafka_requests");
    std::fs::create_dir_all(&dir).unwrap();
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    for api in APIS {
        let (_, header, ..) = decoders().find(|(key, ..)| *key == api.key).unwrap();
        for version in [api.min, api.max] {
            let flexible = header(version) >= 2;
            let mut frame = [api.key.to_be_bytes(), version.to_be_bytes(), [0, 0], [0, 7], [0, 1]].concat();
            frame.push(b'c');
            frame.extend(flexible.then_some(0));
            frame.extend(written(&mut random, schema::of(api.key).unwrap(), version, flexible));
            let read = crate::kafka::dispatch::read(frame.clone().into());
            assert!(read.is_ok() || api.key == 0, "{read:?}");
            std::fs::write(dir.join(format!("{}-{version}", api.name)), frame).unwrap();
        }
    }
}
