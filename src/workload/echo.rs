//! Values come back as they were sent.

use rand::RngExt;
use rand_pcg::Pcg64;
use serde_json::json;

use super::{Answered, Call, Op, Rpc, Workload, WorkloadKind, WorkloadResult, in_words, refuses_nothing};
use crate::check::echo;
use crate::history::OpValue;
use crate::node::Time;

/// echo.
pub const KIND: WorkloadKind = WorkloadKind {
    name: "echo",
    about: "Values come back as they were sent",
    new: |_| Box::new(Echo),
    check: |history, _| {
        let result = echo::echo(history);
        let lines = vec![("wrong echoes", result.summary())];
        WorkloadResult::new(result.valid, &result).with(result.findings(history), lines)
    },
    reads_sets: false,
    refuses: refuses_nothing,
};

#[derive(Debug)]
struct Echo;

impl Workload for Echo {
    fn next_op(&mut self, _: Time, _: usize, rng: &mut Pcg64) -> Option<Op> {
        let text = format!("Please echo {}", rng.random_range(0..128));
        Some(Op::new("echo", OpValue::Json(json!(text))))
    }

    fn burst_op(&mut self) -> Option<Op> {
        Some(Op::new("echo", OpValue::Json(json!("Please echo a burst"))))
    }

    fn call(&mut self, _: usize, op: &Op) -> Call {
        Call::Rpc(Rpc::new("echo", json!({ "echo": op.value })))
    }

    fn result_field(&self, _: &str) -> Option<&'static str> {
        Some("echo")
    }

    fn answered(&mut self, _: usize, _: &Op, _: &str, field: &str) -> Result<Answered, String> {
        let value = serde_json::from_str(field).map_err(|error| in_words(&error))?;
        Ok(Answered::Done(OpValue::Json(value)))
    }
}
