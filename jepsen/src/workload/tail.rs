//! `tail`: clients write, and others follow: half of them by server-sent events that resume with `Last-Event-ID`, half by
//! long polls that wait for the next record.
//!
//! What a stream delivers within a short time is recorded as one poll. A stream is cut by whatever happens to its
//! node, by us now and then, and where it is silent for too long.

use crate::history::{ErrorText, Key, Kind, Message, Offset, Polled, Value};
use crate::workload::http::{Call, Http};
use crate::workload::lane::Lane;
use crate::workload::poll::{self, Progress, Read, Reader};
use crate::workload::send::Acks;
use crate::workload::world::World;
use crate::workload::{Client, Workload, append, topics};
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use rand::Rng;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What is delivered within this time is one poll.
const GATHER: Duration = Duration::from_millis(200);
/// Records of one poll, at most.
const GATHER_RECORDS_MAX: usize = 1000;
const OPEN_TIME_MAX: Duration = Duration::from_secs(5);
/// A comment comes every 15 seconds.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// One of so many polls is followed by a cut of our own.
const CUT_ONE_OF: u32 = 50;

pub struct Tail;

impl Workload for Tail {
    fn name(&self) -> &'static str {
        "tail"
    }

    fn about(&self) -> &'static str {
        "readers that follow, by server-sent events and long polls, and resume where they were"
    }

    fn prepare<'a>(&'a self, world: &'a Arc<World>) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async { topics::make(world, "tail", world.load.keys).await })
    }

    /// Twice the readers: each kind follows every key.
    fn clients(&self, world: &World) -> usize {
        world.load.clients + 2 * world.load.readers
    }

    fn client(&self, world: Arc<World>, number: usize, lane: Lane) -> Client {
        match number.checked_sub(world.load.clients) {
            None => Box::pin(append::write(world, lane, Acks::All)),
            Some(reader) if reader % 2 == 0 => Box::pin(follow(world, lane, reader / 2)),
            Some(reader) => Box::pin(long_polls(world, lane, reader / 2)),
        }
    }
}

/// The key that a reader follows.
fn key_of(world: &World, reader: usize) -> Key {
    let keys = world.keys();
    keys[reader % keys.len()]
}

async fn long_polls(world: Arc<World>, lane: Lane, number: usize) {
    let key = key_of(&world, number);
    let mut reader = Reader::new(lane);
    reader.assign(&world, &[key]);
    while !world.stop.is_cancelled() {
        if reader.poll(&world, key, Duration::from_secs(2)).await == Progress::Failed {
            world.pause(Duration::from_millis(50)).await;
        }
        if reader.lane.random.random_ratio(1, CUT_ONE_OF) {
            reader.lane.turn();
        }
    }
}

/// Follows one key by server-sent events.
async fn follow(world: Arc<World>, mut lane: Lane, number: usize) {
    let key = key_of(&world, number);
    assign(&world, &lane, key);
    let mut last: Option<u64> = None;
    while !world.stop.is_cancelled() {
        match open(&world, &lane, key, last).await {
            Ok(stream) => last = deliver(&world, &mut lane, key, stream, last).await,
            Err(error) => {
                let operation = poll::begin(&world, &lane);
                poll::failed(&world, operation, error);
                world.pause(Duration::from_millis(50)).await;
            }
        }
        lane.turn();
    }
}

fn assign(world: &World, lane: &Lane, key: Key) {
    let operation = world.recorder.invoke_assign(lane.process(), vec![key], false);
    world.recorder.complete(operation, Kind::Ok, Value::Keys(vec![key]), None);
}

async fn open(world: &World, lane: &Lane, key: Key, last: Option<u64>) -> Result<Events, ErrorText> {
    let mut call = Call::get(format!("{}?offset=earliest", world.place(key).path()));
    call = call.with("accept", "text/event-stream".to_owned());
    if let Some(last) = last {
        call = call.with("last-event-id", last.to_string());
    }
    // A connection of its own: this one does not end by itself.
    let opened = Http::default().open(lane.node(), &call, OPEN_TIME_MAX).await;
    let response = opened.map_err(|error| ErrorText::detailed("broken", &format!("{error:?}")))?;
    let status = response.status().as_u16();
    if status == 500 {
        world.incident("internal-error", format!("500 to a follower of key {key}"));
    }
    if status != 200 {
        return Err(ErrorText::http(status, "a stream"));
    }
    Ok(Events { body: response.into_body(), text: vec![] })
}

/// Records what a stream delivers, a poll at a time, until it ends. The last offset that was delivered.
async fn deliver(world: &World, lane: &mut Lane, key: Key, mut stream: Events, mut last: Option<u64>) -> Option<u64> {
    let mut heard = Instant::now();
    loop {
        let operation = poll::begin(world, lane);
        let until = Instant::now() + GATHER;
        let mut messages: Vec<(Offset, Message)> = vec![];
        let mut ended = false;
        while messages.len() < GATHER_RECORDS_MAX && !ended {
            match tokio::time::timeout_at(until, stream.next()).await {
                Err(_) => break,
                Ok(None) => ended = true,
                Ok(Some(event)) => {
                    heard = Instant::now();
                    match event {
                        Event::Record(offset, message) => messages.push((offset, message)),
                        Event::Other => {}
                        Event::Unsound(text) => {
                            world.incident("unsound-answer", format!("an event of key {key}: {text}"))
                        }
                    }
                }
            }
        }
        last = messages.last().map(|(offset, _)| offset.0).or(last);
        poll::end(world, operation, vec![Polled { key, messages }]);
        let cut = lane.random.random_ratio(1, CUT_ONE_OF);
        if ended || cut || heard.elapsed() > SILENCE_MAX || world.stop.is_cancelled() {
            return last;
        }
    }
}

/// The events of a stream.
struct Events {
    body: Incoming,
    text: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
enum Event {
    Record(Offset, Message),
    /// A comment.
    Other,
    Unsound(String),
}

impl Events {
    /// The next event; nothing at the end of the stream. May be dropped and called again.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.text.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = self.text.drain(..end + 2).collect();
                return Some(parse(&String::from_utf8_lossy(&event)));
            }
            let frame = self.body.frame().await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.text.extend_from_slice(&data);
            }
        }
    }
}

fn parse(event: &str) -> Event {
    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let Some(data) = field("data") else { return Event::Other };
    match serde_json::from_str::<Read>(data) {
        Ok(read) if field("id") == Some(&read.offset.to_string()) => {
            let (offset, message) = read.message();
            Event::Record(offset, message)
        }
        _ => Event::Unsound(event.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_records_with_their_offset_as_id() {
        let record = "id: 7\ndata: {\"partition\":1,\"offset\":7,\"value\":\"9\"}\n\n";
        assert_eq!(parse(record), Event::Record(Offset(7), Message(9)));
        assert_eq!(parse(": still here\n\n"), Event::Other);
        let wrong = "id: 8\ndata: {\"partition\":1,\"offset\":7,\"value\":\"9\"}\n\n";
        assert_eq!(parse(wrong), Event::Unsound(wrong.to_owned()));
    }
}
