//! The worst realtime lag: for how long had it been known, when a poll began, that there was more than the
//! poll and those before it showed?
//!
//! For each successful poll and each key assigned to its process: let p be the highest offset of the key that
//! the process has seen, this poll included. If an operation that ended had shown that the key has a message
//! at an offset above p, the lag is the time from that operation's end to the poll's beginning, but not less
//! than 0 (jepsen.tests.kafka, `realtime-lag`). It is a lower bound, and a server that returns few messages a
//! poll has a long one.

use std::collections::HashMap;

use serde::Serialize;

use crate::check::kafka::reading::{Action, Key, Op, Reading};
use crate::history::{EventKind, History, Process};

/// Nanoseconds in a second.
const SECOND: f64 = 1e9;

/// The worst lag: of the first poll and key that have it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Lag {
    /// When the poll began, in seconds since clients began.
    pub time: f64,
    /// Who polled; none if nobody polled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// The key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The lag in seconds.
    pub lag: f64,
}

impl Lag {
    /// The worst lag of a history.
    pub(super) fn of(history: &History, reading: &Reading) -> Self {
        let growth = Growth::of(history, reading);
        let mut consumers: HashMap<Process, Consumer> = HashMap::new();
        let mut worst: Option<(u64, u64, Process, Key)> = None;
        for op in reading.ops.iter().filter(|op| op.kind == EventKind::Ok) {
            let consumer = consumers.entry(op.process).or_default();
            match &op.action {
                Action::Assign(keys) => consumer.assign(keys, &growth),
                Action::Transact(transaction) if transaction.asks => {
                    consumer.poll(op, &growth);
                    let Some(invoked) = op.invoked else { continue };
                    let begun = history.events()[invoked].time.as_nanos();
                    if let Some((lag, key)) = consumer.lag(begun)
                        && worst.is_none_or(|(most, ..)| lag > most)
                    {
                        worst = Some((lag, begun, op.process, key));
                    }
                }
                Action::Transact(_) => {}
            }
        }
        worst.map_or_else(Lag::default, |(lag, begun, process, key)| Lag {
            time: begun as f64 / SECOND,
            process: Some(process),
            key: Some(reading.keys[key].clone()),
            lag: lag as f64 / SECOND,
        })
    }
}

/// When which offsets were first known to exist: for each key, ascending offsets with ascending times.
struct Growth(Vec<Vec<(u64, u64)>>);

impl Growth {
    fn of(history: &History, reading: &Reading) -> Self {
        let mut growth: Vec<Vec<(u64, u64)>> = vec![Vec::new(); reading.keys.len()];
        for op in reading.ops.iter().filter(|op| op.kind != EventKind::Fail) {
            let time = history.events()[op.event()].time.as_nanos();
            for (key, offset) in offsets(op) {
                let known = &mut growth[key];
                if known.last().is_none_or(|&(highest, _)| offset > highest) {
                    known.push((offset, time));
                }
            }
        }
        Growth(growth)
    }

    /// When it was first known that a key has a message above `seen`; the far future if it never was.
    fn above(&self, key: Key, seen: Option<u64>) -> u64 {
        let known = &self.0[key];
        let first = known.partition_point(|&(offset, _)| Some(offset) <= seen);
        known.get(first).map_or(u64::MAX, |&(_, time)| time)
    }
}

/// The highest offset of each key that an operation shows.
fn offsets(op: &Op) -> impl Iterator<Item = (Key, u64)> {
    let sent = op.sends().iter().filter_map(|send| Some((send.key, send.offset?)));
    let polled = op.polls().iter().filter_map(|poll| {
        let highest = poll.messages.iter().filter_map(|&(offset, _)| offset).max();
        Some((poll.key, highest?))
    });
    sent.chain(polled)
}

/// What a process polls, and how far it came.
#[derive(Default)]
struct Consumer {
    positions: Vec<Position>,
    places: HashMap<Key, usize>,
}

/// How far a process came with a key.
#[derive(Clone, Copy)]
struct Position {
    key: Key,
    seen: Option<u64>,
    /// Since when it has been known that there is more.
    outdated: u64,
}

impl Position {
    fn new(key: Key, seen: Option<u64>, growth: &Growth) -> Self {
        Position { key, seen, outdated: growth.above(key, seen) }
    }
}

impl Consumer {
    /// Keeps the positions of these keys, if they have any, and drops all others.
    fn assign(&mut self, keys: &[Key], growth: &Growth) {
        let former = std::mem::take(self);
        for &key in keys {
            let seen = former.places.get(&key).and_then(|&at| former.positions[at].seen);
            self.advance(key, seen, growth);
        }
    }

    /// Moves on to what a poll showed, also for keys that were not assigned.
    fn poll(&mut self, op: &Op, growth: &Growth) {
        for poll in op.polls() {
            self.advance(poll.key, None, growth);
        }
        for (key, offset) in offsets(op) {
            self.advance(key, Some(offset), growth);
        }
    }

    fn advance(&mut self, key: Key, seen: Option<u64>, growth: &Growth) {
        let at = *self.places.entry(key).or_insert_with(|| {
            self.positions.push(Position::new(key, None, growth));
            self.positions.len() - 1
        });
        if seen > self.positions[at].seen {
            self.positions[at] = Position::new(key, seen, growth);
        }
    }

    /// The greatest lag of a poll that begins at `begun`; none if no key is assigned.
    fn lag(&self, begun: u64) -> Option<(u64, Key)> {
        let oldest = self.positions.iter().min_by_key(|position| position.outdated.min(begun))?;
        Some((begun.saturating_sub(oldest.outdated), oldest.key))
    }
}
