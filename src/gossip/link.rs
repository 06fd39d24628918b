//! What a node shares with one peer: the queue, the slots, what has come from it, and how it has been answering.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::round_trip::{LONGEST, RoundTrip};
use crate::config::Config;
use crate::node::{Time, micros};
use crate::planted::planted;
use crate::protocol::Generation;
use crate::protocol::link::{Header, HubPlan};
use crate::queue::{Arrival, Deadline, InFlight, PeerQueue, Receipts, SLOTS, SlotRing};

/// After this many waits in vain a peer counts as down. One lost message is the network's; two in a row, with no
/// acknowledgement between, are rather the peer's.
const DOWN_AFTER: u32 = 2;

/// A peer that has had so many deltas unacknowledged is acknowledged at once, before its slots run out.
const UNACKNOWLEDGED_MAX: u32 = SLOTS as u32 / 2;

/// What was heard of a peer's clock so long ago says little about the round trip: clocks drift.
const ECHO_AGE_MAX: Duration = Duration::from_secs(4);

/// More than that beside the usual jitter is not the network: a clock was set, or runs wrong.
const CLOCK_JUMP: Duration = Duration::from_millis(25);

/// A repair has two or three steps, and one that is tried again has them twice.
const COMPARES_AT_ONCE: u32 = 8;

/// One peer is compared with for one part of the time in so many.
pub(super) const COMPARE_REST: u32 = 4;

/// Nothing has been heard.
const NOBODY: u64 = u64::MAX;

/// The hub doesn't want to be waited for.
const NO_PHASE: u64 = u64::MAX;

/// A hub that has been quiet for so long may flush at other times by now.
const PHASE_AGE_MAX: Duration = Duration::from_secs(8);

/// How long an acknowledgement may wait for something to travel on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// After the last message that it is for.
    pub(super) after_last: Duration,
    /// After the first.
    pub(super) after_first: Duration,
}

/// A link is *up* until its peer leaves messages unanswered twice in a row. Then it is *down*: batches are no longer
/// resent, and only repairs are tried, until one is answered.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) queue: PeerQueue,
    pub(super) slots: SlotRing,
    pub(super) round_trip: RoundTrip,
    receipts: Receipts,
    /// The peer's life; 0 before it is known.
    life: AtomicU64,
    /// What the last message to the peer says of this node's clock.
    stamped: AtomicU64,
    /// The peer's clock when it sent the last message heard, to tell late messages from new ones.
    sent_at: AtomicU64,
    /// By how much this node's clock was ahead when that came; both in microseconds, and around the circle.
    ahead_by: AtomicU64,
    /// The same, smoothed: what delays that vary have in common.
    ahead_by_mean: AtomicU64,
    heard_at: Deadline,
    /// The peer's root, by its last word, or [`NOBODY`].
    root: AtomicU64,
    /// Whether the peer takes this node for its parent, by its last word, or by the plan.
    child: AtomicBool,
    down: AtomicBool,
    /// Waits for an answer that were in vain since the last one came.
    failures: AtomicU32,
    /// When the last of them ended.
    failed_at: Deadline,
    /// When to send what is queued.
    pub(super) flush_at: Deadline,
    /// When the oldest value in the queue was broadcast.
    pub(super) oldest: Deadline,
    /// Whether the last flush left something in the queue, as there were no slots. That waits for slots, not for the next
    /// flush.
    rest: AtomicBool,
    /// Whether a value in the queue is for the peer to pass on.
    relay: AtomicBool,
    /// Whether the peer has said that it tells everyone something itself.
    trusted: AtomicBool,
    /// Whether this node has said that it tells this peer something, so that nobody else does.
    promised: AtomicBool,
    /// When a delta was last sent.
    last_sent: Deadline,
    /// When to acknowledge what has come, if nothing carries it before…
    acknowledge_at: Deadline,
    /// …and if there is reason to hurry.
    acknowledge_soon: Deadline,
    /// When the first delta that is not yet acknowledged must be.
    acknowledge_by: Deadline,
    owed: AtomicU32,
    /// The repair under way; 0 if there is none.
    round: AtomicU64,
    /// The peer's repair that was last answered.
    answered_round: AtomicU64,
    /// Whether there is more to repair than the repair under way, if any, may find.
    stale: AtomicBool,
    /// Whether the next repair is only to show whether the peer answers, and what its root is.
    only_calls: AtomicBool,
    /// Whether the next step of a repair is to ask the peer to see to those that this node can't reach.
    delegates: AtomicBool,
    /// How many peers a root has passed in turning to the next child to ask to see to this one…
    pub(super) passed_on: AtomicUsize,
    /// …when any node last asked a child for that…
    pub(super) passed_on_at: Deadline,
    /// …and when its parent.
    pub(super) passed_up_at: Deadline,
    /// When to begin a repair, or to try once more.
    pub(super) repair_at: Deadline,
    /// When the last try was.
    tried_at: Deadline,
    /// By when the peer has had no more than its share of the time that comparing takes.
    compared_until: Deadline,
    /// How many values the peer was the first to tell this node of.
    brought: AtomicUsize,
    /// When the flush after the last message that was heard is due here, if the peer is a hub, in microseconds…
    phase: AtomicU64,
    /// …how long before that it wants to have what is for it…
    margin: AtomicU64,
    /// …and how often; 0 if it has not said so.
    every: AtomicU64,
    far: AtomicU64,
}

impl Link {
    /// An idle link.
    pub(super) fn new(config: &Config, first: Generation, child: bool) -> Self {
        Self {
            queue: PeerQueue::new(config.queue_limit),
            slots: SlotRing::new(first),
            round_trip: RoundTrip::default(),
            receipts: Receipts::default(),
            life: AtomicU64::new(0),
            stamped: AtomicU64::new(0),
            sent_at: AtomicU64::new(0),
            ahead_by: AtomicU64::new(0),
            ahead_by_mean: AtomicU64::new(0),
            heard_at: Deadline::at(Time::NEVER),
            root: AtomicU64::new(NOBODY),
            child: AtomicBool::new(child),
            down: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            failed_at: Deadline::at(Time::ZERO),
            flush_at: Deadline::at(Time::NEVER),
            oldest: Deadline::at(Time::NEVER),
            rest: AtomicBool::new(false),
            relay: AtomicBool::new(false),
            trusted: AtomicBool::new(false),
            promised: AtomicBool::new(false),
            last_sent: Deadline::at(Time::ZERO),
            acknowledge_at: Deadline::at(Time::NEVER),
            acknowledge_soon: Deadline::at(Time::NEVER),
            acknowledge_by: Deadline::at(Time::NEVER),
            owed: AtomicU32::new(0),
            round: AtomicU64::new(0),
            answered_round: AtomicU64::new(0),
            stale: AtomicBool::new(false),
            only_calls: AtomicBool::new(false),
            delegates: AtomicBool::new(false),
            passed_on: AtomicUsize::new(0),
            passed_on_at: Deadline::at(Time::NEVER),
            passed_up_at: Deadline::at(Time::NEVER),
            repair_at: Deadline::at(Time::NEVER),
            tried_at: Deadline::at(Time::ZERO),
            compared_until: Deadline::at(Time::ZERO),
            brought: AtomicUsize::new(0),
            phase: AtomicU64::new(NO_PHASE),
            margin: AtomicU64::new(0),
            every: AtomicU64::new(0),
            far: AtomicU64::new(0),
        }
    }

    /// Whether the peer takes this node for its parent.
    pub(super) fn is_child(&self) -> bool {
        // Acquire: pairs with the release in `hear`.
        self.child.load(Ordering::Acquire)
    }

    pub(super) fn is_down(&self) -> bool {
        // Relaxed, here and below unless it says otherwise: these steer who is sent what when, and publish nothing.
        self.down.load(Ordering::Relaxed)
    }

    // What comes.

    /// Takes up what a message says of the link, but for its acknowledgements. True if it tells of another life than
    /// the one known: what the peer held is gone. No hub's period is longer than `budget`.
    pub(super) fn hear(&self, now: Time, header: &Header, budget: Duration) -> bool {
        let known = self.life.load(Ordering::Relaxed);
        let reborn = known != header.life;
        if reborn {
            // In this order, and `header` the other way round: what came from one life is never
            // acknowledged to another.
            self.receipts.forget();
            // Release: pairs with the acquire in `header`.
            self.life.store(header.life, Ordering::Release);
        }
        // A message that was overtaken says what was, not what is; and so does one that comes twice.
        if reborn || self.sent_at.load(Ordering::Relaxed) < header.at {
            self.sent_at.store(header.at, Ordering::Relaxed);
            let ahead_by = now.as_micros().wrapping_sub(header.at);
            self.ahead_by.store(ahead_by, Ordering::Relaxed);
            self.heard_at.set(now);
            self.root.store(header.root, Ordering::Relaxed);
            // Release: pairs with the acquire in `is_child`: whoever finds the peer a child finds the message that
            // told so handled no sooner.
            self.child.store(header.up, Ordering::Release);
            if let Some(HubPlan { next, margin, every, far }) = header.plan {
                // Whatever the peer makes up, no period is longer, and no round trip than any measured.
                let within = micros(budget);
                let (next, margin) = (next.map(|next| next.min(within)), margin.min(within));
                let (every, far) = (every.clamp(1, within.max(1)), far.min(micros(LONGEST / 2)));
                let mean = self.smooth(ahead_by, reborn);
                // As if the message had taken as long as most do.
                let phase = next.map_or(NO_PHASE, |next| header.at.wrapping_add(mean).wrapping_add(next));
                self.phase.store(phase, Ordering::Relaxed);
                self.margin.store(margin, Ordering::Relaxed);
                self.far.store(far, Ordering::Relaxed);
                self.round_trip.assume(Duration::from_micros(2 * far));
                self.every.store(every, Ordering::Relaxed);
            }
        }
        reborn && known != 0
    }

    /// Smooths how far this node's clock is ahead of what the peer's messages say; anew if a clock has jumped.
    fn smooth(&self, ahead_by: u64, anew: bool) -> u64 {
        let before = self.ahead_by_mean.load(Ordering::Relaxed);
        let error = ahead_by.wrapping_sub(before).cast_signed();
        let deviation = self.round_trip.get().map_or(Duration::ZERO, |trip| trip.deviation);
        let jumped = u128::from(error.unsigned_abs()) > (8 * deviation + CLOCK_JUMP).as_micros();
        let mean = if anew || jumped { ahead_by } else { before.wrapping_add_signed(error / 8) };
        self.ahead_by_mean.store(mean, Ordering::Relaxed);
        mean
    }

    /// How long ago the answered message was sent, if a message that came now is an answer to one of this life.
    pub(super) fn answered(now: Time, header: &Header, life: u64) -> Option<Duration> {
        let echo = header.echo.filter(|_| header.to == Some(life))?;
        Some(Duration::from_micros(now.as_micros().checked_sub(echo)?))
    }

    /// A delta has come and its values have been taken up: it will be acknowledged.
    pub(super) fn receive(
        &self,
        now: Time,
        patience: Patience,
        (base, generation): (Generation, Generation),
        at_once: bool,
    ) {
        let arrival = self.receipts.record(base, generation);
        self.acknowledge_by.bring_forward(now + patience.after_first);
        let owed = self.owed.fetch_add(1, Ordering::Relaxed) + 1;
        if at_once || owed >= UNACKNOWLEDGED_MAX || arrival == Arrival::Repeated {
            self.acknowledge_soon.bring_forward(now);
        } else if arrival == Arrival::Early {
            // One before it is lost, or was only overtaken.
            let deviation = self.round_trip.get().map_or(Duration::ZERO, |trip| trip.deviation);
            self.acknowledge_soon.bring_forward(now + 2 * deviation);
        }
        self.acknowledge_at.set((now + patience.after_last).min(self.acknowledge_by.get()));
    }

    /// Acknowledges once more, for no reason.
    #[cfg(feature = "planted-bugs")]
    pub(super) fn acknowledge_again(&self, at: Time) {
        self.acknowledge_soon.set(at);
    }

    /// What every message says is to get to the peer until then.
    pub(super) fn tell(&self, until: Time) {
        self.acknowledge_soon.bring_forward(until);
    }

    pub(super) fn acknowledge_at(&self) -> Time {
        self.acknowledge_at.get().min(self.acknowledge_soon.get())
    }

    // What goes.

    /// This node's clock, for a message to the peer, in microseconds: later than in any before. To be asked before what
    /// the message says of this node is looked up.
    pub(super) fn stamp(&self, now: Time) -> u64 {
        let next = |before: u64| now.as_micros().max(before.saturating_add(1));
        let stamp = |before| Some(next(before));
        let (Ok(before) | Err(before)) =
            self.stamped.fetch_update(Ordering::Relaxed, Ordering::Relaxed, stamp);
        next(before)
    }

    /// What a message to the peer says of the link, apart from the plan. What has come is acknowledged by it.
    pub(super) fn header(&self, now: Time, at: u64, life: u64, up: bool) -> Header {
        // Before what has come is read: what comes meanwhile is owed an acknowledgement of its own.
        self.acknowledge_at.clear();
        self.acknowledge_soon.clear();
        self.acknowledge_by.clear();
        self.owed.store(0, Ordering::Relaxed);
        // Acquire, and before the receipts are read: see `hear`.
        let to = Some(self.life.load(Ordering::Acquire)).filter(|&life| life != 0);
        let heard = self.heard_at.get();
        let fresh = heard != Time::NEVER && now.since(heard) <= ECHO_AGE_MAX;
        let echo = now.as_micros().wrapping_sub(self.ahead_by.load(Ordering::Relaxed));
        Header {
            life,
            to,
            at,
            // Beyond what JSON's integers hold, a clock is broken.
            echo: (fresh && echo >> 63 == 0).then_some(echo),
            acked: to.and_then(|_| self.receipts.acked()),
            up,
            root: 0,
            plan: None,
        }
    }

    /// A flush is over, and has left something in the queue or not.
    pub(super) fn note_rest(&self, rest: bool) {
        self.rest.store(rest, Ordering::Relaxed);
    }

    /// Whether something in the queue only waits for slots.
    pub(super) fn has_rest(&self) -> bool {
        self.rest.load(Ordering::Relaxed)
    }

    pub(super) fn note_sent(&self, now: Time) {
        self.last_sent.set(now);
    }

    /// When a delta was last sent; [`Time::ZERO`] before the first.
    pub(super) fn last_sent(&self) -> Time {
        self.last_sent.get()
    }

    /// A value in the queue is for the peer to pass on. To be said before it is pushed.
    pub(super) fn note_relay(&self) {
        // Release: pairs with the acquire in `take_relay`.
        self.relay.store(true, Ordering::Release);
    }

    /// The peer has said that it tells everyone something itself.
    pub(super) fn trust(&self) {
        self.trusted.store(true, Ordering::Relaxed);
    }

    /// The peer may not be able to keep what it has said. True if it has said something.
    pub(super) fn distrust(&self) -> bool {
        self.trusted.swap(false, Ordering::Relaxed)
    }

    /// Nobody else will tell the peer a value in the queue. To be said before it is pushed.
    pub(super) fn promise(&self) {
        self.promised.store(true, Ordering::Relaxed);
    }

    /// Whether nobody else will tell the peer something that it may lack. Of a peer that answers, that is under way, or
    /// waits, or is to be found by a repair; or it has arrived, whether that was acknowledged or a repair has shown it.
    pub(super) fn is_promised(&self) -> bool {
        let may_lack = || self.is_down() || self.is_stale() || self.round() != 0 || !self.is_idle();
        self.promised.load(Ordering::Relaxed) && may_lack()
    }

    /// Whether nothing waits for the peer or is in flight to it.
    fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.slots.in_flight().next().is_none()
    }

    /// Whether one of the values taken from the queue may be for the peer to pass on. To be asked after they were.
    pub(super) fn take_relay(&self) -> bool {
        // Acquire: pairs with the release in `note_relay`, whose value was pushed later and has been taken. A value
        // that was told of and not yet pushed makes this true for nothing, and is told of again.
        let relay = self.relay.swap(false, Ordering::Acquire);
        planted!(RelayOnce => return relay);
        if relay && !self.queue.is_empty() {
            self.note_relay();
        }
        relay
    }

    /// When to send a value that is for the parent: so that it arrives just before the parent's next flush, a round trip
    /// and a margin before that would come; at once, if the parent hasn't said when it flushes.
    pub(super) fn aligned(&self, now: Time) -> Time {
        let Some((phase, every)) = self.phase(now) else { return now };
        let margin = Duration::from_micros(self.margin.load(Ordering::Relaxed));
        next_on_grid(now, phase.before(self.round_trip.reckoned().mean + margin), every)
    }

    /// The peer's period, if it is a hub.
    pub(super) fn every(&self) -> Option<Duration> {
        let every = self.every.load(Ordering::Relaxed);
        (every != 0).then(|| Duration::from_micros(every))
    }

    /// When the parent's next flush comes.
    pub(super) fn parents_flush(&self, now: Time) -> Option<Time> {
        let (phase, every) = self.phase(now)?;
        Some(next_on_grid(now, phase, every))
    }

    /// When the peer's first flush after the last message was to come, and the time from flush to flush.
    fn phase(&self, now: Time) -> Option<(Time, Duration)> {
        let phase = self.phase.load(Ordering::Relaxed);
        let is_known = phase != NO_PHASE && now.since(self.heard_at.get()) <= PHASE_AGE_MAX;
        let phase = Time::from_nanos(phase.saturating_mul(1000));
        self.every().filter(|_| is_known).map(|every| (phase, every))
    }

    /// The peer's root, if it has said which that is.
    pub(super) fn root(&self) -> Option<usize> {
        usize::try_from(self.root.load(Ordering::Relaxed)).ok().filter(|&root| root as u64 != NOBODY)
    }

    /// How far the peers of a hub are from it.
    pub(super) fn far(&self) -> Option<Duration> {
        let far = self.far.load(Ordering::Relaxed);
        (far != 0).then(|| Duration::from_micros(far))
    }

    // Health.

    /// When an answer to the last delta is overdue, if none was asked for at once.
    fn answer_due(&self, patience: Patience) -> Time {
        self.last_sent.get() + patience.after_last + self.round_trip.longest()
    }

    /// When a batch that is in flight is to be sent again.
    pub(super) fn retry_at(&self, patience: Patience) -> Time {
        let due = self.slots.in_flight().map(|in_flight| in_flight.due).min();
        due.map_or(Time::NEVER, |due| due.min(self.answer_due(patience)))
    }

    /// The batches that are to be sent again now.
    pub(super) fn overdue(&self, now: Time, patience: Patience) -> impl Iterator<Item = InFlight> + '_ {
        let all = self.answer_due(patience) <= now;
        self.slots.in_flight().filter(move |in_flight| all || in_flight.due <= now)
    }

    /// What was sent then has not been answered by now. True if that makes one such wait too many: each begins when the
    /// one before has ended, so that what was sent together and lost together counts once.
    pub(super) fn note_failure(&self, now: Time, sent: Time) -> bool {
        if sent < self.failed_at.get() {
            return false;
        }
        self.failed_at.set(now);
        self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= DOWN_AFTER
    }

    /// The peer has acknowledged something.
    pub(super) fn note_settled(&self) {
        if self.is_idle() {
            self.promised.store(false, Ordering::Relaxed);
        }
        self.note_answer();
    }

    /// The peer has answered something that it was sent.
    pub(super) fn note_answer(&self) {
        self.failures.store(0, Ordering::Relaxed);
    }

    /// True if the link was up.
    pub(super) fn set_down(&self) -> bool {
        self.flush_at.clear();
        !self.down.swap(true, Ordering::Relaxed)
    }

    /// The peer answers: the link is tried again. True if it was down.
    pub(super) fn set_up(&self) -> bool {
        self.note_answer();
        self.down.swap(false, Ordering::Relaxed)
    }

    /// Whether nothing has been heard of the peer for so long.
    pub(super) fn is_quiet(&self, now: Time, since: Duration) -> bool {
        self.heard_at.get().if_ever().is_none_or(|heard| now.since(heard) >= since)
    }

    // Repair.

    /// Whether the peer may have its values compared once more, which takes so long: some times at once, as a repair needs,
    /// and then for a part of the time (the generic cell rate algorithm, ITU-T I.371).
    pub(super) fn may_compare(&self, now: Time, takes: Duration) -> bool {
        let (share, until) = (takes * COMPARE_REST, self.compared_until.get());
        let may = until <= now + share * COMPARES_AT_ONCE;
        if may {
            self.compared_until.set(until.max(now) + share);
        }
        may
    }

    /// The peer has told this node of so many values that it did not know.
    pub(super) fn note_brought(&self, values: usize) {
        self.brought.fetch_add(values, Ordering::Relaxed);
    }

    /// How many values the peer was the first to tell this node of.
    pub(super) fn brought(&self) -> usize {
        self.brought.load(Ordering::Relaxed)
    }

    /// The peer may lack something that is neither queued nor in flight to it.
    pub(super) fn note_stale(&self, repair_at: Time) {
        self.only_calls.store(false, Ordering::Relaxed);
        self.stale.store(true, Ordering::Relaxed);
        self.repair_at.bring_forward(repair_at);
    }

    /// It may be worth comparing with, if it answers and belongs to another tree. A comparison that is due or under way
    /// shows that, too.
    pub(super) fn call(&self, at: Time) {
        if !self.is_stale() && self.round() == 0 {
            self.note_stale(at);
            self.only_calls.store(true, Ordering::Relaxed);
        }
    }

    /// It is to see to those that this node can't reach.
    pub(super) fn delegate(&self, at: Time) {
        self.delegate_when_asked();
        self.call(at);
    }

    /// The same, with the next step of a repair, whoever begins that.
    pub(super) fn delegate_when_asked(&self) {
        self.delegates.store(true, Ordering::Relaxed);
    }

    /// Whether the step that is about to be sent is to ask for that.
    pub(super) fn take_delegation(&self) -> bool {
        self.delegates.swap(false, Ordering::Relaxed) && !self.is_down()
    }

    /// Whether the repair that begins is only a call.
    pub(super) fn take_call(&self) -> bool {
        self.only_calls.swap(false, Ordering::Relaxed)
    }

    /// Whether it may lack something that the repair under way does not cover.
    pub(super) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    /// The repair under way; 0 if there is none.
    pub(super) fn round(&self) -> u64 {
        self.round.load(Ordering::Relaxed)
    }

    /// A repair begins, or is tried anew: it covers everything that was learnt until now.
    pub(super) fn begin_round(&self, now: Time, round: u64) {
        self.tried_at.set(now);
        // In this order: an overflow from now on makes it stale again.
        self.stale.store(false, Ordering::Relaxed);
        self.round.store(round, Ordering::Relaxed);
    }

    /// A step of the peer's repair is answered.
    pub(super) fn note_answered(&self, round: u64) {
        self.answered_round.store(round, Ordering::Relaxed);
    }

    /// Whether a step of this repair of the peer's was answered.
    pub(super) fn has_answered(&self, round: u64) -> bool {
        self.answered_round.load(Ordering::Relaxed) == round
    }

    /// The peer shows that it lives: a link that is down is tried again, unless it just was.
    pub(super) fn note_sign_of_life(&self, now: Time) {
        self.try_again(now, self.round_trip.longest());
    }

    /// Repairs the link now, or so long after the last try.
    pub(super) fn try_again(&self, now: Time, interval: Duration) {
        self.repair_at.bring_forward(self.rested(now, interval));
    }

    /// When the last try was.
    pub(super) fn tried_at(&self) -> Time {
        self.tried_at.get()
    }

    /// Now, or so long after the last try.
    pub(super) fn rested(&self, now: Time, interval: Duration) -> Time {
        now.max(self.tried_at.get() + interval)
    }

    /// Nothing is under way any more.
    pub(super) fn give_up_round(&self) {
        self.round.store(0, Ordering::Relaxed);
    }

    /// The repair of this round is complete. True if the link was down.
    pub(super) fn end_round(&self, now: Time) -> bool {
        self.round.store(0, Ordering::Relaxed);
        self.promised.store(!self.is_idle(), Ordering::Relaxed);
        self.repair_at.set(if self.stale.load(Ordering::Relaxed) { now } else { Time::NEVER });
        self.set_up()
    }
}

/// The first of `first`, `first + every`, … that is not before `now`.
pub(super) fn next_on_grid(now: Time, first: Time, every: Duration) -> Time {
    if first >= now {
        return first;
    }
    let every = every.as_nanos().max(1);
    let periods = now.since(first).as_nanos().div_ceil(every);
    first + Duration::from_nanos(u64::try_from(periods * every).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Ack;

    fn link() -> Link {
        Link::new(&Config::default(), Generation(0), false)
    }

    #[test]
    fn of_two_messages_of_one_moment_the_later_counts_in_whatever_order_they_come() {
        let (now, mine, theirs) = (Time::from_nanos(5000), link(), link());
        let header = |up| mine.header(now, mine.stamp(now), 1, up);
        let hear = |header| theirs.hear(now, &header, Duration::from_secs(1));
        let (no_child, child) = (header(false), header(true));
        hear(child);
        hear(no_child);
        assert!(theirs.is_child());
        hear(header(false));
        assert!(!theirs.is_child());
    }

    #[test]
    fn of_a_period_that_is_made_up_no_more_is_believed_than_the_budget() {
        let (now, hub, budget) = (Time::from_nanos(5000), link(), Duration::from_secs(1));
        for made_up in [0, u64::MAX] {
            let plan = HubPlan { next: Some(made_up), margin: made_up, every: made_up, far: made_up };
            let header =
                Header { life: 1, at: now.as_micros() + made_up / 2, plan: Some(plan), ..Header::default() };
            hub.hear(now, &header, budget);
            assert!(hub.every().is_some_and(|every| !every.is_zero() && every <= budget));
            assert!(hub.aligned(now) <= now + budget && hub.parents_flush(now) <= Some(now + budget));
            assert!(hub.far() <= Some(LONGEST / 2));
        }
    }

    #[test]
    fn what_was_sent_before_a_wait_ended_in_vain_is_the_same_silence() {
        let (at, link) = (Time::from_nanos, link());
        assert!(!link.note_failure(at(10), at(1)));
        assert!(!link.note_failure(at(11), at(2)) && !link.note_failure(at(12), at(9)));
        assert!(link.note_failure(at(20), at(10)));
    }

    #[test]
    fn a_peer_that_asks_for_one_comparison_after_another_gets_some_at_once_and_then_its_share() {
        let (at, link, takes) = (Time::from_nanos, link(), Duration::from_nanos(5));
        let compared = (0..1000).filter(|_| link.may_compare(at(100), takes)).count();
        assert_eq!(compared, 1 + COMPARES_AT_ONCE as usize);
        let compared = (101..1101).filter(|&now| link.may_compare(at(now), takes)).count();
        assert_eq!(compared, 1000 / 5 / COMPARE_REST as usize);
        // What takes no time costs nothing.
        assert!((0..1000).all(|_| self::link().may_compare(at(100), Duration::ZERO)));
    }

    #[test]
    fn a_promise_outlasts_a_repair_that_began_before_it() {
        let (now, link) = (Time::ZERO, link());
        link.begin_round(now, 1);
        link.promise();
        let claim = link.slots.claim(Box::default()).expect("a free slot");
        let generation = claim.generation();
        assert!(link.slots.sent(claim, now, now).is_none());
        link.end_round(now);
        assert!(link.is_promised());
        assert!(matches!(link.slots.ack(generation), Ack::Released(_)));
        link.note_settled();
        assert!(!link.is_promised());
    }

    #[test]
    fn what_a_repair_has_found_at_the_peer_is_promised_no_more() {
        let link = link();
        link.promise();
        link.queue.push(1);
        assert!(link.is_promised());
        link.queue.sift(|_| false);
        assert!(!link.is_promised());
        link.note_stale(Time::ZERO);
        assert!(link.is_promised());
    }

    #[test]
    fn a_grid_goes_on_for_ever_in_both_directions_of_now() {
        let (at, every) = (Time::from_nanos, Duration::from_nanos(10));
        for (now, next) in [(0, 7), (7, 7), (8, 17), (17, 17), (18, 27), (1007, 1007), (1008, 1017)] {
            assert_eq!(next_on_grid(at(now), at(7), every), at(next));
        }
        assert_eq!(next_on_grid(at(9), at(7), Duration::ZERO), at(9));
    }
}
