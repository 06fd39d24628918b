//! Who is above whom: the plan, this node's parent, and the root of the tree that it is in.
//!
//! The plan gives every node but the first a parent before it. Who can't reach it takes the first of the nodes before
//! itself that it can reach, without asking anybody; who can't reach any of them is a root of its own. Every parent
//! comes before its children, so there are no circles, and two roots at once do no harm: what either tells is taken up
//! once. That may leave several trees where some path connects them; then the rule sees to it that they meet.

use std::collections::BTreeMap;
use std::time::Duration;

use super::link::{AckDelay, Link};
use super::membership::{Membership, Peer};
use super::plan::{self, Conditions, Plan, ROUND_TRIP_UNKNOWN, Strategy};
use super::round_trip::Estimate;
use super::schedule::Schedule;
use crate::config::Config;
use crate::node::{Time, micros};
use crate::protocol::link::HubPlan;

/// How often the plan is derived anew from what has been measured.
const REPLAN_INTERVAL: Duration = Duration::from_millis(100);

/// What round trips are taken to be off by before there are enough to tell: a little, as on a busy machine.
const JITTER_UNKNOWN: Duration = Duration::from_millis(2);

/// The root that every plan has.
pub(super) const PLANNED_ROOT: usize = 0;

/// Where this node is in the overlay.
#[derive(Debug)]
pub(super) struct Overlay {
    pub(super) plan: Plan,
    /// The node that passes values on to this one, and gets its own.
    pub(super) parent: Option<Peer>,
    /// A node of another tree, whose root comes before this one's. It passes values on to and from this node, too.
    pub(super) bridge: Option<Peer>,
    /// The place of the first node among the parent, its parent and so on; this node's own if it has none.
    pub(super) root: usize,
    /// Since when it is that one.
    pub(super) root_since: Time,
    /// The longest round trip to any peer, if any has been measured.
    pub(super) measured: Option<Duration>,
    /// When the plan was direct last. What others told everybody until then, this node did not pass on.
    pub(super) direct_until: Time,
    replan_at: Time,
}

impl Overlay {
    pub(super) fn new(rank: usize) -> Self {
        let plan =
            Plan { strategy: Strategy::Star, period: Duration::ZERO, margin: Duration::ZERO, aligned: false };
        Self {
            plan,
            parent: None,
            bridge: None,
            root: rank,
            root_since: Time::ZERO,
            measured: None,
            direct_until: Time::ZERO,
            replan_at: Time::ZERO,
        }
    }

    /// Whether a peer is to take this node for a child.
    pub(super) fn is_above(&self, peer: Peer) -> bool {
        self.parent == Some(peer) || self.bridge == Some(peer)
    }

    pub(super) fn is_direct(&self) -> bool {
        self.plan.strategy == Strategy::Direct
    }

    /// The parent that the plan has.
    pub(super) fn planned_parent(&self, members: &Membership) -> Option<Peer> {
        plan::parent(self.plan.strategy, members.nodes(), members.rank()).and_then(|rank| members.at(rank))
    }

    /// Whether the plan makes this node the parent of a peer.
    pub(super) fn is_planned_child(&self, members: &Membership, peer: Peer) -> bool {
        plan::parent(self.plan.strategy, members.nodes(), peer.0) == Some(members.rank())
    }

    /// One way to the farthest peer.
    pub(super) fn far(&self) -> Duration {
        self.measured.unwrap_or(ROUND_TRIP_UNKNOWN) / 2
    }

    /// Derives the plan anew from what has been measured, now and then. When all is quiet, nobody takes another parent by plan: what nodes say of that would be all that is measured.
    pub(super) fn replan(
        &mut self,
        now: Time,
        members: &Membership,
        config: &Config,
        links: &mut BTreeMap<Peer, Link>,
        schedule: &Schedule,
        is_quiet: bool,
    ) {
        if self.replan_at > now {
            return;
        }
        self.replan_at = now + REPLAN_INTERVAL;
        let alive = || links.values().filter(|link| !link.health.is_suspected());
        let trips = || alive().filter_map(|link| link.trip.get());
        // Who can reach nobody knows no better than before.
        let measured = trips().map(Estimate::planned).max().or(self.measured);
        let (mut deviations, mut steady) = (Duration::ZERO, 0);
        for deviation in trips().filter_map(Estimate::jitter) {
            deviations += deviation;
            steady += 1;
        }
        // From here to the parent, and from there to the farthest, if that is the way that the plan is for.
        let parent = self.parent.filter(|&parent| self.planned_parent(members) == Some(parent));
        let by_parent = parent.and_then(|parent| {
            let link = links.get(&parent)?;
            Some(link.trip.get()?.planned() / 2 + link.clock.far()?)
        });
        let round_trip = measured.unwrap_or(ROUND_TRIP_UNKNOWN).max(by_parent.unwrap_or_default());
        if measured != self.measured
            && let Some(measured) = measured
        {
            links.values_mut().for_each(|link| link.trip.assume(measured));
        }
        self.measured = measured;
        members.set_far(measured.unwrap_or_default() / 2);
        let jitter = if steady > 0 { deviations / steady } else { JITTER_UNKNOWN };
        let &Schedule { rate, values_an_integer, .. } = schedule;
        let conditions = Conditions { round_trip, jitter, rate, values_an_integer };
        let was_direct = self.is_direct();
        let plan = Plan::derive(members.nodes(), config, conditions);
        if !(is_quiet && moves(self.plan.strategy, plan.strategy)) {
            self.plan = plan;
        }
        if was_direct {
            self.direct_until = now;
        }
    }

    /// Where the peers of this node's parent have it flush: what to tell a child of when to send, so that it arrives before
    /// this node's own next flush or, if this node has a parent, before it sends to that.
    pub(super) fn hub_plan(
        &self,
        now: Time,
        schedule: &Schedule,
        links: &BTreeMap<Peer, Link>,
        peer: Peer,
    ) -> Option<HubPlan> {
        let Plan { period, margin, aligned, .. } = self.plan;
        let is_child = || links.get(&peer).is_some_and(|link| link.overlay.is_child);
        if self.is_direct() || self.parent.is_some() && !is_child() {
            return None;
        }
        let (next, every, far) = match self.parent.and_then(|parent| links.get(&parent)) {
            Some(link) => {
                // That of the root: or else the network would seem larger by way of a tree, and then a star be the plan.
                let far = link.clock.far().unwrap_or_default().max(self.far());
                (Some(link.clock.aligned(now, &link.trip)), link.clock.every()?, far)
            }
            None => (aligned.then(|| schedule.announced(now, period)), period, self.far()),
        };
        let next = next.map(|next| micros(next.since(now)));
        Some(HubPlan { next, margin: micros(margin), every: micros(every), far: micros(far) })
    }

    /// How long this node lets its acknowledgements to a peer wait: the longer, the more of them travel on something
    /// else. A message that was lost as the network healed is to be on its way again, and to have arrived everywhere,
    /// within a second and four one-way delays of that.
    pub(super) fn ack_delay(&self, config: &Config, link: &Link) -> AckDelay {
        self.delay(config, link, link.overlay.is_child)
    }

    /// How long it waits for the peer's: a little more, as what they reckon with need not be quite the same.
    pub(super) fn answer_delay(&self, config: &Config, link: &Link) -> AckDelay {
        let by_parent = !link.overlay.is_child && link.clock.every().is_some();
        let AckDelay { after_last, after_first } = self.delay(config, link, by_parent);
        let spare = link.trip.one_way() / 8 + self.plan.period / 16;
        AckDelay { after_last: after_last + spare, after_first: after_first + spare }
    }

    fn delay(&self, config: &Config, link: &Link, by_parent: bool) -> AckDelay {
        let period = link.clock.every().unwrap_or(self.plan.period);
        let after_last = if by_parent {
            // What is lost on its way to the parent waits for the parent's flush when it gets there; but every flush
            // acknowledges.
            config.ack_delay.saturating_sub(period).max(period * 5 / 4)
        } else {
            Self::ack_delay_of_child(config, period)
        };
        AckDelay { after_last, after_first: config.ack_delay_max.max(after_last) }
    }

    /// How long a child's last acknowledgement of a flush waits: it has something to send in one period or another.
    pub(super) fn ack_delay_of_child(config: &Config, period: Duration) -> Duration {
        config.ack_delay.max(period * 11 / 5)
    }
}

/// Whether nodes have other parents by the one strategy than by the other.
fn moves(one: Strategy, other: Strategy) -> bool {
    (one == Strategy::Tree) != (other == Strategy::Tree)
}
