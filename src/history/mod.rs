//! What clients and the nemesis did, in order: the only thing that checkers look at.

pub(crate) mod edn;
mod read;
mod shown;
mod write;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::Value as Json;

pub use self::read::ReadError;
pub use self::shown::Shown;
use self::shown::{LastReads, Source, apply};
pub use self::write::Writer;
use crate::node::Time;
use crate::protocol::Value;

/// The events of a run, oldest first.
#[derive(Debug, Default)]
pub struct History {
    events: Vec<Event>,
    /// The node that each client talks to. Jepsen's histories don't say.
    nodes: HashMap<Process, usize>,
    /// The nodes' names, if they aren't n0, n1, ….
    names: Vec<String>,
    last_reads: LastReads,
    cut_short: bool,
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
    pub f: Cow<'static, str>,
    /// Its argument or result.
    pub value: OpValue,
    /// Why it did not end well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What else there is to say of it.
    #[serde(flatten, serialize_with = "flag", skip_serializing_if = "Option::is_none")]
    pub flag: Option<Flag>,
}

/// What else there is to say of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// It comes after everything has come to rest.
    Final,
    /// Keys are assigned from their beginnings.
    SeekToBeginning,
}

impl Flag {
    /// Its name in a history, where it is true.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Flag::Final => "final?",
            Flag::SeekToBeginning => "seek-to-beginning?",
        }
    }
}

fn flag<S: Serializer>(flag: &Option<Flag>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(flag.iter().map(|flag| (flag.name(), true)))
}

fn nanos<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(time.as_nanos())
}

/// Who acts. A client whose operation may or may not have happened is not used again: its successor has
/// another number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Process::Client(number) => write!(f, "process {number}"),
            Process::PasserBy(number) => write!(f, "passer-by {number}"),
            Process::Nemesis => f.write_str("the nemesis"),
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
    /// An integer.
    Int(i64),
    /// What a read of a set showed.
    Set(Shown),
    /// Anything else.
    Json(Json),
}

impl OpValue {
    /// It as JSON, as it is written.
    #[must_use]
    pub fn to_json(&self) -> Cow<'_, Json> {
        match self {
            OpValue::Json(json) => Cow::Borrowed(json),
            OpValue::None => Cow::Owned(Json::Null),
            OpValue::Int(integer) => Cow::Owned((*integer).into()),
            OpValue::Set(shown) => Cow::Owned(serde_json::json!(shown)),
        }
    }
}

impl History {
    /// The history of a run of nodes of these names.
    #[must_use]
    pub fn of_nodes(names: Vec<String>) -> Self {
        Self { names, ..Self::default() }
    }

    /// Appends an event of which there is nothing else to say; returns its index.
    pub fn push(
        &mut self,
        time: Time,
        process: Process,
        kind: EventKind,
        f: impl Into<Cow<'static, str>>,
        value: OpValue,
        error: Option<String>,
    ) -> usize {
        self.append(Event { index: 0, time, process, kind, f: f.into(), value, error, flag: None })
    }

    /// Appends an event, whatever index it has; returns its index. What a read of a set showed is to be
    /// [whole](Shown::whole), and is kept as its difference from the last one of the same node.
    pub fn append(&mut self, mut event: Event) -> usize {
        let index = self.events.len();
        event.index = index;
        if let OpValue::Set(shown) = event.value {
            let source = self.node_of(event.process).map_or(Source::Process(event.process), Source::Node);
            event.value = OpValue::Set(self.last_reads.rebase(source, index, shown));
        }
        self.events.push(event);
        index
    }

    /// All integers that a read of a set showed, in ascending order, each once; none if the event is no such read. Takes
    /// time in proportion to all that earlier reads of the same node showed.
    #[must_use]
    pub fn values_shown(&self, index: usize) -> Option<Vec<Value>> {
        let shown = |index: usize| match &self.events.get(index)?.value {
            OpValue::Set(shown) => Some(shown),
            _ => None,
        };
        let last = shown(index)?;
        let reads = std::iter::successors(Some(last), |read| read.since.and_then(shown));
        let reads: Vec<&Shown> = reads.collect();
        let whole =
            reads.iter().rev().fold(Vec::new(), |values, read| apply(&values, &read.added, &read.removed));
        Some(whole)
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

    /// The name of the node that a client talks to, if that was noted.
    #[must_use]
    pub fn node_name(&self, process: Process) -> Option<String> {
        let node = self.node_of(process)?;
        Some(self.names.get(node).cloned().unwrap_or_else(|| format!("n{node}")))
    }

    /// The node of that name.
    #[must_use]
    pub fn node_called(&self, name: &str) -> Option<usize> {
        if self.names.is_empty() {
            return name.strip_prefix('n')?.parse().ok();
        }
        self.names.iter().position(|known| known == name)
    }

    /// Who acts, in words: `n3 (process 7)`, or `process 7` where the node isn't known.
    #[must_use]
    pub fn name_of(&self, process: Process) -> String {
        match (process, self.node_name(process)) {
            (Process::Nemesis, _) => "the nemesis".to_owned(),
            (_, Some(node)) => format!("{node} ({process})"),
            (_, None) => process.to_string(),
        }
    }

    /// Whether it was read from a file whose last line was cut off.
    #[must_use]
    pub fn is_cut_short(&self) -> bool {
        self.cut_short
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

    /// The operations that succeeded, alone. For histories of which no read shows a set.
    #[must_use]
    pub fn answered(&self) -> History {
        let mut answered = History::of_nodes(self.names.clone());
        answered.nodes.clone_from(&self.nodes);
        for (invoked, done) in self.completed().filter(|(_, done)| done.kind == EventKind::Ok) {
            answered.append(invoked.clone());
            answered.append(done.clone());
        }
        answered
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
    use serde_json::json;

    #[test]
    fn reads_of_a_node_are_told_from_each_other() {
        let mut history = History::default();
        history.talks_to(Process::Client(0), 3);
        history.talks_to(Process::Client(1), 3);
        let mut read = |client, values: &[Value]| {
            let shown = OpValue::Set(Shown::whole(values.to_vec(), vec![]));
            history.push(Time::ZERO, Process::Client(client), EventKind::Ok, "read", shown, None)
        };
        // Of the last one nobody knows the node.
        let [first, second, other] = [read(0, &[5, 1]), read(1, &[1, 7, 8]), read(2, &[9])];
        let written = |index: usize| history.events()[index].value.to_json().into_owned();
        assert_eq!(written(first), json!([1, 5]));
        assert_eq!(written(second), json!({"since": 0, "added": [7, 8], "removed": [5]}));
        assert_eq!(written(other), json!([9]));
        assert_eq!(history.values_shown(second), Some(vec![1, 7, 8]));
        assert_eq!(history.values_shown(9), None);
    }

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
        let value = OpValue::Set(Shown::whole(vec![2, 1], vec![]));
        history.push(Time::from_nanos(7), Process::Client(3), EventKind::Ok, "read", value, None);
        let written = serde_json::to_string(&history.events()[0]).expect("serializable");
        assert_eq!(written, r#"{"index":0,"time":7,"process":3,"type":"ok","f":"read","value":[1,2]}"#);
        let last = Event { flag: Some(Flag::Final), ..history.events()[0].clone() };
        let written = serde_json::to_value(last).expect("serializable");
        assert_eq!(written["final?"], true);
    }
}
