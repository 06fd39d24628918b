//! Whole nodes in this process, lines in and lines out, both designs side by side.
//!
//! Every result is checked, outside the time that is measured.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use natter::config::Config;
use natter::gossip::LockFree;
use natter::node::{Node, Outbox, Time};
use natter::protocol::LineBuf;
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
    let lines = out.lines();
    let lines = lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice::<Json>(line).expect("JSON")["body"].take()).collect()
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

fn all_show(replies: &[Json], values: usize) {
    assert!(replies.iter().all(|reply| reply["messages"].as_array().is_some_and(|all| all.len() == values)));
}

criterion_group!(benches, nodes);
criterion_main!(benches);
