//! A deadline that many threads may bring nearer.

use crate::node::Time;
use crate::sync::{AtomicU64, Ordering};

/// The earliest of the times it was told since it was last cleared.
///
/// A thread that makes work first publishes the work (a push, a store), then calls
/// [`bring_forward`](Deadline::bring_forward). A thread that does the work first calls
/// [`clear`](Deadline::clear), then looks for work. Both are read-modify-write operations on one word, so
/// one comes first: if the clearing does, the new time stands; if the bringing-forward does, the clearing
/// has read it (release to acquire) and the search sees the work. Nothing is slept through.
#[derive(Debug)]
pub struct Deadline(AtomicU64);

impl Deadline {
    /// A deadline at `time`.
    #[must_use]
    pub fn at(time: Time) -> Self {
        Self(AtomicU64::new(time.as_nanos()))
    }

    /// The earliest time told; [`Time::NEVER`] if none was.
    pub fn get(&self) -> Time {
        // Acquire: pairs with the release in `bring_forward`.
        Time::from_nanos(self.0.load(Ordering::Acquire))
    }

    /// Makes the deadline `time` if that is earlier.
    pub fn bring_forward(&self, time: Time) {
        // Release: `clear` must see the work that this time announces. Acquire: keeps the release sequence
        // whole when several threads bring forward before one clears.
        self.0.fetch_min(time.as_nanos(), Ordering::AcqRel);
    }

    /// Forgets the deadline, before a search for everything that is due; returns it.
    pub fn clear(&self) -> Time {
        // Acquire: pairs with the release in `bring_forward`; the search that follows sees the work.
        Time::from_nanos(self.0.swap(Time::NEVER.as_nanos(), Ordering::AcqRel))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_time_wins_until_cleared() {
        let deadline = Deadline::at(Time::NEVER);
        deadline.bring_forward(Time::from_nanos(5));
        deadline.bring_forward(Time::from_nanos(9));
        assert_eq!(deadline.get(), Time::from_nanos(5));
        assert_eq!(deadline.clear(), Time::from_nanos(5));
        assert_eq!(deadline.get(), Time::NEVER);
    }
}
