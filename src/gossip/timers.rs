//! Which link is to be looked at next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::membership::Peer;
use crate::node::Time;

/// A queue of (time, peer), the soonest first. A link that comes due sooner than its entry says gets another entry; one
/// that comes due later is found out when its entry comes up, and is then put back. So a link that is put off again
/// and again, as each message does it, costs nothing until its entry comes up.
#[derive(Debug, Default)]
pub(super) struct Timers(BinaryHeap<Reverse<(Time, Peer)>>);

impl Timers {
    /// Looks at the peer at `due`, if that is sooner than at `queued`, which is then `due`.
    pub(super) fn bring_forward(&mut self, peer: Peer, due: Time, queued: &mut Time) {
        if due < *queued {
            *queued = due;
            self.0.push(Reverse((due, peer)));
        }
    }

    /// When the next entry comes up.
    pub(super) fn next(&self) -> Time {
        self.0.peek().map_or(Time::NEVER, |Reverse((time, _))| *time)
    }

    /// The next entry that has come up.
    pub(super) fn pop(&mut self, now: Time) -> Option<(Time, Peer)> {
        (self.next() <= now).then(|| self.0.pop().map(|Reverse(entry)| entry))?
    }
}
