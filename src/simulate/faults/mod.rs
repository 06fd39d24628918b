//! SimFaults: which faults strike a simulated run, when and how hard, all drawn from its seed.
//!
//! Each kind has a stream of random numbers of its own. So a run with some of the kinds has these at the same
//! times and as hard as the run with all of them; and a shorter run has the beginning of the longer one's.
//!
//! A [lull](SimFault::Lull) follows the time in which clients make requests, and has incidents of its own: a value here and
//! there, and just after it a cut or a death. Most mistakes of a cluster in which much is said are made good by what is
//! said next; in a lull nobody says anything next. An [aftermath](SimFault::Aftermath) comes before it, in which nothing
//! strikes and clients go on: what nodes never lack all of, they don't miss. And in the midst of a lull clients may
//! [go on](SimFault::Return): what has died or been cut in silence is found out under load.

mod links;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;

use self::links::{lasting_cut, one_way, some_links, sudden_cut, unequal_links};
use crate::cluster::nemesis::{NodeFault, PartitionKind, Step};
use crate::cluster::network::{COPY_DELAY, Extra};
use crate::cluster::streams::{Stream, stream};

/// A kind of fault in virtual time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SimFault {
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
    /// A node is told a few values, and within a second or so links around it or the first node are cut
    SuddenCut,
    /// Nodes die and never come back
    KillForGood,
    /// In the end clients fall silent for minutes, and now and then a value is followed by a cut or a death
    Lull,
    /// When the other faults have ended, but for a lull, clients go on for up to a minute
    Aftermath,
    /// Clients talk to one or two nodes only: others hear nothing but from their peers
    FewContacts,
    /// Some links take from a sixteenth of the latency to eight times as long, perhaps one way only
    UnequalLinks,
    /// In the midst of a lull, if there is one, clients go on for up to a minute
    Return,
    /// Nodes make a tree of five already, and have the time for it
    Trees,
}

/// Which faults a run has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SimFaults {
    /// Each kind or not, as each seed draws.
    Drawn,
    /// These, in each run.
    Listed(Vec<SimFault>),
}

impl FromStr for SimFaults {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let listed = |names: &str| {
            let faults = names.split(',').map(|name| {
                SimFault::from_str(name, false).map_err(|_| {
                    let known: Vec<String> = SimFault::value_variants().iter().map(|h| h.name()).collect();
                    format!(
                        "{name:?} is no kind of fault; there are {}; or `all`, or `none`",
                        known.join(", ")
                    )
                })
            });
            faults.collect::<Result<Vec<_>, _>>()
        };
        match text {
            "all" => Ok(SimFaults::Drawn),
            "none" => Ok(SimFaults::Listed(Vec::new())),
            names => listed(names).map(SimFaults::Listed),
        }
    }
}

impl fmt::Display for SimFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SimFaults::Drawn => f.write_str("all"),
            SimFaults::Listed(faults) if faults.is_empty() => f.write_str("none"),
            SimFaults::Listed(faults) => {
                let names: Vec<String> = faults.iter().map(|fault| fault.name()).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

impl SimFaults {
    /// The kinds that strike the run of a seed.
    #[must_use]
    pub fn of(&self, seed: u64) -> Vec<SimFault> {
        let kinds = SimFault::value_variants().iter().copied();
        kinds.filter(|&fault| self.strikes(fault, &mut fault.stream(seed))).collect()
    }

    /// How long clients say nothing in the end.
    #[must_use]
    pub fn lull(&self, seed: u64) -> Duration {
        self.length(SimFault::Lull, seed, lull_length)
    }

    /// How long clients go on after the time limit.
    #[must_use]
    pub fn aftermath(&self, seed: u64) -> Duration {
        self.length(SimFault::Aftermath, seed, |rng| ms_between(rng, 16_384, 65_536))
    }

    /// When clients go on in the midst of the lull, after its beginning, and for how long; no time if they don't.
    #[must_use]
    pub fn clients_return(&self, seed: u64) -> (Duration, Duration) {
        let (mut rng, lull) = (SimFault::Return.stream(seed), self.lull(seed));
        if !self.strikes(SimFault::Return, &mut rng) {
            return (lull, Duration::ZERO);
        }
        let at = lull.mul_f64(rng.random());
        (at, ms_between(&mut rng, 8192, 65_536).min(lull - at))
    }

    fn length(&self, fault: SimFault, seed: u64, draw: impl Fn(&mut Pcg64) -> Duration) -> Duration {
        let mut rng = fault.stream(seed);
        let strikes = self.strikes(fault, &mut rng);
        if strikes { draw(&mut rng) } else { Duration::ZERO }
    }

    /// The steps of a run's nemesis, each with its time after the beginning, in order. All is well again at
    /// the time limit, or at the end of the lull that follows it and the aftermath, but for links that are cut and nodes
    /// that are killed for good. One node at least lives.
    #[must_use]
    pub fn steps(&self, seed: u64, nodes: usize, time_limit: Duration) -> Vec<(Duration, Step)> {
        let mut steps = Vec::new();
        for &fault in SimFault::value_variants() {
            let mut rng = fault.stream(seed);
            if self.strikes(fault, &mut rng) {
                let after = if fault == SimFault::Lull { self.aftermath(seed) } else { Duration::ZERO };
                fault.episodes(nodes, time_limit + after, &mut rng, &mut steps);
            }
        }
        let (at, length) = self.clients_return(seed);
        if !length.is_zero() {
            let at = time_limit + self.aftermath(seed) + at;
            steps.extend([(at, Step::Return), (at + length, Step::Lull)]);
        }
        steps.sort_by_key(|(after, _)| *after);
        steps
    }

    /// Draws in any case, so that what is drawn next doesn't depend on who asks.
    fn strikes(&self, fault: SimFault, rng: &mut Pcg64) -> bool {
        // Nodes that are cut off for good take long to simulate, and silence can't be asked of them. So does more load. Where
        // clients talk to all nodes, more can go wrong with what each of them is told.
        let is_rare = matches!(
            fault,
            SimFault::LastingCut
                | SimFault::KillForGood
                | SimFault::Aftermath
                | SimFault::FewContacts
                | SimFault::UnequalLinks
                | SimFault::Trees
        );
        let drawn = if is_rare { rng.random_ratio(1, 4) } else { rng.random() };
        match self {
            SimFaults::Drawn => drawn,
            SimFaults::Listed(faults) => faults.contains(&fault),
        }
    }
}

impl SimFault {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    fn stream(self, seed: u64) -> Pcg64 {
        let mut rng = stream(seed, Stream::SimFaults);
        rng.advance(u128::from(self as u8) << 64);
        rng
    }

    /// Spells of the fault, with pauses between them; the seed draws how long both are on average.
    fn episodes(self, nodes: usize, limit: Duration, rng: &mut Pcg64, steps: &mut Vec<(Duration, Step)>) {
        match self {
            SimFault::SuddenCut => return sudden_cuts(nodes, limit, rng, steps),
            SimFault::KillForGood => return deaths(nodes, limit, rng, steps),
            SimFault::Lull => return lull(nodes, limit, rng, steps),
            SimFault::Aftermath | SimFault::Return | SimFault::Trees => return,
            SimFault::FewContacts => {
                return steps.push((Duration::ZERO, Step::TalkTo(few_contacts(nodes, rng))));
            }
            SimFault::UnequalLinks => return steps.push((Duration::ZERO, unequal_links(nodes, rng))),
            _ => {}
        }
        // A burst is over at once, and a few of them make as many values as all else.
        let pause =
            if self == SimFault::Burst { ms_between(rng, 4096, 16_384) } else { ms_between(rng, 256, 8192) };
        let spell = ms_between(rng, 16, 8192);
        let mut start = pause.mul_f64(2.0 * rng.random::<f64>());
        while start < limit {
            let end = start + spell.mul_f64(2.0 * rng.random::<f64>());
            let (begin, stop) = self.spell(nodes, rng);
            steps.extend(begin.into_iter().map(|step| (start, step)));
            steps.extend(stop.into_iter().map(|step| (end.min(limit), step)));
            start = end + pause.mul_f64(2.0 * rng.random::<f64>());
        }
    }

    /// What begins one spell of the fault, and what ends it.
    fn spell(self, nodes: usize, rng: &mut Pcg64) -> (Vec<Step>, Vec<Step>) {
        // In thousandths: numbers that people can read.
        let half = |rng: &mut Pcg64| f64::from(rng.random_range(20..=500)) / 1000.0;
        match self {
            SimFault::Partition => {
                let kind = PartitionKind::ALL[rng.random_range(0..PartitionKind::ALL.len())];
                (vec![Step::StartPartition(kind, kind.cuts(nodes, rng))], vec![Step::StopPartition])
            }
            SimFault::OneWay => (vec![Step::StartOneWay(one_way(nodes, rng))], vec![Step::StopOneWay]),
            SimFault::Loss => (vec![Step::Lose(half(rng))], vec![Step::Lose(0.0)]),
            SimFault::Duplication => (vec![Step::Duplicate(half(rng))], vec![Step::Duplicate(0.0)]),
            SimFault::Reordering => {
                let extra = Extra { share: half(rng), shortest_ms: 1, longest_ms: REORDERING_MAX_MS };
                (vec![Step::Reorder(Some(extra))], vec![Step::Reorder(None)])
            }
            SimFault::Delay => {
                let extra = Extra { share: half(rng), shortest_ms: 1, longest_ms: DELAY_MAX_MS };
                (vec![Step::Delay(Some(extra))], vec![Step::Delay(None)])
            }
            SimFault::Pause => on_some(nodes, rng, NodeFault::Resume, |_| NodeFault::Pause),
            SimFault::Clock => on_some(nodes, rng, NodeFault::RIGHT_CLOCK, |rng| {
                let jump = if rng.random() { ms_between(rng, 1, 8192) } else { Duration::ZERO };
                NodeFault::Clock { jump, ppm: rng.random_range(500_000..=2_000_000) }
            }),
            SimFault::Slow => on_some(nodes, rng, NodeFault::Slow(Duration::ZERO), |rng| {
                NodeFault::Slow(Duration::from_micros(rng.random_range(100..=16_000)))
            }),
            SimFault::Burst => {
                let count = 1 << rng.random_range(3..9);
                let count = rng.random_range(count..=(2 * count).min(500));
                (vec![Step::Burst(rng.random_range(0..nodes), count)], vec![])
            }
            SimFault::Kill => on_some(nodes, rng, NodeFault::Restart, |_| NodeFault::Kill),
            SimFault::LastingCut => (vec![Step::CutForGood(lasting_cut(nodes, rng))], vec![]),
            // These have no spells.
            SimFault::SuddenCut
            | SimFault::KillForGood
            | SimFault::Lull
            | SimFault::Aftermath
            | SimFault::FewContacts
            | SimFault::UnequalLinks
            | SimFault::Return
            | SimFault::Trees => (vec![], vec![]),
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

/// The same fault for a few nodes, often for the first alone: many a cluster depends on it.
fn on_some(
    nodes: usize,
    rng: &mut Pcg64,
    end: NodeFault,
    mut begin: impl FnMut(&mut Pcg64) -> NodeFault,
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

/// Values, and soon after each of them a cut. One in eight lasts for good, and is the last.
fn sudden_cuts(nodes: usize, limit: Duration, rng: &mut Pcg64, steps: &mut Vec<(Duration, Step)>) {
    let pause = ms_between(rng, 1024, 16_384);
    let mut at = pause.mul_f64(rng.random());
    while at < limit {
        let (spell, for_good) = (ms_between(rng, 64, 16_384), rng.random_ratio(1, 8));
        let node = few_values(nodes, at, rng, steps);
        let cut_at = at + soon(rng);
        let step = Step::StartSudden { cuts: sudden_cut(node, nodes, rng), for_good };
        let gap = pause.mul_f64(2.0 * rng.random::<f64>());
        if cut_at < limit {
            steps.push((cut_at, step));
            if for_good {
                return;
            }
            steps.push(((cut_at + spell).min(limit), Step::StopSudden));
        }
        at = cut_at + spell + gap;
    }
}

/// Nodes that die one after the other, half of them just after somebody was told a value. The two last ones live.
fn deaths(nodes: usize, limit: Duration, rng: &mut Pcg64, steps: &mut Vec<(Duration, Step)>) {
    let mut victims = shuffled(nodes, rng, |rng| rng.random_ratio(1, 3));
    victims.truncate(nodes.saturating_sub(2));
    let mut at = ms_between(rng, 256, 16_384);
    for node in victims {
        if rng.random() {
            few_values(nodes, at.saturating_sub(soon(rng)), rng, steps);
        }
        if at >= limit {
            // What was said before is said all the same.
            steps.retain(|(at, _)| *at <= limit);
            return;
        }
        steps.push((at, Step::KillForGood(node)));
        if rng.random() {
            return;
        }
        at += ms_between(rng, 256, 16_384);
    }
}

/// All nodes, in any order; the first one comes first if that is drawn after them.
fn shuffled(nodes: usize, rng: &mut Pcg64, first_first: impl Fn(&mut Pcg64) -> bool) -> Vec<usize> {
    let mut shuffled: Vec<usize> = (0..nodes).collect();
    shuffled.shuffle(rng);
    if first_first(rng)
        && let Some(first) = shuffled.iter().position(|&node| node == 0)
    {
        shuffled.swap(0, first);
    }
    shuffled
}

/// One node or two, often the first.
fn few_contacts(nodes: usize, rng: &mut Pcg64) -> Vec<usize> {
    let mut contacts = shuffled(nodes, rng, |rng| rng.random());
    contacts.truncate(rng.random_range(1..=2));
    contacts
}

fn lull_length(rng: &mut Pcg64) -> Duration {
    ms_between(rng, 65_536, 262_144)
}

/// Clients fall silent, and there are incidents while they are.
fn lull(nodes: usize, limit: Duration, rng: &mut Pcg64, steps: &mut Vec<(Duration, Step)>) {
    let length = lull_length(rng);
    let ends = limit + length;
    steps.push((limit, Step::Lull));
    let victim = if rng.random() { 0 } else { rng.random_range(0..nodes) };
    for _ in 0..rng.random_range(2..=5) {
        let at = limit + length.mul_f64(rng.random());
        // Some end within the minute, some last for minutes.
        let healed = (at + ms_between(rng, 1024, 131_072)).min(ends);
        match rng.random_range(0..6) {
            0 => drop(few_values(nodes, at, rng, steps)),
            1 => {
                let node = few_values(nodes, at, rng, steps);
                let cuts = sudden_cut(node, nodes, rng);
                steps.push(((at + soon(rng)).min(ends), Step::StartSudden { cuts, for_good: false }));
                steps.push((healed.max((at + SOON_MAX).min(ends)), Step::StopSudden));
            }
            // Nodes that have nothing to say don't notice the cut, and then somebody has.
            2 => {
                steps.push((at, Step::StartOneWay(one_way(nodes, rng))));
                few_values(nodes, (at + ms_between(rng, 16, 16_384)).min(ends), rng, steps);
                steps.push((healed, Step::StopOneWay));
            }
            // What it was told was perhaps acknowledged and passed on to some and not to others.
            3 | 4 if nodes > 1 => {
                few_values(nodes, at, rng, steps);
                let cuts = some_links(victim, nodes, rng);
                let cut_at = (at + soon(rng)).min(ends);
                steps.push((cut_at, Step::StartSudden { cuts, for_good: false }));
                steps.push(((cut_at + 3 * soon(rng)).min(ends), Step::KillForGood(victim)));
                steps.push((healed.max((at + 4 * SOON_MAX).min(ends)), Step::StopSudden));
            }
            _ => {
                let node = few_values(nodes, at, rng, steps);
                let struck = if rng.random() { node } else { rng.random_range(0..nodes) };
                steps.push(((at + soon(rng)).min(ends), Step::Disturb(struck, NodeFault::Kill)));
                let started = healed.max((at + SOON_MAX).min(ends));
                steps.push((started, Step::Disturb(struck, NodeFault::Restart)));
            }
        }
    }
}

/// Values are told to one node, which is returned.
fn few_values(nodes: usize, at: Duration, rng: &mut Pcg64, steps: &mut Vec<(Duration, Step)>) -> usize {
    let node = rng.random_range(0..nodes);
    steps.push((at, Step::Burst(node, rng.random_range(1..=3))));
    node
}

/// As long as a value needs to get about, at most: whoever is told it first has acknowledged it by then, and so has
/// perhaps whom that node told, and others may not yet have been told.
const SOON_MAX: Duration = Duration::from_millis(1200);

fn soon(rng: &mut Pcg64) -> Duration {
    Duration::from_micros(rng.random_range(0..1200) * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const LIMIT: Duration = Duration::from_secs(20);

    fn from_list(faults: &[SimFault]) -> SimFaults {
        SimFaults::Listed(faults.to_vec())
    }

    #[test]
    fn a_list_is_read_as_it_is_shown() {
        for text in
            ["all", "none", "kill", "one-way,loss,duplication,reordering,delay,pause,clock,slow,burst"]
        {
            assert_eq!(text.parse::<SimFaults>().expect("a list").to_string(), text);
        }
        let error = "loss,rain".parse::<SimFaults>().expect_err("no such fault");
        assert!(error.contains("\"rain\"") && error.contains("one-way") && error.contains("none"), "{error}");
        assert!("".parse::<SimFaults>().is_err() && "loss,".parse::<SimFaults>().is_err());
    }

    #[test]
    fn fewer_kinds_or_less_time_leave_the_rest_as_it_was() {
        for seed in 0..50 {
            let all = SimFaults::Drawn.steps(seed, 5, LIMIT);
            let struck = SimFaults::Drawn.of(seed);
            assert_eq!(SimFaults::Listed(struck.clone()).steps(seed, 5, LIMIT), all);
            for &fault in &struck {
                // A lull comes after the aftermath, if there is one, and clients return from a lull.
                let needed: &[SimFault] = match fault {
                    SimFault::Lull => &[SimFault::Aftermath],
                    SimFault::Return => &[SimFault::Aftermath, SimFault::Lull],
                    _ => &[],
                };
                let mut faults = vec![fault];
                faults.extend(struck.iter().filter(|other| needed.contains(other)));
                let alone = from_list(&faults).steps(seed, 5, LIMIT);
                let mut rest = all.iter();
                assert!(alone.iter().all(|step| rest.any(|other| other == step)), "{fault:?} of {seed}");
                let half = from_list(&faults).steps(seed, 5, LIMIT / 2);
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
            for fault in SimFaults::Drawn.of(seed) {
                *times.entry(fault.name()).or_default() += 1;
            }
        }
        assert_eq!(times.len(), SimFault::value_variants().len());
        assert!(times.values().all(|times| (30..140).contains(times)), "{times:?}");
    }

    #[test]
    fn all_is_well_again_at_the_time_limit() {
        for seed in 0..200 {
            let mut last = BTreeMap::new();
            for (at, step) in SimFaults::Drawn.steps(seed, 7, LIMIT) {
                assert!(at <= LIMIT + SimFaults::Drawn.aftermath(seed) + SimFaults::Drawn.lull(seed));
                if let Step::Burst(node, count) = step {
                    assert!(node < 7 && (1..=500).contains(&count));
                }
                last.insert(step.subject(), step);
            }
            last.retain(|_, step| step.ended().is_some());
            assert!(last.values().all(|step| !step.lasts()), "seed {seed}: {last:?}");
        }
    }

    #[test]
    fn some_node_survives_and_any_node_may_die() {
        let mut died = [0; 3];
        for nodes in 1..=3 {
            for seed in 0..300 {
                let mut dead = vec![false; nodes];
                for (_, step) in SimFaults::Drawn.steps(seed, nodes, LIMIT) {
                    if let Step::KillForGood(node) = step {
                        dead[node] = true;
                        died[node] += usize::from(nodes == 3);
                    }
                }
                assert!(dead.contains(&false), "{nodes} nodes, seed {seed}");
            }
        }
        assert!(died.iter().all(|&times| times > 20) && died[0] > died[1], "{died:?}");
    }

    #[test]
    fn in_a_lull_values_are_followed_by_cuts_and_deaths() {
        let mut followed = 0;
        for seed in 0..200 {
            let faults = from_list(&[SimFault::Lull]);
            let (steps, ends) = (faults.steps(seed, 5, LIMIT), LIMIT + faults.lull(seed));
            assert!(ends >= LIMIT + Duration::from_secs(60));
            assert!(steps.iter().all(|(at, _)| (LIMIT..=ends).contains(at)));
            assert_eq!(steps[0], (LIMIT, Step::Lull));
            followed += steps
                .windows(2)
                .filter(|pair| {
                    let strikes = matches!(
                        pair[1].1,
                        Step::StartSudden { .. } | Step::KillForGood(_) | Step::Disturb(_, NodeFault::Kill)
                    );
                    matches!(pair[0].1, Step::Burst(..)) && strikes && pair[1].0 - pair[0].0 <= SOON_MAX
                })
                .count();
        }
        assert!(followed > 100, "{followed}");
    }

    #[test]
    fn nothing_strikes_in_an_aftermath_and_a_lull_follows_it() {
        let both = from_list(&[SimFault::Loss, SimFault::Lull, SimFault::Aftermath]);
        for seed in 0..50 {
            let after = both.aftermath(seed);
            assert!((16..66).contains(&after.as_secs()));
            let steps = both.steps(seed, 5, LIMIT);
            assert!(steps.iter().all(|(at, _)| *at <= LIMIT || *at >= LIMIT + after), "seed {seed}");
            assert!(steps.contains(&(LIMIT + after, Step::Lull)));
            assert_eq!(from_list(&[SimFault::Loss]).aftermath(seed), Duration::ZERO);
        }
    }

    #[test]
    fn clients_return_in_a_lull_and_fall_silent_again() {
        let both = from_list(&[SimFault::Lull, SimFault::Return]);
        for seed in 0..50 {
            let steps = both.steps(seed, 5, LIMIT);
            let clients = steps.iter().filter(|(_, step)| matches!(step, Step::Lull | Step::Return));
            let [(silent, Step::Lull), (again, Step::Return), (at_last, Step::Lull)] =
                clients.collect::<Vec<_>>()[..]
            else {
                panic!("seed {seed}: {steps:?}");
            };
            assert!(*silent == LIMIT && silent <= again && again < at_last);
            assert!(*at_last <= LIMIT + both.lull(seed) && *at_last - *again <= Duration::from_secs(66));
            assert_eq!(from_list(&[SimFault::Return]).steps(seed, 5, LIMIT), [], "there is no lull");
        }
    }

    #[test]
    fn a_killed_node_is_started_again_by_the_limit_and_before_it_is_killed_anew() {
        let mut killed = 0;
        for seed in 0..100 {
            let mut dead = [false; 7];
            for (at, step) in from_list(&[SimFault::Kill]).steps(seed, 7, LIMIT) {
                assert!(at <= LIMIT);
                match step {
                    Step::Disturb(node, NodeFault::Kill) => {
                        assert!(!std::mem::replace(&mut dead[node], true));
                    }
                    Step::Disturb(node, NodeFault::Restart) => {
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
            let steps = SimFaults::Drawn.steps(seed, 1, LIMIT);
            assert!(
                steps.iter().all(|(_, step)| !matches!(step, Step::StartOneWay(cuts) if !cuts.is_empty()))
            );
        }
    }
}
