//! The checkers beside the genuine ones: histories that Jepsen 0.3.7, Elle 0.2.2 and Knossos 0.3.10 judged, wired as Maelstrom
//! wires them.

#![cfg(all(feature = "workbench", not(loom)))]

use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use natter::history::History;
use natter::workload::{self, Options, WorkloadKind, WorkloadResult};
use serde_json::{Value as Json, json};

/// A judged history.
struct Case {
    name: String,
    system: String,
    history: History,
    verdict: Json,
}

impl Case {
    fn check(&self, kind: WorkloadKind, options: &Options) -> WorkloadResult {
        (kind.check)(&self.history, options)
    }
}

fn cases(kind: WorkloadKind) -> Vec<Case> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/verdicts/{}.jsonl.gz", kind.name));
    let mut text = String::new();
    GzDecoder::new(File::open(file).expect("it is there")).read_to_string(&mut text).expect("it is text");
    text.lines()
        .map(|line| {
            let case: Json = serde_json::from_str(line).expect("JSON");
            let events = case["history"].as_array().expect("events");
            let lines: Vec<String> = events.iter().map(Json::to_string).collect();
            let history = History::from_json_lines(lines.join("\n").as_bytes(), kind.reads_sets);
            Case {
                name: format!("{} of seed {}", kind.name, case["seed"]),
                system: case["system"].as_str().expect("a name").to_owned(),
                history: history.expect("a history"),
                verdict: case["verdict"].clone(),
            }
        })
        .collect()
}

fn as_maelstrom() -> Options {
    Options { strict_maelstrom: true, ..Options::default() }
}

/// Compares some keys of a verdict; a key that isn't there is null.
fn agrees(case: &Case, result: &WorkloadResult, keys: &[&str]) {
    for &key in keys {
        assert_eq!(result.details[key], case.verdict[key], "{key} of {}: {}", case.name, result.details);
    }
}

#[test]
fn sets_are_judged_as_by_jepsen() {
    let keys =
        ["valid", "attempt-count", "stable-count", "lost-count", "lost", "never-read-count", "never-read"];
    let more = ["stale-count", "stale", "stable-latencies", "lost-latencies"];
    for kind in [workload::broadcast::KIND, workload::g_set::KIND] {
        let cases = cases(kind);
        assert_eq!(cases.len(), 150);
        let (mut phantoms, mut duplicates) = (0, 0);
        for case in &cases {
            let result = case.check(kind, &as_maelstrom());
            agrees(case, &result, &keys);
            agrees(case, &result, &more);
            // natter is never kinder, and finds what Jepsen overlooks.
            let sensible = case.check(kind, &Options::default());
            assert!(sensible.valid >= result.valid, "{}", case.name);
            let set = sensible.set.expect("a set");
            phantoms += usize::from(case.system == "phantom" && set.phantom_count > 0);
            duplicates += usize::from(case.system == "dup" && set.duplicated_count > 0);
        }
        assert!(phantoms > 5 && duplicates > 5, "{phantoms} and {duplicates}");
    }
}

#[test]
fn counters_are_judged_as_by_maelstrom() {
    for case in cases(workload::pn_counter::KIND) {
        let result = case.check(workload::pn_counter::KIND, &Options::default());
        agrees(&case, &result, &["valid", "final-reads", "acceptable"]);
    }
}

#[test]
fn ids_are_judged_as_by_jepsen() {
    let mut failed = 0;
    for case in cases(workload::unique_ids::KIND) {
        let result = case.check(workload::unique_ids::KIND, &Options::default());
        if case.verdict["checker-failed"] == true {
            // Its ids can't be compared with each other; here they can.
            failed += 1;
            continue;
        }
        let keys = ["valid", "attempted-count", "acknowledged-count", "duplicated-count"];
        agrees(&case, &result, &keys);
    }
    assert_eq!(failed, 19);
}

#[test]
fn registers_are_judged_as_by_knossos() {
    let kind = workload::lin_kv::KIND;
    let mut keys = 0;
    for case in cases(kind) {
        let result = case.check(kind, &Options::default());
        agrees(&case, &result, &["valid"]);
        for (key, valid) in case.verdict["keys"].as_object().expect("keys") {
            assert_eq!(result.details["results"][key]["valid"], *valid, "{key} of {}", case.name);
            keys += 1;
        }
    }
    assert_eq!(keys, 303);
}

#[test]
fn logs_are_judged_as_by_jepsen() {
    let kind = workload::kafka::KIND;
    let mut failed = 0;
    for case in cases(kind) {
        let result = case.check(kind, &Options::default());
        if case.verdict["checker-failed"] == true {
            failed += 1;
            continue;
        }
        agrees(&case, &result, &["valid", "bad-error-types", "error-types"]);
        for (kind, count) in case.verdict["counts"].as_object().expect("counts") {
            assert_eq!(result.details[kind]["count"], *count, "{kind} of {}", case.name);
        }
        let lag = |of: &Json| of["worst-realtime-lag"]["lag"].as_f64().expect("a number");
        assert!((lag(&result.details) - lag(&case.verdict)).abs() < 1e-6, "{}", case.name);
        assert_eq!(result.details["unseen"]["unseen"], case.verdict["unseen"]["unseen"], "{}", case.name);
    }
    assert_eq!(failed, 4);
}

/// Where two transactions are related in two ways at once, Elle names a cycle by the first, and drops it if the name doesn't fit
/// what it searches for; which cycle it meets first depends on the order of a hash table. A complete search finds the plain
/// cycle: G-single-item in seeds 184 and 260, G0-realtime in seed 220. The verdicts are the same.
const ELLE_MISSES: [(&str, &str); 7] = [
    ("txn-list-append of seed 184", "serializable"),
    ("txn-list-append of seed 184", "snapshot-isolation"),
    ("txn-list-append of seed 184", "strict-serializable"),
    ("txn-list-append of seed 260", "serializable"),
    ("txn-list-append of seed 260", "snapshot-isolation"),
    ("txn-list-append of seed 260", "strict-serializable"),
    ("txn-list-append of seed 220", "strict-serializable"),
];

#[test]
fn transactions_are_judged_as_by_elle() {
    for kind in [workload::txn_list_append::KIND, workload::txn_rw_register::KIND] {
        let mut verdicts = 0;
        for case in cases(kind) {
            for (model, verdict) in case.verdict.as_object().expect("models") {
                let consistency_models = vec![model.parse().expect("a model")];
                let result = case.check(kind, &Options { consistency_models, ..Options::default() });
                let told = |key: &str| result.details.get(key).cloned().unwrap_or_else(|| json!([]));
                assert_eq!(result.details["valid"], verdict["valid"], "{model}, {}", case.name);
                for key in ["anomaly-types", "not", "also-not"] {
                    if key == "anomaly-types" && ELLE_MISSES.contains(&(case.name.as_str(), model.as_str())) {
                        assert_ne!(
                            told(key),
                            verdict[key],
                            "Elle finds it after all: {model}, {}",
                            case.name
                        );
                        continue;
                    }
                    assert_eq!(told(key), verdict[key], "{key}, {model}, {}", case.name);
                }
                verdicts += 1;
            }
        }
        assert!(verdicts > 660, "{verdicts}");
    }
}
