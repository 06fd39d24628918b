//! Many seeds, on all cores, and what they show together.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::node::Time;
use crate::runtime::Clock;

use super::{Failing, Failure, Keep, Run, Simulation, digest, minimise, set_full, story};

/// After so many failing seeds nothing new is to be learnt.
const FAILURES_MAX: u64 = 10;
/// Of so many seeds on…
const SEEDS_THAT_TELL: u64 = 100;
/// …all but one in twenty need no more than this part of the time that healing may take.
const PERCENT_MAX: f64 = 50.0;
/// Where messages take more than a second, nodes know of that only after most of a run: then it may be this part.
const PERCENT_MAX_SLOW: f64 = 75.0;
const SLOW_LATENCY_MS: f64 = 1000.0;

/// What a run adds to the survey.
struct Figures {
    seed: u64,
    msgs_per_op: f64,
    latency_ms: Option<(u64, u64)>,
    convergence: Duration,
    percent_of_bound: Option<f64>,
    digest: u64,
    failure: Option<Failure>,
}

impl Figures {
    fn of(seed: u64, run: &Run) -> Self {
        let latencies = set_full(&run.results).and_then(|set| set.stable_latencies);
        Self {
            seed,
            msgs_per_op: run.results.net.servers.msgs_per_op,
            latency_ms: latencies.map(|quantiles| (quantiles.median, quantiles.max)),
            convergence: run.convergence,
            percent_of_bound: run.percent_of_bound,
            digest: digest(&run.history),
            failure: run.failure.clone(),
        }
    }
}

/// How a figure is spread over seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Spread {
    /// Half of the seeds are at or below it.
    pub median: f64,
    /// 95 % of them are.
    pub p95: f64,
    /// The greatest.
    pub max: f64,
    /// A seed that has it.
    pub max_seed: u64,
}

/// Counts a figure that is never negative, to three digits.
struct Counter {
    /// In thousandths.
    histogram: Histogram<u64>,
    max: (f64, u64),
}

impl Counter {
    fn new() -> Self {
        let mut histogram = Histogram::new(3).expect("three digits are possible");
        histogram.auto(true);
        Self { histogram, max: (0.0, 0) }
    }

    fn add(&mut self, seed: u64, figure: f64) {
        self.histogram.record((figure * 1000.0).round() as u64).expect("the histogram grows as it needs");
        // Of several seeds the first one, whichever came first.
        if figure > self.max.0 || (figure == self.max.0 && seed < self.max.1) || self.histogram.len() == 1 {
            self.max = (figure, seed);
        }
    }

    fn spread(&self) -> Option<Spread> {
        let quantile = |q| self.histogram.value_at_quantile(q) as f64 / 1000.0;
        let (max, max_seed) = self.max;
        let any = !self.histogram.is_empty();
        any.then(|| Spread { median: quantile(0.5).min(max), p95: quantile(0.95).min(max), max, max_seed })
    }
}

/// What many seeds show together.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Summary {
    /// The first seed.
    pub first_seed: u64,
    /// How many were run.
    pub seeds: u64,
    /// How long that took, in seconds.
    pub took_s: f64,
    /// Whether all holds of every one.
    pub valid: bool,
    /// Servers' messages an operation; none if nothing ran.
    pub msgs_per_op: Option<Spread>,
    /// Each seed's median stable latency, in milliseconds.
    pub median_latency_ms: Option<Spread>,
    /// Each seed's greatest stable latency, in milliseconds.
    pub max_latency_ms: Option<Spread>,
    /// Each seed's time from the end of the faults until every node held everything, in milliseconds.
    pub convergence_ms: Option<Spread>,
    /// Each seed's longest time from a fault or a value until every node held everything, of the times at which every node
    /// could be reached, as a percentage of what it may take.
    pub percent_of_bound: Option<Spread>,
    /// Whether too many seeds needed too much of that time.
    pub slow: bool,
    /// How many seeds failed, by what found it.
    pub failed: BTreeMap<&'static str, u64>,
    /// A hash of all histories: equal for equal seeds and options, on any machine. None if failures ended the
    /// survey early: which runs were still made then depends on the machine.
    pub digest: Option<String>,
    /// What went wrong, by seed.
    pub failures: Vec<Found>,
}

/// A seed that failed.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Found {
    /// The seed.
    pub seed: u64,
    /// What failed.
    pub what: String,
    /// What found it.
    pub found_by: &'static str,
    /// The command that shows it again.
    pub command: String,
}

impl Found {
    fn new(simulation: &Simulation, seed: u64, failure: &Failure) -> Self {
        let (what, found_by) = (failure.to_string(), failure.found_by());
        Self { seed, what, found_by, command: simulation.command(seed) }
    }
}

/// A small run that fails.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Minimised {
    /// The run.
    #[serde(flatten)]
    pub found: Found,
    /// What happened, line by line.
    pub story: Vec<String>,
}

impl Minimised {
    /// The smallest run that fails like the first that failed, of those found in so much real time; none if
    /// none failed.
    #[must_use]
    pub fn of(summary: &Summary, simulation: &Simulation, patience: Duration) -> Option<Self> {
        let seed = summary.failures.first()?.seed;
        let failure = simulation.run(seed, Keep::default()).failure?;
        let least = minimise(Failing { simulation: simulation.clone(), seed, failure }, patience);
        Some(Self { found: Found::new(&least.simulation, least.seed, &least.failure), story: story(&least) })
    }
}

/// Runs seeds on all cores. Stops early after some failures. Calls `done` after each run, with what failed if
/// something did.
#[must_use]
pub fn survey(
    simulation: &Simulation,
    first_seed: u64,
    seeds: u64,
    done: impl FnMut(u64, Option<&Found>),
) -> Summary {
    survey_until(simulation, first_seed, seeds, FAILURES_MAX, done)
}

/// Runs seeds on all cores, as [`survey`] does. Stops early after so many failures.
#[must_use]
pub fn survey_until(
    simulation: &Simulation,
    first_seed: u64,
    seeds: u64,
    failures_max: u64,
    mut done: impl FnMut(u64, Option<&Found>),
) -> Summary {
    let clock = Clock::start();
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let (sender, receiver) = mpsc::sync_channel(2 * cores);
    let mut counters = std::array::from_fn::<_, 5, _>(|_| Counter::new());
    let (mut runs, mut all_digests, mut failures) = (0, 0, BTreeMap::new());
    // Relaxed, both: the count deals out numbers, the flag only saves work.
    let run_next = || {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let seed = first_seed.wrapping_add(number);
        let is_wanted = number < seeds && !stop.load(Ordering::Relaxed);
        is_wanted.then(|| Figures::of(seed, &simulation.run(seed, Keep::default())))
    };
    thread::scope(|scope| {
        let mut threads = 0;
        for _ in 0..cores {
            let sender = sender.clone();
            let work = move || while run_next().is_some_and(|figures| sender.send(figures).is_ok()) {};
            threads += usize::from(thread::Builder::new().spawn_scoped(scope, work).is_ok());
        }
        drop(sender);
        // Where the system gives no threads, this one does the work.
        let by_itself = std::iter::from_fn(|| if threads == 0 { run_next() } else { None });
        for figures in receiver.into_iter().chain(by_itself) {
            let Figures { seed, msgs_per_op, latency_ms, convergence, percent_of_bound, digest, failure } =
                figures;
            runs += 1;
            // A sum, so that the order in which runs end doesn't matter.
            all_digests = digest.wrapping_add(all_digests);
            let found = failure.map(|failure| Found::new(simulation, seed, &failure));
            done(runs, found.as_ref());
            match found {
                Some(found) => drop(failures.insert(seed, found)),
                None => {
                    let [messages, median, max, converged, percent] = &mut counters;
                    messages.add(seed, msgs_per_op);
                    if let Some((median_ms, max_ms)) = latency_ms {
                        median.add(seed, median_ms as f64);
                        max.add(seed, max_ms as f64);
                    }
                    converged.add(seed, convergence.as_secs_f64() * 1000.0);
                    if let Some(percent_of_bound) = percent_of_bound {
                        percent.add(seed, percent_of_bound);
                    }
                }
            }
            if failures.len() as u64 >= failures_max {
                stop.store(true, Ordering::Relaxed);
            }
        }
    });
    let took_s = clock.now().since(Time::ZERO).as_secs_f64();
    let [msgs_per_op, median_latency_ms, max_latency_ms, convergence_ms, percent_of_bound] =
        counters.map(|c| c.spread());
    let most = if simulation.scenario.latency > SLOW_LATENCY_MS { PERCENT_MAX_SLOW } else { PERCENT_MAX };
    let is_slow = |percent: &Spread| runs >= SEEDS_THAT_TELL && percent.p95 > most;
    let slow = percent_of_bound.as_ref().is_some_and(is_slow);
    let mut failed = BTreeMap::new();
    failures.values().for_each(|found: &Found| *failed.entry(found.found_by).or_default() += 1);
    Summary {
        first_seed,
        seeds: runs,
        took_s,
        valid: failures.is_empty() && !slow,
        msgs_per_op,
        median_latency_ms,
        max_latency_ms,
        convergence_ms,
        percent_of_bound,
        slow,
        failed,
        digest: (runs == seeds).then(|| format!("{all_digests:016x}")),
        failures: failures.into_values().collect(),
    }
}
