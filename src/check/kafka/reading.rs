//! The history as the analysis needs it: operations with their sends and polls, keys and messages as numbers.
//!
//! A message is a value under a key: the same value under another key is another message. Whatever does not
//! have the shape that a client records is noted as malformed and left out; nothing here panics.

use std::collections::{HashMap, HashSet};

use serde_json::Value as Json;

use crate::check::kafka::errors::Malformed;
use crate::history::{Event, EventKind, History, OpValue, Process};

/// A key, by its place in [`Reading::keys`].
pub(super) type Key = usize;
/// A message, by its place in [`Reading::messages`].
pub(super) type Message = usize;
/// An operation, by its place in [`Reading::ops`].
pub(super) type OpId = usize;

/// A history, read.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Those that ended, in the order in which they did; then those that never did, as begun.
    pub(super) ops: Vec<Op>,
    /// The names of keys.
    pub(super) keys: Vec<String>,
    /// All messages that were sent or polled.
    pub(super) messages: Vec<Content>,
    /// What could not be read.
    pub(super) malformed: Vec<Malformed>,
    /// The distinct errors of sends and polls whose outcome is unknown, as they first occur.
    pub(super) info_causes: Vec<Option<String>>,
    causes_seen: HashSet<Option<String>>,
    numbers: HashMap<String, Key>,
    values: Vec<Values>,
}

/// The messages of a key.
#[derive(Debug, Default)]
struct Values {
    integers: HashMap<i64, Message>,
    others: HashMap<Json, Message>,
}

/// What a message is.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) key: Key,
    pub(super) value: Json,
}

/// An operation of a client.
#[derive(Debug)]
pub(super) struct Op {
    pub(super) process: Process,
    /// How it ended; those that never did are indeterminate.
    pub(super) kind: EventKind,
    /// The event of its invocation, if it has one.
    pub(super) invoked: Option<usize>,
    /// The event of its completion, if it has one.
    pub(super) completed: Option<usize>,
    pub(super) action: Action,
}

/// What an operation did.
#[derive(Debug)]
pub(super) enum Action {
    /// It chose the keys that the process polls from now on.
    Assign(Vec<Key>),
    /// It sent or polled.
    Transact(Transaction),
}

/// Sends and polls. In Maelstrom an operation is one send or one poll; the analysis takes several.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    pub(super) sends: Vec<Send>,
    /// What it polled, a key at most once.
    pub(super) polls: Vec<Poll>,
    /// Whether it is of a function that asks for messages.
    pub(super) asks: bool,
}

/// A message sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Send {
    pub(super) key: Key,
    pub(super) message: Message,
    pub(super) offset: Option<u64>,
}

/// Messages polled from one key, as they came.
#[derive(Debug)]
pub(super) struct Poll {
    pub(super) key: Key,
    pub(super) messages: Vec<(Option<u64>, Message)>,
}

impl Op {
    /// The event that stands for it: its completion, or else its invocation.
    pub(super) fn event(&self) -> usize {
        self.completed.or(self.invoked).unwrap_or_default()
    }

    /// Its sends and polls, unless it is an assignment.
    pub(super) fn transaction(&self) -> Option<&Transaction> {
        match &self.action {
            Action::Assign(_) => None,
            Action::Transact(transaction) => Some(transaction),
        }
    }

    /// The messages it sent.
    pub(super) fn sends(&self) -> &[Send] {
        self.transaction().map_or(&[], |transaction| &transaction.sends)
    }

    /// What it polled.
    pub(super) fn polls(&self) -> &[Poll] {
        self.transaction().map_or(&[], |transaction| &transaction.polls)
    }
}

impl Reading {
    /// Reads a history.
    pub(super) fn of(history: &History) -> Self {
        let mut reading = Reading::default();
        for (invocation, completion) in paired(history) {
            reading.add(invocation, completion);
        }
        reading
    }

    fn add(&mut self, invocation: Option<&Event>, completion: Option<&Event>) {
        let Some(event) = completion.or(invocation) else { return };
        let action = match event.f.as_ref() {
            "assign" | "subscribe" => self.assignment(event).map(Action::Assign),
            "send" | "poll" | "txn" => Some(Action::Transact(self.read_transaction(invocation, completion))),
            _ => None,
        };
        let Some(action) = action else { return };
        let kind = completion.map_or(EventKind::Info, |event| event.kind);
        if let (EventKind::Info, Action::Transact(_), Some(event)) = (kind, &action, completion)
            && self.causes_seen.insert(event.error.clone())
        {
            self.info_causes.push(event.error.clone());
        }
        self.ops.push(Op {
            process: event.process,
            kind,
            invoked: invocation.map(|event| event.index),
            completed: completion.map(|event| event.index),
            action,
        });
    }

    fn assignment(&mut self, event: &Event) -> Option<Vec<Key>> {
        let value = event.value.to_json();
        let Some(list) = value.as_array() else {
            self.malformed(event, "an assignment is not a list of keys");
            return None;
        };
        Some(list.iter().filter_map(|name| self.key_of(event, name)).collect())
    }

    fn read_transaction(&mut self, invocation: Option<&Event>, completion: Option<&Event>) -> Transaction {
        let mut transaction = Transaction::default();
        let Some(event) = completion.or(invocation) else { return transaction };
        transaction.asks = event.f != "send";
        // A client that does not know the outcome may leave the value out.
        let told = completion.filter(|event| event.kind == EventKind::Ok || event.value != OpValue::None);
        let Some(source) = told.or(invocation) else { return transaction };
        let asked =
            source.kind != EventKind::Ok && invocation.is_some_and(|asked| asked.value == source.value);
        let value = source.value.to_json();
        let Some(steps) = value.as_array() else {
            self.malformed(event, "not a list of sends and polls");
            return transaction;
        };
        for step in steps {
            let parts = step.as_array().map_or(&[][..], Vec::as_slice);
            match (parts.first().and_then(Json::as_str), &parts[parts.len().min(1)..]) {
                (Some("send"), [key, value]) if event.f != "poll" => {
                    let sent = self.send(source, key, value, asked);
                    transaction.sends.extend(sent);
                }
                (Some("poll"), rest) if event.f != "send" && rest.len() < 2 => {
                    self.polls(source, rest.first(), &mut transaction.polls);
                }
                _ => self.malformed(event, "neither a send nor a poll of a known shape"),
            }
        }
        transaction
    }

    /// A send. `asked`: the value is the message itself, not the pair of offset and message of an answer.
    fn send(&mut self, event: &Event, key: &Json, value: &Json, asked: bool) -> Option<Send> {
        let key = self.key_of(event, key)?;
        let (offset, value) = match value.as_array().map(Vec::as_slice) {
            Some([offset, message]) if !asked => (self.offset(event, offset), message),
            _ if event.kind == EventKind::Ok => {
                self.malformed(event, "the answer to a send is not [offset, message]");
                (None, value)
            }
            _ => (None, value),
        };
        let message = self.message(key, value);
        Some(Send { key, message, offset })
    }

    /// Adds what a poll returned to `polls`.
    fn polls(&mut self, event: &Event, answer: Option<&Json>, polls: &mut Vec<Poll>) {
        let by_key = match answer {
            None | Some(Json::Null) => return,
            Some(Json::Object(by_key)) => by_key,
            Some(_) => return self.malformed(event, "the answer to a poll is not an object"),
        };
        let earlier = polls.len();
        for (name, pairs) in by_key {
            let key = self.key(name);
            let Some(pairs) = pairs.as_array() else {
                self.malformed(event, "the messages of a key are not a list");
                continue;
            };
            let at = polls[..earlier].iter().position(|poll| poll.key == key).unwrap_or_else(|| {
                polls.push(Poll { key, messages: Vec::with_capacity(pairs.len()) });
                polls.len() - 1
            });
            for pair in pairs {
                match pair.as_array().map(Vec::as_slice) {
                    Some([offset, value]) => {
                        let offset = self.offset(event, offset);
                        let message = self.message(key, value);
                        polls[at].messages.push((offset, message));
                    }
                    _ => self.malformed(event, "a polled message is not [offset, message]"),
                }
            }
        }
    }

    fn offset(&mut self, event: &Event, offset: &Json) -> Option<u64> {
        if !offset.is_null() && offset.as_u64().is_none() {
            self.malformed(event, &format!("{offset} is no offset: offsets are integers from 0 on"));
        }
        offset.as_u64()
    }

    fn key_of(&mut self, event: &Event, name: &Json) -> Option<Key> {
        match name {
            Json::String(name) => Some(self.key(name)),
            Json::Number(number) if number.is_i64() || number.is_u64() => Some(self.key(&number.to_string())),
            _ => {
                self.malformed(event, &format!("{name} is no key: keys are strings"));
                None
            }
        }
    }

    fn key(&mut self, name: &str) -> Key {
        if let Some(&key) = self.numbers.get(name) {
            return key;
        }
        let key = self.keys.len();
        self.keys.push(name.to_owned());
        self.values.push(Values::default());
        self.numbers.insert(name.to_owned(), key);
        key
    }

    fn message(&mut self, key: Key, value: &Json) -> Message {
        let next = self.messages.len();
        let Values { integers, others } = &mut self.values[key];
        let known = match value.as_i64() {
            Some(integer) => *integers.entry(integer).or_insert(next),
            None => others.get(value).copied().unwrap_or(next),
        };
        if known == next {
            if !value.is_i64() {
                others.insert(value.clone(), next);
            }
            self.messages.push(Content { key, value: value.clone() });
        }
        known
    }

    fn malformed(&mut self, event: &Event, what: &str) {
        self.malformed.push(Malformed { op: event.index, what: what.to_owned() });
    }
}

/// Invocations with their completions, in the order of these; then what never completed. A process that
/// begins anew leaves what it had begun before open; a completion may lack its invocation.
fn paired(history: &History) -> Vec<(Option<&Event>, Option<&Event>)> {
    let mut pairs = Vec::new();
    let mut open: HashMap<Process, &Event> = HashMap::new();
    let mut left_open = Vec::new();
    for event in history.by_clients() {
        match event.kind {
            EventKind::Invoke => left_open.extend(open.insert(event.process, event)),
            _ => {
                let begun = open.remove(&event.process);
                let (begun, other) =
                    if begun.is_some_and(|begun| begun.f == event.f) { (begun, None) } else { (None, begun) };
                left_open.extend(other);
                pairs.push((begun, Some(event)));
            }
        }
    }
    left_open.extend(open.into_values());
    left_open.sort_unstable_by_key(|event| event.index);
    pairs.extend(left_open.into_iter().map(|begun| (Some(begun), None)));
    pairs
}
