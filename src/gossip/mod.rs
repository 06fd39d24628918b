//! The lock-free design: one thread that handles input, one that ticks, and a log between them.
//!
//! A value that arrives, from a client or a peer, goes into the seen set and, if it is new, to the end of the
//! [log](crate::queue::Log): that is all the handling thread does about it before it answers. The ticking thread
//! reads the log and sends: for each peer it has a cursor into the log, and slots that remember which part of the
//! log is in flight. It owns whatever else is known of peers, so none of that is shared. What peers send reaches
//! it through their inboxes, values excepted.
//!
//! ```text
//!   lines ──▶ handle ──▶ seen set, log ─────────────▶ tick ──▶ lines
//!               │                                      ▲ ▲
//!               ├──▶ slots (acknowledgements) ─────────┘ │
//!               └──▶ inboxes (what peers say) ───────────┘
//! ```
//!
//! Whatever goes wrong is found out by one [rule], and mended by comparing sets. `docs/design.md` tells the story.
//!
//! Inside: public to be read, tested and measured; it may change with any version.

mod ask;
mod clock;
mod compare;
mod core;
mod hear;
mod inspect;
mod link;
mod membership;
mod overlay;
pub mod plan;
mod push;
mod reconcile;
mod restarts;
mod round_trip;
mod route;
pub mod rule;
mod schedule;
#[cfg(all(test, not(loom)))]
mod tests;
mod timers;
mod untold;
mod watch;

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use self::core::{Core, Tick};
use self::link::Link;
use self::membership::{Arrival, Kind, Membership, Peer, What};
use self::rule::Equals;
use self::schedule::GATHER;
use crate::config::Config;
use crate::node::{Node, Outbox, Time};
use crate::protocol::encode;
use crate::protocol::link::{Delta, Header, Restart};
use crate::protocol::{
    Batch, Body, Excerpt, Generation, Line, Reason, Refusal, Request, Scratch, Value, parse,
};
use crate::queue::{Deadline, Log, LogText, Origin, SeenSet};
use crate::random::Random;
use crate::sync::{AtomicBool, AtomicU64, Ordering, SegQueue, SwapCell};

/// So many messages of peers are taken up by a tick, before it does what else is due.
const TAKEN_UP_MAX: usize = 4096;

/// A node that was started again compares with one neighbour first, and so much later with the others.
const OTHERS_LATER: Duration = Duration::from_secs(1);

/// What is known of the node's start.
mod start {
    /// No topology has come, and no peer has said anything.
    pub(super) const NOT_YET: u64 = 0;
    /// A topology came first: the cluster is new.
    pub(super) const FIRST: u64 = 1;
    /// A peer was first, or nothing came in time: the others may know a former incarnation of this node.
    pub(super) const AGAIN: u64 = 2;
}

/// A node of the lock-free design.
pub struct LockFree {
    config: Config,
    random: Random,
    /// This node's incarnation, from `init` on.
    incarnation: AtomicU64,
    /// What tells the ids that this incarnation makes from those of any other.
    id_incarnation: u64,
    ids_made: AtomicU64,
    seen: SeenSet,
    log: Log,
    /// What a read shows of it.
    text: LogText,
    membership: OnceLock<Membership>,
    start: AtomicU64,
    /// Peers whose inboxes have something.
    mail: SegQueue<Peer>,
    /// Whether the ticking thread is to be woken by the next value: no flush is due that will find it.
    hungry: AtomicBool,
    /// When the next tick is needed.
    deadline: Deadline,
    /// The ticking thread has it in hand while it ticks.
    core: SwapCell<Option<Box<Core>>>,
}

#[cfg(not(loom))]
const _: () = assert!(SwapCell::<Option<Box<Core>>>::is_lock_free(), "or a tick would take a lock");

impl fmt::Debug for LockFree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockFree").field("membership", &self.membership).finish_non_exhaustive()
    }
}

impl LockFree {
    /// A node that waits for `init`. Everything random about it comes from `seed`, but what [`Config`] gives: two
    /// incarnations of a node must not get the same one.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        let identity = Random::new(seed);
        Self {
            random: Random::new(config.jitter_seed.unwrap_or_else(|| identity.bits())),
            config,
            incarnation: AtomicU64::new(0),
            id_incarnation: identity.bits(),
            ids_made: AtomicU64::new(0),
            seen: SeenSet::new(identity.bits()),
            log: Log::default(),
            text: LogText::default(),
            membership: OnceLock::new(),
            start: AtomicU64::new(start::NOT_YET),
            mail: SegQueue::new(),
            hungry: AtomicBool::new(true),
            deadline: Deadline::at(Time::NEVER),
            core: SwapCell::new(None),
        }
    }

    fn request(
        &self,
        now: Time,
        request: Request<'_>,
        route: Route<'_>,
        out: &mut Outbox,
    ) -> Result<(), Reason<'static>> {
        match (request, self.membership.get()) {
            (Request::Init { node_id, node_ids }, _) => {
                self.init(now, node_id, &node_ids)?;
                Route { src: node_id, ..route }.answer(out, |body, id| encode::ok(body, id, "init_ok"));
            }
            (_, None) => return Err(Reason::NotInitialised),
            // Only a suggestion; the plan needs none.
            (Request::Topology, Some(_)) => {
                self.begin(now, start::FIRST);
                route.answer(out, |body, id| encode::ok(body, id, "topology_ok"));
            }
            (Request::Echo(value), Some(_)) => {
                route.answer(out, |body, id| encode::echo_ok(body, id, &value));
            }
            (Request::Generate, Some(members)) => {
                route.answer(out, |body, id| encode::generate_ok(body, id, &self.unique_id(members)));
            }
            (Request::Broadcast(value), Some(_)) => {
                self.learn(&[value], Origin::Client, now);
                // Acquire, release: the ticking thread, which sets it before it looks at the log, either finds the
                // value there, or is found hungry.
                if self.hungry.swap(false, Ordering::AcqRel) {
                    self.deadline.bring_forward(now);
                }
                route.answer(out, |body, id| encode::ok(body, id, "broadcast_ok"));
            }
            (Request::Read, Some(_)) => {
                out.send_rope(route.src, route.dest, |body| {
                    encode::read_ok(body, route.in_reply_to, |body| self.text.show(&self.log, body));
                });
            }
        }
        Ok(())
    }

    fn init(&self, now: Time, node_id: &str, node_ids: &[&str]) -> Result<(), Reason<'static>> {
        if !node_ids.contains(&node_id) {
            return Err(Reason::NotAMember);
        }
        if node_ids.len() > Membership::MAX {
            return Err(Reason::TooManyNodes { most: Membership::MAX });
        }
        let grace_ends = now + self.config.start_grace;
        let membership = Membership::new(node_id, node_ids, self.id_incarnation, grace_ends);
        let core = Box::new(Core::new(&membership));
        // Relaxed: the cell of the core publishes it.
        self.incarnation.store(self.config.incarnation.unwrap_or(now.as_micros() + 1), Ordering::Relaxed);
        self.membership.set(membership).map_err(|_| Reason::AlreadyInitialised)?;
        self.core.store(Some(core));
        self.deadline.bring_forward(grace_ends);
        Ok(())
    }

    /// The topology is known, or will never be.
    fn begin(&self, now: Time, how: u64) {
        // Relaxed: the flag is all there is to see.
        if self.start.compare_exchange(start::NOT_YET, how, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.deadline.bring_forward(now);
        }
    }

    /// Unique without asking anybody: no other node has this node's id, no other incarnation of this node has its
    /// 64 random bits (but for one chance in 2^64), and this incarnation counts.
    fn unique_id(&self, members: &Membership) -> String {
        // Relaxed: only the atomicity of the count matters.
        let count = self.ids_made.fetch_add(1, Ordering::Relaxed);
        format!("{}-{:x}-{count}", members.me(), self.id_incarnation)
    }

    /// Takes up values that a client or a peer brought: the new ones go to the end of the log.
    fn learn(&self, values: &[Value], origin: Origin, born: Time) {
        let mut new = Batch::new();
        self.seen.insert_all(values, &mut new);
        if !new.is_empty() {
            self.log.append(&new, origin, born);
        }
    }

    /// Takes up the values of a peer's message, and hands the rest of it to the ticking thread.
    fn gossip(
        &self,
        now: Time,
        members: &Membership,
        peer: Peer,
        (header, kind): (&Header, Kind),
        brought: Brought<'_>,
    ) {
        let Brought { values, age } = brought;
        let shared = self.shared(members, peer);
        // Relaxed: what the peer has heard of this node's incarnation was said by an earlier tick.
        let is_for_this_incarnation = header.to == Some(self.incarnation.load(Ordering::Relaxed));
        let is_forgotten = shared.is_forgotten(header.incarnation);
        let counts = is_for_this_incarnation && !is_forgotten;
        let acked = header.acked.filter(|_| counts).is_some_and(|acked| shared.slots.on_ack(acked));
        // What a question or a comparison brings, its sender has not been able to tell as it should.
        let tells_all = header.all && matches!(kind, Kind::Delta { .. });
        let origin = if is_forgotten {
            // Nobody else may hold it any more, and the peer least of all.
            Origin::Client
        } else if tells_all {
            Origin::Told
        } else {
            Origin::Peer(peer.0)
        };
        self.learn(values, origin, now.before(age + members.one_way(shared)));
        let waits = match kind {
            Kind::Ping | Kind::Sync(_) | Kind::Delta { now: true, .. } => Duration::ZERO,
            Kind::Delta { .. } | Kind::Ack => GATHER,
        };
        self.pass_on(
            now + waits,
            members,
            peer,
            Arrival { at: now, what: What::Gossip { header: header.clone(), acked, kind } },
        );
    }

    fn pass_on(&self, due: Time, members: &Membership, peer: Peer, arrival: Arrival) {
        if self.shared(members, peer).inbox.push(arrival) {
            self.mail.push(peer);
        }
        self.deadline.bring_forward(due);
    }

    fn shared<'a>(&self, members: &'a Membership, peer: Peer) -> &'a membership::Shared {
        members
            .shared(peer, || self.config.first_generation.unwrap_or_else(|| Generation(self.random.name())))
    }

    fn refuse(&self, refusal: Refusal<'_>, route: Route<'_>, out: &mut Outbox) {
        route.answer(out, |body, id| encode::error(body, id, refusal.reason.code(), &refusal.reason));
    }
}

/// Who answers whom, and what.
#[derive(Clone, Copy)]
struct Route<'a> {
    src: &'a str,
    dest: &'a str,
    /// The requester's number for its message, if it gave one.
    in_reply_to: Option<i64>,
}

impl Route<'_> {
    /// Sends the answer that `encode` appends.
    fn answer(self, out: &mut Outbox, encode: impl FnOnce(&mut Vec<u8>, Option<i64>)) {
        out.send(self.src, self.dest, |body| encode(body, self.in_reply_to));
    }
}

/// Values in a peer's message.
struct Brought<'a> {
    values: &'a [Value],
    /// How long ago the oldest of them was broadcast, for all that is known.
    age: Duration,
}

impl Node for LockFree {
    type Scratch = Scratch;

    fn handle(&self, now: Time, line: Line<'_>, scratch: &mut Scratch, out: &mut Outbox) {
        let message = match parse(line, scratch) {
            Ok(message) => message,
            Err(error) => return out.skip(&error),
        };
        let members = self.membership.get();
        // Before `init` the node has no name but the one it is called by.
        let me = members.map_or(message.dest, Membership::me);
        let route = |in_reply_to| Route { src: me, dest: message.src, in_reply_to };
        let sender = members.and_then(|members| Some((members, members.find(message.src)?)));
        if sender.is_some() {
            self.begin(now, start::AGAIN);
        }
        match message.body {
            Ok(Body::Request { msg_id, request }) => {
                let route = route(Some(msg_id));
                if let Err(reason) = self.request(now, request, route, out) {
                    self.refuse(Refusal { in_reply_to: Some(msg_id), reason }, route, out);
                }
            }
            // What comes before `init` will be sent again.
            Ok(Body::Delta { .. } | Body::DeltaOk { .. } | Body::Ping { .. } | Body::Sync { .. })
                if members.is_none() =>
            {
                out.note(format_args!("ignored gossip from {}: not initialised yet", Excerpt(message.src)));
            }
            Ok(Body::Delta { msg_id, delta, header }) => {
                let Delta { generation, base, age, now: wanted, values } = delta;
                match (header, sender) {
                    (Some(header), Some((members, peer))) => {
                        let kind = Kind::Delta { base: base.unwrap_or(generation), generation, now: wanted };
                        let age = Duration::from_micros(age);
                        self.gossip(now, members, peer, (header, kind), Brought { values, age });
                    }
                    (_, sender) => {
                        let origin = sender.map_or(Origin::Client, |(_, peer)| Origin::Peer(peer.0));
                        self.learn(values, origin, now);
                        route(msg_id).answer(out, |body, id| encode::delta_ok(body, id, generation));
                        match sender {
                            Some((members, peer)) => {
                                self.pass_on(now, members, peer, Arrival { at: now, what: What::Foreign });
                            }
                            None => self.deadline.bring_forward(now),
                        }
                    }
                }
            }
            Ok(Body::DeltaOk { generation, header }) => {
                let Some((members, peer)) = sender else { return };
                if let Some(header) = header {
                    self.gossip(
                        now,
                        members,
                        peer,
                        (header, Kind::Ack),
                        Brought { values: &[], age: Duration::ZERO },
                    );
                } else {
                    if let Some(generation) = generation {
                        self.shared(members, peer).slots.ack(generation);
                    }
                    self.pass_on(now + GATHER, members, peer, Arrival { at: now, what: What::Foreign });
                }
            }
            Ok(Body::Ping { values, header }) => {
                let Some((members, peer)) = sender else { return };
                let brought = Brought { values, age: self.config.latency_budget / 2 };
                self.gossip(now, members, peer, (header, Kind::Ping), brought);
            }
            Ok(Body::Sync { mut sync, header }) => {
                let Some((members, peer)) = sender else { return };
                let values = std::mem::take(&mut sync.values);
                // They are late already: they are not to wait for a whole period.
                let brought = Brought { values: &values, age: self.config.latency_budget / 2 };
                self.gossip(now, members, peer, (header, Kind::Sync(Box::new(sync))), brought);
            }
            Ok(Body::Reply { kind: "error" }) => {
                out.note(format_args!("{} answered with an error", Excerpt(message.src)));
                if let Some((members, peer)) = sender {
                    self.pass_on(now + GATHER, members, peer, Arrival { at: now, what: What::Foreign });
                }
            }
            Ok(Body::Reply { .. }) => {}
            Err(refusal) => {
                out.note(format_args!("refused a message from {}: {}", Excerpt(message.src), refusal.reason));
                self.refuse(refusal, route(refusal.in_reply_to), out);
            }
        }
    }

    fn tick(&self, now: Time, out: &mut Outbox) {
        let Some(members) = self.membership.get() else { return };
        // None if another thread ticks.
        let Some(mut core) = self.core.take() else { return };
        self.deadline.clear();
        let tick = self.at(now, members);
        let next = if core.started || self.start_core(&tick, &mut core, out) {
            self.tick_core(&tick, &mut core, out)
        } else {
            members.grace_ends
        };
        self.core.store(Some(core));
        self.deadline.bring_forward(next);
    }

    fn next_deadline(&self) -> Option<Time> {
        self.deadline.get().if_ever()
    }

    fn finish(&self, now: Time, out: &mut Outbox) {
        let Some(members) = self.membership.get() else { return };
        let Some(mut core) = self.core.take() else { return };
        let tick = self.at(now, members);
        // Whoever has not begun has told nobody anything.
        self.begin(now, start::FIRST);
        if core.started || self.start_core(&tick, &mut core, out) {
            core.absorb(&tick);
            core.flush_all(&tick, out);
        }
        self.core.store(Some(core));
    }
}

impl LockFree {
    fn at<'a>(&'a self, now: Time, members: &'a Membership) -> Tick<'a> {
        let Self { config, random, log, incarnation, .. } = self;
        Tick { now, config, random, log, members, incarnation }
    }

    /// Begins to gossip, if it is time to: true if it is. A node that doesn't get to know a topology may be one
    /// that was started again: it has forgotten what the others take for known.
    fn start_core(&self, tick: &Tick<'_>, core: &mut Core, out: &mut Outbox) -> bool {
        let Tick { now, members, .. } = *tick;
        if now >= members.grace_ends {
            self.begin(now, start::AGAIN);
        }
        // Relaxed: the flag is all there is to see.
        let is_first = match self.start.load(Ordering::Relaxed) {
            start::NOT_YET => return false,
            how => how == start::FIRST,
        };
        core.start(tick, is_first, out);
        true
    }

    /// Does all that is due; returns when something will be next.
    fn tick_core(&self, tick: &Tick<'_>, core: &mut Core, out: &mut Outbox) -> Time {
        // Acquire, release: whoever has appended before this is found by the look at the log that follows.
        self.hungry.swap(true, Ordering::AcqRel);
        let mut taken_up = 0;
        while let Some(peer) = self.mail.pop() {
            let inbox = &tick.shared(peer).inbox;
            inbox.open();
            while let Some(arrival) = inbox.pop() {
                core.hear(tick, peer, arrival, out);
                taken_up += 1;
            }
            if taken_up >= TAKEN_UP_MAX {
                self.deadline.bring_forward(tick.now);
                break;
            }
        }
        core.absorb(tick);
        core.do_due(tick, out);
        if core.schedule.next() != Time::NEVER {
            // The flush to come will find whatever comes before it. Release: no later than the look at the log
            // above.
            self.hungry.store(false, Ordering::Release);
        }
        core.next_due()
    }
}

impl Core {
    fn start(&mut self, tick: &Tick<'_>, is_first: bool, out: &mut Outbox) {
        let Tick { now, members, .. } = *tick;
        self.replan(tick, out);
        self.overlay.parent = self.overlay.planned_parent(members);
        self.overlay.root = overlay::PLANNED_ROOT;
        self.schedule.begin(now, self.overlay.plan.period);
        let is_linked = |peer: &Peer| {
            self.overlay.is_direct()
                || self.overlay.parent == Some(*peer)
                || self.overlay.is_planned_child(members, *peer)
        };
        let peers: Vec<Peer> = members.peers().filter(is_linked).collect();
        for &peer in &peers {
            let is_child = self.overlay.is_planned_child(members, peer);
            // By the direct plan it has all of what this node has told: nothing.
            let is_told = is_first || self.overlay.is_direct() && !self.is_neighbour(peer) && !is_child;
            self.links.insert(peer, Link::new(is_child, is_told, None));
        }
        self.started = true;
        if !is_first {
            self.equals = Equals::nobody(members.rank(), members.nodes());
            let incarnation = tick.incarnation.load(Ordering::Relaxed);
            self.learn_restart(tick, Restart { rank: members.rank() as u64, incarnation });
        }
        self.absorb(tick);
        if is_first {
            if self.held.len > 0 {
                (self.schedule.up_at, self.schedule.down_at) = (now, now);
            }
        } else if let Some(first) = self.overlay.parent.or_else(|| members.peers().next()) {
            self.start_round(tick, first, tick.now);
            // There is less to do when this is over.
            let later = now + tick.spread(OTHERS_LATER);
            for peer in peers.into_iter().filter(|&peer| peer != first) {
                if self.is_neighbour(peer) {
                    self.start_round(tick, peer, later);
                }
            }
        }
    }

    fn do_due(&mut self, tick: &Tick<'_>, out: &mut Outbox) {
        self.replan(tick, out);
        self.flush_due(tick, out);
        while let Some((due, peer)) = self.timers.pop(tick.now) {
            self.link_due(tick, peer, due, out);
        }
        self.ask_due(tick, out);
        // A peer that has come to be suspected may have been the parent.
        self.reroute(tick, out);
        self.flush_due(tick, out);
        self.tell_equals(tick, out);
        self.reconciliation.forget_unless(self.held.len);
    }

    /// A link's time has come, unless it has been put off since.
    fn link_due(&mut self, tick: &Tick<'_>, peer: Peer, due: Time, out: &mut Outbox) {
        let Some(link) = self.links.get_mut(&peer).filter(|link| link.queued == due) else { return };
        link.queued = Time::NEVER;
        let delay = self.overlay.answer_delay(tick.config, link);
        if link.retry_at(&tick.shared(peer).slots, delay) <= tick.now {
            self.retry(tick, peer, out);
        }
        self.answer_overdue(tick, peer, out);
        self.compare_if_due(tick, peer);
        let link = self.link(peer);
        if link.comparison.round.is_some_and(|round| round.retry_at <= tick.now) {
            self.try_round(tick, peer, out);
        }
        if self.link(peer).acks.due() <= tick.now {
            self.send_ack(tick, peer, out);
        }
        self.rearm(tick, peer);
    }

    fn next_due(&self) -> Time {
        self.schedule.next().min(self.timers.next()).min(self.ask_at())
    }
}
