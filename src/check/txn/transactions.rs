//! From a history's events to transactions: who ran what, between which events, and how it ended.
//!
//! Keys and values may be any JSON. Each pair of a key and a value written to or read from it becomes an
//! [`Item`], a small integer, so that everything behind this module is an index into a table.

use std::collections::HashMap;

use serde_json::Value as Json;

use crate::history::{Event, EventKind, History, Process};

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key(pub(super) u32);

/// A value of a key (an element, for lists): the same number means the same key and the same value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Item(pub(super) u32);

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It happened.
    Ok,
    /// Nobody knows: it ended so, or it never ended.
    Info,
    /// It did not happen.
    Fail,
}

/// One step of a transaction. `R` is what a read shows: a list of elements, or one value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum MicroOp<R> {
    /// A write, or an append.
    Write(Item),
    /// A read.
    Read(Key, R),
}

/// A transaction.
#[derive(Debug)]
pub(super) struct Txn<'h, R> {
    /// The event with which it began; missing if only its end is in the history.
    pub(super) begin: Option<&'h Event>,
    /// The event with which it ended, if it did.
    pub(super) end: Option<&'h Event>,
    /// How it ended.
    pub(super) outcome: Outcome,
    /// Its steps, with what is known of their results.
    pub(super) ops: Vec<MicroOp<R>>,
}

impl<'h, R> Txn<'h, R> {
    /// The event that says most about it.
    pub(super) fn event(&self) -> Option<&'h Event> {
        self.end.or(self.begin)
    }

    /// Who ran it.
    pub(super) fn process(&self) -> Option<Process> {
        self.event().map(|event| event.process)
    }

    /// The indices of its events.
    pub(super) fn events(&self) -> impl Iterator<Item = usize> {
        self.begin.into_iter().chain(self.end).map(|event| event.index)
    }

    /// Whether it happened, or may have.
    pub(super) fn is_possible(&self) -> bool {
        self.outcome != Outcome::Fail
    }

    /// What it wrote, in order.
    pub(super) fn writes(&self) -> impl Iterator<Item = Item> {
        self.ops.iter().filter_map(|op| match op {
            MicroOp::Write(item) => Some(*item),
            MicroOp::Read(..) => None,
        })
    }

    /// What it read, in order.
    pub(super) fn reads(&self) -> impl Iterator<Item = (Key, &R)> {
        self.ops.iter().filter_map(|op| match op {
            MicroOp::Write(_) => None,
            MicroOp::Read(key, seen) => Some((*key, seen)),
        })
    }
}

/// The numbers of keys and items, and what they stand for.
#[derive(Debug, Default)]
pub(super) struct Names<'h> {
    numbers: HashMap<i64, u32>,
    others: HashMap<&'h Json, u32>,
    values: Vec<&'h Json>,
    keys_of_values: HashMap<u32, Key>,
    keys: Vec<u32>,
    items_of_values: HashMap<(Key, u32), Item>,
    items: Vec<(Key, u32)>,
}

impl<'h> Names<'h> {
    /// The number of a key.
    pub(super) fn key(&mut self, key: &'h Json) -> Key {
        let value = self.value(key);
        let next = Key(self.keys.len() as u32);
        let key = *self.keys_of_values.entry(value).or_insert(next);
        if key == next {
            self.keys.push(value);
        }
        key
    }

    /// The number of a value of a key.
    pub(super) fn item(&mut self, key: Key, value: &'h Json) -> Item {
        let value = self.value(value);
        let next = Item(self.items.len() as u32);
        let item = *self.items_of_values.entry((key, value)).or_insert(next);
        if item == next {
            self.items.push((key, value));
        }
        item
    }

    fn value(&mut self, value: &'h Json) -> u32 {
        let next = self.values.len() as u32;
        let number = match value.as_i64() {
            Some(number) => *self.numbers.entry(number).or_insert(next),
            None => *self.others.entry(value).or_insert(next),
        };
        if number == next {
            self.values.push(value);
        }
        number
    }

    /// How many keys there are.
    pub(super) fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// How many items there are.
    pub(super) fn item_count(&self) -> usize {
        self.items.len()
    }

    /// The key of an item.
    pub(super) fn key_of(&self, item: Item) -> Key {
        self.items[item.0 as usize].0
    }

    /// The key as it stood in the history.
    pub(super) fn show_key(&self, key: Key) -> &'h Json {
        self.values[self.keys[key.0 as usize] as usize]
    }

    /// The item's value as it stood in the history.
    pub(super) fn show(&self, item: Item) -> &'h Json {
        self.values[self.items[item.0 as usize].1 as usize]
    }
}

/// What a workload's micro-operations look like.
pub(super) trait Shape {
    /// What a read shows.
    type Read;
    /// The name of the operation that writes.
    const WRITE: &'static str;
    /// What a read shows, in a word.
    const READ_IS: &'static str;
    /// Takes a read's result apart; none if it has the wrong shape.
    fn read<'h>(names: &mut Names<'h>, key: Key, seen: &'h Json) -> Option<Self::Read>;
}

/// All transactions of a history, in the order in which they ended; those without an end come last.
#[derive(Debug)]
pub(super) struct Transactions<'h, R> {
    /// The transactions.
    pub(super) all: Vec<Txn<'h, R>>,
    /// What their numbers stand for.
    pub(super) names: Names<'h>,
}

impl<'h, R> Transactions<'h, R> {
    /// Reads the clients' events.
    ///
    /// # Errors
    ///
    /// A sentence about the first event that is no transaction of this shape.
    pub(super) fn of<S: Shape<Read = R>>(history: &'h History) -> Result<Self, String> {
        let mut names = Names::default();
        let mut all = Vec::new();
        for (begin, end) in pairs(history) {
            all.push(txn::<S>(&mut names, begin, end)?);
        }
        Ok(Transactions { all, names })
    }

    /// For each item, the transaction among those `chosen` that wrote it last.
    pub(super) fn writers(&self, chosen: impl Fn(&Txn<'h, R>) -> bool) -> Vec<Option<u32>> {
        let mut writers = vec![None; self.names.item_count()];
        for (index, txn) in self.numbered().filter(|(_, txn)| chosen(txn)) {
            for item in txn.writes() {
                writers[item.0 as usize] = Some(index);
            }
        }
        writers
    }

    /// The transactions with their numbers.
    pub(super) fn numbered(&self) -> impl Iterator<Item = (u32, &Txn<'h, R>)> {
        (0..).zip(&self.all)
    }

    /// Those that happened, with their numbers.
    pub(super) fn ok(&self) -> impl Iterator<Item = (u32, &Txn<'h, R>)> {
        self.numbered().filter(|(_, txn)| txn.outcome == Outcome::Ok)
    }

    /// One of them.
    pub(super) fn at(&self, index: u32) -> &Txn<'h, R> {
        &self.all[index as usize]
    }
}

/// Invocations with their completions. An invocation that never completes, or that is followed by another of
/// the same process, has none; so has a completion whose process had nothing under way.
fn pairs(history: &History) -> Vec<(Option<&Event>, Option<&Event>)> {
    let mut open: HashMap<Process, &Event> = HashMap::new();
    let mut pairs = Vec::new();
    let mut endless = Vec::new();
    for event in history.by_clients() {
        if event.kind == EventKind::Invoke {
            endless.extend(open.insert(event.process, event));
        } else {
            pairs.push((open.remove(&event.process), Some(event)));
        }
    }
    endless.extend(open.into_values());
    endless.sort_unstable_by_key(|event| event.index);
    pairs.extend(endless.into_iter().map(|event| (Some(event), None)));
    pairs
}

fn txn<'h, S: Shape>(
    names: &mut Names<'h>,
    begin: Option<&'h Event>,
    end: Option<&'h Event>,
) -> Result<Txn<'h, S::Read>, String> {
    let outcome = match end.map(|event| event.kind) {
        Some(EventKind::Ok) => Outcome::Ok,
        Some(EventKind::Fail) => Outcome::Fail,
        _ => Outcome::Info,
    };
    // A failed or uncertain operation may come without a value: then the invocation says what was tried.
    let given = |event: &&Event| outcome == Outcome::Ok || event.value.is_given();
    let told = end.filter(given).or(begin.filter(given));
    let ops = told.map_or(Ok(Vec::new()), |event| micro_ops::<S>(names, event))?;
    Ok(Txn { begin, end, outcome, ops })
}

fn micro_ops<'h, S: Shape>(names: &mut Names<'h>, event: &'h Event) -> Result<Vec<MicroOp<S::Read>>, String> {
    let steps = event.value.steps().ok_or_else(|| complaint::<S>(event, "its value is no list"))?;
    steps.iter().map(|step| micro_op::<S>(names, step).map_err(|why| complaint::<S>(event, &why))).collect()
}

fn micro_op<'h, S: Shape>(names: &mut Names<'h>, step: &'h Json) -> Result<MicroOp<S::Read>, String> {
    let [f, key, value] = step.as_array().map_or(&[][..], Vec::as_slice) else {
        return Err(format!("{step} is no list of three"));
    };
    let key = names.key(key);
    match f.as_str() {
        Some("r") => S::read(names, key, value)
            .map(|seen| MicroOp::Read(key, seen))
            .ok_or_else(|| format!("in {step}, what was read is no {}", S::READ_IS)),
        Some(f) if f == S::WRITE => Ok(MicroOp::Write(names.item(key, value))),
        _ => Err(format!("{step} is neither \"r\" nor \"{}\"", S::WRITE)),
    }
}

fn complaint<S: Shape>(event: &Event, why: &str) -> String {
    format!(
        "event {} is no transaction of the form [[\"r\" or \"{}\", key, value], …]: {why}",
        event.index,
        S::WRITE
    )
}

/// Borrowing access to a value's steps.
trait Steps {
    fn steps(&self) -> Option<&Vec<Json>>;
    fn is_given(&self) -> bool;
}

impl Steps for crate::history::OpValue {
    fn steps(&self) -> Option<&Vec<Json>> {
        match self.to_json() {
            std::borrow::Cow::Borrowed(json) => json.as_array(),
            std::borrow::Cow::Owned(_) => None,
        }
    }

    fn is_given(&self) -> bool {
        !self.to_json().is_null()
    }
}

#[cfg(test)]
mod tests {
    use super::super::list_append::Lists;
    use super::*;
    use crate::history::OpValue;
    use crate::node::Time;
    use serde_json::json;

    fn history(events: &[(usize, EventKind, Json)]) -> History {
        let mut history = History::default();
        for (process, kind, value) in events {
            let value = OpValue::Json(value.clone());
            history.push(Time::ZERO, Process::Client(*process), *kind, "txn", value, None);
        }
        history
    }

    fn outcomes(events: &[(usize, EventKind, Json)]) -> Vec<Outcome> {
        let history = history(events);
        Transactions::of::<Lists>(&history).unwrap().all.iter().map(|txn| txn.outcome).collect()
    }

    #[test]
    fn second_invocation_leaves_the_first_uncertain() {
        let append = |n: u64| json!([["append", 1, n]]);
        let events = [
            (0, EventKind::Invoke, append(1)),
            (0, EventKind::Invoke, append(2)),
            (0, EventKind::Ok, append(2)),
        ];
        assert_eq!(outcomes(&events), [Outcome::Ok, Outcome::Info]);
    }

    #[test]
    fn completion_without_invocation_is_a_transaction() {
        assert_eq!(outcomes(&[(0, EventKind::Ok, json!([["r", 1, [1]]]))]), [Outcome::Ok]);
    }

    #[test]
    fn failure_without_a_value_keeps_what_was_tried() {
        let history =
            history(&[(0, EventKind::Invoke, json!([["append", 1, 7]])), (0, EventKind::Fail, Json::Null)]);
        let txns = Transactions::of::<Lists>(&history).unwrap();
        assert_eq!(txns.all[0].writes().count(), 1);
    }

    #[test]
    fn equal_json_has_one_number() {
        let mut names = Names::default();
        let (a, b, c) = (json!({"x": [1, 2.5]}), json!({"x": [1, 2.5]}), json!(1));
        let key = names.key(&a);
        assert_eq!(key, names.key(&b));
        assert_eq!(names.item(key, &c), names.item(key, &c));
        let other = names.key(&c);
        assert_ne!(names.item(key, &c), names.item(other, &c));
    }

    #[test]
    fn malformed_steps_are_named() {
        for steps in [json!(3), json!([3]), json!([["r", 1]]), json!([["cas", 1, 2]]), json!([["r", 1, 5]])] {
            let history = history(&[(0, EventKind::Invoke, steps.clone())]);
            let error = Transactions::of::<Lists>(&history).unwrap_err();
            assert!(error.starts_with("event 0 is no transaction"), "{error}");
        }
    }
}
