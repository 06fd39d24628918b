//! Bugs that somebody could have made, each of which the simulator must find.
//!
//! The code of the nodes knows nothing of them. Each bug is a file beside this one: what it does, options for `natter
//! simulate` if it takes special ones, and for each change to the code a file, the text there and the text in its place:
//!
//! ```text
//! A batch of 65.
//! --node-count 5 --rate 50
//! --- src/gossip/push.rs
//! values.len() < tick.config.batch_max
//! +++
//! values.len() <= tick.config.batch_max
//! ```
//!
//! All bugs are written into one copy of the crate, so that one build serves them all. There, the environment variable
//! `NATTER_BUG` says which one is planted. Both texts must be an expression, or statements that bind nothing for
//! others: the copy then has `{ if PLANTED { new } else { old } }`. Or else the new text says `PLANTED` itself.

#![cfg(all(feature = "workbench", not(loom)))]
#![expect(clippy::disallowed_macros, reason = "what found each bug is shown")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use serde_json::Value as Json;

/// What the crate is built from.
const SOURCES: [&str; 6] = ["Cargo.toml", "Cargo.lock", "src", "benches", "examples", "tests/app.rs"];

/// What most bugs are found with.
const OPTIONS: &str = "--node-count 9 --rate 20";

const SEEDS: &str = "300";

#[derive(Debug)]
struct Bug {
    name: String,
    what: String,
    options: String,
    edits: Vec<Edit>,
}

#[derive(Debug)]
struct Edit {
    file: String,
    old: String,
    new: String,
}

impl Bug {
    /// All of them, by name.
    fn all() -> Vec<Self> {
        let folder = root().join("tests/planted");
        let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("readable").path());
        let mut paths: Vec<PathBuf> =
            entries.filter(|path| path.extension().is_some_and(|ext| ext == "bug")).collect();
        paths.sort();
        paths.iter().map(|path| Self::read(path)).collect()
    }

    fn read(path: &Path) -> Self {
        let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a plain name").to_owned();
        let text = fs::read_to_string(path).expect("readable");
        let mut parts = text.trim_end().split("\n--- ");
        let (what, options) =
            parts.next().and_then(|head| head.split_once('\n').or(Some((head, OPTIONS)))).expect("a head");
        let edit = |part: &str| {
            let (file, texts) = part.split_once('\n')?;
            let (old, new) = texts.split_once("\n+++")?;
            Some(Edit { file: file.to_owned(), old: old.to_owned(), new: new.trim_start().to_owned() })
        };
        let edits = parts.map(|part| edit(part).unwrap_or_else(|| panic!("{name}: no change:\n{part}")));
        Self { what: what.to_owned(), options: options.to_owned(), edits: edits.collect(), name }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file with all bugs in it that are for it.
fn planted(text: &str, file: &str, bugs: &[Bug]) -> String {
    let mut edits: Vec<(usize, &Edit, &str)> = Vec::new();
    for Bug { name, edits: all, .. } in bugs {
        for edit in all.iter().filter(|edit| edit.file == file) {
            let places: Vec<usize> = text.match_indices(&edit.old).map(|(at, _)| at).collect();
            let [at] = places[..] else {
                panic!("{name}: {file} has this {} times, not once:\n{}", places.len(), edit.old)
            };
            edits.push((at, edit, name));
        }
    }
    edits.sort_by_key(|(at, ..)| *at);
    let (mut out, mut end) = (String::new(), 0);
    for (at, Edit { old, new, .. }, name) in edits {
        assert!(at >= end, "{name}: another bug of {file} is in the same place:\n{old}");
        let is_planted = format!("crate::planted::is({name:?})");
        out += &text[end..at];
        out += &if new.contains("PLANTED") {
            new.replace("PLANTED", &is_planted)
        } else {
            format!("{{ if {is_planted} {{ {new} }} else {{ {old} }} }}")
        };
        end = at + old.len();
    }
    out + &text[end..]
}

/// The module that the copy has beside.
fn module(bugs: &[Bug]) -> String {
    let names: Vec<&str> = bugs.iter().map(|bug| &*bug.name).collect();
    format!(
        "const BUGS: &[&str] = &{names:?};
        static PLANTED: std::sync::LazyLock<Option<String>> = std::sync::LazyLock::new(|| {{
            let bug = std::env::var(\"NATTER_BUG\").ok()?;
            assert!(BUGS.contains(&&*bug), \"there is no bug {{bug}}: {{BUGS:?}}\");
            Some(bug)
        }});
        pub(crate) fn is(bug: &str) -> bool {{
            PLANTED.as_deref() == Some(bug)
        }}"
    )
}

/// Copies files and folders, as `edit` has them.
fn copy(from: &Path, to: &Path, edit: &impl Fn(&Path, String) -> String) {
    if from.is_dir() {
        fs::create_dir_all(to).expect("a folder");
        for entry in fs::read_dir(from).expect("readable").map(|entry| entry.expect("readable")) {
            copy(&entry.path(), &to.join(entry.file_name()), edit);
        }
    } else {
        fs::create_dir_all(to.parent().expect("it is in one")).expect("a folder");
        let text = fs::read_to_string(from).expect("text");
        fs::write(to, edit(from, text)).expect("writable");
    }
}

/// The program `natter` with all bugs, built once.
static WITH_BUGS: LazyLock<PathBuf> = LazyLock::new(|| {
    let bugs = Bug::all();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target folder");
    let folder = target.join("planted");
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("no former copy");
    }
    fs::create_dir_all(&folder).expect("a folder");
    let edit = |path: &Path, text: String| match path.strip_prefix(root()).ok().and_then(Path::to_str) {
        // Another name, or it would take the place of the program itself.
        Some("Cargo.toml") => text
            .replace("default-run = \"natter\"", "default-run = \"natter-planted\"")
            .replace("[[bin]]\nname = \"natter\"\n", "[[bin]]\nname = \"natter-planted\"\n"),
        // What is planted need not be tidy.
        Some("src/lib.rs") => format!("#![allow(warnings)]\n{text}\nmod planted;\n"),
        Some(file) => planted(&text, file, &bugs),
        None => text,
    };
    for source in SOURCES {
        copy(&root().join(source), &folder.join(source), &edit);
    }
    fs::write(folder.join("src/planted.rs"), module(&bugs)).expect("writable");
    // Thousands of runs are worth the time that it takes to optimise.
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--bin", "natter-planted"])
        .args(["--config", "profile.dev.opt-level=3", "--target-dir"])
        .arg(target)
        .current_dir(&folder)
        .status();
    assert!(built.expect("cargo starts").success(), "the copy in {} is not built", folder.display());
    target.join("debug/natter-planted")
});

fn simulate(program: &Path, bug: Option<&str>, options: &str) -> Output {
    let mut command = Command::new(program);
    command.arg("simulate").args(options.split_whitespace()).env_remove("NATTER_BUG");
    command.envs(bug.map(|bug| ("NATTER_BUG", bug)));
    command.stdin(Stdio::null()).output().expect("natter starts")
}

/// What a simulation says as JSON.
fn summary(program: &Path, bug: Option<&str>, options: &str) -> Json {
    let output = simulate(program, bug, &format!("--json {options}"));
    let text = || String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{options}: {error}: {}", text()))
}

#[test]
fn every_planted_bug_has_its_place_in_the_code() {
    let bugs = Bug::all();
    assert!(bugs.len() >= 25, "{}", bugs.len());
    for Bug { name, edits, .. } in &bugs {
        assert!(!edits.is_empty(), "{name} changes nothing");
        for Edit { file, .. } in edits {
            let text = fs::read_to_string(root().join(file));
            planted(&text.unwrap_or_else(|error| panic!("{name}: {file}: {error}")), file, &bugs);
        }
    }
}

#[test]
#[ignore = "builds a copy of the crate"]
fn every_planted_bug_is_found_and_every_check_finds_one() {
    let (natter, mut finders, mut unfound) =
        (Path::new(env!("CARGO_BIN_EXE_natter")), BTreeSet::new(), Vec::new());
    let mut table = String::from(
        "| bug | what it does | options | found by | after seeds |\n| --- | --- | --- | --- | ---: |\n",
    );
    for Bug { name, what, options, .. } in Bug::all() {
        let shown = if options == OPTIONS { String::new() } else { format!("`{options}`") };
        let hunt = format!("--first-seed 1 --seeds {SEEDS} --failures-max 1 --patience 0 {options}");
        let found = summary(&WITH_BUGS, Some(&name), &hunt)["failures"].get(0).cloned().unwrap_or_default();
        let (Some(seed), Some(by)) = (found["seed"].as_u64(), found["found-by"].as_str()) else {
            table += &format!("| {name} | {what} | {shown} | NOTHING | |\n");
            unfound.push(name);
            continue;
        };
        table += &format!("| {name} | {what} | {shown} | {by} | {seed} |\n");
        finders.insert(by.to_owned());
        let without =
            simulate(natter, None, &format!("--first-seed {seed} --seeds 1 --patience 0 {options}"));
        assert!(without.status.success(), "{name}: seed {seed} fails without it, too");
    }
    println!("{table}");
    assert!(unfound.is_empty(), "not found: {unfound:?}");
    // What set-full and the look at what is missing in the end could find, the others find before.
    let all =
        ["answers", "bound", "duplicates", "invariant", "noise", "plan", "protocol", "silence", "verdict"];
    assert_eq!(finders.into_iter().collect::<Vec<_>>(), all);
}

/// The smallest run that fails like the first, and its story; nothing if none fails.
fn minimised(bug: &str, options: &str) -> (Json, String) {
    let minimised = summary(&WITH_BUGS, Some(bug), options)["minimised"].take();
    let story = minimised["story"].as_array().into_iter().flatten().filter_map(Json::as_str);
    let story = story.collect::<Vec<_>>().join("\n");
    (minimised, story)
}

#[test]
#[ignore = "builds a copy of the crate"]
fn the_story_of_a_lost_value_says_how_it_was_lost() {
    let (found, told) = minimised(
        "retry-forgotten",
        "--first-seed 1 --seeds 300 --failures-max 1 --node-count 5 --rate 20 --faults loss",
    );
    let command = found["command"].as_str().expect("a command");
    assert!(!command.contains("--node-count 5 "), "{command}");
    for part in ["the story of", " broadcasts ", ": batch ", "lost on the way", " has it in flight to "] {
        assert!(told.contains(part), "{part:?} is missing in:\n{told}");
    }
}

#[test]
#[ignore = "builds a copy of the crate"]
fn stories_tell_of_values_that_travel_in_repairs() {
    let (bug, options) =
        ("repair-asks-nothing", "--patience 0 --node-count 5 --rate 5 --faults lasting-cut,partition");
    let seeds = 1..=10;
    let told = seeds.map(|seed| minimised(bug, &format!("--first-seed {seed} --seeds 1 {options}")).1);
    let told: Vec<String> = told.collect();
    assert!(told.iter().any(|story| story.contains(", in a repair")), "{told:#?}");
}

#[test]
#[ignore = "builds a copy of the crate"]
fn a_failing_simulation_is_status_1_and_tells_all() {
    let simulate = |more: &str| {
        let options = format!("--seeds 10 --first-seed 3 {OPTIONS} {more}");
        let output = simulate(&WITH_BUGS, Some("repair-asks-nothing"), &options);
        assert_eq!(output.status.code(), Some(1));
        output.stdout
    };
    let stdout = simulate("");
    let text = String::from_utf8_lossy(&stdout);
    let failing = text.lines().find_map(|line| line.strip_prefix("seed ")?.split(':').next());
    let failing = failing.unwrap_or_else(|| panic!("no failing seed in:\n{text}"));
    let command = format!("natter simulate --seeds 1 --first-seed {failing} ");
    for part in [&*command, "made as small as", "the story of"] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
    let summary: Json = serde_json::from_slice(&simulate("--json")).expect("nothing but JSON");
    let found_by = &summary["failures"][0]["found-by"];
    // A node that asks for nothing is seen to be silent, or to lack a value.
    assert_eq!(summary["valid"], Json::Bool(false));
    assert!(found_by == "invariant" || found_by == "bound", "{found_by}");
    assert!(summary["minimised"]["story"].is_array());
}

#[test]
#[ignore = "builds a copy of the crate"]
fn a_minimised_command_shows_the_same_again() {
    for bug in ["repair-asks-nothing", "wrap-off-by-one", "read-repeats"] {
        let (found, _) = minimised(bug, &format!("--first-seed 1 --seeds 20 {OPTIONS}"));
        let command = found["command"].as_str().expect("a command");
        let options = command.strip_prefix("natter simulate ").expect("the command's name");
        let again = summary(&WITH_BUGS, Some(bug), &format!("--patience 0 {options}"));
        assert_eq!(again["failures"][0]["what"], found["what"], "{bug}: {command}");
    }
}
