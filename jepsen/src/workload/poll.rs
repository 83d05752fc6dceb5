//! A reader: it is assigned keys and reads each forward, page by page. A poll that fails has no effect, so the reader
//! goes on where it was.

use crate::history::{ErrorText, F, Key, Kind, Message, Micro, Offset, Operation, Polled, Value};
use crate::workload::http::{Call, NoAnswer};
use crate::workload::lane::Lane;
use crate::workload::record;
use crate::workload::world::World;
use rand::Rng;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

const PAGE_RECORDS: usize = 2000;
/// One of so many polls in turn asks the quorum first.
const LINEARIZABLE_ONE_OF: u32 = 4;
/// Over the time that the node is asked to wait.
const ANSWER_TIME: Duration = Duration::from_secs(5);

type Messages = Vec<(Offset, Message)>;

/// A record as it is read.
#[derive(Debug, Deserialize)]
pub struct Read<'a> {
    pub offset: u64,
    #[serde(borrow)]
    pub value: Option<Cow<'a, str>>,
}

impl Read<'_> {
    pub fn message(&self) -> (Offset, Message) {
        (Offset(self.offset), self.value.as_deref().map_or(record::FOREIGN, record::message))
    }
}

#[derive(Deserialize)]
struct Page<'a> {
    next_offset: u64,
    #[serde(borrow)]
    records: Vec<Read<'a>>,
}

pub struct Reader {
    pub lane: Lane,
    /// The next offset of each key that is assigned.
    positions: BTreeMap<Key, u64>,
    /// Where it was in keys that it had before.
    left: BTreeMap<Key, u64>,
    /// Where the next poll begins its round.
    turn: usize,
}

/// What a poll gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Records(usize),
    Failed,
}

impl Reader {
    pub fn new(lane: Lane) -> Reader {
        Reader { lane, positions: BTreeMap::new(), left: BTreeMap::new(), turn: 0 }
    }

    pub fn keys(&self) -> Vec<Key> {
        self.positions.keys().copied().collect()
    }

    pub fn position(&self, key: Key) -> u64 {
        self.positions.get(&key).copied().unwrap_or(0)
    }

    /// From now on reads these keys: those that it has or had go on where they were, new ones begin at the beginning.
    pub fn assign(&mut self, world: &World, keys: &[Key]) {
        self.left.append(&mut self.positions);
        self.positions = keys.iter().map(|key| (*key, self.left.remove(key).unwrap_or(0))).collect();
        let operation = world.recorder.invoke_assign(self.lane.process(), keys.to_vec(), false);
        world.recorder.complete(operation, Kind::Ok, Value::Keys(keys.to_vec()), None);
    }

    /// Ends this process, and begins anew from the beginning of these keys under a new number.
    pub fn crash(&mut self, world: &World) {
        let operation = world.recorder.invoke(self.lane.process(), F::Crash, Value::Nil);
        world.recorder.complete(operation, Kind::Info, Value::Nil, None);
        self.lane.renew();
        self.forget();
    }

    /// A new process has no keys yet.
    pub fn forget(&mut self) {
        self.positions.clear();
        self.left.clear();
    }

    /// Assigns keys from the beginning.
    pub fn assign_from_beginning(&mut self, world: &World, keys: &[Key]) {
        self.positions = keys.iter().map(|key| (*key, 0)).collect();
        let operation = world.recorder.invoke_assign(self.lane.process(), keys.to_vec(), true);
        world.recorder.complete(operation, Kind::Ok, Value::Keys(keys.to_vec()), None);
    }

    /// Polls the next key in turn.
    pub async fn poll_next(&mut self, world: &World, wait: Duration) -> Progress {
        if self.positions.is_empty() {
            return Progress::Records(0);
        }
        self.turn = (self.turn + 1) % self.positions.len();
        let key = *self.positions.keys().nth(self.turn).expect("the turn is below the number of keys");
        if self.lane.random.random_ratio(1, LINEARIZABLE_ONE_OF) {
            return self.poll_all(world).await;
        }
        self.poll(world, key, wait).await
    }

    /// Polls one page of one key.
    pub async fn poll(&mut self, world: &World, key: Key, wait: Duration) -> Progress {
        let operation = begin(world, &self.lane);
        let asked = self.ask(world, key, wait, "").await;
        self.took(world, operation, asked.map(|messages| vec![Polled { key, messages }]))
    }

    /// Polls a page of each key, linearizable and without waiting. As one operation, all or nothing: a poll that
    /// delivers nothing of a key says that there was nothing, so it has to have asked for each.
    async fn poll_all(&mut self, world: &World) -> Progress {
        let operation = world.recorder.invoke_linearizable_poll(self.lane.process());
        let mut all = Ok(Vec::new());
        for key in self.keys() {
            let asked = self.ask(world, key, Duration::ZERO, "&consistency=linearizable").await;
            match (asked, &mut all) {
                (Ok(messages), Ok(all)) => all.push(Polled { key, messages }),
                (Err(error), _) => {
                    all = Err(error);
                    break;
                }
                (Ok(_), Err(_)) => {}
            }
        }
        self.took(world, operation, all)
    }

    /// Goes on behind what was delivered, or stays where it is.
    fn took(&mut self, world: &World, operation: Operation, asked: Result<Vec<Polled>, ErrorText>) -> Progress {
        match asked {
            Ok(polled) => {
                for of in &polled {
                    if let Some((last, _)) = of.messages.last() {
                        self.positions.insert(of.key, last.0 + 1);
                    }
                }
                Progress::Records(end(world, operation, polled))
            }
            Err(error) => {
                failed(world, operation, error);
                self.lane.turn();
                Progress::Failed
            }
        }
    }

    /// Asks for one page of one key, from where this reader is.
    async fn ask(&self, world: &World, key: Key, wait: Duration, more: &str) -> Result<Messages, ErrorText> {
        let offset = self.position(key);
        let (path, wait_ms) = (world.place(key).path(), wait.as_millis());
        let call = Call::get(format!("{path}?offset={offset}&limit={PAGE_RECORDS}&wait_ms={wait_ms}{more}"));
        let answer = match self.lane.http.call(self.lane.node(), &call, wait + ANSWER_TIME).await {
            Ok(answer) => answer,
            Err(NoAnswer::Timeout) => return Err(ErrorText::keyword("timeout")),
            Err(NoAnswer::NotSent(text) | NoAnswer::Broken(text)) => return Err(ErrorText::detailed("broken", &text)),
        };
        if answer.status != 200 {
            let (status, detail) = (answer.status.as_u16(), answer.detail());
            if status == 500 {
                world.incident("internal-error", format!("500 to a poll of key {key}: {detail}"));
            }
            return Err(ErrorText::http(status, &detail));
        }
        let page: Page = serde_json::from_slice(&answer.body).map_err(|error| {
            world.incident("unsound-answer", format!("200 to a poll of key {key}: {error}"));
            ErrorText::detailed("unsound-answer", &error.to_string())
        })?;
        let messages: Messages = page.records.iter().map(Read::message).collect();
        let behind = messages.last().map_or(offset, |(last, _)| last.0 + 1);
        if page.next_offset != behind {
            let text = format!("key {key}: from {offset} up to {behind}, and next_offset is {}", page.next_offset);
            world.incident("unsound-answer", text);
        }
        Ok(messages)
    }
}

/// The invocation of a poll.
pub fn begin(world: &World, lane: &Lane) -> Operation {
    world.recorder.invoke(lane.process(), F::Poll, Value::Micros(vec![Micro::Poll(None)]))
}

/// A poll that delivered. How many messages.
pub fn end(world: &World, operation: Operation, mut polled: Vec<Polled>) -> usize {
    polled.retain(|of| !of.messages.is_empty());
    for of in &polled {
        let place = world.place(of.key);
        of.messages.iter().for_each(|(offset, _)| place.saw(offset.0));
    }
    let count = polled.iter().map(|of| of.messages.len()).sum();
    world.tally.polls_ok.fetch_add(1, Ordering::Relaxed);
    world.tally.records_polled.fetch_add(count as u64, Ordering::Relaxed);
    world.recorder.complete(operation, Kind::Ok, Value::Micros(vec![Micro::Poll(Some(polled))]), None);
    count
}

/// A poll that delivered nothing since it failed.
pub fn failed(world: &World, operation: Operation, error: ErrorText) {
    world.tally.polls_fail.fetch_add(1, Ordering::Relaxed);
    world.recorder.complete(operation, Kind::Fail, Value::Micros(vec![Micro::Poll(None)]), Some(error));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_with_escapes_and_with_what_is_not_ours() {
        let text = r#"{"topic":"t","next_offset":3,"records":[{"partition":0,"offset":1,"value":"7"},{"offset":2,"value":"\u0037"},{"offset":3,"value":null}]}"#;
        let page: Page = serde_json::from_str(text).unwrap();
        let messages: Vec<_> = page.records.iter().map(Read::message).collect();
        assert_eq!(messages, [(Offset(1), Message(7)), (Offset(2), Message(7)), (Offset(3), record::FOREIGN)]);
    }
}
