//! Any two sets end equal, whatever a third node makes up about what it and others hold.
//!
//! The first byte of the input chooses the settings; then come steps of a few bytes each: a value for one node or
//! the other, while they can't hear each other, or a lie to tell one of them, by someone who holds nothing.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use natter::config::Config;
use natter::gossip::LockFree;
use natter::node::{Inspect, Node, Outbox, Time};
use natter::protocol::encode;
use natter::protocol::link::{
    Acked, Claim, Delta, Digest, Echo, Header, HubPlan, Range, Restart, Sync, Want,
};
use natter::protocol::{Body, Generation, LineBuf, Scratch, Value, parse};

const NAMES: [&str; 3] = ["n0", "n1", "n2"];
const LATENCY: Duration = Duration::from_millis(20);
/// How long the nodes can't hear each other.
const CUT: Duration = Duration::from_secs(4);
/// By when they must hold the same.
const LONG_ENOUGH: Duration = Duration::from_secs(60);

/// Fails if something doesn't hold.
pub fn check(data: &[u8]) {
    let mut bytes = Bytes(data);
    let settings = bytes.byte();
    let mut config = Config::default();
    if settings & 1 != 0 {
        config.batch_max = 3;
    }
    if settings & 2 != 0 {
        config.latency_budget = Duration::from_millis(50);
    }
    let mut net = Net::new(&config);
    while !bytes.0.is_empty() {
        net.step(&mut bytes);
        let wait = Duration::from_millis(u64::from(settings >> 2));
        net.run_until((net.now + wait).min(Time::ZERO + CUT), false);
    }
    net.run_until(Time::ZERO + CUT, false);
    // Liars go on as long as there is something to say.
    net.run_until(net.now + LONG_ENOUGH, true);
    for (index, node) in net.nodes.iter().enumerate() {
        node.audit(net.now).expect("its structures are in order");
        // What a liar is believed to have told everyone may stay where it was told.
        for value in net.given.difference(&net.promised) {
            assert!(node.holds(*value), "{} lacks {value}", NAMES[index]);
        }
    }
    if net.promised.is_empty() {
        assert_eq!(net.nodes[0].held(), net.nodes[1].held());
    }
}

/// What is left of the input; zeros follow.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// A number: small ones take two bytes, those that are large or negative take more.
    fn value(&mut self) -> Value {
        let first = self.byte();
        match first {
            0..=199 => Value::from(first) << 8 | Value::from(self.byte()),
            200..=219 => -1 - Value::from(self.byte()),
            220..=229 => Value::MAX - Value::from(self.byte()),
            230..=239 => Value::MIN + Value::from(self.byte()),
            _ => Value::from_be_bytes(std::array::from_fn(|_| self.byte())),
        }
    }

    fn number(&mut self) -> u64 {
        self.value().unsigned_abs() & (u64::MAX >> 1)
    }

    fn sometimes<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.byte() & 1 != 0).then(|| make(self))
    }

    fn some<T>(&mut self, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.byte() % 5).map(|_| make(self)).collect()
    }
}

/// Two nodes, and a third one that is not what it says.
struct Net {
    nodes: [LockFree; 2],
    scratch: Scratch,
    now: Time,
    under_way: VecDeque<(Time, usize, Vec<u8>)>,
    given: BTreeSet<Value>,
    /// What the third one has heard of the other two: their incarnations.
    incarnations: [u64; 2],
    /// Values that it has said it tells everyone itself, and won't.
    promised: BTreeSet<Value>,
}

impl Net {
    fn new(config: &Config) -> Self {
        let mut net = Self {
            nodes: std::array::from_fn(|index| LockFree::new(config.clone(), index as u64 + 1)),
            scratch: Scratch::default(),
            now: Time::ZERO,
            under_way: VecDeque::new(),
            given: BTreeSet::new(),
            incarnations: [0; 2],
            promised: BTreeSet::new(),
        };
        for (index, name) in NAMES[..2].iter().enumerate() {
            let bodies = [
                format!(r#"{{"type":"init","msg_id":1,"node_id":"{name}","node_ids":["n0","n1","n2"]}}"#),
                r#"{"type":"topology","msg_id":2,"topology":{}}"#.to_owned(),
            ];
            for body in bodies {
                let line = format!(r#"{{"src":"c0","dest":"{name}","body":{body}}}"#);
                net.tell(index, line.into_bytes(), false);
            }
        }
        net
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let what = bytes.byte();
        let index = usize::from(what & 1);
        if what & 0b110 != 0 {
            let value = bytes.value();
            self.given.insert(value);
            let line = format!(
                r#"{{"src":"c0","dest":"{}","body":{{"type":"broadcast","msg_id":3,"message":{value}}}}}"#,
                NAMES[index]
            );
            return self.tell(index, line.into_bytes(), false);
        }
        let mut line = Vec::new();
        let header = self.header(index, bytes);
        let (src, dest) = (NAMES[2], NAMES[index]);
        match what >> 3 & 3 {
            0 | 1 => {
                let sync = Sync {
                    round: bytes.number(),
                    answer: bytes.byte() & 1 != 0,
                    ranges: bytes.some(|bytes| Range {
                        first: bytes.value(),
                        last: bytes.value(),
                        count: bytes.number(),
                        fingerprint: bytes.number(),
                    }),
                    wants: bytes.some(|bytes| Want {
                        first: bytes.value(),
                        last: bytes.value(),
                        count: bytes.number(),
                    }),
                    values: bytes.some(Bytes::value),
                };
                if header.all {
                    self.promised.extend(&sync.values);
                }
                encode::sync(&mut line, src, dest, &sync, &header);
            }
            2 => {
                let values = bytes.some(Bytes::value);
                let delta = Delta {
                    generation: Generation(bytes.number()),
                    base: bytes.sometimes(|bytes| Generation(bytes.number())),
                    age: bytes.number(),
                    now: bytes.byte() & 1 != 0,
                    values: &values,
                };
                if header.all {
                    self.promised.extend(&values);
                }
                encode::delta(&mut line, src, dest, &delta, &header);
            }
            _ => encode::ack(&mut line, src, dest, &header),
        }
        self.tell(index, line, false);
    }

    fn header(&self, index: usize, bytes: &mut Bytes<'_>) -> Header {
        Header {
            incarnation: bytes.sometimes(Bytes::number).unwrap_or(7),
            to: Some(bytes.sometimes(Bytes::number).unwrap_or(self.incarnations[index])),
            at: bytes.sometimes(Bytes::number).unwrap_or(self.now.as_micros()),
            echo: bytes.sometimes(|bytes| Echo { at: bytes.number(), hold: bytes.number() }),
            acked: bytes.sometimes(|bytes| Acked {
                next: Generation(bytes.number() & Generation::LAST.0),
                later: u32::from(bytes.byte()),
            }),
            up: bytes.byte() & 1 != 0,
            all: bytes.byte() & 1 != 0,
            more: bytes.byte() & 1 != 0,
            root: bytes.number() & 3,
            plan: bytes.sometimes(|bytes| HubPlan {
                next: bytes.sometimes(Bytes::number),
                margin: bytes.number(),
                every: bytes.number(),
                far: bytes.number(),
            }),
            digest: Digest {
                count: u64::from(bytes.byte()),
                sum: bytes.number(),
                restarts: bytes.sometimes(Bytes::number).unwrap_or(0),
            },
            claim: match bytes.byte() % 3 {
                0 => Claim::Mine,
                1 => Claim::Below,
                _ => Claim::AllBut((0..4).filter(|_| bytes.byte() & 1 != 0).collect()),
            },
            restarts: bytes.some(|bytes| Restart { rank: bytes.number() & 3, incarnation: bytes.number() }),
            untold: bytes.some(|bytes| bytes.number() & 3),
        }
    }

    fn tell(&mut self, index: usize, line: Vec<u8>, linked: bool) {
        let mut out = Outbox::default();
        self.nodes[index].handle(self.now, LineBuf::from(line).line(), &mut self.scratch, &mut out);
        self.said(index, &out, linked);
    }

    /// Sends on what a node says to the other one, if they are linked.
    fn said(&mut self, index: usize, out: &Outbox, linked: bool) {
        for line in out.lines().split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let (mut copy, mut scratch) = (LineBuf::from(line), Scratch::default());
            let message = parse(copy.line(), &mut scratch).expect("a message");
            if message.dest == NAMES[1 - index] && linked {
                self.under_way.push_back((self.now + LATENCY, 1 - index, line.to_vec()));
            }
            if message.dest == NAMES[2]
                && let Ok(
                    Body::Delta { header: Some(header), .. }
                    | Body::DeltaOk { header: Some(header), .. }
                    | Body::Ping { header, .. }
                    | Body::Sync { header, .. },
                ) = message.body
            {
                self.incarnations[index] = header.incarnation;
            }
        }
    }

    fn run_until(&mut self, end: Time, linked: bool) {
        let mut steps_at_once = 0;
        loop {
            let arrival = self.under_way.front().map(|(due, ..)| *due);
            let deadline = self.nodes.iter().filter_map(Node::next_deadline).min();
            let Some(next) = [arrival, deadline].into_iter().flatten().min().filter(|&next| next <= end)
            else {
                break;
            };
            steps_at_once = if next > self.now { 0 } else { steps_at_once + 1 };
            assert!(steps_at_once < 10_000, "they are never done");
            self.now = self.now.max(next);
            while self.under_way.front().is_some_and(|(due, ..)| *due <= self.now) {
                let (_, index, line) = self.under_way.pop_front().expect("it was there");
                self.tell(index, line, linked);
            }
            for index in 0..self.nodes.len() {
                if self.nodes[index].next_deadline().is_some_and(|due| due <= self.now) {
                    let mut out = Outbox::default();
                    self.nodes[index].tick(self.now, &mut out);
                    self.said(index, &out, linked);
                }
            }
        }
        self.now = self.now.max(end);
    }
}
