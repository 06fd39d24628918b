//! The dissemination plan: who passes values to whom, and how often, for the fewest messages within a latency budget.
//!
//! * **Direct.** A node tells everyone itself. One hop, so nothing is faster; n − 1 messages for each batch.
//! * **Star.** Leaves send to a hub, the hub to all leaves once a period. The period is what two hops leave of the
//!   budget. A leaf knows when the hub flushes and sends so that its batch arrives just before, so its waiting
//!   and the hub's are one and the same, and it sends at most one batch a period.
//! * **Tree.** A star of stars, for clusters that are too large for one hub. Two hops more, with no waiting in between.

use std::time::Duration;

/// The most peers that one node flushes to at a time, if the budget allows a tree. At two microseconds for each
/// message, the last of them waits a quarter of a millisecond for the first.
const FAN_OUT: usize = 128;

/// What a plan leaves for delays that no measurement foresees: timers that fire late, processes that wait for a core.
const SPARE: Duration = Duration::from_millis(2);

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
    /// How long before a hub's flush a batch for it should arrive.
    pub margin: Duration,
}

impl Plan {
    /// The plan with the fewest messages that brings values to all of `nodes` within `budget`, given the round trip
    /// between the farthest of them and how far single ones are off, on average.
    #[must_use]
    pub fn derive(nodes: usize, budget: Duration, round_trip: Duration, jitter: Duration) -> Self {
        // What is left after the hops is for waiting; jitter may take a quarter of it. Four mean deviations, as RFC
        // 6298 has it for timeouts, are seldom exceeded; beyond a quarter a miss costs less than the margin does.
        let plan = |strategy, hops: Duration| {
            let left = budget.saturating_sub(hops);
            let margin = (4 * jitter + SPARE).min(left / 4);
            Plan { strategy, period: left - margin, margin }
        };
        let direct = plan(Strategy::Direct, round_trip / 2);
        let star = plan(Strategy::Star, round_trip);
        let tree = plan(Strategy::Tree, 2 * round_trip);
        // At most n (n − 1) messages a direct period, or 2 (n − 1) a star's.
        let star_is_cheaper = star.period.as_nanos() * nodes as u128 > 2 * direct.period.as_nanos();
        if nodes <= 2 || star.period.is_zero() || !star_is_cheaper {
            direct
        } else if nodes > FAN_OUT + 1 && 2 * tree.period >= star.period {
            tree
        } else {
            star
        }
    }
}

impl Plan {
    /// The same with a period so much shorter that what gathers in it, at a rate in values a second, fills whole
    /// batches rather than a little more, if that saves messages.
    #[must_use]
    pub fn fitted(self, rate: f64, batch_max: usize) -> Self {
        let gathered = rate * self.period.as_secs_f64();
        // What few periods exceed, if values come independently of each other.
        let most = gathered + 1.5 * gathered.sqrt();
        let full = (most / batch_max as f64).floor();
        let shorter = full * batch_max as f64 / most;
        // As many batches each period as are full, against one more.
        let saves = full >= 1.0 && shorter > full / (full + 1.0);
        if saves { Self { period: self.period.mul_f64(shorter), ..self } } else { self }
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

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn derive(nodes: usize, budget: u64, round_trip: u64, jitter: u64) -> (Strategy, u64) {
        let plan = Plan::derive(nodes, ms(budget), ms(round_trip), ms(jitter));
        (plan.strategy, u64::try_from(plan.period.as_millis()).expect("short"))
    }

    #[test]
    fn what_the_hops_leave_is_the_period() {
        assert_eq!(derive(25, 565, 200, 0), (Strategy::Star, 363));
        assert_eq!(derive(25, 1400, 200, 2), (Strategy::Star, 1190));
        assert_eq!(derive(25, 120, 200, 1), (Strategy::Direct, 15), "a quarter at most is for jitter");
        assert_eq!(derive(25, 565, 500, 0), (Strategy::Star, 63));
        assert_eq!(derive(25, 565, 200, 1000), (Strategy::Star, 273));
    }

    #[test]
    fn a_period_is_shortened_to_fill_whole_batches_where_that_saves_messages() {
        let plan = Plan { strategy: Strategy::Star, period: ms(1000), margin: ms(2) };
        let fitted = |rate| plan.fitted(rate, 64).period.as_millis();
        assert_eq!((fitted(0.0), fitted(50.0)), (1000, 1000));
        assert!((880..920).contains(&fitted(60.0)), "{}", fitted(60.0));
        assert!(plan.fitted(60.0, 64).period.as_secs_f64() * 60.0 < 56.0);
        assert_eq!(fitted(120.0), 1000, "two half full ones come often enough");
    }

    #[test]
    fn no_budget_is_too_small_for_a_plan() {
        for (budget, round_trip) in [(0, 0), (0, 100), (50, 101), (100, 200)] {
            assert_eq!(derive(25, budget, round_trip, 5).0, Strategy::Direct);
        }
        assert_eq!(derive(1, 565, 0, 0).0, Strategy::Direct);
        assert_eq!(derive(2, 565, 0, 0).0, Strategy::Direct, "there is nobody else to pass it on to");
    }

    #[test]
    fn only_a_large_cluster_with_time_to_spare_is_a_tree() {
        assert_eq!(derive(1000, 1400, 200, 0), (Strategy::Tree, 998));
        assert_eq!(derive(1000, 565, 200, 0).0, Strategy::Star);
        assert_eq!(derive(100, 1400, 200, 0).0, Strategy::Star);
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
                let most = if strategy == Strategy::Star { nodes - 1 } else { nodes.isqrt() + 2 };
                assert!(children.iter().all(|&count| count <= most), "{nodes}: {children:?}");
            }
        }
    }
}
