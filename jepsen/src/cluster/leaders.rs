//! Who leads which partition, as the nodes tell it when asked, several times a second.
//!
//! What is known is the newest term that any node named. An election that comes and goes between two questions is not
//! seen: counts are lower bounds.

use crate::report::run_file::Election;
use parking_lot::Mutex;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A partition, by its topic's name.
pub type Partition = (String, u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    term: u64,
    leader: u16,
}

#[derive(Default)]
pub struct Leaders {
    known: Mutex<BTreeMap<Partition, Known>>,
    elections: Mutex<Vec<Election>>,
}

/// A topic, as `GET /v1/topics/{t}` describes it.
#[derive(Debug, Deserialize)]
pub struct TopicAnswer {
    pub name: String,
    pub partitions: Vec<PartitionAnswer>,
}

#[derive(Debug, Deserialize)]
pub struct PartitionAnswer {
    pub partition: u32,
    pub leader: Option<u16>,
    pub term: Option<u64>,
}

impl Leaders {
    /// Takes in what a node told at `time_ns`.
    pub fn note(&self, time_ns: u64, topic: &TopicAnswer) {
        for partition in &topic.partitions {
            let (Some(leader), Some(term)) = (partition.leader, partition.term) else { continue };
            let key = (topic.name.clone(), partition.partition);
            let mut known = self.known.lock();
            let before = known.get(&key).copied();
            if before.is_some_and(|before| before.term >= term) {
                continue;
            }
            known.insert(key, Known { term, leader });
            drop(known);
            // The first one that is seen is the one that was there.
            if before.is_some_and(|before| before.term > 0) {
                let group = format!("{}/{}", topic.name, partition.partition);
                self.elections.lock().push(Election { time_ns, group, term, node: format!("n{leader}") });
            }
        }
    }

    /// A topic that is gone leads nothing.
    pub fn forget(&self, topic: &str) {
        self.known.lock().retain(|(name, _), _| name != topic);
    }

    /// Forgets all: the next leader of each partition is news of a new cluster.
    pub fn led_by(&self, node: u16) -> Vec<Partition> {
        let known = self.known.lock();
        known.iter().filter(|(_, known)| known.leader == node).map(|(partition, _)| partition.clone()).collect()
    }

    /// Nodes by how many partitions they lead, those with most first.
    pub fn by_count(&self) -> Vec<u16> {
        let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
        for known in self.known.lock().values() {
            *counts.entry(known.leader).or_default() += 1;
        }
        let mut nodes: Vec<(u16, usize)> = counts.into_iter().collect();
        nodes.sort_by_key(|(node, count)| (std::cmp::Reverse(*count), *node));
        nodes.into_iter().map(|(node, _)| node).collect()
    }

    pub fn elections(&self) -> Vec<Election> {
        self.elections.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(leader: u16, term: u64) -> TopicAnswer {
        let partition = PartitionAnswer { partition: 0, leader: Some(leader), term: Some(term) };
        TopicAnswer { name: "t".to_owned(), partitions: vec![partition] }
    }

    #[test]
    fn a_newer_term_is_an_election_and_an_older_one_is_no_news() {
        let leaders = Leaders::default();
        leaders.note(1, &told(1, 3));
        assert_eq!(leaders.elections(), vec![]);
        leaders.note(2, &told(2, 4));
        leaders.note(3, &told(1, 3));
        let expected = Election { time_ns: 2, group: "t/0".to_owned(), term: 4, node: "n2".to_owned() };
        assert_eq!(leaders.elections(), vec![expected]);
        assert_eq!(leaders.by_count(), vec![2]);
        assert_eq!(leaders.led_by(2), vec![("t".to_owned(), 0)]);
        leaders.forget("t");
        assert_eq!(leaders.by_count(), Vec::<u16>::new());
    }
}
