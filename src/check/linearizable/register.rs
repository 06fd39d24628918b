//! From a history to the operations on each key, with keys and values turned into small integers.
//!
//! A set of keys is linearizable exactly if each key is (Herlihy and Wing 1990, "locality"), so each key is a
//! register of its own from here on. What cannot be read is reported here and nothing panics:
//! - an operation whose value has not the shape `[key, …]` is listed in `Registers::unreadable`;
//! - an operation that names its key but is otherwise malformed, an unknown `f`, and a completion without an
//!   invocation make their register unreadable, unless the operation failed and so has no effect anyway;
//! - a process that invokes again before its operation completed leaves the first one indeterminate.

use std::collections::HashMap;

use serde_json::Value as Json;

use crate::history::{Event, EventKind, History, OpValue, Process};

/// A value of a register: an index into [`Register::values`].
pub(super) type Value = u32;

/// What a register holds before anything was written, `null`.
pub(super) const NULL: Value = 0;

/// What an operation asks of the register and does to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Action {
    /// Nothing: it returned null, which agrees with every state, or it has not returned.
    Nothing,
    /// The register holds the value, and keeps it: a read, or a cas from a value to itself.
    Read(Value),
    /// The register holds the value afterwards.
    Write(Value),
    /// The register holds `from`, and `to` afterwards. The two differ.
    Cas { from: Value, to: Value },
}

impl Action {
    /// What the register must hold for this action to be legal.
    pub(super) fn needs(self) -> Option<Value> {
        match self {
            Action::Read(value) | Action::Cas { from: value, .. } => Some(value),
            Action::Nothing | Action::Write(_) => None,
        }
    }

    /// What the register holds afterwards, if this action sets it.
    pub(super) fn makes(self) -> Option<Value> {
        match self {
            Action::Write(value) | Action::Cas { to: value, .. } => Some(value),
            Action::Nothing | Action::Read(_) => None,
        }
    }
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It took effect between its invocation and its completion.
    Ok,
    /// It takes effect at some time after its invocation, or never.
    Info,
    /// It never takes effect.
    Fail,
}

/// One operation on a register.
#[derive(Clone, Copy, Debug)]
pub(super) struct Op<'a> {
    pub(super) action: Action,
    pub(super) outcome: Outcome,
    pub(super) invocation: &'a Event,
    /// None if it never completed.
    pub(super) completion: Option<&'a Event>,
}

impl Op<'_> {
    /// The index of the event by which the operation has taken effect; `usize::MAX` if there is no such
    /// event.
    pub(super) fn deadline(&self) -> usize {
        match (self.outcome, self.completion) {
            (Outcome::Ok, Some(completion)) => completion.index,
            _ => usize::MAX,
        }
    }
}

/// The operations on one key, in the order of their invocations.
#[derive(Debug)]
pub(super) struct Register<'a> {
    pub(super) key: &'a Json,
    pub(super) ops: Vec<Op<'a>>,
    /// The values that occur; the first is null.
    pub(super) values: Vec<&'a Json>,
    /// Why no verdict is possible, if an operation can't be read.
    pub(super) unreadable: Option<String>,
    numbers: HashMap<&'a Json, Value>,
}

/// All registers of a history, in the order in which their keys appear.
#[derive(Debug, Default)]
pub(super) struct Registers<'a> {
    pub(super) all: Vec<Register<'a>>,
    /// Operations that name no key, each with its event's index.
    pub(super) unreadable: Vec<String>,
    by_key: HashMap<&'a Json, usize>,
}

/// An invocation with its completion, or what there is of the two.
type Call<'a> = (Option<&'a Event>, Option<&'a Event>);

impl<'a> Registers<'a> {
    pub(super) fn of(history: &'a History) -> Self {
        let mut registers = Registers::default();
        for call in calls(history) {
            registers.add(call);
        }
        registers
    }

    fn add(&mut self, call: Call<'a>) {
        let Some(event) = call.0.or(call.1) else { return };
        let failed = call.1.is_some_and(|completion| completion.kind == EventKind::Fail);
        match pair_of(event) {
            Some((key, _)) => self.register(key).add(call),
            None if failed => {}
            None => self.unreadable.push(format!(
                "the {} at index {} names no key: its value is {}",
                event.f,
                event.index,
                event.value.to_json()
            )),
        }
    }

    fn register(&mut self, key: &'a Json) -> &mut Register<'a> {
        let at = *self.by_key.entry(key).or_insert_with(|| {
            self.all.push(Register::new(key));
            self.all.len() - 1
        });
        &mut self.all[at]
    }
}

impl<'a> Register<'a> {
    fn new(key: &'a Json) -> Self {
        let numbers = HashMap::from([(&Json::Null, NULL)]);
        Register { key, ops: Vec::new(), values: vec![&Json::Null], unreadable: None, numbers }
    }

    fn add(&mut self, call: Call<'a>) {
        let (Some(invocation), completion) = call else {
            return self.refuse(call, "completes an operation that was never invoked");
        };
        let outcome = match completion.map(|event| event.kind) {
            Some(EventKind::Ok) => Outcome::Ok,
            Some(EventKind::Fail) => Outcome::Fail,
            _ => Outcome::Info,
        };
        if completion.is_some_and(|event| event.f != invocation.f) {
            return self.refuse(call, "was completed as another function");
        }
        match self.action(invocation, completion.filter(|_| outcome == Outcome::Ok)) {
            Ok(action) => self.ops.push(Op { action, outcome, invocation, completion }),
            Err(problem) => self.refuse(call, problem),
        }
    }

    /// A read's value is in its completion, every other operation's in its invocation.
    fn action(&mut self, invocation: &'a Event, ok: Option<&'a Event>) -> Result<Action, &'static str> {
        let (key, argument) = pair_of(invocation).ok_or("names no key")?;
        match &*invocation.f {
            "read" => {
                let Some(ok) = ok else { return Ok(Action::Nothing) };
                let (answered, value) = pair_of(ok).ok_or("has no value [key, value read]")?;
                if answered != key {
                    return Err("was completed with another key");
                }
                Ok(if value.is_null() { Action::Nothing } else { Action::Read(self.number(value)) })
            }
            "write" => Ok(Action::Write(self.number(argument))),
            "cas" => {
                let (from, to) = pair(argument).ok_or("has no value [key, [from, to]]")?;
                let (from, to) = (self.number(from), self.number(to));
                Ok(if from == to { Action::Read(from) } else { Action::Cas { from, to } })
            }
            _ => Err("is not a read, write or cas"),
        }
    }

    fn number(&mut self, value: &'a Json) -> Value {
        *self.numbers.entry(value).or_insert_with(|| {
            self.values.push(value);
            self.values.len() as Value - 1
        })
    }

    /// Notes that a call can't be read, unless it has no effect anyway. The first problem is kept.
    fn refuse(&mut self, (invocation, completion): Call<'a>, problem: &str) {
        let failed = completion.is_some_and(|event| event.kind == EventKind::Fail);
        let (Some(event), false) = (invocation.or(completion), failed) else { return };
        self.unreadable.get_or_insert_with(|| format!("the {} at index {} {problem}", event.f, event.index));
    }
}

/// The clients' operations in the order of their first events.
fn calls(history: &History) -> Vec<Call<'_>> {
    let mut open: HashMap<Process, &Event> = HashMap::new();
    let mut calls: Vec<Call<'_>> = Vec::new();
    for event in history.by_clients() {
        if event.kind == EventKind::Invoke {
            let abandoned = open.insert(event.process, event);
            calls.extend(abandoned.map(|invocation| (Some(invocation), None)));
        } else {
            calls.push((open.remove(&event.process), Some(event)));
        }
    }
    calls.extend(open.into_values().map(|invocation| (Some(invocation), None)));
    calls
        .sort_unstable_by_key(|(invocation, completion)| invocation.or(*completion).map(|event| event.index));
    calls
}

fn pair_of(event: &Event) -> Option<(&Json, &Json)> {
    match &event.value {
        OpValue::Json(json) => pair(json),
        OpValue::None | OpValue::Int(_) | OpValue::Set(_) => None,
    }
}

fn pair(json: &Json) -> Option<(&Json, &Json)> {
    match json.as_array()?.as_slice() {
        [first, second] => Some((first, second)),
        _ => None,
    }
}
