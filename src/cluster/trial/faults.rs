//! The faults that a scenario asks for, as one nemesis.

use clap::ValueEnum;
use rand::RngExt;
use rand_pcg::Pcg64;

use crate::cluster::nemesis::{Nemesis, NodeFault, PartitionKind, Step, Targets};
use crate::cluster::network::Extra;
use crate::cluster::scenario::{FaultKind, Scenario, Target, seconds};
use crate::cluster::streams::{Stream, stream};

/// So many times longer than the latency messages take where links are slow, at most; Jepsen's.
const SLOWNESS: f64 = 10.0;
/// Where there is no latency, links are slow as if there were that much.
const LATENCY_MIN_MS: f64 = 10.0;

/// A nemesis that makes all faults that a scenario asks for, each at its own times. The seed decides what it draws.
pub(super) fn nemesis(scenario: &Scenario, seed: u64) -> Nemesis {
    let asked = FaultKind::value_variants().iter().filter(|kind| scenario.nemesis.contains(kind));
    Nemesis::together(asked.map(|&kind| of_kind(kind, scenario, seed)).collect())
}

fn of_kind(kind: FaultKind, scenario: &Scenario, seed: u64) -> Nemesis {
    let nodes = scenario.nodes();
    let times = (seconds(scenario.nemesis_interval), scenario.time_limit());
    let node_faults =
        |fault, rng| Nemesis::node_faults(fault, targets(&scenario.targets), nodes, times, stream(seed, rng));
    let spells = |step: fn(&mut Pcg64) -> Step, rng| Nemesis::spells(step, times, stream(seed, rng));
    match kind {
        FaultKind::Partition => {
            Nemesis::partitions_of(partitions(&scenario.targets), nodes, times, stream(seed, Stream::Nemesis))
        }
        FaultKind::OneWay => Nemesis::spells(
            move |rng| Step::StartOneWay(one_way(nodes, rng)),
            times,
            stream(seed, Stream::OneWay),
        ),
        FaultKind::Kill => node_faults(NodeFault::Kill, Stream::Kills),
        FaultKind::KillForGood => Nemesis::kills_for_good(nodes, times, stream(seed, Stream::KillsForGood)),
        FaultKind::Pause => node_faults(NodeFault::Pause, Stream::Pauses),
        FaultKind::Loss => spells(|rng| Step::Lose(part(rng)), Stream::Loss),
        FaultKind::Duplication => spells(|rng| Step::Duplicate(part(rng)), Stream::Duplication),
        FaultKind::Corrupt => spells(|rng| Step::Corrupt(part(rng)), Stream::Corruption),
        FaultKind::Reordering => {
            let extra = slow(scenario, 0.3);
            Nemesis::spells(move |_| Step::Reorder(Some(extra)), times, stream(seed, Stream::Reordering))
        }
        FaultKind::Slow => {
            let extra = slow(scenario, 1.0);
            Nemesis::spells(move |_| Step::Delay(Some(extra)), times, stream(seed, Stream::Slowness))
        }
    }
}

/// A part of all messages, from a twentieth to a half.
fn part(rng: &mut Pcg64) -> f64 {
    rng.random_range(0.05..0.5)
}

/// A delay of so large a share of the messages: from the latency to ten times it.
fn slow(scenario: &Scenario, share: f64) -> Extra {
    let latency = scenario.latency.max(LATENCY_MIN_MS);
    Extra { share, shortest_ms: latency as u64, longest_ms: (SLOWNESS * latency) as u64 }
}

/// Cuts as of a partition, one way only.
fn one_way(nodes: usize, rng: &mut Pcg64) -> Vec<(usize, usize)> {
    let kind = if rng.random() { PartitionKind::One } else { PartitionKind::Majority };
    let both = kind.cuts(nodes, rng);
    // The cuts of a pair come one after the other.
    let way = usize::from(rng.random::<bool>());
    both.into_iter().skip(way).step_by(2).collect()
}

/// Which partitions are asked for: Maelstrom's, if nothing is said.
fn partitions(asked: &[Target]) -> Vec<PartitionKind> {
    let kinds: Vec<PartitionKind> = asked.iter().filter_map(|target| target.as_partition()).collect();
    if kinds.is_empty() { PartitionKind::ALL.to_vec() } else { kinds }
}

/// Which nodes are asked for: Maelstrom's, if nothing is said.
fn targets(asked: &[Target]) -> Vec<Targets> {
    let targets: Vec<Targets> = asked.iter().filter_map(|target| target.as_nodes()).collect();
    if targets.is_empty() { Targets::ALL.to_vec() } else { targets }
}

/// Whether a fault strikes what is asked for, if anything is.
pub(crate) fn strikes(kind: FaultKind, asked: &[Target]) -> bool {
    match kind {
        _ if asked.is_empty() => true,
        FaultKind::Partition => asked.iter().any(|target| target.as_partition().is_some()),
        FaultKind::Kill | FaultKind::Pause => asked.iter().any(|target| target.as_nodes().is_some()),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Time;
    use crate::workload::echo;

    #[test]
    fn each_fault_begins_and_ends() {
        for &kind in FaultKind::value_variants() {
            let scenario = Scenario { nemesis: vec![kind], time_limit: 1000.0, ..Scenario::new(echo::KIND) };
            let mut nemesis = nemesis(&scenario, 1);
            let mut steps = Vec::new();
            while let Some(due) = nemesis.next_step() {
                steps.extend(nemesis.step(due));
            }
            assert!(steps.iter().any(Step::lasts), "{kind:?}");
            let is_for_good = kind == FaultKind::KillForGood;
            assert!(is_for_good || steps.iter().any(|step| !step.lasts()), "{kind:?}");
            assert!(is_for_good || nemesis.next_step() < Some(Time::NEVER));
        }
    }

    #[test]
    fn targets_that_a_fault_cannot_strike_are_known() {
        assert!(strikes(FaultKind::Kill, &[Target::All]) && !strikes(FaultKind::Partition, &[Target::All]));
        assert!(
            !strikes(FaultKind::Pause, &[Target::MajoritiesRing]) && strikes(FaultKind::Loss, &[Target::All])
        );
        assert_eq!(partitions(&[Target::Primaries]), [PartitionKind::Primaries]);
        assert_eq!(targets(&[]), Targets::ALL);
    }
}
