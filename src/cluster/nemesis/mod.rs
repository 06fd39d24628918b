//! The nemesis: when which faults start and end.

mod step;
mod targets;

use std::fmt;
use std::time::Duration;

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;

pub use self::step::{NodeFault, Step, TRUE_PPM};
pub use self::targets::{BUSIEST, PartitionKind, Targets};
use crate::node::Time;

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

    /// Maelstrom's: alternates between a fault of [some nodes](Targets) and its end until the time limit.
    /// The gaps are as those of [partitions](Nemesis::partitions), but there is one before the first step, so
    /// that kinds do not strike together.
    #[must_use]
    pub fn node_faults(
        fault: NodeFault,
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
            in_force = struck.into_iter().map(|node| Step::Disturb(node, fault)).collect();
            in_force.clone()
        }))
    }

    /// Alternates between something that befalls links, drawn anew each time, and its end until the time limit. The gaps are
    /// as those of [faults of nodes](Nemesis::node_faults).
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
    use std::collections::BTreeSet;

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
    fn each_kind_of_fault_alternates_on_its_own_schedule_with_partitions_unchanged() {
        let (interval, limit) = (Duration::from_secs(10), Duration::from_secs(2000));
        let rng = |seed| Pcg64::seed_from_u64(seed);
        let partitions = || Nemesis::partitions(5, interval, limit, rng(1));
        let kills =
            || Nemesis::node_faults(NodeFault::Kill, Targets::ALL.to_vec(), 5, (interval, limit), rng(2));
        let pauses =
            || Nemesis::node_faults(NodeFault::Pause, Targets::ALL.to_vec(), 5, (interval, limit), rng(3));
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
