//! The checkers: from a history to a verdict.

pub mod availability;
mod components;
pub mod counter;
pub mod echo;
pub mod kafka;
pub mod linearizable;
pub mod set_full;
pub mod silence;
pub mod stats;
pub mod txn;
pub mod unique_ids;

use std::collections::BTreeSet;

use serde::{Serialize, Serializer};

use crate::history::{History, Process};

/// A verdict. Of several, the worst counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Valid {
    /// All as it should be.
    True,
    /// Nothing wrong was seen, but nothing that would show it either.
    Unknown,
    /// Something is wrong.
    False,
}

impl From<bool> for Valid {
    fn from(valid: bool) -> Self {
        if valid { Valid::True } else { Valid::False }
    }
}

impl Serialize for Valid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Valid::True => serializer.serialize_bool(true),
            Valid::False => serializer.serialize_bool(false),
            Valid::Unknown => serializer.serialize_str("unknown"),
        }
    }
}

/// One mistake that a checker found, for the author of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// The mistake, as a sentence or two of the first instance: who did what, with values and times.
    pub what: String,
    /// How often it was made.
    pub count: usize,
    /// The indices of the history's events that show the first instance.
    pub events: Vec<usize>,
    /// What it usually comes from, and what to do; empty if there is nothing to say.
    pub hint: String,
}

impl Finding {
    /// A mistake that was made once, and that no single event of the history shows.
    #[must_use]
    pub fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), count: 1, events: Vec::new(), hint: hint.into() }
    }

    /// The same, with the nodes that the processes of its events talked to, where only processes are named.
    #[must_use]
    pub fn with_nodes(mut self, history: &History) -> Self {
        let of_event = |&event: &usize| history.events().get(event).map(|event| event.process);
        let processes: BTreeSet<Process> = self.events.iter().filter_map(of_event).collect();
        let named = processes.iter().filter_map(|&process| {
            let (Process::Client(number), Some(node)) = (process, history.node_name(process)) else {
                return None;
            };
            let is_named = self.what.contains(&history.name_of(process));
            (!is_named).then(|| format!("{number} to {node}"))
        });
        let named: Vec<String> = named.take(NODES_NAMED).collect();
        if !named.is_empty() {
            self.what += &format!(" (Process {}.)", named.join(", "));
        }
        self
    }
}

/// So many processes are told the nodes of.
const NODES_NAMED: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{EventKind, History, OpValue, Process};
    use crate::node::Time;
    use serde_json::Value as Json;

    /// A history of operations of clients: who, what became of it, of which kind, with which value.
    pub(super) fn history(events: &[(usize, EventKind, &'static str, Json)]) -> History {
        let mut history = History::default();
        for (client, kind, f, value) in events {
            let value = OpValue::Json(value.clone());
            history.push(Time::ZERO, Process::Client(*client), *kind, *f, value, None);
        }
        history
    }

    #[test]
    fn the_worst_verdict_counts() {
        assert_eq!([Valid::True, Valid::False, Valid::Unknown].into_iter().max(), Some(Valid::False));
        assert_eq!([Valid::True, Valid::Unknown].into_iter().max(), Some(Valid::Unknown));
    }
}
