//! What a message budget and a latency budget come to, row by row, with what must hold: `cargo bench --bench frontier`
//! runs each row in virtual time, `cargo bench --bench frontier -- --processes` as real processes, and both quote the
//! worst of ten seeds. As a test, with `cargo test --benches`, it runs one seed of each row.

use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};
use natter::challenge::Challenge;
use natter::check::Valid;
use natter::check::set_full::Quantiles;
use natter::cluster::process::{self, NodeCommand, Signals};
use natter::cluster::scenario::{FaultKind, LatencyDist, Scenario, Verbosity};
use natter::cluster::trial::Results;
use natter::cluster::virtual_time;
use natter::config::Config;
use natter::gossip::LockFree;
use natter::history::{EventKind, History, OpValue};
use natter::node::Time;
use natter::report::store::RunDir;

/// How often the machine is asked whether it stalls.
const WATCH_INTERVAL: Duration = Duration::from_millis(1);

#[derive(Parser)]
struct Cli {
    /// Run real processes
    #[arg(long)]
    processes: bool,

    /// How many runs of real processes at a time; each takes a twentieth of a core, and disturbs the others a little
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    at_once: u64,

    /// How many seeds for each row
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,

    /// Only rows whose names contain this
    #[arg(default_value = "")]
    name: String,

    /// Given by cargo; without it, one seed of each row is run
    #[arg(long, hide = true)]
    bench: bool,
}

/// A setting, and what must hold in it.
struct Row {
    name: &'static str,
    scenario: Scenario,
    /// The latency budget, if it is not the default.
    budget: Option<Duration>,
    msgs_per_op_max: Messages,
    /// The same for the average of all seeds.
    average_max: Option<f64>,
    /// In milliseconds; each is to stay below it.
    median: Option<u64>,
    p95: Option<u64>,
    max: Option<u64>,
    /// How long after a healing somebody may still lack something.
    healing: Option<u64>,
}

#[derive(Clone, Copy)]
enum Messages {
    AtMost(f64),
    /// So many times what the first row takes.
    TimesFirst(f64),
}

/// What came of a run.
struct Figures {
    msgs_per_op: f64,
    latencies: Quantiles,
    /// In milliseconds.
    healing: u64,
}

fn rows() -> Vec<Row> {
    let defaults = |name| Row {
        name,
        scenario: Challenge::LowLatency.scenario(),
        budget: None,
        msgs_per_op_max: Messages::TimesFirst(1.6),
        average_max: None,
        median: None,
        p95: None,
        max: None,
        healing: None,
    };
    let spread = |name, latency_dist| {
        let row = defaults(name);
        Row { scenario: Scenario { latency_dist, ..row.scenario }, p95: Some(800), max: Some(2000), ..row }
    };
    let budget = |name, ms, msgs_per_op_max, max| Row {
        budget: Some(Duration::from_millis(ms)),
        msgs_per_op_max: Messages::AtMost(msgs_per_op_max),
        max: Some(max),
        ..defaults(name)
    };
    let challenge = defaults("").scenario;
    vec![
        Row {
            msgs_per_op_max: Messages::AtMost(1.25),
            median: Some(400),
            max: Some(600),
            ..defaults("defaults")
        },
        Row { median: Some(1000), ..budget("budget 1400", 1400, 0.47, 1500) },
        // Two batches a period, if values weren't told by runs.
        Row { average_max: Some(0.31), ..budget("budget 1900", 1900, 0.33, 2000) },
        budget("budget 120", 120, 12.7, 131),
        Row {
            scenario: Scenario { nemesis: vec![FaultKind::Partition], ..challenge.clone() },
            msgs_per_op_max: Messages::AtMost(1.6),
            average_max: Some(1.3),
            healing: Some(1400),
            ..defaults("partitions")
        },
        spread("uniform", LatencyDist::Uniform),
        spread("exponential", LatencyDist::Exponential),
        // What Maelstrom's own scheduling adds to its constant latency.
        Row {
            scenario: Scenario { latency_jitter: 5.0, ..challenge.clone() },
            msgs_per_op_max: Messages::AtMost(1.1),
            max: Some(600),
            ..defaults("jitter 5 ms")
        },
        Row {
            scenario: Scenario { node_count: 5, latency: 0.0, rate: 10.0, ..challenge.clone() },
            ..budget("budget 20, 5 nodes, latency 0, rate 10", 20, 2.2, 40)
        },
        Row {
            scenario: Scenario { rate: 1000.0, ..challenge },
            msgs_per_op_max: Messages::AtMost(0.6),
            max: Some(600),
            ..defaults("rate 1000")
        },
    ]
}

impl Row {
    fn in_virtual_time(&self, seed: u64) -> (Results, History) {
        let mut config = Config::default();
        config.latency_budget = self.budget.unwrap_or(config.latency_budget);
        let nodes = self.scenario.nodes() as u64;
        virtual_time::run(&self.scenario, seed, |index| {
            LockFree::new(config.clone(), seed * nodes + index as u64)
        })
        .expect("nodes behave")
    }

    fn in_processes(&self, seed: u64, signals: &Signals) -> (Results, History) {
        let mut args = vec!["node".to_owned()];
        args.extend(self.budget.map(|budget| format!("--latency-budget={}", budget.as_millis())));
        let command = NodeCommand::new(Path::new(env!("CARGO_BIN_EXE_natter")), args).expect("it is built");
        let dir = RunDir::create(self.scenario.workload.name).expect("a folder");
        let outside = (signals, Verbosity::default());
        process::run(&self.scenario, seed, &command, dir.path(), outside, &mut |_, _| {})
            .expect("nodes behave")
    }

    fn run(&self, cli: &Cli, signals: &Signals) -> Vec<Figures> {
        let seeds = if cli.bench { cli.seeds } else { 1 };
        let at_once = if cli.processes { cli.at_once } else { 1 };
        let mut all = Vec::new();
        for first in (1..=seeds).step_by(at_once as usize) {
            std::thread::scope(|scope| {
                let runs: Vec<_> = (first..=seeds.min(first + at_once - 1))
                    .map(|seed| {
                        scope.spawn(move || {
                            let (results, history) = if cli.processes {
                                self.in_processes(seed, signals)
                            } else {
                                self.in_virtual_time(seed)
                            };
                            Figures::of(&results, &history)
                        })
                    })
                    .collect();
                all.extend(runs.into_iter().map(|run| run.join().expect("no panic")));
            });
        }
        all
    }

    /// The worst of some runs, as a line of a table, with whether it is as it must be.
    fn judge(&self, all: &[Figures], first: Option<f64>, spare: f64) -> (Vec<String>, bool) {
        let messages = all.iter().map(|figures| figures.msgs_per_op);
        let worst_messages = messages.clone().fold(0.0, f64::max);
        let average = messages.sum::<f64>() / all.len() as f64;
        let messages_max = match self.msgs_per_op_max {
            Messages::AtMost(limit) => limit,
            Messages::TimesFirst(factor) => factor * first.unwrap_or(f64::INFINITY),
        } * spare;
        // One seed has no average.
        let average_max = self.average_max.filter(|_| all.len() > 1).map(|limit| limit * spare);
        let mut met = worst_messages <= messages_max && average_max.is_none_or(|limit| average <= limit);
        let mut line = vec![
            self.name.to_owned(),
            format!("{worst_messages:.3}"),
            average_max.map_or_else(|| format!("{average:.3}"), |limit| format!("{average:.3} ≤ {limit:.2}")),
            format!("≤ {messages_max:.2}"),
        ];
        let worst = |figure: fn(&Figures) -> u64| all.iter().map(figure).max().unwrap_or_default();
        for (worst, limit) in [
            (worst(|figures| figures.latencies.median), self.median),
            (worst(|figures| figures.latencies.p95), self.p95),
            (worst(|figures| figures.latencies.max), self.max),
            (worst(|figures| figures.healing), self.healing),
        ] {
            met &= limit.is_none_or(|limit| worst < limit);
            line.push(limit.map_or_else(|| worst.to_string(), |limit| format!("{worst} < {limit}")));
        }
        (line, met)
    }
}

impl Figures {
    fn of(results: &Results, history: &History) -> Self {
        assert_eq!(results.valid, Valid::True, "seed {}: {:?}", results.seed, results.workload);
        let set = results.workload.set.as_ref().expect("it is a broadcast");
        assert_eq!(set.lost_count, 0, "seed {}", results.seed);
        Self {
            msgs_per_op: results.net.servers.msgs_per_op,
            latencies: set.stable_latencies.expect("some values"),
            healing: u64::try_from(healing(history).as_millis()).expect("not for ever"),
        }
    }
}

/// The longest time from the end of a partition, before the next one, that a read still lacked something that had been
/// broadcast before that end.
fn healing(history: &History) -> Duration {
    let mut cuts = history.events().iter().filter(|event| event.f.ends_with("-partition"));
    let mut longest = Duration::ZERO;
    while let Some(healed) = cuts.by_ref().find(|event| event.f == "stop-partition") {
        let next = cuts.clone().next().map_or(Time::NEVER, |cut| cut.time);
        let known: Vec<i64> = history
            .completed()
            .filter(|(_, done)| {
                done.kind == EventKind::Ok && done.f == "broadcast" && done.time <= healed.time
            })
            .filter_map(|(_, done)| if let OpValue::Int(value) = done.value { Some(value) } else { None })
            .collect();
        for (read, done) in history.completed().filter(|(read, _)| read.f == "read") {
            if !(healed.time..next).contains(&read.time) {
                continue;
            }
            let Some(values) = history.values_shown(done.index) else { continue };
            if known.iter().any(|value| !values.contains(value)) {
                longest = longest.max(read.time.since(healed.time));
            }
        }
    }
    longest
}

/// Runs something; returns how much too long a sleep meanwhile took at the worst, too: so long, processes have to wait
/// for a core.
#[expect(clippy::disallowed_methods, reason = "it is the clock that is asked")]
fn watching_stalls<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let (running, ended) = channel::<()>();
    std::thread::scope(|scope| {
        let watch = scope.spawn(move || {
            let mut longest = Duration::ZERO;
            loop {
                let began = Instant::now();
                match ended.recv_timeout(WATCH_INTERVAL) {
                    Err(RecvTimeoutError::Timeout) => {
                        longest = longest.max(began.elapsed().saturating_sub(WATCH_INTERVAL));
                    }
                    _ => return longest,
                }
            }
        });
        let result = run();
        drop(running);
        (result, watch.join().expect("no panic"))
    })
}

fn table(lines: Vec<Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "",
        "msgs-per-op, worst",
        "average",
        "must be",
        "median ms",
        "0.95",
        "max",
        "after a healing",
        "stall",
        "met",
    ]);
    for column in 1..9 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.add_rows(lines);
    table
}

#[expect(clippy::disallowed_macros, reason = "it is a program")]
fn main() -> ExitCode {
    let cli = Cli::parse();
    let folder = tempfile::tempdir().expect("a folder");
    std::env::set_current_dir(&folder).expect("it was just made");
    let signals = Signals::catch().expect("signals can be caught");
    let (mut lines, mut all_met, mut first) = (Vec::new(), true, None);
    // A test is to notice that something has become worse, not that it isn't as good as it should be.
    let spare = if cli.bench { 1.0 } else { 1.25 };
    for row in rows().iter().filter(|row| row.name.contains(&cli.name)) {
        let (figures, stall) = watching_stalls(|| row.run(&cli, &signals));
        let (mut line, met) = row.judge(&figures, first, spare);
        // Virtual time stands still meanwhile.
        line.push(if cli.processes { stall.as_millis().to_string() } else { "–".to_owned() });
        line.push(if met { "yes" } else { "NO" }.to_owned());
        if row.name == "defaults" {
            first = figures.iter().map(|figures| figures.msgs_per_op).reduce(f64::max);
        }
        eprintln!("{}", line.join(" | "));
        lines.push(line);
        all_met &= met;
    }
    println!("{}", table(lines));
    if all_met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
