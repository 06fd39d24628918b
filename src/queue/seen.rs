//! The values a node has seen.

use std::hash::{BuildHasher, Hasher};

use crossbeam::utils::CachePadded;
use dashmap::DashMap;
use foldhash::fast::{FixedState, FoldHasher};

use crate::protocol::{Batch, Value};
use crate::sync::{AtomicUsize, Ordering};

/// A concurrent set of values that only grows.
///
/// A sharded hash table of blocks of 32 neighbouring values, a bit for each: values that are counted up, as most are,
/// take next to no memory, and one probe for many of them; values far apart cost a block each, 12 bytes and the
/// table's slack. An insertion takes its shard's lock for the length of one probe.
#[derive(Debug)]
pub struct SeenSet {
    blocks: DashMap<Block, u32, Staggered>,
    len: CachePadded<AtomicUsize>,
}

/// Two busy threads rarely meet in one of 16 shards; each costs an idle node about 200 bytes.
const SHARDS: usize = 16;

/// A value without its lowest bits, which say where in the block it is.
const BITS: u32 = u32::BITS.ilog2();

/// A block's number in halves: aligned so, it and its values take twelve bytes instead of sixteen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Block {
    high: u32,
    low: u32,
}

impl Block {
    fn of(value: Value) -> Self {
        let number = (value >> BITS).cast_unsigned();
        Self { high: (number >> 32) as u32, low: number as u32 }
    }
}

/// Shards that were equally full would double all at the same time, and take three times as much memory while they do. By these hashes
/// the last shard has twice as many blocks as the first, and each of those between a little more than the one before it: they
/// double one after the other.
#[derive(Clone, Debug)]
struct Staggered(FixedState);

struct StaggeredHasher(FoldHasher<'static>);

impl BuildHasher for Staggered {
    type Hasher = StaggeredHasher;

    fn build_hasher(&self) -> StaggeredHasher {
        StaggeredHasher(self.0.build_hasher())
    }
}

impl Hasher for StaggeredHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    fn write_u32(&mut self, word: u32) {
        self.0.write_u32(word);
    }

    fn finish(&self) -> u64 {
        // The map chooses a shard by these 32 bits: those behind the seven highest, which are the table's.
        const SHIFT: u32 = 25;
        let hash = self.0.finish();
        let even = hash >> SHIFT & u64::from(u32::MAX);
        // Of a fraction nearly the logarithm of one more than it, to the base 2: 1.345 of it, less 0.345 of its square.
        let uneven = ((even * 88_145) >> 16) - ((((even * even) >> 32) * 22_610) >> 16);
        hash ^ (even ^ uneven) << SHIFT
    }
}

/// A value's bit in its block.
fn bit(value: Value) -> u32 {
    1 << (value & Value::from(u32::BITS - 1))
}

impl SeenSet {
    /// An empty set. `seed` scatters the values over the table; let it be unpredictable where values may be
    /// chosen by an enemy.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let hasher = Staggered(FixedState::with_seed(seed));
        Self {
            blocks: DashMap::with_capacity_and_hasher_and_shard_amount(0, hasher, SHARDS),
            len: CachePadded::new(AtomicUsize::new(0)),
        }
    }

    /// Adds a value; true if it is new. Of several threads that add the same value, one is told so.
    pub fn insert(&self, value: Value) -> bool {
        let mut new = Batch::new();
        self.insert_all(&[value], &mut new);
        !new.is_empty()
    }

    /// Adds values, and appends those that are new to `new`. Neighbours that come one after the other cost one probe.
    pub fn insert_all(&self, values: &[Value], new: &mut Batch) {
        let before = new.len();
        for neighbours in values.chunk_by(|a, b| a >> BITS == b >> BITS) {
            let mut bits = self.blocks.entry(Block::of(neighbours[0])).or_insert(0);
            let all = neighbours.iter().fold(0, |all, &value| all | bit(value));
            if *bits & all == 0 && all.count_ones() as usize == neighbours.len() {
                // None of them is there, and none of them twice.
                *bits |= all;
                new.extend_from_slice(neighbours);
                continue;
            }
            for &value in neighbours {
                if *bits & bit(value) == 0 {
                    *bits |= bit(value);
                    new.push(value);
                }
            }
        }
        // Relaxed: it is a count, and publishes nothing.
        self.len.fetch_add(new.len() - before, Ordering::Relaxed);
    }

    /// Whether the value has been added.
    #[must_use]
    pub fn contains(&self, value: Value) -> bool {
        self.blocks.get(&Block::of(value)).is_some_and(|bits| *bits & bit(value) != 0)
    }

    /// How many values have been added.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether no value has been added yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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
        assert!([7, 5].into_iter().all(|value| seen.insert(value)));
        assert_eq!(seen.len(), 3);
    }

    #[test]
    fn neighbours_are_told_apart_at_both_ends_of_the_range() {
        let seen = SeenSet::new(1);
        let mut values =
            vec![i64::MAX, i64::MIN, -1, 0, 31, 32, -32, -33, i64::MIN + 31, i64::MAX - 31, i64::MAX - 32];
        let mut new = Batch::new();
        seen.insert_all(&values, &mut new);
        seen.insert_all(&[31, 30, 31], &mut new);
        seen.insert_all(&[29, 28, 29], &mut new);
        values.extend([30, 29, 28]);
        assert_eq!((&new[..], seen.len()), (&values[..], values.len()));
        assert!(values.iter().all(|&value| seen.contains(value)) && !seen.contains(1) && !seen.contains(-2));
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
}
