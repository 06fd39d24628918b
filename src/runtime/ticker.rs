//! The one thread that owns all deadlines.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::thread::{self, Thread};

use super::Clock;
use super::log::Log;
use super::sink::Sink;
use crate::node::{Node, Outbox, Time};

/// Calls [`Node::tick`] when it is due, and sleeps in between.
///
/// # How no deadline is slept through
/// The ticker, before it sleeps, writes down until when (`armed`), then looks at the node's deadline once
/// more. A reader that moved the deadline then looks at `armed`. Each writes one word and reads the other's,
/// with a sequentially consistent fence between, so at least one of them sees what the other wrote: the
/// ticker the nearer deadline, or the reader that the ticker is to be woken. A wake-up that comes before the
/// ticker sleeps is kept by `park`. Weaker orderings would let both reads miss.
#[derive(Debug, Default)]
pub(super) struct Ticker {
    /// Until when the ticker sleeps, in nanoseconds; zero while it is awake.
    armed: AtomicU64,
    stop: AtomicBool,
}

impl Ticker {
    /// The ticker thread's whole life.
    pub(super) fn run<N: Node, S: Sink>(&self, node: &N, clock: &Clock, sink: &S, log: &Log) {
        let mut out = Outbox::default();
        // Acquire: pairs with the release in `Stopping::drop`.
        while !self.stop.load(Ordering::Acquire) {
            let now = clock.now();
            let deadline = node.next_deadline().unwrap_or(Time::NEVER);
            if deadline <= now {
                node.tick(now, &mut out);
                log.print(&mut out, now);
                sink.flush(&mut out);
                continue;
            }
            // Relaxed: ordered by the fence. See above.
            self.armed.store(deadline.as_nanos(), Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if node.next_deadline().unwrap_or(Time::NEVER) >= deadline && !self.stop.load(Ordering::Acquire) {
                match deadline.if_ever() {
                    Some(deadline) => thread::park_timeout(deadline.since(now)),
                    None => thread::park(),
                }
            }
            self.armed.store(0, Ordering::Relaxed);
        }
    }

    /// To be held by the thread that reads; dropping it stops the ticker, also when that thread panics.
    pub(super) fn stop_at_end(&self, thread: Thread) -> Stopping<'_> {
        Stopping { ticker: self, thread }
    }
}

/// The reader's end of a [`Ticker`].
#[derive(Debug)]
pub(super) struct Stopping<'a> {
    ticker: &'a Ticker,
    thread: Thread,
}

impl Stopping<'_> {
    /// Wakes the ticker if it would sleep past the node's deadline.
    pub(super) fn wake_for(&self, deadline: Option<Time>) {
        fence(Ordering::SeqCst);
        // Relaxed: ordered by the fence. See `Ticker`.
        if deadline.is_some_and(|deadline| deadline.as_nanos() < self.ticker.armed.load(Ordering::Relaxed)) {
            self.thread.unpark();
        }
    }
}

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        // Release: pairs with the acquire in `Ticker::run`.
        self.ticker.stop.store(true, Ordering::Release);
        self.thread.unpark();
    }
}
