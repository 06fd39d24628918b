//! The test bench's command line: parses, calls the library, prints.

mod challenge;
mod compare;
mod examples;
mod kept;
mod plan;
mod runs;
mod simulate;
mod test;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use mimalloc::MiMalloc;
use natter::check::Valid;
use natter::cluster::process::RunError;
use natter::report::to_stderr;
use natter::runtime::cli::{self, NodeArgs};

use self::challenge::ChallengeArgs;
use self::compare::CompareArgs;
use self::examples::Example;
use self::kept::{CheckArgs, ListArgs, ReportArgs, ShowArgs};
use self::plan::PlanArgs;
use self::simulate::SimulateArgs;
use self::test::TestArgs;

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
    /// Draw a run that is kept, in one HTML file
    Report(ReportArgs),
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

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return told(&error).into(),
    };
    let done = match cli.command {
        Command::Test(args) => test::test(*args),
        Command::Check(args) => kept::check(&args),
        Command::List(args) => kept::list(&args),
        Command::Show(args) => kept::show(&args),
        Command::Report(args) => kept::report(&args),
        Command::Completions(CompletionsArgs { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "natter", &mut script);
            print(&String::from_utf8_lossy(&script)).map(|()| 0)
        }
        Command::Challenge(args) => challenge::challenge(&args),
        Command::Simulate(args) => simulate::simulate(&args),
        Command::Plan(args) => plan::plan(&args),
        Command::Compare(args) => compare::compare(&args),
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

/// Maelstrom's exit status.
fn status(valid: Valid) -> u8 {
    match valid {
        Valid::True => 0,
        Valid::False => INVALID,
        Valid::Unknown => UNKNOWN,
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to stdout"),
    }
}
