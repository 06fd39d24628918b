//! A node of the lock-free design between two threads, as the runtime has it: one hands it messages while the
//! other one ticks. Its peers are scripted: they never say what is not so, but the network between loses, repeats
//! and holds back messages, and they are started again now and then. Time is an argument, and nobody sleeps.
//!
//! Every few steps the ticking thread pauses, and the node is audited. Every some thousand steps the network
//! heals; then one thread alone lets time pass, ticks only when the node wants it, and expects that every peer
//! ends up with every value and that the node falls silent. How the threads interleave is up to the machine, so a
//! failure need not come again with the same seed. Races that a few instructions decide are rather found by the
//! models in `loom.rs`.
//!
//! The long run, some minutes:
//!
//! ```text
//! cargo test --test stress -- --ignored
//! ```

#![cfg(not(loom))]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::queue::SegQueue;
use natter::config::Config;
use natter::gossip::LockFree;
use natter::node::{Inspect, Node, Outbox, Time};
use natter::protocol::link::{Delta, Digest, Echo, Header, HubPlan, Range, Restart, Sync, Want};
use natter::protocol::{Body, Generation, LineBuf, Scratch, Value, encode, parse};
use natter::queue::Receipts;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

const MEMBERS: usize = 5;

/// The steps of one node's incarnation, and the most between two audits.
const STEPS_OF_A_LIFE: usize = 5_000;
const STEPS_AT_ONCE: usize = 60;

const MS: Duration = Duration::from_millis(1);

/// How long a message takes once the network has healed.
const LATENCY: Duration = Duration::from_millis(20);

/// How long the healed network may take until every peer has every value and the node is silent.
const HEALED_BY: Duration = Duration::from_secs(120);

/// How often a peer that doesn't hold what the node holds asks, once the network has healed. The node has some
/// time to find out by itself.
const PEERS_ASK: Duration = Duration::from_secs(3);

/// As natter nodes scatter values and restarts for their digests.
fn scatter(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn sum(values: impl Iterator<Item = Value>) -> u64 {
    values.fold(0, |sum, value| sum.wrapping_add(scatter(value.cast_unsigned())))
}

/// Where the node is among the members, and within what time values are to be everywhere.
#[derive(Clone, Copy, Debug)]
struct Role {
    rank: usize,
    latency_budget_ms: u64,
}

const ROLES: [Role; 4] = [
    Role { rank: 0, latency_budget_ms: 565 },
    Role { rank: 1, latency_budget_ms: 565 },
    Role { rank: 0, latency_budget_ms: 120 },
    Role { rank: 1, latency_budget_ms: 120 },
];

// Peers.

/// A member that does what natter nodes do, as far as it is heard, and keeps no timers.
struct Peer {
    rank: usize,
    name: String,
    is_hub: bool,
    is_child: bool,
    incarnation: u64,
    /// What its clock said last, in microseconds.
    said_at: u64,
    held: BTreeSet<Value>,
    sum: u64,
    restarts: BTreeMap<u64, u64>,
    receipts: Receipts,
    next_generation: u64,
    /// The node's incarnation, and the last of its messages: what that said of its clock, and when it came.
    node_incarnation: Option<u64>,
    heard: Option<(u64, Time)>,
    node_digest: Digest,
}

impl Peer {
    fn new(rank: usize, role: Role) -> Self {
        Self {
            rank,
            name: format!("n{rank}"),
            is_hub: rank == 0,
            is_child: role.rank == 0,
            incarnation: 100,
            said_at: 0,
            held: BTreeSet::new(),
            sum: 0,
            restarts: BTreeMap::new(),
            receipts: Receipts::default(),
            next_generation: 5,
            node_incarnation: None,
            heard: None,
            node_digest: Digest::default(),
        }
    }

    /// It is killed and started again, and has forgotten everything.
    fn restart(&mut self, role: Role) {
        let said_at = self.said_at;
        let incarnation = self.incarnation + 7;
        *self = Self { incarnation, said_at, ..Self::new(self.rank, role) };
        self.restarts.insert(self.rank as u64, incarnation);
    }

    fn hold(&mut self, values: &[Value]) {
        for &value in values {
            if self.held.insert(value) {
                self.sum = self.sum.wrapping_add(scatter(value.cast_unsigned()));
            }
        }
    }

    fn digest(&self) -> Digest {
        let restarts = self.restarts.iter().map(|(&rank, &incarnation)| scatter(scatter(rank) ^ incarnation));
        let restarts = restarts.fold(0, u64::wrapping_add);
        Digest { count: self.held.len() as u64, sum: self.sum, restarts }
    }

    /// Whether it holds what the node held by its last message.
    fn agrees(&self) -> bool {
        self.digest() == self.node_digest
    }

    fn header(&mut self, now: Time) -> Header {
        self.said_at = now.as_micros().max(self.said_at + 1);
        let echo = self.heard.map(|(at, came)| Echo { at, hold: now.since(came).as_micros() as u64 });
        // A hub flushes every quarter of a second.
        let every = 250_000;
        let next = Some(every - now.as_micros() % every);
        Header {
            incarnation: self.incarnation,
            to: self.node_incarnation,
            at: self.said_at,
            echo,
            acked: self.receipts.acked(),
            up: self.is_child,
            plan: self.is_hub.then_some(HubPlan { next, margin: 5000, every, far: 20_000 }),
            digest: self.digest(),
            restarts: self
                .restarts
                .iter()
                .map(|(&rank, &incarnation)| Restart { rank, incarnation })
                .collect(),
            ..Header::default()
        }
    }

    /// Takes up what every message of the node says.
    fn hear(&mut self, now: Time, header: &Header) {
        self.node_incarnation = Some(header.incarnation);
        for restart in &header.restarts {
            let incarnation = self.restarts.entry(restart.rank).or_default();
            *incarnation = restart.incarnation.max(*incarnation);
        }
        if self.heard.is_none_or(|(at, _)| at < header.at) {
            self.heard = Some((header.at, now));
            self.node_digest = header.digest;
        }
    }

    fn delta(&mut self, now: Time, values: &[Value], to: &str) -> Vec<u8> {
        let generation = Generation(self.next_generation);
        self.next_generation += 1;
        // Nobody waits for the acknowledgement: each delta is the oldest.
        let delta = Delta { generation, base: Some(generation), age: 0, now: false, values };
        let header = self.header(now);
        encode::line(&self.name, to, |body| encode::delta(body, &delta, &header))
    }

    fn ack(&mut self, now: Time, to: &str) -> Vec<u8> {
        let header = self.header(now);
        encode::line(&self.name, to, |body| encode::ack(body, &header))
    }

    fn ping(&mut self, now: Time, to: &str) -> Vec<u8> {
        let header = self.header(now);
        encode::line(&self.name, to, |body| encode::ping(body, &[], &header))
    }

    fn sync(&mut self, now: Time, sync: &Sync, to: &str) -> Vec<u8> {
        let header = self.header(now);
        encode::line(&self.name, to, |body| encode::sync(body, sync, &header))
    }

    /// The first step of a comparison.
    fn begin_round(&mut self, now: Time, round: u64, to: &str) -> Vec<u8> {
        let (first, last) = (Value::MIN, Value::MAX);
        let all = Range { first, last, count: self.held.len() as u64, fingerprint: self.sum };
        self.sync(now, &Sync { round, ranges: vec![all], ..Sync::default() }, to)
    }

    /// The next step of a comparison, if there is one. The peer holds nothing that the node has not been sent.
    fn compare(&mut self, now: Time, theirs: &Sync, to: &str) -> Option<Vec<u8>> {
        let differs = |range: &&Range| {
            let mine = self.held.range(range.first..=range.last).copied();
            (range.count, range.fingerprint) != (mine.clone().count() as u64, sum(mine))
        };
        let differing = theirs.ranges.iter().filter(differs);
        let wants: Vec<Want> =
            differing.map(|&Range { first, last, count, .. }| Want { first, last, count }).collect();
        let asked = theirs.wants.iter().flat_map(|want| self.held.range(want.first..=want.last).copied());
        let values: Vec<Value> = asked.collect();
        if theirs.answer && wants.is_empty() && values.is_empty() {
            return None;
        }
        let step = Sync { round: theirs.round, answer: !theirs.answer, ranges: Vec::new(), wants, values };
        Some(self.sync(now, &step, to))
    }

    /// Takes up a message of the node; returns the answer that is due at once.
    fn take_up(&mut self, now: Time, line: Vec<u8>, scratch: &mut Scratch) -> Option<Vec<u8>> {
        let mut line = LineBuf::from(line);
        let message = parse(line.line(), scratch).expect("a message");
        let node = message.src;
        match message.body.expect("understood") {
            Body::Delta { delta, header, .. } => {
                self.hear(now, header.expect("a natter node"));
                self.hold(delta.values);
                self.receipts.record(delta.base.expect("a base"), delta.generation);
                Some(self.ack(now, node))
            }
            Body::DeltaOk { header, .. } => {
                self.hear(now, header.expect("a natter node"));
                None
            }
            Body::Ping { values, header } => {
                self.hear(now, header);
                self.hold(values);
                let begins = !self.agrees();
                Some(if begins { self.begin_round(now, now.as_nanos(), node) } else { self.ack(now, node) })
            }
            Body::Sync { sync, header } => {
                self.hear(now, header);
                self.hold(&sync.values);
                self.compare(now, &sync, node)
            }
            other => panic!("{other:?} for a peer"),
        }
    }
}

// The ticking thread.

/// What the ticking thread is to do.
mod mode {
    pub(super) const PAUSE: u8 = 0;
    pub(super) const RUN: u8 = 1;
    pub(super) const END: u8 = 2;
}

/// What the threads share.
struct Shared {
    node: LockFree,
    /// What time it is, in nanoseconds.
    clock: AtomicU64,
    /// What the ticking thread is to do, and what it is doing.
    wanted: AtomicU8,
    doing: AtomicU8,
    /// What the ticks have said.
    said: SegQueue<Vec<u8>>,
    ticks: AtomicU64,
}

impl Shared {
    fn now(&self) -> Time {
        Time::from_nanos(self.clock.load(Ordering::Relaxed))
    }

    fn tick(&self, now: Time, out: &mut Outbox) {
        self.node.tick(now, out);
        self.ticks.fetch_add(1, Ordering::Relaxed);
        if !out.is_empty() {
            self.said.push(out.lines().into_owned());
            out.clear();
        }
    }

    /// What the ticking thread does. As in the runtime, the time is asked first, and then whether the node is due.
    fn keep_ticking(&self) {
        let (mut out, mut idle) = (Outbox::default(), 0_u32);
        loop {
            let wanted = self.wanted.load(Ordering::Acquire);
            self.doing.store(wanted, Ordering::Release);
            match wanted {
                mode::RUN => {
                    let now = self.now();
                    if self.node.next_deadline().is_some_and(|due| due <= now) {
                        self.tick(now, &mut out);
                        idle = 0;
                    } else {
                        idle += 1;
                        // There may be more threads than cores.
                        if idle.is_multiple_of(64) {
                            std::thread::yield_now();
                        } else {
                            std::hint::spin_loop();
                        }
                    }
                }
                mode::PAUSE => std::thread::yield_now(),
                _ => return,
            }
        }
    }
}

/// Holds the ticking thread by its reins; lets it end when dropped, also by a panic.
struct Reins<'a> {
    shared: &'a Shared,
    ticking: std::thread::ScopedJoinHandle<'a, ()>,
}

impl Reins<'_> {
    fn have_it(&self, wanted: u8) {
        self.shared.wanted.store(wanted, Ordering::Release);
        while self.shared.doing.load(Ordering::Acquire) != wanted {
            assert!(!self.ticking.is_finished(), "the ticking thread has panicked");
            std::thread::yield_now();
        }
    }
}

impl Drop for Reins<'_> {
    fn drop(&mut self) {
        self.shared.wanted.store(mode::END, Ordering::Release);
    }
}

// The other thread.

/// One incarnation of a node, as the thread sees it that handles its input.
struct World<'a> {
    shared: &'a Shared,
    role: Role,
    rng: Pcg64,
    scratch: Scratch,
    out: Outbox,
    name: String,
    peers: Vec<Peer>,
    /// All values that the node was told.
    told: BTreeSet<Value>,
    /// Messages that the network holds back.
    to_node: VecDeque<Vec<u8>>,
    to_peers: VecDeque<Vec<u8>>,
}

/// The destination of a line as natter nodes write it.
fn destination(line: &[u8]) -> usize {
    const BEFORE: &[u8] = b"\"dest\":\"n";
    let at = line.windows(BEFORE.len()).position(|part| part == BEFORE).expect("a destination");
    usize::from(line[at + BEFORE.len()] - b'0')
}

impl World<'_> {
    fn now(&self) -> Time {
        self.shared.now()
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn pass(&mut self, time: Duration) {
        let now = self.now() + time;
        self.shared.clock.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// Hands the node a line; returns what it answers.
    fn handle(&mut self, line: Vec<u8>) -> Vec<u8> {
        let now = self.now();
        self.shared.node.handle(now, LineBuf::from(line).line(), &mut self.scratch, &mut self.out);
        assert_eq!(self.out.take_reports(), []);
        let answer = self.out.lines().into_owned();
        self.out.clear();
        answer
    }

    fn request(&mut self, body: &str) -> Vec<u8> {
        let line =
            format!("{{\"src\":\"c1\",\"dest\":\"{}\",\"body\":{{\"msg_id\":1,{body}}}}}\n", self.name);
        self.handle(line.into_bytes())
    }

    fn begin(&mut self) {
        let members = (0..MEMBERS).map(|rank| format!("\"n{rank}\"")).collect::<Vec<_>>().join(",");
        let name = self.name.clone();
        self.request(&format!("\"type\":\"init\",\"node_id\":\"{name}\",\"node_ids\":[{members}]"));
        self.request("\"type\":\"topology\",\"topology\":{}");
    }

    fn new_value(&mut self) -> Value {
        let count = self.told.len() as Value;
        // Some are neighbours, others are far apart.
        let value = if count % 3 == 0 { count * 1_000_003 - (1 << 40) } else { count };
        self.told.insert(value);
        value
    }

    fn broadcast(&mut self) {
        let again = self.told.first().copied().filter(|_| self.rng.random_range(0..20) == 0);
        let value = again.unwrap_or_else(|| self.new_value());
        let answer = self.request(&format!("\"type\":\"broadcast\",\"message\":{value}"));
        assert!(answer.windows(14).any(|part| part == b"\"broadcast_ok\""));
    }

    /// A read shows every value that the node was told, once.
    fn check_read(&mut self) {
        let answer = self.request("\"type\":\"read\"");
        let answer: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
        let shown: Vec<Value> = serde_json::from_value(answer["body"]["messages"].clone()).expect("integers");
        assert_eq!(shown.len(), self.told.len());
        assert_eq!(shown.into_iter().collect::<BTreeSet<_>>(), self.told);
    }

    /// A message of a peer: it may be lost, come later, come now and later, or come now.
    fn send(&mut self, line: Vec<u8>) {
        match self.rng.random_range(0..100) {
            0..10 => return,
            10..20 => return self.to_node.push_back(line),
            20..30 => self.to_node.push_back(line.clone()),
            _ => {}
        }
        self.handle(line);
    }

    /// A message of the node: likewise.
    fn receive(&mut self, line: Vec<u8>) {
        match self.rng.random_range(0..100) {
            0..10 => return,
            10..20 => return self.to_peers.push_back(line),
            20..25 => self.to_peers.push_back(line.clone()),
            _ => {}
        }
        self.take_up(line);
    }

    fn take_up(&mut self, line: Vec<u8>) {
        let answer = self.answer(line);
        if let Some(answer) = answer.filter(|_| self.rng.random_range(0..100) < 70) {
            self.send(answer);
        }
    }

    fn answer(&mut self, line: Vec<u8>) -> Option<Vec<u8>> {
        let (now, rank) = (self.now(), destination(&line));
        let peer = self.peers.iter_mut().find(|peer| peer.rank == rank).expect("a peer");
        peer.take_up(now, line, &mut self.scratch)
    }

    /// The lines that the node has said since.
    fn said(&mut self) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        while let Some(said) = self.shared.said.pop() {
            lines.extend(said.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec));
        }
        lines
    }

    /// Something happens.
    fn step(&mut self) {
        for line in self.said() {
            self.receive(line);
        }
        let time = match self.rng.random_range(0..1000) {
            0..600 => Duration::ZERO,
            600..900 => MS * self.rng.random_range(0..300) / 1000,
            900..995 => MS * self.rng.random_range(0..5),
            _ => MS * self.rng.random_range(0..400),
        };
        self.pass(time);
        let (now, name) = (self.now(), self.name.clone());
        let index = self.rng.random_range(0..self.peers.len());
        match self.rng.random_range(0..200) {
            0..70 => self.broadcast(),
            70..100 => {
                let values: Vec<Value> = (0..self.rng.random_range(1..4)).map(|_| self.new_value()).collect();
                self.peers[index].hold(&values);
                let line = self.peers[index].delta(now, &values, &name);
                // The first one always comes: or else the peer would have to send it again.
                self.handle(line.clone());
                if self.chance(20) {
                    self.send(line);
                }
            }
            100..140 => {
                let line = self.peers[index].ack(now, &name);
                self.send(line);
            }
            140..165 => {
                let late = self.to_node.pop_front();
                late.into_iter().for_each(|line| drop(self.handle(line)));
            }
            165..185 => {
                let late = self.to_peers.pop_front();
                late.into_iter().for_each(|line| self.take_up(line));
            }
            185..190 => {
                let line = self.peers[index].ping(now, &name);
                self.send(line);
            }
            190..193 => {
                let round = self.rng.random_range(1..1 << 50);
                let line = self.peers[index].begin_round(now, round, &name);
                self.send(line);
            }
            193..195 => self.check_read(),
            195 if self.chance(20) => self.peers[index].restart(self.role),
            _ => {}
        }
    }

    /// What must hold while no call to the node is under way.
    fn audit(&self) {
        let (node, now) = (&self.shared.node, self.now());
        node.audit(now).unwrap_or_else(|what| panic!("{:?} at {now:?}: {what}", self.role));
        assert_eq!(node.held(), self.told.len());
        assert!(self.told.iter().rev().take(20).all(|&value| node.holds(value)));
    }

    /// The network has healed: every peer gets every value, and the node falls silent.
    fn heal(&mut self) {
        self.to_node.clear();
        let end = self.now() + HEALED_BY;
        let mut under_way: VecDeque<(Time, Vec<u8>)> = VecDeque::new();
        let (mut peers_ask, mut at_once) = (self.now() + PEERS_ASK, 0);
        let mut late: Vec<_> = self.to_peers.drain(..).collect();
        late.extend(self.said());
        under_way.extend(late.into_iter().map(|line| (self.now() + LATENCY, line)));
        loop {
            let is_complete = self.peers.iter().all(|peer| peer.held.len() == self.told.len());
            let arrival = under_way.front().map(|(due, _)| *due);
            let due = self.shared.node.next_deadline();
            if is_complete && arrival.is_none() && due.is_none() {
                break;
            }
            let next = [arrival, due, Some(peers_ask)].into_iter().flatten().min().expect("a time");
            let now = self.now().max(next);
            at_once = if now > self.now() { 0 } else { at_once + 1 };
            assert!(at_once < 10_000, "the node is never done, {now:?}");
            assert!(now < end, "{}", self.what_is_missing());
            self.shared.clock.store(now.as_nanos(), Ordering::Relaxed);
            if peers_ask <= now {
                peers_ask = now + PEERS_ASK;
                let name = self.name.clone();
                for peer in self.peers.iter_mut().filter(|peer| !peer.agrees()) {
                    under_way.push_back((now + LATENCY, peer.ping(now, &name)));
                }
            }
            while under_way.front().is_some_and(|(due, _)| *due <= now) {
                let (_, line) = under_way.pop_front().expect("there is one");
                if destination(&line) == self.role.rank {
                    self.handle(line);
                } else if let Some(answer) = self.answer(line) {
                    under_way.push_back((now + LATENCY, answer));
                }
            }
            if self.shared.node.next_deadline().is_some_and(|due| due <= now) {
                let mut out = std::mem::take(&mut self.out);
                self.shared.tick(now, &mut out);
                self.out = out;
                // Peers that come and go are noted there.
                drop(self.out.take_reports());
            }
            under_way.extend(self.said().into_iter().map(|line| (now + LATENCY, line)));
            self.audit();
        }
        self.check_read();
    }

    fn what_is_missing(&self) -> String {
        let lacks = |peer: &Peer| {
            let missing: Vec<Value> = self.told.difference(&peer.held).copied().take(3).collect();
            let waits: Vec<String> =
                missing.iter().flat_map(|&value| self.shared.node.whereabouts(value)).collect();
            format!("{} lacks {missing:?} and others; {waits:?}", peer.name)
        };
        let lacking: Vec<String> =
            self.peers.iter().filter(|peer| peer.held.len() < self.told.len()).map(lacks).collect();
        format!("{:?}: not silent after {HEALED_BY:?}: {lacking:?}", self.role)
    }
}

/// Runs one incarnation of a node. Returns how often it has ticked while messages came.
fn live(seed: u64) -> u64 {
    let role = ROLES[seed as usize % ROLES.len()];
    let mut rng = Pcg64::seed_from_u64(seed);
    let config = Config {
        latency_budget: MS * u32::try_from(role.latency_budget_ms).expect("short"),
        // Some incarnations see the generations wrap.
        first_generation: Some(Generation(if rng.random_range(0..2) == 0 {
            Generation::LAST.0 - 50
        } else {
            7
        })),
        incarnation: Some(10),
        jitter_seed: Some(seed),
        ..Config::default()
    };
    let shared = Shared {
        node: LockFree::new(config, seed),
        clock: AtomicU64::new(1_000_000_000),
        wanted: AtomicU8::new(mode::PAUSE),
        doing: AtomicU8::new(mode::PAUSE),
        said: SegQueue::new(),
        ticks: AtomicU64::new(0),
    };
    let mut world = World {
        shared: &shared,
        role,
        rng,
        scratch: Scratch::default(),
        out: Outbox::default(),
        name: format!("n{}", role.rank),
        peers: (0..MEMBERS).filter(|&rank| rank != role.rank).map(|rank| Peer::new(rank, role)).collect(),
        told: BTreeSet::new(),
        to_node: VecDeque::new(),
        to_peers: VecDeque::new(),
    };
    std::thread::scope(|scope| {
        let reins = Reins { shared: &shared, ticking: scope.spawn(|| shared.keep_ticking()) };
        world.begin();
        let mut steps = 0;
        while steps < STEPS_OF_A_LIFE {
            let at_once = world.rng.random_range(1..=STEPS_AT_ONCE);
            reins.have_it(mode::RUN);
            (0..at_once).for_each(|_| world.step());
            reins.have_it(mode::PAUSE);
            world.audit();
            steps += at_once;
        }
    });
    let ticks = shared.ticks.load(Ordering::Relaxed);
    world.heal();
    ticks
}

fn stress(steps: usize, first_seed: u64) {
    let incarnations = (steps / STEPS_OF_A_LIFE) as u64;
    let ticks: u64 = (first_seed..first_seed + incarnations).map(live).sum();
    // Or else there was nothing to race with.
    assert!(ticks > incarnations * 100, "{ticks} ticks");
}

#[test]
fn a_node_between_two_threads_sleeps_through_nothing() {
    stress(200_000, 1);
}

#[test]
#[ignore = "takes minutes"]
fn a_node_between_two_threads_sleeps_through_nothing_for_long() {
    stress(10_000_000, 1_000_000);
}
