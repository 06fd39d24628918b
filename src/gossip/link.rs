//! What the ticking thread knows of one peer: what was sent to it, what came from it, and how it has been
//! answering.
//!
//! ```text
//!         two batches or questions unanswered, or one question
//!         if the peer is neither the planned parent nor a child
//!   alive ──────────────────────────────────────────────▶ suspected
//!     ▲                                                        │
//!     └────────────────────────────────────────────────────────┘
//!            has heard the last message before that, or a later one
//! ```
//!
//! A suspected peer is sent no values, and is nobody's parent. Whether alive or suspected, a link is *synced* if
//! the peer holds all of the log before the link's cursor but what is in flight, or is being compared with.

use std::collections::VecDeque;
use std::time::Duration;

use super::clock::Clock;
use super::round_trip::RoundTrip;
use crate::node::Time;
use crate::protocol::link::{Digest, Sync};
use crate::queue::{Arrival, Receipts, SLOTS, SlotRing, Span};

/// A peer that has had so many deltas unacknowledged is acknowledged at once, before its slots run out.
const UNACKED_MAX: u32 = SLOTS as u32 / 2;

/// A comparison has two or three steps, and one that is tried again has them twice.
const COMPARED_AT_ONCE: u32 = 8;

/// One peer is compared with for one part of the time in so many.
const COMPARED_SHARE: u32 = 4;

/// A link to a peer.
#[derive(Debug)]
pub(super) struct Link {
    /// The peer's incarnation; 0 before it is known.
    pub(super) incarnation: u64,
    /// Whether its last message was one of a natter node's. A node of another kind may have taken its place.
    pub(super) reads_runs: bool,
    pub(super) clock: Clock,
    pub(super) trip: RoundTrip,
    pub(super) receipts: Receipts,
    pub(super) acks: AckTimer,
    pub(super) push: Push,
    pub(super) blind: Blind,
    pub(super) health: Health,
    pub(super) overlay: Standing,
    pub(super) told: Told,
    pub(super) comparison: Comparison,
    /// Until when the link's entry in the queue of timers lets it sleep.
    pub(super) queued: Time,
}

/// Where the peer stands in the overlay, by its last word.
#[derive(Debug)]
pub(super) struct Standing {
    /// Whether it takes this node for its parent.
    pub(super) is_child: bool,
    /// The first node among its parent, that one's parent and so on.
    pub(super) root: Option<usize>,
    /// Whether it says nothing of when it flushes: by the direct plan nobody does to a child.
    pub(super) is_direct: bool,
    /// Whether it speaks otherwise than natter nodes do.
    pub(super) is_foreign: bool,
}

/// What the two ends have said of what they hold.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// What the peer said last, if it has said anything.
    pub(super) heard: Option<Digest>,
    /// Which of this node's digests either end has said to be that of all members but so many, the fewest that it has said.
    all_but: Option<(u64, usize)>,
    /// Which of them was last said to be that of all below this node.
    pub(super) claimed_below: Option<u64>,
    /// The fingerprint of the restarts that were pushed last.
    pub(super) restarts: u64,
}

impl Told {
    /// Either end says that all members but these hold this node's digest of that epoch.
    pub(super) fn tell_all_but(&mut self, epoch: u64, unequal: usize) {
        let fewest =
            self.all_but.filter(|&(told, _)| told == epoch).map_or(unequal, |(_, told)| told.min(unequal));
        self.all_but = Some((epoch, fewest));
    }

    /// Whether either end has said that of no more members than so many.
    pub(super) fn is_all_but(&self, epoch: u64, unequal: usize) -> bool {
        self.all_but.is_some_and(|(told, fewest)| told == epoch && fewest <= unequal)
    }
}

impl Link {
    /// An idle link, whose peer holds what there is of the log if `is_synced`.
    pub(super) fn new(is_child: bool, is_synced: bool, round_trip: Option<Duration>) -> Self {
        let mut trip = RoundTrip::default();
        round_trip.into_iter().for_each(|round_trip| trip.assume(round_trip));
        Self {
            incarnation: 0,
            reads_runs: false,
            clock: Clock::default(),
            trip,
            receipts: Receipts::default(),
            acks: AckTimer::default(),
            push: Push { is_synced, ..Push::default() },
            blind: Blind::default(),
            health: Health::default(),
            overlay: Standing { is_child, root: None, is_direct: false, is_foreign: false },
            told: Told::default(),
            comparison: Comparison::default(),
            queued: Time::NEVER,
        }
    }

    /// The peer was started again: what it held is gone, and so is what it had heard.
    pub(super) fn restart(&mut self, incarnation: u64) {
        self.incarnation = incarnation;
        (self.clock, self.receipts) = (Clock::default(), Receipts::default());
        (self.acks, self.told, self.push) = (AckTimer::default(), Told::default(), Push::default());
        self.comparison.round = None;
    }

    /// Everything of the log before `position` is known to be at the peer, or is to be found out by a comparison.
    pub(super) fn sync(&mut self, position: usize) {
        self.push.cursor = position;
        self.push.is_synced = true;
        self.push.lacking.clear();
    }

    /// Whether the peer has spoken as natter nodes do, and has answered whatever it was asked.
    pub(super) fn answers(&self) -> bool {
        self.incarnation != 0 && !self.health.is_suspected()
    }

    /// Whether the peer is told what everybody is told.
    pub(super) fn is_told(&self) -> bool {
        !self.health.is_suspected() && self.push.is_synced
    }

    /// A round that this node has begun, if there is one, comes to no end before the peer answers again: what the peer lacks is
    /// not known. The peer may have answered it, and then relies on it: once it goes on it gives way no more than before.
    pub(super) fn put_off_round(&mut self) {
        if let Some(round) = &mut self.comparison.round {
            round.retry_at = Time::NEVER;
            self.push.is_synced = false;
        }
    }

    /// What is in flight to the peer is to be sent anew.
    pub(super) fn requeue(&mut self, slots: &SlotRing) {
        self.push.lacking.extend(slots.in_flight().map(|in_flight| in_flight.span));
        slots.clear();
    }

    /// What waits for the peer's acknowledgement, and what it was found to lack.
    pub(super) fn under_way(&self, slots: &SlotRing) -> impl Iterator<Item = Span> {
        slots.in_flight().map(|in_flight| in_flight.span).chain(self.push.lacking.iter().copied())
    }

    /// Everything of the log before that is acknowledged by the peer, or may be for all that is known.
    pub(super) fn unacked_from(&self, slots: &SlotRing) -> usize {
        self.under_way(slots).map(|span| span.from).fold(self.push.cursor, usize::min)
    }

    /// When an answer to the last delta is overdue, if none was asked for at once.
    pub(super) fn answer_due(&self, delay: AckDelay) -> Time {
        self.push.last_sent + delay.after_last + self.trip.timeout()
    }

    /// When the first batch in flight has waited long enough, whatever else the peer has answered: never while it
    /// is suspected.
    pub(super) fn batch_due(&self, slots: &SlotRing) -> Time {
        let due = slots.in_flight().map(|in_flight| in_flight.due).min();
        due.filter(|_| !self.health.is_suspected()).unwrap_or(Time::NEVER)
    }

    /// When something that is in flight is to be sent again.
    pub(super) fn retry_at(&self, slots: &SlotRing, delay: AckDelay) -> Time {
        let due = self.batch_due(slots).if_ever();
        due.map_or(Time::NEVER, |due| due.min(self.answer_due(delay)))
    }

    /// When the link next needs a tick, but for what is in flight.
    pub(super) fn due(&self) -> Time {
        let round = self.comparison.round.map_or(Time::NEVER, |round| round.retry_at);
        self.acks.due().min(self.health.answer_due()).min(round).min(self.comparison.due())
    }
}

/// What is sent to the peer.
#[derive(Debug, Default)]
pub(super) struct Push {
    /// Everything before it in the log was sent, or was known to be at the peer, if the link is synced.
    pub(super) cursor: usize,
    pub(super) is_synced: bool,
    /// What a comparison found that the peer lacks.
    pub(super) lacking: VecDeque<Span>,
    /// When a delta was last sent.
    pub(super) last_sent: Time,
    /// Whether the last flush left something for want of slots.
    pub(super) rest: bool,
}

/// What questions bring a suspected peer of the log: what none has brought to anybody, what is new since the last one to
/// this peer, and then, as nobody knows what of it arrives, all that the peer may lack, again and again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Blind {
    /// What the peer had acknowledged when it came to be suspected goes up to here.
    from: usize,
    /// How long the log was when the peer was last asked.
    len: usize,
    /// What is brought again begins here.
    again: usize,
}

impl Blind {
    pub(super) fn from(from: usize) -> Self {
        Self { from, len: from, again: from }
    }

    /// So many positions of a log of `len` as are to be brought next. What questions have brought to any peer goes up to
    /// `brought`.
    pub(super) fn next(
        &mut self,
        brought: &mut usize,
        len: usize,
        most: usize,
    ) -> impl Iterator<Item = usize> + use<> {
        let start = self.from.max(*brought);
        let unbrought = start..len.min(start + most);
        let room = most - unbrought.len();
        // No more than half, or what comes and comes would leave none for the rest.
        let recent = start.saturating_sub(room / 2).max(self.len).min(start)..start;
        if self.again >= recent.start {
            self.again = self.from;
        }
        let again = self.again..recent.start.min(self.again + room - recent.len());
        // Peers that are brought different parts first are brought different ones next.
        self.again = if again.is_empty() { unbrought.end } else { again.end };
        self.len = len;
        *brought = unbrought.end;
        unbrought.chain(recent).chain(again)
    }
}

/// How long an acknowledgement may wait for something to travel on (RFC 9000, section 13.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct AckDelay {
    /// After the last message that it is for.
    pub(super) after_last: Duration,
    /// After the first.
    pub(super) after_first: Duration,
}

/// When to acknowledge what has come, unless something carries the acknowledgement before.
#[derive(Debug)]
pub(super) struct AckTimer {
    unacked: u32,
    after_last: Time,
    after_first: Time,
    soon: Time,
}

impl Default for AckTimer {
    fn default() -> Self {
        Self { unacked: 0, after_last: Time::NEVER, after_first: Time::NEVER, soon: Time::NEVER }
    }
}

impl AckTimer {
    /// A delta has come. Two that come out of order are told soon: one before may be lost, or was only overtaken.
    pub(super) fn received(
        &mut self,
        now: Time,
        delay: AckDelay,
        arrival: Arrival,
        now_wanted: bool,
        deviation: Duration,
    ) {
        self.unacked += 1;
        self.after_last = now + delay.after_last;
        self.after_first = self.after_first.min(now + delay.after_first);
        if now_wanted || self.unacked >= UNACKED_MAX || arrival == Arrival::Repeated {
            self.soon = now;
        } else if arrival == Arrival::Early {
            self.by(now + 2 * deviation);
        }
    }

    /// What every message says is to get to the peer by then.
    pub(super) fn by(&mut self, time: Time) {
        self.soon = self.soon.min(time);
    }

    pub(super) fn due(&self) -> Time {
        self.after_last.min(self.after_first).min(self.soon)
    }
}

/// How the peer has been answering.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// What the last message said of this node's clock before the peer was suspected, if it is.
    suspected: Option<u64>,
    failures: u32,
    asked: Option<Question>,
    /// When it was last asked.
    pub(super) asked_at: Option<Time>,
    /// When the last question went unanswered.
    failed_at: Time,
}

/// A message that the peer is to answer.
#[derive(Clone, Copy, Debug)]
struct Question {
    /// What it said of this node's clock: whatever the peer says of an earlier one is no answer.
    stamp: u64,
    due: Time,
}

impl Health {
    pub(super) fn is_suspected(&self) -> bool {
        self.suspected.is_some()
    }

    /// The peer does not answer. The last message to it said `stamp` of this node's clock.
    pub(super) fn suspect(&mut self, stamp: u64) {
        self.suspected = Some(stamp);
        self.asked = None;
    }

    /// The peer was asked something, by a message of that stamp, and is to answer by `due`.
    pub(super) fn ask(&mut self, now: Time, stamp: u64, due: Time) {
        self.asked = Some(Question { stamp, due });
        self.asked_at = Some(now);
    }

    pub(super) fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// Whether the peer was asked no longer ago than that.
    pub(super) fn was_asked(&self, now: Time, ago: Duration) -> bool {
        self.asked_at.is_some_and(|asked| now.since(asked) < ago)
    }

    fn answer_due(&self) -> Time {
        self.asked.map_or(Time::NEVER, |question| question.due)
    }

    /// When the question was asked whose answer is overdue, if it is.
    pub(super) fn take_overdue(&mut self, now: Time) -> Option<Time> {
        self.asked.take_if(|question| question.due <= now).and(self.asked_at)
    }

    /// The peer has heard the message of that stamp, or a later one. True if it was suspected, and is no more.
    pub(super) fn heard(&mut self, stamp: u64) -> bool {
        if self.asked.take_if(|question| question.stamp <= stamp).is_some() {
            self.answered();
        }
        self.suspected.take_if(|suspected| *suspected <= stamp).is_some()
    }

    /// The peer has answered something.
    pub(super) fn answered(&mut self) {
        self.failures = 0;
    }

    /// What was sent at `sent` has not been answered by now. True if that makes `most` waits in vain. Each counts
    /// from the end of the one before it, so that what was sent together and lost together counts once.
    pub(super) fn failed(&mut self, now: Time, sent: Time, most: u32) -> bool {
        if self.is_suspected() || sent < self.failed_at {
            return false;
        }
        self.failed_at = now;
        self.failures += 1;
        self.failures >= most
    }

    /// One lost message is the network's; two are rather the peer's.
    pub(super) const FAILURES_MAX: u32 = 2;
}

/// A comparison with the peer.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub(super) round: Option<Round>,
    /// When this node last sent the first step of one.
    pub(super) tried: Option<Time>,
    /// Until when what is on its way may explain that the two differ.
    pub(super) explained_until: Option<Time>,
    /// When the peer is to have heard what a member that was started again had told it, and has forgotten.
    pub(super) restart_seen_to_at: Option<Time>,
    /// The last one of the peer's that was answered.
    pub(super) answered: Option<u64>,
    /// By when the peer has had no more than its share of the time that comparing takes.
    until: Time,
}

/// One that this node has begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    pub(super) id: u64,
    pub(super) retry_at: Time,
    /// Whether its first step was sent, or that of the one whose place it takes.
    pub(super) is_sent: bool,
}

impl Round {
    /// Whether its first step was sent and it is not put off.
    pub(super) fn goes_on(&self) -> bool {
        self.is_sent && !self.is_put_off()
    }

    /// Whether it goes on once the peer answers again.
    pub(super) fn is_put_off(self) -> bool {
        self.retry_at == Time::NEVER
    }
}

impl Comparison {
    /// When to compare with the peer, unless the two are found to be equal before, or for a restart all the same.
    pub(super) fn due(&self) -> Time {
        let at = self.explained_until.unwrap_or(Time::NEVER);
        at.min(self.restart_seen_to_at.unwrap_or(Time::NEVER))
    }

    /// Whether a step is of the peer's round that was answered last.
    pub(super) fn is_answered(&self, sync: &Sync) -> bool {
        self.answered == Some(sync.round)
    }

    /// Whether the peer may have its values compared once more, which takes so long: some times at once, as a
    /// comparison needs, and then for a part of the time (the generic cell rate algorithm, ITU-T I.371).
    pub(super) fn may_go_on(&mut self, now: Time, takes: Duration) -> bool {
        let share = takes * COMPARED_SHARE;
        let may = self.until <= now + share * COMPARED_AT_ONCE;
        if may {
            self.until = self.until.max(now) + share;
        }
        may
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn an_acknowledgement_waits_for_the_last_but_not_for_ever() {
        let mut acks = AckTimer::default();
        let delay = AckDelay { after_last: ms(100), after_first: ms(250) };
        let mut receive = |now, arrival, at_once| {
            acks.received(at(now), delay, arrival, at_once, ms(5));
            acks.due()
        };
        assert_eq!(receive(0, Arrival::Due, false), at(100));
        assert_eq!(receive(90, Arrival::Due, false), at(190));
        assert_eq!(receive(180, Arrival::Due, false), at(250));
        assert_eq!(receive(185, Arrival::Early, false), at(195));
        assert_eq!(receive(186, Arrival::Due, true), at(186));
        let mut acks = AckTimer::default();
        for _ in 0..UNACKED_MAX {
            acks.received(at(7), delay, Arrival::Due, false, ms(0));
        }
        assert_eq!(acks.due(), at(7), "before the slots run out");
    }

    #[test]
    fn questions_bring_what_is_new_and_then_all_again() {
        let mut brought = 3;
        let mut blinds = [10, 8].map(Blind::from);
        let mut next = |peer: usize, len| blinds[peer].next(&mut brought, len, 4).collect::<Vec<_>>();
        assert_eq!(next(0, 10), [0; 0]);
        assert_eq!(next(0, 20), [10, 11, 12, 13]);
        assert_eq!(next(1, 20), [14, 15, 16, 17], "the others are at peer 0, if that hears");
        assert_eq!(next(0, 20), [18, 19, 14, 15]);
        assert_eq!(next(1, 20), [18, 19]);
        assert_eq!(next(0, 20), [16, 17, 18, 19]);
        assert_eq!(next(0, 20), [10, 11, 12, 13]);
        assert_eq!(next(1, 21), [20, 8, 9, 10]);
        assert_eq!(next(0, 21), [20, 14, 15, 16]);
    }

    #[test]
    fn a_peer_is_suspected_after_two_waits_in_vain_and_not_before() {
        let mut health = Health::default();
        let most = Health::FAILURES_MAX;
        assert!(!health.failed(at(10), at(1), most));
        assert!(!health.failed(at(11), at(2), most), "sent before the first wait was over");
        health.answered();
        assert!(!health.failed(at(30), at(20), most) && health.failed(at(50), at(31), most));
        health.suspect(700);
        assert!(health.is_suspected() && !health.failed(at(70), at(60), most), "already");
        health.answered();
        assert!(health.is_suspected(), "what it has heard may be long ago");
        assert!(!health.heard(699) && health.heard(700) && !health.is_suspected());
    }

    #[test]
    fn only_what_was_heard_since_answers_a_question() {
        let mut health = Health::default();
        health.ask(at(1), 1000, at(9));
        health.heard(999);
        assert!(health.is_asked() && health.take_overdue(at(8)).is_none());
        health.heard(1000);
        assert!(!health.is_asked() && health.take_overdue(at(9)).is_none());
        health.ask(at(10), 2000, at(19));
        assert_eq!(health.take_overdue(at(19)), Some(at(10)));
        assert!(!health.is_asked());
    }

    #[test]
    fn a_peer_is_compared_with_for_its_share_of_the_time() {
        let mut comparison = Comparison::default();
        let now = at(1000);
        let at_once = (0..100).take_while(|_| comparison.may_go_on(now, ms(10))).count();
        assert_eq!(at_once, 1 + COMPARED_AT_ONCE as usize);
        assert!(!comparison.may_go_on(now + ms(39), ms(10)) && comparison.may_go_on(now + ms(40), ms(10)));
    }
}
