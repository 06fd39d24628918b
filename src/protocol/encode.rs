//! The encoder: each function appends one message, a line with its newline, to a buffer.
//!
//! Replies to clients carry exactly the fields that Maelstrom's schemas allow: it rejects any other.

use std::fmt::Display;
use std::io::Write;

use simd_json::BorrowedValue;
use simd_json::prelude::*;

use super::link::{Delta, Header, Range, Sync, Want};
use super::runs::runs;
use super::{Echoed, ErrorCode, Generation, Rope, Value};

/// Who answers whom, and what.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// This node.
    pub src: &'a str,
    /// The requester.
    pub dest: &'a str,
    /// The requester's number for its message, if it gave one.
    pub in_reply_to: Option<i64>,
}

/// A reply of no content: `init_ok`, `topology_ok`, `broadcast_ok`.
pub fn ok(out: &mut Vec<u8>, route: Route<'_>, kind: &str) {
    open_reply(out, route, kind);
    close(out);
}

/// `echo_ok`.
pub fn echo_ok(out: &mut Vec<u8>, route: Route<'_>, echo: &Echoed<'_>) {
    open_reply(out, route, "echo_ok");
    name(out, "echo");
    match echo {
        Echoed::Text(text) => out.extend_from_slice(text.as_bytes()),
        Echoed::Value(BorrowedValue::String(text)) => string(out, text),
        Echoed::Value(other) => other.write(out).expect("writing to memory does not fail"),
    }
    close(out);
}

/// `generate_ok`. The id's text must need no escapes beyond those of the node id that starts it.
pub fn generate_ok(out: &mut Vec<u8>, route: Route<'_>, id: &str) {
    open_reply(out, route, "generate_ok");
    name(out, "id");
    string(out, id);
    close(out);
}

/// `read_ok`.
pub fn read_ok(out: &mut Vec<u8>, route: Route<'_>, values: impl Iterator<Item = Value>) {
    open_reply(out, route, "read_ok");
    name(out, "messages");
    integers(out, values);
    close(out);
}

/// `read_ok` with the text of the values, which `show` appends.
pub fn read_ok_text(out: &mut Rope, route: Route<'_>, show: impl FnOnce(&mut Rope)) {
    let own = out.own_mut();
    open_reply(own, route, "read_ok");
    name(own, "messages");
    own.push(b'[');
    show(out);
    let own = out.own_mut();
    own.push(b']');
    close(own);
}

/// `error`.
pub fn error(out: &mut Vec<u8>, route: Route<'_>, code: ErrorCode, text: &dyn Display) {
    open_reply(out, route, "error");
    number(out, "code", code.number());
    name(out, "text");
    string(out, &text.to_string());
    close(out);
}

/// `delta`: values for a peer.
pub fn delta(out: &mut Vec<u8>, src: &str, dest: &str, delta: &Delta<'_>, header: &Header) {
    open_delta(out, src, dest, delta);
    name(out, "values");
    integers(out, delta.values.iter().copied());
    link(out, header);
    close(out);
}

/// `delta` that tells its values, which are in ascending order, by runs: for natter nodes, as others don't know that.
pub fn delta_by_runs(out: &mut Vec<u8>, src: &str, dest: &str, delta: &Delta<'_>, header: &Header) {
    open_delta(out, src, dest, delta);
    name(out, "runs");
    integers(out, runs(delta.values).flat_map(|run| [run[0], run.len() as i64]));
    link(out, header);
    close(out);
}

fn open_delta(out: &mut Vec<u8>, src: &str, dest: &str, delta: &Delta<'_>) {
    let Delta { generation, base, age, now, values: _ } = delta;
    open(out, src, dest, "delta");
    number(out, "generation", generation.0);
    if let Some(base) = base {
        number(out, "base", base.0);
    }
    number(out, "age", *age);
    flag(out, "now", *now);
}

/// `delta_ok`: acknowledges what the header says.
pub fn ack(out: &mut Vec<u8>, src: &str, dest: &str, header: &Header) {
    open(out, src, dest, "delta_ok");
    link(out, header);
    close(out);
}

/// `delta_ok`: acknowledges one delta, to somebody who isn't a natter node.
pub fn delta_ok(out: &mut Vec<u8>, route: Route<'_>, generation: Generation) {
    open_reply(out, route, "delta_ok");
    number(out, "generation", generation.0);
    close(out);
}

/// `ping`: asks a peer what it holds, and brings what it may lack.
pub fn ping(out: &mut Vec<u8>, src: &str, dest: &str, values: &[Value], header: &Header) {
    open(out, src, dest, "ping");
    if !values.is_empty() {
        name(out, "values");
        integers(out, values.iter().copied());
    }
    link(out, header);
    close(out);
}

/// `sync`: a step of anti-entropy.
pub fn sync(out: &mut Vec<u8>, src: &str, dest: &str, sync: &Sync, header: &Header) {
    let Sync { round, answer, ranges, wants, values } = sync;
    open(out, src, dest, "sync");
    number(out, "round", *round);
    flag(out, "answer", *answer);
    if !ranges.is_empty() {
        let numbers = |range: &Range| {
            let Range { first, last, count, fingerprint } = *range;
            [first, last, count.cast_signed(), fingerprint.cast_signed()]
        };
        name(out, "ranges");
        integers(out, ranges.iter().flat_map(numbers));
    }
    if !wants.is_empty() {
        name(out, "wants");
        integers(
            out,
            wants.iter().flat_map(|&Want { first, last, count }| [first, last, count.cast_signed()]),
        );
    }
    if !values.is_empty() {
        name(out, "values");
        integers(out, values.iter().copied());
    }
    link(out, header);
    close(out);
}

fn link(out: &mut Vec<u8>, header: &Header) {
    name(out, "link");
    integers(out, header.to_integers().into_iter());
}

fn name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn number(out: &mut Vec<u8>, field: &str, int: impl itoa::Integer) {
    name(out, field);
    integer(out, int);
}

/// Only if it is true: false is what is assumed.
fn flag(out: &mut Vec<u8>, field: &str, flag: bool) {
    if flag {
        name(out, field);
        out.extend_from_slice(b"true");
    }
}

fn open_reply(out: &mut Vec<u8>, route: Route<'_>, kind: &str) {
    open(out, route.src, route.dest, kind);
    if let Some(msg_id) = route.in_reply_to {
        number(out, "in_reply_to", msg_id);
    }
}

fn open(out: &mut Vec<u8>, src: &str, dest: &str, kind: &str) {
    out.extend_from_slice(b"{\"src\":");
    string(out, src);
    out.extend_from_slice(b",\"dest\":");
    string(out, dest);
    out.extend_from_slice(b",\"body\":{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.push(b'"');
}

fn close(out: &mut Vec<u8>) {
    out.extend_from_slice(b"}}\n");
}

fn integer(out: &mut Vec<u8>, int: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(int).as_bytes());
}

fn integers(out: &mut Vec<u8>, values: impl Iterator<Item = impl itoa::Integer>) {
    out.push(b'[');
    let first = out.len();
    for value in values {
        if out.len() > first {
            out.push(b',');
        }
        integer(out, value);
    }
    out.push(b']');
}

fn string(out: &mut Vec<u8>, text: &str) {
    // All of it, as stopping at the first would be slower.
    if text.bytes().fold(false, |found, b| found | (b < b' ') | (b == b'"') | (b == b'\\')) {
        serde_json::to_writer(out.by_ref(), text).expect("writing to memory does not fail");
    } else {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::super::link::{Acked, Claim, Digest, Echo, HubPlan, Restart};
    use super::super::{Body, LineBuf, Scratch, parse};
    use super::*;
    use serde_json::json;

    const ROUTE: Route<'_> = Route { src: "n1", dest: "c\"1", in_reply_to: Some(-3) };

    fn encoded(write: impl FnOnce(&mut Vec<u8>)) -> serde_json::Value {
        let mut out = Vec::new();
        write(&mut out);
        assert_eq!(out.pop(), Some(b'\n'));
        assert!(!out.contains(&b'\n'), "one message is one line");
        serde_json::from_slice(&out).expect("valid JSON")
    }

    #[test]
    fn replies_carry_their_fields_and_no_others() {
        let head = |body| json!({"src": "n1", "dest": "c\"1", "body": body});
        assert_eq!(
            encoded(|out| ok(out, ROUTE, "init_ok")),
            head(json!({"type": "init_ok", "in_reply_to": -3}))
        );
        assert_eq!(
            encoded(|out| read_ok(out, ROUTE, [i64::MIN, 0, 7].into_iter())),
            head(json!({"type": "read_ok", "in_reply_to": -3, "messages": [i64::MIN, 0, 7]}))
        );
        assert_eq!(
            encoded(|out| generate_ok(out, ROUTE, "n1-\u{1}")),
            head(json!({"type": "generate_ok", "in_reply_to": -3, "id": "n1-\u{1}"}))
        );
        assert_eq!(
            encoded(|out| error(out, ROUTE, ErrorCode::MalformedRequest, &"a\\b")),
            head(json!({"type": "error", "in_reply_to": -3, "code": 12, "text": "a\\b"}))
        );
    }

    #[test]
    fn echo_returns_nested_values_as_they_came() {
        let text = r#"{"a":[1,-2.5,1e300,"x\ny",null,true,{}],"b":{"c":[[]]}}"#;
        let mut bytes = text.as_bytes().to_vec();
        let value = simd_json::to_borrowed_value(&mut bytes).expect("valid JSON");
        let reply = encoded(|out| echo_ok(out, ROUTE, &Echoed::Value(value)));
        assert_eq!(reply["body"]["echo"], serde_json::from_str::<serde_json::Value>(text).expect("valid"));
    }

    /// The body of what was encoded.
    fn read_back(write: impl FnOnce(&mut Vec<u8>), check: impl FnOnce(Body<'_>)) {
        let mut out = Vec::new();
        write(&mut out);
        let (mut line, mut scratch) = (LineBuf::from(out), Scratch::default());
        let message = parse(line.line(), &mut scratch).expect("a message");
        assert_eq!((message.src, message.dest), ("n1", "n2"));
        check(message.body.expect("understood"));
    }

    #[test]
    fn messages_between_nodes_read_back_as_they_were_written() {
        let full = Header {
            incarnation: 7,
            to: Some(8),
            at: 9,
            echo: Some(Echo { at: 10, hold: 12 }),
            acked: Some(Acked { next: Generation::LAST, later: u32::MAX }),
            up: true,
            all: true,
            more: true,
            root: 11,
            plan: Some(HubPlan { next: Some(1), margin: 4, every: 2, far: 3 }),
            digest: Digest { count: 13, sum: u64::MAX, restarts: 14 },
            claim: Claim::Below,
            restarts: vec![Restart { rank: 0, incarnation: 15 }, Restart { rank: 16, incarnation: 17 }],
            untold: vec![0, 18],
        };
        for header in [
            Header { incarnation: 1, ..Header::default() },
            Header { claim: Claim::AllBut(Vec::new()), ..full.clone() },
            Header { claim: Claim::AllBut(vec![3, 19]), ..full.clone() },
            full,
        ] {
            let told = Delta {
                generation: Generation(5),
                base: Some(Generation(4)),
                age: 6,
                now: true,
                values: &[3, -4],
            };
            read_back(
                |out| delta(out, "n1", "n2", &told, &header),
                |body| {
                    assert_eq!(
                        body,
                        Body::Delta { msg_id: None, delta: told.clone(), header: Some(&header) }
                    );
                },
            );
            let by_runs = Delta { values: &[-4, 3, 4, 5], ..told };
            read_back(
                |out| delta_by_runs(out, "n1", "n2", &by_runs, &header),
                |body| {
                    let read = Body::Delta { msg_id: None, delta: by_runs.clone(), header: Some(&header) };
                    assert_eq!(body, read);
                },
            );
            read_back(
                |out| ping(out, "n1", "n2", &[3, -4], &header),
                |body| assert_eq!(body, Body::Ping { values: &[3, -4], header: &header }),
            );
            read_back(
                |out| ack(out, "n1", "n2", &header),
                |body| assert_eq!(body, Body::DeltaOk { generation: None, header: Some(&header) }),
            );
            let range = Range { first: i64::MIN, last: i64::MAX, count: 3, fingerprint: u64::MAX };
            let step = Sync {
                round: 3,
                answer: true,
                ranges: vec![range; 2],
                wants: vec![Want { first: -1, last: 1, count: 3 }],
                values: vec![3],
            };
            for step in [Sync::default(), step] {
                read_back(
                    |out| sync(out, "n1", "n2", &step, &header),
                    |body| assert_eq!(body, Body::Sync { sync: step.clone(), header: &header }),
                );
            }
        }
    }
}
