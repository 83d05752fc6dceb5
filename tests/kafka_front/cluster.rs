//! Three nodes: who leads, and what those say that don't.

use crate::client::{batch, fetch, produce, produced};
use crate::support::{Cluster, LONG};
use crate::{connect, with_topic};
use kafka_protocol::messages::*;
use std::time::Instant;

#[test]
fn a_node_that_does_not_lead_says_who_does() {
    let mut cluster = Cluster::start_with(3, &["--log-level", "warn"]);
    with_topic(&cluster, 1);
    let mut clients: Vec<_> = (1..=3).map(|id| connect(&cluster, id)).collect();
    let all = MetadataRequest::default().with_topics(None);
    // Before its first write a partition has a leader already: where it would be born.
    let said: Vec<i32> =
        clients.iter_mut().map(|client| *client.call(12, &all).topics[0].partitions[0].leader_id).collect();
    assert!(said[0] > 0 && said.iter().all(|leader| *leader == said[0]), "{said:?}");
    let leader = said[0] as usize;
    let request = produce("t", 0, -1, Some(batch(&[10])));
    assert_eq!(produced(&clients[leader - 1].call(9, &request)), (0, 0));
    let metadata = clients[leader % 3].call(12, &all);
    let epoch = metadata.topics[0].partitions[0].leader_epoch;
    let id = metadata.topics[0].topic_id;
    let addresses: Vec<String> =
        metadata.brokers.iter().map(|broker| format!("{}:{}", broker.host, broker.port)).collect();
    assert_eq!(addresses, (1..=3).map(|id| cluster.spec(id).kafka.clone()).collect::<Vec<_>>());
    for (place, client) in clients.iter_mut().enumerate().filter(|(place, _)| place + 1 != leader) {
        let refused = client.call(10, &request);
        assert_eq!(produced(&refused).0, 6, "node {}", place + 1);
        let named = &refused.responses[0].partition_responses[0].current_leader;
        assert_eq!((*named.leader_id, named.leader_epoch), (leader as i32, epoch));
        assert_eq!(*refused.node_endpoints[0].node_id, leader as i32);
        assert_eq!(produced(&client.call(9, &request)).0, 6);
        let mut read = fetch("t", &[(0, 0)]);
        assert_eq!(client.call(4, &read).responses[0].partitions[0].error_code, 6);
        read.topics[0].topic = Default::default();
        read.topics[0].topic_id = id;
        let refused = client.call(16, &read);
        let partition = &refused.responses[0].partitions[0];
        assert_eq!((partition.error_code, *partition.current_leader.leader_id), (6, leader as i32));
        let endpoint = &refused.node_endpoints[0];
        assert_eq!(format!("{}:{}", endpoint.host, endpoint.port), cluster.spec(leader as u64).kafka);
    }
    failover(&mut cluster, leader, epoch);
}

/// The leader dies: another takes over, in a later epoch, with all that was acknowledged.
fn failover(cluster: &mut Cluster, leader: usize, epoch: i32) {
    cluster.kill(leader as u64);
    let other = (leader % 3 + 1) as u64;
    let mut client = connect(cluster, other);
    let begun = Instant::now();
    let (next, next_epoch) = loop {
        let metadata = client.call(12, &MetadataRequest::default().with_topics(None));
        assert!(metadata.brokers.iter().all(|broker| *broker.node_id != leader as i32) || begun.elapsed() < LONG);
        let partition = &metadata.topics[0].partitions[0];
        if *partition.leader_id > 0 && *partition.leader_id != leader as i32 {
            break (*partition.leader_id, partition.leader_epoch);
        }
        assert!(begun.elapsed() < LONG, "{metadata:?}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    };
    assert!(next_epoch > epoch);
    let mut client = connect(cluster, next as u64);
    let request = produce("t", 0, -1, Some(batch(&[10])));
    let offset = loop {
        match produced(&client.call(9, &request)) {
            (0, offset) => break offset,
            (code, _) => assert!(matches!(code, 6 | 19) && begun.elapsed() < LONG, "{code}"),
        }
    };
    assert_eq!(offset, 1);
    let mut read = fetch("t", &[(0, 0)]);
    read.topics[0].partitions[0].current_leader_epoch = epoch;
    assert_eq!(client.call(12, &read).responses[0].partitions[0].error_code, 74, "the old epoch is fenced");
}
