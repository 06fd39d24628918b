//! Buffers that are used again.

use crate::protocol::Rope;
use crate::sync::ArrayQueue;

/// A thing that a [`Pool`] may hand out again.
pub trait Reuse: Default {
    /// Empties it. False if it should rather be dropped, because it has grown too large to keep.
    fn reset(&mut self) -> bool;
}

/// A bounded stock of idle buffers. Taking from an empty pool makes a new one, giving to a full pool drops
/// it: the pool bounds what is kept, not what is in use.
#[derive(Debug)]
pub struct Pool<T> {
    idle: ArrayQueue<T>,
}

impl<T: Reuse> Pool<T> {
    /// A pool that keeps at most `capacity` idle buffers (at least one).
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { idle: ArrayQueue::new(capacity.max(1)) }
    }

    /// An empty buffer.
    #[must_use]
    pub fn take(&self) -> T {
        self.idle.pop().unwrap_or_default()
    }

    /// Gives a buffer back.
    pub fn give(&self, mut buffer: T) {
        if buffer.reset() {
            // A full pool hands it back, and it is dropped.
            drop(self.idle.push(buffer));
        }
    }
}

/// The largest buffer of messages that is kept. A few large reads must not hold memory for ever.
const BUFFER_KEPT_MAX: usize = 1 << 20;

impl Reuse for Rope {
    fn reset(&mut self) -> bool {
        self.clear();
        self.kept() <= BUFFER_KEPT_MAX
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn rope(capacity: usize) -> Rope {
        let mut rope = Rope::default();
        rope.own_mut().reserve_exact(capacity);
        rope
    }

    #[test]
    fn a_buffer_given_is_taken_again_and_empty() {
        let pool = Pool::<Rope>::new(1);
        let mut buffer = rope(100);
        buffer.own_mut().push(1);
        let address = buffer.own_mut().as_ptr();
        pool.give(buffer);
        let mut again = pool.take();
        assert!(again.is_empty() && again.own_mut().as_ptr() == address);
        assert_eq!(pool.take().kept(), 0, "the pool was empty");
    }

    #[test]
    fn a_full_pool_and_an_outsized_buffer_keep_nothing() {
        let pool = Pool::<Rope>::new(1);
        pool.give(rope(BUFFER_KEPT_MAX + 1));
        assert_eq!(pool.take().kept(), 0);
        pool.give(rope(10));
        pool.give(rope(20));
        assert_eq!(pool.take().kept(), 10);
        assert_eq!(pool.take().kept(), 0);
    }

    #[test]
    fn threads_that_take_and_give_at_once_never_have_the_same_buffer() {
        let pool = Pool::<Rope>::new(3);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let pool = &pool;
                scope.spawn(move || {
                    for round in 0..20_000 {
                        let mut taken = [pool.take(), pool.take()];
                        let text = |index: usize| format!("{thread} {round} {index}").into_bytes();
                        for (index, rope) in taken.iter_mut().enumerate() {
                            assert!(rope.is_empty());
                            rope.own_mut().extend(text(index));
                        }
                        std::hint::spin_loop();
                        for (index, rope) in taken.into_iter().enumerate() {
                            assert_eq!(*rope.bytes(), text(index));
                            pool.give(rope);
                        }
                    }
                });
            }
        });
        assert!(pool.idle.len() <= 3);
    }
}
