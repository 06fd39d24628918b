//! Simulated systems, right ones and ones with a planted mistake: on their histories the analysis agrees with
//! the naive one, finds every type of error, and does not blame what is right.

use std::collections::{BTreeMap, BTreeSet};

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde_json::{Map, Value as Json, json};

use crate::check::Valid;
use crate::check::kafka::tests::naive::{Summary, summary};
use crate::check::kafka::{Kafka, kafka};
use crate::history::{EventKind, History, OpValue, Process};
use crate::node::Time;

/// Seeds tried for each pair of mistakes: some thousand histories in all.
const SEEDS: u64 = 10;
/// Right histories tried.
const RIGHT_SEEDS: u64 = 1000;
/// Garbled histories tried.
const GARBLED_SEEDS: u64 = 3000;
/// Enough that no client falls behind to the end, though a poll may be short or without an answer.
const POLLS_AT_END: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mistake {
    None,
    /// Offsets have gaps.
    Sparse,
    /// An offset is handed out again.
    OffsetTwice,
    /// A later message gets a lower offset.
    OffsetBack,
    /// A message is stored twice.
    StoredTwice,
    /// A client sends what was sent before.
    SentAgain,
    /// A message is acknowledged and not stored.
    Lost,
    /// A message is stored, and the client is told that it was not.
    Aborted,
    /// The newest messages are never shown.
    Hidden,
    /// A poll leaves out what it should begin with.
    Skip,
    /// A poll leaves out something in between.
    Hole,
    /// A poll begins before the position asked for.
    Back,
    /// A poll is out of order.
    Shuffled,
    /// A poll shows something that was never sent.
    MadeUp,
    /// A poll shows what will be sent next.
    Guessed,
    /// Operations send and poll at once, see each other's messages too early, and get offsets out of order.
    Transactions,
}

const MISTAKES: [Mistake; 16] = [
    Mistake::None,
    Mistake::Sparse,
    Mistake::OffsetTwice,
    Mistake::OffsetBack,
    Mistake::StoredTwice,
    Mistake::SentAgain,
    Mistake::Lost,
    Mistake::Aborted,
    Mistake::Hidden,
    Mistake::Skip,
    Mistake::Hole,
    Mistake::Back,
    Mistake::Shuffled,
    Mistake::MadeUp,
    Mistake::Guessed,
    Mistake::Transactions,
];

struct System {
    random: Pcg64Mcg,
    mistakes: Vec<Mistake>,
    history: History,
    time: u64,
    keys: usize,
    logs: Vec<BTreeMap<u64, Vec<i64>>>,
    sent: Vec<i64>,
    clients: Vec<Client>,
    processes: usize,
}

struct Client {
    process: usize,
    /// Keys assigned, with the next offset to read.
    positions: BTreeMap<usize, u64>,
    open: Option<Open>,
}

/// An operation that began: how it will end, its function, its value, and its sends with their offsets.
struct Open {
    kind: EventKind,
    f: &'static str,
    value: Json,
    sends: BTreeMap<usize, (usize, Option<u64>, i64)>,
}

impl System {
    fn run(mistakes: &[Mistake], seed: u64) -> History {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let (keys, processes) = (random.random_range(1..=3), random.random_range(1..=5));
        let client = |process| Client { process, positions: BTreeMap::new(), open: None };
        let mut system = System {
            random,
            mistakes: mistakes.to_vec(),
            history: History::default(),
            time: 0,
            keys,
            logs: vec![BTreeMap::new(); keys],
            sent: vec![0; keys],
            clients: (0..processes).map(client).collect(),
            processes,
        };
        for _ in 0..system.random.random_range(1..110) {
            let at = system.random.random_range(0..processes);
            system.step(at);
        }
        system.finish();
        system.history
    }

    /// All end what they do, read everything from the beginning, and some never get an answer.
    fn finish(&mut self) {
        for at in 0..self.clients.len() {
            if self.clients[at].open.is_some() && self.random.random_bool(0.9) {
                self.step(at);
            }
            self.renew(at);
            let keys: Vec<usize> = (0..self.keys).collect();
            for _ in 0..POLLS_AT_END {
                if self.clients[at].positions.is_empty() {
                    self.assign(at, &keys);
                }
                self.begin(at, "poll", json!([["poll"]]), BTreeMap::new());
                self.complete(at);
            }
        }
    }

    fn renew(&mut self, at: usize) {
        self.clients[at] = Client { process: self.processes, positions: BTreeMap::new(), open: None };
        self.processes += 1;
    }

    fn errs(&mut self, mistake: Mistake) -> bool {
        self.has(mistake) && self.random.random_bool(0.25)
    }

    fn has(&self, mistake: Mistake) -> bool {
        self.mistakes.contains(&mistake)
    }

    fn step(&mut self, at: usize) {
        if self.clients[at].open.is_some() {
            return self.complete(at);
        }
        match self.random.random_range(0..10) {
            0 => {
                let all: Vec<usize> = (0..self.keys).collect();
                let some = self.random.random_range(1..=self.keys);
                let keys: Vec<usize> = all.sample(&mut self.random, some).copied().collect();
                self.assign(at, &keys);
            }
            1..5 => self.begin(at, "poll", json!([["poll"]]), BTreeMap::new()),
            _ => self.begin_sends(at),
        }
    }

    fn assign(&mut self, at: usize, keys: &[usize]) {
        let names: Vec<String> = keys.iter().map(usize::to_string).collect();
        self.begin(at, "assign", json!(names), BTreeMap::new());
        let ends = self.clients[at].open.as_ref().map(|open| open.kind);
        if ends == Some(EventKind::Ok) {
            let former = std::mem::take(&mut self.clients[at].positions);
            let position = |key: &usize| (*key, former.get(key).copied().unwrap_or(0));
            self.clients[at].positions = keys.iter().map(position).collect();
        }
        self.complete(at);
    }

    fn begin_sends(&mut self, at: usize) {
        let transaction = self.has(Mistake::Transactions);
        let fails = !transaction && self.random.random_bool(0.05);
        let steps = if transaction { self.random.random_range(1..4) } else { 1 };
        let (mut sends, mut value) = (BTreeMap::new(), Vec::new());
        for step in 0..steps {
            if transaction && self.random.random_bool(0.5) {
                value.push(json!(["poll"]));
                continue;
            }
            let key = self.random.random_range(0..self.keys);
            if !self.errs(Mistake::SentAgain) {
                self.sent[key] += 1;
            }
            let message = self.sent[key];
            value.push(json!(["send", key.to_string(), message]));
            if !fails || self.has(Mistake::Aborted) {
                sends.insert(step, (key, self.store(key, message), message));
            }
        }
        self.begin(at, if transaction { "txn" } else { "send" }, value.into(), sends);
        if let Some(open) = self.clients[at].open.as_mut().filter(|_| fails) {
            open.kind = EventKind::Fail;
        }
    }

    /// Stores a message; returns the offset that the client will be told.
    fn store(&mut self, key: usize, message: i64) -> Option<u64> {
        let next = self.logs[key].keys().next_back().map_or(0, |last| last + 1);
        let gap = if self.errs(Mistake::Sparse) { 1 << self.random.random_range(0..50) } else { 0 };
        let mut offset = next + gap;
        let moves = self.has(Mistake::OffsetBack) || self.has(Mistake::Transactions);
        if self.errs(Mistake::OffsetTwice) || moves && self.random.random_bool(0.25) {
            offset = offset.saturating_sub(self.random.random_range(1..4));
        }
        if self.errs(Mistake::Lost) {
            return Some(offset);
        }
        if moves && self.logs[key].contains_key(&offset) {
            let later = self.logs[key].split_off(&offset);
            self.logs[key].extend(later.into_iter().map(|(offset, messages)| (offset + 1, messages)));
        }
        self.logs[key].entry(offset).or_default().push(message);
        if self.errs(Mistake::StoredTwice) {
            self.logs[key].insert(offset + 1, vec![message]);
        }
        Some(offset)
    }

    fn begin(
        &mut self,
        at: usize,
        f: &'static str,
        value: Json,
        sends: BTreeMap<usize, (usize, Option<u64>, i64)>,
    ) {
        self.event(at, EventKind::Invoke, f, value.clone());
        // Sends that fail are decided on elsewhere, before they are stored.
        let kind = match self.random.random_range(0..20) {
            0 => EventKind::Info,
            1 if f == "assign" || f == "poll" => EventKind::Fail,
            _ => EventKind::Ok,
        };
        self.clients[at].open = Some(Open { kind, f, value, sends });
    }

    fn complete(&mut self, at: usize) {
        let Some(Open { kind, f, mut value, sends }) = self.clients[at].open.take() else { return };
        // Whoever does not know the outcome may know the answer all the same.
        if kind == EventKind::Ok || kind == EventKind::Info && self.random.random_bool(0.3) {
            for (step, part) in value.as_array_mut().into_iter().flatten().enumerate() {
                if part[0] == "poll" {
                    *part = json!(["poll", self.shown(at)]);
                } else if let Some((_, offset, message)) = sends.get(&step) {
                    part[2] = json!([offset, message]);
                }
            }
        }
        self.event(at, kind, f, value);
        if kind == EventKind::Info {
            self.renew(at);
        }
    }

    fn shown(&mut self, at: usize) -> Json {
        let mut shown = Map::new();
        for (key, position) in self.clients[at].positions.clone() {
            let messages = self.shown_of(key, position);
            if let Some(next) = messages.iter().map(|message| message.0 + 1).max() {
                self.clients[at].positions.insert(key, next.max(position));
            }
            if !messages.is_empty() || self.random.random_bool(0.1) {
                shown.insert(key.to_string(), json!(messages));
            }
        }
        shown.into()
    }

    fn shown_of(&mut self, key: usize, position: u64) -> Vec<(u64, i64)> {
        let from = if self.errs(Mistake::Back) { position.saturating_sub(2) } else { position };
        let mut messages = Vec::new();
        for (&offset, there) in self.logs[key].range(from..) {
            messages.extend(there.choose(&mut self.random).map(|&message| (offset, message)));
        }
        if self.random.random_bool(0.2) {
            messages.truncate(self.random.random_range(1..5));
        }
        if self.has(Mistake::Hidden) {
            messages.retain(|message| message.1 < 5);
        }
        if self.errs(Mistake::Skip) && messages.len() > 1 {
            messages.remove(0);
        }
        if self.errs(Mistake::Hole) && messages.len() > 2 {
            messages.remove(1);
        }
        if self.errs(Mistake::Shuffled) {
            messages.shuffle(&mut self.random);
        }
        let last = messages.last().map_or(position, |message| message.0 + 1);
        if self.errs(Mistake::MadeUp) {
            messages.push((last, -1));
        }
        if self.errs(Mistake::Guessed) {
            messages.push((last, self.sent[key] + 1));
        }
        messages
    }

    fn event(&mut self, at: usize, kind: EventKind, f: &'static str, value: Json) {
        self.time += self.random.random_range(1..1_000_000);
        let process = Process::Client(self.clients[at].process);
        self.history.push(Time::from_nanos(self.time), process, kind, f, OpValue::Json(value), None);
    }
}

/// What the verdict says of what the naive analysis counts.
fn said(verdict: &Kafka) -> Summary {
    let counts = verdict.errors.counts().into_iter().filter(|&(_, count)| count > 0);
    Summary {
        counts: counts.map(|(name, count)| (name.to_owned(), count)).collect(),
        unseen: verdict.errors.unseen.as_ref().map(|unseen| unseen.unseen.clone()).unwrap_or_default(),
        lag: (verdict.worst_realtime_lag.lag * 1e9).round() as u64,
    }
}

/// Each mistake alone and with each other.
fn systems() -> impl Iterator<Item = ([Mistake; 2], u64)> {
    let pairs = MISTAKES.into_iter().flat_map(|one| MISTAKES.map(|other| [one, other]));
    pairs.flat_map(|mistakes| (0..SEEDS).map(move |seed| (mistakes, seed)))
}

#[test]
fn analysis_agrees_with_the_naive_one() {
    let mut found: BTreeSet<&str> = BTreeSet::new();
    for (mistakes, seed) in systems() {
        let history = System::run(&mistakes, seed);
        let verdict = kafka(&history);
        assert_eq!(said(&verdict), summary(&history), "{mistakes:?}, seed {seed}");
        found.extend(&verdict.error_types);
    }
    let mut possible = error_types();
    possible.remove("malformed");
    assert_eq!(found, possible);
}

/// All types of errors that there are.
fn error_types() -> BTreeSet<&'static str> {
    let counts = kafka(&History::default()).errors.counts();
    counts.into_iter().map(|(name, _)| name).chain(["unseen"]).collect()
}

#[test]
fn right_systems_are_never_blamed() {
    for seed in 0..RIGHT_SEEDS {
        let verdict = kafka(&System::run(&[Mistake::Sparse], seed));
        assert_eq!(verdict.valid, Valid::True, "seed {seed}: {:?}", verdict.findings());
    }
}

#[test]
fn findings_name_every_bad_type_and_real_events() {
    for (mistakes, seed) in systems() {
        let history = System::run(&mistakes, seed);
        let verdict = kafka(&history);
        let told = |name: &&&str| !name.ends_with("-cycle-exists");
        let (bad, findings) = (verdict.bad_error_types.iter().filter(told), verdict.findings());
        assert_eq!(bad.count(), findings.len(), "{mistakes:?}, seed {seed}");
        for finding in findings {
            assert!(!finding.events.is_empty() && finding.count > 0, "{finding:?}");
            assert!(finding.events.iter().all(|&event| event < history.events().len()), "{finding:?}");
        }
    }
}

/// Histories of a system with events left out, doubled, moved and garbled.
#[test]
fn garbled_histories_are_judged_without_panic() {
    for seed in 0..GARBLED_SEEDS {
        let whole = System::run(&[MISTAKES[seed as usize % MISTAKES.len()]], seed);
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let mut events = whole.events().to_vec();
        for _ in 0..random.random_range(1..8) {
            let at = random.random_range(0..events.len());
            match random.random_range(0..5) {
                0 => drop(events.remove(at)),
                1 => events.insert(at, events[at].clone()),
                2 => events.swap(at, whole.events().len() / 2),
                3 => events[at].value = OpValue::Json(nonsense(&mut random, 4)),
                _ => events[at].kind = EventKind::Info,
            }
            events.resize(whole.events().len(), whole.events()[0].clone());
        }
        let mut garbled = History::default();
        for event in events {
            garbled.push(event.time, event.process, event.kind, event.f, event.value, event.error);
        }
        let verdict = kafka(&garbled);
        assert!(serde_json::to_value(&verdict).is_ok());
        assert_eq!(verdict.findings().is_empty(), verdict.bad_error_types.is_empty(), "seed {seed}");
    }
}

fn nonsense(random: &mut Pcg64Mcg, depth: u32) -> Json {
    let words =
        [json!("send"), json!("poll"), json!("0"), json!(null), json!(-1), json!(0.5), json!(u64::MAX)];
    let others = [json!([]), json!({}), json!(["send", "0"]), json!([["poll", {"0": [[0, 1, 2], [0], 7]}]])];
    match random.random_range(0..4) {
        0 if depth > 0 => (0..3).map(|_| nonsense(random, depth - 1)).collect(),
        1 if depth > 0 => json!({"0": nonsense(random, depth - 1), "x": nonsense(random, depth - 1)}),
        2 => others.choose(random).cloned().unwrap_or_default(),
        _ => words.choose(random).cloned().unwrap_or_default(),
    }
}
