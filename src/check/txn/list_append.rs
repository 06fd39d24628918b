//! The checker of `txn-list-append`, after `elle.list-append` of Elle 0.2.2.
//!
//! A read shows all elements of a list, so the longest read of a key tells in which order its elements were
//! appended. From that order follow the dependencies:
//!
//! - wr: who appended the last element of a read comes before the reader;
//! - ww: who appended the element before another comes before who appended the other;
//! - rw: who read up to the element before another comes before who appended the other.
//!
//! An element that nobody read comes after the last one that was read.

use serde_json::Value as Json;

use super::anomalies::{DIRTY_UPDATE, DUPLICATE_ELEMENTS, G1A, G1B, GARBAGE_READ, INCOMPATIBLE_ORDER};
use super::graph::{Builder, Rel};
use super::report::Report;
use super::transactions::{Item, Key, MicroOp, Names, Outcome, Shape, Transactions, Txn};
use super::within;
use super::words::{Explain, Words};

/// The shape of list-append transactions.
#[derive(Debug)]
pub(super) struct Lists;

/// What a read of a list shows: `null`, or its elements.
pub(super) type Seen = Option<Box<[Item]>>;

impl Shape for Lists {
    type Read = Seen;
    const WRITE: &'static str = "append";
    const READ_IS: &'static str = "list";

    fn read<'h>(names: &mut Names<'h>, key: Key, seen: &'h Json) -> Option<Seen> {
        match seen {
            Json::Null => Some(None),
            Json::Array(elements) => Some(Some(elements.iter().map(|item| names.item(key, item)).collect())),
            _ => None,
        }
    }
}

fn elements(seen: &Seen) -> &[Item] {
    seen.as_deref().unwrap_or_default()
}

/// The order in which each key's elements were appended, and who did it.
pub(super) struct Versions<'t, 'h> {
    txns: &'t Transactions<'h, Seen>,
    /// Known elements of each key, in order.
    orders: Vec<Vec<Item>>,
    /// The place of each element in that order.
    places: Vec<Option<usize>>,
    /// Who appended each element, if that may have happened.
    writers: Vec<Option<u32>>,
}

/// A sentence on why the history cannot be judged: it appends an element twice.
pub(super) fn unfit(txns: &Transactions<'_, Seen>) -> Option<String> {
    let mut written = vec![false; txns.names.item_count()];
    for txn in &txns.all {
        for item in txn.writes() {
            if std::mem::replace(&mut written[item.0 as usize], true) {
                return Some(format!(
                    "{} is appended to key {} more than once, so its readers do not tell which append they saw",
                    txns.names.show(item),
                    txns.names.show_key(txns.names.key_of(item))
                ));
            }
        }
    }
    None
}

/// Reports anomalies that show without the graph.
pub(super) fn direct(txns: &Transactions<'_, Seen>, versions: &Versions<'_, '_>, report: &mut Report<'_>) {
    within::lists(txns, report);
    within::lost_updates(txns, report);
    aborted_reads(txns, report);
    intermediate_reads(txns, report);
    duplicates(txns, report);
    incompatible_orders(txns, report);
    dirty_updates(versions, report);
    garbage_reads(versions, report);
}

impl<'t, 'h> Versions<'t, 'h> {
    /// The orders that the reads of `txns` show.
    pub(super) fn of(txns: &'t Transactions<'h, Seen>) -> Self {
        let mut orders = longest_reads(txns);
        let mut places = vec![None; txns.names.item_count()];
        for order in &mut orders {
            order.retain(|item| places[item.0 as usize].replace(0).is_none());
            for (place, item) in order.iter().enumerate() {
                places[item.0 as usize] = Some(place);
            }
        }
        let writers = txns.writers(Txn::is_possible);
        Versions { txns, orders, places, writers }
    }

    /// Adds all dependencies to the graph.
    pub(super) fn link(&self, graph: &mut Builder) {
        let readers = self.readers();
        for (index, txn) in self.txns.numbered().filter(|(_, txn)| txn.is_possible()) {
            for op in &txn.ops {
                match op {
                    MicroOp::Read(_, seen) => self.link_read(graph, index, seen),
                    MicroOp::Write(item) => self.link_append(graph, index, *item, &readers),
                }
            }
        }
    }

    fn link_read(&self, graph: &mut Builder, reader: u32, seen: &Seen) {
        let last = elements(seen).last();
        let writer = last.and_then(|last| self.writers[last.0 as usize]);
        if let Some(writer) = writer.filter(|writer| *writer != reader) {
            graph.link(writer, reader, Rel::Wr);
        }
    }

    fn link_append(&self, graph: &mut Builder, writer: u32, item: Item, readers: &Readers) {
        let before = self.before(item);
        let previous = before.and_then(|before| self.writers[before.0 as usize]);
        if let Some(previous) = previous.filter(|previous| *previous != writer) {
            graph.link(previous, writer, Rel::Ww);
        }
        let readers = match before {
            Some(before) => readers.of.get(before.0 as usize),
            None => readers.of_empty.get(self.txns.names.key_of(item).0 as usize),
        };
        for reader in readers.into_iter().flatten().filter(|reader| **reader != writer) {
            graph.link(*reader, writer, Rel::Rw);
        }
    }

    /// The element behind which this one was appended, or was appended at the earliest; none for the first.
    fn before(&self, item: Item) -> Option<Item> {
        let order = &self.orders[self.txns.names.key_of(item).0 as usize];
        match self.places[item.0 as usize] {
            Some(place) => place.checked_sub(1).map(|place| order[place]),
            None => order.last().copied(),
        }
    }

    fn readers(&self) -> Readers {
        let mut readers = Readers {
            of: vec![Vec::new(); self.txns.names.item_count()],
            of_empty: vec![Vec::new(); self.txns.names.key_count()],
        };
        for (index, txn) in self.txns.numbered().filter(|(_, txn)| txn.is_possible()) {
            for (key, seen) in txn.reads() {
                match elements(seen).last() {
                    Some(last) => readers.of[last.0 as usize].push(index),
                    // What an uncertain transaction read is not known: its null is the request's.
                    None if txn.outcome == Outcome::Info && seen.is_none() => {}
                    None => readers.of_empty[key.0 as usize].push(index),
                }
            }
        }
        readers
    }
}

/// Who read up to each element, and who read each key as empty.
struct Readers {
    of: Vec<Vec<u32>>,
    of_empty: Vec<Vec<u32>>,
}

/// For each key the longest list that was read (the first of several).
fn longest_reads(txns: &Transactions<'_, Seen>) -> Vec<Vec<Item>> {
    let mut longest: Vec<&[Item]> = vec![&[]; txns.names.key_count()];
    for (key, seen) in txns.all.iter().filter(|txn| txn.is_possible()).flat_map(Txn::reads) {
        let longest = &mut longest[key.0 as usize];
        if elements(seen).len() > longest.len() {
            *longest = elements(seen);
        }
    }
    longest.into_iter().map(<[Item]>::to_vec).collect()
}

fn aborted_reads(txns: &Transactions<'_, Seen>, report: &mut Report<'_>) {
    let failed = txns.writers(|txn| txn.outcome == Outcome::Fail);
    for (reader, txn) in txns.ok() {
        for (_, seen) in txn.reads() {
            for item in elements(seen) {
                if let Some(writer) = failed[item.0 as usize] {
                    report.add(G1A, &[writer, reader], || within::aborted(txns, writer, reader, *item));
                }
            }
        }
    }
}

fn intermediate_reads(txns: &Transactions<'_, Seen>, report: &mut Report<'_>) {
    let intermediate = within::intermediate_writers(txns);
    for (reader, txn) in txns.ok() {
        for item in txn.reads().filter_map(|(_, seen)| elements(seen).last()) {
            if let Some(writer) = intermediate[item.0 as usize].filter(|writer| *writer != reader) {
                report.add(G1B, &[writer, reader], || within::intermediate(txns, writer, reader, *item));
            }
        }
    }
}

fn duplicates(txns: &Transactions<'_, Seen>, report: &mut Report<'_>) {
    for (index, txn) in txns.numbered().filter(|(_, txn)| txn.is_possible()) {
        for (key, seen) in txn.reads() {
            let mut sorted = elements(seen).to_vec();
            sorted.sort_unstable();
            let twice = sorted.windows(2).find(|pair| pair[0] == pair[1]);
            if let Some(item) = twice.map(|pair| pair[0]) {
                report.add(DUPLICATE_ELEMENTS, &[index], || {
                    let (element, key) = (txns.names.show(item), txns.names.show_key(key));
                    let reader = Words::of(txns).introduce(index);
                    format!(
                        "{reader} read {element} more than once in key {key}, though it was appended once."
                    )
                });
            }
        }
    }
}

fn incompatible_orders(txns: &Transactions<'_, Seen>, report: &mut Report<'_>) {
    let mut reads: Vec<Vec<(&[Item], u32)>> = vec![Vec::new(); txns.names.key_count()];
    for (index, txn) in txns.numbered().filter(|(_, txn)| txn.is_possible()) {
        for (key, seen) in txn.reads().filter(|(_, seen)| !elements(seen).is_empty()) {
            reads[key.0 as usize].push((elements(seen), index));
        }
    }
    for (key, mut reads) in (0..).zip(reads) {
        reads.sort_by_key(|(seen, _)| seen.len());
        let conflict = reads.windows(2).find(|pair| !pair[1].0.starts_with(pair[0].0));
        if let Some([(_, a), (_, b)]) = conflict {
            report.add(INCOMPATIBLE_ORDER, &[*a, *b], || {
                let key = txns.names.show_key(Key(key));
                let mut words = Words::of(txns);
                let (a, b) = (words.introduce(*a), words.introduce(*b));
                format!(
                    "{a} and {b} read key {key}. Of two reads of a list that only grows, the shorter must be the \
                     beginning of the longer, and here it is not."
                )
            });
        }
    }
}

/// An element of a failed transaction, then one of a transaction that happened; uncertain ones between are
/// passed over.
fn dirty_updates(versions: &Versions<'_, '_>, report: &mut Report<'_>) {
    let txns = versions.txns;
    let writers = txns.writers(|_| true);
    for order in &versions.orders {
        let mut failed: Option<(u32, Item)> = None;
        for item in order {
            let Some(writer) = writers[item.0 as usize] else { continue };
            match (txns.at(writer).outcome, failed) {
                (Outcome::Fail, None) => failed = Some((writer, *item)),
                (Outcome::Ok, Some((aborted, dirty))) => {
                    failed = None;
                    report.add(DIRTY_UPDATE, &[aborted, writer], || {
                        dirty_update(txns, (aborted, dirty), (writer, *item))
                    });
                }
                _ => {}
            }
        }
    }
}

fn dirty_update(txns: &Transactions<'_, Seen>, failed: (u32, Item), later: (u32, Item)) -> String {
    let mut words = Words::of(txns);
    let key = txns.names.show_key(txns.names.key_of(later.1));
    format!(
        "{} failed, and yet {}, which happened, appended {} to key {key} after the failed {}.",
        words.introduce(failed.0),
        words.introduce(later.0),
        txns.names.show(later.1),
        txns.names.show(failed.1)
    )
}

/// Elements that nobody appended. Elle looks up who appended the elements of the longest read, and throws an
/// exception if nobody did.
fn garbage_reads(versions: &Versions<'_, '_>, report: &mut Report<'_>) {
    let txns = versions.txns;
    let writers = txns.writers(|_| true);
    let garbage = |item: &&Item| writers[item.0 as usize].is_none();
    for (reader, txn) in txns.numbered().filter(|(_, txn)| txn.is_possible()) {
        for item in txn.reads().filter_map(|(_, seen)| elements(seen).iter().find(garbage)) {
            report.add(GARBAGE_READ, &[reader], || within::garbage(txns, reader, *item));
        }
    }
    if versions.orders.iter().flatten().any(|item| garbage(&item)) {
        report.note_that_elle_stops();
    }
}

impl Explain for Versions<'_, '_> {
    fn because(&self, (from, a): (u32, &str), (to, b): (u32, &str), rel: Rel) -> Option<String> {
        match rel {
            Rel::Wr => self.because_read((from, a), (to, b)),
            Rel::Ww => self.because_overwritten((from, a), (to, b)),
            Rel::Rw => self.because_missed((from, a), (to, b)),
            Rel::Process | Rel::Realtime => None,
        }
    }
}

impl Versions<'_, '_> {
    fn because_read(&self, (from, a): (u32, &str), (to, b): (u32, &str)) -> Option<String> {
        let mut lasts = self.txns.at(to).reads().filter_map(|(_, seen)| elements(seen).last());
        let item = *lasts.find(|last| self.writers[last.0 as usize] == Some(from))?;
        let (element, key) = self.show(item);
        Some(format!("{a} appended {element} to key {key}, and {b} read the list ending in it"))
    }

    fn because_overwritten(&self, (from, a): (u32, &str), (to, b): (u32, &str)) -> Option<String> {
        let mut pairs = self.txns.at(to).writes().filter_map(|item| Some((self.before(item)?, item)));
        let (before, item) = pairs.find(|(before, _)| self.writers[before.0 as usize] == Some(from))?;
        let ((first, key), (second, _)) = (self.show(before), self.show(item));
        Some(match self.places[item.0 as usize] {
            Some(_) => {
                format!("{a} appended {first} to key {key}, and {b} appended {second} right behind it")
            }
            None => format!(
                "{a} appended {first} to key {key}, and {b} appended {second}, which no read shows before or \
                 behind it, so it came later"
            ),
        })
    }

    fn because_missed(&self, (from, a): (u32, &str), (to, b): (u32, &str)) -> Option<String> {
        let missed = |item: &Item| {
            let mut reads =
                self.txns.at(from).reads().filter(|(key, _)| *key == self.txns.names.key_of(*item));
            reads.any(|(_, seen)| elements(seen).last().copied() == self.before(*item))
        };
        let item = self.txns.at(to).writes().find(missed)?;
        let (element, key) = self.show(item);
        Some(match self.before(item) {
            Some(before) => format!(
                "{a} read key {key} up to {}, so without {element}, which {b} appended behind that",
                self.txns.names.show(before)
            ),
            None => format!("{a} read key {key} as empty, so without {element}, which {b} appended to it"),
        })
    }

    fn show(&self, item: Item) -> (&Json, &Json) {
        (self.txns.names.show(item), self.txns.names.show_key(self.txns.names.key_of(item)))
    }
}
