//! The two drivers, real processes and virtual time, show the same of the same scenario.

#![cfg(all(feature = "workbench", not(loom)))]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::process::{Command, Stdio};

use natter::challenge::Challenge;
use natter::cluster::scenario::{Concurrency, Scenario};
use natter::cluster::virtual_time;
use natter::config::Config;
use natter::gossip::LockFree;
use natter::history::History;
use natter::runtime::cli::Design;
use natter::simple::Simple;
use serde_json::Value as Json;

const SEED: u64 = 7;

/// What a run showed.
struct Shown {
    /// The last read of each client.
    final_reads: Vec<Vec<i64>>,
    msgs_per_op: f64,
    median_ms: f64,
}

impl Shown {
    fn new(results: &Json, history: &History) -> Self {
        let reads = history
            .events()
            .iter()
            .filter_map(|event| Some((event.process, history.values_shown(event.index)?)));
        let reads: BTreeMap<_, _> = reads.collect();
        Self {
            final_reads: reads.into_values().collect(),
            msgs_per_op: results["net"]["servers"]["msgs-per-op"].as_f64().expect("a number"),
            median_ms: results["workload"]["stable-latencies"]["0.5"].as_f64().expect("a number"),
        }
    }
}

fn in_processes(design: Design, scenario: &Scenario) -> Shown {
    let folder = tempfile::tempdir().expect("a folder");
    let Scenario { node_count, concurrency, rate, latency, time_limit, .. } = scenario;
    let args = format!(
        "test -w broadcast --json --seed {SEED} --node-count {node_count} --concurrency {concurrency} --rate {rate} --latency {latency} \
         --time-limit {time_limit} -- --design {}",
        design.name()
    );
    let mut natter = Command::new(env!("CARGO_BIN_EXE_natter"));
    natter.args(args.split_whitespace()).current_dir(&folder).stdin(Stdio::null());
    let output = natter.output().expect("natter starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let history = File::open(folder.path().join("store/latest/history.jsonl")).expect("stored");
    let history = History::from_json_lines(BufReader::new(history), true).expect("a history");
    Shown::new(&serde_json::from_slice(&output.stdout).expect("JSON"), &history)
}

fn in_virtual_time(design: Design, scenario: &Scenario) -> Shown {
    let seed = |index| index as u64;
    let (results, history) = match design {
        Design::LockFree => virtual_time::run(scenario, SEED, |i| LockFree::new(Config::default(), seed(i))),
        Design::Simple => virtual_time::run(scenario, SEED, |i| Simple::new(Config::default(), seed(i))),
    }
    .expect("nodes behave");
    Shown::new(&serde_json::to_value(&results).expect("JSON"), &history)
}

/// With many clients, so that none is missing when the next operation is due, however slow the machine: from
/// then on the two would do different things.
fn ends_with_the_same_sets(design: Design) {
    let concurrency = Concurrency::PerNode(20);
    let scenario =
        Scenario { node_count: 5, concurrency, time_limit: 3.0, ..Challenge::LowLatency.scenario() };
    let (real, simulated) = (in_processes(design, &scenario), in_virtual_time(design, &scenario));
    assert_eq!(real.final_reads, simulated.final_reads);
    assert!(real.final_reads.len() >= 100 && real.final_reads[0].len() > 100);
}

#[test]
fn both_drivers_end_with_the_same_sets_lock_free() {
    ends_with_the_same_sets(Design::LockFree);
}

#[test]
fn both_drivers_end_with_the_same_sets_simple() {
    ends_with_the_same_sets(Design::Simple);
}

#[test]
#[ignore = "measures real time for over a minute: run it alone, on an idle machine"]
fn both_drivers_agree_on_messages_and_latency() {
    let scenario = Challenge::LowLatency.scenario();
    for design in [Design::LockFree, Design::Simple] {
        let (real, simulated) = (in_processes(design, &scenario), in_virtual_time(design, &scenario));
        assert_eq!(real.final_reads, simulated.final_reads);
        let figures = |shown: &Shown| (shown.msgs_per_op, shown.median_ms);
        let ((messages, median), (messages_simulated, median_simulated)) =
            (figures(&real), figures(&simulated));
        let told = format!(
            "{}: {messages:.3} messages an operation in processes, {messages_simulated:.3} in virtual time; \
             median {median} and {median_simulated} ms",
            design.name()
        );
        assert!((messages / messages_simulated - 1.0).abs() < 0.05, "{told}");
        assert!((median / median_simulated - 1.0).abs() < 0.1, "{told}");
        // For those who run it with --no-capture.
        std::io::Write::write_all(&mut std::io::stderr(), format!("{told}\n").as_bytes()).expect("stderr");
    }
}
