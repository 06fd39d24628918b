//! Two clocks that don't agree: what a peer's messages say of its clock and of when it flushes.

use std::time::Duration;

use super::round_trip::{LIKELY, RoundTrip};
use crate::node::{Time, micros};
use crate::protocol::link::{Echo, Header, HubPlan};

/// More than that beside the usual jitter is not the network: a clock was set, or runs wrong.
const CLOCK_JUMP: Duration = Duration::from_millis(25);

/// What was heard of a peer's clock so long ago says little about the round trip: clocks drift.
const ECHO_AGE_MAX: Duration = Duration::from_secs(4);

/// A parent that has been quiet for so long may flush at other times by now.
const PHASE_AGE_MAX: Duration = Duration::from_secs(8);

/// What is known of a peer's clock. Times of a clock are in microseconds.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// What the last message to the peer said of this node's clock.
    stamped: u64,
    /// What the last message from the peer said of its clock, and when that came.
    heard: Option<(u64, Time)>,
    /// By how much this node's clock is ahead of what the peer's messages say, smoothed: what delays that vary have in
    /// common. Around the circle.
    ahead: Option<u64>,
    /// When the peer flushes, if it has said so.
    flushes: Option<Flushes>,
}

/// When a peer flushes, as of the last message heard.
#[derive(Clone, Copy, Debug)]
struct Flushes {
    /// When the next flush is due here; none if nobody should wait for it.
    next: Option<Time>,
    /// How long before that it wants to have what is for it.
    margin: Duration,
    every: Duration,
    /// One way to the farthest of those that it flushes to, or from the root to the farthest of its own.
    far: Duration,
}

impl Clock {
    /// This node's clock for a message to the peer: later than in any before.
    pub(super) fn stamp(&mut self, now: Time) -> u64 {
        self.stamped = now.as_micros().max(self.stamped + 1);
        self.stamped
    }

    /// What the last message to the peer said.
    pub(super) fn stamped(&self) -> u64 {
        self.stamped
    }

    /// When a message of the peer last came, if any has.
    pub(super) fn heard_at(&self) -> Option<Time> {
        self.heard.map(|(_, at)| at)
    }

    /// For how long nothing has come from the peer that was not overtaken.
    pub(super) fn silence(&self, now: Time) -> Duration {
        self.heard_at().map_or(Duration::MAX, |heard| now.since(heard))
    }

    /// What to tell the peer of its last message.
    pub(super) fn echo(&self, now: Time) -> Option<Echo> {
        let (at, came) = self.heard.filter(|(_, came)| now.since(*came) <= ECHO_AGE_MAX)?;
        Some(Echo { at, hold: micros(now.since(came)) })
    }

    /// A message has come. False if it was overtaken or comes twice: then it says what was, not what is. No period is
    /// longer than `budget`.
    pub(super) fn hear(&mut self, at: Time, header: &Header, budget: Duration, trip: &mut RoundTrip) -> bool {
        if self.heard.is_some_and(|(last, _)| last >= header.at) {
            return false;
        }
        self.heard = Some((header.at, at));
        let Some(HubPlan { next, margin, every, far }) = header.plan else { return true };
        // Whatever the peer makes up, no period is longer, and no round trip than any measured.
        let within = |time: u64, most: Duration| Duration::from_micros(time).min(most);
        let far = within(far, LIKELY / 2);
        let ahead = self.smooth(at.as_micros().wrapping_sub(header.at), trip);
        // As if the message had taken as long as most do.
        let sent = Time::from_nanos(header.at.wrapping_add(ahead).saturating_mul(1000));
        self.flushes = Some(Flushes {
            next: next.map(|next| {
                let next = within(next, budget);
                // However far ahead the clock seems, the message has been sent by now.
                (sent + next).min(at + next)
            }),
            margin: within(margin, budget),
            every: within(every, budget).max(Duration::from_micros(1)),
            far,
        });
        trip.assume(2 * far);
        true
    }

    /// Smooths how far this node's clock is ahead of what the peer's messages say; anew if a clock has jumped.
    fn smooth(&mut self, ahead: u64, trip: &RoundTrip) -> u64 {
        let deviation = trip.get().map_or(Duration::ZERO, |trip| trip.deviation);
        let before = self.ahead.unwrap_or(ahead);
        let error = ahead.wrapping_sub(before).cast_signed();
        let jumped = u128::from(error.unsigned_abs()) > (8 * deviation + CLOCK_JUMP).as_micros();
        let ahead = if jumped { ahead } else { before.wrapping_add_signed(error / 8) };
        self.ahead = Some(ahead);
        ahead
    }

    /// How long a round trip took, if a message that came at that time answers one of this node's.
    pub(super) fn round_trip(at: Time, echo: Echo) -> Option<Duration> {
        Some(Duration::from_micros(at.as_micros().checked_sub(echo.at)?.checked_sub(echo.hold)?))
    }

    /// The peer's period.
    pub(super) fn every(&self) -> Option<Duration> {
        self.flushes.map(|flushes| flushes.every)
    }

    /// How far the farthest is from the peer, or from the root.
    pub(super) fn far(&self) -> Option<Duration> {
        self.flushes.map(|flushes| flushes.far)
    }

    /// When the peer's next flush comes.
    pub(super) fn next_flush(&self, now: Time) -> Option<Time> {
        let flushes = self.fresh(now)?;
        Some(next_on_grid(now, flushes.next?, flushes.every))
    }

    /// When to send what is for the peer's next flush: so that it arrives just before that, a round trip and a margin before
    /// the flush would come here; at once, if nobody knows when the peer flushes.
    pub(super) fn aligned(&self, now: Time, trip: &RoundTrip) -> Time {
        let aligned = || {
            let Flushes { next, margin, every, .. } = self.fresh(now)?;
            Some(next_on_grid(now, next?.before(trip.reckoned().mean + margin), every))
        };
        aligned().unwrap_or(now)
    }

    fn fresh(&self, now: Time) -> Option<Flushes> {
        self.flushes.filter(|_| self.silence(now) <= PHASE_AGE_MAX)
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn at(ms: u64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    fn said(at: u64, next: u64) -> Header {
        let plan = HubPlan { next: Some(next * 1000), margin: 5000, every: 300_000, far: 100_000 };
        Header { at: at * 1000, plan: Some(plan), ..Header::default() }
    }

    #[test]
    fn what_is_for_a_flush_is_sent_a_round_trip_and_a_margin_before() {
        let (mut clock, mut trip) = (Clock::default(), RoundTrip::default());
        trip.sample(ms(200));
        assert_eq!(clock.aligned(at(7), &trip), at(7), "nothing is known");
        // The peer's clock is behind by 900 ms, and the message took 100.
        assert!(clock.hear(at(1100), &said(100, 250), ms(565), &mut trip));
        assert_eq!(clock.next_flush(at(1100)), Some(at(1350)));
        assert_eq!(clock.aligned(at(1100), &trip), at(1145));
        assert_eq!(clock.aligned(at(1146), &trip), at(1445), "the next one");
        assert_eq!(clock.aligned(at(9_500), &trip), at(9_500), "that was long ago");
        assert!(!clock.hear(at(1200), &said(100, 250), ms(565), &mut trip), "twice");
    }

    #[test]
    fn no_flush_is_awaited_for_longer_than_the_peer_said_however_its_clock_seems_to_run() {
        let (mut clock, mut trip) = (Clock::default(), RoundTrip::default());
        assert!(clock.hear(at(9000), &said(1000, 250), ms(565), &mut trip));
        // That message was sent 120 ms later by the peer's clock, and came 100 ms later.
        assert!(clock.hear(at(9100), &said(1120, 250), ms(565), &mut trip));
        assert_eq!(clock.next_flush(at(9100)), Some(at(9350)));
    }

    #[test]
    fn a_round_trip_is_what_the_hold_leaves() {
        let mut clock = Clock::default();
        assert_eq!((clock.stamp(at(5)), clock.stamp(at(5)), clock.stamped()), (5000, 5001, 5001));
        assert!(clock.hear(
            at(50),
            &Header { at: 7, ..Header::default() },
            ms(565),
            &mut RoundTrip::default()
        ));
        assert_eq!(clock.echo(at(60)), Some(Echo { at: 7, hold: 10_000 }));
        assert_eq!(clock.echo(at(4051)), None, "clocks drift");
        let echo = Echo { at: 5000, hold: 10_000 };
        assert_eq!(Clock::round_trip(at(115), echo), Some(ms(100)));
        assert_eq!(Clock::round_trip(at(14), echo), None, "from the future");
    }

    #[test]
    fn a_grid_goes_on_from_its_first_point() {
        for (now, first, every, expected) in
            [(5, 9, 3, 9), (9, 9, 3, 9), (10, 9, 3, 12), (12, 9, 3, 12), (7, 0, 0, 7)]
        {
            assert_eq!(next_on_grid(at(now), at(first), ms(every)), at(expected));
        }
    }
}
