//! A node of your own in virtual time, seed after seed: a test for `cargo test`.
//!
//! ```
//! use natter::app::App;
//! use natter::cluster::scenario::FaultKind;
//! use natter::workload::echo;
//! use serde_json::Value;
//!
//! fn app() -> App<()> {
//!     App::new(()).on("echo", |_, request: Value| async move { Ok(serde_json::json!({ "echo": request["echo"] })) })
//! }
//!
//! natter::check(echo::KIND).nodes(3).faults([FaultKind::Partition]).seeds(0..10).run(app);
//! ```

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::num::NonZero;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rand::RngExt;

use crate::app::{App, caught_now};
use crate::check::availability::Availability;
use crate::check::{Finding, Valid};
use crate::cluster::nemesis::Step;
use crate::cluster::scenario::FaultKind::{Kill, KillForGood, Pause};
use crate::cluster::scenario::{Concurrency, FaultKind, LatencyDist, Scenario, Verbosity};
use crate::cluster::streams::{Stream, stream};
use crate::cluster::trial::{Results, Trial};
use crate::cluster::virtual_time::{self, Act, Watch};
use crate::node::{Node, Report, Time};
use crate::runtime::Clock;
use crate::workload::{Options, WorkloadKind};

/// How long to look for a smaller run that fails alike.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many seeds are tried for each smaller run.
const SEEDS_TRIED: u64 = 10;
/// One run in so many may show nothing.
const SHOWN_PART: u64 = 10;
/// Of so many runs a fault must strike in one.
const STRUCK_WITHIN: u64 = 10;
/// A quarter of an hour.
const LATENCY_MAX_MS: f64 = 900_000.0;
/// So many steps are told of a run that fails, messages and faults: half of them from its beginning, and half from its end.
const STEPS_TOLD: usize = 120;

/// What is to be run: five nodes, ten seconds at rate 20, no latency and no faults, unless something else is said.
#[derive(Clone, Debug)]
pub struct Check {
    scenario: Scenario,
    seeds: Range<u64>,
}

/// Checks nodes with a workload in virtual time. Say what is to be run, then [run](Check::run) it.
#[must_use = "nothing is run before `run`"]
pub fn check(workload: WorkloadKind) -> Check {
    let scenario =
        Scenario { time_limit: 10.0, rate: 20.0, nemesis_interval: 2.0, ..Scenario::new(workload) };
    Check { scenario, seeds: 0..100 }
}

impl Check {
    /// So many nodes.
    #[must_use]
    pub fn nodes(mut self, nodes: u32) -> Self {
        self.scenario.node_count = nodes;
        self
    }

    /// So many clients for each node.
    #[must_use]
    pub fn clients(mut self, a_node: u32) -> Self {
        self.scenario.concurrency = Concurrency::PerNode(a_node);
        self
    }

    /// So many requests a second, by all clients together.
    #[must_use]
    pub fn rate(mut self, rate: f64) -> Self {
        self.scenario.rate = rate;
        self
    }

    /// For how long clients make requests, in virtual time.
    #[must_use]
    pub fn time_limit(mut self, time: Duration) -> Self {
        self.scenario.time_limit = time.as_secs_f64();
        self
    }

    /// The mean delay of messages between nodes, and how delays are spread around it.
    #[must_use]
    pub fn latency(mut self, mean: Duration, dist: LatencyDist) -> Self {
        (self.scenario.latency, self.scenario.latency_dist) = (mean.as_secs_f64() * 1000.0, dist);
        self
    }

    /// What strikes.
    #[must_use]
    pub fn faults(mut self, faults: impl IntoIterator<Item = FaultKind>) -> Self {
        self.scenario.nemesis = faults.into_iter().collect();
        self
    }

    /// How long it is between the beginning of a fault and its end, and from there to the next, on average.
    #[must_use]
    pub fn nemesis_interval(mut self, interval: Duration) -> Self {
        self.scenario.nemesis_interval = interval.as_secs_f64();
        self
    }

    /// What part of the requests must succeed.
    #[must_use]
    pub fn availability(mut self, availability: Availability) -> Self {
        self.scenario.availability = Some(availability);
        self
    }

    /// What the workload can be told.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.scenario.options = options;
        self
    }

    /// Which seeds: each is another run, and the same seed is the same run.
    #[must_use]
    pub fn seeds(mut self, seeds: Range<u64>) -> Self {
        self.seeds = seeds;
        self
    }

    /// Runs the app, a fresh one for each life of a node, with each of the seeds.
    ///
    /// # Panics
    /// If a run isn't valid, or a handler panics: tells what is wrong, in the smallest run that was found that fails alike. And if nothing
    /// can be checked so: without nodes, clients, requests or seeds, or if none of the faults strikes in ten runs or more. A run in which faults leave
    /// nothing to judge, as all nodes were killed at the beginning, is no failure unless more than a tenth of the runs are such.
    pub fn run<S: Send + 'static>(self, app: impl Fn() -> App<S> + Sync) {
        self.run_nodes(|seed| app().with_seed(seed));
    }

    /// The same for nodes of another make, each of which is given a seed of its own.
    ///
    /// # Panics
    /// As [`run`](Check::run) does.
    pub fn run_nodes<N: Node>(self, new_node: impl Fn(u64) -> N + Sync) {
        if let Some(why) = self.refused() {
            panic!("nothing can be checked so: {why}");
        }
        let Found { failed, valid, empty, first_empty, has_struck } = self.all(&new_node);
        let runs = self.seeds.end - self.seeds.start;
        if let Some((seed, wrong)) = failed {
            panic!("{}", self.story(seed, &wrong, &new_node));
        }
        if let Some((seed, wrong)) = first_empty.filter(|_| SHOWN_PART * empty > runs) {
            let name = self.scenario.workload.name;
            panic!(
                "in {empty} of {runs} runs of {name} nothing can be judged. In that of seed {seed}:\n\n{}",
                wrong.told
            );
        }
        assert!(valid > 0, "no run had so many requests that something can be judged: ask for more of them");
        let may_not_strike = self.scenario.nemesis.is_empty() || runs < STRUCK_WITHIN;
        assert!(
            has_struck || may_not_strike,
            "none of the faults ever struck: the time limit of {} s is short for a nemesis interval of {} s, or there are too few nodes",
            self.scenario.time_limit,
            self.scenario.nemesis_interval
        );
    }

    /// Why nothing can be checked with these settings.
    fn refused(&self) -> Option<String> {
        let Scenario {
            node_count,
            concurrency,
            rate,
            time_limit,
            latency,
            ref nemesis,
            nemesis_interval,
            ..
        } = self.scenario;
        let why = if self.seeds.is_empty() {
            "there are no seeds"
        } else if node_count == 0 {
            "there are no nodes"
        } else if matches!(concurrency, Concurrency::PerNode(0)) {
            "there are no clients"
        } else if !rate.is_finite() || rate <= 0.0 {
            "the rate must be a number above 0"
        } else if rate * time_limit < 1.0 {
            "no request is made at that rate within the time limit"
        } else if latency > LATENCY_MAX_MS {
            "the latency is more than a quarter of an hour"
        } else if !nemesis.is_empty() && nemesis_interval <= 0.0 {
            "the nemesis interval must be above 0"
        } else if node_count == 1 && nemesis.iter().any(|fault| !matches!(fault, Kill | KillForGood | Pause))
        {
            "faults of links need two nodes"
        } else {
            return self.scenario.refused();
        };
        Some(why.to_owned())
    }

    /// Runs all seeds, or those up to the first whose run isn't valid.
    fn all<N: Node>(&self, new_node: &(impl Fn(u64) -> N + Sync)) -> Found {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let next = AtomicU64::new(self.seeds.start);
        let found = Mutex::new(Found::default());
        let found = || found.lock().unwrap_or_else(PoisonError::into_inner);
        let work = || {
            loop {
                // Relaxed: the count deals out numbers.
                let deal = |seed| (seed < self.seeds.end).then(|| seed + 1);
                let Ok(seed) = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, deal) else { break };
                if found().failed.as_ref().is_some_and(|(first, _)| *first < seed) {
                    break;
                }
                let Ran { wrong, has_struck, .. } = self.one(seed, new_node, false);
                let mut found = found();
                found.has_struck |= has_struck;
                let Some(wrong) = wrong else {
                    found.valid += 1;
                    continue;
                };
                if wrong.is_of_few_requests {
                    continue;
                }
                // What faults do to all nodes says nothing of the nodes.
                let is_forgiven = wrong.is_empty && !self.scenario.nemesis.is_empty();
                found.empty += u64::from(is_forgiven);
                let first = if is_forgiven { &mut found.first_empty } else { &mut found.failed };
                if first.as_ref().is_none_or(|(other, _)| seed < *other) {
                    *first = Some((seed, wrong));
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..cores {
                // Where the system gives no threads, this one does the work.
                let _ = thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
        std::mem::take(&mut *found())
    }

    /// Runs one seed. What happened is told if that is asked for.
    fn one<N: Node>(&self, seed: u64, new_node: &impl Fn(u64) -> N, traced: bool) -> Ran {
        let mut trial = Trial::new(&self.scenario, seed, Verbosity::default(), Time::ZERO);
        if traced {
            trial.keep_trace();
        }
        let mut rng = stream(seed, Stream::Nodes);
        let mut diary = Diary::default();
        // Nothing of the run is looked at again but what is told of it.
        let driven = caught_now(|| virtual_time::drive(&mut trial, |_| new_node(rng.random()), &mut diary));
        let began = trial.began().unwrap_or_default();
        let passages = trial.take_trace();
        // A fault comes before what it does.
        let Diary(mut happened) = diary;
        let mut has_struck = false;
        let passages = passages.iter().filter(|passage| !passage.is_instant());
        happened.extend(passages.map(|passage| (passage.at, passage.in_full())));
        happened.sort_by_key(|(at, _)| *at);
        let wrong = match driven {
            Err(said) => Some(Wrong::of_sentence(format!("a node panicked: {said}"))),
            Ok(Err(violation)) => Some(Wrong::of_sentence(format!("n{} {violation}", violation.node()))),
            Ok(Ok(())) => {
                let results = trial.finish().0;
                has_struck = !results.faults.is_empty();
                Wrong::of(&results)
            }
        };
        Ran { wrong, happened, began, has_struck }
    }

    /// The kind of mistake that one seed shows.
    fn kind<N: Node>(&self, seed: u64, new_node: &impl Fn(u64) -> N) -> Option<String> {
        self.one(seed, new_node, false).wrong.map(|wrong| wrong.kind)
    }

    /// The smallest run that fails in this way, of those found in some seconds, and its seed.
    fn smallest<N: Node>(&self, seed: u64, kind: &str, new_node: &impl Fn(u64) -> N) -> (Check, u64) {
        let clock = Clock::start();
        let (mut least, mut seed) = (self.clone(), seed);
        loop {
            let mut candidates = least.smaller().into_iter().flat_map(|smaller| {
                (0..SEEDS_TRIED).map(move |number| (smaller.clone(), seed.wrapping_add(number)))
            });
            let found = candidates.find(|(smaller, seed)| {
                clock.now().since(Time::ZERO) < PATIENCE
                    && smaller.kind(*seed, new_node).as_deref() == Some(kind)
            });
            match found {
                Some(found) => (least, seed) = found,
                None => return (least, seed),
            }
        }
    }

    /// Runs that are smaller by one step, the smallest first.
    fn smaller(&self) -> Vec<Check> {
        let Scenario { node_count, time_limit, rate, ref nemesis, .. } = self.scenario;
        let with = |change: &dyn Fn(&mut Scenario)| {
            let mut smaller = self.clone();
            change(&mut smaller.scenario);
            smaller
        };
        let mut all = Vec::new();
        for fault in nemesis {
            let others: Vec<FaultKind> = nemesis.iter().filter(|&other| other != fault).copied().collect();
            all.push(with(&|scenario| scenario.nemesis.clone_from(&others)));
        }
        let fewer = [1, 2, 3, 5].into_iter().filter(|&nodes| nodes < node_count);
        all.extend(fewer.map(|nodes| with(&|scenario| scenario.node_count = nodes)));
        let shorter = [1.0, 2.0, 5.0].into_iter().filter(|&time| time < time_limit);
        all.extend(shorter.map(|time| with(&|scenario| scenario.time_limit = time)));
        let seldom = [2.0, 5.0, 10.0, 20.0].into_iter().filter(|&seldom| seldom < rate);
        all.extend(seldom.map(|rate| with(&|scenario| scenario.rate = rate)));
        all.retain(|check| check.refused().is_none());
        all
    }

    /// Tells how a run fails.
    fn story<N: Node>(&self, seed: u64, wrong: &Wrong, new_node: &impl Fn(u64) -> N) -> String {
        let name = self.scenario.workload.name;
        if self.kind(seed, new_node).as_deref() != Some(&wrong.kind) {
            return format!(
                "{name} fails with seed {seed}, and does not fail so when it is run again: something in the node differs from run to run. \
                 The order of a HashMap or HashSet does, and so do clocks, threads, statics, and random numbers that are not the node's. \
                 The first time it was this:\n\n{}",
                wrong.told
            );
        }
        // That nothing can be judged, a small run shows whatever the nodes do.
        let is_shrunk = !wrong.is_empty;
        let (least, other) =
            if is_shrunk { self.smallest(seed, &wrong.kind, new_node) } else { (self.clone(), seed) };
        let which = if is_shrunk { "So does a smaller run" } else { "The run" };
        let Scenario { node_count, time_limit, rate, latency, nemesis, .. } = &least.scenario;
        let faults: Vec<String> = nemesis.iter().map(|fault| format!("{fault:?}")).collect();
        let Ran { wrong, happened, began, .. } = least.one(other, new_node, true);
        let mut text = format!(
            "{name} fails with seed {seed}. {which}, latency {latency} ms:\n    \
             .nodes({node_count}).time_limit(Duration::from_secs_f64({time_limit:?})).rate({rate:?}).faults([{}]).seeds({other}..{})\n\n{}\n\n",
            faults.join(", "),
            other.saturating_add(1),
            wrong.map_or_else(String::new, |wrong| wrong.told)
        );
        text += "what happened, without what is said again and again:\n";
        let mut told = HashSet::new();
        let news: Vec<&(Time, String)> =
            happened.iter().filter(|(at, what)| *at >= began && told.insert(what)).collect();
        let left_out = news.len().saturating_sub(STEPS_TOLD);
        for (number, (at, what)) in news.into_iter().enumerate() {
            if left_out > 0 && number == STEPS_TOLD / 2 {
                text += &format!("             … {left_out} more …\n");
            }
            if number < STEPS_TOLD / 2 || number >= STEPS_TOLD / 2 + left_out {
                text += &format!("{:9.3} s  {what}\n", at.since(began).as_secs_f64());
            }
        }
        text
    }
}

/// What one seed shows.
struct Ran {
    wrong: Option<Wrong>,
    /// What became of messages, which faults struck and what nodes reported, in words.
    happened: Vec<(Time, String)>,
    /// When clients began.
    began: Time,
    /// Whether any fault struck.
    has_struck: bool,
}

/// Notes what messages don't show.
#[derive(Default)]
struct Diary(Vec<(Time, String)>);

impl<N: Node> Watch<N> for Diary {
    fn acted(&mut self, act: Act<'_, N>) -> Result<(), String> {
        for report in act.out.reports() {
            let what = match report {
                Report::Panicked(what) => return Err(format!("panicked in {what}")),
                Report::Skipped(why) => format!("skips a line: {why}"),
                Report::Note(what) => format!("reports: {what}"),
            };
            self.0.push((act.now, format!("n{} {what}", act.index)));
        }
        Ok(())
    }

    fn struck(&mut self, now: Time, step: &Step) {
        self.0.push((now, format!("[{step}]")));
    }
}

/// What is found while seeds are run.
#[derive(Default)]
struct Found {
    /// The first seed that fails, and how.
    failed: Option<(u64, Wrong)>,
    /// How many runs are valid.
    valid: u64,
    /// How many runs show nothing, and the first of them.
    empty: u64,
    first_empty: Option<(u64, Wrong)>,
    /// Whether a fault struck in any run.
    has_struck: bool,
}

/// What is wrong with a run.
struct Wrong {
    /// Nothing but that nothing was checked, or that not one operation of a kind succeeded.
    is_empty: bool,
    /// The same, though every request that was made succeeded: there were too few.
    is_of_few_requests: bool,
    /// In words.
    told: String,
    /// The same of runs that fail alike, whichever the node, value and time.
    kind: String,
}

impl Wrong {
    fn of_sentence(told: String) -> Self {
        Self {
            is_empty: false,
            is_of_few_requests: false,
            kind: told.chars().filter(|char| !char.is_ascii_digit()).collect(),
            told,
        }
    }

    /// Nothing if the run is valid.
    fn of(results: &Results) -> Option<Self> {
        if results.valid == Valid::True {
            return None;
        }
        let paragraph =
            |finding: &Finding| format!("{}\n{}", finding.what, finding.hint).trim_end().to_owned();
        let told: Vec<String> = results.findings.iter().map(paragraph).collect();
        let first = results.findings.first().map_or("", |finding| &finding.hint);
        let is_empty = results.workload.valid != Valid::False && results.availability.valid == Valid::True;
        let all = &results.stats.all;
        let is_of_few_requests = is_empty && all.ok_count == all.count;
        Some(Self {
            is_empty,
            is_of_few_requests,
            told: told.join("\n\n"),
            kind: format!("{:?} {first}", results.valid),
        })
    }
}
