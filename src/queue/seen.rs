//! The values a node has seen.

use dashmap::DashMap;
use foldhash::fast::FixedState;

use crate::protocol::Value;

/// A concurrent set of values that only grows.
///
/// A sharded hash table: an insertion takes its shard's lock for the length of one probe, a reader walks the
/// shards one by one. A walk sees every value whose insertion returned before the walk began.
#[derive(Debug)]
pub struct SeenSet {
    values: DashMap<Value, (), FixedState>,
}

/// Two busy threads rarely meet in one of 16 shards; each costs an idle node about 200 bytes. A constant and
/// not a multiple of the cores, so that a run's order of values does not depend on the machine.
const SHARDS: usize = 16;

impl SeenSet {
    /// An empty set. `seed` scatters the values over the table; let it be unpredictable where values may be
    /// chosen by an enemy.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let hasher = FixedState::with_seed(seed);
        Self { values: DashMap::with_capacity_and_hasher_and_shard_amount(0, hasher, SHARDS) }
    }

    /// Adds a value; true if it is new. Of several threads that add the same value, one is told so.
    pub fn insert(&self, value: Value) -> bool {
        self.values.insert(value, ()).is_none()
    }

    /// Whether the value has been added.
    #[must_use]
    pub fn contains(&self, value: Value) -> bool {
        self.values.contains_key(&value)
    }

    /// How many values have been added.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether no value has been added yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// All values, in ascending order: the same order wherever the node runs, unlike that of the table.
    #[must_use]
    pub fn sorted(&self) -> Vec<Value> {
        let mut values: Vec<Value> = self.iter().collect();
        values.sort_unstable();
        values
    }

    /// All values, in no order in particular.
    pub fn iter(&self) -> impl Iterator<Item = Value> + '_ {
        self.values.iter().map(|entry| *entry.key())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_new_once() {
        let seen = SeenSet::new(1);
        assert!(seen.is_empty());
        assert!(seen.insert(-3));
        assert!(!seen.insert(-3));
        assert!(seen.contains(-3) && !seen.contains(3));
        assert_eq!(seen.iter().collect::<Vec<_>>(), [-3]);
        assert!([7, 5].into_iter().all(|value| seen.insert(value)));
        assert_eq!(seen.sorted(), [-3, 5, 7]);
    }

    #[test]
    fn threads_that_insert_the_same_values_claim_each_once() {
        let seen = SeenSet::new(1);
        let claim = || (0..10_000).filter(|&v| seen.insert(v)).count();
        let claimed: usize = std::thread::scope(|scope| {
            let threads = [scope.spawn(claim), scope.spawn(claim)];
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!((claimed, seen.len()), (10_000, 10_000));
    }

    #[test]
    fn the_same_seed_gives_the_same_order() {
        let order = |seed| {
            let seen = SeenSet::new(seed);
            for value in 0..100 {
                seen.insert(value);
            }
            seen.iter().collect::<Vec<_>>()
        };
        assert_eq!(order(7), order(7));
        assert_ne!(order(7), order(8));
    }
}
