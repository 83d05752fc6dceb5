//! Sessions over several requests, and their bounds.

use super::*;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::protocol::StrBytes;

fn request(id: i32, epoch: i32, partitions: &[(i32, i64)], forgotten: &[i32]) -> FetchRequest {
    let name = TopicName(StrBytes::from_static_str("t"));
    let asked = |(partition, offset): &(i32, i64)| {
        FetchPartition::default().with_partition(*partition).with_fetch_offset(*offset).with_partition_max_bytes(100)
    };
    let topic = FetchTopic::default().with_topic(name.clone()).with_partitions(partitions.iter().map(asked).collect());
    let forgotten = ForgottenTopic::default().with_topic(name).with_partitions(forgotten.to_vec());
    FetchRequest::default()
        .with_session_id(id)
        .with_session_epoch(epoch)
        .with_topics(if partitions.is_empty() { vec![] } else { vec![topic] })
        .with_forgotten_topics_data(vec![forgotten])
}

fn numbers() -> impl FnMut() -> i32 {
    let mut next = 0;
    move || {
        next += 1;
        next
    }
}

fn offsets(items: &[(Key, Asked)]) -> Vec<(i32, i64)> {
    items.iter().map(|(key, asked)| (key.partition, asked.offset)).collect()
}

fn new_session(sessions: &Sessions, partitions: &[(i32, i64)]) -> i32 {
    let Ok(Turn::Full { items, session: Some(held) }) = sessions.begin(&request(0, 0, partitions, &[]), 12, numbers())
    else {
        panic!("a first request makes a session");
    };
    assert_eq!(offsets(&items), partitions);
    held.id()
}

fn next(sessions: &Sessions, request: &FetchRequest) -> Result<Held, SessionError> {
    match sessions.begin(request, 12, numbers())? {
        Turn::Changes(held) => Ok(held),
        Turn::Full { .. } => panic!("a later request is about changes"),
    }
}

#[tokio::test]
async fn a_session_remembers_what_is_read() {
    let sessions = Sessions::default();
    let id = new_session(&sessions, &[(0, 5), (1, 6), (2, 7)]);
    let mut held = next(&sessions, &request(id, 1, &[(1, 60), (9, 1)], &[0])).unwrap();
    assert_eq!(offsets(&held.items()), [(1, 60), (2, 7), (9, 1)]);
    let (key, told) = (held.items()[0].0.clone(), Told { high_watermark: 3, log_start_offset: 0 });
    assert!(held.tell(&key, Some(told)), "the first word is new");
    assert!(!held.tell(&key, Some(told)), "the same is not");
    assert!(held.tell(&key, None) && held.tell(&key, None), "an error always is");
    held.served(&key);
    assert_eq!(offsets(&held.items()), [(2, 7), (9, 1), (1, 60)], "the next has its turn");
    drop(held);
    assert_eq!(sessions.counts(), (1, 3));
    // A later request finds all of it.
    assert_eq!(offsets(&next(&sessions, &request(id, 2, &[], &[])).unwrap().items()), [(2, 7), (9, 1), (1, 60)]);
}

#[tokio::test]
async fn requests_that_do_not_fit_are_told_so() {
    let sessions = Sessions::default();
    let id = new_session(&sessions, &[(0, 5)]);
    let error = |request: &FetchRequest, version| sessions.begin(request, version, numbers()).err();
    assert_eq!(error(&request(id + 1, 1, &[], &[]), 12), Some(SessionError::Unknown));
    assert_eq!(error(&request(id, 2, &[], &[]), 12), Some(SessionError::OtherEpoch));
    assert_eq!(error(&request(id, 1, &[], &[]), 13), Some(SessionError::OtherKeys));
    let held = next(&sessions, &request(id, 2, &[], &[])).unwrap();
    assert_eq!(error(&request(id, 3, &[], &[]), 12), Some(SessionError::OtherEpoch), "it serves another request");
    drop(held);
    // A last request closes it, whatever its epoch.
    assert!(matches!(
        sessions.begin(&request(id, -1, &[(0, 5)], &[]), 12, numbers()),
        Ok(Turn::Full { session: None, .. })
    ));
    assert_eq!(sessions.counts(), (0, 0));
    assert_eq!(error(&request(id, 3, &[], &[]), 12), Some(SessionError::Unknown));
}

#[tokio::test(start_paused = true)]
async fn sessions_have_a_bound_and_old_ones_make_place() {
    let sessions = Sessions::default();
    let mut count = numbers();
    let make = |sessions: &Sessions, count: &mut dyn FnMut() -> i32| {
        let turn = sessions.begin(&request(0, 0, &[(0, 0)], &[]), 12, count);
        matches!(turn, Ok(Turn::Full { session: Some(_), .. }))
    };
    for _ in 0..SESSIONS_MAX {
        assert!(make(&sessions, &mut count));
    }
    assert!(!make(&sessions, &mut count), "no session is old enough to go");
    tokio::time::advance(UNUSED_MIN).await;
    assert!(make(&sessions, &mut count));
    assert_eq!(sessions.counts(), (SESSIONS_MAX, SESSIONS_MAX));
}
