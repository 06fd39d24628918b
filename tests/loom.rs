//! The races that the in-flight slots, the queues, the text of all values and the deadline must answer: every
//! interleaving of two threads, and those of three with up to three preemptions. (The runtime has models of its own.)
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --release --no-default-features --test loom
//! RUSTFLAGS="--cfg loom" cargo test --release --no-default-features --lib model
//! ```

#![cfg(loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;
use natter::node::Time;
use natter::protocol::{Batch, Generation, Rope, Value};
use natter::queue::{Ack, Deadline, PeerQueue, Pool, ReadyText, SlotRing};

const SOON: Time = Time::from_nanos(10);

fn batch(value: i64) -> Box<Batch> {
    Box::new([value].into_iter().collect())
}

fn send(ring: &SlotRing, value: i64) -> Generation {
    let claim = ring.claim(batch(value)).expect("a free slot");
    let generation = claim.generation();
    assert!(ring.sent(claim, Time::ZERO, SOON).is_none());
    generation
}

/// Sends a batch again; counts it if it was acknowledged meanwhile.
fn resend(ring: &SlotRing, generation: Generation, released: &AtomicUsize) {
    if let Some(claim) = ring.reclaim(generation) {
        assert_eq!(claim.batch().as_slice(), [1]);
        if ring.sent(claim, Time::ZERO, SOON).is_some() {
            released.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn ack(ring: &SlotRing, generation: Generation, released: &AtomicUsize) {
    if let Ack::Released(batch) = ring.ack(generation) {
        assert_eq!(batch.as_slice(), [1]);
        released.fetch_add(1, Ordering::Relaxed);
    }
}

/// A ring with one batch in flight, a count of releases, and threads that do things to them.
fn race(threads: &'static [fn(&SlotRing, Generation, &AtomicUsize)], preemptions: Option<usize>) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = preemptions;
    model.check(move || {
        let ring = Arc::new(SlotRing::new(Generation(7)));
        let released = Arc::new(AtomicUsize::new(0));
        let generation = send(&ring, 1);
        let running: Vec<_> = threads
            .iter()
            .map(|act| {
                let (ring, released) = (Arc::clone(&ring), Arc::clone(&released));
                thread::spawn(move || act(&ring, generation, &released))
            })
            .collect();
        running.into_iter().for_each(|thread| thread.join().expect("no panic"));
        assert_eq!(released.load(Ordering::Relaxed), 1, "released once");
        assert_eq!(ring.in_flight().count(), 0);
        assert!(matches!(ring.ack(generation), Ack::Stale));
        // Both slots serve again.
        send(&ring, 2);
        send(&ring, 3);
        assert_eq!(ring.in_flight().count(), 2);
    });
}

#[test]
fn an_ack_races_a_resend() {
    race(&[ack, resend], None);
}

#[test]
fn two_acks_race() {
    race(&[ack, ack], None);
}

#[test]
fn two_resends_and_an_ack_race() {
    race(&[resend, resend, ack], Some(3));
}

#[test]
fn two_acks_and_a_resend_race() {
    race(&[ack, ack, resend], Some(3));
}

#[test]
fn a_stale_ack_races_the_next_batch_of_its_slot() {
    loom::model(|| {
        let ring = Arc::new(SlotRing::new(Generation(0)));
        let old = send(&ring, 0);
        assert!(matches!(ring.ack(old), Ack::Released(_)));
        send(&ring, 1);
        let late = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || assert!(matches!(ring.ack(old), Ack::Stale)))
        };
        let new = send(&ring, 2);
        late.join().expect("no panic");
        assert_eq!(ring.in_flight().last().expect("in flight").generation, new);
        assert!(matches!(ring.ack(new), Ack::Released(batch) if batch[0] == 2));
    });
}

#[test]
fn an_ack_frees_the_slot_for_a_batch_that_waits() {
    loom::model(|| {
        let ring = Arc::new(SlotRing::new(Generation(0)));
        let oldest = send(&ring, 0);
        send(&ring, 1);
        let acking = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || assert!(matches!(ring.ack(oldest), Ack::Released(batch) if batch[0] == 0)))
        };
        // Either there is room already, or the batch comes back whole.
        let waiting = match ring.claim(batch(2)) {
            Ok(claim) => {
                assert!(ring.sent(claim, Time::ZERO, SOON).is_none());
                None
            }
            Err(batch) => Some(batch),
        };
        acking.join().expect("no panic");
        if let Some(batch) = waiting {
            assert_eq!(batch.as_slice(), [2]);
            let claim = ring.claim(batch).expect("room now");
            assert!(ring.sent(claim, Time::ZERO, SOON).is_none());
        }
        assert_eq!(ring.in_flight().count(), 2);
    });
}

#[test]
fn two_new_batches_race() {
    loom::model(|| {
        let ring = Arc::new(SlotRing::new(Generation(0)));
        let other = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || send(&ring, 1))
        };
        let mine = send(&ring, 2);
        let theirs = other.join().expect("no panic");
        assert_ne!(mine, theirs);
        assert!(matches!(ring.ack(mine), Ack::Released(batch) if batch[0] == 2));
        assert!(matches!(ring.ack(theirs), Ack::Released(batch) if batch[0] == 1));
    });
}

#[test]
fn work_announced_while_the_deadline_is_cleared_is_not_slept_through() {
    loom::model(|| {
        let deadline = Arc::new(Deadline::at(Time::NEVER));
        let work = Arc::new(AtomicBool::new(false));
        let maker = {
            let (deadline, work) = (Arc::clone(&deadline), Arc::clone(&work));
            thread::spawn(move || {
                work.store(true, Ordering::Relaxed);
                deadline.bring_forward(SOON);
            })
        };
        deadline.clear();
        let found = work.load(Ordering::Relaxed);
        maker.join().expect("no panic");
        assert!(found || deadline.get() == SOON);
    });
}

/// Runs two threads on something that they share, while this one is the third.
fn three<T: Send + Sync + 'static>(
    make: fn() -> T,
    others: [fn(&T); 2],
    mine: impl Fn(&T) + Send + Sync + 'static,
    after: impl Fn(&T) + Send + Sync + 'static,
) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        let shared = Arc::new(make());
        let running = others.map(|act| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || act(&shared))
        });
        mine(&shared);
        running.into_iter().for_each(|thread| thread.join().expect("no panic"));
        after(&shared);
    });
}

fn drain(queue: &PeerQueue) -> Vec<Value> {
    let mut batch = Batch::new();
    queue.drain_into(&mut batch, 64);
    batch.to_vec()
}

/// A queue, what was drained from it, and whether an overflow was noticed.
struct Drained {
    queue: PeerQueue,
    values: std::sync::Mutex<Vec<Value>>,
    overflowed: AtomicBool,
}

impl Drained {
    fn with_limit(limit: usize) -> Self {
        Self {
            queue: PeerQueue::new(limit),
            values: std::sync::Mutex::default(),
            overflowed: AtomicBool::new(false),
        }
    }

    fn drain(&self) {
        let drained = drain(&self.queue);
        self.values.lock().expect("no panic").extend(drained);
    }

    /// What was drained in all.
    fn end(&self) -> Vec<Value> {
        self.drain();
        self.queue.audit().expect("its count is right");
        let mut values = self.values.lock().expect("no panic").clone();
        values.sort_unstable();
        values
    }
}

#[test]
fn two_pushes_and_a_drain_race() {
    three(
        || Drained::with_limit(8),
        [|shared: &Drained| shared.queue.push(1), |shared| shared.queue.push(2)],
        Drained::drain,
        |shared| assert_eq!(shared.end(), [1, 2]),
    );
}

#[test]
fn a_value_that_finds_no_room_is_found_missing() {
    three(
        || Drained::with_limit(1),
        [|shared: &Drained| shared.queue.push(1), |shared| shared.queue.push(2)],
        |shared| {
            shared.drain();
            if shared.queue.take_overflow() {
                shared.overflowed.store(true, Ordering::Relaxed);
            }
        },
        |shared| {
            let overflowed = shared.queue.take_overflow() || shared.overflowed.load(Ordering::Relaxed);
            assert!(shared.end() == [1, 2] || overflowed);
        },
    );
}

#[test]
fn whoever_hears_of_an_overflow_sees_what_was_dropped() {
    loom::model(|| {
        let queue = Arc::new(PeerQueue::new(0));
        // What the seen set would show.
        let seen = Arc::new(AtomicBool::new(false));
        let pusher = {
            let (queue, seen) = (Arc::clone(&queue), Arc::clone(&seen));
            thread::spawn(move || {
                seen.store(true, Ordering::Relaxed);
                queue.push(2);
            })
        };
        if queue.take_overflow() {
            assert!(seen.load(Ordering::Relaxed));
        }
        pusher.join().expect("no panic");
    });
}

#[test]
fn a_buffer_is_in_one_hand_at_a_time_and_comes_empty() {
    fn use_one(pool: &Pool<Rope>) {
        let mut buffer = pool.take();
        assert!(buffer.is_empty());
        buffer.own_mut().push(b'x');
        thread::yield_now();
        assert_eq!(buffer.len(), 1);
        pool.give(buffer);
    }
    let make = || {
        let pool = Pool::new(1);
        pool.give(Rope::default());
        pool
    };
    three(make, [use_one, use_one], use_one, use_one);
}

fn show(text: &ReadyText) -> Option<Vec<u8>> {
    let mut rope = Rope::default();
    text.show(&mut rope).then(|| rope.bytes().into_owned())
}

#[test]
fn values_added_while_the_text_is_in_other_hands_are_shown() {
    three(
        ReadyText::default,
        [|text| text.add(&[1]), |text| text.add(&[2])],
        |text| {
            text.add(&[3]);
            // Its own value is there, if the text is.
            assert!(show(text).is_none_or(|shown| shown.contains(&b'3')));
        },
        |text| {
            let mut shown = show(text).expect("nobody else has it");
            shown.sort_unstable();
            assert_eq!(shown, b",,123");
        },
    );
}
