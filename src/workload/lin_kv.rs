//! A key-value store that must be linearizable: reads, writes and compare-and-set of many keys, one after the other.
//!
//! Workers are split, in the order of their numbers, into groups of twice as many as there are nodes. A group works at one
//! key: its first half reads, the other half writes, or compares and sets, which is twice as likely. A group takes the next
//! key that nobody has used when too many of its clients have been given up for one checker to follow.

use std::time::Duration;

use rand::RngExt;
use rand_pcg::Pcg64;
use serde_json::{Value as Json, json};

use super::{Answered, Call, Op, Rpc, Setting, Workload, WorkloadKind, WorkloadResult, in_words};
use crate::check::linearizable::lin_kv;
use crate::history::{EventKind, OpValue};
use crate::node::Time;

/// lin-kv.
pub const KIND: WorkloadKind = WorkloadKind {
    name: "lin-kv",
    about: "A key-value store that is linearizable",
    new: |setting| Box::new(LinKv::new(setting)),
    check: |history, _| {
        let result = lin_kv(history);
        let line = format!("{} checked, {} not linearizable", result.results.len(), result.failures.len());
        WorkloadResult::new(result.valid, &result).with(result.findings(), vec![("keys", line)])
    },
    reads_sets: false,
    refuses: |nodes, workers| {
        let group = 2 * nodes;
        let multiples = format!("lin-kv needs a multiple of {group} clients, twice the number of nodes");
        (!workers.is_multiple_of(group))
            .then(|| format!("{multiples}, and there are {workers}: try --concurrency 2n"))
    },
};

/// Values that are written and compared with.
const VALUES: std::ops::Range<i64> = 0..5;
/// The most processes that a key sees.
const PROCESSES_MAX: usize = 20;

#[derive(Debug)]
struct LinKv {
    /// How many workers a group has.
    size: usize,
    groups: Vec<Group>,
    next_key: i64,
    timeout: Duration,
}

#[derive(Debug)]
struct Group {
    key: i64,
    /// How many of its clients' operations have ended in a way that nobody knows.
    unknown: usize,
}

impl LinKv {
    fn new(setting: &Setting<'_>) -> Self {
        let size = 2 * setting.nodes.len();
        let groups = setting.workers.div_ceil(size);
        Self {
            size,
            groups: (0..groups).map(|group| Group { key: group as i64, unknown: 0 }).collect(),
            next_key: groups as i64,
            // Maelstrom's.
            timeout: (10 * setting.latency).max(Duration::from_secs(1)),
        }
    }

    /// How many clients of a group may be given up at one key. Where a group has more workers than a key may see processes,
    /// Maelstrom never gets to an operation.
    fn unknown_max(&self) -> usize {
        PROCESSES_MAX.saturating_sub(self.size).max(1)
    }
}

impl Workload for LinKv {
    fn next_op(&mut self, _: Time, worker: usize, rng: &mut Pcg64) -> Option<Op> {
        let group = &self.groups[worker / self.size];
        let mut draw = || rng.random_range(VALUES);
        let (f, argument) = if worker % self.size < self.size / 2 {
            ("read", Json::Null)
        } else {
            let (a, b) = (draw(), draw());
            if rng.random_range(0..3) == 0 { ("write", json!(a)) } else { ("cas", json!([a, b])) }
        };
        Some(Op::new(f, OpValue::Json(json!([group.key, argument]))))
    }

    fn call(&mut self, _: usize, op: &Op) -> Call {
        let value = op.value.to_json();
        let (key, argument) = (&value[0], &value[1]);
        Call::Rpc(match op.f {
            "read" => Rpc::new("read", json!({ "key": key })),
            "write" => Rpc::new("write", json!({ "key": key, "value": argument })),
            _ => Rpc::new("cas", json!({ "key": key, "from": argument[0], "to": argument[1] })),
        })
    }

    fn result_field(&self, request: &str) -> Option<&'static str> {
        (request == "read").then_some("value")
    }

    fn answered(&mut self, _: usize, op: &Op, request: &str, field: &str) -> Result<Answered, String> {
        if request != "read" {
            return Ok(Answered::Done(op.value.clone()));
        }
        let value: Json = serde_json::from_str(field).map_err(|error| in_words(&error))?;
        Ok(Answered::Done(OpValue::Json(json!([op.value.to_json()[0], value]))))
    }

    fn completed(&mut self, worker: usize, op: &Op, kind: EventKind, _: &OpValue) {
        let unknown_max = self.unknown_max();
        let group = &mut self.groups[worker / self.size];
        if kind != EventKind::Info || op.value.to_json()[0] != group.key {
            return;
        }
        group.unknown += 1;
        if group.unknown > unknown_max {
            *group = Group { key: self.next_key, unknown: 0 };
            self.next_key += 1;
        }
    }

    fn is_idempotent(&self, f: &str) -> bool {
        f == "read"
    }

    fn keeps_clients(&self) -> bool {
        true
    }

    fn rpc_timeout(&self) -> Duration {
        self.timeout
    }
}
