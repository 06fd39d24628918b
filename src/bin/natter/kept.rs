//! `natter check`, `list`, `show` and `report`: runs that are kept.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use natter::check::stats::Stats;
use natter::check::{Finding, Valid};
use natter::history::History;
use natter::report::{self, html, store};
use natter::workload::{self, WorkloadKind};
use serde_json::Value as Json;

use super::{print, status};

#[derive(Args)]
#[command(after_help = "Examples:
  natter check -w broadcast store/latest
  natter check -w lin-kv history.jsonl
  natter check -w txn-list-append --consistency-models serializable history.edn")]
pub(crate) struct CheckArgs {
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
pub(crate) struct ListArgs {
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct ReportArgs {
    /// The run's folder
    #[arg(value_name = "RUN", default_value = "store/latest")]
    run: PathBuf,
}

#[derive(Args)]
pub(crate) struct ShowArgs {
    /// The run's folder
    #[arg(value_name = "RUN", default_value = "store/latest")]
    run: PathBuf,

    /// Print the results alone, as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn check(args: &CheckArgs) -> anyhow::Result<u8> {
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

pub(crate) fn list(args: &ListArgs) -> anyhow::Result<u8> {
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

pub(crate) fn report(args: &ReportArgs) -> anyhow::Result<u8> {
    let run = &args.run;
    let written = html::write(run).with_context(|| format!("cannot make a report of {}", run.display()))?;
    print(&format!("{}\n", written.display()))?;
    Ok(0)
}

pub(crate) fn show(args: &ShowArgs) -> anyhow::Result<u8> {
    let file = args.run.join(if args.json { "results.json" } else { "summary.txt" });
    let text = fs::read_to_string(&file).with_context(|| {
        format!("cannot read {}: there is no such run, or it did not come to its end", file.display())
    })?;
    print(&text)?;
    Ok(0)
}
