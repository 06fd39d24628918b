//! Values spread to every node, and none is lost.

use std::collections::BTreeMap;

use rand::RngExt;
use rand_pcg::Pcg64;
use serde_json::{Value as Json, json};

use super::{
    Answered, Call, FinalReads, Last, Op, Rpc, Setting, Workload, WorkloadKind, WorkloadResult,
    refuses_nothing, set,
};
use crate::check::set_full::set_full;
use crate::history::OpValue;
use crate::node::Time;

/// broadcast.
pub const KIND: WorkloadKind = WorkloadKind {
    name: "broadcast",
    about: "Values spread to every node, and none is lost",
    new: |setting| Box::new(Broadcast::new(setting)),
    check: |history, options| {
        WorkloadResult::of_set(history, set_full(history, options.strict_maelstrom), "broadcast")
    },
    reads_sets: true,
    refuses: refuses_nothing,
};

#[derive(Debug)]
struct Broadcast {
    topology: Json,
    next_value: i64,
    final_reads: FinalReads,
}

impl Broadcast {
    fn new(setting: &Setting<'_>) -> Self {
        let nodes = setting.nodes;
        let neighbours = setting.options.topology.neighbours(nodes.len());
        let names = |others: Vec<usize>| others.into_iter().map(|other| nodes[other].as_str()).collect();
        let topology: BTreeMap<&str, Vec<&str>> =
            nodes.iter().zip(neighbours).map(|(node, others)| (node.as_str(), names(others))).collect();
        Self { topology: json!(topology), next_value: 0, final_reads: FinalReads::default() }
    }

    fn broadcast(&mut self) -> Op {
        let value = self.next_value;
        self.next_value += 1;
        Op::new("broadcast", OpValue::Int(value))
    }
}

impl Workload for Broadcast {
    fn setup(&self) -> Option<Rpc> {
        Some(Rpc::new("topology", json!({ "topology": self.topology })))
    }

    fn next_op(&mut self, _: Time, _: usize, rng: &mut Pcg64) -> Option<Op> {
        Some(if rng.random() { Op::READ } else { self.broadcast() })
    }

    fn burst_op(&mut self) -> Option<Op> {
        Some(self.broadcast())
    }

    fn has_last(&self) -> bool {
        true
    }

    fn last(&mut self, _: Time, worker: usize, _: &mut Pcg64) -> Last {
        self.final_reads.next(worker, Op::FINAL_READ)
    }

    fn call(&mut self, _: usize, op: &Op) -> Call {
        Call::Rpc(match &op.value {
            OpValue::Int(value) => Rpc::new("broadcast", json!({ "message": value })),
            _ => Rpc::new("read", json!({})),
        })
    }

    fn result_field(&self, request: &str) -> Option<&'static str> {
        (request == "read").then_some("messages")
    }

    fn answered(&mut self, _: usize, op: &Op, request: &str, field: &str) -> Result<Answered, String> {
        Ok(Answered::Done(if request == "read" { set(field)? } else { op.value.clone() }))
    }

    fn is_idempotent(&self, f: &str) -> bool {
        f == "read"
    }
}
