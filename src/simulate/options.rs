//! The command line of a simulation, from text to a [`Simulation`] and back.

use std::fmt::Write as _;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Args, Command, FromArgMatches, ValueEnum};

use super::{Designs, Simulation};
use crate::cluster::scenario::{LatencyDist, Scenario, at_most};
use crate::runtime::cli::NodeArgs;
use crate::simulate::faults::SimFaults;
use crate::workload::{WorkloadKind, broadcast, echo, unique_ids};

/// The workloads that natter has nodes for.
const WORKLOADS: [WorkloadKind; 3] = [broadcast::KIND, echo::KIND, unique_ids::KIND];

/// The longest mean delay, in milliseconds: nodes measure round trips of up to a minute, single delays are longer, and so are
/// some links.
const LATENCY_MAX_MS: f64 = 3000.0;

/// What to simulate.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// How many runs, each with a seed of its own
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,

    /// The first of their seeds; the others follow it [default: drawn by the operating system]
    #[arg(long, value_name = "N")]
    pub first_seed: Option<u64>,

    /// After so many failing seeds, begin no more
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub failures_max: u64,

    /// How the nodes are built inside
    #[arg(long, value_enum, default_value_t = Designs::LockFree)]
    pub design: Designs,

    /// What clients do: broadcast, echo or unique-ids
    #[arg(short, long, value_parser = simulated(), default_value = broadcast::KIND.name, hide_possible_values = true)]
    pub workload: WorkloadKind,

    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub node_count: u32,

    /// How long clients make requests and faults strike
    #[arg(long, value_name = "SECONDS", default_value_t = 20.0, value_parser = at_most(1e6))]
    pub time_limit: f64,

    /// Requests a second, by all clients together, on average; bursts come on top
    #[arg(long, value_name = "HZ", default_value_t = 100.0, value_parser = at_most(1e6))]
    pub rate: f64,

    /// Mean delay of messages between nodes, where links have no faults
    #[arg(long, value_name = "MS", default_value_t = 100.0, value_parser = at_most(LATENCY_MAX_MS))]
    pub latency: f64,

    /// Each message between nodes takes up to so much longer, all lengths being equally likely
    #[arg(long, value_name = "MS", default_value_t = 0.0, value_parser = at_most(LATENCY_MAX_MS))]
    pub latency_jitter: f64,

    /// How delays are spread around their mean
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = LatencyDist::Constant)]
    pub latency_dist: LatencyDist,

    /// Kinds of faults, separated by commas: partition, one-way, loss, duplication, reordering, delay, pause,
    /// clock, slow, burst, kill, lasting-cut, sudden-cut, kill-for-good, lull, aftermath, few-contacts, unequal-links, return, trees; or `all` (each seed draws some of them), or `none`
    #[arg(long, value_name = "LIST", default_value_t = SimFaults::Drawn)]
    pub faults: SimFaults,

    /// Options for the nodes, as natter-node has them
    #[arg(last = true, value_name = "NODE OPTIONS")]
    pub node_options: Vec<String>,
}

impl Options {
    /// What these options stand for.
    ///
    /// # Errors
    /// If those for the nodes make no sense.
    pub fn simulation(&self) -> Result<Simulation, clap::Error> {
        let usage =
            "natter simulate [OPTIONS] -- [NODE OPTIONS], where `natter node --help` lists the latter";
        let command = Command::new("natter simulate").no_binary_name(true).override_usage(usage);
        let mut command = NodeArgs::augment_args(command);
        let matches = command.try_get_matches_from_mut(&self.node_options)?;
        for (option, why) in [
            ("design", "the simulator sets --design of its nodes itself: give --design before --"),
            ("seed", "the simulator sets --seed of its nodes itself: give --first-seed before --"),
            ("line_limit", "--line-limit is for the pipes of a real node: the simulator has none"),
        ] {
            if matches.value_source(option) == Some(ValueSource::CommandLine) {
                return Err(command.error(ErrorKind::ArgumentConflict, why));
            }
        }
        let config = NodeArgs::from_arg_matches(&matches)?.config();
        Ok(Simulation {
            scenario: Scenario {
                node_count: self.node_count,
                rate: self.rate,
                time_limit: self.time_limit,
                latency: self.latency,
                latency_jitter: self.latency_jitter,
                latency_dist: self.latency_dist,
                ..Scenario::new(self.workload)
            },
            faults: self.faults.clone(),
            design: self.design,
            config: config.map_err(|why| command.error(ErrorKind::ValueValidation, why))?,
            node_options: self.node_options.clone(),
        })
    }
}

/// Reads the name of a workload that natter has nodes for.
fn simulated() -> impl TypedValueParser<Value = WorkloadKind> {
    let names: Vec<PossibleValue> = WORKLOADS.iter().filter_map(ValueEnum::to_possible_value).collect();
    PossibleValuesParser::new(names)
        .map(|name| WORKLOADS.into_iter().find(|kind| kind.name == name).unwrap_or(broadcast::KIND))
}

impl Simulation {
    /// The command that runs one seed of this.
    #[must_use]
    pub fn command(&self, seed: u64) -> String {
        let Simulation { scenario, faults, design, node_options, .. } = self;
        let Scenario { node_count, time_limit, rate, latency, latency_dist, .. } = scenario;
        let mut text = format!(
            "natter simulate --seeds 1 --first-seed {seed} --design {} --node-count {node_count} \
             --time-limit {time_limit} --rate {rate} --latency {latency} --latency-dist {} --faults {faults}",
            design.name(),
            latency_dist.name(),
        );
        if scenario.workload != broadcast::KIND {
            let _ = write!(text, " --workload {}", scenario.workload.name);
        }
        if scenario.latency_jitter > 0.0 {
            let _ = write!(text, " --latency-jitter {}", scenario.latency_jitter);
        }
        if !node_options.is_empty() {
            let _ = write!(text, " -- {}", node_options.join(" "));
        }
        text
    }
}
