//! From one message to the next: what a process sends or polls of a key should go up the log, and a process
//! that polls should leave nothing out.
//!
//! Within an operation, neighbours are compared; between operations of a process, the last message of the
//! former with the first of the latter. An assignment that drops a key ends the comparison, since the process
//! may begin anew elsewhere. So does a poll that lists the key with no messages: a quirk of
//! jepsen.tests.kafka, which hides some skips and is kept so that the counts agree.

use std::collections::{HashMap, HashSet};

use crate::check::kafka::log::Logs;
use crate::check::kafka::reading::{Action, Key, Message, Op, OpId, Reading, Transaction};
use crate::history::{EventKind, Process};

/// All steps that are not to the next message.
#[derive(Debug, Default)]
pub(super) struct Steps {
    pub(super) between_polls: Wrong,
    pub(super) within_polls: Wrong,
    /// What lies between sends is other processes' and fine: only steps back are errors.
    pub(super) between_sends: Wrong,
    pub(super) within_sends: Wrong,
}

/// Steps of one sort.
#[derive(Debug, Default)]
pub(super) struct Wrong {
    /// Those that leave something out.
    pub(super) skips: Vec<Pair>,
    /// Those that stay or go back.
    pub(super) back: Vec<Pair>,
}

/// Two successive messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub(super) messages: [Message; 2],
    /// At which offsets they were sent or polled, if that is known.
    pub(super) offsets: [Option<u64>; 2],
    /// How far it is from the former to the latter, in indices.
    pub(super) delta: i64,
    pub(super) ops: [OpId; 2],
}

/// A message as an operation sent or polled it; none if a poll lists the key without any.
type Seen = (OpId, Option<(Option<u64>, Message)>);

/// The last message of each key that a process sent or polled.
type Positions = HashMap<Key, Seen>;

impl Steps {
    /// The wrong steps of a history.
    pub(super) fn of(reading: &Reading, logs: &Logs) -> Self {
        let mut steps = Steps::default();
        let mut positions: HashMap<Process, [Positions; 2]> = HashMap::new();
        for (id, op) in reading.ops.iter().enumerate() {
            match &op.action {
                Action::Assign(_) if op.kind == EventKind::Fail || op.completed.is_none() => {}
                Action::Assign(keys) => {
                    let keys: HashSet<&Key> = keys.iter().collect();
                    let of_process = positions.entry(op.process).or_default();
                    of_process.iter_mut().for_each(|last| last.retain(|key, _| keys.contains(key)));
                }
                Action::Transact(transaction) => {
                    let [polled, sent] = positions.entry(op.process).or_default();
                    steps.polls(logs, id, op, polled);
                    steps.sends(logs, id, op.kind, transaction, sent);
                }
            }
        }
        steps
    }

    fn polls(&mut self, logs: &Logs, id: OpId, op: &Op, positions: &mut Positions) {
        for poll in op.polls() {
            if let Some(&last) = positions.get(&poll.key) {
                self.between_polls.step(logs, last, (id, poll.messages.first().copied()));
            }
            for neighbours in poll.messages.windows(2) {
                self.within_polls.step(logs, (id, Some(neighbours[0])), (id, Some(neighbours[1])));
            }
            if op.kind == EventKind::Ok {
                positions.insert(poll.key, (id, poll.messages.last().copied()));
            }
        }
    }

    fn sends(
        &mut self,
        logs: &Logs,
        id: OpId,
        kind: EventKind,
        transaction: &Transaction,
        positions: &mut Positions,
    ) {
        let mut own = Positions::new();
        for send in &transaction.sends {
            let sent = (id, Some((send.offset, send.message)));
            match own.insert(send.key, sent) {
                Some(last) => self.within_sends.step(logs, last, sent),
                None if kind == EventKind::Fail => {}
                None => {
                    if let Some(&last) = positions.get(&send.key) {
                        self.between_sends.step(logs, last, sent);
                    }
                }
            }
        }
        if kind != EventKind::Fail {
            positions.extend(own);
        }
    }
}

impl Wrong {
    /// Notes a step that is not to the very next message.
    fn step(&mut self, logs: &Logs, from: Seen, to: Seen) {
        let (Some(former), Some(latter)) = (from.1, to.1) else { return };
        let delta = logs.distance(former.1, latter.1);
        let pair = Pair {
            messages: [former.1, latter.1],
            offsets: [former.0, latter.0],
            delta,
            ops: [from.0, to.0],
        };
        match delta {
            1 => {}
            2.. => self.skips.push(pair),
            _ => self.back.push(pair),
        }
    }
}
