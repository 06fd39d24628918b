//! The dissemination plan: who passes values to whom, and how often, for the fewest messages within a latency budget.
//!
//! * **Direct.** A node tells everyone itself. One hop, so nothing is faster; n − 1 messages for each batch.
//! * **Star.** Leaves send to a hub, the hub to all leaves once a period. A value waits for one flush and travels over two
//!   links; the period is the longest with which that takes no longer than the budget. A leaf knows when the hub flushes and sends so that its batch arrives just before, so its waiting
//!   and the hub's are one and the same, and it sends at most one batch a period.
//! * **Tree.** A star of stars, for clusters that are too large for one hub. Two hops more, with no waiting in between.

use std::time::Duration;

use crate::config::Config;

/// What a plan leaves for delays that no measurement foresees: timers that fire late, processes that wait for a core.
const SPARE: Duration = Duration::from_millis(2);

/// Beside so many batches, one more is little, whatever the period.
const BATCHES_MANY: u32 = 8;

/// A period is looked for that much finer than itself.
const STEPS: u32 = 32;

/// The round trip to reckon with before any is measured: from one side of the earth to the other and back.
pub const ROUND_TRIP_UNKNOWN: Duration = Duration::from_millis(300);

/// Who passes values to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Everyone tells everyone.
    Direct,
    /// By way of a hub.
    Star,
    /// By way of hubs and a hub of hubs.
    Tree,
}

/// Who passes values to whom, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Who.
    pub strategy: Strategy,
    /// The time between two flushes.
    pub period: Duration,
    /// What of the budget is left for messages that take longer than most.
    pub margin: Duration,
    /// Whether a leaf waits for the hub, so that its batch arrives a margin before the next flush.
    pub aligned: bool,
}

/// What is known of the network and of what it carries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    /// The round trip between the nodes that are farthest from each other.
    pub round_trip: Duration,
    /// How far single round trips are off, on average.
    pub jitter: Duration,
    /// Values a second, over all nodes; 0 if nobody knows.
    pub rate: f64,
    /// Values for each integer of a batch: more than one where they come in runs.
    pub values_an_integer: f64,
}

impl Plan {
    /// The plan with the fewest messages that brings values to all of `nodes` within the budget, in batches of the size that
    /// the settings allow.
    #[must_use]
    pub fn derive(nodes: usize, config: &Config, conditions: Conditions) -> Self {
        let Conditions { round_trip, rate, values_an_integer, .. } = conditions;
        let &Config { latency_budget: budget, batch_max, fan_out, .. } = config;
        let batch_max = batch_max as f64 * values_an_integer;
        // What is left after the hops is for waiting.
        let left = |hops: Duration| budget.saturating_sub(hops);
        let direct = Self::leaving(SPARE, Strategy::Direct, left(round_trip / 2));
        let star =
            Self::gathering(Strategy::Star, nodes, left(round_trip), conditions).fitted(rate, batch_max);
        let tree =
            Self::gathering(Strategy::Tree, nodes, left(2 * round_trip), conditions).fitted(rate, batch_max);
        // At most n (n − 1) messages a direct period, or 2 (n − 1) a star's.
        let star_is_cheaper = star.period.as_nanos() * nodes as u128 > 2 * direct.period.as_nanos();
        if nodes <= 2 || star.period.is_zero() || !star_is_cheaper {
            direct
        } else if nodes > fan_out + 1 && 2 * tree.period >= star.period {
            tree
        } else {
            star
        }
    }

    /// A star or a tree. Where round trips hardly vary, a leaf sends just before the hub flushes, at most once a
    /// period. Where they do, it would have to send much earlier, and that margin is lost to the period; if few values
    /// would travel together, it is cheaper to send each at once.
    fn gathering(strategy: Strategy, nodes: usize, left: Duration, conditions: Conditions) -> Self {
        // Four mean deviations, as RFC 6298 has it for timeouts, are seldom exceeded.
        let margin = 4 * conditions.jitter + SPARE;
        let aligned = Plan { aligned: true, ..Self::leaving(margin, strategy, left) };
        let at_once = Self::leaving(conditions.jitter + SPARE, strategy, left);
        // Messages a second, if values come independently: of the periods of a grid, e^−gathered have none; a hub that
        // nobody waits for begins its period with a value.
        let per_node =
            |rate: f64, period: Duration| -libm::expm1(-rate * period.as_secs_f64()) / period.as_secs_f64();
        let (nodes, rate) = (nodes as f64, conditions.rate);
        let aligned_cost = nodes * (per_node(rate, aligned.period) + per_node(rate / nodes, aligned.period));
        let at_once_cost = nodes * rate / (1.0 + rate * at_once.period.as_secs_f64()) + rate;
        // A margin that is too small makes a batch in five or so miss its flush, and that costs time or another flush.
        let missed = if aligned.margin < margin { 1.5 } else { 1.0 };
        // In doubt the plan stays what it is at first, before a rate is known.
        let is_cheaper = missed * aligned_cost <= 1.1 * at_once_cost;
        if strategy == Strategy::Tree || is_cheaper { aligned } else { at_once }
    }

    /// What a margin leaves; beyond a third of it, to be late now and then costs less.
    fn leaving(margin: Duration, strategy: Strategy, left: Duration) -> Self {
        let margin = margin.min(left / 3);
        Plan { strategy, period: left - margin, margin, aligned: false }
    }

    /// The same with a shorter period if that is cheaper, at a rate in values a second: where what gathers in a period
    /// is often a little more than whole batches of so many.
    fn fitted(self, rate: f64, batch_max: f64) -> Self {
        if rate * self.period.as_secs_f64() > f64::from(BATCHES_MANY - 1) * batch_max {
            return self;
        }
        let cost = |period: Duration| {
            let gathered = rate * period.as_secs_f64();
            // Values that come independently of each other are spread as the logistic distribution is, very nearly: each
            // batch but the first is needed if there are more than those before it hold.
            let is_needed =
                |before: f64| 1.0 / (1.0 + libm::exp(1.7 * (before + 0.5 - gathered) / gathered.sqrt()));
            let more: f64 = (1..=BATCHES_MANY).map(|full| is_needed(f64::from(full) * batch_max)).sum();
            // A leaf's batch to the hub, and what the hub sends it.
            (2.0 + more) / period.as_secs_f64()
        };
        let shorter = (STEPS / 2..=STEPS).map(|steps| self.period * steps / STEPS);
        let period = shorter.min_by(|a, b| cost(*a).total_cmp(&cost(*b))).unwrap_or(self.period);
        Self { period, ..self }
    }
}

/// The node that `node` passes values to and gets them from, by index among all of them; none for the first. Always
/// one before it.
#[must_use]
pub fn parent(strategy: Strategy, nodes: usize, node: usize) -> Option<usize> {
    match strategy {
        _ if node == 0 => None,
        Strategy::Direct | Strategy::Star => Some(0),
        Strategy::Tree => {
            let hubs = nodes.isqrt();
            Some(if node <= hubs { 0 } else { 1 + (node - hubs - 1) % hubs })
        }
    }
}

/// The members that a tree has below one of them.
pub fn below(nodes: usize, node: usize) -> impl Iterator<Item = usize> {
    let hubs = nodes.isqrt();
    let (first, last, step) = match node {
        0 => (1, hubs.min(nodes.saturating_sub(1)), 1),
        _ if node <= hubs => (node + hubs, nodes.saturating_sub(1), hubs),
        _ => (1, 0, 1),
    };
    (first..=last).step_by(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn at_rate(nodes: usize, budget: u64, round_trip: u64, jitter: u64, rate: f64) -> Plan {
        let conditions =
            Conditions { round_trip: ms(round_trip), jitter: ms(jitter), rate, values_an_integer: 1.0 };
        Plan::derive(nodes, &Config { latency_budget: ms(budget), ..Config::default() }, conditions)
    }

    fn derive(nodes: usize, budget: u64, round_trip: u64) -> (Strategy, u64) {
        let plan = at_rate(nodes, budget, round_trip, 0, 20.0);
        (plan.strategy, u64::try_from(plan.period.as_millis()).expect("short"))
    }

    #[test]
    fn what_the_hops_leave_is_the_period() {
        assert_eq!(derive(25, 565, 200), (Strategy::Star, 363));
        assert_eq!(derive(25, 1400, 200), (Strategy::Star, 1198));
        assert_eq!(derive(25, 120, 200), (Strategy::Direct, 18));
        assert_eq!(derive(25, 565, 500), (Strategy::Star, 63));
    }

    #[test]
    fn leaves_wait_for_the_hub_only_where_that_saves_messages() {
        let margin = |jitter, rate| {
            let Plan { margin, aligned, .. } = at_rate(25, 565, 200, jitter, rate);
            (aligned, margin.as_millis())
        };
        assert_eq!(margin(1, 50.0), (true, 6));
        assert_eq!(margin(80, 50.0), (false, 82));
        assert_eq!(margin(80, 1000.0), (true, 121), "of many values for each leaf");
    }

    #[test]
    fn a_period_is_shortened_where_that_saves_batches() {
        let fitted = |rate| at_rate(25, 1202, 200, 0, rate).period.as_millis();
        assert_eq!((fitted(0.0), fitted(49.0)), (1000, 1000));
        assert!((800..900).contains(&fitted(70.0)), "{}", fitted(70.0));
        assert!((800..900).contains(&fitted(140.0)), "two full ones: {}", fitted(140.0));
        assert_eq!(fitted(120.0), 1000, "which has room for two");
        assert_eq!((fitted(1e9), fitted(f64::MAX)), (1000, 1000), "many, and one more or less");
    }

    #[test]
    fn no_budget_is_too_small_for_a_plan() {
        for (budget, round_trip) in [(0, 0), (0, 100), (50, 101), (100, 200)] {
            assert_eq!(derive(25, budget, round_trip).0, Strategy::Direct);
        }
        assert_eq!(derive(1, 565, 0).0, Strategy::Direct);
        assert_eq!(derive(2, 565, 0).0, Strategy::Direct, "there is nobody else to pass it on to");
    }

    #[test]
    fn only_a_large_cluster_with_time_to_spare_is_a_tree() {
        assert_eq!(derive(1000, 1400, 200), (Strategy::Tree, 998));
        assert_eq!(derive(1000, 565, 200).0, Strategy::Star);
        assert_eq!(derive(100, 1400, 200).0, Strategy::Star);
    }

    #[test]
    fn every_node_but_the_first_has_a_parent_before_it_and_no_parent_has_many_more_than_another() {
        for nodes in [2, 3, 25, 130, 1000] {
            for strategy in [Strategy::Star, Strategy::Tree] {
                let mut children = vec![0; nodes];
                for node in 1..nodes {
                    let parent = parent(strategy, nodes, node).expect("a parent");
                    assert!(parent < node);
                    children[parent] += 1;
                }
                assert_eq!(parent(strategy, nodes, 0), None);
                if strategy == Strategy::Tree {
                    let children =
                        |node: usize| (0..nodes).filter(move |&n| parent(strategy, nodes, n) == Some(node));
                    assert!((0..nodes).all(|node| below(nodes, node).eq(children(node))));
                }
                let most = if strategy == Strategy::Star { nodes - 1 } else { nodes.isqrt() + 2 };
                assert!(children.iter().all(|&count| count <= most), "{nodes}: {children:?}");
            }
        }
    }
}
