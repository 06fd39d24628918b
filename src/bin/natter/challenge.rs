//! `natter challenge`: the challenges of Gossip Glomers.

use std::path::PathBuf;

use clap::Args;
use natter::challenge::{Challenge, Choice, Row, failed, table};
use natter::check::Valid;
use natter::cluster::process::{NodeCommand, RunError, Signals};
use natter::cluster::scenario::{Scenario, Verbosity};
use natter::report::{summary, to_stderr};
use natter::runtime::cli::Design;
use serde::Serialize;

use super::examples::Example;
use super::runs::{own_node, own_program, run};
use super::{INVALID, print};

#[derive(Args)]
#[command(
    allow_negative_numbers = true,
    after_help = "Examples:
  natter challenge
  natter challenge all --design lock-free
  natter challenge 3d 3e
  natter challenge 5b --bin ./node"
)]
pub(crate) struct ChallengeArgs {
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

/// What `natter challenge --json` prints.
#[derive(Serialize)]
struct Verdict<'a> {
    met: bool,
    rows: &'a [Row],
}

pub(crate) fn challenge(args: &ChallengeArgs) -> anyhow::Result<u8> {
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
