//! Values come back as they were sent.

use rand::RngExt;
use rand_pcg::Pcg64;
use serde_json::{Value as Json, json};

use super::{Op, Workload, WorkloadResult};
use crate::check;
use crate::history::{History, OpValue};

#[derive(Debug)]
pub(super) struct Echo;

impl Workload for Echo {
    fn next_op(&mut self, rng: &mut Pcg64) -> Op {
        let text = format!("Please echo {}", rng.random_range(0..128));
        Op { f: "echo", value: OpValue::Json(json!(text)) }
    }

    fn request(&self, op: &Op) -> Json {
        json!({ "type": "echo", "echo": op.value })
    }

    fn result_field(&self, _: &Op) -> Option<&'static str> {
        Some("echo")
    }

    fn result(&self, _: &Op, field: &str) -> Result<OpValue, String> {
        serde_json::from_str(field).map(OpValue::Json).map_err(|error| error.to_string())
    }

    fn is_idempotent(&self, _: &str) -> bool {
        false
    }

    fn check(&self, history: &History) -> WorkloadResult {
        WorkloadResult::Echo(check::echo(history))
    }
}
