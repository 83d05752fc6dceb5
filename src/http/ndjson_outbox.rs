//! What a stream has to say to its client, until the client reads it.
//!
//! Purpose: a client that reads only at the end must not stop the stream, so what it did not read yet is merged (runs
//! that follow each other become one) instead of queued. Invariant: a `through_line` says that all lines up to it are
//! appended; what waits here is bounded by [`WAITING_BYTES_MAX`].

use super::problem::Problem;
use crate::types::{Offset, PartitionId};
use bytes::Bytes;
use parking_lot::Mutex;
use std::io::Write;
use std::sync::Arc;
use tokio::sync::Notify;

/// About how many bytes may wait for the client.
pub const WAITING_BYTES_MAX: usize = 4 << 20;

/// A line about a run is about so long.
const RUN_BYTES: usize = 96;

/// Runs of the same partition are looked for among so many of the newest.
const MERGED_WITHIN: usize = 64;

struct Run {
    partition: PartitionId,
    base_offset: Offset,
    count: u64,
}

#[derive(Default)]
struct Waiting {
    runs: Vec<Run>,
    /// Reports of skipped lines, and the last line, ready to be sent.
    lines: Vec<u8>,
    through_line: u64,
    finished: bool,
    /// The client is gone.
    gone: bool,
}

impl Waiting {
    fn size(&self) -> usize {
        self.runs.len() * RUN_BYTES + self.lines.len()
    }

    fn take(&mut self) -> Option<Bytes> {
        if self.runs.is_empty() && self.lines.is_empty() {
            return None;
        }
        let mut text = Vec::with_capacity(self.size());
        for Run { partition, base_offset, count } in self.runs.drain(..) {
            let through = self.through_line;
            let line = format_args!(
                "{{\"partition\":{partition},\"base_offset\":{base_offset},\"count\":{count},\"through_line\":{through}}}\n"
            )
            .to_string();
            text.extend_from_slice(line.as_bytes());
        }
        text.append(&mut self.lines);
        Some(text.into())
    }
}

/// Shared by the stream, which fills it, and the answer's body, which empties it.
#[derive(Default)]
pub struct Outbox {
    waiting: Mutex<Waiting>,
    filled: Notify,
    emptied: Notify,
}

impl Outbox {
    /// A run was appended.
    pub fn run(&self, partition: PartitionId, base_offset: Offset, count: u64) {
        let mut waiting = self.waiting.lock();
        let newest = waiting.runs.len().saturating_sub(MERGED_WITHIN);
        let same = waiting.runs[newest..].iter_mut().rev().find(|run| run.partition == partition);
        match same {
            Some(run) if run.base_offset.plus(run.count) == base_offset => run.count += count,
            _ => waiting.runs.push(Run { partition, base_offset, count }),
        }
    }

    /// All lines up to this one are appended, as far as they had records.
    pub fn through_line(&self, line: u64) {
        self.waiting.lock().through_line = line;
        self.filled.notify_one();
    }

    /// A line was skipped.
    pub fn skipped(&self, line: u64, problem: Problem) {
        let report = serde_json::json!({"line": line, "error": problem.at_line(line).to_value()});
        self.line(&report);
    }

    /// The stream took all lines.
    pub fn done(&self, records: u64, skipped: u64) {
        let mut last = serde_json::json!({"done": true, "records": records});
        if skipped > 0 {
            last["skipped"] = skipped.into();
        }
        self.finish(&last);
    }

    /// The stream ended at `line`.
    pub fn failed(&self, line: u64, problem: Problem) {
        self.finish(&serde_json::json!({"done": false, "line": line, "error": problem.at_line(line).to_value()}));
    }

    fn finish(&self, last: &serde_json::Value) {
        self.line(last);
        self.waiting.lock().finished = true;
        self.filled.notify_one();
    }

    fn line(&self, line: &serde_json::Value) {
        // Writing into memory does not fail.
        let _ = writeln!(self.waiting.lock().lines, "{line}");
        self.filled.notify_one();
    }

    /// Whether the client reads too slowly for more to be said.
    pub fn is_full(&self) -> bool {
        self.waiting.lock().size() >= WAITING_BYTES_MAX
    }

    /// Whether nobody will read any more.
    pub fn is_gone(&self) -> bool {
        self.waiting.lock().gone
    }

    /// Waits until something was read, or the client is gone.
    pub async fn emptied(&self) {
        self.emptied.notified().await;
    }
}

/// The reading end; the stream learns when it is dropped.
pub struct Reader(pub Arc<Outbox>);

impl Reader {
    /// The next bytes for the client; `None` after the last.
    pub async fn next(&self) -> Option<Bytes> {
        loop {
            {
                let mut waiting = self.0.waiting.lock();
                if let Some(bytes) = waiting.take() {
                    self.0.emptied.notify_one();
                    return Some(bytes);
                }
                if waiting.finished {
                    return None;
                }
            }
            self.0.filled.notified().await;
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.waiting.lock().gone = true;
        self.0.emptied.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::problem;

    #[tokio::test]
    async fn runs_that_follow_each_other_become_one() {
        let outbox = Arc::new(Outbox::default());
        let reader = Reader(outbox.clone());
        outbox.run(PartitionId(1), Offset(10), 5);
        outbox.run(PartitionId(2), Offset(0), 1);
        outbox.run(PartitionId(1), Offset(15), 5);
        outbox.run(PartitionId(1), Offset(30), 1);
        outbox.through_line(12);
        let text = reader.next().await.unwrap();
        let expected = "{\"partition\":1,\"base_offset\":10,\"count\":10,\"through_line\":12}\n\
                        {\"partition\":2,\"base_offset\":0,\"count\":1,\"through_line\":12}\n\
                        {\"partition\":1,\"base_offset\":30,\"count\":1,\"through_line\":12}\n";
        assert_eq!(text, expected);
        outbox.done(12, 0);
        assert_eq!(reader.next().await.unwrap(), "{\"done\":true,\"records\":12}\n");
        assert_eq!(reader.next().await, None);
    }

    #[tokio::test]
    async fn the_last_line_of_a_failure_names_the_line() {
        let outbox = Arc::new(Outbox::default());
        let reader = Reader(outbox.clone());
        outbox.failed(17, Problem::new(&problem::BAD_JSON, "not sound"));
        let last: serde_json::Value = serde_json::from_slice(&reader.next().await.unwrap()).unwrap();
        assert_eq!((&last["done"], &last["line"]), (&false.into(), &17.into()));
        assert_eq!((&last["error"]["line"], &last["error"]["status"]), (&17.into(), &400.into()));
        drop(reader);
        assert!(outbox.is_gone());
    }
}
