//! What threads meet in, from std and crossbeam, or from loom when the crate is compiled with `--cfg loom`, so that a
//! model run explores the algorithms that ship.

#[cfg(not(loom))]
pub(crate) use crossbeam::atomic::AtomicCell as SwapCell;
#[cfg(not(loom))]
pub(crate) use crossbeam::queue::{ArrayQueue, SegQueue};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::thread::{Thread, current, park, park_timeout};

#[cfg(loom)]
pub(crate) use self::model::{ArrayQueue, SegQueue, SwapCell, park_timeout};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(loom)]
pub(crate) use loom::thread::{Thread, current, park};

/// What unparks a thread.
#[cfg(not(loom))]
pub(crate) fn unparker(thread: &Thread) -> Thread {
    thread.clone()
}

/// No model starts threads as a node does.
#[cfg(loom)]
pub(crate) fn unparker(_: &std::thread::Thread) -> Thread {
    unimplemented!("a model has threads of its own")
}

#[cfg(loom)]
mod model {
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use std::time::Duration;

    use loom::sync::atomic::{AtomicUsize, Ordering};
    use loom::thread;

    /// In a model, no time passes: who sleeps until some time must be woken.
    pub(crate) fn park_timeout(_: Duration) {
        thread::park();
    }

    /// Something on which threads do one thing after another, each seeing what those before it did. Nobody is blocked, as
    /// loom takes an unparking for the end of any block.
    #[derive(Debug)]
    struct OneByOne<T> {
        order: AtomicUsize,
        what: Mutex<T>,
    }

    impl<T> OneByOne<T> {
        fn new(what: T) -> Self {
            Self { order: AtomicUsize::new(0), what: Mutex::new(what) }
        }

        fn with<U>(&self, act: impl FnOnce(&mut T) -> U) -> U {
            self.order.fetch_add(1, Ordering::AcqRel);
            // Threads of a model change places only at loom's own operations: nobody has it.
            act(&mut self.what.lock().expect("no panic"))
        }
    }

    /// Stands for crossbeam's queue of any length, and promises less, so that no model leans on its fences: whoever takes
    /// looks first, without synchronising, how many there have been, and may miss one that it has not heard of otherwise.
    #[derive(Debug)]
    pub(crate) struct SegQueue<T> {
        queue: OneByOne<VecDeque<T>>,
        pushed: AtomicUsize,
        popped: AtomicUsize,
    }

    impl<T> SegQueue<T> {
        pub(crate) fn new() -> Self {
            let (pushed, popped) = (AtomicUsize::new(0), AtomicUsize::new(0));
            Self { queue: OneByOne::new(VecDeque::new()), pushed, popped }
        }

        pub(crate) fn push(&self, value: T) {
            self.queue.with(|queue| queue.push_back(value));
            self.pushed.fetch_add(1, Ordering::Relaxed);
        }

        pub(crate) fn pop(&self) -> Option<T> {
            let popped = self.popped.load(Ordering::Relaxed);
            if self.pushed.load(Ordering::Relaxed) <= popped {
                return None;
            }
            let value = self.queue.with(VecDeque::pop_front)?;
            self.popped.fetch_add(1, Ordering::Relaxed);
            Some(value)
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.queue.with(|queue| queue.is_empty())
        }
    }

    /// Stands for crossbeam's queue of a fixed capacity, and promises less: whoever looks whether it is full may miss what
    /// it has not heard of otherwise.
    #[derive(Debug)]
    pub(crate) struct ArrayQueue<T> {
        queue: OneByOne<VecDeque<T>>,
        capacity: usize,
        len: AtomicUsize,
    }

    impl<T> ArrayQueue<T> {
        pub(crate) fn new(capacity: usize) -> Self {
            Self { queue: OneByOne::new(VecDeque::new()), capacity, len: AtomicUsize::new(0) }
        }

        pub(crate) fn push(&self, value: T) -> Result<(), T> {
            self.queue.with(|queue| {
                if queue.len() == self.capacity {
                    return Err(value);
                }
                queue.push_back(value);
                Ok(())
            })?;
            self.len.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        pub(crate) fn pop(&self) -> Option<T> {
            let value = self.queue.with(VecDeque::pop_front)?;
            self.len.fetch_sub(1, Ordering::Relaxed);
            Some(value)
        }

        pub(crate) fn is_full(&self) -> bool {
            self.len.load(Ordering::Relaxed) == self.capacity
        }
    }

    /// Stands for crossbeam's `AtomicCell` where its swaps are what orders those who use what is in it.
    #[derive(Debug)]
    pub(crate) struct SwapCell<T>(OneByOne<T>);

    impl<T: Default> SwapCell<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(OneByOne::new(value))
        }

        pub(crate) fn take(&self) -> T {
            self.0.with(std::mem::take)
        }

        pub(crate) fn store(&self, value: T) {
            self.0.with(|what| *what = value);
        }
    }
}
