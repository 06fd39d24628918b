//! `natter test`: one run of a node, or several.

use std::path::PathBuf;

use anyhow::Context;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory};
use natter::check::Valid;
use natter::cluster::process::{NodeCommand, Signals};
use natter::cluster::scenario::{Scenario, Verbosity};
use natter::report::{html, summary, to_stderr};
use serde_json::json;

use super::runs::{own_node, run};
use super::{Cli, print, status, told};

#[derive(Args)]
#[command(
    allow_negative_numbers = true,
    after_help = "Examples:
  natter test -w echo --bin ./echo.py --node-count 1 --time-limit 10
  natter test -w broadcast --bin ./node --nemesis partition,kill --nemesis-interval 2
  natter test -w kafka --bin ./node --rate 1000 --concurrency 2n -- --argument-of-the-node
  natter test -w txn-rw-register --bin ./node --consistency-models read-committed --test-count 10"
)]
pub(crate) struct TestArgs {
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

    /// Draw the run in an HTML file beside what is stored of it
    #[arg(long)]
    report: bool,

    /// How often to run it, each time with another seed; the first run that isn't valid is the last
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    test_count: u32,

    /// Arguments for the node
    #[arg(last = true, value_name = "NODE ARGS")]
    node_args: Vec<String>,
}

pub(crate) fn test(args: TestArgs) -> anyhow::Result<u8> {
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
        if args.report {
            let written = html::write(stored.dir.path()).context("cannot make a report of the run")?;
            to_stderr(&format!("report: {}", written.display()));
        }
        if results.valid != Valid::True {
            return Ok(status(results.valid));
        }
    }
    Ok(0)
}
