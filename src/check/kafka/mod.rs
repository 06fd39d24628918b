//! Kafka-style logs: what a run of the `kafka` workload shows to be wrong, in the way of `jepsen.tests.kafka`
//! 0.3.7, with its names.
//!
//! Clients send messages, which get offsets in the log of their key, and poll from a position on. From this
//! the analysis knows parts of each log (`log`) and what became of each message (`fates`). It looks for
//! messages at several offsets, offsets with several messages, lost, aborted, invented (`marks`) and unseen
//! messages (`unseen`), for steps that leave something out or go back (`steps`), for operations that
//! depend on each other in a circle (`cycles`), and for how far polls lag behind (`lag`).
//!
//! Where Jepsen's checker throws, and so knows no verdict, this one judges; [`Kafka::notes`] says so.

mod cycles;
mod errors;
mod fates;
mod findings;
mod graph;
mod hints;
mod lag;
mod log;
mod marks;
mod notes;
mod reading;
mod render;
mod set_order;
mod steps;
#[cfg(test)]
mod tests;
mod unseen;

use serde::Serialize;

use crate::check::kafka::cycles::Cycles;
pub use crate::check::kafka::errors::{
    AbortedRead, Cases, Cycle, CycleExists, CycleStep, Duplicate, InconsistentOffset, LostWrite, Malformed,
    Phantom, PrecommittedRead, Step,
};
use crate::check::kafka::fates::Fates;
pub use crate::check::kafka::lag::Lag;
use crate::check::kafka::log::Logs;
use crate::check::kafka::marks::Marks;
use crate::check::kafka::reading::Reading;
use crate::check::kafka::steps::Steps;
pub use crate::check::kafka::unseen::Unseen;
use crate::check::{Finding, Valid};
use crate::history::History;

/// Types of errors that do not make a run invalid: other processes' sends may come between one's own.
const ALLOWED: [&str; 1] = ["int-send-skip"];

/// A verdict on logs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Kafka {
    /// False if there is an error of a type that is not allowed; unknown if nothing could have shown one.
    pub valid: Valid,
    /// The poll that was furthest behind.
    pub worst_realtime_lag: Lag,
    /// The types of errors that are there and not allowed, sorted.
    pub bad_error_types: Vec<&'static str>,
    /// All types of errors that are there, sorted.
    pub error_types: Vec<&'static str>,
    /// The distinct errors of sends and polls whose outcome is unknown.
    pub info_txn_causes: Vec<Option<String>>,
    /// Where the verdict differs from Jepsen's, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The errors, by type.
    #[serde(flatten)]
    pub errors: Errors,
    #[serde(skip)]
    findings: Vec<Finding>,
}

/// The errors, by type.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Errors {
    /// Messages of one key alone close a circle of operations.
    #[serde(rename = "G1c", skip_serializing_if = "Cases::is_empty")]
    pub g1c: Cases<Cycle>,
    /// Messages and the order in time close a circle: in the simplest case a message is polled before its
    /// send begins.
    #[serde(rename = "G1c-realtime", skip_serializing_if = "Cases::is_empty")]
    pub g1c_realtime: Cases<Cycle>,
    /// Says of each G1c which model it rules out.
    #[serde(rename = "PL-2-cycle-exists", skip_serializing_if = "Cases::is_empty")]
    pub pl_2_cycle_exists: Cases<CycleExists>,
    /// Says of each G1c-realtime which model it rules out.
    #[serde(rename = "strong-PL-2-cycle-exists", skip_serializing_if = "Cases::is_empty")]
    pub strong_pl_2_cycle_exists: Cases<CycleExists>,
    /// Polled, although the send failed.
    #[serde(rename = "G1a", skip_serializing_if = "Cases::is_empty")]
    pub aborted: Cases<AbortedRead>,
    /// One message at several offsets.
    #[serde(skip_serializing_if = "Cases::is_empty")]
    pub duplicate: Cases<Duplicate>,
    /// Several messages at one offset.
    #[serde(skip_serializing_if = "Cases::is_empty")]
    pub inconsistent_offsets: Cases<InconsistentOffset>,
    /// Steps back within a poll.
    #[serde(skip_serializing_if = "Cases::is_empty")]
    pub int_nonmonotonic_poll: Cases<Step>,
    /// Steps back between sends of one operation.
    #[serde(skip_serializing_if = "Cases::is_empty")]
    pub int_nonmonotonic_send: Cases<Step>,
    /// Messages left out within a poll.
    #[serde(skip_serializing_if = "Cases::is_empty")]
    pub int_poll_skip: Cases<Step>,
    /// Messages between sends of one operation.
    #[serde(skip_serializing_if = "Cases::is_empty")]
    pub int_send_skip: Cases<Step>,
    /// Never polled, although later messages were.
    #[serde(skip_serializing_if = "Cases::is_empty")]
    pub lost_write: Cases<LostWrite>,
    /// What does not have the shape that it should.
    #[serde(skip_serializing_if = "Cases::is_empty")]
    pub malformed: Cases<Malformed>,
    /// Steps back from one poll to the next.
    #[serde(skip_serializing_if = "Cases::is_empty")]
    pub nonmonotonic_poll: Cases<Step>,
    /// Steps back from one send to the next.
    #[serde(skip_serializing_if = "Cases::is_empty")]
    pub nonmonotonic_send: Cases<Step>,
    /// Polled, but never sent.
    #[serde(skip_serializing_if = "Cases::is_empty")]
    pub phantom: Cases<Phantom>,
    /// Messages left out from one poll to the next.
    #[serde(skip_serializing_if = "Cases::is_empty")]
    pub poll_skip: Cases<Step>,
    /// Polled by the operation that sends it.
    #[serde(skip_serializing_if = "Cases::is_empty")]
    pub precommitted_read: Cases<PrecommittedRead>,
    /// Sent successfully and not polled by anybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unseen: Option<Unseen>,
}

/// Judges a run of the workload `kafka`.
#[must_use]
pub fn kafka(history: &History) -> Kafka {
    let analysis = Analysis::of(history);
    let errors = render::errors(&analysis);
    let error_types = errors.types();
    let bad_error_types: Vec<_> =
        error_types.iter().copied().filter(|found| !ALLOWED.contains(found)).collect();
    let valid = match (bad_error_types.is_empty(), analysis.cycles.no_edges) {
        (false, _) => Valid::False,
        (true, true) => Valid::Unknown,
        (true, false) => Valid::True,
    };
    Kafka {
        valid,
        worst_realtime_lag: Lag::of(history, &analysis.reading),
        findings: findings::findings(&analysis, &errors),
        notes: notes::notes(&analysis),
        info_txn_causes: analysis.reading.info_causes,
        bad_error_types,
        error_types,
        errors,
    }
}

impl Kafka {
    /// What to tell the author of the node: one finding for each type of error that is not allowed. That a
    /// cycle exists is not told again beside the cycle.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        self.findings.clone()
    }
}

impl Errors {
    /// The types of errors that are there, sorted.
    fn types(&self) -> Vec<&'static str> {
        let counts = self.counts().into_iter().filter(|&(_, count)| count > 0);
        let unseen = self.unseen.as_ref().map(|_| "unseen");
        let mut types: Vec<_> = counts.map(|(name, _)| name).chain(unseen).collect();
        types.sort_unstable();
        types
    }

    /// How many errors there are of each type but unseen.
    fn counts(&self) -> [(&'static str, usize); 18] {
        [
            ("G1a", self.aborted.count),
            ("G1c", self.g1c.count),
            ("G1c-realtime", self.g1c_realtime.count),
            ("PL-2-cycle-exists", self.pl_2_cycle_exists.count),
            ("duplicate", self.duplicate.count),
            ("inconsistent-offsets", self.inconsistent_offsets.count),
            ("int-nonmonotonic-poll", self.int_nonmonotonic_poll.count),
            ("int-nonmonotonic-send", self.int_nonmonotonic_send.count),
            ("int-poll-skip", self.int_poll_skip.count),
            ("int-send-skip", self.int_send_skip.count),
            ("lost-write", self.lost_write.count),
            ("malformed", self.malformed.count),
            ("nonmonotonic-poll", self.nonmonotonic_poll.count),
            ("nonmonotonic-send", self.nonmonotonic_send.count),
            ("phantom", self.phantom.count),
            ("poll-skip", self.poll_skip.count),
            ("precommitted-read", self.precommitted_read.count),
            ("strong-PL-2-cycle-exists", self.strong_pl_2_cycle_exists.count),
        ]
    }
}

/// What is known of a history.
#[derive(Debug)]
struct Analysis<'h> {
    history: &'h History,
    reading: Reading,
    fates: Fates,
    logs: Logs,
    marks: Marks,
    steps: Steps,
    cycles: Cycles,
}

impl<'h> Analysis<'h> {
    fn of(history: &'h History) -> Self {
        let reading = Reading::of(history);
        let fates = Fates::of(&reading);
        let logs = Logs::of(&reading, &fates);
        Analysis {
            marks: Marks::of(&reading, &fates, &logs),
            steps: Steps::of(&reading, &logs),
            cycles: Cycles::of(history, &reading, &fates),
            history,
            reading,
            fates,
            logs,
        }
    }
}
