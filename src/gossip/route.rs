//! Who this node's parent is, when it flushes, and what it does when the plan can't be kept.
//!
//! The plan gives every node but the first a parent before it, the hub. Who can't reach it takes the first
//! of the nodes before itself that it can reach, without asking anybody; who can't reach any of them is a hub of its
//! own. Every parent comes before its children, so there are no circles, and two hubs at once do no harm: what either
//! tells is taken up once.
//!
//! That may leave several trees where some path connects them. So a node that isn't where the plan has it keeps trying
//! the parent that the plan gives it, and one in another tree than the planned root's *explores*: it calls one node out
//! of reach after the other, and compares its set with those of other trees; whatever either lacks travels on in its tree.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::LockFree;
use super::link::{Link, next_on_grid};
use super::membership::{Membership, PeerIndex};
use super::plan::{self, Conditions, Plan, ROUND_TRIP_UNKNOWN, Strategy};
use super::round_trip::Estimate;
use crate::config::Config;
use crate::node::{Outbox, Time, micros, nanos};
use crate::planted::planted;
use crate::protocol::Excerpt;
use crate::protocol::link::{HubPlan, Sync};
use crate::queue::Deadline;
use crate::random::part;

/// How many peers are tried at once when the parent is lost.
const TRIED_AT_ONCE: usize = 2;

/// How often the plan is derived anew from what has been measured.
const REPLAN_INTERVAL: Duration = Duration::from_millis(100);

/// What a batch may be late for the hub's flush before the hub flushes once more for it: less than that is noise.
pub(super) const LATENESS: Duration = Duration::from_millis(10);

/// Batches that come one right after the other are passed on together.
const GATHER: Duration = Duration::from_millis(1);

/// One in so many turns to explore is used by nodes that have others to do it, and to tell of lost children.
pub const SELDOM: u32 = 4;

/// The root that every plan has.
const PLANNED_ROOT: usize = 0;

/// No parent.
const NONE: usize = usize::MAX;

#[derive(Debug)]
pub(super) struct Route {
    strategy: AtomicUsize,
    period: AtomicU64,
    margin: AtomicU64,
    aligned: AtomicBool,
    /// One way to the farthest peer, in nanoseconds.
    far: AtomicU64,
    /// Whether that was measured.
    is_measured: AtomicBool,
    replan_at: Deadline,
    /// The parent's place among all nodes.
    parent: AtomicUsize,
    /// The place of the first node among the parent, its parent and so on; this node's own if it has none.
    root: AtomicUsize,
    /// When this node flushes next if it is a hub; then every period.
    next_flush: Deadline,
    /// The period when it did last.
    last_period: AtomicU64,
    /// When it did last, how many values it held then, and how many have been coming in a second: the bits of a float.
    flushed_at: Deadline,
    held_before: AtomicU64,
    rate: AtomicU64,
    explore_at: Deadline,
    turns: AtomicUsize,
    /// How many peers were passed in turning to the next one to explore, to the next one in another tree, and to the
    /// next neighbour to ask to see to what can't be reached.
    explored: AtomicUsize,
    bridged: AtomicUsize,
    delegated: AtomicUsize,
    /// The repair that brings many values, and when they should all have come.
    fetch_round: AtomicU64,
    fetch_ends: Deadline,
    /// How many values there were when it last asked.
    fetch_brought: AtomicUsize,
    /// The place of a peer whose repair was refused meanwhile: it comes first when that one's time is over.
    fetch_next: AtomicUsize,
}

impl Route {
    pub(super) fn new() -> Self {
        Self {
            strategy: AtomicUsize::new(Strategy::Star as usize),
            period: AtomicU64::new(0),
            margin: AtomicU64::new(0),
            aligned: AtomicBool::new(false),
            far: AtomicU64::new(0),
            is_measured: AtomicBool::new(false),
            replan_at: Deadline::at(Time::ZERO),
            parent: AtomicUsize::new(NONE),
            root: AtomicUsize::new(PLANNED_ROOT),
            next_flush: Deadline::at(Time::ZERO),
            last_period: AtomicU64::new(u64::MAX),
            flushed_at: Deadline::at(Time::NEVER),
            held_before: AtomicU64::new(0),
            rate: AtomicU64::new(0.0_f64.to_bits()),
            explore_at: Deadline::at(Time::NEVER),
            turns: AtomicUsize::new(0),
            explored: AtomicUsize::new(0),
            bridged: AtomicUsize::new(0),
            delegated: AtomicUsize::new(0),
            fetch_round: AtomicU64::new(0),
            fetch_ends: Deadline::at(Time::ZERO),
            fetch_brought: AtomicUsize::new(0),
            fetch_next: AtomicUsize::new(NONE),
        }
    }

    pub(super) fn plan(&self) -> Plan {
        // Relaxed, here and below: whoever finds half of a new plan acts by a plan that is worse, not wrong.
        let strategies = [Strategy::Direct, Strategy::Star, Strategy::Tree];
        Plan {
            strategy: strategies[self.strategy.load(Ordering::Relaxed)],
            period: Duration::from_nanos(self.period.load(Ordering::Relaxed)),
            margin: Duration::from_nanos(self.margin.load(Ordering::Relaxed)),
            aligned: self.aligned.load(Ordering::Relaxed),
        }
    }

    pub(super) fn root(&self) -> usize {
        self.root.load(Ordering::Relaxed)
    }

    /// A repair with a peer at that place may ask for many values now, which takes so long, as it has `brought` so many. Not while
    /// another one brings such, and then for a turn not before one that was refused for it: a peer that promises much and
    /// brings nothing is not to keep others from it. Two that begin at once cost messages only.
    ///
    /// # Errors
    /// Says when to try again.
    pub(super) fn fetch(
        &self,
        now: Time,
        takes: Duration,
        turn: Duration,
        (place, round): (usize, u64),
        brought: usize,
    ) -> Result<(), Time> {
        let ends = self.fetch_ends.get();
        let goes_on = self.fetch_round.load(Ordering::Relaxed) == round;
        if goes_on && brought > self.fetch_brought.swap(brought, Ordering::Relaxed) {
            self.fetch_ends.set(now + takes);
            return Ok(());
        }
        if now < ends {
            if goes_on {
                // It was only tried again.
                self.fetch_ends.bring_forward(now + takes);
                return Ok(());
            }
            // In vain if somebody else is to be next.
            let _ = self.fetch_next.compare_exchange(NONE, place, Ordering::Relaxed, Ordering::Relaxed);
            return Err(ends);
        }
        let next = self.fetch_next.load(Ordering::Relaxed);
        if next != NONE && next != place && now < ends + turn {
            return Err(ends + turn);
        }
        self.fetch_next.store(NONE, Ordering::Relaxed);
        self.fetch_round.store(round, Ordering::Relaxed);
        self.fetch_brought.store(brought, Ordering::Relaxed);
        self.fetch_ends.set(now + takes);
        planted!(FetchForGood => self.fetch_ends.set(Time::NEVER));
        Ok(())
    }

    fn set_plan(&self, Plan { strategy, period, margin, aligned }: Plan) {
        self.strategy.store(strategy as usize, Ordering::Relaxed);
        self.period.store(nanos(period), Ordering::Relaxed);
        self.margin.store(nanos(margin), Ordering::Relaxed);
        self.aligned.store(aligned, Ordering::Relaxed);
    }
}

impl LockFree {
    /// Whether a delta to this peer is to be answered at once, because nothing is known of the network yet and this is
    /// the cheapest way to get to know it.
    pub(super) fn is_curious_about(&self, members: &Membership, peer: PeerIndex) -> bool {
        let first = self.parent(members).or_else(|| members.peers().next());
        self.is_direct() && !self.route.is_measured.load(Ordering::Relaxed) && first == Some(peer)
    }

    /// The node that passes values on to this one, and gets its own.
    pub(super) fn parent(&self, members: &Membership) -> Option<PeerIndex> {
        let rank = self.route.parent.load(Ordering::Relaxed);
        (rank != NONE).then(|| members.at_rank(rank))
    }

    pub(super) fn set_parent(&self, members: &Membership, parent: Option<PeerIndex>) {
        self.route.parent.store(parent.map_or(NONE, |peer| members.rank_of(peer)), Ordering::Relaxed);
    }

    /// The parent that the plan has.
    pub(super) fn planned_parent(&self, members: &Membership) -> Option<PeerIndex> {
        let rank = plan::parent(self.route.plan().strategy, members.nodes(), members.rank())?;
        Some(members.at_rank(rank))
    }

    /// Whether values travel on to this peer.
    pub(super) fn is_linked(&self, members: &Membership, peer: PeerIndex, link: &Link) -> bool {
        link.is_child() || self.parent(members) == Some(peer)
    }

    /// Whether the peer is this node's parent, or would be if it could be reached.
    pub(super) fn looks_up_to(&self, members: &Membership, peer: PeerIndex) -> bool {
        let before = |other| members.rank_of(peer) < members.rank_of(other);
        match self.parent(members) {
            _ if self.planned_parent(members) == Some(peer) => true,
            Some(parent) => parent == peer || self.planned_parent(members) != Some(parent) && before(parent),
            None => members.rank_of(peer) < members.rank(),
        }
    }

    /// Whether the link to this peer is worth repairing until it works.
    pub(super) fn matters(&self, members: &Membership, peer: PeerIndex, link: &Link) -> bool {
        self.is_in_tree(members, peer, link) || link.is_promised()
    }

    /// Whether the peer is a neighbour in the tree of this node, or should be.
    pub(super) fn is_in_tree(&self, members: &Membership, peer: PeerIndex, link: &Link) -> bool {
        self.is_linked(members, peer, link) || self.planned_parent(members) == Some(peer)
    }

    /// Derives the plan and the parent anew.
    pub(super) fn replan(&self, now: Time, members: &Membership) {
        if self.route.replan_at.get() > now {
            return;
        }
        self.route.replan_at.set(now + REPLAN_INTERVAL);
        let trips = || {
            let up = members.links().filter(|(_, link)| !link.is_down());
            up.filter_map(|(_, link)| link.round_trip.get())
        };
        let measured = trips().map(Estimate::planned).max();
        let farthest = measured.unwrap_or(ROUND_TRIP_UNKNOWN);
        let (mut deviations, mut steady) = (Duration::ZERO, 0);
        for deviation in trips().filter_map(Estimate::jitter) {
            deviations += deviation;
            steady += 1;
        }
        if measured.is_some() {
            members.links().for_each(|(_, link)| link.round_trip.assume(farthest));
        }
        self.route.far.store(nanos(farthest / 2), Ordering::Relaxed);
        self.route.is_measured.store(measured.is_some(), Ordering::Relaxed);
        // From here to the parent, and from there to the farthest, if that is the way that the plan is for.
        let parent = self.parent(members).filter(|&parent| self.planned_parent(members) == Some(parent));
        let by_parent = parent.and_then(|parent| {
            let link = members.existing_link(parent)?;
            Some(link.round_trip.get()?.planned() / 2 + link.far()?)
        });
        let jitter = deviations / steady.max(1);
        let round_trip = farthest.max(by_parent.unwrap_or_default());
        let rate = f64::from_bits(self.route.rate.load(Ordering::Relaxed));
        let conditions = Conditions { round_trip, jitter, rate };
        let Config { latency_budget, batch_max, .. } = self.config;
        self.route.set_plan(Plan::derive(members.nodes(), latency_budget, batch_max, conditions));
    }

    /// Takes another parent if the plan has changed or the parent is down, and tries others while it isn't the one that
    /// the plan has.
    pub(super) fn reroute(&self, now: Time, members: &Membership, out: &mut Outbox) {
        let planned = self.planned_parent(members);
        let is_down = |peer: &PeerIndex| members.existing_link(*peer).is_some_and(Link::is_down);
        #[cfg_attr(not(feature = "planted-bugs"), expect(unused_mut, reason = "but for a planted bug"))]
        let mut parent = planned.into_iter().chain(members.before_me()).find(|peer| !is_down(peer));
        planted!(HubNeverReturns => parent = self.parent(members).filter(|peer| !is_down(peer)).or(parent));
        planted!(NoFailover => parent = planned);
        let former = self.parent(members);
        if parent != former {
            self.set_parent(members, parent);
            // It is to know that this node is no child of its any more.
            let former =
                former.and_then(|former| members.existing_link(former)).filter(|link| !link.is_down());
            former.into_iter().for_each(|former| former.tell(now + self.route.plan().period));
            if let Some(parent) = parent {
                out.note(format_args!("{} is the hub now", Excerpt(members.name(parent))));
            }
            if parent != planned {
                // What is pushed from now on, and what the repair compares, is everything; the parent that the plan has is
                // pushed to at any time.
                parent.into_iter().for_each(|parent| self.link(members, parent).note_stale(now));
            }
        }
        self.settle_root(now, members);
        let is_astray = self.route.root() != PLANNED_ROOT;
        let any_lost = members.links().any(|(_, link)| Self::is_lost(link));
        let is_off_plan = is_astray || parent != planned || self.unplanned_children(members).next().is_some();
        if !is_off_plan && !any_lost {
            self.route.explore_at.clear();
            return;
        }
        self.route.explore_at.bring_forward(now + self.config.explore_interval);
        if self.route.explore_at.get() <= now {
            self.route.explore_at.set(now + self.config.explore_interval);
            planted!(NeverExplores => return);
            planted!(ExploresAllTheTime => self.route.explore_at.set(now + self.config.explore_interval / 50));
            let turn = self.route.turns.fetch_add(1, Ordering::Relaxed);
            let seldom = (turn + members.rank()).is_multiple_of(SELDOM as usize);
            let Route { bridged, explored, delegated, .. } = &self.route;
            // A root does it for its tree, and others for what is within their reach alone.
            if is_astray && (seldom || self.parent(members).is_none()) {
                let other = self.next_peer(members, bridged, |peer| self.is_in_another_tree(members, peer));
                other.into_iter().for_each(|other| self.link(members, other).note_stale(now));
                let unheard =
                    self.next_peer(members, explored, |peer| self.is_out_of_reach(now, members, peer));
                unheard.into_iter().for_each(|unheard| self.link(members, unheard).call(now));
            }
            if seldom && is_off_plan {
                self.call_quiet_parent(now, members);
                // One that came for want of a better parent may have gone without being heard.
                let children = self.unplanned_children(members).filter(|child| self.is_quiet(now, child));
                children.for_each(|child| child.call(now));
            }
            if seldom && any_lost {
                // They may not know it, and then only somebody else can tell them anything.
                planted!(ChildGivenUp => return);
                let near = self.next_peer(members, delegated, |peer| self.is_near(members, peer));
                near.into_iter().for_each(|near| self.link(members, near).delegate(now));
                // Nor do they know of it in whose tree they are, if that has everything that this one has.
                let strangers = members.links().filter(|(peer, _)| self.is_in_another_tree(members, *peer));
                strangers.for_each(|(_, stranger)| stranger.delegate_when_asked());
            }
        }
    }

    /// Something is not as the plan has it. Who has nothing to say wouldn't find out that its parent is gone.
    pub(super) fn call_quiet_parent(&self, now: Time, members: &Membership) {
        let parent = self.parent(members).map(|parent| self.link(members, parent));
        parent.into_iter().filter(|parent| self.is_quiet(now, parent)).for_each(|parent| parent.call(now));
    }

    fn is_quiet(&self, now: Time, link: &Link) -> bool {
        link.is_quiet(now, SELDOM * self.config.explore_interval)
    }

    fn unplanned_children<'a>(&'a self, members: &'a Membership) -> impl Iterator<Item = &'a Link> {
        let children = members.links().filter(|(_, link)| link.is_child() && !link.is_down());
        children.filter(|(peer, _)| !self.is_planned_child(members, *peer)).map(|(_, link)| link)
    }

    /// Whether the peer should be told something by this node, and can't.
    fn is_lost(link: &Link) -> bool {
        link.is_down() && (link.is_child() || link.is_promised())
    }

    /// A peer does not answer. If the parent is another one than the plan has, there may be many like it.
    pub(super) fn note_silence(&self, now: Time, members: &Membership, peer: PeerIndex) {
        if self.parent(members) == Some(peer) && self.planned_parent(members) != Some(peer) {
            let untried = members.before_me().filter(|peer| members.existing_link(*peer).is_none());
            untried.take(TRIED_AT_ONCE).for_each(|peer| self.link(members, peer).call(now));
        }
    }

    /// Finds out what tree this node is in. If that is another one, its children are told: they may know a way to other
    /// trees.
    fn settle_root(&self, now: Time, members: &Membership) {
        let of_parent = |parent| members.existing_link(parent).and_then(Link::root).unwrap_or(PLANNED_ROOT);
        #[cfg_attr(not(feature = "planted-bugs"), expect(unused_mut, reason = "but for a planted bug"))]
        let mut root = self.parent(members).map_or(members.rank(), of_parent);
        planted!(RootTakenForGranted => root = self.parent(members).map_or(members.rank(), |_| PLANNED_ROOT));
        if self.route.root.swap(root, Ordering::Relaxed) != root {
            // Then the parent that the plan has may be within reach, too.
            let planned = self.planned_parent(members).and_then(|planned| members.existing_link(planned));
            if let Some(planned) = planned.filter(|planned| planned.is_down()) {
                planned.note_sign_of_life(now);
            }
            let children = members.links().filter(|(_, link)| link.is_child() && !link.is_down());
            children.for_each(|(_, child)| child.tell(now));
        }
    }

    /// The peers that a neighbour is to see to, by their places: those that this node should tell something, and can't.
    pub(super) fn unreachable(&self, members: &Membership) -> Vec<u64> {
        let lost = members.links().filter(|(_, link)| Self::is_lost(link));
        lost.map(|(peer, _)| members.rank_of(peer) as u64).collect()
    }

    fn is_in_another_tree(&self, members: &Membership, peer: PeerIndex) -> bool {
        let is_other = |link: &Link| link.root().is_some_and(|root| root != self.route.root());
        members
            .existing_link(peer)
            .is_some_and(|link| !self.matters(members, peer, link) && !link.is_down() && is_other(link))
    }

    /// Whether nothing is known of the tree that a stranger is in: what it said of that long ago may have been true then.
    fn is_out_of_reach(&self, now: Time, members: &Membership, peer: PeerIndex) -> bool {
        members.existing_link(peer).is_none_or(|link| {
            let is_known = !link.is_down() && link.root().is_some() && !self.is_quiet(now, link);
            !self.matters(members, peer, link) && !is_known
        })
    }

    /// A neighbour can't reach some nodes: perhaps this one can, or another one in this tree.
    pub(super) fn see_to(
        &self,
        now: Time,
        members: &Membership,
        by: PeerIndex,
        unreachable: &[u64],
        out: &mut Outbox,
    ) {
        let mut requests: BTreeMap<PeerIndex, Vec<u64>> = BTreeMap::new();
        let peers: BTreeSet<PeerIndex> =
            unreachable.iter().filter_map(|&place| members.named(place)).collect();
        for peer in peers {
            let link = self.link(members, peer);
            // Others may have asked for the same; and may be asked for it.
            let spread = self.config.explore_interval.mul_f64(part(self.random.bits()));
            let at = link.rested(now, SELDOM * self.config.explore_interval) + spread;
            if link.root().is_some_and(|root| root != self.route.root()) {
                // Who is in another tree knows what it can't reach; but perhaps not that this node is in this one.
                link.call(at);
            } else {
                link.note_stale(at);
            }
            if link.is_down() {
                for next in self.whom_to_ask(now, members, by, link) {
                    requests.entry(next).or_default().push(members.rank_of(peer) as u64);
                }
            }
        }
        if !unreachable.is_empty() {
            self.deadline.bring_forward(now);
        }
        for (next, unreachable) in requests {
            let request = Sync { round: self.random.name(), unreachable, ..Sync::default() };
            self.send_sync(now, members, (next, self.link(members, next)), request, out);
        }
    }

    /// Whom to ask to see to a peer that this node was asked to see to, and can't, unless it has just asked for that: the
    /// parent; and where it doesn't go up any further, one child of the root after the other, and all that are below that.
    fn whom_to_ask(&self, now: Time, members: &Membership, by: PeerIndex, about: &Link) -> Vec<PeerIndex> {
        let parent = self.parent(members);
        let up = parent.filter(|parent| *parent != by);
        let (last, rest) = match up {
            // The root is asked by others, too.
            Some(_) => (&about.passed_up_at, SELDOM / 2 * self.config.explore_interval),
            None => (&about.passed_on_at, SELDOM * self.config.explore_interval),
        };
        if last.get().if_ever().is_some_and(|last| now < last + rest) {
            return Vec::new();
        }
        last.set(now);
        let is_child = |peer: &PeerIndex| {
            members.existing_link(*peer).is_some_and(|link| link.is_child() && !link.is_down())
        };
        match (up, parent) {
            (Some(up), _) => vec![up],
            (None, Some(_)) => members.peers().filter(is_child).collect(),
            (None, None) => {
                self.next_peer(members, &about.passed_on, |peer| is_child(&peer)).into_iter().collect()
            }
        }
    }

    /// Whether the peer may be asked to see to what this node can't reach.
    fn is_near(&self, members: &Membership, peer: PeerIndex) -> bool {
        let is_neighbour = |link: &Link| self.is_direct() || self.is_linked(members, peer, link);
        members.existing_link(peer).is_some_and(|link| !link.is_down() && is_neighbour(link))
    }

    /// The next of certain peers.
    fn next_peer(
        &self,
        members: &Membership,
        cursor: &AtomicUsize,
        is_wanted: impl Fn(PeerIndex) -> bool,
    ) -> Option<PeerIndex> {
        let peers = members.nodes() - 1;
        let from = cursor.load(Ordering::Relaxed) % peers.max(1);
        let mut next = members.peers().skip(from).chain(members.peers().take(from)).enumerate();
        let (skipped, peer) = next.find(|(_, peer)| is_wanted(*peer))?;
        cursor.fetch_add(skipped + 1, Ordering::Relaxed);
        Some(peer)
    }

    pub(super) fn explore_at(&self) -> Time {
        self.route.explore_at.get()
    }

    // When.

    /// When to send a value that was broadcast at `born` to a peer that it has just been queued for.
    pub(super) fn flush_time(
        &self,
        now: Time,
        members: &Membership,
        (peer, link): (PeerIndex, &Link),
        from: Option<PeerIndex>,
        born: Time,
    ) -> Time {
        let Plan { strategy, period, margin, .. } = self.route.plan();
        let parent = self.parent(members);
        if link.is_down() {
            Time::NEVER
        } else if !self.is_linked(members, peer, link) && strategy != Strategy::Direct {
            now
        } else if strategy == Strategy::Direct {
            // What comes meanwhile goes along.
            now + period
        } else if parent == Some(peer) {
            link.aligned(now)
        } else if parent.is_some() && from == parent {
            now + GATHER
        } else {
            // The plan leaves a margin for jitter; what jitter exceeds it is not worth a flush either.
            let deviation = link.round_trip.get().and_then(Estimate::jitter).unwrap_or_default();
            let jitter = (4 * deviation).saturating_sub(margin);
            let latest = born + self.config.latency_budget + LATENESS + jitter;
            // Others that have missed the last flush as closely come with it.
            let soonest = now.max(link.last_sent() + (LATENESS + 4 * deviation).min(period / 2));
            let flush = self.hub_flush(now, members, born);
            // What is later has come by way of more nodes than the plan has, and haste is for what that can keep.
            if parent.is_some() && strategy == Strategy::Star || latest + period / 2 < now {
                return flush;
            }
            flush.min(latest.before(link.round_trip.one_way()).max(soonest))
        }
    }

    /// When to flush to a child that was to be flushed to now for fear of being late, if that was too fearful for
    /// what has been measured since.
    pub(super) fn postponed(
        &self,
        now: Time,
        members: &Membership,
        (peer, link): (PeerIndex, &Link),
    ) -> Option<Time> {
        let for_fear = self.parent(members).is_none() && link.is_child() && !self.is_direct();
        let flush_at = self.flush_time(now, members, (peer, link), None, link.oldest.get().min(now));
        (for_fear && flush_at > now && flush_at != Time::NEVER).then_some(flush_at)
    }

    /// One way to the farthest peer.
    fn far(&self) -> Duration {
        Duration::from_nanos(self.route.far.load(Ordering::Relaxed))
    }

    /// When this node flushes to its children next: with the others of its own hub, or when it wants to.
    fn hub_flush(&self, now: Time, members: &Membership, born: Time) -> Time {
        let above = self.parent(members).and_then(|peer| Some((peer, members.existing_link(peer)?)));
        if let Some((peer, link)) = above {
            let is_root = link.root() == Some(members.rank_of(peer));
            // A parent that has one itself flushes when that one's flush comes: with the next of them, whenever that is.
            let flush = if is_root { link.parents_flush(now) } else { link.every().map(|every| now + every) };
            if let Some(flush) = flush {
                return flush + GATHER;
            }
        }
        let Plan { period, aligned, .. } = self.route.plan();
        let next = self.route.next_flush.get();
        if aligned || next > now {
            return next_on_grid(now, next, period);
        }
        // Nobody waits for a flush of this hub: it is one period after the first value for it came, or would have come
        // if it had been sent when it was broadcast.
        let flush = now.max(born + self.far() + period);
        self.route.next_flush.set(flush);
        flush
    }

    /// The first flush is to come soon: it tells leaves when to send, and shows how far they are.
    pub(super) fn begin_flushes(&self, now: Time) {
        self.route.next_flush.set(now + self.route.plan().period / 4);
    }

    /// This node has something for its children. True if it flushes to them now: the next time is a period away.
    pub(super) fn begin_hub_flush(&self, now: Time) -> bool {
        let route = &self.route;
        let is_due = route.next_flush.get() <= now;
        if is_due {
            let held = self.seen.len() as u64;
            let gathered = held.saturating_sub(route.held_before.swap(held, Ordering::Relaxed));
            // The first flush knows of no time in which it gathered what it has.
            if let Some(before) = route.flushed_at.get().if_ever() {
                self.note_rate(gathered as f64 / now.since(before).as_secs_f64().max(1e-3));
            }
            route.flushed_at.set(now);
            let Plan { period, aligned, .. } = route.plan();
            // What has missed this flush by a plan with longer round trips and a shorter period waits no longer.
            let before = Duration::from_nanos(route.last_period.swap(nanos(period), Ordering::Relaxed));
            route.next_flush.set(if aligned { now + period.min(before) } else { now });
        }
        is_due
    }

    fn note_rate(&self, last: f64) {
        let before = f64::from_bits(self.route.rate.load(Ordering::Relaxed));
        // An eighth for the last period, so that chance counts little.
        let rate = if before == 0.0 { last } else { before + (last - before) / 8.0 };
        self.route.rate.store(rate.to_bits(), Ordering::Relaxed);
    }

    /// What to tell a child of when to send: so that it arrives before this node's own next flush or, if this node has a
    /// parent, before it sends to that.
    pub(super) fn hub_plan(&self, now: Time, members: &Membership, peer: PeerIndex) -> Option<HubPlan> {
        let Plan { strategy, period, margin, aligned } = self.route.plan();
        let parent = self.parent(members);
        let is_child = members.existing_link(peer).is_some_and(Link::is_child);
        if strategy == Strategy::Direct || parent.is_some() && !is_child {
            return None;
        }
        let far = self.far();
        let (next, every, far) = match parent.and_then(|parent| members.existing_link(parent)) {
            Some(link) => {
                let next = link.aligned(now);
                (
                    Some(next),
                    link.every()?,
                    far.max(link.round_trip.one_way() + link.far().unwrap_or_default()),
                )
            }
            None => {
                let next = aligned.then(|| next_on_grid(now, self.route.next_flush.get(), period));
                (next, period, far)
            }
        };
        let next = next.map(|next| micros(next.since(now)));
        Some(HubPlan { next, margin: micros(margin), every: micros(every), far: micros(far) })
    }
}
