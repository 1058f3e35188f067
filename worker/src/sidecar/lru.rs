//! A bounded map that forgets what was not used for longest, and everything after a time.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Keeps at most `capacity` entries, each for `ttl_s` seconds after its last use.
#[derive(Debug)]
pub(super) struct Lru<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// Keys by the order of their last use.
    order: BTreeMap<u64, K>,
    uses: u64,
    capacity: usize,
    ttl_s: f64,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    used: u64,
    used_s: f64,
}

impl<K: Eq + Hash + Clone, V> Lru<K, V> {
    pub(super) fn new(capacity: usize, ttl_s: f64) -> Self {
        Self { entries: HashMap::new(), order: BTreeMap::new(), uses: 0, capacity: capacity.max(1), ttl_s }
    }

    /// Puts a value in, at `now_s`.
    pub(super) fn insert(&mut self, key: K, value: V, now_s: f64) {
        self.remove(&key);
        self.expire(now_s);
        while self.entries.len() >= self.capacity {
            self.drop_oldest();
        }
        self.uses += 1;
        self.order.insert(self.uses, key.clone());
        self.entries.insert(key, Entry { value, used: self.uses, used_s: now_s });
    }

    /// The value of `key`, which counts as a use.
    pub(super) fn get<Q: Eq + Hash + ?Sized>(&mut self, key: &Q, now_s: f64) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.expire(now_s);
        let entry = self.entries.get_mut(key)?;
        self.uses += 1;
        if let Some(key) = self.order.remove(&entry.used) {
            self.order.insert(self.uses, key);
        }
        (entry.used, entry.used_s) = (self.uses, now_s);
        Some(&mut entry.value)
    }

    pub(super) fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let entry = self.entries.remove(key)?;
        self.order.remove(&entry.used);
        Some(entry.value)
    }

    /// Entries that are not over at `now_s`.
    pub(super) fn len(&mut self, now_s: f64) -> usize {
        self.expire(now_s);
        self.entries.len()
    }

    /// The values of the entries that are not over at `now_s`.
    pub(super) fn values(&mut self, now_s: f64) -> impl Iterator<Item = &V> {
        self.expire(now_s);
        self.entries.values().map(|entry| &entry.value)
    }

    fn expire(&mut self, now_s: f64) {
        while let Some(key) = self.order.first_key_value().map(|(_, key)| key.clone()) {
            if self.entries.get(&key).is_some_and(|entry| now_s - entry.used_s <= self.ttl_s) {
                break;
            }
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_first() {
            self.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_longest_unused_goes_first_and_time_ends_all() {
        let mut lru = Lru::new(2, 10.0);
        lru.insert("a", 1, 0.0);
        lru.insert("b", 2, 1.0);
        assert_eq!(lru.get("a", 2.0), Some(&mut 1));
        lru.insert("c", 3, 3.0);
        assert_eq!(lru.get("b", 3.0), None);
        assert_eq!(lru.get("a", 4.0), Some(&mut 1));
        assert_eq!(lru.values(4.0).copied().collect::<std::collections::BTreeSet<_>>(), [1, 3].into());
        assert_eq!(lru.len(13.5), 1);
        assert_eq!(lru.values(13.5).collect::<Vec<_>>(), [&1]);
        assert_eq!(lru.get("a", 14.1), None);
        assert_eq!(lru.len(14.1), 0);
    }

    proptest! {
        #[test]
        fn both_indices_agree_and_stay_bounded(steps in prop::collection::vec((0_u8..3, 0_u8..8, 0_u8..4), 0..200)) {
            let mut lru = Lru::new(4, 5.0);
            let mut now = 0.0;
            for (what, key, pause) in steps {
                now += f64::from(pause);
                match what {
                    0 => lru.insert(key, now, now),
                    1 => { lru.get(&key, now); }
                    _ => { lru.remove(&key); }
                }
                prop_assert!(lru.entries.len() <= 4);
                prop_assert_eq!(lru.entries.len(), lru.order.len());
                for (used, key) in &lru.order {
                    prop_assert_eq!(lru.entries[key].used, *used);
                }
            }
        }
    }
}
