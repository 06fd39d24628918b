//! Runs of nodes as processes, which are stored.

use std::path::PathBuf;

use anyhow::Context;
use natter::cluster::process::{self, NodeCommand, Signals};
use natter::cluster::scenario::{Scenario, Verbosity};
use natter::cluster::trial::Results;
use natter::report::store::RunDir;
use natter::report::{Progress, to_stderr};
use natter::runtime::cli;
use serde_json::{Value as Json, json};

/// This program in its role as a node: what `natter test` and `natter challenge` run by default, so that
/// both are always of the same build.
pub(crate) fn own_node(node_args: Vec<String>) -> anyhow::Result<NodeCommand> {
    let args = std::iter::once("node".to_owned()).chain(node_args).collect();
    Ok(NodeCommand::new(&own_program()?, args)?)
}

pub(crate) fn own_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot find natter's own program")
}

/// Runs a scenario with a progress line, and stores what comes of it.
pub(crate) fn run(
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
pub(crate) struct Stored {
    pub(crate) dir: RunDir,
    /// What was run.
    about: Json,
}

impl Stored {
    /// A run's results, with what was run.
    pub(crate) fn with_run(&self, results: &Results) -> Json {
        let mut all = json!(results);
        all["run"] = self.about.clone();
        all
    }

    pub(crate) fn write(&self, results: &Results, summary: &str) -> anyhow::Result<()> {
        let written = self.dir.write_results(self.with_run(results));
        let written = written.and_then(|()| self.dir.write_summary(summary));
        written.with_context(|| format!("cannot write to {}", self.dir.path().display()))
    }
}
