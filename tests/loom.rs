//! The races that the in-flight slots and the deadline must answer: every interleaving of two threads, and those
//! of three with up to three preemptions.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --release --no-default-features --test loom
//! ```

#![cfg(loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;
use natter::node::Time;
use natter::protocol::{Batch, Generation};
use natter::queue::{Ack, Deadline, SlotRing};

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
