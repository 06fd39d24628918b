//! The driver for real processes: starts the nodes, and starts them again where the nemesis kills them, moves
//! lines between their pipes and the trial, and makes sure that none of them outlives the run.
//!
//! One thread does it all: it waits in `poll` for output of the nodes, for room in their stdin, for a signal,
//! or for the trial's next event.

mod child;
mod command;
mod error;
mod signals;
mod stderr;

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};

use self::child::{Process, describe};
pub use self::command::NodeCommand;
pub use self::error::RunError;
pub use self::signals::Signals;
use self::stderr::{LAST_WORDS_LINE_MAX, Stderr};
use crate::cluster::nemesis::NodeFault;
use crate::cluster::scenario::{Scenario, Verbosity};
use crate::cluster::trial::{Cluster, Results, Snapshot, Trial, Violation};
use crate::history::{History, Writer};
use crate::runtime::Clock;

/// Between two looks at how far the run is.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);

/// Runs a scenario on real processes. Calls `watch` about ten times a second, and hands it what there is to
/// log.
///
/// # Errors
/// If the run could not be finished. No node is left in any case, and the history is stored as far as it came.
pub fn run(
    scenario: &Scenario,
    seed: u64,
    command: &NodeCommand,
    dir: &Path,
    (signals, verbosity): (&Signals, Verbosity),
    watch: &mut dyn FnMut(&Snapshot, Vec<String>),
) -> Result<(Results, History), RunError> {
    let _busy = signals.busy();
    let clock = Clock::start();
    let mut nodes = Processes::start(scenario.names(), command, dir, verbosity.log_stderr)?;
    let mut trial = Trial::new(scenario, seed, verbosity, clock.now());
    let store = |error| RunError::Store { path: dir.to_owned(), error };
    let mut records = Records::create(dir, verbosity.keeps_messages).map_err(store)?;
    let drove = drive(&mut trial, &mut nodes, &mut records, (&clock, signals), watch);
    for (node, machine) in nodes.nodes.iter_mut().enumerate() {
        if let Some(rest) = machine.process.as_mut().and_then(|process| process.lines.rest()) {
            trial.left_unended(node, rest.bytes());
        }
    }
    drop(nodes);
    // What went wrong first is what there is to say.
    let kept = records.keep(&mut trial);
    drove?;
    kept.map_err(store)?;
    Ok(trial.finish())
}

/// What is kept of a run while it goes on, so that it outlives natter.
struct Records {
    dir: PathBuf,
    history: Writer<BufWriter<File>>,
    messages: Option<BufWriter<File>>,
}

impl Records {
    fn create(dir: &Path, keeps_messages: bool) -> io::Result<Self> {
        let create = |name| File::create(dir.join(name)).map(BufWriter::new);
        let messages = keeps_messages.then(|| create("messages.jsonl")).transpose()?;
        Ok(Self { dir: dir.to_owned(), history: Writer::new(create("history.jsonl")?), messages })
    }

    /// Writes what has happened since the last call.
    fn keep(&mut self, trial: &mut Trial) -> io::Result<()> {
        self.history.append(trial.history())?;
        let Some(messages) = &mut self.messages else { return Ok(()) };
        let mut written = Ok(());
        trial.take_messages(|lines| written = messages.write_all(lines));
        written?;
        messages.flush()
    }
}

/// Moves lines and time until the trial is done.
fn drive(
    trial: &mut Trial,
    nodes: &mut Processes,
    records: &mut Records,
    (clock, signals): (&Clock, &Signals),
    watch: &mut dyn FnMut(&Snapshot, Vec<String>),
) -> Result<(), RunError> {
    let mut watch_at = clock.now();
    loop {
        let now = clock.now();
        trial.advance(now, nodes).map_err(|violation| nodes.violation(violation))?;
        nodes.failed.take().map_or(Ok(()), Err)?;
        if trial.is_done() || watch_at <= now {
            let mut log = trial.take_log();
            log.append(&mut nodes.said);
            watch(&trial.snapshot(now), log);
            records.keep(trial).map_err(|error| RunError::Store { path: records.dir.clone(), error })?;
            watch_at = now + WATCH_INTERVAL;
            nodes.check_alive()?;
        }
        if trial.is_done() {
            return Ok(());
        }
        let until = trial.next_event().map_or(watch_at, |event| event.min(watch_at));
        if nodes.wait(signals, until.since(clock.now()))? {
            let signal = signals.last.load(Ordering::SeqCst) as i32;
            return Err(RunError::Interrupted { signal });
        }
        let now = clock.now();
        nodes.pump(|node, line| trial.receive(now, node, line))?;
    }
}

/// The nodes' processes.
#[derive(Debug)]
struct Processes {
    nodes: Vec<Machine>,
    /// What nodes said on stderr and is to be shown.
    said: Vec<String>,
    command: NodeCommand,
    /// What went wrong where nobody could be told.
    failed: Option<RunError>,
}

impl Processes {
    fn start(names: Vec<String>, command: &NodeCommand, dir: &Path, show: bool) -> Result<Self, RunError> {
        let nodes = Vec::with_capacity(names.len());
        let mut all = Self { nodes, said: Vec::new(), command: command.clone(), failed: None };
        for (node, name) in names.into_iter().enumerate() {
            let path = dir.join(format!("{name}.log"));
            let store = |error| RunError::Store { path: path.clone(), error };
            let log = (path.clone(), File::create(&path).map_err(store)?);
            all.nodes.push(Machine { process: None, stderr: Stderr::new(name, log, show) });
            all.spawn(node)?;
        }
        Ok(all)
    }

    fn spawn(&mut self, node: usize) -> Result<(), RunError> {
        let name = self.name(node);
        let failed = |error| RunError::Spawn { node: name, program: self.command.program.clone(), error };
        self.nodes[node].spawn(&self.command).map_err(failed)
    }

    /// Does to a process what can be done to one. Clocks and speed are the machine's.
    fn strike(&mut self, node: usize, fault: NodeFault) -> Result<(), RunError> {
        match fault {
            NodeFault::Pause => self.nodes[node].signal(Signal::STOP),
            NodeFault::Resume => self.nodes[node].signal(Signal::CONT),
            NodeFault::Kill => {
                let machine = &mut self.nodes[node];
                let killed = machine.kill(&mut self.said);
                return killed.map_err(|error| RunError::Store { path: machine.stderr.path.clone(), error });
            }
            NodeFault::Restart => return self.spawn(node),
            NodeFault::Clock { .. } | NodeFault::Slow(_) => {}
        }
        Ok(())
    }

    /// Waits until there is something to do, at most so long. True if a signal wants natter to stop.
    fn wait(&self, signals: &Signals, at_most: Duration) -> Result<bool, RunError> {
        let mut interests = vec![PollFd::new(&signals.pipe, PollFlags::IN)];
        for Machine { process, stderr } in &self.nodes {
            interests.extend(stderr.file.as_ref().map(|file| PollFd::new(file, PollFlags::IN)));
            let Some(process) = process else { continue };
            interests.push(PollFd::new(&process.stdout, PollFlags::IN));
            let stdin = process.writable_interest();
            interests.extend(stdin.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::OUT)));
        }
        let timeout =
            Timespec::try_from(at_most).map_err(|_| ErrorKind::InvalidInput).map_err(io::Error::from)?;
        match poll(&mut interests, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(!interests[0].revents().is_empty()),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }

    /// Reads what nodes have printed, and writes what waits for them.
    fn pump(
        &mut self,
        mut receive: impl FnMut(usize, &[u8]) -> Result<(), Violation>,
    ) -> Result<(), RunError> {
        for node in 0..self.nodes.len() {
            let stderr = &mut self.nodes[node].stderr;
            let pumped = stderr.pump(&mut self.said);
            pumped.map_err(|error| RunError::Store { path: stderr.path.clone(), error })?;
            let Some(process) = &mut self.nodes[node].process else { continue };
            process.write();
            match process.read(&mut |line| receive(node, line)) {
                Ok(None) => {}
                Ok(Some(how)) => return Err(self.died(node, how)),
                Err(violation) => return Err(self.violation(violation)),
            }
        }
        Ok(())
    }

    /// A node may die and leave a child that holds its stdout open. One that was killed is not looked at.
    fn check_alive(&mut self) -> Result<(), RunError> {
        for node in 0..self.nodes.len() {
            let Some(process) = &mut self.nodes[node].process else { continue };
            if let Ok(Some(status)) = process.child.try_wait() {
                return Err(self.died(node, describe(status)));
            }
        }
        Ok(())
    }

    fn violation(&mut self, violation: Violation) -> RunError {
        let at = violation.node();
        let words = self.last_words(at);
        let mut violation = violation;
        if let (Violation::NoInitOk { instead: instead @ None, .. }, Some(process)) =
            (&mut violation, self.nodes.get_mut(at).and_then(|machine| machine.process.as_mut()))
            && let Some(rest) = process.lines.rest()
        {
            let rest = String::from_utf8_lossy(rest.bytes());
            let start: String = rest.chars().take(LAST_WORDS_LINE_MAX).collect();
            *instead = Some(format!("this, which no newline ends: {start}"));
        }
        RunError::Violation { node: self.name(violation.node()), violation, words }
    }

    fn died(&mut self, node: usize, how: String) -> RunError {
        let words = self.last_words(node);
        RunError::Died { node: self.name(node), how, words }
    }

    fn name(&self, node: usize) -> String {
        self.nodes[node].stderr.name.clone()
    }

    fn last_words(&mut self, node: usize) -> Vec<String> {
        let stderr = &mut self.nodes[node].stderr;
        // What can't be read now was not its last word.
        let _ = stderr.pump(&mut self.said);
        stderr.words()
    }
}

impl Cluster for Processes {
    fn deliver(&mut self, node: usize, line: String) {
        if let Some(process) = &mut self.nodes[node].process
            && process.stdin.is_some()
        {
            process.backlog.extend(line.as_bytes());
            process.write();
        }
    }

    fn disturb(&mut self, node: usize, fault: NodeFault) {
        if let Err(error) = self.strike(node, fault) {
            self.failed.get_or_insert(error);
        }
    }
}

/// Where a node's processes live, one after the other.
#[derive(Debug)]
struct Machine {
    /// None while the node is dead.
    process: Option<Process>,
    /// Of all of them: one log.
    stderr: Stderr,
}

impl Machine {
    fn spawn(&mut self, command: &NodeCommand) -> io::Result<()> {
        let (process, stderr) = Process::spawn(command)?;
        (self.process, self.stderr.file) = (Some(process), Some(stderr));
        Ok(())
    }

    /// Sends a signal to the process and everything it started.
    fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            // One that is gone is found out by its stdout.
            let _ = kill_process_group(Pid::from_child(&process.child), signal);
        }
    }

    /// Kills the process and waits for its end. What it printed and nobody has read is gone; what it said on
    /// stderr is kept.
    fn kill(&mut self, said: &mut Vec<String>) -> io::Result<()> {
        self.process = None;
        let pumped = self.stderr.pump(said);
        self.stderr.close(said);
        pumped
    }
}
