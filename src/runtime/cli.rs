//! The node's command line, which `natter-node` and `natter node` share.

use std::io::{self, Write, stderr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum};

use super::{Failure, Output, run};
use crate::config::{Config, RetryPolicy};
use crate::gossip::LockFree;
use crate::node::micros;
use crate::protocol::BATCH_MAX;
use crate::simple::Simple;

/// A Maelstrom broadcast node on stdin and stdout.
#[derive(Args, Clone, Debug)]
pub struct NodeArgs {
    /// How the node is built inside
    #[arg(long, value_enum, default_value_t = Design::LockFree)]
    pub design: Design,

    /// How long a value may take to reach every node; whom the node talks to and how often follows from that and from
    /// what it measures. Lock-free design only, as are the next two
    #[arg(long, value_name = "MS", default_value_t = default_ms(|c| c.latency_budget), value_parser = ms())]
    pub latency_budget: u64,

    /// How long an acknowledgement waits for something to travel on, after the last message it is for
    #[arg(long, value_name = "MS", default_value_t = default_ms(|c| c.ack_delay), value_parser = ms())]
    pub ack_delay: u64,

    /// How long it waits after the first message it is for
    #[arg(long, value_name = "MS", default_value_t = default_ms(|c| c.ack_delay_max), value_parser = ms())]
    pub ack_delay_max: u64,

    /// Least time between two flushes to the same peer; simple design only, as are the next two
    #[arg(long, value_name = "MS", default_value_t = default_ms(|c| c.flush_interval), value_parser = ms())]
    pub flush_interval: u64,

    /// How long to wait for the first acknowledgement before sending again
    #[arg(long, value_name = "MS", default_value_t = default_ms(|c| c.retry.min), value_parser = interval())]
    pub retry_min: u64,

    /// The longest wait between two retries; waits double from the least one up to this
    #[arg(long, value_name = "MS", default_value_t = default_ms(|c| c.retry.max), value_parser = ms())]
    pub retry_max: u64,

    /// How long to wait for a topology after init before starting without
    #[arg(long, value_name = "MS", default_value_t = default_ms(|c| c.start_grace), value_parser = ms())]
    pub start_grace: u64,

    /// The most values in one message between nodes
    #[arg(long, value_name = "VALUES", default_value_t = Config::default().batch_max as u64,
          value_parser = clap::value_parser!(u64).range(1..=BATCH_MAX as u64))]
    pub batch_max: u64,

    /// The most values that wait for one peer; what it lacks beyond them is found out later. Simple design only
    #[arg(long, value_name = "VALUES", default_value_t = Config::default().queue_limit as u64,
          value_parser = clap::value_parser!(u64).range(1..=1 << 32))]
    pub queue_limit: u64,

    /// The longest line of input; longer ones are skipped
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20,
          value_parser = clap::value_parser!(u64).range(1..=1 << 32))]
    pub line_limit: u64,

    /// Fixes by how much waits are spread; what tells nodes, lives and ids apart is always drawn by the operating system
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

fn default_ms(pick: fn(&Config) -> Duration) -> u64 {
    u64::try_from(pick(&Config::default()).as_millis()).unwrap_or(u64::MAX)
}

fn ms() -> clap::builder::RangedU64ValueParser {
    // An hour; longer is a slip of the finger.
    clap::value_parser!(u64).range(0..=3_600_000)
}

/// At least one: nothing may be repeated without end at the same moment.
fn interval() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=3_600_000)
}

/// How a node is built inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Design {
    /// No locks of its own on the message path, batches, few large writes
    LockFree,
    /// One mutex, a timer for each peer, one write a reply
    Simple,
}

impl Design {
    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Design::LockFree => "lock-free",
            Design::Simple => "simple",
        }
    }

    /// Runs a node of this design on two streams, as [`run`] does.
    ///
    /// # Errors
    /// As [`run`].
    pub fn serve(
        self,
        config: Config,
        seed: u64,
        (stdin, stdout): (OwnedFd, OwnedFd),
        line_limit: usize,
    ) -> Result<(), Failure> {
        match self {
            Design::LockFree => {
                run(&LockFree::new(config, seed), stdin, stdout, Output::InPieces, line_limit)
            }
            Design::Simple => run(&Simple::new(config, seed), stdin, stdout, Output::EachReply, line_limit),
        }
    }
}

impl NodeArgs {
    /// The settings that the arguments stand for.
    ///
    /// # Errors
    /// In words for the user, if arguments contradict each other.
    pub fn config(&self) -> Result<Config, String> {
        if self.retry_min > self.retry_max {
            let (min, max) = (self.retry_min, self.retry_max);
            return Err(format!("--retry-min {min} is more than --retry-max {max}"));
        }
        if self.ack_delay > self.ack_delay_max {
            let (delay, max) = (self.ack_delay, self.ack_delay_max);
            return Err(format!("--ack-delay {delay} is more than --ack-delay-max {max}"));
        }
        Ok(Config {
            latency_budget: Duration::from_millis(self.latency_budget),
            ack_delay: Duration::from_millis(self.ack_delay),
            ack_delay_max: Duration::from_millis(self.ack_delay_max),
            flush_interval: Duration::from_millis(self.flush_interval),
            retry: RetryPolicy {
                min: Duration::from_millis(self.retry_min),
                max: Duration::from_millis(self.retry_max),
            },
            start_grace: Duration::from_millis(self.start_grace),
            batch_max: bounded(self.batch_max),
            queue_limit: bounded(self.queue_limit),
            jitter_seed: self.seed,
            ..Config::default()
        })
    }
}

/// Exact on 64-bit machines; a limit that a smaller one can't count to is none.
fn bounded(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Runs a node on this process's stdin and stdout, and says on stderr in one line why if it can't go on.
#[must_use]
pub fn main(args: &NodeArgs, config: Config) -> ExitCode {
    match serve(args, config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody to tell if stderr is closed too.
            let _ = writeln!(stderr(), "natter-node: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &NodeArgs, config: Config) -> Result<(), Failure> {
    let own = |stream: &dyn AsFd| stream.as_fd().try_clone_to_owned().map_err(Failure::Start);
    let (stdin, stdout) = (own(&io::stdin())?, own(&io::stdout())?);
    if STDOUT_WAS_CLOSED.load(Ordering::Relaxed) {
        return Err(Failure::Output(io::Error::other("it was closed when the node was started")));
    }
    let config = Config { incarnation: Some(incarnation()), ..config };
    args.design.serve(config, entropy(), (stdin, stdout), bounded(args.line_limit))
}

/// Whether stdout was closed when the process began. By the time `main` runs, std has opened `/dev/null` in its place.
/// Relaxed: it is stored before there is any other thread.
static STDOUT_WAS_CLOSED: AtomicBool = AtomicBool::new(false);

#[ctor::ctor(unsafe)]
fn look_at_stdout() {
    // SAFETY: nothing is done with it but to ask whether it is there.
    let stdout = unsafe { BorrowedFd::borrow_raw(1) };
    STDOUT_WAS_CLOSED.store(rustix::io::fcntl_getfd(stdout).is_err(), Ordering::Relaxed);
}

/// The microseconds since 1970: later in each life of a node, unless the machine's clock is set back.
#[expect(clippy::disallowed_methods, reason = "a driver's clock is read here")]
fn incarnation() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    micros(now).max(1)
}

/// Sixty-four bits from the operating system, by way of the keys that std draws for its hash maps.
#[must_use]
pub fn entropy() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}
