//! Workloads: what clients ask, how they take the answers, and what is checked in the end.

mod broadcast;
mod echo;
mod unique_ids;

use std::fmt::Debug;

use rand_pcg::Pcg64;
use serde::Serialize;
use serde_json::Value as Json;

use crate::check::set_full::SetFull;
use crate::check::{EchoResult, UniqueIdsResult, Valid};
use crate::cluster::scenario::{Scenario, WorkloadKind};
use crate::history::{History, OpValue};

/// An operation that a client is to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Op {
    /// Its kind.
    pub f: &'static str,
    /// Its argument.
    pub value: OpValue,
}

/// What clients ask, how they take the answers, and what is checked in the end.
pub trait Workload: Debug + Send {
    /// A request that each client makes of its node before the first operation.
    fn setup(&self) -> Option<Json> {
        None
    }

    /// The next operation, of an endless supply.
    fn next_op(&mut self, rng: &mut Pcg64) -> Op;

    /// An operation of the kind that bursts are made of, if there is one.
    fn burst_op(&mut self) -> Option<Op> {
        None
    }

    /// The operation that each client does last, after everything has come to rest.
    fn final_op(&self) -> Option<Op> {
        None
    }

    /// The request for an operation: a body without `msg_id`. Its reply has the same type with `_ok` after it.
    fn request(&self, op: &Op) -> Json;

    /// The field of the reply that holds the operation's result, if it has one.
    fn result_field(&self, op: &Op) -> Option<&'static str>;

    /// The result of an operation that succeeded, from the JSON text of its reply's result field, which is
    /// empty if there is no such field.
    ///
    /// # Errors
    /// Says what is wrong with it.
    fn result(&self, op: &Op, field: &str) -> Result<OpValue, String>;

    /// Whether an operation that got no answer did not happen, as far as anybody can tell: a read.
    fn is_idempotent(&self, f: &str) -> bool;

    /// The verdict on a whole history.
    fn check(&self, history: &History) -> WorkloadResult;
}

/// A workload's verdict.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum WorkloadResult {
    /// Of echo.
    Echo(EchoResult),
    /// Of unique ids.
    UniqueIds(UniqueIdsResult),
    /// Of broadcast.
    Broadcast(Box<SetFull>),
}

impl WorkloadResult {
    /// The verdict itself.
    #[must_use]
    pub fn valid(&self) -> Valid {
        match self {
            WorkloadResult::Echo(result) => result.valid,
            WorkloadResult::UniqueIds(result) => result.valid,
            WorkloadResult::Broadcast(result) => result.valid,
        }
    }
}

/// The workload that a scenario asks for.
#[must_use]
pub fn of(scenario: &Scenario) -> Box<dyn Workload> {
    match scenario.workload {
        WorkloadKind::Echo => Box::new(echo::Echo),
        WorkloadKind::UniqueIds => Box::new(unique_ids::UniqueIds),
        WorkloadKind::Broadcast => Box::new(broadcast::Broadcast::new(scenario)),
    }
}
