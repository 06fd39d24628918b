//! Ids are never handed out twice.

use rand_pcg::Pcg64;
use serde_json::{Value as Json, json};

use super::{Answered, Call, Op, Rpc, Workload, WorkloadKind, WorkloadResult, in_words, refuses_nothing};
use crate::check::unique_ids;
use crate::history::OpValue;
use crate::node::Time;

/// unique-ids.
pub const KIND: WorkloadKind = WorkloadKind {
    name: "unique-ids",
    about: "Ids are never handed out twice",
    new: |_| Box::new(UniqueIds),
    check: |history, options| {
        let result = unique_ids::unique_ids(history, options.strict_maelstrom);
        let line = format!("{} received, {} duplicated", result.acknowledged_count, result.duplicated_count);
        WorkloadResult::new(result.valid, &result).with(result.findings(history), vec![("ids", line)])
    },
    reads_sets: false,
    refuses: refuses_nothing,
};

#[derive(Debug)]
struct UniqueIds;

impl Workload for UniqueIds {
    fn next_op(&mut self, _: Time, _: usize, _: &mut Pcg64) -> Option<Op> {
        self.burst_op()
    }

    fn burst_op(&mut self) -> Option<Op> {
        Some(Op::new("generate", OpValue::None))
    }

    fn call(&mut self, _: usize, _: &Op) -> Call {
        Call::Rpc(Rpc::new("generate", json!({})))
    }

    fn result_field(&self, _: &str) -> Option<&'static str> {
        Some("id")
    }

    fn answered(&mut self, _: usize, _: &Op, _: &str, field: &str) -> Result<Answered, String> {
        let id: Json = serde_json::from_str(field).map_err(|error| in_words(&error))?;
        // Integers of more than 64 bits differ by their digits.
        let is_exact = !id.is_f64();
        Ok(Answered::Done(OpValue::Json(if is_exact { id } else { field.into() })))
    }

    fn keeps_clients(&self) -> bool {
        true
    }
}
