//! Where runs are kept: `store/<workload>/<timestamp>/`, and `store/latest`.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::cluster::trial::Results;
use crate::history::History;

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

/// Points `latest` at a run. Made in the run's own folder and renamed, so that it is never missing and no other run meddles
/// with it.
fn point(root: &Path, run: &Path) -> io::Result<()> {
    let aside = root.join(run).join("latest");
    std::os::unix::fs::symlink(run, &aside)?;
    let renamed = fs::rename(&aside, root.join("latest"));
    if renamed.is_err() {
        let _ = fs::remove_file(aside);
    }
    renamed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_begin_at_once_do_not_meddle_with_each_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let runs: Vec<PathBuf> = (0..8).map(|run| PathBuf::from(format!("run-{run}"))).collect();
        std::thread::scope(|scope| {
            for run in &runs {
                fs::create_dir_all(root.join(run)).expect("a folder");
                scope.spawn(move || point(root, run).expect("a link"));
            }
        });
        let latest = fs::read_link(root.join("latest")).expect("a link");
        assert!(runs.contains(&latest));
        assert!(
            runs.iter().all(|run| fs::read_dir(root.join(run)).is_ok_and(|mut left| left.next().is_none()))
        );
    }
}
