//! A set of open operations, as bits: each open operation has a slot of its own, which is reused once the
//! operation has completed. So a set costs as many bits as operations are open at once, however long the
//! history.

/// A set of slots, each below `64 * N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slots<const N: usize>([u64; N]);

impl<const N: usize> Slots<N> {
    pub(super) const EMPTY: Self = Slots([0; N]);

    pub(super) fn contains(&self, slot: usize) -> bool {
        self.0[slot / 64] & (1 << (slot % 64)) != 0
    }

    pub(super) fn insert(&mut self, slot: usize) {
        self.0[slot / 64] |= 1 << (slot % 64);
    }

    pub(super) fn remove(&mut self, slot: usize) {
        self.0[slot / 64] &= !(1 << (slot % 64));
    }

    pub(super) fn subtract(&mut self, other: &Self) {
        for (word, out) in self.0.iter_mut().zip(&other.0) {
            *word &= !out;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn is_subset(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(word, of)| word & !of == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(of: &[usize]) -> Slots<2> {
        let mut set = Slots::EMPTY;
        of.iter().for_each(|&slot| set.insert(slot));
        set
    }

    #[test]
    fn a_removed_slot_is_no_longer_contained() {
        let mut set = slots(&[0, 63, 64, 127]);
        set.remove(64);
        assert_eq!(set, slots(&[0, 63, 127]));
        assert!(set.contains(127) && !set.contains(64));
    }

    #[test]
    fn subset_and_difference_look_at_every_word() {
        assert!(slots(&[1, 100]).is_subset(&slots(&[1, 2, 100])));
        assert!(!slots(&[1, 101]).is_subset(&slots(&[1, 2, 100])));
        let mut set = slots(&[1, 2, 100]);
        set.subtract(&slots(&[2, 100]));
        assert_eq!(set, slots(&[1]));
        assert_eq!(slots(&[1, 2, 100]).len(), 3);
    }
}
