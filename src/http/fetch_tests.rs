//! Reads against a broker in memory: limits, streaming, planned ends, all partitions, errors.

use super::fetch_fake::Fake;
use super::fetch_page::{self, Framing, Page, RecordRest};
use super::fetch_query::ReadQuery;
use super::fetch_source::{Batches, Budget, Lane, ReadError, Records, Source};
use super::render::{Format, Renderer};
use super::{fetch_topic, sse};
use crate::broker::FetchError;
use crate::types::{Offset, PartitionId};
use axum::body::Body;
use http_body_util::BodyExt;
use serde_json::Value;

const NO_BOUND: u64 = u64::MAX;

fn lane(partition: u32, next: u64, end: u64) -> Lane {
    Lane { partition: PartitionId(partition), next: Offset(next), end: Offset(end) }
}

fn source(fake: &Fake, lanes: &[Lane]) -> Source<Fake> {
    Source::new(fake.clone(), fake.options(), lanes.to_vec())
}

async fn page(fake: &Fake, lanes: &[Lane], limit: u64, max_bytes: u64) -> Result<Page<RecordRest<Fake>>, ReadError> {
    let records = Records::new(source(fake, lanes), Budget::new(limit, max_bytes));
    fetch_page::records(records, Renderer::line(Format::Auto), Framing::Lines, true).await
}

async fn text(body: Body) -> String {
    String::from_utf8(body.collect().await.expect("a whole body").to_bytes().to_vec()).unwrap()
}

/// `(partition, offset)` of each line of the body.
async fn places(body: Body) -> Vec<(u64, u64)> {
    let place = |line: &str| {
        let record: Value = serde_json::from_str(line).unwrap();
        (record["partition"].as_u64().unwrap(), record["offset"].as_u64().unwrap())
    };
    text(body).await.lines().map(place).collect()
}

/// Reads a page, and checks that it ends where it said.
async fn offsets(fake: &Fake, lanes: &[Lane], limit: u64, max_bytes: u64) -> Vec<u64> {
    let page = page(fake, lanes, limit, max_bytes).await.unwrap();
    let next = fetch_page::next_offset(&page).0;
    let offsets: Vec<u64> =
        places(page.into_body(Vec::new(), b"")).await.into_iter().map(|(_, offset)| offset).collect();
    assert_eq!(next, offsets.last().map_or(lanes[0].next.0, |last| last + 1), "the promised end");
    assert!(offsets.windows(2).all(|pair| pair[0] + 1 == pair[1]), "no hole, nothing twice");
    offsets
}

#[tokio::test]
async fn limits_are_kept_and_one_record_always_comes() {
    let fake = Fake::new(1);
    fake.append(0, &[b"aaaaa", b"bbbbb", b"ccccc"]);
    fake.append(0, &[b"ddddd", b"eeeee"]);
    for (from, limit, max_bytes, expected) in [
        (0, 1000, 1 << 20, 0..5),
        (0, 4, 1 << 20, 0..4),
        (2, 2, 1 << 20, 2..4),
        (0, 1000, 0, 0..1),
        (0, 1000, 1, 0..1),
        (1, 1000, 9, 1..2),
        (1, 1000, 10, 1..3),
        (0, 1000, 24, 0..4),
        (5, 1000, 100, 5..5),
    ] {
        let found = offsets(&fake, &[lane(0, from, 5)], limit, max_bytes).await;
        assert_eq!(found, expected.collect::<Vec<_>>(), "from {from}, limit {limit}, max_bytes {max_bytes}");
    }
}

#[tokio::test]
async fn large_answers_stream_to_the_end_that_they_promised() {
    let fake = Fake::new(1);
    fake.fill(0, 120, 500, 100);
    let all = lane(0, 0, 60_000);
    for (limit, max_bytes, count) in [
        (NO_BOUND, NO_BOUND, 60_000),
        (55_555, NO_BOUND, 55_555),
        (NO_BOUND, 5_000_050, 50_000),
        (NO_BOUND, 100_000_000, 60_000),
        (45_000, 4_600_000, 45_000),
    ] {
        assert_eq!(offsets(&fake, &[all], limit, max_bytes).await.len(), count, "limit {limit}, max_bytes {max_bytes}");
    }
}

#[tokio::test]
async fn batches_come_unchanged_and_whole() {
    let fake = Fake::new(1);
    fake.fill(0, 300, 100, 300);
    let stored: Vec<u8> = {
        let batches = Batches::new(source(&fake, &[lane(0, 0, 30_000)]), Budget::new(NO_BOUND, NO_BOUND));
        let body = fetch_page::batches(batches).await.unwrap().into_body();
        body.collect().await.unwrap().to_bytes().to_vec()
    };
    assert_eq!(crate::record::parse_header(&stored).unwrap().base_offset, 0);
    let batch = stored.len() / 300;
    for (limit, max_bytes, from, batches, next) in [
        (NO_BOUND, NO_BOUND, 0, 0..300, 30_000),
        (250, NO_BOUND, 0, 0..3, 300),
        (NO_BOUND, 0, 150, 1..2, 200),
        (NO_BOUND, (batch * 200) as u64, 0, 0..200, 20_000),
        (20_050, NO_BOUND, 50, 0..201, 20_100),
        (1, 1, 29_999, 299..300, 30_000),
        (1000, 1 << 20, 30_000, 0..0, 30_000),
    ] {
        let batches_read = Batches::new(source(&fake, &[lane(0, from, 30_000)]), Budget::new(limit, max_bytes));
        let page = fetch_page::batches(batches_read).await.unwrap();
        assert_eq!(fetch_page::next_offset(&page).0, next, "limit {limit}, max_bytes {max_bytes}");
        let body = page.into_body().collect().await.unwrap().to_bytes();
        assert!(body == stored[batches.start * batch..batches.end * batch], "limit {limit}, max_bytes {max_bytes}");
    }
}

#[tokio::test]
async fn an_error_before_the_first_record_is_told_and_a_later_one_ends_the_page() {
    let unavailable = || FetchError::Unavailable { reason: "no leader".to_owned(), retry_after_ms: 1 };
    let fake = Fake::new(1);
    fake.fill(0, 40, 100, 1000);
    fake.fail_once(unavailable());
    let all = lane(0, 0, 4000);
    let error = page(&fake, &[all], NO_BOUND, NO_BOUND).await.err().unwrap();
    assert_eq!((error.partition, error.error), (Some(PartitionId(0)), unavailable()));

    // What was read already is worth something: the page says where it ends.
    let records = Records::new(
        {
            let mut source = source(&fake, &[all]);
            let first = super::fetch_source::Fetcher::fetch(
                &fake,
                fake.options().fetch(PartitionId(0), crate::broker::ReadFrom::Earliest, 1, 0),
            );
            source.preload(first.await.unwrap().batches);
            fake.fail_once(unavailable());
            source
        },
        Budget::new(NO_BOUND, 1_000_000),
    );
    let page = fetch_page::records(records, Renderer::line(Format::Auto), Framing::Lines, true).await.unwrap();
    assert_eq!(fetch_page::next_offset(&page), Offset(100));

    // Behind the first byte there is no other way than to break off.
    let streamed = self::page(&fake, &[all], NO_BOUND, NO_BOUND).await.unwrap();
    fake.fail_once(unavailable());
    assert!(streamed.into_body(Vec::new(), b"").collect().await.is_err());
}

#[tokio::test]
async fn small_pages_of_all_partitions_give_everything_once() {
    let fake = Fake::new(4);
    for partition in [0, 1, 3] {
        fake.fill(partition, 3, 5, 10);
    }
    let mut seen = Vec::new();
    let mut cursor: Option<super::cursor::Cursor> = None;
    for round in 0..20 {
        let query = ReadQuery::of_topic(Some("limit=7")).unwrap();
        let begun = fetch_topic::begin(&fake, &fake.options(), &query, cursor.as_ref()).await.unwrap();
        let page = page(&fake, &begun.lanes, 7, 1 << 20).await.unwrap();
        let next = sse::cursor(fake.options().topic.id, &page.lanes, page.current);
        let found = places(page.into_body(Vec::new(), b"")).await;
        assert_eq!(found.is_empty(), round > 6, "round {round}: {found:?}");
        if let (Some((before, _)), Some((now, _))) = (seen.last(), found.first()) {
            assert_ne!(before, now, "each answer begins with another partition");
        }
        seen.extend(found);
        cursor = Some(next);
    }
    for partition in [0, 1, 3] {
        let offsets: Vec<u64> = seen.iter().filter(|(p, _)| *p == partition).map(|(_, offset)| *offset).collect();
        assert_eq!(offsets, (0..15).collect::<Vec<_>>());
    }
    assert_eq!(seen.len(), 45);
}

#[tokio::test]
async fn all_partitions_from_everywhere() {
    let fake = Fake::new(3);
    fake.fill(0, 2, 10, 4);
    fake.fill(2, 1, 5, 4);
    fake.retain_from(0, 10);
    for (query, expected) in [
        ("offset=earliest", [(10, 20), (0, 0), (0, 5)]),
        ("offset=latest", [(20, 20), (0, 0), (5, 5)]),
        ("offset=tail:3", [(17, 20), (0, 0), (2, 5)]),
        ("offset=tail:15", [(10, 20), (0, 0), (0, 5)]),
        ("offset=time:4&consistency=linearizable", [(10, 20), (0, 0), (4, 5)]),
    ] {
        let query = ReadQuery::of_topic(Some(query)).unwrap();
        let begun = fetch_topic::begin(&fake, &fake.options(), &query, None).await.unwrap();
        let found: Vec<(u64, u64)> = begun.lanes.iter().map(|lane| (lane.next.0, lane.end.0)).collect();
        assert_eq!(found, expected, "{query:?}");
    }
    let before =
        super::cursor::Cursor { topic: fake.options().topic.id, first: 0, positions: vec![Offset(20), Offset(0)] };
    let query = ReadQuery::of_topic(None).unwrap();
    let begun = fetch_topic::begin(&fake, &fake.options(), &query, Some(&before)).await.unwrap();
    assert_eq!(begun.lanes[2], lane(2, 0, 5), "a new partition from its beginning");
}

#[tokio::test]
async fn waiting_ends_with_the_first_record_of_any_partition() {
    let fake = Fake::new(3);
    let query = ReadQuery::of_topic(Some("wait_ms=400")).unwrap();
    let options = fake.options();
    let begun = fetch_topic::begin(&fake, &options, &query, None).await.unwrap();
    assert!(begun.lanes.iter().all(|lane| lane.left() == 0), "nothing came");
    let writer = async {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        fake.append(1, &[b"a", b"b"]);
    };
    let (begun, ()) = tokio::join!(fetch_topic::begin(&fake, &options, &query, None), writer);
    let begun = begun.unwrap();
    assert_eq!(begun.lanes[0], lane(1, 0, 2));
    assert_eq!(begun.ready.len(), 1);
}
