//! The only place with threads, clocks and stdio: runs a [`Node`] on its standard streams.
//!
//! Two threads at work, both joined before [`run`] returns, and one that only waits for signals:
//!
//! ```text
//!   stdin ──▶ reader ──▶ Node::handle ──▶ sink ──▶ stdout
//!              │  ▲ wake each other        ▲
//!             ticker ──▶ Node::tick ───────┘
//! ```
//!
//! The designs differ in the sink: of the lock-free one the reader alone writes, in large pieces, and the ticker hands it
//! what it has; of the simple one either thread writes each reply under a mutex.
//!
//! Inside: public to be read, tested and measured; it may change with any version.

pub mod cli;
mod input;
mod log;
mod signals;
mod sink;
mod ticker;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use thiserror::Error;

use self::input::{Fill, Input, Wake};
use self::log::Log;
use self::sink::{Failed, Handover, Locked, Sink, Writing};
use self::ticker::Ticker;
use crate::node::{Node, Outbox, Time};
use crate::protocol::{LineError, NextLine};
use crate::sync::unparker;

/// Why a node could not go on.
#[derive(Debug, Error)]
pub enum Failure {
    /// Nobody reads what the node writes any more, or writing fails for another reason.
    #[error("cannot write to stdout: {0}")]
    Output(#[source] io::Error),
    /// Reading fails.
    #[error("cannot read from stdin: {0}")]
    Input(#[source] io::Error),
    /// The process lacks what it takes to start: file descriptors or a signal handler.
    #[error("cannot start: {0}")]
    Start(#[source] io::Error),
}

/// How replies reach stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// By the thread that reads, in large pieces.
    InPieces,
    /// By whoever has them, one at a time.
    EachReply,
}

/// Runs a node until its input ends, or until a SIGTERM, SIGINT or SIGHUP. Then everything it has to say is written;
/// after a signal, within two seconds, or the process ends with status 143.
/// Lines longer than `line_limit` bytes are skipped.
///
/// # Errors
/// If a stream fails, or the process can't start what it needs.
pub fn run<N: Node>(
    node: &N,
    stdin: OwnedFd,
    stdout: OwnedFd,
    output: Output,
    line_limit: usize,
) -> Result<(), Failure> {
    widen(&stdin);
    widen(&stdout);
    let (woken, wake) = io::pipe().map_err(Failure::Start)?;
    let wake = Arc::new(Wake::new(wake));
    let input = Input::new(stdin, woken, Arc::clone(&wake), line_limit);
    let stdout = File::from(stdout);
    let failed = Failed::new(Arc::clone(&wake));
    let (watch, watching) = signals::watch().map_err(Failure::Start)?;
    thread::scope(|scope| {
        named("signals").spawn_scoped(scope, || watch.run(&wake)).map_err(Failure::Start)?;
        // Dropped when this scope ends, also by a panic: the thread waits for it.
        let _watching = watching;
        match output {
            Output::EachReply => {
                let sink = Locked::new(stdout, &failed);
                converse(node, input, &sink, &sink)
            }
            Output::InPieces => {
                let handover = Handover::new(Arc::clone(&wake));
                converse(node, input, Writing::new(stdout, &handover, &failed), &handover)
            }
        }
    })?;
    failed.take().map_or(Ok(()), |error| Err(Failure::Output(error)))
}

/// What a pipe is asked to hold: its writer and its reader wake each other the more seldom.
#[cfg(target_os = "linux")]
const PIPE_SIZE: usize = 256 * 1024;

/// Lets a stream hold more, if it is a pipe that holds less, and its owner may have so much; it works all the same if
/// not.
#[cfg(target_os = "linux")]
fn widen(stream: &OwnedFd) {
    if rustix::pipe::fcntl_getpipe_size(stream).is_ok_and(|size| size < PIPE_SIZE) {
        let _ = rustix::pipe::fcntl_setpipe_size(stream, PIPE_SIZE);
    }
}

#[cfg(not(target_os = "linux"))]
fn widen(_: &OwnedFd) {}

/// A thread that debuggers and profilers show by its name.
fn named(name: &str) -> thread::Builder {
    thread::Builder::new().name(name.to_owned())
}

/// The reader's loop, with a ticker beside it, and the last words after both. Each of the two has a sink.
fn converse<N: Node>(
    node: &N,
    mut input: Input,
    mut sink: impl Sink,
    tickers_sink: impl Sink + Send,
) -> Result<(), Failure> {
    let clock = Clock::start();
    let log = Log::default();
    let ticker = Ticker::default();
    let mut out = Outbox::default();
    let (read, mut unsaid) = thread::scope(|scope| {
        let ticking = named("ticker").spawn_scoped(scope, || ticker.run(node, &clock, tickers_sink, &log));
        let ticking = ticking.map_err(Failure::Start)?;
        let stopping = ticker.stop_at_end(unparker(ticking.thread()));
        let idle = || stopping.wake_for(node.next_deadline());
        let read = read_all(node, &mut input, &mut sink, &clock, &log, &mut out, idle);
        drop(stopping);
        let unsaid = ticking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((read.map_err(Failure::Input), unsaid))
    })?;
    sink.flush(&mut unsaid);
    node.finish(clock.now(), &mut out);
    sink.flush(&mut out);
    read
}

/// Handles every line until the input ends or somebody wakes the reader to stop it.
fn read_all<N: Node>(
    node: &N,
    input: &mut Input,
    sink: &mut impl Sink,
    clock: &Clock,
    log: &Log,
    out: &mut Outbox,
    idle: impl Fn(),
) -> io::Result<()> {
    let mut scratch = N::Scratch::default();
    let limit = input.line_limit();
    let mut handle = |line: NextLine<'_>, now: Time, sink: &mut _, out: &mut Outbox| {
        match line {
            NextLine::Complete(line) => node.handle(now, line, &mut scratch, out),
            NextLine::TooLong => out.skip(&LineError::TooLong { limit }),
        }
        log.print(out, now);
        Sink::offer(sink, out);
    };
    loop {
        match input.fill()? {
            Fill::More | Fill::Woken => {}
            Fill::End => break,
            Fill::Stopped => return Ok(()),
        }
        let now = clock.now();
        while let Some(line) = input.lines.next_line() {
            handle(line, now, sink, out);
        }
        sink.flush(out);
        idle();
    }
    if let Some(rest) = input.lines.rest() {
        handle(NextLine::Complete(rest), clock.now(), sink, out);
    }
    Ok(())
}

/// The process's clock: monotonic, from its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "a driver's clock is read here")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(&self) -> Time {
        Time::ZERO + self.0.elapsed()
    }
}
