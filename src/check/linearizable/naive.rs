//! The naive twin: tries every order, and remembers nothing. It reads the history by itself and shares no
//! code with the checker, so that the two don't make the same mistake. Good for about ten operations.

use std::collections::{HashMap, HashSet};

use serde_json::Value as Json;

use crate::history::{Event, EventKind, History, Process};

/// One operation that may have taken effect.
#[derive(Clone, Debug)]
pub(super) struct Call {
    f: String,
    value: Json,
    invoked: usize,
    /// `usize::MAX` if it need not take effect.
    completed: usize,
}

/// Whether `left` can be put into an order, starting with `state`.
pub(super) fn linearizable(left: &[Call], state: &Json) -> bool {
    let first_completion = left.iter().map(|call| call.completed).min().unwrap_or(usize::MAX);
    if first_completion == usize::MAX {
        return true;
    }
    (0..left.len()).filter(|&at| left[at].invoked < first_completion).any(|at| {
        let mut rest = left.to_vec();
        let next = rest.remove(at);
        apply(&next, state).is_some_and(|after| linearizable(&rest, &after))
    })
}

fn apply(call: &Call, state: &Json) -> Option<Json> {
    match call.f.as_str() {
        "read" => (call.value.is_null() || call.value == *state).then(|| state.clone()),
        "write" => Some(call.value.clone()),
        _ => (call.value[0] == *state).then(|| call.value[1].clone()),
    }
}

/// The operations on each key, by the key's JSON.
pub(super) fn calls_by_key(history: &History) -> HashMap<String, Vec<Call>> {
    let mut calls: HashMap<String, Vec<Call>> = HashMap::new();
    let mut open: HashMap<Process, &Event> = HashMap::new();
    for event in history.events() {
        if event.kind == EventKind::Invoke {
            open.insert(event.process, event);
        } else if let Some(invocation) = open.remove(&event.process) {
            add(&mut calls, invocation, Some(event));
        }
    }
    open.into_values().for_each(|invocation| add(&mut calls, invocation, None));
    calls
}

fn add(calls: &mut HashMap<String, Vec<Call>>, invocation: &Event, completion: Option<&Event>) {
    let of_key = calls.entry(invocation.value.to_json()[0].to_string()).or_default();
    let ok = completion.filter(|event| event.kind == EventKind::Ok);
    if completion.is_none_or(|event| event.kind != EventKind::Fail) {
        of_key.push(Call {
            f: invocation.f.to_string(),
            value: ok.unwrap_or(invocation).value.to_json()[1].clone(),
            invoked: invocation.index,
            completed: ok.map_or(usize::MAX, |event| event.index),
        });
    }
}

/// Whether each key is linearizable.
pub(super) fn lin_kv(history: &History) -> HashMap<String, bool> {
    let keys = calls_by_key(history).into_iter();
    keys.map(|(key, calls)| (key, linearizable(&calls, &Json::Null))).collect()
}

/// The same search with one trick, so that it can do about forty operations: it remembers what it tried in
/// vain, as (operations placed, state).
pub(super) fn linearizable_with_memory(calls: &[Call]) -> bool {
    fn search(calls: &[Call], placed: u64, state: &Json, vain: &mut HashSet<(u64, Json)>) -> bool {
        let left = || (0..calls.len()).filter(|at| placed & (1 << at) == 0);
        let first_completion = left().map(|at| calls[at].completed).min().unwrap_or(usize::MAX);
        if first_completion == usize::MAX {
            return true;
        }
        vain.insert((placed, state.clone()))
            && left().filter(|&at| calls[at].invoked < first_completion).any(|at| {
                apply(&calls[at], state).is_some_and(|after| search(calls, placed | 1 << at, &after, vain))
            })
    }
    assert!(calls.len() < 64);
    search(calls, 0, &Json::Null, &mut HashSet::new())
}
