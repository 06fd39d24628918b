//! Simulated runs: the nodes' own code in virtual time, on a network crueller than any, checked at every step.
//!
//! A run has two phases. *Safety*: clients broadcast and read while [hazards](super::hazards) strike; nothing
//! may be wrong at any step. *Liveness*: at the time limit all faults end; within a [bound](Simulation::bound)
//! every node must hold every value that any node holds, and then the cluster must fall silent. Where links were cut
//! for good, nodes go on trying them, and must not be too noisy about it.
//!
//! | checked | when | by |
//! | --- | --- | --- |
//! | a node holds what it was told and nothing else, and a read shows just that | every step | the auditor |
//! | it sends only values that it holds, in batches of the size allowed | every step | the auditor |
//! | its own structures are sound | every step | [`Inspect::audit`] |
//! | clients are answered, and well | after the run | [`Simulation::run`] |
//! | nothing that was acknowledged is lost, unless every node that held it was killed; no read shows a value twice | after the run | [set-full](super::check::set_full) and the auditor |
//! | every node holds the same values in the end, within the bound; silence from then on, or little noise | after the run | [`Simulation::run`] |

mod auditor;
mod failure;
mod minimise;
mod options;
#[cfg(feature = "planted-bugs")]
pub mod planted;
pub mod report;
mod story;
mod survey;

use std::collections::BTreeSet;
use std::hash::Hasher;
use std::io;
use std::time::Duration;

use rand::RngExt;
use twox_hash::XxHash3_64;

pub use self::failure::Failure;
pub use self::minimise::{Failing, minimise};
pub use self::options::Options;
pub use self::story::story;
pub use self::survey::{Found, Minimised, Spread, Summary, survey};

use self::auditor::Auditor;
use self::failure::{duplicated, lost, set_full, unanswered};
use super::hazards::{EXTRA_MAX, Hazards};
use super::history::History;
use super::nemesis::{Nemesis, Step, Trouble};
use super::network::Passage;
use super::scenario::{LatencyDist, Scenario, Verbosity};
use super::streams::{Stream, stream};
use super::topology::diameter;
use super::trial::{Fault, Quiet, Results, Trial};
use super::virtual_time;
use crate::config::Config;
use crate::gossip::{LockFree, SELDOM};
use crate::node::{Inspect, Time};
#[cfg(feature = "planted-bugs")]
use crate::planted::{Bug, plant};
use crate::protocol::{Generation, Value};
use crate::queue::SLOTS;
use crate::runtime::cli::Design;
use crate::simple::Simple;

/// The shortest time that a cluster is watched after it should have fallen silent.
const WATCHED_MIN: Duration = Duration::from_secs(5);
/// The most messages that each node may send in a second, on average, when there is nothing new to say and some can't be
/// reached. A node tries its hub three times a second, a hub each of its children, and each may look at one other node and
/// be asked to look at another; with the answers that makes twelve, and half as many to spare.
const NOISE_MAX: usize = 18;
/// What is allowed beside all that is counted, for things that come due at the same moment.
const SPARE: Duration = Duration::from_millis(100);

/// What is simulated, but for the seed.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// A broadcast scenario.
    pub scenario: Scenario,
    /// What strikes it.
    pub hazards: Hazards,
    /// Which design the nodes are of.
    pub design: Design,
    /// Their settings.
    pub config: Config,
    /// The options that these settings come from.
    pub node_options: Vec<String>,
    /// What is wrong with them.
    #[cfg(feature = "planted-bugs")]
    pub bug: Option<Bug>,
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
    /// From the end of the faults to the last time that a node learnt a value; from a later time, if a message
    /// that had been under way brought a value back whose last holder had been killed.
    pub convergence: Duration,
    /// How long that may take.
    pub bound: Duration,
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
        #[cfg(feature = "planted-bugs")]
        plant(self.bug);
        match self.design {
            Design::LockFree => self.run_nodes(seed, keep, LockFree::new),
            Design::Simple => self.run_nodes(seed, keep, Simple::new),
        }
    }

    fn run_nodes<N: Inspect>(&self, seed: u64, keep: Keep, new_node: fn(Config, u64) -> N) -> Run {
        let Simulation { scenario, config, .. } = self;
        let steps = self.steps(seed);
        let detours = detours(scenario.nodes(), &steps);
        let bound = self.bound(&steps);
        let disturbed = steps.iter().any(|(_, step)| {
            matches!(step, Step::Disturb(_, Trouble::Pause | Trouble::Slow(_) | Trouble::Kill))
        });
        // The last message to arrive may have to be acknowledged.
        let silent_after = bound.saturating_add(EXTRA_MAX + self.delay_max());
        // Whoever repeats something does so at least that often.
        let watched = WATCHED_MIN.max(2 * config.retry.longest());

        let nemesis = Nemesis::new(steps.into_iter());
        let most = silent_after.saturating_add(watched);
        // Nodes that are cut off for good keep trying, and that would take long to simulate.
        let settled_after = EXTRA_MAX + 2 * self.delay_max();
        let least = if detours.is_some() { settled_after + watched } else { most };
        let quiet = Quiet { least, most };
        let mut trial = Trial::under(nemesis, quiet, scenario, seed, Verbosity::default(), Time::ZERO);
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
            new_node(Config { first_generation, ..config.clone() }, rng.random())
        };
        let mut auditor = Auditor::new(scenario.nodes(), config.batch_max, keep.whereabouts_of);
        let driven = virtual_time::drive(&mut trial, new_life, &mut auditor);

        let began = trial.began().unwrap_or_default();
        let healed = began + scenario.time_limit();
        let trace = trial.take_trace();
        let (results, history) = trial.finish();
        // What nobody held any more spreads from when a late message brought it back.
        let convergence = auditor.last_learnt.since(healed.max(auditor.last_revival));
        let sent_until = auditor.last_sent.since(healed);
        // What came late was passed on, and acknowledged.
        let settled = (healed + settled_after).max(auditor.last_learnt + 2 * self.delay_max());
        let noisiest = auditor.most_sent(settled);
        let fault = driven.err().map(|fault| Failure::Fault { at: auditor.now.since(began), fault });
        let failure = fault
            .or_else(|| unanswered(&history, scenario.time_limit(), disturbed))
            .or_else(|| duplicated(&results))
            .or_else(|| auditor.missing())
            .or_else(|| lost(&results, |value| auditor.died(value)))
            .or_else(|| (convergence > bound).then_some(Failure::Late { took: convergence, bound }))
            .or_else(|| match detours {
                Some(_) => {
                    let most = NOISE_MAX * scenario.nodes();
                    (noisiest > most).then_some(Failure::Noisy { messages: noisiest, most })
                }
                None => {
                    // Who is not where the plan has it may well not be silent either: this says why.
                    let departed = auditor.departure.take();
                    let departed = departed.map(|(node, what)| Failure::Departed { node, what });
                    departed.or_else(|| {
                        (sent_until > silent_after)
                            .then_some(Failure::Restless { until: sent_until, bound: silent_after })
                    })
                }
            });
        let concerned = failure.as_ref().and_then(|failure| match failure {
            Failure::Late { .. } => auditor.last_news,
            Failure::Fault { fault: Fault::Broken { .. }, .. } => auditor.suspect,
            other => other.value(),
        });
        let Auditor { holdings, whereabouts, .. } = auditor;
        Run { results, history, trace, began, holdings, whereabouts, concerned, convergence, bound, failure }
    }

    /// What the nemesis does. The simple design knows no way around a cut, so none is for good there.
    fn steps(&self, seed: u64) -> Vec<(Duration, Step)> {
        let Simulation { scenario, hazards, design, .. } = self;
        let mut steps = hazards.steps(seed, scenario.nodes(), scenario.time_limit());
        if *design == Design::Simple {
            steps.retain(|(_, step)| !matches!(step, Step::CutForGood(_)));
        }
        steps
    }

    /// The longest that values may take to reach every node once the faults have ended.
    ///
    /// In the simple design: the longest wait for a retry, after which every link works again; then a flush and a round
    /// trip for each hop, and for each batch that has piled up (every value there is, at worst), and one to spare. Where
    /// a queue may overflow, every value may have to be sent anew, twice over each hop.
    ///
    /// In the lock-free design: four seconds, for two waits by estimates that wrong clocks have spoilt, and four one-way
    /// delays; and a round trip for each window of batches. Around links that are cut for good, values may have to cross
    /// each link of a path as a node looks at one other after the other: as many looks as there are nodes, [`SELDOM`]
    /// intervals apart.
    ///
    /// A node that was killed may be started at the very end of the faults. It waits for a topology, which nobody sends
    /// it, and then has repaired what it has forgotten.
    #[must_use]
    pub fn bound(&self, steps: &[(Duration, Step)]) -> Duration {
        let Simulation { scenario, config, design, .. } = self;
        let bursts = steps.iter().map(|(_, step)| if let Step::Burst(_, count) = step { *count } else { 0 });
        // Every other operation is a broadcast, on average; all of them never are.
        let values = (scenario.rate * scenario.time_limit) as usize + bursts.sum::<usize>();
        let killed = steps.iter().any(|(_, step)| matches!(step, Step::Disturb(_, Trouble::Kill)));
        let grace = if killed { config.start_grace } else { Duration::ZERO };
        let round_trip = 2 * self.delay_max();
        let times = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        match design {
            Design::LockFree => {
                let overflows = if values > config.queue_limit { 4 } else { 1 };
                let windows = values.div_ceil(config.batch_max * SLOTS).saturating_mul(overflows);
                let hops = detours(scenario.nodes(), steps).map_or(0, |linked| diameter(&linked));
                let looks = hops.saturating_mul(scenario.nodes()).saturating_mul(SELDOM as usize);
                grace
                    + Duration::from_secs(4)
                    + 2 * round_trip
                    + round_trip.saturating_mul(times(windows))
                    + config.explore_interval.saturating_mul(times(looks))
            }
            Design::Simple => {
                let hops = diameter(&scenario.topology.neighbours(scenario.nodes()));
                let round = config.flush_interval + round_trip;
                let overflows = if values > config.queue_limit { 2 * hops } else { 1 };
                let windows = values.div_ceil(config.batch_max).saturating_mul(overflows);
                let rounds = hops.saturating_add(windows).saturating_add(if killed { 2 } else { 1 });
                (config.retry.longest() + SPARE + grace).saturating_add(round.saturating_mul(times(rounds)))
            }
        }
    }

    /// The longest delay to reckon with in good weather.
    fn delay_max(&self) -> Duration {
        let factor = match self.scenario.latency_dist {
            LatencyDist::Constant => 1.0,
            LatencyDist::Uniform => 2.0,
            // Longer ones are one in 150, and never many in a row.
            LatencyDist::Exponential => 5.0,
        };
        Duration::from_secs_f64(factor * self.scenario.latency / 1000.0)
    }
}

/// The nodes that each one may still talk to in the end, if some links were cut for good.
fn detours(nodes: usize, steps: &[(Duration, Step)]) -> Option<Vec<Vec<usize>>> {
    let cuts = steps.iter().rev().find_map(|(_, step)| match step {
        Step::CutForGood(cuts) => Some(cuts),
        _ => None,
    })?;
    let mut linked: Vec<Vec<usize>> = vec![(0..nodes).collect(); nodes];
    for &(receiver, source) in cuts {
        linked[receiver].retain(|&node| node != source);
    }
    Some(linked)
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
