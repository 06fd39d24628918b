//! From one message to the next: what a process sends or polls of a key should go up the log, and a process
//! that polls should leave nothing out.
//!
//! Within an operation, neighbours are compared; between operations of a process, the last message of the
//! former with the first of the latter. An assignment that drops a key ends the comparison, since the process
//! may begin anew elsewhere. So does a poll that lists the key with no messages: a quirk of jepsen.tests.kafka,
//! which hides some skips and is kept so that the counts agree.

use std::collections::{HashMap, HashSet};

use crate::check::kafka::log::Logs;
use crate::check::kafka::reading::{Action, Key, Message, Op, OpId, Reading, Transaction};
use crate::history::{EventKind, Process};

/// All steps that are not to the next message.
#[derive(Debug, Default)]
pub(super) struct Steps {
    pub(super) between_polls: Wrong,
    pub(super) within_polls: Wrong,
    /// What is left out between sends is other processes' and fine; only steps back are kept.
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
    /// How far it is from the former to the latter, in indices.
    pub(super) delta: i64,
    pub(super) ops: [OpId; 2],
}

/// The last message of each key that a process sent or polled; none if a poll listed the key without any.
type Positions = HashMap<Key, (OpId, Option<Message>)>;

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
            let first = poll.messages.first().map(|&(_, message)| message);
            if let Some(&last) = positions.get(&poll.key) {
                self.between_polls.step(logs, last, (id, first));
            }
            for neighbours in poll.messages.windows(2) {
                self.within_polls.step(logs, (id, Some(neighbours[0].1)), (id, Some(neighbours[1].1)));
            }
            if op.kind == EventKind::Ok {
                positions.insert(poll.key, (id, poll.messages.last().map(|&(_, message)| message)));
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
            let sent = (id, Some(send.message));
            match own.insert(send.key, sent) {
                Some(last) => self.within_sends.step(logs, last, sent),
                None if kind == EventKind::Fail => {}
                None => {
                    if let Some(&last) = positions.get(&send.key) {
                        self.between_sends.step_up(logs, last, sent);
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
    fn step(&mut self, logs: &Logs, from: (OpId, Option<Message>), to: (OpId, Option<Message>)) {
        let delta = logs.distance(from.1, to.1);
        if let (Some(former), Some(latter)) = (from.1, to.1)
            && delta != 1
        {
            let pair = Pair { messages: [former, latter], delta, ops: [from.0, to.0] };
            if delta > 1 { self.skips.push(pair) } else { self.back.push(pair) }
        }
    }

    /// Notes a step that does not go up.
    fn step_up(&mut self, logs: &Logs, from: (OpId, Option<Message>), to: (OpId, Option<Message>)) {
        if logs.distance(from.1, to.1) < 1 {
            self.step(logs, from, to);
        }
    }
}
