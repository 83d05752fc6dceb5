//! The Kafka front against a real node, by a client that sees every byte: each API and version that is advertised,
//! order, long polls, sessions, the bytes of record batches, and bad input.

mod bad_input;
mod client;
mod cluster;
mod fetches;
mod mutated;
#[path = "../support/mod.rs"]
mod support;

use bytes::{Buf, BufMut, BytesMut};
use client::{Client, batch, frame, produce, produced, topic_name};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, Message, Request};
use std::collections::BTreeMap;
use support::Cluster;

/// One node that makes topics at their first use.
pub fn one_node() -> Cluster {
    Cluster::start_with(1, &["--set", "auto_create_topics=true", "--log-level", "warn"])
}

pub fn connect(cluster: &Cluster, id: u64) -> Client {
    Client::new(&cluster.spec(id).kafka)
}

/// Makes topic `t` with so many partitions.
pub fn with_topic(cluster: &Cluster, partitions: u32) {
    let body = serde_json::json!({"name": "t", "partitions": partitions});
    cluster.http(1).post_json("/v1/topics", &body).expect("the node answers").expect(201);
}

type Ask = fn(&mut Client, i16);

fn ask<Q: Request + Default>(client: &mut Client, version: i16) {
    client.call(version, &Q::default());
}

macro_rules! asks {
    ($($request:ident)*) => {
        BTreeMap::from([$((<$request as Request>::KEY, (<$request as Message>::VERSIONS.min, ask::<$request> as Ask))),*])
    };
}

#[test]
fn every_advertised_version_is_answered() {
    let cluster = one_node();
    with_topic(&cluster, 1);
    let mut client = connect(&cluster, 1);
    let asks = asks![
        FetchRequest ListOffsetsRequest MetadataRequest OffsetCommitRequest OffsetFetchRequest FindCoordinatorRequest
        JoinGroupRequest HeartbeatRequest LeaveGroupRequest SyncGroupRequest DescribeGroupsRequest ListGroupsRequest
        ApiVersionsRequest CreateTopicsRequest DeleteTopicsRequest DeleteRecordsRequest InitProducerIdRequest
        OffsetForLeaderEpochRequest DescribeConfigsRequest AlterConfigsRequest DescribeLogDirsRequest
        CreatePartitionsRequest DeleteGroupsRequest ElectLeadersRequest IncrementalAlterConfigsRequest
        AlterPartitionReassignmentsRequest ListPartitionReassignmentsRequest OffsetDeleteRequest
        DescribeQuorumRequest DescribeClusterRequest DescribeProducersRequest DescribeTopicPartitionsRequest
    ];
    let advertised = client.call(0, &ApiVersionsRequest::default()).api_keys;
    assert!(advertised.len() >= 7, "{advertised:?}");
    let mut pairs = 0;
    for api in &advertised {
        for version in api.min_version..=api.max_version {
            pairs += 1;
            if api.api_key == ProduceRequest::KEY {
                produce_in(&mut client, version);
                continue;
            }
            let (known_from, ask) = asks.get(&api.api_key).expect("each API is known to this test");
            assert!(version >= *known_from, "API {} in version {version} is not known to this test", api.api_key);
            ask(&mut client, version);
        }
    }
    println!("{} APIs, {pairs} versions", advertised.len());
}

fn produce_in(client: &mut Client, version: i16) {
    if version >= 3 {
        let response = client.call(version, &produce("t", 0, -1, Some(batch(&[10]))));
        assert_eq!(produced(&response).0, 0, "version {version}");
        return;
    }
    // Formats of before Kafka 0.11: acks, timeout, one topic with one partition and no bytes.
    let mut body = BytesMut::new();
    body.put_i16(1);
    body.put_i32(1000);
    body.put_i32(1);
    body.put_slice(b"\0\x01t");
    body.put_i32(1);
    body.put_i32(0);
    body.put_i32(0);
    // Behind the number of topics, the name, the number of partitions and the partition stands its code.
    let code = client.code_after(&client::raw_frame(0, version, 7, false, &body), 4 + 3 + 4 + 4);
    assert_eq!(code, Some(43), "version {version}");
}

#[test]
fn metadata_says_who_and_where() {
    let cluster = one_node();
    with_topic(&cluster, 3);
    let mut client = connect(&cluster, 1);
    for version in 0..=12 {
        // In version 0 an empty list stands for all topics, later null does.
        let all = MetadataRequest::default().with_topics((version == 0).then(Vec::new));
        let all = client.call(version, &all);
        let broker = &all.brokers[0];
        assert_eq!(format!("{}:{}", broker.host, broker.port), cluster.spec(1).kafka);
        assert_eq!((*broker.node_id, all.brokers.len(), all.topics.len()), (1, 1, 1));
        let partitions = &all.topics[0].partitions;
        assert_eq!(partitions.len(), 3);
        assert!(partitions.iter().all(|partition| partition.error_code == 0 && *partition.leader_id == 1));
        if version >= 1 {
            assert_eq!(*all.controller_id, 1);
            assert!(client.call(version, &MetadataRequest::default().with_topics(Some(vec![]))).topics.is_empty());
        }
        if version >= 2 {
            assert_eq!(all.cluster_id.as_deref().map(str::len), Some(36));
        }
    }
    let named = |name: &str, make: bool| {
        let topic = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(make)
    };
    let codes = |response: MetadataResponse| response.topics.iter().map(|topic| topic.error_code).collect::<Vec<_>>();
    assert_eq!(codes(client.call(9, &named("absent", false))), [3]);
    assert_eq!(codes(client.call(9, &named("not/a/name", true))), [17]);
    let made = client.call(12, &named("made", true));
    assert_eq!((made.topics[0].error_code, *made.topics[0].partitions[0].leader_id), (0, 1));
    let by_id = MetadataRequestTopic::default().with_topic_id(made.topics[0].topic_id).with_name(None);
    let by_id = client.call(12, &MetadataRequest::default().with_topics(Some(vec![by_id])));
    assert_eq!(by_id.topics[0].name.as_ref().map(|name| name.to_string()).as_deref(), Some("made"));
    let nobody = MetadataRequestTopic::default().with_topic_id(uuid::Uuid::from_u128(1)).with_name(None);
    assert_eq!(codes(client.call(12, &MetadataRequest::default().with_topics(Some(vec![nobody])))), [100]);
}

/// The log's end, by ListOffsets.
pub fn end_of(client: &mut Client, partition: i32) -> i64 {
    offset_of(client, partition, -1).0
}

fn offset_of(client: &mut Client, partition: i32, timestamp: i64) -> (i64, i64) {
    let asked = ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(timestamp);
    let asked = ListOffsetsTopic::default().with_name(topic_name("t")).with_partitions(vec![asked]);
    let response = client.call(8, &ListOffsetsRequest::default().with_topics(vec![asked]));
    let found = &response.topics[0].partitions[0];
    assert_eq!(found.error_code, 0);
    (found.offset, found.timestamp)
}

#[test]
fn what_is_sent_without_waiting_is_done_and_answered_in_order() {
    const WRITES: i64 = 200;
    let cluster = one_node();
    with_topic(&cluster, 1);
    let mut client = connect(&cluster, 1);
    let mut bytes = Vec::new();
    let one = produce("t", 0, -1, Some(batch(&[100])));
    for id in 0..WRITES as i32 {
        bytes.extend(frame(9, id, &one));
    }
    // What follows sees all that was before it, and a write with acks=0 in the middle has no answer but its place.
    let asked = ListOffsetsPartition::default().with_timestamp(-1);
    let asked = ListOffsetsTopic::default().with_name(topic_name("t")).with_partitions(vec![asked]);
    bytes.extend(frame(8, 1000, &ListOffsetsRequest::default().with_topics(vec![asked])));
    bytes.extend(frame(9, 1001, &produce("t", 0, 0, Some(batch(&[100])))));
    bytes.extend(frame(9, 1002, &one));
    bytes.extend(frame(4, 1003, &ApiVersionsRequest::default()));
    // In odd pieces, so that frames are cut anywhere.
    for piece in bytes.chunks(777) {
        client.send_raw(piece);
    }
    for id in 0..WRITES as i32 {
        assert_eq!(produced(&client.receive::<ProduceRequest>(9, id)), (0, i64::from(id)));
    }
    let end = client.receive::<ListOffsetsRequest>(8, 1000);
    assert_eq!(end.topics[0].partitions[0].offset, WRITES);
    assert_eq!(produced(&client.receive::<ProduceRequest>(9, 1002)), (0, WRITES + 1));
    client.receive::<ApiVersionsRequest>(4, 1003);
}

#[test]
fn offsets_are_found_by_their_names_and_times() {
    let cluster = one_node();
    with_topic(&cluster, 2);
    let mut client = connect(&cluster, 1);
    // Timestamps are 1_700_000_000_000 and the next milliseconds.
    assert_eq!(produced(&client.call(9, &produce("t", 0, -1, Some(batch(&[1, 2, 3]))))), (0, 0));
    let first = 1_700_000_000_000;
    assert_eq!(offset_of(&mut client, 0, -1), (3, -1));
    assert_eq!(offset_of(&mut client, 0, -2), (0, -1));
    assert_eq!(offset_of(&mut client, 0, -4), (0, -1));
    assert_eq!(offset_of(&mut client, 0, -3), (2, first + 2));
    assert_eq!(offset_of(&mut client, 0, 0), (0, first));
    assert_eq!(offset_of(&mut client, 0, first + 1), (1, first + 1));
    assert_eq!(offset_of(&mut client, 0, first + 3), (-1, -1));
    // A partition that was never written.
    assert_eq!(offset_of(&mut client, 1, -1), (0, -1));
    assert_eq!(offset_of(&mut client, 1, -2), (0, -1));
    assert_eq!(offset_of(&mut client, 1, 0), (-1, -1));
}

#[test]
fn producer_ids_are_given_once() {
    let cluster = one_node();
    let mut client = connect(&cluster, 1);
    let mut seen = std::collections::BTreeSet::new();
    for version in 0..=4 {
        let given = client.call(version, &InitProducerIdRequest::default().with_transactional_id(None));
        assert_eq!((given.error_code, given.producer_epoch), (0, 0));
        assert!(*given.producer_id >= 0 && seen.insert(*given.producer_id));
    }
    let id = kafka_protocol::protocol::StrBytes::from_static_str("tx");
    let transactional = InitProducerIdRequest::default().with_transactional_id(Some(TransactionalId(id)));
    assert_eq!(client.call(4, &transactional).error_code, 35);
}

#[test]
fn versions_from_the_future_hear_what_is_served() {
    let cluster = one_node();
    let mut client = connect(&cluster, 1);
    // ApiVersions in a version that nobody knows yet, with a body that nobody can read.
    client.send_raw(&client::raw_frame(18, 99, 5, true, b"\xff\xff\xff"));
    let client::Came::Frame(mut frame) = client.next() else { panic!("closed") };
    assert_eq!((frame.get_i32(), frame.get_i16()), (5, 35));
    let count = frame.get_i32();
    let apis: BTreeMap<i16, (i16, i16)> =
        (0..count).map(|_| (frame.get_i16(), (frame.get_i16(), frame.get_i16()))).collect();
    assert_eq!((apis[&18], frame.len()), ((0, 4), 0));
    // Another API whose answers have a code of their own, in a version that is known and not served.
    let mut body = BytesMut::new();
    InitProducerIdRequest::default().encode(&mut body, 5).unwrap();
    client.send_raw(&client::raw_frame(22, 5, 6, true, &body));
    let client::Came::Frame(frame) = client.next() else { panic!("closed") };
    assert_eq!((&frame[9..]).get_i16(), 35, "behind the correlation id, the tagged fields and the throttle time");
}
