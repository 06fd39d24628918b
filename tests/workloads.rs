//! Each workload with a node that is right, under partitions, kills and pauses, and with nodes that make a mistake.

#![cfg(all(feature = "workbench", not(loom)))]

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use natter::check::Valid;
use natter::cluster::scenario::{Concurrency, FaultKind, Scenario};
use natter::cluster::trial::Results;
use natter::cluster::virtual_time;
use natter::node::{Node, Outbox, Time};
use natter::protocol::Line;
use natter::workload::{self, WorkloadKind};
use serde_json::Value as Json;

#[path = "../examples/shared.rs"]
#[expect(dead_code, unreachable_pub, reason = "it is a program, too")]
mod shared;

use shared::Mistake;

const NATTER: &str = env!("CARGO_BIN_EXE_natter");

/// The example, as a node in this process.
struct Shared(Mutex<shared::Node>);

impl Node for Shared {
    type Scratch = ();

    fn handle(&self, _: Time, line: Line<'_>, (): &mut (), out: &mut Outbox) {
        let line = std::str::from_utf8(line.bytes()).expect("text");
        let mut node = self.0.lock().expect("no panic");
        let lines = node.handle(line).expect("JSON");
        for message in serde_json::Deserializer::from_slice(&lines).into_iter::<Json>() {
            let message = message.expect("JSON");
            let name = |field: &str| message[field].as_str().expect("a name");
            out.send(name("src"), name("dest"), |body| body.extend(message["body"].to_string().bytes()));
        }
    }

    fn tick(&self, _: Time, _: &mut Outbox) {}

    fn next_deadline(&self) -> Option<Time> {
        None
    }

    fn finish(&self, _: Time, _: &mut Outbox) {}
}

fn scenario(kind: WorkloadKind) -> Scenario {
    Scenario {
        node_count: 3,
        concurrency: Concurrency::PerNode(2),
        time_limit: 20.0,
        rate: 50.0,
        latency: 5.0,
        nemesis_interval: 2.0,
        ..Scenario::new(kind)
    }
}

fn run(scenario: &Scenario, seed: u64, mistake: Mistake) -> Results {
    let node = |_| Shared(Mutex::new(shared::Node::new(scenario.workload.name, mistake)));
    virtual_time::run(scenario, seed, node).expect("nodes behave").0
}

#[test]
fn a_right_node_passes_each_workload_whatever_happens() {
    use FaultKind::{Kill, Partition, Pause};
    for &kind in workload::ALL {
        // An echo that is not answered is a wrong one, as in Maelstrom.
        let nemesis =
            if kind == workload::echo::KIND { vec![Partition] } else { vec![Partition, Kill, Pause] };
        let scenario = Scenario { nemesis, ..scenario(kind) };
        for seed in 1..=10 {
            let results = run(&scenario, seed, Mistake::None);
            assert_eq!(results.valid, Valid::True, "{kind:?}, seed {seed}: {:#?}", results.findings);
            assert!(results.stats.all.ok_count > 50, "{kind:?}, seed {seed}");
        }
    }
}

#[test]
fn a_mistake_is_found_and_told_in_words() {
    use workload::*;
    let cases = [
        (broadcast::KIND, Mistake::Forgetful, &["acknowledged", "does not show it", "reach every node"][..]),
        (broadcast::KIND, Mistake::Twice, &["shows", "2 times", "in a set"]),
        (
            broadcast::KIND,
            Mistake::Misnamed,
            &["no field \"message\" belongs there", "\"messages\"", "in_reply_to"],
        ),
        (g_set::KIND, Mistake::Forgetful, &["acknowledged", "does not show it"]),
        (g_set::KIND, Mistake::Blind, &["acknowledged", "does not show it"]),
        (g_counter::KIND, Mistake::Forgetful, &["The final read of n", "make"]),
        (g_counter::KIND, Mistake::Blind, &["The final read of n", "compare-and-set"]),
        (pn_counter::KIND, Mistake::Twice, &["The final read of n", "counted twice"]),
        (unique_ids::KIND, Mistake::Twice, &["The id 0 was handed out"]),
        (lin_kv::KIND, Mistake::Stale, &["is not linearizable", "older value"]),
        (lin_kv::KIND, Mistake::Blind, &["is not linearizable"]),
        (kafka::KIND, Mistake::Twice, &["offset", "key"]),
        (kafka::KIND, Mistake::Blind, &["offset", "key"]),
        (kafka::KIND, Mistake::Forgetful, &["offset", "key"]),
        (txn_list_append::KIND, Mistake::Stale, &["T1", "stale"]),
        (txn_list_append::KIND, Mistake::Blind, &["T1", "lost-update"]),
        (txn_list_append::KIND, Mistake::Twice, &["twice"]),
        (txn_rw_register::KIND, Mistake::Blind, &["T1", "lost-update"]),
        (txn_rw_register::KIND, Mistake::Stale, &["T1", "stale"]),
    ];
    for (kind, mistake, words) in cases {
        let results = run(&Scenario { rate: 200.0, ..scenario(kind) }, 1, mistake);
        let told: Vec<String> =
            results.findings.iter().map(|finding| format!("{}\n{}", finding.what, finding.hint)).collect();
        let told = told.join("\n\n");
        assert_eq!(results.valid, Valid::False, "{kind:?}, {mistake:?}: {told}");
        for word in words {
            assert!(told.contains(word), "{kind:?}, {mistake:?}: {word:?} is not in\n{told}");
        }
    }
    // A malformed answer leaves any operation unknown, a read as well.
    let misnamed = run(&scenario(broadcast::KIND), 1, Mistake::Misnamed);
    let reads = &misnamed.stats.by_f["read"];
    assert!((reads.ok_count, reads.fail_count) == (0, 0) && reads.info_count > 0);
    // It is no reason for Maelstrom to call a run invalid, and worth a word.
    let repeating = run(&scenario(echo::KIND), 1, Mistake::Repeating);
    let told = &repeating.findings[0].what;
    assert!(repeating.valid == Valid::True && told.contains("nobody waited for"), "{told}");
}

#[test]
fn what_a_run_stores_is_judged_alike() {
    let folder = folder();
    let node = Path::new(NATTER).with_file_name("examples").join("shared");
    assert!(node.exists(), "cargo test builds it, cargo test --test workloads does not");
    for workload in ["broadcast", "lin-kv", "kafka"] {
        let natter = |args: &[&str]| {
            let output =
                Command::new(NATTER).current_dir(folder.path()).args(args).output().expect("natter runs");
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            let json: Json = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{told}"));
            (output.status.code(), json)
        };
        let node = node.to_str().expect("text");
        let (status, results) = natter(&[
            "test",
            "-w",
            workload,
            "--bin",
            node,
            "--json",
            "--node-count",
            "2",
            "--concurrency",
            "2n",
            "--time-limit",
            "1",
            "--rate",
            "400",
            "--",
            workload,
        ]);
        assert_eq!((status, &results["valid"]), (Some(0), &Json::from(true)), "{results:#}");
        let (status, again) = natter(&["check", "-w", workload, "--json", "store/latest"]);
        assert_eq!((status, &again), (Some(0), &results["workload"]));
        let edn = std::fs::read_to_string(folder.path().join("store/latest/results.edn")).expect("a file");
        assert!(edn.contains(":valid? true"), "{edn}");
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
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
