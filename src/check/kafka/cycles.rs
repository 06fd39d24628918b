//! Cycles: operations each of which must come before the next.
//!
//! A sender comes before those who poll its message (wr). Under the model that Jepsen asks for,
//! strict-serializable, an operation that succeeded also comes before all that began after it had ended
//! (realtime; what a process does in succession is contained in it). Jepsen draws no edges between sends
//! here. Names are Elle's: G1c if messages alone close a cycle, G1c-realtime if time is needed. Beside each
//! cycle Elle reports the model that it rules out, as PL-2-cycle-exists or strong-PL-2-cycle-exists.

use std::collections::HashMap;

use crate::check::kafka::errors::{Cases, Cycle, CycleExists, CycleStep};
use crate::check::kafka::fates::Fates;
use crate::check::kafka::graph::{self, Graph, Kinds};
use crate::check::kafka::reading::{OpId, Reading};
use crate::history::{EventKind, History};

/// The most cycles listed (Jepsen's number).
const LISTED_MAX: usize = 8;
/// The most operations of a component that are listed.
const MEMBERS_MAX: usize = 32;
/// Edges followed in search of shorter cycles, in all: a tenth of a second.
const EFFORT_MAX: usize = 5_000_000;

/// The cycles of a history.
#[derive(Debug, Default)]
pub(super) struct Cycles {
    pub(super) g1c: Cases<Cycle>,
    pub(super) g1c_realtime: Cases<Cycle>,
    pub(super) pl_2: Cases<CycleExists>,
    pub(super) strong_pl_2: Cases<CycleExists>,
    /// Whether nothing came before anything: then this check says nothing.
    pub(super) no_edges: bool,
}

impl Cycles {
    /// The cycles of a history.
    pub(super) fn of(history: &History, reading: &Reading, fates: &Fates) -> Self {
        let mut edges = Vec::new();
        let instants = realtime(history, reading, &mut edges);
        sender_to_pollers(reading, fates, &mut edges);
        let ordered = edges.iter().any(|&(_, to, _)| to < reading.ops.len());
        let mut cycles = Cycles { no_edges: !ordered, ..Cycles::default() };
        let graph = Graph::new(reading.ops.len(), instants, &edges);
        let all = graph.components(Kinds::WR | Kinds::REALTIME);
        if all.is_empty() {
            return cycles;
        }
        let by_messages = graph.components(Kinds::WR);
        let first_nodes: HashMap<usize, usize> = by_messages.iter().map(|inner| inner[0]).zip(0..).collect();
        let mut effort = EFFORT_MAX;
        for component in all {
            let inner = component.iter().find_map(|node| first_nodes.get(node)).map(|&at| &by_messages[at]);
            cycles.add(reading, &graph, inner.unwrap_or(&component), inner.is_some(), &mut effort);
        }
        for listed in [&mut cycles.g1c, &mut cycles.g1c_realtime] {
            listed.errs.sort_by_key(|cycle| cycle.steps.len());
            listed.errs.truncate(LISTED_MAX);
        }
        cycles
    }

    fn add(
        &mut self,
        reading: &Reading,
        graph: &Graph,
        component: &[usize],
        by_messages: bool,
        effort: &mut usize,
    ) {
        let (cases, exists, within, not) = if by_messages {
            (&mut self.g1c, &mut self.pl_2, Kinds::WR, "read-committed")
        } else {
            let within = Kinds::WR | Kinds::REALTIME;
            (&mut self.g1c_realtime, &mut self.strong_pl_2, within, "strong-read-committed")
        };
        exists.count += 1;
        cases.count += 1;
        let members = &component[..component.partition_point(|&node| node < reading.ops.len())];
        if exists.errs.len() < LISTED_MAX {
            let scc = members.iter().take(MEMBERS_MAX).map(|&id| reading.ops[id].event()).collect();
            exists.errs.push(CycleExists { not, scc_size: members.len(), scc });
        }
        // Each search costs time for all nodes, so there is an end to them.
        if cases.count <= 4 * LISTED_MAX {
            let cycle = graph.cycle(component, within, Kinds::WR, effort);
            cases.errs.extend(cycle.map(|cycle| describe(reading, &without_detours(cycle))));
        }
    }
}

/// Adds edges from each sender to all who poll its message, but not to itself.
fn sender_to_pollers(reading: &Reading, fates: &Fates, edges: &mut Vec<(usize, usize, Kinds)>) {
    for (poller, op) in reading.ops.iter().enumerate() {
        let polled = op.polls().iter().flat_map(|poll| &poll.messages);
        let senders = polled.filter_map(|&(_, message)| fates.get(message).writer);
        edges.extend(senders.filter(|&sender| sender != poller).map(|sender| (sender, poller, Kinds::WR)));
    }
}

/// Adds edges from each operation that succeeded to all that begin after its end: through a junction for the
/// instant of each end, which leads to the next and to what begins before that. So edges are as few as
/// events. Returns how many junctions there are.
fn realtime(history: &History, reading: &Reading, edges: &mut Vec<(usize, usize, Kinds)>) -> usize {
    let mut latest = None;
    let mut instants = 0;
    for (id, begins) in moments(history, reading) {
        if begins {
            edges.extend(latest.map(|instant| (instant, id, Kinds::REALTIME)));
        } else if reading.ops[id].kind == EventKind::Ok {
            let instant = reading.ops.len() + instants;
            edges.extend(latest.map(|earlier| (earlier, instant, Kinds::REALTIME)));
            edges.push((id, instant, Kinds::REALTIME));
            latest = Some(instant);
            instants += 1;
        }
    }
    instants
}

/// Beginnings and ends of sends and polls, in the order of the history.
fn moments(history: &History, reading: &Reading) -> Vec<(OpId, bool)> {
    let mut at_event = vec![None; history.events().len()];
    for (id, op) in reading.ops.iter().enumerate().filter(|(_, op)| op.transaction().is_some()) {
        if let Some(event) = op.invoked {
            at_event[event] = Some((id, true));
        }
        if let Some(event) = op.completed {
            at_event[event] = Some((id, false));
        }
    }
    at_event.into_iter().flatten().collect()
}

/// Joins successive edges of time: if one ended before another began, and that before a third began, the
/// first ended before the third began.
fn without_detours(cycle: graph::Cycle) -> graph::Cycle {
    let mut short: graph::Cycle = Vec::new();
    for (node, kind) in cycle {
        let joins = kind == Kinds::REALTIME && short.last().is_some_and(|&(_, last)| last == kind);
        if !joins {
            short.push((node, kind));
        }
    }
    short
}

fn describe(reading: &Reading, cycle: &graph::Cycle) -> Cycle {
    let next = |at: usize| cycle[(at + 1) % cycle.len()].0;
    let steps = cycle.iter().enumerate().map(|(at, &(node, kind))| match passed(reading, node, next(at)) {
        Some(step) if kind == Kinds::WR => step,
        _ => CycleStep::Realtime,
    });
    let steps = steps.collect();
    let nodes = cycle.iter().chain(cycle.first());
    Cycle { cycle: nodes.map(|&(node, _)| reading.ops[node].event()).collect(), steps }
}

/// A message that one sent and the other polled.
fn passed(reading: &Reading, from: OpId, to: OpId) -> Option<CycleStep> {
    let mut polled = reading.ops[to].polls().iter().flat_map(|poll| &poll.messages);
    let sent = reading.ops[from].sends();
    let &(_, message) = polled.find(|(_, message)| sent.iter().any(|send| send.message == *message))?;
    let content = &reading.messages[message];
    Some(CycleStep::Wr { key: reading.keys[content.key].clone(), value: content.value.clone() })
}
