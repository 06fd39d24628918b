//! Clusters of both designs, driven by hand, and what they say of their links.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::time::Duration;

use natter::cluster::scripted::{Message, Scripted};
use natter::config::Config;
use natter::gossip::LockFree;
use natter::node::Node;
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

/// What a message says of the link, by names.
pub(crate) fn link_of(message: &Message) -> Json {
    named(&message.body["link"])
}

pub(crate) type Cluster<N> = Scripted<N>;

/// Nodes that have had no `init`.
pub(crate) fn fresh<N: Design>(count: usize, config: &Config) -> Cluster<N> {
    Cluster::new((0..count).map(|index| N::make(config, index as u64 + 1)).collect())
}

/// Nodes that have had their `init`.
pub(crate) fn initialised<N: Design>(count: usize, config: &Config) -> Cluster<N> {
    let mut cluster = fresh(count, config);
    (0..count).for_each(|index| assert_eq!(cluster.init(index)["type"], "init_ok"));
    cluster
}

/// Nodes that know a total topology.
pub(crate) fn started<N: Design>(count: usize, config: &Config) -> Cluster<N> {
    Cluster::started(fresh(count, config).nodes)
}

/// What clients of a broadcast ask.
pub(crate) trait Broadcasts {
    fn broadcast(&mut self, index: usize, value: i64);

    /// What a node shows, sorted.
    fn read(&mut self, index: usize) -> Vec<i64>;

    fn all_hold(&mut self, values: &[i64]) -> bool;

    fn run_for_secs(&mut self, secs: u64);
}

/// What a client hears at once.
fn ask_at_once<N: Design>(cluster: &mut Cluster<N>, index: usize, body: Json) -> Json {
    let now = cluster.now;
    let answer = cluster.ask(index, body);
    assert_eq!(cluster.now, now, "it answers at once");
    answer
}

impl<N: Design> Broadcasts for Cluster<N> {
    fn broadcast(&mut self, index: usize, value: i64) {
        let answer = ask_at_once(self, index, json!({ "type": "broadcast", "message": value }));
        assert_eq!(answer["type"], "broadcast_ok");
    }

    fn read(&mut self, index: usize) -> Vec<i64> {
        let answer = ask_at_once(self, index, json!({ "type": "read" }));
        assert_eq!(answer["type"], "read_ok");
        let mut values: Vec<i64> = serde_json::from_value(answer["messages"].clone()).expect("integers");
        values.sort_unstable();
        values
    }

    fn all_hold(&mut self, values: &[i64]) -> bool {
        (0..self.nodes.len()).all(|index| self.read(index) == values)
    }

    fn run_for_secs(&mut self, secs: u64) {
        self.run_for(Duration::from_secs(secs));
    }
}
