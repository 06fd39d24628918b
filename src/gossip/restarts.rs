//! Which members were started again: a part of what nodes hold and spread, like values.
//!
//! A node that has just been started may be one that others take to hold something. So it has a new *incarnation*,
//! and unless it knows that this is its first, it tells everyone: whatever was known of its former incarnation
//! counts no more.

use std::collections::BTreeMap;

use crate::protocol::link::Restart;
use crate::random::scatter;

/// The highest incarnation known of each member that was started again.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    latest: BTreeMap<u64, u64>,
    fingerprint: u64,
}

fn fingerprint(rank: u64, incarnation: u64) -> u64 {
    scatter(scatter(rank) ^ incarnation)
}

impl Restarts {
    /// Takes up a restart; true if it was not known.
    pub(super) fn learn(&mut self, Restart { rank, incarnation }: Restart) -> bool {
        let known = self.latest.get(&rank).copied();
        let is_new = known.is_none_or(|known| known < incarnation);
        if is_new {
            let before = known.map_or(0, |known| fingerprint(rank, known));
            self.fingerprint =
                self.fingerprint.wrapping_sub(before).wrapping_add(fingerprint(rank, incarnation));
            self.latest.insert(rank, incarnation);
        }
        is_new
    }

    /// The latest incarnation known of a member that was started again; 0 if none is.
    pub(super) fn latest(&self, rank: usize) -> u64 {
        self.latest.get(&(rank as u64)).copied().unwrap_or(0)
    }

    /// Equal for equal knowledge, but for one chance in 2^64; 0 if no restart is known.
    pub(super) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// All that are known.
    pub(super) fn all(&self) -> Vec<Restart> {
        self.latest.iter().map(|(&rank, &incarnation)| Restart { rank, incarnation }).collect()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_latest_life_counts_whatever_the_order_of_learning() {
        let restarts = [(3, 10), (7, 5), (3, 20), (3, 15), (0, 1)]
            .map(|(rank, incarnation)| Restart { rank, incarnation });
        let learnt = |order: &mut dyn Iterator<Item = Restart>| {
            let mut all = Restarts::default();
            for restart in order {
                all.learn(restart);
            }
            all
        };
        let forwards = learnt(&mut restarts.into_iter());
        let backwards = learnt(&mut restarts.into_iter().rev());
        assert_eq!(forwards.all(), backwards.all());
        assert_eq!(forwards.fingerprint(), backwards.fingerprint());
        assert_eq!(forwards.all().len(), 3);
        assert_ne!(forwards.fingerprint(), learnt(&mut restarts[..2].iter().copied()).fingerprint());
        assert_eq!(Restarts::default().fingerprint(), 0);
    }
}
