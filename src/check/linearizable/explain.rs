//! Why a register is not linearizable: as data, for reports, and as a paragraph for the author of the node.
//!
//! All of this describes the moment at which the search ended: the operation that has no place, what the
//! register could hold immediately before that operation completed, and what else was going on.

use std::collections::{BTreeSet, VecDeque};

use serde_json::{Value as Json, json};

use super::register::{Action, NULL, Op, Outcome, Register, Value};
use super::search::{Possibility, Stuck};
use super::{Config, KeyResult, Operation, REPORTED_MAX, Step};
use crate::check::{Finding, Valid};
use crate::history::{Event, EventKind, Process};

/// The most states, or operations, that a sentence lists before it says how many more there are.
const LISTED_MAX: usize = 4;

/// The result for a register whose search got stuck.
pub(super) fn failure(register: &Register<'_>, stuck: &Stuck) -> KeyResult {
    let failure = Failure { register, stuck, op: &register.ops[stuck.op] };
    KeyResult {
        valid: Valid::False,
        reason: None,
        op: Some(failure.operation(stuck.op)),
        previous_ok: failure.previous_ok(),
        last_op: stuck.before.first().and_then(|first| first.set_by).map(|op| failure.operation(op)),
        configs: stuck.before.iter().take(REPORTED_MAX).map(|config| failure.config(config)).collect(),
        final_paths: failure.final_paths(),
        finding: Some(failure.finding()),
    }
}

struct Failure<'a> {
    register: &'a Register<'a>,
    stuck: &'a Stuck,
    /// The operation that has no place.
    op: &'a Op<'a>,
}

/// An order that is being tried from some possibility on.
struct Attempt<'a> {
    from: &'a Possibility,
    /// What was placed, with the state after it.
    placed: Vec<(usize, Value)>,
}

impl Failure<'_> {
    fn operation(&self, op: usize) -> Operation {
        let op = &self.register.ops[op];
        let kind = if op.outcome == Outcome::Ok { EventKind::Ok } else { EventKind::Info };
        Operation {
            process: op.invocation.process,
            kind,
            f: op.invocation.f.to_string(),
            value: value_of(op),
            invoked_ms: milliseconds(op.invocation),
            completed_ms: op.completion.map(milliseconds),
            events: events_of(op).collect(),
        }
    }

    fn previous_ok(&self) -> Option<Operation> {
        let earlier = |op: &&Op<'_>| op.outcome == Outcome::Ok && op.deadline() < self.op.deadline();
        let ops = self.register.ops.iter().enumerate().filter(|(_, op)| earlier(op));
        ops.max_by_key(|(_, op)| op.deadline()).map(|(number, _)| self.operation(number))
    }

    fn config(&self, possibility: &Possibility) -> Config {
        Config {
            model: self.json(possibility.state),
            last_op: possibility.set_by.map(|op| self.operation(op)),
            pending: self.others(possibility).take(REPORTED_MAX).map(|op| self.operation(op)).collect(),
        }
    }

    /// What may be placed next, without the operation that has no place.
    fn others<'b>(&self, possibility: &'b Possibility) -> impl Iterator<Item = usize> + use<'b> {
        let without = self.stuck.op;
        possibility.may.iter().copied().filter(move |&op| op != without)
    }

    fn json(&self, value: Value) -> Json {
        self.register.values[value as usize].clone()
    }

    /// Breadth first, so that short paths come first. Every path is legal up to the operation that has no
    /// place.
    fn final_paths(&self) -> Vec<Vec<Step>> {
        let begin = |from| Attempt { from, placed: Vec::new() };
        let mut attempts: VecDeque<Attempt<'_>> = self.stuck.before.iter().map(begin).collect();
        let mut paths = Vec::new();
        while let Some(attempt) = attempts.pop_front() {
            paths.push(self.path(&attempt));
            if paths.len() == REPORTED_MAX {
                break;
            }
            if attempts.len() < REPORTED_MAX {
                attempts.extend(self.longer(&attempt));
            }
        }
        paths
    }

    fn longer<'b>(&self, attempt: &Attempt<'b>) -> Vec<Attempt<'b>> {
        let state = attempt.state();
        let unused = |op: &usize| attempt.placed.iter().all(|(placed, _)| placed != op);
        let legal = |op: usize| {
            let action = self.register.ops[op].action;
            let is_legal = action.needs().is_none_or(|value| value == state);
            let placed = attempt.placed.iter().copied();
            let made = action.makes().filter(|made| is_legal && *made != state)?;
            Some(Attempt { from: attempt.from, placed: placed.chain([(op, made)]).collect() })
        };
        self.others(attempt.from).filter(unused).filter_map(legal).collect()
    }

    fn path(&self, attempt: &Attempt<'_>) -> Vec<Step> {
        let first = (attempt.from.set_by, attempt.from.state);
        let placed = attempt.placed.iter().map(|&(op, state)| (Some(op), state));
        let mut steps: Vec<Step> = [first]
            .into_iter()
            .chain(placed)
            .map(|(op, state)| Step {
                op: op.map(|op| self.operation(op)),
                model: Some(self.json(state)),
                inconsistent: None,
            })
            .collect();
        steps.push(Step {
            op: Some(self.operation(self.stuck.op)),
            model: None,
            inconsistent: Some(self.inconsistency(attempt.state())),
        });
        steps
    }

    fn inconsistency(&self, state: Value) -> String {
        let state = self.json(state);
        match &*self.op.invocation.f {
            "read" => format!("can't read {} from a register that holds {state}", value_of(self.op)),
            f => format!("can't {f} {} in a register that holds {state}", value_of(self.op)),
        }
    }

    fn finding(&self) -> Finding {
        Finding { what: self.what(), count: 1, events: self.events(), hint: self.hint() }
    }

    fn what(&self) -> String {
        format!(
            "Key {} is not linearizable. {}{} {}, but there is no moment in between at which the key can \
             have held {}. Immediately before it completed, the key could hold only {}. {}",
            self.register.key,
            capitalized(&self.who_did_what(self.op)),
            if self.op.invocation.f == "cas" { " succeeded" } else { "" },
            when(self.op),
            self.json(self.op.action.needs().unwrap_or(NULL)),
            self.states(),
            self.attempts(),
        )
    }

    /// The states that were possible, each with the operation that set it.
    fn states(&self) -> String {
        let mut seen = BTreeSet::new();
        let distinct = self.stuck.before.iter().filter(|possibility| seen.insert(possibility.state));
        let states = distinct.map(|possibility| match possibility.set_by {
            None => format!("{} (its initial value)", self.json(possibility.state)),
            Some(op) => {
                let op = &self.register.ops[op];
                format!(
                    "{} (since {}, {})",
                    self.json(possibility.state),
                    self.who_did_what(op),
                    when(op).trim_matches(['(', ')'])
                )
            }
        });
        listed(states, "or")
    }

    fn attempts(&self) -> String {
        let pending: BTreeSet<usize> =
            self.stuck.before.iter().flat_map(|config| self.others(config)).collect();
        if pending.is_empty() {
            return "No other operation could change it before then.".into();
        }
        let ops = pending.iter().map(|&op| {
            let op = &self.register.ops[op];
            format!("{} {}", self.who_did_what(op), when(op))
        });
        format!(
            "These could take effect before then too, and no order of them helps: {}.",
            listed(ops, "and")
        )
    }

    fn who_did_what(&self, op: &Op<'_>) -> String {
        let who = match op.invocation.process {
            Process::Client(number) => format!("process {number}"),
            Process::PasserBy(number) => format!("passer-by {number}"),
            Process::Nemesis => "the nemesis".into(),
        };
        let value = value_of(op);
        match &*op.invocation.f {
            "read" => format!("{who} read {value}"),
            "cas" => format!("{who}'s cas from {} to {}", value[0], value[1]),
            f => format!("{who}'s {f} of {value}"),
        }
    }

    fn events(&self) -> Vec<usize> {
        let setters = self.stuck.before.iter().take(LISTED_MAX).filter_map(|possibility| possibility.set_by);
        let ops = setters.map(|op| &self.register.ops[op]).chain([self.op]);
        ops.flat_map(events_of).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The usual cause of what was seen, judged by what could have made the value that the operation needs.
    fn hint(&self) -> String {
        let Some(needed) = self.op.action.needs() else { return String::new() };
        let makes = |op: &&Op<'_>| op.action.makes() == Some(needed);
        let begun = |op: &&Op<'_>| op.invocation.index < self.op.deadline();
        let makers = self.register.ops.iter().filter(makes).filter(begun);
        let (failed, effective): (Vec<_>, Vec<_>) = makers.partition(|op| op.outcome == Outcome::Fail);
        match (effective.first(), failed.first()) {
            _ if needed == NULL => self.hint_on_older_value(needed).into(),
            (Some(cas), _) if effective.iter().all(|op| self.is_open_cas(op)) => self.hint_on_open_cas(cas),
            (Some(_), _) => self.hint_on_older_value(needed).into(),
            (None, Some(failed)) => self.hint_on_failed(failed),
            (None, None) if self.op.invocation.f == "cas" => {
                "No operation wrote the value it compares with to this key before then. So the cas was \
                 acknowledged without a comparison, or with one of another key."
            }
            .into(),
            (None, None) => {
                "No operation wrote this value to this key before then. Look for values that end up under \
                 another key, or for a reply that answers another request."
            }
            .into(),
        }
    }

    /// Whether this is a cas that had not succeeded when the operation without place completed.
    fn is_open_cas(&self, op: &Op<'_>) -> bool {
        matches!(op.action, Action::Cas { .. }) && op.deadline() > self.op.deadline()
    }

    fn hint_on_open_cas(&self, cas: &Op<'_>) -> String {
        format!(
            "Only a cas that had not completed then sets this value: {} (event {}). Either it was applied \
             although the key held another value than the one it compares with, or its effect had been \
             overwritten and an older value was shown.",
            self.who_did_what(cas),
            cas.invocation.index,
        )
    }

    fn hint_on_failed(&self, failed: &Op<'_>) -> String {
        format!(
            "Only an operation that was answered with a definite error makes this value: {} (event {}). Such \
             an error promises that nothing happened and never will. Answer so only if the operation can't \
             take effect any more; if that is not known, answer with code 13 (crash) or 0 (timeout), or not \
             at all.",
            self.who_did_what(failed),
            failed.completion.map_or(failed.invocation.index, |completion| completion.index),
        )
    }

    fn hint_on_older_value(&self, needed: Value) -> &'static str {
        if self.op.invocation.f == "cas" {
            return if self.another_cas_from(needed) {
                "Another cas from the same value succeeded as well. Comparing and setting have to be one \
                 step in the one order that all nodes agree on; here two nodes, or two requests on one node, \
                 both compared before either of them set the value."
            } else {
                "The cas compared with an older value. Compare when the operation is applied in the order \
                 that all nodes agree on, not when the request arrives, and not with a local copy."
            };
        }
        if self.newer_value_is_read_later() {
            "The read shows an older value, while the newer one is there and is read later. Usually a node \
             answered from its local copy without asking the others whether it is still up to date, for \
             example a follower, or a leader that has been replaced without noticing. Send reads through the \
             log as well, or let the leader confirm with a majority that it still leads."
        } else {
            "The read shows an older value, and the newer one is not read afterwards: an acknowledged update \
             was probably lost. Acknowledge only what a majority has stored, never overwrite such entries \
             when the leader changes, and keep them over a restart."
        }
    }

    fn another_cas_from(&self, value: Value) -> bool {
        let same = |op: &&Op<'_>| op.outcome == Outcome::Ok && op.deadline() < self.op.deadline();
        let from_value = |op: &Op<'_>| matches!(op.action, Action::Cas { from, .. } if from == value);
        self.register.ops.iter().filter(same).any(from_value)
    }

    /// Whether a read that ended later than the operation without place shows what the key could hold then.
    fn newer_value_is_read_later(&self) -> bool {
        let later = |op: &&Op<'_>| op.outcome == Outcome::Ok && op.deadline() > self.op.deadline();
        let shows = |state: Value| move |op: &Op<'_>| op.action.needs() == Some(state);
        let later_shows = |state| self.register.ops.iter().filter(later).any(shows(state));
        self.stuck.before.iter().any(|possibility| later_shows(possibility.state))
    }
}

impl Attempt<'_> {
    fn state(&self) -> Value {
        self.placed.last().map_or(self.from.state, |&(_, state)| state)
    }
}

/// The operation's value without its key: that of the completion for a read, else that of the invocation.
fn value_of(op: &Op<'_>) -> Json {
    let event = match op.completion {
        Some(completion) if op.invocation.f == "read" => completion,
        _ => op.invocation,
    };
    event.value.to_json().get(1).cloned().unwrap_or(json!(null))
}

fn events_of(op: &Op<'_>) -> impl Iterator<Item = usize> {
    [op.invocation].into_iter().chain(op.completion).map(|event| event.index)
}

fn milliseconds(event: &Event) -> f64 {
    event.time.as_nanos() as f64 / 1e6
}

fn when(op: &Op<'_>) -> String {
    let invoked = milliseconds(op.invocation);
    match op.completion.map(milliseconds) {
        Some(completed) if op.outcome == Outcome::Ok => {
            format!("(invoked at {invoked:.2} ms, completed at {completed:.2} ms)")
        }
        Some(completed) => format!("(invoked at {invoked:.2} ms, indeterminate since {completed:.2} ms)"),
        None => format!("(invoked at {invoked:.2} ms, never completed)"),
    }
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// `a`, `a or b`, `a, b or c`; with more than [`LISTED_MAX`], the last says how many there are.
fn listed(items: impl Iterator<Item = String>, conjunction: &str) -> String {
    let mut items: Vec<String> = items.collect();
    if items.len() > LISTED_MAX {
        let more = items.len() - LISTED_MAX;
        items.truncate(LISTED_MAX);
        items.push(format!("{more} more"));
    }
    match items.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} {conjunction} {last}", first.join(", ")),
        _ => items.concat(),
    }
}
