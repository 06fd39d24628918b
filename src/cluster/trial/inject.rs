//! What the nemesis wants, done: to the network, to the nodes, to the clients.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{Cluster, Trial};
use crate::cluster::nemesis::{BUSIEST, NodeFault, PartitionKind, Step};
use crate::cluster::network::{Layer, Names};
use crate::history::{EventKind, OpValue, Process};
use crate::node::Time;
use crate::workload::Op;

impl Trial {
    /// The nemesis's next step, if it is due.
    pub(super) fn inject(&mut self, now: Time, cluster: &mut impl Cluster) -> bool {
        let step = self.nemesis.step(now);
        step.map(|step| self.apply(now, step, cluster)).is_some()
    }

    /// Ends all faults that are still in force and may end. False if there were none.
    pub(super) fn heal(&mut self, now: Time, cluster: &mut impl Cluster) -> bool {
        let ends: Vec<Step> = self.in_force.iter().filter_map(Step::ended).collect();
        let any = !ends.is_empty();
        ends.into_iter().for_each(|step| self.apply(now, step, cluster));
        any
    }

    /// The same step, with the node that has sent most where it is meant. The step that makes something good again is about the
    /// same node.
    fn resolved(&mut self, step: Step) -> Step {
        match step {
            Step::StartPartition(kind @ PartitionKind::Primaries, _) => {
                let node = self.network.busiest();
                let others = (0..self.nodes()).filter(|&other| other != node);
                Step::StartPartition(kind, others.flat_map(|other| [(node, other), (other, node)]).collect())
            }
            Step::Disturb(BUSIEST, fault) => {
                let (subject, _) = step.subject();
                let node = if step.lasts() { None } else { self.busiest.remove(&subject) };
                let node = node.unwrap_or_else(|| self.network.busiest());
                if step.lasts() {
                    self.busiest.insert(subject, node);
                }
                Step::Disturb(node, fault)
            }
            step => step,
        }
    }

    fn apply(&mut self, now: Time, step: Step, cluster: &mut impl Cluster) {
        let step = self.resolved(step);
        self.in_force.retain(|other| other.subject() != step.subject());
        if step.lasts() {
            self.in_force.push(step.clone());
        }
        let names = self.names.clone();
        let name = |index: usize| names.node(index).to_owned();
        let struck = step.clone();
        let (f, value) = match step {
            Step::StartPartition(kind, cuts) => {
                ("start-partition", json!([kind, self.cut(Layer::Partition, &cuts)]))
            }
            Step::StopPartition => {
                self.network.mend(Layer::Partition);
                ("stop-partition", Json::Null)
            }
            Step::StartOneWay(cuts) => ("start-one-way", json!(self.cut(Layer::OneWay, &cuts))),
            Step::StopOneWay => {
                self.network.mend(Layer::OneWay);
                ("stop-one-way", Json::Null)
            }
            Step::Lose(part) => {
                self.network.faults.loss = part;
                ("lose", json!(part))
            }
            Step::Duplicate(part) => {
                self.network.faults.duplication = part;
                ("duplicate", json!(part))
            }
            Step::Reorder(extra) => {
                self.network.faults.reordering = extra;
                ("reorder", json!(extra))
            }
            Step::Delay(extra) => {
                self.network.faults.delay = extra;
                ("delay", json!(extra))
            }
            Step::Corrupt(part) => {
                self.network.faults.corruption = part;
                ("corrupt", json!(part))
            }
            Step::Disturb(node, fault) => {
                self.disturb(now, node, fault, cluster);
                let millis = |duration: Duration| duration.as_secs_f64() * 1000.0;
                match fault {
                    NodeFault::Pause => ("pause", json!(name(node))),
                    NodeFault::Resume => ("resume", json!(name(node))),
                    NodeFault::Kill => ("kill", json!(name(node))),
                    NodeFault::Restart => ("restart", json!(name(node))),
                    NodeFault::Clock { jump, ppm } => ("clock", json!([name(node), millis(jump), ppm])),
                    NodeFault::Slow(time) => ("slow", json!([name(node), millis(time)])),
                }
            }
            Step::Burst(node, count) => {
                self.burst(now, node, count);
                ("burst", json!([name(node), count]))
            }
            Step::CutForGood(cuts) => ("cut-for-good", json!(self.cut(Layer::ForGood, &cuts))),
            Step::StartSudden { cuts, for_good } => {
                ("start-sudden", json!([for_good, self.cut(Layer::Sudden, &cuts)]))
            }
            Step::StopSudden => {
                self.network.mend(Layer::Sudden);
                ("stop-sudden", Json::Null)
            }
            Step::KillForGood(node) => {
                self.disturb(now, node, NodeFault::Kill, cluster);
                self.lives.bury(node);
                ("kill-for-good", json!(name(node)))
            }
            Step::Lull => {
                self.lull = true;
                ("lull", Json::Null)
            }
            Step::Return => {
                (self.lull, self.next_op) = (false, now);
                ("return", Json::Null)
            }
            Step::Stretch { links, factor } => {
                links.iter().for_each(|&(to, from)| self.network.stretch(to, from, factor));
                ("stretch", json!([factor, by_receiver(&names, &links)]))
            }
            Step::TalkTo(nodes) => {
                self.clients.talk_to(&nodes);
                ("talk-to", json!(nodes.into_iter().map(name).collect::<Vec<_>>()))
            }
        };
        cluster.struck(&struck);
        let op = Op::new(f, OpValue::Json(value.clone()));
        self.record(now, Process::Nemesis, EventKind::Info, &op, OpValue::Json(value), None);
    }

    /// Does something to a node, if that can be done to it.
    fn disturb(&mut self, now: Time, node: usize, fault: NodeFault, cluster: &mut impl Cluster) {
        match fault {
            NodeFault::Kill if self.lives.kill(node) => self.network.set_down(node, true),
            NodeFault::Restart if self.lives.restart(now, node) => {
                self.network.set_down(node, false);
                self.initialise(now, node);
            }
            NodeFault::Kill | NodeFault::Restart => return,
            NodeFault::Pause => self.lives.set_paused(now, node, true),
            NodeFault::Resume => self.lives.set_paused(now, node, false),
            NodeFault::Clock { .. } | NodeFault::Slow(_) => {}
        }
        cluster.disturb(node, fault);
    }

    /// Puts cuts in the place of a layer's earlier ones; returns whom each node no longer hears.
    fn cut(&mut self, layer: Layer, cuts: &[(usize, usize)]) -> BTreeMap<String, Vec<String>> {
        self.network.mend(layer);
        cuts.iter().for_each(|&(receiver, source)| self.network.cut(layer, receiver, source));
        by_receiver(&self.names, cuts)
    }

    fn burst(&mut self, now: Time, node: usize, count: usize) {
        for op in (0..count).map_while(|_| self.workload.burst_op()).collect::<Vec<_>>() {
            let worker = self.clients.add_passer_by(node);
            self.invoke(now, worker, op);
        }
    }
}

/// The sources of each receiver, of pairs (receiver, source).
fn by_receiver(names: &Names, pairs: &[(usize, usize)]) -> BTreeMap<String, Vec<String>> {
    let name = |index| names.node(index).to_owned();
    let mut sources: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for &(receiver, source) in pairs {
        sources.entry(name(receiver)).or_default().push(name(source));
    }
    sources
}
