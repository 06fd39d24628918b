//! What has come from one peer and waits for the thread that ticks.

use crate::sync::{AtomicBool, AtomicUsize, Ordering, SegQueue};

/// So many messages of one peer may wait. A peer that sends more than that between two ticks loses the rest, as
/// if the network had lost them; their values have been taken up before.
const WAITING_MAX: usize = 4096;

/// A bounded queue from the thread that handles input to the thread that ticks.
#[derive(Debug)]
pub struct Inbox<T> {
    queue: SegQueue<T>,
    /// At least the number of messages in the queue: counted before a push, uncounted after a pop.
    len: AtomicUsize,
    /// Whether the ticking thread has been told that something waits here.
    announced: AtomicBool,
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Self { queue: SegQueue::new(), len: AtomicUsize::new(0), announced: AtomicBool::new(false) }
    }
}

impl<T> Inbox<T> {
    /// Adds a message, unless too many wait. True if the ticking thread is to be told that this inbox has something.
    #[must_use]
    pub fn push(&self, message: T) -> bool {
        // Relaxed: the count bounds memory, it publishes nothing.
        if self.len.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
            self.len.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        self.queue.push(message);
        // Release: pairs with the acquire in `open`. If `open` comes later, it sees the message; if it came before,
        // this finds `announced` false.
        !self.announced.swap(true, Ordering::AcqRel)
    }

    /// To be called before messages are taken: whatever comes from now on is announced anew.
    pub fn open(&self) {
        // Acquire: pairs with the release in `push`.
        self.announced.swap(false, Ordering::AcqRel);
    }

    /// The oldest message.
    #[must_use]
    pub fn pop(&self) -> Option<T> {
        let message = self.queue.pop()?;
        self.len.fetch_sub(1, Ordering::Relaxed);
        Some(message)
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_message_since_the_last_opening_is_announced() {
        let inbox = Inbox::default();
        assert!(inbox.push(1) && !inbox.push(2));
        inbox.open();
        assert!(inbox.push(3));
        assert_eq!(std::iter::from_fn(|| inbox.pop()).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(inbox.is_empty());
    }

    #[test]
    fn an_inbox_that_is_full_takes_nothing_more_until_something_is_taken() {
        let inbox = Inbox::default();
        for message in 0..WAITING_MAX + 10 {
            let _ = inbox.push(message);
        }
        assert_eq!(inbox.queue.len(), WAITING_MAX);
        assert_eq!(inbox.pop(), Some(0));
        let _ = inbox.push(7);
        assert_eq!(std::iter::from_fn(|| inbox.pop()).last(), Some(7));
    }
}
