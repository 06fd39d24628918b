//! The analysis again, straight from the definitions, with no thought of time: the oracle of the real one.
//!
//! It knows only histories as simulated systems write them: nothing is malformed, and messages are integers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::check::kafka::set_order;
use crate::history::{EventKind, History, Process};

type Messages = Vec<(u64, i64)>;

/// An operation that began, and may have ended.
struct Op {
    process: Process,
    kind: EventKind,
    f: String,
    begin: usize,
    end: Option<usize>,
    times: [u64; 2],
    assigned: BTreeSet<String>,
    sends: Vec<(String, Option<u64>, i64)>,
    polls: BTreeMap<String, Messages>,
}

/// What there is to compare.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Summary {
    pub(super) counts: BTreeMap<String, usize>,
    pub(super) unseen: BTreeMap<String, usize>,
    pub(super) lag: u64,
}

struct Naive {
    ops: Vec<Op>,
}

pub(super) fn summary(history: &History) -> Summary {
    let naive = Naive { ops: read(history) };
    let mut counts = BTreeMap::new();
    for key in naive.keys() {
        naive.count_marks(&key, &mut counts);
        naive.count_polls(&key, &mut counts);
        naive.count_sends(&key, &mut counts);
    }
    naive.count_precommitted(&mut counts);
    naive.count_cycles(&mut counts);
    counts.retain(|_, count| *count > 0);
    Summary { counts, unseen: naive.unseen(), lag: naive.lag() }
}

fn read(history: &History) -> Vec<Op> {
    let mut ops: Vec<Op> = Vec::new();
    for event in history.events() {
        let value = event.value.to_json();
        if event.kind == EventKind::Invoke {
            let mut op = Op {
                process: event.process,
                kind: EventKind::Info,
                f: event.f.to_string(),
                begin: event.index,
                end: None,
                times: [event.time.as_nanos(), u64::MAX],
                assigned: BTreeSet::new(),
                sends: Vec::new(),
                polls: BTreeMap::new(),
            };
            op.take(&value);
            ops.push(op);
        } else {
            let open = |op: &&mut Op| op.process == event.process && op.end.is_none();
            let op = ops.iter_mut().find(open).unwrap();
            (op.kind, op.end, op.times[1]) = (event.kind, Some(event.index), event.time.as_nanos());
            op.take(&value);
        }
    }
    ops.sort_by_key(|op| (op.end.unwrap_or(usize::MAX), op.begin));
    ops
}

impl Op {
    fn take(&mut self, value: &Json) {
        (self.sends, self.polls) = (Vec::new(), BTreeMap::new());
        for part in value.as_array().unwrap() {
            match part[0].as_str() {
                None | Some("") => {}
                Some("send") => {
                    let (offset, value) = part[2]
                        .as_i64()
                        .map_or((part[2][0].as_u64(), part[2][1].as_i64()), |v| (None, Some(v)));
                    self.sends.push((part[1].as_str().unwrap().into(), offset, value.unwrap()));
                }
                Some("poll") => {
                    for (key, messages) in part.get(1).and_then(Json::as_object).into_iter().flatten() {
                        let pair = |pair: &Json| (pair[0].as_u64().unwrap(), pair[1].as_i64().unwrap());
                        let messages = messages.as_array().unwrap().iter().map(pair);
                        self.polls.entry(key.clone()).or_default().extend(messages);
                    }
                }
                Some(other) => panic!("{other}"),
            }
        }
        if self.f == "assign" {
            self.assigned =
                value.as_array().unwrap().iter().map(|key| key.as_str().unwrap().into()).collect();
        }
    }

    fn sends(&self, key: &str) -> Vec<i64> {
        self.sends.iter().filter(|send| send.0 == key).map(|send| send.2).collect()
    }

    fn polls(&self, key: &str) -> Vec<i64> {
        self.polls.get(key).into_iter().flatten().map(|message| message.1).collect()
    }

    fn ok(&self) -> bool {
        self.kind == EventKind::Ok
    }

    /// Whether it makes its process forget where it was with a key.
    fn drops(&self, key: &str) -> bool {
        let happened = self.kind != EventKind::Fail && self.end.is_some();
        self.f == "assign" && happened && !self.assigned.contains(key)
    }

    /// The highest offset of a key that it shows.
    fn highest(&self, key: &str) -> Option<u64> {
        let polled = self.polls.get(key).into_iter().flatten().map(|message| Some(message.0));
        let sent = self.sends.iter().filter(|send| send.0 == key).map(|send| send.1);
        polled.chain(sent).max().flatten()
    }
}

impl Naive {
    fn keys(&self) -> BTreeSet<String> {
        let sent = self.ops.iter().flat_map(|op| op.sends.iter().map(|send| send.0.clone()));
        sent.chain(self.ops.iter().flat_map(|op| op.polls.keys().cloned())).collect()
    }

    fn polled_ok(&self, key: &str, value: i64) -> bool {
        self.ops.iter().any(|op| op.ok() && op.polls(key).contains(&value))
    }

    fn committed(&self, op: &Op) -> bool {
        op.ok() || op.kind == EventKind::Info && op.sends.iter().any(|send| self.polled_ok(&send.0, send.2))
    }

    fn log(&self, key: &str) -> Vec<(u64, Vec<i64>)> {
        let mut log: BTreeMap<u64, BTreeSet<i64>> = BTreeMap::new();
        for op in &self.ops {
            for (_, offset, value) in op.sends.iter().filter(|send| send.0 == key && self.committed(op)) {
                if let Some(offset) = offset {
                    log.entry(*offset).or_default().insert(*value);
                }
            }
            for (offset, value) in op.polls.get(key).into_iter().flatten() {
                log.entry(*offset).or_default().insert(*value);
            }
        }
        let sorted = |values: BTreeSet<i64>| {
            let mut values: Vec<i64> = values.into_iter().collect();
            values.sort_by_key(|&value| set_order::rank(&value.into()));
            values
        };
        log.into_iter().map(|(offset, values)| (offset, sorted(values))).collect()
    }

    fn writer(&self, key: &str, value: i64) -> Option<usize> {
        let wrote = |op: &Op| op.sends(key).contains(&value);
        let ended = self.ops.iter().rposition(|op| wrote(op) && op.end.is_some());
        ended.or_else(|| self.ops.iter().position(wrote))
    }

    fn count_marks(&self, key: &str, counts: &mut BTreeMap<String, usize>) {
        let mut count = |name: &str, found: usize| *counts.entry(name.into()).or_default() += found;
        let log = self.log(key);
        let at =
            |value: i64| (0..log.len()).filter(|&index| log[index].1.contains(&value)).collect::<Vec<_>>();
        let values: BTreeSet<i64> =
            self.ops.iter().flat_map(|op| [op.sends(key), op.polls(key)].concat()).collect();
        let ok_polled = values.iter().copied().filter(|&value| self.polled_ok(key, value));
        let bound = ok_polled.filter_map(|value| at(value).first().copied()).max();
        for &value in &values {
            let indices = at(value);
            count("duplicate", usize::from(indices.len() > 1));
            let polled = self.ops.iter().any(|op| op.polls(key).contains(&value));
            let writer = self.writer(key, value);
            count("phantom", usize::from(polled && writer.is_none()));
            let due = indices.last().is_some_and(|&last| Some(last) <= bound);
            let lost = due && !self.polled_ok(key, value);
            let committed = writer.is_some_and(|writer| self.committed(&self.ops[writer]));
            count("lost-write", usize::from(lost && committed));
            let failed = |op: &Op| op.kind == EventKind::Fail && op.sends(key).contains(&value);
            if self.ops.iter().any(failed) {
                let shown = |op: &Op| op.polls(key).iter().filter(|&&polled| polled == value).count();
                count("G1a", self.ops.iter().filter(|op| op.ok()).map(shown).sum());
            }
        }
        count("inconsistent-offsets", log.iter().filter(|slot| slot.1.len() > 1).count());
    }

    /// From one message to another, in indices; 1 if it is not known.
    fn delta(log: &[(u64, Vec<i64>)], from: Option<&i64>, to: Option<&i64>) -> i64 {
        let index = |value: &i64| log.iter().rposition(|slot| slot.1[0] == *value);
        match (from.and_then(index), to.and_then(index)) {
            (Some(from), Some(to)) => to as i64 - from as i64,
            _ => 1,
        }
    }

    fn count_polls(&self, key: &str, counts: &mut BTreeMap<String, usize>) {
        let mut count =
            |name: &str, found: bool| *counts.entry(name.into()).or_default() += usize::from(found);
        let log = self.log(key);
        for (id, op) in self.ops.iter().enumerate().filter(|(_, op)| op.polls.contains_key(key)) {
            let polled = op.polls(key);
            for pair in polled.windows(2) {
                let delta = Self::delta(&log, Some(&pair[0]), Some(&pair[1]));
                count("int-poll-skip", delta > 1);
                count("int-nonmonotonic-poll", delta < 1);
            }
            let mut before = self.ops[..id].iter().filter(|former| former.process == op.process).rev();
            let relevant = |op: &&Op| op.drops(key) || op.ok() && op.polls.contains_key(key);
            if let Some(former) = before.find(relevant).filter(|former| !former.drops(key)) {
                let delta = Self::delta(&log, former.polls(key).last(), polled.first());
                count("poll-skip", delta > 1);
                count("nonmonotonic-poll", delta < 1);
            }
        }
    }

    fn count_sends(&self, key: &str, counts: &mut BTreeMap<String, usize>) {
        let mut count =
            |name: &str, found: bool| *counts.entry(name.into()).or_default() += usize::from(found);
        let log = self.log(key);
        for (id, op) in self.ops.iter().enumerate().filter(|(_, op)| !op.sends(key).is_empty()) {
            let sent = op.sends(key);
            for pair in sent.windows(2) {
                let delta = Self::delta(&log, Some(&pair[0]), Some(&pair[1]));
                count("int-send-skip", delta > 1);
                count("int-nonmonotonic-send", delta < 1);
            }
            let mut before = self.ops[..id].iter().filter(|former| former.process == op.process).rev();
            let sends = |op: &Op| op.kind != EventKind::Fail && !op.sends(key).is_empty();
            let former = before.find(|op| op.drops(key) || sends(op)).filter(|former| !former.drops(key));
            if let Some(former) = former.filter(|_| op.kind != EventKind::Fail) {
                count("nonmonotonic-send", Self::delta(&log, former.sends(key).last(), sent.first()) < 1);
            }
        }
    }

    fn count_precommitted(&self, counts: &mut BTreeMap<String, usize>) {
        let own = |op: &&Op| op.sends.iter().any(|(key, _, value)| op.polls(key).contains(value));
        counts.insert("precommitted-read".into(), self.ops.iter().filter(own).count());
    }

    /// Components of more than one operation in the whole relation, by closing it transitively.
    fn count_cycles(&self, counts: &mut BTreeMap<String, usize>) {
        let ops = self.ops.len();
        let mut messages = vec![vec![false; ops]; ops];
        for (poller, op) in self.ops.iter().enumerate() {
            for (key, polled) in &op.polls {
                for writer in polled.iter().filter_map(|&(_, value)| self.writer(key, value)) {
                    messages[writer][poller] |= writer != poller;
                }
            }
        }
        let mut all = messages.clone();
        for (a, first) in self.ops.iter().enumerate().filter(|(_, op)| op.ok() && op.f != "assign") {
            for (b, second) in self.ops.iter().enumerate().filter(|(_, op)| op.f != "assign") {
                all[a][b] |= first.end.is_some_and(|end| end < second.begin);
            }
        }
        let (inner, outer) = (components(messages), components(all));
        let by_messages = |outer: &&BTreeSet<usize>| inner.iter().any(|inner| inner.is_subset(outer));
        let g1c = outer.iter().filter(by_messages).count();
        for (name, count) in [("G1c", g1c), ("PL-2-cycle-exists", g1c)] {
            counts.insert(name.into(), count);
        }
        for name in ["G1c-realtime", "strong-PL-2-cycle-exists"] {
            counts.insert(name.into(), outer.len() - g1c);
        }
    }

    fn unseen(&self) -> BTreeMap<String, usize> {
        let mut unseen: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
        for (key, _, value) in self.ops.iter().filter(|op| op.ok()).flat_map(|op| &op.sends) {
            if !self.polled_ok(key, *value) {
                unseen.entry(key.clone()).or_default().insert(*value);
            }
        }
        unseen.into_iter().map(|(key, values)| (key, values.len())).collect()
    }

    fn lag(&self) -> u64 {
        let polls =
            self.ops.iter().enumerate().filter(|(_, op)| op.ok() && (op.f == "poll" || op.f == "txn"));
        let lags = polls.flat_map(|(id, op)| self.keys().into_iter().map(move |key| (id, op, key)));
        lags.map(|(id, op, key)| self.lag_of(id, op, &key)).max().unwrap_or(0)
    }

    fn lag_of(&self, id: usize, op: &Op, key: &str) -> u64 {
        let own = |earlier: &&Op| earlier.process == op.process && earlier.ok();
        let since = self.ops[..id].iter().rposition(|earlier| own(&earlier) && earlier.drops(key));
        let kept: Vec<&Op> = self.ops[since.map_or(0, |at| at + 1)..=id].iter().filter(own).collect();
        let concerned = |op: &&Op| op.assigned.contains(key) || op.polls.contains_key(key);
        let polling = |op: &&&Op| op.f == "poll" || op.f == "txn";
        let seen = kept.iter().filter(polling).filter_map(|op| op.highest(key)).max();
        let sent = kept.iter().filter(polling).any(|op| !op.sends(key).is_empty());
        if !sent && !kept.iter().any(concerned) {
            return 0;
        }
        let shows_more = |op: &&Op| op.end.is_some() && op.kind != EventKind::Fail && op.highest(key) > seen;
        let known = self.ops.iter().find(shows_more).map_or(u64::MAX, |op| op.times[1]);
        op.times[0].saturating_sub(known)
    }
}

/// Sets of more than one node that reach each other.
fn components(mut reaches: Vec<Vec<bool>>) -> BTreeSet<BTreeSet<usize>> {
    let nodes = reaches.len();
    for via in 0..nodes {
        let onward = reaches[via].clone();
        for row in reaches.iter_mut().filter(|row| row[via]) {
            row.iter_mut().zip(&onward).for_each(|(reached, &on)| *reached |= on);
        }
    }
    let component = |a: usize| (0..nodes).filter(|&b| a == b || reaches[a][b] && reaches[b][a]).collect();
    (0..nodes).map(component).filter(|component: &BTreeSet<usize>| component.len() > 1).collect()
}
