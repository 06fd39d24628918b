//! A node survives any lines, in any order, with time passing in between: it says what it should or nothing, loses no
//! value that it has acknowledged, and never falls into an endless loop.
//!
//! The first byte of the input chooses the node's settings; then come lines, each for the node to handle, or `+N` to
//! let N milliseconds pass.

use std::collections::BTreeSet;
use std::time::Duration;

use natter::config::Config;
use natter::gossip::LockFree;
use natter::node::{Inspect, Outbox, Time};
use natter::protocol::{Generation, LineBuf};
use natter::simple::Simple;
use serde_json::Value as Json;

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
    run(&LockFree::new(config.clone(), 1), lines, settings & 8 != 0);
    run(&Simple::new(config, 1), lines, settings & 8 != 0);
}

fn run<N: Inspect>(node: &N, lines: &[u8], initialised: bool) {
    let mut driver =
        Driver { node, scratch: N::Scratch::default(), now: Time::ZERO, acknowledged: BTreeSet::new() };
    if initialised {
        driver.handle(br#"{"src":"c0","dest":"n0","body":{"type":"init","msg_id":1,"node_id":"n0","node_ids":["n0","n1","n2"]}}"#);
    }
    for line in lines.split(|&byte| byte == b'\n') {
        match line.strip_prefix(b"+").and_then(|time| str::from_utf8(time).ok()?.parse::<u32>().ok()) {
            // Longer times are but more of the same.
            Some(millis) => driver.wait(Duration::from_millis(millis.min(60_000).into())),
            None => driver.handle(line),
        }
    }
    driver.wait(Duration::from_secs(10));
    let mut out = Outbox::default();
    node.finish(driver.now, &mut out);
    driver.judge(&out);
}

struct Driver<'a, N: Inspect> {
    node: &'a N,
    scratch: N::Scratch,
    now: Time,
    /// Values that were broadcast, and whose clients were told so.
    acknowledged: BTreeSet<i64>,
}

impl<N: Inspect> Driver<'_, N> {
    fn handle(&mut self, line: &[u8]) {
        let mut out = Outbox::default();
        self.node.handle(self.now, LineBuf::from(line).line(), &mut self.scratch, &mut out);
        let said = self.judge(&out);
        let Ok(asked) = serde_json::from_slice::<Json>(line) else { return };
        let answers: Vec<&Json> =
            said.iter().filter(|said| said["body"].get("in_reply_to").is_some()).collect();
        assert!(answers.len() <= 1, "one answer to a question: {answers:?}");
        for answer in answers {
            assert_eq!(answer["dest"], asked["src"]);
            if answer["body"]["type"] == "broadcast_ok" {
                self.acknowledged.extend(asked["body"]["message"].as_i64());
            }
            if let Some(shown) = answer["body"]["messages"].as_array() {
                let shown: BTreeSet<i64> = shown.iter().filter_map(Json::as_i64).collect();
                assert_eq!(shown.len(), self.node.held(), "each value once");
                assert!(shown.is_superset(&self.acknowledged));
            }
        }
        self.acknowledged.iter().for_each(|&value| assert!(self.node.holds(value), "{value} is gone"));
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        let mut ticks_at_once = 0;
        while let Some(due) = self.node.next_deadline().filter(|&due| due <= end) {
            ticks_at_once = if due > self.now { 0 } else { ticks_at_once + 1 };
            assert!(ticks_at_once < 100, "it is never done");
            self.now = self.now.max(due);
            let mut out = Outbox::default();
            self.node.tick(self.now, &mut out);
            self.judge(&out);
        }
        self.now = end;
    }

    /// What the node said, if it is as it should be.
    fn judge(&self, out: &Outbox) -> Vec<Json> {
        self.node.audit(self.now).expect("its structures are in order");
        let lines = out.lines();
        assert!(lines.is_empty() || lines.ends_with(b"\n"), "whole lines");
        let parse = |line: &[u8]| serde_json::from_slice::<Json>(line).expect("JSON");
        let said: Vec<Json> =
            lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(parse).collect();
        for message in &said {
            assert!(message["src"].is_string() && message["dest"].is_string(), "{message}");
            assert!(message["body"]["type"].is_string(), "{message}");
            let values = message["body"]["values"].as_array().map_or(0, Vec::len);
            assert!(values <= 64 || message["body"]["type"] != "delta", "a batch of {values}");
        }
        said
    }
}
