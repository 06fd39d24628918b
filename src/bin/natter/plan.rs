//! `natter plan`: what each latency budget should cost, and what it does.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use natter::frontier::{self, Row as Budget, Setting, picture::picture};
use natter::report::to_stderr;
use natter::simulate::{self, survey};
use serde::Serialize;

use super::{INVALID, print};

#[derive(Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct PlanArgs {
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

/// What `natter plan --json` prints.
#[derive(Serialize)]
struct Planned<'a> {
    #[serde(flatten)]
    setting: &'a Setting,
    rows: &'a [Budget],
}

pub(crate) fn plan(args: &PlanArgs) -> anyhow::Result<u8> {
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
