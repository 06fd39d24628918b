//! Randomness for nodes: jitter, first generations, the scatter of hash tables. Not for secrets.

use std::sync::atomic::{AtomicU64, Ordering};

/// A generator that threads share without waiting: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), whose
/// state is a plain counter.
#[derive(Debug, Default)]
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
        scatter(self.counter.fetch_add(STEP, Ordering::Relaxed))
    }

    /// A name that nothing else has, but for one chance in 2^52: small enough for every JSON reader to hold it
    /// exactly. Never 0.
    pub(crate) fn name(&self) -> u64 {
        (self.bits() >> 12).max(1)
    }
}

/// SplitMix64's output for a state: nearby states give bits that have nothing in common.
pub(crate) fn scatter(state: u64) -> u64 {
    let mut z = state.wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A part from 0 to 1, in steps of 2^-16, that random bits pick.
pub(crate) fn part(bits: u64) -> f64 {
    (bits >> 48) as f64 / f64::from(u16::MAX)
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
