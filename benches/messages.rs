//! Parsing and encoding, one message of each type at a time.
//!
//! What is encoded is what is parsed, so each checks the other, outside the time that is measured.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use natter::protocol::link::{Acked, Claim, Delta, Digest, Echo, Header, HubPlan, Range, Sync};
use natter::protocol::{Echoed, Generation, LineBuf, Rope, Scratch, Value, encode, parse};

const ASKED: Option<i64> = Some(1234);

fn header() -> Header {
    Header {
        incarnation: 821_779_212_715_609,
        to: Some(4_234_194_873_589_004),
        at: 12_158_448,
        echo: Some(Echo { at: 12_058_448, hold: 1000 }),
        acked: Some(Acked { next: Generation(3_901_765_758_350_710), later: 3 }),
        up: true,
        all: false,
        more: false,
        root: 0,
        plan: Some(HubPlan { next: Some(12_345), margin: 5000, every: 363_000, far: 100_000 }),
        digest: Digest { count: 123_456, sum: 1 << 63, restarts: 0 },
        claim: Claim::Mine,
        restarts: Vec::new(),
        untold: Vec::new(),
    }
}

fn values() -> Vec<Value> {
    (100_000..100_064).collect()
}

/// A message's name, and what appends it.
type Encoder = (&'static str, Box<dyn Fn(&mut Vec<u8>)>);

/// The line of a message.
fn line_of(encode: impl FnOnce(&mut Vec<u8>)) -> LineBuf {
    let mut line = encode::line("n0", "c12", encode);
    line.pop();
    line.into()
}

/// A message of each type that nodes send.
fn encoders() -> Vec<Encoder> {
    let values = values();
    let range = |first: Value| Range { first, last: first + 99, count: 100, fingerprint: 1 << 63 };
    let step = Sync { round: 7, ranges: (0..128).map(|k| range(100 * k)).collect(), ..Sync::default() };
    vec![
        ("broadcast_ok", Box::new(|out| encode::ok(out, ASKED, "broadcast_ok"))),
        ("echo_ok", Box::new(|out| encode::echo_ok(out, ASKED, &Echoed::Text(r#""Please echo 12""#)))),
        ("generate_ok", Box::new(|out| encode::generate_ok(out, ASKED, "n0-821779212715609-17"))),
        (
            "delta of 64 values",
            Box::new(move |out| {
                let generation = Generation(3_901_765_758_350_711);
                let base = Some(generation);
                let delta = Delta { generation, base, age: 462_950, now: false, values: &values };
                encode::delta(out, &delta, &header());
            }),
        ),
        ("delta_ok", Box::new(move |out| encode::ack(out, &header()))),
        ("sync of 128 ranges", Box::new(move |out| encode::sync(out, &step, &header()))),
    ]
}

fn encoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for (name, encode) in encoders() {
        let mut out = Vec::new();
        encode(&mut out);
        let mut line = line_of(&encode);
        assert!(
            parse(line.line(), &mut Scratch::default()).is_ok_and(|message| message.body.is_ok()),
            "{name}"
        );
        group.throughput(Throughput::Bytes(out.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                encode(&mut out);
            });
        });
    }
    group.finish();
}

fn parsing(criterion: &mut Criterion) {
    let request = |body: &str| format!(r#"{{"id":7,"src":"c12","dest":"n0","body":{body}}}"#).into_bytes();
    let members: Vec<String> = (0..25).map(|index| format!("n{index}")).collect();
    let lines = vec![
        ("init", request(&format!(r#"{{"type":"init","msg_id":1,"node_id":"n0","node_ids":{members:?}}}"#))),
        (
            "topology",
            request(&format!(r#"{{"type":"topology","msg_id":1,"topology":{{"n0":{members:?}}}}}"#)),
        ),
        ("echo", request(r#"{"type":"echo","msg_id":1,"echo":"Please echo 12"}"#)),
        ("generate", request(r#"{"type":"generate","msg_id":1}"#)),
        ("broadcast", request(r#"{"type":"broadcast","msg_id":1,"message":12345}"#)),
        ("read", request(r#"{"type":"read","msg_id":1}"#)),
    ];
    let between_nodes =
        encoders().into_iter().filter(|(name, _)| !name.contains("_ok") || *name == "delta_ok");
    let mut lines: Vec<(&str, LineBuf)> = lines.into_iter().map(|(name, line)| (name, line.into())).collect();
    lines.extend(between_nodes.map(|(name, encode)| (name, line_of(encode))));
    let mut group = criterion.benchmark_group("parse");
    for (name, line) in lines {
        let mut scratch = Scratch::default();
        let bytes = line.clone().line().bytes().len();
        let mut check = line.clone();
        assert!(parse(check.line(), &mut scratch).is_ok_and(|message| message.body.is_ok()), "{name}");
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(name, |bencher| {
            // Parsed in place: each needs a line of its own.
            bencher.iter_batched_ref(
                || line.clone(),
                |line| parse(line.line(), &mut scratch).is_ok(),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn ropes(criterion: &mut Criterion) {
    let text: std::sync::Arc<[u8]> = vec![b'7'; 32 * 1024].into();
    let mut rope = Rope::default();
    criterion.bench_function("rope: share 100 pieces", |bencher| {
        bencher.iter(|| {
            rope.clear();
            (0..100).for_each(|_| rope.share(&text));
            assert_eq!(rope.len(), 100 * text.len());
        });
    });
}

criterion_group!(benches, parsing, encoding, ropes);
criterion_main!(benches);
