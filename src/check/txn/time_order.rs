//! Edges from the order in time: of all transactions, and of those of one process.

use std::collections::{BTreeSet, HashMap};

use super::graph::{Builder, Rel};
use super::transactions::{Outcome, Transactions};

/// Adds an edge from each transaction that happened to those that began after its end; only as many as give
/// all others by transitivity.
///
/// The idea is `elle.core/realtime-graph`'s: a transaction that begins comes after those that have ended and
/// that no other ended one comes after. At most as many are waiting so as there are processes, so the number
/// of edges is at most transactions times processes.
pub(super) fn realtime<R>(txns: &Transactions<'_, R>, graph: &mut Builder) {
    let mut waiting: BTreeSet<u32> = BTreeSet::new();
    let mut before: HashMap<u32, Vec<u32>> = HashMap::new();
    for (_, moment) in moments(txns) {
        match moment {
            Moment::Begin(txn) => begin(txns, graph, txn, &waiting, &mut before),
            Moment::End(txn) => {
                for covered in before.remove(&txn).unwrap_or_default() {
                    waiting.remove(&covered);
                }
                waiting.insert(txn);
            }
        }
    }
}

fn begin<R>(
    txns: &Transactions<'_, R>,
    graph: &mut Builder,
    txn: u32,
    waiting: &BTreeSet<u32>,
    before: &mut HashMap<u32, Vec<u32>>,
) {
    if !waiting.is_empty() {
        graph.touch();
    }
    let outcome = txns.at(txn).outcome;
    if outcome == Outcome::Fail {
        return;
    }
    for earlier in waiting {
        graph.link(*earlier, txn, Rel::Realtime);
    }
    if outcome == Outcome::Ok {
        before.insert(txn, waiting.iter().copied().collect());
    }
}

enum Moment {
    Begin(u32),
    End(u32),
}

/// The beginnings of all transactions and the ends of those that happened, with their events' indices.
fn moments<R>(txns: &Transactions<'_, R>) -> Vec<(usize, Moment)> {
    let mut moments = Vec::with_capacity(2 * txns.all.len());
    for (index, txn) in txns.numbered() {
        moments.extend(txn.begin.map(|event| (event.index, Moment::Begin(index))));
        let end = txn.end.filter(|_| txn.outcome == Outcome::Ok);
        moments.extend(end.map(|event| (event.index, Moment::End(index))));
    }
    moments.sort_unstable_by_key(|(index, _)| *index);
    moments
}

/// Adds an edge from each transaction that happened to the next that the same process ran.
pub(super) fn process<R>(txns: &Transactions<'_, R>, graph: &mut Builder) {
    let mut last = HashMap::new();
    for (index, txn) in txns.ok() {
        if let Some(previous) = last.insert(txn.process(), index) {
            graph.link(previous, index, Rel::Process);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::graph::{DATA_FIRST, Graph};
    use super::super::list_append::Lists;
    use super::*;
    use crate::history::{EventKind, History, OpValue, Process};
    use crate::node::Time;
    use rand::{RngExt, SeedableRng};
    use serde_json::json;

    fn random_history(seed: u64) -> History {
        let mut rng = rand_pcg::Pcg64::seed_from_u64(seed);
        let mut history = History::default();
        let mut busy = [false; 4];
        for _ in 0..rng.random_range(1..40) {
            let process = rng.random_range(0..busy.len());
            let kind = match rng.random_range(0..5) {
                _ if !busy[process] => EventKind::Invoke,
                0 => EventKind::Fail,
                1 => EventKind::Info,
                _ => EventKind::Ok,
            };
            busy[process] = kind == EventKind::Invoke;
            let value = OpValue::Json(json!([]));
            history.push(Time::ZERO, Process::Client(process), kind, "txn", value, None);
        }
        history
    }

    fn reaches(graph: &Graph, from: u32, to: u32) -> bool {
        graph.out(from).iter().any(|edge| edge.to == to || reaches(graph, edge.to, to))
    }

    #[test]
    fn realtime_edges_reach_exactly_what_began_later() {
        for seed in 0..500 {
            let history = random_history(seed);
            let txns = Transactions::of::<Lists>(&history).unwrap();
            let mut builder = Builder::default();
            realtime(&txns, &mut builder);
            let graph = builder.build(txns.all.len(), DATA_FIRST).unwrap();
            for (a, first) in txns.numbered() {
                for (b, second) in txns.numbered() {
                    let (Some(end), Some(begin)) = (first.end, second.begin) else { continue };
                    let happened = first.outcome == Outcome::Ok && second.outcome != Outcome::Fail;
                    let later = happened && end.index < begin.index;
                    assert_eq!(later, reaches(&graph, a, b), "seed {seed}: {a} and {b}");
                }
            }
        }
    }

    #[test]
    fn realtime_edges_do_not_follow_from_others() {
        for seed in 0..200 {
            let history = random_history(seed);
            let txns = Transactions::of::<Lists>(&history).unwrap();
            let mut builder = Builder::default();
            realtime(&txns, &mut builder);
            let graph = builder.build(txns.all.len(), DATA_FIRST).unwrap();
            for from in 0..graph.len() as u32 {
                for edge in graph.out(from) {
                    let around = |other: &&super::super::graph::Edge| {
                        other.to != edge.to && reaches(&graph, other.to, edge.to)
                    };
                    assert!(!graph.out(from).iter().any(|other| around(&other)), "seed {seed}");
                }
            }
        }
    }
}
