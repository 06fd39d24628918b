//! The nemesis: when which faults start and end.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;
use serde::Serialize;

use crate::cluster::network::Extra;
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

/// Which nodes a kind of trouble befalls at once.
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

/// What the nemesis does next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Cut these pairs (receiver, source) off, in place of an earlier partition.
    StartPartition(PartitionKind, Vec<(usize, usize)>),
    /// Heal the network.
    StopPartition,
    /// Let no message pass from the second to the first of each pair, whatever passes the other way.
    StartOneWay(Vec<(usize, usize)>),
    /// Let them pass again.
    StopOneWay,
    /// Lose this part of the messages between nodes.
    Lose(f64),
    /// Deliver this part of them twice.
    Duplicate(f64),
    /// Delay some of them, so that others overtake them.
    Reorder(Option<Extra>),
    /// Delay them by anything.
    Delay(Option<Extra>),
    /// Damage this part of the lines in which they are delivered.
    Corrupt(f64),
    /// Do something to a node.
    Disturb(usize, NodeFault),
    /// Broadcast so many values at once, all to this node.
    Burst(usize, usize),
    /// Cut these pairs (receiver, source) off until the end of the run, in place of those cut off so before.
    CutForGood(Vec<(usize, usize)>),
    /// Let no message pass from the second to the first of each pair, in place of those cut off so before. Apart from the
    /// other kinds of cuts: they come just after a value, and those of the other kinds whenever they come.
    StartSudden {
        /// The pairs (receiver, source).
        cuts: Vec<(usize, usize)>,
        /// Whether they last until the end of the run.
        for_good: bool,
    },
    /// Let them pass again.
    StopSudden,
    /// End a node's process as [`NodeFault::Kill`] does. It is never started again.
    KillForGood(usize),
    /// Let clients say nothing more until the run ends, but for [bursts](Step::Burst).
    Lull,
    /// Let clients go on.
    Return,
    /// Have all clients talk to these nodes until the run ends, but for bursts.
    TalkTo(Vec<usize>),
    /// Let what goes over these links take so many times the latency, until the run ends.
    Stretch {
        /// The pairs (receiver, source).
        links: Vec<(usize, usize)>,
        /// What the latency is multiplied by.
        factor: f64,
    },
}

/// What may befall a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeFault {
    /// It does nothing and loses nothing, as if stopped by SIGSTOP.
    Pause,
    /// It goes on.
    Resume,
    /// Its process ends at once, as if by SIGKILL: it loses all that it knew, and what is sent to it vanishes.
    Kill,
    /// It is started again: a new process, which knows nothing. Its clock and its speed are the machine's, and
    /// stay as they are.
    Restart,
    /// Its clock jumps ahead, and then runs at this many millionths of the true speed.
    Clock {
        /// How far it jumps.
        jump: Duration,
        /// A million is true.
        ppm: u32,
    },
    /// It takes so long over each message.
    Slow(Duration),
}

impl NodeFault {
    /// The clock runs true again, from what it shows by now.
    pub const RIGHT_CLOCK: NodeFault = NodeFault::Clock { jump: Duration::ZERO, ppm: TRUE_PPM };
}

impl Step {
    /// What it is about: a later step about the same takes its place.
    #[must_use]
    pub fn subject(&self) -> (u8, usize) {
        match self {
            Step::StartPartition(..) | Step::StopPartition => (0, 0),
            Step::StartOneWay(_) | Step::StopOneWay => (1, 0),
            Step::Lose(_) => (2, 0),
            Step::Duplicate(_) => (3, 0),
            Step::Reorder(_) => (4, 0),
            Step::Delay(_) => (5, 0),
            Step::Disturb(node, NodeFault::Pause | NodeFault::Resume) => (6, *node),
            Step::Disturb(node, NodeFault::Clock { .. }) => (7, *node),
            Step::Disturb(node, NodeFault::Slow(_)) => (8, *node),
            Step::Burst(node, _) => (9, *node),
            Step::Disturb(node, NodeFault::Kill | NodeFault::Restart) => (10, *node),
            Step::CutForGood(_) => (11, 0),
            Step::StartSudden { .. } | Step::StopSudden => (12, 0),
            Step::KillForGood(node) => (13, *node),
            Step::Lull | Step::Return => (14, 0),
            Step::TalkTo(_) => (15, 0),
            Step::Stretch { .. } => (16, 0),
            Step::Corrupt(_) => (17, 0),
        }
    }

    /// Whether it makes something bad and lasting, rather than good again, or bad for a moment.
    #[must_use]
    pub fn lasts(&self) -> bool {
        match self {
            Step::StartPartition(..)
            | Step::StartOneWay(_)
            | Step::CutForGood(_)
            | Step::StartSudden { .. }
            | Step::KillForGood(_)
            | Step::Disturb(_, NodeFault::Pause | NodeFault::Kill) => true,
            Step::Lose(part) | Step::Duplicate(part) | Step::Corrupt(part) => *part > 0.0,
            Step::Reorder(extra) | Step::Delay(extra) => extra.is_some(),
            Step::Disturb(_, NodeFault::Clock { ppm, .. }) => *ppm != TRUE_PPM,
            Step::Disturb(_, NodeFault::Slow(time)) => !time.is_zero(),
            Step::StopPartition
            | Step::StopOneWay
            | Step::StopSudden
            | Step::Disturb(_, NodeFault::Resume | NodeFault::Restart)
            | Step::Burst(..)
            | Step::Lull
            | Step::Return
            | Step::TalkTo(_)
            | Step::Stretch { .. } => false,
        }
    }

    /// The step that makes good what this one began; none if nothing need, or nothing does.
    #[must_use]
    pub fn ended(&self) -> Option<Step> {
        let disturb = |node: usize, trouble| Step::Disturb(node, trouble);
        Some(match *self {
            Step::StartPartition(..) => Step::StopPartition,
            Step::StartOneWay(_) => Step::StopOneWay,
            Step::StartSudden { for_good: false, .. } => Step::StopSudden,
            Step::Lose(_) => Step::Lose(0.0),
            Step::Duplicate(_) => Step::Duplicate(0.0),
            Step::Corrupt(_) => Step::Corrupt(0.0),
            Step::Reorder(_) => Step::Reorder(None),
            Step::Delay(_) => Step::Delay(None),
            Step::Disturb(node, NodeFault::Pause) => disturb(node, NodeFault::Resume),
            Step::Disturb(node, NodeFault::Kill) => disturb(node, NodeFault::Restart),
            Step::Disturb(node, NodeFault::Clock { .. }) => disturb(node, NodeFault::RIGHT_CLOCK),
            Step::Disturb(node, NodeFault::Slow(_)) => disturb(node, NodeFault::Slow(Duration::ZERO)),
            Step::StopPartition
            | Step::StopOneWay
            | Step::StopSudden
            | Step::Disturb(_, NodeFault::Resume | NodeFault::Restart)
            | Step::Burst(..)
            | Step::CutForGood(_)
            | Step::StartSudden { for_good: true, .. }
            | Step::KillForGood(_)
            | Step::Lull
            | Step::Return
            | Step::TalkTo(_)
            | Step::Stretch { .. } => return None,
        })
    }
}

impl fmt::Display for Step {
    /// In words, with nodes that are called n0, n1, ….
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.in_words(|node| format!("n{node}")))
    }
}

impl Step {
    /// In words, with the names of the nodes.
    #[must_use]
    pub fn in_words(&self, name: impl Fn(usize) -> String) -> String {
        let percent = |part: f64| format!("{:.1} % of messages", 100.0 * part);
        match self {
            Step::StartPartition(kind, _) => format!("partition: {}", kind.name()),
            Step::StopPartition => "the partition is healed".to_owned(),
            Step::StartOneWay(cuts) => format!("links cut one way: {}", cuts.len()),
            Step::StopOneWay => "links work both ways again".to_owned(),
            Step::Lose(0.0) => "messages are no longer lost".to_owned(),
            Step::Lose(part) => format!("{} are lost", percent(*part)),
            Step::Duplicate(0.0) => "messages are no longer doubled".to_owned(),
            Step::Duplicate(part) => format!("{} are doubled", percent(*part)),
            Step::Corrupt(0.0) => "messages are no longer damaged".to_owned(),
            Step::Corrupt(part) => format!("{} are damaged", percent(*part)),
            Step::Reorder(None) => "messages are no longer reordered".to_owned(),
            Step::Reorder(Some(extra)) => {
                format!("{} are overtaken, up to {} ms late", percent(extra.share), extra.longest_ms)
            }
            Step::Delay(None) => "messages are no longer delayed".to_owned(),
            Step::Delay(Some(extra)) => {
                format!("{} are delayed by up to {} ms", percent(extra.share), extra.longest_ms)
            }
            Step::Disturb(node, NodeFault::Pause) => format!("{} pauses", name(*node)),
            Step::Disturb(node, NodeFault::Resume) => format!("{} goes on", name(*node)),
            Step::Disturb(node, NodeFault::Kill) => format!("{} is killed", name(*node)),
            Step::Disturb(node, NodeFault::Restart) => format!("{} is started again", name(*node)),
            Step::Disturb(node, NodeFault::Clock { ppm: TRUE_PPM, .. }) => {
                format!("{}'s clock runs true again", name(*node))
            }
            Step::Disturb(node, NodeFault::Clock { jump, ppm }) => {
                let speed = f64::from(*ppm) / f64::from(TRUE_PPM);
                format!(
                    "{}'s clock jumps by {} ms and runs at {speed:.3} of the true speed",
                    name(*node),
                    jump.as_millis()
                )
            }
            Step::Disturb(node, NodeFault::Slow(Duration::ZERO)) => {
                format!("{} is no longer slow", name(*node))
            }
            Step::Disturb(node, NodeFault::Slow(time)) => {
                format!("{} takes {time:?} over each message", name(*node))
            }
            Step::Burst(node, count) => format!("{count} values are broadcast to {} at once", name(*node)),
            Step::CutForGood(cuts) => format!("links cut for good: {}", cuts.len() / 2),
            Step::StartSudden { cuts, for_good } => {
                let pairs: Vec<String> = cuts
                    .iter()
                    .take(8)
                    .map(|&(to, from)| format!("{} to {}", name(from), name(to)))
                    .collect();
                let more = if cuts.len() > pairs.len() { ", …" } else { "" };
                let how_long = if *for_good { " for good" } else { "" };
                format!("suddenly cut{how_long}: {}{more}", pairs.join(", "))
            }
            Step::StopSudden => "the sudden cut is healed".to_owned(),
            Step::KillForGood(node) => format!("{} is killed for good", name(*node)),
            Step::Lull => "clients fall silent".to_owned(),
            Step::Return => "clients go on".to_owned(),
            Step::Stretch { links, factor } => {
                format!("links that take {factor} of the latency: {}", links.len())
            }
            Step::TalkTo(nodes) => {
                let names: Vec<String> = nodes.iter().map(|&node| name(node)).collect();
                format!("clients talk to {} only", names.join(" and "))
            }
        }
    }
}

/// The speed of a clock that runs true, in millionths.
pub const TRUE_PPM: u32 = 1_000_000;

/// Takes its steps in order, each when it is due.
pub struct Nemesis {
    began: Time,
    next: Option<(Duration, Step)>,
    rest: Box<dyn Iterator<Item = (Duration, Step)> + Send>,
}

impl fmt::Debug for Nemesis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nemesis").field("next", &self.next).finish_non_exhaustive()
    }
}

impl Nemesis {
    /// A nemesis that takes these steps, each so long after the beginning, in that order.
    #[must_use]
    pub fn new(steps: impl Iterator<Item = (Duration, Step)> + Send + 'static) -> Self {
        let mut rest: Box<dyn Iterator<Item = _> + Send> = Box::new(steps);
        Self { began: Time::ZERO, next: rest.next(), rest }
    }

    /// Maelstrom's: alternates between starting and stopping a partition until the time limit. The first starts
    /// at once; the gaps between steps are uniform between zero and twice the interval.
    #[must_use]
    pub fn partitions(nodes: usize, interval: Duration, time_limit: Duration, rng: Pcg64) -> Self {
        Self::partitions_of(PartitionKind::ALL.to_vec(), nodes, (interval, time_limit), rng)
    }

    /// The same of these kinds, those of them that cut anything of so many nodes.
    #[must_use]
    pub fn partitions_of(
        mut kinds: Vec<PartitionKind>,
        nodes: usize,
        (interval, time_limit): (Duration, Duration),
        rng: Pcg64,
    ) -> Self {
        if kinds.iter().any(|kind| kind.cuts_any(nodes)) {
            kinds.retain(|kind| kind.cuts_any(nodes));
        }
        let mut in_force = false;
        Self::new(staggered(Duration::ZERO, interval, time_limit, rng, move |rng| {
            in_force = !in_force;
            if !in_force {
                return vec![Step::StopPartition];
            }
            let kind = kinds[rng.random_range(0..kinds.len())];
            vec![Step::StartPartition(kind, kind.cuts(nodes, rng))]
        }))
    }

    /// Maelstrom's: alternates between some trouble for [some nodes](Targets) and its end until the time limit.
    /// The gaps are as those of [partitions](Nemesis::partitions), but there is one before the first step, so
    /// that kinds do not strike together.
    #[must_use]
    pub fn troubles(
        trouble: NodeFault,
        targets: Vec<Targets>,
        nodes: usize,
        (interval, time_limit): (Duration, Duration),
        mut rng: Pcg64,
    ) -> Self {
        let mut in_force: Vec<Step> = Vec::new();
        let first = gap(interval, &mut rng);
        Self::new(staggered(first, interval, time_limit, rng, move |rng| {
            let over = std::mem::take(&mut in_force);
            if !over.is_empty() {
                return over.iter().filter_map(Step::ended).collect();
            }
            let struck = targets[rng.random_range(0..targets.len())].draw(nodes, rng);
            in_force = struck.into_iter().map(|node| Step::Disturb(node, trouble)).collect();
            in_force.clone()
        }))
    }

    /// Alternates between something that befalls links, drawn anew each time, and its end until the time limit. The gaps are
    /// as those of [troubles](Nemesis::troubles).
    #[must_use]
    pub fn spells(
        begin: impl Fn(&mut Pcg64) -> Step + Send + 'static,
        (interval, time_limit): (Duration, Duration),
        mut rng: Pcg64,
    ) -> Self {
        let mut in_force: Option<Step> = None;
        let first = gap(interval, &mut rng);
        Self::new(staggered(first, interval, time_limit, rng, move |rng| {
            if let Some(over) = in_force.take().as_ref().and_then(Step::ended) {
                return vec![over];
            }
            let step = begin(rng);
            in_force = Some(step.clone());
            vec![step]
        }))
    }

    /// Kills one node after the other for good, as long as a majority is left.
    #[must_use]
    pub fn kills_for_good(
        nodes: usize,
        (interval, time_limit): (Duration, Duration),
        mut rng: Pcg64,
    ) -> Self {
        let mut order: Vec<usize> = (0..nodes).collect();
        order.shuffle(&mut rng);
        order.truncate(nodes.saturating_sub(1) / 2);
        let first = gap(interval, &mut rng);
        Self::new(staggered(first, interval, time_limit, rng, move |_| {
            order.pop().map(Step::KillForGood).into_iter().collect()
        }))
    }

    /// A nemesis that does what several do, each at its own times.
    #[must_use]
    pub fn together(mut parts: Vec<Nemesis>) -> Self {
        Self::new(std::iter::from_fn(move || {
            let next = parts.iter_mut().filter(|part| part.next.is_some());
            next.min_by_key(|part| part.next.as_ref().map(|(after, _)| *after))?.take()
        }))
    }

    /// Time counts from now on.
    pub fn begin(&mut self, now: Time) {
        self.began = now;
    }

    /// When the next step is due, if there is one.
    #[must_use]
    pub fn next_step(&self) -> Option<Time> {
        self.next.as_ref().map(|(after, _)| self.began + *after)
    }

    /// Takes the next step, if it is due.
    pub fn step(&mut self, now: Time) -> Option<Step> {
        let due = self.next_step()? <= now;
        let (_, step) = due.then(|| self.take())??;
        Some(step)
    }

    fn take(&mut self) -> Option<(Duration, Step)> {
        std::mem::replace(&mut self.next, self.rest.next())
    }
}

/// The time between two steps of a kind.
fn gap(interval: Duration, rng: &mut Pcg64) -> Duration {
    interval.mul_f64(2.0 * rng.random::<f64>())
}

/// What `act` wants, again and again until the time limit, from `first` on.
fn staggered(
    first: Duration,
    interval: Duration,
    time_limit: Duration,
    mut rng: Pcg64,
    mut act: impl FnMut(&mut Pcg64) -> Vec<Step> + Send + 'static,
) -> impl Iterator<Item = (Duration, Step)> + Send + 'static {
    let mut next = first;
    let rounds = std::iter::from_fn(move || {
        let at = next;
        next = next.saturating_add(gap(interval, &mut rng));
        let steps = act(&mut rng);
        (at < time_limit).then_some((at, steps))
    });
    rounds.flat_map(|(at, steps)| steps.into_iter().map(move |step| (at, step)))
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
    fn two_nodes_are_always_cut() {
        let times = (Duration::from_secs(1), Duration::from_secs(100));
        for seed in 0..5 {
            let kinds = PartitionKind::ALL.to_vec();
            let mut nemesis = Nemesis::partitions_of(kinds, 2, times, Pcg64::seed_from_u64(seed));
            while let Some((_, step)) = nemesis.take() {
                assert!(!matches!(step, Step::StartPartition(_, cuts) if cuts.is_empty()));
            }
        }
    }

    #[test]
    fn a_majority_is_never_killed_for_good() {
        let times = (Duration::from_secs(1), Duration::from_secs(100));
        for nodes in 1..6 {
            let mut nemesis = Nemesis::kills_for_good(nodes, times, Pcg64::seed_from_u64(1));
            let killed: BTreeSet<usize> = std::iter::from_fn(|| nemesis.take())
                .filter_map(|(_, step)| if let Step::KillForGood(node) = step { Some(node) } else { None })
                .collect();
            assert_eq!(killed.len(), (nodes - 1) / 2);
        }
    }

    #[test]
    fn a_single_node_cannot_be_cut_off_from_anyone() {
        for kind in PartitionKind::ALL {
            assert_eq!(kind.cuts(1, &mut Pcg64::seed_from_u64(3)), []);
        }
    }

    #[test]
    fn steps_alternate_come_as_often_as_they_should_and_end_with_the_limit() {
        let limit = Duration::from_secs(20_000);
        let rng = Pcg64::seed_from_u64(5);
        let mut nemesis = Nemesis::partitions(5, Duration::from_secs(10), limit, rng);
        nemesis.begin(Time::from_nanos(7));
        assert_eq!(nemesis.next_step(), Some(Time::from_nanos(7)));
        let mut kinds = BTreeSet::new();
        let mut steps = 0;
        while let Some(due) = nemesis.next_step() {
            assert!(nemesis.step(Time::from_nanos(due.as_nanos() - 1)).is_none());
            match nemesis.step(due) {
                Some(Step::StartPartition(kind, cuts)) => {
                    assert!(steps % 2 == 0 && !cuts.is_empty());
                    kinds.insert(kind.name());
                }
                Some(Step::StopPartition) => assert_eq!(steps % 2, 1),
                other => panic!("{other:?}"),
            }
            steps += 1;
        }
        assert_eq!(kinds.len(), 4);
        assert!((1900..2100).contains(&steps), "{steps}");
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

    #[test]
    fn each_kind_of_trouble_alternates_on_its_own_schedule_with_partitions_unchanged() {
        let (interval, limit) = (Duration::from_secs(10), Duration::from_secs(2000));
        let rng = |seed| Pcg64::seed_from_u64(seed);
        let partitions = || Nemesis::partitions(5, interval, limit, rng(1));
        let kills =
            || Nemesis::troubles(NodeFault::Kill, Targets::ALL.to_vec(), 5, (interval, limit), rng(2));
        let pauses =
            || Nemesis::troubles(NodeFault::Pause, Targets::ALL.to_vec(), 5, (interval, limit), rng(3));
        let all = |mut nemesis: Nemesis| std::iter::from_fn(move || nemesis.take()).collect::<Vec<_>>();
        let together = all(Nemesis::together(vec![partitions(), kills(), pauses()]));
        assert!(together.is_sorted_by_key(|(after, _)| *after));
        for (alone, kind) in [(partitions(), 0), (kills(), 10), (pauses(), 6)] {
            let alone = all(alone);
            assert!(alone.len() > 100);
            assert_eq!(together.iter().filter(|(_, step)| step.subject().0 == kind).count(), alone.len());
            assert!(alone.iter().all(|step| together.contains(step)));
        }
        let mut dead = BTreeSet::new();
        for (_, step) in all(kills()) {
            match step {
                Step::Disturb(node, NodeFault::Kill) => assert!(dead.insert(node)),
                Step::Disturb(node, NodeFault::Restart) => assert!(dead.remove(&node)),
                other => panic!("{other:?}"),
            }
        }
    }
}
