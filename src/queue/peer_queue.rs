//! The values that wait to be sent to one peer.

use crate::planted::planted;
use crate::protocol::{BATCH_MAX, Batch, Value};
use crate::sync::{AtomicBool, AtomicUsize, Ordering, SegQueue};

/// An unordered bag of values for a peer, pushed and drained by any number of threads.
///
/// It is bounded: a value pushed beyond the limit is not kept, but the queue remembers that it
/// [overflowed](PeerQueue::take_overflow). Its owner, who has all values in the seen set, then finds out by other
/// means what the peer lacks, and [refills](PeerQueue::refill) it; until it is empty again, the limit counts from there.
#[derive(Debug)]
pub struct PeerQueue {
    values: SegQueue<Value>,
    /// At least the number of values in the queue: counted before a push, uncounted after a pop.
    len: AtomicUsize,
    overflowed: AtomicBool,
    limit: usize,
    /// How many values were put in beyond the limit; zero once the queue has been empty since.
    refilled: AtomicUsize,
}

impl PeerQueue {
    /// An empty queue that keeps at most `limit` values.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            values: SegQueue::new(),
            len: AtomicUsize::new(0),
            overflowed: AtomicBool::new(false),
            limit,
            refilled: AtomicUsize::new(0),
        }
    }

    /// Adds a value, or notes the overflow.
    pub fn push(&self, value: Value) {
        // Relaxed: the counts are bounds on memory, they publish nothing; the queue itself does that.
        let limit = self.limit.saturating_add(self.refilled.load(Ordering::Relaxed));
        if self.len.fetch_add(1, Ordering::Relaxed) >= limit {
            self.len.fetch_sub(1, Ordering::Relaxed);
            planted!(OverflowForgotten => return);
            // Release: pairs with the acquire in `take_overflow`, whose caller must see the seen set as it
            // was when this value was dropped, the value included.
            self.overflowed.store(true, Ordering::Release);
        } else {
            self.values.push(value);
        }
    }

    /// Whether the next value that is pushed may be dropped, however many were put in beyond the limit.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len.load(Ordering::Relaxed) >= self.limit
    }

    /// What was found missing is left out, for want of room: as if it had been pushed and dropped.
    pub fn note_overflow(&self) {
        // Release: as in `push`.
        self.overflowed.store(true, Ordering::Release);
    }

    /// Adds values that must not be dropped: what the peer was found to lack.
    pub fn refill(&self, values: impl Iterator<Item = Value>) {
        for value in values {
            self.refilled.fetch_add(1, Ordering::Relaxed);
            self.len.fetch_add(1, Ordering::Relaxed);
            self.values.push(value);
        }
    }

    /// Keeps what is wanted of what waits, each value once and in ascending order, and says what that is. The limit stays
    /// what it was.
    pub fn sift(&self, is_wanted: impl Fn(Value) -> bool) -> Vec<Value> {
        let mut values: Vec<Value> = (0..self.values.len()).map_while(|_| self.values.pop()).collect();
        let taken = values.len();
        values.retain(|&value| is_wanted(value));
        values.sort_unstable();
        values.dedup();
        values.iter().for_each(|&value| self.values.push(value));
        self.len.fetch_sub(taken - values.len(), Ordering::Relaxed);
        values
    }

    /// Moves values to `batch` until that holds `max` of them (at most [`BATCH_MAX`]) or none is left.
    pub fn drain_into(&self, batch: &mut Batch, max: usize) {
        while batch.len() < max.min(BATCH_MAX) {
            let Some(value) = self.values.pop() else {
                self.refilled.store(0, Ordering::Relaxed);
                return;
            };
            self.len.fetch_sub(1, Ordering::Relaxed);
            batch.push(value);
        }
        planted!(DropOldest => if self.values.pop().is_some() { self.len.fetch_sub(1, Ordering::Relaxed); });
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Checks the count and the bound, which hold while nobody pushes or drains.
    ///
    /// # Errors
    /// Says which doesn't.
    pub fn audit(&self) -> Result<(), String> {
        let (len, counted) = (self.values.len(), self.len.load(Ordering::Relaxed));
        if len != counted {
            return Err(format!("{len} values and counts {counted}"));
        }
        let limit = self.limit.saturating_add(self.refilled.load(Ordering::Relaxed));
        if len > limit { Err(format!("{len} values where {limit} are the most")) } else { Ok(()) }
    }

    /// Whether a value waits. Takes each out and puts it back: for when nobody else pushes or drains.
    #[must_use]
    pub fn contains(&self, value: Value) -> bool {
        let values: Vec<Value> = std::iter::from_fn(|| self.values.pop()).collect();
        values.iter().for_each(|&value| self.values.push(value));
        values.contains(&value)
    }

    /// Whether a value was dropped since this was last asked.
    pub fn take_overflow(&self) -> bool {
        // A plain load first, for the common case. Acquire: pairs with the release in `push`.
        self.overflowed.load(Ordering::Relaxed) && self.overflowed.swap(false, Ordering::Acquire)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn drain(queue: &PeerQueue, max: usize) -> Batch {
        let mut batch = Batch::new();
        queue.drain_into(&mut batch, max);
        batch
    }

    #[test]
    fn batches_hold_at_most_64_values_whatever_is_asked() {
        let queue = PeerQueue::new(1000);
        (0..150).for_each(|v| queue.push(v));
        assert_eq!(drain(&queue, 1000).len(), 64);
        assert_eq!(drain(&queue, 10).as_slice(), (64..74).collect::<Vec<_>>());
        assert_eq!(drain(&queue, 64).len() + drain(&queue, 64).len(), 76);
        assert!(queue.is_empty() && drain(&queue, 64).is_empty());
    }

    #[test]
    fn an_overflow_is_remembered_until_taken() {
        let queue = PeerQueue::new(2);
        (0..2).for_each(|v| queue.push(v));
        assert!(!queue.take_overflow());
        queue.push(2);
        assert_eq!(drain(&queue, 64).as_slice(), [0, 1]);
        assert!(queue.take_overflow() && !queue.take_overflow());
        queue.push(3);
        assert_eq!(drain(&queue, 64).as_slice(), [3], "drained values no longer count");
    }

    #[test]
    fn a_refill_leaves_room_for_as_many_new_values_as_ever() {
        let queue = PeerQueue::new(2);
        queue.refill(0..100);
        (100..102).for_each(|v| queue.push(v));
        assert!(!queue.take_overflow(), "or the peer would be compared for ever");
        queue.push(102);
        assert!(queue.take_overflow());
        while !drain(&queue, 64).is_empty() {}
        (0..3).for_each(|v| queue.push(v));
        assert!(queue.take_overflow(), "once it has been empty, the old limit holds");
    }

    #[test]
    fn a_sifted_queue_keeps_what_is_wanted_once_and_its_limit() {
        let queue = PeerQueue::new(4);
        [3, 1, 3, 2].into_iter().for_each(|v| queue.push(v));
        for _ in 0..3 {
            assert_eq!(queue.sift(|v| v != 2), [1, 3]);
        }
        (4..6).for_each(|v| queue.push(v));
        assert!(!queue.take_overflow() && queue.audit().is_ok());
        queue.push(6);
        assert!(queue.take_overflow(), "sifting makes no room but what it leaves");
        assert_eq!(drain(&queue, 64).as_slice(), [1, 3, 4, 5]);
    }

    #[test]
    fn two_threads_push_and_drain_without_loss() {
        let queue = PeerQueue::new(usize::MAX);
        let mut drained: Vec<Value> = std::thread::scope(|scope| {
            let push = scope.spawn(|| (0..10_000).for_each(|v| queue.push(v)));
            let mut drained = Vec::new();
            while drained.len() < 10_000 {
                drained.extend(drain(&queue, 64));
                std::hint::spin_loop();
            }
            push.join().expect("no panic");
            drained
        });
        drained.sort_unstable();
        assert_eq!(drained, (0..10_000).collect::<Vec<_>>());
    }
}
