//! The checker of `txn-rw-register`, after `elle.rw-register` of Elle 0.2.2 with the option `wfr-keys?`.
//!
//! A register shows its last value only, so little is known of the order of a key's versions: `null` comes
//! before every value, and where a transaction read one value and then wrote another, the first comes before
//! the second (writes follow reads). From that order follow the dependencies, of transactions that happened:
//!
//! - wr: who wrote a value comes before who read it;
//! - ww: who wrote a value comes before who wrote the next;
//! - rw: who read a value comes before who wrote the next.
//!
//! Only what others can see counts: the first read of a key, unless the transaction wrote it before, and the
//! last write. If the versions of a key go in a circle, nothing is concluded from writes that follow reads.

use std::collections::{HashMap, HashSet};

use serde_json::Value as Json;

use super::anomalies::{FUTURE_READ, G1A, G1B, GARBAGE_READ};
use super::graph::{Builder, Rel};
use super::report::{self, Report};
use super::transactions::{Item, Key, MicroOp, Names, Outcome, Shape, Transactions, Txn};
use super::within;
use super::words::Explain;
use crate::check::components::Components;

/// The shape of rw-register transactions.
#[derive(Debug)]
pub(super) struct Registers;

impl Shape for Registers {
    type Read = Item;
    const WRITE: &'static str = "w";
    const READ_IS: &'static str = "value";

    fn read<'h>(names: &mut Names<'h>, key: Key, seen: &'h Json) -> Option<Item> {
        Some(names.item(key, seen))
    }
}

/// The order of versions as far as it is known, and who wrote and read each.
pub(super) struct Versions<'t, 'h> {
    txns: &'t Transactions<'h, Item>,
    /// Pairs of a version and one that comes after it; in ascending order.
    pairs: Vec<(Item, Item)>,
    /// Who wrote each version so that others can see it, among transactions that happened.
    writers: Vec<Vec<u32>>,
    /// Who read each version from others, among transactions that happened.
    readers: Vec<Vec<u32>>,
}

/// Reports anomalies that show without the graph.
pub(super) fn direct(txns: &Transactions<'_, Item>, report: &mut Report<'_>) {
    within::registers(txns, report);
    within::lost_updates(txns, report);
    let failed = txns.writers(|txn| txn.outcome == Outcome::Fail);
    let intermediate = within::intermediate_writers(txns);
    let written = txns.writers(|_| true);
    for (reader, txn) in txns.ok() {
        for (_, item) in txn.reads() {
            let number = item.0 as usize;
            if let Some(writer) = failed[number] {
                report.add(G1A, &[writer, reader], || within::aborted(txns, writer, reader, *item));
            }
            if let Some(writer) = intermediate[number].filter(|writer| *writer != reader) {
                report.add(G1B, &[writer, reader], || within::intermediate(txns, writer, reader, *item));
            }
            if written[number].is_none() && !txns.names.show(*item).is_null() {
                report.add(GARBAGE_READ, &[reader], || within::garbage(txns, reader, *item));
            }
        }
        if let Some(item) = future_read(txns, txn, &written, reader) {
            report.add(FUTURE_READ, &[reader], || within::from_the_future(txns, reader, item));
        }
    }
}

/// A value that the transaction read before it wrote it, and that nobody else wrote.
fn future_read(
    txns: &Transactions<'_, Item>,
    txn: &Txn<'_, Item>,
    written: &[Option<u32>],
    index: u32,
) -> Option<Item> {
    let mut read = HashSet::new();
    txn.ops.iter().find_map(|op| match op {
        MicroOp::Read(_, item) => {
            read.insert(*item);
            None
        }
        MicroOp::Write(item) => {
            let own = written[item.0 as usize] == Some(index) && !txns.names.show(*item).is_null();
            (own && read.contains(item)).then_some(*item)
        }
    })
}

impl<'t, 'h> Versions<'t, 'h> {
    /// What `txns` tell of versions. If they go in a circle, that is reported.
    ///
    /// # Errors
    ///
    /// A sentence on why the history cannot be judged: two transactions wrote a value that was read.
    pub(super) fn of(txns: &'t Transactions<'h, Item>, report: &mut Report<'_>) -> Result<Self, String> {
        let mut versions = Versions {
            txns,
            pairs: Vec::new(),
            writers: vec![Vec::new(); txns.names.item_count()],
            readers: vec![Vec::new(); txns.names.item_count()],
        };
        let mut after_null: HashSet<Item> = HashSet::new();
        let mut after_read: HashSet<(Item, Item)> = HashSet::new();
        for (index, txn) in txns.numbered().filter(|(_, txn)| txn.is_possible()) {
            let (reads, writes) = external(txns, txn);
            after_null.extend(writes.values().copied());
            if txn.outcome != Outcome::Ok {
                continue;
            }
            after_null.extend(reads.values().copied());
            for (key, item) in reads {
                versions.readers[item.0 as usize].push(index);
                if let Some(next) = writes.get(&key).filter(|_| !txns.names.show(item).is_null()) {
                    after_read.insert((item, *next));
                }
            }
            for item in writes.into_values() {
                versions.writers[item.0 as usize].push(index);
            }
        }
        versions.check_writers()?;
        versions.order(&after_null, after_read, report);
        Ok(versions)
    }

    fn check_writers(&self) -> Result<(), String> {
        let ambiguous =
            self.writers.iter().zip(&self.readers).position(|(w, r)| w.len() > 1 && !r.is_empty());
        let Some(item) = ambiguous.map(|item| Item(item as u32)) else { return Ok(()) };
        Err(format!(
            "key {} was set to {} by more than one transaction, so its readers do not tell which they saw",
            self.txns.names.show_key(self.txns.names.key_of(item)),
            self.txns.names.show(item)
        ))
    }

    fn order(
        &mut self,
        after_null: &HashSet<Item>,
        mut after_read: HashSet<(Item, Item)>,
        report: &mut Report<'_>,
    ) {
        let names = &self.txns.names;
        after_read.retain(|(_, next)| !names.show(*next).is_null());
        if self.report_circles(&after_read, report) {
            after_read.clear();
        }
        let nulls: HashMap<Key, Item> = (0..names.item_count() as u32)
            .map(Item)
            .filter(|item| names.show(*item).is_null())
            .map(|item| (names.key_of(item), item))
            .collect();
        let values = after_null.iter().filter(|item| !names.show(**item).is_null());
        let first = values.filter_map(|item| Some((*nulls.get(&names.key_of(*item))?, *item)));
        self.pairs = first.chain(after_read).collect();
        self.pairs.sort_unstable();
    }

    /// Reports versions that come after each other. Those after `null` cannot be among them, since nothing
    /// comes before it.
    fn report_circles(&self, pairs: &HashSet<(Item, Item)>, report: &mut Report<'_>) -> bool {
        let names = &self.txns.names;
        let mut next: Vec<Vec<u32>> = vec![Vec::new(); names.item_count()];
        for (from, to) in pairs {
            next[from.0 as usize].push(to.0);
        }
        let components = Components::of(next.len(), |item| next[item as usize].iter().copied());
        let circles = components.nontrivial();
        for circle in &circles {
            let txns: Vec<u32> =
                circle.iter().flat_map(|item| self.writers[*item as usize].iter().copied()).collect();
            let values: Vec<String> = circle.iter().map(|item| names.show(Item(*item)).to_string()).collect();
            let key = names.show_key(names.key_of(Item(circle[0])));
            let (name, what) = report::circle_of_versions(key, &values);
            report.add(name, &txns, || what);
        }
        !circles.is_empty()
    }

    /// Adds all dependencies to the graph.
    pub(super) fn link(&self, graph: &mut Builder) {
        for (writers, readers) in self.writers.iter().zip(&self.readers) {
            link_all(graph, writers, readers, Rel::Wr);
        }
        for (before, after) in &self.pairs {
            let (before, after) = (before.0 as usize, after.0 as usize);
            link_all(graph, &self.writers[before], &self.writers[after], Rel::Ww);
            link_all(graph, &self.readers[before], &self.writers[after], Rel::Rw);
        }
    }

    fn show(&self, item: Item) -> (&Json, &Json) {
        (self.txns.names.show(item), self.txns.names.show_key(self.txns.names.key_of(item)))
    }

    /// A pair of versions of which the first is among `before` and the second among `after`.
    fn pair(&self, before: &HashMap<Key, Item>, after: &HashMap<Key, Item>) -> Option<(Item, Item)> {
        let mut pairs: Vec<(Item, Item)> =
            before.iter().filter_map(|(key, item)| Some((*item, *after.get(key)?))).collect();
        pairs.sort_unstable();
        pairs.into_iter().find(|pair| self.pairs.binary_search(pair).is_ok())
    }
}

fn link_all(graph: &mut Builder, from: &[u32], to: &[u32], rel: Rel) {
    for from in from {
        for to in to {
            graph.link(*from, *to, rel);
        }
    }
}

/// What a transaction read from others, and what it wrote for others, by key.
fn external(txns: &Transactions<'_, Item>, txn: &Txn<'_, Item>) -> (HashMap<Key, Item>, HashMap<Key, Item>) {
    let mut reads = HashMap::new();
    let mut writes = HashMap::new();
    let mut touched = HashSet::new();
    for op in &txn.ops {
        match op {
            MicroOp::Read(key, item) => {
                if touched.insert(*key) {
                    reads.insert(*key, *item);
                }
            }
            MicroOp::Write(item) => {
                let key = txns.names.key_of(*item);
                touched.insert(key);
                writes.insert(key, *item);
            }
        }
    }
    (reads, writes)
}

impl Explain for Versions<'_, '_> {
    fn because(&self, (from, a): (u32, &str), (to, b): (u32, &str), rel: Rel) -> Option<String> {
        let (first_reads, first_writes) = external(self.txns, self.txns.at(from));
        let (second_reads, second_writes) = external(self.txns, self.txns.at(to));
        match rel {
            Rel::Wr => {
                let mut common: Vec<Item> = first_writes
                    .into_values()
                    .filter(|item| second_reads.values().any(|r| r == item))
                    .collect();
                common.sort_unstable();
                let (value, key) = self.show(*common.first()?);
                Some(format!("{a} set key {key} to {value}, and {b} read that"))
            }
            Rel::Ww => {
                let (before, after) = self.pair(&first_writes, &second_writes)?;
                let ((first, key), (second, _)) = (self.show(before), self.show(after));
                Some(format!("{a} set key {key} to {first}, which {b} read and then replaced by {second}"))
            }
            Rel::Rw => {
                let (before, after) = self.pair(&first_reads, &second_writes)?;
                let ((first, key), (second, _)) = (self.show(before), self.show(after));
                Some(match first.is_null() {
                    true => {
                        format!("{a} read key {key} while it was unset, so before {b} set it to {second}")
                    }
                    false => format!("{a} read {first} from key {key}, which {b} replaced by {second}"),
                })
            }
            Rel::Process | Rel::Realtime => None,
        }
    }
}
