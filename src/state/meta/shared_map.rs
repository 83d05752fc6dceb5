//! A sorted map whose clones share what they have in common.
//!
//! The meta image is published after every command. Cloning a plain map of ten thousand topics for each of them would
//! make creation quadratic; here a clone is one reference count, and a change behind a clone copies one leaf and the
//! list of leaves. It is a two-level tree, not a general one: the list of leaves is copied whole, which is cheap up to
//! some hundred thousand entries.
//!
//! Invariants: no leaf is empty or longer than [`LEAF_LEN_MAX`]; keys ascend within and across leaves.

use std::borrow::Borrow;
use std::sync::Arc;

/// A leaf that grows beyond this is split in two.
const LEAF_LEN_MAX: usize = 64;

type Leaf<K, V> = Arc<Vec<(K, V)>>;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(super) struct SharedMap<K, V> {
    leaves: Arc<Vec<Leaf<K, V>>>,
    len: usize,
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        SharedMap { leaves: Arc::new(Vec::new()), len: 0 }
    }
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The value of `key`.
    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let (found, value) = self.floor(key)?;
        (K::borrow(found) == key).then_some(value)
    }

    /// The entry with the largest key that is at most `key`.
    pub(super) fn floor<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        let leaf = &self.leaves[self.leaf_of(key)?];
        let behind = leaf.partition_point(|(found, _)| found.borrow() <= key);
        behind.checked_sub(1).map(|at| (&leaf[at].0, &leaf[at].1))
    }

    /// Adds or replaces; gives what was there.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let Some(leaf_at) = self.leaf_of(&key).or(if self.leaves.is_empty() { None } else { Some(0) }) else {
            Arc::make_mut(&mut self.leaves).push(Arc::new(vec![(key, value)]));
            self.len = 1;
            return None;
        };
        let leaves = Arc::make_mut(&mut self.leaves);
        let leaf = Arc::make_mut(&mut leaves[leaf_at]);
        match leaf.binary_search_by(|(found, _)| found.cmp(&key)) {
            Ok(at) => Some(std::mem::replace(&mut leaf[at].1, value)),
            Err(at) => {
                leaf.insert(at, (key, value));
                self.len += 1;
                if leaf.len() > LEAF_LEN_MAX {
                    let upper = leaf.split_off(leaf.len() / 2);
                    leaves.insert(leaf_at + 1, Arc::new(upper));
                }
                None
            }
        }
    }

    /// Removes; gives what was there.
    pub(super) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.get(key)?;
        let leaf_at = self.leaf_of(key)?;
        let leaves = Arc::make_mut(&mut self.leaves);
        let leaf = Arc::make_mut(&mut leaves[leaf_at]);
        let at = leaf.binary_search_by(|(found, _)| found.borrow().cmp(key)).ok()?;
        let (_, value) = leaf.remove(at);
        if leaf.is_empty() {
            leaves.remove(leaf_at);
        }
        self.len -= 1;
        Some(value)
    }

    /// All entries, by key.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.leaves.iter().flat_map(|leaf| leaf.iter().map(|(key, value)| (key, value)))
    }

    /// The last leaf whose first key is at most `key`: the only one that may hold it.
    fn leaf_of<Q: Ord + ?Sized>(&self, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
    {
        self.leaves.partition_point(|leaf| leaf[0].0.borrow() <= key).checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Agrees with a plain map over any inserts, removals and clones; a clone never changes.
        #[test]
        fn agrees_with_a_plain_map(steps in prop::collection::vec((0u8..4, 0u64..400, any::<u32>()), 1..1500)) {
            let mut map = SharedMap::default();
            let mut model = BTreeMap::new();
            let mut kept = (map.clone(), model.clone());
            for (kind, key, value) in steps {
                match kind {
                    0 | 1 => prop_assert_eq!(map.insert(key, value), model.insert(key, value)),
                    2 => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                    _ if key < 20 => kept = (map.clone(), model.clone()),
                    _ => {
                        prop_assert_eq!(map.get(&key), model.get(&key));
                        prop_assert_eq!(map.floor(&key), model.range(..=key).next_back());
                    }
                }
                prop_assert_eq!(map.len(), model.len());
            }
            prop_assert!(map.iter().eq(model.iter()));
            prop_assert!(kept.0.iter().eq(kept.1.iter()));
            prop_assert!(map.leaves.iter().all(|leaf| !leaf.is_empty() && leaf.len() <= LEAF_LEN_MAX));
        }
    }
}
