//! What a message from a peer changes, beside the values that it brings.

use std::time::Duration;

use super::ask::ASKED_AGAIN;
use super::clock::Clock;
use super::core::{Core, Tick};
use super::link::{Comparison, Health, Push};
use super::membership::{Arrival, Kind, Peer, What};
use super::plan;
use crate::node::{Outbox, Time};
use crate::protocol::Excerpt;
use crate::protocol::link::{Claim, Header, Restart};
use crate::sync::Ordering;

/// While values keep coming, nodes are hardly ever equal. What is not on its way all the same, a node finds out from its
/// parent so often: anti-entropy, as Demers et al. have it ("Epidemic algorithms", 1987).
const EXPLAINED_MAX: Duration = Duration::from_secs(60);

/// By the direct plan so often: a member may die that has told all others a value but one.
const EXPLAINED_MAX_IF_DIRECT: Duration = Duration::from_secs(8);

/// After a restart a node compares with its parent so much later, equal or not: the member that was started again may have told all
/// others a value but one, and has forgotten it.
const RESTART_SEEN_TO_AFTER: Duration = Duration::from_secs(2);

/// By the direct plan a peer that others name again and again is compared with no more often.
const COMPARED_AGAIN: Duration = Duration::from_secs(2);

/// A parent that has been silent for so long may be gone, if somebody comes who can't reach its own.
const PARENT_SILENT: Duration = Duration::from_secs(1);

impl Core {
    /// Takes up a message.
    pub(super) fn hear(&mut self, tick: &Tick<'_>, peer: Peer, arrival: Arrival, out: &mut Outbox) {
        // What it says of what its sender holds is compared with all that this node holds.
        self.absorb(tick);
        let Arrival { at, what } = arrival;
        self.link(peer).reads_runs = matches!(what, What::Gossip { .. });
        match what {
            What::Foreign => self.hear_foreign(tick, peer, out),
            What::Gossip { header, acked, kind } => {
                self.hear_of_own_incarnation(tick, &header);
                if self.is_of_latest_incarnation(tick, peer, &header) {
                    self.hear_gossip(tick, (peer, at), &header, acked, &kind, out);
                }
                self.rearm(tick, peer);
            }
        }
    }

    /// Takes up that there is a later incarnation of this node than it knows. That counts whichever incarnation of the peer
    /// says so: two nodes of which each knows a later incarnation of the other would else never listen to each other.
    fn hear_of_own_incarnation(&mut self, tick: &Tick<'_>, header: &Header) {
        // Relaxed: only the ticking thread stores it.
        let own = tick.incarnation.load(Ordering::Relaxed);
        if let Some(incarnation) = header.to.filter(|&to| to > own) {
            self.learn_restart(tick, Restart { rank: tick.members.rank() as u64, incarnation });
        }
    }

    /// Whether a message is of the peer's latest incarnation that is known. One of a later incarnation shows that
    /// the peer was started again.
    fn is_of_latest_incarnation(&mut self, tick: &Tick<'_>, peer: Peer, header: &Header) -> bool {
        let known = self.restarts.latest(peer.0).max(self.link(peer).incarnation);
        if header.incarnation < known {
            // A late one; or the peer has come back with a clock that was set back, and is to hear of its later
            // incarnation.
            tick.shared(peer).set_incarnation(known);
            let link = self.link(peer);
            link.incarnation = known;
            let soon = tick.now + link.trip.timeout();
            link.acks.by(soon);
            return false;
        }
        if known != 0 && header.incarnation > known {
            self.learn_restart(tick, Restart { rank: peer.0 as u64, incarnation: header.incarnation });
        }
        let link = self.link(peer);
        (link.incarnation, link.overlay.is_foreign) = (header.incarnation, false);
        true
    }

    fn hear_gossip(
        &mut self,
        tick: &Tick<'_>,
        (peer, at): (Peer, Time),
        header: &Header,
        acked: bool,
        kind: &Kind,
        out: &mut Outbox,
    ) {
        // Relaxed: only the ticking thread stores it.
        let incarnation = tick.incarnation.load(Ordering::Relaxed);
        header.restarts.iter().for_each(|&restart| self.learn_restart(tick, restart));
        let (_, ack_delay) = self.ack_delays(tick, peer);
        let link = self.link(peer);
        if let Kind::Delta { base, generation, now } = *kind {
            let deviation = link.trip.get().map_or(Duration::ZERO, |trip| trip.deviation);
            let came = link.receipts.record(base, generation);
            link.acks.received(tick.now, ack_delay, came, now, deviation);
        }
        let echo = header.echo.filter(|_| header.to == Some(incarnation));
        let took = echo.and_then(|echo| Clock::round_trip(at, echo));
        if let Some(took) = took {
            link.trip.sample(took);
            self.hasten_round(tick, peer);
        }
        let link = self.link(peer);
        if acked {
            link.health.answered();
        }
        if let Some(echo) = echo {
            self.untold.heard(peer, echo.at);
        }
        let was_asked = self.link(peer).health.is_asked();
        if echo.is_some_and(|echo| self.link(peer).health.heard(echo.at)) {
            // It may have taken another parent meanwhile.
            self.link(peer).overlay.is_child &= header.up;
            self.restored(tick, peer, out);
        }
        self.find_out(tick, peer, &header.untold, out);
        if let (Some(acked), Some(took)) = (header.acked, took) {
            self.mark_lost(tick, peer, acked, took);
        }
        let is_latest = self.hear_state(tick, (peer, at), header, out);
        if let Some(trip) = self.link(peer).trip.get() {
            tick.shared(peer).set_one_way(trip.mean / 2);
        }
        let answers = was_asked && !self.link(peer).health.is_asked();
        match kind {
            Kind::Ping => self.answer(tick, peer, header, out),
            Kind::Ack if answers => self.hear_answer(tick, peer, header),
            // Its round may be over, and another one begun: that one is tried again. The one that goes on is not begun again
            // for each step that was overtaken.
            Kind::Sync(sync)
                if !sync.answer && !is_latest && !self.link(peer).comparison.is_answered(sync) => {}
            // A round with a former incarnation ends when the peer hears of this one.
            Kind::Sync(_) if header.to.is_some_and(|to| to != incarnation) => self.send_ack(tick, peer, out),
            Kind::Sync(sync) => self.compare(tick, peer, sync, out),
            Kind::Delta { .. } | Kind::Ack => {}
        }
        self.follow_up(tick, peer, header, kind, out);
    }

    /// A peer that was suspected answers. What each of two neighbours lacks is found out. Others are sent anew what was in
    /// flight: by the direct plan nobody passes that on.
    fn restored(&mut self, tick: &Tick<'_>, peer: Peer, out: &mut Outbox) {
        if self.matters(tick, peer) {
            out.note(format_args!("{} answers again", Excerpt(tick.members.name(peer))));
        }
        let (is_neighbour, is_direct) = (self.is_neighbour(peer), self.overlay.is_direct());
        let slots = &tick.shared(peer).slots;
        self.untold.remove(peer);
        let link = self.link(peer);
        // The peer may not know yet that it is heard.
        link.acks.by(tick.now);
        if !is_neighbour {
            if is_direct {
                link.requeue(slots);
            } else {
                slots.clear();
                link.push.is_synced = false;
            }
            if link.comparison.round.is_some_and(|round| round.is_put_off()) {
                self.start_round(tick, peer, tick.now);
            }
            self.flush(tick, peer, out);
        } else {
            slots.clear();
            // Others have told it most of what has not been pushed to it meanwhile.
            link.push.is_synced = false;
            // Not left to the peer: a round of its own that comes late may be one that it has given up.
            self.start_round(tick, peer, tick.now);
        }
        // If it is known to hold the same, it may have been within reach for long.
        if !self.equals.has(peer.0) {
            self.watch.hurry(tick.now);
        }
        self.ask_lost_children(tick, out);
    }

    /// Some members don't answer a peer. This node compares with those that it has heard, and asks all others. Those that don't
    /// answer it either it names to its own neighbours, if there are any beside the peer.
    fn find_out(&mut self, tick: &Tick<'_>, peer: Peer, untold: &[u64], out: &mut Outbox) {
        if untold.is_empty() {
            return;
        }
        if self.overlay.is_direct() {
            // It may be of another plan, and rely on this node for what those members tell everybody.
            self.compare_soon(tick, peer);
        }
        let has_children = self.has_children();
        let ranks = untold.iter().filter_map(|&rank| usize::try_from(rank).ok());
        for member in ranks.filter_map(|rank| tick.members.at(rank)) {
            let is_told_all = self.has_compared_since(member) && self.is_pushed_to(member);
            let link = self.link(member);
            if link.answers() {
                // It may hear of news, and not of all: by the direct plan nobody else passes on what the peer has told all.
                if !is_told_all {
                    self.compare_soon(tick, member);
                }
                continue;
            }
            let (is_lost, is_lately_asked) =
                (link.health.is_suspected(), link.health.was_asked(tick.now, ASKED_AGAIN));
            if is_lost && has_children {
                self.untold.add(member);
            } else if has_children {
                self.untold.seek(member);
            }
            if !is_lately_asked {
                self.ask_one(tick, member, out);
            }
        }
    }

    /// Whether this node has begun to compare with a peer since its plan was direct: what others told everybody until then, it did not
    /// pass on to the peer.
    fn has_compared_since(&self, peer: Peer) -> bool {
        let tried = self.links.get(&peer).and_then(|link| link.comparison.tried);
        !self.overlay.is_direct() && tried.unwrap_or_default() >= self.overlay.direct_until
    }

    /// Compares with a peer that is not known to be equal, but with none as often as it may be named. If the plan is direct, or has been
    /// since the two were compared, that is put off: nobody else passes on what the peer was not told then.
    fn compare_soon(&mut self, tick: &Tick<'_>, peer: Peer) {
        let (is_equal, is_needed) = (self.equals.has(peer.0), !self.has_compared_since(peer));
        let rest = if is_needed { COMPARED_AGAIN } else { ASKED_AGAIN };
        let comparison = &self.link(peer).comparison;
        let at = comparison.tried.map_or(tick.now, |tried| tick.now.max(tried + rest));
        if !is_equal && comparison.round.is_none() && (is_needed || at == tick.now) {
            self.start_round(tick, peer, at);
        }
    }

    /// Takes up what a peer says of where it stands and of what it holds. False if it has said something later.
    fn hear_state(
        &mut self,
        tick: &Tick<'_>,
        (peer, at): (Peer, Time),
        header: &Header,
        out: &mut Outbox,
    ) -> bool {
        let link = self.link(peer);
        if !link.clock.hear(at, header, tick.config.latency_budget, &mut link.trip) {
            return false;
        }
        let was_child = std::mem::replace(&mut link.overlay.is_child, header.up);
        let (joined, left) = (header.up && !was_child, was_child && !header.up);
        link.overlay.root = usize::try_from(header.root).ok();
        link.overlay.is_direct = header.plan.is_none();
        link.told.heard = Some(header.digest);
        if header.plan.is_some() && self.overlay.parent == Some(peer) {
            self.flush_up_anew(tick.now);
        }
        if header.digest == self.digest() {
            self.hear_equal(tick, peer, &header.claim);
        } else {
            let was_settled = self.equals.is_settled();
            self.equals.differs(peer.0);
            if was_settled {
                self.watch.news(tick.now, tick.now + self.quiet(tick));
            }
        }
        if left && self.overlay.is_planned_child(tick.members, peer) {
            self.watch.hurry(tick.now);
        }
        if joined && !self.overlay.is_planned_child(tick.members, peer) {
            if self.overlay.is_direct() {
                // What others tell everybody was passed over as none of this node's business.
                self.start_round(tick, peer, tick.now);
            } else {
                self.link(peer).requeue(&tick.shared(peer).slots);
                self.flush(tick, peer, out);
            }
            self.doubt_parent(tick, out);
        }
        true
    }

    /// A peer holds what this node holds: nothing has to be sent to it, or asked of it.
    fn hear_equal(&mut self, tick: &Tick<'_>, peer: Peer, claim: &Claim) {
        let (len, epoch, nodes) = (self.held.len, self.held.epoch, tick.members.nodes());
        tick.shared(peer).slots.clear();
        let link = self.link(peer);
        // A peer that has heard of a round by now may have come to hold more since it said this, and leaves that to the round.
        if !link.health.is_asked() || link.comparison.round.is_some_and(|round| !round.is_sent) {
            link.comparison.round = None;
        }
        link.sync(len);
        link.push.rest = false;
        link.comparison.explained_until = None;
        match claim {
            Claim::Mine => self.equals.heard(peer.0, []),
            Claim::Below => self.equals.heard(peer.0, plan::below(nodes, peer.0)),
            Claim::AllBut(others) => {
                link.told.tell_all_but(epoch, others.len());
                let holds = |member: &usize| others.binary_search(&(*member as u64)).is_err();
                self.equals.heard(peer.0, (0..nodes).filter(holds))
            }
        };
        let unequal = self.equals.unequal_count();
        if unequal == 0
            && let Some(parent) = self.overlay.parent
        {
            // Others have said that the parent is equal, too.
            self.link(parent).comparison.explained_until = None;
        }
        let knows_less = !self.link(peer).told.is_all_but(epoch, unequal);
        if knows_less && self.is_neighbour(peer) && self.knows_all_that_answer() {
            // It has come lately, or was told of more.
            self.link(peer).acks.by(tick.now);
        }
    }

    /// Somebody comes who can't reach the parent that the plan gives it. This node wouldn't find out that its own
    /// is gone if it had nothing to say to it.
    fn doubt_parent(&mut self, tick: &Tick<'_>, out: &mut Outbox) {
        let Some(parent) = self.overlay.parent else { return };
        let link = self.link(parent);
        if link.clock.silence(tick.now) >= PARENT_SILENT && !link.health.is_asked() {
            self.send_ping(tick, parent, out);
        }
    }

    /// Answers a question: if the peer holds something else, and nothing on its way to it explains that, by
    /// beginning to compare.
    fn answer(&mut self, tick: &Tick<'_>, peer: Peer, header: &Header, out: &mut Outbox) {
        if header.digest == self.digest() || self.has_more(tick, peer) || self.hears_of_news(tick, header) {
            self.send_ack(tick, peer, out);
        } else {
            self.start_round(tick, peer, tick.now);
        }
    }

    /// A peer has answered a question, and begins no comparison: it needs nothing. This node may.
    fn hear_answer(&mut self, tick: &Tick<'_>, peer: Peer, header: &Header) {
        let is_explained = header.digest == self.digest() || header.more || self.has_more(tick, peer);
        if !is_explained && !self.is_neighbour(peer) && !self.hears_of_news(tick, header) {
            self.start_round(tick, peer, tick.now);
        }
    }

    /// Whether this node is in the tree of whoever has sent a header, and hears its own parent: then it hears of news, and hasn't
    /// to be told. By the direct plan it may hear the parent, and not everybody else.
    fn hears_of_news(&self, tick: &Tick<'_>, header: &Header) -> bool {
        let parent = self.overlay.parent.and_then(|parent| self.links.get(&parent));
        let hears_parent = parent.is_some_and(|parent| parent.clock.silence(tick.now) < PARENT_SILENT);
        hears_parent && header.root == self.overlay.root as u64 && !self.overlay.is_direct()
    }

    /// Does what the state that the link is in now asks for.
    fn follow_up(&mut self, tick: &Tick<'_>, peer: Peer, header: &Header, kind: &Kind, out: &mut Outbox) {
        let (digest, matters, is_neighbour) =
            (self.digest(), self.matters(tick, peer), self.is_neighbour(peer));
        let link = self.link(peer);
        let may_compare = is_neighbour && link.told.heard != Some(digest);
        // By the direct plan others may be bringing what makes the difference.
        let is_explained = may_compare
            && link.push.is_synced
            && (header.more || self.overlay.is_direct() || self.has_more(tick, peer))
            && !self.differs_for_long(tick, peer);
        let link = self.link(peer);
        if link.health.is_suspected() {
            // It can be heard; it is to show whether it hears this node. If it does, it will say more than a
            // question.
            let timeout = link.trip.timeout();
            if matters
                && !matches!(kind, Kind::Ping)
                && !link.health.is_asked()
                && !link.health.was_asked(tick.now, timeout)
            {
                self.send_ping(tick, peer, out);
            }
            return;
        }
        if may_compare && !is_explained {
            self.start_round(tick, peer, tick.now);
        }
        if self.link(peer).push.rest && tick.shared(peer).slots.has_free() {
            self.flush(tick, peer, out);
        }
    }

    /// Whether this node and its parent have not been equal for so long, nor begun to compare, that something else than
    /// what is on its way may be the cause.
    fn differs_for_long(&mut self, tick: &Tick<'_>, peer: Peer) -> bool {
        let is_parent = self.overlay.parent == Some(peer);
        is_parent && self.link(peer).comparison.due() <= tick.now
    }

    /// This node's digest has changed: from then on what is on its way may explain for so long that the parent's is another one.
    pub(super) fn explain(&mut self, tick: &Tick<'_>) {
        if let Some(parent) = self.overlay.parent {
            // A parent whose plan is direct passes on nothing that others tell everybody, whatever this node's plan.
            let is_direct = self.overlay.is_direct() || self.link(parent).overlay.is_direct;
            let others_tell = is_direct && tick.members.nodes() > 2;
            let most = if others_tell { EXPLAINED_MAX_IF_DIRECT } else { EXPLAINED_MAX };
            let comparison = &mut self.link(parent).comparison;
            if comparison.explained_until.is_none_or(|until| until > tick.now + most) {
                comparison.explained_until = Some(tick.now + by_rank(tick, most));
                self.rearm(tick, parent);
            }
        }
    }

    /// A member was started again.
    pub(super) fn see_to_restart(&mut self, tick: &Tick<'_>) {
        if let Some(parent) = self.overlay.parent {
            let at = tick.now + by_rank(tick, RESTART_SEEN_TO_AFTER);
            self.link(parent).comparison.restart_seen_to_at = Some(at);
            self.rearm(tick, parent);
        }
    }

    /// It may be time to compare with the parent, which may have had nothing to say to this node for long.
    pub(super) fn compare_if_due(&mut self, tick: &Tick<'_>, peer: Peer) {
        let is_parent = self.overlay.parent == Some(peer);
        let link = self.link(peer);
        if link.comparison.due() <= tick.now {
            (link.comparison.explained_until, link.comparison.restart_seen_to_at) = (None, None);
            if is_parent && link.answers() {
                self.start_round(tick, peer, tick.now);
            }
        }
    }

    /// Somebody who isn't a natter node has sent or acknowledged values, or doesn't understand this node.
    fn hear_foreign(&mut self, tick: &Tick<'_>, peer: Peer, out: &mut Outbox) {
        let len = self.held.len;
        let link = self.link(peer);
        if link.incarnation != 0 {
            return;
        }
        // It doesn't know how to compare.
        link.comparison = Comparison::default();
        if !std::mem::replace(&mut link.overlay.is_foreign, true) || !link.push.is_synced {
            // Some of what was passed over as none of this node's business may be by now.
            link.push = Push { is_synced: true, ..Push::default() };
            tick.shared(peer).slots.clear();
        }
        link.health = Health::default();
        if self.is_neighbour(peer) {
            self.flush(tick, peer, out);
            if tick.shared(peer).slots.is_empty() && self.link(peer).push.cursor == len {
                self.equals.heard(peer.0, []);
            }
        }
        self.rearm(tick, peer);
    }
}

/// From three quarters of a time to all of it, as the node's place is: nodes that hear of something together don't compare together.
fn by_rank(tick: &Tick<'_>, time: Duration) -> Duration {
    time - time.mul_f64(tick.members.rank() as f64 / tick.members.nodes() as f64 / 4.0)
}
