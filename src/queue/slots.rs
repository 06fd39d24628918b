//! The batches that are in flight to one peer: a ring of slots, each one atomic word of generation and state.
//!
//! Every batch gets the next generation, and generation `g` lives in slot `g mod SLOTS`; so a slot knows
//! which generation it serves, or will serve next, and an acknowledgement finds its slot by its name alone.
//!
//! ```text
//!                 claim                     sent
//!   FREE(g) ───────────────▶ BUSY(g) ─────────────────▶ SENT(g)
//!      ▲                      │    ▲        reclaim         │
//!      │                      │    └────────────────────────┤
//!      │                      │ ack                         │ ack
//!      │        release       ▼                             ▼
//!   FREE(g+SLOTS) ◀──────── ACKED(g) ◀──────────────────────┘
//! ```
//!
//! `BUSY` and `ACKED` each have one owner, who alone touches the batch: the thread that claimed or reclaimed
//! the slot, and the thread that must release it. The races, and how the word answers them:
//!
//! * **A late or repeated acknowledgement.** The slot's word names another generation, or is free: nothing
//!   happens ([`Ack::Stale`]).
//! * **An acknowledgement while the batch is being resent.** The slot is `BUSY`; the acknowledging thread
//!   makes it `ACKED` and leaves ([`Ack::Deferred`]). The resender's own step to `SENT` then fails, and it
//!   releases the slot instead.
//! * **Two acknowledgements at once.** One of them makes the step to `ACKED`; the other finds it made.
//! * **Two retries at once.** One of them makes the step to `BUSY`; the other leaves the slot alone.
//! * **Two new batches at once.** One of them moves the counter on; the other takes the generation after it.
//!
//! No step waits for another thread: a failed compare-and-swap means that somebody else made progress.

use std::fmt;

use crate::node::Time;
use crate::planted::planted;
use crate::protocol::link::Acked;
use crate::protocol::{BATCH_MAX, Batch, Generation, Value};
use crate::sync::{AtomicCell, AtomicU64, Ordering};

/// How many batches may be in flight to one peer: at 64 values each, 2048 values a round trip; and as many
/// flushes as a peer may leave unacknowledged while it waits for something to carry the acknowledgement. A power
/// of two, so that generations wrap cleanly, and no more than an [`Acked`] names.
pub const SLOTS: usize = if cfg!(loom) { 2 } else { 32 };

/// Generations leave room for the state in the word.
const GENERATION_MASK: u64 = Generation::LAST.0;
const STATE_BITS: u32 = 2;

/// Nobody's. The batch is none.
const FREE: u64 = 0;
/// Its claimer's, who holds the batch in hand.
const BUSY: u64 = 1;
/// Waiting for the acknowledgement. The batch is in the slot.
const SENT: u64 = 2;
/// Acknowledged, and its releaser's: whoever came second of sender and acknowledger.
const ACKED: u64 = 3;

const fn word(generation: u64, state: u64) -> u64 {
    generation << STATE_BITS | state
}

fn later(generation: u64, by: u64) -> u64 {
    planted!(WrapOffByOne => return generation.wrapping_add(by) % GENERATION_MASK);
    generation.wrapping_add(by) & GENERATION_MASK
}

/// The in-flight slots of one peer.
#[derive(Debug)]
pub struct SlotRing {
    /// The generation of the next new batch.
    next: AtomicU64,
    slots: [Slot; SLOTS],
}

struct Slot {
    word: AtomicU64,
    /// When the batch was last sent, in nanoseconds. Only a hint to the retrier, as is the next one.
    sent: AtomicU64,
    /// When it is to be sent again: written by the slot's owner, or by anybody who wants the retry sooner.
    due: AtomicU64,
    batch: AtomicCell<Option<Box<Batch>>>,
}

impl Slot {
    /// Whether there is a batch in it, and one of that kind. Takes it out and puts it back: for when nobody has
    /// the slot in hand.
    fn holds(&self, kind: impl FnOnce(&Batch) -> bool) -> bool {
        let batch = self.batch.take();
        let holds = batch.as_deref().is_some_and(kind);
        self.batch.swap(batch);
        holds
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.word.load(Ordering::Relaxed);
        let state = ["FREE", "BUSY", "SENT", "ACKED"][(word & 3) as usize];
        write!(f, "{state}({})", word >> STATE_BITS)
    }
}

/// A batch in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// Its name.
    pub generation: Generation,
    /// When it was last sent.
    pub sent: Time,
    /// When it is to be sent again.
    pub due: Time,
}

/// What an acknowledgement did.
#[derive(Debug)]
pub enum Ack {
    /// The batch was in flight; here it is, for the pool.
    Released(Box<Batch>),
    /// The batch is being sent again at this moment; its sender will release it.
    Deferred,
    /// No such batch is in flight: acknowledged before, or never sent.
    Stale,
}

/// A slot in hand, with its batch. It must be handed to [`SlotRing::sent`], or its values are never resent.
#[derive(Debug)]
#[must_use]
pub struct Claim {
    generation: Generation,
    batch: Box<Batch>,
}

impl Claim {
    /// The name under which to send the batch.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The values to send.
    #[must_use]
    pub fn batch(&self) -> &Batch {
        &self.batch
    }
}

impl SlotRing {
    /// A ring with every slot free, whose first batch has the generation `first` (modulo 2^62).
    #[must_use]
    pub fn new(first: Generation) -> Self {
        let first = first.0 & GENERATION_MASK;
        let ring = SLOTS as u64;
        let slots = std::array::from_fn(|index| {
            // The first generation from `first` on that lives in this slot.
            let generation = later(first, (index as u64).wrapping_sub(first) % ring);
            Slot {
                word: AtomicU64::new(word(generation, FREE)),
                sent: AtomicU64::new(0),
                due: AtomicU64::new(Time::NEVER.as_nanos()),
                batch: AtomicCell::new(None),
            }
        });
        Self { next: AtomicU64::new(first), slots }
    }

    /// Whether [`claim`](SlotRing::claim) would find a free slot.
    #[must_use]
    pub fn has_free(&self) -> bool {
        // Relaxed: an answer that may be old by the time it is used. Acquire on the word as in `claim`.
        let generation = self.next.load(Ordering::Relaxed);
        self.slot(generation).word.load(Ordering::Acquire) == word(generation, FREE)
    }

    /// Takes the next slot for a new batch.
    ///
    /// # Errors
    /// Hands the batch back if the next slot is still in use.
    pub fn claim(&self, batch: Box<Batch>) -> Result<Claim, Box<Batch>> {
        // The counter is relaxed throughout: it only deals out generations; the slots' words order all else.
        let mut generation = self.next.load(Ordering::Relaxed);
        loop {
            let slot = self.slot(generation);
            // Acquire: pairs with the release in `release`; the former batch is out of the slot. And with
            // the one below.
            if slot.word.load(Ordering::Acquire) != word(generation, FREE) {
                let current = self.next.load(Ordering::Relaxed);
                if current == generation {
                    return Err(batch);
                }
                generation = current;
                continue;
            }
            let after = later(generation, 1);
            match self.next.compare_exchange_weak(generation, after, Ordering::Relaxed, Ordering::Relaxed) {
                // Nobody else gets this generation, and only its claimer takes a slot out of FREE.
                Ok(_) => {
                    // Release: pairs with the acquire above in another claimer, who, finding the slot taken,
                    // must see that the counter has moved on, or it would take the ring for full.
                    slot.word.store(word(generation, BUSY), Ordering::Release);
                    return Ok(Claim { generation: Generation(generation), batch });
                }
                Err(current) => generation = current,
            }
        }
    }

    /// The claimed batch has been sent now, and is to be sent again at `due` unless it is acknowledged before.
    /// Returns the batch, for the pool, if it has been acknowledged meanwhile.
    pub fn sent(&self, claim: Claim, now: Time, due: Time) -> Option<Box<Batch>> {
        let generation = claim.generation.0;
        let slot = self.slot(generation);
        // Relaxed, both: hints; see `Slot::due`.
        slot.sent.store(now.as_nanos(), Ordering::Relaxed);
        slot.due.store(due.as_nanos(), Ordering::Relaxed);
        slot.batch.swap(Some(claim.batch));
        // Release: pairs with the acquire in `ack` and `reclaim`, which then find the batch in the slot.
        // Relaxed on failure: the word is ACKED, and what that says was this thread's own doing.
        let step = slot.word.compare_exchange(
            word(generation, BUSY),
            word(generation, SENT),
            Ordering::Release,
            Ordering::Relaxed,
        );
        match step {
            Ok(_) => None,
            Err(_) => Some(self.release(slot, generation)),
        }
    }

    /// Takes a batch that is in flight, to send it again. None if it was acknowledged or is in other hands.
    #[must_use]
    pub fn reclaim(&self, generation: Generation) -> Option<Claim> {
        let slot = self.slot(generation.0);
        // Acquire: pairs with the release in `sent`; the batch is in the slot.
        slot.word
            .compare_exchange(
                word(generation.0, SENT),
                word(generation.0, BUSY),
                Ordering::Acquire,
                Ordering::Relaxed,
            )
            .ok()?;
        slot.batch.take().map(|batch| Claim { generation, batch })
    }

    /// A batch has been acknowledged, or so somebody says.
    #[must_use]
    pub fn ack(&self, generation: Generation) -> Ack {
        let generation = generation.0;
        if generation > GENERATION_MASK {
            return Ack::Stale; // Its word would be that of another generation.
        }
        let slot = self.slot(generation);
        // Relaxed: only decides which step to try.
        let mut current = slot.word.load(Ordering::Relaxed);
        loop {
            let (in_flight, orderings) = if current == word(generation, SENT) {
                // Acquire: pairs with the release in `sent`; the batch is in the slot.
                (true, (Ordering::Acquire, Ordering::Relaxed))
            } else if current == word(generation, BUSY) {
                // Relaxed: the batch is the sender's, who finds this step in `sent`.
                (false, (Ordering::Relaxed, Ordering::Relaxed))
            } else {
                return Ack::Stale;
            };
            match slot.word.compare_exchange_weak(current, word(generation, ACKED), orderings.0, orderings.1)
            {
                Ok(_) if in_flight => return Ack::Released(self.release(slot, generation)),
                Ok(_) => return Ack::Deferred,
                Err(changed) => current = changed,
            }
        }
    }

    /// Several batches have been acknowledged, or so somebody says; `release` gets each that was in flight. An
    /// acknowledgement of what was never sent is none. True if there was anything to release.
    pub fn settle(&self, acked: Acked, mut release: impl FnMut(Box<Batch>)) -> bool {
        let next = self.next.load(Ordering::Relaxed);
        let Acked { next: Generation(expected), .. } = acked;
        if expected > GENERATION_MASK || later(next, expected.wrapping_neg()) > SLOTS as u64 {
            planted!(StaleAckFrees => {
                let in_flight: Vec<_> = self.in_flight().map(|in_flight| in_flight.generation).collect();
                in_flight.into_iter().for_each(|generation| drop(self.ack(generation)));
            });
            return false;
        }
        let mut any = false;
        for InFlight { generation, .. } in self.in_flight() {
            if acked.names(generation) {
                any = true;
                if let Ack::Released(batch) = self.ack(generation) {
                    release(batch);
                }
            }
        }
        any
    }

    /// The name of the oldest batch in flight, or of the next one if there is none: all before it are settled.
    #[must_use]
    pub fn base(&self) -> Generation {
        let next = self.next.load(Ordering::Relaxed);
        // Relaxed, all: a base that is too old only says less.
        let in_use =
            (1..=SLOTS as u64).rev().map(|age| later(next, age.wrapping_neg())).find(|&generation| {
                let word = self.slot(generation).word.load(Ordering::Relaxed);
                word >> STATE_BITS == generation && word & !(u64::MAX << STATE_BITS) != FREE
            });
        Generation(in_use.unwrap_or(next))
    }

    /// The batches in flight that nobody has in hand, oldest first.
    pub fn in_flight(&self) -> impl Iterator<Item = InFlight> + '_ {
        let next = self.next.load(Ordering::Relaxed);
        (1..=SLOTS as u64).rev().filter_map(move |age| {
            let generation = later(next, age.wrapping_neg());
            let slot = self.slot(generation);
            // Relaxed, all: a hint on whom to `reclaim`, which decides.
            let in_flight = slot.word.load(Ordering::Relaxed) == word(generation, SENT);
            in_flight.then(|| InFlight {
                generation: Generation(generation),
                sent: Time::from_nanos(slot.sent.load(Ordering::Relaxed)),
                due: Time::from_nanos(slot.due.load(Ordering::Relaxed)),
            })
        })
    }

    /// Checks what must hold while nobody has a slot in hand: each is free for the generation that it serves
    /// next, or waits for the acknowledgement of one of the last few, with a batch that may be sent.
    ///
    /// # Errors
    /// Says of which slot it does not.
    pub fn audit(&self) -> Result<(), String> {
        let next = self.next.load(Ordering::Relaxed);
        for (index, slot) in self.slots.iter().enumerate() {
            let word = slot.word.load(Ordering::Relaxed);
            let (generation, state) = (word >> STATE_BITS, word & !(u64::MAX << STATE_BITS));
            let ahead = later(generation, next.wrapping_neg());
            let age = later(next, generation.wrapping_neg());
            let ring = SLOTS as u64;
            let sound = match state {
                FREE => ahead < ring,
                SENT => {
                    (1..=ring).contains(&age) && slot.holds(|batch| (1..=BATCH_MAX).contains(&batch.len()))
                }
                _ => false,
            };
            if !sound || generation % ring != index as u64 {
                return Err(format!("{slot:?} in place {index}, when the next batch is {next}"));
            }
        }
        Ok(())
    }

    /// The batch in flight that holds a value: for when nobody has a slot in hand.
    #[must_use]
    pub fn find(&self, value: Value) -> Option<Generation> {
        let holds = |generation: &Generation| self.slot(generation.0).holds(|batch| batch.contains(&value));
        self.in_flight().map(|in_flight| in_flight.generation).find(holds)
    }

    /// Brings the retry of a batch in flight forward to `due`.
    pub fn hasten(&self, generation: Generation, due: Time) {
        // Relaxed: a hint; see `Slot::due`. If another batch has the slot by now, it is sent once too often.
        self.slot(generation.0).due.fetch_min(due.as_nanos(), Ordering::Relaxed);
    }

    fn slot(&self, generation: u64) -> &Slot {
        // Exact: the remainder is below SLOTS.
        &self.slots[(generation % SLOTS as u64) as usize]
    }

    /// The last step of a generation, by the one thread that owns its ACKED slot.
    fn release(&self, slot: &Slot, generation: u64) -> Box<Batch> {
        let batch = slot.batch.take();
        // Release: pairs with the acquire in `claim`; the batch is out before the slot is used again.
        slot.word.store(word(later(generation, SLOTS as u64), FREE), Ordering::Release);
        batch.expect("the owner of an acknowledged slot finds the batch that its sender put there")
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const NOW: Time = Time::from_nanos(5);
    const SOON: Time = Time::from_nanos(10);

    fn batch(value: i64) -> Box<Batch> {
        Box::new([value].into_iter().collect())
    }

    fn ring() -> SlotRing {
        SlotRing::new(Generation(0))
    }

    fn send(ring: &SlotRing, value: i64) -> Generation {
        let claim = ring.claim(batch(value)).expect("a free slot");
        let generation = claim.generation();
        assert!(ring.sent(claim, NOW, SOON).is_none());
        generation
    }

    fn released(ack: Ack) -> i64 {
        match ack {
            Ack::Released(batch) => batch[0],
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_cell_of_a_batch_takes_no_lock() {
        assert!(AtomicCell::<Option<Box<Batch>>>::is_lock_free());
    }

    #[test]
    fn an_ack_releases_the_batch_and_the_slot() {
        let ring = ring();
        let generation = send(&ring, 5);
        assert_eq!(ring.in_flight().collect::<Vec<_>>(), [InFlight { generation, sent: NOW, due: SOON }]);
        assert_eq!(released(ring.ack(generation)), 5);
        assert_eq!(ring.in_flight().count(), 0);
    }

    #[test]
    fn a_repeated_ack_is_stale() {
        let ring = ring();
        let generation = send(&ring, 5);
        assert_eq!(released(ring.ack(generation)), 5);
        assert!(matches!(ring.ack(generation), Ack::Stale));
    }

    #[test]
    fn stale_ack_does_not_clear_newer_batch() {
        let ring = ring();
        let old = send(&ring, 0);
        assert_eq!(released(ring.ack(old)), 0);
        let later: Vec<Generation> = (1..=SLOTS as i64).map(|v| send(&ring, v)).collect();
        let reuser = later[SLOTS - 1];
        assert_eq!(reuser.0 % SLOTS as u64, old.0 % SLOTS as u64, "the same slot serves again");
        assert!(matches!(ring.ack(old), Ack::Stale));
        assert_eq!(released(ring.ack(reuser)), SLOTS as i64);
    }

    #[test]
    fn an_ack_of_what_was_never_sent_is_stale() {
        let ring = ring();
        for generation in (0..100).chain([u64::MAX, 1 << 62, (1 << 62) - 1]) {
            assert!(matches!(ring.ack(Generation(generation)), Ack::Stale), "{generation}");
        }
        assert_eq!(send(&ring, 1), Generation(0));
        assert!(matches!(ring.ack(Generation(1 << 62)), Ack::Stale), "not generation 0 in disguise");
        assert_eq!(released(ring.ack(Generation(0))), 1);
    }

    #[test]
    fn an_ack_during_a_resend_is_deferred_to_the_sender() {
        let ring = ring();
        let generation = send(&ring, 5);
        let claim = ring.reclaim(generation).expect("in flight");
        assert_eq!(claim.batch().as_slice(), [5]);
        assert!(ring.reclaim(generation).is_none(), "one retrier at a time");
        assert!(matches!(ring.ack(generation), Ack::Deferred));
        assert!(matches!(ring.ack(generation), Ack::Stale), "the second ack finds the first");
        assert_eq!(ring.sent(claim, NOW, SOON).expect("acknowledged meanwhile").as_slice(), [5]);
        assert!(ring.reclaim(generation).is_none());
    }

    #[test]
    fn a_full_ring_hands_the_batch_back_until_its_oldest_is_acked() {
        let ring = ring();
        let sent: Vec<Generation> = (0..SLOTS as i64).map(|v| send(&ring, v)).collect();
        assert!(!ring.has_free());
        assert_eq!(ring.claim(batch(99)).expect_err("full").as_slice(), [99]);
        released(ring.ack(sent[1]));
        assert!(!ring.has_free(), "generations are dealt out in order, and the oldest is in the way");
        released(ring.ack(sent[0]));
        assert!(ring.has_free());
        assert_eq!(send(&ring, 99).0, SLOTS as u64);
    }

    #[test]
    fn in_flight_is_listed_oldest_first_and_can_be_hastened() {
        let ring = ring();
        let sent: Vec<Generation> = (0..3).map(|v| send(&ring, v)).collect();
        released(ring.ack(sent[1]));
        assert_eq!(ring.in_flight().map(|one| one.generation).collect::<Vec<_>>(), [sent[0], sent[2]]);
        let due = || ring.in_flight().map(|one| one.due).collect::<Vec<_>>();
        ring.hasten(sent[2], Time::from_nanos(3));
        assert_eq!(due(), [SOON, Time::from_nanos(3)]);
        ring.hasten(sent[2], SOON);
        assert_eq!(due(), [SOON, Time::from_nanos(3)], "never later");
    }

    fn settled(ring: &SlotRing, next: Generation, later: u32) -> Vec<i64> {
        let mut values = Vec::new();
        ring.settle(Acked { next, later }, |batch| values.push(batch[0]));
        values
    }

    #[test]
    fn one_acknowledgement_settles_all_before_it_and_some_after() {
        for first in [0, 77, GENERATION_MASK - 2] {
            let ring = SlotRing::new(Generation(first));
            let sent: Vec<Generation> = (0..8).map(|value| send(&ring, value)).collect();
            assert_eq!(ring.base(), sent[0]);
            assert_eq!(settled(&ring, sent[0], 0), NONE);
            assert_eq!(settled(&ring, sent[2], 0b101), [0, 1, 3, 5]);
            assert_eq!(settled(&ring, sent[2], 0b101), NONE, "once");
            assert_eq!(settled(&ring, sent[1], 0), NONE, "late");
            assert_eq!(ring.base(), sent[2]);
            let after_all = Generation(later(sent[7].0, 1));
            assert_eq!(settled(&ring, after_all, u32::MAX), [2, 4, 6, 7]);
            assert_eq!(ring.base(), after_all);
        }
    }

    const NONE: [i64; 0] = [];

    #[test]
    fn an_acknowledgement_from_elsewhere_settles_nothing() {
        let ring = ring();
        let sent: Vec<Generation> = (0..3 * SLOTS as i64)
            .map(|value| {
                let generation = send(&ring, value);
                if value < 2 * SLOTS as i64 {
                    released(ring.ack(generation));
                }
                generation
            })
            .collect();
        // Too old, not yet sent, and no generation at all.
        for forged in (0..2 * SLOTS as u64).chain([3 * SLOTS as u64 + 1, 1 << 40, 1 << 62, u64::MAX]) {
            assert_eq!(settled(&ring, Generation(forged), 0), NONE, "{forged}");
        }
        assert_eq!(ring.base(), sent[2 * SLOTS]);
    }

    #[test]
    fn generations_wrap_around_cleanly() {
        for first in [GENERATION_MASK - 3, u64::MAX, 12_345] {
            let ring = SlotRing::new(Generation(first));
            let mut expected = first & GENERATION_MASK;
            for value in 0..3 * SLOTS as i64 {
                let generation = send(&ring, value);
                assert_eq!(generation.0, expected);
                assert!(matches!(ring.ack(Generation(later(expected, 1))), Ack::Stale));
                assert_eq!(released(ring.ack(generation)), value);
                expected = later(expected, 1);
            }
        }
    }

    #[test]
    fn threads_that_send_retry_and_ack_account_for_every_batch_once() {
        use std::sync::atomic::AtomicUsize;
        const BATCHES: i64 = 20_000;
        let ring = ring();
        let done = AtomicUsize::new(0);
        let note = |batch: &Batch| {
            assert_eq!(batch.len(), 1);
            done.fetch_add(1, Ordering::Relaxed);
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for value in 0..BATCHES {
                    let mut waiting = batch(value);
                    let claim = loop {
                        match ring.claim(waiting) {
                            Ok(claim) => break claim,
                            Err(back) => waiting = back,
                        }
                        std::hint::spin_loop();
                    };
                    if let Some(batch) = ring.sent(claim, NOW, SOON) {
                        note(&batch);
                    }
                    for InFlight { generation, .. } in ring.in_flight() {
                        if let Some(claim) = ring.reclaim(generation)
                            && let Some(batch) = ring.sent(claim, NOW, SOON)
                        {
                            note(&batch);
                        }
                    }
                }
            });
            scope.spawn(|| {
                // Acknowledges everything, twice, and things that were never sent.
                let mut oldest = 0;
                while done.load(Ordering::Relaxed) < BATCHES as usize {
                    for generation in oldest..oldest + 2 * SLOTS as u64 {
                        if let Ack::Released(batch) = ring.ack(Generation(generation)) {
                            note(&batch);
                        }
                    }
                    oldest = ring.next.load(Ordering::Relaxed).saturating_sub(SLOTS as u64);
                }
            });
        });
        assert_eq!(done.load(Ordering::Relaxed), BATCHES as usize);
        assert!(ring.has_free());
    }
}
