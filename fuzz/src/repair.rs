//! Any two sets end equal, whatever a third node makes up about what it and others hold.
//!
//! The first byte of the input chooses the settings; then come steps of a few bytes each: a value for one node or
//! the other, while they can't hear each other, or a lie to tell one of them, by someone who holds nothing.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use natter::cluster::scripted::{Fate, Scripted};
use natter::config::Config;
use natter::gossip::LockFree;
use natter::node::{Inspect, Time};
use natter::protocol::encode;
use natter::protocol::link::{
    Acked, Claim, Delta, Digest, Echo, Header, HubPlan, Range, Restart, Sync, Want,
};
use natter::protocol::{Body, Generation, LineBuf, Scratch, Value, parse};
use serde_json::json;

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
        net.run_until((net.cluster.now + wait).min(Time::ZERO + CUT));
    }
    net.run_until(Time::ZERO + CUT);
    // Liars go on as long as there is something to say.
    net.linked.set(true);
    net.run_until(Time::ZERO + CUT + LONG_ENOUGH);
    let [one, other] = &*net.cluster.nodes else { unreachable!("there are two") };
    for (index, node) in [one, other].into_iter().enumerate() {
        node.audit(net.cluster.now).expect("its structures are in order");
        // What a liar is believed to have told everyone may stay where it was told.
        for value in net.given.difference(&net.promised) {
            assert!(node.holds(*value), "{} lacks {value}", NAMES[index]);
        }
    }
    if net.promised.is_empty() {
        assert_eq!(one.held(), other.held());
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
    cluster: Scripted<LockFree>,
    /// Whether the two hear each other.
    linked: Rc<Cell<bool>>,
    given: BTreeSet<Value>,
    /// What the third one has heard of the other two: their incarnations.
    incarnations: [u64; 2],
    /// Values that it has said it tells everyone itself, and won't.
    promised: BTreeSet<Value>,
}

impl Net {
    fn new(config: &Config) -> Self {
        let nodes = (1..=2).map(|seed| LockFree::new(config.clone(), seed)).collect();
        let linked = Rc::new(Cell::new(false));
        let mut cluster = Scripted::new(nodes);
        cluster.latency = LATENCY;
        let is_linked = Rc::clone(&linked);
        cluster.fate = Box::new(move |_| if is_linked.get() { Fate::Deliver } else { Fate::Lose });
        for (index, name) in NAMES[..2].iter().enumerate() {
            cluster.ask(index, json!({ "type": "init", "node_id": name, "node_ids": NAMES }));
            cluster.ask(index, json!({ "type": "topology", "topology": {} }));
        }
        Self { cluster, linked, given: BTreeSet::new(), incarnations: [0; 2], promised: BTreeSet::new() }
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let what = bytes.byte();
        let index = usize::from(what & 1);
        if what & 0b110 != 0 {
            let value = bytes.value();
            self.given.insert(value);
            self.cluster.ask(index, json!({ "type": "broadcast", "message": value }));
            return;
        }
        let header = self.header(index, bytes);
        let line = |body: &dyn Fn(&mut Vec<u8>)| encode::line(NAMES[2], NAMES[index], body);
        let line = match what >> 3 & 3 {
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
                line(&|body| encode::sync(body, &sync, &header))
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
                line(&|body| encode::delta(body, &delta, &header))
            }
            _ => line(&|body| encode::ack(body, &header)),
        };
        let said = self.cluster.line(index, &line);
        said.into_iter().for_each(|message| self.cluster.post(message));
        self.overhear();
    }

    fn header(&self, index: usize, bytes: &mut Bytes<'_>) -> Header {
        Header {
            incarnation: bytes.sometimes(Bytes::number).unwrap_or(7),
            to: Some(bytes.sometimes(Bytes::number).unwrap_or(self.incarnations[index])),
            at: bytes.sometimes(Bytes::number).unwrap_or(self.cluster.now.as_micros()),
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

    /// What the nodes have said to the third one: their incarnations.
    fn overhear(&mut self) {
        for message in std::mem::take(&mut self.cluster.outside) {
            let (mut line, mut scratch) = (LineBuf::from(message.line()), Scratch::default());
            if let Ok(
                Body::Delta { header: Some(header), .. }
                | Body::DeltaOk { header: Some(header), .. }
                | Body::Ping { header, .. }
                | Body::Sync { header, .. },
            ) = parse(line.line(), &mut scratch).expect("a message").body
            {
                let index = usize::from(message.src == NAMES[1]);
                self.incarnations[index] = header.incarnation;
            }
        }
    }

    fn run_until(&mut self, end: Time) {
        self.cluster.run_for(end.since(self.cluster.now));
        self.overhear();
    }
}
