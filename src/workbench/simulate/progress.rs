//! How far values have spread, and how far they should have.
//!
//! A *stretch* begins with each change of the network and with each value that a client says, and ends with the next one.
//! Once it has lasted as long as healing may take, every node must hold every value of the nodes that it can reach, unless
//! the weather is bad, clocks are wrong, or nodes are slow, stopped or about to be started again.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use foldhash::fast::FixedState;

use super::reach::Reach;
use super::required::{After, Required};
use crate::node::Time;
use crate::protocol::Value;
use crate::workbench::nemesis::{Step, Trouble};

/// Which values have spread how far.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) reach: Reach,
    required: Required,
    /// What lasts and may end, and since when.
    in_force: BTreeMap<(u8, usize), (Time, Step)>,
    /// When something that had lasted for long last ended.
    long_ended: Option<Time>,
    restarted: bool,
    /// When the stretch began.
    pub(super) since: Time,
    /// What each node holds: how many values, and the sum of their hashes.
    held: Vec<(usize, u64)>,
    /// Whether nodes that can reach each other hold the same.
    is_complete: bool,
    /// The time of healing that came nearest to what it may take, of stretches in which every node could be reached.
    worst: Option<Healing>,
}

/// How long it took until every node held everything, and how long it may take.
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

impl Progress {
    pub(super) fn new(nodes: usize, reach: Reach, required: Required) -> Self {
        Self {
            reach,
            required,
            in_force: BTreeMap::new(),
            long_ended: None,
            restarted: false,
            since: Time::ZERO,
            held: vec![(0, 0); nodes],
            is_complete: true,
            worst: None,
        }
    }

    /// The nemesis has done something: a new stretch begins.
    pub(super) fn struck(&mut self, now: Time, step: &Step) {
        self.since = now;
        self.restarted |= matches!(step, Step::Disturb(_, Trouble::Restart));
        if let Some((since, _)) = self.in_force.remove(&step.subject())
            && Required::is_long(now.since(since))
        {
            self.long_ended = Some(now);
        }
        if step.lasts() && step.ended().is_some() {
            self.in_force.insert(step.subject(), (now, step.clone()));
        }
        if self.reach.strike(step) {
            self.compare(now);
        }
    }

    /// A client says something, or a value comes back that had died: a new stretch begins.
    pub(super) fn said(&mut self, now: Time) {
        self.since = now;
    }

    /// A node holds one value more.
    pub(super) fn learnt(&mut self, now: Time, node: usize, value: Value) {
        let mut hasher = FixedState::default().build_hasher();
        hasher.write_i64(value);
        let (count, sum) = &mut self.held[node];
        (*count, *sum) = (*count + 1, sum.wrapping_add(hasher.finish()));
        self.compare(now);
    }

    /// A node holds nothing any more.
    pub(super) fn forgot(&mut self, node: usize) {
        self.held[node] = (0, 0);
    }

    fn compare(&mut self, now: Time) {
        let held = &self.held;
        let alike = |part: &Vec<usize>| part.iter().all(|&node| held[node] == held[part[0]]);
        let is_complete = self.reach.parts().iter().all(alike);
        if is_complete && !self.is_complete && self.is_calm() && self.reach.is_whole() {
            let healing = self.healing(now);
            if self.worst.is_none_or(|worst| worst.percent() < healing.percent()) {
                self.worst = Some(healing);
            }
        }
        self.is_complete = is_complete;
    }

    /// Whether nodes that can reach each other hold the same.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Nothing is in force in which nothing can be required. Cuts and deaths are not of that kind.
    fn is_calm(&self) -> bool {
        self.in_force.values().all(|(_, step)| {
            matches!(step, Step::StartPartition(..) | Step::StartOneWay(_) | Step::StartSudden { .. })
        })
    }

    fn after(&self) -> After {
        let long = self.long_ended.is_some_and(|ended| self.since.since(ended) <= self.required.long_ago());
        After { long, restart: self.restarted }
    }

    /// How long it has taken since the stretch began, and how long it may take.
    pub(super) fn healing(&self, now: Time) -> Healing {
        Healing { took: now.since(self.since), bound: self.required.healing(&self.reach, self.after()) }
    }

    /// How long it has taken, if that is too long.
    pub(super) fn late(&self, now: Time) -> Option<Healing> {
        let healing = (!self.is_complete && self.is_calm()).then(|| self.healing(now))?;
        (healing.took > healing.bound).then_some(healing)
    }

    /// The last time at which something may be sent, if the last node learnt something then.
    pub(super) fn silent_from(&self, last_learnt: Time) -> Time {
        self.since.max(last_learnt) + self.required.silence(self.after())
    }

    /// The worst of the times of healing, of stretches in which every node could be reached.
    pub(super) fn worst(&self) -> Option<Healing> {
        self.worst
    }
}

#[cfg(test)]
mod tests {
    use super::super::designs::Designs;
    use super::super::reach::Paths;
    use super::*;
    use crate::config::Config;
    use crate::workbench::scenario::{Scenario, WorkloadKind};

    fn secs(secs: u64) -> Time {
        Time::ZERO + Duration::from_secs(secs)
    }

    fn progress() -> Progress {
        let scenario = Scenario { node_count: 2, latency: 0.0, ..Scenario::new(WorkloadKind::Broadcast) };
        let required = Required::of(&scenario, Designs::LockFree, &Config::default(), &[]);
        Progress::new(2, Reach::new(2, Paths::Any), required)
    }

    fn cut() -> Step {
        Step::StartSudden { cuts: vec![(0, 1)], for_good: false }
    }

    #[test]
    fn a_value_must_have_spread_within_the_bound_and_the_time_counts_from_the_last_change() {
        let mut progress = progress();
        progress.said(secs(10));
        progress.learnt(secs(10), 0, 7);
        assert!(
            !progress.is_complete() && progress.late(secs(14)).is_none() && progress.late(secs(15)).is_some()
        );
        progress.struck(secs(13), &Step::Lose(0.5));
        assert!(progress.late(secs(30)).is_none(), "nothing can be required in bad weather");
        progress.struck(secs(20), &Step::Lose(0.0));
        assert!(progress.late(secs(24)).is_none() && progress.late(secs(25)).is_some());
        progress.learnt(secs(22), 1, 7);
        assert!(progress.is_complete() && progress.late(secs(99)).is_none());
        let worst = progress.worst().expect("a stretch has ended well");
        assert_eq!((worst.took, worst.bound), (Duration::from_secs(2), Duration::from_secs(4)));
    }

    #[test]
    fn nodes_that_are_cut_off_from_each_other_owe_each_other_nothing_until_the_cut_is_healed() {
        let mut progress = progress();
        progress.struck(secs(10), &cut());
        progress.said(secs(11));
        progress.learnt(secs(11), 0, 7);
        assert!(progress.is_complete());
        progress.struck(secs(20), &Step::StopSudden);
        assert!(!progress.is_complete() && progress.late(secs(25)).is_some());
        progress.struck(secs(30), &cut());
        progress.struck(secs(91), &Step::StopSudden);
        assert!(progress.late(secs(91 + 12)).is_none(), "it had lasted for more than a minute");
        assert!(progress.late(secs(91 + 13)).is_some());
    }

    #[test]
    fn a_node_that_was_killed_owes_nothing_until_it_is_started_again() {
        let mut progress = progress();
        progress.said(secs(1));
        progress.learnt(secs(1), 0, 7);
        progress.struck(secs(2), &Step::Disturb(1, Trouble::Kill));
        progress.forgot(1);
        assert!(progress.is_complete());
        progress.struck(secs(3), &Step::Disturb(1, Trouble::Restart));
        assert!(progress.late(secs(7)).is_none() && progress.late(secs(8)).is_some(), "4.8 s");
    }
}
