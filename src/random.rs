//! Randomness for nodes: jitter, first generations, the scatter of hash tables. Not for secrets.

use std::sync::atomic::{AtomicU64, Ordering};

/// A generator that threads share without waiting: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), whose
/// state is a plain counter.
#[derive(Debug)]
pub(crate) struct Random {
    counter: AtomicU64,
}

/// SplitMix64's step: 2^64 divided by the golden ratio, made odd.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// The generator that `seed` names.
    #[must_use]
    pub(crate) fn new(seed: u64) -> Self {
        Self { counter: AtomicU64::new(seed) }
    }

    /// Sixty-four random bits.
    pub(crate) fn bits(&self) -> u64 {
        // Relaxed: the counter publishes nothing; every caller gets a state of its own.
        let mut z = self.counter.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_sequence_of_seed_zero_comes_out() {
        let random = Random::new(0);
        assert_eq!(random.bits(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(random.bits(), 0x6e78_9e6a_a1b9_65f4);
        assert_eq!(random.bits(), 0x06c4_5d18_8009_454f);
    }
}
