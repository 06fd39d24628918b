//! The one rule for everything that goes wrong: who is known to hold the same, and when a node may be silent.
//!
//! A node's *digest* stands for the set of its values and of the restarts that it knows of. The rule has three parts:
//!
//! 1. When the digest changes, the node knows nobody but itself to be equal: [`Equals::changed`].
//! 2. Every message between nodes says its sender's digest, and for whom beside the sender that digest holds. If
//!    the receiver's digest is the same, all of these are equal to the receiver, too: [`Equals::heard`].
//! 3. A node for which *all* members are equal, reachable or not, is *settled*: [`Equals::is_settled`]. A node that is not
//!    settled keeps a timer. Whenever that fires, the node asks a member, and [`Turns`] sees to it that every member's
//!    turn comes, that of equal ones included: a value may have to go through one of them.
//!
//! So a cluster in which nobody has a timer holds equal sets: `tests/model.rs` runs this module against every order of
//! messages, losses, cuts, kills and restarts of a small cluster.
//!
//! Nothing here knows of plans, links or clocks: how often a node asks, and whom first, is free.

use smallvec::SmallVec;

/// The members that a node knows to hold exactly what it holds itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Equals {
    me: usize,
    members: usize,
    /// How many are known.
    count: usize,
    /// A bit for each member.
    bits: SmallVec<[u64; 2]>,
}

impl Equals {
    /// Nobody but this node is known: it was started again, and has forgotten what others hold.
    #[must_use]
    pub fn nobody(me: usize, members: usize) -> Self {
        let bits = SmallVec::from_elem(0, members.div_ceil(64));
        let mut equals = Self { me, members, count: 0, bits };
        equals.insert(me);
        equals
    }

    /// Everybody is known: at the first start of a cluster no member holds anything.
    #[must_use]
    pub fn everybody(me: usize, members: usize) -> Self {
        let mut equals = Self::nobody(me, members);
        (0..members).for_each(|member| equals.insert(member));
        equals
    }

    /// This node's digest has changed: whoever was equal is not known to be any more.
    pub fn changed(&mut self) {
        self.bits.iter_mut().for_each(|bits| *bits = 0);
        self.count = 0;
        self.insert(self.me);
    }

    /// A message has come from a member whose digest is this node's own, as it is now; the message says that the
    /// digest holds for these others, too. True if that was news.
    pub fn heard(&mut self, from: usize, others: impl IntoIterator<Item = usize>) -> bool {
        let before = self.count;
        self.insert(from);
        others.into_iter().for_each(|member| self.insert(member));
        self.count > before
    }

    /// A member is known no more: it has said that it holds something else.
    pub fn differs(&mut self, member: usize) {
        if self.has(member) && member != self.me {
            self.bits[member / 64] &= !(1 << (member % 64));
            self.count -= 1;
        }
    }

    fn insert(&mut self, member: usize) {
        if member < self.members && !self.has(member) {
            self.bits[member / 64] |= 1 << (member % 64);
            self.count += 1;
        }
    }

    /// Whether a member is known to hold the same.
    #[must_use]
    pub fn has(&self, member: usize) -> bool {
        self.bits.get(member / 64).is_some_and(|bits| bits >> (member % 64) & 1 == 1)
    }

    /// Whether all members are: then the node may be silent.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.unequal_count() == 0
    }

    /// How many members there are.
    #[must_use]
    pub fn members(&self) -> usize {
        self.members
    }

    /// How many members are not known to hold the same.
    #[must_use]
    pub fn unequal_count(&self) -> usize {
        self.members - self.count
    }

    /// These members, in ascending order.
    pub fn unequal(&self) -> impl Iterator<Item = usize> {
        (0..self.members).filter(|&member| !self.has(member))
    }
}

/// Whose turn it is to be asked.
#[derive(Clone, Debug)]
pub struct Turns {
    taken: usize,
    /// Where the search for the next one begins: among those that are not known to be equal, and among all.
    next_unequal: usize,
    next_of_all: usize,
}

/// Every so many turns it is anybody's, equal or not.
const ANYBODY: usize = 4;

impl Turns {
    /// The turns of a member, which begin with the next one: if all members ask at the same time, no two ask the same.
    #[must_use]
    pub fn after(me: usize) -> Self {
        Self { taken: me, next_unequal: me + 1, next_of_all: me + 1 }
    }

    /// The next member to ask, none if there is nobody else. Of those not known to be equal the next one, in a circle; now and
    /// then the next one of all.
    pub fn next(&mut self, equals: &Equals) -> Option<usize> {
        let Equals { me, members, .. } = *equals;
        self.taken += 1;
        let circle = |from: usize| {
            (from.min(members)..members).chain(0..from.min(members)).filter(move |&member| member != me)
        };
        if !self.taken.is_multiple_of(ANYBODY)
            && let Some(unequal) = circle(self.next_unequal).find(|&member| !equals.has(member))
        {
            self.next_unequal = unequal + 1;
            return Some(unequal);
        }
        let anybody = circle(self.next_of_all).next()?;
        self.next_of_all = anybody + 1;
        Some(anybody)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_settled_when_all_members_are_equal_and_not_before() {
        for members in [1, 2, 64, 65, 130] {
            let mut equals = Equals::everybody(0, members);
            assert!(equals.is_settled());
            equals.changed();
            assert_eq!(equals, Equals::nobody(0, members));
            for member in 1..members {
                assert!(!equals.is_settled() && equals.heard(member, []) && !equals.heard(member, []));
            }
            assert!(equals.is_settled());
            equals.differs(0);
            assert!(equals.is_settled(), "a node is equal to itself");
            equals.differs(members - 1);
            assert_eq!(equals.is_settled(), members == 1);
        }
    }

    #[test]
    fn unequal_members_are_those_that_are_not_known() {
        let mut equals = Equals::nobody(1, 70);
        assert!(equals.unequal_count() == 69 && equals.unequal().eq((0..70).filter(|&member| member != 1)));
        equals.heard(69, [0, 2, 66]);
        assert_eq!(equals.unequal_count(), 65);
        assert!(equals.unequal().eq((3..69).filter(|&member| member != 66)));
    }

    #[test]
    fn members_that_do_not_exist_are_not_counted() {
        let mut equals = Equals::nobody(1, 3);
        assert!(equals.heard(2, [7, 63, 64, 1 << 40]));
        assert!(!equals.is_settled() && !equals.has(7) && !equals.has(1 << 40));
        assert!(equals.heard(2, 0..3) && equals.is_settled());
    }

    #[test]
    fn every_members_turn_comes_and_that_of_unequal_ones_comes_first() {
        for (members, equal) in [(1, 1), (2, 1), (9, 1), (9, 8), (25, 13), (25, 25)] {
            let mut equals = Equals::nobody(0, members);
            equals.heard(0, 0..equal);
            let mut turns = Turns::after(0);
            let asked: Vec<usize> = (0..ANYBODY * members).filter_map(|_| turns.next(&equals)).collect();
            assert!((1..members).all(|member| asked.contains(&member)) && !asked.contains(&0), "{asked:?}");
            if (2..members).contains(&equal) {
                assert!(asked[..ANYBODY - 1].iter().all(|&member| member >= equal));
            }
        }
    }
}
