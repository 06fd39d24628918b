//! The races between the thread that handles input and the thread that ticks: every interleaving of two threads,
//! and those of three with up to three preemptions. The first models drive whole nodes of the lock-free design,
//! the others the containers that they are made of. (The runtime has models of its own.)
//!
//! ```text
//! RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test --no-default-features --test loom
//! RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test --no-default-features --lib model
//! ```
//!
//! The seen set's table, the node's list of members and its random numbers are not loom's: no model changes
//! threads in the midst of them. Loom (0.7) overlooks a write that a thread may make before another thread's read,
//! if the writer has read the same word itself; so each model is run with either thread first, which finds these,
//! too.

#![cfg(loom)]

use std::time::Duration;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;
use natter::config::Config;
use natter::gossip::LockFree;
use natter::node::{Inspect, Node, Outbox, Time};
use natter::protocol::link::{Acked, Delta, Header};
use natter::protocol::{Body, Generation, LineBuf, Rope, Scratch, Value, encode, parse};
use natter::queue::{Deadline, Entry, Inbox, Log, LogText, Origin, Pool, SlotRing, Span};

/// Runs `model` in every interleaving, or in those with so many preemptions at most: first with its threads in
/// their order, then the other way round.
fn explore(preemptions: Option<usize>, model: impl Fn(bool) + Send + Sync + 'static) {
    let model = std::sync::Arc::new(model);
    for is_turned in [false, true] {
        let model = std::sync::Arc::clone(&model);
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = preemptions;
        builder.max_branches = 20_000;
        builder.check(move || model(is_turned));
    }
}

/// Does two things at once, one of them in a thread of its own; returns what comes of them.
fn both<T, A, B>(
    shared: &Arc<T>,
    is_turned: bool,
    one: impl FnOnce(&T) -> A + Send + 'static,
    other: impl FnOnce(&T) -> B + Send + 'static,
) -> (A, B)
where
    T: Send + Sync + 'static,
    A: Send + 'static,
    B: Send + 'static,
{
    let theirs = Arc::clone(shared);
    if is_turned {
        let one = thread::spawn(move || one(&theirs));
        let other = other(shared);
        (one.join().expect("no panic"), other)
    } else {
        let other = thread::spawn(move || other(&theirs));
        let one = one(shared);
        (one, other.join().expect("no panic"))
    }
}

// Nodes.

/// The first generation of every link.
const FIRST: Generation = Generation(7);

/// The incarnations of the node and of its peers.
const INCARNATION: u64 = 1;
const PEERS_LIFE: u64 = 2;

/// When the threads race.
const NOW: Time = Time::from_nanos(5_000_000_000);

/// A message as it was sent.
#[derive(Debug, Clone, PartialEq)]
enum Said {
    Values(Vec<Value>, Generation, Header),
    Else(Header),
}

/// The messages to a peer in a buffer of whole lines.
fn said(lines: &[u8], to: &str) -> Vec<Said> {
    let mut messages = Vec::new();
    for line in lines.split_inclusive(|&byte| byte == b'\n') {
        let (mut line, mut scratch) = (LineBuf::from(line), Scratch::default());
        let message = parse(line.line(), &mut scratch).expect("a message");
        if message.dest != to {
            continue;
        }
        messages.push(match message.body.expect("understood") {
            Body::Delta { delta, header, .. } => {
                Said::Values(delta.values.to_vec(), delta.generation, header.expect("a header").clone())
            }
            Body::DeltaOk { header, .. } => Said::Else(header.expect("a header").clone()),
            Body::Ping { header, .. } | Body::Sync { header, .. } => Said::Else(header.clone()),
            other => unreachable!("{other:?} for a peer"),
        });
    }
    messages
}

fn handle(node: &LockFree, now: Time, line: &[u8]) {
    let mut out = Outbox::default();
    node.handle(now, LineBuf::from(line).line(), &mut Scratch::default(), &mut out);
    assert_eq!(out.take_reports(), []);
}

fn tick(node: &LockFree, now: Time) -> Vec<u8> {
    let mut out = Outbox::default();
    node.tick(now, &mut out);
    out.lines().into_owned()
}

fn request(node: &LockFree, now: Time, body: &str) {
    let line = format!("{{\"src\":\"c1\",\"dest\":\"n0\",\"body\":{{\"msg_id\":1,{body}}}}}\n");
    handle(node, now, line.as_bytes());
}

fn broadcast(node: &LockFree, now: Time, value: Value) {
    request(node, now, &format!("\"type\":\"broadcast\",\"message\":{value}"));
}

/// What `n1` says in every message.
fn header(at: u64) -> Header {
    Header { incarnation: PEERS_LIFE, to: Some(INCARNATION), at, ..Header::default() }
}

/// `n1` sends the node values, and wants the acknowledgement at once.
fn delta(number: u64, values: &[Value]) -> Vec<u8> {
    let generation = Generation(number);
    let delta = Delta { generation, base: Some(Generation(0)), age: 0, now: true, values };
    encode::line("n1", "n0", |body| encode::delta(body, &delta, &header(number + 1)))
}

/// `n1` acknowledges all that was sent to it before a generation.
fn ack(next: Generation, at: u64) -> Vec<u8> {
    let header = Header { acked: Some(Acked { next, later: 0 }), ..header(at) };
    encode::line("n1", "n0", |body| encode::ack(body, &header))
}

/// The node `n0` of a new cluster, that has begun and has nothing to do. Two nodes tell each other everything
/// directly; of four, `n0` is the hub.
fn started(members: &str) -> LockFree {
    let config = Config {
        first_generation: Some(FIRST),
        incarnation: Some(INCARNATION),
        jitter_seed: Some(1),
        ..Config::default()
    };
    let node = LockFree::new(config, 1);
    request(&node, Time::ZERO, &format!("\"type\":\"init\",\"node_id\":\"n0\",\"node_ids\":[{members}]"));
    request(&node, Time::ZERO, "\"type\":\"topology\",\"topology\":{}");
    while let Some(due) = node.next_deadline() {
        assert_eq!(tick(&node, due), b"");
    }
    node
}

const TWO: &str = "\"n0\",\"n1\"";
const FOUR: &str = "\"n0\",\"n1\",\"n2\",\"n3\"";

/// Ticks whenever the node wants it, and at no other time, until what `n1` has been told in all is enough. Returns
/// when.
fn run_until(node: &LockFree, mut now: Time, mut sent: Vec<u8>, is_enough: impl Fn(&[Said]) -> bool) -> Time {
    node.audit(now).expect("sound");
    while !is_enough(&said(&sent, "n1")) {
        now = now.max(node.next_deadline().expect("something is slept through"));
        assert!(now < NOW + Duration::from_secs(60), "something is never sent");
        sent.extend(tick(node, now));
        node.audit(now).expect("sound");
    }
    now
}

fn has(said: &[Said], value: Value) -> bool {
    said.iter().any(|said| matches!(said, Said::Values(values, ..) if values.contains(&value)))
}

/// A client tells a node that has nothing to do some values, one after the other, while the node ticks so often.
fn told_while_ticking(members: &'static str, values: &'static [Value], ticks: usize, bound: Option<usize>) {
    explore(bound, move |is_turned| {
        let node = Arc::new(started(members));
        let tell = |node: &LockFree| values.iter().for_each(|&value| broadcast(node, NOW, value));
        let tick_on = move |node: &LockFree| (0..ticks).flat_map(|_| tick(node, NOW)).collect();
        let ((), sent) = both(&node, is_turned, tell, tick_on);
        let sent_at = run_until(&node, NOW, sent, |said| values.iter().all(|&value| has(said, value)));
        // Later than that it would be sent because somebody asks, and not because it is new.
        assert!(sent_at < NOW + Config::default().latency_budget);
    });
}

#[test]
fn a_value_that_is_told_during_a_tick_is_sent_in_time() {
    told_while_ticking(TWO, &[1], 1, None);
    told_while_ticking(FOUR, &[1], 1, None);
}

#[test]
fn values_that_are_told_during_ticks_are_sent_in_time() {
    told_while_ticking(TWO, &[1, 2], 2, Some(3));
    told_while_ticking(FOUR, &[1, 2], 2, Some(3));
}

/// When the flush is due that has the value which was told at [`NOW`].
fn flush_due(node: &LockFree) -> Time {
    broadcast(node, NOW, 1);
    assert_eq!(tick(node, NOW), b"", "it waits for its flush");
    node.next_deadline().expect("the flush")
}

#[test]
fn a_value_that_is_told_during_a_flush_is_sent_in_time() {
    explore(None, |is_turned| {
        let node = Arc::new(started(TWO));
        let due = flush_due(&node);
        let tell = move |node: &LockFree| broadcast(node, due, 2);
        let ((), sent) = both(&node, is_turned, tell, move |node| tick(node, due));
        let sent_at = run_until(&node, due, sent, |said| has(said, 1) && has(said, 2));
        assert!(sent_at < due + Config::default().latency_budget);
    });
}

#[test]
fn what_is_acknowledged_while_it_is_sent_again_is_sent_no_more() {
    explore(None, |is_turned| {
        let node = Arc::new(started(TWO));
        let due = flush_due(&node);
        assert!(has(&said(&tick(&node, due), "n1"), 1));
        let again = node.next_deadline().expect("the retry");
        let next = Generation(FIRST.0 + 1);
        let hear = move |node: &LockFree| handle(node, again, &ack(next, 1));
        both(&node, is_turned, hear, move |node| tick(node, again));
        node.audit(again).expect("sound");
        assert_eq!(node.whereabouts(1), [""; 0]);
        let mut now = again;
        while let Some(due) = node.next_deadline().filter(|&due| due < again + Duration::from_secs(60)) {
            now = now.max(due);
            assert!(!has(&said(&tick(&node, now), "n1"), 1));
        }
    });
}

/// Whether `n1` is told that all its deltas before a generation have come.
fn is_acked(said: &[Said], next: u64) -> bool {
    said.iter().any(|said| {
        let (Said::Values(_, _, header) | Said::Else(header)) = said;
        header.acked == Some(Acked { next: Generation(next), later: 0 })
    })
}

#[test]
fn what_comes_from_a_peer_during_a_tick_is_taken_up_at_once() {
    explore(Some(4), |is_turned| {
        let node = Arc::new(started(TWO));
        handle(&node, NOW, &delta(0, &[1]));
        let bring = |node: &LockFree| (1..3).for_each(|number| handle(node, NOW, &delta(number, &[2])));
        let ((), sent) = both(&node, is_turned, bring, |node| tick(node, NOW));
        let acked_at = run_until(&node, NOW, sent, |said| is_acked(said, 3));
        assert_eq!(acked_at, NOW);
    });
}

// Containers.

/// A ring with one batch in flight, a count of those who acknowledged it, and threads that do things to them.
fn race(threads: &'static [fn(&SlotRing, Generation, &AtomicUsize)], preemptions: Option<usize>) {
    explore(preemptions, move |is_turned| {
        let ring = Arc::new(SlotRing::new(FIRST));
        let acked = Arc::new(AtomicUsize::new(0));
        let generation = send(&ring, 1);
        let order: Vec<_> = if is_turned { threads.iter().rev().collect() } else { threads.iter().collect() };
        let running: Vec<_> = order
            .into_iter()
            .map(|act| {
                let (ring, acked) = (Arc::clone(&ring), Arc::clone(&acked));
                thread::spawn(move || act(&ring, generation, &acked))
            })
            .collect();
        running.into_iter().for_each(|thread| thread.join().expect("no panic"));
        assert!(acked.load(Ordering::Relaxed) <= 1, "acknowledged once");
        assert!(ring.is_empty() && !ring.ack(generation));
        // Both slots serve again, and no more than these.
        let sent = [send(&ring, 2), send(&ring, 3)];
        assert!(!ring.has_free());
        assert_eq!(ring.in_flight().map(|one| one.generation).collect::<Vec<_>>(), sent);
        assert_eq!(ring.audit(10), Ok(()));
    });
}

const SOON: Time = Time::from_nanos(10);

fn span(number: usize) -> Span {
    Span { from: number, to: number + 1, whole: false }
}

fn send(ring: &SlotRing, number: usize) -> Generation {
    ring.send(span(number), Time::ZERO, SOON).expect("a free slot")
}

fn count(acked: &AtomicUsize, is_acked: bool) {
    acked.fetch_add(usize::from(is_acked), Ordering::Relaxed);
}

/// By its name.
fn ack_one(ring: &SlotRing, generation: Generation, acked: &AtomicUsize) {
    count(acked, ring.ack(generation));
}

/// By a message that acknowledges all before the next.
fn ack_all(ring: &SlotRing, Generation(generation): Generation, acked: &AtomicUsize) {
    count(acked, ring.on_ack(Acked { next: Generation(generation + 1), later: 0 }));
}

/// Sends what is in flight again, as the ticking thread does.
fn resend(ring: &SlotRing, generation: Generation, _: &AtomicUsize) {
    for batch in ring.in_flight() {
        assert_eq!((batch.generation, batch.span), (generation, span(1)));
        ring.resend(generation, batch.span, Time::ZERO, SOON);
        ring.hasten(generation, Time::ZERO);
    }
}

/// The peer is known to hold it.
fn clear(ring: &SlotRing, _: Generation, _: &AtomicUsize) {
    ring.clear();
}

#[test]
fn two_acks_race() {
    race(&[ack_one, ack_one], None);
    race(&[ack_one, ack_all], None);
    race(&[ack_all, ack_all], None);
}

#[test]
fn an_ack_races_a_resend() {
    race(&[ack_one, resend], None);
    race(&[ack_all, resend], None);
}

#[test]
fn an_ack_races_a_clear() {
    race(&[ack_one, clear], None);
    race(&[ack_all, clear], None);
}

#[test]
fn two_acks_and_a_resend_race() {
    race(&[ack_one, ack_all, resend], Some(3));
}

#[test]
fn two_acks_and_a_clear_race() {
    race(&[ack_all, ack_all, clear], Some(3));
}

#[test]
fn a_stale_ack_races_the_next_batch_of_its_slot() {
    let late: [fn(&SlotRing, Generation, &AtomicUsize); 2] = [ack_one, ack_all];
    for late in late {
        explore(None, move |is_turned| {
            let ring = Arc::new(SlotRing::new(FIRST));
            let old = send(&ring, 0);
            assert!(ring.ack(old));
            send(&ring, 1);
            let hear = move |ring: &SlotRing| {
                let acked = AtomicUsize::new(0);
                late(ring, old, &acked);
                assert_eq!(acked.load(Ordering::Relaxed), 0);
            };
            let ((), new) = both(&ring, is_turned, hear, |ring| send(ring, 2));
            let in_flight: Vec<Span> = ring.in_flight().map(|one| one.span).collect();
            assert_eq!(in_flight, [span(1), span(2)]);
            assert!(ring.ack(new));
        });
    }
}

#[test]
fn an_ack_frees_the_slot_for_a_batch_that_waits() {
    explore(None, |is_turned| {
        let ring = Arc::new(SlotRing::new(FIRST));
        let oldest = send(&ring, 0);
        send(&ring, 1);
        let hear = move |ring: &SlotRing| assert!(ring.ack(oldest));
        let ((), sent) = both(&ring, is_turned, hear, |ring| ring.send(span(2), Time::ZERO, SOON));
        if sent.is_none() {
            send(&ring, 2);
        }
        let in_flight: Vec<Span> = ring.in_flight().map(|one| one.span).collect();
        assert_eq!(in_flight, [span(1), span(2)]);
    });
}

#[test]
fn a_reader_of_the_log_finds_only_whole_entries() {
    explore(None, |is_turned| {
        let log = Arc::new(Log::default());
        // Multiples of the log's unit of time.
        let [first, second] = [16, 32].map(|micros| Time::from_nanos(micros * 1000));
        let append = move |log: &Log| {
            log.append(&[10], Origin::Client, first);
            // Begins in the first chunk, and ends in the next one.
            log.append(&[11, 12], Origin::Peer(3), second);
        };
        let read = move |log: &Log| {
            for _ in 0..2 {
                let len = log.len();
                assert!([0, 1, 3].contains(&len), "an append is published as a whole");
                for (position, entry) in log.entries(Span { from: 0, to: len, whole: true }).enumerate() {
                    let born = if position == 0 { first } else { second };
                    let origin = if position == 0 { Origin::Client } else { Origin::Peer(3) };
                    assert_eq!(entry, Entry { value: 10 + position as Value, origin, born });
                }
            }
        };
        both(&log, is_turned, append, read);
        assert_eq!(log.len(), 3);
    });
}

#[test]
fn a_message_comes_while_its_inbox_is_emptied() {
    explore(None, |is_turned| {
        let inbox = Arc::new(Inbox::default());
        assert!(inbox.push(1));
        let push = |inbox: &Inbox<i32>| [2, 3].map(|message| inbox.push(message));
        let take = |inbox: &Inbox<i32>| {
            inbox.open();
            std::iter::from_fn(|| inbox.pop()).collect::<Vec<_>>()
        };
        let (announced, mut taken) = both(&inbox, is_turned, push, take);
        assert!(announced.contains(&true) || taken == [1, 2, 3]);
        taken.extend(std::iter::from_fn(|| inbox.pop()));
        assert_eq!(taken, [1, 2, 3]);
    });
}

#[test]
fn work_announced_while_the_deadline_is_cleared_is_done_or_due() {
    explore(None, |is_turned| {
        let shared = Arc::new((Deadline::at(Time::NEVER), AtomicBool::new(false)));
        let make = |(deadline, work): &(Deadline, AtomicBool)| {
            work.store(true, Ordering::Relaxed);
            deadline.bring_forward(SOON);
        };
        let search = |(deadline, work): &(Deadline, AtomicBool)| {
            deadline.clear();
            work.load(Ordering::Relaxed)
        };
        let ((), found) = both(&shared, is_turned, make, search);
        assert!(found || shared.0.get() == SOON);
    });
}

/// Runs two threads on something that they share, while this one is the third.
fn three<T: Send + Sync + 'static>(
    make: fn() -> T,
    others: [fn(&T); 2],
    mine: fn(&T),
    after: impl Fn(&T) + Send + Sync + 'static,
) {
    explore(Some(3), move |is_turned| {
        let shared = Arc::new(make());
        let [first, second] = others;
        let (mine, others) = if is_turned { (second, [mine, first]) } else { (mine, others) };
        let running = others.map(|act| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || act(&shared))
        });
        mine(&shared);
        running.into_iter().for_each(|thread| thread.join().expect("no panic"));
        after(&shared);
    });
}

#[test]
fn a_deadline_is_the_earliest_that_any_thread_told() {
    fn bring<const NANOS: u64>(deadline: &Deadline) {
        deadline.bring_forward(Time::from_nanos(NANOS));
    }
    let make = || Deadline::at(Time::from_nanos(10));
    three(make, [bring::<7>, bring::<12>], bring::<9>, |deadline| {
        assert_eq!(deadline.get(), Time::from_nanos(7));
    });
}

#[test]
fn a_buffer_is_in_one_hand_at_a_time_and_comes_empty() {
    fn use_one(pool: &Pool<Rope>) {
        let mut buffer = pool.take();
        assert!(buffer.is_empty());
        buffer.own_mut().push(b'x');
        thread::yield_now();
        assert_eq!(buffer.len(), 1);
        pool.give(buffer);
    }
    let make = || {
        let pool = Pool::new(1);
        pool.give(Rope::default());
        pool
    };
    three(make, [use_one, use_one], use_one, use_one);
}

/// What a read shows, and that it is all that had been told before it began.
fn show((text, log): &(LogText, Log)) {
    let told = log.len();
    let mut rope = Rope::default();
    text.show(log, &mut rope);
    let shown = rope.bytes().into_owned();
    let all: [&[u8]; 3] = [b"", b"1", b"1,2"];
    let count = all.iter().position(|all| *all == shown).expect("values in order, each once");
    assert!(count >= told);
}

#[test]
fn two_threads_show_the_text_while_another_one_appends() {
    three(
        || (LogText::default(), Log::default()),
        [show, show],
        |(_, log)| [1, 2].into_iter().for_each(|value| log.append(&[value], Origin::Client, Time::ZERO)),
        |shared| (0..2).for_each(|_| show(shared)),
    );
}
