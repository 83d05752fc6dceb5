//! What a read asks for: its query parameters, strictly parsed.

use super::problem::Problem;
use super::query::{Query, bad_parameter, number};
use super::render::Format;
use crate::broker::{Isolation, ReadFrom};
use crate::types::Offset;

/// The parameters of a read of one partition.
pub const PARTITION_PARAMETERS: &[&str] =
    &["offset", "limit", "max_bytes", "wait_ms", "format", "isolation", "consistency"];

/// The parameters of a read of all partitions.
pub const TOPIC_PARAMETERS: &[&str] =
    &["offset", "cursor", "limit", "max_bytes", "wait_ms", "format", "isolation", "consistency"];

/// Records of an answer unless `limit=` says otherwise.
pub const LIMIT_DEFAULT: u64 = 1000;
/// Bytes of an answer unless `max_bytes=` says otherwise.
pub const MAX_BYTES_DEFAULT: u64 = 1 << 20;
/// The longest that an answer is held for records to come.
pub const WAIT_MS_MAX: u64 = 60_000;

/// A read as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadQuery {
    pub from: ReadFrom,
    /// Reads of all partitions only.
    pub cursor: Option<String>,
    /// `None` where it was not given: then an answer has [`LIMIT_DEFAULT`] records, and events have no end.
    pub limit: Option<u64>,
    /// `None` where it was not given.
    pub max_bytes: Option<u64>,
    pub wait_ms: u64,
    pub format: Format,
    pub isolation: Isolation,
    pub linearizable: bool,
}

impl ReadQuery {
    /// Of `/v1/topics/{topic}/partitions/{partition}/records`.
    pub fn of_partition(raw: Option<&str>) -> Result<ReadQuery, Problem> {
        let query = Query::parse(raw, PARTITION_PARAMETERS)?;
        let from = query.get("offset").map_or(Ok(ReadFrom::Earliest), partition_offset)?;
        ReadQuery::parse(&query, from)
    }

    /// Of `/v1/topics/{topic}/records`.
    pub fn of_topic(raw: Option<&str>) -> Result<ReadQuery, Problem> {
        let query = Query::parse(raw, TOPIC_PARAMETERS)?;
        let from = query.get("offset").map_or(Ok(ReadFrom::Earliest), topic_offset)?;
        let mut read = ReadQuery::parse(&query, from)?;
        read.cursor = query.get("cursor").map(str::to_owned);
        Ok(read)
    }

    fn parse(query: &Query, from: ReadFrom) -> Result<ReadQuery, Problem> {
        let formats = Format::NAMES.map(|name| (name, Format::parse(name).unwrap_or_default()));
        let isolations =
            [("read_committed", Isolation::ReadCommitted), ("read_uncommitted", Isolation::ReadUncommitted)];
        Ok(ReadQuery {
            from,
            cursor: None,
            limit: query.number("limit", 1..=u64::MAX)?,
            max_bytes: query.number("max_bytes", 0..=u64::MAX)?,
            wait_ms: query.number("wait_ms", 0..=WAIT_MS_MAX)?.unwrap_or(0),
            format: query.choice("format", &formats, Format::Auto)?,
            isolation: query.choice("isolation", &isolations, Isolation::ReadCommitted)?,
            linearizable: query.choice("consistency", &[("committed", false), ("linearizable", true)], false)?,
        })
    }
}

fn partition_offset(text: &str) -> Result<ReadFrom, Problem> {
    match number(text) {
        Some(offset) => Ok(ReadFrom::Offset(Offset(offset))),
        None => named(text).ok_or_else(|| {
            bad_parameter("offset", text, "a whole number from 0, earliest, latest, tail:N, or time:MS")
        }),
    }
}

fn topic_offset(text: &str) -> Result<ReadFrom, Problem> {
    named(text).ok_or_else(|| {
        let accepted = "earliest, latest, tail:N, or time:MS here (a number is an offset of one partition: read /v1/topics/{topic}/partitions/{partition}/records)";
        bad_parameter("offset", text, accepted)
    })
}

fn named(text: &str) -> Option<ReadFrom> {
    match text {
        "earliest" => Some(ReadFrom::Earliest),
        "latest" => Some(ReadFrom::Latest),
        _ => match text.split_once(':')? {
            ("tail", count) => number(count).map(ReadFrom::Tail),
            ("time", ms) => number(ms).and_then(|ms| i64::try_from(ms).ok()).map(ReadFrom::Time),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults() {
        let read = ReadQuery::of_partition(None).unwrap();
        assert_eq!((read.from, read.limit, read.max_bytes, read.wait_ms), (ReadFrom::Earliest, None, None, 0));
        assert_eq!((read.format, read.linearizable), (Format::Auto, false));
    }

    #[test]
    fn every_parameter_is_read() {
        let text = "offset=tail:5&limit=18446744073709551615&max_bytes=0&wait_ms=60000&format=json&isolation=read_committed&consistency=linearizable";
        let read = ReadQuery::of_partition(Some(text)).unwrap();
        assert_eq!((read.from, read.limit, read.max_bytes), (ReadFrom::Tail(5), Some(u64::MAX), Some(0)));
        assert_eq!((read.wait_ms, read.format, read.isolation), (60_000, Format::Json, Isolation::ReadCommitted));
        assert!(read.linearizable);
        let read = ReadQuery::of_topic(Some("cursor=abc&offset=time:1700000000000")).unwrap();
        assert_eq!((read.from, read.cursor.as_deref()), (ReadFrom::Time(1_700_000_000_000), Some("abc")));
        assert_eq!(ReadQuery::of_partition(Some("offset=17")).unwrap().from, ReadFrom::Offset(Offset(17)));
    }

    #[test]
    fn what_is_not_accepted_is_refused_by_name() {
        for bad in [
            "offset=-1",
            "offset=",
            "offset=first",
            "offset=tail:",
            "offset=tail:-1",
            "offset=time:1.5",
            "offset=time:99999999999999999999",
            "offset=Earliest",
            "limit=0",
            "limit=x",
            "limit=99999999999999999999",
            "max_bytes=-1",
            "wait_ms=60001",
            "format=xml",
            "isolation=x",
            "consistency=strong",
            "cursor=abc",
            "ofset=1",
            "limit=1&limit=2",
        ] {
            let problem = ReadQuery::of_partition(Some(bad)).unwrap_err();
            assert_eq!(problem.status(), 400, "{bad}");
            let name = bad.split('=').next().unwrap();
            assert!(problem.detail().contains(name), "{bad}: {problem}");
        }
        assert!(ReadQuery::of_topic(Some("offset=5")).unwrap_err().detail().contains("one partition"));
    }
}
