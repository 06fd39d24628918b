//! The checker of the lin-kv workload: is each key a linearizable register with compare-and-set?
//!
//! A history is linearizable if each operation can be given one moment between its invocation and its
//! completion such that, taken in the order of these moments, every operation returned what a single register
//! would have returned (Herlihy and Wing 1990). A register holds null at first; a write of v makes it v; a
//! cas from a to b is legal exactly if the register holds a, and makes it b; a read of null agrees with every
//! state, as in Knossos. Failed operations are left out. Indeterminate ones, and those that never completed,
//! take effect at some moment after their invocation, or never.
//!
//! `register` turns the history into one register a key, `search` looks for an order, and `explain`
//! says in words and data why there is none. This module puts their results together. It knows histories
//! only: no clock, no network, no node.

mod explain;
#[cfg(test)]
mod naive;
mod open;
mod plan;
mod register;
mod search;
mod slots;
#[cfg(test)]
mod tests;
mod wanted;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use super::{Finding, Valid};
use crate::history::{EventKind, History, Process};
use register::{Register, Registers};
use search::Verdict;

/// The most configurations, and the most paths, that are reported for a key, as in Jepsen.
const REPORTED_MAX: usize = 10;

/// The verdict on a history of lin-kv.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LinKv {
    /// The worst of the keys' verdicts; at best unknown if an operation was unreadable.
    pub valid: Valid,
    /// By key, as JSON text. Serialized with integers in numeric order, then other keys in the order of their
    /// text.
    #[serde(serialize_with = "in_order_of_keys")]
    pub results: BTreeMap<String, KeyResult>,
    /// The keys that are not linearizable, in the same order.
    pub failures: Vec<String>,
    /// What operations name no key, so that no register can account for them; at most ten.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
}

/// The verdict on one key. All but `valid` and `reason` is there only if the key is not linearizable.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct KeyResult {
    /// True, false, or unknown.
    pub valid: Valid,
    /// Why the verdict is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The operation that has no place: when it completed, no order of the operations so far explained it,
    /// while immediately before there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub op: Option<Operation>,
    /// The ok operation that completed last before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_ok: Option<Operation>,
    /// The operation that set the state in the first of `configs`; none if the key still had no value there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_op: Option<Operation>,
    /// How things could stand immediately before `op` completed; at most ten.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub configs: Vec<Config>,
    /// Orders that were tried from there, shortest first, each ending with `op` not being legal; at most ten.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub final_paths: Vec<Vec<Step>>,
    /// The failure in words.
    #[serde(skip)]
    finding: Option<Finding>,
}

/// An operation as reports show it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Operation {
    /// Who.
    pub process: Process,
    /// Ok or info.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// `read`, `write` or `cas`.
    pub f: String,
    /// The value read or written, or `[from, to]`.
    pub value: Json,
    /// When it was invoked, in milliseconds since clients began.
    pub invoked_ms: f64,
    /// When it completed, in milliseconds since clients began; none if it never did.
    pub completed_ms: Option<f64>,
    /// The indices of its events in the history.
    pub events: Vec<usize>,
}

/// One way in which things can stand at some moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Config {
    /// What the register holds.
    pub model: Json,
    /// The operation that set this; none if it is the initial null.
    pub last_op: Option<Operation>,
    /// The open operations that can still change it.
    pub pending: Vec<Operation>,
}

/// One step of an order that was tried.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Step {
    /// The operation; none for the initial null.
    pub op: Option<Operation>,
    /// What the register holds afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Json>,
    /// Why the operation is not legal here, at the end of a path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inconsistent: Option<String>,
}

/// Checks each key of a history of reads (`[key, null]`, ok `[key, value read]`), writes (`[key, value]`) and
/// compare-and-sets (`[key, [from, to]]`). Keys and values may be any JSON and are compared by value: 1 and
/// 1.0 differ, as do 1 and "1".
///
/// Takes any history and never panics. An operation that can't be read makes the verdict of its key unknown,
/// and one that doesn't even name its key that of the history; so does a search that reaches its bounds.
#[must_use]
pub fn lin_kv(history: &History) -> LinKv {
    let registers = Registers::of(history);
    let mut results = BTreeMap::new();
    for register in &registers.all {
        results.insert(register.key.to_string(), judge(register));
    }
    let mut failures: Vec<String> = results
        .iter()
        .filter(|(_, result)| result.valid == Valid::False)
        .map(|(key, _)| key.clone())
        .collect();
    failures.sort_by(|a, b| compare_keys(a, b));
    let readable = if registers.unreadable.is_empty() { Valid::True } else { Valid::Unknown };
    let valid = results.values().map(|result| result.valid).fold(readable, Valid::max);
    let unreadable = registers.unreadable.into_iter().take(REPORTED_MAX).collect();
    LinKv { valid, results, failures, unreadable }
}

impl LinKv {
    /// The mistake in words, with the first failed key as its example and the number of failed keys as its
    /// count; nothing if no key failed.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let first = self.failures.first().and_then(|key| self.results.get(key)?.finding.clone());
        first.into_iter().map(|finding| Finding { count: self.failures.len(), ..finding }).collect()
    }
}

impl KeyResult {
    fn without_details(valid: Valid, reason: Option<String>) -> Self {
        KeyResult {
            valid,
            reason,
            op: None,
            previous_ok: None,
            last_op: None,
            configs: Vec::new(),
            final_paths: Vec::new(),
            finding: None,
        }
    }
}

fn judge(register: &Register<'_>) -> KeyResult {
    if let Some(reason) = &register.unreadable {
        return KeyResult::without_details(Valid::Unknown, Some(reason.clone()));
    }
    match search::search(register) {
        Verdict::Linearizable => KeyResult::without_details(Valid::True, None),
        Verdict::GaveUp(reason) => KeyResult::without_details(Valid::Unknown, Some(reason)),
        Verdict::Stuck(stuck) => explain::failure(register, &stuck),
    }
}

fn in_order_of_keys<S: Serializer>(
    results: &BTreeMap<String, KeyResult>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut ordered: Vec<_> = results.iter().collect();
    ordered.sort_by(|(a, _), (b, _)| compare_keys(a, b));
    let mut map = serializer.serialize_map(Some(ordered.len()))?;
    for (key, result) in ordered {
        map.serialize_entry(key, result)?;
    }
    map.end()
}

/// Integers come first, in numeric order.
fn compare_keys(a: &str, b: &str) -> Ordering {
    match (a.parse::<i64>(), b.parse::<i64>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => a.cmp(b),
    }
}
