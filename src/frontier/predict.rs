//! What a plan costs and how long its values take, by arithmetic alone.
//!
//! The plan is the node's own, [`Plan::derive`], which is arithmetic too: for a network that never varies and that the
//! node has got to know. Broadcasts come independently of each other, as many at each node. Then a message between two
//! nodes carries what has gathered for it, and what gathers in a given time is Poisson distributed:
//!
//! * **Direct.** A node waits a period from its first value on, and sends all others what it has by then.
//! * **Star, at once.** A leaf sends each value by itself; the hub waits a period from the first one on.
//! * **Aligned**, star or tree. Both ends of every link send once a period, if they have anything that the other end
//!   lacks. A value waits only once, for the hub: from nothing to a period.
//!
//! Left out is what a whole run has on top, so that it costs a little more: nodes begin without knowing the network, and
//! go by [`ROUND_TRIP_UNKNOWN`](crate::gossip::plan::ROUND_TRIP_UNKNOWN) at first; acknowledgements travel alone where
//! nothing else goes their way for a while, the last ones always. A hub's own values are a hop quicker than others; that
//! is left out too.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::Setting;
use crate::config::Config;
use crate::gossip::plan::{Conditions, Plan, Strategy, parent};

/// Who passes values to whom, and whether leaves wait for the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// Everyone tells everyone.
    Direct,
    /// By way of a hub, to which leaves send each value at once.
    StarAtOnce,
    /// By way of a hub, for whose flush leaves wait.
    StarAligned,
    /// By way of hubs and a hub of hubs.
    Tree,
}

impl Scheme {
    /// Its name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Scheme::Direct => "direct",
            Scheme::StarAtOnce => "star, at once",
            Scheme::StarAligned => "star, aligned",
            Scheme::Tree => "tree",
        }
    }
}

/// What should come of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Prediction {
    /// Who passes values to whom.
    pub strategy: Scheme,
    /// The time that values gather before they are sent on together, in milliseconds.
    pub period_ms: f64,
    /// Messages between nodes, for each request of a client.
    pub msgs_per_op: f64,
    /// From a broadcast until the last node has the value: the median, in milliseconds…
    pub median_ms: f64,
    /// …and the longest.
    pub max_ms: f64,
}

impl Setting {
    /// What should come of a budget.
    #[must_use]
    pub fn predict(&self, budget: Duration) -> Prediction {
        let conditions = Conditions {
            round_trip: 2 * self.delay(),
            jitter: Duration::ZERO,
            rate: self.broadcasts(),
            values_an_integer: 1.0,
        };
        let config = Config { latency_budget: budget, ..Config::default() };
        let plan = Plan::derive(self.nodes(), &config, conditions);
        let (median, max) = self.latencies(plan);
        Prediction {
            strategy: match (plan.strategy, plan.aligned) {
                (Strategy::Direct, _) => Scheme::Direct,
                (Strategy::Star, false) => Scheme::StarAtOnce,
                (Strategy::Star, true) => Scheme::StarAligned,
                (Strategy::Tree, _) => Scheme::Tree,
            },
            period_ms: 1000.0 * plan.period.as_secs_f64(),
            // Half of the operations are reads.
            msgs_per_op: self.messages(plan) / 2.0,
            median_ms: 1000.0 * median,
            max_ms: 1000.0 * max,
        }
    }

    /// The messages an operation that any scheme needs, if every value is to be everywhere within that many milliseconds.
    ///
    /// What a node receives was sent a delay d before, and can't tell of values broadcast since. The next one comes
    /// 1/b later, on average, and has a time L to get there. So messages to a node are L − d + 1/b apart at most.
    #[must_use]
    pub fn bound(&self, within_ms: f64) -> f64 {
        let nodes = f64::from(self.node_count);
        let to_spare = (within_ms - self.latency).max(0.0) / 1000.0;
        // A node needs to be told of the others' values alone.
        let others = (nodes - 1.0) / nodes;
        nodes * others / (1.0 + self.broadcasts() * others * to_spare) / 2.0
    }

    fn nodes(&self) -> usize {
        self.node_count as usize
    }

    /// Messages for each value.
    fn messages(&self, plan: Plan) -> f64 {
        let nodes = f64::from(self.node_count);
        let gathered = self.broadcasts() * plan.period.as_secs_f64();
        match (plan.strategy, plan.aligned) {
            (Strategy::Direct, _) => {
                let more = gathered / nodes;
                (nodes - 1.0) * batches(1, more) / (1.0 + more)
            }
            (_, false) => {
                // Leaves are not told their own values.
                let others = (nodes - 1.0) / nodes;
                let more = gathered * others;
                let to_leaf = others * batches(1, more) + (1.0 - others) * batches(0, more);
                others + (nodes - 1.0) * to_leaf / (1.0 + gathered)
            }
            (strategy, true) => {
                let links = self.links(strategy).into_iter();
                let one_way = |part| part * per_value(gathered * part);
                links.map(|(below, links)| links * (one_way(below) + one_way(1.0 - below))).sum()
            }
        }
    }

    /// The links of a tree: what part of the nodes is below each, and how many there are of such links.
    fn links(&self, strategy: Strategy) -> Vec<(f64, f64)> {
        let nodes = self.nodes();
        let mut sizes = vec![1; nodes];
        let mut links = BTreeMap::new();
        // A parent comes before its children.
        for node in (1..nodes).rev() {
            if let Some(parent) = parent(strategy, nodes, node) {
                sizes[parent] += sizes[node];
                *links.entry(sizes[node]).or_insert(0.0) += 1.0;
            }
        }
        links.into_iter().map(|(size, links)| (f64::from(size) / f64::from(self.node_count), links)).collect()
    }

    /// From a broadcast until the last node has the value, in seconds: the median and the longest.
    fn latencies(&self, plan: Plan) -> (f64, f64) {
        if self.node_count == 1 {
            return (0.0, 0.0);
        }
        let [delay, period, margin] =
            [self.delay(), plan.period, plan.margin].map(|duration| duration.as_secs_f64());
        // Of the values that wait together the first one waits for a whole period, the others for some part of it.
        let from_the_first = |rate: f64| period.min((period + 1.0 / rate) / 2.0);
        let (way, waiting) = match (plan.strategy, plan.aligned) {
            (Strategy::Direct, _) => (delay, from_the_first(self.broadcasts() / f64::from(self.node_count))),
            (_, false) => (2.0 * delay, from_the_first(self.broadcasts())),
            (Strategy::Star, true) => (2.0 * delay + margin, period / 2.0),
            (Strategy::Tree, true) => (4.0 * delay + 2.0 * margin, period / 2.0),
        };
        (way + waiting, way + period)
    }
}

/// Messages for each value on a link that is used once a period, if so many gather in one, on average.
fn per_value(gathered: f64) -> f64 {
    if gathered == 0.0 { 1.0 } else { batches(0, gathered) / gathered }
}

/// The batches, on average, that it takes for so many values and a Poisson distributed number of more.
fn batches(first: usize, more: f64) -> f64 {
    let batch_max = Config::default().batch_max;
    // Beyond that the last batch is as likely to hold any number as any other; and e^−more is not zero below.
    if more > 700.0 {
        return (first as f64 + more + (batch_max as f64 - 1.0) / 2.0) / batch_max as f64;
    }
    let (mut sum, mut probability) = (0.0, libm::exp(-more));
    for count in 0.. {
        sum += probability * (first + count).div_ceil(batch_max) as f64;
        probability *= more / (count + 1) as f64;
        if count as f64 >= more && probability < 1e-15 {
            break;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{ProptestConfig, prop_assert, proptest};

    fn plan(strategy: Strategy, aligned: bool, period_ms: u64) -> Plan {
        Plan { strategy, period: Duration::from_millis(period_ms), margin: Duration::ZERO, aligned }
    }

    fn is_close(figure: f64, expected: f64, off_by: f64) {
        assert!((figure - expected).abs() <= off_by, "{figure} rather than {expected}");
    }

    /// Messages an operation and latencies in milliseconds.
    fn figures(setting: &Setting, plan: Plan) -> (f64, f64, f64) {
        let (median, max) = setting.latencies(plan);
        (setting.messages(plan) / 2.0, 1000.0 * median, 1000.0 * max)
    }

    #[test]
    fn a_simulation_of_the_plans_alone_came_to_the_same() {
        for (strategy, aligned, period, msgs_per_op, median, max) in [
            (Strategy::Direct, false, 0, 12.0, 100.0, 100.0),
            (Strategy::Star, true, 50, 4.9, 224.0, 250.0),
            (Strategy::Star, true, 100, 2.8, 250.0, 300.0),
            (Strategy::Star, true, 200, 1.57, 294.0, 400.0),
            (Strategy::Star, true, 300, 1.14, 348.0, 500.0),
            (Strategy::Star, true, 350, 1.02, 368.0, 549.0),
            (Strategy::Star, true, 1000, 0.45, 688.0, 1200.0),
            (Strategy::Star, true, 1100, 0.42, 757.0, 1296.0),
        ] {
            let found = figures(&Setting::CHALLENGE, plan(strategy, aligned, period));
            is_close(found.0, msgs_per_op, 0.02 * msgs_per_op);
            is_close(found.1, median, 0.025 * median);
            is_close(found.2, max, 0.02 * max);
        }
    }

    #[test]
    fn what_is_full_is_sent_in_more_batches() {
        is_close(batches(0, 0.0), 0.0, 0.0);
        is_close(batches(1, 0.0), 1.0, 0.0);
        is_close(batches(65, 0.0), 2.0, 0.0);
        is_close(batches(0, 1e-9), 1e-9, 1e-15);
        is_close(batches(0, 32.0), 1.0, 1e-6);
        is_close(batches(0, 96.0), 2.0, 1e-2);
        // Where the sum ends and the rule of thumb begins.
        is_close(batches(0, 700.0), batches(0, 700.1), 0.02);
    }

    #[test]
    fn one_node_tells_nobody_and_two_tell_each_other() {
        let few = |node_count| Setting { node_count, ..Setting::CHALLENGE };
        let alone = few(1).predict(Duration::from_millis(565));
        assert_eq!((alone.msgs_per_op, alone.median_ms, alone.max_ms), (0.0, 0.0, 0.0));
        assert_eq!(few(1).bound(0.0), 0.0);
        let two = few(2).predict(Duration::from_millis(100));
        assert_eq!((two.strategy, two.msgs_per_op, two.max_ms), (Scheme::Direct, 0.5, 100.0));
    }

    #[test]
    fn values_that_come_alone_cost_a_message_for_every_other_node() {
        let setting = Setting { rate: 0.0, ..Setting::CHALLENGE };
        for budget in [100, 300, 565, 1400] {
            let prediction = setting.predict(Duration::from_millis(budget));
            is_close(prediction.msgs_per_op, 12.0, 1e-9);
        }
        is_close(setting.bound(565.0), 12.0, 1e-9);
    }

    #[test]
    fn a_tree_has_a_link_for_every_node_but_the_first() {
        let setting = Setting { node_count: 1000, ..Setting::CHALLENGE };
        let links = setting.links(Strategy::Tree);
        is_close(links.iter().map(|(_, links)| links).sum(), 999.0, 0.0);
        assert_eq!(setting.links(Strategy::Star), [(0.001, 999.0)]);
        let prediction = setting.predict(Duration::from_millis(1400));
        assert_eq!(prediction.strategy, Scheme::Tree);
        is_close(prediction.max_ms, 1400.0, 4.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_plan_is_below_the_bound(
            node_count in 1u32..2000,
            latency in 0.0..1000.0,
            rate in 0.0..10_000.0,
            budget in 1u64..10_000,
        ) {
            let setting = Setting { node_count, latency, rate };
            let found = setting.predict(Duration::from_millis(budget));
            let figures = [found.msgs_per_op, found.median_ms, found.max_ms];
            prop_assert!(figures.iter().all(|figure| figure.is_finite() && *figure >= 0.0), "{found:?}");
            prop_assert!(found.median_ms <= found.max_ms, "{found:?}");
            prop_assert!(found.msgs_per_op >= setting.bound(found.max_ms) * (1.0 - 1e-9), "{found:?}");
        }
    }
}
