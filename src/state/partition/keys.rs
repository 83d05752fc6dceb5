//! Idempotency keys: of clients, and one-shot ones of nodes.

use super::entries::KeyHash;
use crate::types::Offset;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};

/// Idempotency keys of clients that are kept at least, the newest.
pub const CLIENT_KEYS_KEPT: usize = 4096;
/// One-shot keys of nodes that are kept; they only serve retries within one request's deadline.
pub const ONE_SHOT_KEYS_KEPT: usize = 1024;
/// How long a client's idempotency key is kept, in ms of the leaders' append times.
pub const CLIENT_KEY_AGE_MS_MAX: i64 = 24 * 60 * 60 * 1000;

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyUse {
    pub body: KeyHash,
    /// `None` while only claimed.
    pub records: Option<KeyRecords>,
    pub partitions: u32,
    pub(super) appended_at_ms: i64,
}

/// The records that a keyed request wrote here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecords {
    pub base_offset: Offset,
    pub default_timestamp_ms: i64,
}

/// Keys with the order in which they came. A key that was removed leaves a stale place in `order`, told by its number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) uses: HashMap<KeyHash, KeyUse>,
    /// Keys with records here, and keys that are claimed only; each in the order in which they came. Bounded apart: a
    /// claim is of a request that may write elsewhere, and must not push out what was written here.
    pub(super) written: VecDeque<KeyHash>,
    pub(super) claimed: VecDeque<KeyHash>,
}

impl Keys {
    pub(super) fn insert(&mut self, key: KeyHash, value: KeyUse) {
        let before = self.uses.insert(key, value);
        if before.is_some_and(|before| before.records.is_none()) {
            self.unclaim(&key);
        }
        match (value.records, before.is_some_and(|before| before.records.is_some())) {
            (Some(_), false) => self.written.push_back(key),
            (Some(_), true) => {}
            (None, _) => self.claimed.push_back(key),
        }
    }

    /// Removes a key that is claimed only.
    pub(super) fn remove(&mut self, key: &KeyHash) {
        if self.uses.remove(key).is_some() {
            self.unclaim(key);
        }
    }

    // A claim is mostly used or released soon after it was made.
    fn unclaim(&mut self, key: &KeyHash) {
        if let Some(at) = self.claimed.iter().rposition(|other| other == key) {
            self.claimed.remove(at);
        }
    }

    /// Drops keys of either kind beyond `kept`, and those older than a day; oldest first.
    pub(super) fn expire(&mut self, kept: usize, now_ms: i64) {
        for order in [&mut self.written, &mut self.claimed] {
            while let Some(oldest) = order.front() {
                let expired = self
                    .uses
                    .get(oldest)
                    .is_none_or(|value| now_ms.saturating_sub(value.appended_at_ms) > CLIENT_KEY_AGE_MS_MAX);
                if !expired && order.len() <= kept {
                    break;
                }
                self.uses.remove(oldest);
                order.pop_front();
            }
        }
    }

    pub(super) fn in_order(&self) -> Vec<(KeyHash, KeyUse)> {
        let keys = self.written.iter().chain(&self.claimed);
        keys.filter_map(|key| self.uses.get(key).map(|value| (*key, *value))).collect()
    }

    pub(super) fn from_order(list: Vec<(KeyHash, KeyUse)>) -> Keys {
        let (written, claimed) = list.iter().partition::<Vec<_>, _>(|(_, value)| value.records.is_some());
        let keys = |list: Vec<(KeyHash, KeyUse)>| list.into_iter().map(|(key, _)| key).collect();
        Keys { written: keys(written), claimed: keys(claimed), uses: list.into_iter().collect() }
    }
}
