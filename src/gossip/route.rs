//! How a node finds its place in the overlay, and its way back to the plan.

use std::time::Duration;

use super::core::{Core, Tick};
use super::link::Link;
use super::membership::Peer;
use super::overlay::{Overlay, PLANNED_ROOT};
use super::plan::Strategy;
use super::watch::INTERVAL_WITH_NEWS;
use crate::node::{Outbox, Time};
use crate::protocol::Excerpt;

/// How many peers are tried at once when a parent that the plan doesn't have is lost: there may be many like it.
const TRIED_AT_ONCE: usize = 2;

/// When a link fails, its ends find that out at different times, and each of them tells whom it has to do with.
pub(super) const ROOT_KNOWN_AFTER: Duration = Duration::from_secs(2);

impl Core {
    /// Derives the plan and the parent anew.
    pub(super) fn replan(&mut self, tick: &Tick<'_>, out: &mut Outbox) {
        let is_quiet = self.started && (self.equals.is_settled() || self.watch.is_quiet());
        let Self { overlay, schedule, links, .. } = self;
        let former = overlay.plan.strategy;
        overlay.replan(tick.now, tick.members, tick.config, links, schedule, is_quiet);
        if !self.started {
            return;
        }
        if (former == Strategy::Direct) != self.overlay.is_direct() {
            if self.overlay.is_direct() {
                self.push_to_all(tick);
            } else {
                self.name_untold();
                self.push_to_neighbours(tick, out);
            }
        }
        self.reroute(tick, out);
        if self.overlay.plan.strategy != former {
            self.call_children(tick);
        }
    }

    /// The plan has changed after this node was started again. By the plans of others it may have had children all the time: they
    /// don't come, as their plans have not changed, and if they have nothing to say, they don't miss it.
    fn call_children(&mut self, tick: &Tick<'_>) {
        if self.restarts.latest(tick.members.rank()) == 0 {
            return;
        }
        let is_called = |peer: &Peer| {
            let comes = |link: &Link| link.overlay.is_child || link.health.is_suspected();
            self.overlay.is_planned_child(tick.members, *peer) && !self.links.get(peer).is_some_and(comes)
        };
        for peer in tick.members.peers().filter(is_called).collect::<Vec<_>>() {
            self.start_round(tick, peer, tick.now);
        }
    }

    /// The plan has become direct: what has not been pushed to the parent, or has not come there, goes to all. The parent
    /// won't pass it on: what this node sends again says that it tells everybody itself. A root has no parent that has told the
    /// others what they lack: it compares with those that are not its children.
    pub(super) fn push_to_all(&mut self, tick: &Tick<'_>) {
        let parent = self.overlay.parent;
        let unsent =
            parent.map_or(self.held.len, |parent| self.link(parent).unacked_from(&tick.shared(parent).slots));
        for peer in tick.members.peers() {
            let is_neighbour = self.is_neighbour(peer);
            let link = self.link(peer);
            if is_neighbour || link.push.is_synced || link.health.is_suspected() {
                continue;
            }
            if parent.is_some() {
                link.sync(unsent);
            } else {
                self.start_round(tick, peer, tick.now);
            }
        }
        self.schedule.up_at = Time::NEVER;
        if unsent < self.held.len {
            self.schedule.down_at = tick.now;
        }
    }

    /// The plan is direct no more: what comes from now on goes to the parent, who passes it on. What waits for all is still
    /// sent to all: the parent may have been told some of it as what everybody is told.
    fn push_to_neighbours(&mut self, tick: &Tick<'_>, out: &mut Outbox) {
        if self.schedule.down_at != Time::NEVER {
            let strategy = std::mem::replace(&mut self.overlay.plan.strategy, Strategy::Direct);
            self.flush_down(tick, out);
            self.overlay.plan.strategy = strategy;
        }
        for peer in tick.members.peers() {
            if !self.is_neighbour(peer)
                && let Some(link) = self.links.get_mut(&peer).filter(|link| !link.overlay.is_foreign)
            {
                link.push.is_synced = false;
            }
        }
    }

    /// Takes another parent if the plan has changed, or if the parent is suspected.
    pub(super) fn reroute(&mut self, tick: &Tick<'_>, out: &mut Outbox) {
        let planned = self.overlay.planned_parent(tick.members);
        let can_be = |peer: &Peer| {
            self.links.get(peer).is_none_or(|link| !link.health.is_suspected() && !link.overlay.is_foreign)
        };
        let parent = planned.into_iter().chain((0..tick.members.rank()).map(Peer)).find(can_be);
        let former = self.overlay.parent;
        if parent != former {
            self.overlay.parent = parent;
            if self.overlay.is_direct() {
                self.name_untold();
            }
            self.untold.say_anew();
            self.leave(tick, former);
            self.watch.hurry(tick.now);
            self.schedule.up_at = Time::NEVER;
            self.watch.root_at = Time::NEVER;
            if parent.is_none() {
                // A root of its own asks everybody soon.
                self.watch.watch_at = tick.now + self.overlay.measured.unwrap_or_default();
                self.watch.root_at = tick.now + ROOT_KNOWN_AFTER;
            }
            let is_lost = |former: Peer| Some(former) != planned && self.links[&former].health.is_suspected();
            if former.is_some_and(is_lost) {
                self.try_others(tick, out);
            }
            if let Some(parent) = parent {
                out.note(format_args!("{} is the parent now", Excerpt(tick.members.name(parent))));
                self.join(tick, parent);
                if self.link(parent).push.is_synced {
                    self.schedule.up_at = tick.now;
                }
            }
        }
        self.find_root(tick);
        self.find_bridge(tick, out);
    }

    /// Has a peer pass values on to this node.
    fn join(&mut self, tick: &Tick<'_>, peer: Peer) {
        if self.link(peer).push.is_synced {
            self.introduce(tick, peer);
        } else {
            self.start_round(tick, peer, tick.now);
        }
    }

    /// Finds a way to another tree, whose root comes before this one's. As the roots decrease along such ways, no circle of
    /// trees is cut off from the others.
    fn find_bridge(&mut self, tick: &Tick<'_>, out: &mut Outbox) {
        let Overlay { parent, bridge: former, root, root_since, .. } = self.overlay;
        let leads_on = |peer: &Peer| {
            let link = &self.links[peer];
            let is_earlier = link.overlay.root.is_some_and(|theirs| theirs < root);
            is_earlier && link.answers() && Some(*peer) != parent
        };
        let kept = former.filter(leads_on);
        let is_known = tick.now >= root_since + ROOT_KNOWN_AFTER;
        let seeks = root != PLANNED_ROOT && is_known && !self.equals.is_settled();
        // If it seeks nobody, it looks at no link: this runs in each tick.
        let peers = seeks.then(|| self.links.keys().copied());
        let mut candidates = peers.into_iter().flatten().filter(leads_on);
        let has_just_said_so = |peer: &Peer| self.links[peer].clock.silence(tick.now) < INTERVAL_WITH_NEWS;
        let bridge = kept.or_else(|| candidates.clone().find(has_just_said_so));
        if bridge.is_none()
            && let Some(peer) = candidates.next()
        {
            // The root of its tree may be another one by now.
            self.ask_one(tick, peer, out);
        }
        if bridge == former {
            return;
        }
        self.overlay.bridge = bridge;
        if let Some(former) = former.filter(|&former| Some(former) != parent) {
            self.leave(tick, Some(former));
        }
        if let Some(bridge) = bridge {
            out.note(format_args!("{} is the way to others now", Excerpt(tick.members.name(bridge))));
            self.join(tick, bridge);
        }
    }

    /// What this node has told everybody but for those whom it can't tell may have come to nobody who passes it on: whoever
    /// passes on what this node says has changed, or will.
    fn name_untold(&mut self) {
        let Self { links, untold, .. } = self;
        links.iter().filter(|(_, link)| !link.is_told()).for_each(|(&peer, _)| untold.add(peer));
    }

    /// The former parent is to know at once that this node is no child of its any more: nothing else will be sent to it, and it
    /// may be about to pass on much.
    fn leave(&mut self, tick: &Tick<'_>, former: Option<Peer>) {
        if let Some(former) = former.filter(|former| !self.link(*former).health.is_suspected()) {
            self.link(former).acks.by(tick.now);
            self.rearm(tick, former);
        }
    }

    /// A peer is to know within a period whether this node is a child of its: every message says so.
    fn introduce(&mut self, tick: &Tick<'_>, peer: Peer) {
        let period = self.overlay.plan.period;
        self.link(peer).acks.by(tick.now + period);
        self.rearm(tick, peer);
    }

    /// A parent that the plan doesn't have was lost, and the next ones may be out of reach, too.
    fn try_others(&mut self, tick: &Tick<'_>, out: &mut Outbox) {
        let lower = (0..tick.members.rank()).map(Peer);
        let untried =
            lower.filter(|peer| Some(*peer) != self.overlay.parent && !self.links.contains_key(peer));
        for peer in untried.take(TRIED_AT_ONCE).collect::<Vec<_>>() {
            self.send_ping(tick, peer, out);
        }
    }

    /// Finds out what tree this node is in. Children hear of another one: it may be by this node that one of them reaches others.
    fn find_root(&mut self, tick: &Tick<'_>) {
        let of_parent = |parent| self.links.get(&parent).and_then(|link| link.overlay.root);
        let root = match self.overlay.parent {
            Some(parent) => of_parent(parent).unwrap_or(PLANNED_ROOT),
            None => tick.members.rank(),
        };
        if root != self.overlay.root {
            (self.overlay.root, self.overlay.root_since) = (root, tick.now);
            let is_child = |(_, link): &(&Peer, &Link)| link.overlay.is_child && link.answers();
            for peer in self.links.iter().filter(is_child).map(|(&peer, _)| peer).collect::<Vec<_>>() {
                self.introduce(tick, peer);
            }
        }
    }
}
