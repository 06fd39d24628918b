//! Simulated runs: the nodes' own code in virtual time, on a network crueller than any, checked at every step.
//!
//! A run has two phases, or up to four. *Safety*: clients broadcast and read while [faults] strike; nothing
//! may be wrong at any step. Then, in some runs, an *aftermath*: nothing strikes any more, and clients go on. Then, in some, a
//! *lull*: clients say next to nothing for minutes, but perhaps go on for one in its midst, while nodes die and links are cut. *Liveness*: all faults end, but for cuts and deaths that are for good; the cluster must heal in time and then fall
//! silent. What that means in figures is said in terms of a user, who knows nothing of a node's insides, in `required.rs`.
//!
//! | checked | when | by |
//! | --- | --- | --- |
//! | a node holds what it was told and nothing else, and a read shows just that | every step | the auditor |
//! | it sends only values that it holds, in batches of the size allowed | every step | the auditor |
//! | its own structures are sound | every step | [`Inspect::audit`] |
//! | where nobody has a timer and nothing is under way, nodes that can reach each other hold the same | every step | the auditor |
//! | a value that some node holds, and the network as it is, for as long as healing may take, is held by every node that can be reached | every step | the auditor |
//! | clients are answered, and well | after the run | [`Simulation::run`] |
//! | nothing that was acknowledged is lost, unless every node that held it was killed; no read shows a value twice | after the run | [set-full](crate::check::set_full) and the auditor |
//! | nodes that can reach each other hold the same values in the end; silence from then on, or little noise | after the run | [`Simulation::run`] |
//!
//! Inside: public to be read, tested and measured; it may change with any version.

mod auditor;
mod designs;
mod failure;
pub mod faults;
mod minimise;
mod options;
mod progress;
mod reach;
pub mod report;
mod required;
mod spread;
mod story;
mod survey;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;
use std::io;
use std::time::Duration;

use rand::RngExt;
use twox_hash::XxHash3_64;

pub use self::designs::Designs;
pub use self::failure::Failure;
pub use self::minimise::{Failing, minimise};
pub use self::options::Options;
pub use self::story::story;
pub use self::survey::{Found, Minimised, Spread, Summary, survey, survey_until};

use self::auditor::Auditor;
use self::designs::Either;
use self::failure::{duplicated, lost, set_full, unanswered, wrong};
use self::progress::{Healing, Progress};
use self::reach::{Paths, Reach};
use self::required::{After, NOISE_WINDOW, Required};
use crate::cluster::nemesis::{Nemesis, NodeFault, Step};
use crate::cluster::network::Passage;
use crate::cluster::scenario::{Scenario, Verbosity};
use crate::cluster::streams::{Stream, stream};
use crate::cluster::trial::{Quiet, Results, Trial, Violation};
use crate::cluster::virtual_time;
use crate::config::Config;
use crate::gossip::LockFree;
use crate::history::History;
use crate::node::{Inspect, Time};
use crate::protocol::{Generation, Value};
use crate::simple::Simple;
use crate::simulate::faults::{SimFault, SimFaults};
use crate::workload::topology::TopologyKind;

/// Of how many nodes a [tree](SimFault::Trees) is made, the root not counted, and how many latencies there are for it.
const TREE_FAN_OUT: usize = 3;
const TREE_BUDGET: f64 = 8.0;

/// What is simulated, but for the seed.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// What clients do, on how many nodes, for how long.
    pub scenario: Scenario,
    /// What strikes it.
    pub faults: SimFaults,
    /// Which design the nodes are of.
    pub design: Designs,
    /// Their settings.
    pub config: Config,
    /// The options that these settings come from.
    pub node_options: Vec<String>,
}

/// One run, with all there is to know of it.
#[derive(Debug)]
pub struct Run {
    /// What the checkers of real runs say.
    pub results: Results,
    /// What clients and the nemesis did.
    pub history: History,
    /// What became of each message, if that was asked for.
    pub trace: Vec<Passage>,
    /// When clients began.
    pub began: Time,
    /// What each node holds in the end.
    pub holdings: Vec<BTreeSet<Value>>,
    /// Where the value that was asked for waits, by node.
    pub whereabouts: Vec<Vec<String>>,
    /// The value that the failure is about, if it is about one.
    pub concerned: Option<Value>,
    /// From the last fault, or the last value that a client said, to the last time that a node learnt a value; from a later
    /// time, if a message that had been under way brought a value back whose last holder had been killed.
    pub convergence: Duration,
    /// How long that may take.
    pub bound: Duration,
    /// The nearest that values came to taking too long, of all times at which every node could be reached.
    pub percent_of_bound: Option<f64>,
    /// What went wrong first, if anything did.
    pub failure: Option<Failure>,
}

/// What to keep of a run beside what is checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keep {
    /// What became of each message.
    pub trace: bool,
    /// Where this value waits in the end.
    pub whereabouts_of: Option<Value>,
}

impl Simulation {
    /// Runs one seed.
    #[must_use]
    pub fn run(&self, seed: u64, keep: Keep) -> Run {
        match self.design {
            Designs::LockFree => self.run_nodes(seed, keep, |_, config, seed| LockFree::new(config, seed)),
            Designs::Simple => self.run_nodes(seed, keep, |_, config, seed| Simple::new(config, seed)),
            Designs::Mixed => {
                let simple = self.design.simple_ones(self.scenario.nodes(), seed);
                self.run_nodes(seed, keep, |index, config, seed| Either::new(simple[index], config, seed))
            }
        }
    }

    fn run_nodes<N: Inspect>(
        &self,
        seed: u64,
        keep: Keep,
        new_node: impl Fn(usize, Config, u64) -> N,
    ) -> Run {
        let Simulation { design, .. } = self;
        let (scenario, steps, config) = (self.scenario(seed), self.steps(seed), &self.config_of(seed));
        let required = Required::of(&self.scenario_without_silence(seed), *design, config, &steps);
        let reach = self.reach();
        let at_the_end = after_all(reach.clone(), &steps);
        let disturbed = steps.iter().any(|(_, step)| {
            matches!(
                step,
                Step::Disturb(_, NodeFault::Pause | NodeFault::Slow(_) | NodeFault::Kill)
                    | Step::KillForGood(_)
            )
        });
        // Lock-free nodes can't know that simple ones hold everything, and go on asking them.
        let falls_silent = at_the_end.is_whole() && *design != Designs::Mixed;
        let healing = required.healing(&at_the_end, After { long: true, restart: true });
        let noise_measured = required.noise_from().saturating_add(NOISE_WINDOW + Duration::from_secs(2));
        let quiet = if falls_silent {
            Quiet::of(required.watch(healing))
        } else {
            // Nodes that can't reach all others go on trying, which takes long to simulate.
            Quiet { least: noise_measured, most: healing.saturating_add(noise_measured) }
        };

        let nemesis = Nemesis::new(steps.into_iter());
        let mut trial = Trial::under(nemesis, quiet, &scenario, seed, Verbosity::default(), Time::ZERO);
        // The auditor parses what nodes send.
        trial.trust_bodies();
        if keep.trace {
            trial.keep_trace();
        }
        let mut rng = stream(seed, Stream::Nodes);
        // Every other seed sees the generations wrap around.
        let wraps = rng.random::<bool>();
        // A node's later lives begin where the first did: nothing may depend on their generations being apart.
        let mut first_generations = Vec::new();
        let new_life = |index| {
            if index == first_generations.len() {
                let near_the_last = Generation(Generation::LAST.0 - rng.random_range(0..16));
                first_generations.push(if wraps { Some(near_the_last) } else { config.first_generation });
            }
            let first_generation = first_generations[index];
            new_node(index, Config { first_generation, ..config.clone() }, rng.random())
        };
        let progress = Progress::new(scenario.nodes(), reach, required.clone());
        let simple = design.simple_ones(scenario.nodes(), seed);
        let mut auditor = Auditor::new(simple, progress, config.batch_max, keep.whereabouts_of);
        auditor.settles_after = noise_measured;
        let driven = virtual_time::drive(&mut trial, new_life, &mut auditor);

        let began = trial.began().unwrap_or_default();
        let trace = trial.take_trace();
        let (results, history) = trial.finish();
        let judged = wrong(&history, &scenario);
        // What nobody held any more spreads from when a late message brought it back.
        let Healing { took: convergence, bound } = auditor.progress.healing_of_stretch(auditor.last_learnt);
        let violation =
            driven.err().map(|violation| Failure::Violation { at: auditor.now.since(began), violation });
        let mut failure = auditor
            .late
            .take()
            .or(violation)
            .or_else(|| unanswered(&history, scenario.time_limit(), disturbed))
            .or_else(|| duplicated(&results))
            .or(judged)
            .or_else(|| auditor.missing())
            .or_else(|| lost(&results, |value| auditor.died(value) || auditor.is_held(value)));
        // Where nothing is read in the end, a run ends with its last operation, before nodes come to rest.
        if failure.is_none() && scenario.workload.reads_sets {
            failure = if falls_silent {
                // Who is not where the plan has it may well not be silent either: this says why.
                let departed = auditor.deviation_from_plan.take();
                let departed = departed.map(|(node, what)| Failure::Deviates { node, what });
                departed.or_else(|| restless(&auditor, auditor.last_sent))
            } else {
                let settled = auditor.progress.since.max(auditor.last_learnt) + required.noise_from();
                let (messages, most) =
                    (auditor.sent_after(settled), required.noise_max(&at_the_end, *design));
                let noisy = (messages > most).then_some(Failure::Noisy { messages, most });
                // Where everybody can be reached, nothing has to be repeated.
                let whole = at_the_end.is_whole();
                noisy.or_else(|| restless(&auditor, auditor.last_batch).filter(|_| whole))
            };
        }
        let concerned = failure.as_ref().and_then(|failure| match failure {
            Failure::Violation { violation: Violation::Broken { .. }, .. } => auditor.suspect,
            other => other.value(),
        });
        let percent_of_bound = auditor.progress.worst().map(Healing::percent);
        let Auditor { holdings, whereabouts, .. } = auditor;
        Run {
            results,
            history,
            trace,
            began,
            holdings,
            whereabouts,
            concerned,
            convergence,
            bound,
            percent_of_bound,
            failure,
        }
    }

    /// The settings of the nodes.
    fn config_of(&self, seed: u64) -> Config {
        let Simulation { scenario, faults, config, .. } = self;
        if !faults.of(seed).contains(&SimFault::Trees) {
            return config.clone();
        }
        // Two hops more than a star, and a period of about as long.
        let latency_budget =
            config.latency_budget.max(Duration::from_secs_f64(TREE_BUDGET * scenario.latency / 1000.0));
        Config { fan_out: TREE_FAN_OUT, latency_budget, ..config.clone() }
    }

    /// What the nemesis does.
    ///
    /// Of a mixed cluster, no node dies, and all cuts end: what one design does about these the other does not know of. A
    /// lock-free node that was started again asks what it lacks, and so does a simple one, each in its own words.
    fn steps(&self, seed: u64) -> Vec<(Duration, Step)> {
        let Simulation { scenario, faults, design, .. } = self;
        let mut steps = faults.steps(seed, scenario.nodes(), scenario.time_limit());
        if *design == Designs::Mixed {
            steps.retain(|(_, step)| {
                let is_death = matches!(step, Step::Disturb(_, NodeFault::Kill | NodeFault::Restart));
                let is_for_good = step.lasts() && step.ended().is_none();
                !is_death && !is_for_good
            });
        }
        steps
    }

    /// The scenario of a seed, as far as clients make requests.
    fn scenario_without_silence(&self, seed: u64) -> Scenario {
        let mut scenario = self.scenario.clone();
        let (_, return_length) = self.faults.clients_return(seed);
        scenario.time_limit += (self.faults.aftermath(seed) + return_length).as_secs_f64();
        scenario
    }

    /// The scenario of a seed. In a mixed cluster everyone is everyone's neighbour, as the lock-free design has it anyway.
    fn scenario(&self, seed: u64) -> Scenario {
        let mut scenario = self.scenario.clone();
        scenario.time_limit += (self.faults.aftermath(seed) + self.faults.lull(seed)).as_secs_f64();
        if self.design == Designs::Mixed {
            scenario.options.topology = TopologyKind::Total;
        }
        scenario
    }

    /// Who can reach whom before anything is struck. Nodes of the simple design know their neighbours and nobody else, and
    /// in a mixed cluster neither design can ask the other what it lacks.
    fn reach(&self) -> Reach {
        let nodes = self.scenario.nodes();
        let paths = match self.design {
            Designs::LockFree => Paths::Any,
            Designs::Simple => Paths::Between(self.scenario.options.topology.neighbours(nodes)),
            Designs::Mixed => Paths::NoDetours,
        };
        Reach::new(nodes, paths)
    }
}

/// What the network and its nodes are like in the end, when all is made good again that may be.
fn after_all(mut reach: Reach, steps: &[(Duration, Step)]) -> Reach {
    let mut in_force = BTreeMap::new();
    for (_, step) in steps {
        reach.strike(step);
        in_force.insert(step.subject(), step);
    }
    in_force.values().filter_map(|step| step.ended()).for_each(|step| {
        reach.strike(&step);
    });
    reach
}

/// Something was sent that late, and should not have been.
fn restless(auditor: &Auditor, last: Time) -> Option<Failure> {
    let Progress { since, .. } = auditor.progress;
    let silent = auditor.progress.silent_from(auditor.last_learnt);
    (last > silent).then(|| Failure::Restless { until: last.since(since), bound: silent.since(since) })
}

/// A hash of a history's bytes, one JSON text after another: equal for equal histories, on any machine.
#[must_use]
pub fn digest(history: &History) -> u64 {
    struct Sink(XxHash3_64);
    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut sink = Sink(XxHash3_64::new());
    for event in history.events() {
        serde_json::to_writer(&mut sink, event).expect("events are JSON, and memory takes it");
    }
    sink.0.finish()
}
