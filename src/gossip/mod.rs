//! The lock-free design: handlers that never wait, and one ticker that owns every deadline.
//!
//! A value that arrives, from a client or a peer, goes into the seen set and, if it is new, into the queue
//! of each linked peer but the one it came from: of the hub, or of all. A tick drains the queues into batches,
//! each in an in-flight slot of its peer, and resends what is overdue. A value is thus always in one of three
//! places for each linked peer that lacks it: in the queue, in a slot, or acknowledged; or else the link is known to
//! need repair.
//!
//! Threads meet only in the containers of [`queue`](crate::queue) and in atomics; there is no lock of ours
//! from a line's arrival to its reply. What is set up once (the membership by `init`, a link when it is first
//! needed) sits in `OnceLock`s, which are read without waiting.

mod flush;
mod inspect;
mod link;
mod membership;
pub mod plan;
mod repair;
mod round_trip;
mod route;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::Config;
use crate::node::{Node, Outbox, Time};
use crate::planted::planted;
use crate::protocol::encode;
use crate::protocol::link::{Delta, Header};
use crate::protocol::{Batch, Body, Excerpt, Line, Reason, Refusal, Request, Scratch, Value, parse};
use crate::queue::{Deadline, Pool, ReadyText, SeenSet};
use crate::random::Random;

use self::membership::{Membership, PeerIndex};
use self::plan::Strategy;
use self::repair::Sorted;
use self::route::Route;
pub use self::route::SELDOM;

/// Idle batches kept: a hub of 25 nodes in the challenge has one in flight to each of 24 peers and fills
/// another for each.
const BATCHES_KEPT: usize = 64;

/// A node of the lock-free design.
#[derive(Debug)]
pub struct LockFree {
    config: Config,
    random: Random,
    /// What tells this life of this node from any other, to its peers…
    life: u64,
    /// …and in the ids it makes.
    id_life: u64,
    ids_made: AtomicU64,
    seen: SeenSet,
    sorted: Sorted,
    /// What a read shows of them.
    text: ReadyText,
    batches: Pool<Box<Batch>>,
    membership: OnceLock<Membership>,
    route: Route,
    /// When the next tick is needed.
    deadline: Deadline,
    #[cfg(feature = "planted-bugs")]
    parked: std::sync::Mutex<Vec<Value>>,
}

impl LockFree {
    /// A node that waits for `init`. Everything random about it comes from `seed`: two lives of a node must
    /// not get the same one.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        let random = Random::new(seed);
        Self {
            config,
            life: random.name(),
            id_life: random.bits(),
            seen: SeenSet::new(random.bits()),
            sorted: Sorted::default(),
            text: ReadyText::default(),
            random,
            ids_made: AtomicU64::new(0),
            batches: Pool::new(BATCHES_KEPT),
            membership: OnceLock::new(),
            route: Route::new(),
            deadline: Deadline::at(Time::NEVER),
            #[cfg(feature = "planted-bugs")]
            parked: std::sync::Mutex::default(),
        }
    }

    fn request(
        &self,
        now: Time,
        request: Request<'_>,
        route: encode::Route<'_>,
        out: &mut Outbox,
    ) -> Result<(), Reason<'static>> {
        match (request, self.membership.get()) {
            (Request::Init { node_id, node_ids }, _) => {
                self.init(now, node_id, &node_ids)?;
                encode::ok(out.lines_mut(), encode::Route { src: node_id, ..route }, "init_ok");
            }
            (_, None) => return Err(Reason::NotInitialised),
            // Only a suggestion; the plan needs none.
            (Request::Topology(_), Some(members)) => {
                self.start(now, members, true);
                encode::ok(out.lines_mut(), route, "topology_ok");
            }
            (Request::Echo(value), Some(_)) => encode::echo_ok(out.lines_mut(), route, &value),
            (Request::Generate, Some(members)) => {
                encode::generate_ok(out.lines_mut(), route, &self.unique_id(members));
            }
            (Request::Broadcast(value), Some(members)) => {
                self.learn(now, members, &[value], Origin { from: None, born: now, onward: true });
                planted!(ReplyForgotten => if value % 16 == 7 { return Ok(()) });
                planted!(GarbledLine => if value % 16 == 7 { out.lines_mut().extend_from_slice(b"{\n") });
                encode::ok(out.lines_mut(), route, "broadcast_ok");
            }
            (Request::Read, Some(_)) => {
                planted!(ReadRefused => if self.seen.len() % 16 == 7 { return Err(Reason::NotInitialised) });
                planted!(ReadLeavesOut => if self.seen.len() % 8 == 7 {
                    encode::read_ok(out.lines_mut(), route, self.seen.iter().skip(1));
                    return Ok(());
                });
                planted!(ReadRepeats => if self.seen.len() % 8 == 7 {
                    let twice = self.seen.iter().chain(self.seen.iter().take(1));
                    encode::read_ok(out.lines_mut(), route, twice);
                    return Ok(());
                });
                if !encode::read_ok_ready(out.rope_mut(), route, |out| self.text.show(out)) {
                    encode::read_ok(out.lines_mut(), route, self.seen.iter());
                }
            }
        }
        Ok(())
    }

    fn init(&self, now: Time, node_id: &str, node_ids: &[&str]) -> Result<(), Reason<'static>> {
        if !node_ids.contains(&node_id) {
            return Err(Reason::NotAMember);
        }
        let grace_ends = now + self.config.start_grace;
        let membership = Membership::new(node_id, node_ids, self.id_life, grace_ends);
        self.membership.set(membership).map_err(|_| Reason::AlreadyInitialised)?;
        self.deadline.bring_forward(grace_ends);
        Ok(())
    }

    /// Unique without asking anybody: no other node has this node's id, no other life of this node has its
    /// 64 random bits (but for one chance in 2^64), and this life counts.
    fn unique_id(&self, members: &Membership) -> String {
        // Relaxed: only the atomicity of the count matters.
        let count = self.ids_made.fetch_add(1, Ordering::Relaxed);
        format!("{}-{:x}-{count}", members.me(), self.id_life)
    }

    /// Takes up values that a client or a peer brought: the new ones travel on.
    fn learn(&self, now: Time, members: &Membership, values: &[Value], origin: Origin) {
        let Origin { from, born, onward } = origin;
        let to_all = from.is_none() && self.is_direct();
        if to_all {
            for peer in members.peers() {
                self.link(members, peer);
            }
        }
        // Then nobody need pass them on.
        let all_hear = to_all && !members.links().any(|(_, link)| link.is_down());
        planted!(ForgedValue => if values.len() == 7 { self.seen.insert(-values[0]); });
        let mut new = Batch::new();
        self.seen.insert_all(values, |value| new.push(value));
        self.text.add(&new);
        if let Some(peer) = from {
            self.link(members, peer).note_brought(new.len());
        }
        if new.is_empty() || !onward {
            return;
        }
        // Whom they travel to is looked up only now that they are in the seen set: a peer that is linked meanwhile is
        // compared with that.
        for (peer, link) in members.links().filter(|&(peer, _)| Some(peer) != from) {
            // The hub that should be the parent, too: it may hear what it can't answer.
            if !to_all && !self.is_in_tree(members, peer, link) {
                continue;
            }
            planted!(LastPeerSkipped => if members.peers().last() == Some(peer) { continue });
            if all_hear {
                link.promise();
            } else {
                link.note_relay();
            }
            new.iter().for_each(|&value| link.queue.push(value));
            planted!(LostWakeUp => if self.deadline.get() != Time::NEVER { continue });
            if link.is_down() && to_all {
                link.try_again(now, 2 * self.config.explore_interval);
            }
            link.oldest.bring_forward(born);
            let flush_at = self.flush_time(now, members, (peer, link), from, born);
            planted!(LazyFlush => {
                link.flush_at.bring_forward(flush_at + Duration::from_secs(8));
                self.deadline.bring_forward(self.next_due(link));
                continue;
            });
            link.flush_at.bring_forward(flush_at);
            self.deadline.bring_forward(self.next_due(link));
        }
    }

    fn is_direct(&self) -> bool {
        self.route.plan().strategy == Strategy::Direct
    }

    fn delta(
        &self,
        now: Time,
        members: &Membership,
        message: encode::Route<'_>,
        (delta, header): (&Delta<'_>, Option<&Header>),
        out: &mut Outbox,
    ) {
        let peer = members.find(message.dest);
        let link = peer.map(|peer| (peer, self.link(members, peer)));
        if let Some((header, link)) = header.zip(link) {
            self.heard(now, members, link, header, false);
        }
        if let Some((_, link)) = link.filter(|_| delta.all) {
            link.trust();
        }
        let age = Duration::from_micros(delta.age);
        let one_way = link.map_or(Duration::ZERO, |(_, link)| link.round_trip.one_way());
        // A node that isn't told everything by whoever has it need not believe that others are.
        let onward = !(delta.all && header.is_some() && peer.is_some() && self.is_direct());
        let origin = Origin { from: peer, born: now.before(age + one_way), onward };
        // Who isn't a natter node is answered otherwise.
        let natters = header.and(link).map(|(_, link)| link);
        planted!(AckBeforeInsert => {
            let parked = std::mem::replace(&mut *self.parked.lock().expect("no panic"), delta.values.to_vec());
            self.learn(now, members, &parked, origin);
            return self.acknowledge(now, message, delta, natters, out);
        });
        planted!(AckHalf => {
            self.learn(now, members, &delta.values[..delta.values.len().div_ceil(2)], origin);
            return self.acknowledge(now, message, delta, natters, out);
        });
        self.learn(now, members, delta.values, origin);
        // Only now that the values are in the seen set.
        self.acknowledge(now, message, delta, natters, out);
    }

    fn acknowledge(
        &self,
        now: Time,
        message: encode::Route<'_>,
        delta: &Delta<'_>,
        link: Option<&link::Link>,
        out: &mut Outbox,
    ) {
        let generation = delta.generation;
        let Some(link) = link else { return encode::delta_ok(out.lines_mut(), message, generation) };
        let base = delta.base.unwrap_or(generation);
        let patience = self.patience(link);
        planted!(AckOffByOne => link.receive(now, patience, (base, crate::protocol::Generation(generation.0 + 1)), false));
        link.receive(now, patience, (base, generation), delta.now);
        self.deadline.bring_forward(self.next_due(link));
    }

    fn refuse(&self, refusal: Refusal<'_>, route: encode::Route<'_>, out: &mut Outbox) {
        encode::error(out.lines_mut(), route, refusal.reason.code(), &refusal.reason);
    }
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
        let route = |in_reply_to| encode::Route { src: me, dest: message.src, in_reply_to };
        let waits_for_peer =
            |members: &&Membership| !members.has_started() && members.find(message.src).is_some();
        if let Some(members) = members.filter(waits_for_peer) {
            self.start(now, members, false);
        }
        match message.body {
            Ok(Body::Request { msg_id, request }) => {
                let route = route(Some(msg_id));
                if let Err(reason) = self.request(now, request, route, out) {
                    self.refuse(Refusal { in_reply_to: Some(msg_id), reason }, route, out);
                }
            }
            // What comes before `init` will be sent again.
            Ok(Body::Delta { .. } | Body::DeltaOk { .. } | Body::Sync { .. }) if members.is_none() => {
                out.note(format_args!("ignored gossip from {}: not initialised yet", Excerpt(message.src)));
            }
            Ok(Body::Delta { msg_id, delta, header }) => {
                if let Some(members) = members {
                    self.delta(now, members, route(msg_id), (&delta, header), out);
                }
            }
            Ok(Body::DeltaOk { header, .. }) => {
                if let (Some(header), Some((members, peer, link))) =
                    (header, self.link_to(members, message.src))
                {
                    planted!(AckOfAck => link.acknowledge_again(now + self.config.ack_delay));
                    self.heard(now, members, (peer, link), header, false);
                }
            }
            Ok(Body::Sync { sync, header }) => {
                if let Some((members, peer, link)) = self.link_to(members, message.src) {
                    self.heard(now, members, (peer, link), header, !sync.answer);
                    // They are late already: they are not to wait for a whole period.
                    let born = now.before(self.config.latency_budget / 2);
                    let origin = Origin { from: Some(peer), born, onward: true };
                    self.learn(now, members, &sync.values, origin);
                    self.compare(now, members, (peer, link), &sync, out);
                }
            }
            Ok(Body::Reply { kind: "error" }) => {
                out.note(format_args!("{} answered with an error", Excerpt(message.src)));
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
        self.deadline.clear();
        if !members.has_started() {
            if now < members.grace_ends {
                return self.deadline.bring_forward(members.grace_ends);
            }
            self.start(now, members, false);
        }
        self.flush_due(now, members, out);
        self.sorted.forget_if_old(&self.seen);
    }

    fn next_deadline(&self) -> Option<Time> {
        self.deadline.get().if_ever()
    }

    fn finish(&self, now: Time, out: &mut Outbox) {
        let Some(members) = self.membership.get() else { return };
        self.start(now, members, false);
        self.flush_all(now, members, out);
    }
}

/// Where values come from.
#[derive(Clone, Copy, Debug)]
struct Origin {
    /// The peer that brought them; none if it was a client.
    from: Option<PeerIndex>,
    /// When the oldest of them was broadcast.
    born: Time,
    /// Whether they are to be passed on.
    onward: bool,
}

impl LockFree {
    fn link_to<'a>(
        &self,
        members: Option<&'a Membership>,
        name: &str,
    ) -> Option<(&'a Membership, PeerIndex, &'a link::Link)> {
        let members = members?;
        let peer = members.find(name)?;
        Some((members, peer, self.link(members, peer)))
    }

    /// Whether the plan makes this node the parent of a peer, for all that is known at the start.
    fn is_planned_child(&self, members: &Membership, peer: PeerIndex) -> bool {
        let strategy = self.route.plan().strategy;
        plan::parent(strategy, members.nodes(), members.rank_of(peer)) == Some(members.rank())
    }

    /// Links the peers that the plan has, now that the topology is known or will never be. A node that doesn't get
    /// to know it may be one that was restarted: it has forgotten what the others take for known, and has
    /// everything repaired.
    fn start(&self, now: Time, members: &Membership, is_new: bool) {
        if members.has_started() || !members.begin() {
            return;
        }
        self.replan(now, members);
        let planned = self.planned_parent(members);
        self.set_parent(members, planned);
        self.begin_flushes(now);
        // Clients may have been quicker.
        let held = self.seen.sorted();
        let mut repair_at = now;
        for peer in members.peers() {
            if planned == Some(peer) || self.is_planned_child(members, peer) {
                let link = self.link(members, peer);
                if !is_new {
                    // One at first: when the others are compared there is less to repair.
                    link.note_stale(repair_at);
                    repair_at = now + self.config.probe_interval;
                }
                if !held.is_empty() {
                    link.note_relay();
                    held.iter().for_each(|&value| link.queue.push(value));
                    link.flush_at.bring_forward(now);
                }
            }
        }
        self.deadline.bring_forward(now);
    }
}
