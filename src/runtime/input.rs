//! A node's stdin, and how to interrupt its reader.

use std::fs::File;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, poll};

use crate::protocol::Lines;

/// Standard input, cut into lines.
#[derive(Debug)]
pub(super) struct Input {
    stdin: File,
    woken: PipeReader,
    pub(super) lines: Lines,
    line_limit: usize,
}

/// What came of reading on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// There may be new lines.
    More,
    /// The input has ended.
    End,
    /// The reader was woken: it is to stop.
    Stopped,
}

impl Input {
    pub(super) fn new(stdin: OwnedFd, woken: PipeReader, line_limit: usize) -> Self {
        Self { stdin: File::from(stdin), woken, lines: Lines::new(line_limit), line_limit }
    }

    pub(super) fn line_limit(&self) -> usize {
        self.line_limit
    }

    /// Waits for input, or for somebody to wake the reader, and reads what there is.
    pub(super) fn fill(&mut self) -> io::Result<Fill> {
        loop {
            let mut ready =
                [PollFd::new(&self.stdin, PollFlags::IN), PollFd::new(&self.woken, PollFlags::IN)];
            match poll(&mut ready, None) {
                Err(rustix::io::Errno::INTR) => continue,
                result => result?,
            };
            if !ready[1].revents().is_empty() {
                return Ok(Fill::Stopped);
            }
            match self.stdin.read(self.lines.room()) {
                Ok(0) => return Ok(Fill::End),
                Ok(count) => {
                    self.lines.filled(count);
                    return Ok(Fill::More);
                }
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Wakes the reader, to stop it.
#[derive(Debug)]
pub(super) struct Wake(PipeWriter);

impl Wake {
    pub(super) fn new(pipe: PipeWriter) -> Self {
        Self(pipe)
    }

    pub(super) fn wake(&self) {
        // An error would mean that the reader is gone, and needs no waking.
        let _ = (&self.0).write(&[1]);
    }
}
