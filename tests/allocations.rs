//! How often nodes allocate, and how much: an allocator that counts, for the thread that asks.

#![cfg(all(feature = "workbench", not(loom)))]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use natter::config::Config;
use natter::gossip::LockFree;
use natter::load::{Input, Load};
use natter::node::{Node, Outbox, Sent, Time};
use natter::protocol::{LineBuf, Scratch, encode};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Each test has a thread of its own, and so has its count.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
    /// Bytes allocated in all.
    static BYTES: Cell<u64> = const { Cell::new(0) };
    /// Bytes allocated and not yet freed, and the most of them.
    static HELD: Cell<i64> = const { Cell::new(0) };
    static HELD_MAX: Cell<i64> = const { Cell::new(0) };
}

fn note(allocated: usize, freed: usize) {
    if allocated > 0 {
        COUNT.set(COUNT.get() + 1);
        BYTES.set(BYTES.get() + allocated as u64);
    }
    HELD.set(HELD.get() + allocated as i64 - freed as i64);
    HELD_MAX.set(HELD_MAX.get().max(HELD.get()));
}

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 0);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        note(0, layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size, layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.realloc(place, layout, size) }
    }
}

/// A node whose messages are thrown away when they have been counted.
struct Counted {
    node: LockFree,
    scratch: Scratch,
    out: Outbox,
    lines: usize,
}

impl Counted {
    fn new() -> Self {
        let (node, out) = (LockFree::new(Config::default(), 1), Outbox::default());
        Self { node, scratch: Scratch::default(), out, lines: 0 }
    }

    /// Handles lines; returns how often and how many bytes the node allocated meanwhile.
    fn handle(&mut self, lines: &str) -> (u64, u64) {
        let (mut count, mut bytes) = (0, 0);
        for line in lines.lines() {
            let mut line = LineBuf::from(line);
            let before = (COUNT.get(), BYTES.get());
            self.node.handle(Time::ZERO, line.line(), &mut self.scratch, &mut self.out);
            count += COUNT.get() - before.0;
            bytes += BYTES.get() - before.1;
            assert!(self.out.take_reports().is_empty(), "{line:?}");
            self.lines += self.out.messages().iter().count();
            self.out.clear();
        }
        (count, bytes)
    }
}

#[test]
fn a_node_in_its_steady_state_hardly_ever_allocates() {
    for (load, messages, most) in [
        (Load::Echo, 20_000, 0.0),
        (Load::Broadcast, 20_000, 0.05),
        (Load::Delta, 10_000, 0.05),
        (Load::Read, 1000, 0.0),
    ] {
        let mut counted = Counted::new();
        let Input { preamble, lines, .. } = Input::new(load, messages);
        counted.handle(&preamble);
        let warm = lines.match_indices('\n').nth(messages as usize / 20).expect("so many").0 + 1;
        counted.handle(&lines[..warm]);
        let (allocations, _) = counted.handle(&lines[warm..]);
        let each = allocations as f64 / messages as f64;
        assert!(each <= most, "{}: {each} allocations a message", load.name());
        assert_eq!(counted.lines, preamble.lines().count() + messages as usize);
    }
}

#[test]
fn what_a_read_allocates_does_not_grow_with_what_it_shows() {
    let read = |id: u64| format!(r#"{{"src":"c1","dest":"n0","body":{{"type":"read","msg_id":{id}}}}}"#);
    let mut counted = Counted::new();
    let Input { preamble, .. } = Input::new(Load::Broadcast, 1);
    counted.handle(&preamble);
    let deltas = Input::new(Load::Delta, 10_000).lines;
    for lines in deltas.split_inclusive('\n').collect::<Vec<_>>().chunks(1000) {
        counted.handle(&lines.concat());
        // The first one may make room for more pieces.
        counted.handle(&read(1));
        assert_eq!(counted.handle(&read(2)), (0, 0));
    }
}

#[test]
fn two_nodes_exchange_values_without_allocating() {
    let init = |name: &str| {
        format!(
            r#"{{"src":"c0","dest":"{name}","body":{{"type":"init","msg_id":1,"node_id":"{name}","node_ids":["n0","n1"]}}}}"#
        )
    };
    let mut nodes = [Counted::new(), Counted::new()];
    for (node, name) in nodes.iter_mut().zip(["n0", "n1"]) {
        node.handle(&init(name));
    }
    let mut now = Time::ZERO;
    let (mut counted, mut messages) = (0, 0);
    // Their queues and tables have grown by then.
    let is_warm = |value: u64| value >= 2000;
    let mut under_way: [Vec<Vec<u8>>; 2] = Default::default();
    for value in 0..20_000_u64 {
        now = now + Duration::from_millis(10);
        let body = format!(r#"{{"type":"broadcast","msg_id":{value},"message":{value}}}"#);
        let request = format!(r#"{{"src":"c1","dest":"n0","body":{body}}}"#);
        let mut arriving = std::mem::take(&mut under_way);
        arriving[value as usize % 2].push(request.into_bytes());
        for (index, lines) in arriving.into_iter().enumerate() {
            let Counted { node, scratch, out, .. } = &mut nodes[index];
            for line in lines {
                let mut line = LineBuf::from(line);
                let before = COUNT.get();
                node.handle(now, line.line(), scratch, out);
                counted += if is_warm(value) { COUNT.get() - before } else { 0 };
                messages += u64::from(is_warm(value));
            }
            let before = COUNT.get();
            node.tick(now, out);
            counted += if is_warm(value) { COUNT.get() - before } else { 0 };
            for Sent { src, dest, body } in out.messages().iter().filter(|sent| sent.dest != "c1") {
                under_way[1 - index].push(encode::line(&src, &dest, |text| text.extend_from_slice(body)));
            }
            out.clear();
        }
    }
    let each = counted as f64 / messages as f64;
    assert!(messages > 18_000, "{messages} messages");
    assert!(each <= 0.05, "{each} allocations a message");
}

#[test]
fn a_long_line_takes_at_most_eight_times_its_length_while_it_is_read() {
    const LINE: usize = 16 << 20;
    let echo = |unit: &str| (r#"{"type":"echo","msg_id":1,"echo":["#, unit.to_owned(), "7]}");
    let delta = |head| (head, "7,".to_owned(), "7]}");
    for (head, unit, tail) in [
        echo("7,"),
        echo("{},"),
        echo("[["),
        echo("]"),
        echo("1.5,"),
        echo("\"a\\n\","),
        (r#"{"type":"echo","msg_id":1,"echo":"\n"#, "a,".to_owned(), r#""}"#),
        (r#"{"type":"echo","msg_id":1,"echo":"\n""#, "\"".to_owned(), "}"),
        (r#"{"type":"read","msg_id":1,"x":["#, r#"{"a":[]},"#.to_owned(), "7]}"),
        (r#"{"type":"init","msg_id":1,"node_id":"a","node_ids":["#, r#""a","#.to_owned(), r#""a"]}"#),
        (r#"{"type":"topology","msg_id":1,"topology":{"n0":["#, r#""a","#.to_owned(), r#""a"]}}"#),
        (r#"{"type":"topology","msg_id":1,"topology":{"#, r#""":[],"#.to_owned(), r#""a":[]}}"#),
        (r#"{"type":"topology","msg_id":1,"topology":{"#, r#""":["",""],"#.to_owned(), r#""a":[]}}"#),
        (
            r#"{"type":"ping","link":[1,-1,2,-1,0,-1,0,0,0,-1,0,-1,0,0,-5,0,0,0,8388600,"#,
            "7,".to_owned(),
            "7]}",
        ),
        delta(r#"{"type":"delta","generation":1,"values":["#),
        delta(r#"{"type":"delta","generation":1,"x":[],"values":["#),
    ] {
        let line =
            format!(r#"{{"src":"n1","dest":"n0","body":{head}{}{tail}}}"#, unit.repeat(LINE / unit.len()));
        let mut counted = Counted::new();
        counted.handle(&Input::new(Load::Delta, 1).preamble);
        let before = HELD.get();
        let mut line = LineBuf::from(line);
        HELD_MAX.set(HELD.get());
        counted.node.handle(Time::ZERO, line.line(), &mut counted.scratch, &mut counted.out);
        let times = (HELD_MAX.get() - before) as f64 / LINE as f64;
        // The buffer that it was read to, and the one before that, may have taken twice as much as the line does here.
        assert!(times <= 7.0, "{times} times the length of a line of {unit:?}");
    }
}

#[test]
fn a_million_values_take_at_most_32_bytes_each_while_they_come_and_after() {
    const VALUES: i64 = 1_000_000;
    // Eight of them are the log, which has just not doubled once more: then it has up to as many for nothing.
    // As they are counted up by clients; and as far apart and as long as there are so many, every other one negative.
    for (step, most) in [(1, 10.0), (9_223_372_036_854, 32.0)] {
        let before = HELD.get();
        let mut counted = Counted::new();
        counted.handle(&Input::new(Load::Broadcast, 1).preamble);
        let idle = HELD.get() - before;
        HELD_MAX.set(HELD.get());
        for first in (0..VALUES).step_by(64) {
            let sign = |value| if step > 1 && value % 2 == 1 { -1 } else { 1 };
            let values = Vec::from_iter((first..first + 64).map(|value| sign(value) * value * step));
            let body = format!(r#"{{"type":"delta","generation":1,"values":{values:?}}}"#);
            counted.handle(&format!(r#"{{"src":"n1","dest":"n0","body":{body}}}"#));
        }
        for held in [HELD.get(), HELD_MAX.get()] {
            let each = (held - before) as f64 / VALUES as f64;
            assert!(each <= most, "{each} bytes a value, {step} apart");
        }
        assert!(idle < 1 << 20, "an idle node holds {idle} bytes");
    }
}
