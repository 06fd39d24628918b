//! The checker on hand-written histories, and against its naive twin on random ones.

use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde_json::{Value as Json, json};

use super::register::Registers;
use super::search::{Limits, Verdict, search_within};
use super::{LinKv, lin_kv, naive};
use crate::check::Valid;
use crate::history::EventKind::{Fail, Info, Invoke, Ok};
use crate::history::{EventKind, History, OpValue, Process};
use crate::node::Time;

/// A history of the given events, one millisecond apart.
fn history(events: &[(usize, EventKind, &'static str, Json)]) -> History {
    let mut history = History::default();
    for (at, (process, kind, f, value)) in events.iter().enumerate() {
        push(&mut history, at, *process, *kind, f, value.clone());
    }
    history
}

fn push(history: &mut History, at: usize, process: usize, kind: EventKind, f: &'static str, value: Json) {
    let time = Time::from_nanos(at as u64 * 1_000_000);
    history.push(time, Process::Client(process), kind, f, OpValue::Json(value), None);
}

fn naive_valid(history: &History) -> bool {
    naive::lin_kv(history).values().all(|valid| *valid)
}

/// Both checkers' verdict on a hand-written history.
fn verdict(events: &[(usize, EventKind, &'static str, Json)]) -> bool {
    let history = history(events);
    let valid = lin_kv(&history).valid;
    assert_eq!(valid, Valid::from(naive_valid(&history)), "the twin disagrees");
    valid == Valid::True
}

/// Stale: the write of 2 completed before the read of 1 began.
fn stale_read() -> Vec<(usize, EventKind, &'static str, Json)> {
    vec![
        (0, Invoke, "write", json!([7, 1])),
        (0, Ok, "write", json!([7, 1])),
        (1, Invoke, "write", json!([7, 2])),
        (1, Ok, "write", json!([7, 2])),
        (2, Invoke, "cas", json!([7, [3, 4]])),
        (3, Invoke, "read", json!([7, null])),
        (3, Ok, "read", json!([7, 1])),
        (4, Invoke, "read", json!([7, null])),
        (4, Ok, "read", json!([7, 2])),
    ]
}

#[test]
fn an_empty_history_is_valid() {
    let result = lin_kv(&History::default());
    assert_eq!(result.valid, Valid::True);
    assert!(result.results.is_empty() && result.findings().is_empty());
}

#[test]
fn a_read_after_a_write_shows_it() {
    let write = [(0, Invoke, "write", json!([0, 1])), (0, Ok, "write", json!([0, 1]))];
    let read = |value| [(0, Invoke, "read", json!([0, null])), (0, Ok, "read", json!([0, value]))];
    assert!(verdict(&[write.clone(), read(json!(1))].concat()));
    assert!(!verdict(&[write.clone(), read(json!(2))].concat()));
    assert!(verdict(&[write, read(json!(null))].concat()), "null agrees with every state");
}

#[test]
fn a_stale_read_is_invalid() {
    assert!(!verdict(&stale_read()));
}

#[test]
fn a_concurrent_read_may_show_either_value() {
    for (value, valid) in [(1, true), (2, true), (3, false)] {
        let events = [
            (0, Invoke, "write", json!([0, 1])),
            (0, Ok, "write", json!([0, 1])),
            (0, Invoke, "write", json!([0, 2])),
            (1, Invoke, "read", json!([0, null])),
            (1, Ok, "read", json!([0, value])),
            (0, Ok, "write", json!([0, 2])),
        ];
        assert_eq!(verdict(&events), valid, "{value}");
    }
}

#[test]
fn new_then_old_is_invalid_though_both_are_concurrent() {
    let mut events = vec![
        (0, Invoke, "write", json!([0, 1])),
        (0, Ok, "write", json!([0, 1])),
        (0, Invoke, "write", json!([0, 2])),
    ];
    for value in [2, 1] {
        events.push((1, Invoke, "read", json!([0, null])));
        events.push((1, Ok, "read", json!([0, value])));
    }
    assert!(!verdict(&events));
}

#[test]
fn an_indeterminate_write_may_appear_late_or_never() {
    let mut events = vec![
        (0, Invoke, "write", json!([0, 1])),
        (0, Ok, "write", json!([0, 1])),
        (1, Invoke, "write", json!([0, 2])),
        (1, Info, "write", json!([0, 2])),
        (0, Invoke, "read", json!([0, null])),
        (0, Ok, "read", json!([0, 1])),
    ];
    assert!(verdict(&events), "never");
    events.extend([(0, Invoke, "read", json!([0, null])), (0, Ok, "read", json!([0, 2]))]);
    assert!(verdict(&events), "late");
    events.extend([(0, Invoke, "read", json!([0, null])), (0, Ok, "read", json!([0, 1]))]);
    assert!(!verdict(&events), "and undone");
}

#[test]
fn an_indeterminate_write_happens_only_once() {
    let mut events = vec![(9, Invoke, "write", json!([0, 2]))];
    for (write, read) in [(1, 2), (1, 2)] {
        events.push((0, Invoke, "write", json!([0, write])));
        events.push((0, Ok, "write", json!([0, write])));
        events.push((0, Invoke, "read", json!([0, null])));
        events.push((0, Ok, "read", json!([0, read])));
    }
    assert!(!verdict(&events));
    events.insert(0, (8, Invoke, "write", json!([0, 2])));
    assert!(verdict(&events), "two of them explain two reads");
}

#[test]
fn a_failed_operation_has_no_effect() {
    assert!(!verdict(&[
        (0, Invoke, "write", json!([0, 1])),
        (0, Fail, "write", json!([0, 1])),
        (0, Invoke, "read", json!([0, null])),
        (0, Ok, "read", json!([0, 1])),
    ]));
}

#[test]
fn a_cas_needs_its_first_value() {
    let cas = |from: Json, to: i32| {
        [(0, Invoke, "cas", json!([0, [from, to]])), (0, Ok, "cas", json!([0, [from, to]]))]
    };
    assert!(!verdict(&cas(json!(1), 2)), "a missing key");
    assert!(verdict(&cas(json!(null), 2)), "null is what a missing key holds");
    assert!(verdict(&[cas(json!(null), 2), cas(json!(2), 2), cas(json!(2), 3)].concat()));
    assert!(!verdict(&[cas(json!(null), 2), cas(json!(3), 3)].concat()));
}

#[test]
fn only_one_of_two_concurrent_cas_can_win() {
    assert!(!verdict(&[
        (0, Invoke, "write", json!([0, 1])),
        (0, Ok, "write", json!([0, 1])),
        (0, Invoke, "cas", json!([0, [1, 2]])),
        (1, Invoke, "cas", json!([0, [1, 3]])),
        (0, Ok, "cas", json!([0, [1, 2]])),
        (1, Ok, "cas", json!([0, [1, 3]])),
    ]));
}

#[test]
fn keys_and_values_are_compared_as_json() {
    let write = |key: Json, value: Json| {
        [(0, Invoke, "write", json!([key, value])), (0, Ok, "write", json!([key, value]))]
    };
    let read = |key: Json, value: Json| {
        [(0, Invoke, "read", json!([key, null])), (0, Ok, "read", json!([key, value]))]
    };
    let written = [write(json!("1"), json!({"a": 1, "b": [2]})), write(json!(1), json!("x"))].concat();
    let right = [read(json!("1"), json!({"b": [2], "a": 1})), read(json!(1), json!("x"))].concat();
    assert!(verdict(&[written.clone(), right].concat()));
    assert!(!verdict(&[written.clone(), read(json!("1"), json!("x")).to_vec()].concat()));
    assert!(!verdict(&[written, read(json!(1), json!(["x"])).to_vec()].concat()));
}

#[test]
fn results_are_in_numeric_order_of_keys() {
    let mut events = Vec::new();
    for key in [json!("b"), json!(10), json!(9), json!(-1), json!(100)] {
        events.push((0, Invoke, "read", json!([key, null])));
        events.push((0, Ok, "read", json!([key, 5])));
    }
    let result = lin_kv(&history(&events));
    assert_eq!(result.failures, ["-1", "9", "10", "100", "\"b\""]);
    let json = serde_json::to_string(&result).unwrap();
    let places: Vec<_> = result
        .failures
        .iter()
        .map(|key| json.find(&format!("{}:{{", json!(key.trim_matches('"')))))
        .collect();
    assert!(places[..4].is_sorted(), "{json}");
    assert_eq!((result.findings().len(), result.findings()[0].count), (1, 5));
}

#[test]
fn a_failure_is_told_with_operation_states_and_attempts() {
    let result = lin_kv(&history(&stale_read()));
    let finding = &result.findings()[0];
    assert_eq!(
        finding.what,
        "Key 7 is not linearizable. Process 3 read 1 (invoked at 5.00 ms, completed at 6.00 ms), but there \
         is no moment in between at which the key can have held 1. Immediately before it completed, the key \
         could hold only 2 (since process 1's write of 2, invoked at 2.00 ms, completed at 3.00 ms). These \
         could take effect before then too, and no order of them helps: process 2's cas from 3 to 4 (invoked \
         at 4.00 ms, never completed)."
    );
    assert_eq!(finding.events, [2, 3, 5, 6]);
    assert!(finding.hint.contains("local copy"), "{}", finding.hint);
}

#[test]
fn a_failure_has_the_fields_of_knossos() {
    let json = serde_json::to_value(lin_kv(&history(&stale_read()))).unwrap();
    let key = &json["results"]["7"];
    assert_eq!(
        (&json["valid"], &json["failures"], &key["valid"]),
        (&json!(false), &json!(["7"]), &json!(false))
    );
    assert_eq!(key["op"]["value"], 1);
    assert_eq!(key["op"]["events"], json!([5, 6]));
    assert_eq!(key["previous-ok"]["value"], 2);
    assert_eq!(key["last-op"]["events"], json!([2, 3]));
    assert_eq!(key["configs"][0]["model"], 2);
    assert_eq!(key["configs"][0]["pending"][0]["value"], json!([3, 4]));
    assert_eq!(key["final-paths"][0][1]["inconsistent"], "can't read 1 from a register that holds 2");
    assert_eq!(key["final-paths"].as_array().map(Vec::len), Some(1));
}

#[test]
fn final_paths_try_what_is_open_in_each_order() {
    let result = lin_kv(&history(&[
        (0, Invoke, "write", json!([0, 1])),
        (1, Invoke, "cas", json!([0, [1, 2]])),
        (2, Invoke, "read", json!([0, null])),
        (2, Ok, "read", json!([0, 3])),
    ]));
    let models = |path: &Vec<super::Step>| -> Vec<Json> {
        path.iter().filter_map(|step| step.model.clone()).collect()
    };
    let paths: Vec<_> = result.results["0"].final_paths.iter().map(models).collect();
    let null = json!(null);
    assert_eq!(paths, [vec![null.clone()], vec![null.clone(), json!(1)], vec![null, json!(1), json!(2)]]);
}

#[test]
fn hints_tell_the_kinds_of_mistakes_apart() {
    let hint = |events: &[_]| lin_kv(&history(events)).findings()[0].hint.clone();
    let mut lost = stale_read();
    lost.truncate(7);
    assert!(hint(&lost).contains("lost"));
    let failed = [
        (0, Invoke, "write", json!([0, 1])),
        (0, Fail, "write", json!([0, 1])),
        (0, Invoke, "read", json!([0, null])),
        (0, Ok, "read", json!([0, 1])),
    ];
    assert!(hint(&failed).contains("definite error makes this value: process 0's write of 1 (event 1)"));
    assert!(hint(&failed[2..]).contains("No operation wrote this value"));
    let write = [(0, Invoke, "write", json!([0, 1])), (0, Ok, "write", json!([0, 1]))];
    let cas = [(0, Invoke, "cas", json!([0, [1, 2]])), (0, Ok, "cas", json!([0, [1, 2]]))];
    assert!(hint(&[write.clone(), cas.clone(), cas.clone()].concat()).contains("Another cas"));
    assert!(hint(&cas).contains("acknowledged without a comparison"));
    let open_cas = [
        (1, Invoke, "cas", json!([0, [2, 1]])),
        (2, Invoke, "read", json!([0, null])),
        (2, Ok, "read", json!([0, 1])),
    ];
    assert!(hint(&open_cas).contains("Only a cas that had not completed then sets this value: process 1's"));
    let newer = [(0, Invoke, "write", json!([0, 3])), (0, Ok, "write", json!([0, 3]))];
    assert!(hint(&[write, newer, cas].concat()).contains("compared with an older value"));
}

#[test]
fn what_cannot_be_read_is_unknown_with_a_reason() {
    let cases = [
        (vec![(0, Invoke, "write", json!(5))], None),
        (vec![(0, Invoke, "cas", json!([0, 5]))], Some("has no value [key, [from, to]]")),
        (vec![(0, Invoke, "append", json!([0, 5]))], Some("is not a read, write or cas")),
        (vec![(0, Ok, "write", json!([0, 5]))], Some("never invoked")),
        (vec![(0, Invoke, "read", json!([0, 5])), (0, Ok, "read", json!(5))], Some("has no value")),
        (vec![(0, Invoke, "read", json!([0, 5])), (0, Ok, "read", json!([1, 5]))], Some("another key")),
        (vec![(0, Invoke, "write", json!([0, 5])), (0, Ok, "cas", json!([0, 5]))], Some("another function")),
    ];
    for (events, reason) in cases {
        let result = lin_kv(&history(&events));
        assert_eq!(result.valid, Valid::Unknown, "{events:?}");
        match reason {
            None => assert_eq!(result.unreadable, ["the write at index 0 names no key: its value is 5"]),
            Some(reason) => {
                assert!(result.results["0"].reason.as_ref().unwrap().contains(reason), "{events:?}");
            }
        }
    }
}

#[test]
fn what_cannot_be_read_does_not_hide_another_keys_failure() {
    let mut events = stale_read();
    events.push((9, Invoke, "cas", json!([1, 5])));
    let result = lin_kv(&history(&events));
    assert_eq!((result.valid, result.failures), (Valid::False, vec!["7".to_string()]));
}

#[test]
fn a_malformed_operation_that_failed_is_no_matter() {
    let events =
        [(0, Invoke, "cas", json!([0, 5])), (0, Fail, "cas", json!([0, 5])), (1, Fail, "x", json!(1))];
    assert_eq!(lin_kv(&history(&events)).valid, Valid::True);
}

#[test]
fn a_second_invocation_leaves_the_first_indeterminate() {
    let events = [
        (0, Invoke, "write", json!([0, 1])),
        (0, Invoke, "read", json!([0, null])),
        (0, Ok, "read", json!([0, 1])),
    ];
    assert_eq!(lin_kv(&history(&events)).valid, Valid::True);
}

/// A mistake that a simulated register makes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mistake {
    None,
    StaleRead,
    LostWrite,
    WrongCas,
    FailedButDone,
}

const MISTAKES: [Mistake; 5] =
    [Mistake::None, Mistake::StaleRead, Mistake::LostWrite, Mistake::WrongCas, Mistake::FailedButDone];

/// How a simulated run looks.
#[derive(Clone, Copy, Debug)]
struct Shape {
    mistake: Mistake,
    keys: usize,
    processes: usize,
    /// Operations, on all keys together.
    ops: usize,
    /// Different values written.
    values: i64,
    /// The share of operations whose result the client doesn't get to know.
    info: f64,
}

/// Clients that act on registers in memory. Each operation takes effect at a random moment while it is open,
/// and if it becomes indeterminate, at a random moment afterwards or never.
struct Simulation {
    rng: Pcg64Mcg,
    shape: Shape,
    /// By key: all states so far, the current one last.
    states: Vec<Vec<Json>>,
    clients: Vec<Client>,
    /// Indeterminate operations that may still take effect.
    lingering: Vec<Client>,
    history: History,
    next_process: usize,
}

#[derive(Clone)]
struct Client {
    process: usize,
    call: Option<(&'static str, usize, Json)>,
    /// The answer, once the operation has taken effect.
    answer: Option<(EventKind, Json)>,
}

impl Simulation {
    fn run(seed: u64, shape: Shape) -> History {
        let client = |process| Client { process, call: None, answer: None };
        let mut simulation = Simulation {
            rng: Pcg64Mcg::seed_from_u64(seed),
            shape,
            states: vec![vec![Json::Null]; shape.keys],
            clients: (0..shape.processes).map(client).collect(),
            lingering: Vec::new(),
            history: History::default(),
            next_process: shape.processes,
        };
        let mut left = shape.ops;
        while left > 0 || simulation.clients.iter().any(|client| client.call.is_some()) {
            simulation.step(&mut left);
        }
        simulation.history
    }

    fn step(&mut self, left: &mut usize) {
        if !self.lingering.is_empty() && self.rng.random_bool(0.05) {
            let at = self.rng.random_range(0..self.lingering.len());
            let mut client = self.lingering.swap_remove(at);
            self.take_effect(&mut client);
        }
        let at = self.rng.random_range(0..self.clients.len());
        let mut client = self.clients[at].clone();
        match (&client.call, &client.answer) {
            (None, _) if *left > 0 => {
                *left -= 1;
                self.invoke(&mut client);
            }
            (None, _) => {}
            (Some(_), None) if self.rng.random_bool(self.shape.info / 2.0) => self.lose(&mut client),
            (Some(_), None) => self.take_effect(&mut client),
            (Some(_), Some(_)) if self.rng.random_bool(self.shape.info / 2.0) => self.lose(&mut client),
            (Some(_), Some(_)) => self.complete(&mut client),
        }
        self.clients[at] = client;
    }

    fn record(&mut self, process: usize, kind: EventKind, f: &'static str, key: usize, value: Json) {
        let at = self.history.events().len();
        push(&mut self.history, at, process, kind, f, json!([key, value]));
    }

    fn value(&mut self) -> i64 {
        self.rng.random_range(0..self.shape.values)
    }

    fn invoke(&mut self, client: &mut Client) {
        let key = self.rng.random_range(0..self.shape.keys);
        let (f, value) = match self.rng.random_range(0..6) {
            0..3 => ("read", json!(null)),
            3 => ("write", json!(self.value())),
            _ => ("cas", json!([self.value(), self.value()])),
        };
        client.call = Some((f, key, value.clone()));
        self.record(client.process, Invoke, f, key, value);
    }

    fn take_effect(&mut self, client: &mut Client) {
        let Some((f, key, value)) = client.call.clone() else { return };
        let slips = self.rng.random_bool(0.2);
        let slip = |mistake| slips && self.shape.mistake == mistake;
        let states = &mut self.states[key];
        let state = states.last().cloned().unwrap_or_default();
        let older = states[self.rng.random_range(0..states.len())].clone();
        client.answer = Some(match f {
            "read" if slip(Mistake::StaleRead) && !older.is_null() => (Ok, older),
            "read" if state.is_null() => (Fail, value),
            "read" => (Ok, state),
            "write" if slip(Mistake::LostWrite) => (Ok, value),
            "write" => {
                states.push(value.clone());
                (if slip(Mistake::FailedButDone) { Fail } else { Ok }, value)
            }
            _ if value[0] == state || slip(Mistake::WrongCas) => {
                states.push(value[1].clone());
                (Ok, value)
            }
            _ => (Fail, value),
        });
    }

    fn complete(&mut self, client: &mut Client) {
        if let (Some((f, key, _)), Some((kind, value))) = (client.call.take(), client.answer.take()) {
            self.record(client.process, kind, f, key, value);
        }
    }

    /// The client learns nothing, and another one takes its place.
    fn lose(&mut self, client: &mut Client) {
        if let Some((f, key, value)) = client.call.clone() {
            self.record(client.process, Info, f, key, value);
        }
        if client.answer.is_none() {
            self.lingering.push(client.clone());
        }
        *client = Client { process: self.next_process, call: None, answer: None };
        self.next_process += 1;
    }
}

/// Compares the checker with a twin on every key of a simulated history; returns whether it is valid.
fn agree(seed: u64, shape: Shape, twin: impl Fn(&[naive::Call]) -> bool) -> bool {
    let history = Simulation::run(seed, shape);
    let result = lin_kv(&history);
    for (key, calls) in naive::calls_by_key(&history) {
        let valid = Valid::from(twin(&calls));
        assert_eq!(result.results[&key].valid, valid, "seed {seed}, key {key}, {shape:?}\n{calls:#?}");
    }
    result.valid == Valid::True
}

fn twin(calls: &[naive::Call]) -> bool {
    naive::linearizable(calls, &Json::Null)
}

#[test]
fn agrees_with_the_naive_twin_on_small_histories() {
    for mistake in MISTAKES {
        let mut invalid = 0;
        for seed in 0..2_000 {
            let processes = 1 + seed as usize % 5;
            let info = [0.0, 0.1, 0.4][seed as usize % 3];
            let shape = Shape { mistake, keys: 1, processes, ops: 10, values: 3, info };
            invalid += usize::from(!agree(seed, shape, twin));
        }
        assert_eq!(invalid > 0, mistake != Mistake::None, "{mistake:?}: {invalid} of 2000");
    }
}

#[test]
fn the_twin_with_memory_agrees_with_the_naive_one() {
    for seed in 0..500 {
        let mistake = MISTAKES[seed as usize % 5];
        let shape = Shape { mistake, keys: 2, processes: 4, ops: 16, values: 3, info: 0.2 };
        let calls = naive::calls_by_key(&Simulation::run(seed, shape));
        for calls in calls.values() {
            assert_eq!(naive::linearizable_with_memory(calls), twin(calls), "seed {seed}");
        }
    }
}

#[test]
fn agrees_with_the_twin_with_memory_on_larger_histories() {
    for mistake in MISTAKES {
        for seed in 0..1_000 {
            let processes = 2 + seed as usize % 7;
            let info = [0.0, 0.05, 0.2][seed as usize % 3];
            let values = [2, 3, 5, 20][seed as usize % 4];
            let shape = Shape { mistake, keys: 1, processes, ops: 40, values, info };
            agree(seed, shape, naive::linearizable_with_memory);
        }
    }
}

#[test]
fn a_search_within_limits_may_give_up_but_does_not_err() {
    let mut gave_up = [0, 0];
    for seed in 0..1_000 {
        let mistake = MISTAKES[seed as usize % 5];
        let shape = Shape { mistake, keys: 1, processes: 6, ops: 30, values: 3, info: 0.1 };
        let history = Simulation::run(seed, shape);
        let calls = naive::calls_by_key(&history);
        let valid = calls.values().all(|calls| naive::linearizable_with_memory(calls));
        for (which, limits) in
            [Limits { width: 1, work: 1 << 20 }, Limits { width: 100, work: 200 }].iter().enumerate()
        {
            match search_within(&Registers::of(&history).all[0], *limits) {
                Verdict::Linearizable => assert!(valid, "seed {seed}"),
                Verdict::Stuck(_) => assert!(!valid, "seed {seed}"),
                Verdict::GaveUp(_) => gave_up[which] += 1,
            }
        }
    }
    assert!(gave_up.iter().all(|count| *count > 0), "{gave_up:?}");
}

#[test]
fn a_value_from_nowhere_is_invalid_however_hard_the_rest() {
    let shape = Shape { mistake: Mistake::None, keys: 1, processes: 10, ops: 1_000, values: 5, info: 0.2 };
    let mut history = Simulation::run(0, shape);
    push(&mut history, 0, 9_999, Invoke, "read", json!([0, null]));
    push(&mut history, 0, 9_999, Ok, "read", json!([0, 99]));
    let result = lin_kv(&history);
    assert_eq!(result.valid, Valid::False);
    assert_eq!(result.results["0"].op.as_ref().unwrap().value, 99);
}

#[test]
fn a_right_system_is_valid_on_long_histories() {
    for (seed, (keys, info)) in [(4, 0.03), (1, 0.0), (1, 0.02)].into_iter().enumerate() {
        let shape = Shape { mistake: Mistake::None, keys, processes: 10, ops: 3_000, values: 5, info };
        assert_eq!(lin_kv(&Simulation::run(seed as u64, shape)).valid, Valid::True);
    }
}

#[test]
fn twenty_indeterminate_writes_at_the_start_are_no_burden() {
    let mut events: Vec<_> = (0..20).map(|value| (100 + value, Invoke, "write", json!([0, value]))).collect();
    for value in (0..20).rev() {
        events.push((0, Invoke, "read", json!([0, null])));
        events.push((0, Ok, "read", json!([0, value])));
    }
    assert_eq!(lin_kv(&history(&events)).valid, Valid::True);
    events.extend([(0, Invoke, "read", json!([0, null])), (0, Ok, "read", json!([0, 5]))]);
    assert_eq!(lin_kv(&history(&events)).valid, Valid::False);
}

#[test]
fn many_operations_at_once_need_larger_sets_of_slots() {
    for open in [60, 70, 300, 1_100] {
        let writes = |kind| (0..open).map(move |process| (process, kind, "write", json!([0, process % 20])));
        let mut events: Vec<_> = writes(Invoke).collect();
        events.extend([(open, Invoke, "read", json!([0, null])), (open, Ok, "read", json!([0, 7]))]);
        events.extend(writes(Ok));
        assert_eq!(lin_kv(&history(&events)).valid, Valid::True, "{open}");
        events.extend([(open, Invoke, "read", json!([0, null])), (open, Ok, "read", json!([0, -1]))]);
        assert_eq!(lin_kv(&history(&events)).valid, Valid::False, "{open}");
    }
}

#[test]
fn more_open_operations_than_slots_are_unknown() {
    let mut events: Vec<_> = (0..5_000).map(|value| (value, Invoke, "write", json!([0, value]))).collect();
    events.extend([(9_999, Invoke, "read", json!([0, null])), (9_999, Ok, "read", json!([0, 1]))]);
    let result = lin_kv(&history(&events));
    assert_eq!(result.valid, Valid::Unknown);
    assert!(result.results["0"].reason.as_ref().unwrap().contains("5001 operations were open at once"));
}

/// Any JSON that might stand where an operation's value does, often of the right shape.
fn any_value() -> impl Strategy<Value = Json> {
    let leaf =
        || prop_oneof![Just(json!(null)), (0..3).prop_map(Json::from), Just(json!("x")), Just(json!(1.5))];
    prop_oneof![
        leaf(),
        prop::collection::vec(leaf(), 0..4).prop_map(Json::Array),
        (leaf(), leaf(), leaf()).prop_map(|(key, from, to)| json!([key, [from, to]])),
    ]
}

fn any_history() -> impl Strategy<Value = History> {
    let process = prop_oneof![(0..4usize).prop_map(Process::Client), Just(Process::Nemesis)];
    let kind = prop_oneof![Just(Invoke), Just(Ok), Just(Fail), Just(Info)];
    let f = prop_oneof![Just("read"), Just("write"), Just("cas"), Just("other")];
    let value = prop_oneof![
        any_value().prop_map(OpValue::Json),
        Just(OpValue::None),
        any::<i64>().prop_map(OpValue::Int)
    ];
    prop::collection::vec((process, kind, f, value), 0..30).prop_map(|events| {
        let mut history = History::default();
        for (process, kind, f, value) in events {
            history.push(Time::ZERO, process, kind, f, value, None);
        }
        history
    })
}

proptest! {
    #[test]
    fn no_history_makes_the_checker_panic(history in any_history()) {
        let result: LinKv = lin_kv(&history);
        let _ = result.findings();
        serde_json::to_string(&result).unwrap();
    }
}
