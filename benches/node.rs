//! Whole nodes in this process, lines in and lines out, both designs side by side.
//!
//! Every result is checked, outside the time that is measured.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use natter::cluster::scripted::Scripted;
use natter::config::Config;
use natter::gossip::LockFree;
use natter::node::{Node, Outbox, Time};
use natter::protocol::{Line, LineBuf};
use natter::simple::Simple;
use serde_json::{Value as Json, json};

/// Requests in one measured batch.
const REQUESTS: usize = 1000;

fn line(src: &str, body: &Json) -> LineBuf {
    json!({ "src": src, "dest": "n0", "body": body }).to_string().into()
}

/// A node with the values 0 to `values` in a cluster of `nodes`.
fn node<N: Node>(new: fn(Config, u64) -> N, nodes: usize, values: i64) -> N {
    let node = new(Config::default(), 1);
    let ids: Vec<String> = (0..nodes).map(|index| format!("n{index}")).collect();
    let mut lines =
        vec![line("c0", &json!({ "type": "init", "msg_id": 1, "node_id": "n0", "node_ids": ids }))];
    lines.push(line("c0", &json!({ "type": "topology", "msg_id": 2, "topology": { "n0": &ids[1..] } })));
    lines.push(line("c0", &json!({ "type": "delta", "generation": 1, "values": Vec::from_iter(0..values) })));
    handle(&node, &lines);
    node
}

fn handle<N: Node>(node: &N, lines: &[LineBuf]) -> Outbox {
    let mut lines = lines.to_vec();
    let (mut scratch, mut out) = (N::Scratch::default(), Outbox::default());
    for line in &mut lines {
        node.handle(Time::ZERO, line.line(), &mut scratch, &mut out);
    }
    out
}

/// The bodies of what a node said.
fn bodies(out: &Outbox) -> Vec<Json> {
    out.messages().iter().map(|sent| serde_json::from_slice(sent.body).expect("JSON")).collect()
}

/// One load for one design: `requests` to a fresh node of a cluster of `nodes` that holds `values`.
fn load<N: Node>(
    criterion: &mut Criterion,
    name: (&str, &str),
    (nodes, values): (usize, i64),
    new: fn(Config, u64) -> N,
    requests: &[Json],
    check: fn(&[Json]),
) {
    let src = if requests[0]["type"] == "delta" { "n1" } else { "c1" };
    let lines: Vec<LineBuf> = requests.iter().map(|body| line(src, body)).collect();
    let replies = bodies(&handle(&node(new, nodes, values), &lines));
    assert_eq!(replies.len(), requests.len());
    check(&replies);

    let mut group = criterion.benchmark_group(name.0);
    group.throughput(Throughput::Elements(requests.len() as u64));
    group.sample_size(20);
    group.bench_function(name.1, |bencher| {
        bencher.iter_batched_ref(
            || (node(new, nodes, values), lines.clone(), N::Scratch::default(), Outbox::default()),
            |(node, lines, scratch, out)| {
                for line in lines {
                    node.handle(Time::ZERO, line.line(), scratch, out);
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn both(criterion: &mut Criterion, name: &str, size: (usize, i64), requests: &[Json], check: fn(&[Json])) {
    load(criterion, (name, "lock-free"), size, LockFree::new, requests, check);
    load(criterion, (name, "simple"), size, Simple::new, requests, check);
}

fn nodes(criterion: &mut Criterion) {
    let request = |index: usize, mut body: Json| {
        body["msg_id"] = json!(index);
        body
    };
    let all = |make: fn(usize) -> Json| (0..REQUESTS).map(|i| request(i, make(i))).collect::<Vec<_>>();

    let echoes = all(|i| json!({ "type": "echo", "echo": format!("Please echo {}", i % 128) }));
    both(criterion, "echo", (1, 0), &echoes, |replies| {
        assert!(
            replies.iter().all(|reply| reply["echo"].as_str().is_some_and(|text| text.starts_with("Please")))
        );
    });
    let broadcasts = all(|i| json!({ "type": "broadcast", "message": i }));
    both(criterion, "broadcast, one node", (1, 0), &broadcasts, |replies| {
        assert!(replies.iter().all(|reply| reply["type"] == "broadcast_ok"));
    });
    both(criterion, "broadcast, hub of 25", (25, 0), &broadcasts, |replies| {
        assert!(replies.iter().all(|reply| reply["type"] == "broadcast_ok"));
    });
    let delta = |i: usize| {
        let values = Vec::from_iter(64 * i..64 * (i + 1));
        json!({ "type": "delta", "generation": i, "values": values })
    };
    let deltas: Vec<Json> = (0..100).map(delta).collect();
    both(criterion, "broadcast, hub of 1000", (1000, 0), &broadcasts, |replies| {
        assert!(replies.iter().all(|reply| reply["type"] == "broadcast_ok"));
    });
    both(criterion, "delta of 64 new values", (2, 0), &deltas, |replies| {
        let generations = replies.iter().map(|reply| reply["generation"].as_u64());
        assert!(generations.eq((0..100).map(Some)));
    });
    let reads: Vec<Json> = (0..10).map(|i| json!({ "type": "read", "msg_id": i })).collect();
    both(criterion, "read of 100 values", (1, 100), &reads, |replies| all_show(replies, 100));
    both(criterion, "read of 10000 values", (1, 10_000), &reads, |replies| all_show(replies, 10_000));
    both(criterion, "read of 1000000 values", (1, 1_000_000), &reads[..1], |replies| {
        all_show(replies, 1_000_000);
    });
}

/// Something that a node is called for, and when.
type Call = (Time, Option<LineBuf>);

/// Calls a node: with a line, or for a tick.
fn call<N: Node>(node: &N, (now, line): &mut Call, scratch: &mut N::Scratch, out: &mut Outbox) {
    match line {
        Some(line) => node.handle(*now, line.line(), scratch, out),
        None => node.tick(*now, out),
    }
}

/// A hub, the first of so many nodes, before it is told a value; or one of the other nodes.
fn star_node<N: Node>(new: fn(Config, u64) -> N, nodes: usize, index: usize) -> N {
    let node = new(Config::default(), index as u64 + 1);
    let ids: Vec<String> = (0..nodes).map(|index| format!("n{index}")).collect();
    let neighbours = if index == 0 { &ids[1..] } else { &ids[..1] };
    let me = &ids[index];
    handle(
        &node,
        &[
            line("c0", &json!({ "type": "init", "msg_id": 1, "node_id": me, "node_ids": ids })),
            line("c0", &json!({ "type": "topology", "msg_id": 2, "topology": { me: neighbours } })),
        ],
    );
    node
}

/// A node, all that it is called for, and what it prints.
struct Recorded<N> {
    node: N,
    calls: Mutex<Vec<Call>>,
    printed: Mutex<Vec<u8>>,
}

impl<N: Node> Recorded<N> {
    fn record(&self, call: Call, out: &Outbox) {
        self.calls.lock().expect("no panic").push(call);
        self.printed.lock().expect("no panic").extend_from_slice(&out.lines());
    }
}

impl<N: Node> Node for Recorded<N> {
    type Scratch = N::Scratch;

    fn handle(&self, now: Time, line: Line<'_>, scratch: &mut N::Scratch, out: &mut Outbox) {
        let copy = LineBuf::from(line.bytes());
        self.node.handle(now, line, scratch, out);
        self.record((now, Some(copy)), out);
    }

    fn tick(&self, now: Time, out: &mut Outbox) {
        self.node.tick(now, out);
        self.record((now, None), out);
    }

    fn next_deadline(&self) -> Option<Time> {
        self.node.next_deadline()
    }

    fn finish(&self, now: Time, out: &mut Outbox) {
        self.node.finish(now, out);
    }
}

/// All that a hub is called for while clients broadcast at it, once every `interval`, and until the last value has
/// arrived at every other node and was acknowledged; and what it prints. The other nodes are of the same design.
fn calls_of_hub<N: Node>(
    new: fn(Config, u64) -> N,
    nodes: usize,
    interval: Duration,
) -> (Vec<Call>, Vec<u8>) {
    let node = |index| Recorded {
        node: star_node(new, nodes, index),
        calls: Mutex::default(),
        printed: Mutex::default(),
    };
    let mut cluster = Scripted::new((0..nodes).map(node).collect());
    for value in 0..REQUESTS {
        cluster.ask(0, json!({ "type": "broadcast", "message": value }));
        cluster.run_for(interval);
    }
    cluster.run_for(Duration::from_secs(5));
    let recorded = &cluster.nodes[0];
    let calls = std::mem::take(&mut *recorded.calls.lock().expect("no panic"));
    let printed = std::mem::take(&mut *recorded.printed.lock().expect("no panic"));
    for index in 0..nodes {
        all_show(&[cluster.ask(index, json!({ "type": "read" }))], REQUESTS);
    }
    (calls, printed)
}

/// What a broadcast costs a hub with all that follows from it: its part of the flushes and of the acknowledgements. A
/// cluster is run beforehand, and all that its hub was called for is repeated with another hub, which must print the
/// same.
fn broadcasts_with_flushes<N: Node>(
    criterion: &mut Criterion,
    design: &str,
    new: fn(Config, u64) -> N,
    nodes: usize,
    rate: u32,
) {
    let (calls, printed) = calls_of_hub(new, nodes, Duration::from_secs(1) / rate);
    let (hub, mut out) = (star_node(new, nodes, 0), Outbox::default());
    let mut scratch = N::Scratch::default();
    calls.clone().iter_mut().for_each(|repeated| call(&hub, repeated, &mut scratch, &mut out));
    assert!(*out.lines() == printed, "a hub does the same again");
    let bodies = bodies(&out);
    assert_eq!(bodies.iter().filter(|body| body["type"] == "broadcast_ok").count(), REQUESTS);

    let name = format!("broadcast with its flushes, hub of {nodes}, {rate} a second");
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(REQUESTS as u64));
    group.sample_size(10);
    group.bench_function(design, |bencher| {
        bencher.iter_batched_ref(
            || (star_node(new, nodes, 0), calls.clone(), N::Scratch::default(), Outbox::default()),
            |(hub, calls, scratch, out)| {
                for repeated in calls {
                    call(hub, repeated, scratch, out);
                    out.clear();
                }
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// What a tick costs a hub that does nothing, as all its peers may still answer what it has just told them; and how long one
/// may take at most.
#[expect(clippy::disallowed_methods, reason = "it is time that is measured")]
fn idle_tick<N: Node>(
    criterion: &mut Criterion,
    design: &str,
    new: fn(Config, u64) -> N,
    nodes: usize,
    limit: Duration,
) {
    let hub = star_node(new, nodes, 0);
    handle(&hub, &[line("c1", &json!({ "type": "broadcast", "msg_id": 3, "message": 1 }))]);
    let (mut out, mut now) = (Outbox::default(), Time::ZERO);
    while out.is_empty() {
        now = hub.next_deadline().expect("a value waits");
        hub.tick(now, &mut out);
    }
    out.clear();
    now = now + Duration::from_micros(1);
    assert!(hub.next_deadline().is_some_and(|due| due > now), "nothing is due");
    let mut group = criterion.benchmark_group(format!("tick with nothing due, hub of {nodes}"));
    group.sample_size(20);
    let mut least = None;
    group.bench_function(design, |bencher| {
        bencher.iter_custom(|times| {
            let begun = Instant::now();
            (0..times).for_each(|_| hub.tick(now, &mut out));
            let took = begun.elapsed();
            // A few ticks take less than looking at the clock, and as a test there is one.
            if times >= 100 {
                let each = took.div_f64(times as f64);
                least = Some(least.map_or(each, |least: Duration| least.min(each)));
            }
            took
        });
    });
    group.finish();
    assert!(out.is_empty());
    assert!(least.is_none_or(|least| least <= limit), "a tick takes {least:?}, and may take {limit:?}");
}

fn hubs(criterion: &mut Criterion) {
    for (nodes, rate) in [(25, 50), (25, 2000), (1000, 2000)] {
        broadcasts_with_flushes(criterion, "lock-free", LockFree::new, nodes, rate);
        broadcasts_with_flushes(criterion, "simple", Simple::new, nodes, rate);
    }
    for nodes in [25, 1000, 10_000] {
        // However many links there are.
        idle_tick(criterion, "lock-free", LockFree::new, nodes, Duration::from_micros(1));
        // It looks at each neighbour.
        idle_tick(criterion, "simple", Simple::new, nodes, Duration::from_micros(1) * nodes as u32);
    }
}

fn all_show(replies: &[Json], values: usize) {
    assert!(replies.iter().all(|reply| reply["messages"].as_array().is_some_and(|all| all.len() == values)));
}

criterion_group!(benches, nodes, hubs);
criterion_main!(benches);
