//! The lock-free design: handlers that never wait, and one ticker that owns every deadline.
//!
//! A value that arrives, from a client or a peer, goes into the seen set and, if it is new, into the queue
//! of each linked peer but the one it came from. A tick drains the queues into batches, each in an in-flight
//! slot of its peer, and resends what is overdue. A value is thus always in one of three places for each
//! peer that lacks it: in the queue, in a slot, or acknowledged.
//!
//! Threads meet only in the containers of [`queue`](crate::queue) and in atomics; there is no lock of ours
//! from a line's arrival to its reply. What is set up once (the membership by `init`, a link when it is first
//! needed) sits in `OnceLock`s, which are read without waiting.

mod flush;
mod inspect;
mod link;
mod membership;
mod plan;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::{Config, Topology};
use crate::node::{Node, Outbox, Time};
use crate::planted::planted;
use crate::protocol::encode::{self, Route};
use crate::protocol::{Batch, Body, Excerpt, Generation, Reason, Refusal, Request, Scratch, Value, parse};
use crate::queue::{Deadline, Pool, SeenSet};
use crate::random::Random;

use self::membership::{Membership, PeerIndex};

/// Idle batches kept: a hub of 25 nodes in the challenge has one in flight to each of 24 peers and fills
/// another for each.
const BATCHES_KEPT: usize = 64;

/// A node of the lock-free design.
#[derive(Debug)]
pub struct LockFree {
    config: Config,
    random: Random,
    /// What tells this life of this node from any other, in the ids it makes.
    life: u64,
    ids_made: AtomicU64,
    seen: SeenSet,
    batches: Pool<Box<Batch>>,
    membership: OnceLock<Membership>,
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
            life: random.bits(),
            seen: SeenSet::new(random.bits()),
            random,
            ids_made: AtomicU64::new(0),
            batches: Pool::new(BATCHES_KEPT),
            membership: OnceLock::new(),
            deadline: Deadline::at(Time::NEVER),
            #[cfg(feature = "planted-bugs")]
            parked: std::sync::Mutex::default(),
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
                encode::ok(out.lines_mut(), Route { src: node_id, ..route }, "init_ok");
            }
            (_, None) => return Err(Reason::NotInitialised),
            (Request::Topology(topology), Some(members)) => {
                self.start(now, members, Some(&topology), out);
                encode::ok(out.lines_mut(), route, "topology_ok");
            }
            (Request::Echo(value), Some(_)) => encode::echo_ok(out.lines_mut(), route, &value),
            (Request::Generate, Some(members)) => {
                encode::generate_ok(out.lines_mut(), route, &self.unique_id(members));
            }
            (Request::Broadcast(value), Some(members)) => {
                self.learn(now, members, &[value], None);
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
                encode::read_ok(out.lines_mut(), route, self.seen.iter());
            }
        }
        Ok(())
    }

    fn init(&self, now: Time, node_id: &str, node_ids: &[&str]) -> Result<(), Reason<'static>> {
        if !node_ids.contains(&node_id) {
            return Err(Reason::NotAMember);
        }
        let grace_ends = now + self.config.start_grace;
        let membership = Membership::new(node_id, node_ids, grace_ends);
        self.membership.set(membership).map_err(|_| Reason::AlreadyInitialised)?;
        self.deadline.bring_forward(grace_ends);
        Ok(())
    }

    /// Unique without asking anybody: no other node has this node's id, no other life of this node has its
    /// 64 random bits (but for one chance in 2^64), and this life counts.
    fn unique_id(&self, members: &Membership) -> String {
        // Relaxed: only the atomicity of the count matters.
        let count = self.ids_made.fetch_add(1, Ordering::Relaxed);
        format!("{}-{:x}-{count}", members.me(), self.life)
    }

    /// Takes up values that a client or a peer brought: the new ones travel on.
    fn learn(&self, now: Time, members: &Membership, values: &[Value], source: Option<PeerIndex>) {
        let onward = plan::forwards(self.config.topology, source);
        let mut new = false;
        planted!(ForgedValue => if values.len() == 7 { self.seen.insert(-values[0]); });
        for &value in values {
            if self.seen.insert(value) {
                new = true;
                if onward {
                    for (_, link) in members.linked().filter(|&(peer, _)| Some(peer) != source) {
                        planted!(LastPeerSkipped => {
                            let last = members.peers().last().and_then(|peer| members.existing_link(peer));
                            if last.is_some_and(|last| std::ptr::eq(last, link)) {
                                continue;
                            }
                        });
                        link.queue.push(value);
                    }
                }
            }
        }
        if new && onward {
            self.flush_soon(now, members, source);
        }
    }

    fn delta(
        &self,
        now: Time,
        members: &Membership,
        message: Route<'_>,
        generation: Generation,
        values: &[Value],
        out: &mut Outbox,
    ) {
        let source = members.find(message.dest);
        planted!(AckBeforeInsert => {
            encode::delta_ok(out.lines_mut(), message, generation);
            let parked = std::mem::replace(&mut *self.parked.lock().expect("no panic"), values.to_vec());
            return self.learn(now, members, &parked, source);
        });
        planted!(AckHalf => {
            self.learn(now, members, &values[..values.len().div_ceil(2)], source);
            return encode::delta_ok(out.lines_mut(), message, generation);
        });
        planted!(AckOnlyNews => if values.iter().all(|&value| self.seen.contains(value)) { return });
        planted!(AckOffByOne => return encode::delta_ok(out.lines_mut(), message, Generation(generation.0 + 1)));
        self.learn(now, members, values, source);
        // Only now that the values are in the seen set.
        encode::delta_ok(out.lines_mut(), message, generation);
    }

    fn refuse(&self, refusal: Refusal<'_>, route: Route<'_>, out: &mut Outbox) {
        encode::error(out.lines_mut(), route, refusal.reason.code(), &refusal.reason);
    }
}

impl Node for LockFree {
    type Scratch = Scratch;

    fn handle(&self, now: Time, line: &mut [u8], scratch: &mut Scratch, out: &mut Outbox) {
        let message = match parse(line, scratch) {
            Ok(message) => message,
            Err(error) => return out.skip(&error),
        };
        let members = self.membership.get();
        // Before `init` the node has no name but the one it is called by.
        let me = members.map_or(message.dest, Membership::me);
        let route = |in_reply_to| Route { src: me, dest: message.src, in_reply_to };
        // An answer is no sign of life but for what it answers: that would make an endless exchange of two
        // nodes that do not understand each other.
        let is_answer = matches!(message.body, Ok(Body::DeltaOk { .. } | Body::Reply { .. }));
        if let Some(members) = members.filter(|_| !is_answer) {
            self.heard_from(now, members, message.src, out);
        }
        match message.body {
            Ok(Body::Request { msg_id, request }) => {
                let route = route(Some(msg_id));
                if let Err(reason) = self.request(now, request, route, out) {
                    self.refuse(Refusal { in_reply_to: Some(msg_id), reason }, route, out);
                }
            }
            Ok(Body::Delta { msg_id, generation, values }) => match members {
                Some(members) => self.delta(now, members, route(msg_id), generation, &values, out),
                // Its sender will send it again.
                None => out
                    .note(format_args!("ignored a delta from {}: not initialised yet", Excerpt(message.src))),
            },
            Ok(Body::DeltaOk { generation }) => {
                planted!(AckOfAck => if generation.0.is_multiple_of(64) {
                    encode::delta_ok(out.lines_mut(), route(None), generation);
                });
                if let Some(members) = members {
                    self.acknowledged(now, members, message.src, generation, out);
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
            self.start(now, members, None, out);
        }
        self.flush_due(now, members, out);
    }

    fn next_deadline(&self) -> Option<Time> {
        self.deadline.get().if_ever()
    }

    fn finish(&self, now: Time, out: &mut Outbox) {
        let Some(members) = self.membership.get() else { return };
        if !members.has_started() {
            self.start(now, members, None, out);
        }
        self.flush_all(members, out);
    }
}

impl LockFree {
    /// Links the peers that the plan wants, now that the topology is known or will never be.
    fn start(&self, now: Time, members: &Membership, given: Option<&[(&str, Vec<&str>)]>, out: &mut Outbox) {
        if !members.begin() && (given.is_none() || self.config.topology != Topology::Given) {
            return;
        }
        let linked = plan::neighbours(self.config.topology, members, given, out);
        let interval = plan::interval(&self.config, members);
        for peer in members.peers() {
            if linked.contains(&peer) {
                let link = members.link(peer, || self.new_link(interval));
                // Everything seen so far. A value that is inserted meanwhile is pushed by its inserter, who
                // sees the link if this walk does not see the value: the shard's lock orders the two.
                if link.set_linked(true) {
                    self.seen.sorted().into_iter().for_each(|value| link.queue.push(value));
                }
            } else if let Some(link) = members.existing_link(peer) {
                link.set_linked(false);
            }
        }
        self.flush_soon(now, members, None);
    }
}
