//! What clients and the nemesis did, in order: the only thing that checkers look at.

use std::collections::HashMap;

use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use crate::node::Time;

/// The events of a run, oldest first.
#[derive(Debug, Default)]
pub struct History {
    events: Vec<Event>,
    /// The node that each client talks to. Jepsen's histories don't say, and what is written of ours doesn't.
    nodes: HashMap<Process, usize>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// Its place in the history.
    pub index: usize,
    /// When, in nanoseconds since clients began.
    #[serde(serialize_with = "nanos")]
    pub time: Time,
    /// Who.
    pub process: Process,
    /// Begun, or how it ended.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// The operation.
    pub f: &'static str,
    /// Its argument or result.
    pub value: OpValue,
    /// Why it did not end well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

fn nanos<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(time.as_nanos())
}

/// Who acts. A client whose operation may or may not have happened is not used again: its successor has
/// another number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Process {
    /// A client.
    Client(usize),
    /// A client that comes for one operation, in a burst.
    PasserBy(usize),
    /// The injector of faults.
    Nemesis,
}

impl Serialize for Process {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Process::Client(number) => serializer.serialize_u64(*number as u64),
            Process::PasserBy(number) => serializer.collect_str(&format_args!("passer-by {number}")),
            Process::Nemesis => serializer.serialize_str("nemesis"),
        }
    }
}

/// Begun, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// It begins.
    Invoke,
    /// It happened.
    Ok,
    /// It did not happen.
    Fail,
    /// Nobody knows whether it happened; or, for the nemesis, something to know.
    Info,
}

/// An operation's argument or result.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum OpValue {
    /// None.
    None,
    /// A value that is broadcast.
    Int(i64),
    /// The values that a read showed.
    Ints(Vec<i64>),
    /// Anything else.
    Json(Json),
}

impl History {
    /// Appends an event; returns its index.
    pub fn push(
        &mut self,
        time: Time,
        process: Process,
        kind: EventKind,
        f: &'static str,
        value: OpValue,
        error: Option<String>,
    ) -> usize {
        let index = self.events.len();
        self.events.push(Event { index, time, process, kind, f, value, error });
        index
    }

    /// Notes which node a client talks to.
    pub fn talks_to(&mut self, process: Process, node: usize) {
        self.nodes.insert(process, node);
    }

    /// The node that a client talks to, if that was noted.
    #[must_use]
    pub fn node_of(&self, process: Process) -> Option<usize> {
        self.nodes.get(&process).copied()
    }

    /// All events, oldest first.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Clients' events, oldest first.
    pub fn by_clients(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(|event| event.process != Process::Nemesis)
    }

    /// Clients' operations that ended, in the order they did: each invocation with its completion.
    pub fn completed(&self) -> impl Iterator<Item = (&Event, &Event)> {
        let mut open: HashMap<Process, &Event> = HashMap::new();
        self.by_clients().filter_map(move |event| match event.kind {
            EventKind::Invoke => {
                open.insert(event.process, event);
                None
            }
            _ => open.remove(&event.process).map(|invocation| (invocation, event)),
        })
    }

    /// How many operations clients invoked.
    #[must_use]
    pub fn invocations(&self) -> usize {
        self.by_clients().filter(|event| event.kind == EventKind::Invoke).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_find_their_invocations_across_other_clients() {
        let mut history = History::default();
        let mut push = |process, kind| history.push(Time::ZERO, process, kind, "read", OpValue::None, None);
        push(Process::Client(0), EventKind::Invoke);
        push(Process::Client(1), EventKind::Invoke);
        push(Process::Nemesis, EventKind::Info);
        push(Process::Client(1), EventKind::Ok);
        push(Process::Client(0), EventKind::Fail);
        push(Process::Client(1), EventKind::Invoke);
        let pairs: Vec<_> = history.completed().map(|(a, b)| (a.index, b.index)).collect();
        assert_eq!(pairs, [(1, 3), (0, 4)]);
        assert_eq!(history.invocations(), 3);
    }

    #[test]
    fn an_event_is_written_with_jepsens_names() {
        let mut history = History::default();
        let value = OpValue::Ints(vec![1, 2]);
        history.push(Time::from_nanos(7), Process::Client(3), EventKind::Ok, "read", value, None);
        let written = serde_json::to_string(&history.events()[0]).expect("serializable");
        assert_eq!(written, r#"{"index":0,"time":7,"process":3,"type":"ok","f":"read","value":[1,2]}"#);
    }
}
