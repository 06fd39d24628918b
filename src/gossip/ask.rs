//! What a node does that is not settled: it asks.

use std::time::Duration;

use super::core::{Core, Tick};
use super::link::{Health, Link};
use super::membership::Peer;
use super::overlay::PLANNED_ROOT;
use super::plan::Strategy;
use super::watch::Seekers;
use crate::node::{Outbox, Time};
use crate::protocol::link::Claim;

/// A peer that did not answer is not asked again, along with all others, before that.
const ASKED_AGAIN: Duration = Duration::from_secs(4);

/// How often a root that has lost members asks one of them, at first.
const SEEK_LOST: Duration = Duration::from_secs(1);

/// How often a node that has another parent than the plan has asks that, at first.
const SEEK_PLANNED: Duration = Duration::from_secs(4);

impl Core {
    /// Asks whom it is time to ask, unless this node is settled.
    pub(super) fn ask_due(&mut self, tick: &Tick<'_>, out: &mut Outbox) {
        if self.equals.is_settled() {
            return;
        }
        if self.watch.ask_at <= tick.now {
            self.ask(tick, out);
        }
        if self.watch.seek_at <= tick.now {
            self.seek(tick, out);
        }
    }

    /// When that is next.
    pub(super) fn ask_at(&self) -> Time {
        if self.equals.is_settled() { Time::NEVER } else { self.watch.next() }
    }

    /// Nothing has been new for a while, and this node is not settled.
    fn ask(&mut self, tick: &Tick<'_>, out: &mut Outbox) {
        let parent = self.overlay.parent;
        match parent {
            None if self.watch.asked == 0 => self.ask_all(tick, out),
            Some(parent) if self.watch.asked == 0 => self.ask_one(tick, parent, out),
            // Whoever seeks its way back asks everybody in turn, too.
            _ if self.watch.is_seeking(tick.now) => {}
            _ => self.ask_next(tick, out),
        }
        self.watch.has_asked(tick.now, self.seekers(tick));
        if parent.is_some() {
            let wait = tick.spread(self.watch.ask_at.since(tick.now));
            self.watch.ask_at = tick.now + wait;
        }
    }

    /// Asks all that are not known to be equal, but those that have just been asked in vain.
    fn ask_all(&mut self, tick: &Tick<'_>, out: &mut Outbox) {
        for peer in tick.members.peers().filter(|peer| !self.equals.has(peer.0)).collect::<Vec<_>>() {
            let health = &self.link(tick, peer).health;
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

    /// Asks the next member: of those that have been answering and are not known to be equal each one once, then whoever's
    /// turn it is.
    fn ask_next(&mut self, tick: &Tick<'_>, out: &mut Outbox) {
        let since = self.watch.asks_since;
        let is_promising = |(peer, link): &(&Peer, &Link)| {
            let health = &link.health;
            let is_unasked = health.asked_at.is_none_or(|asked| asked < since);
            link.life != 0 && !health.is_suspected() && is_unasked && !self.equals.has(peer.0)
        };
        let promising = self.links.iter().find(is_promising).map(|(&peer, _)| peer);
        let is_suspected =
            |member| self.links.get(&Peer(member)).is_some_and(|link| link.health.is_suspected());
        let next =
            promising.or_else(|| tick.members.at(self.watch.turns.next(&self.equals, is_suspected)?));
        if let Some(peer) = next {
            self.ask_one(tick, peer, out);
        }
    }

    /// Asks a peer, unless it owes an answer already or can't be asked. One that has never spoken as natter nodes do may
    /// not understand a question, but acknowledges a batch.
    fn ask_one(&mut self, tick: &Tick<'_>, peer: Peer, out: &mut Outbox) {
        let link = self.link(tick, peer);
        if link.health.is_asked() {
            return;
        }
        let (is_stranger, is_foreign) = (link.life == 0, link.overlay.is_foreign);
        let oldest = tick.shared(peer).slots.in_flight().next();
        if let Some(oldest) = oldest.filter(|_| is_stranger) {
            self.send_again(tick, peer, oldest, out);
            self.expect_answer(tick, peer, Duration::ZERO);
        } else if !is_foreign {
            self.send_ping(tick, peer, out);
        }
    }

    /// Who shares the rate at which this node asks and seeks.
    fn seekers(&self, tick: &Tick<'_>) -> Seekers {
        // One that is dead asks nobody, nor does one that speaks otherwise than natter nodes do.
        let asks = |link: &Link| !link.health.is_suspected() && !link.overlay.is_foreign;
        let asks = |peer: Peer| self.links.get(&peer).is_none_or(asks);
        let mut before = (0..tick.members.rank()).filter(|&member| self.equals.has(member));
        let is_chief = self.overlay.parent.is_none() && !before.any(|member| asks(Peer(member)));
        Seekers { is_chief, members: tick.members.nodes() }
    }

    /// The overlay is not as planned: this node seeks a way back, whether or not there is news.
    fn seek(&mut self, tick: &Tick<'_>, out: &mut Outbox) {
        let planned = self.overlay.planned_parent(tick.members);
        let (sought, seekers) = (self.watch.sought, self.seekers(tick));
        let (parent, is_direct) = (self.overlay.parent, self.overlay.is_direct());
        let is_elsewhere = self.overlay.root != PLANNED_ROOT;
        let lost = self.links.iter().filter(|(_, link)| link.health.is_suspected());
        let is_everybodys = parent.is_none() || is_direct;
        // Whoever had this node for its parent may have nobody else.
        let mine = lost.clone().filter(|(_, link)| is_everybodys || link.overlay.is_child);
        let mine: Vec<Peer> = mine.map(|(&peer, _)| peer).collect();
        let (sought_first, least) = match planned.filter(|_| parent != planned) {
            Some(planned) if parent.is_none() => (Some(planned), tick.spread(tick.config.probe_interval)),
            Some(planned) => (Some(planned), tick.spread(SEEK_PLANNED)),
            None if lost.count() == 0 && !is_elsewhere => {
                self.watch.seek_at = Time::NEVER;
                return;
            }
            None if !mine.is_empty() => (Some(mine[sought / 2 % mine.len()]), SEEK_LOST),
            None => (None, tick.spread(2 * SEEK_PLANNED)),
        };
        let is_odd = !sought.is_multiple_of(2);
        if parent != planned && self.watch.is_lately(tick.now) {
            // The way back to the plan is by the planned parent, and most cuts don't last.
            sought_first.into_iter().for_each(|peer| self.ask_one(tick, peer, out));
            if is_odd && (is_elsewhere || self.watch.is_seeking(tick.now)) {
                self.ask_next(tick, out);
            }
        } else {
            // Before long its turn comes along with those of all that are not known to be equal.
            let is_childs = !mine.is_empty() && !is_everybodys;
            // Whoever is not heard may hear, and has nobody else to hear it from.
            let brings_news =
                |peer: &Peer| self.links.get(peer).is_some_and(|link| link.blind.has_news(self.held.len));
            let is_out_of_turn = |peer: &Peer| {
                is_childs || self.watch.is_eager(tick.now) || self.equals.has(peer.0) || brings_news(peer)
            };
            match sought_first.filter(|peer| !is_odd && is_out_of_turn(peer)) {
                Some(peer) => self.ask_one(tick, peer, out),
                None => self.ask_next(tick, out),
            }
        }
        let is_urgent = parent != planned || is_elsewhere || !mine.is_empty();
        self.watch.has_sought(tick.now, (least, is_urgent), seekers);
    }

    /// What a peer was asked is not answered in time: it is asked once more, or suspected.
    pub(super) fn answer_overdue(&mut self, tick: &Tick<'_>, peer: Peer, out: &mut Outbox) {
        let planned = self.overlay.planned_parent(tick.members) == Some(peer);
        let counts_twice = planned || self.link(tick, peer).overlay.is_child;
        let most = if counts_twice { Health::FAILURES_MAX } else { 1 };
        let link = self.link(tick, peer);
        let Some(asked) = link.health.take_overdue(tick.now) else { return };
        if link.health.is_suspected() {
            link.break_off();
        } else if link.health.failed(tick.now, asked, most) {
            self.suspect(tick, peer, out);
        } else if link.comparison.round.is_some() {
            self.try_round(tick, peer, out);
        } else {
            self.send_ping(tick, peer, out);
        }
    }

    /// Tells neighbours what they need to be settled: that all members hold the same, or all below this node.
    pub(super) fn tell_settled(&mut self, tick: &Tick<'_>, out: &mut Outbox) {
        let is_settled = self.equals.is_settled();
        let was_settled = std::mem::replace(&mut self.watch.was_settled, is_settled);
        let epoch = self.held.epoch;
        if is_settled && !was_settled {
            let needs_it = |(&peer, link): (&Peer, &Link)| {
                let knows = link.told.knows_all == Some(epoch) || link.told.claimed == (epoch, Claim::All);
                let is_alive = !link.health.is_suspected() && !link.overlay.is_foreign;
                (is_alive && !knows && self.is_neighbour(peer)).then_some(peer)
            };
            for peer in self.links.iter().filter_map(needs_it).collect::<Vec<_>>() {
                self.send_ack(tick, peer, out);
            }
        } else if !is_settled && self.overlay.plan.strategy == Strategy::Tree {
            let Some(parent) = self.overlay.parent else { return };
            let Some(link) = self.links.get(&parent).filter(|link| !link.health.is_suspected()) else {
                return;
            };
            if link.told.claimed != (epoch, Claim::Below) && self.holds_below(tick.members) {
                self.send_ack(tick, parent, out);
            }
        }
    }
}
