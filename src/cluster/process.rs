//! The driver for real processes: starts the nodes, and starts them again where the nemesis kills them, moves
//! lines between their pipes and the trial, and makes sure that none of them outlives the run.
//!
//! One thread does it all: it waits in `poll` for output of the nodes, for room in their stdin, for a signal,
//! or for the trial's next event.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, PipeReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};
use thiserror::Error;

use crate::cluster::nemesis::NodeFault;
use crate::cluster::scenario::{Scenario, Verbosity};
use crate::cluster::trial::{Cluster, Results, Snapshot, Trial, Violation};
use crate::history::{History, Writer};
use crate::node::Time;
use crate::protocol::{Lines, NextLine};
use crate::runtime::Clock;

/// The longest line that a node may print. A read of ten million values fits.
const LINE_MAX: usize = 256 << 20;
/// The most bytes that may wait for a node that doesn't read its stdin.
const BACKLOG_MAX: usize = 256 << 20;
/// How many of a node's first lines of stderr are shown when it fails: of a long trace the cause may come first.
const FIRST_WORDS: usize = 5;
/// How many of its last lines are.
const LAST_WORDS: usize = 10;
/// The longest line of stderr that is kept for that.
const LAST_WORDS_LINE_MAX: usize = 1000;
/// The most bytes of a node's stderr that are kept in its file.
const LOG_MAX: usize = 64 << 20;
/// Reads of a node's stderr at a time: a node that says too much must not keep the others waiting.
const LOG_READS: usize = 16;
/// Between two looks at how far the run is.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);
/// How long to wait for the exit status of a node that closed its stdout.
const EXIT_GRACE: Duration = Duration::from_millis(500);

/// The program that is a node, with its arguments.
#[derive(Clone, Debug)]
pub struct NodeCommand {
    program: PathBuf,
    args: Vec<String>,
}

impl NodeCommand {
    /// Looks for the program: relative paths are relative to the current folder, as nodes run elsewhere. A name without a slash
    /// that isn't there is looked for in `PATH`.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn new(program: &Path, args: Vec<String>) -> Result<Self, RunError> {
        let missing = |error| RunError::NoProgram { program: program.to_owned(), error };
        let here = std::path::absolute(program).map_err(missing)?;
        let is_name = program.components().count() == 1 && !here.exists();
        let absolute = is_name.then(|| in_path(program)).flatten().unwrap_or(here);
        let kind = std::fs::metadata(&absolute).map_err(missing)?;
        if kind.is_dir() {
            return Err(missing(ErrorKind::IsADirectory.into()));
        }
        Ok(Self { program: absolute, args })
    }
}

/// The file of that name in the first folder of `PATH` that has one.
fn in_path(name: &Path) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|file| file.is_file())
}

impl fmt::Display for NodeCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.program.display())?;
        self.args.iter().try_for_each(|arg| write!(f, " {arg}"))
    }
}

/// Why a run could not be finished.
#[derive(Debug, Error)]
pub enum RunError {
    /// The program isn't there.
    #[error("--bin {}: {error}. Give the path of a program that is a Maelstrom node", program.display())]
    NoProgram {
        /// The path.
        program: PathBuf,
        /// What the file system says.
        error: io::Error,
    },
    /// A node could not be started.
    #[error("cannot start {node} as {}: {error}{}", program.display(), hint(program, error))]
    Spawn {
        /// The node.
        node: String,
        /// The path.
        program: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A node misbehaved.
    #[error("{node} {violation}{}", last_words(words))]
    Violation {
        /// The node.
        node: String,
        /// What it did.
        violation: Violation,
        /// Its last lines on stderr.
        words: Vec<String>,
    },
    /// A node's process ended, or can no longer be talked to.
    #[error("{node} {how}{}", last_words(words))]
    Died {
        /// The node.
        node: String,
        /// How.
        how: String,
        /// Its last lines on stderr.
        words: Vec<String>,
    },
    /// The user, or somebody else, wants natter to stop.
    #[error("interrupted; all nodes are stopped")]
    Interrupted {
        /// The signal's number.
        signal: i32,
    },
    /// The run can't be kept.
    #[error("cannot write to {}: {error}", path.display())]
    Store {
        /// The folder.
        path: PathBuf,
        /// What the file system says.
        error: io::Error,
    },
    /// Something that natter itself needs failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn hint(program: &Path, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::PermissionDenied => ". Is it executable? chmod +x makes it so".to_owned(),
        ErrorKind::NotFound => match interpreter(program) {
            Some(name) => {
                let (shown, windows) = (name.trim_end(), name.ends_with('\r'));
                let ending = if windows {
                    ", and the line ends as on Windows: save it with Unix line ends"
                } else {
                    ""
                };
                format!(". Its first line names the interpreter {shown}, which isn't there{ending}")
            }
            None => String::new(),
        },
        // What the kernel says of a text without a first line that names an interpreter.
        _ if error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error()) => {
            ". It is no program: a script begins with a line such as #!/usr/bin/env python3".to_owned()
        }
        _ => String::new(),
    }
}

/// The interpreter that a script's first line names.
fn interpreter(program: &Path) -> Option<String> {
    let mut start = [0; 256];
    let read = File::open(program).and_then(|mut file| file.read(&mut start)).ok()?;
    let line = String::from_utf8_lossy(start[..read].strip_prefix(b"#!")?).into_owned();
    let line = line.split('\n').next()?.trim_start();
    Some(line.split(' ').next()?.to_owned())
}

fn last_words(words: &[String]) -> String {
    if words.is_empty() {
        return "\nIt wrote nothing to stderr".to_owned();
    }
    format!("\nOn stderr it wrote:\n  {}", words.join("\n  "))
}

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
    fn trouble(&mut self, node: usize, trouble: NodeFault) -> Result<(), RunError> {
        match trouble {
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
        let mut words = self.last_words(violation.node());
        if let (Violation::NoInitOk { instead: None, .. }, Some(process)) =
            (&violation, &mut self.nodes[violation.node()].process)
            && let Some(rest) = process.lines.rest()
        {
            let rest = String::from_utf8_lossy(rest.bytes());
            let start: String = rest.chars().take(LAST_WORDS_LINE_MAX).collect();
            words.insert(0, format!("(on stdout, without the newline that ends a message: {start})"));
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

    fn disturb(&mut self, node: usize, trouble: NodeFault) {
        if let Err(error) = self.trouble(node, trouble) {
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

/// One node's process. Dropping it kills it, with everything it started, and waits for its end.
#[derive(Debug)]
struct Process {
    child: Child,
    /// None once the node has closed its end.
    stdin: Option<File>,
    stdout: File,
    lines: Lines,
    /// What waits to be written to its stdin.
    backlog: VecDeque<u8>,
}

impl Process {
    /// A new process, and its stderr.
    fn spawn(command: &NodeCommand) -> io::Result<(Self, File)> {
        let mut spawn = Command::new(&command.program);
        spawn
            .args(&command.args)
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own: Ctrl-C reaches natter alone, and its children die with it.
            .process_group(0);
        die_with_parent(&mut spawn);
        let mut child = spawn.spawn()?;
        let ends = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        // From here on, an early return kills the process: `Process` is dropped.
        let (Some(stdin), Some(stdout), Some(stderr)) = ends else {
            return Err(ErrorKind::BrokenPipe.into());
        };
        let stderr = File::from(OwnedFd::from(stderr));
        let process = Self {
            child,
            stdin: Some(File::from(OwnedFd::from(stdin))),
            stdout: File::from(OwnedFd::from(stdout)),
            lines: Lines::new(LINE_MAX),
            backlog: VecDeque::new(),
        };
        for stream in process.stdin.iter().chain([&process.stdout, &stderr]) {
            rustix::io::ioctl_fionbio(stream, true)?;
        }
        Ok((process, stderr))
    }

    /// Its stdin, if something waits for room there.
    fn writable_interest(&self) -> Option<BorrowedFd<'_>> {
        self.stdin.as_ref().filter(|_| !self.backlog.is_empty()).map(AsFd::as_fd)
    }

    /// Writes as much of the backlog as there is room for.
    fn write(&mut self) {
        while let Some(stdin) = &mut self.stdin
            && !self.backlog.is_empty()
        {
            match stdin.write(self.backlog.as_slices().0) {
                Ok(count) => drop(self.backlog.drain(..count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // It has closed its stdin. If it is dying, its stdout will tell; if not, it just hears nothing.
                Err(_) => {
                    self.stdin = None;
                    self.backlog.clear();
                }
            }
        }
    }

    /// Reads what it printed, line by line. Says how it came to its end, if it did.
    fn read(
        &mut self,
        receive: &mut dyn FnMut(&[u8]) -> Result<(), Violation>,
    ) -> Result<Option<String>, Violation> {
        if self.backlog.len() > BACKLOG_MAX {
            return Ok(Some(format!("does not read its stdin: {} bytes wait for it", self.backlog.len())));
        }
        match self.stdout.read(self.lines.room()) {
            Ok(0) => return Ok(Some(self.end())),
            Ok(count) => self.lines.filled(count),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Ok(Some(format!("cannot be read: {error}"))),
        }
        while let Some(line) = self.lines.next_line() {
            match line {
                NextLine::Complete(line) => receive(line.bytes())?,
                NextLine::TooLong => {
                    return Ok(Some(format!("printed a line of more than {LINE_MAX} bytes")));
                }
            }
        }
        Ok(None)
    }

    /// How a node that closed its stdout ended.
    fn end(&mut self) -> String {
        let closed = "closed its stdout and lives on".to_owned();
        // A process closes its streams shortly before it can be waited for.
        let clock = Clock::start();
        while clock.now().since(Time::ZERO) < EXIT_GRACE {
            match self.child.try_wait() {
                Ok(Some(status)) => return describe(status),
                Ok(None) => {
                    // Nothing else is waited for: this is a pause.
                    let pause = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
                    let _ = poll(&mut [], Some(&pause));
                }
                Err(error) => return format!("cannot be waited for: {error}"),
            }
        }
        closed
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors mean that it is gone already.
        if let Some(group) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => format!("ended: {status}"),
    }
}

/// What a node writes to stderr: kept in a file, its end in memory, and shown if wanted.
#[derive(Debug)]
struct Stderr {
    name: String,
    /// None once the node has closed it, and while it is dead.
    file: Option<File>,
    /// Where the log is.
    path: PathBuf,
    log: File,
    /// Bytes in the log.
    logged: usize,
    show: bool,
    partial: Vec<u8>,
    /// The first lines.
    first: Vec<String>,
    /// Those of the last lines that are not among the first.
    last: VecDeque<String>,
    /// How many lines came between those.
    left_out: usize,
}

impl Stderr {
    fn new(name: String, (path, log): (PathBuf, File), show: bool) -> Self {
        let (partial, first, last) = (Vec::new(), Vec::new(), VecDeque::new());
        Self { name, file: None, path, log, logged: 0, show, partial, first, last, left_out: 0 }
    }

    /// What is shown of it when the node fails, and where the rest is.
    fn words(&mut self) -> Vec<String> {
        let mut words = std::mem::take(&mut self.first);
        if self.left_out > 0 {
            words.push(format!("… {} more lines, all of them in {} …", self.left_out, self.path.display()));
        }
        words.extend(self.last.drain(..));
        words
    }

    fn pump(&mut self, said: &mut Vec<String>) -> io::Result<()> {
        let mut chunk = [0; 16 * 1024];
        for _ in 0..LOG_READS {
            let Some(file) = &mut self.file else { break };
            match file.read(&mut chunk) {
                Ok(count @ 1..) => {
                    let kept = count.min(LOG_MAX - self.logged);
                    self.log.write_all(&chunk[..kept])?;
                    self.logged += kept;
                    self.remember(&chunk[..count], said);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Ok(0) | Err(_) => self.close(said),
            }
        }
        Ok(())
    }

    fn close(&mut self, said: &mut Vec<String>) {
        self.file = None;
        if !self.partial.is_empty() {
            self.remember(b"\n", said);
        }
    }

    fn remember(&mut self, bytes: &[u8], said: &mut Vec<String>) {
        for &byte in bytes {
            if byte != b'\n' {
                if self.partial.len() < LAST_WORDS_LINE_MAX {
                    self.partial.push(byte);
                }
                continue;
            }
            let line = String::from_utf8_lossy(&self.partial).into_owned();
            self.partial.clear();
            if self.show {
                said.push(format!("{}: {line}", self.name));
            }
            if self.first.len() < FIRST_WORDS {
                self.first.push(line);
                continue;
            }
            if self.last.len() == LAST_WORDS {
                self.last.pop_front();
                self.left_out += 1;
            }
            self.last.push_back(line);
        }
    }
}

/// Asks the kernel to kill the process when natter dies, however it does.
#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    use rustix::process::{getpid, getppid, set_parent_process_death_signal};
    let parent = getpid();
    let before_exec = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the line above.
        if getppid() == Some(parent) { Ok(()) } else { Err(ErrorKind::BrokenPipe.into()) }
    };
    // SAFETY: between fork and exec a child may only do what is async-signal-safe. The closure makes two
    // system calls, prctl and getppid, through rustix's thin wrappers; it compares integers and builds an
    // `io::Error` from a bare kind or code. None of that allocates, locks, or touches memory that another
    // thread of the parent may have left half-changed.
    unsafe { command.pre_exec(before_exec) };
}

/// Elsewhere, nodes end with natter unless natter is killed outright.
#[cfg(not(target_os = "linux"))]
fn die_with_parent(_: &mut Command) {}

/// Catches the signals that want natter to stop, for as long as nodes run; at any other time they do what they
/// do by default. Made once for the whole process.
#[derive(Debug)]
pub struct Signals {
    pipe: PipeReader,
    /// Whether no nodes run.
    idle: Arc<AtomicBool>,
    /// The number of the last signal; zero before the first.
    last: Arc<AtomicUsize>,
}

impl Signals {
    /// Begins to catch signals.
    ///
    /// # Errors
    /// If the system has no pipes or handlers left.
    pub fn catch() -> io::Result<Self> {
        let (pipe, write) = io::pipe()?;
        let (idle, last) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register_conditional_default(signal, Arc::clone(&idle))?;
            flag::register_usize(signal, Arc::clone(&last), signal as usize)?;
            low_level::pipe::register(signal, write.try_clone()?)?;
        }
        Ok(Self { pipe, idle, last })
    }

    /// Nodes run from now on, until what this returns is dropped.
    fn busy(&self) -> Busy<'_> {
        self.idle.store(false, Ordering::SeqCst);
        Busy(self)
    }
}

#[derive(Debug)]
struct Busy<'a>(&'a Signals);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.idle.store(true, Ordering::SeqCst);
    }
}
