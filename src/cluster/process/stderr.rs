//! What a node writes to stderr.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::PathBuf;

/// How many of a node's first lines of stderr are shown when it fails: of a long trace the cause may come first.
const FIRST_WORDS: usize = 5;
/// How many of its last lines are.
const LAST_WORDS: usize = 10;
/// The longest line of stderr that is kept for that.
pub(super) const LAST_WORDS_LINE_MAX: usize = 1000;
/// The most bytes of a node's stderr that are kept in its file.
const LOG_MAX: usize = 64 << 20;
/// Reads of a node's stderr at a time: a node that says too much must not keep the others waiting.
const LOG_READS: usize = 16;

/// What a node writes to stderr: kept in a file, its end in memory, and shown if wanted.
#[derive(Debug)]
pub(super) struct Stderr {
    pub(super) name: String,
    /// None once the node has closed it, and while it is dead.
    pub(super) file: Option<File>,
    /// Where the log is.
    pub(super) path: PathBuf,
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
    pub(super) fn new(name: String, (path, log): (PathBuf, File), show: bool) -> Self {
        let (partial, first, last) = (Vec::new(), Vec::new(), VecDeque::new());
        Self { name, file: None, path, log, logged: 0, show, partial, first, last, left_out: 0 }
    }

    /// What is shown of it when the node fails, and where the rest is.
    pub(super) fn words(&mut self) -> Vec<String> {
        let mut words = std::mem::take(&mut self.first);
        if self.left_out > 0 {
            words.push(format!("… {} more lines, all of them in {} …", self.left_out, self.path.display()));
        }
        words.extend(self.last.drain(..));
        words
    }

    pub(super) fn pump(&mut self, said: &mut Vec<String>) -> io::Result<()> {
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

    pub(super) fn close(&mut self, said: &mut Vec<String>) {
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
