//! Anomalies that show without a graph of transactions, for lists and registers alike, and their wording.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use super::anomalies::{FUTURE_READ, INTERNAL, LOST_UPDATE};
use super::list_append::Seen;
use super::report::Report;
use super::transactions::{Item, Key, MicroOp, Transactions, Txn};
use super::words::Words;

/// Reports transactions over lists that contradict themselves (`internal`) or read what they append only
/// later (`future-read`); for each transaction the first instance.
pub(super) fn lists(txns: &Transactions<'_, Seen>, report: &mut Report<'_>) {
    for (index, txn) in txns.ok() {
        if let Some((key, expected)) = list_contradiction(txns, txn) {
            report.add(INTERNAL, &[index], || contradiction(txns, index, key, &expected));
        }
        let mut read: HashSet<Item> = HashSet::new();
        for op in &txn.ops {
            match op {
                MicroOp::Read(_, seen) => read.extend(seen.as_deref().unwrap_or_default()),
                MicroOp::Write(item) if read.contains(item) => {
                    report.add(FUTURE_READ, &[index], || from_the_future(txns, index, *item));
                    break;
                }
                MicroOp::Write(_) => {}
            }
        }
    }
}

/// What a transaction knows of a list: its end, or all of it.
struct Expected {
    whole: bool,
    end: Vec<Item>,
}

/// The first read that does not show what the transaction itself read or appended before. A read of `null`
/// promises nothing to a read behind it, as with Elle, and an empty list to an append behind it.
fn list_contradiction(txns: &Transactions<'_, Seen>, txn: &Txn<'_, Seen>) -> Option<(Key, String)> {
    let mut states: HashMap<Key, Option<Expected>> = HashMap::new();
    for op in &txn.ops {
        match op {
            MicroOp::Write(item) => {
                let unknown = || Some(Expected { whole: false, end: Vec::new() });
                let state = states.entry(txns.names.key_of(*item)).or_insert_with(unknown);
                state.get_or_insert(Expected { whole: true, end: Vec::new() }).end.push(*item);
            }
            MicroOp::Read(key, seen) => {
                if let Some(Some(expected)) = states.get(key).filter(|state| !agrees(state, seen)) {
                    return Some((*key, show_expected(txns, expected)));
                }
                let known = seen.as_ref().map(|seen| Expected { whole: true, end: seen.to_vec() });
                states.insert(*key, known);
            }
        }
    }
    None
}

fn agrees(state: &Option<Expected>, seen: &Seen) -> bool {
    match (state, seen) {
        (None, _) => true,
        // Elle tells null from the empty list here.
        (Some(expected), None) => !expected.whole && expected.end.is_empty(),
        (Some(expected), Some(seen)) if expected.whole => expected.end[..] == seen[..],
        (Some(expected), Some(seen)) => seen.ends_with(&expected.end),
    }
}

fn show_expected(txns: &Transactions<'_, Seen>, expected: &Expected) -> String {
    let elements: Vec<String> = expected.end.iter().map(|item| txns.names.show(*item).to_string()).collect();
    let list = format!("[{}]", elements.join(","));
    if expected.whole { list } else { format!("a list ending in {list}") }
}

/// Reports transactions over registers that contradict themselves. A read of `null` promises nothing, as with
/// Elle.
pub(super) fn registers(txns: &Transactions<'_, Item>, report: &mut Report<'_>) {
    for (index, txn) in txns.ok() {
        let mut states: HashMap<Key, Item> = HashMap::new();
        for op in &txn.ops {
            let (key, item) = match op {
                MicroOp::Write(item) => (txns.names.key_of(*item), *item),
                MicroOp::Read(key, item) => (*key, *item),
            };
            let known = states.insert(key, item).filter(|known| !txns.names.show(*known).is_null());
            let Some(known) = known.filter(|known| *known != item && matches!(op, MicroOp::Read(..))) else {
                continue;
            };
            report.add(INTERNAL, &[index], || {
                contradiction(txns, index, key, &txns.names.show(known).to_string())
            });
            break;
        }
    }
}

fn contradiction<R>(txns: &Transactions<'_, R>, index: u32, key: Key, expected: &str) -> String {
    let (txn, key) = (Words::of(txns).introduce(index), txns.names.show_key(key));
    format!(
        "{txn} contradicts itself: after what it had itself read from and written to key {key}, its next read of \
         the key had to show {expected}, and does not."
    )
}

/// The wording of a read of what the transaction writes only later.
pub(super) fn from_the_future<R>(txns: &Transactions<'_, R>, index: u32, item: Item) -> String {
    let (value, key) = show(txns, item);
    let txn = Words::of(txns).introduce(index);
    format!("{txn} read {value} from key {key}, which it wrote only after that.")
}

/// Reports groups of transactions that first read the same value of a key and then wrote the key.
pub(super) fn lost_updates<R: Eq + Hash>(txns: &Transactions<'_, R>, report: &mut Report<'_>) {
    let mut updates: HashMap<(Key, &R), Vec<u32>> = HashMap::new();
    let mut order = Vec::new();
    for (index, txn) in txns.ok() {
        for update in read_then_written(txns, txn) {
            let group = updates.entry(update).or_insert_with(|| {
                order.push(update);
                Vec::new()
            });
            group.push(index);
        }
    }
    for (key, seen) in order {
        let group = &updates[&(key, seen)];
        if group.len() > 1 {
            report.add(LOST_UPDATE, group, || lost_update(txns, key, group));
        }
    }
}

/// The keys that a transaction read and then wrote for the first time, with what it read first.
fn read_then_written<'t, R>(txns: &Transactions<'_, R>, txn: &'t Txn<'_, R>) -> Vec<(Key, &'t R)> {
    let mut first_reads: HashMap<Key, &R> = HashMap::new();
    let mut written = HashSet::new();
    let mut found = Vec::new();
    for op in &txn.ops {
        match op {
            MicroOp::Read(key, seen) => {
                first_reads.entry(*key).or_insert(seen);
            }
            MicroOp::Write(item) => {
                let key = txns.names.key_of(*item);
                if let Some(seen) = first_reads.get(&key).filter(|_| written.insert(key)) {
                    found.push((key, *seen));
                }
            }
        }
    }
    found
}

fn lost_update<R>(txns: &Transactions<'_, R>, key: Key, group: &[u32]) -> String {
    let mut words = Words::of(txns);
    let (first, second) = (words.introduce(group[0]), words.introduce(group[1]));
    let others = match group.len() - 2 {
        0 => String::new(),
        others => format!(", and so did {others} more"),
    };
    let key = txns.names.show_key(key);
    format!(
        "{first} and {second} read the same state of key {key} and then both wrote to it{others}. Whichever came \
         second wrote without having seen what the first had written."
    )
}

/// For each item, the last transaction that wrote it and then wrote the same key again.
pub(super) fn intermediate_writers<R>(txns: &Transactions<'_, R>) -> Vec<Option<u32>> {
    let mut writers = vec![None; txns.names.item_count()];
    for (index, txn) in txns.numbered() {
        let mut finals: HashMap<Key, Item> = HashMap::new();
        for item in txn.writes() {
            if let Some(overwritten) = finals.insert(txns.names.key_of(item), item) {
                writers[overwritten.0 as usize] = Some(index);
            }
        }
    }
    writers
}

/// The wording of an aborted read.
pub(super) fn aborted<R>(txns: &Transactions<'_, R>, writer: u32, reader: u32, item: Item) -> String {
    let mut words = Words::of(txns);
    let ((value, key), reader) = (show(txns, item), words.introduce(reader));
    format!(
        "{reader} read {value} from key {key}. It was written by {}, which failed.",
        words.introduce(writer)
    )
}

/// The wording of an intermediate read.
pub(super) fn intermediate<R>(txns: &Transactions<'_, R>, writer: u32, reader: u32, item: Item) -> String {
    let mut words = Words::of(txns);
    let ((value, key), reader) = (show(txns, item), words.introduce(reader));
    format!(
        "{reader} read key {key} as it was after {value}. That was written by {}, which wrote the key again \
         after that, so nobody else should have seen it.",
        words.introduce(writer)
    )
}

/// The wording of a read of what nobody wrote.
pub(super) fn garbage<R>(txns: &Transactions<'_, R>, reader: u32, item: Item) -> String {
    let (value, key) = show(txns, item);
    let reader = Words::of(txns).introduce(reader);
    format!("{reader} read {value} from key {key}, where no transaction ever wrote it.")
}

fn show<'h, R>(txns: &Transactions<'h, R>, item: Item) -> (&'h serde_json::Value, &'h serde_json::Value) {
    (txns.names.show(item), txns.names.show_key(txns.names.key_of(item)))
}
