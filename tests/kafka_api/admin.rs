//! Administrators' requests: each in every version that is advertised.

use super::support::{Cluster, LONG};
use super::wire::{Client, batch, name, text};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::*;
use std::collections::BTreeMap;
use std::time::Instant;

const UNKNOWN_TOPIC: i16 = 3;
const INVALID_TOPIC: i16 = 17;
const TOPIC_EXISTS: i16 = 36;
const INVALID_PARTITIONS: i16 = 37;
const INVALID_ASSIGNMENT: i16 = 39;
const INVALID_CONFIG: i16 = 40;
const INVALID_REQUEST: i16 = 42;
const OUT_OF_RANGE: i16 = 1;
const PREFERRED_NOT_AVAILABLE: i16 = 80;
const ELECTION_NOT_NEEDED: i16 = 84;

fn node() -> (Cluster, Client) {
    let cluster = Cluster::start(1);
    let client = Client::connect(&cluster.spec(1).kafka);
    (cluster, client)
}

fn topic(topic: &str) -> CreatableTopic {
    CreatableTopic::default().with_name(name(topic)).with_num_partitions(2).with_replication_factor(1)
}

fn create(client: &mut Client, version: i16, topics: Vec<CreatableTopic>, validate_only: bool) -> CreateTopicsResponse {
    let request = CreateTopicsRequest::default().with_timeout_ms(10_000).with_validate_only(validate_only);
    client.call(version, &request.with_topics(topics))
}

fn make(client: &mut Client, name: &str) {
    let made = create(client, 7, vec![topic(name)], false);
    assert_eq!(made.topics[0].error_code, 0, "{made:?}");
}

fn config(key: &str, value: &str) -> CreatableTopicConfig {
    CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)))
}

#[test]
fn topics_are_made_and_deleted_in_every_version() {
    let (_cluster, mut client) = node();
    for version in 2..=7 {
        let called = format!("t{version}");
        let explicit = CreatableTopic::default()
            .with_name(name(&format!("e{version}")))
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_assignments(
                (0..3)
                    .map(|partition| {
                        CreatableReplicaAssignment::default()
                            .with_partition_index(partition)
                            .with_broker_ids(vec![BrokerId(1)])
                    })
                    .collect(),
            );
        let tried = create(&mut client, version, vec![topic(&called)], true);
        assert_eq!(tried.topics[0].error_code, 0, "only tried");
        let made = create(&mut client, version, vec![topic(&called), explicit, topic("__consumer_offsets")], false);
        let codes: Vec<_> = made.topics.iter().map(|topic| topic.error_code).collect();
        assert_eq!(codes, [0, 0, INVALID_TOPIC], "{made:?}");
        if version >= 5 {
            assert_eq!((made.topics[0].num_partitions, made.topics[1].num_partitions), (2, 3));
            let configs = made.topics[0].configs.as_ref().expect("settings are told");
            assert!(configs.iter().any(|config| config.name.as_str() == "max.message.bytes"));
        }
        let again = create(&mut client, version, vec![topic(&called)], false);
        assert_eq!(again.topics[0].error_code, TOPIC_EXISTS);
        assert!(again.topics[0].error_message.as_ref().is_some_and(|text| text.contains(&called)));
    }
    let twice = create(&mut client, 7, vec![topic("d"), topic("d")], false);
    assert_eq!((twice.topics.len(), twice.topics[0].error_code), (1, INVALID_REQUEST));
    for (topic, code) in [
        (topic("a b"), INVALID_TOPIC),
        (topic("p").with_num_partitions(0), INVALID_PARTITIONS),
        (topic("c").with_configs(vec![config("retention.ms", "1000")]), INVALID_CONFIG),
        (topic("n").with_configs(vec![config("nonsense", "1")]), INVALID_CONFIG),
        (topic("r").with_replication_factor(3), 38),
    ] {
        let refused = create(&mut client, 7, vec![topic], false);
        assert_eq!(refused.topics[0].error_code, code, "{refused:?}");
    }
    use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
    for version in 1..=5 {
        let request = DeleteTopicsRequest::default().with_timeout_ms(10_000);
        let names = vec![name(&format!("t{version}")), name(&format!("e{version}"))];
        let deleted = client.call(version, &request.with_topic_names(names));
        let expected = if version == 1 { [UNKNOWN_TOPIC; 2] } else { [0; 2] };
        assert_eq!(deleted.responses.iter().map(|topic| topic.error_code).collect::<Vec<_>>(), expected);
    }
    let t6 = client.call(12, &MetadataRequest::default().with_topics(Some(vec![asked("t6")])));
    let by_id = DeleteTopicState::default().with_name(None).with_topic_id(t6.topics[0].topic_id);
    let by_name = DeleteTopicState::default().with_name(Some(name("t7")));
    let request = DeleteTopicsRequest::default().with_timeout_ms(10_000);
    let deleted = client.call(6, &request.clone().with_topics(vec![by_id.clone(), by_name]));
    assert!(deleted.responses.iter().all(|topic| topic.error_code == 0), "{deleted:?}");
    assert_eq!(deleted.responses[0].name, Some(name("t6")));
    assert_eq!(client.call(6, &request.with_topics(vec![by_id])).responses[0].error_code, 100, "unknown id");
}

fn asked(topic: &str) -> kafka_protocol::messages::metadata_request::MetadataRequestTopic {
    kafka_protocol::messages::metadata_request::MetadataRequestTopic::default().with_name(Some(name(topic)))
}

#[test]
fn partitions_are_added_in_every_version() {
    use kafka_protocol::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
    let (_cluster, mut client) = node();
    make(&mut client, "grows");
    let mut count = 2;
    for version in 0..=3 {
        let mut add = |count, assignments, validate_only| {
            let topic = CreatePartitionsTopic::default().with_name(name("grows")).with_count(count);
            let request = CreatePartitionsRequest::default().with_timeout_ms(10_000).with_validate_only(validate_only);
            client.call(version, &request.with_topics(vec![topic.with_assignments(assignments)])).results[0].error_code
        };
        let on_one = || CreatePartitionsAssignment::default().with_broker_ids(vec![BrokerId(1)]);
        assert_eq!(add(count, None, false), INVALID_PARTITIONS, "as many as there are");
        assert_eq!(add(count + 1, None, true), 0);
        assert_eq!(add(count + 2, Some(vec![on_one()]), false), INVALID_ASSIGNMENT);
        assert_eq!(add(count + 2, Some(vec![on_one(), on_one()]), false), 0);
        count += 2;
    }
    let topic = CreatePartitionsTopic::default().with_name(name("none")).with_count(5).with_assignments(None);
    let request = CreatePartitionsRequest::default().with_timeout_ms(2_000).with_topics(vec![topic]);
    assert_eq!(client.call(3, &request).results[0].error_code, UNKNOWN_TOPIC);
}

#[test]
fn records_are_deleted_in_every_version() {
    use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
    let (mut cluster, mut client) = node();
    make(&mut client, "trimmed");
    assert_eq!(client.produce("trimmed", 0, batch(&[1; 10])).error_code, 0);
    let delete = |client: &mut Client, version, partition, offset| {
        let asked = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset);
        let topic = DeleteRecordsTopic::default().with_name(name("trimmed")).with_partitions(vec![asked]);
        let request = DeleteRecordsRequest::default().with_timeout_ms(10_000).with_topics(vec![topic]);
        let answer = client.call(version, &request).topics.remove(0).partitions.remove(0);
        (answer.error_code, answer.low_watermark)
    };
    assert_eq!(delete(&mut client, 0, 0, 3), (0, 3));
    assert_eq!(delete(&mut client, 1, 0, 2), (0, 3), "never back");
    assert_eq!(delete(&mut client, 2, 0, 11), (OUT_OF_RANGE, -1));
    assert_eq!(delete(&mut client, 2, 1, -1), (0, 0), "never written");
    assert_eq!(delete(&mut client, 2, 7, 0).0, UNKNOWN_TOPIC);
    cluster.kill(1);
    cluster.restart(1);
    let mut client = Client::connect(&cluster.spec(1).kafka);
    assert_eq!(earliest(&mut client, "trimmed"), 3, "after a restart");
    assert_eq!(delete(&mut client, 2, 0, -1), (0, 10));
    let read = cluster.http(1).get("/v1/topics/trimmed/partitions/0/records?offset=2").expect("HTTP answers");
    assert_eq!(read.status, 416, "HTTP shows the same start: {}", read.text());
}

fn earliest(client: &mut Client, topic: &str) -> i64 {
    offset_at(client, topic, -2).0
}

/// Offset and timestamp of what is asked for by a time, or by a negative number of its own.
fn offset_at(client: &mut Client, topic: &str, timestamp: i64) -> (i64, i64) {
    use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
    let partition = ListOffsetsPartition::default().with_partition_index(0).with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default().with_name(name(topic)).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
    let answer = client.call(7, &request).topics.remove(0).partitions.remove(0);
    assert_eq!(answer.error_code, 0);
    (answer.offset, answer.timestamp)
}

#[test]
fn offsets_are_found_by_time() {
    const NEWEST: i64 = -3;
    let (_cluster, mut client) = node();
    make(&mut client, "timed");
    assert_eq!(offset_at(&mut client, "timed", NEWEST), (-1, -1), "never written");
    for timestamps in [[5, 900, 7], [800, 900, 10], [11, 12, 13]] {
        assert_eq!(client.produce("timed", 0, batch(&timestamps)).error_code, 0);
    }
    assert_eq!(offset_at(&mut client, "timed", NEWEST), (1, 900), "the first of the newest");
    assert_eq!(offset_at(&mut client, "timed", 0), (0, 5));
    assert_eq!(offset_at(&mut client, "timed", 6), (1, 900));
    assert_eq!(offset_at(&mut client, "timed", 901), (-1, -1));
    assert_eq!(offset_at(&mut client, "timed", -1), (9, -1), "the end");
    // A header that says another time than its records is set right.
    let mut wrong = batch(&[2000, 1500]).to_vec();
    wrong[35..43].copy_from_slice(&(-1_i64).to_be_bytes());
    let crc = crc32c::crc32c(&wrong[21..]);
    wrong[17..21].copy_from_slice(&crc.to_be_bytes());
    assert_eq!(client.produce("timed", 0, wrong.into()).error_code, 0);
    assert_eq!(offset_at(&mut client, "timed", NEWEST), (9, 2000));
}

fn described(client: &mut Client, version: i16, kind: i8, called: &str) -> (i16, BTreeMap<String, (String, i8, i8)>) {
    use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(called))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]).with_include_synonyms(true);
    let request = if version >= 3 { request.with_include_documentation(true) } else { request };
    let result = client.call(version, &request).results.remove(0);
    let value = |config: &kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult| {
        let value = config.value.as_ref().expect("every setting has a value").to_string();
        (config.name.to_string(), (value, config.config_source, config.config_type))
    };
    (result.error_code, result.configs.iter().map(value).collect())
}

#[test]
fn settings_are_described_and_altered_in_every_version() {
    let (_cluster, mut client) = node();
    make(&mut client, "set");
    for version in 1..=4 {
        let (code, settings) = described(&mut client, version, 2, "set");
        assert_eq!(code, 0);
        let kind = if version >= 3 { 3 } else { 0 };
        assert_eq!(settings["max.message.bytes"], ("1048576".to_owned(), 5, kind));
        assert_eq!(settings["retention.ms"].0, "-1");
        let (code, settings) = described(&mut client, version, 4, "1");
        assert_eq!((code, settings["node.id"].0.as_str()), (0, "1"));
        assert_eq!(described(&mut client, version, 4, "2").0, INVALID_REQUEST);
        assert_eq!(described(&mut client, version, 2, "none").0, UNKNOWN_TOPIC);
    }
    for version in 0..=2 {
        use kafka_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
        let mut alter = |kind, called: &str, set: &[(&str, &str)], validate_only| {
            let set = set
                .iter()
                .map(|(key, value)| AlterableConfig::default().with_name(text(key)).with_value(Some(text(value))));
            let resource = AlterConfigsResource::default().with_resource_type(kind).with_resource_name(text(called));
            let resources = vec![resource.with_configs(set.collect())];
            let request = AlterConfigsRequest::default().with_validate_only(validate_only).with_resources(resources);
            client.call(version, &request).responses[0].error_code
        };
        assert_eq!(alter(2, "set", &[("max.message.bytes", "5000")], false), 0);
        assert_eq!(alter(2, "set", &[("max.message.bytes", "6000")], true), 0);
        assert_eq!(alter(2, "set", &[("segment.bytes", "5000")], false), INVALID_CONFIG);
        assert_eq!(alter(4, "1", &[("num.partitions", "5")], false), INVALID_REQUEST);
        assert_eq!(described(&mut client, 4, 2, "set").1["max.message.bytes"], ("5000".to_owned(), 1, 3));
    }
    for version in 0..=1 {
        use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
        let mut alter = |operation, key: &str, value: Option<&str>| {
            let config = AlterableConfig::default()
                .with_name(text(key))
                .with_config_operation(operation)
                .with_value(value.map(text));
            let resource = AlterConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(text("set"))
                .with_configs(vec![config]);
            let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
            client.call(version, &request).responses[0].error_code
        };
        assert_eq!(alter(0, "compression.type", Some("lz4")), 0);
        assert_eq!(alter(2, "cleanup.policy", Some("delete")), 0);
        assert_eq!(alter(2, "cleanup.policy", Some("compact")), INVALID_CONFIG);
        assert_eq!(alter(2, "max.message.bytes", Some("5")), INVALID_REQUEST, "no list");
        assert_eq!(alter(1, "max.message.bytes", None), 0);
        let settings = described(&mut client, 4, 2, "set").1;
        assert_eq!(settings["compression.type"].0, "lz4");
        assert_eq!(settings["max.message.bytes"], ("1048576".to_owned(), 5, 3), "reset");
    }
}

#[test]
fn the_cluster_is_described_in_every_version() {
    use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
    let (_cluster, mut client) = node();
    make(&mut client, "seen");
    assert_eq!(client.produce("seen", 1, batch(&[1; 10])).error_code, 0);
    for version in 0..=1 {
        let cluster = client.call(version, &DescribeClusterRequest::default());
        assert_eq!((cluster.error_code, cluster.brokers.len(), cluster.controller_id), (0, 1, BrokerId(1)));
        let partition = vec![PartitionData::default()];
        let asked = TopicData::default().with_topic_name(name("__cluster_metadata")).with_partitions(partition);
        let quorum = client.call(version, &DescribeQuorumRequest::default().with_topics(vec![asked]));
        let partition = &quorum.topics[0].partitions[0];
        assert_eq!((partition.error_code, partition.leader_id, partition.current_voters.len()), (0, BrokerId(1), 1));
        assert_eq!(partition.high_watermark, partition.current_voters[0].log_end_offset);
    }
    for version in 1..=4 {
        let dirs = client.call(version, &DescribeLogDirsRequest::default().with_topics(None));
        let topics = &dirs.results[0].topics;
        let seen = topics.iter().find(|topic| topic.name == name("seen")).expect("the topic is there");
        assert_eq!(seen.partitions.len(), 2);
        assert!(seen.partitions.iter().any(|partition| partition.partition_size > 0));
        assert!(version < 4 || dirs.results[0].total_bytes >= dirs.results[0].usable_bytes);
    }
    let page = |client: &mut Client, from: Option<i32>| {
        use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
        let cursor = from.map(|at| Cursor::default().with_topic_name(name("seen")).with_partition_index(at));
        let request = DescribeTopicPartitionsRequest::default().with_response_partition_limit(1).with_cursor(cursor);
        client.call(0, &request.with_topics(vec![TopicRequest::default().with_name(name("seen"))]))
    };
    let first = page(&mut client, None);
    assert_eq!(first.topics[0].partitions[0].leader_id, BrokerId(1));
    assert_eq!(first.next_cursor.as_ref().map(|cursor| cursor.partition_index), Some(1));
    let second = page(&mut client, Some(1));
    assert_eq!(second.topics[0].partitions[0].partition_index, 1);
    assert_eq!((second.topics[0].partitions[0].isr_nodes.len(), second.next_cursor), (1, None));
}

#[test]
fn leaders_are_elected_and_replicas_stay() {
    use kafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
    use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
    let mut cluster = Cluster::start(3);
    let mut client = Client::connect(&cluster.spec(2).kafka);
    let replicas = [1, 2, 3].map(BrokerId).to_vec();
    let assignment = CreatableReplicaAssignment::default().with_partition_index(0).with_broker_ids(replicas.clone());
    let made = topic("led").with_num_partitions(-1).with_replication_factor(-1).with_assignments(vec![assignment]);
    assert_eq!(create(&mut client, 7, vec![made], false).topics[0].error_code, 0);
    let mut leader = Client::connect(&cluster.spec(1).kafka);
    assert_eq!(leader.produce("led", 0, batch(&[1])).error_code, 0);
    assert_eq!(client.produce("led", 0, batch(&[1])).error_code, 6, "another node leads");
    for version in 0..=2 {
        let asked = TopicPartitions::default().with_topic(name("led")).with_partitions(vec![0, 5]);
        let request = ElectLeadersRequest::default().with_timeout_ms(10_000).with_topic_partitions(Some(vec![asked]));
        let elected = client.call(version, &request);
        let results = &elected.replica_election_results[0].partition_result;
        assert_eq!(
            (results[0].error_code, results[1].error_code),
            (ELECTION_NOT_NEEDED, UNKNOWN_TOPIC),
            "it leads already"
        );
    }
    for version in 0..=1 {
        let mut move_to = |replicas: Option<Vec<BrokerId>>| {
            let partition = ReassignablePartition::default().with_partition_index(0).with_replicas(replicas);
            let asked = ReassignableTopic::default().with_name(name("led")).with_partitions(vec![partition]);
            let request = AlterPartitionReassignmentsRequest::default().with_timeout_ms(10_000);
            client.call(version, &request.with_topics(vec![asked])).responses[0].partitions[0].error_code
        };
        assert_eq!(move_to(Some(replicas.clone())), 0, "as it is");
        assert_eq!(move_to(Some([3, 2, 1].map(BrokerId).to_vec())), INVALID_ASSIGNMENT);
        assert_eq!(move_to(None), 85, "nothing is being moved");
    }
    let listed = client.call(0, &ListPartitionReassignmentsRequest::default().with_topics(None));
    assert_eq!((listed.error_code, listed.topics.len()), (0, 0));
    // The preferred replica comes back, and leads again once it is asked to (or does so by itself).
    cluster.kill(1);
    let elect = |client: &mut Client| {
        let asked = TopicPartitions::default().with_topic(name("led")).with_partitions(vec![0]);
        let request = ElectLeadersRequest::default().with_timeout_ms(10_000).with_topic_partitions(Some(vec![asked]));
        client.call(2, &request).replica_election_results[0].partition_result[0].error_code
    };
    let begin = Instant::now();
    while !matches!(elect(&mut client), PREFERRED_NOT_AVAILABLE) {
        assert!(begin.elapsed() < LONG, "another replica is elected, and the preferred one known to be away");
    }
    cluster.restart(1);
    while !matches!(elect(&mut client), 0 | ELECTION_NOT_NEEDED) {
        assert!(begin.elapsed() < LONG * 2, "the preferred replica is elected");
    }
    let mut leader = Client::connect(&cluster.spec(1).kafka);
    assert_eq!(leader.produce("led", 0, batch(&[1])).base_offset, 1);
}
