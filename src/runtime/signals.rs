//! SIGTERM, SIGINT and SIGHUP: the node is asked to end, and given time for its last words.

#[cfg(target_os = "linux")]
use std::fs;
use std::io::{self, PipeReader, PipeWriter};
use std::process;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level;

use super::input::Wake;

/// How long a node that was asked to end may take. It has what it says in memory; only somebody who does not
/// read it can keep it longer, and then nobody would hear the rest.
const GRACE: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// Waits for a signal, on a thread of its own.
#[derive(Debug)]
pub(super) struct Watch {
    asked: PipeReader,
    ended: PipeReader,
}

/// As long as this lives, signals are watched for. Dropping it lets the watching thread finish.
#[derive(Debug)]
pub(super) struct Watching {
    _ended: PipeWriter,
}

/// Begins to catch signals. They are caught to the end of the process, which is near when the node has ended.
pub(super) fn watch() -> io::Result<(Watch, Watching)> {
    let (asked, ask) = io::pipe()?;
    let (ended, end) = io::pipe()?;
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        if signal != SIGHUP || !is_hangup_ignored() {
            low_level::pipe::register(signal, ask.try_clone()?)?;
        }
    }
    Ok((Watch { asked, ended }, Watching { _ended: end }))
}

/// Whether the process was started so that it outlives its terminal, as by nohup.
#[cfg(target_os = "linux")]
fn is_hangup_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (SIGHUP - 1) & 1 == 1)
}

#[cfg(not(target_os = "linux"))]
fn is_hangup_ignored() -> bool {
    false
}

impl Watch {
    /// The watching thread's whole life: on a signal, wakes the reader to stop; then ends the process with the
    /// status of a killed one, unless the node ends in time.
    pub(super) fn run(&self, wake: &Wake) {
        if self.wait(None) == Event::Asked {
            wake.stop();
            if self.wait(Some(&GRACE)) == Event::Nothing {
                process::exit(128 + SIGTERM);
            }
        }
    }

    /// The first signal if no timeout is given; with one, only the end counts.
    fn wait(&self, timeout: Option<&Timespec>) -> Event {
        loop {
            let asked = if timeout.is_none() { PollFlags::IN } else { PollFlags::empty() };
            let mut ready = [PollFd::new(&self.ended, PollFlags::IN), PollFd::new(&self.asked, asked)];
            match poll(&mut ready, timeout) {
                Err(Errno::INTR) => continue,
                Err(_) => return Event::Ended,
                Ok(0) => return Event::Nothing,
                Ok(_) if !ready[0].revents().is_empty() => return Event::Ended,
                Ok(_) => return Event::Asked,
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Event {
    Asked,
    Ended,
    Nothing,
}
