//! Hazards: which faults strike a simulated run, when and how hard, all drawn from its seed.
//!
//! Each kind has a stream of random numbers of its own. So a run with some of the kinds has these at the same
//! times and as hard as the run with all of them; and a shorter run has the beginning of the longer one's.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;

use super::nemesis::{PartitionKind, Step, Trouble};
use super::network::{COPY_DELAY, Extra};
use super::streams::{Stream, stream};

/// A kind of fault in virtual time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Hazard {
    /// The network is cut, in one of Maelstrom's four ways
    Partition,
    /// Links work one way: a node is deaf, or mute, or some pairs are
    OneWay,
    /// Up to half of the messages between nodes are lost
    Loss,
    /// Up to half of them arrive twice
    Duplication,
    /// Some of them are overtaken
    Reordering,
    /// They take from a millisecond to ten seconds longer
    Delay,
    /// Nodes stop, and go on later
    Pause,
    /// Clocks run at half to double speed, and jump ahead
    Clock,
    /// Nodes take up to 16 ms over each message
    Slow,
    /// Up to 500 values are broadcast to one node at once
    Burst,
    /// Nodes lose all that they know, and start again later
    Kill,
    /// Links are cut for good, but some path connects any two nodes
    LastingCut,
}

/// Which hazards a run has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hazards {
    /// Each kind or not, as each seed draws.
    Drawn,
    /// These, in each run.
    These(Vec<Hazard>),
}

impl FromStr for Hazards {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let these = |names: &str| {
            let hazards = names.split(',').map(|name| {
                Hazard::from_str(name, false).map_err(|_| {
                    let known: Vec<String> = Hazard::value_variants().iter().map(|h| h.name()).collect();
                    format!(
                        "{name:?} is no kind of fault; there are {}; or `all`, or `none`",
                        known.join(", ")
                    )
                })
            });
            hazards.collect::<Result<Vec<_>, _>>()
        };
        match text {
            "all" => Ok(Hazards::Drawn),
            "none" => Ok(Hazards::These(Vec::new())),
            names => these(names).map(Hazards::These),
        }
    }
}

impl fmt::Display for Hazards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hazards::Drawn => f.write_str("all"),
            Hazards::These(hazards) if hazards.is_empty() => f.write_str("none"),
            Hazards::These(hazards) => {
                let names: Vec<String> = hazards.iter().map(|hazard| hazard.name()).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

impl Hazards {
    /// The kinds that strike the run of a seed.
    #[must_use]
    pub fn of(&self, seed: u64) -> Vec<Hazard> {
        let kinds = Hazard::value_variants().iter().copied();
        kinds.filter(|&hazard| self.strikes(hazard, &mut hazard.stream(seed))).collect()
    }

    /// The steps of a run's nemesis, each with its time after the beginning, in order. All is well again at
    /// the time limit, but for links that are cut for good.
    #[must_use]
    pub fn steps(&self, seed: u64, nodes: usize, time_limit: Duration) -> Vec<(Duration, Step)> {
        let mut steps = Vec::new();
        for &hazard in Hazard::value_variants() {
            let mut rng = hazard.stream(seed);
            if self.strikes(hazard, &mut rng) {
                hazard.episodes(nodes, time_limit, &mut rng, &mut steps);
            }
        }
        steps.sort_by_key(|(after, _)| *after);
        steps
    }

    /// Draws in any case, so that what is drawn next doesn't depend on who asks.
    fn strikes(&self, hazard: Hazard, rng: &mut Pcg64) -> bool {
        // Nodes that are cut off for good take long to simulate, and silence can't be asked of them.
        let drawn = if hazard == Hazard::LastingCut { rng.random_ratio(1, 4) } else { rng.random() };
        match self {
            Hazards::Drawn => drawn,
            Hazards::These(hazards) => hazards.contains(&hazard),
        }
    }
}

impl Hazard {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    fn stream(self, seed: u64) -> Pcg64 {
        let mut rng = stream(seed, Stream::Hazards);
        rng.advance(u128::from(self as u8) << 64);
        rng
    }

    /// Spells of the fault, with peace between them; how long they are on average is the seed's.
    fn episodes(self, nodes: usize, limit: Duration, rng: &mut Pcg64, steps: &mut Vec<(Duration, Step)>) {
        // A burst is over at once, and a few of them make as many values as all else.
        let peace =
            if self == Hazard::Burst { ms_between(rng, 4096, 16_384) } else { ms_between(rng, 256, 8192) };
        let spell = ms_between(rng, 16, 8192);
        let mut start = peace.mul_f64(2.0 * rng.random::<f64>());
        while start < limit {
            let end = start + spell.mul_f64(2.0 * rng.random::<f64>());
            let (begin, stop) = self.spell(nodes, rng);
            steps.extend(begin.into_iter().map(|step| (start, step)));
            steps.extend(stop.into_iter().map(|step| (end.min(limit), step)));
            start = end + peace.mul_f64(2.0 * rng.random::<f64>());
        }
    }

    /// What begins one spell of the fault, and what ends it.
    fn spell(self, nodes: usize, rng: &mut Pcg64) -> (Vec<Step>, Vec<Step>) {
        // In thousandths: numbers that people can read.
        let half = |rng: &mut Pcg64| f64::from(rng.random_range(20..=500)) / 1000.0;
        match self {
            Hazard::Partition => {
                let kind = PartitionKind::ALL[rng.random_range(0..PartitionKind::ALL.len())];
                (vec![Step::StartPartition(kind, kind.cuts(nodes, rng))], vec![Step::StopPartition])
            }
            Hazard::OneWay => (vec![Step::StartOneWay(one_way(nodes, rng))], vec![Step::StopOneWay]),
            Hazard::Loss => (vec![Step::Lose(half(rng))], vec![Step::Lose(0.0)]),
            Hazard::Duplication => (vec![Step::Duplicate(half(rng))], vec![Step::Duplicate(0.0)]),
            Hazard::Reordering => {
                let extra = Extra { share: half(rng), shortest_ms: 1, longest_ms: REORDERING_MAX_MS };
                (vec![Step::Reorder(Some(extra))], vec![Step::Reorder(None)])
            }
            Hazard::Delay => {
                let extra = Extra { share: half(rng), shortest_ms: 1, longest_ms: DELAY_MAX_MS };
                (vec![Step::Delay(Some(extra))], vec![Step::Delay(None)])
            }
            Hazard::Pause => on_some(nodes, rng, Trouble::Resume, |_| Trouble::Pause),
            Hazard::Clock => on_some(nodes, rng, Trouble::RIGHT_CLOCK, |rng| {
                let jump = if rng.random() { ms_between(rng, 1, 8192) } else { Duration::ZERO };
                Trouble::Clock { jump, ppm: rng.random_range(500_000..=2_000_000) }
            }),
            Hazard::Slow => on_some(nodes, rng, Trouble::Slow(Duration::ZERO), |rng| {
                Trouble::Slow(Duration::from_micros(rng.random_range(100..=16_000)))
            }),
            Hazard::Burst => {
                let count = 1 << rng.random_range(3..9);
                let count = rng.random_range(count..=(2 * count).min(500));
                (vec![Step::Burst(rng.random_range(0..nodes), count)], vec![])
            }
            Hazard::Kill => on_some(nodes, rng, Trouble::Restart, |_| Trouble::Kill),
            Hazard::LastingCut => (vec![Step::CutForGood(lasting_cut(nodes, rng))], vec![]),
        }
    }
}

const DELAY_MAX_MS: u64 = 10_000;
const REORDERING_MAX_MS: u64 = 500;

/// The longest that a message may take beyond its latency.
pub const EXTRA_MAX: Duration =
    Duration::from_millis(DELAY_MAX_MS + REORDERING_MAX_MS + COPY_DELAY.longest_ms);

/// Milliseconds between two powers of two, each binary order of magnitude as likely as any other.
fn ms_between(rng: &mut Pcg64, shortest: u64, longest: u64) -> Duration {
    let magnitude = 1000 << rng.random_range(shortest.ilog2()..longest.ilog2());
    Duration::from_micros(rng.random_range(magnitude..2 * magnitude))
}

/// The same kind of trouble for a few nodes, often for the first alone: many a cluster depends on it.
fn on_some(
    nodes: usize,
    rng: &mut Pcg64,
    end: Trouble,
    mut begin: impl FnMut(&mut Pcg64) -> Trouble,
) -> (Vec<Step>, Vec<Step>) {
    let mut some: Vec<usize> = (0..nodes).collect();
    if rng.random_range(0..3) == 0 {
        some.truncate(1);
    } else {
        some.shuffle(rng);
        some.truncate(rng.random_range(1..=(nodes / 4).max(1)));
    }
    let starts = some.iter().map(|&node| Step::Disturb(node, begin(rng))).collect();
    (starts, some.iter().map(|&node| Step::Disturb(node, end)).collect())
}

/// Pairs (receiver, source): a node hears nobody, or nobody hears it, or each pair is cut with the same chance.
fn one_way(nodes: usize, rng: &mut Pcg64) -> Vec<(usize, usize)> {
    let node = rng.random_range(0..nodes);
    let others = (0..nodes).filter(move |&other| other != node);
    match rng.random_range(0..3) {
        0 => others.map(|other| (node, other)).collect(),
        1 => others.map(|other| (other, node)).collect(),
        _ => {
            let chance = rng.random_range(0.02..0.3);
            let pairs = (0..nodes).flat_map(|a| (0..nodes).map(move |b| (a, b)));
            pairs.filter(|(a, b)| a != b && rng.random::<f64>() < chance).collect()
        }
    }
}

/// Pairs (receiver, source), each cut both ways, that leave a path between any two nodes.
fn lasting_cut(nodes: usize, rng: &mut Pcg64) -> Vec<(usize, usize)> {
    let mut order: Vec<usize> = (0..nodes).collect();
    order.shuffle(rng);
    let mut linked = vec![vec![false; nodes]; nodes];
    let mut link = |a: usize, b: usize| (linked[a][b], linked[b][a]) = (true, true);
    match rng.random_range(0..3) {
        // The first, on which many a cluster depends, hears few others.
        0 => {
            order.retain(|&node| node != 0);
            order.iter().for_each(|&a| order.iter().for_each(|&b| link(a, b)));
            order.iter().take(rng.random_range(1..=3)).for_each(|&node| link(0, node));
        }
        // Islands in a row, with one link from each to the next.
        1 => {
            let size = rng.random_range(nodes.div_ceil(4)..=nodes.div_ceil(2));
            for island in order.chunks(size) {
                island.iter().for_each(|&a| island.iter().for_each(|&b| link(a, b)));
            }
            (size..nodes).step_by(size).for_each(|next| link(order[next - 1], order[next]));
        }
        // Any tree, and some more.
        _ => {
            (1..nodes).for_each(|index| link(order[index], order[rng.random_range(0..index)]));
            let chance = rng.random_range(0.0..0.5);
            for (index, &a) in order.iter().enumerate() {
                order[..index].iter().filter(|_| rng.random::<f64>() < chance).for_each(|&b| link(a, b));
            }
        }
    }
    let pairs = (0..nodes).flat_map(|a| (0..nodes).map(move |b| (a, b)));
    pairs.filter(|&(a, b)| a != b && !linked[a][b]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workbench::topology::diameter;
    use std::collections::BTreeMap;

    const LIMIT: Duration = Duration::from_secs(20);

    fn these(hazards: &[Hazard]) -> Hazards {
        Hazards::These(hazards.to_vec())
    }

    #[test]
    fn a_list_is_read_as_it_is_shown() {
        for text in
            ["all", "none", "kill", "one-way,loss,duplication,reordering,delay,pause,clock,slow,burst"]
        {
            assert_eq!(text.parse::<Hazards>().expect("a list").to_string(), text);
        }
        let error = "loss,rain".parse::<Hazards>().expect_err("no such fault");
        assert!(error.contains("\"rain\"") && error.contains("one-way") && error.contains("none"), "{error}");
        assert!("".parse::<Hazards>().is_err() && "loss,".parse::<Hazards>().is_err());
    }

    #[test]
    fn fewer_kinds_or_less_time_leave_the_rest_as_it_was() {
        for seed in 0..50 {
            let all = Hazards::Drawn.steps(seed, 5, LIMIT);
            let struck = Hazards::Drawn.of(seed);
            assert_eq!(Hazards::These(struck.clone()).steps(seed, 5, LIMIT), all);
            for hazard in struck {
                let alone = these(&[hazard]).steps(seed, 5, LIMIT);
                let mut rest = all.iter();
                assert!(alone.iter().all(|step| rest.any(|other| other == step)), "{hazard:?} of {seed}");
                let half = these(&[hazard]).steps(seed, 5, LIMIT / 2);
                let before = |steps: &[(Duration, Step)]| {
                    steps.iter().filter(|(at, _)| *at < LIMIT / 2).cloned().collect::<Vec<_>>()
                };
                assert_eq!(before(&half), before(&alone));
            }
        }
    }

    #[test]
    fn every_kind_strikes_some_seeds_and_spares_others() {
        let mut times = BTreeMap::<String, usize>::new();
        for seed in 0..200 {
            for hazard in Hazards::Drawn.of(seed) {
                *times.entry(hazard.name()).or_default() += 1;
            }
        }
        assert_eq!(times.len(), Hazard::value_variants().len());
        assert!(times.values().all(|times| (30..140).contains(times)), "{times:?}");
    }

    #[test]
    fn all_is_well_again_at_the_time_limit() {
        for seed in 0..200 {
            let mut last = BTreeMap::new();
            for (at, step) in Hazards::Drawn.steps(seed, 7, LIMIT) {
                assert!(at <= LIMIT);
                if let Step::Burst(node, count) = step {
                    assert!(node < 7 && (8..=500).contains(&count));
                }
                last.insert(step.subject(), step);
            }
            last.retain(|_, step| !matches!(step, Step::CutForGood(_)));
            assert!(last.values().all(|step| !step.lasts()), "seed {seed}: {last:?}");
        }
    }

    #[test]
    fn lasting_cuts_leave_a_path_between_any_two_nodes() {
        let mut rng = Hazard::LastingCut.stream(1);
        for nodes in (1..=10).chain([25]) {
            for _ in 0..100 {
                let cuts = lasting_cut(nodes, &mut rng);
                assert!(cuts.iter().all(|&(a, b)| a != b && cuts.contains(&(b, a))));
                let linked = |a: usize| (0..nodes).filter(|&b| !cuts.contains(&(a, b))).collect();
                assert!(diameter(&(0..nodes).map(linked).collect::<Vec<_>>()) < nodes.max(2));
            }
        }
    }

    #[test]
    fn a_killed_node_is_started_again_by_the_limit_and_before_it_is_killed_anew() {
        let mut killed = 0;
        for seed in 0..100 {
            let mut dead = [false; 7];
            for (at, step) in these(&[Hazard::Kill]).steps(seed, 7, LIMIT) {
                assert!(at <= LIMIT);
                match step {
                    Step::Disturb(node, Trouble::Kill) => assert!(!std::mem::replace(&mut dead[node], true)),
                    Step::Disturb(node, Trouble::Restart) => {
                        assert!(std::mem::replace(&mut dead[node], false));
                        killed += 1;
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(dead, [false; 7], "seed {seed}");
        }
        assert!(killed > 300, "{killed}");
    }

    #[test]
    fn one_node_alone_can_be_struck_too() {
        for seed in 0..50 {
            let steps = Hazards::Drawn.steps(seed, 1, LIMIT);
            assert!(
                steps.iter().all(|(_, step)| !matches!(step, Step::StartOneWay(cuts) if !cuts.is_empty()))
            );
        }
    }
}
