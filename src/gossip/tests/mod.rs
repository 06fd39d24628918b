//! What one message changes between two nodes, where no run of a whole cluster shows it for sure.

mod equality;
mod overlay;
mod push;
mod rounds;

use std::time::Duration;

use super::core::{Core, Tick};
use super::link::Comparison;
use super::membership::{Arrival, Kind, Membership, Peer, What};
use super::plan::Strategy;
use super::rule::Equals;
use super::schedule::GATHER;
use super::{Brought, LockFree, start};
use crate::config::Config;
use crate::node::{Node, Outbox, Time};
use crate::protocol::link::{Acked, Claim, Digest, Echo, Header, HubPlan, Range, Restart, Sync};
use crate::protocol::{Body, Generation, LineBuf, Scratch, Value, parse};
use crate::queue::{Log, Origin, Span};
use crate::random::Random;
use crate::sync::{AtomicU64, Ordering};

const NOW: Time = Time::from_nanos(5_000_000_000);
const HUB: Peer = Peer(0);
const LEAF: Peer = Peer(1);

/// Shows a test the ticking thread of one of the three nodes of a star, and what it sends.
fn node(name: &str, test: impl FnOnce(&mut Core, &Tick<'_>, &mut Outbox)) {
    node_of(&["n0", "n1", "n2"], name, test);
}

fn node_of(names: &[&str], name: &str, test: impl FnOnce(&mut Core, &Tick<'_>, &mut Outbox)) {
    let members = Membership::new(name, names, 7, Time::ZERO);
    let (config, random, log, incarnation) =
        (Config::default(), Random::new(1), Log::default(), AtomicU64::new(5));
    let tick = Tick {
        now: NOW,
        config: &config,
        random: &random,
        log: &log,
        members: &members,
        incarnation: &incarnation,
    };
    test(&mut Core::new(&members), &tick, &mut Outbox::default());
}

/// The same of a cluster that is large enough for a tree.
fn node_of_200(name: &str, test: impl FnOnce(&mut Core, &Tick<'_>, &mut Outbox)) {
    let names: Vec<String> = (0..200).map(|index| format!("n{index}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    node_of(&names, name, test);
}

/// A message of a peer that holds one value more than this node, and has heard its message of the stamp `heard`.
fn header(heard: u64) -> Header {
    let digest = Digest { count: 1, sum: 77, ..Digest::default() };
    Header {
        incarnation: 3,
        to: Some(5),
        at: 1,
        echo: Some(Echo { at: heard, hold: 0 }),
        digest,
        ..Header::default()
    }
}

fn arrival(header: Header, kind: Kind) -> Arrival {
    Arrival { at: NOW, what: What::Gossip { header, acked: false, kind } }
}

fn text(out: &mut Outbox) -> String {
    String::from_utf8(out.lines().into_owned()).expect("text")
}

/// The receivers of the messages that were said, and what these say of the links.
fn links(out: &mut Outbox) -> Vec<(String, Header)> {
    let link = |line: &str| {
        let (mut line, mut scratch) = (LineBuf::from(line), Scratch::default());
        let message = parse(line.line(), &mut scratch).expect("a message");
        match message.body.expect("understood") {
            Body::Delta { header: Some(header), .. }
            | Body::DeltaOk { header: Some(header), .. }
            | Body::Ping { header, .. }
            | Body::Sync { header, .. } => (message.dest.to_owned(), header.clone()),
            other => panic!("{other:?}"),
        }
    };
    text(out).lines().map(link).collect()
}

fn step(round: u64) -> Sync {
    Sync { round, ..Sync::default() }
}

/// Begins to compare: the first step is sent.
fn begin_round(core: &mut Core, tick: &Tick<'_>, peer: Peer, out: &mut Outbox) {
    core.start_round(tick, peer, tick.now);
    core.try_round(tick, peer, out);
}
