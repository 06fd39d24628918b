//! How the node's program ends under load, hundreds of times: nothing that it has acknowledged is missing from what it
//! says, and it never hangs.

#![cfg(not(loom))]

#[path = "common/process.rs"]
mod process;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use process::{DESIGNS, Session, init, request, signal, stderr};
use serde_json::{Value as Json, json};

/// How often each design ends in each way.
const ROUNDS: usize = 100;

/// Values in a round: more than batches in flight can hold.
const VALUES: usize = 3000;

/// Nothing here takes a hundredth of that.
const HANG: Duration = Duration::from_secs(60);

/// Ends each design in some way again and again, after more and more answers; fails if one hangs.
#[expect(clippy::disallowed_methods, reason = "a thread that hangs can't be joined")]
fn each_round(end: fn(Session, usize)) {
    let (done, rounds) = mpsc::channel();
    let running = thread::spawn(move || {
        for design in DESIGNS {
            for round in 0..ROUNDS {
                // Nothing waits for its time: all that is said at the end is said because it is the end.
                let slow = ["--flush-interval=3600000", "--latency-budget=3600000"];
                end(Session::start(design, &slow), 1 + round * VALUES / (2 * ROUNDS));
                done.send(()).expect("somebody waits");
            }
        }
    });
    while match rounds.recv_timeout(HANG) {
        Ok(()) => true,
        Err(mpsc::RecvTimeoutError::Disconnected) => false,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
    } {}
    running.join().expect("every round is as it should be");
}

fn load() -> String {
    let mut load = init(&["n0", "n1"]);
    for value in 0..VALUES {
        let broadcast = json!({ "type": "broadcast", "msg_id": value + 2, "message": value });
        load.write_str(&request("c1", &broadcast)).expect("memory");
    }
    load
}

/// Reads answers until there have been so many.
fn hear(node: &mut Session, answers: usize) -> Vec<Json> {
    (0..answers).map(|_| node.receive()).collect()
}

/// Each value that was acknowledged to a client has been told the peer; returns how many.
fn nothing_is_missing(said: &[Json]) -> usize {
    let bodies = || said.iter().map(|message| &message["body"]);
    let acknowledged: BTreeSet<i64> = bodies()
        .filter(|body| body["type"] == "broadcast_ok")
        .map(|body| body["in_reply_to"].as_i64().expect("a number") - 2)
        .collect();
    let told: BTreeSet<i64> = bodies()
        .filter(|body| body["type"] == "delta")
        .flat_map(|body| body["values"].as_array().expect("values"))
        .map(|value| value.as_i64().expect("a number"))
        .collect();
    assert!(told.is_superset(&acknowledged), "{:?}", acknowledged.difference(&told));
    acknowledged.len()
}

#[test]
fn an_input_that_ends_in_mid_line_is_answered_up_to_there() {
    each_round(|mut node, answers| {
        let stdin = node.stdin.take();
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut stdin = stdin.expect("open");
                let load = load() + r#"{"src":"c1","dest":"n0","body":{"type":"broadc"#;
                stdin.write_all(load.as_bytes()).expect("it listens");
            });
            let mut said = hear(&mut node, answers);
            said.extend(node.rest());
            assert_eq!(nothing_is_missing(&said), VALUES);
        });
        let output = node.child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0));
        assert!(stderr(&output).contains("not JSON"), "{}", stderr(&output));
    });
}

#[test]
fn a_signal_in_the_midst_of_work_loses_nothing_that_was_acknowledged() {
    each_round(|mut node, answers| {
        let mut stdin = node.stdin.take().expect("open");
        thread::scope(|scope| {
            let feeding = scope.spawn(move || {
                // It may stop listening at any time.
                let _ = stdin.write_all(load().as_bytes());
                stdin
            });
            let mut said = hear(&mut node, answers);
            signal(&node.child, "TERM");
            said.extend(node.rest());
            assert!(nothing_is_missing(&said) + 1 >= answers);
            // Its input never ended, only it did.
            drop(feeding.join().expect("no panic"));
        });
        let output = node.child.wait_with_output().expect("it ends");
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    });
}

#[test]
fn a_reader_that_goes_away_ends_the_node_with_one_line() {
    each_round(|mut node, answers| {
        let mut stdin = node.stdin.take().expect("open");
        thread::scope(|scope| {
            let feeding = scope.spawn(move || {
                let more = request("c1", &json!({ "type": "generate", "msg_id": 1 }));
                let mut load = load();
                // Until it no longer listens: it has seen that nobody reads.
                while stdin.write_all(load.as_bytes()).is_ok() {
                    load.clone_from(&more);
                }
            });
            hear(&mut node, answers);
            drop(node.stdout);
            let output = node.child.wait_with_output().expect("it ends");
            feeding.join().expect("no panic");
            assert_eq!(output.status.code(), Some(1));
            let log = stderr(&output);
            assert!(log.lines().count() == 1 && log.contains("cannot write to stdout"), "{log}");
        });
    });
}

#[test]
fn a_node_that_is_started_and_stopped_at_once_says_nothing() {
    each_round(|node, _| {
        let (output, rest) = node.end();
        assert_eq!((output.status.code(), rest.len(), stderr(&output).as_str()), (Some(0), 0, ""));
    });
}
