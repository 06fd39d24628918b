//! What became of each message: who sent it, how that ended, who polled it.

use crate::check::kafka::reading::{Message, Op, OpId, Reading};
use crate::history::EventKind;

/// What became of all messages.
#[derive(Debug)]
pub(super) struct Fates(Vec<Fate>);

/// What became of a message.
#[derive(Clone, Debug, Default)]
pub(super) struct Fate {
    /// The last operation that sent it.
    pub(super) writer: Option<OpId>,
    /// Whether a send of it succeeded.
    pub(super) sent_ok: bool,
    /// Whether a send of it failed.
    pub(super) failed: bool,
    /// The first operation that polled it.
    pub(super) reader: Option<OpId>,
    /// The first successful one.
    pub(super) ok_reader: Option<OpId>,
}

impl Fates {
    /// What became of the messages of a history.
    pub(super) fn of(reading: &Reading) -> Self {
        let mut fates = vec![Fate::default(); reading.messages.len()];
        for (id, op) in reading.ops.iter().enumerate() {
            for send in op.sends() {
                let fate = &mut fates[send.message];
                // What never ended comes last among operations, but must not hide what did.
                if op.completed.is_some() || fate.writer.is_none() {
                    fate.writer = Some(id);
                }
                fate.sent_ok |= op.kind == EventKind::Ok;
                fate.failed |= op.kind == EventKind::Fail;
            }
            for &(_, message) in op.polls().iter().flat_map(|poll| &poll.messages) {
                fates[message].reader.get_or_insert(id);
                if op.kind == EventKind::Ok {
                    fates[message].ok_reader.get_or_insert(id);
                }
            }
        }
        Fates(fates)
    }

    /// What became of a message.
    pub(super) fn get(&self, message: Message) -> &Fate {
        &self.0[message]
    }

    /// All, with their messages.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Message, &Fate)> {
        self.0.iter().enumerate()
    }

    /// Whether the sends of an operation happened: it succeeded, or its outcome is unknown and something that
    /// it sent was polled.
    pub(super) fn must_have_committed(&self, op: &Op) -> bool {
        match op.kind {
            EventKind::Ok => true,
            EventKind::Info => op.sends().iter().any(|send| self.get(send.message).ok_reader.is_some()),
            EventKind::Fail | EventKind::Invoke => false,
        }
    }
}
