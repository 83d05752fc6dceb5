//! Fetch sessions (KIP-227): what a consumer reads is remembered, so that its requests and answers name only what
//! changes.
//!
//! Invariants: there are at most [`SESSIONS_MAX`] sessions with [`PARTITIONS_MAX`] partitions in all; where there is no
//! room, a session that was not used for a while makes place, else the client goes on without one; a session that
//! serves a request is in that request's hands and comes back when it ends, however it ends.
//!
//! Does not read records and knows no topics, only what clients call them.

use crate::types::TopicId;
use kafka_protocol::messages::FetchRequest;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const SESSIONS_MAX: usize = 4_000;
const PARTITIONS_MAX: usize = 1_000_000;
/// A session that was not used for so long makes place for a new one.
const UNUSED_MIN: Duration = Duration::from_secs(120);

/// A request of no session.
const NO_SESSION: i32 = 0;
/// Epoch of a request that wants a new session, and of one that wants none.
const FIRST_EPOCH: i32 = 0;
const FINAL_EPOCH: i32 = -1;

/// How a request names a topic: by its id from version 13 on. Names are copies: nothing here keeps a request's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TopicKey {
    Name(Arc<str>),
    Id(TopicId),
}

/// One partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub topic: TopicKey,
    pub partition: i32,
}

/// What a client wants of a partition; as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub offset: i64,
    pub max_bytes: i32,
    pub leader_epoch: i32,
    pub last_fetched_epoch: i32,
}

/// What a client was told of a partition last; -1 where it was told of an error or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub high_watermark: i64,
    pub log_start_offset: i64,
}

const NOTHING_TOLD: Told = Told { high_watermark: -1, log_start_offset: -1 };

/// What a client reads.
#[derive(Debug)]
pub struct Session {
    id: i32,
    /// Of the next request.
    epoch: i32,
    by_id: bool,
    partitions: BTreeMap<Key, (Asked, Told)>,
    /// Where the next answer begins to look for records, so that each partition has its turn.
    begin_at: Option<Key>,
}

/// Why a request does not fit its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionError {
    Unknown,
    OtherEpoch,
    /// Topics by id in a session of names, or the other way round.
    OtherKeys,
}

/// How one request is to be answered.
pub enum Turn {
    /// All that it names, and all of it in the answer.
    Full { items: Vec<(Key, Asked)>, session: Option<Held> },
    /// All of its session; what did not change is left out.
    Changes(Held),
}

/// A session in the hands of a request.
pub struct Held {
    sessions: Sessions,
    session: Option<Session>,
}

enum Slot {
    Free(Session),
    /// In the hands of a request.
    Taken,
}

#[derive(Default)]
struct Inner {
    slots: HashMap<i32, (Slot, Instant)>,
    /// Of all sessions; one that is taken counts with what it had.
    sizes: HashMap<i32, usize>,
    partitions: usize,
}

/// The sessions of a node. Cheap to clone.
#[derive(Clone, Default)]
pub struct Sessions {
    inner: Arc<Mutex<Inner>>,
}

impl Sessions {
    /// Finds or makes what a request belongs to. `random` gives numbers for new sessions.
    ///
    /// # Errors
    /// The request does not fit its session.
    pub fn begin(
        &self,
        request: &FetchRequest,
        version: i16,
        random: impl FnMut() -> i32,
    ) -> Result<Turn, SessionError> {
        let by_id = version >= 13;
        if version < 7 || request.session_epoch == FINAL_EPOCH {
            if request.session_id != NO_SESSION {
                self.remove(request.session_id);
            }
            return Ok(Turn::Full { items: items_of(request, by_id), session: None });
        }
        if request.session_epoch == FIRST_EPOCH {
            if request.session_id != NO_SESSION {
                self.remove(request.session_id);
            }
            let items = items_of(request, by_id);
            let session = self.make(&items, by_id, random);
            return Ok(Turn::Full { items, session });
        }
        let mut held = self.take(request.session_id, request.session_epoch)?;
        let session = held.session_mut();
        if session.by_id != by_id {
            return Err(SessionError::OtherKeys);
        }
        session.update(request, by_id);
        Ok(Turn::Changes(held))
    }

    fn make(&self, items: &[(Key, Asked)], by_id: bool, mut random: impl FnMut() -> i32) -> Option<Held> {
        let mut inner = self.inner.lock();
        inner.make_place(items.len())?;
        let id = loop {
            let id = random();
            if id > 0 && !inner.slots.contains_key(&id) {
                break id;
            }
        };
        let partitions = items.iter().map(|(key, asked)| (key.clone(), (*asked, NOTHING_TOLD))).collect();
        let session = Session { id, epoch: FIRST_EPOCH + 1, by_id, partitions, begin_at: None };
        inner.slots.insert(id, (Slot::Taken, Instant::now()));
        inner.resize(id, items.len());
        Some(Held { sessions: self.clone(), session: Some(session) })
    }

    fn take(&self, id: i32, epoch: i32) -> Result<Held, SessionError> {
        let mut inner = self.inner.lock();
        let (slot, used) = inner.slots.get_mut(&id).ok_or(SessionError::Unknown)?;
        match std::mem::replace(slot, Slot::Taken) {
            // A session that serves another request is at an epoch that this one cannot know.
            Slot::Taken => Err(SessionError::OtherEpoch),
            Slot::Free(session) if session.epoch != epoch => {
                *slot = Slot::Free(session);
                Err(SessionError::OtherEpoch)
            }
            Slot::Free(mut session) => {
                *used = Instant::now();
                session.epoch = if epoch == i32::MAX { FIRST_EPOCH + 1 } else { epoch + 1 };
                Ok(Held { sessions: self.clone(), session: Some(session) })
            }
        }
    }

    fn remove(&self, id: i32) {
        self.inner.lock().remove(id);
    }

    /// How many sessions there are, and partitions in them.
    pub fn counts(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        (inner.slots.len(), inner.partitions)
    }
}

impl Inner {
    fn remove(&mut self, id: i32) {
        self.slots.remove(&id);
        self.resize(id, 0);
    }

    fn resize(&mut self, id: i32, partitions: usize) {
        let before = if partitions == 0 { self.sizes.remove(&id) } else { self.sizes.insert(id, partitions) };
        self.partitions = self.partitions - before.unwrap_or(0) + partitions;
    }

    /// Removes unused sessions until there is room; `None` where there can be none.
    fn make_place(&mut self, partitions: usize) -> Option<()> {
        while self.slots.len() >= SESSIONS_MAX || self.partitions + partitions > PARTITIONS_MAX {
            let free = self.slots.iter().filter(|(_, (slot, _))| matches!(slot, Slot::Free(_)));
            let (id, used) = free.map(|(id, (_, used))| (*id, *used)).min_by_key(|(_, used)| *used)?;
            if used.elapsed() < UNUSED_MIN {
                return None;
            }
            self.remove(id);
        }
        Some(())
    }
}

impl Held {
    fn session_mut(&mut self) -> &mut Session {
        self.session.as_mut().expect("a session is given back only on drop")
    }

    fn session(&self) -> &Session {
        self.session.as_ref().expect("a session is given back only on drop")
    }

    /// The number that the client is told.
    pub fn id(&self) -> i32 {
        self.session().id
    }

    /// What the client reads, beginning where it is time to begin.
    pub fn items(&self) -> Vec<(Key, Asked)> {
        let session = self.session();
        let item = |(key, (asked, _)): (&Key, &(Asked, Told))| (key.clone(), *asked);
        match &session.begin_at {
            None => session.partitions.iter().map(item).collect(),
            Some(first) => {
                session.partitions.range(first..).chain(session.partitions.range(..first)).map(item).collect()
            }
        }
    }

    /// Notes what the client is told of a partition; gives whether that is new to it.
    pub fn tell(&mut self, key: &Key, now: Option<Told>) -> bool {
        let Some((_, told)) = self.session_mut().partitions.get_mut(key) else { return true };
        let before = std::mem::replace(told, now.unwrap_or(NOTHING_TOLD));
        now.is_none_or(|now| now != before)
    }

    /// The next answer looks behind `last` first, which was the last to give records.
    pub fn served(&mut self, last: &Key) {
        let next = (std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded);
        let session = self.session_mut();
        session.begin_at = session.partitions.range(next).next().map(|(key, _)| key.clone());
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        let mut inner = self.sessions.inner.lock();
        let (id, size) = (session.id, session.partitions.len());
        // It may have been closed meanwhile.
        if let Some((slot, used)) = inner.slots.get_mut(&id) {
            (*slot, *used) = (Slot::Free(session), Instant::now());
            inner.resize(id, size);
        }
    }
}

impl Session {
    fn update(&mut self, request: &FetchRequest, by_id: bool) {
        for forgotten in &request.forgotten_topics_data {
            let topic = key_of(&forgotten.topic, forgotten.topic_id, by_id);
            for partition in &forgotten.partitions {
                self.partitions.remove(&Key { topic: topic.clone(), partition: *partition });
            }
        }
        for (key, asked) in items_of(request, by_id) {
            let entry = self.partitions.entry(key).or_insert((asked, NOTHING_TOLD));
            entry.0 = asked;
        }
    }
}

fn key_of(name: &str, id: uuid::Uuid, by_id: bool) -> TopicKey {
    if by_id { TopicKey::Id(TopicId(id)) } else { TopicKey::Name(name.into()) }
}

fn items_of(request: &FetchRequest, by_id: bool) -> Vec<(Key, Asked)> {
    let mut items = Vec::with_capacity(request.topics.iter().map(|topic| topic.partitions.len()).sum());
    for topic in &request.topics {
        let name = key_of(&topic.topic, topic.topic_id, by_id);
        for partition in &topic.partitions {
            let asked = Asked {
                offset: partition.fetch_offset,
                max_bytes: partition.partition_max_bytes,
                leader_epoch: partition.current_leader_epoch,
                last_fetched_epoch: partition.last_fetched_epoch,
            };
            items.push((Key { topic: name.clone(), partition: partition.partition }, asked));
        }
    }
    items
}

#[cfg(test)]
#[path = "sessions_tests.rs"]
mod tests;
