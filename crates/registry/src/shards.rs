//! A map whose copy is cheap and whose change copies a small part of it.
//!
//! A snapshot is never altered: the next one shares with it everything that did not change. What
//! a change costs is one shard, so it costs about the same with ten records and with a million.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::sync::Arc;

type Shard<K, V> = Arc<HashMap<K, Arc<V>>>;

/// A map in [`SHARDS`] parts, each shared with the copies that did not change it.
#[derive(Clone, Debug)]
pub(crate) struct Shards<K, V> {
    // Invariant: exactly `SHARDS` of them, and a key is in the one that its hash names.
    shards: Vec<Shard<K, V>>,
    len: usize,
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        let empty = Arc::new(HashMap::new());
        Self { shards: vec![empty; SHARDS], len: 0 }
    }
}

impl<K: Clone + Eq + Hash, V> Shards<K, V> {
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.shards.get(place(key))?.get(key).map(|value| &**value)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.shards.iter().flat_map(|shard| shard.values()).map(|value| &**value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter()).map(|(key, value)| (key, &**value))
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        let Some(shard) = self.shards.get_mut(place(&key)) else { return };
        if Arc::make_mut(shard).insert(key, Arc::new(value)).is_none() {
            self.len += 1;
        }
    }

    pub(crate) fn remove<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let Some(shard) = self.shards.get_mut(place(key)) else { return };
        if shard.contains_key(key) && Arc::make_mut(shard).remove(key).is_some() {
            self.len -= 1;
        }
    }

    /// Drops what is not wanted any more from the shard of `key`: whoever adds there, cleans there.
    pub(crate) fn retain_beside<Q>(&mut self, key: &Q, keep: impl Fn(&V) -> bool)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let Some(shard) = self.shards.get_mut(place(key)) else { return };
        let ended = shard.values().filter(|value| !keep(value)).count();
        if ended > 0 {
            Arc::make_mut(shard).retain(|_, value| keep(value));
            self.len -= ended;
        }
    }
}

impl<K: Clone + Eq + Hash, V> FromIterator<(K, V)> for Shards<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut shards = Self::default();
        for (key, value) in pairs {
            shards.insert(key, value);
        }
        shards
    }
}

/// Which shard; not secret, so a fixed hash will do. Inside a shard the map has its own.
fn place<Q: Hash + ?Sized>(key: &Q) -> usize {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
    let [first, second, ..] = hash.to_be_bytes();
    usize::from(u16::from_be_bytes([first, second])) % SHARDS
}

/// A copy costs as many counters; a change copies a shard of 1/256 of the records.
const SHARDS: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_copy_keeps_what_it_had() {
        let mut first: Shards<String, u32> = Shards::default();
        first.insert("a".into(), 1);
        let second = first.clone();
        first.insert("a".into(), 2);
        first.insert("b".into(), 3);
        assert_eq!((second.get("a"), second.get("b")), (Some(&1), None));
        assert_eq!((first.get("a"), first.get("b")), (Some(&2), Some(&3)));
    }

    #[test]
    fn what_ended_goes_with_the_next_change_beside_it() {
        let mut shards: Shards<u8, u32> = Shards::default();
        shards.insert(1, 10);
        shards.retain_beside(&1, |value| *value > 10);
        assert!(shards.is_empty());
    }

    proptest! {
        #[test]
        fn it_is_a_map(acts in proptest::collection::vec((any::<u8>(), any::<Option<u8>>()), 0..200)) {
            let mut map = HashMap::new();
            let mut shards = Shards::default();
            for (key, value) in acts {
                if let Some(value) = value {
                    map.insert(key, value);
                    shards.insert(key, value);
                } else {
                    map.remove(&key);
                    shards.remove(&key);
                }
            }
            prop_assert_eq!(map.is_empty(), shards.is_empty());
            prop_assert_eq!(map.len(), shards.values().count());
            for key in 0..=u8::MAX {
                prop_assert_eq!(map.get(&key), shards.get(&key));
            }
        }
    }
}
