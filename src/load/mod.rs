//! What nodes cost: whole processes on the same loads, through real pipes.
//!
//! A process is fed as fast as it reads, and its answers are counted as they come. What it costs is what the
//! operating system counts for it: processor time, user's and system's, from its start to its end; and its memory
//! at its peak.
//!
//! Inside: public to be read, tested and measured; it may change with any version.

mod input;

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use memchr::memmem::Finder;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use thiserror::Error;

pub use self::input::{Input, Load};
use crate::node::Time;
use crate::runtime::Clock;
use crate::runtime::cli::Design;

/// A process that says nothing for so long, and has not answered everything, is stuck.
const SILENCE_MAX: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

/// How much is read at once: more than a pipe holds.
const READ_SIZE: usize = 1 << 20;

/// Why there are no figures.
#[derive(Debug, Error)]
pub enum CompareError {
    /// The program can't be started.
    #[error("cannot start {program}: {cause}")]
    Start {
        /// Its path.
        program: String,
        /// What the operating system says.
        #[source]
        cause: io::Error,
    },
    /// Something about its streams or its accounts failed.
    #[error("cannot talk to the node: {0}")]
    Talk(#[from] io::Error),
    /// It ended, or fell silent, too early.
    #[error("the node has answered {answered} of {messages} messages, and {what}")]
    Unanswered {
        /// How many answers it gave.
        answered: u64,
        /// How many it should have given.
        messages: u64,
        /// What it did then.
        what: &'static str,
    },
}

/// What a process cost.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cost {
    /// How many messages it answered, those to make it ready not counted.
    pub messages: u64,
    /// From its start to its last answer, in seconds.
    pub wall_s: f64,
    /// Its processor time over its whole life, in microseconds for each message.
    pub cpu_us_per_message: f64,
    /// The most memory it had resident, in MiB; none where the operating system doesn't tell.
    pub peak_mib: Option<f64>,
}

/// Gives a process its load; returns what that cost. One process at a time: the operating system counts the time of
/// all that have ended together.
///
/// # Errors
/// If it can't be started, or doesn't answer everything.
pub fn run(program: &Path, args: &[&str], input: &Input) -> Result<Cost, CompareError> {
    let before = children_cpu()?;
    let clock = Clock::start();
    let child = Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child =
        child.map_err(|cause| CompareError::Start { program: program.display().to_string(), cause })?;
    let talked = talk(&mut child, input, &clock);
    child.wait()?;
    let (wall, peak_mib) = talked?;
    let cpu = children_cpu()?.saturating_sub(before);
    let cpu_us_per_message = cpu.as_secs_f64() * 1e6 / input.messages as f64;
    Ok(Cost { messages: input.messages, wall_s: wall.as_secs_f64(), cpu_us_per_message, peak_mib })
}

/// Feeds it everything and hears all its answers, then ends its input and hears the rest.
fn talk(child: &mut Child, input: &Input, clock: &Clock) -> Result<(Duration, Option<f64>), CompareError> {
    let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
    };
    thread::scope(|scope| {
        let feeder = scope.spawn(|| feed(stdin, input));
        let mut answers = Answers { stdout, buffer: vec![0; READ_SIZE], count: Count::new(&input.answer()) };
        let heard =
            answers.hear_all(input.messages).map(|()| (clock.now().since(Time::ZERO), peak_mib(child.id())));
        if heard.is_err() {
            // It may read no more, and the feeder would wait for it. If it has ended, there is nothing to kill.
            let _ = child.kill();
        }
        // Ends its input. A feeder that failed has lost its reader, who has answered everything all the same.
        drop(feeder.join());
        let heard = heard?;
        answers.hear_the_end(input.messages).inspect_err(|_| drop(child.kill()))?;
        Ok(heard)
    })
}

fn feed(mut stdin: ChildStdin, input: &Input) -> io::Result<ChildStdin> {
    stdin.write_all(input.preamble.as_bytes())?;
    stdin.write_all(input.lines.as_bytes())?;
    Ok(stdin)
}

/// What a process says.
struct Answers {
    stdout: ChildStdout,
    buffer: Vec<u8>,
    count: Count,
}

impl Answers {
    /// Hears more. Nothing if it is silent for too long; otherwise whether that was not the end.
    fn hear(&mut self) -> io::Result<Option<bool>> {
        let mut ready = [PollFd::new(&self.stdout, PollFlags::IN)];
        if poll(&mut ready, Some(&SILENCE_MAX)).map_err(io::Error::from)? == 0 {
            return Ok(None);
        }
        let count = self.stdout.read(&mut self.buffer)?;
        self.count.add(&self.buffer[..count]);
        Ok(Some(count > 0))
    }

    fn hear_all(&mut self, messages: u64) -> Result<(), CompareError> {
        while self.count.found < messages {
            let what = match self.hear()? {
                Some(true) => continue,
                Some(false) => "closed its stdout",
                None => "says nothing more",
            };
            return Err(CompareError::Unanswered { answered: self.count.found, messages, what });
        }
        Ok(())
    }

    fn hear_the_end(&mut self, messages: u64) -> Result<(), CompareError> {
        while let Some(more) = self.hear()? {
            if !more {
                return Ok(());
            }
        }
        let (answered, what) = (self.count.found, "does not end with its input");
        Err(CompareError::Unanswered { answered, messages, what })
    }
}

/// Counts how often something occurs in a stream that comes in pieces.
struct Count {
    wanted: Finder<'static>,
    /// The end of what came, in which it may begin.
    rest: Vec<u8>,
    found: u64,
}

impl Count {
    fn new(wanted: &str) -> Self {
        Self { wanted: Finder::new(wanted).into_owned(), rest: Vec::new(), found: 0 }
    }

    fn add(&mut self, piece: &[u8]) {
        // Neither end holds it whole.
        let overlap = self.wanted.needle().len() - 1;
        self.rest.extend_from_slice(&piece[..piece.len().min(overlap)]);
        let found = self.wanted.find_iter(&self.rest).count() + self.wanted.find_iter(piece).count();
        self.found += found as u64;
        if piece.len() >= overlap {
            self.rest.clear();
            self.rest.extend_from_slice(&piece[piece.len() - overlap..]);
        } else {
            let excess = self.rest.len().saturating_sub(overlap);
            self.rest.drain(..excess);
        }
    }
}

/// The processor time of all children that have been waited for.
fn children_cpu() -> io::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(micros.unsigned_abs()))
}

/// As Linux tells it.
fn peak_mib(id: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix("kB")?;
    Some(kib.trim().parse::<f64>().ok()? / 1024.0)
}

/// A load, and what it cost each design.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Row {
    /// The load.
    pub load: Load,
    /// Of the design that gives the node its name.
    pub lock_free: Cost,
    /// Of the one to compare it with.
    pub simple: Cost,
    /// Processor time, the former's by the latter's.
    pub cpu_ratio: f64,
}

impl Row {
    /// Runs both designs on a load of so many messages. `program` with `args` and an option for the design is a node.
    ///
    /// # Errors
    /// As [`run`].
    pub fn measure(program: &Path, args: &[&str], load: Load, messages: u64) -> Result<Self, CompareError> {
        let input = Input::new(load, messages);
        let cost = |design: Design| {
            let args: Vec<&str> = args.iter().copied().chain(["--design", design.name()]).collect();
            run(program, &args, &input)
        };
        let (lock_free, simple) = (cost(Design::LockFree)?, cost(Design::Simple)?);
        Ok(Self {
            load,
            lock_free,
            simple,
            cpu_ratio: lock_free.cpu_us_per_message / simple.cpu_us_per_message,
        })
    }
}

/// All rows as one table.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header([
        "load",
        "design",
        "messages",
        "wall s",
        "CPU µs a message",
        "of simple's",
        "peak MiB",
    ]);
    for Row { load, lock_free, simple, cpu_ratio } in rows {
        for (design, cost, ratio) in [
            (Design::LockFree, lock_free, format!("1/{:.1}", 1.0 / cpu_ratio)),
            (Design::Simple, simple, "1".to_owned()),
        ] {
            table.add_row([
                load.name().to_owned(),
                design.name().to_owned(),
                cost.messages.to_string(),
                format!("{:.3}", cost.wall_s),
                format!("{:.3}", cost.cpu_us_per_message),
                ratio,
                cost.peak_mib.map_or_else(|| "–".to_owned(), |peak| format!("{peak:.1}")),
            ]);
        }
    }
    for column in 2..7 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_however_the_stream_is_cut() {
        let text = br#"{"type":"echo_ok"}{"type":"echo_o"}"echo_ok""echo_ok"{"echo_ok":1}"#;
        for size in 1..text.len() {
            let mut count = Count::new("\"echo_ok\"");
            text.chunks(size).for_each(|piece| count.add(piece));
            assert_eq!(count.found, 4, "pieces of {size}");
        }
    }

    #[test]
    fn a_program_that_does_not_answer_is_an_error_and_so_is_none() {
        let input = Input::new(Load::Echo, 1);
        let error = run(Path::new("/bin/true"), &[], &input).expect_err("it says nothing");
        assert!(matches!(error, CompareError::Unanswered { answered: 0, messages: 1, .. }), "{error}");
        let error = run(Path::new("/no/such/program"), &[], &input).expect_err("it does not exist");
        assert!(matches!(error, CompareError::Start { .. }), "{error}");
    }
}
