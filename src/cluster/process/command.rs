//! The program that is a node.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::RunError;

/// The program that is a node, with its arguments.
#[derive(Clone, Debug)]
pub struct NodeCommand {
    pub(super) program: PathBuf,
    pub(super) args: Vec<String>,
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
