//! A bounded map that forgets what was not used for long: open files, sparse indexes.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::Hash;

/// At most `max` values; when full, about an eighth goes, the least recently used first.
pub(super) struct Recent<K, V> {
    inner: Mutex<Inner<K, V>>,
    max: usize,
}

struct Inner<K, V> {
    values: HashMap<K, (V, u64)>,
    uses: u64,
}

impl<K: Hash + Eq + Copy, V: Clone> Recent<K, V> {
    pub fn new(max: usize) -> Recent<K, V> {
        Recent { inner: Mutex::new(Inner { values: HashMap::new(), uses: 0 }), max: max.max(8) }
    }

    pub fn get(&self, key: &K) -> Option<V> {
        let mut inner = self.inner.lock();
        inner.uses += 1;
        let uses = inner.uses;
        let (value, used) = inner.values.get_mut(key)?;
        *used = uses;
        Some(value.clone())
    }

    pub fn insert(&self, key: K, value: V) {
        let mut inner = self.inner.lock();
        inner.uses += 1;
        let uses = inner.uses;
        inner.values.insert(key, (value, uses));
        if inner.values.len() > self.max {
            let mut used: Vec<u64> = inner.values.values().map(|(_, used)| *used).collect();
            used.sort_unstable();
            let oldest_kept = used[self.max / 8];
            inner.values.retain(|_, (_, used)| *used >= oldest_kept);
        }
    }

    pub fn remove_if(&self, matches: impl Fn(&K) -> bool) {
        self.inner.lock().values.retain(|key, _| !matches(key));
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.inner.lock().values.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_the_least_recently_used() {
        let recent = Recent::new(8);
        for key in 0..8 {
            recent.insert(key, key);
        }
        assert_eq!(recent.get(&0), Some(0));
        recent.insert(8, 8);
        assert!(recent.len() <= 8);
        assert_eq!(recent.get(&0), Some(0));
        assert_eq!(recent.get(&1), None);
        assert_eq!(recent.get(&8), Some(8));
    }
}
