//! What an operator hears, on stderr.

use std::io::{Stderr, Write, stderr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::node::{Outbox, Report, Time};

/// Lines a second. Enough to see what is wrong; a flood of bad input costs no more than that.
const LINES_MAX: u32 = 20;
const WINDOW: Duration = Duration::from_secs(1);

/// Prints reports at a limited rate, and counts what it leaves out. Who doesn't read them keeps nobody waiting.
#[derive(Debug, Default)]
pub(super) struct Log {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    skipped_lines: u64,
    window_started: Time,
    printed: u32,
    left_out: u64,
}

impl Log {
    /// Prints the outbox's reports and takes them away. Costs nothing when there are none.
    pub(super) fn print(&self, out: &mut Outbox, now: Time) {
        let reports = out.take_reports();
        if reports.is_empty() {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stderr = stderr();
        for report in reports {
            if let Some(text) = state.line(report, now, || has_room(&stderr)) {
                // Nobody to tell if stderr is closed.
                let _ = writeln!(stderr, "{}: {text}", program());
            }
        }
    }
}

/// The name by which this program was started.
fn program() -> String {
    let path = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    path.file_name().map_or_else(|| "node".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Whether a line can be written without waiting: a pipe that is ready takes 4 KiB, several times what a line has.
fn has_room(stderr: &Stderr) -> bool {
    let mut ready = [PollFd::new(stderr, PollFlags::OUT)];
    // What is no file descriptor that can be asked is one that needn't be waited for.
    poll(&mut ready, Some(&Timespec::default())).map_or(true, |ready| ready > 0)
}

impl State {
    /// The line to print, if it is one that is printed.
    fn line(&mut self, report: Report, now: Time, has_room: impl FnOnce() -> bool) -> Option<String> {
        let text = match report {
            Report::Skipped(why) => {
                self.skipped_lines += 1;
                format!("skipped a line of input ({} so far): {why}", self.skipped_lines)
            }
            Report::Panicked(what) => format!("panicked in {what}"),
            Report::Note(text) => text,
        };
        if now.since(self.window_started) >= WINDOW {
            self.window_started = now;
            self.printed = 0;
        }
        if self.printed == LINES_MAX || !has_room() {
            self.left_out += 1;
            return None;
        }
        self.printed += 1;
        match std::mem::take(&mut self.left_out) {
            0 => Some(text),
            left_out => Some(format!("{text} ({left_out} reports left out before this one)")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_prints_a_bounded_number_of_lines_and_counts_the_rest() {
        let mut state = State::default();
        let mut print = |at: u64| state.line(Report::Skipped("x".into()), Time::from_nanos(at), || true);
        let printed = (0..1000).filter_map(|_| print(5)).count();
        assert_eq!(printed, LINES_MAX as usize);
        assert_eq!(
            print(1_000_000_000).as_deref(),
            Some("skipped a line of input (1001 so far): x (980 reports left out before this one)")
        );
        assert_eq!(print(1_000_000_001).as_deref(), Some("skipped a line of input (1002 so far): x"));
    }
}
