//! What the analysis can find, one type for each kind of error. Operations are given by the indices of their
//! events in the history: the completion, or the invocation of one that never completed.

use serde::Serialize;
use serde_json::Value as Json;

/// Errors of one type: how many, and the ones that show it best.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cases<T> {
    /// How many there are.
    pub count: usize,
    /// Some of them, in Jepsen's order: those by size, smallest first, hold the largest for what skips.
    pub errs: Vec<T>,
}

impl<T> Default for Cases<T> {
    fn default() -> Self {
        Cases { count: 0, errs: Vec::new() }
    }
}

impl<T> Cases<T> {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// A value at more than one offset of its key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Duplicate {
    /// The key.
    pub key: String,
    /// The message.
    pub value: Json,
    /// At how many offsets it is.
    pub count: usize,
    /// The first of these.
    pub offsets: Vec<u64>,
}

/// An offset at which more than one value was seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InconsistentOffset {
    /// The key.
    pub key: String,
    /// The offset.
    pub offset: u64,
    /// How many smaller offsets of the key are in use.
    pub index: usize,
    /// Some of the values.
    pub values: Vec<Json>,
}

/// A poll that shows a value whose send certainly failed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AbortedRead {
    /// The key.
    pub key: String,
    /// The message.
    pub value: Json,
    /// The operation that sent it.
    pub writer: Option<usize>,
    /// The one that polled it.
    pub reader: usize,
}

/// An operation that polled what it sent itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PrecommittedRead {
    /// The operation.
    pub op: usize,
    /// The key.
    pub key: String,
    /// The message.
    pub value: Json,
}

/// A value that nobody polled, although later ones of its key were polled.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LostWrite {
    /// The key.
    pub key: String,
    /// The message.
    pub value: Json,
    /// How many smaller offsets of the key are in use.
    pub index: usize,
    /// The greatest index that was polled.
    pub max_read_index: usize,
    /// The operation that sent it.
    pub writer: usize,
    /// One that polled a later message.
    pub max_read: Option<usize>,
}

/// Two successive sends or polls of a key that go back, stay, or leave something out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// The key.
    pub key: String,
    /// The former message and the latter.
    pub values: [Json; 2],
    /// How far it goes in offsets that are in use; 1 would be right.
    pub delta: i64,
    /// Some of the messages left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Json>,
    /// The operations: one if both messages belong to the same.
    pub ops: Vec<usize>,
}

/// A value that was polled, although nobody sent it. Jepsen has no name for it: it throws.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Phantom {
    /// The key.
    pub key: String,
    /// The message.
    pub value: Json,
    /// The operation that polled it.
    pub reader: usize,
}

/// What does not have the shape that it should.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Malformed {
    /// The operation.
    pub op: usize,
    /// What is wrong.
    pub what: String,
}

/// Operations each of which must come before the next, and the last before the first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cycle {
    /// The operations; the first again at the end.
    pub cycle: Vec<usize>,
    /// Why each comes before the next.
    pub steps: Vec<CycleStep>,
}

/// Why an operation comes before another.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum CycleStep {
    /// It sent what the other polled.
    Wr {
        /// The key.
        key: String,
        /// The message.
        value: Json,
    },
    /// It ended before the other began.
    Realtime,
}

/// That there is a cycle at all.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CycleExists {
    /// The consistency model that it rules out.
    pub not: &'static str,
    /// How many operations are in cycles with each other.
    pub scc_size: usize,
    /// Some of them.
    pub scc: Vec<usize>,
}
