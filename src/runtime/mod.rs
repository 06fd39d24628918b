//! The only place with threads, clocks and stdio: runs a [`Node`] on its standard streams.
//!
//! Three threads at work, all joined before [`run`] returns, and one that only waits for signals:
//!
//! ```text
//!   stdin ──▶ reader ──▶ Node::handle ──┐
//!                │ wakes                ├──▶ sink ──▶ (writer) ──▶ stdout
//!             ticker ──▶ Node::tick ────┘
//! ```
//!
//! The designs differ in the sink: the lock-free one hands full buffers to a single writer thread, the simple
//! one writes each reply under a mutex.

pub mod cli;
mod input;
mod log;
mod signals;
mod sink;
mod ticker;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Instant;

use thiserror::Error;

use self::input::{Fill, Input, Wake};
use self::log::Log;
use self::sink::{Locked, Piped, Sink};
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
    /// Through one writer thread, in large pieces.
    WriterThread,
    /// By whoever has them, one at a time.
    EachReply,
}

/// Runs a node until its input ends, or until a SIGTERM or SIGINT. Then everything it has to say is written;
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
    let wake = &Wake::new(wake);
    let input = Input::new(stdin, woken, line_limit);
    let stdout = File::from(stdout);
    let (watch, watching) = signals::watch().map_err(Failure::Start)?;
    thread::scope(|scope| {
        named("signals").spawn_scoped(scope, || watch.run(wake)).map_err(Failure::Start)?;
        // Dropped when this scope ends, also by a panic: the threads wait for it.
        let _watching = watching;
        match output {
            Output::EachReply => converse(node, input, &Locked::new(stdout, wake)),
            Output::WriterThread => {
                let sink = Piped::new(wake);
                thread::scope(|scope| {
                    let writer = named("writer").spawn_scoped(scope, || sink.write_all(stdout));
                    let writer = writer.map_err(Failure::Start)?;
                    let _closing = sink.start(unparker(writer.thread()));
                    converse(node, input, &sink)
                })?;
                sink.failure().map_or(Ok(()), |error| Err(Failure::Output(error)))
            }
        }
    })
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

/// The reader's loop, with a ticker beside it, and the last words after both.
fn converse<N: Node, S: Sink>(node: &N, mut input: Input, sink: &S) -> Result<(), Failure> {
    let clock = Clock::start();
    let log = Log::default();
    let ticker = Ticker::default();
    let mut out = Outbox::default();
    let read = thread::scope(|scope| {
        let ticking = named("ticker").spawn_scoped(scope, || ticker.run(node, &clock, sink, &log));
        let ticking = ticking.map_err(Failure::Start)?;
        let stopping = ticker.stop_at_end(unparker(ticking.thread()));
        let idle = || stopping.wake_for(node.next_deadline());
        read_all(node, &mut input, sink, &clock, &log, &mut out, idle).map_err(Failure::Input)
    });
    node.finish(clock.now(), &mut out);
    sink.flush(&mut out);
    read?;
    sink.failure().map_or(Ok(()), |error| Err(Failure::Output(error)))
}

/// Handles every line until the input ends or somebody wakes the reader to stop it.
fn read_all<N: Node, S: Sink>(
    node: &N,
    input: &mut Input,
    sink: &S,
    clock: &Clock,
    log: &Log,
    out: &mut Outbox,
    idle: impl Fn(),
) -> io::Result<()> {
    let mut scratch = N::Scratch::default();
    let limit = input.line_limit();
    let mut handle = |line: NextLine<'_>, now: Time, out: &mut Outbox| {
        match line {
            NextLine::Complete(line) => node.handle(now, line, &mut scratch, out),
            NextLine::TooLong => out.skip(&LineError::TooLong { limit }),
        }
        log.print(out, now);
        sink.offer(out);
    };
    loop {
        match input.fill()? {
            Fill::More => {}
            Fill::End => break,
            Fill::Stopped => return Ok(()),
        }
        let now = clock.now();
        while let Some(line) = input.lines.next_line() {
            handle(line, now, out);
        }
        sink.flush(out);
        idle();
    }
    if let Some(rest) = input.lines.rest() {
        handle(NextLine::Complete(rest), clock.now(), out);
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
