//! The atomics that [`queue`](crate::queue) is built on, from std and crossbeam, or from loom when the crate
//! is compiled with `--cfg loom`, so that a model run explores the code that ships.

#[cfg(not(loom))]
pub(crate) use crossbeam::atomic::AtomicCell;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(loom)]
pub(crate) use self::model::AtomicCell;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};

#[cfg(loom)]
mod model {
    use loom::sync::Mutex;

    /// crossbeam's `AtomicCell`, as loom can see it: every access is one indivisible step.
    #[derive(Debug)]
    pub(crate) struct AtomicCell<T>(Mutex<T>);

    impl<T: Default> AtomicCell<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(Mutex::new(value))
        }

        pub(crate) fn take(&self) -> T {
            self.swap(T::default())
        }

        pub(crate) fn swap(&self, value: T) -> T {
            std::mem::replace(&mut *self.0.lock().expect("no holder panics"), value)
        }
    }
}
