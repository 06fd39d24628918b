//! What a budget costs as it is: the node's own code in virtual time, without faults.

use std::time::Duration;

use super::Setting;
use crate::cluster::scenario::Scenario;
use crate::config::Config;
use crate::simulate::faults::SimFaults;
use crate::simulate::{Designs, Simulation};
use crate::workload::broadcast;

/// How long clients make requests, in seconds: as long as in the challenges.
pub const TIME_LIMIT: f64 = 20.0;

impl Setting {
    /// Runs of nodes with that budget, for [`survey`](crate::simulate::survey).
    ///
    /// The latencies that come of it are the checker's: until the last read that lacks a value, not until the last node
    /// has it. They are below the true ones by the time between two reads, on average.
    #[must_use]
    pub fn simulation(&self, budget_ms: u64) -> Simulation {
        let Setting { node_count, latency, rate } = *self;
        Simulation {
            scenario: Scenario {
                node_count,
                latency,
                rate,
                time_limit: TIME_LIMIT,
                ..Scenario::new(broadcast::KIND)
            },
            faults: SimFaults::Listed(Vec::new()),
            design: Designs::LockFree,
            config: Config { latency_budget: Duration::from_millis(budget_ms), ..Config::default() },
            node_options: vec!["--latency-budget".to_owned(), budget_ms.to_string()],
        }
    }
}
