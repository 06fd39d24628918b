//! A node's stdin, and how to interrupt its reader.

use std::fs::File;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};

use crate::protocol::Lines;
use crate::sync::{AtomicBool, Ordering};

/// Standard input, cut into lines.
#[derive(Debug)]
pub(super) struct Input {
    stdin: File,
    woken: PipeReader,
    wake: Arc<Wake>,
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
    /// Somebody woke the reader: there is something to write.
    Woken,
    /// The reader is to stop.
    Stopped,
}

impl Input {
    /// Reads `stdin`, and can be interrupted by `wake`, which `woken` hears.
    pub(super) fn new(stdin: OwnedFd, woken: PipeReader, wake: Arc<Wake>, line_limit: usize) -> Self {
        Self { stdin: File::from(stdin), woken, wake, lines: Lines::new(line_limit), line_limit }
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
                self.woken.read_exact(&mut [0])?;
                return Ok(if self.wake.notice() { Fill::Stopped } else { Fill::Woken });
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

/// Wakes the reader, whatever it waits for.
#[derive(Debug)]
pub(super) struct Wake {
    pipe: PipeWriter,
    /// Whether the reader has been woken and has not noticed yet: there is never more than one byte in the pipe.
    woken: AtomicBool,
    stop: AtomicBool,
}

impl Wake {
    pub(super) fn new(pipe: PipeWriter) -> Self {
        Self { pipe, woken: AtomicBool::new(false), stop: AtomicBool::new(false) }
    }

    /// The reader is to stop.
    pub(super) fn stop(&self) {
        // Relaxed: published by the swap in `wake`.
        self.stop.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// The reader is to look for what the ticker has handed over.
    pub(super) fn wake(&self) {
        // Release: pairs with the acquire in `notice`. If the reader has not noticed the last time, it will see what
        // was done before this one as well.
        if !self.woken.swap(true, Ordering::AcqRel) {
            // An error would mean that the reader is gone, and needs no waking.
            let _ = (&self.pipe).write(&[1]);
        }
    }

    /// The reader notices that it was woken; true if it is to stop.
    fn notice(&self) -> bool {
        // Acquire: pairs with the release in `wake`.
        self.woken.swap(false, Ordering::AcqRel);
        self.stop.load(Ordering::Relaxed)
    }
}
