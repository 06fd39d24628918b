//! A small cluster driven by hand: every message can be looked at, lost or repeated.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::time::Duration;

use natter::config::Config;
use natter::gossip::LockFree;
use natter::node::{Node, Outbox, Time};
use natter::protocol::LineBuf;
use natter::simple::Simple;
use serde_json::{Value as Json, json};

/// A design under test.
pub(crate) trait Design: Node + Sized {
    fn make(config: &Config, seed: u64) -> Self;
}

impl Design for LockFree {
    fn make(config: &Config, seed: u64) -> Self {
        LockFree::new(config.clone(), seed)
    }
}

impl Design for Simple {
    fn make(config: &Config, seed: u64) -> Self {
        Simple::new(config.clone(), seed)
    }
}

/// Writes each test once and runs it with both designs.
#[macro_export]
macro_rules! both_designs {
    ($($(#[$meta:meta])* fn $name:ident<$design:ident>() $body:block)*) => {
        mod lock_free {
            $(#[test] $(#[$meta])* fn $name() { super::$name::<natter::gossip::LockFree>(); })*
        }
        mod simple {
            $(#[test] $(#[$meta])* fn $name() { super::$name::<natter::simple::Simple>(); })*
        }
        $(fn $name<$design: $crate::common::Design>() $body)*
    };
}

#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) src: String,
    pub(crate) dest: String,
    pub(crate) body: Json,
}

impl Message {
    pub(crate) fn is(&self, kind: &str) -> bool {
        self.body["type"] == kind
    }

    /// What it says of the link, by names.
    pub(crate) fn link(&self) -> Json {
        named(&self.body["link"])
    }
}

/// The integers that an array `link` begins with, and what stands for one that is not given.
const LINK: [(&str, i64); 16] = [
    ("incarnation", 0),
    ("to", -1),
    ("at", 0),
    ("echo", -1),
    ("hold", 0),
    ("ack", -1),
    ("later", 0),
    ("flags", 0),
    ("root", 0),
    ("next", -1),
    ("margin", 0),
    ("every", -1),
    ("far", 0),
    ("held", 0),
    ("sum", 0),
    ("known", 0),
];

/// The lists that it ends with.
const LISTS: [&str; 3] = ["but", "restarts", "untold"];

/// The flag of a sender that takes the receiver for its parent.
pub(crate) const UP: i64 = 1;
/// The flag of a sender that tells all members itself what the message brings.
pub(crate) const ALL: i64 = 2;

/// An array `link` of fields that have names here.
pub(crate) fn link(fields: &Json) -> Json {
    let mut integers: Vec<Json> =
        LINK.iter().map(|(name, missing)| fields.get(name).cloned().unwrap_or(json!(missing))).collect();
    for name in LISTS {
        let list = fields[name].as_array().cloned().unwrap_or_default();
        integers.push(json!(list.len()));
        integers.extend(list);
    }
    json!(integers)
}

/// The fields of an array `link` by their names; nothing if it is none.
pub(crate) fn named(link: &Json) -> Json {
    let Some(integers) = link.as_array() else { return Json::Null };
    let mut fields = serde_json::Map::new();
    for ((name, missing), integer) in LINK.iter().zip(integers) {
        if *missing == 0 || integer != missing {
            fields.insert((*name).to_owned(), integer.clone());
        }
    }
    let mut rest = &integers[LINK.len()..];
    for name in LISTS {
        let (list, others) = rest[1..].split_at(rest[0].as_u64().expect("a length") as usize);
        fields.insert(name.to_owned(), json!(list));
        rest = others;
    }
    fields.into()
}

/// What the network does with a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Deliver,
    Lose,
    Repeat,
}

/// Whether a message gets in where it arrives.
pub(crate) type Admits = Box<dyn FnMut(Time, &Message) -> bool>;

pub(crate) const LATENCY: Duration = Duration::from_millis(100);

pub(crate) struct Cluster<N: Node> {
    pub(crate) nodes: Vec<N>,
    scratch: N::Scratch,
    pub(crate) now: Time,
    under_way: Vec<(Time, Message)>,
    /// How long messages take that are sent from now on.
    pub(crate) latency: Duration,
    pub(crate) fate: Box<dyn FnMut(&Message) -> Fate>,
    /// What is made of a message before it is sent.
    pub(crate) forge: Box<dyn FnMut(&mut Message)>,
    /// Whether a message that arrives gets through.
    pub(crate) admits: Admits,
    /// Every message between nodes, lost or not.
    pub(crate) sent: Vec<Message>,
    pub(crate) reports: usize,
    next_msg_id: i64,
}

impl<N: Design> Cluster<N> {
    /// Nodes that have had their `init`.
    pub(crate) fn initialised(count: usize, config: &Config) -> Self {
        let mut cluster = Self::fresh(count, config);
        for index in 0..count {
            assert_eq!(cluster.init(index)["type"], "init_ok");
        }
        cluster
    }

    /// Nodes that know a total topology and have started.
    pub(crate) fn started(count: usize, config: &Config) -> Self {
        let mut cluster = Self::initialised(count, config);
        let ids = cluster.ids();
        let topology: serde_json::Map<String, Json> = ids
            .iter()
            .map(|id| (id.clone(), json!(ids.iter().filter(|other| *other != id).collect::<Vec<_>>())))
            .collect();
        for index in 0..count {
            let reply = cluster.ask(index, json!({ "type": "topology", "topology": topology }));
            assert_eq!(reply["type"], "topology_ok");
        }
        cluster
    }

    pub(crate) fn fresh(count: usize, config: &Config) -> Self {
        Self {
            nodes: (0..count).map(|index| N::make(config, index as u64 + 1)).collect(),
            scratch: N::Scratch::default(),
            now: Time::ZERO,
            under_way: Vec::new(),
            latency: LATENCY,
            fate: Box::new(|_| Fate::Deliver),
            forge: Box::new(|_| {}),
            admits: Box::new(|_, _| true),
            sent: Vec::new(),
            reports: 0,
            next_msg_id: 1,
        }
    }

    fn ids(&self) -> Vec<String> {
        (0..self.nodes.len()).map(|index| format!("n{index}")).collect()
    }

    pub(crate) fn init(&mut self, index: usize) -> Json {
        let body = json!({ "type": "init", "node_id": format!("n{index}"), "node_ids": self.ids() });
        self.ask(index, body)
    }

    /// What a client hears at once.
    pub(crate) fn ask(&mut self, index: usize, mut body: Json) -> Json {
        body["msg_id"] = json!(self.next_msg_id);
        self.next_msg_id += 1;
        let mut replies = self.tell(index, "c1", body.clone());
        assert_eq!(replies.len(), 1, "one answer to {body}");
        let reply = replies.remove(0);
        assert_eq!(reply["in_reply_to"], body["msg_id"]);
        reply
    }

    /// Hands a node a message from anybody; returns what it says to them at once.
    pub(crate) fn tell(&mut self, index: usize, src: &str, body: Json) -> Vec<Json> {
        let message = json!({ "src": src, "dest": format!("n{index}"), "body": body });
        let answers = self.line(index, message.to_string().as_bytes());
        let (to_them, others): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.dest == src);
        others.into_iter().for_each(|message| self.post(message));
        to_them.into_iter().map(|message| message.body).collect()
    }

    /// Hands a node a line; returns what it says at once, to anybody.
    pub(crate) fn line(&mut self, index: usize, line: &[u8]) -> Vec<Message> {
        let mut out = Outbox::default();
        self.nodes[index].handle(self.now, LineBuf::from(line).line(), &mut self.scratch, &mut out);
        self.said(&mut out)
    }

    fn said(&mut self, out: &mut Outbox) -> Vec<Message> {
        self.reports += out.take_reports().len();
        messages(&out.lines())
    }

    fn post(&mut self, mut message: Message) {
        (self.forge)(&mut message);
        let copies = match (self.fate)(&message) {
            Fate::Deliver => 1,
            Fate::Lose => 0,
            Fate::Repeat => 2,
        };
        for _ in 0..copies {
            self.under_way.push((self.now + self.latency, message.clone()));
        }
        self.sent.push(message);
    }

    pub(crate) fn broadcast(&mut self, index: usize, value: i64) {
        let reply = self.ask(index, json!({ "type": "broadcast", "message": value }));
        assert_eq!(reply["type"], "broadcast_ok");
    }

    /// What a node shows, sorted.
    pub(crate) fn read(&mut self, index: usize) -> Vec<i64> {
        let reply = self.ask(index, json!({ "type": "read" }));
        assert_eq!(reply["type"], "read_ok");
        let mut values: Vec<i64> = serde_json::from_value(reply["messages"].clone()).expect("integers");
        values.sort_unstable();
        values
    }

    pub(crate) fn all_hold(&mut self, values: &[i64]) -> bool {
        (0..self.nodes.len()).all(|index| self.read(index) == values)
    }

    /// Lets time pass: messages arrive, nodes tick.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        let mut rounds_at_once = 0;
        loop {
            let arrival = self.under_way.iter().map(|(due, _)| *due).min();
            let deadline = self.nodes.iter().filter_map(Node::next_deadline).min();
            let Some(next) = [arrival, deadline].into_iter().flatten().min().filter(|&next| next <= end)
            else {
                break;
            };
            rounds_at_once = if next > self.now { 0 } else { rounds_at_once + 1 };
            assert!(rounds_at_once < 10_000, "a node is never done, {:?}", self.now);
            self.now = self.now.max(next);
            let (due, later) =
                std::mem::take(&mut self.under_way).into_iter().partition(|(due, _)| *due <= self.now);
            self.under_way = later;
            for (_, message) in due {
                if !(self.admits)(self.now, &message) {
                    continue;
                }
                let index: usize = message.dest[1..].parse().expect("a node");
                let Message { src, dest, body } = message;
                let line = json!({ "src": src, "dest": dest, "body": body }).to_string();
                let answers = self.line(index, line.as_bytes());
                answers.into_iter().for_each(|answer| self.post(answer));
            }
            for index in 0..self.nodes.len() {
                if self.nodes[index].next_deadline().is_some_and(|due| due <= self.now) {
                    let mut out = Outbox::default();
                    self.nodes[index].tick(self.now, &mut out);
                    let messages = self.said(&mut out);
                    messages.into_iter().for_each(|message| self.post(message));
                }
            }
        }
        self.now = end;
    }

    pub(crate) fn run_for_secs(&mut self, secs: u64) {
        self.run_for(Duration::from_secs(secs));
    }

    /// What a node says when it goes away.
    pub(crate) fn finish(&mut self, index: usize) -> Vec<Message> {
        let mut out = Outbox::default();
        self.nodes[index].finish(self.now, &mut out);
        self.said(&mut out)
    }
}

/// The messages in a buffer of whole lines.
pub(crate) fn messages(lines: &[u8]) -> Vec<Message> {
    assert!(lines.is_empty() || lines.ends_with(b"\n"), "whole lines only");
    let parse = |line: &[u8]| {
        let message: Json = serde_json::from_slice(line).expect("each line is JSON");
        let name = |field: &str| message[field].as_str().expect("a name").to_owned();
        Message { src: name("src"), dest: name("dest"), body: message["body"].clone() }
    };
    lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(parse).collect()
}
