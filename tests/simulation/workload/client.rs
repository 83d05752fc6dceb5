//! A client: one request at a time, chosen by the seed, sent to any node that runs, and sent again where that is safe.
//!
//! Knows what it heard: the ends of partitions for compare-and-append, and where it reads next. A write with a key is
//! sent again under its key when its outcome is not known; one without is not.

use super::{Call, Event, Outcome, Producer};
use crate::swarm::Swarm;
use balsa::random::Random;
use std::collections::BTreeMap;

/// The topic that is made and deleted.
pub const COMES_AND_GOES: &str = "comes-and-goes";
/// How often a write with a key is sent again.
const ATTEMPTS_MAX: u32 = 4;

/// What the topics of a history are called, and how many partitions each has.
#[derive(Clone)]
pub struct Topics(pub Vec<(String, u32)>);

/// See the module.
pub struct Client {
    pub id: u64,
    random: Random,
    topics: Topics,
    ends: BTreeMap<(String, u32), u64>,
    reads_from: BTreeMap<(String, u32), u64>,
    /// A write to be sent again, how often it was sent, and whether an attempt is in doubt.
    again: Option<(Call, u32, bool)>,
    in_doubt: bool,
    attempts: u32,
    values: u64,
    /// The number of its next record in each partition, where it is an idempotent producer of Kafka.
    sequences: Option<BTreeMap<(String, u32), i32>>,
    /// How often its group committed.
    commits: u64,
    /// A group of another name after each commit whose outcome is not known.
    group_life: u64,
    /// Makes and deletes this topic, if any.
    admin_of: Option<(String, u32)>,
    admin_exists: bool,
}

impl Client {
    pub fn new(id: u64, seed: u64, topics: Topics, admin_of: Option<(String, u32)>) -> Client {
        Client {
            id,
            random: Random::from_seed(seed),
            topics,
            ends: BTreeMap::new(),
            reads_from: BTreeMap::new(),
            again: None,
            in_doubt: false,
            attempts: 0,
            values: 0,
            sequences: None,
            commits: 0,
            group_life: 0,
            admin_of,
            admin_exists: false,
        }
    }

    /// From now on it writes as a Kafka client does. One that makes topics does not: a topic that is made anew knows no
    /// producer.
    pub fn speak_kafka(&mut self) {
        self.sequences = self.admin_of.is_none().then(BTreeMap::new);
    }

    /// How long until the next request, in ms.
    pub fn think_ms(&self, swarm: &Swarm) -> u64 {
        self.random.below(swarm.think_ms_max + 1)
    }

    /// Which of so many nodes it asks.
    pub fn choose(&self, count: usize) -> usize {
        self.random.below(count as u64) as usize
    }

    fn chance(&self, percent: u64) -> bool {
        self.random.below(100) < percent
    }

    fn values(&mut self, count: u64) -> Vec<u64> {
        let first = self.values;
        self.values += count;
        (first..first + count).map(|number| (self.id << 32) | number).collect()
    }

    /// The next request.
    pub fn next(&mut self, swarm: &Swarm) -> Call {
        (self.in_doubt, self.attempts) = (false, 0);
        if let Some((call, attempts, in_doubt)) = self.again.take() {
            (self.in_doubt, self.attempts) = (in_doubt, attempts);
            return call;
        }
        if let Some((topic, partitions)) = self.admin_of.clone()
            && self.chance(if self.admin_exists { 5 } else { 50 })
        {
            return match self.admin_exists {
                true => Call::Delete { topic },
                false => Call::Create { topic, partitions, replication: swarm.replication },
            };
        }
        if swarm.group_percent > 0 && self.chance(swarm.group_percent) {
            return self.of_group();
        }
        let (topic, partitions) = self.topics.0[self.choose(self.topics.0.len())].clone();
        let partition = self.random.below(u64::from(partitions)) as u32;
        let at = (topic.clone(), partition);
        match self.random.below(100) {
            share if share < swarm.produce_percent => self.produce(swarm, topic, partition),
            share if share % 3 == 0 => Call::End { topic, partition },
            share => {
                let from = self.reads_from.get(&at).copied().unwrap_or(0);
                Call::Read { topic, partition, from, linearizable: share % 3 == 1 }
            }
        }
    }

    /// One of what a group of its own asks. Of the first topic, which is never deleted: offsets go with their topic.
    fn of_group(&mut self) -> Call {
        let (topic, partition, group) =
            (self.topics.0[0].0.clone(), 0, format!("group-{}-{}", self.id, self.group_life));
        if self.chance(50) {
            return Call::Committed { topic, partition, group };
        }
        self.commits += 1;
        Call::Commit { topic, partition, group, offset: self.commits }
    }

    fn produce(&mut self, swarm: &Swarm, topic: String, partition: u32) -> Call {
        if let Some(producer) = self.producer(&topic, partition) {
            let values = self.values(1 + self.random.below(swarm.batch_records_max));
            let value_bytes = 8 + self.random.below(swarm.value_bytes_max) as usize;
            let (expected, key, producer) = (None, None, Some(producer));
            return Call::Produce { topic, partition, values, value_bytes, acks_all: true, expected, key, producer };
        }
        let count = 1 + self.random.below(swarm.batch_records_max);
        let values = self.values(count);
        let value_bytes = 8 + self.random.below(swarm.value_bytes_max) as usize;
        let expected = self.chance(swarm.compare_percent).then(|| {
            let known = self.ends.get(&(topic.clone(), partition)).copied().unwrap_or(0);
            known + u64::from(self.chance(10))
        });
        let key = self.chance(swarm.keyed_percent).then(|| values[0]);
        let acks_all = !self.chance(swarm.acks_leader_percent);
        Call::Produce { topic, partition, values, value_bytes, acks_all, expected, key, producer: None }
    }

    fn producer(&self, topic: &str, partition: u32) -> Option<Producer> {
        let sequences = self.sequences.as_ref().filter(|_| topic != COMES_AND_GOES)?;
        let sequence = sequences.get(&(topic.to_owned(), partition)).copied().unwrap_or(0);
        Some(Producer { id: self.id as i64, sequence })
    }

    /// Whether an earlier attempt of the request that is on its way may have been carried out.
    pub fn earlier_in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// Hears how its request ended.
    pub fn hear(&mut self, event: &Event) {
        let at = (event.call.topic().to_string(), event.call.partition());
        let Some(outcome) = &event.outcome else { return };
        match outcome {
            Outcome::Produced { base_offset, .. } => {
                let count = event.call.values().len();
                if let (Call::Produce { producer: Some(producer), .. }, Some(sequences)) =
                    (&event.call, &mut self.sequences)
                {
                    sequences.insert(at.clone(), producer.sequence + count as i32);
                }
                self.ends.insert(at, base_offset + event.call.values().len() as u64);
            }
            Outcome::Mismatch { end, .. } => {
                self.ends.insert(at, *end);
            }
            Outcome::Read { records, high_watermark, .. } => {
                self.ends.insert(at.clone(), *high_watermark);
                // Now and then from the beginning again.
                let from = if self.chance(10) { 0 } else { records.last().map_or(*high_watermark, |last| last.0 + 1) };
                self.reads_from.insert(at, from);
            }
            Outcome::Created { .. } => self.admin_exists = true,
            Outcome::Deleted { .. } => self.admin_exists = false,
            Outcome::Refused { .. } | Outcome::Unknown { .. } => self.trouble(event, outcome),
            Outcome::Committed | Outcome::Offset { .. } | Outcome::Wrong { .. } => {}
        }
    }

    fn trouble(&mut self, event: &Event, outcome: &Outcome) {
        match &event.call {
            Call::Read { topic, partition, .. } => {
                // Perhaps it is another life of the topic, with less in it.
                self.reads_from.remove(&(topic.clone(), *partition));
            }
            Call::Produce { key: Some(_), .. } if self.attempts < ATTEMPTS_MAX => {
                let in_doubt = self.in_doubt || matches!(outcome, Outcome::Unknown { .. });
                self.again = Some((event.call.clone(), self.attempts + 1, in_doubt));
            }
            // Its numbers have no gaps.
            Call::Produce { producer: Some(_), .. } => {
                let in_doubt = self.in_doubt || matches!(outcome, Outcome::Unknown { .. });
                self.again = Some((event.call.clone(), self.attempts + 1, in_doubt));
            }
            // It may land late, on another node's way, behind newer ones: nothing fences a commit of nobody.
            Call::Commit { .. } if matches!(outcome, Outcome::Unknown { .. }) => self.group_life += 1,
            // Whoever is refused a create or a delete takes it for done: the next try tells.
            Call::Create { .. } => self.admin_exists = true,
            Call::Delete { .. } => self.admin_exists = false,
            _ => {}
        }
    }
}
