//! The batches that are in flight to one peer: a ring of slots, each one atomic word of generation and state.
//!
//! Every batch gets the next generation, and generation `g` lives in slot `g mod SLOTS`; so a slot knows
//! which generation it serves, or will serve next, and an acknowledgement finds its slot by its name alone.
//!
//! ```text
//!               send                    acknowledge
//!   FREE(g) ───────────▶ IN_FLIGHT(g) ───────────────▶ FREE(g + SLOTS)
//! ```
//!
//! A slot doesn't own a batch. It remembers which [`Span`] of the log was sent, and the log never changes: whoever
//! sends a batch again reads it there, and an acknowledgement has nothing to give back. One thread sends and resends,
//! any thread may acknowledge. The races, and how the word answers them:
//!
//! * **A late or repeated acknowledgement.** The slot's word names another generation, or is free: nothing happens.
//! * **An acknowledgement while the batch is being sent again.** The batch goes out once more, and its receiver knows
//!   it already. Nothing else is touched.
//! * **Two acknowledgements at once.** One of them makes the step to `FREE`; the other finds it made.
//!
//! No step waits for another thread: a failed compare-and-swap means that somebody else made progress.

use std::fmt;

use super::log::Span;
use crate::node::Time;
use crate::protocol::Generation;
use crate::protocol::link::Acked;
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// How many batches may be in flight to one peer: at 64 values each, 2048 values a round trip; and as many
/// flushes as a peer may leave unacknowledged while it waits for something to carry the acknowledgement. A power
/// of two, so that generations wrap cleanly, and no more than an [`Acked`] names.
pub const SLOTS: usize = if cfg!(loom) { 2 } else { 32 };

/// Generations leave room for the state in the word.
const GENERATION_MASK: u64 = Generation::LAST.0;
const STATE_BITS: u32 = 1;

const FREE: u64 = 0;
/// Waiting for the acknowledgement.
const IN_FLIGHT: u64 = 1;

const fn word(generation: u64, state: u64) -> u64 {
    generation << STATE_BITS | state
}

fn later(generation: u64, by: u64) -> u64 {
    generation.wrapping_add(by) & GENERATION_MASK
}

/// The in-flight slots of one peer.
#[derive(Debug)]
pub struct SlotRing {
    /// The generation of the next new batch. Only the sender moves it.
    next: AtomicU64,
    slots: [Slot; SLOTS],
}

/// All but the word is the sender's: nobody else writes it.
struct Slot {
    word: AtomicU64,
    from: AtomicUsize,
    to: AtomicUsize,
    whole: AtomicBool,
    /// When the batch was last sent, in nanoseconds.
    sent: AtomicU64,
    /// When it is to be sent again.
    due: AtomicU64,
}

impl Slot {
    /// For the sender alone.
    fn cover(&self, Span { from, to, whole }: Span, now: Time, due: Time) {
        // Relaxed, all: read by nobody else.
        self.from.store(from, Ordering::Relaxed);
        self.to.store(to, Ordering::Relaxed);
        self.whole.store(whole, Ordering::Relaxed);
        self.sent.store(now.as_nanos(), Ordering::Relaxed);
        self.due.store(due.as_nanos(), Ordering::Relaxed);
    }

    fn span(&self) -> Span {
        // Relaxed, all: the sender's own.
        let (from, to) = (self.from.load(Ordering::Relaxed), self.to.load(Ordering::Relaxed));
        Span { from, to, whole: self.whole.load(Ordering::Relaxed) }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.word.load(Ordering::Relaxed);
        let state = ["FREE", "IN_FLIGHT"][(word & IN_FLIGHT) as usize];
        write!(f, "{state}({})", word >> STATE_BITS)
    }
}

/// A batch in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// Its name.
    pub generation: Generation,
    /// What it covers of the log.
    pub span: Span,
    /// When it was last sent.
    pub sent: Time,
    /// When it is to be sent again.
    pub due: Time,
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
                from: AtomicUsize::new(0),
                to: AtomicUsize::new(0),
                whole: AtomicBool::new(false),
                sent: AtomicU64::new(0),
                due: AtomicU64::new(Time::NEVER.as_nanos()),
            }
        });
        Self { next: AtomicU64::new(first), slots }
    }

    fn slot(&self, generation: u64) -> &Slot {
        // Exact: the remainder is below SLOTS.
        &self.slots[(generation % SLOTS as u64) as usize]
    }

    // The sender's side: one thread at a time.

    /// Whether [`send`](SlotRing::send) would find a free slot.
    #[must_use]
    pub fn has_free(&self) -> bool {
        // Relaxed: the sender's own.
        let generation = self.next.load(Ordering::Relaxed);
        // Relaxed: what the slot remembers is the sender's own, whoever freed it.
        self.slot(generation).word.load(Ordering::Relaxed) == word(generation, FREE)
    }

    /// Takes the next slot for a batch that is sent now, and again at `due` unless it is acknowledged before. None if
    /// that slot is still in use.
    pub fn send(&self, span: Span, now: Time, due: Time) -> Option<Generation> {
        if !self.has_free() {
            return None;
        }
        let generation = self.next.load(Ordering::Relaxed);
        let slot = self.slot(generation);
        slot.cover(span, now, due);
        // Relaxed: an acknowledgement is for a message that was sent after this, and came by way of the peer.
        slot.word.store(word(generation, IN_FLIGHT), Ordering::Relaxed);
        self.next.store(later(generation, 1), Ordering::Relaxed);
        Some(Generation(generation))
    }

    /// A batch in flight is sent once more, or what is left of it.
    pub fn resend(&self, generation: Generation, span: Span, now: Time, due: Time) {
        self.slot(generation.0).cover(span, now, due);
    }

    /// A batch in flight is to be sent again at `due`, if that is sooner than it was to be.
    pub fn hasten(&self, generation: Generation, due: Time) {
        let slot = self.slot(generation.0);
        let sooner = due.as_nanos().min(slot.due.load(Ordering::Relaxed));
        slot.due.store(sooner, Ordering::Relaxed);
    }

    /// The name of the oldest batch in flight, or of the next one if there is none: all before it are acknowledged.
    #[must_use]
    pub fn base(&self) -> Generation {
        let next = Generation(self.next.load(Ordering::Relaxed));
        self.in_flight().next().map_or(next, |in_flight| in_flight.generation)
    }

    /// The batches in flight, oldest first.
    pub fn in_flight(&self) -> impl Iterator<Item = InFlight> + '_ {
        let next = self.next.load(Ordering::Relaxed);
        (1..=SLOTS as u64).rev().filter_map(move |age| {
            let generation = later(next, age.wrapping_neg());
            let slot = self.slot(generation);
            // Relaxed: whoever finds a batch in flight that is being acknowledged sends it once too often.
            let in_flight = slot.word.load(Ordering::Relaxed) == word(generation, IN_FLIGHT);
            in_flight.then(|| InFlight {
                generation: Generation(generation),
                span: slot.span(),
                sent: Time::from_nanos(slot.sent.load(Ordering::Relaxed)),
                due: Time::from_nanos(slot.due.load(Ordering::Relaxed)),
            })
        })
    }

    /// Whether nothing is in flight.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.in_flight().next().is_none()
    }

    /// Forgets what is in flight: the peer is known to hold it, or is compared with.
    pub fn clear(&self) {
        for InFlight { generation, .. } in self.in_flight() {
            self.ack(generation);
        }
    }

    // Everybody's side.

    /// A batch has been acknowledged, or so somebody says. True if it was in flight.
    pub fn ack(&self, generation: Generation) -> bool {
        let Generation(generation) = generation;
        if generation > GENERATION_MASK {
            return false; // Its word would be that of another generation.
        }
        let freed = word(later(generation, SLOTS as u64), FREE);
        // Relaxed, both: the word alone decides, and nothing else is handed over.
        let step = self.slot(generation).word.compare_exchange(
            word(generation, IN_FLIGHT),
            freed,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        step.is_ok()
    }

    /// Several batches have been acknowledged, or so somebody says. True if any of them was in flight.
    pub fn on_ack(&self, acked: Acked) -> bool {
        let mut any = false;
        for slot in &self.slots {
            let word = slot.word.load(Ordering::Relaxed);
            let generation = Generation(word >> STATE_BITS);
            if word & IN_FLIGHT != 0 && acked.names(generation) {
                any |= self.ack(generation);
            }
        }
        any
    }

    /// Checks what must hold at any time: each slot serves one of the last generations, or is free for one of the next.
    ///
    /// # Errors
    /// Says of which slot it does not.
    pub fn audit(&self, log_len: usize) -> Result<(), String> {
        let next = self.next.load(Ordering::Relaxed);
        for (index, slot) in self.slots.iter().enumerate() {
            let current = slot.word.load(Ordering::Relaxed);
            let (generation, in_flight) = (current >> STATE_BITS, current & IN_FLIGHT != 0);
            let ahead = later(generation, next.wrapping_neg());
            let behind = later(next, generation.wrapping_neg());
            let is_near = if in_flight { (1..=SLOTS as u64).contains(&behind) } else { ahead < SLOTS as u64 };
            if !is_near || generation % SLOTS as u64 != index as u64 {
                return Err(format!("{slot:?} where {next} is next"));
            }
            let Span { from, to, .. } = slot.span();
            if in_flight && !(from <= to && to <= log_len) {
                return Err(format!("{slot:?} of {from} to {to}, where the log has {log_len}"));
            }
        }
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const NOW: Time = Time::from_nanos(5);
    const SOON: Time = Time::from_nanos(10);

    fn ring() -> SlotRing {
        SlotRing::new(Generation(0))
    }

    fn span(number: usize) -> Span {
        Span { from: number, to: number + 1, whole: false }
    }

    fn send(ring: &SlotRing, number: usize) -> Generation {
        ring.send(span(number), NOW, SOON).expect("a free slot")
    }

    fn in_flight(ring: &SlotRing) -> Vec<usize> {
        ring.in_flight().map(|one| one.span.from).collect()
    }

    #[test]
    fn an_ack_frees_the_slot_once() {
        let ring = ring();
        let generation = send(&ring, 5);
        let expected = InFlight { generation, span: span(5), sent: NOW, due: SOON };
        assert_eq!(ring.in_flight().collect::<Vec<_>>(), [expected]);
        assert!(ring.ack(generation) && !ring.ack(generation));
        assert!(ring.is_empty());
    }

    #[test]
    fn stale_ack_does_not_clear_newer_batch() {
        let ring = ring();
        let old = send(&ring, 0);
        assert!(ring.ack(old));
        let later: Vec<Generation> = (1..=SLOTS).map(|number| send(&ring, number)).collect();
        let reuser = later[SLOTS - 1];
        assert_eq!(reuser.0 % SLOTS as u64, old.0 % SLOTS as u64, "the same slot serves again");
        assert!(!ring.ack(old));
        assert!(ring.ack(reuser));
    }

    #[test]
    fn an_ack_of_what_was_never_sent_frees_nothing() {
        let ring = ring();
        for generation in (0..100).chain([u64::MAX, 1 << 63, 1 << 62, (1 << 62) - 1]) {
            assert!(!ring.ack(Generation(generation)), "{generation}");
        }
        assert_eq!(send(&ring, 1), Generation(0));
        assert!(!ring.ack(Generation(1 << 63)) && !ring.ack(Generation(1 << 62)), "not 0 in disguise");
        assert!(ring.ack(Generation(0)));
    }

    #[test]
    fn a_full_ring_takes_nothing_until_its_oldest_is_acked() {
        let ring = ring();
        let sent: Vec<Generation> = (0..SLOTS).map(|number| send(&ring, number)).collect();
        assert!(!ring.has_free() && ring.send(span(99), NOW, SOON).is_none());
        assert!(ring.ack(sent[1]));
        assert!(!ring.has_free(), "generations are dealt out in order, and the oldest is in the way");
        assert!(ring.ack(sent[0]));
        assert_eq!(send(&ring, 99).0, SLOTS as u64);
        assert_eq!(ring.audit(100), Ok(()));
    }

    #[test]
    fn a_batch_that_is_sent_again_keeps_its_name_and_span() {
        let ring = ring();
        let sent: Vec<Generation> = (0..3).map(|number| send(&ring, number)).collect();
        assert!(ring.ack(sent[1]));
        let due = || ring.in_flight().map(|one| (one.span.from, one.due)).collect::<Vec<_>>();
        ring.hasten(sent[2], Time::from_nanos(3));
        assert_eq!(due(), [(0, SOON), (2, Time::from_nanos(3))]);
        ring.hasten(sent[2], SOON);
        assert_eq!(due(), [(0, SOON), (2, Time::from_nanos(3))], "never later");
        ring.resend(sent[2], span(2), SOON, Time::NEVER);
        assert_eq!(due(), [(0, SOON), (2, Time::NEVER)]);
        ring.clear();
        assert!(ring.is_empty());
    }

    fn acks(ring: &SlotRing, next: Generation, later: u32) -> Vec<usize> {
        let before = in_flight(ring);
        let any = ring.on_ack(Acked { next, later });
        let after = in_flight(ring);
        assert_eq!(any, before != after);
        before.into_iter().filter(|number| !after.contains(number)).collect()
    }

    const NONE: [usize; 0] = [];

    #[test]
    fn one_acknowledgement_frees_all_before_it_and_some_after() {
        for first in [0, 77, GENERATION_MASK - 2] {
            let ring = SlotRing::new(Generation(first));
            let sent: Vec<Generation> = (0..8).map(|number| send(&ring, number)).collect();
            assert_eq!(ring.base(), sent[0]);
            assert_eq!(acks(&ring, sent[0], 0), NONE);
            assert_eq!(acks(&ring, sent[2], 0b101), [0, 1, 3, 5]);
            assert_eq!(acks(&ring, sent[2], 0b101), NONE, "once");
            assert_eq!(acks(&ring, sent[1], 0), NONE, "late");
            assert_eq!(ring.base(), sent[2]);
            let after_all = Generation(later(sent[7].0, 1));
            assert_eq!(acks(&ring, after_all, u32::MAX), [2, 4, 6, 7]);
            assert_eq!(ring.base(), after_all);
        }
    }

    #[test]
    fn an_acknowledgement_from_elsewhere_frees_nothing() {
        let ring = ring();
        for number in 0..3 * SLOTS {
            let generation = send(&ring, number);
            assert!(number >= 2 * SLOTS || ring.ack(generation));
        }
        // Too old, too far ahead, and no generation at all.
        let beyond = 3 * SLOTS as u64 + 33;
        for forged in (0..2 * SLOTS as u64).chain([beyond, 1 << 40, 1 << 62, u64::MAX >> 1]) {
            assert_eq!(acks(&ring, Generation(forged), 0), NONE, "{forged}");
        }
        assert_eq!(ring.base().0, 2 * SLOTS as u64);
    }

    #[test]
    fn generations_wrap_around_cleanly() {
        for first in [GENERATION_MASK - 3, u64::MAX, 12_345] {
            let ring = SlotRing::new(Generation(first));
            let mut expected = first & GENERATION_MASK;
            for number in 0..3 * SLOTS {
                let generation = send(&ring, number);
                assert_eq!(generation.0, expected);
                assert!(!ring.ack(Generation(later(expected, 1))));
                assert_eq!(ring.audit(number + 1), Ok(()));
                assert!(ring.ack(generation));
                expected = later(expected, 1);
            }
        }
    }

    #[test]
    fn threads_that_send_and_ack_account_for_every_batch_once() {
        const BATCHES: usize = 50_000;
        let (ring, acked) = (ring(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..BATCHES {
                    while ring.send(span(number), NOW, SOON).is_none() {
                        for one in ring.in_flight() {
                            assert!(one.span.from + SLOTS >= number, "long acknowledged");
                            ring.resend(one.generation, one.span, NOW, SOON);
                        }
                    }
                }
            });
            scope.spawn(|| {
                let mut oldest = 0;
                while acked.load(Ordering::Relaxed) < BATCHES {
                    // Acknowledges everything, twice, and things that were never sent.
                    for generation in oldest..oldest + 2 * SLOTS as u64 {
                        let freed = ring.ack(Generation(generation));
                        acked.fetch_add(usize::from(freed), Ordering::Relaxed);
                    }
                    oldest = ring.next.load(Ordering::Relaxed).saturating_sub(SLOTS as u64);
                }
            });
        });
        assert_eq!(acked.load(Ordering::Relaxed), BATCHES);
        assert!(ring.is_empty());
    }
}
