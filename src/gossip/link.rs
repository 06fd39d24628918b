//! What a node shares with one peer: the queue, the slots, and how the peer has been answering.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crate::node::Time;
use crate::planted::planted;
use crate::queue::{Deadline, PeerQueue, SlotRing};

/// After this many waits in vain a peer counts as silent: it is sent nothing but its oldest batch. One lost
/// message is the network's; two in a row, with no acknowledgement between, are rather the peer's.
const SILENT_AFTER: u32 = 2;

#[derive(Debug)]
pub(super) struct Link {
    pub(super) queue: PeerQueue,
    pub(super) slots: SlotRing,
    /// Whether new values go to this peer. Cleared when a later topology drops it; the queue drains then.
    linked: AtomicBool,
    /// Waits for an acknowledgement that were in vain since the last one came.
    failures: AtomicU32,
    /// When the next flush is allowed.
    flush_from: Deadline,
    /// When a batch was last sent.
    last_sent: Deadline,
    interval: Duration,
}

impl Link {
    /// An idle link to a peer that new values do not go to yet.
    pub(super) fn new(queue: PeerQueue, slots: SlotRing, interval: Duration) -> Self {
        Self {
            queue,
            slots,
            linked: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            flush_from: Deadline::at(Time::ZERO),
            last_sent: Deadline::at(Time::ZERO),
            interval,
        }
    }

    pub(super) fn is_linked(&self) -> bool {
        // Acquire: pairs with the release in `set_linked`.
        self.linked.load(Ordering::Acquire)
    }

    /// True if that linked a peer that wasn't.
    pub(super) fn set_linked(&self, linked: bool) -> bool {
        // Release: pairs with the acquire in `is_linked`. Acquire: of two callers the later one's walk over
        // the seen set follows the earlier one's.
        let before = self.linked.swap(linked, Ordering::AcqRel);
        linked && !before
    }

    /// Waits in vain so far.
    pub(super) fn failures(&self) -> u32 {
        // Relaxed, here and below: the count steers retries, it publishes nothing.
        self.failures.load(Ordering::Relaxed)
    }

    pub(super) fn is_silent(&self) -> bool {
        self.failures() >= SILENT_AFTER
    }

    /// Another wait was in vain. True if that made the peer silent.
    pub(super) fn note_failure(&self) -> bool {
        self.failures.fetch_add(1, Ordering::Relaxed) + 1 == SILENT_AFTER
    }

    /// The peer has acknowledged something. True if it was silent.
    pub(super) fn note_answer(&self) -> bool {
        planted!(NeverForgiven => if self.is_silent() { return false });
        self.failures.swap(0, Ordering::Relaxed) >= SILENT_AFTER
    }

    /// When the next flush may be, from `now` on.
    pub(super) fn flush_from(&self, now: Time) -> Time {
        self.flush_from.get().max(now)
    }

    pub(super) fn last_sent(&self) -> Time {
        self.last_sent.get()
    }

    pub(super) fn note_sent(&self, now: Time) {
        self.last_sent.set(now);
    }

    pub(super) fn note_flush(&self, now: Time) {
        planted!(LazyFlush => return self.flush_from.set(now + 40 * self.interval));
        self.flush_from.set(now + self.interval);
    }
}
