//! Idempotent producers (KIP-98), on the wire.

use super::support::{Cluster, LONG};
use super::wire::{Client, batch, name, of_producer, write};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, DescribeProducersRequest, InitProducerIdRequest, MetadataRequest,
    OffsetForLeaderEpochRequest, ProduceRequest, ProducerId,
};
use std::time::Instant;

const OUT_OF_ORDER: i16 = 45;
const INVALID_EPOCH: i16 = 47;
const INVALID_TIMESTAMP: i16 = 32;

fn make_topic(client: &mut Client, topic: &str) {
    let topic = CreatableTopic::default().with_name(name(topic)).with_num_partitions(1).with_replication_factor(1);
    let made = client.call(7, &CreateTopicsRequest::default().with_timeout_ms(10_000).with_topics(vec![topic]));
    assert_eq!(made.topics[0].error_code, 0, "{made:?}");
}

fn new_producer(client: &mut Client) -> i64 {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    let made = client.call(4, &request);
    assert_eq!((made.error_code, made.producer_epoch), (0, 0), "{made:?}");
    made.producer_id.0
}

#[test]
fn a_batch_that_is_sent_again_is_written_once() {
    let mut cluster = Cluster::start(1);
    let mut client = Client::connect(&cluster.spec(1).kafka);
    make_topic(&mut client, "once");
    let (first, second) = (new_producer(&mut client), new_producer(&mut client));
    assert_ne!(first, second);
    let send = |client: &mut Client, producer, epoch, sequence, records: usize| {
        let answer = client.produce("once", 0, of_producer(&batch(&vec![5; records]), producer, epoch, sequence));
        (answer.error_code, answer.base_offset)
    };
    assert_eq!(send(&mut client, first, 0, 0, 3), (0, 0));
    assert_eq!(send(&mut client, second, 0, 0, 2), (0, 3));
    assert_eq!(send(&mut client, first, 0, 3, 1), (0, 5));
    assert_eq!(send(&mut client, first, 0, 0, 3), (0, 0), "again: the first one's offset");
    assert_eq!(send(&mut client, first, 0, 5, 1).0, OUT_OF_ORDER, "a hole");
    assert_eq!(send(&mut client, first, 0, 3, 2).0, OUT_OF_ORDER, "the same number, another batch");
    assert_eq!(send(&mut client, first, 1, 7, 1).0, OUT_OF_ORDER, "a new epoch begins at 0");
    assert_eq!(send(&mut client, first, 1, 0, 1), (0, 6));
    assert_eq!(send(&mut client, first, 0, 4, 1).0, INVALID_EPOCH, "the epoch before is over");
    drop(client);
    cluster.kill(1);
    cluster.restart(1);
    let mut client = Client::connect(&cluster.spec(1).kafka);
    assert_eq!(send(&mut client, first, 1, 0, 1), (0, 6), "after a restart");
    assert_eq!(send(&mut client, second, 0, 0, 2), (0, 3));
    assert_eq!(send(&mut client, second, 0, 2, 1), (0, 7));
    assert!(new_producer(&mut client) > second, "no producer id is given out twice");
    let asked = TopicRequest::default().with_name(name("once")).with_partition_indexes(vec![0, 9]);
    let described = client.call(0, &DescribeProducersRequest::default().with_topics(vec![asked]));
    let partitions = &described.topics[0].partitions;
    let known: Vec<_> = partitions[0]
        .active_producers
        .iter()
        .map(|producer| (producer.producer_id.0, producer.producer_epoch, producer.last_sequence))
        .collect();
    assert_eq!(known, [(first, 1, 0), (second, 0, 2)]);
    assert_eq!(partitions[1].error_code, 3, "an unknown partition");
}

#[test]
fn a_batchs_timestamps_are_its_topics() {
    let cluster = Cluster::start(1);
    let mut client = Client::connect(&cluster.spec(1).kafka);
    use kafka_protocol::messages::create_topics_request::CreatableTopicConfig;
    let set = |name: &str, value: &str| {
        let (name, value) = (super::wire::text(name), Some(super::wire::text(value)));
        CreatableTopicConfig::default().with_name(name).with_value(value)
    };
    let topic = |topic: &str, configs| {
        CreatableTopic::default()
            .with_name(name(topic))
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_configs(configs)
    };
    let topics = vec![
        topic("appended", vec![set("message.timestamp.type", "LogAppendTime")]),
        topic("bounded", vec![set("message.timestamp.after.max.ms", "60000")]),
        topic("three", vec![set("min.insync.replicas", "3")]),
        topic("packed", vec![set("compression.type", "zstd")]),
    ];
    let made = client.call(7, &CreateTopicsRequest::default().with_timeout_ms(10_000).with_topics(topics));
    assert!(made.topics.iter().all(|topic| topic.error_code == 0), "{made:?}");
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis() as i64;
    let appended = client.produce("appended", 0, batch(&[5]));
    assert!(appended.error_code == 0 && (appended.log_append_time_ms - now).abs() < 60_000, "{appended:?}");
    let given = client.produce("bounded", 0, batch(&[5]));
    assert_eq!((given.error_code, given.log_append_time_ms), (0, -1));
    assert_eq!(client.produce("bounded", 0, batch(&[now + 3_600_000])).error_code, INVALID_TIMESTAMP);
    assert_eq!(client.produce("three", 0, batch(&[5])).error_code, 19, "more replicas are wanted than there are");
    let packed = client.produce("packed", 0, batch(&[5; 100]));
    assert_eq!((packed.error_code, packed.base_offset), (0, 0));
}

#[test]
fn another_leader_knows_the_producers_and_where_terms_end() {
    use kafka_protocol::messages::create_topics_request::CreatableReplicaAssignment;
    use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
    use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
    let mut cluster = Cluster::start(3);
    let mut client = Client::connect(&cluster.spec(1).kafka);
    let replicas = [1, 2, 3].map(BrokerId).to_vec();
    let assignment = CreatableReplicaAssignment::default().with_partition_index(0).with_broker_ids(replicas);
    let topic = CreatableTopic::default().with_name(name("moved")).with_num_partitions(-1).with_replication_factor(-1);
    let topics = vec![topic.with_assignments(vec![assignment])];
    let made = client.call(7, &CreateTopicsRequest::default().with_timeout_ms(10_000).with_topics(topics));
    assert_eq!(made.topics[0].error_code, 0, "{made:?}");
    let producer = new_producer(&mut client);
    let sent = of_producer(&batch(&[5; 3]), producer, 0, 0);
    assert_eq!(client.produce("moved", 0, sent.clone()).base_offset, 0);
    let asked = MetadataRequestTopic::default().with_name(Some(name("moved")));
    let described = client.call(9, &MetadataRequest::default().with_topics(Some(vec![asked])));
    let epoch = described.topics[0].partitions[0].leader_epoch;
    cluster.kill(1);
    let begin = Instant::now();
    let (mut client, again) = 'found: loop {
        for node in [2, 3] {
            let mut client = Client::connect(&cluster.spec(node).kafka);
            let again = client.produce("moved", 0, sent.clone());
            if again.error_code == 0 {
                break 'found (client, again);
            }
        }
        assert!(begin.elapsed() < LONG, "another replica is elected");
    };
    assert_eq!(again.base_offset, 0, "the new leader knows the batch");
    let next = client.produce("moved", 0, of_producer(&batch(&[5; 2]), producer, 0, 3));
    assert_eq!((next.error_code, next.base_offset), (0, 3));
    let asked = OffsetForLeaderPartition::default().with_partition(0).with_current_leader_epoch(-1);
    let asked =
        OffsetForLeaderTopic::default().with_topic(name("moved")).with_partitions(vec![asked.with_leader_epoch(epoch)]);
    let request = OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![asked]);
    let ended = client.call(4, &request);
    let partition = &ended.topics[0].partitions[0];
    assert_eq!((partition.error_code, partition.leader_epoch, partition.end_offset), (0, epoch, 3));
}

#[test]
fn what_is_on_its_way_counts_as_written() {
    let cluster = Cluster::start(3);
    let mut client = Client::connect(&cluster.spec(1).kafka);
    let topic = CreatableTopic::default().with_name(name("piped")).with_num_partitions(1).with_replication_factor(3);
    let made = client.call(7, &CreateTopicsRequest::default().with_timeout_ms(10_000).with_topics(vec![topic]));
    assert_eq!(made.topics[0].error_code, 0, "{made:?}");
    let producer = new_producer(&mut client);
    let leaders = [1, 2, 3].map(|node| Client::connect(&cluster.spec(node).kafka));
    let begin = of_producer(&batch(&[5]), producer, 0, 0);
    let led = |mut client: Client| (client.produce("piped", 0, begin.clone()).error_code == 0).then_some(client);
    let mut client = leaders.into_iter().find_map(led).expect("one of the nodes leads");
    // None of these is answered when the next one is sent: sequence numbers and the offsets that they get.
    let rounds = [(1, 0, 1), (4, 0, 4), (4, 0, 4), (1, 0, 1), (11, 45, -1), (7, 0, 7), (10, 0, 10), (7, 0, 7)];
    for round in 0..50 {
        let shift = round * 12;
        let sent: Vec<i32> = rounds
            .iter()
            .map(|(first, _, _)| {
                let batch = of_producer(&batch(&[5; 3]), producer, 0, shift + first);
                client.send(9, &write("piped", 0, batch))
            })
            .collect();
        for (number, (first, code, offset)) in sent.into_iter().zip(rounds) {
            let mut answer = client.receive::<ProduceRequest>(9, number);
            let answer = answer.responses.remove(0).partition_responses.remove(0);
            let expected = if code == 0 { i64::from(shift + offset) } else { -1 };
            assert_eq!((answer.error_code, answer.base_offset), (code, expected), "round {round}, sequence {first}");
        }
    }
}
