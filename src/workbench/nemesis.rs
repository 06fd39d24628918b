//! The nemesis: when which faults start and end.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;
use serde::Serialize;

use crate::node::Time;

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
}

impl PartitionKind {
    /// All kinds.
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

/// What the nemesis does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Cut these pairs (receiver, source) off.
    StartPartition(PartitionKind, Vec<(usize, usize)>),
    /// Heal the network.
    StopPartition,
}

/// Alternates between starting and stopping a partition. The first starts at once; the gaps between steps are
/// uniform between zero and twice the interval.
#[derive(Debug)]
pub struct Nemesis {
    nodes: usize,
    interval: Duration,
    rng: Pcg64,
    next: Time,
    in_force: Option<PartitionKind>,
}

impl Nemesis {
    /// A nemesis whose first step is due at `start`.
    #[must_use]
    pub fn new(nodes: usize, interval: Duration, start: Time, rng: Pcg64) -> Self {
        Self { nodes, interval, rng, next: start, in_force: None }
    }

    /// When the next step is due.
    #[must_use]
    pub fn next_step(&self) -> Time {
        self.next
    }

    /// The partition in force.
    #[must_use]
    pub fn in_force(&self) -> Option<PartitionKind> {
        self.in_force
    }

    /// Takes the next step, which was due.
    pub fn step(&mut self) -> Step {
        self.next = self.next + self.interval.mul_f64(2.0 * self.rng.random::<f64>());
        if self.in_force.is_some() {
            return self.stop();
        }
        let kind = PartitionKind::ALL[self.rng.random_range(0..PartitionKind::ALL.len())];
        self.in_force = Some(kind);
        Step::StartPartition(kind, kind.cuts(self.nodes, &mut self.rng))
    }

    /// The last step: everything works again.
    pub fn stop(&mut self) -> Step {
        self.in_force = None;
        Step::StopPartition
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
    fn steps_alternate_and_come_as_often_as_they_should() {
        let interval = Duration::from_secs(10);
        let mut nemesis = Nemesis::new(5, interval, Time::ZERO, Pcg64::seed_from_u64(5));
        let mut kinds = BTreeSet::new();
        for step in 0..2000 {
            match nemesis.step() {
                Step::StartPartition(kind, cuts) => {
                    assert!(step % 2 == 0 && !cuts.is_empty());
                    assert_eq!(nemesis.in_force(), Some(kind));
                    kinds.insert(kind.name());
                }
                Step::StopPartition => assert!(step % 2 == 1 && nemesis.in_force().is_none()),
            }
        }
        assert_eq!(kinds.len(), 4);
        let mean = nemesis.next_step().since(Time::ZERO).as_secs_f64() / 2000.0;
        assert!((mean - 10.0).abs() < 0.5, "{mean}");
    }
}
