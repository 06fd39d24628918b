//! Each workload with a node that is right, under partitions, kills and pauses, and with nodes that make a mistake.

#![cfg(all(feature = "workbench", not(loom)))]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

use serde_json::Value as Json;

const NATTER: &str = env!("CARGO_BIN_EXE_natter");

fn node() -> PathBuf {
    let node = Path::new(NATTER).with_file_name("examples").join("shared");
    assert!(
        node.exists(),
        "{} is not built: cargo test builds it, cargo test --test workloads does not",
        node.display()
    );
    node
}

/// Runs the example for some seconds; `node_args` follow the workload's name.
fn run(folder: &Path, workload: &str, args: &str, node_args: &str) -> Output {
    let concurrency = if workload == "lin-kv" { "2n" } else { "1n" };
    let mut command = Command::new(NATTER);
    command.current_dir(folder).args([
        "test",
        "-w",
        workload,
        "--node-count",
        "3",
        "--concurrency",
        concurrency,
    ]);
    command.args(["--time-limit", "4", "--rate", "30", "--bin"]).arg(node());
    command.args(args.split_whitespace()).args(["--", workload]).args(node_args.split_whitespace());
    command.output().expect("natter runs")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn a_right_node_passes_each_workload_whatever_happens() {
    let workloads = [
        "broadcast",
        "echo",
        "g-counter",
        "g-set",
        "kafka",
        "lin-kv",
        "pn-counter",
        "txn-list-append",
        "txn-rw-register",
        "unique-ids",
    ];
    thread::scope(|scope| {
        for workload in workloads {
            scope.spawn(move || {
                let folder = folder();
                // An echo that is not answered is a wrong one, as in Maelstrom.
                let faults = if workload == "echo" { "partition,pause" } else { "partition,kill,pause" };
                let args = format!("--json --nemesis {faults} --nemesis-interval 0.7 --latency 5");
                let output = run(folder.path(), workload, &args, "");
                let told = String::from_utf8_lossy(&output.stderr);
                let results: Json = serde_json::from_slice(&output.stdout).unwrap_or_default();
                assert_eq!(output.status.code(), Some(0), "{workload}: {told}\n{results:#}");
                // What was stored is judged alike.
                let again = Command::new(NATTER)
                    .current_dir(folder.path())
                    .args(["check", "-w", workload, "--json", "store/latest"])
                    .output()
                    .expect("natter runs");
                let again: Json = serde_json::from_slice(&again.stdout).expect("JSON");
                assert_eq!(again, results["workload"], "{workload}");
            });
        }
    });
}

#[test]
fn natters_own_node_survives_every_fault_at_once() {
    let faults = "partition,one-way,kill,kill-for-good,pause,loss,duplication,reordering,slow,corrupt";
    let folder = folder();
    let output = Command::new(NATTER)
        .current_dir(folder.path())
        .args(["test", "-w", "broadcast", "--nodes", "east,west,north,south,middle", "--time-limit", "6"])
        .args(["--rate", "50", "--latency", "5", "--nemesis-interval", "0.5", "--nemesis", faults])
        .args(["--targets", "one,minority,majorities-ring,primaries"])
        .output()
        .expect("natter runs");
    let told =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    let history = std::fs::read_to_string(folder.path().join("store/latest/history.jsonl")).expect("a file");
    for step in [
        "start-partition",
        "start-one-way",
        "kill",
        "pause",
        "lose",
        "duplicate",
        "reorder",
        "delay",
        "corrupt",
    ] {
        assert!(history.contains(&format!(r#""f":"{step}""#)), "{step}");
    }
    assert!(history.contains(r#""node":"middle""#));
    let messages =
        std::fs::read_to_string(folder.path().join("store/latest/messages.jsonl")).expect("a file");
    for what in ["sent", "arrived", "lost", "doubled", "began"] {
        assert!(messages.contains(&format!(r#""what":"{what}""#)), "{what}");
    }
}

#[test]
fn a_mistake_is_told_in_words() {
    let cases = [
        ("broadcast", "forgetful", 1, &["acknowledged", "does not show it", "reach every node"][..]),
        ("broadcast", "twice", 1, &["shows", "2 times", "in a set"]),
        ("broadcast", "misnamed", 1, &["no field \"message\" belongs there", "\"messages\"", "in_reply_to"]),
        ("g-set", "forgetful", 1, &["acknowledged", "does not show it"]),
        ("g-counter", "forgetful", 1, &["The final read of n", "make"]),
        ("pn-counter", "twice", 1, &["The final read of n", "counted twice"]),
        ("unique-ids", "twice", 1, &["The id 0 was handed out", "n"]),
        ("lin-kv", "stale", 1, &["is not linearizable", "older value"]),
        ("kafka", "twice", 1, &["2 times", "offset"]),
        ("txn-list-append", "stale", 1, &["before", "stale"]),
        ("txn-list-append", "twice", 1, &["twice"]),
        ("txn-rw-register", "forgetful", 1, &["before", "T1"]),
        ("echo", "repeating", 0, &["an answer that nobody waited for", "answered once"]),
    ];
    thread::scope(|scope| {
        for (workload, mistake, status, words) in cases {
            scope.spawn(move || {
                let folder = folder();
                let output = run(folder.path(), workload, "--latency 20", &format!("--mistake {mistake}"));
                let text = String::from_utf8_lossy(&output.stdout);
                let told =
                    format!("{workload}, {mistake}: {text}{}", String::from_utf8_lossy(&output.stderr));
                assert_eq!(output.status.code(), Some(status), "{told}");
                for word in words {
                    assert!(text.contains(word), "{word:?} is not in {told}");
                }
            });
        }
    });
}
