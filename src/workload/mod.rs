//! Workloads: what clients ask, how they take the answers, and which checker judges.
//!
//! A workload is one file and one line in [`ALL`]. Its [`Workload`] is the clients' side of a run: it makes operations, turns
//! each into one or more requests, and reads the answers. What it needs of a run's options stands in [`Options`].

pub mod broadcast;
pub mod echo;
mod final_reads;
pub mod g_counter;
pub mod g_set;
pub mod kafka;
pub mod lin_kv;
mod options;
pub mod pn_counter;
mod result;
pub mod topology;
mod txn;
pub mod txn_list_append;
pub mod txn_rw_register;
pub mod unique_ids;
mod words;

use std::fmt::{self, Debug};
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use rand_pcg::Pcg64;
use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use self::final_reads::FinalReads;
pub use self::options::Options;
pub use self::result::WorkloadResult;
pub(crate) use self::words::in_words;
use crate::history::{EventKind, Flag, History, OpValue};
use crate::node::Time;

/// All workloads, in the order of their names.
pub const ALL: &[WorkloadKind] = &[
    broadcast::KIND,
    echo::KIND,
    g_counter::KIND,
    g_set::KIND,
    kafka::KIND,
    lin_kv::KIND,
    pn_counter::KIND,
    txn_list_append::KIND,
    txn_rw_register::KIND,
    unique_ids::KIND,
];

/// A workload, by its name.
#[derive(Clone, Copy)]
pub struct WorkloadKind {
    /// Its name on the command line and in the store.
    pub name: &'static str,
    /// What it is about, in some words.
    pub about: &'static str,
    /// The clients' side of a run.
    pub new: fn(&Setting<'_>) -> Box<dyn Workload>,
    /// The verdict on a whole history.
    pub check: fn(&History, &Options) -> WorkloadResult,
    /// Whether its reads show sets, which histories keep as differences.
    pub reads_sets: bool,
    /// Says what is wrong with the numbers of nodes and workers, if something is.
    pub refuses: fn(nodes: usize, workers: usize) -> Option<String>,
}

/// The number of nodes and workers is free.
const fn refuses_nothing(_: usize, _: usize) -> Option<String> {
    None
}

impl PartialEq for WorkloadKind {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Debug for WorkloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Serialize for WorkloadKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

impl ValueEnum for WorkloadKind {
    fn value_variants<'a>() -> &'a [Self] {
        ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name).help(self.about))
    }
}

/// What a workload may know of a run.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// The nodes' names.
    pub nodes: &'a [String],
    /// The number of workers, each of which talks to the node of its number modulo the number of nodes.
    pub workers: usize,
    /// The mean delay of messages between nodes.
    pub latency: Duration,
    /// What the user asked for.
    pub options: &'a Options,
}

/// An operation that a worker is to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Op {
    /// Its kind.
    pub f: &'static str,
    /// Its argument.
    pub value: OpValue,
    /// What else there is to say of it.
    pub flag: Option<Flag>,
}

impl Op {
    /// An operation of which there is nothing else to say.
    #[must_use]
    pub const fn new(f: &'static str, value: OpValue) -> Self {
        Self { f, value, flag: None }
    }

    /// A read without argument.
    pub const READ: Op = Op::new("read", OpValue::None);

    /// A read without argument, after everything has come to rest.
    pub const FINAL_READ: Op = Op { f: "read", value: OpValue::None, flag: Some(Flag::Final) };
}

/// A request of a client, but for its `msg_id`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rpc {
    /// Its type. The answer's has `_ok` after it.
    pub kind: &'static str,
    /// Its body: an object.
    pub body: Json,
}

impl Rpc {
    /// A request of that type, with the fields of that object.
    #[must_use]
    pub fn new(kind: &'static str, mut fields: Json) -> Self {
        fields["type"] = kind.into();
        Self { kind, body: fields }
    }
}

/// How an operation begins.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// With a request.
    Rpc(Rpc),
    /// It ends at once, without a request, and nobody knows whether it happened: its client is given up.
    Crash,
    /// It succeeds at once, without a request.
    Done(OpValue),
}

/// What comes after an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Answered {
    /// The operation has succeeded, with that result.
    Done(OpValue),
    /// Another request belongs to it.
    Next(Rpc),
}

/// What a worker does after everything has come to rest.
#[derive(Clone, Debug, PartialEq)]
pub enum Last {
    /// This operation; then it is asked again.
    Op(Op),
    /// Nothing until then.
    Wait(Time),
    /// Nothing more.
    Done,
}

/// The clients' side of a run. Workers are told apart by number; each does one thing at a time. Times count from when
/// clients began.
pub trait Workload: Debug + Send {
    /// A request that each client makes of its node before the first operation.
    fn setup(&self) -> Option<Rpc> {
        None
    }

    /// The next operation of a free worker; none if it has nothing to do now.
    fn next_op(&mut self, now: Time, worker: usize, rng: &mut Pcg64) -> Option<Op>;

    /// An operation of the kind that bursts are made of, if there is one.
    fn burst_op(&mut self) -> Option<Op> {
        None
    }

    /// Whether workers do something after everything has come to rest: faults are healed, and there is a quiet before.
    fn has_last(&self) -> bool {
        false
    }

    /// What a free worker does after everything has come to rest.
    fn last(&mut self, _now: Time, _worker: usize, _rng: &mut Pcg64) -> Last {
        Last::Done
    }

    /// How an operation of a worker begins.
    fn call(&mut self, worker: usize, op: &Op) -> Call;

    /// The field of the answer to that type of request that holds the result, if there is one. As in Maelstrom, an answer has
    /// that field, those that every answer has, and no others.
    fn result_field(&self, request: &str) -> Option<&'static str>;

    /// Takes an answer to a request of that type: the JSON text of its result field, which is empty if there is no such field.
    ///
    /// # Errors
    /// Says what is wrong with it.
    fn answered(&mut self, worker: usize, op: &Op, request: &str, field: &str) -> Result<Answered, String>;

    /// An operation of a worker has ended. Of one that has not succeeded the value is its argument.
    fn completed(&mut self, _worker: usize, _op: &Op, _kind: EventKind, _value: &OpValue) {}

    /// A worker is another client from now on.
    fn reopened(&mut self, _worker: usize) {}

    /// Whether an operation that got no answer did not happen, as far as anybody can tell: a read.
    fn is_idempotent(&self, _f: &str) -> bool {
        false
    }

    /// Whether an error that is definite tells that the operation did not happen. Maelstrom's clients of some workloads take
    /// every error for an unknown end.
    fn trusts_errors(&self) -> bool {
        true
    }

    /// Whether a worker of whose operation nobody knows the end goes on as the same client, if as another process.
    fn keeps_clients(&self) -> bool {
        false
    }

    /// How long a client waits for an answer.
    fn rpc_timeout(&self) -> Duration {
        Duration::from_secs(5)
    }
}

/// Reads a JSON list in which `null` stands for the empty one, as in Maelstrom.
fn list<T: serde::de::DeserializeOwned>(field: &str) -> Result<Vec<T>, String> {
    let list: Option<Vec<T>> = serde_json::from_str(field).map_err(|error| in_words(&error))?;
    Ok(list.unwrap_or_default())
}

/// Reads what a read of a set shows: integers, and what else there is.
fn set(field: &str) -> Result<OpValue, String> {
    use crate::history::Shown;
    if let Ok(values) = list(field) {
        return Ok(OpValue::Set(Shown::whole(values, Vec::new())));
    }
    let (mut values, mut strange) = (Vec::new(), Vec::new());
    for value in list::<Json>(field)? {
        match value.as_i64() {
            Some(integer) => values.push(integer),
            None => strange.push(value),
        }
    }
    Ok(OpValue::Set(Shown::whole(values, strange)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Shown;

    #[test]
    fn names_are_in_order_and_differ() {
        assert!(ALL.is_sorted_by(|a, b| a.name < b.name));
    }

    #[test]
    fn null_stands_for_the_empty_list() {
        assert_eq!(list::<i64>("null"), Ok(vec![]));
        assert_eq!(list("[1,2]"), Ok(vec![1, 2]));
        assert!(list::<i64>("{}").is_err() && list::<i64>("7").is_err());
    }

    #[test]
    fn a_read_may_show_what_is_no_integer() {
        let shown = set(r#"[2,"a",1,1.5]"#).expect("a list");
        let strange = vec!["a".into(), 1.5.into()];
        assert_eq!(shown, OpValue::Set(Shown::whole(vec![1, 2], strange)));
        assert!(set("{}").is_err());
    }
}
