//! A node survives any lines, in any order, with time passing in between: it says what it should or nothing, loses no
//! value that it has acknowledged, and never falls into an endless loop.
//!
//! The first byte of the input chooses the node's settings; then come lines, each for the node to handle, or `+N` to
//! let N milliseconds pass.

use std::collections::BTreeSet;
use std::time::Duration;

use natter::cluster::scripted::{Message, Scripted};
use natter::config::Config;
use natter::gossip::LockFree;
use natter::node::{Inspect, Node, Outbox, Sent, Time};
use natter::protocol::{Generation, Line};
use natter::simple::Simple;
use serde_json::{Value as Json, json};

/// Fails if something doesn't hold.
pub fn check(data: &[u8]) {
    let Some((&settings, lines)) = data.split_first() else { return };
    let mut config = Config::default();
    if settings & 1 != 0 {
        (config.queue_limit, config.batch_max) = (4, 3);
    }
    if settings & 2 != 0 {
        config.latency_budget = Duration::from_millis(20);
    }
    if settings & 4 != 0 {
        config.first_generation = Some(Generation(Generation::LAST.0 - 2));
    }
    run(LockFree::new(config.clone(), 1), lines, settings & 8 != 0);
    run(Simple::new(config, 1), lines, settings & 8 != 0);
}

fn run<N: Inspect>(node: N, lines: &[u8], initialised: bool) {
    let mut cluster = Scripted::new(vec![Judged(node)]);
    let mut acknowledged = BTreeSet::new();
    if initialised {
        cluster.ask(0, json!({ "type": "init", "node_id": "n0", "node_ids": ["n0", "n1", "n2"] }));
    }
    for line in lines.split(|&byte| byte == b'\n') {
        match line.strip_prefix(b"+").and_then(|time| str::from_utf8(time).ok()?.parse::<u32>().ok()) {
            // Longer times are but more of the same.
            Some(millis) => cluster.run_for(Duration::from_millis(millis.min(60_000).into())),
            None => handle(&mut cluster, &mut acknowledged, line),
        }
    }
    cluster.run_for(Duration::from_secs(10));
    cluster.finish(0);
}

/// The node handles a line, and answers it as it should.
fn handle<N: Inspect>(cluster: &mut Scripted<Judged<N>>, acknowledged: &mut BTreeSet<i64>, line: &[u8]) {
    let said = cluster.line(0, line);
    let node = &cluster.nodes[0].0;
    let Ok(asked) = serde_json::from_slice::<Json>(line) else { return };
    let answers: Vec<&Message> = said.iter().filter(|said| said.body.get("in_reply_to").is_some()).collect();
    assert!(answers.len() <= 1, "one answer to a question: {answers:?}");
    for Message { dest, body, .. } in answers {
        assert_eq!(**dest, asked["src"]);
        if body["type"] == "broadcast_ok" {
            acknowledged.extend(asked["body"]["message"].as_i64());
        }
        if let Some(shown) = body["messages"].as_array() {
            let shown: BTreeSet<i64> = shown.iter().filter_map(Json::as_i64).collect();
            assert_eq!(shown.len(), node.held(), "each value once");
            assert!(shown.is_superset(acknowledged));
        }
    }
    acknowledged.iter().for_each(|&value| assert!(node.holds(value), "{value} is gone"));
}

/// A node whose structures must be in order after each call, and which sends nothing but messages.
struct Judged<N>(N);

impl<N: Inspect> Judged<N> {
    fn judge(&self, now: Time, out: &Outbox) {
        self.0.audit(now).expect("its structures are in order");
        let lines = out.lines();
        assert!(lines.is_empty() || lines.ends_with(b"\n"), "whole lines");
        let lines: Vec<&[u8]> = lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect();
        let messages = out.messages();
        let messages: Vec<Sent<'_>> = messages.iter().collect();
        assert_eq!(lines.len(), messages.len(), "one line a message");
        for (line, Sent { src, dest, body }) in lines.into_iter().zip(messages) {
            let message: Json = serde_json::from_slice(line).expect("JSON");
            let body: Json = serde_json::from_slice(body).expect("JSON");
            assert!(message["src"] == *src && message["dest"] == *dest && message["body"] == body);
            assert!(body["type"].is_string(), "{message}");
            let values = body["values"].as_array().map_or(0, Vec::len);
            assert!(values <= 64 || body["type"] != "delta", "a batch of {values}");
        }
    }
}

impl<N: Inspect> Node for Judged<N> {
    type Scratch = N::Scratch;

    fn handle(&self, now: Time, line: Line<'_>, scratch: &mut N::Scratch, out: &mut Outbox) {
        self.0.handle(now, line, scratch, out);
        self.judge(now, out);
    }

    fn tick(&self, now: Time, out: &mut Outbox) {
        self.0.tick(now, out);
        self.judge(now, out);
    }

    fn next_deadline(&self) -> Option<Time> {
        self.0.next_deadline()
    }

    fn finish(&self, now: Time, out: &mut Outbox) {
        self.0.finish(now, out);
        self.judge(now, out);
    }
}
