//! Reads: bytes, bounds, waits and sessions.

use crate::client::{Client, batch, fetch, produce, produced};
use crate::{connect, end_of, one_node, with_topic};
use bytes::Bytes;
use kafka_protocol::messages::fetch_request::ForgottenTopic;
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{FetchRequest, FetchResponse, MetadataRequest};
use std::time::{Duration, Instant};

fn write(client: &mut Client, partition: i32, records: &Bytes) -> i64 {
    let (code, offset) = produced(&client.call(9, &produce("t", partition, -1, Some(records.clone()))));
    assert_eq!(code, 0);
    offset
}

fn partitions(response: &FetchResponse) -> Vec<&PartitionData> {
    response.responses.iter().flat_map(|topic| &topic.partitions).collect()
}

fn records(partition: &PartitionData) -> Bytes {
    partition.records.clone().unwrap_or_default()
}

/// Numbers of the partitions in an answer, and how many bytes of records each has.
fn lengths(response: &FetchResponse) -> Vec<(i32, usize)> {
    partitions(response).iter().map(|partition| (partition.partition_index, records(partition).len())).collect()
}

#[test]
fn records_come_back_byte_for_byte_in_every_version() {
    let cluster = one_node();
    with_topic(&cluster, 2);
    let mut client = connect(&cluster, 1);
    // Small ones, and one that goes out as a slice of its own.
    let batches = [batch(&[10, 20]), batch(&[200_000]), batch(&[3]), batch(&[2_000; 40])];
    for batch in &batches {
        write(&mut client, 0, batch);
    }
    let id = client.call(12, &MetadataRequest::default().with_topics(None)).topics[0].topic_id;
    for version in 4..=16 {
        let mut request = fetch("t", &[(0, 0), (1, 0)]);
        if version >= 13 {
            request.topics[0].topic = Default::default();
            request.topics[0].topic_id = id;
        }
        let response = client.call(version, &request);
        let found = partitions(&response);
        assert_eq!(found.len(), 2, "version {version}");
        assert_eq!((found[0].error_code, found[0].high_watermark, found[0].last_stable_offset), (0, 44, 44));
        assert_eq!((found[1].high_watermark, records(found[1]).len()), (0, 0));
        let mut stored = &records(found[0])[..];
        let mut offset = 0_i64;
        for sent in &batches {
            let (got, rest) = stored.split_at(sent.len());
            // Stamped: the base offset and the leader epoch.
            assert_eq!(got[..8], offset.to_be_bytes(), "version {version}");
            assert_eq!((&got[8..12], &got[16..]), (&sent[8..12], &sent[16..]), "version {version}");
            assert_ne!(got[12..16], [0xff; 4]);
            offset += i64::from(i32::from_be_bytes(got[23..27].try_into().unwrap())) + 1;
            stored = rest;
        }
        assert_eq!((stored.len(), offset), (0, 44));
        // From within a batch that whole batch comes.
        request.topics[0].partitions.truncate(1);
        request.topics[0].partitions[0].fetch_offset = 1;
        let again = client.call(version, &request);
        assert_eq!(records(partitions(&again)[0]), records(found[0]));
    }
}

#[test]
fn reads_that_cannot_be_are_told_why() {
    let cluster = one_node();
    with_topic(&cluster, 1);
    let mut client = connect(&cluster, 1);
    write(&mut client, 0, &batch(&[1]));
    let mut code = |version, request: &FetchRequest| {
        let response = client.call(version, request);
        assert_eq!(response.error_code, 0);
        partitions(&response)[0].error_code
    };
    assert_eq!(code(12, &fetch("t", &[(0, 2)])), 1);
    assert_eq!(code(12, &fetch("t", &[(0, -1)])), 1);
    assert_eq!(code(12, &fetch("t", &[(9, 0)])), 3);
    assert_eq!(code(12, &fetch("t", &[(-1, 0)])), 3);
    assert_eq!(code(12, &fetch("absent", &[(0, 0)])), 3);
    assert_eq!(code(16, &fetch("", &[(0, 0)])), 100);
    let mut of_epoch = |epoch: i32| {
        let mut request = fetch("t", &[(0, 0)]);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        code(12, &request)
    };
    // Older epochs there are only after a failover (see `cluster`).
    assert_eq!((of_epoch(-1), of_epoch(1_000)), (0, 75));
}

#[test]
fn a_read_waits_for_records_and_no_longer() {
    let cluster = one_node();
    with_topic(&cluster, 2);
    let (mut reader, mut writer) = (connect(&cluster, 1), connect(&cluster, 1));
    write(&mut writer, 0, &batch(&[1]));
    // Partition 0 is at its end, partition 1 was never written.
    let waiting = |of_second: i64, wait_ms: i32| fetch("t", &[(0, 1), (1, of_second)]).with_max_wait_ms(wait_ms);
    let begun = Instant::now();
    assert_eq!(lengths(&reader.call(12, &waiting(0, 300))), [(0, 0), (1, 0)]);
    assert!((300..3_000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    for (partition, of_second) in [(1, 0), (0, 1)] {
        let begun = Instant::now();
        let id = reader.send(12, &waiting(of_second, 15_000));
        std::thread::sleep(Duration::from_millis(200));
        let records = batch(&[50]);
        write(&mut writer, partition, &records);
        let response = reader.receive::<FetchRequest>(12, id);
        let found = lengths(&response);
        assert!(found.contains(&(partition, records.len())), "{found:?}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
    // From here on both have a record; what is enough is counted over both.
    let end = end_of(&mut writer, 0);
    let request = fetch("t", &[(0, end), (1, 1)]).with_max_wait_ms(15_000).with_min_bytes(1_500);
    let id = reader.send(12, &request);
    for (partition, size) in [(0, 700), (1, 700), (0, 700)] {
        std::thread::sleep(Duration::from_millis(100));
        write(&mut writer, partition, &batch(&[size]));
    }
    let total: usize = lengths(&reader.receive::<FetchRequest>(12, id)).iter().map(|(_, len)| len).sum();
    assert!(total >= 1_500, "{total}");
}

#[test]
fn answers_have_bounds_and_partitions_their_turn() {
    let cluster = one_node();
    with_topic(&cluster, 4);
    let mut client = connect(&cluster, 1);
    let large = batch(&[100_000]);
    for partition in 0..4 {
        for _ in 0..3 {
            write(&mut client, partition, &large);
        }
    }
    // However little is asked for, the first batch comes, and it alone.
    let mut request = fetch("t", &[(0, 0), (1, 0), (2, 0), (3, 0)]);
    for partition in &mut request.topics[0].partitions {
        partition.partition_max_bytes = 10;
    }
    assert_eq!(lengths(&client.call(12, &request)), [(0, large.len()), (1, 0), (2, 0), (3, 0)]);
    // One batch of each, as many as fit.
    for partition in &mut request.topics[0].partitions {
        partition.partition_max_bytes = large.len() as i32;
    }
    let request = request.with_max_bytes(2 * large.len() as i32 + 10);
    assert_eq!(lengths(&client.call(12, &request)), [(0, large.len()), (1, large.len()), (2, 0), (3, 0)]);
    // A session goes on where it had to stop.
    let first = client.call(12, &request.clone().with_session_epoch(0));
    let mut served = lengths(&first);
    for epoch in 1..4 {
        let next = fetch("t", &[]).with_session_id(first.session_id).with_session_epoch(epoch);
        let next = next.with_topics(vec![]).with_max_bytes(2 * large.len() as i32 + 10);
        served.extend(lengths(&client.call(12, &next)));
    }
    for partition in 0..4 {
        let times = served.iter().filter(|(index, len)| *index == partition && *len > 0).count();
        assert_eq!(times, 2, "{served:?}");
    }
}

#[test]
fn sessions_say_only_what_changed() {
    let cluster = one_node();
    with_topic(&cluster, 3);
    let mut client = connect(&cluster, 1);
    let first = client.call(12, &fetch("t", &[(0, 0), (1, 0), (2, 0)]).with_session_epoch(0));
    let id = first.session_id;
    assert!(id > 0);
    assert_eq!(lengths(&first), [(0, 0), (1, 0), (2, 0)]);
    let next = |epoch: i32, changes: &[(i32, i64)]| {
        let mut request = fetch("t", changes).with_session_id(id).with_session_epoch(epoch);
        if changes.is_empty() {
            request.topics.clear();
        }
        request
    };
    assert_eq!(lengths(&client.call(12, &next(1, &[]))), []);
    let records = batch(&[5]);
    write(&mut client, 1, &records);
    assert_eq!(lengths(&client.call(12, &next(2, &[]))), [(1, records.len())]);
    // It comes again until the client says that it went on.
    assert_eq!(lengths(&client.call(12, &next(3, &[]))), [(1, records.len())]);
    assert_eq!(lengths(&client.call(12, &next(4, &[(1, 1)]))), []);
    write(&mut client, 1, &records);
    write(&mut client, 2, &records);
    let topic = crate::client::topic_name("t");
    let forgotten = ForgottenTopic::default().with_topic(topic).with_partitions(vec![1]);
    let request = next(5, &[]).with_forgotten_topics_data(vec![forgotten]);
    assert_eq!(lengths(&client.call(12, &request)), [(2, records.len())]);
    // A request that does not fit is told so, and harms nothing.
    assert_eq!(client.call(12, &next(5, &[])).error_code, 71);
    assert_eq!(client.call(12, &next(1, &[]).with_session_id(id ^ 1)).error_code, 70);
    assert_eq!(client.call(12, &next(6, &[])).error_code, 0);
    // The end of it.
    assert_eq!(client.call(12, &fetch("t", &[(0, 0)]).with_session_id(id)).session_id, 0);
    assert_eq!(client.call(12, &next(7, &[])).error_code, 70);
}
