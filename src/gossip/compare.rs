//! Rounds of anti-entropy: this node and a peer compare what they hold, and send each other the difference.
//!
//! A round belongs to the node that begins it, which tries again until an answer leaves nothing to compare. The
//! peer only answers. Of two rounds with each other at a time, that of the lower-ranked node goes on. The other node gives
//! its own up only for a round that is new to it: one that it has answered may be over, and what comes late of that one
//! must not end both.

use std::time::Duration;

use super::core::{Core, Tick};
use super::link::Round;
use super::membership::Peer;
use super::reconcile::{Difference, FETCH_MAX, Place, Reconciliation, divide, spans};
use crate::node::{Outbox, Time};
use crate::protocol::link::Sync;
use crate::protocol::{Value, encode};
use crate::queue::{SLOTS, Span};

/// What a busy machine may take to compare a million values: ten times what an idle one does.
const COMPARING_A_MILLION: Duration = Duration::from_millis(500);

/// What a comparison finds in the end it sends in so many batches at most, if a last step has room for all of it.
const BATCHES_MAX: usize = 2;

impl Core {
    /// Has a round with a peer begin, at that time or a timeout after the last one was begun or tried, as some are started again
    /// and again. It takes the place of one that goes on, for which the peer may have given up its own: so it gives way no more
    /// than that one. A link that is not synced is from when the first step is sent.
    pub(super) fn start_round(&mut self, tick: &Tick<'_>, peer: Peer, at: Time) {
        let link = self.link(peer);
        if link.overlay.is_foreign {
            return;
        }
        let id = tick.random.name();
        let again = link.comparison.tried.map(|tried| tried + link.trip.timeout());
        let begins = at.max(again.unwrap_or_default());
        let former = link.comparison.round;
        let is_sent = former.is_some_and(|round| round.is_sent);
        let unsent = former.filter(|round| !round.is_sent);
        let retry_at = unsent.map_or(begins, |round| round.retry_at.min(begins));
        link.comparison.round = Some(Round { id, retry_at, is_sent });
        link.comparison.explained_until = None;
        self.rearm(tick, peer);
    }

    /// Sends the first step of a round: once, or again. From the first time on everything new is pushed to the peer, if it is a
    /// neighbour.
    pub(super) fn try_round(&mut self, tick: &Tick<'_>, peer: Peer, out: &mut Outbox) {
        let len = self.held.len;
        let link = self.link(peer);
        let timeout = link.trip.timeout();
        let may_go_on = link.comparison.may_go_on(tick.now, Reconciliation::takes(len));
        let Some(Round { id: round, is_sent, retry_at }) = &mut link.comparison.round else { return };
        if !may_go_on {
            // The peer has us begin again and again.
            *retry_at = tick.now + timeout;
            return;
        }
        *is_sent = true;
        let round = *round;
        link.comparison.tried = Some(tick.now);
        if !link.push.is_synced {
            link.sync(len);
        }
        let ranges = divide(self.reconciliation.sorted(tick.log, len), Value::MIN, Value::MAX);
        self.send_sync(tick, peer, &Sync { round, ranges, ..Sync::default() }, out);
        self.await_answer(tick, peer);
    }

    /// Tries the round again unless it goes on in time.
    fn await_answer(&mut self, tick: &Tick<'_>, peer: Peer) {
        let comparing = self.comparing();
        let link = self.link(peer);
        let retry_at = tick.now + link.trip.timeout() + comparing;
        if let Some(round) = &mut link.comparison.round {
            round.retry_at = retry_at;
        }
        self.expect_answer(tick, peer, comparing);
    }

    /// The round trip is known better: the answer that is awaited comes no later than one to a step that were sent now.
    pub(super) fn hasten_round(&mut self, tick: &Tick<'_>, peer: Peer) {
        let comparing = self.comparing();
        let link = self.link(peer);
        let retry_at = tick.now + link.trip.timeout() + comparing;
        if let Some(round) = link.comparison.round.as_mut().filter(|round| round.goes_on()) {
            round.retry_at = round.retry_at.min(retry_at);
        }
    }

    /// What a busy peer may take to compare all values.
    fn comparing(&self) -> Duration {
        COMPARING_A_MILLION.mul_f64(self.held.len as f64 / 1e6)
    }

    fn send_sync(&mut self, tick: &Tick<'_>, peer: Peer, sync: &Sync, out: &mut Outbox) {
        let header = self.header(tick, peer);
        tick.send(peer, out, |body| encode::sync(body, sync, &header));
    }

    /// A step of a comparison has come, and its values have been taken up.
    pub(super) fn compare(&mut self, tick: &Tick<'_>, peer: Peer, sync: &Sync, out: &mut Outbox) {
        let Sync { round, answer, .. } = *sync;
        let len = self.held.len;
        let outranks = peer.0 < tick.members.rank();
        let is_pushed_to = self.is_pushed_to(peer);
        let link = self.link(peer);
        // One that has not been sent yet gives way to any, and so does one that is put off, for as long as it is.
        let mine = link.comparison.round.filter(Round::goes_on).map(|round| round.id);
        if answer && mine != Some(round) || !answer && mine.is_some() && !outranks {
            // Of a round that is over, or of one that gives way.
            return;
        }
        if !link.comparison.may_go_on(tick.now, Reconciliation::takes(len)) {
            // Whoever began tries again, if it needs to.
            return;
        }
        // Later steps of a round compare less than everything.
        if !answer && link.comparison.answered.replace(round) != Some(round) {
            // The peer sees to it that its round comes to an end.
            link.comparison.round = None;
            if !is_pushed_to {
                link.sync(len);
            }
        }
        let mut found = Difference::between(self.reconciliation.sorted(tick.log, len), sync);
        let may_fetch = self.may_fetch(tick, peer, found.asked());
        let is_complete = answer && found.is_complete();
        // What is pushed anyway, and what is on its way, need not be found missing.
        let link = self.link(peer);
        let unpushed = if is_pushed_to { link.push.cursor } else { len };
        let in_flight: Vec<Span> = tick.shared(peer).slots.in_flight().map(|one| one.span).collect();
        let mut lacking: Vec<Span> = link.push.lacking.iter().copied().collect();
        lacking.sort_unstable_by_key(|span| span.from);
        let longest = lacking.iter().map(|span| span.to - span.from).max().unwrap_or(0);
        let is_for = |position: usize| self.is_for(tick.members, peer, tick.log.get(position).origin);
        let is_under_way = |position: usize| {
            let near = &lacking[lacking.partition_point(|span| span.from + longest <= position)..];
            let near = near.iter().take_while(|span| span.from <= position);
            let mut spans =
                in_flight.iter().chain(near).filter(|span| (span.from..span.to).contains(&position));
            spans.any(|span| span.whole || is_for(position))
        };
        let mut send = std::mem::take(&mut found.send);
        send.retain(|place| {
            let is_pushed = place.position() >= unpushed && is_for(place.position());
            !is_pushed && !is_under_way(place.position())
        });
        let batches = spans(&send, tick.config.batch_max);
        let is_little = send.len() <= tick.config.batch_max;
        // Values that are far apart in the log would take a batch each.
        let is_over = is_complete && (batches.len() <= BATCHES_MAX || !is_little);
        let mut values = Vec::new();
        if is_little && !is_over && may_fetch {
            // If that is lost, the round is tried again.
            values = send.iter().map(Place::value).collect();
        } else {
            self.link(peer).push.lacking.extend(batches);
        }
        if is_over {
            self.link(peer).comparison.round = None;
        } else if !may_fetch {
            // The peer may well hold the same as the one that is being fetched from. Then there is less to do when whoever
            // began tries again.
            self.send_ack(tick, peer, out);
        } else {
            let Difference { compare: ranges, ask: wants, .. } = found;
            self.send_sync(tick, peer, &Sync { round, answer: !answer, ranges, wants, values }, out);
            if answer {
                self.await_answer(tick, peer);
            } else if self.link(peer).health.is_suspected() {
                // It is heard, and is to show whether it hears this node.
                self.expect_answer(tick, peer, Duration::ZERO);
            }
        }
        self.flush(tick, peer, out);
    }

    /// Whether a peer may be asked for so many values now: not while another one brings many.
    fn may_fetch(&mut self, tick: &Tick<'_>, peer: Peer, asked: u64) -> bool {
        if asked <= tick.config.batch_max as u64 {
            return true;
        }
        let round_trips =
            u32::try_from(1 + asked / (tick.config.batch_max * SLOTS) as u64).unwrap_or(u32::MAX);
        let takes = self.link(peer).trip.reckoned().mean.saturating_mul(round_trips);
        self.reconciliation.fetches.may_begin(tick.now, peer, takes.min(FETCH_MAX))
    }
}
