//! The one thread that owns all deadlines.

use super::Clock;
use super::log::Log;
use super::sink::Sink;
use crate::node::{Node, Outbox, Time};
use crate::sync::{AtomicBool, AtomicU64, Ordering, Thread, fence, park, park_timeout};

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
    /// The ticker thread's whole life. Returns what there was no room for in the sink.
    pub(super) fn run<N: Node>(&self, node: &N, clock: &Clock, mut sink: impl Sink, log: &Log) -> Outbox {
        let mut out = Outbox::default();
        // Acquire: pairs with the release in `Stopping::drop`.
        while !self.stop.load(Ordering::Acquire) {
            if !sink.flush(&mut out) {
                park();
                continue;
            }
            let now = clock.now();
            let deadline = node.next_deadline().unwrap_or(Time::NEVER);
            if deadline <= now {
                node.tick(now, &mut out);
                log.print(&mut out, now);
                continue;
            }
            // Relaxed: ordered by the fence. See above.
            self.armed.store(deadline.as_nanos(), Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if node.next_deadline().unwrap_or(Time::NEVER) >= deadline && !self.stop.load(Ordering::Acquire) {
                match deadline.if_ever() {
                    Some(deadline) => park_timeout(deadline.since(now)),
                    None => park(),
                }
            }
            self.armed.store(0, Ordering::Relaxed);
        }
        out
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

#[cfg(all(test, loom))]
mod model {
    use std::sync::Arc;

    use super::*;
    use crate::protocol::Line;
    use crate::queue::Deadline;
    use crate::sync::current;

    /// Wants a tick, and wakes the reader when it comes.
    struct Alarm {
        deadline: Deadline,
        ticked: AtomicBool,
        reader: Thread,
    }

    impl Node for Alarm {
        type Scratch = ();

        fn handle(&self, _: Time, _: Line<'_>, (): &mut (), _: &mut Outbox) {}

        fn tick(&self, _: Time, _: &mut Outbox) {
            self.deadline.clear();
            self.ticked.store(true, Ordering::Release);
            self.reader.unpark();
        }

        fn next_deadline(&self) -> Option<Time> {
            self.deadline.get().if_ever()
        }

        fn finish(&self, _: Time, _: &mut Outbox) {}
    }

    struct Nobody;

    impl Sink for Nobody {
        fn flush(&mut self, _: &mut Outbox) -> bool {
            true
        }
    }

    /// The reader brings the deadline forward, waits for the tick, and stops the ticker.
    fn a_deadline_that_moves(from: Time) {
        loom::model(move || {
            let ticker = Arc::new(Ticker::default());
            let alarm = Arc::new(Alarm {
                deadline: Deadline::at(from),
                ticked: AtomicBool::new(false),
                reader: current(),
            });
            let ticking = {
                let (ticker, alarm) = (Arc::clone(&ticker), Arc::clone(&alarm));
                loom::thread::spawn(move || ticker.run(&*alarm, &Clock::start(), Nobody, &Log::default()))
            };
            let stopping = ticker.stop_at_end(ticking.thread().clone());
            alarm.deadline.bring_forward(Time::ZERO);
            stopping.wake_for(alarm.next_deadline());
            while !alarm.ticked.load(Ordering::Acquire) {
                park();
            }
            drop(stopping);
            ticking.join().expect("no panic");
        });
    }

    #[test]
    fn a_ticker_that_has_nothing_to_wait_for_is_woken_for_the_first_deadline() {
        a_deadline_that_moves(Time::NEVER);
    }

    #[test]
    fn a_ticker_that_waits_is_woken_for_a_nearer_deadline() {
        // No model takes an hour.
        a_deadline_that_moves(Time::ZERO + std::time::Duration::from_secs(3600));
    }
}
