//! The values that wait to be sent to one peer.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossbeam::queue::SegQueue;

use crate::protocol::{BATCH_MAX, Batch, Value};

/// An unordered bag of values for a peer, pushed and drained by any number of threads.
///
/// It is bounded: a value pushed beyond the limit is not kept, but the queue remembers that it
/// [overflowed](PeerQueue::take_overflow), and its owner, who has all values in the seen set, offers them
/// again when there is room.
#[derive(Debug)]
pub struct PeerQueue {
    values: SegQueue<Value>,
    /// At least the number of values in the queue: counted before a push, uncounted after a pop.
    len: AtomicUsize,
    overflowed: AtomicBool,
    limit: usize,
}

impl PeerQueue {
    /// An empty queue that keeps at most `limit` values.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { values: SegQueue::new(), len: AtomicUsize::new(0), overflowed: AtomicBool::new(false), limit }
    }

    /// Adds a value, or notes the overflow.
    pub fn push(&self, value: Value) {
        // Relaxed: the count is a bound on memory, it publishes nothing; the queue itself does that.
        if self.len.fetch_add(1, Ordering::Relaxed) >= self.limit {
            self.len.fetch_sub(1, Ordering::Relaxed);
            // Release: pairs with the acquire in `take_overflow`, whose caller must see the seen set as it
            // was when this value was dropped, the value included.
            self.overflowed.store(true, Ordering::Release);
        } else {
            self.values.push(value);
        }
    }

    /// Adds a value even beyond the limit: for offering everything again after an overflow.
    pub fn push_anyway(&self, value: Value) {
        self.len.fetch_add(1, Ordering::Relaxed);
        self.values.push(value);
    }

    /// Moves values to `batch` until that holds `max` of them (at most [`BATCH_MAX`]) or none is left.
    pub fn drain_into(&self, batch: &mut Batch, max: usize) {
        while batch.len() < max.min(BATCH_MAX) {
            let Some(value) = self.values.pop() else { return };
            self.len.fetch_sub(1, Ordering::Relaxed);
            batch.push(value);
        }
    }

    /// Whether nothing waits and nothing was dropped.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        // Relaxed: an answer that may be old by the time it is used.
        self.values.is_empty() && !self.overflowed.load(Ordering::Relaxed)
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
        assert!(queue.is_idle() && drain(&queue, 64).is_empty());
    }

    #[test]
    fn an_overflow_is_remembered_until_taken() {
        let queue = PeerQueue::new(2);
        (0..2).for_each(|v| queue.push(v));
        assert!(!queue.take_overflow());
        queue.push(2);
        assert_eq!(drain(&queue, 64).as_slice(), [0, 1]);
        assert!(!queue.is_idle(), "empty, but somebody must be told more");
        assert!(queue.take_overflow() && !queue.take_overflow());
        queue.push(3);
        queue.push_anyway(4);
        queue.push_anyway(5);
        assert_eq!(drain(&queue, 64).as_slice(), [3, 4, 5]);
        queue.push(6);
        assert!(!queue.take_overflow(), "drained values no longer count");
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
