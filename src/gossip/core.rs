//! What the ticking thread knows, and what every message between nodes says of it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::link::{AckDelay, AckTimer, Blind, Link};
use super::membership::{Membership, Peer, Shared};
use super::overlay::Overlay;
use super::plan::{self, Strategy};
use super::reconcile::Reconciliation;
use super::restarts::Restarts;
use super::rule::Equals;
use super::schedule::{GATHER, Schedule};
use super::timers::Timers;
use super::untold::Untold;
use super::watch::Watch;
use crate::config::Config;
use crate::node::{Outbox, Time};
use crate::protocol::link::{Claim, Digest, Header, Restart};
use crate::protocol::{Excerpt, Generation, Value, encode};
use crate::queue::Log;
use crate::random::{Random, part, scatter};
use crate::sync::{AtomicU64, Ordering};

/// What a node that is not settled waits beyond the time that messages under way take.
const QUIET: Duration = Duration::from_millis(150);

/// A message that says that all members hold the same names so many at most that may not.
const EXCEPTED_MAX: usize = 1024;

/// The last incarnation that is believed.
const INCARNATION_MAX: u64 = 1 << 62;

/// What a tick has at hand beside what it changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tick<'a> {
    pub(super) now: Time,
    pub(super) config: &'a Config,
    pub(super) random: &'a Random,
    pub(super) log: &'a Log,
    pub(super) members: &'a Membership,
    /// This node's incarnation.
    pub(super) incarnation: &'a AtomicU64,
}

impl<'a> Tick<'a> {
    pub(super) fn shared(&self, peer: Peer) -> &'a Shared {
        let Self { members, config, random, .. } = *self;
        members.shared(peer, || config.first_generation.unwrap_or_else(|| Generation(random.name())))
    }

    /// Sends a peer a message, of which `encode` appends the body.
    pub(super) fn send(&self, peer: Peer, out: &mut Outbox, encode: impl FnOnce(&mut Vec<u8>)) {
        out.send(self.members.me(), self.members.name(peer), encode);
    }

    /// At random from three quarters of a time to all of it, so that nodes that begin together don't go on
    /// together.
    pub(super) fn spread(&self, time: Duration) -> Duration {
        time - (time / 4).mul_f64(part(self.random.bits()))
    }
}

/// All that the ticking thread knows.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) held: Held,
    pub(super) restarts: Restarts,
    pub(super) equals: Equals,
    pub(super) links: BTreeMap<Peer, Link>,
    pub(super) timers: Timers,
    pub(super) overlay: Overlay,
    pub(super) schedule: Schedule,
    pub(super) watch: Watch,
    pub(super) reconciliation: Reconciliation,
    pub(super) untold: Untold,
    /// Questions have brought the log up to here to one suspected peer or another.
    pub(super) brought: usize,
    pub(super) started: bool,
}

/// What this node holds, as far as the ticking thread has looked at the log.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// So many entries of the log.
    pub(super) len: usize,
    /// Their additive fingerprint.
    sum: u64,
    /// Counts how often the digest has changed.
    pub(super) epoch: u64,
}

impl Held {
    pub(super) fn add(&mut self, values: impl ExactSizeIterator<Item = Value>) {
        self.len += values.len();
        self.sum = values.fold(self.sum, |sum, value| sum.wrapping_add(scatter(value.cast_unsigned())));
    }
}

impl Core {
    pub(super) fn new(members: &Membership) -> Self {
        Self {
            held: Held::default(),
            restarts: Restarts::default(),
            equals: Equals::everybody(members.rank(), members.nodes()),
            links: BTreeMap::new(),
            timers: Timers::default(),
            overlay: Overlay::new(members.rank()),
            schedule: Schedule::default(),
            watch: Watch::new(members.rank()),
            reconciliation: Reconciliation::default(),
            untold: Untold::default(),
            brought: 0,
            started: false,
        }
    }

    pub(super) fn digest(&self) -> Digest {
        Digest { count: self.held.len as u64, sum: self.held.sum, restarts: self.restarts.fingerprint() }
    }

    /// The digest has changed, so that nobody is known to hold the same any more.
    pub(super) fn changed(&mut self, tick: &Tick<'_>) {
        self.held.epoch += 1;
        self.equals.changed();
        self.watch.news(tick.now, tick.now + self.quiet(tick));
        self.explain(tick);
    }

    /// How long a node that is not settled waits for news before it asks for some: until all that can be on its
    /// way has come.
    pub(super) fn quiet(&self, tick: &Tick<'_>) -> Duration {
        let round_trip = 2 * self.overlay.far();
        // A node with a parent waits for its flush, and for the acknowledgements of that.
        let flush = match self.overlay.parent {
            Some(_) if !self.overlay.is_direct() => self.overlay.plan.period,
            _ => Duration::ZERO,
        };
        Overlay::ack_delay_of_child(tick.config, self.overlay.plan.period) + flush + 2 * round_trip + QUIET
    }

    /// Takes up a restart of a member, this node perhaps.
    pub(super) fn learn_restart(&mut self, tick: &Tick<'_>, restart: Restart) {
        let Ok(rank) = usize::try_from(restart.rank) else { return };
        if restart.incarnation > INCARNATION_MAX {
            return; // Made up: none after it could be said.
        }
        let Some(peer) = tick.members.at(rank) else {
            // Relaxed, both: only the ticking thread stores it.
            let incarnation = tick.incarnation.load(Ordering::Relaxed);
            if rank == tick.members.rank() && restart.incarnation > incarnation {
                // Some clock was set back since this node's former incarnation, or somebody made it up: this
                // incarnation is a later one (SWIM's refutation), or the last.
                let incarnation = INCARNATION_MAX.min(restart.incarnation + 1);
                tick.incarnation.store(incarnation, Ordering::Relaxed);
                self.learn(tick, Restart { incarnation, ..restart });
            } else if rank == tick.members.rank() && restart.incarnation == incarnation {
                self.learn(tick, restart);
            }
            return;
        };
        if self.links.contains_key(&peer) {
            tick.shared(peer).set_incarnation(restart.incarnation.max(self.restarts.latest(rank)));
        }
        let former =
            self.links.get(&peer).map(|link| link.incarnation).filter(|&incarnation| incarnation != 0);
        if former.is_some_and(|incarnation| incarnation < restart.incarnation) {
            self.restarted(tick, peer, restart.incarnation);
        }
        self.learn(tick, restart);
    }

    fn learn(&mut self, tick: &Tick<'_>, restart: Restart) {
        if self.restarts.learn(restart) {
            self.changed(tick);
            (self.schedule.up_at, self.schedule.down_at) = (tick.now, tick.now);
            self.see_to_restart(tick);
        }
    }

    /// A peer was started again: what it held is gone, and so is what was in flight to it. Neighbours compare with it; by the
    /// direct plan others go on to tell it what they tell everybody.
    fn restarted(&mut self, tick: &Tick<'_>, peer: Peer, incarnation: u64) {
        let slots = &tick.shared(peer).slots;
        let is_told = self.overlay.is_direct() && !self.is_neighbour(peer);
        let link = self.link(peer);
        let cursor = link.unacked_from(slots);
        slots.clear();
        link.restart(incarnation);
        if is_told {
            link.sync(cursor);
        }
        self.equals.differs(peer.0);
        if self.is_neighbour(peer) && !self.link(peer).health.is_suspected() {
            self.start_round(tick, peer, tick.now);
        }
    }

    // Links.

    /// The link to a peer, made if there is none yet.
    pub(super) fn link(&mut self, peer: Peer) -> &mut Link {
        let Self { links, overlay, .. } = self;
        links.entry(peer).or_insert_with(|| Link::new(false, false, overlay.measured))
    }

    /// How long this node waits for the peer's acknowledgements, and how long it lets its own wait.
    pub(super) fn ack_delays(&mut self, tick: &Tick<'_>, peer: Peer) -> (AckDelay, AckDelay) {
        self.link(peer);
        let (overlay, link) = (&self.overlay, &self.links[&peer]);
        (overlay.answer_delay(tick.config, link), overlay.ack_delay(tick.config, link))
    }

    /// Whether values travel on to and from this peer.
    pub(super) fn is_neighbour(&self, peer: Peer) -> bool {
        self.overlay.is_above(peer)
            || self.links.get(&peer).is_some_and(|link| {
                let foreign = link.overlay.is_foreign && self.overlay.parent.is_none();
                link.overlay.is_child || foreign
            })
    }

    /// Whether somebody takes this node for a parent, and answers.
    pub(super) fn has_children(&self) -> bool {
        self.links.values().any(|link| link.overlay.is_child && link.answers())
    }

    /// Whether the peer's silence is worth a word.
    pub(super) fn matters(&self, tick: &Tick<'_>, peer: Peer) -> bool {
        self.is_neighbour(peer) || self.overlay.planned_parent(tick.members) == Some(peer)
    }

    /// Looks at the link again when it next needs it.
    pub(super) fn rearm(&mut self, tick: &Tick<'_>, peer: Peer) {
        let Self { links, timers, overlay, .. } = self;
        let Some(link) = links.get_mut(&peer) else { return };
        let due =
            link.due().min(link.retry_at(&tick.shared(peer).slots, overlay.answer_delay(tick.config, link)));
        timers.bring_forward(peer, due, &mut link.queued);
    }

    /// The peer does not answer.
    pub(super) fn suspect(&mut self, tick: &Tick<'_>, peer: Peer, out: &mut Outbox) {
        if self.matters(tick, peer) {
            out.note(format_args!("{} does not answer", Excerpt(tick.members.name(peer))));
        }
        let slots = &tick.shared(peer).slots;
        let link = self.link(peer);
        let is_compared = link.comparison.round.is_some();
        let lacks_some = is_compared || link.push.rest || link.under_way(slots).next().is_some();
        link.blind = Blind::from(link.unacked_from(slots));
        link.health.suspect(link.clock.stamped());
        link.put_off_round();
        // A child that has nothing to say doesn't notice.
        let is_lost = lacks_some
            || link.overlay.is_child
            || self.overlay.parent.is_none()
            || self.untold.is_sought(peer);
        self.untold.say_anew();
        if is_lost {
            self.untold.add(peer);
            self.choose_helper(tick);
        }
        self.watch.hurry(tick.now);
    }

    // Messages.

    /// What a message to a peer says of the link. What has come is acknowledged by it.
    pub(super) fn header(&mut self, tick: &Tick<'_>, peer: Peer) -> Header {
        let plan = self.overlay.hub_plan(tick.now, &self.schedule, &self.links, peer);
        let (digest, claim) = (self.digest(), self.claim(tick.members));
        let restarts_known = digest.restarts;
        let all = self.overlay.is_direct() && !self.is_helped_by(peer);
        let more = self.has_more(tick, peer);
        self.choose_helper(tick);
        self.link(peer);
        let Self { links, overlay, restarts, held, untold, .. } = self;
        let link = links.get_mut(&peer).expect("made above");
        link.acks = AckTimer::default();
        let (up, at) = (overlay.is_above(peer), link.clock.stamp(tick.now));
        match &claim {
            Claim::Mine => {}
            Claim::Below => link.told.claimed_below = Some(held.epoch),
            Claim::AllBut(others) => link.told.tell_all_but(held.epoch, others.len()),
        }
        let is_up_to_date = link.told.heard.is_some_and(|heard| heard.restarts == restarts_known);
        Header {
            // Relaxed: only the ticking thread stores it.
            incarnation: tick.incarnation.load(Ordering::Relaxed),
            to: (link.incarnation != 0).then_some(link.incarnation),
            at,
            echo: link.clock.echo(tick.now),
            acked: link.receipts.acked(),
            up,
            all,
            more,
            root: overlay.root as u64,
            plan,
            digest,
            claim,
            restarts: if is_up_to_date { Vec::new() } else { restarts.all() },
            untold: untold.say(peer, at),
        }
    }

    /// Whether a peer is to pass on, by the direct plan, what this node sends it: the helper, if there is somebody whom this
    /// node can't reach, or doesn't push to yet.
    fn is_helped_by(&self, peer: Peer) -> bool {
        self.helper() == Some(peer) && !self.links.values().all(Link::is_told)
    }

    /// Has somebody look for those who don't answer this node: first who may well reach them, then others in turn.
    fn choose_helper(&mut self, tick: &Tick<'_>) {
        // When all is quiet, this node asks everybody itself.
        let Some(last) = self.untold.seeks_helper(tick.now).filter(|_| !self.watch.is_quiet()) else {
            return;
        };
        let helper = match last {
            None => self.helper(),
            Some(Peer(last)) => {
                let is_next = |&(&peer, link): &(&Peer, &Link)| {
                    link.answers() && (self.overlay.is_direct() || self.is_neighbour(peer))
                };
                let mut after = self.links.range(Peer(last + 1)..).filter(is_next);
                let next = after.next().or_else(|| self.links.iter().find(is_next));
                next.map(|(&peer, _)| peer)
            }
        };
        self.untold.choose(tick.now, helper);
        if let Some(helper) = helper
            && last.is_none()
        {
            // More may be lost at the same time.
            self.link(helper).acks.by(tick.now + GATHER);
            self.rearm(tick, helper);
        }
    }

    /// Who may reach whom this node can't: the first peer that answers; but where nobody tells everyone, the parent if that does.
    pub(super) fn helper(&self) -> Option<Peer> {
        let reaches =
            |peer: &Peer| !self.overlay.is_direct() && self.links.get(peer).is_some_and(Link::answers);
        let parent = self.overlay.parent.filter(reaches);
        parent.or_else(|| self.links.iter().find(|(_, link)| link.answers()).map(|(&peer, _)| peer))
    }

    /// Whether more for a peer is on its way, or waits to be sent.
    pub(super) fn has_more(&self, tick: &Tick<'_>, peer: Peer) -> bool {
        let Some(link) = self.links.get(&peer) else { return false };
        let is_under_way = link.under_way(&tick.shared(peer).slots).next().is_some();
        let is_compared = link.comparison.round.is_some_and(|round| !round.is_put_off());
        link.push.is_synced && (self.flush_waits(peer) || is_under_way) || is_compared
    }

    /// Whether a peer is to be flushed to.
    pub(super) fn flush_waits(&self, peer: Peer) -> bool {
        let Self { overlay, schedule, .. } = self;
        let flush = if overlay.parent == Some(peer) { schedule.up_at } else { schedule.down_at };
        flush != Time::NEVER && (overlay.is_direct() || self.is_neighbour(peer))
    }

    /// For whom this node's digest holds.
    fn claim(&self, members: &Membership) -> Claim {
        if self.speaks_for_others() {
            Claim::AllBut(self.equals.unequal().map(|member| member as u64).collect())
        } else if self.overlay.plan.strategy == Strategy::Tree && self.holds_below(members) {
            Claim::Below
        } else {
            Claim::Mine
        }
    }

    /// Whether what this node says to others names those few that may not hold the same.
    fn speaks_for_others(&self) -> bool {
        let (unequal, nodes) = (self.equals.unequal_count(), self.equals.members());
        unequal == 0 || self.watch.is_quiet() && unequal <= EXCEPTED_MAX && unequal + 1 < nodes
    }

    /// Whether no more members will be known to hold the same, for all that is known: the others don't answer.
    pub(super) fn knows_all_that_answer(&self) -> bool {
        let answers_not =
            |member| self.links.get(&Peer(member)).is_some_and(|link| link.health.is_suspected());
        self.speaks_for_others() && self.equals.unequal().all(answers_not)
    }

    /// Whether all that a tree has below this node are known to hold the same.
    pub(super) fn holds_below(&self, members: &Membership) -> bool {
        let mut below = plan::below(members.nodes(), members.rank()).peekable();
        below.peek().is_some() && below.all(|member| self.equals.has(member))
    }

    /// Says to a peer what every message says, and no more.
    pub(super) fn send_ack(&mut self, tick: &Tick<'_>, peer: Peer, out: &mut Outbox) {
        let header = self.header(tick, peer);
        tick.send(peer, out, |body| encode::ack(body, &header));
    }

    /// Asks a peer what it holds. It is to answer within a round trip. A question to a suspected peer brings
    /// values: of what this node says, questions may be all that the peer hears, and of what it hears, all that
    /// comes from here.
    pub(super) fn send_ping(&mut self, tick: &Tick<'_>, peer: Peer, out: &mut Outbox) {
        let values = self.values_for_suspected(tick, peer);
        let header = self.header(tick, peer);
        tick.send(peer, out, |body| encode::ping(body, &values, &header));
        self.expect_answer(tick, peer, Duration::ZERO);
    }

    /// The last message to a peer wants an answer, which takes the peer so long.
    pub(super) fn expect_answer(&mut self, tick: &Tick<'_>, peer: Peer, takes: Duration) {
        let link = self.link(peer);
        let (stamp, due) = (link.clock.stamped(), tick.now + link.trip.timeout() + takes);
        link.health.ask(tick.now, stamp, due);
        self.rearm(tick, peer);
    }
}
