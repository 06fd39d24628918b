//! A set that only grows: what was added is shown by every read in the end.

use rand::RngExt;
use rand_pcg::Pcg64;
use serde_json::json;

use super::{
    Answered, Call, FinalReads, Last, Op, Rpc, Workload, WorkloadKind, WorkloadResult, refuses_nothing, set,
};
use crate::check::set_full::set_full;
use crate::history::OpValue;
use crate::node::Time;

/// g-set.
pub const KIND: WorkloadKind = WorkloadKind {
    name: "g-set",
    about: "A set that only grows: every read shows all of it in the end",
    new: |_| Box::new(GSet::default()),
    check: |history, options| {
        WorkloadResult::of_set(history, set_full(history, options.strict_maelstrom), "added")
    },
    reads_sets: true,
    refuses: refuses_nothing,
};

#[derive(Debug, Default)]
struct GSet {
    next_element: i64,
    final_reads: FinalReads,
}

impl Workload for GSet {
    fn next_op(&mut self, _: Time, _: usize, rng: &mut Pcg64) -> Option<Op> {
        if rng.random() {
            return Some(Op::READ);
        }
        let element = self.next_element;
        self.next_element += 1;
        Some(Op::new("add", OpValue::Int(element)))
    }

    fn has_last(&self) -> bool {
        true
    }

    fn last(&mut self, _: Time, worker: usize, _: &mut Pcg64) -> Last {
        self.final_reads.next(worker, Op::READ)
    }

    fn call(&mut self, _: usize, op: &Op) -> Call {
        Call::Rpc(match &op.value {
            OpValue::Int(element) => Rpc::new("add", json!({ "element": element })),
            _ => Rpc::new("read", json!({})),
        })
    }

    fn result_field(&self, request: &str) -> Option<&'static str> {
        (request == "read").then_some("value")
    }

    fn answered(&mut self, _: usize, op: &Op, request: &str, field: &str) -> Result<Answered, String> {
        Ok(Answered::Done(if request == "read" { set(field)? } else { op.value.clone() }))
    }

    fn trusts_errors(&self) -> bool {
        false
    }
}
