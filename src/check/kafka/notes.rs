//! Where the verdict differs from Jepsen's, and why: so that whoever compares the two is not surprised.

use std::collections::HashSet;

use crate::check::kafka::Analysis;
use crate::check::kafka::reading::{Key, Message, Op};
use crate::history::EventKind;

/// From this offset on, Jepsen's checker does not come to an end: it keeps an entry for each smaller offset,
/// and so many do not fit the usual heap of a JVM.
const OFFSET_HUGE: u64 = 100_000_000;

const NOTHING_TO_CHECK: &str = "no operation followed or saw another, so there was nothing to check; \
    Jepsen calls this an empty transaction graph and the run invalid, or valid if there was no operation \
    at all";
const PHANTOM: &str =
    "a message was polled that nobody sent; Jepsen's checker throws at that and knows no verdict";
const MALFORMED: &str =
    "what is malformed was left out of the rest of the analysis; Jepsen's client or checker throws at it";

/// The notes on a history.
pub(super) fn notes(analysis: &Analysis<'_>) -> Vec<String> {
    let name = |key: Key| &analysis.reading.keys[key];
    let empty = analysis.cycles.no_edges.then(|| NOTHING_TO_CHECK.to_owned());
    let phantom = (!analysis.marks.phantoms.is_empty()).then(|| PHANTOM.to_owned());
    let malformed = (!analysis.reading.malformed.is_empty()).then(|| MALFORMED.to_owned());
    let in_vain = polled_in_vain(analysis).map(|key| {
        format!(
            "key {:?} was polled, but no message of it ever came at a known offset; Jepsen's checker \
             throws an index out of bounds at that and knows no verdict",
            name(key)
        )
    });
    let huge = huge_offset(analysis).map(|(key, offset)| {
        format!(
            "key {:?} has a message at offset {offset}; Jepsen's checker keeps an entry for each smaller \
             offset and does not come to an end",
            name(key)
        )
    });
    let late = late_key(analysis).map(|key| {
        format!(
            "the last successful operation was the first to show key {:?}; Jepsen's checker counts what it \
             showed as unseen",
            name(key)
        )
    });
    [empty, phantom, malformed, in_vain, huge, late].into_iter().flatten().collect()
}

fn successful<'a>(analysis: &'a Analysis<'_>) -> impl DoubleEndedIterator<Item = &'a Op> {
    analysis.reading.ops.iter().filter(|op| op.kind == EventKind::Ok && op.transaction().is_some())
}

/// A key that successful polls list, but of which they show nothing at a known offset.
fn polled_in_vain(analysis: &Analysis<'_>) -> Option<Key> {
    let mut known = vec![None; analysis.reading.keys.len()];
    for poll in successful(analysis).flat_map(Op::polls) {
        let shown = |&(_, message): &(_, Message)| analysis.logs.place(message).is_some();
        known[poll.key] = known[poll.key].max(Some(poll.messages.iter().any(shown)));
    }
    known.iter().position(|&known| known == Some(false))
}

/// An offset too great for Jepsen, and its key.
fn huge_offset(analysis: &Analysis<'_>) -> Option<(Key, u64)> {
    let last = |key: Key| Some((key, analysis.logs.slots(key).last()?.offset));
    (0..analysis.reading.keys.len()).filter_map(last).find(|&(_, offset)| offset >= OFFSET_HUGE)
}

/// A key whose messages the last successful operation shows, and that none before it sent or polled.
fn late_key(analysis: &Analysis<'_>) -> Option<Key> {
    let last = successful(analysis).next_back()?;
    let earlier = successful(analysis).take_while(|op| op.event() != last.event());
    let polled = |op: &Op| op.polls().iter().map(|poll| poll.key).collect::<Vec<_>>();
    let sent = |op: &Op| op.sends().iter().map(|send| send.key).collect::<Vec<_>>();
    let known: HashSet<Key> =
        earlier.flat_map(|op| [polled(op), sent(op)].concat()).chain(sent(last)).collect();
    let shown = last.polls().iter().filter(|poll| !poll.messages.is_empty()).map(|poll| poll.key);
    shown.filter(|key| !known.contains(key)).min()
}
