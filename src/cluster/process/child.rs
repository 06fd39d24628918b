//! One node's process: its pipes, its lines, its end.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};

use super::NodeCommand;
use crate::cluster::trial::Violation;
use crate::node::Time;
use crate::protocol::{Lines, NextLine};
use crate::runtime::Clock;

/// The longest line that a node may print. A read of ten million values fits.
const LINE_MAX: usize = 256 << 20;
/// The most bytes that may wait for a node that doesn't read its stdin.
const BACKLOG_MAX: usize = 256 << 20;
/// How long to wait for the exit status of a node that closed its stdout.
const EXIT_GRACE: Duration = Duration::from_millis(500);

/// One node's process. Dropping it kills it, with everything it started, and waits for its end.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) child: Child,
    /// None once the node has closed its end.
    pub(super) stdin: Option<File>,
    pub(super) stdout: File,
    pub(super) lines: Lines,
    /// What waits to be written to its stdin.
    pub(super) backlog: VecDeque<u8>,
}

impl Process {
    /// A new process, and its stderr.
    pub(super) fn spawn(command: &NodeCommand) -> io::Result<(Self, File)> {
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
    pub(super) fn writable_interest(&self) -> Option<BorrowedFd<'_>> {
        self.stdin.as_ref().filter(|_| !self.backlog.is_empty()).map(AsFd::as_fd)
    }

    /// Writes as much of the backlog as there is room for.
    pub(super) fn write(&mut self) {
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
    pub(super) fn read(
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

pub(super) fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => format!("ended: {status}"),
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
