//! `natter compare`: both designs of natter's node on the same loads.

use clap::Args;
use natter::load::{self, Load};

use super::print;
use super::runs::own_program;

#[derive(Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct CompareArgs {
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

pub(crate) fn compare(args: &CompareArgs) -> anyhow::Result<u8> {
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
