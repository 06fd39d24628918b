//! The atomics that [`queue`](crate::queue) is built on, from std and crossbeam, or from loom when the crate
//! is compiled with `--cfg loom`, so that a model run explores the algorithms that ship.

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
    use loom::cell::UnsafeCell;

    /// Stands for crossbeam's `AtomicCell`, but is no atomic at all: loom fails the model if two threads touch
    /// it without an order between them that something else provides. So a model run shows that the slot's
    /// word alone keeps its owners apart, and that its orderings are strong enough for that.
    #[derive(Debug)]
    pub(crate) struct AtomicCell<T>(UnsafeCell<T>);

    // SAFETY: accesses that race are what the model looks for; loom stops at the first, before it happens.
    unsafe impl<T: Send> Send for AtomicCell<T> {}
    // SAFETY: as above.
    unsafe impl<T: Send> Sync for AtomicCell<T> {}

    impl<T: Default> AtomicCell<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(UnsafeCell::new(value))
        }

        pub(crate) fn take(&self) -> T {
            self.swap(T::default())
        }

        pub(crate) fn swap(&self, value: T) -> T {
            // SAFETY: loom gives out the pointer only when no other access is under way or unordered, and it
            // is valid for the cell that it comes from.
            self.0.with_mut(|place| std::mem::replace(unsafe { &mut *place }, value))
        }
    }
}
