//! Hand-written histories: each anomaly is caught, named and explained.

use serde_json::{Value as Json, json};

use super::*;
use crate::check::Valid;
use crate::history::{EventKind, OpValue, Process};
use crate::node::Time;

type Check = fn(&History, &[Model]) -> TxnResult;

const LISTS: Check = list_append;
const REGISTERS: Check = rw_register;

/// A history of transactions that all run at the same time, each by a process of its own.
fn at_once(txns: &[(EventKind, Json)]) -> History {
    let mut history = History::default();
    for (process, (_, steps)) in txns.iter().enumerate() {
        record(&mut history, process, EventKind::Invoke, steps);
    }
    for (process, (kind, steps)) in txns.iter().enumerate() {
        record(&mut history, process, *kind, steps);
    }
    history
}

/// A history of transactions one after the other, by the processes given.
fn in_turn(txns: &[(usize, Json)]) -> History {
    let mut history = History::default();
    for (process, steps) in txns {
        record(&mut history, *process, EventKind::Invoke, steps);
        record(&mut history, *process, EventKind::Ok, steps);
    }
    history
}

fn record(history: &mut History, process: usize, kind: EventKind, steps: &Json) {
    let time = Time::from_nanos(history.events().len() as u64 * 1_500_000);
    let value = OpValue::Json(steps.clone());
    history.push(time, Process::Client(process), kind, "txn", value, None);
}

fn ok(steps: Json) -> (EventKind, Json) {
    (EventKind::Ok, steps)
}

fn fail(steps: Json) -> (EventKind, Json) {
    (EventKind::Fail, steps)
}

fn verdict(check: Check, history: &History, model: &str) -> TxnResult {
    check(history, &[model.parse().unwrap()])
}

fn types(check: Check, history: &History, model: &str) -> Vec<String> {
    verdict(check, history, model).anomaly_types
}

fn what(verdict: &TxnResult, anomaly: &str) -> String {
    verdict.anomalies[anomaly][0].what.clone()
}

// ---- lists

#[test]
fn element_twice_in_a_read_is_duplicate() {
    let history = at_once(&[ok(json!([["append", 1, 1]])), ok(json!([["r", 1, [1, 1]]]))]);
    assert_eq!(types(LISTS, &history, "read-uncommitted"), ["duplicate-elements"]);
}

#[test]
fn reads_that_fork_have_incompatible_orders() {
    let history = at_once(&[
        ok(json!([["append", 1, 1]])),
        ok(json!([["append", 1, 2]])),
        ok(json!([["r", 1, [1, 2]]])),
        ok(json!([["r", 1, [2]]])),
    ]);
    assert_eq!(types(LISTS, &history, "read-committed"), ["incompatible-order"]);
    assert_eq!(verdict(LISTS, &history, "read-uncommitted").valid, Valid::True);
}

#[test]
fn list_read_that_forgets_its_own_append_is_internal() {
    let history = at_once(&[ok(json!([["append", 1, 1], ["r", 1, null]])), ok(json!([["r", 1, [1]]]))]);
    let verdict = verdict(LISTS, &history, "serializable");
    assert!(verdict.anomaly_types.contains(&"internal".to_owned()));
    assert!(what(&verdict, "internal").contains("had to show a list ending in [1]"));
}

#[test]
fn list_read_that_changes_is_internal() {
    let history = at_once(&[
        ok(json!([["append", 1, 1]])),
        ok(json!([["append", 1, 2]])),
        ok(json!([["r", 1, [1]], ["r", 1, [1, 2]]])),
    ]);
    assert!(types(LISTS, &history, "read-atomic").contains(&"internal".to_owned()));
    assert!(!types(LISTS, &history, "read-committed").contains(&"internal".to_owned()));
}

#[test]
fn unknown_prefix_before_an_own_append_is_allowed() {
    let history = at_once(&[ok(json!([["append", 1, 1]])), ok(json!([["append", 1, 2], ["r", 1, [1, 2]]]))]);
    assert_eq!(verdict(LISTS, &history, "strict-serializable").valid, Valid::True);
}

#[test]
fn list_read_of_a_later_append_is_future_read() {
    let history = at_once(&[ok(json!([["r", 1, [1]], ["append", 1, 1]])), ok(json!([["r", 1, [1]]]))]);
    assert!(types(LISTS, &history, "read-committed").contains(&"future-read".to_owned()));
}

#[test]
fn list_read_of_a_failed_append_is_g1a() {
    let history = at_once(&[fail(json!([["append", 1, 1]])), ok(json!([["r", 1, [1]]]))]);
    let verdict = verdict(LISTS, &history, "read-committed");
    assert!(verdict.anomaly_types.contains(&"G1a".to_owned()));
    assert_eq!(verdict.anomalies["G1a"][0].events, [0, 1, 2, 3]);
    assert_eq!(
        what(&verdict, "G1a"),
        "T1 (process 1, 1.500 ms to 4.500 ms: [[\"r\",1,[1]]]) read 1 from key 1. It was written by T2 (process \
         0, 0.000 ms to 3.000 ms: [[\"append\",1,1]]), which failed."
    );
}

#[test]
fn list_read_between_appends_of_a_transaction_is_g1b() {
    let history = at_once(&[ok(json!([["append", 1, 1], ["append", 1, 2]])), ok(json!([["r", 1, [1]]]))]);
    assert!(types(LISTS, &history, "read-committed").contains(&"G1b".to_owned()));
}

#[test]
fn append_behind_a_failed_one_is_dirty_update() {
    let history = at_once(&[
        fail(json!([["append", 1, 1]])),
        ok(json!([["append", 1, 2]])),
        ok(json!([["r", 1, [1, 2]]])),
    ]);
    assert!(types(LISTS, &history, "read-committed").contains(&"dirty-update".to_owned()));
}

#[test]
fn uncertain_append_between_hides_no_dirty_update() {
    let history = at_once(&[
        fail(json!([["append", 1, 1]])),
        (EventKind::Info, json!([["append", 1, 2]])),
        ok(json!([["append", 1, 3]])),
        ok(json!([["r", 1, [1, 2, 3]]])),
    ]);
    assert!(types(LISTS, &history, "read-committed").contains(&"dirty-update".to_owned()));
}

#[test]
fn two_appends_after_the_same_read_are_a_lost_update() {
    let history = at_once(&[
        ok(json!([["r", 1, null], ["append", 1, 1]])),
        ok(json!([["r", 1, null], ["append", 1, 2]])),
    ]);
    let verdict = verdict(LISTS, &history, "update-atomic");
    assert_eq!(verdict.anomaly_types, ["lost-update"]);
    assert!(what(&verdict, "lost-update").contains("read the same state of key 1"));
}

#[test]
fn element_that_nobody_appended_is_garbage() {
    let history =
        at_once(&[ok(json!([["append", 1, 1]])), ok(json!([["r", 1, [1]]])), ok(json!([["r", 1, [1, 9]]]))]);
    let verdict = verdict(LISTS, &history, "read-uncommitted");
    assert_eq!(verdict.anomaly_types, ["garbage-read"]);
    assert_eq!(verdict.maelstrom_strict().valid, Valid::Unknown);
}

#[test]
fn garbage_outside_the_longest_read_does_not_stop_elle() {
    let history = at_once(&[
        ok(json!([["append", 1, 1], ["append", 1, 2]])),
        ok(json!([["r", 1, [1, 2]]])),
        ok(json!([["r", 1, [9]]])),
    ]);
    let verdict = verdict(LISTS, &history, "read-committed");
    assert_eq!(verdict.anomaly_types, ["garbage-read", "incompatible-order"]);
    assert_eq!(verdict.maelstrom_strict().anomaly_types, ["incompatible-order"]);
}

#[test]
fn interleaved_appends_are_g0() {
    let history = at_once(&[
        ok(json!([["append", 1, 1], ["append", 2, 1]])),
        ok(json!([["append", 1, 2], ["append", 2, 2]])),
        ok(json!([["r", 1, [1, 2]], ["r", 2, [2, 1]]])),
    ]);
    let verdict = verdict(LISTS, &history, "read-uncommitted");
    assert_eq!(verdict.anomaly_types, ["G0"]);
    assert!(verdict.not.contains("read-uncommitted"));
    let what = what(&verdict, "G0");
    assert!(what.contains("comes before T2 (process 1"), "{what}");
    assert!(what.contains("T1 appended 1 to key 1, and T2 appended 2 right behind it"), "{what}");
    assert!(what.contains("However, T2 comes before T1"), "{what}");
    assert!(what.ends_with("This is G0; read-uncommitted and stronger models forbid it."), "{what}");
}

#[test]
fn mutual_reads_of_appends_are_g1c() {
    let history = at_once(&[
        ok(json!([["append", 1, 1], ["r", 2, [1]]])),
        ok(json!([["append", 2, 1], ["r", 1, [1]]])),
    ]);
    assert_eq!(types(LISTS, &history, "read-committed"), ["G1c"]);
}

#[test]
fn list_snapshot_torn_apart_is_g_single() {
    let history = at_once(&[
        ok(json!([["append", 1, 1], ["append", 2, 1]])),
        ok(json!([["r", 1, [1]], ["r", 2, null]])),
    ]);
    assert_eq!(types(LISTS, &history, "snapshot-isolation"), ["G-single-item"]);
    assert_eq!(types(LISTS, &history, "consistent-view"), ["G-single-item"]);
    assert_eq!(verdict(LISTS, &history, "read-committed").valid, Valid::True);
}

#[test]
fn list_forks_seen_by_readers_are_g_nonadjacent() {
    let history = at_once(&[
        ok(json!([["append", 1, 1]])),
        ok(json!([["append", 2, 1]])),
        ok(json!([["r", 1, [1]], ["r", 2, null]])),
        ok(json!([["r", 2, [1]], ["r", 1, null]])),
    ]);
    assert_eq!(types(LISTS, &history, "snapshot-isolation"), ["G-nonadjacent-item"]);
}

#[test]
fn list_write_skew_is_g2() {
    let history = at_once(&[
        ok(json!([["r", 1, null], ["append", 2, 1]])),
        ok(json!([["r", 2, null], ["append", 1, 1]])),
    ]);
    assert_eq!(types(LISTS, &history, "serializable"), ["G2-item"]);
    assert_eq!(verdict(LISTS, &history, "snapshot-isolation").valid, Valid::True);
    let verdict = verdict(LISTS, &history, "repeatable-read");
    assert!(what(&verdict, "G2-item").contains("read key 1 as empty"));
}

#[test]
fn stale_read_shows_under_realtime_only() {
    let history = in_turn(&[(0, json!([["append", 1, 1]])), (1, json!([["r", 1, null]]))]);
    assert_eq!(verdict(LISTS, &history, "serializable").valid, Valid::True);
    assert_eq!(verdict(LISTS, &history, "strong-session-serializable").valid, Valid::True);
    let verdict = verdict(LISTS, &history, "strict-serializable");
    assert_eq!(verdict.anomaly_types, ["G-single-item-realtime"]);
    let what = what(&verdict, "G-single-item-realtime");
    assert!(what.contains("T1 had ended (1.500 ms) before T2 began (3.000 ms)"), "{what}");
}

#[test]
fn forgetful_session_shows_under_process_order() {
    let history = in_turn(&[(0, json!([["append", 1, 1]])), (0, json!([["r", 1, null]]))]);
    assert_eq!(verdict(LISTS, &history, "serializable").valid, Valid::True);
    let types = types(LISTS, &history, "strong-session-snapshot-isolation");
    assert_eq!(types, ["G-single-item-process"]);
}

#[test]
fn reads_from_a_later_transaction_are_g1c_realtime() {
    let history = in_turn(&[(0, json!([["r", 1, [1]]])), (1, json!([["append", 1, 1]]))]);
    assert_eq!(types(LISTS, &history, "strong-read-committed"), ["G1c-realtime"]);
    let history = in_turn(&[(0, json!([["r", 1, [1]]])), (0, json!([["append", 1, 1]]))]);
    assert_eq!(types(LISTS, &history, "strong-session-read-committed"), ["G1c-process"]);
}

#[test]
fn appends_against_the_clock_are_g0_realtime() {
    let txns = |second| {
        let late_reader = (2, json!([["r", 1, [2, 1]]]));
        in_turn(&[(0, json!([["append", 1, 1]])), (second, json!([["append", 1, 2]])), late_reader])
    };
    assert_eq!(types(LISTS, &txns(1), "strong-read-uncommitted"), ["G0-realtime"]);
    assert_eq!(types(LISTS, &txns(0), "strong-session-read-uncommitted"), ["G0-process"]);
}

#[test]
fn write_skew_closed_by_time_is_g2_realtime() {
    let history = |last: usize| {
        let mut history = History::default();
        let steps = [
            json!([["r", 1, null], ["append", 3, 1]]),
            json!([["r", 2, null], ["append", 1, 1]]),
            json!([["append", 2, 1]]),
        ];
        record(&mut history, 1, EventKind::Invoke, &steps[1]);
        record(&mut history, last, EventKind::Invoke, &steps[2]);
        record(&mut history, last, EventKind::Ok, &steps[2]);
        record(&mut history, 0, EventKind::Invoke, &steps[0]);
        record(&mut history, 0, EventKind::Ok, &steps[0]);
        record(&mut history, 1, EventKind::Ok, &steps[1]);
        history
    };
    assert_eq!(types(LISTS, &history(2), "strict-serializable"), ["G2-item-realtime"]);
    assert_eq!(types(LISTS, &history(0), "strong-session-serializable"), ["G2-item-process"]);
}

#[test]
fn forks_seen_by_their_writers_are_g_nonadjacent_process() {
    let mut history = History::default();
    let appends = [json!([["append", 1, 1]]), json!([["append", 2, 1]])];
    let reads = [json!([["r", 2, null]]), json!([["r", 1, null]])];
    for both in [appends, reads] {
        for kind in [EventKind::Invoke, EventKind::Ok] {
            for (process, steps) in both.iter().enumerate() {
                record(&mut history, process, kind, steps);
            }
        }
    }
    let types = types(LISTS, &history, "strong-session-snapshot-isolation");
    assert_eq!(types, ["G-nonadjacent-item-process"]);
}

#[test]
fn fork_closed_by_time_is_g_nonadjacent_realtime() {
    let (x, y) = (json!([["append", 1, 1]]), json!([["append", 2, 1]]));
    let (late, torn) = (json!([["r", 2, null]]), json!([["r", 2, [1]], ["r", 1, null]]));
    let mut history = History::default();
    for (process, steps) in [(0, &x), (1, &y), (2, &torn)] {
        record(&mut history, process, EventKind::Invoke, steps);
    }
    record(&mut history, 0, EventKind::Ok, &x);
    record(&mut history, 0, EventKind::Invoke, &late);
    for (process, steps) in [(0, &late), (1, &y), (2, &torn)] {
        record(&mut history, process, EventKind::Ok, steps);
    }
    assert_eq!(types(LISTS, &history, "strict-serializable"), ["G-nonadjacent-item-realtime"]);
}

#[test]
fn valid_history_serializes_to_valid_alone() {
    let history = in_turn(&[(0, json!([["append", 1, 1]])), (1, json!([["r", 1, [1]]]))]);
    let verdict = verdict(LISTS, &history, "strict-serializable");
    assert_eq!(serde_json::to_value(&verdict).unwrap(), json!({"valid": true}));
    assert!(verdict.findings().is_empty());
}

#[test]
fn invalid_history_serializes_as_elle_does() {
    let history = at_once(&[ok(json!([["append", 1, 1]])), ok(json!([["r", 1, [1, 1]]]))]);
    let verdict = serde_json::to_value(verdict(LISTS, &history, "read-uncommitted")).unwrap();
    assert_eq!(verdict["valid"], json!(false));
    assert_eq!(verdict["anomaly-types"], json!(["duplicate-elements"]));
    assert_eq!(verdict["anomalies"]["duplicate-elements"][0]["events"], json!([1, 3]));
    assert_eq!(verdict["not"], json!(["read-uncommitted"]));
    assert!(verdict["also-not"].as_array().unwrap().contains(&json!("strong-serializable")));
}

#[test]
fn history_without_dependencies_is_unknown() {
    let history = at_once(&[ok(json!([["append", 1, 1]])), ok(json!([["append", 2, 1]]))]);
    for check in [LISTS, REGISTERS] {
        let history = if check as usize == LISTS as usize { &history } else { &at_once(&[]) };
        let verdict = verdict(check, history, "serializable");
        assert_eq!(verdict.valid, Valid::Unknown);
        assert_eq!(verdict.anomaly_types, ["empty-transaction-graph"]);
    }
}

#[test]
fn element_appended_twice_makes_the_verdict_unknown() {
    let history = at_once(&[ok(json!([["append", 1, 1]])), ok(json!([["append", 1, 1]]))]);
    let verdict = verdict(LISTS, &history, "serializable");
    assert_eq!(verdict.valid, Valid::Unknown);
    assert!(verdict.reason.clone().unwrap().contains("1 is appended to key 1 more than once"));
    assert_eq!(verdict.findings().len(), 1);
    let value = serde_json::to_value(&verdict).unwrap();
    assert_eq!(value["valid"], json!("unknown"));
}

#[test]
fn malformed_history_is_unknown() {
    let history = at_once(&[ok(json!([["cas", 1, 1]]))]);
    for check in [LISTS, REGISTERS] {
        let verdict = verdict(check, &history, "serializable");
        assert_eq!(verdict.valid, Valid::Unknown);
        assert!(verdict.reason.unwrap().contains("is neither"));
    }
}

#[test]
fn search_cut_short_leaves_the_verdict_open() {
    let history = at_once(&[
        ok(json!([["append", 1, 1], ["append", 2, 1]])),
        ok(json!([["r", 1, [1]], ["r", 2, null]])),
    ]);
    let models: [Model; 1] = ["consistent-view".parse().unwrap()];
    let verdict = list_append_within(&history, &models, 1);
    assert_eq!(verdict.valid, Valid::Unknown);
    assert_eq!(verdict.anomaly_types, ["cycle-search-timeout"]);
    // A projection with a cycle is found with linear work, and is enough for a verdict.
    let models: [Model; 1] = ["snapshot-isolation".parse().unwrap()];
    let verdict = list_append_within(&history, &models, 1);
    assert_eq!(verdict.valid, Valid::False);
    assert_eq!(verdict.anomaly_types, ["PL-SI-cycle-exists", "cycle-search-timeout"]);
}

#[test]
fn keys_and_values_may_be_any_json() {
    let (key, value) = (json!({"a": [1, null]}), json!([2.5, "x"]));
    let history = at_once(&[
        fail(json!([["append", key, value]])),
        ok(json!([["r", key, [value]]])),
        ok(json!([["r", "a", []]])),
    ]);
    assert!(types(LISTS, &history, "read-committed").contains(&"G1a".to_owned()));
}

// ---- registers

#[test]
fn register_read_that_changes_is_internal() {
    let history =
        at_once(&[ok(json!([["w", 1, 1]])), ok(json!([["w", 1, 2]])), ok(json!([["r", 1, 1], ["r", 1, 2]]))]);
    assert_eq!(types(REGISTERS, &history, "read-atomic"), ["internal"]);
}

#[test]
fn register_read_of_a_failed_write_is_g1a() {
    let history = at_once(&[fail(json!([["w", 1, 1]])), ok(json!([["r", 1, 1]]))]);
    assert!(types(REGISTERS, &history, "read-committed").contains(&"G1a".to_owned()));
}

#[test]
fn register_read_between_writes_of_a_transaction_is_g1b() {
    let history = at_once(&[ok(json!([["w", 1, 1], ["w", 1, 2]])), ok(json!([["r", 1, 1]]))]);
    assert!(types(REGISTERS, &history, "read-committed").contains(&"G1b".to_owned()));
}

#[test]
fn two_writes_after_the_same_read_are_a_lost_update() {
    let history =
        at_once(&[ok(json!([["r", 1, null], ["w", 1, 1]])), ok(json!([["r", 1, null], ["w", 1, 2]]))]);
    assert_eq!(types(REGISTERS, &history, "cursor-stability"), ["lost-update"]);
    assert_eq!(types(REGISTERS, &history, "serializable"), ["G2-item", "lost-update"]);
}

#[test]
fn versions_in_a_circle_are_cyclic() {
    let history = at_once(&[ok(json!([["r", 1, 1], ["w", 1, 2]])), ok(json!([["r", 1, 2], ["w", 1, 1]]))]);
    let verdict = verdict(REGISTERS, &history, "read-uncommitted");
    assert_eq!(verdict.anomaly_types, ["cyclic-versions"]);
    assert!(what(&verdict, "cyclic-versions").contains("values of key 1, in a circle: 1, 2."));
}

#[test]
fn versions_in_a_circle_end_writes_follow_reads() {
    let torn = [
        ok(json!([["w", 1, 1], ["w", 2, 1]])),
        ok(json!([["r", 1, 1], ["w", 1, 2], ["r", 2, 1], ["w", 2, 2]])),
        ok(json!([["r", 1, 2], ["r", 2, 1]])),
    ];
    assert_eq!(types(REGISTERS, &at_once(&torn), "snapshot-isolation"), ["G-single-item"]);
    let circle = [ok(json!([["r", 9, 1], ["w", 9, 2]])), ok(json!([["r", 9, 2], ["w", 9, 1]]))];
    let both = at_once(&[&torn[..], &circle[..]].concat());
    assert_eq!(types(REGISTERS, &both, "snapshot-isolation"), ["G1c", "cyclic-versions"]);
}

#[test]
fn mutual_reads_of_writes_are_g1c() {
    let history = at_once(&[ok(json!([["w", 1, 1], ["r", 2, 1]])), ok(json!([["w", 2, 1], ["r", 1, 1]]))]);
    let verdict = verdict(REGISTERS, &history, "read-committed");
    assert_eq!(verdict.anomaly_types, ["G1c"]);
    assert!(what(&verdict, "G1c").contains("T1 set key 1 to 1, and T2 read that"));
}

#[test]
fn register_snapshot_torn_apart_is_g_single() {
    let history = at_once(&[ok(json!([["w", 1, 1], ["w", 2, 1]])), ok(json!([["r", 1, 1], ["r", 2, null]]))]);
    let verdict = verdict(REGISTERS, &history, "snapshot-isolation");
    assert_eq!(verdict.anomaly_types, ["G-single-item"]);
    assert!(what(&verdict, "G-single-item").contains("read key 2 while it was unset"));
}

#[test]
fn register_forks_seen_by_readers_are_g_nonadjacent() {
    let history = at_once(&[
        ok(json!([["w", 1, 1]])),
        ok(json!([["w", 2, 1]])),
        ok(json!([["r", 1, 1], ["r", 2, null]])),
        ok(json!([["r", 2, 1], ["r", 1, null]])),
    ]);
    assert_eq!(types(REGISTERS, &history, "snapshot-isolation"), ["G-nonadjacent-item"]);
}

#[test]
fn register_write_skew_is_g2() {
    let history =
        at_once(&[ok(json!([["r", 1, null], ["w", 2, 1]])), ok(json!([["r", 2, null], ["w", 1, 1]]))]);
    assert_eq!(types(REGISTERS, &history, "serializable"), ["G2-item"]);
    assert_eq!(verdict(REGISTERS, &history, "snapshot-isolation").valid, Valid::True);
}

#[test]
fn writes_follow_reads_orders_register_versions() {
    // 1 was replaced by 2 in both keys, but the second transaction saw only one of the replacements.
    let history = at_once(&[
        ok(json!([["w", 1, 1], ["w", 2, 1]])),
        ok(json!([["r", 1, 1], ["w", 1, 2], ["r", 2, 1], ["w", 2, 2]])),
        ok(json!([["r", 1, 2], ["r", 2, 1]])),
    ]);
    let verdict = verdict(REGISTERS, &history, "snapshot-isolation");
    assert_eq!(verdict.anomaly_types, ["G-single-item"]);
    assert!(what(&verdict, "G-single-item").contains("from key 2, which T1 replaced by 2"), "{verdict:?}");
}

#[test]
fn register_cycle_of_writes_alone_still_exists() {
    // Each edge is a ww and a wr, and is explained as wr, so that no cycle is named G0.
    let history = at_once(&[
        ok(json!([["r", 1, 1], ["w", 1, 2], ["w", 2, 1]])),
        ok(json!([["w", 1, 1], ["r", 2, 1], ["w", 2, 2]])),
    ]);
    let verdict = verdict(REGISTERS, &history, "read-uncommitted");
    assert_eq!(verdict.anomaly_types, ["PL-1-cycle-exists"]);
    assert!(what(&verdict, "PL-1-cycle-exists").contains("depend on each other in a circle"));
    assert_eq!(types(REGISTERS, &history, "read-committed"), ["G1c", "PL-1-cycle-exists"]);
}

#[test]
fn value_that_nobody_wrote_is_garbage() {
    let history = at_once(&[ok(json!([["w", 1, 1]])), ok(json!([["r", 1, 9]])), ok(json!([["r", 1, 1]]))]);
    let verdict = verdict(REGISTERS, &history, "read-uncommitted");
    assert_eq!(verdict.anomaly_types, ["garbage-read"]);
    assert_eq!(verdict.maelstrom_strict().valid, Valid::True);
}

#[test]
fn register_read_of_a_later_write_is_future_read() {
    let history = at_once(&[ok(json!([["r", 1, 1], ["w", 1, 1]])), ok(json!([["r", 1, 1]]))]);
    let verdict = verdict(REGISTERS, &history, "read-committed");
    assert_eq!(verdict.anomaly_types, ["future-read"]);
    assert_eq!(verdict.maelstrom_strict().valid, Valid::True);
}

#[test]
fn value_written_twice_and_read_makes_the_verdict_unknown() {
    let twice = [ok(json!([["w", 1, 1]])), ok(json!([["w", 1, 1]])), ok(json!([["r", 1, 1]]))];
    let verdict_of = |txns: &[_]| verdict(REGISTERS, &at_once(txns), "serializable");
    assert!(verdict_of(&twice).reason.unwrap().contains("by more than one transaction"));
    assert_eq!(verdict_of(&twice[..2]).reason, None);
}

#[test]
fn maelstrom_turns_open_register_verdicts_into_closed_ones() {
    let history = at_once(&[ok(json!([["w", 1, 1]]))]);
    let empty = verdict(REGISTERS, &history, "serializable");
    assert_eq!(empty.valid, Valid::Unknown);
    assert_eq!(empty.maelstrom_strict().valid, Valid::False);
    let history = at_once(&[ok(json!([["w", 1, 1], ["w", 2, 1]])), ok(json!([["r", 1, 1], ["r", 2, null]]))]);
    let models: [Model; 1] = ["consistent-view".parse().unwrap()];
    let cut_short = rw_register_within(&history, &models, 1);
    assert_eq!(cut_short.valid, Valid::Unknown);
    assert_eq!(cut_short.maelstrom_strict().valid, Valid::True);
}

#[test]
fn several_models_are_checked_together() {
    let history =
        at_once(&[ok(json!([["r", 1, null], ["w", 2, 1]])), ok(json!([["r", 2, null], ["w", 1, 1]]))]);
    let models = ["read-committed", "serializable"].map(|name| name.parse::<Model>().unwrap());
    assert_eq!(rw_register(&history, &models).anomaly_types, ["G2-item"]);
    assert_eq!(rw_register(&history, &models[..1]).valid, Valid::True);
    assert_eq!(rw_register(&history, &[]).valid, Valid::True);
}
