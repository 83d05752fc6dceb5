//! A member of a consumer group: polls, commits behind what it was given, leaves and comes again.
//!
//! A rebalance is recorded as an `assign` of all keys that the member has from then on (one that it lost may begin
//! anywhere when it comes back), and what it was given as `own`, with the generation.

use super::bootstrap;
use super::child::{Child, Silent};
use crate::history::{ErrorText, F, GroupValue, Key, Kind, Offset, Polled, Value};
use crate::workload::lane::Lane;
use crate::workload::world::World;
use crate::workload::{poll, record};
use rand::Rng;
use serde::Deserialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const WAIT_MS: u64 = 100;
const POLL_RECORDS: usize = 500;
/// A commit is told after the library's own time is over, which is a minute.
const ANSWER_TIME: Duration = Duration::from_secs(75);
const PAUSE: Duration = Duration::from_millis(200);
/// One of so many polls is followed by a commit, by a look at what is committed, by the member's end.
const COMMIT_ONE_OF: u32 = 3;
const LOOK_ONE_OF: u32 = 10;
const LEAVE_ONE_OF: u32 = 40;

type Partition = (String, u32);

#[derive(Deserialize)]
struct Polls {
    records: Vec<(String, u32, u64, String)>,
    events: Vec<Event>,
    errors: Vec<String>,
}

/// A rebalance: partitions were lost, or given.
#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    lost: Vec<Partition>,
    given: Option<Vec<Partition>>,
    generation: Option<i64>,
    #[serde(default)]
    member: String,
}

#[derive(Deserialize)]
struct Committed {
    error: Option<String>,
    #[serde(default)]
    not_committed: bool,
    offsets: Option<Vec<(String, u32, u64)>>,
}

struct Member {
    child: Child,
    group: &'static str,
    name: String,
    keys: BTreeSet<Key>,
    /// Behind what it was given of keys that it has.
    next: BTreeMap<Key, u64>,
}

/// Members, one after the other, until the load ends.
pub async fn consume(world: Arc<World>, mut lane: Lane, (group, strategy): (&'static str, &'static str)) {
    while !world.stop.is_cancelled() {
        let mut arguments = vec!["member".to_owned(), bootstrap(&world), group.to_owned(), strategy.to_owned()];
        arguments.extend(world.topics());
        let child = match Child::start(&world, group, &arguments) {
            Ok(child) => child,
            Err(error) => return world.incident("client-stuck", format!("{error:#}")),
        };
        let mut member = Member { child, group, name: String::new(), keys: BTreeSet::new(), next: BTreeMap::new() };
        while !world.stop.is_cancelled() {
            if !member.step(&world, &mut lane).await || lane.random.random_ratio(1, LEAVE_ONE_OF) {
                break;
            }
        }
        // Without a word, as a process that is killed: its partitions are others' once its session is over.
        drop(member);
        lane.renew();
        world.pause(PAUSE).await;
    }
}

impl Member {
    /// A poll, and now and then a commit. Whether this member can go on.
    async fn step(&mut self, world: &World, lane: &mut Lane) -> bool {
        let operation = poll::begin(world, lane);
        let command = json!({"do": "poll", "records": POLL_RECORDS, "wait_ms": WAIT_MS});
        let polls: Polls = match self.child.ask(command, ANSWER_TIME).await {
            Ok(polls) => polls,
            Err(Silent(why)) => {
                poll::failed(world, operation, ErrorText::keyword(why));
                return false;
            }
        };
        if polls.records.is_empty() && !polls.errors.is_empty() {
            poll::failed(world, operation, ErrorText::detailed("kafka", &polls.errors.join(", ")));
        } else {
            let polled = self.took(world, &polls.records);
            poll::end(world, operation, polled);
        }
        for event in polls.events {
            self.rebalanced(world, lane, event);
        }
        if !self.next.is_empty() && lane.random.random_ratio(1, COMMIT_ONE_OF) {
            return self.commit(world, lane).await;
        }
        if !self.keys.is_empty() && lane.random.random_ratio(1, LOOK_ONE_OF) {
            return self.look(world, lane).await;
        }
        true
    }

    fn took(&mut self, world: &World, records: &[(String, u32, u64, String)]) -> Vec<Polled> {
        let mut polled: Vec<Polled> = Vec::new();
        for (topic, partition, offset, value) in records {
            let Some(key) = world.key_of(topic, *partition) else { continue };
            let message = (Offset(*offset), record::message(value));
            match polled.iter_mut().find(|of| of.key == key) {
                Some(of) => of.messages.push(message),
                None => polled.push(Polled { key, messages: vec![message] }),
            }
            self.next.insert(key, offset + 1);
        }
        polled
    }

    fn rebalanced(&mut self, world: &World, lane: &Lane, event: Event) {
        let keys = |partitions: &[Partition]| -> Vec<Key> {
            partitions.iter().filter_map(|(topic, partition)| world.key_of(topic, *partition)).collect()
        };
        let given = event.given.as_deref().map(keys);
        for key in keys(&event.lost).iter().chain(given.iter().flatten()) {
            self.keys.remove(key);
            self.next.remove(key);
        }
        self.keys.extend(given.iter().flatten());
        let all: Vec<Key> = self.keys.iter().copied().collect();
        let assigned = world.recorder.invoke_assign(lane.process(), all.clone(), false);
        world.recorder.complete(assigned, Kind::Ok, Value::Keys(all.clone()), None);
        if given.is_some() {
            self.name = event.member;
            let generation = event.generation.and_then(|generation| u64::try_from(generation).ok());
            let own = GroupValue { generation, keys: all, ..self.value() };
            let operation = world.recorder.invoke(lane.process(), F::Own, Value::Group(own.clone()));
            world.recorder.complete(operation, Kind::Ok, Value::Group(own), None);
        }
    }

    fn value(&self) -> GroupValue {
        GroupValue { group: self.group.to_owned(), member: self.name.clone(), ..GroupValue::default() }
    }

    /// Commits behind what was given.
    async fn commit(&mut self, world: &World, lane: &mut Lane) -> bool {
        let offsets: Vec<(Key, Offset)> = self.next.iter().map(|(key, next)| (*key, Offset(*next))).collect();
        let wanted = offsets.iter().map(|(key, offset)| {
            let place = world.place(*key);
            json!([place.topic, place.partition, offset.0])
        });
        let command = json!({"do": "commit", "offsets": wanted.collect::<Vec<_>>()});
        let value = Value::Group(GroupValue { offsets, ..self.value() });
        let operation = world.recorder.invoke(lane.process(), F::Commit, value.clone());
        match self.child.ask::<Committed>(command, ANSWER_TIME).await {
            Ok(Committed { error: None, .. }) => world.recorder.complete(operation, Kind::Ok, value, None),
            Ok(Committed { error: Some(error), not_committed: true, .. }) => {
                let error = Some(ErrorText::detailed("kafka", &error));
                world.recorder.complete(operation, Kind::Fail, value, error);
            }
            Ok(Committed { error: Some(error), .. }) => {
                world.recorder.unknown(operation, ErrorText::detailed("kafka", &error));
                return false;
            }
            Err(Silent(why)) => {
                world.recorder.unknown(operation, ErrorText::keyword(why));
                return false;
            }
        }
        true
    }

    /// Reads what is committed of this member's keys.
    async fn look(&mut self, world: &World, lane: &Lane) -> bool {
        let partitions = self.keys.iter().map(|key| {
            let place = world.place(*key);
            json!([place.topic, place.partition])
        });
        let command = json!({"do": "committed", "partitions": partitions.collect::<Vec<_>>()});
        let asked = Value::Group(GroupValue { keys: self.keys.iter().copied().collect(), ..self.value() });
        let operation = world.recorder.invoke(lane.process(), F::Committed, asked.clone());
        match self.child.ask::<Committed>(command, ANSWER_TIME).await {
            Ok(Committed { offsets: Some(offsets), .. }) => {
                let offsets = offsets.iter().filter_map(|(topic, partition, offset)| {
                    world.key_of(topic, *partition).map(|key| (key, Offset(*offset)))
                });
                let told = Value::Group(GroupValue { offsets: offsets.collect(), ..self.value() });
                world.recorder.complete(operation, Kind::Ok, told, None);
            }
            Ok(Committed { error, .. }) => {
                let error = ErrorText::detailed("kafka", error.as_deref().unwrap_or("no offsets"));
                world.recorder.complete(operation, Kind::Fail, asked, Some(error));
            }
            Err(Silent(why)) => {
                world.recorder.complete(operation, Kind::Fail, asked, Some(ErrorText::keyword(why)));
                return false;
            }
        }
        true
    }
}
