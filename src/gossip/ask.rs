//! What a node does that is not settled: it asks.

use std::time::Duration;

use super::core::{Core, Tick};
use super::link::{Health, Link};
use super::membership::{Membership, Peer};
use super::overlay::Overlay;
use super::plan::{self, Strategy};
use super::route::ROOT_KNOWN_AFTER;
use super::watch::{INTERVAL, INTERVAL_WITH_NEWS, Urgency, shared_interval};
use crate::node::{Outbox, Time};

/// A peer that did not answer is not asked again, along with all others, before that.
pub(super) const ASKED_AGAIN: Duration = Duration::from_secs(4);

impl Core {
    /// Asks whom it is time to ask, unless this node is settled.
    pub(super) fn ask_due(&mut self, tick: &Tick<'_>, out: &mut Outbox) {
        if self.equals.is_settled() {
            return;
        }
        if self.watch.watch_at <= tick.now {
            match self.overlay.parent {
                Some(parent) => self.ask_one(tick, parent, out),
                None => self.ask_all(tick, out),
            }
            self.watch.has_watched(tick.now);
        }
        if self.watch.root_at <= tick.now {
            self.watch.root_at = Time::NEVER;
            self.ask_strangers(tick, out);
        }
        if self.watch.ask_at <= tick.now {
            self.ask_next(tick, out);
        }
    }

    /// Asks all whom this node has not heard since it became a root: so it finds those who have not noticed that the former one
    /// is gone. Who is known not to answer is asked in turn.
    fn ask_strangers(&mut self, tick: &Tick<'_>, out: &mut Outbox) {
        let is_silent = |peer: &Peer| {
            self.links.get(peer).is_none_or(|link| {
                !link.health.is_suspected() && link.clock.silence(tick.now) >= ROOT_KNOWN_AFTER
            })
        };
        for peer in tick.members.peers().filter(is_silent).collect::<Vec<_>>() {
            self.ask_one(tick, peer, out);
        }
    }

    /// When that is next.
    pub(super) fn ask_at(&self) -> Time {
        if self.equals.is_settled() { Time::NEVER } else { self.watch.next() }
    }

    /// Asks all that are not known to be equal, but those that have just been asked in vain.
    fn ask_all(&mut self, tick: &Tick<'_>, out: &mut Outbox) {
        for peer in self.equals.unequal().map(Peer).collect::<Vec<_>>() {
            let health = &self.link(peer).health;
            if !(health.is_suspected() && health.was_asked(tick.now, ASKED_AGAIN)) {
                self.ask_one(tick, peer, out);
            }
        }
    }

    /// A peer answers again that had not for a while: the children that were lost along with it may, too.
    pub(super) fn ask_lost_children(&mut self, tick: &Tick<'_>, out: &mut Outbox) {
        let is_lost = |link: &Link| {
            link.overlay.is_child
                && link.health.is_suspected()
                && !link.health.was_asked(tick.now, link.trip.timeout())
        };
        let lost: Vec<Peer> =
            self.links.iter().filter(|(_, link)| is_lost(link)).map(|(&peer, _)| peer).collect();
        for peer in lost {
            self.ask_one(tick, peer, out);
        }
    }

    /// Asks the next member, while the overlay is not as planned or no news explains that this node is not
    /// settled.
    fn ask_next(&mut self, tick: &Tick<'_>, out: &mut Outbox) {
        let is_quiet = self.watch.is_quiet();
        // When all is quiet, a root that has a bridge to another tree leaves the asking to the root of that.
        let is_root = self.overlay.parent.is_none() && (self.overlay.bridge.is_none() || !is_quiet);
        let mut missing = self.missing(tick);
        if is_quiet && !is_root {
            // It asks seldom, and those known to be equal lack nothing, whoever they can reach.
            missing.retain(|peer| !self.equals.has(peer.0));
        } else if !is_quiet && missing.is_empty() {
            self.watch.ask_at = Time::NEVER;
            return;
        }
        if !is_quiet && self.overlay.is_direct() && !missing.is_empty() {
            self.compare_with_helper(tick);
        }
        let next =
            if is_quiet { self.next_when_quiet(tick, &missing) } else { in_turn(&missing, self.watch.asked) };
        if let Some(peer) = next {
            self.ask_one(tick, peer, out);
        }
        let is_needed =
            missing.iter().any(|peer| self.links.get(peer).is_some_and(|link| link.overlay.is_child));
        // Or else all nodes would ask once more at the moment from which they are to ask seldom.
        let stays_lately = self.watch.is_lately(tick.now + INTERVAL, is_root);
        let is_in_parts = self.is_in_parts();
        let urgency = Urgency { is_root, is_in_parts, is_needed, is_quiet, is_lately: stays_lately };
        let interval = urgency.interval(tick.members.nodes());
        self.watch.has_asked(tick.now + tick.spread(interval));
    }

    /// Whether more than one member is not known to be equal. Foreign ones never are.
    fn is_in_parts(&self) -> bool {
        let is_foreign = |member| self.links.get(&Peer(member)).is_some_and(|link| link.overlay.is_foreign);
        self.equals.unequal().filter(|&member| !is_foreign(member)).take(2).count() > 1
    }

    /// What somebody that this node can't reach has told everybody, this node can only get from others: by the direct plan
    /// nobody passes it on.
    fn compare_with_helper(&mut self, tick: &Tick<'_>) {
        let Some(helper) = self.helper() else { return };
        let comparison = &self.link(helper).comparison;
        let is_lately = comparison.tried.is_some_and(|tried| tick.now < tried + INTERVAL_WITH_NEWS);
        if comparison.round.is_none() && !is_lately {
            self.start_round(tick, helper, tick.now);
        }
    }

    /// Whom a node asks that nothing new explains: that node is not settled.
    fn next_when_quiet(&mut self, tick: &Tick<'_>, missing: &[Peer]) -> Option<Peer> {
        let (turn, is_root) = (self.watch.asked, self.overlay.parent.is_none());
        if self.watch.is_lately(tick.now, is_root) {
            let unasked = self.unasked(tick);
            if unasked.is_some() || !is_root {
                return unasked;
            }
        }
        // Of three turns of a root two are for those who are missing, and one for the members: it may be any of them that helps.
        if !is_root || missing.is_empty() || turn.is_multiple_of(3) {
            self.next_in_turn(tick)
        } else {
            in_turn(missing, turn * 2 / 3)
        }
    }

    /// The member whose turn it is.
    fn next_in_turn(&mut self, tick: &Tick<'_>) -> Option<Peer> {
        self.watch.turns.next(&self.equals).and_then(|member| tick.members.at(member))
    }

    /// Whom this node would have for a neighbour if they answered: the parent that the plan gives it, its
    /// children, and for a root everybody; children that the plan gives it, and that have left: they may be where no news
    /// comes to; and who may have lost their parent.
    fn missing(&self, tick: &Tick<'_>) -> Vec<Peer> {
        let Overlay { parent, .. } = self.overlay;
        let is_everybodys = parent.is_none() || self.overlay.is_direct();
        let is_mine = |(peer, link): &(&Peer, &Link)| {
            let is_lost = link.health.is_suspected() && (is_everybodys || link.overlay.is_child);
            is_lost || self.has_left(tick.members, **peer, link)
        };
        let planned = self.overlay.planned_parent(tick.members).filter(|&planned| parent != Some(planned));
        let lost = self.links.iter().filter(is_mine).map(|(&peer, _)| peer);
        let lost = lost.chain(self.orphans(tick)).filter(|&peer| Some(peer) != planned);
        planned.into_iter().chain(lost).collect()
    }

    /// Whom a tree has below children of this node that don't answer. They may have nothing to say, and then don't notice that
    /// their parent is gone; nobody else knows that nothing is passed on to them.
    fn orphans(&self, tick: &Tick<'_>) -> impl Iterator<Item = Peer> {
        let is_lost = |(_, link): &(&Peer, &Link)| link.overlay.is_child && link.health.is_suspected();
        let is_tree = self.overlay.plan.strategy == Strategy::Tree;
        let lost = self.links.iter().filter(move |entry| is_tree && is_lost(entry)).map(|(&peer, _)| peer);
        let is_orphan = |peer: &Peer| {
            let is_silent = |link: &Link| {
                let is_lately_heard = link.clock.silence(tick.now) < ASKED_AGAIN;
                !link.overlay.is_child && !link.health.is_suspected() && !is_lately_heard
            };
            !self.equals.has(peer.0) && self.links.get(peer).is_none_or(is_silent)
        };
        lost.flat_map(|Peer(lost)| plan::below(tick.members.nodes(), lost)).map(Peer).filter(is_orphan)
    }

    /// Whether the plan has a peer below this node, and it has gone elsewhere.
    fn has_left(&self, members: &Membership, peer: Peer, link: &Link) -> bool {
        !link.overlay.is_child && !link.overlay.is_foreign && self.overlay.is_planned_child(members, peer)
    }

    /// Somebody not known to be equal, or the helper, who hasn't been asked in the latter half of the time since there was news:
    /// so the time from one question to the next doubles, up to what it is at last. Members that answer come first.
    fn unasked(&self, tick: &Tick<'_>) -> Option<Peer> {
        let (rank, nodes) = (tick.members.rank(), tick.members.nodes());
        // The parent asks for all below it, for as long as it lives. By the direct plan somebody may hear of news that does not
        // come here.
        let helper = self.helper();
        let is_of_use = |peer: &Peer| !self.equals.has(peer.0) || helper == Some(*peer);
        let after = (rank + 1..nodes).chain(0..rank).map(Peer).filter(is_of_use);
        let half = self.watch.news_at + tick.now.since(self.watch.news_at) / 2;
        let since = half.max(tick.now.before(shared_interval(self.is_in_parts(), nodes)));
        let is_unasked = |peer: &Peer| {
            self.links.get(peer).is_none_or(|link| {
                let asked_at = link.health.asked_at;
                asked_at.is_none_or(|asked| asked < since) && !link.overlay.is_foreign
            })
        };
        let mut unasked = after.filter(is_unasked);
        let answers = |peer: &Peer| self.links.get(peer).is_some_and(Link::answers);
        unasked.clone().find(answers).or_else(|| unasked.next())
    }

    /// Asks a peer, unless it owes an answer already or can't be asked. One that has never spoken as natter nodes
    /// do may not understand a question, but acknowledges a batch.
    pub(super) fn ask_one(&mut self, tick: &Tick<'_>, peer: Peer, out: &mut Outbox) {
        let link = self.link(peer);
        if link.health.is_asked() {
            return;
        }
        let (is_stranger, is_foreign) = (link.incarnation == 0, link.overlay.is_foreign);
        let oldest = tick.shared(peer).slots.in_flight().next();
        if let Some(oldest) = oldest.filter(|_| is_stranger) {
            self.send_again(tick, peer, oldest, out);
            self.expect_answer(tick, peer, Duration::ZERO);
        } else if !is_foreign {
            self.send_ping(tick, peer, out);
        }
    }

    /// What a peer was asked is not answered in time: it is asked once more, or suspected.
    pub(super) fn answer_overdue(&mut self, tick: &Tick<'_>, peer: Peer, out: &mut Outbox) {
        let planned = self.overlay.planned_parent(tick.members) == Some(peer);
        let counts_twice = planned || self.link(peer).overlay.is_child;
        let most = if counts_twice { Health::FAILURES_MAX } else { 1 };
        let link = self.link(peer);
        let Some(asked) = link.health.take_overdue(tick.now) else { return };
        if link.health.is_suspected() {
            link.put_off_round();
        } else if link.health.failed(tick.now, asked, most) {
            self.suspect(tick, peer, out);
        } else if link.comparison.round.is_some() {
            self.try_round(tick, peer, out);
        } else {
            self.send_ping(tick, peer, out);
        }
    }

    /// Tells neighbours what they need to be settled: that all members hold the same, or all but those who don't answer; or all
    /// below this node.
    pub(super) fn tell_equals(&mut self, tick: &Tick<'_>, out: &mut Outbox) {
        let (epoch, unequal) = (self.held.epoch, self.equals.unequal_count());
        let is_news = self.watch.told != (epoch, unequal);
        if is_news && self.knows_all_that_answer() {
            self.watch.told = (epoch, unequal);
            let needs_it = |(&peer, link): (&Peer, &Link)| {
                let knows = link.told.is_all_but(epoch, unequal);
                let is_alive = !link.health.is_suspected() && !link.overlay.is_foreign;
                (is_alive && !knows && self.is_neighbour(peer)).then_some(peer)
            };
            for peer in self.links.iter().filter_map(needs_it).collect::<Vec<_>>() {
                self.send_ack(tick, peer, out);
            }
        } else if unequal > 0 && self.overlay.plan.strategy == Strategy::Tree {
            let Some(parent) = self.overlay.parent else { return };
            let Some(link) = self.links.get(&parent).filter(|link| !link.health.is_suspected()) else {
                return;
            };
            let knows = link.told.claimed_below == Some(epoch) || link.told.is_all_but(epoch, unequal);
            if !knows && self.holds_below(tick.members) {
                self.send_ack(tick, parent, out);
            }
        }
    }
}

/// The peer whose turn it is.
fn in_turn(peers: &[Peer], turn: usize) -> Option<Peer> {
    peers.get(turn % peers.len().max(1)).copied()
}
