//! Ids are never handed out twice.

use rand_pcg::Pcg64;
use serde_json::{Value as Json, json};

use super::{Op, Workload, WorkloadResult};
use crate::check;
use crate::history::{History, OpValue};

#[derive(Debug)]
pub(super) struct UniqueIds;

impl Workload for UniqueIds {
    fn next_op(&mut self, _: &mut Pcg64) -> Op {
        Op { f: "generate", value: OpValue::None }
    }

    fn request(&self, _: &Op) -> Json {
        json!({ "type": "generate" })
    }

    fn result_field(&self, _: &Op) -> Option<&'static str> {
        Some("id")
    }

    fn result(&self, _: &Op, field: &str) -> Result<OpValue, String> {
        serde_json::from_str(field).map(OpValue::Json).map_err(|error| error.to_string())
    }

    fn is_idempotent(&self, _: &str) -> bool {
        false
    }

    fn check(&self, history: &History) -> WorkloadResult {
        WorkloadResult::UniqueIds(check::unique_ids(history))
    }
}
