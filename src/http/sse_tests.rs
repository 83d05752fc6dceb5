//! Streams of events against a broker in memory.

use super::*;
use crate::http::fetch_fake::Fake;
use crate::http::render::Format;

fn follow(fake: &Fake, ids: Ids, positions: &[u64], limit: u64) -> Follow<Fake> {
    let lanes = positions.iter().enumerate().map(|(partition, &next)| Lane {
        partition: PartitionId(partition as u32),
        next: Offset(next),
        end: Offset(next),
    });
    let (budget, stopping) = (Budget::new(limit, u64::MAX), CancellationToken::new());
    Follow::new(fake.clone(), fake.options(), ids, lanes.collect(), Renderer::line(Format::Auto), budget, stopping)
}

async fn step(follow: &mut Follow<Fake>) -> String {
    String::from_utf8(follow.step().await.expect("the stream goes on").to_vec()).unwrap()
}

#[tokio::test]
async fn records_become_events_at_once() {
    let fake = Fake::new(1);
    fake.append(0, &[b"a", b"b\nc"]);
    let mut follow = follow(&fake, Ids::Offsets, &[1], u64::MAX);
    let event = "id: 1\ndata: {\"partition\":0,\"offset\":1,\"timestamp_ms\":1,\"key\":null,\"value\":\"b\\nc\",\"headers\":[]}\n\n";
    assert_eq!(step(&mut follow).await, event);
    let begun = Instant::now();
    let writer = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        fake.append(0, &[b"[1,\n2]"]);
    };
    let (events, ()) = tokio::join!(step(&mut follow), writer);
    assert!(events.contains("id: 2\n") && events.contains("\"value\":[1,2],"), "{events}");
    assert!(begun.elapsed() < Duration::from_secs(5), "long before the next comment");
}

#[tokio::test]
async fn a_comment_when_nothing_comes() {
    let fake = Fake::new(1);
    for (ids, positions) in [(Ids::Offsets, [0]), (Ids::Cursors(fake.options().topic.id), [0])] {
        let pace = Duration::from_millis(30);
        let mut follow = follow(&fake, ids, &positions, u64::MAX).at_pace(pace, pace / 3);
        for _ in 0..3 {
            let begun = Instant::now();
            assert_eq!(step(&mut follow).await, ": keep-alive\n\n");
            assert!(begun.elapsed() >= pace / 2);
        }
    }
}

#[tokio::test]
async fn a_missing_leader_is_a_pause_and_a_missing_topic_the_end() {
    let fake = Fake::new(1);
    fake.append(0, &[b"a"]);
    let mut follow = follow(&fake, Ids::Offsets, &[0], u64::MAX);
    fake.fail_once(FetchError::Unavailable { reason: "no leader".to_owned(), retry_after_ms: 500 });
    fake.fail_once(FetchError::OutOfRange {
        offset: Offset(1),
        log_start_offset: Offset(0),
        high_watermark: Offset(0),
    });
    assert!(step(&mut follow).await.starts_with("id: 0\n"));
    fake.fail_once(FetchError::UnknownTopic("t".to_owned()));
    let last = step(&mut follow).await;
    assert!(last.starts_with("event: problem\ndata: {\"type\":\"/problems/unknown-topic\""), "{last}");
    assert_eq!(follow.step().await, None);
}

#[tokio::test]
async fn a_reader_that_retention_overtook_is_told() {
    let fake = Fake::new(1);
    fake.fill(0, 2, 10, 1);
    fake.retain_from(0, 10);
    let mut follow = follow(&fake, Ids::Offsets, &[3], u64::MAX);
    assert!(step(&mut follow).await.contains("/problems/offset-out-of-range"));
    assert_eq!(follow.step().await, None);
}

#[tokio::test]
async fn a_limit_and_a_stop_end_the_stream() {
    let fake = Fake::new(1);
    fake.fill(0, 1, 10, 1);
    let mut limited = follow(&fake, Ids::Offsets, &[0], 3);
    assert_eq!(step(&mut limited).await.matches("data: ").count(), 3);
    assert_eq!(limited.step().await, None);
    let mut stopped = follow(&fake, Ids::Offsets, &[10], u64::MAX);
    let stopping = stopped.stopping.clone();
    let (end, ()) = tokio::join!(stopped.step(), async { stopping.cancel() });
    assert_eq!(end, None);
}

#[tokio::test]
async fn a_slow_reader_has_nothing_read_ahead_for_it() {
    let fake = Fake::new(1);
    fake.fill(0, 100, 10, 10_000);
    let mut follow = follow(&fake, Ids::Offsets, &[0], u64::MAX);
    step(&mut follow).await;
    let fetched = fake.fetches();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(fake.fetches(), fetched);
    let mut events = 0;
    while events < 900 {
        let text = step(&mut follow).await;
        assert!(text.len() < SLICE_BYTES + 20_000);
        events += text.matches("data: ").count();
    }
}

#[tokio::test]
async fn all_partitions_go_on_from_any_event() {
    let fake = Fake::new(2);
    fake.append(0, &[b"a", b"b"]);
    fake.append(1, &[b"c"]);
    let id = fake.options().topic.id;
    let pace = Duration::from_millis(20);
    let mut all = follow(&fake, Ids::Cursors(id), &[0, 0], u64::MAX).at_pace(KEEP_ALIVE, pace);
    let mut text = String::new();
    while text.matches("data: ").count() < 3 {
        text += &step(&mut all).await;
    }
    let ids: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    let second = Cursor::decode(ids[1], id, 2, "Last-Event-ID").unwrap();
    assert_eq!(second.positions.iter().map(|offset| offset.0).sum::<u64>(), 2);
    let mut rest = follow(&fake, Ids::Cursors(id), &[second.positions[0].0, second.positions[1].0], u64::MAX);
    assert_eq!(step(&mut rest).await.matches("data: ").count(), 1, "the third, and only that");

    fake.add_partition();
    fake.append(2, &[b"new"]);
    let event = step(&mut all).await;
    assert!(event.contains("\"partition\":2,\"offset\":0"), "{event}");
}
