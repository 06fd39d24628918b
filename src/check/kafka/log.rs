//! What is known of each key's log: which messages are at which offset.
//!
//! Offsets may be sparse. The analysis counts in *indices*: the index of an offset is the number of smaller
//! offsets of the key that are in use. Only offsets in use are kept, so their size costs nothing.
//!
//! An offset is known from a send that must have committed and from any poll, whatever became of it: what a
//! poll shows should be safe to show (jepsen.tests.kafka, `version-orders`).

use crate::check::kafka::fates::Fates;
use crate::check::kafka::reading::{Key, Message, Reading};
use crate::check::kafka::set_order;

/// The logs of all keys.
#[derive(Debug)]
pub(super) struct Logs {
    logs: Vec<Vec<Slot>>,
    places: Vec<Option<Place>>,
}

/// An offset in use.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) offset: u64,
    /// The messages seen there, none twice: one, if all is well. The first stands for the slot.
    pub(super) messages: Vec<Message>,
}

/// Where a message is in the log of its key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The first index.
    pub(super) first: usize,
    /// The last index.
    pub(super) last: usize,
    /// At how many indices it is.
    pub(super) count: usize,
    /// The last index for which it stands.
    pub(super) order: Option<usize>,
}

impl Logs {
    /// The logs that a history shows.
    pub(super) fn of(reading: &Reading, fates: &Fates) -> Self {
        let mut sightings = sightings(reading, fates);
        sightings.sort_unstable();
        sightings.dedup();
        let mut logs: Vec<Vec<Slot>> = Vec::new();
        logs.resize_with(reading.keys.len(), Vec::new);
        for (key, offset, message) in sightings {
            match logs[key].last_mut() {
                Some(slot) if slot.offset == offset => slot.messages.push(message),
                _ => logs[key].push(Slot { offset, messages: vec![message] }),
            }
        }
        for slot in logs.iter_mut().flatten().filter(|slot| slot.messages.len() > 1) {
            set_order::sort(&mut slot.messages, reading);
        }
        let places = places(&logs, reading.messages.len());
        Logs { logs, places }
    }

    /// The offsets of a key that are in use, ascending.
    pub(super) fn slots(&self, key: Key) -> &[Slot] {
        &self.logs[key]
    }

    /// Where a message is; none if no offset of it is known.
    pub(super) fn place(&self, message: Message) -> Option<Place> {
        self.places[message]
    }

    /// How far it is from one message of a key to another, in indices; 1 if that cannot be said.
    pub(super) fn distance(&self, from: Message, to: Message) -> i64 {
        let order = |message: Message| self.places[message]?.order;
        match (order(from), order(to)) {
            (Some(from), Some(to)) => to as i64 - from as i64,
            _ => 1,
        }
    }

    /// Whether a message is at one offset only, and alone there.
    pub(super) fn is_clear(&self, key: Key, message: Message) -> bool {
        self.places[message]
            .is_some_and(|place| place.count == 1 && self.logs[key][place.first].messages.len() == 1)
    }
}

/// Each message with each offset at which it was seen, few more than once.
fn sightings(reading: &Reading, fates: &Fates) -> Vec<(Key, u64, Message)> {
    let mut sightings = Vec::new();
    // Nearly every sighting of a message is where it was seen before: these are left out at once.
    let mut latest = vec![None; reading.messages.len()];
    let mut see = |key: Key, offset: Option<u64>, message: Message| {
        if let Some(at) = offset
            && latest[message] != offset
        {
            latest[message] = offset;
            sightings.push((key, at, message));
        }
    };
    for op in &reading.ops {
        if fates.must_have_committed(op) {
            op.sends().iter().for_each(|send| see(send.key, send.offset, send.message));
        }
        for poll in op.polls() {
            poll.messages.iter().for_each(|&(offset, message)| see(poll.key, offset, message));
        }
    }
    sightings
}

fn places(logs: &[Vec<Slot>], messages: usize) -> Vec<Option<Place>> {
    let mut places: Vec<Option<Place>> = vec![None; messages];
    for log in logs {
        for (index, slot) in log.iter().enumerate() {
            for (nth, &message) in slot.messages.iter().enumerate() {
                let unseen = Place { first: index, last: index, count: 0, order: None };
                let place = places[message].get_or_insert(unseen);
                place.last = index;
                place.count += 1;
                if nth == 0 {
                    place.order = Some(index);
                }
            }
        }
    }
    places
}
