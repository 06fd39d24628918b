//! Which links and nodes a fault strikes.

use std::collections::BTreeSet;

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;
use serde::Serialize;

/// A way to cut a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartitionKind {
    /// One node is alone.
    One,
    /// A clean cut into a majority and a minority.
    Majority,
    /// Every node hears a majority, and no two hear the same one.
    MajoritiesRing,
    /// A clean cut that takes away fewer than a third.
    MinorityThird,
    /// The node that has sent most is alone.
    Primaries,
}

/// Stands for the node that has sent most by the time of the step.
pub const BUSIEST: usize = usize::MAX;

impl PartitionKind {
    /// Maelstrom's kinds.
    pub const ALL: [PartitionKind; 4] = [
        PartitionKind::One,
        PartitionKind::MinorityThird,
        PartitionKind::Majority,
        PartitionKind::MajoritiesRing,
    ];

    /// Its name in progress lines and histories.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            PartitionKind::One => "one",
            PartitionKind::Majority => "majority",
            PartitionKind::MajoritiesRing => "majorities-ring",
            PartitionKind::MinorityThird => "minority-third",
            PartitionKind::Primaries => "primaries",
        }
    }

    /// Whether it cuts anything of `n` nodes.
    #[must_use]
    pub const fn cuts_any(self, n: usize) -> bool {
        match self {
            PartitionKind::One | PartitionKind::Majority | PartitionKind::Primaries => n > 1,
            PartitionKind::MinorityThird => n > 3,
            PartitionKind::MajoritiesRing => n > 2,
        }
    }

    /// The pairs (receiver, source) of `n` nodes that are cut off.
    #[must_use]
    pub fn cuts(self, n: usize, rng: &mut Pcg64) -> Vec<(usize, usize)> {
        let mut nodes: Vec<usize> = (0..n).collect();
        nodes.shuffle(rng);
        match self {
            PartitionKind::One => clean_cut(&nodes, 1.min(n)),
            PartitionKind::Majority => clean_cut(&nodes, n / 2),
            PartitionKind::MinorityThird => clean_cut(&nodes, n.saturating_sub(1) / 3),
            PartitionKind::MajoritiesRing => majorities_ring(&nodes, rng),
            PartitionKind::Primaries => vec![(BUSIEST, BUSIEST)],
        }
    }
}

/// Cuts the first `size` nodes off from the others, both ways.
fn clean_cut(nodes: &[usize], size: usize) -> Vec<(usize, usize)> {
    let (some, others) = nodes.split_at(size);
    some.iter().flat_map(|&a| others.iter().flat_map(move |&b| [(a, b), (b, a)])).collect()
}

/// The smallest number of nodes that is more than half.
const fn majority(n: usize) -> usize {
    n / 2 + 1
}

/// Up to five nodes stand in a ring, and each hears the majority around it. More are linked at random, the
/// least linked to the least linked, until each hears a majority.
fn majorities_ring(nodes: &[usize], rng: &mut Pcg64) -> Vec<(usize, usize)> {
    let n = nodes.len();
    let mut heard = vec![BTreeSet::new(); n];
    if n <= 5 {
        for start in 0..n {
            let ring: Vec<usize> = (start..start + majority(n)).map(|i| nodes[i % n]).collect();
            heard[ring[ring.len() / 2]].extend(ring);
        }
    } else {
        for &node in nodes {
            heard[node].insert(node);
        }
        loop {
            let mut order = nodes.to_vec();
            order.shuffle(rng);
            order.sort_by_key(|&node| heard[node].len());
            let a = order[0];
            if heard[a].len() >= majority(n) {
                break;
            }
            // A node with less than a majority has somebody to be linked to.
            let Some(&b) = order.iter().find(|&&b| !heard[a].contains(&b)) else { break };
            heard[a].insert(b);
            heard[b].insert(a);
        }
    }
    let all = |receiver| (0..n).map(move |source| (receiver, source));
    (0..n).flat_map(all).filter(|(receiver, source)| !heard[*receiver].contains(source)).collect()
}

/// Which nodes a fault befalls at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Targets {
    /// One node.
    One,
    /// The most that are not a majority.
    Minority,
    /// The fewest that are one.
    Majority,
    /// Fewer than a third.
    MinorityThird,
    /// Every node.
    All,
    /// Any of them, one at least.
    Some,
    /// The one that has sent most.
    Primaries,
}

impl Targets {
    /// Maelstrom's kinds.
    pub const ALL: [Targets; 6] = [
        Targets::One,
        Targets::Minority,
        Targets::Majority,
        Targets::MinorityThird,
        Targets::All,
        Targets::Some,
    ];

    /// Draws them from `n` nodes. There may be none: a single node has no minority.
    #[must_use]
    pub fn draw(self, n: usize, rng: &mut Pcg64) -> Vec<usize> {
        let mut nodes: Vec<usize> = (0..n).collect();
        nodes.shuffle(rng);
        if self == Targets::Primaries {
            return vec![BUSIEST];
        }
        nodes.truncate(match self {
            Targets::One | Targets::Primaries => 1,
            Targets::Minority => majority(n) - 1,
            Targets::Majority => majority(n),
            Targets::MinorityThird => n.saturating_sub(1) / 3,
            Targets::All => n,
            Targets::Some => rng.random_range(1..=n.max(1)),
        });
        nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    /// Who hears whom, each node itself included.
    fn heard(kind: PartitionKind, n: usize, seed: u64) -> Vec<BTreeSet<usize>> {
        let mut heard = vec![(0..n).collect::<BTreeSet<_>>(); n];
        for (receiver, source) in kind.cuts(n, &mut Pcg64::seed_from_u64(seed)) {
            assert_ne!(receiver, source);
            assert!(heard[receiver].remove(&source), "each pair is cut once");
        }
        heard
    }

    /// The sizes of the parts of a clean cut, smallest first.
    fn parts(heard: &[BTreeSet<usize>]) -> Vec<usize> {
        for (node, others) in heard.iter().enumerate() {
            assert!(others.contains(&node) && others.iter().all(|&other| heard[other] == *others));
        }
        let mut parts: Vec<usize> =
            heard.iter().collect::<BTreeSet<_>>().into_iter().map(BTreeSet::len).collect();
        parts.sort_unstable();
        parts
    }

    #[test]
    fn clean_cuts_have_the_sizes_they_should() {
        for seed in 0..20 {
            assert_eq!(parts(&heard(PartitionKind::One, 25, seed)), [1, 24]);
            assert_eq!(parts(&heard(PartitionKind::Majority, 25, seed)), [12, 13]);
            assert_eq!(parts(&heard(PartitionKind::Majority, 4, seed)), [2, 2]);
            assert_eq!(parts(&heard(PartitionKind::MinorityThird, 25, seed)), [8, 17]);
            assert_eq!(parts(&heard(PartitionKind::MinorityThird, 3, seed)), [3]);
        }
    }

    #[test]
    fn in_a_majorities_ring_everyone_hears_a_majority_and_no_two_the_same() {
        for n in [3, 4, 5, 6, 7, 25] {
            for seed in 0..20 {
                let heard = heard(PartitionKind::MajoritiesRing, n, seed);
                assert!(heard.iter().all(|others| others.len() >= majority(n)), "{n} nodes: {heard:?}");
                let distinct: BTreeSet<_> = heard.iter().collect();
                assert!(n != 5 && n != 25 || distinct.len() == n, "{n} nodes: {heard:?}");
                assert!(heard.iter().any(|others| others.len() < n), "{n} nodes: nothing is cut");
            }
        }
    }

    #[test]
    fn a_single_node_cannot_be_cut_off_from_anyone() {
        for kind in PartitionKind::ALL {
            assert_eq!(kind.cuts(1, &mut Pcg64::seed_from_u64(3)), []);
        }
    }

    #[test]
    fn targets_are_as_many_as_they_should_be_and_differ() {
        let mut rng = Pcg64::seed_from_u64(9);
        for n in [1, 2, 3, 4, 5, 25] {
            for targets in Targets::ALL {
                let struck: BTreeSet<usize> = targets.draw(n, &mut rng).into_iter().collect();
                let expected = match targets {
                    Targets::One => 1..=1,
                    Targets::Minority => n / 2..=n / 2,
                    Targets::Majority => n / 2 + 1..=n / 2 + 1,
                    Targets::MinorityThird => (n - 1) / 3..=(n - 1) / 3,
                    Targets::All => n..=n,
                    Targets::Some => 1..=n,
                    Targets::Primaries => unreachable!("it isn't Maelstrom's"),
                };
                assert!(expected.contains(&struck.len()), "{targets:?} of {n}: {struck:?}");
                assert!(struck.iter().all(|&node| node < n));
            }
        }
    }
}
