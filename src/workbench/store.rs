//! Where runs are kept: `store/<workload>/<timestamp>/`, and `store/latest`.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::history::History;
use super::trial::Results;

/// The folder of one run.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Makes the folder of a run that begins now, under `store/` in the current folder.
    ///
    /// # Errors
    /// If the file system says no.
    pub fn create(workload: &str) -> io::Result<Self> {
        let root = Path::new("store");
        let parent = root.join(workload);
        fs::create_dir_all(&parent)?;
        let stamp = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%.3fZ").to_string();
        // Runs that begin in the same millisecond get a number.
        for attempt in 0.. {
            let name = if attempt == 0 { stamp.clone() } else { format!("{stamp}-{attempt}") };
            let path = parent.join(&name);
            match fs::create_dir(&path) {
                Ok(()) => {
                    point(root, &Path::new(workload).join(name))?;
                    return Ok(Self { path });
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(ErrorKind::AlreadyExists.into())
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the file that a node's stderr goes to.
    ///
    /// # Errors
    /// If the file system says no.
    pub fn node_log(&self, node: &str) -> io::Result<(PathBuf, File)> {
        let path = self.path.join(format!("{node}.log"));
        let file = File::create(&path)?;
        Ok((path, file))
    }

    /// Writes results.json.
    ///
    /// # Errors
    /// If the file system says no.
    pub fn write_results(&self, results: &Results) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(self.path.join("results.json"))?);
        serde_json::to_writer_pretty(&mut file, results)?;
        writeln!(file)?;
        file.flush()
    }

    /// Writes history.jsonl.
    ///
    /// # Errors
    /// If the file system says no.
    pub fn write_history(&self, history: &History) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(self.path.join("history.jsonl"))?);
        for event in history.events() {
            serde_json::to_writer(&mut file, event)?;
            writeln!(file)?;
        }
        file.flush()
    }
}

/// Points `latest` at a run. Made aside and renamed, so that it is never missing.
fn point(root: &Path, run: &Path) -> io::Result<()> {
    let aside = root.join(format!(".latest-{}", std::process::id()));
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::os::unix::fs::symlink(run, &aside)?;
    let renamed = fs::rename(&aside, root.join("latest"));
    if renamed.is_err() {
        let _ = fs::remove_file(aside);
    }
    renamed
}
