//! Values spread to every node, and none is lost.

use std::collections::BTreeMap;

use rand::RngExt;
use rand_pcg::Pcg64;
use serde_json::{Value as Json, json};

use super::{Op, Workload, WorkloadResult};
use crate::check::set_full::set_full;
use crate::cluster::network::Endpoint;
use crate::cluster::scenario::Scenario;
use crate::history::{History, OpValue, Shown};

#[derive(Debug)]
pub(super) struct Broadcast {
    topology: Json,
    next_value: i64,
}

const READ: Op = Op { f: "read", value: OpValue::None };

impl Broadcast {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let name = |index: usize| Endpoint::Node(index).to_string();
        let neighbours = scenario.topology.neighbours(scenario.nodes());
        let topology: BTreeMap<String, Vec<String>> = neighbours
            .into_iter()
            .enumerate()
            .map(|(node, others)| (name(node), others.into_iter().map(name).collect()))
            .collect();
        Self { topology: json!(topology), next_value: 0 }
    }

    fn broadcast(&mut self) -> Op {
        let value = self.next_value;
        self.next_value += 1;
        Op { f: "broadcast", value: OpValue::Int(value) }
    }
}

impl Workload for Broadcast {
    fn setup(&self) -> Option<Json> {
        Some(json!({ "type": "topology", "topology": self.topology }))
    }

    fn next_op(&mut self, rng: &mut Pcg64) -> Op {
        if rng.random() { READ } else { self.broadcast() }
    }

    fn burst_op(&mut self) -> Option<Op> {
        Some(self.broadcast())
    }

    fn final_op(&self) -> Option<Op> {
        Some(READ)
    }

    fn request(&self, op: &Op) -> Json {
        match &op.value {
            OpValue::Int(value) => json!({ "type": "broadcast", "message": value }),
            _ => json!({ "type": "read" }),
        }
    }

    fn result_field(&self, op: &Op) -> Option<&'static str> {
        (*op == READ).then_some("messages")
    }

    fn result(&self, op: &Op, field: &str) -> Result<OpValue, String> {
        match &op.value {
            OpValue::Int(value) => Ok(OpValue::Int(*value)),
            _ => {
                let values = serde_json::from_str(field).map_err(|error| error.to_string())?;
                Ok(OpValue::Set(Shown::whole(values, Vec::new())))
            }
        }
    }

    fn is_idempotent(&self, f: &str) -> bool {
        f == READ.f
    }

    fn check(&self, history: &History) -> WorkloadResult {
        WorkloadResult::Broadcast(Box::new(set_full(history)))
    }
}
