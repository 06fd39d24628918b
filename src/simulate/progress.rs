//! How far values have spread, and how far they should have.
//!
//! A value begins to spread among nodes that can reach each other when the first of them comes to hold it, and anew with
//! each change of the network. Once that is as long ago as healing may take, all of them must hold it, whatever else clients
//! say meanwhile, unless links have faults, clocks are wrong, or nodes are slow, stopped or about to be started again.
//!
//! A *stretch* begins with each change of the network and with each value that a client says, and ends with the next one.

use std::collections::BTreeMap;
use std::time::Duration;

use super::reach::Reach;
use super::required::{After, Required};
use super::spread::{Spread, Values};
use crate::cluster::nemesis::{NodeFault, Step};
use crate::node::Time;
use crate::protocol::Value;

/// Which values have spread how far.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) reach: Reach,
    required: Required,
    spread: Spread,
    /// What lasts and may end, and since when.
    in_force: BTreeMap<(u8, usize), (Time, Step)>,
    /// When something that had lasted for long last ended.
    long_ended: Option<Time>,
    restarted: bool,
    /// When the network last changed.
    changed: Time,
    /// When the stretch began.
    pub(super) since: Time,
    /// The time of healing that came nearest to what it may take, of values that spread while every node could be reached.
    worst: Option<Healing>,
}

/// How long it took until every node held everything, or one value, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Healing {
    pub(super) took: Duration,
    pub(super) bound: Duration,
}

impl Healing {
    pub(super) fn percent(self) -> f64 {
        100.0 * self.took.as_secs_f64() / self.bound.as_secs_f64()
    }
}

/// A value that should have spread.
#[derive(Debug)]
pub(super) struct Late<'a> {
    pub(super) value: Value,
    /// The nodes that should all hold it.
    pub(super) part: &'a [usize],
    pub(super) healing: Healing,
}

impl Progress {
    pub(super) fn new(nodes: usize, reach: Reach, required: Required) -> Self {
        Self {
            spread: Spread::new(reach.parts(), nodes),
            reach,
            required,
            in_force: BTreeMap::new(),
            long_ended: None,
            restarted: false,
            changed: Time::ZERO,
            since: Time::ZERO,
            worst: None,
        }
    }

    /// The nemesis has done something, where each node holds what it was `told`.
    pub(super) fn struck(&mut self, now: Time, step: &Step, told: &[Values]) {
        self.since = now;
        if !matches!(step, Step::Burst(..) | Step::Lull | Step::Return | Step::TalkTo(_)) {
            self.changed = now;
        }
        self.restarted |= matches!(step, Step::Disturb(_, NodeFault::Restart));
        if let Some((since, _)) = self.in_force.remove(&step.subject())
            && Required::is_long(now.since(since))
        {
            self.long_ended = Some(now);
        }
        if step.lasts() && step.ended().is_some() {
            self.in_force.insert(step.subject(), (now, step.clone()));
        }
        if self.reach.strike(step) {
            self.spread.regroup(self.reach.parts(), told, now);
        }
    }

    /// A client says something, or a value comes back that had died: a new stretch begins.
    pub(super) fn said(&mut self, now: Time) {
        self.since = now;
    }

    /// A node holds one value more.
    pub(super) fn learnt(&mut self, now: Time, node: usize, value: Value) {
        let spread = self.spread.learnt(now, node, value);
        let Some(since) = spread.filter(|_| self.is_calm() && self.reach.is_whole()) else { return };
        let healing = self.healing(since.max(self.changed), now);
        if self.worst.is_none_or(|worst| worst.percent() < healing.percent()) {
            self.worst = Some(healing);
        }
    }

    /// Whether nodes that can reach each other hold the same.
    pub(super) fn is_complete(&self) -> bool {
        self.spread.oldest().is_none()
    }

    /// Nothing is in force in which nothing can be required. Cuts and deaths are not of that kind.
    fn is_calm(&self) -> bool {
        self.in_force.values().all(|(_, step)| {
            matches!(step, Step::StartPartition(..) | Step::StartOneWay(_) | Step::StartSudden { .. })
        })
    }

    /// What had come before that time.
    fn after(&self, since: Time) -> After {
        let long = self.long_ended.is_some_and(|ended| since.since(ended) <= self.required.long_ago());
        After { long, restart: self.restarted }
    }

    fn healing(&self, since: Time, now: Time) -> Healing {
        Healing { took: now.since(since), bound: self.required.healing(&self.reach, self.after(since)) }
    }

    /// How long it has taken since the stretch began, and how long it may take.
    pub(super) fn healing_of_stretch(&self, now: Time) -> Healing {
        self.healing(self.since, now)
    }

    /// The value that has been spreading for longest, if that is too long.
    pub(super) fn late(&self, now: Time) -> Option<Late<'_>> {
        let (since, value, part) = self.spread.oldest().filter(|_| self.is_calm())?;
        let healing = self.healing(since.max(self.changed), now);
        (healing.took > healing.bound).then_some(Late { value, part, healing })
    }

    /// The last time at which something may be sent, if the last node learnt something then.
    pub(super) fn silent_from(&self, last_learnt: Time) -> Time {
        self.since.max(last_learnt) + self.required.silence(self.after(self.since))
    }

    /// The worst of the times of healing, of values that spread while every node could be reached.
    pub(super) fn worst(&self) -> Option<Healing> {
        self.worst
    }
}

#[cfg(test)]
mod tests {
    use super::super::designs::Designs;
    use super::super::reach::Paths;
    use super::*;
    use crate::cluster::scenario::Scenario;
    use crate::config::Config;
    use crate::workload::broadcast;

    fn secs(secs: u64) -> Time {
        Time::ZERO + Duration::from_secs(secs)
    }

    fn progress() -> Progress {
        let scenario = Scenario { node_count: 2, latency: 0.0, ..Scenario::new(broadcast::KIND) };
        let required = Required::of(&scenario, Designs::LockFree, &Config::default(), &[]);
        Progress::new(2, Reach::new(2, Paths::Any), required)
    }

    fn cut() -> Step {
        Step::StartSudden { cuts: vec![(0, 1)], for_good: false }
    }

    /// The first node is told a value.
    fn told(progress: &mut Progress, now: Time, value: Value) -> [Values; 2] {
        progress.said(now);
        progress.learnt(now, 0, value);
        [Values::from_iter([value]), Values::default()]
    }

    #[test]
    fn a_value_must_have_spread_within_the_bound_and_the_time_counts_from_the_last_change() {
        let mut progress = progress();
        let held = told(&mut progress, secs(10), 7);
        assert!(
            !progress.is_complete() && progress.late(secs(14)).is_none() && progress.late(secs(15)).is_some()
        );
        progress.struck(secs(13), &Step::Lose(0.5), &held);
        assert!(progress.late(secs(30)).is_none(), "nothing can be required while links have faults");
        progress.struck(secs(20), &Step::Lose(0.0), &held);
        assert!(progress.late(secs(24)).is_none() && progress.late(secs(25)).is_some());
        progress.learnt(secs(22), 1, 7);
        assert!(progress.is_complete() && progress.late(secs(99)).is_none());
        let worst = progress.worst().expect("a value has spread");
        assert_eq!((worst.took, worst.bound), (Duration::from_secs(2), Duration::from_secs(4)));
    }

    #[test]
    fn a_value_is_late_whatever_else_clients_say_and_others_that_are_not_may_take_their_time() {
        let mut progress = progress();
        told(&mut progress, secs(10), 7);
        let held = told(&mut progress, secs(13), 8);
        progress.struck(secs(13), &Step::Burst(0, 1), &held);
        let late = progress.late(secs(15)).expect("7 is late");
        assert_eq!((late.value, late.part, late.healing.took), (7, &[0, 1][..], Duration::from_secs(5)));
        progress.learnt(secs(15), 1, 7);
        assert!(progress.late(secs(17)).is_none() && progress.late(secs(18)).is_some());
    }

    #[test]
    fn nodes_that_are_cut_off_from_each_other_owe_each_other_nothing_until_the_cut_is_healed() {
        let mut progress = progress();
        progress.struck(secs(10), &cut(), &[Values::default(), Values::default()]);
        let held = told(&mut progress, secs(11), 7);
        assert!(progress.is_complete());
        progress.struck(secs(20), &Step::StopSudden, &held);
        assert!(!progress.is_complete() && progress.late(secs(25)).is_some());
        progress.struck(secs(30), &cut(), &held);
        progress.struck(secs(91), &Step::StopSudden, &held);
        assert!(progress.late(secs(91 + 12)).is_none(), "it had lasted for more than a minute");
        assert!(progress.late(secs(91 + 13)).is_some());
    }

    #[test]
    fn a_node_that_was_killed_owes_nothing_until_it_is_started_again() {
        let mut progress = progress();
        let held = told(&mut progress, secs(1), 7);
        progress.struck(secs(2), &Step::Disturb(1, NodeFault::Kill), &held);
        assert!(progress.is_complete());
        progress.struck(secs(3), &Step::Disturb(1, NodeFault::Restart), &held);
        assert!(progress.late(secs(7)).is_none() && progress.late(secs(8)).is_some(), "4.8 s");
    }
}
