//! What can go wrong in a simulated run, and how it shows after the run.

use std::time::Duration;

use thiserror::Error;

use crate::check::Valid;
use crate::check::set_full::SetFull;
use crate::cluster::scenario::Scenario;
use crate::cluster::trial::{Results, TIMED_OUT, Violation};
use crate::history::History;
use crate::node::Time;
use crate::protocol::Value;

/// What can go wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// A node misbehaved, or an invariant broke.
    #[error("{:.3} s: n{} {violation}", at.as_secs_f64(), violation.node())]
    Violation {
        /// When, after clients began.
        at: Duration,
        /// What.
        violation: Violation,
    },
    /// A client got no answer, or not the one it should have got.
    #[error("{:.3} s: a client's {f} failed: {error}", at.as_secs_f64())]
    Unanswered {
        /// When it gave up, or heard of the failure.
        at: Duration,
        /// What it wanted.
        f: String,
        /// What it got.
        error: String,
    },
    /// An answer is not what it should be.
    #[error("{what}")]
    Wrong {
        /// Which, and why.
        what: String,
    },
    /// A read showed values more than once.
    #[error("a read showed {value} {times} times")]
    Duplicated {
        /// One of them.
        value: Value,
        /// How often.
        times: usize,
    },
    /// Not every node has every value.
    #[error("n{node} never gets {value}, which n{holder} holds")]
    Missing {
        /// The node.
        node: usize,
        /// One that it lacks.
        value: Value,
        /// A node that has it.
        holder: usize,
    },
    /// An acknowledged value is gone, and some node that held it lived on.
    #[error("{value} was acknowledged and is lost")]
    Lost {
        /// The value.
        value: Value,
    },
    /// Not every node got a value in time.
    #[error("{value} is not everywhere {:.3} s after a node held it, or the network last changed; the bound is {:.3} s",
            took.as_secs_f64(), bound.as_secs_f64())]
    Late {
        /// The value.
        value: Value,
        /// How late.
        took: Duration,
        /// How late it may be.
        bound: Duration,
    },
    /// Nodes that are cut off from some send far more than it takes to keep trying.
    #[error("{messages} messages in a minute, long after the last fault or value; {most} are allowed")]
    Noisy {
        /// How many they sent in a minute.
        messages: usize,
        /// How many they may.
        most: usize,
    },
    /// A node doesn't return to the plan, though nothing hinders it.
    #[error("n{node} {what}, long after the faults ended")]
    Deviates {
        /// The node.
        node: usize,
        /// What it does instead.
        what: String,
    },
    /// They still talk when there is nothing to say.
    #[error("still sending {:.3} s after the last fault or value; {:.3} s are allowed",
            until.as_secs_f64(), bound.as_secs_f64())]
    Restless {
        /// When the last message was sent, after the last fault or value.
        until: Duration,
        /// When it should have been.
        bound: Duration,
    },
}

impl Failure {
    /// What found it, in a word.
    #[must_use]
    pub fn found_by(&self) -> &'static str {
        match self {
            Failure::Violation { violation: Violation::Broken { .. }, .. } => "invariant",
            Failure::Violation { .. } => "protocol",
            Failure::Unanswered { .. } => "answers",
            Failure::Wrong { .. } => "verdict",
            Failure::Duplicated { .. } => "duplicates",
            Failure::Missing { .. } => "completeness",
            Failure::Lost { .. } => "set-full",
            Failure::Late { .. } => "bound",
            Failure::Noisy { .. } => "noise",
            Failure::Deviates { .. } => "plan",
            Failure::Restless { .. } => "silence",
        }
    }

    /// The value that it is about, if it is about one.
    #[must_use]
    pub fn value(&self) -> Option<Value> {
        match *self {
            Failure::Duplicated { value, .. }
            | Failure::Missing { value, .. }
            | Failure::Late { value, .. }
            | Failure::Lost { value } => Some(value),
            Failure::Violation { .. }
            | Failure::Unanswered { .. }
            | Failure::Wrong { .. }
            | Failure::Noisy { .. }
            | Failure::Deviates { .. }
            | Failure::Restless { .. } => None,
        }
    }
}

/// An operation that did not end well. Only where nodes were paused, slow or killed may it have timed out, and only
/// before the faults ended.
pub(super) fn unanswered(history: &History, time_limit: Duration, disturbed: bool) -> Option<Failure> {
    history.completed().find_map(|(invoked, done)| {
        let error = done.error.clone()?;
        let in_time = invoked.time.since(Time::ZERO) <= time_limit;
        let may_be = disturbed && in_time && error == TIMED_OUT;
        (!may_be).then(|| Failure::Unanswered {
            at: done.time.since(Time::ZERO),
            f: done.f.clone().into_owned(),
            error,
        })
    })
}

/// What the workload's checker finds in the answers, whatever was left unanswered. Of sets [`lost`] and [`duplicated`] tell, which
/// know more than clients.
pub(super) fn wrong(history: &History, scenario: &Scenario) -> Option<Failure> {
    let Scenario { workload, options, .. } = scenario;
    if workload.reads_sets {
        return None;
    }
    let judged = (workload.check)(&history.answered(), options);
    let finding = judged.findings.into_iter().next().filter(|_| judged.valid == Valid::False)?;
    Some(Failure::Wrong { what: finding.what })
}

pub(super) fn set_full(results: &Results) -> Option<&SetFull> {
    results.workload.set.as_deref()
}

pub(super) fn duplicated(results: &Results) -> Option<Failure> {
    let (&value, &times) = set_full(results)?.duplicated.first_key_value()?;
    Some(Failure::Duplicated { value, times })
}

/// A value that was known and is gone, but for those that are accounted for: they died with their last holders, or are held
/// by somebody whom others can't reach. Whether they are is for the auditor to say: set-full can only tell from what clients
/// saw.
pub(super) fn lost(results: &Results, accounted_for: impl Fn(Value) -> bool) -> Option<Failure> {
    let set = set_full(results)?;
    let gone = set.lost.iter().chain(&set.died).copied();
    gone.filter(|&value| !accounted_for(value)).min().map(|value| Failure::Lost { value })
}
