//! From numbers to names: the errors as the verdict lists them, some of each type.

use crate::check::kafka::errors::{
    AbortedRead, Cases, Duplicate, InconsistentOffset, LostWrite, Phantom, PrecommittedRead, Step,
};
use crate::check::kafka::marks::Lost;
use crate::check::kafka::reading::{Key, Message, OpId};
use crate::check::kafka::steps::Pair;
use crate::check::kafka::unseen::Unseen;
use crate::check::kafka::{Analysis, Errors};
use serde_json::Value as Json;

/// The most errors listed of a type without an order by size, duplicates and inconsistent offsets (Jepsen's
/// number; it lists all of the others).
const LISTED_MAX: usize = 32;
/// The most steps listed of a type (Jepsen's number).
const STEPS_MAX: usize = 8;
/// The most offsets, values or skipped messages listed in an error.
const DETAILS_MAX: usize = 32;

/// The errors of a history.
pub(super) fn errors(analysis: &Analysis<'_>) -> Errors {
    let Analysis { reading, marks, steps, cycles, .. } = analysis;
    Errors {
        g1c: cycles.g1c.clone(),
        g1c_realtime: cycles.g1c_realtime.clone(),
        pl_2_cycle_exists: cycles.pl_2.clone(),
        strong_pl_2_cycle_exists: cycles.strong_pl_2.clone(),
        aborted: first(&marks.aborted, |found| analysis.aborted(found)),
        duplicate: duplicates(analysis),
        inconsistent_offsets: inconsistent(analysis),
        int_nonmonotonic_poll: analysis.back(&steps.within_polls.back),
        int_nonmonotonic_send: analysis.back(&steps.within_sends.back),
        int_poll_skip: analysis.skips(&steps.within_polls.skips),
        int_send_skip: analysis.skips(&steps.within_sends.skips),
        lost_write: first(&marks.lost, |found| analysis.lost(found)),
        malformed: first(&reading.malformed, Clone::clone),
        nonmonotonic_poll: analysis.back(&steps.between_polls.back),
        nonmonotonic_send: analysis.back(&steps.between_sends.back),
        phantom: first(&marks.phantoms, |found| analysis.phantom(found)),
        poll_skip: analysis.skips(&steps.between_polls.skips),
        precommitted_read: first(&marks.precommitted, |found| analysis.precommitted(found)),
        unseen: Unseen::of(analysis.history, reading, &analysis.fates),
    }
}

fn first<T, U>(found: &[T], show: impl FnMut(&T) -> U) -> Cases<U> {
    Cases { count: found.len(), errs: found.iter().take(LISTED_MAX).map(show).collect() }
}

fn duplicates(analysis: &Analysis<'_>) -> Cases<Duplicate> {
    let mut found = analysis.marks.duplicates.clone();
    found.sort_by_key(|&message| analysis.copies(message));
    first(&found, |&message| analysis.duplicate(message))
}

fn inconsistent(analysis: &Analysis<'_>) -> Cases<InconsistentOffset> {
    let mut found = analysis.marks.inconsistent.clone();
    found.sort_by_key(|&(key, index)| analysis.logs.slots(key)[index].messages.len());
    first(&found, |&(key, index)| analysis.inconsistent(key, index))
}

impl Analysis<'_> {
    /// The event that stands for an operation.
    pub(super) fn event(&self, op: OpId) -> usize {
        self.reading.ops[op].event()
    }

    /// The name of a message's key.
    pub(super) fn key(&self, message: Message) -> String {
        self.reading.keys[self.reading.messages[message].key].clone()
    }

    /// A message's value.
    pub(super) fn value(&self, message: Message) -> Json {
        self.reading.messages[message].value.clone()
    }

    /// At how many offsets a message is.
    pub(super) fn copies(&self, message: Message) -> usize {
        self.logs.place(message).map_or(0, |place| place.count)
    }

    /// The offsets of a message, ascending.
    pub(super) fn offsets(&self, message: Message) -> impl Iterator<Item = u64> {
        let slots = self.logs.slots(self.reading.messages[message].key).iter();
        slots.filter(move |slot| slot.messages.contains(&message)).map(|slot| slot.offset)
    }

    fn duplicate(&self, message: Message) -> Duplicate {
        Duplicate {
            key: self.key(message),
            value: self.value(message),
            count: self.copies(message),
            offsets: self.offsets(message).take(DETAILS_MAX).collect(),
        }
    }

    fn inconsistent(&self, key: Key, index: usize) -> InconsistentOffset {
        let slot = &self.logs.slots(key)[index];
        let values = slot.messages.iter().take(DETAILS_MAX).map(|&message| self.value(message)).collect();
        InconsistentOffset { key: self.reading.keys[key].clone(), offset: slot.offset, index, values }
    }

    fn aborted(&self, &(reader, message): &(OpId, Message)) -> AbortedRead {
        AbortedRead {
            key: self.key(message),
            value: self.value(message),
            writer: self.fates.get(message).writer.map(|writer| self.event(writer)),
            reader: self.event(reader),
        }
    }

    fn precommitted(&self, &(op, message): &(OpId, Message)) -> PrecommittedRead {
        PrecommittedRead { op: self.event(op), key: self.key(message), value: self.value(message) }
    }

    fn phantom(&self, &(reader, message): &(OpId, Message)) -> Phantom {
        Phantom { key: self.key(message), value: self.value(message), reader: self.event(reader) }
    }

    fn lost(&self, lost: &Lost) -> LostWrite {
        LostWrite {
            key: self.key(lost.message),
            value: self.value(lost.message),
            index: self.logs.place(lost.message).map_or(0, |place| place.first),
            max_read_index: lost.bound,
            writer: self.event(lost.writer),
            max_read: self.reader_above(lost).map(|(reader, _)| self.event(reader)),
        }
    }

    /// A successful poll that shows why a message is lost: of a message at the bound, with that message.
    pub(super) fn reader_above(&self, lost: &Lost) -> Option<(OpId, Message)> {
        let slot = &self.logs.slots(self.reading.messages[lost.message].key)[lost.bound];
        let mut readers = slot.messages.iter().filter_map(|&message| {
            let at_bound = self.logs.place(message)?.first == lost.bound;
            at_bound.then_some((self.fates.get(message).ok_reader?, message))
        });
        readers.next()
    }

    /// The steps that go back furthest.
    fn back(&self, found: &[Pair]) -> Cases<Step> {
        let mut sorted: Vec<&Pair> = found.iter().collect();
        sorted.sort_by_key(|pair| pair.delta);
        sorted.truncate(STEPS_MAX);
        Cases { count: found.len(), errs: sorted.into_iter().map(|pair| self.step(pair)).collect() }
    }

    /// The steps that leave out most.
    fn skips(&self, found: &[Pair]) -> Cases<Step> {
        let mut sorted: Vec<&Pair> = found.iter().collect();
        sorted.sort_by_key(|pair| pair.delta);
        let listed = sorted.iter().skip(sorted.len().saturating_sub(STEPS_MAX));
        Cases { count: found.len(), errs: listed.map(|pair| self.step(pair)).collect() }
    }

    fn step(&self, pair: &Pair) -> Step {
        let mut ops = pair.ops.map(|op| self.event(op)).to_vec();
        ops.dedup();
        Step {
            key: self.key(pair.messages[0]),
            values: pair.messages.map(|message| self.value(message)),
            delta: pair.delta,
            skipped: self.skipped(pair).take(DETAILS_MAX).map(|message| self.value(message)).collect(),
            ops,
        }
    }

    /// The messages that a step leaves out.
    pub(super) fn skipped(&self, pair: &Pair) -> impl Iterator<Item = Message> {
        let from = self.logs.place(pair.messages[0]).and_then(|place| place.order).unwrap_or(usize::MAX - 1);
        let slots = self.logs.slots(self.reading.messages[pair.messages[0]].key);
        let left_out = usize::try_from(pair.delta - 1).unwrap_or(0);
        slots.iter().skip(from + 1).take(left_out).map(|slot| slot.messages[0])
    }
}
