//! Consumer groups on the wire: a life of a group in every version, fencing, and what is asked from outside.

use super::support::{Cluster, LONG};
use super::wire::{Client, batch, name, text};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use std::time::Instant;

const ILLEGAL_GENERATION: i16 = 22;
const UNKNOWN_MEMBER: i16 = 25;
const NOT_COORDINATOR: i16 = 16;
const UNKNOWN_PARTITION: i16 = 3;
const METADATA_TOO_LARGE: i16 = 12;
const NON_EMPTY: i16 = 68;
const NO_SUCH_GROUP: i16 = 69;
const MEMBER_ID_REQUIRED: i16 = 79;
const SUBSCRIBED: i16 = 86;

/// A subscription to `t` as the consumer protocol has it.
const SUBSCRIPTION: &[u8] = &[0, 0, 0, 0, 0, 1, 0, 1, b't', 0xff, 0xff, 0xff, 0xff];

fn group(id: &str) -> GroupId {
    GroupId(text(id))
}

fn begin() -> (Cluster, Client) {
    let cluster = Cluster::start(1);
    let mut client = Client::connect(&cluster.spec(1).kafka);
    let topic = CreatableTopic::default().with_name(name("t")).with_num_partitions(2).with_replication_factor(1);
    let made = client.call(7, &CreateTopicsRequest::default().with_timeout_ms(10_000).with_topics(vec![topic]));
    assert_eq!(made.topics[0].error_code, 0, "{made:?}");
    (cluster, client)
}

fn find(client: &mut Client, version: i16, id: &str) -> (i16, i32) {
    let request = FindCoordinatorRequest::default();
    if version >= 4 {
        let found = client.call(version, &request.with_coordinator_keys(vec![text(id)]));
        let found = &found.coordinators[0];
        return (found.error_code, found.node_id.0);
    }
    let found = client.call(version, &request.with_key(text(id)));
    (found.error_code, found.node_id.0)
}

fn join(client: &mut Client, version: i16, id: &str, member: StrBytes) -> JoinGroupResponse {
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(SUBSCRIPTION.into());
    let request = JoinGroupRequest::default()
        .with_group_id(group(id))
        .with_session_timeout_ms(10_000)
        .with_member_id(member)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    let request = if version >= 1 { request.with_rebalance_timeout_ms(10_000) } else { request };
    client.call(version, &request)
}

/// Joins, with a second request where the first one only gives an id.
fn member(client: &mut Client, version: i16, id: &str) -> (StrBytes, i32) {
    let mut joined = join(client, version, id, text(""));
    assert_eq!(joined.error_code == MEMBER_ID_REQUIRED, version >= 4, "version {version}: {joined:?}");
    if joined.error_code == MEMBER_ID_REQUIRED {
        joined = join(client, version, id, joined.member_id);
    }
    assert_eq!((joined.error_code, joined.generation_id), (0, 1), "version {version}: {joined:?}");
    assert_eq!((&joined.leader, joined.members.len()), (&joined.member_id, 1), "version {version}");
    assert_eq!(joined.members[0].metadata, SUBSCRIPTION);
    (joined.member_id, joined.generation_id)
}

fn sync(client: &mut Client, version: i16, id: &str, member: &StrBytes, generation: i32) {
    let mine = SyncGroupRequestAssignment::default().with_member_id(member.clone()).with_assignment("mine".into());
    let request = SyncGroupRequest::default()
        .with_group_id(group(id))
        .with_generation_id(generation)
        .with_member_id(member.clone())
        .with_assignments(vec![mine]);
    let request = match version >= 5 {
        true => request.with_protocol_type(Some(text("consumer"))).with_protocol_name(Some(text("range"))),
        false => request,
    };
    let synced = client.call(version, &request);
    assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"mine"[..]), "version {version}");
}

fn beat(client: &mut Client, version: i16, id: &str, member: &StrBytes, generation: i32) -> i16 {
    let request = HeartbeatRequest::default()
        .with_group_id(group(id))
        .with_generation_id(generation)
        .with_member_id(member.clone());
    client.call(version, &request).error_code
}

/// Commits 7 for partitions 0 (good), 1 (with too much metadata) and 5 (which does not exist).
fn commit(client: &mut Client, version: i16, id: &str, member: &StrBytes, generation: i32) -> Vec<i16> {
    let partition = |index: i32, metadata: &str| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(7)
            .with_committed_metadata(Some(text(metadata)))
    };
    let partitions = vec![partition(0, "note"), partition(1, &"x".repeat(5000)), partition(5, "")];
    let request = OffsetCommitRequest::default()
        .with_group_id(group(id))
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(member.clone())
        .with_topics(vec![OffsetCommitRequestTopic::default().with_name(name("t")).with_partitions(partitions)]);
    let answer = client.call(version, &request);
    answer.topics[0].partitions.iter().map(|partition| partition.error_code).collect()
}

/// Offset and metadata of partitions 0 and 1.
fn fetch(client: &mut Client, version: i16, id: &str) -> Vec<(i64, String)> {
    let told = |offset: i64, metadata: &Option<StrBytes>| (offset, metadata.clone().unwrap_or_default().to_string());
    if version >= 8 {
        let topic = OffsetFetchRequestTopics::default().with_name(name("t")).with_partition_indexes(vec![0, 1]);
        let asked = OffsetFetchRequestGroup::default().with_group_id(group(id)).with_topics(Some(vec![topic]));
        let answer = client.call(version, &OffsetFetchRequest::default().with_groups(vec![asked]));
        assert_eq!(answer.groups[0].error_code, 0);
        let partitions = &answer.groups[0].topics[0].partitions;
        return partitions.iter().map(|of| told(of.committed_offset, &of.metadata)).collect();
    }
    let topic = OffsetFetchRequestTopic::default().with_name(name("t")).with_partition_indexes(vec![0, 1]);
    let request = OffsetFetchRequest::default().with_group_id(group(id)).with_topics(Some(vec![topic]));
    let answer = client.call(version, &request);
    assert_eq!(answer.error_code, 0);
    answer.topics[0].partitions.iter().map(|of| told(of.committed_offset, &of.metadata)).collect()
}

fn leave(client: &mut Client, version: i16, id: &str, member: &StrBytes) -> i16 {
    let request = LeaveGroupRequest::default().with_group_id(group(id));
    if version < 3 {
        return client.call(version, &request.with_member_id(member.clone())).error_code;
    }
    let members = vec![MemberIdentity::default().with_member_id(member.clone())];
    let answer = client.call(version, &request.with_members(members));
    assert_eq!(answer.error_code, 0);
    answer.members[0].error_code
}

fn delete(client: &mut Client, version: i16, id: &str) -> i16 {
    let request = DeleteGroupsRequest::default().with_groups_names(vec![group(id)]);
    client.call(version, &request).results[0].error_code
}

fn forget(client: &mut Client, id: &str) -> (i16, i16) {
    let partitions = vec![OffsetDeleteRequestPartition::default().with_partition_index(0)];
    let topics = vec![OffsetDeleteRequestTopic::default().with_name(name("t")).with_partitions(partitions)];
    let answer = client.call(0, &OffsetDeleteRequest::default().with_group_id(group(id)).with_topics(topics));
    (answer.error_code, answer.topics.first().map_or(0, |topic| topic.partitions[0].error_code))
}

fn state(client: &mut Client, version: i16, id: &str) -> (String, usize) {
    let described = client.call(version, &DescribeGroupsRequest::default().with_groups(vec![group(id)]));
    assert_eq!(described.groups[0].error_code, 0);
    (described.groups[0].group_state.to_string(), described.groups[0].members.len())
}

#[test]
fn a_group_lives_in_every_version() {
    let (_cluster, mut client) = begin();
    let client = &mut client;
    let began = Instant::now();
    for round in 0..=8_i16 {
        let id = format!("group-{round}");
        assert_eq!(find(client, round.min(4), &id), (0, 1), "round {round}");
        let (me, generation) = member(client, round.min(7), &id);
        sync(client, round.min(5), &id, &me, generation);
        assert_eq!(beat(client, round.min(4), &id, &me, generation), 0);
        assert_eq!(beat(client, round.min(4), &id, &me, generation + 1), ILLEGAL_GENERATION);
        assert_eq!(beat(client, round.min(4), &id, &text("stranger"), generation), UNKNOWN_MEMBER);
        let version = round.clamp(2, 8);
        let codes = commit(client, version, &id, &me, generation);
        assert_eq!(codes, [0, METADATA_TOO_LARGE, UNKNOWN_PARTITION], "round {round}");
        assert_eq!(commit(client, version, &id, &me, generation - 1)[0], ILLEGAL_GENERATION);
        assert_eq!(commit(client, version, &id, &text(""), -1)[0], UNKNOWN_MEMBER, "there are members");
        let offsets = fetch(client, round.clamp(1, 8), &id);
        assert_eq!(offsets, [(7, "note".to_owned()), (-1, String::new())], "round {round}");
        assert_eq!(state(client, round.min(5), &id), ("Stable".to_owned(), 1));
        let listed = client.call(round.min(4), &ListGroupsRequest::default());
        assert!(listed.groups.iter().any(|listed| *listed.group_id == text(&id)), "round {round}");
        assert_eq!(delete(client, round.min(2), &id), NON_EMPTY);
        assert_eq!(forget(client, &id), (0, SUBSCRIBED));
        assert_eq!(leave(client, round.min(5), &id, &me), 0);
        assert_eq!(leave(client, round.min(5), &id, &me), UNKNOWN_MEMBER);
        assert_eq!(state(client, round.min(5), &id), ("Empty".to_owned(), 0));
        assert_eq!(commit(client, version, &id, &text(""), -1)[0], 0, "nobody is in it");
        assert_eq!(forget(client, &id), (0, 0));
        assert_eq!(fetch(client, round.clamp(1, 8), &id)[0].0, -1);
        assert_eq!(delete(client, round.min(2), &id), 0);
        assert_eq!(delete(client, round.min(2), &id), NO_SUCH_GROUP);
        assert_eq!(state(client, round.min(5), &id), ("Dead".to_owned(), 0));
    }
    assert!(began.elapsed() < LONG * 3, "{:?}", began.elapsed());
}

#[test]
fn members_and_offsets_are_there_after_a_restart_and_at_a_lag_monitor() {
    let (mut cluster, mut client) = begin();
    assert_eq!(client.produce("t", 0, batch(&[5; 10])).error_code, 0);
    assert_eq!(find(&mut client, 4, "g"), (0, 1));
    let (me, generation) = member(&mut client, 7, "g");
    sync(&mut client, 5, "g", &me, generation);
    assert_eq!(commit(&mut client, 8, "g", &me, generation)[0], 0);
    drop(client);
    cluster.kill(1);
    cluster.restart(1);
    let mut client = Client::connect(&cluster.spec(1).kafka);
    let began = Instant::now();
    while beat(&mut client, 4, "g", &me, generation) == NOT_COORDINATOR {
        assert!(began.elapsed() < LONG);
    }
    assert_eq!(beat(&mut client, 4, "g", &me, generation), 0, "without a rebalance");
    assert_eq!(fetch(&mut client, 8, "g")[0], (7, "note".to_owned()));

    // What a lag monitor reads: the records themselves, in Kafka's own format.
    let mut http = cluster.http(1);
    let records =
        http.get("/v1/topics/__consumer_offsets/records?format=base64").expect("an answer").expect(200).json();
    let keys = records["records"].as_array().expect("records").iter().map(|record| record["key"].to_string());
    let keys: Vec<String> = keys.collect();
    assert!(keys.iter().any(|key| key.contains("\\u0000\\u0001\\u0000\\u0001g\\u0000\\u0001t")), "{keys:?}");
}

#[test]
fn a_group_has_members_of_one_kind_and_offsets_for_both() {
    let (cluster, mut client) = begin();
    assert_eq!(client.produce("t", 0, batch(&[5; 10])).error_code, 0);
    assert_eq!(find(&mut client, 4, "g"), (0, 1));
    let (me, generation) = member(&mut client, 3, "g");
    sync(&mut client, 5, "g", &me, generation);
    assert_eq!(commit(&mut client, 8, "g", &me, generation)[0], 0);
    let mut http = cluster.http(1);
    let poll = serde_json::json!({"topics": ["t"], "member": "web"});
    let refused = http.post_json("/v1/groups/g/poll", &poll).expect("an answer").expect(409).json();
    assert_eq!(refused["type"], "/problems/other-kind-of-members");
    let shown = http.get("/v1/groups/g").expect("an answer").expect(200).json();
    assert_eq!((&shown["kind"], &shown["members"][0]["client_id"]), (&"kafka".into(), &"test".into()));
    assert_eq!(leave(&mut client, 5, "g", &me), 0);
    let polled = http.post_json("/v1/groups/g/poll", &poll).expect("an answer").expect(200).json();
    let offsets: Vec<_> =
        polled["records"].as_array().expect("records").iter().map(|of| of["offset"].as_u64()).collect();
    assert_eq!(offsets, [Some(7), Some(8), Some(9)], "where the Kafka client was");
    let joined = join(&mut client, 3, "g", text(""));
    assert_eq!(joined.error_code, 23, "an inconsistent protocol: {joined:?}");
    let ack = serde_json::json!({"lease": polled["lease"]});
    http.post_json("/v1/groups/g/ack", &ack).expect("an answer").expect(200);
    http.post_json("/v1/groups/g/leave", &serde_json::json!({"member": "web"})).expect("an answer").expect(200);
    assert_eq!(fetch(&mut client, 8, "g")[0].0, 10);
    assert_eq!(join(&mut client, 3, "g", text("")).error_code, 0);
}
