//! `natter simulate`: natter's own nodes in virtual time.

use std::time::Duration;

use clap::Args;
use natter::report::to_stderr;
use natter::runtime::cli;
use natter::simulate::{self, Minimised, Options, Summary, survey_until};
use serde::Serialize;

use super::{INVALID, print, told};

#[derive(Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct SimulateArgs {
    #[command(flatten)]
    options: Options,

    /// How long to look for a smaller run that fails like the first one that does
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    patience: u64,

    /// Print the summary alone, as JSON
    #[arg(long)]
    json: bool,
}

/// What `natter simulate --json` prints.
#[derive(Serialize)]
struct Simulated<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    minimised: Option<Minimised>,
}

pub(crate) fn simulate(args: &SimulateArgs) -> anyhow::Result<u8> {
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
