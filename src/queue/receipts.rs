//! Which of one peer's deltas have come, for the acknowledgement.

use crate::protocol::Generation;
use crate::protocol::link::Acked;

/// The deltas of one peer's incarnation that have come: all before one, and some of the 32 after it.
#[derive(Debug, Default)]
pub struct Receipts(Option<Come>);

#[derive(Clone, Copy, Debug)]
struct Come {
    /// The first that has not come.
    next: u64,
    /// Bit `k` stands for `next + k`; the lowest is never set.
    bits: u64,
}

/// What a delta that came was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The one that was due.
    Due,
    /// A later one: one before it is missing.
    Early,
    /// One that had come before, or is acknowledged otherwise.
    Repeated,
}

impl Receipts {
    /// A delta has come, whose sender says that all before `base` are acknowledged.
    pub fn record(&mut self, base: Generation, generation: Generation) -> Arrival {
        let Come { mut next, mut bits } =
            self.0.unwrap_or(Come { next: base.0 & Generation::LAST.0, bits: 0 });
        let ahead = distance(next, base.0);
        if ahead <= HALF {
            bits = if ahead < 64 { bits >> ahead } else { 0 };
            next = base.0 & Generation::LAST.0;
        }
        let offset = distance(next, generation.0);
        let arrival = match offset {
            0 => Arrival::Due,
            1..=32 if bits >> offset & 1 == 0 => Arrival::Early,
            // Too early to be noted: its sender has never had so many in flight.
            33..=HALF => Arrival::Early,
            _ => Arrival::Repeated,
        };
        if offset <= 32 {
            bits |= 1 << offset;
        }
        let run = bits.trailing_ones();
        next = next.wrapping_add(u64::from(run)) & Generation::LAST.0;
        bits = bits.checked_shr(run).unwrap_or(0);
        self.0 = Some(Come { next, bits });
        arrival
    }

    /// What to acknowledge; nothing before anything has come.
    #[must_use]
    pub fn acked(&self) -> Option<Acked> {
        // Exact: the bits beyond the 33rd are never set.
        self.0.map(|Come { next, bits }| Acked { next: Generation(next), later: (bits >> 1) as u32 })
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
        let mut receipts = Receipts::default();
        assert_eq!(receipts.acked(), None);
        for generation in 7..50 {
            assert_eq!(receipts.record(Generation(7), Generation(generation)), Due);
            assert_eq!(acked(&receipts), (generation + 1, 0));
        }
        assert_eq!(receipts.record(Generation(7), Generation(20)), Repeated);
    }

    #[test]
    fn gaps_are_told_until_they_are_filled_or_settled() {
        let last = Generation::LAST.0;
        for first in [0, last - 3] {
            let name = |number: u64| Generation((first + number) & last);
            let mut receipts = Receipts::default();
            let record =
                |receipts: &mut Receipts, base, generation| receipts.record(name(base), name(generation));
            assert_eq!(record(&mut receipts, 0, 2), Early);
            assert_eq!(record(&mut receipts, 0, 2), Repeated);
            assert_eq!(record(&mut receipts, 0, 32), Early);
            assert_eq!(acked(&receipts), (name(0).0, 1 << 1 | 1 << 31));
            assert_eq!(record(&mut receipts, 0, 40), Early, "too early to be told");
            assert_eq!(record(&mut receipts, 0, 0), Due);
            assert_eq!(acked(&receipts), (name(1).0, 1 | 1 << 30));
            assert_eq!(record(&mut receipts, 2, 33), Early);
            assert_eq!(acked(&receipts), (name(3).0, 1 << 28 | 1 << 29), "the sender no longer waits for 1");
            assert_eq!(record(&mut receipts, 100, 101), Early);
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
            let mut receipts = Receipts::default();
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
