//! Why a run could not be finished, and what to do about it.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use thiserror::Error;

use crate::cluster::trial::Violation;

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
