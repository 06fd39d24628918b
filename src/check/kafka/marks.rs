//! Errors of single messages and offsets: what the logs and the fates of messages show without an order of
//! operations.

use std::collections::HashSet;

use crate::check::kafka::fates::{Fate, Fates};
use crate::check::kafka::log::{Logs, Place};
use crate::check::kafka::reading::{Key, Message, OpId, Reading};
use crate::history::EventKind;

/// All of them.
#[derive(Debug)]
pub(super) struct Marks {
    /// Messages at more than one offset.
    pub(super) duplicates: Vec<Message>,
    /// Offsets with more than one message, by key and index.
    pub(super) inconsistent: Vec<(Key, usize)>,
    /// Messages of failed sends in successful polls.
    pub(super) aborted: Vec<(OpId, Message)>,
    /// Messages polled by the operation that sends them.
    pub(super) precommitted: Vec<(OpId, Message)>,
    /// Messages that must be in the log, below one that was polled, and were not.
    pub(super) lost: Vec<Lost>,
    /// Messages that were polled and that nobody sent.
    pub(super) phantoms: Vec<(OpId, Message)>,
}

/// A lost message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lost {
    pub(super) message: Message,
    pub(super) writer: OpId,
    /// The greatest index of the key that was polled.
    pub(super) bound: usize,
}

impl Marks {
    /// The errors of a history's messages and offsets.
    pub(super) fn of(reading: &Reading, fates: &Fates, logs: &Logs) -> Self {
        let more_than_once = |place: Place| place.count > 1;
        let phantom = |(message, fate): (Message, &Fate)| match fate.writer {
            None => Some((fate.reader?, message)),
            Some(_) => None,
        };
        Marks {
            duplicates: (0..reading.messages.len())
                .filter(|&message| logs.place(message).is_some_and(more_than_once))
                .collect(),
            inconsistent: inconsistent(reading, logs),
            aborted: aborted(reading, fates),
            precommitted: precommitted(reading),
            lost: lost(reading, fates, logs),
            phantoms: fates.iter().filter_map(phantom).collect(),
        }
    }
}

fn inconsistent(reading: &Reading, logs: &Logs) -> Vec<(Key, usize)> {
    let mut found = Vec::new();
    for key in 0..reading.keys.len() {
        let slots = logs.slots(key).iter().enumerate();
        found.extend(slots.filter(|(_, slot)| slot.messages.len() > 1).map(|(index, _)| (key, index)));
    }
    found
}

fn aborted(reading: &Reading, fates: &Fates) -> Vec<(OpId, Message)> {
    let mut found = Vec::new();
    for (id, op) in reading.ops.iter().enumerate().filter(|(_, op)| op.kind == EventKind::Ok) {
        let polled = op.polls().iter().flat_map(|poll| &poll.messages).map(|&(_, message)| message);
        found.extend(polled.filter(|&message| fates.get(message).failed).map(|message| (id, message)));
    }
    found
}

/// One message an operation, as Jepsen counts.
fn precommitted(reading: &Reading) -> Vec<(OpId, Message)> {
    let mut found = Vec::new();
    for (id, op) in reading.ops.iter().enumerate().filter(|(_, op)| !op.sends().is_empty()) {
        let sent: HashSet<Message> = op.sends().iter().map(|send| send.message).collect();
        let mut polled = op.polls().iter().flat_map(|poll| &poll.messages);
        if let Some(&(_, message)) = polled.find(|(_, message)| sent.contains(message)) {
            found.push((id, message));
        }
    }
    found
}

/// Whoever polled a message could poll all that come before it in the log of its key: so somebody should
/// have. A message may be at several offsets: the greatest *first* index of a polled message bounds what must
/// have been polled, and a message counts only if its *last* index is not above.
fn lost(reading: &Reading, fates: &Fates, logs: &Logs) -> Vec<Lost> {
    let mut found = Vec::new();
    for (key, bound) in bounds(reading, fates, logs).into_iter().enumerate() {
        let Some(bound) = bound else { continue };
        for (index, slot) in logs.slots(key)[..=bound].iter().enumerate() {
            for &message in &slot.messages {
                let fate = fates.get(message);
                let here_last = logs.place(message).is_some_and(|place| place.last == index);
                if let Some(writer) = fate.writer
                    && here_last
                    && fate.ok_reader.is_none()
                    && fates.must_have_committed(&reading.ops[writer])
                {
                    found.push(Lost { message, writer, bound });
                }
            }
        }
    }
    found
}

/// For each key, up to which index all messages should have been polled.
fn bounds(reading: &Reading, fates: &Fates, logs: &Logs) -> Vec<Option<usize>> {
    let mut bounds = vec![None; reading.keys.len()];
    for (message, _) in fates.iter().filter(|(_, fate)| fate.ok_reader.is_some()) {
        if let Some(place) = logs.place(message) {
            let bound = &mut bounds[reading.messages[message].key];
            *bound = (*bound).max(Some(place.first));
        }
    }
    bounds
}
