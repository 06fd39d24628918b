//! From queues to messages: flushes, retries, acknowledgements.

use std::time::Duration;

use super::LockFree;
use super::link::{COMPARE_REST, Link, Patience};
use super::membership::{Membership, PeerIndex};
use super::round_trip::Estimate;
use super::route::LATENESS;
use crate::node::{Outbox, Time, micros};
use crate::planted::planted;
use crate::protocol::link::{Delta, Header};
use crate::protocol::{Batch, Generation, encode};
use crate::queue::{Ack, Claim, InFlight};

/// The longest that a batch waits for its acknowledgement before it is sent again, unless the network is that slow.
const WAIT_MAX: Duration = Duration::from_secs(4);

impl LockFree {
    /// The link to a peer, made if there is none yet.
    pub(super) fn link<'a>(&self, members: &'a Membership, peer: PeerIndex) -> &'a Link {
        members.link(peer, || {
            let first = self.config.first_generation.unwrap_or_else(|| Generation(self.random.name()));
            Link::new(&self.config, first, self.is_planned_child(members, peer))
        })
    }

    /// What a message to a peer says of the link. What has come is acknowledged by it.
    pub(super) fn header(&self, now: Time, members: &Membership, (peer, link): (PeerIndex, &Link)) -> Header {
        let at = link.stamp(now);
        let up = self.looks_up_to(members, peer);
        let (root, plan) = (self.route.root() as u64, self.hub_plan(now, members, peer));
        Header { root, plan, ..link.header(now, at, self.life, up) }
    }

    /// Does all that is due to or from peers, and notes when something will be next.
    pub(super) fn flush_due(&self, now: Time, members: &Membership, out: &mut Outbox) {
        self.replan(now, members);
        self.reroute(now, members, out);
        let is_for_child = |link: &Link| link.is_child() && link.flush_at.get() <= now && !link.has_rest();
        let any_for_children = members.links().any(|(_, link)| is_for_child(link));
        let is_hub_flush = any_for_children && self.begin_hub_flush(now);
        for (peer, link) in members.links() {
            if !link.is_down() {
                self.retry_overdue(now, members, (peer, link), out);
            }
            if link.flush_at.get() <= now {
                let at_once = is_hub_flush || link.has_rest();
                let later = if at_once { None } else { self.postponed(now, members, (peer, link)) };
                match later {
                    Some(later) => link.flush_at.set(later),
                    None => self.flush(now, members, (peer, link), out),
                }
            }
            // After what is queued, which thus need not be found missing.
            self.repair_due(now, members, (peer, link), out);
            if link.acknowledge_at() <= now {
                let header = self.header(now, members, (peer, link));
                encode::ack(out.lines_mut(), members.me(), members.name(peer), &header);
            }
        }
        // A link that went down may have been the parent's.
        self.reroute(now, members, out);
        let next = members.links().map(|(_, link)| self.next_due(link)).min().unwrap_or(Time::NEVER);
        self.deadline.bring_forward(next.min(self.explore_at()));
    }

    /// Sends again what has waited too long for its acknowledgement; gives the peer up if that is too often.
    fn retry_overdue(
        &self,
        now: Time,
        members: &Membership,
        (peer, link): (PeerIndex, &Link),
        out: &mut Outbox,
    ) {
        let overdue = || link.overdue(now, self.patience_with_answers(link));
        if overdue().next().is_none() {
            return;
        }
        planted!(ForgetRetry => return);
        // One that is known to be lost says nothing of the peer.
        let unanswered = overdue().filter(|in_flight| in_flight.due != Time::ZERO);
        let last_sent = unanswered.map(|in_flight| in_flight.sent).max();
        if last_sent.is_some_and(|sent| link.note_failure(now, sent)) {
            return self.give_up(now, members, (peer, link), out);
        }
        for in_flight in overdue() {
            if let Some(claim) = link.slots.reclaim(in_flight.generation) {
                self.send(now, members, (peer, link), claim, None, out);
            }
        }
    }

    /// Sends what is queued, as far as there are slots.
    fn flush(&self, now: Time, members: &Membership, (peer, link): (PeerIndex, &Link), out: &mut Outbox) {
        // Before the queue is drained: what is pushed meanwhile sets it anew.
        link.flush_at.clear();
        link.note_rest(false);
        if link.is_down() {
            return;
        }
        let oldest = link.oldest.clear();
        let age = now.since(oldest.min(now));
        while link.slots.has_free() {
            let mut batch = self.batches.take();
            link.queue.drain_into(&mut batch, self.config.batch_max);
            planted!(BatchOverCap => if batch.len() == self.config.batch_max { batch.push(batch[0]) });
            if batch.is_empty() {
                return self.batches.give(batch);
            }
            self.repeat(now, link, &mut batch);
            match link.slots.claim(batch) {
                Ok(claim) => self.send(now, members, (peer, link), claim, Some(age), out),
                // Another thread took the last slot: the values wait on.
                Err(batch) => {
                    batch.iter().for_each(|&value| link.queue.push(value));
                    self.batches.give(batch);
                    break;
                }
            }
        }
        if !link.queue.is_empty() {
            // Until an acknowledgement frees a slot.
            link.oldest.bring_forward(oldest);
            link.note_rest(true);
        }
    }

    /// Fills a batch up with what is in flight and may well be overtaken by it: delays vary so much that a second way
    /// often is the shorter one, and a message costs the same with more values in it.
    fn repeat(&self, now: Time, link: &Link, batch: &mut Batch) {
        let spread = 4 * link.round_trip.get().and_then(Estimate::jitter).unwrap_or_default();
        if self.is_direct() || spread < LATENESS {
            return;
        }
        let under_way = |in_flight: &InFlight| now.since(in_flight.sent) < link.round_trip.one_way() + spread;
        for in_flight in link.slots.in_flight().filter(under_way) {
            self.peek(link, in_flight, |earlier| {
                if batch.len() + earlier.len() <= self.config.batch_max {
                    batch.extend_from_slice(earlier);
                    link.note_relay();
                }
            });
        }
    }

    /// Looks at a batch in flight, unless it has been acknowledged.
    pub(super) fn peek(&self, link: &Link, in_flight: InFlight, look: impl FnOnce(&Batch)) {
        let Some(claim) = link.slots.reclaim(in_flight.generation) else { return };
        look(claim.batch());
        if let Some(settled) = link.slots.sent(claim, in_flight.sent, in_flight.due) {
            self.batches.give(settled);
        }
    }

    /// A slot may have become free for what a flush had to leave in the queue.
    pub(super) fn flush_rest(&self, now: Time, link: &Link) {
        let waits_for_slots = link.flush_at.get() == Time::NEVER || link.has_rest();
        if waits_for_slots && !link.queue.is_empty() && !link.is_down() {
            link.flush_at.bring_forward(now);
        }
    }

    /// Sends a batch, given how long ago the oldest of its values was broadcast; or once more, if nothing is.
    fn send(
        &self,
        now: Time,
        members: &Membership,
        (peer, link): (PeerIndex, &Link),
        claim: Claim,
        age: Option<Duration>,
        out: &mut Outbox,
    ) {
        let again = age.is_none();
        let relay = link.take_relay() || again;
        let header = self.header(now, members, (peer, link));
        #[cfg_attr(not(feature = "planted-bugs"), expect(unused_mut, reason = "but for a planted bug"))]
        let mut delta = Delta {
            generation: claim.generation(),
            base: Some(link.slots.base()),
            age: age.map_or(0, micros),
            all: !relay,
            now: again || self.is_curious_about(members, peer),
            values: claim.batch(),
        };
        planted!(BaseOffByOne => delta.base = delta.base.map(|base| Generation((base.0 + 1) & Generation::LAST.0)));
        encode::delta(out.lines_mut(), members.me(), members.name(peer), &delta, &header);
        link.note_sent(now);
        let lazily = if again { Duration::ZERO } else { self.patience_with_answers(link).after_first };
        // However restless the network seems, or a clock that ran wrong makes it seem.
        let slow = link.round_trip.reckoned().mean * 3 / 2;
        let wait = (lazily + link.round_trip.longest()).min(WAIT_MAX.max(slow));
        if let Some(batch) = link.slots.sent(claim, now, now + wait) {
            self.batches.give(batch);
        }
        if !relay {
            // Once more, now that the batch is found in flight: between queue and slot it is in neither.
            link.promise();
        }
    }

    /// Leaves what is in flight to the repair: whether it came is no longer asked.
    pub(super) fn abandon(&self, link: &Link) {
        for in_flight in link.slots.in_flight() {
            if let Ack::Released(batch) = link.slots.ack(in_flight.generation) {
                self.batches.give(batch);
            }
        }
    }

    /// A message from a peer has come: takes up what it says of the link.
    pub(super) fn heard(
        &self,
        now: Time,
        members: &Membership,
        (peer, link): (PeerIndex, &Link),
        header: &Header,
        asks: bool,
    ) {
        let reborn = link.hear(now, header, self.config.latency_budget);
        #[cfg(feature = "planted-bugs")]
        let reborn = reborn && !crate::planted::is(crate::planted::Bug::AckOfFormerLife);
        if reborn {
            // What its former life held is gone, and what is in flight to that with it.
            self.abandon(link);
            planted!(RebirthUnnoticed => return);
            link.give_up_round();
            // A peer that makes up lives is compared with no more often than one that lives, nor one that asks.
            let rest = link.round_trip.longest().max(self.comparing_takes() * COMPARE_REST);
            link.note_stale(link.rested(now, rest));
            // Whether or not it told this node: this may just be the one that it didn't come to tell.
            link.distrust();
            self.compare_with_neighbours(now, members);
        }
        if header.plan.is_some() && self.parent(members) == Some(peer) && !link.queue.is_empty() {
            // It may flush at another time than it was to.
            let flush_at = self.flush_time(now, members, (peer, link), None, link.oldest.get().min(now));
            link.flush_at.set(flush_at);
        }
        let took = Link::answered(now, header, self.life);
        if let Some(took) = took {
            link.round_trip.sample(took);
        }
        if let Some(acked) = header.acked.filter(|_| header.to == Some(self.life)) {
            planted!(ResendAcked => if acked.next.0.is_multiple_of(16) { return });
            if link.slots.settle(acked, |batch| self.batches.give(batch)) {
                link.note_settled();
            }
            if let Some(took) = took {
                self.find_lost(now, link, took);
            }
        }
        if link.is_down() && (self.matters(members, peer, link) || self.is_direct()) {
            if asks {
                // It may go on until this link is known to work both ways.
                link.repair_at.bring_forward(now + link.round_trip.longest());
            } else {
                link.note_sign_of_life(now);
            }
        }
        self.flush_rest(now, link);
        self.deadline.bring_forward(self.next_due(link));
    }

    /// A peer can't be reached. What it was to tell everyone itself may not have got everywhere.
    pub(super) fn keep_promises_of(&self, now: Time, members: &Membership, link: &Link) {
        if link.distrust() {
            self.compare_with_neighbours(now, members);
        }
    }

    fn compare_with_neighbours(&self, now: Time, members: &Membership) {
        for (_, neighbour) in members.links().filter(|&(peer, link)| self.is_linked(members, peer, link)) {
            // Late messages of a former life are taken for one more.
            neighbour.note_stale(neighbour.rested(now, self.config.explore_interval));
        }
        self.deadline.bring_forward(now);
    }

    /// A message that answers one sent `took` ago, and doesn't acknowledge what was sent well before that, says that
    /// it is lost (the idea of RACK, RFC 8985, with the answer's own round trip). What was sent just before may only have
    /// been overtaken: then it will be acknowledged as soon as what comes last is.
    fn find_lost(&self, now: Time, link: &Link, took: Duration) {
        let Some(trip) = link.round_trip.get() else { return };
        let reordering = 4 * trip.deviation + Duration::from_millis(10);
        let overtaken = now + self.patience_with_answers(link).after_last + trip.longest();
        for in_flight in link.slots.in_flight().filter(|in_flight| in_flight.sent < now.before(took)) {
            let is_lost = in_flight.sent + took.max(trip.mean) + reordering < now;
            link.slots.hasten(in_flight.generation, if is_lost { Time::ZERO } else { overtaken });
        }
    }

    /// How long this node lets its acknowledgements to a peer wait: the longer, the more of them travel on something
    /// else. A message that was lost as the network healed is to be on its way again, and to have arrived everywhere,
    /// within a second and four one-way delays of that.
    pub(super) fn patience(&self, link: &Link) -> Patience {
        self.patience_of(link, link.is_child())
    }

    /// How long it waits for the peer's: a little more, as what they reckon with need not be quite the same.
    pub(super) fn patience_with_answers(&self, link: &Link) -> Patience {
        let Patience { after_last, after_first } =
            self.patience_of(link, !link.is_child() && link.every().is_some());
        let spare = link.round_trip.one_way() / 8;
        Patience { after_last: after_last + spare, after_first: after_first + spare }
    }

    fn patience_of(&self, link: &Link, by_hub: bool) -> Patience {
        let config = &self.config;
        let period = link.every().unwrap_or(self.route.plan().period);
        let after_last = if by_hub {
            // What is lost on its way to the hub waits for the hub's flush when it gets there; but every flush
            // acknowledges.
            config.ack_delay.saturating_sub(period).max(period * 5 / 4)
        } else {
            // A leaf has something to send in one period or another.
            config.ack_delay.max(period * 11 / 5)
        };
        Patience { after_last, after_first: config.ack_delay_max.max(after_last) }
    }

    /// When a link next needs a tick.
    pub(super) fn next_due(&self, link: &Link) -> Time {
        let repair = link.repair_at.get().min(link.acknowledge_at());
        if link.is_down() {
            return repair;
        }
        let flush = if link.slots.has_free() { link.flush_at.get() } else { Time::NEVER };
        repair.min(flush).min(link.retry_at(self.patience_with_answers(link)))
    }

    /// Sends all that is queued, slots or no slots: nobody will be there for the acknowledgements.
    pub(super) fn flush_all(&self, now: Time, members: &Membership, out: &mut Outbox) {
        let mut batch = Batch::new();
        for (peer, link) in members.links() {
            let mut generation = Generation(self.random.name());
            loop {
                batch.clear();
                link.queue.drain_into(&mut batch, self.config.batch_max);
                if batch.is_empty() {
                    break;
                }
                let header = self.header(now, members, (peer, link));
                let delta = Delta { generation, base: None, age: 0, all: false, now: false, values: &batch };
                encode::delta(out.lines_mut(), members.me(), members.name(peer), &delta, &header);
                generation.0 += 1;
            }
        }
    }
}
