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

use std::collections::HashSet;
use std::num::NonZero;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rand::RngExt;

use crate::app::App;
use crate::check::availability::Availability;
use crate::check::{Finding, Valid};
use crate::cluster::nemesis::Step;
use crate::cluster::scenario::{Concurrency, FaultKind, LatencyDist, Scenario, Verbosity};
use crate::cluster::streams::{Stream, stream};
use crate::cluster::trial::{Results, Trial, Violation};
use crate::cluster::virtual_time::{self, Watch};
use crate::node::{Node, Time};
use crate::runtime::Clock;
use crate::workload::{Options, WorkloadKind};

/// How long to look for a smaller run that fails alike.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many seeds are tried for each smaller run.
const SEEDS_TRIED: u64 = 10;
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
    /// If a run isn't valid: tells what is wrong, in the smallest run that was found that fails alike. A run that shows nothing, as
    /// all nodes were killed, is no failure; more than half of the runs are.
    pub fn run<S: Send + 'static>(self, app: impl Fn() -> App<S> + Sync) {
        self.run_nodes(|seed| app().with_seed(seed));
    }

    /// The same for nodes of another make, each of which is given a seed of its own.
    ///
    /// # Panics
    /// If a run isn't valid.
    pub fn run_nodes<N: Node>(self, new_node: impl Fn(u64) -> N + Sync) {
        let first = self.first_failure(&new_node);
        if let Some(seed) = first {
            let (check, seed) = self.smallest(seed, &new_node);
            panic!("{}", check.story(seed, &new_node));
        }
    }

    /// The first seed whose run isn't valid.
    fn first_failure<N: Node>(&self, new_node: &(impl Fn(u64) -> N + Sync)) -> Option<u64> {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let next = AtomicU64::new(self.seeds.start);
        let found = Mutex::new(Found::default());
        let found = || found.lock().unwrap_or_else(PoisonError::into_inner);
        let work = || {
            loop {
                // Relaxed: the count deals out numbers.
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= self.seeds.end || found().failed.is_some_and(|first| first < seed) {
                    break;
                }
                let Some(wrong) = self.one(seed, new_node, false).0 else { continue };
                let mut found = found();
                found.empty += u64::from(wrong.is_empty);
                let first = if wrong.is_empty { &mut found.first_empty } else { &mut found.failed };
                *first = Some(first.map_or(seed, |other| other.min(seed)));
            }
        };
        thread::scope(|scope| {
            for _ in 1..cores {
                // Where the system gives no threads, this one does the work.
                let _ = thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
        let Found { failed, empty, first_empty } = *found();
        let shows_little = 2 * empty > self.seeds.end - self.seeds.start;
        failed.or(first_empty.filter(|_| shows_little))
    }

    /// Runs one seed: what is wrong, and, if that is asked for, what became of each message and which faults struck.
    fn one<N: Node>(
        &self,
        seed: u64,
        new_node: &impl Fn(u64) -> N,
        traced: bool,
    ) -> (Option<Wrong>, Vec<(Time, String)>, Time) {
        let mut trial = Trial::new(&self.scenario, seed, Verbosity::default(), Time::ZERO);
        if traced {
            trial.keep_trace();
        }
        let mut rng = stream(seed, Stream::Nodes);
        let mut struck = Struck::default();
        let driven = virtual_time::drive(&mut trial, |_| new_node(rng.random()), &mut struck);
        let began = trial.began().unwrap_or_default();
        let passages = trial.take_trace();
        // A fault comes before what it does.
        let mut happened = struck.0;
        let passages = passages.iter().filter(|passage| !passage.is_instant());
        happened.extend(passages.map(|passage| (passage.at, passage.in_full())));
        happened.sort_by_key(|(at, _)| *at);
        let wrong = match driven {
            Err(violation) => Some(Wrong::of_violation(&violation)),
            Ok(()) => Wrong::of(&trial.finish().0),
        };
        (wrong, happened, began)
    }

    /// The kind of mistake that one seed shows.
    fn kind<N: Node>(&self, seed: u64, new_node: &impl Fn(u64) -> N) -> Option<String> {
        self.one(seed, new_node, false).0.map(|wrong| wrong.kind)
    }

    /// The smallest run that fails alike, of those found in some seconds, and its seed.
    fn smallest<N: Node>(&self, seed: u64, new_node: &impl Fn(u64) -> N) -> (Check, u64) {
        let clock = Clock::start();
        let (mut least, mut seed) = (self.clone(), seed);
        let kind = self.kind(seed, new_node);
        loop {
            let mut candidates = least.smaller().into_iter().flat_map(|smaller| {
                (0..SEEDS_TRIED).map(move |number| (smaller.clone(), seed.wrapping_add(number)))
            });
            let found = candidates.find(|(smaller, seed)| {
                clock.now().since(Time::ZERO) < PATIENCE && smaller.kind(*seed, new_node) == kind
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
        all.retain(|check| check.scenario.refused().is_none());
        all
    }

    /// Tells how a run fails.
    fn story<N: Node>(&self, seed: u64, new_node: &impl Fn(u64) -> N) -> String {
        let (wrong, happened, began) = self.one(seed, new_node, true);
        let Scenario { workload, node_count, time_limit, rate, latency, nemesis, .. } = &self.scenario;
        let faults: Vec<String> = nemesis.iter().map(|fault| fault.name()).collect();
        let faults = if faults.is_empty() { "none".to_owned() } else { faults.join(", ") };
        let mut text = format!(
            "{} with seed {seed} fails: {node_count} node{}, {time_limit} s at rate {rate}, latency {latency} ms, faults: {faults}\n\n",
            workload.name,
            if *node_count == 1 { "" } else { "s" },
        );
        text += &wrong.map_or_else(String::new, |wrong| wrong.told);
        text += "\n\nwhat happened, without what is said again and again:\n";
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

/// The faults that have struck, in words.
#[derive(Default)]
struct Struck(Vec<(Time, String)>);

impl<N: Node> Watch<N> for Struck {
    fn struck(&mut self, now: Time, step: &Step) {
        self.0.push((now, format!("[{step}]")));
    }
}

/// What is found while seeds are run.
#[derive(Default)]
struct Found {
    /// The first seed that fails.
    failed: Option<u64>,
    /// How many runs show nothing, and the first seed of one: if all nodes are killed at the beginning, that says nothing of the
    /// nodes.
    empty: u64,
    first_empty: Option<u64>,
}

/// What is wrong with a run.
struct Wrong {
    /// Nothing but that nothing was checked, or that not one operation of a kind succeeded.
    is_empty: bool,
    /// In words.
    told: String,
    /// The same of runs that fail alike, whichever the node, value and time.
    kind: String,
}

impl Wrong {
    fn of_violation(violation: &Violation) -> Self {
        let told = format!("n{} {violation}", violation.node());
        Self { is_empty: false, kind: told.chars().filter(|char| !char.is_ascii_digit()).collect(), told }
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
        Some(Self { is_empty, told: told.join("\n\n"), kind: format!("{:?} {first}", results.valid) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Context;
    use crate::workload::{broadcast, echo};
    use serde_json::{Value as Json, json};
    use std::panic::catch_unwind;

    /// What a check says that fails.
    fn said<S: Send + 'static>(check: Check, app: fn() -> App<S>) -> String {
        let panic = catch_unwind(|| check.run(app)).expect_err("it fails");
        panic.downcast_ref::<String>().expect("a text").clone()
    }

    /// Forgets every third request.
    fn forgetful() -> App<u64> {
        App::new(0).on("echo", |node: Context<u64>, request: Json| async move {
            let count = node.state(|count| {
                *count += 1;
                *count
            });
            if count.is_multiple_of(3) {
                node.sleep(Duration::from_secs(60)).await;
            }
            Ok(json!({ "echo": request["echo"] }))
        })
    }

    #[test]
    fn a_failing_run_is_made_small_told_and_the_same_each_time() {
        let check = check(echo::KIND).nodes(3).faults([FaultKind::Partition, FaultKind::Loss]).seeds(5..20);
        let told = said(check.clone(), forgetful);
        assert!(told.starts_with("echo with seed "), "{told}");
        for part in ["fails: 1 node,", "faults: none", "timed out", "what happened,", "c1 sends n0"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert_eq!(said(check, forgetful), told);
    }

    #[test]
    fn a_node_that_misbehaves_is_named() {
        let mute = || App::new(()).on("topology", |_, _: Json| async { Ok(json!({ "extra": 1 })) });
        let told = said(check(broadcast::KIND).seeds(0..3), mute);
        assert!(told.contains("n0 answered `topology`") && told.contains("extra"), "{told}");
    }

    #[test]
    fn runs_that_show_nothing_fail_if_most_do() {
        let silent = || App::new(());
        let told = said(check(broadcast::KIND).seeds(0..10), silent);
        assert!(told.contains("not one `broadcast`"), "{told}");
    }
}
