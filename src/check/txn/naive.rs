//! The naive twins of the checkers, for tests: all cycles of a small graph enumerated, and all serial orders of
//! a small history tried. With them come simulated systems, right and wrong ones, that make random histories.

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use serde_json::{Value as Json, json};

use super::anomalies;
use super::cycles::Cycles;
use super::graph::{Graph, Rel};
use super::search::Step;
use super::{Model, TxnResult, list_append, rw_register};
use crate::check::Valid;
use crate::history::{EventKind, History, OpValue, Process};
use crate::node::Time;

// ---- cycles

/// Asserts that `found` is what enumerating all cycles of `graph` gives.
pub(super) fn assert_same_cycles(graph: &Graph, found: &Cycles) {
    let all = all_cycles(graph);
    let mut expected: Vec<(&'static str, u32)> = Vec::new();
    for component in graph.components(|_| true).nontrivial() {
        let here = |cycle: &&Vec<Step>| component.contains(&cycle[0].from);
        let names: BTreeSet<&str> = all.iter().filter(here).map(|cycle| name(cycle)).collect();
        let implied = |name: &str| {
            names.iter().any(|worse| *worse != name && anomalies::implied([known(worse)]).contains(name))
        };
        expected.extend(names.iter().filter(|name| !implied(name)).map(|name| (known(name), component[0])));
    }
    let component_of = graph.components(|_| true);
    let mut got: Vec<(&'static str, u32)> = Vec::new();
    for (name_found, steps) in &found.named {
        assert_is_cycle(graph, steps);
        assert_eq!(*name_found, name(steps));
        let least = all.iter().filter(|cycle| name(cycle) == name(steps)).map(Vec::len).min();
        let same_part = |a: u32, b: u32| component_of.of[a as usize] == component_of.of[b as usize];
        let least_here = all
            .iter()
            .filter(|cycle| name(cycle) == name(steps) && same_part(cycle[0].from, steps[0].from))
            .map(Vec::len)
            .min();
        assert!(least <= Some(steps.len()));
        if !name_found.contains("-realtime") && !name_found.contains("-process") {
            assert_eq!(least_here, Some(steps.len()), "{steps:?}");
        }
        let part = (0..).find(|vertex| same_part(*vertex, steps[0].from)).unwrap();
        got.push((name_found, part));
    }
    expected.sort_unstable();
    got.sort_unstable();
    assert_eq!(expected, got);
    assert_same_existence(graph, found);
}

fn known(name: &str) -> &'static str {
    anomalies::implied(["G0", "G-single-item"]).into_iter().find(|known| *known == name).unwrap()
}

fn assert_is_cycle(graph: &Graph, steps: &[Step]) {
    for (place, step) in steps.iter().enumerate() {
        assert_eq!(step.to, steps[(place + 1) % steps.len()].from);
        assert!(graph.out(step.from).iter().any(|edge| edge.to == step.to && edge.shown == step.rel));
    }
    let vertices: BTreeSet<u32> = steps.iter().map(|step| step.from).collect();
    assert_eq!(vertices.len(), steps.len());
}

/// All cycles without a repeated vertex, each once, beginning with its least vertex.
fn all_cycles(graph: &Graph) -> Vec<Vec<Step>> {
    let mut all = Vec::new();
    for start in 0..graph.len() as u32 {
        extend(graph, start, &mut Vec::new(), &mut all);
    }
    all
}

fn extend(graph: &Graph, start: u32, path: &mut Vec<Step>, all: &mut Vec<Vec<Step>>) {
    let at = path.last().map_or(start, |step| step.to);
    for edge in graph.out(at) {
        let step = Step { from: at, to: edge.to, rel: edge.shown };
        let visited = path.iter().any(|step| step.from == edge.to);
        path.push(step);
        if edge.to == start {
            all.push(path.clone());
        } else if edge.to > start && !visited {
            extend(graph, start, path, all);
        }
        path.pop();
    }
}

/// The name of a cycle by the words of the specification.
fn name(steps: &[Step]) -> &'static str {
    let count = |rel: Rel| steps.iter().filter(|step| step.rel == rel).count();
    let pairs = (0..steps.len()).map(|place| (steps[place].rel, steps[(place + 1) % steps.len()].rel));
    let adjacent = pairs.into_iter().any(|pair| pair == (Rel::Rw, Rel::Rw));
    let base = match (count(Rel::Rw), adjacent) {
        (0, _) if count(Rel::Wr) > 0 => "G1c",
        (0, _) => "G0",
        (1, _) => "G-single-item",
        (_, true) => "G2-item",
        (_, false) => "G-nonadjacent-item",
    };
    let suffix = match (count(Rel::Realtime), count(Rel::Process)) {
        (0, 0) => "",
        (0, _) => "-process",
        _ => "-realtime",
    };
    known(&format!("{base}{suffix}"))
}

/// Asserts of the plainest projections that a cycle is reported exactly if there is one, by Warshall's
/// algorithm on whole graphs. A stronger projection may be left out where a weaker one is reported.
fn assert_same_existence(graph: &Graph, found: &Cycles) {
    let reported = |name: &str| found.exist.iter().any(|(reported, _)| *reported == name);
    let relation = |rels: &[Rel]| Relation::of(graph, rels);
    let base = relation(&[Rel::Ww, Rel::Wr]);
    let extended = base.or(&base.then(&relation(&[Rel::Rw])));
    assert_eq!(relation(&[Rel::Ww]).is_cyclic(), reported("PL-1-cycle-exists"));
    let weaker = |names: &[&str]| names.iter().any(|name| reported(name));
    assert_eq!(base.is_cyclic(), weaker(&["PL-1-cycle-exists", "PL-2-cycle-exists"]));
    let si = ["PL-1-cycle-exists", "PL-2-cycle-exists", "PL-SI-cycle-exists"];
    assert_eq!(extended.is_cyclic(), weaker(&si));
}

struct Relation(Vec<Vec<bool>>);

impl Relation {
    fn of(graph: &Graph, rels: &[Rel]) -> Self {
        let mut matrix = vec![vec![false; graph.len()]; graph.len()];
        for (from, row) in matrix.iter_mut().enumerate() {
            for edge in graph.out(from as u32) {
                row[edge.to as usize] = rels.iter().any(|rel| edge.rels.has(*rel));
            }
        }
        Relation(matrix)
    }

    fn combine(&self, cell: impl Fn(usize, usize) -> bool) -> Relation {
        let len = self.0.len();
        Relation((0..len).map(|from| (0..len).map(|to| cell(from, to)).collect()).collect())
    }

    fn or(&self, other: &Relation) -> Relation {
        self.combine(|from, to| self.0[from][to] || other.0[from][to])
    }

    fn then(&self, other: &Relation) -> Relation {
        self.combine(|from, to| (0..self.0.len()).any(|via| self.0[from][via] && other.0[via][to]))
    }

    fn is_cyclic(&self) -> bool {
        let mut closure = self.or(self);
        for _ in 0..self.0.len() {
            closure = closure.or(&closure.then(&closure));
        }
        (0..self.0.len()).any(|vertex| closure.0[vertex][vertex])
    }
}

// ---- serial orders

/// Lists or registers, as a state of keys and values.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Data {
    Lists,
    Registers,
}

type State = BTreeMap<u64, Json>;

impl Data {
    fn write_name(self) -> &'static str {
        if self == Data::Lists { "append" } else { "w" }
    }

    fn write(self, state: &mut State, key: u64, value: &Json) {
        if self == Data::Registers {
            state.insert(key, value.clone());
            return;
        }
        let list = state.entry(key).or_insert(json!([]));
        list.as_array_mut().unwrap().push(value.clone());
    }

    /// Whether a read shows the state. An empty list is as good as none.
    fn same(self, state: Option<&Json>, seen: &Json) -> bool {
        let empty = self == Data::Lists && *seen == json!([]);
        *state.unwrap_or(&Json::Null) == if empty { Json::Null } else { seen.clone() }
    }

    fn check(self, history: &History, model: &str) -> TxnResult {
        let models: [Model; 1] = [model.parse().unwrap()];
        if self == Data::Lists { list_append(history, &models) } else { rw_register(history, &models) }
    }
}

struct Op {
    steps: Json,
    known: bool,
    begin: usize,
    end: usize,
}

/// The transactions of a history that happened or may have.
fn ops(history: &History) -> Vec<Op> {
    let done = history.completed().filter(|(_, end)| end.kind != EventKind::Fail);
    done.map(|(begin, end)| {
        let known = end.kind == EventKind::Ok;
        let steps = end.value.to_json().into_owned();
        Op { steps, known, begin: begin.index, end: if known { end.index } else { usize::MAX } }
    })
    .collect()
}

/// Whether some order of all transactions that happened, and of some that may have, explains all reads: one
/// that agrees with time, if `strict`.
fn has_serial_order(data: Data, history: &History, strict: bool) -> bool {
    let ops = ops(history);
    let mut used = vec![false; ops.len()];
    place_next(data, &ops, strict, &mut used, &State::new())
}

fn place_next(data: Data, ops: &[Op], strict: bool, used: &mut [bool], state: &State) -> bool {
    if ops.iter().zip(&*used).all(|(op, used)| *used || !op.known) {
        return true;
    }
    (0..ops.len()).any(|next| {
        let waits = |other: &Op, used: &bool| !used && other.known && other.end < ops[next].begin;
        let early = strict && ops.iter().zip(&*used).any(|(other, used)| waits(other, used));
        if used[next] || early {
            return false;
        }
        let Some(after) = run(data, &ops[next], state) else { return false };
        used[next] = true;
        let found = place_next(data, ops, strict, used, &after);
        used[next] = false;
        found
    })
}

/// The state after the transaction; none if it read something else.
fn run(data: Data, op: &Op, state: &State) -> Option<State> {
    let mut state = state.clone();
    for step in op.steps.as_array().unwrap() {
        let (key, value) = (step[1].as_u64().unwrap(), &step[2]);
        if step[0] != "r" {
            data.write(&mut state, key, value);
        } else if op.known && !data.same(state.get(&key), value) {
            return None;
        }
    }
    Some(state)
}

/// Whether reads show every element that may have been appended.
fn is_fully_read(history: &History) -> bool {
    let mut seen = BTreeSet::new();
    let mut appended = BTreeSet::new();
    for op in ops(history) {
        for step in op.steps.as_array().unwrap() {
            let key = step[1].as_u64().unwrap();
            if step[0] == "r" {
                seen.extend(
                    step[2].as_array().into_iter().flatten().map(|item| (key, item.as_u64().unwrap())),
                );
            } else {
                appended.insert((key, step[2].as_u64().unwrap()));
            }
        }
    }
    appended.is_subset(&seen)
}

// ---- systems

/// How a simulated system gets transactions wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum System {
    /// Not at all.
    Right,
    /// Steps of transactions are interleaved.
    Interleaved,
    /// A transaction reads the state as it was some transactions ago, and then applies its writes.
    Stale,
    /// As `Stale`, but it writes whole keys back.
    Overwriting,
    /// Failed transactions leave their writes.
    Leaking,
    /// A reply may leave out a write that came before.
    Forgetful,
}

const SYSTEMS: [System; 6] = [
    System::Right,
    System::Interleaved,
    System::Stale,
    System::Overwriting,
    System::Leaking,
    System::Forgetful,
];

struct Simulation {
    rng: Pcg64,
    data: Data,
    system: System,
    history: History,
    states: Vec<State>,
    next_value: BTreeMap<u64, u64>,
}

/// A random history of `txns` transactions.
fn simulate(data: Data, system: System, seed: u64, txns: usize) -> History {
    let mut simulation = Simulation {
        rng: Pcg64::seed_from_u64(seed),
        data,
        system,
        history: History::default(),
        states: vec![State::new()],
        next_value: BTreeMap::new(),
    };
    simulation.run(txns);
    simulation.history
}

impl Simulation {
    fn run(&mut self, mut txns: usize) {
        let mut running: [Option<(Vec<Json>, usize)>; 3] = [None, None, None];
        let mut names = [0, 1, 2];
        while txns > 0 || running.iter().any(Option::is_some) {
            let slot = self.rng.random_range(0..running.len());
            match running[slot].take() {
                None if txns > 0 => {
                    txns -= 1;
                    let steps = self.request();
                    self.record(names[slot], EventKind::Invoke, &steps);
                    running[slot] = Some((steps, 0));
                }
                None => {}
                Some((mut steps, mut done)) => {
                    let at_once = if self.system == System::Interleaved { 1 } else { steps.len() };
                    if done < steps.len() {
                        self.execute(&mut steps[done..done + at_once]);
                        done += at_once;
                        running[slot] = Some((steps, done));
                    } else if self.finish(names[slot], steps) {
                        names[slot] += running.len();
                    }
                }
            }
        }
    }

    fn request(&mut self) -> Vec<Json> {
        let length = self.rng.random_range(1..4);
        (0..length).map(|_| self.request_step()).collect()
    }

    fn request_step(&mut self) -> Json {
        let key: u64 = self.rng.random_range(0..2);
        if self.rng.random_bool(0.5) {
            return json!(["r", key, null]);
        }
        let value = self.next_value.entry(key).or_default();
        *value += 1;
        json!([self.data.write_name(), key, *value])
    }

    /// Runs steps in one go. A transaction that leaks or is dropped is decided at its end.
    fn execute(&mut self, steps: &mut [Json]) {
        let last = self.states.len() - 1;
        let back = match self.system {
            System::Stale | System::Overwriting => self.rng.random_range(0..3).min(last),
            _ => 0,
        };
        let mut view = self.states[last - back].clone();
        let mut current = self.states[last].clone();
        for step in steps {
            let (key, value) = (step[1].as_u64().unwrap(), step[2].clone());
            if step[0] == "r" {
                let seen = view.get(&key).cloned().unwrap_or(Json::Null);
                step[2] = self.perhaps_forgotten(seen);
                continue;
            }
            self.data.write(&mut view, key, &value);
            match self.system {
                System::Overwriting => drop(current.insert(key, view[&key].clone())),
                _ => self.data.write(&mut current, key, &value),
            }
        }
        self.states.push(current);
    }

    fn perhaps_forgotten(&mut self, mut seen: Json) -> Json {
        if self.system == System::Forgetful && self.rng.random_bool(0.2) {
            match &mut seen {
                Json::Array(list) => drop(list.pop()),
                other => *other = Json::Null,
            }
        }
        seen
    }

    /// Records the end. Returns whether the process is lost.
    fn finish(&mut self, process: usize, mut steps: Vec<Json>) -> bool {
        let kind = match self.rng.random_range(0..10) {
            0 => EventKind::Info,
            1 if self.system == System::Leaking || steps.iter().all(|step| step[0] == "r") => EventKind::Fail,
            _ => EventKind::Ok,
        };
        if kind != EventKind::Ok {
            for step in steps.iter_mut().filter(|step| step[0] == "r") {
                step[2] = Json::Null;
            }
        }
        self.record(process, kind, &steps);
        kind == EventKind::Info
    }

    fn record(&mut self, process: usize, kind: EventKind, steps: &[Json]) {
        let time = Time::from_nanos(self.history.events().len() as u64 * 1_000_000);
        let value = OpValue::Json(Json::Array(steps.to_vec()));
        self.history.push(time, Process::Client(process), kind, "txn", value, None);
    }
}

// ---- the twins against the checkers

#[test]
fn right_systems_satisfy_every_model() {
    for seed in 0..1000 {
        for data in [Data::Lists, Data::Registers] {
            let history = simulate(data, System::Right, seed, 12);
            assert!(has_serial_order(data, &simulate(data, System::Right, seed, 5), true));
            for model in Model::all() {
                let verdict = data.check(&history, &model.to_string());
                let open = verdict.anomaly_types == ["empty-transaction-graph"];
                assert!(verdict.valid == Valid::True || open, "seed {seed}, {model}: {verdict:?}");
            }
        }
    }
}

#[test]
fn invalid_verdicts_mean_that_no_serial_order_exists() {
    let mut invalid = BTreeMap::new();
    for seed in 0..4000 {
        for data in [Data::Lists, Data::Registers] {
            let system = SYSTEMS[seed as usize % SYSTEMS.len()];
            let history = simulate(data, system, seed, 6);
            for (model, strict) in [("serializable", false), ("strict-serializable", true)] {
                let verdict = data.check(&history, model);
                if verdict.valid == Valid::False {
                    *invalid.entry(format!("{data:?} {model}")).or_insert(0) += 1;
                    let order = has_serial_order(data, &history, strict);
                    assert!(!order, "{data:?} {system:?} seed {seed}, {model}: {verdict:?}");
                }
            }
        }
    }
    assert!(invalid.len() == 4 && invalid.values().all(|count| *count > 300), "{invalid:?}");
}

#[test]
fn fully_read_lists_without_an_order_are_invalid() {
    let mut judged = 0;
    for seed in 0..12_000 {
        let history = simulate(Data::Lists, SYSTEMS[seed as usize % SYSTEMS.len()], seed, 6);
        if !is_fully_read(&history) {
            continue;
        }
        judged += 1;
        for (model, strict) in [("serializable", false), ("strict-serializable", true)] {
            let verdict = list_append(&history, &[model.parse().unwrap()]);
            let order = has_serial_order(Data::Lists, &history, strict);
            assert_eq!(verdict.valid == Valid::False, !order, "seed {seed}, {model}: {verdict:?}");
        }
    }
    assert!(judged > 500, "{judged}");
}

#[test]
fn stronger_models_never_judge_more_mildly() {
    for seed in 0..600 {
        for data in [Data::Lists, Data::Registers] {
            let history = simulate(data, SYSTEMS[seed as usize % SYSTEMS.len()], seed, 10);
            let chain = ["read-uncommitted", "read-committed", "snapshot-isolation", "serializable"];
            let chain = chain.into_iter().chain(["strong-session-serializable", "strict-serializable"]);
            let verdicts: Vec<bool> =
                chain.map(|model| data.check(&history, model).valid == Valid::False).collect();
            assert!(verdicts.is_sorted(), "{data:?} seed {seed}: {verdicts:?}");
        }
    }
}

#[test]
fn explanations_are_given_for_every_anomaly() {
    for seed in 0..600 {
        for data in [Data::Lists, Data::Registers] {
            let history = simulate(data, SYSTEMS[seed as usize % SYSTEMS.len()], seed, 10);
            let verdict = data.check(&history, "strict-serializable");
            assert_eq!(verdict.findings().len(), verdict.anomaly_types.len());
            for finding in verdict.findings() {
                let unexplained = finding.what.contains("depends on T");
                assert!(!unexplained, "{data:?} seed {seed}: {}", finding.what);
                assert!(finding.count > 0 && !finding.hint.is_empty());
                assert!(
                    finding.what.contains("T1 (") || finding.what.contains("No transaction"),
                    "{finding:?}"
                );
            }
        }
    }
}

#[test]
fn damaged_histories_are_judged_without_panic() {
    for seed in 0..3000 {
        let mut rng = Pcg64::seed_from_u64(seed);
        let data = if seed % 2 == 0 { Data::Lists } else { Data::Registers };
        let mut damaged = History::default();
        for event in simulate(data, SYSTEMS[seed as usize % SYSTEMS.len()], seed, 10).events() {
            let mut event = event.clone();
            match rng.random_range(0..30) {
                0 => continue,
                1 => event.kind = EventKind::Invoke,
                2 => event.kind = EventKind::Ok,
                3 => event.process = Process::Nemesis,
                4 => event.process = Process::Client(0),
                5 if seed % 5 == 0 => event.value = damage(&mut rng),
                6 if seed % 3 == 0 => {
                    event.value = simulate(data, System::Stale, seed, 1).events()[0].value.clone();
                }
                _ => {}
            }
            damaged.push(event.time, event.process, event.kind, event.f, event.value, event.error);
        }
        for model in ["read-uncommitted", "strong-session-serializable", "strict-serializable"] {
            let verdict = data.check(&damaged, model);
            assert_eq!(verdict.valid == Valid::True, verdict.findings().is_empty(), "seed {seed}");
            assert_eq!(verdict, data.check(&damaged, model), "seed {seed}");
            let _ = verdict.maelstrom_strict();
        }
    }
}

fn damage(rng: &mut Pcg64) -> OpValue {
    let values = [
        json!(null),
        json!({}),
        json!([[]]),
        json!([["r", 1]]),
        json!([["append", null, null], ["r", null, [null, null]]]),
        json!([["w", {"a": 1}, [2.5]], ["r", {"a": 1}, [2.5]]]),
        json!([["r", 0, "text"]]),
        json!([[1, 2, 3]]),
    ];
    match rng.random_range(0..values.len() + 2) {
        0 => OpValue::None,
        1 => OpValue::Int(3),
        other => OpValue::Json(values[other - 2].clone()),
    }
}
