//! What a lane does with batches whose time is over, by what is known of them.

use super::*;
use crate::clock::SystemClock;
use crate::partition::Partitions;
use crate::raft::{Groups, RaftTiming};
use crate::storage::{Store, StoreConfig};
use crate::tasks::Tasks;
use crate::transport::net::TcpNet;
use crate::transport::{Transport, TransportConfig};
use crate::types::GroupId;
use crate::vfs::SimulatedFs;
use std::path::Path;
use std::sync::Arc;

type Reply = oneshot::Receiver<Result<Offset, ProduceError>>;

/// A lane whose leader can't be asked.
async fn lane() -> Lane {
    let (tasks, random) = (Tasks::new(), Random::from_seed(1));
    let config =
        TransportConfig::new(NodeId(1), uuid::Uuid::from_u128(1), "127.0.0.1:0".into(), [].into_iter().collect());
    let transport =
        Transport::start(config, Arc::new(TcpNet), tasks.clone(), random.clone(), None).await.expect("listens");
    let fs = Arc::new(SimulatedFs::new(1));
    let store = Store::open(fs, Path::new("/data"), NodeId(1), StoreConfig::default(), &random).expect("a new disk");
    let timing = RaftTiming {
        heartbeat_interval_ms: 100,
        election_timeout_ms_min: 300,
        election_timeout_ms_max: 600,
        quiesce_after: Duration::from_secs(1),
    };
    let groups = Groups::new(NodeId(1), store, transport.clone(), tasks.clone(), random.clone(), timing);
    let partitions = Partitions::new(groups, Arc::new(SystemClock), tasks);
    let target = Target { group: GroupId(7), replicas: [NodeId(2)].into() };
    let router = Router::new(NodeId(1), partitions, transport);
    Lane::new(router, random, target, "partition 0 of topic t".to_string(), mpsc::channel(1).1)
}

/// A batch with a member for each deadline, in seconds from now; those of the past are late.
fn batch(deadlines: &[i64], in_doubt: bool) -> (Batch, Vec<Reply>) {
    let (mut members, mut replies) = (Vec::new(), Vec::new());
    for (first_record, seconds) in (0..).zip(deadlines) {
        let (sender, receiver) = oneshot::channel();
        let apart = Duration::from_secs(seconds.unsigned_abs());
        let deadline = if *seconds < 0 { Instant::now() - apart } else { Instant::now() + apart };
        members.push(Member { first_record, deadline, reply: Some(sender) });
        replies.push(receiver);
    }
    let batch = Lane::batch(bytes::Bytes::new(), members.len() as u32, 0, Acks::All, members);
    (Batch { in_doubt, ..batch }, replies)
}

fn is_unknown(reply: &mut Reply) -> bool {
    matches!(reply.try_recv(), Ok(Err(ProduceError::OutcomeUnknown { .. })))
}

fn is_not_written(reply: &mut Reply) -> bool {
    matches!(reply.try_recv(), Ok(Err(ProduceError::Unavailable { .. })))
}

fn waits(reply: &mut Reply) -> bool {
    matches!(reply.try_recv(), Err(oneshot::error::TryRecvError::Empty))
}

#[tokio::test]
async fn a_batch_given_up_does_not_renumber_one_in_doubt() {
    let mut lane = lane().await;
    let (writer, first_sequence) = (lane.writer, 5);
    lane.first_sequence = first_sequence;
    let (late, mut late_reply) = batch(&[-1], true);
    let (waiting, mut waiting_reply) = batch(&[60], true);
    lane.batches.extend([late, waiting]);
    lane.expire();
    assert!(is_unknown(&mut late_reply[0]));
    assert!(waits(&mut waiting_reply[0]));
    assert_eq!((lane.writer, lane.first_sequence, lane.batches.len()), (writer, first_sequence, 2));

    // Once nobody waits for any of them they go, and their numbers are never used again.
    lane.batches[1].members[0].deadline = Instant::now();
    lane.expire();
    assert!(is_unknown(&mut waiting_reply[0]));
    assert!(lane.batches.is_empty());
    assert_ne!(lane.writer, writer);
}

#[tokio::test]
async fn behind_a_number_that_was_not_taken_batches_go_on_under_another_writer() {
    let mut lane = lane().await;
    let writer = lane.writer;
    let (late, mut late_reply) = batch(&[-1], false);
    let (waiting, mut waiting_reply) = batch(&[60], true);
    lane.batches.extend([late, waiting]);
    lane.expire();
    assert!(is_not_written(&mut late_reply[0]));
    assert!(waits(&mut waiting_reply[0]));
    assert_eq!(lane.batches.len(), 1);
    assert_ne!(lane.writer, writer);
}

#[tokio::test]
async fn a_late_member_of_a_batch_that_is_sent_again_is_not_told_that_nothing_was_written() {
    let mut lane = lane().await;
    let writer = lane.writer;
    let (shared, mut replies) = batch(&[-1, 60], false);
    lane.batches.push_back(shared);
    lane.expire();
    assert!(is_unknown(&mut replies[0]));
    assert!(waits(&mut replies[1]));
    assert_eq!((lane.writer, lane.batches.len()), (writer, 1));
}
