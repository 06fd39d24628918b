//! Of which design each node of a simulated cluster is.

use clap::ValueEnum;
use rand::RngExt;

use crate::cluster::streams::{Stream, stream};
use crate::config::Config;
use crate::gossip::LockFree;
use crate::node::{Inspect, Node, Outbox, Time};
use crate::protocol::{Line, Value};
use crate::simple::Simple;

/// The designs of a cluster's nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Designs {
    /// All nodes are lock-free
    LockFree,
    /// All nodes are simple
    Simple,
    /// Each node is one or the other, as the seed draws
    Mixed,
}

impl Designs {
    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Designs::LockFree => "lock-free",
            Designs::Simple => "simple",
            Designs::Mixed => "mixed",
        }
    }

    /// Which nodes are simple. Of a mixed cluster of two or more, one at least is of each design.
    pub(super) fn simple_ones(self, nodes: usize, seed: u64) -> Vec<bool> {
        if self != Designs::Mixed {
            return vec![self == Designs::Simple; nodes];
        }
        let mut rng = stream(seed, Stream::Designs);
        let mut simple: Vec<bool> = (0..nodes).map(|_| rng.random()).collect();
        if nodes > 1 && simple.iter().all(|&is| is == simple[0]) {
            let other = rng.random_range(0..nodes);
            simple[other] = !simple[other];
        }
        simple
    }
}

/// A node of either design.
// Nodes are few, and are not moved about.
#[expect(clippy::large_enum_variant, reason = "a cluster has few nodes")]
#[derive(Debug)]
pub(super) enum Either {
    LockFree(LockFree),
    Simple(Simple),
}

impl Either {
    pub(super) fn new(is_simple: bool, config: Config, seed: u64) -> Self {
        if is_simple {
            Either::Simple(Simple::new(config, seed))
        } else {
            Either::LockFree(LockFree::new(config, seed))
        }
    }
}

/// Calls the node's own method, whichever it is.
macro_rules! either {
    ($node:expr, $inner:ident => $call:expr) => {
        match $node {
            Either::LockFree($inner) => $call,
            Either::Simple($inner) => $call,
        }
    };
}

impl Node for Either {
    type Scratch = (<LockFree as Node>::Scratch, <Simple as Node>::Scratch);

    fn handle(&self, now: Time, line: Line<'_>, scratch: &mut Self::Scratch, out: &mut Outbox) {
        match self {
            Either::LockFree(node) => node.handle(now, line, &mut scratch.0, out),
            Either::Simple(node) => node.handle(now, line, &mut scratch.1, out),
        }
    }

    fn tick(&self, now: Time, out: &mut Outbox) {
        either!(self, node => node.tick(now, out));
    }

    fn next_deadline(&self) -> Option<Time> {
        either!(self, node => node.next_deadline())
    }

    fn finish(&self, now: Time, out: &mut Outbox) {
        either!(self, node => node.finish(now, out));
    }
}

impl Inspect for Either {
    fn holds(&self, value: Value) -> bool {
        either!(self, node => node.holds(value))
    }

    fn held(&self) -> usize {
        either!(self, node => node.held())
    }

    fn audit(&self, now: Time) -> Result<(), String> {
        either!(self, node => node.audit(now))
    }

    fn deviation_from_plan(&self) -> Option<String> {
        either!(self, node => node.deviation_from_plan())
    }

    fn whereabouts(&self, value: Value) -> Vec<String> {
        either!(self, node => node.whereabouts(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mixed_cluster_has_both_designs_and_any_node_may_be_of_either() {
        let mut as_first = [0; 2];
        for seed in 0..100 {
            let simple = Designs::Mixed.simple_ones(3, seed);
            assert!(simple.contains(&true) && simple.contains(&false));
            as_first[usize::from(simple[0])] += 1;
        }
        assert!(as_first.iter().all(|&times| times > 30), "{as_first:?}");
        assert_eq!(Designs::Mixed.simple_ones(1, 0).len(), 1);
        assert_eq!(Designs::Simple.simple_ones(2, 0), [true; 2]);
    }
}
