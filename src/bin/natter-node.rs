//! The node: picks a design and runs it on stdin and stdout.

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use mimalloc::MiMalloc;
use natter::runtime::cli::{self, NodeArgs};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[derive(Parser)]
#[command(name = "natter-node", version, about)]
struct Cli {
    #[command(flatten)]
    node: NodeArgs,
}

fn main() -> ExitCode {
    let args = Cli::parse().node;
    match args.config() {
        Ok(config) => cli::main(&args, config),
        Err(why) => Cli::command().error(ErrorKind::ValueValidation, why).exit(),
    }
}
