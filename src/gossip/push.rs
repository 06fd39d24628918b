//! From the log to messages: what is new to flushes, flushes to batches in flight, those to retries.

use std::time::Duration;

use smallvec::SmallVec;

use super::core::{Core, Tick};
use super::link::{Health, Link};
use super::membership::{Membership, Peer};
use super::overlay::Overlay;
use super::plan::{Plan, Strategy};
use super::round_trip::Estimate;
use super::schedule::{GATHER, LATENESS};
use crate::node::{Outbox, Time, micros};
use crate::protocol::link::{Acked, Delta, Header};
use crate::protocol::{Batch, Generation, RUNS_VALUES_MAX, encode, integers_by_runs};
use crate::queue::{InFlight, Origin, SLOTS, SlotRing, Span};

/// The longest that a batch waits for its acknowledgement before it is sent again, unless the network is that
/// slow.
const WAIT_MAX: Duration = Duration::from_secs(4);

/// A batch that so many later ones have overtaken by a quarter of a round trip is lost.
const OVERTAKING: u32 = 3;

/// Values are told by runs where an integer has been telling so many of them: where they have no neighbours, to sort them
/// would be for nothing.
const RUNS_PAY: f64 = 1.1;

/// What the log has gained since the ticking thread looked.
#[derive(Default)]
struct News {
    /// Whether any of it came from a client, from the parent, or from another peer that doesn't tell everybody
    /// itself.
    from_client: bool,
    from_parent: bool,
    from_others: bool,
    /// Whether peers tell everybody some of it themselves, and when the oldest of that was broadcast.
    told: Option<Time>,
}

/// Values of the log for a peer.
struct Gathered {
    values: Batch,
    /// Whether they are to be told by runs, and are in ascending order.
    by_runs: bool,
    /// When the oldest of them was broadcast.
    born: Time,
    /// What they are of the log, and what is left of what was asked for.
    covered: Span,
    rest: Span,
}

/// Appends a delta to a buffer, as functions of [`encode`] do.
type Encoder = fn(&mut Vec<u8>, &Delta<'_>, &Header);

impl Gathered {
    fn encoder(&self) -> Encoder {
        if self.by_runs { encode::delta_by_runs } else { encode::delta }
    }
}

impl Core {
    // What is new.

    /// Takes up what the log has gained, and has it flushed in time.
    pub(super) fn absorb(&mut self, tick: &Tick<'_>) {
        let gained = Span { from: self.held.len, to: tick.log.len(), whole: true };
        if gained.from == gained.to {
            return;
        }
        let parent = self.overlay.parent.map(|Peer(rank)| rank);
        let is_direct = self.overlay.is_direct();
        let mut news = News::default();
        for stretch in tick.log.stretches(gained) {
            self.held.add(stretch.values());
            match stretch.origin {
                Origin::Told if is_direct => {
                    news.told = Some(news.told.map_or(stretch.born, |born| born.min(stretch.born)));
                }
                Origin::Peer(from) if parent == Some(from) => news.from_parent = true,
                origin => {
                    news.from_client |= origin == Origin::Client;
                    news.from_others |= origin != Origin::Client;
                    self.schedule.oldest = self.schedule.oldest.min(stretch.born);
                }
            }
        }
        if let Some(born) = news.told.filter(|_| self.tells_foreign()) {
            // Whoever tells everybody may not know of those peers.
            news.from_others = true;
            self.schedule.oldest = self.schedule.oldest.min(born);
        }
        if (news.told.is_some() || news.from_parent)
            && self.links.keys().any(|&peer| self.is_passed_all(tick.members, peer))
        {
            news.from_others = true;
        }
        self.changed(tick);
        self.plan_flushes(tick, &news);
    }

    /// Whether this node tells peers everything that speak otherwise than natter nodes do.
    fn tells_foreign(&self) -> bool {
        self.overlay.parent.is_none() && self.links.values().any(|link| link.overlay.is_foreign)
    }

    fn plan_flushes(&mut self, tick: &Tick<'_>, news: &News) {
        let now = tick.now;
        if self.overlay.is_direct() {
            if news.from_others {
                self.schedule.down_at = self.schedule.down_at.min(now);
            }
            if news.from_client {
                // What comes meanwhile goes along.
                self.schedule.down_at = self.schedule.down_at.min(now + self.overlay.plan.period);
            }
            return;
        }
        let is_from_below = news.from_client || news.from_others;
        if is_from_below {
            self.flush_up_in_time(now);
        }
        let is_below = |link: &Link| link.overlay.is_child || link.overlay.is_foreign;
        if self.overlay.bridge.is_some() || self.links.values().any(is_below) {
            if news.from_parent {
                self.schedule.down_at = self.schedule.down_at.min(now);
            }
            if is_from_below {
                let soonest = self.soonest_flush(tick);
                self.schedule.down_at = self.schedule.down_at.min(soonest);
            }
        }
    }

    /// Has what is for the parent sent so that it arrives before the parent flushes.
    pub(super) fn flush_up_in_time(&mut self, now: Time) {
        if let Some(link) = self.overlay.parent.and_then(|parent| self.links.get(&parent)) {
            self.schedule.up_at = self.schedule.up_at.min(link.clock.aligned(now, &link.trip));
        }
    }

    /// The parent flushes at another time than it was to.
    pub(super) fn flush_up_anew(&mut self, now: Time) {
        if self.schedule.up_at != Time::NEVER {
            self.schedule.up_at = Time::NEVER;
            self.flush_up_in_time(now);
        }
    }

    /// When this node flushes to its children next: with the others of its own root, or when it wants to.
    fn next_root_flush(&mut self, now: Time) -> Time {
        let Self { overlay, schedule, links, .. } = self;
        let above = overlay.parent.and_then(|parent| Some((parent, links.get(&parent)?)));
        if let Some((parent, link)) = above {
            // A parent that has one itself flushes when that one's flush comes: with the next of them, whenever
            // that is.
            let is_root = link.overlay.root == Some(parent.0);
            let flush = if is_root {
                link.clock.next_flush(now)
            } else {
                link.clock.every().map(|every| now + every)
            };
            if let Some(flush) = flush {
                return flush + GATHER;
            }
        }
        schedule.root_flush(now, overlay.plan, overlay.far(), schedule.oldest.min(now))
    }

    /// By when the oldest of the values that wait may arrive at a child.
    fn latest(&self, tick: &Tick<'_>, deviation: Duration) -> Time {
        // The plan leaves a margin for jitter; what jitter exceeds it is not worth a flush either.
        let jitter = (4 * deviation).saturating_sub(self.overlay.plan.margin);
        self.schedule.oldest + tick.config.latency_budget + LATENESS + jitter
    }

    /// Whether haste may help: what is later has come by way of more nodes than the plan has, and haste is for
    /// what that can keep.
    fn is_urgent(&self, tick: &Tick<'_>, deviation: Duration) -> bool {
        let Plan { strategy, period, .. } = self.overlay.plan;
        let is_planned = self.overlay.parent.is_none() || strategy != Strategy::Star;
        is_planned && self.latest(tick, deviation) + period / 2 >= tick.now
    }

    /// The soonest that any child may have to be flushed to.
    fn soonest_flush(&mut self, tick: &Tick<'_>) -> Time {
        let flush = self.next_root_flush(tick.now);
        if self.is_urgent(tick, Duration::ZERO) {
            let latest = self.latest(tick, Duration::ZERO).before(self.overlay.far());
            flush.min(tick.now.max(latest))
        } else {
            flush
        }
    }

    /// When a child is to be flushed to.
    fn due_to(&mut self, tick: &Tick<'_>, peer: Peer) -> Time {
        let flush = self.next_root_flush(tick.now);
        let Some(link) = self.links.get(&peer) else { return flush };
        let deviation = link.trip.get().and_then(Estimate::jitter).unwrap_or_default();
        if !self.is_urgent(tick, deviation) {
            return flush;
        }
        // Others that have missed the last flush as closely come with it.
        let rest = (LATENESS + 4 * deviation).min(self.overlay.plan.period / 2);
        let soonest = tick.now.max(link.push.last_sent + rest);
        flush.min(self.latest(tick, deviation).before(link.trip.one_way()).max(soonest))
    }

    // Flushes.

    /// Flushes to whom that is due.
    pub(super) fn flush_due(&mut self, tick: &Tick<'_>, out: &mut Outbox) {
        if self.schedule.up_at <= tick.now {
            self.schedule.up_at = Time::NEVER;
            if let Some(parent) = self.overlay.parent {
                self.flush(tick, parent, out);
            }
        }
        if self.schedule.down_at <= tick.now {
            self.flush_down(tick, out);
        }
    }

    pub(super) fn flush_down(&mut self, tick: &Tick<'_>, out: &mut Outbox) {
        let Self { overlay, schedule, .. } = self;
        let is_direct = overlay.is_direct();
        let is_time = schedule.begin_flush(tick.now, tick.log, self.held.len, overlay.plan);
        let to_all = is_time || is_direct || overlay.parent.is_some();
        let mut next = Time::NEVER;
        let mut targets = std::mem::take(&mut schedule.targets);
        if is_direct {
            targets.extend(tick.members.peers());
        } else {
            let Overlay { parent, bridge, .. } = *overlay;
            let is_target = |(peer, link): &(&Peer, &Link)| {
                link.overlay.is_child || link.overlay.is_foreign && parent.is_none() || bridge == Some(**peer)
            };
            targets.extend(self.links.iter().filter(is_target).map(|(&peer, _)| peer));
        }
        for &peer in &targets {
            let due = if to_all { tick.now } else { self.due_to(tick, peer) };
            if due <= tick.now {
                self.flush(tick, peer, out);
            } else {
                next = next.min(due);
            }
        }
        targets.clear();
        self.schedule.targets = targets;
        self.schedule.down_at = next;
        if next == Time::NEVER {
            self.schedule.oldest = Time::NEVER;
        }
    }

    /// Sends a peer what it lacks, as far as there are slots.
    pub(super) fn flush(&mut self, tick: &Tick<'_>, peer: Peer, out: &mut Outbox) {
        let is_pushed_to = self.is_pushed_to(peer);
        let slots = &tick.shared(peer).slots;
        let restarts = self.restarts.fingerprint();
        let link = self.link(peer);
        if link.health.is_suspected() {
            return;
        }
        let restarts_wait = is_pushed_to
            && link.told.restarts != restarts
            && link.told.heard.is_none_or(|heard| heard.restarts != restarts);
        let mut sent = false;
        loop {
            if !slots.has_free() {
                self.link(peer).push.rest = true;
                break;
            }
            let mut gathered = self.next_batch(tick, peer);
            if gathered.values.is_empty() && (sent || !restarts_wait) {
                self.link(peer).push.rest = false;
                break;
            }
            self.repeat(tick, peer, &mut gathered.values);
            self.send(tick, peer, &gathered, None, out);
            sent = true;
        }
        self.rearm(tick, peer);
    }

    /// Whether the peer is sent what the log gains.
    pub(super) fn is_pushed_to(&self, peer: Peer) -> bool {
        self.links.get(&peer).is_some_and(|link| link.push.is_synced)
            && (self.overlay.is_direct() || self.is_neighbour(peer))
    }

    /// The next values for a peer.
    fn next_batch(&mut self, tick: &Tick<'_>, peer: Peer) -> Gathered {
        let is_pushed_to = self.is_pushed_to(peer);
        let end = self.held.len;
        // Of what was in flight by another plan none may be for the peer.
        while let Some(span) = self.link(peer).push.lacking.pop_front() {
            let gathered = self.gather(tick, peer, span);
            if !gathered.rest.is_empty() {
                self.link(peer).push.lacking.push_front(gathered.rest);
            }
            if !gathered.values.is_empty() {
                return gathered;
            }
        }
        let push = &mut self.link(peer).push;
        let to = if is_pushed_to { end } else { push.cursor };
        let unsent = Span { from: push.cursor, to, whole: false };
        let gathered = self.gather(tick, peer, unsent);
        self.link(peer).push.cursor = gathered.rest.from;
        gathered
    }

    /// The values of a span that are for a peer, as many as a batch may hold: by runs, if one by one it can't hold them all,
    /// and more of them that way.
    fn gather(&self, tick: &Tick<'_>, peer: Peer, span: Span) -> Gathered {
        let most = tick.config.batch_max;
        let singly = self.gather_at_most(most, tick, peer, span);
        let reads_runs = self.links.get(&peer).is_some_and(|link| link.reads_runs);
        if singly.rest.is_empty() || !reads_runs || self.schedule.values_an_integer < RUNS_PAY {
            return singly;
        }
        let mut by_runs = self.gather_at_most(RUNS_VALUES_MAX, tick, peer, span);
        by_runs.values.sort_unstable();
        by_runs.by_runs = true;
        if integers_by_runs(&by_runs.values) <= most { by_runs } else { singly }
    }

    fn gather_at_most(&self, most: usize, tick: &Tick<'_>, peer: Peer, span: Span) -> Gathered {
        let (mut values, mut born, mut to) = (Batch::new(), Time::NEVER, span.from);
        for stretch in tick.log.stretches(span) {
            let room = most - values.len();
            if room == 0 {
                break;
            }
            let len = stretch.values().len();
            if span.whole || self.is_for(tick.members, peer, stretch.origin) {
                values.extend(stretch.values().take(room));
                born = born.min(stretch.born);
                to += len.min(room);
            } else {
                to += len;
            }
        }
        let (covered, rest) = (Span { to, ..span }, Span { from: to, ..span });
        Gathered { values, by_runs: false, born, covered, rest }
    }

    /// What a question brings to a suspected peer; nothing if it isn't suspected.
    pub(super) fn values_for_suspected(&mut self, tick: &Tick<'_>, peer: Peer) -> Batch {
        let (len, most) = (self.held.len, tick.config.batch_max);
        self.link(peer);
        let Self { links, brought, .. } = self;
        match links.get_mut(&peer).filter(|link| link.health.is_suspected()) {
            Some(link) => {
                link.blind.next(brought, len, most).map(|position| tick.log.get(position).value).collect()
            }
            None => Batch::new(),
        }
    }

    /// Fills a batch up with what is in flight and may well be overtaken by it: delays vary so much that a second
    /// way often is the shorter one, and a message costs the same with more values in it.
    fn repeat(&self, tick: &Tick<'_>, peer: Peer, batch: &mut Batch) {
        let trip = &self.links[&peer].trip;
        let spread = 4 * trip.get().and_then(Estimate::jitter).unwrap_or_default();
        if self.overlay.is_direct() || spread < LATENESS {
            return;
        }
        let recent = tick.now.before(trip.one_way() + spread);
        for in_flight in tick.shared(peer).slots.in_flight().filter(|in_flight| in_flight.sent > recent) {
            let Gathered { values, rest, .. } =
                self.gather_at_most(tick.config.batch_max, tick, peer, in_flight.span);
            if rest.is_empty() && batch.len() + values.len() <= tick.config.batch_max {
                batch.extend_from_slice(&values);
            }
        }
    }

    /// Whether a peer has to be told of a value of that origin, by this node. By the direct plan the parent tells
    /// everybody itself, and so does whoever says that it does. What a foreign peer holds is known by its
    /// acknowledgements alone, so it is told everything; so are whoever comes because it can't reach the planned parent, and a
    /// bridge: its tree hears of this one by nobody else.
    pub(super) fn is_for(&self, members: &Membership, peer: Peer, origin: Origin) -> bool {
        let is_foreign = self.links.get(&peer).is_some_and(|link| link.overlay.is_foreign);
        let is_relayed = origin == Origin::Told && !self.overlay.is_direct();
        if is_foreign || is_relayed || self.is_passed_all(members, peer) {
            return origin != Origin::Peer(peer.0);
        }
        let is_told = |Peer(parent)| self.overlay.is_direct() && origin == Origin::Peer(parent);
        origin.concerns(peer.0) && !self.overlay.parent.is_some_and(is_told)
    }

    /// Whether a peer is a bridge, or has taken this node for its parent, which the plan doesn't.
    fn is_passed_all(&self, members: &Membership, peer: Peer) -> bool {
        let is_unplanned = !self.overlay.is_planned_child(members, peer);
        let is_child = self.links.get(&peer).is_some_and(|link| link.overlay.is_child);
        is_unplanned && is_child || self.overlay.bridge == Some(peer)
    }

    /// Sends a batch, under a name that it may have already.
    fn send(
        &mut self,
        tick: &Tick<'_>,
        peer: Peer,
        gathered: &Gathered,
        again: Option<Generation>,
        out: &mut Outbox,
    ) {
        let now = tick.now;
        let Gathered { values, born, covered, .. } = gathered;
        let slots = &tick.shared(peer).slots;
        let mut header = self.header(tick, peer);
        // What a comparison found missing, others may lack as well.
        header.all &= !covered.whole;
        let restarts = header.digest.restarts;
        let (answer_delay, _) = self.ack_delays(tick, peer);
        let link = self.link(peer);
        // An answer is wanted at once to what is sent again.
        let lazily = if again.is_some() { Duration::ZERO } else { answer_delay.after_first };
        // However restless the network seems, or a clock that ran wrong makes it seem.
        let slow = link.trip.reckoned().mean * 3 / 2;
        let due = now + (lazily + link.trip.timeout()).min(WAIT_MAX.max(slow));
        let generation = match again {
            Some(generation) => {
                slots.resend(generation, *covered, now, due);
                generation
            }
            None => slots
                .send(*covered, now, due)
                .expect("only the ticking thread takes slots, and it has looked"),
        };
        link.push.last_sent = now;
        link.told.restarts = restarts;
        let delta = Delta {
            generation,
            base: Some(slots.base()),
            age: if again.is_some() { 0 } else { micros(now.since(*born)) },
            now: again.is_some(),
            values,
        };
        let encode = gathered.encoder();
        tick.send(peer, out, |body| encode(body, &delta, &header));
    }

    // Retries.

    /// Sends again what has waited too long for its acknowledgement; suspects the peer if that is too often.
    pub(super) fn retry(&mut self, tick: &Tick<'_>, peer: Peer, out: &mut Outbox) {
        let slots = &tick.shared(peer).slots;
        let (answer_delay, _) = self.ack_delays(tick, peer);
        let link = self.link(peer);
        let all = link.answer_due(answer_delay) <= tick.now;
        let overdue: SmallVec<[InFlight; SLOTS]> =
            slots.in_flight().filter(|in_flight| all || in_flight.due <= tick.now).collect();
        // One that is known to be lost says nothing of the peer.
        let unanswered = overdue.iter().filter(|in_flight| in_flight.due != Time::ZERO);
        let last_sent = unanswered.map(|in_flight| in_flight.sent).max();
        if last_sent.is_some_and(|sent| link.health.failed(tick.now, sent, Health::FAILURES_MAX)) {
            return self.suspect(tick, peer, out);
        }
        for in_flight in overdue {
            self.send_again(tick, peer, in_flight, out);
        }
    }

    /// Sends a batch again that is in flight.
    pub(super) fn send_again(&mut self, tick: &Tick<'_>, peer: Peer, in_flight: InFlight, out: &mut Outbox) {
        let InFlight { generation, span, .. } = in_flight;
        let gathered = self.gather(tick, peer, span);
        if !gathered.rest.is_empty() {
            // It was less when it was first sent.
            let push = &mut self.link(peer).push;
            push.lacking.push_back(gathered.rest);
            push.rest = true;
        }
        self.send(tick, peer, &gathered, Some(generation), out);
    }

    /// A message that answers one sent `took` ago, and doesn't acknowledge what was sent well before that, says
    /// that it is lost (the idea of RACK, RFC 8985, with the answer's own round trip). However restless the network
    /// seems, what several later batches have overtaken is lost, too (RFC 9002, section 6.1.1). What was sent just before may
    /// only have been overtaken: then it will be acknowledged as soon as what comes last is.
    pub(super) fn mark_lost(&mut self, tick: &Tick<'_>, peer: Peer, acked: Acked, took: Duration) {
        let slots: &SlotRing = &tick.shared(peer).slots;
        let (answer_delay, _) = self.ack_delays(tick, peer);
        let Some(trip) = self.link(peer).trip.get() else { return };
        let reordering = 4 * trip.deviation + Duration::from_millis(10);
        let overtaken = tick.now + answer_delay.after_last + trip.timeout();
        for in_flight in slots.in_flight().filter(|in_flight| in_flight.sent < tick.now.before(took)) {
            let InFlight { generation, sent, .. } = in_flight;
            let is_overtaken = acked.later_than(generation) >= OVERTAKING && sent + took * 5 / 4 < tick.now;
            let is_lost = is_overtaken || sent + took.max(trip.mean) + reordering < tick.now;
            slots.hasten(generation, if is_lost { Time::ZERO } else { overtaken });
        }
    }

    /// Sends all that any peer may lack, slots or no slots: nobody will be there for the acknowledgements.
    pub(super) fn flush_all(&mut self, tick: &Tick<'_>, out: &mut Outbox) {
        let peers: Vec<Peer> = self
            .links
            .iter()
            .filter(|(_, link)| !link.health.is_suspected())
            .map(|(&peer, _)| peer)
            .collect();
        for peer in peers {
            let in_flight: Vec<Span> = tick.shared(peer).slots.in_flight().map(|one| one.span).collect();
            self.link(peer).push.lacking.extend(in_flight);
            let mut generation = Generation(tick.random.name());
            loop {
                let gathered = self.next_batch(tick, peer);
                if gathered.values.is_empty() {
                    break;
                }
                let header = self.header(tick, peer);
                let delta = Delta { generation, base: None, age: 0, now: false, values: &gathered.values };
                let encode = gathered.encoder();
                tick.send(peer, out, |body| encode(body, &delta, &header));
                generation.0 += 1;
            }
        }
    }
}
