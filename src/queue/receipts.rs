//! Which of one peer's deltas have come, for the acknowledgement.

use crate::protocol::Generation;
use crate::protocol::link::Acked;
use crate::sync::{AtomicU64, Ordering};

/// The deltas of one peer's life that have come: all before one, and some of the 32 after it.
///
/// One thread records while others read. They are two words, and a reader may find one of them newer than the other;
/// so the second names the first that it belongs to, in its upper half, and counts for nothing beside another. What is
/// read may thus say too little, and then a delta comes twice, but never too much.
#[derive(Debug)]
pub struct Receipts {
    /// The first that has not come; [`NOTHING`] before anything has.
    next: AtomicU64,
    /// The lower half of `next`, and a bit for each of the 32 after it.
    later: AtomicU64,
}

const NOTHING: u64 = u64::MAX;

/// What a delta that came was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The one that was due.
    Due,
    /// A later one: one before it is missing.
    Early,
    /// One that had come before, or is settled otherwise.
    Repeated,
}

impl Default for Receipts {
    fn default() -> Self {
        Self { next: AtomicU64::new(NOTHING), later: AtomicU64::new(0) }
    }
}

impl Receipts {
    /// Forgets everything: what comes from now on is of another life.
    pub fn forget(&self) {
        // Release: whoever learns of the new life from what its finder stores next sees this, or something later.
        self.next.store(NOTHING, Ordering::Release);
    }

    /// A delta has come, whose sender says that all before `base` are settled.
    pub fn record(&self, base: Generation, generation: Generation) -> Arrival {
        // Relaxed, both: one thread records.
        let next = self.next.load(Ordering::Relaxed);
        let later = self.later.load(Ordering::Relaxed) & u64::from(u32::MAX);
        // Bit `k` stands for `first + k`.
        let (mut first, mut come) = if next == NOTHING { (base.0, 0) } else { (next, later << 1) };
        let ahead = distance(first, base.0);
        if ahead <= HALF {
            come = if ahead < 64 { come >> ahead } else { 0 };
            first = base.0;
        }
        let offset = distance(first, generation.0);
        let arrival = match offset {
            0 => Arrival::Due,
            1..=32 if come >> offset & 1 == 0 => Arrival::Early,
            // Too early to be noted: its sender has never had so many in flight.
            33..=HALF => Arrival::Early,
            _ => Arrival::Repeated,
        };
        if offset <= 32 {
            come |= 1 << offset;
        }
        let run = come.trailing_ones();
        first = first.wrapping_add(u64::from(run)) & Generation::LAST.0;
        come >>= run;
        // Release, both: an acknowledgement says that the values are held; they were taken up before.
        self.later.store(first << 32 | come >> 1, Ordering::Release);
        self.next.store(first, Ordering::Release);
        arrival
    }

    /// What to acknowledge; nothing before anything has come.
    #[must_use]
    pub fn acked(&self) -> Option<Acked> {
        // Acquire, both: pair with the releases in `record`.
        let next = self.next.load(Ordering::Acquire);
        let word = self.later.load(Ordering::Acquire);
        // Exact, both: halves of a word.
        let later = if word >> 32 == next & u64::from(u32::MAX) { word as u32 } else { 0 };
        (next != NOTHING).then_some(Acked { next: Generation(next), later })
    }
}

/// Half the circle of generations: what is farther ahead is behind.
const HALF: u64 = Generation::LAST.0 / 2;

/// How far `to` is ahead of `from`, around the circle.
fn distance(from: u64, to: u64) -> u64 {
    to.wrapping_sub(from) & Generation::LAST.0
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use Arrival::{Due, Early, Repeated};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn acked(receipts: &Receipts) -> (u64, u32) {
        let Acked { next, later } = receipts.acked().expect("something has come");
        (next.0, later)
    }

    #[test]
    fn what_comes_in_order_needs_one_number() {
        let receipts = Receipts::default();
        assert_eq!(receipts.acked(), None);
        for generation in 7..50 {
            assert_eq!(receipts.record(Generation(7), Generation(generation)), Due);
            assert_eq!(acked(&receipts), (generation + 1, 0));
        }
        assert_eq!(receipts.record(Generation(7), Generation(20)), Repeated);
        receipts.forget();
        assert_eq!(receipts.acked(), None);
        assert_eq!(receipts.record(Generation(7), Generation(7)), Due, "in another life");
        assert_eq!(acked(&receipts), (8, 0));
    }

    #[test]
    fn gaps_are_told_until_they_are_filled_or_settled() {
        let last = Generation::LAST.0;
        for first in [0, last - 3] {
            let name = |number: u64| Generation((first + number) & last);
            let receipts = Receipts::default();
            let record = |base, generation| receipts.record(name(base), name(generation));
            assert_eq!(record(0, 2), Early);
            assert_eq!(record(0, 2), Repeated);
            assert_eq!(record(0, 32), Early);
            assert_eq!(acked(&receipts), (name(0).0, 1 << 1 | 1 << 31));
            assert_eq!(record(0, 40), Early, "too early to be told");
            assert_eq!(record(0, 0), Due);
            assert_eq!(acked(&receipts), (name(1).0, 1 | 1 << 30));
            assert_eq!(record(2, 33), Early);
            assert_eq!(acked(&receipts), (name(3).0, 1 << 28 | 1 << 29), "the sender no longer waits for 1");
            assert_eq!(record(100, 101), Early);
            assert_eq!(acked(&receipts), (name(100).0, 1));
        }
    }

    proptest! {
        #[test]
        fn nothing_is_acknowledged_that_has_not_come(
            first in prop_oneof![Just(0), Just(Generation::LAST.0 - 10)],
            arrivals in prop::collection::vec(0_u64..40, 1..100),
        ) {
            let name = |number: u64| Generation((first + number) & Generation::LAST.0);
            let receipts = Receipts::default();
            let mut come = BTreeSet::new();
            for number in arrivals {
                let arrival = receipts.record(name(0), name(number));
                let new = number <= 32 + distance(first, acked(&receipts).0) && come.insert(number);
                prop_assert!(arrival != Repeated || !new);
                let (next, later) = acked(&receipts);
                let next = distance(first, next);
                prop_assert!((0..next).all(|number| come.contains(&number)) && !come.contains(&next));
                for bit in (0..32).filter(|bit| later >> bit & 1 == 1) {
                    prop_assert!(come.contains(&(next + 1 + bit)));
                }
            }
        }
    }
}
