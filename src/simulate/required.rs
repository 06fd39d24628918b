//! What a cluster must do, in its user's terms: none of it follows from how a node is built inside.
//!
//! | what | how much |
//! | --- | --- |
//! | every node holds every value of the nodes that it can reach | 4 s + 12 one-way delays after the first of them held it or the last change of the network, three times that after something lasted for more than a minute |
//! | … while nodes are dead or links cut | 2 s × nodes × hops more, where a value needs so many hops at most; for more than 50 nodes at least 0.8 s for each ordered pair, where it needs more than one hop |
//! | … after a node was started again | its start grace more |
//! | … with a latency budget of more than a second | twice as much more as the budget is longer than that |
//! | silence, where everybody can be reached | 5 s or, if that is longer, 12 one-way delays after the last value or change, or after the last node learnt something; 15 s where it may take three times as long; with a latency budget of more than a second thrice as much more as the budget is longer than that |
//! | little noise, where not | a message a second of all nodes together with one dead member, four of all that can reach each other where more is wrong, on average over the minute that begins a minute or, if that is longer, 90 one-way delays after |
//!
//! The simple design is no product. It sends each neighbour one batch after the other, along the topology it is given, and
//! tries neighbours that don't answer for ever. What it is allowed beyond that is in [`Required::of`] and nowhere else.

use std::time::Duration;

use super::designs::Designs;
use super::reach::Reach;
use crate::cluster::nemesis::Step;
use crate::cluster::scenario::{LatencyDist, Scenario};
use crate::config::Config;
use crate::simulate::faults::EXTRA_MAX;
use crate::workload::topology::diameter;

/// What healing may take on a network without delays.
const HEALING: Duration = Duration::from_secs(4);
/// How many one-way delays it may take beyond that.
const DELAYS: u32 = 12;
/// Nodes may look less often at what has not changed for so long…
const LONG: Duration = Duration::from_secs(60);
/// …and then everything may take so many times as long.
const AFTER_LONG: u32 = 3;
/// What each node that may have to be asked adds for each hop of a path around what is cut or dead.
const DETOUR: Duration = Duration::from_secs(2);
/// What each ordered pair of nodes adds if there are more nodes than so many, should that be longer.
const PAIR: Duration = Duration::from_millis(800);
const PAIRS_FROM: u32 = 50;
/// What silence may take.
const SILENCE: Duration = Duration::from_secs(5);
/// A longer latency budget than this is time that the user gives: healing may take so many times what is beyond it more, and
/// silence so many.
const PROMPT_BUDGET: Duration = Duration::from_secs(1);
const HEALING_BUDGETS: u32 = 2;
const SILENCE_BUDGETS: u32 = 3;
/// How long a cluster is watched after it should have fallen silent.
const WATCHED: Duration = Duration::from_secs(60);
/// Noise counts from so long after the last value or change…
const NOISE_AFTER: Duration = Duration::from_secs(60);
/// …or, if that is longer, so many one-way delays…
const NOISE_DELAYS: u32 = 90;
/// …for so long.
pub(super) const NOISE_WINDOW: Duration = Duration::from_secs(60);

/// The requirements of one run.
#[derive(Clone, Debug)]
pub(super) struct Required {
    /// The longest delay to reckon with where links have no faults.
    delay_max: Duration,
    nodes: u32,
    start_grace: Duration,
    /// By how much the latency budget is longer than a prompt one.
    budget: Duration,
    /// What the simple design may take beyond what is asked of the product.
    allowance: Duration,
    /// The most messages that a node of the simple design sends in the noise window to another that doesn't answer. One that
    /// was started again takes all others for its neighbours.
    repeats: usize,
    /// How much longer than without faults messages may be under way when faults end.
    late: Duration,
}

impl Required {
    /// What is required of a cluster of these designs under these faults.
    pub(super) fn of(
        scenario: &Scenario,
        designs: Designs,
        config: &Config,
        steps: &[(Duration, Step)],
    ) -> Self {
        let late = steps.iter().any(|(_, step)| {
            let delays = matches!(step, Step::Delay(Some(_)) | Step::Reorder(Some(_)));
            delays || matches!(step, Step::Duplicate(part) if *part > 0.0)
        });
        let mut required = Self {
            delay_max: delay_max(scenario).mul_f64(farthest(steps)),
            nodes: scenario.node_count,
            start_grace: config.start_grace,
            budget: config.latency_budget.saturating_sub(PROMPT_BUDGET),
            allowance: Duration::ZERO,
            repeats: 0,
            late: if late { EXTRA_MAX } else { Duration::ZERO },
        };
        if designs != Designs::LockFree {
            // The longest wait for a retry, then a flush and a round trip for each hop, for each batch that has piled up
            // (every value there is, at worst), and for two of those that were in flight. Where a queue may overflow,
            // every value may have to be sent anew over each hop.
            let bursts =
                steps.iter().map(|(_, step)| if let Step::Burst(_, count) = step { *count } else { 0 });
            let values = (scenario.rate * scenario.time_limit) as usize + bursts.sum::<usize>();
            let hops = diameter(&scenario.options.topology.neighbours(scenario.nodes()));
            let overflows = if values > config.queue_limit { 2 * hops } else { 1 };
            let batches = values.div_ceil(config.batch_max).saturating_mul(overflows);
            let rounds = u32::try_from(hops.saturating_add(batches).saturating_add(2)).unwrap_or(u32::MAX);
            let round = config.flush_interval + 2 * required.delay_max;
            required.allowance = config.retry.longest().saturating_add(round.saturating_mul(rounds));
            // The shortest interval, once they have grown as long as they do.
            let interval = (config.retry.max - config.retry.max / 4).max(Duration::from_millis(1));
            // Where only the answer is lost, there is one to each.
            required.repeats = 2 * (1 + (NOISE_WINDOW.as_millis() / interval.as_millis()) as usize);
        }
        required
    }

    /// Whether something that lasted so long counts as long.
    pub(super) fn is_long(lasted: Duration) -> bool {
        lasted > LONG
    }

    /// How long something long is remembered after it ended.
    pub(super) fn long_ago(&self) -> Duration {
        AFTER_LONG * self.prompt()
    }

    fn prompt(&self) -> Duration {
        HEALING + DELAYS * self.delay_max + HEALING_BUDGETS * self.budget
    }

    /// How long after the last value or change every node holds every value of the nodes that it can reach.
    pub(super) fn healing(&self, reach: &Reach, after: After) -> Duration {
        let factor = if after.long { AFTER_LONG } else { 1 };
        let grace = if after.restart { self.start_grace } else { Duration::ZERO };
        let hops = if reach.is_whole() { 0 } else { u32::try_from(reach.hops()).unwrap_or(u32::MAX) };
        let by_hops = DETOUR.saturating_mul(self.nodes.saturating_mul(hops));
        // Each pair may be the one that joins two parts, and the noise is limited however many pairs there are.
        let pairs =
            if hops > 1 && self.nodes > PAIRS_FROM { self.nodes.saturating_mul(self.nodes) } else { 0 };
        let detour = by_hops.max(PAIR.saturating_mul(pairs));
        (factor * self.prompt() + grace).saturating_add(detour).saturating_add(self.allowance)
    }

    /// How long after the last value or change, or after a node has learnt something, nothing is sent any more.
    pub(super) fn silence(&self, after: After) -> Duration {
        let factor = if after.long { AFTER_LONG } else { 1 };
        let grace = if after.restart { self.start_grace } else { Duration::ZERO };
        let prompt = SILENCE.max(DELAYS * self.delay_max) + SILENCE_BUDGETS * self.budget;
        (factor * prompt + grace + self.late).saturating_add(self.allowance)
    }

    /// How long a cluster that falls silent has to be watched after the last value or change.
    pub(super) fn watch(&self, healing: Duration) -> Duration {
        let long = After { long: true, restart: true };
        healing.saturating_add(self.silence(long)).saturating_add(WATCHED)
    }

    /// How long after the last value or change, or after a node has learnt something, noise counts.
    pub(super) fn noise_from(&self) -> Duration {
        (NOISE_AFTER.max(NOISE_DELAYS * self.delay_max) + self.late).saturating_add(self.allowance)
    }

    /// The most messages that all nodes together may send within the window.
    pub(super) fn noise_max(&self, reach: &Reach, designs: Designs) -> usize {
        let ours = NOISE_WINDOW.as_secs() as usize;
        match designs {
            Designs::LockFree | Designs::Mixed => {
                let is_one_dead = reach.parts().len() == 1 && reach.unreachable() < self.nodes as usize;
                if is_one_dead { ours } else { 4 * ours * reach.parts().len() }
            }
            Designs::Simple => self.repeats * reach.unreachable(),
        }
    }
}

/// What came before a stretch of time without new faults and values.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct After {
    /// Something that lasted for long has just ended.
    pub(super) long: bool,
    /// A node was started again.
    pub(super) restart: bool,
}

/// The longest delay to reckon with where links have no faults.
fn delay_max(scenario: &Scenario) -> Duration {
    let factor = match scenario.latency_dist {
        LatencyDist::Constant => 1.0,
        LatencyDist::Uniform => 2.0,
        // Longer ones are one in 150, and never many in a row.
        LatencyDist::Exponential => 5.0,
    };
    Duration::from_secs_f64((factor * scenario.latency + scenario.latency_jitter) / 1000.0)
}

/// How many times as long as others the farthest links take.
fn farthest(steps: &[(Duration, Step)]) -> f64 {
    let factors =
        steps.iter().map(|(_, step)| if let Step::Stretch { factor, .. } = step { *factor } else { 1.0 });
    factors.fold(1.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::super::reach::Paths;
    use super::*;
    use crate::workload::broadcast;

    fn required(designs: Designs) -> Required {
        let scenario = Scenario { node_count: 5, latency: 100.0, ..Scenario::new(broadcast::KIND) };
        Required::of(&scenario, designs, &Config::default(), &[])
    }

    #[test]
    fn healing_is_what_the_product_promises() {
        let required = required(Designs::LockFree);
        let mut reach = Reach::new(5, Paths::Any);
        let ms = |after| required.healing(&reach, after).as_millis();
        assert_eq!(ms(After::default()), 5200);
        assert_eq!(ms(After { long: true, restart: false }), 15_600);
        assert_eq!(ms(After { long: false, restart: true }), 6000);
        reach.strike(&Step::KillForGood(0));
        assert_eq!(required.healing(&reach, After::default()).as_millis(), 15_200, "one hop, five nodes");
    }

    #[test]
    fn the_farthest_link_counts_and_a_nearer_one_does_not() {
        let scenario = Scenario { node_count: 5, latency: 100.0, ..Scenario::new(broadcast::KIND) };
        for (factor, ms) in [(0.5, 5200), (2.0, 6400)] {
            let steps = [(Duration::ZERO, Step::Stretch { links: vec![(0, 1)], factor })];
            let required = Required::of(&scenario, Designs::LockFree, &Config::default(), &steps);
            let healing = required.healing(&Reach::new(5, Paths::Any), After::default());
            assert_eq!(healing.as_millis(), ms);
        }
    }

    #[test]
    fn the_simple_design_alone_is_allowed_more() {
        let (reach, after) = (Reach::new(5, Paths::Any), After::default());
        let [ours, simple] = [Designs::LockFree, Designs::Simple].map(|d| required(d).healing(&reach, after));
        assert!(simple > ours);
    }
}
