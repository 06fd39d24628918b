//! Where runs are kept: `store/<workload>/<timestamp>/`, and `store/latest`.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::history::edn;

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

    /// Writes what was shown of a run to summary.txt.
    ///
    /// # Errors
    /// If the file system says no.
    pub fn write_summary(&self, summary: &str) -> io::Result<()> {
        fs::write(self.path.join("summary.txt"), summary)
    }

    /// Writes a run's results to results.json, and to results.edn as Maelstrom has it.
    ///
    /// # Errors
    /// If the file system says no.
    pub fn write_results(&self, results: Json) -> io::Result<()> {
        let text = serde_json::to_string_pretty(&results)?;
        fs::write(self.path.join("results.json"), text + "\n")?;
        fs::write(self.path.join("results.edn"), maelstroms(results))
    }
}

/// A run that is kept.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Its folder.
    pub path: PathBuf,
    /// What clients did.
    pub workload: String,
    /// The verdict; none if the run did not come to its end.
    pub valid: Option<Json>,
}

/// All runs that are kept under `store/` in the current folder, oldest first.
///
/// # Errors
/// If the file system says no.
pub fn runs() -> io::Result<Vec<Run>> {
    let folders = |path: &Path| -> io::Result<Vec<PathBuf>> {
        let mut folders = Vec::new();
        for entry in fs::read_dir(path)? {
            let path = entry?.path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            }
        }
        Ok(folders)
    };
    let mut runs = Vec::new();
    for workload in folders(Path::new("store"))? {
        let name = workload.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for path in folders(&workload)? {
            let results = fs::read(path.join("results.json")).ok();
            let results: Option<Json> = results.and_then(|text| serde_json::from_slice(&text).ok());
            let valid = results.map(|results| results["valid"].clone());
            runs.push(Run { path, workload: name.clone(), valid });
        }
    }
    runs.sort_by(|a, b| a.path.file_name().cmp(&b.path.file_name()));
    Ok(runs)
}

/// Results as Maelstrom writes them: `valid?` everywhere, and the checks that natter does otherwise.
fn maelstroms(mut results: Json) -> String {
    let exceptions = results["exceptions"].take();
    results["exceptions"] = json!({ "valid": true, "exceptions": exceptions });
    results["perf"] =
        json!({ "valid": true, "latency-graph": { "valid": true }, "rate-graph": { "valid": true } });
    results["timeline"] = json!({ "valid": true });
    results["net"]["valid"] = true.into();
    let mut text = String::new();
    let with_question_marks = with_question_marks(results);
    for (place, (key, value)) in with_question_marks.as_object().into_iter().flatten().enumerate() {
        text.push_str(if place > 0 { ",\n " } else { "{" });
        text.push(':');
        text.push_str(key);
        text.push(' ');
        edn::write_under(key, value, &mut text);
    }
    text + "}\n"
}

fn with_question_marks(json: Json) -> Json {
    match json {
        Json::Object(fields) => {
            let key = |key: String| if key == "valid" { "valid?".to_owned() } else { key };
            fields.into_iter().map(|(name, value)| (key(name), with_question_marks(value))).collect()
        }
        Json::Array(elements) => elements.into_iter().map(with_question_marks).collect(),
        other => other,
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
    fn results_are_written_as_maelstrom_has_them() {
        let results = json!({"valid": "unknown", "exceptions": [], "net": {"all": {"msg-count": 1}}});
        let text = maelstroms(results);
        assert!(text.contains(":exceptions {:exceptions [], :valid? true}"), "{text}");
        assert!(text.contains(":net {:all {:msg-count 1}, :valid? true}"), "{text}");
        assert!(text.starts_with("{:") && text.ends_with(":valid? :unknown}\n"), "{text}");
    }

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
