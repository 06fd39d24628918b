//! A counter that goes up and down, and its half that only goes up (g-counter).

use rand::RngExt;
use rand_pcg::Pcg64;
use serde_json::json;

use super::{
    Answered, Call, FinalReads, Last, Op, Rpc, Workload, WorkloadKind, WorkloadResult, in_words,
    refuses_nothing,
};
use crate::check::counter::counter;
use crate::history::{History, OpValue};
use crate::node::Time;

/// pn-counter.
pub const KIND: WorkloadKind = WorkloadKind {
    name: "pn-counter",
    about: "A counter that goes up and down: every final read shows the sum",
    new: |_| Box::new(Counter::new(-5)),
    check: |history, _| check(history),
    reads_sets: false,
    refuses: refuses_nothing,
};

pub(super) fn check(history: &History) -> WorkloadResult {
    let result = counter(history);
    let lines = vec![("counter", result.summary())];
    WorkloadResult::new(result.valid, &result).with(result.findings(history), lines)
}

/// Whether a JSON number is an integer, of any size.
fn is_integer(number: &str) -> bool {
    let digits = number.strip_prefix('-').unwrap_or(number);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The clients of a counter.
#[derive(Debug)]
pub(super) struct Counter {
    /// Additions below are drawn, and not made.
    least: i64,
    final_reads: FinalReads,
}

impl Counter {
    /// Additions of at least that much.
    pub(super) fn new(least: i64) -> Self {
        Self { least, final_reads: FinalReads::default() }
    }
}

impl Workload for Counter {
    fn next_op(&mut self, _: Time, _: usize, rng: &mut Pcg64) -> Option<Op> {
        loop {
            if rng.random() {
                return Some(Op::READ);
            }
            let delta = rng.random_range(-5..5);
            if delta >= self.least {
                return Some(Op::new("add", OpValue::Int(delta)));
            }
        }
    }

    fn has_last(&self) -> bool {
        true
    }

    fn last(&mut self, _: Time, worker: usize, _: &mut Pcg64) -> Last {
        self.final_reads.next(worker, Op::FINAL_READ)
    }

    fn call(&mut self, _: usize, op: &Op) -> Call {
        Call::Rpc(match &op.value {
            OpValue::Int(delta) => Rpc::new("add", json!({ "delta": delta })),
            _ => Rpc::new("read", json!({})),
        })
    }

    fn result_field(&self, request: &str) -> Option<&'static str> {
        (request == "read").then_some("value")
    }

    fn answered(&mut self, _: usize, op: &Op, request: &str, field: &str) -> Result<Answered, String> {
        Ok(Answered::Done(if request == "read" {
            match serde_json::from_str::<i64>(field) {
                Ok(value) => OpValue::Int(value),
                // An integer as well, if none that can be right.
                Err(_) if is_integer(field) => OpValue::Json(field.into()),
                Err(error) => return Err(in_words(&error)),
            }
        } else {
            op.value.clone()
        }))
    }

    fn trusts_errors(&self) -> bool {
        false
    }
}
