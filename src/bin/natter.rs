//! The test bench's command line: parses, calls the library, prints.

#[path = "natter/examples.rs"]
mod examples;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use mimalloc::MiMalloc;
use natter::challenge::{Challenge, Choice, Row, failed, table};
use natter::check::stats::Stats;
use natter::check::{Finding, Valid};
use natter::cluster::process::{self, NodeCommand, RunError, Signals};
use natter::cluster::scenario::{Scenario, Verbosity};
use natter::cluster::trial::Results;
use natter::frontier::{self, Row as Budget, Setting, picture::picture};
use natter::history::History;
use natter::load::{self, Load};
use natter::report::store::{self, RunDir};
use natter::report::{self, Progress, summary, to_stderr};
use natter::runtime::cli::{self, Design, NodeArgs};
use natter::simulate::{self, Minimised, Options, Summary, survey, survey_until};
use natter::workload::{self, WorkloadKind};
use serde::Serialize;
use serde_json::{Value as Json, json};

use self::examples::Example;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Maelstrom's exit statuses.
const INVALID: u8 = 1;
const UNKNOWN: u8 = 2;
const BAD_ARGUMENTS: u8 = 254;
const CRASHED: u8 = 255;
/// The shell's for a process that a signal ended, less the number of the signal.
const SIGNALLED: u8 = 128;

/// Runs Maelstrom nodes without a JVM, and judges them as Maelstrom does.
#[derive(Parser)]
#[command(name = "natter", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one test of a node; Maelstrom's options, and its exit statuses
    Test(Box<TestArgs>),
    /// Judge a stored history anew
    Check(CheckArgs),
    /// List the runs that are kept in `store` here
    List(ListArgs),
    /// Show a run that is kept again
    Show(ShowArgs),
    /// Run the Gossip Glomers challenges, and print who met which target
    Challenge(ChallengeArgs),
    /// Run natter's own nodes in virtual time, under faults of every kind, and check them at every step
    Simulate(SimulateArgs),
    /// Print what each latency budget should cost in messages and time, and what it does
    Plan(PlanArgs),
    /// Run both designs of natter's node on the same loads, as processes, and print what time and memory they take
    Compare(CompareArgs),
    /// Print what a shell needs to complete natter's commands and options
    Completions(CompletionsArgs),
    /// Be a node, on stdin and stdout: the same as the program natter-node
    Node(NodeArgs),
    /// Be one of the example nodes, on stdin and stdout
    Example(ExampleArgs),
}

#[derive(Args)]
#[command(
    allow_negative_numbers = true,
    after_help = "Examples:
  natter test -w echo --bin ./echo.py --node-count 1 --time-limit 10
  natter test -w broadcast --bin ./node --nemesis partition,kill --nemesis-interval 2
  natter test -w kafka --bin ./node --rate 1000 --concurrency 2n -- --argument-of-the-node
  natter test -w txn-rw-register --bin ./node --consistency-models read-committed --test-count 10"
)]
struct TestArgs {
    /// The program that is a node [default: natter's own]
    #[arg(long, value_name = "PATH")]
    bin: Option<PathBuf>,

    #[command(flatten)]
    scenario: Scenario,

    #[command(flatten)]
    verbosity: Verbosity,

    /// Print the results alone, as JSON
    #[arg(long)]
    json: bool,

    /// How often to run it, each time with another seed; the first run that isn't valid is the last
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    test_count: u32,

    /// Arguments for the node
    #[arg(last = true, value_name = "NODE ARGS")]
    node_args: Vec<String>,
}

#[derive(Args)]
#[command(after_help = "Examples:
  natter check -w broadcast store/latest
  natter check -w lin-kv history.jsonl
  natter check -w txn-list-append --consistency-models serializable history.edn")]
struct CheckArgs {
    /// What clients did
    #[arg(short, long, value_enum)]
    workload: WorkloadKind,

    #[command(flatten)]
    options: workload::Options,

    /// Print the results alone, as JSON
    #[arg(long)]
    json: bool,

    /// The history: natter's history.jsonl or its folder, or Jepsen's history.edn
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Args)]
struct ListArgs {
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct ShowArgs {
    /// The run's folder
    #[arg(value_name = "RUN", default_value = "store/latest")]
    run: PathBuf,

    /// Print the results alone, as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[command(after_help = "Examples:
  natter completions bash > ~/.local/share/bash-completion/completions/natter
  natter completions zsh > ~/.zfunc/_natter")]
struct CompletionsArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

#[derive(Args)]
struct ExampleArgs {
    /// Which, by the name of its file in `examples`
    #[arg(value_enum, value_name = "NAME")]
    name: Example,
}

#[derive(Args)]
#[command(
    allow_negative_numbers = true,
    after_help = "Examples:
  natter challenge
  natter challenge all --design lock-free
  natter challenge 3d 3e
  natter challenge 5b --bin ./node"
)]
struct ChallengeArgs {
    /// Which challenges, in that order
    #[arg(value_enum, value_name = "NAME", default_values_t = Challenge::DEFAULT.map(Choice::One))]
    names: Vec<Choice>,

    /// The program that is a node [default: both designs of natter's own; from 4 on, natter's example nodes]
    #[arg(long, value_name = "PATH", conflicts_with = "design")]
    bin: Option<PathBuf>,

    /// Run this design of natter's own node alone [default: both]
    #[arg(long, value_enum)]
    design: Option<Design>,

    /// Fixes what the bench itself draws at random [default: drawn by the operating system]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Print the table as JSON
    #[arg(long)]
    json: bool,

    /// Arguments for the node
    #[arg(last = true, value_name = "NODE ARGS")]
    node_args: Vec<String>,
}

#[derive(Args)]
#[command(allow_negative_numbers = true)]
struct SimulateArgs {
    #[command(flatten)]
    options: Options,

    /// How long to look for a smaller run that fails like the first one that does
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    patience: u64,

    /// Print the summary alone, as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[command(allow_negative_numbers = true)]
struct PlanArgs {
    #[command(flatten)]
    setting: Setting,

    /// Latency budgets in milliseconds, separated by commas
    #[arg(long, value_name = "MS,...", value_delimiter = ',', default_values_t = frontier::BUDGETS,
          value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    budgets: Vec<u64>,

    /// Run each budget in virtual time for 20 s, without faults, and set what it does cost beside what it should
    #[arg(long)]
    measure: bool,

    /// How many runs of each budget, each with a seed of its own
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..),
          requires = "measure")]
    seeds: u64,

    /// The first of their seeds; the others follow it
    #[arg(long, value_name = "N", default_value_t = 1, requires = "measure")]
    first_seed: u64,

    /// Draw all that into this file; in the default setting with what others have published
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Print the table as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[command(allow_negative_numbers = true)]
struct CompareArgs {
    /// Which loads, in that order
    #[arg(value_enum, value_name = "LOAD", default_values_t = Load::ALL)]
    loads: Vec<Load>,

    /// How many messages of each [default: as many as take the simple design some seconds]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    messages: Option<u64>,

    /// Print the table as JSON
    #[arg(long)]
    json: bool,
}

/// What `natter challenge --json` prints.
#[derive(Serialize)]
struct Verdict<'a> {
    met: bool,
    rows: &'a [Row],
}

/// What `natter plan --json` prints.
#[derive(Serialize)]
struct Planned<'a> {
    #[serde(flatten)]
    setting: &'a Setting,
    rows: &'a [Budget],
}

/// What `natter simulate --json` prints.
#[derive(Serialize)]
struct Simulated<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    minimised: Option<Minimised>,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return told(&error).into(),
    };
    let done = match cli.command {
        Command::Test(args) => test(*args),
        Command::Check(args) => check(&args),
        Command::List(args) => list(&args),
        Command::Show(args) => show(&args),
        Command::Completions(CompletionsArgs { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "natter", &mut script);
            print(&String::from_utf8_lossy(&script)).map(|()| 0)
        }
        Command::Challenge(args) => challenge(&args),
        Command::Simulate(args) => simulate(&args),
        Command::Plan(args) => plan(&args),
        Command::Compare(args) => compare(&args),
        Command::Example(args) => return args.name.run(),
        Command::Node(args) => match args.config() {
            Ok(config) => return cli::main(&args, config),
            Err(why) => return told(&Cli::command().error(ErrorKind::ValueValidation, why)).into(),
        },
    };
    match done {
        Ok(status) => status.into(),
        Err(error) => {
            to_stderr(&format!("natter: {error:#}"));
            match error.downcast_ref() {
                // As a shell tells of a process that a signal ended.
                Some(RunError::Interrupted { signal }) => (SIGNALLED + *signal as u8).into(),
                _ => CRASHED.into(),
            }
        }
    }
}

/// Prints what clap has to say, an error or the help that was asked for; returns the status.
fn told(error: &clap::Error) -> u8 {
    // Nobody to tell if the stream is closed.
    let _ = error.print();
    if error.use_stderr() { BAD_ARGUMENTS } else { 0 }
}

fn test(args: TestArgs) -> anyhow::Result<u8> {
    if let Some(why) = args.scenario.refused() {
        return Ok(told(&Cli::command().error(ErrorKind::ValueValidation, why)));
    }
    let command = match &args.bin {
        Some(program) => NodeCommand::new(program, args.node_args)?,
        None => own_node(args.node_args)?,
    };
    let signals = Signals::catch()?;
    for number in 0..args.test_count {
        let seed = args.scenario.seed.map(|seed| seed.wrapping_add(number.into()));
        let scenario = Scenario { seed, ..args.scenario.clone() };
        let title = scenario.workload.name.to_owned();
        let ran = run(title, &scenario, &command, (&signals, args.verbosity));
        if let (Err(error), true) = (&ran, args.json) {
            let failed = json!({ "valid": "unknown", "error": format!("{error:#}") });
            print(&(serde_json::to_string_pretty(&failed)? + "\n"))?;
        }
        let (results, stored) = ran?;
        let summary = summary(&scenario, &results, &stored.dir.path().display().to_string());
        let text = if args.json {
            serde_json::to_string_pretty(&stored.with_run(&results))? + "\n"
        } else {
            format!("{}{summary}", if number > 0 { "\n" } else { "" })
        };
        // What can't be stored is shown all the same.
        print(&text)?;
        stored.write(&results, &summary)?;
        if results.valid != Valid::True {
            return Ok(status(results.valid));
        }
    }
    Ok(0)
}

fn check(args: &CheckArgs) -> anyhow::Result<u8> {
    let CheckArgs { workload, options, file, .. } = args;
    let file = if file.is_dir() { file.join("history.jsonl") } else { file.clone() };
    let history = stored_history(&file, workload.reads_sets)
        .with_context(|| format!("cannot read a history from {}", file.display()))?;
    let (stats, mut judged) = (Stats::of(&history), (workload.check)(&history, options));
    judged.findings = judged.findings.into_iter().map(|finding| finding.with_nodes(&history)).collect();
    if judged.findings.is_empty() && (judged.valid == Valid::Unknown || stats.all.ok_count == 0) {
        let kinds: Vec<String> =
            stats.by_f.iter().map(|(f, tally)| format!("{} `{f}`", tally.count)).collect();
        let kinds = if kinds.is_empty() { "no operation".to_owned() } else { kinds.join(", ") };
        judged.findings.push(Finding::new(
            format!("Nothing could be judged: the history has {kinds}, and none that shows anything of {}.", workload.name),
            "Is it of another workload, or cut short? An operation is an `invoke` and, by the same process, an `ok`, `fail` or \
             `info`.",
        ));
    }
    if history.is_cut_short() {
        judged.findings.push(Finding::new("The last line of the history is cut off. It was left out.", ""));
    }
    // The verdict is the workload's. What else a run needs is told.
    judged.findings.extend(stats.finding());
    print(&if args.json {
        serde_json::to_string_pretty(&judged)? + "\n"
    } else {
        report::judged(&stats, &judged)
    })?;
    Ok(status(judged.valid))
}

/// Reads a history: EDN if the file's name says so, lines of JSON otherwise.
fn stored_history(file: &Path, reads_sets: bool) -> anyhow::Result<History> {
    if file.extension().is_some_and(|extension| extension == "edn") {
        return Ok(History::from_edn(&fs::read_to_string(file)?, reads_sets)?);
    }
    Ok(History::from_json_lines(BufReader::new(File::open(file)?), reads_sets)?)
}

fn list(args: &ListArgs) -> anyhow::Result<u8> {
    let runs =
        store::runs().context("cannot read the folder `store` here: no run is kept, or it is elsewhere")?;
    if args.json {
        print(&(serde_json::to_string_pretty(&runs)? + "\n"))?;
        return Ok(0);
    }
    let line = |run: &store::Run| {
        let valid = match &run.valid {
            Some(Json::Bool(true)) => "valid",
            Some(Json::Bool(false)) => "INVALID",
            Some(_) => "unknown",
            None => "cut short",
        };
        format!("{valid:<10}{:<17}{}\n", run.workload, run.path.display())
    };
    print(&runs.iter().map(line).collect::<String>())?;
    Ok(0)
}

fn show(args: &ShowArgs) -> anyhow::Result<u8> {
    let file = args.run.join(if args.json { "results.json" } else { "summary.txt" });
    let text = fs::read_to_string(&file).with_context(|| {
        format!("cannot read {}: there is no such run, or it did not come to its end", file.display())
    })?;
    print(&text)?;
    Ok(0)
}

/// Maelstrom's exit status.
fn status(valid: Valid) -> u8 {
    match valid {
        Valid::True => 0,
        Valid::False => INVALID,
        Valid::Unknown => UNKNOWN,
    }
}

fn challenge(args: &ChallengeArgs) -> anyhow::Result<u8> {
    let signals = Signals::catch()?;
    let mut rows = Vec::new();
    for name in args.names.iter().flat_map(|name| name.challenges()) {
        for (label, command) in &challengers(args, name)? {
            let scenario = Scenario { seed: args.seed, ..name.scenario() };
            let title = format!("{:<12} {label:<9}", name.name());
            match run(title, &scenario, command, (&signals, Verbosity::default())) {
                Ok((results, stored)) => {
                    rows.extend(name.rows(label, &results));
                    let told = summary(&scenario, &results, &stored.dir.path().display().to_string());
                    if results.valid != Valid::True {
                        to_stderr(&format!("natter: {} with {label}:\n{}", name.name(), told.trim_end()));
                    }
                    stored.write(&results, &told)?;
                }
                Err(error)
                    if matches!(
                        error.downcast_ref(),
                        Some(RunError::Violation { .. } | RunError::Died { .. })
                    ) =>
                {
                    to_stderr(&format!("natter: {} with {label}: {error:#}", name.name()));
                    rows.push(failed(name, label, &error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
    }
    // The simple design is there to compare with: it decides only where it runs alone.
    let is_judged =
        |row: &&Row| args.bin.is_some() || args.design.is_some() || row.node != Design::Simple.name();
    let met = rows.iter().filter(is_judged).all(|row| row.met != Some(false));
    if args.json {
        print(&(serde_json::to_string_pretty(&Verdict { met, rows: &rows })? + "\n"))?;
    } else {
        print(&format!("{}\n", table(&rows)))?;
    }
    Ok(if met { 0 } else { INVALID })
}

/// Who takes a challenge: the program that was named, an example node, or designs of natter's own node.
fn challengers(args: &ChallengeArgs, challenge: Challenge) -> anyhow::Result<Vec<(String, NodeCommand)>> {
    if let Some(bin) = &args.bin {
        let label = bin.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Ok(vec![(label, NodeCommand::new(bin, args.node_args.clone())?)]);
    }
    if let Some(example) = Example::of(challenge) {
        let command = NodeCommand::new(&own_program()?, vec!["example".to_owned(), example.name()])?;
        return Ok(vec![(example.name(), command)]);
    }
    let designs = args.design.map_or_else(|| vec![Design::LockFree, Design::Simple], |design| vec![design]);
    let own = |design: Design| {
        let mut node_args = vec![format!("--design={}", design.name())];
        node_args.extend(args.node_args.iter().cloned());
        Ok((design.name().to_owned(), own_node(node_args)?))
    };
    designs.into_iter().map(own).collect()
}

fn simulate(args: &SimulateArgs) -> anyhow::Result<u8> {
    let options = &args.options;
    let simulation = match options.simulation() {
        Ok(simulation) => simulation,
        Err(error) => return Ok(told(&error)),
    };
    let first_seed = options.first_seed.unwrap_or_else(|| cli::entropy() >> 32);
    let headline = simulate::report::headline(&simulation, first_seed, options.seeds);
    if args.json {
        to_stderr(&headline);
    } else {
        print(&format!("{headline}\n"))?;
    }
    let bar = simulate::report::Bar::new(options.seeds);
    let mut printed = Ok(());
    let summary =
        survey_until(&simulation, first_seed, options.seeds, options.failures_max, |runs, failed| {
            if let Some(found) = failed.filter(|_| !args.json) {
                printed = bar.suspend(|| print(&simulate::report::failure(found)));
            }
            bar.show(runs);
        });
    drop(bar);
    printed?;
    if !args.json {
        print(&simulate::report::table(&summary))?;
    }
    if !summary.valid {
        to_stderr("looking for a smaller run that fails alike ...");
    }
    let minimised = Minimised::of(&summary, &simulation, Duration::from_secs(args.patience));
    if args.json {
        print(&(serde_json::to_string_pretty(&Simulated { summary: &summary, minimised })? + "\n"))?;
    } else if let Some(minimised) = minimised {
        print(&simulate::report::minimised(&minimised))?;
    }
    Ok(if summary.valid { 0 } else { INVALID })
}

fn plan(args: &PlanArgs) -> anyhow::Result<u8> {
    let PlanArgs { setting, budgets, .. } = args;
    // That it can't be written is better known before all is measured.
    let svg = args.svg.as_deref().map(Svg::open).transpose()?;
    let budgets: BTreeSet<u64> = budgets.iter().copied().collect();
    let mut rows: Vec<Budget> =
        budgets.into_iter().map(|budget_ms| Budget::new(setting, budget_ms)).collect();
    if args.measure {
        let bar = simulate::report::Bar::new(args.seeds.saturating_mul(rows.len() as u64));
        let mut runs_before = 0;
        for row in &mut rows {
            let simulation = setting.simulation(row.budget_ms);
            let summary = survey(&simulation, args.first_seed, args.seeds, |runs, failed| {
                if let Some(found) = failed {
                    bar.suspend(|| to_stderr(simulate::report::failure(found).trim_end()));
                }
                bar.show(runs_before + runs);
            });
            runs_before += args.seeds;
            row.measured = Some(summary);
        }
    }
    if args.json {
        print(&(serde_json::to_string_pretty(&Planned { setting, rows: &rows })? + "\n"))?;
    } else {
        print(&frontier::table(&rows))?;
    }
    if let Some(svg) = svg {
        svg.write(&picture(setting, &rows)?)?;
    }
    let valid = rows.iter().filter_map(|row| row.measured.as_ref()).all(|summary| summary.valid);
    Ok(if valid { 0 } else { INVALID })
}

fn compare(args: &CompareArgs) -> anyhow::Result<u8> {
    let program = own_program()?;
    let mut rows = Vec::new();
    for &load in &args.loads {
        let messages = args.messages.unwrap_or(load.messages());
        rows.push(load::Row::measure(&program, &["node"], load, messages)?);
    }
    if args.json {
        print(&(serde_json::to_string_pretty(&rows)? + "\n"))?;
    } else {
        print(&format!("{}\n", load::table(&rows)))?;
    }
    Ok(0)
}

/// A picture's file. What was there before stays until there is something to replace it.
struct Svg<'a> {
    path: &'a Path,
    file: File,
}

impl<'a> Svg<'a> {
    fn open(path: &'a Path) -> anyhow::Result<Self> {
        let file = File::options().create(true).write(true).truncate(false).open(path);
        Ok(Self { path, file: file.with_context(|| format!("cannot write to {}", path.display()))? })
    }

    fn write(mut self, text: &str) -> anyhow::Result<()> {
        let written = self.file.set_len(0).and_then(|()| self.file.write_all(text.as_bytes()));
        written.with_context(|| format!("cannot write to {}", self.path.display()))
    }
}

/// This program in its role as a node: what `natter test` and `natter challenge` run by default, so that
/// both are always of the same build.
fn own_node(node_args: Vec<String>) -> anyhow::Result<NodeCommand> {
    let args = std::iter::once("node".to_owned()).chain(node_args).collect();
    Ok(NodeCommand::new(&own_program()?, args)?)
}

fn own_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot find natter's own program")
}

/// Runs a scenario with a progress line, and stores what comes of it.
fn run(
    title: String,
    scenario: &Scenario,
    command: &NodeCommand,
    outside: (&Signals, Verbosity),
) -> anyhow::Result<(Results, Stored)> {
    let dir = RunDir::create(scenario.workload.name).context("cannot make a folder in `store` here")?;
    let seed = scenario.seed.unwrap_or_else(cli::entropy);
    let began = jiff::Timestamp::now().to_string();
    let about = json!({
        "natter": env!("CARGO_PKG_VERSION"),
        "began": began,
        "node": command.to_string(),
        "seed": seed,
        "options": scenario,
    });
    let progress = Progress::new(title, scenario);
    let mut watch = |snapshot: &_, log| progress.show(snapshot, log);
    let ran = process::run(scenario, seed, command, dir.path(), outside, &mut watch);
    // What there is of it is worth knowing where the run did not come to its end.
    let (results, _) = ran.inspect_err(|_| tell_of(&dir))?;
    Ok((results, Stored { dir, about }))
}

/// Says where the beginning of a run is stored that did not come to its end.
fn tell_of(dir: &RunDir) {
    to_stderr(&format!("natter: what there is of the run is in {}", dir.path().display()));
}

/// Where to keep a run's results; they are written when they have been shown.
struct Stored {
    dir: RunDir,
    /// What was run.
    about: Json,
}

impl Stored {
    /// A run's results, with what was run.
    fn with_run(&self, results: &Results) -> Json {
        let mut all = json!(results);
        all["run"] = self.about.clone();
        all
    }

    fn write(&self, results: &Results, summary: &str) -> anyhow::Result<()> {
        let written = self.dir.write_results(self.with_run(results));
        let written = written.and_then(|()| self.dir.write_summary(summary));
        written.with_context(|| format!("cannot write to {}", self.dir.path().display()))
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to stdout"),
    }
}
