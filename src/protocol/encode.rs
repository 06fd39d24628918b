//! The encoder: each function appends the body of one message to a buffer; the envelope around it says who sends it to whom.
//!
//! Replies to clients carry exactly the fields that Maelstrom's schemas allow: it rejects any other.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::Write;

use simd_json::BorrowedValue;
use simd_json::prelude::*;

use super::link::{Delta, Header, Range, Sync, Want};
use super::runs::runs;
use super::{Echoed, ErrorCode, Generation, Rope, Value};

/// Where the parts of a line begin, counted from its own beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The text of the receiver's name, in quotes.
    pub dest: usize,
    /// The body, which ends before the line's last two bytes: a brace and the newline.
    pub body: usize,
}

impl Envelope {
    /// The sender's name, the receiver's name and the body of such a line.
    #[must_use]
    pub fn parts(self, line: &[u8]) -> (Cow<'_, str>, Cow<'_, str>, &[u8]) {
        let src = &line[BEFORE_SRC.len()..self.dest - BEFORE_DEST.len()];
        let dest = &line[self.dest..self.body - BEFORE_BODY.len()];
        (unquoted(src), unquoted(dest), &line[self.body..line.len() - AFTER_BODY.len()])
    }
}

/// The name whose text in quotes this is.
fn unquoted(text: &[u8]) -> Cow<'_, str> {
    if text.contains(&b'\\') {
        serde_json::from_slice(text).map(Cow::Owned).unwrap_or_default()
    } else {
        String::from_utf8_lossy(&text[1..text.len() - 1])
    }
}

/// What stands before the sender's name…
const BEFORE_SRC: &[u8] = b"{\"src\":";
/// …before the receiver's…
const BEFORE_DEST: &[u8] = b",\"dest\":";
/// …before the body…
const BEFORE_BODY: &[u8] = b",\"body\":";
/// …and after it.
const AFTER_BODY: &[u8] = b"}\n";

/// Begins a line, of which the body comes next, and then its [end](close_line).
pub fn open_line(out: &mut Vec<u8>, src: &str, dest: &str) -> Envelope {
    let start = out.len();
    out.extend_from_slice(BEFORE_SRC);
    string(out, src);
    out.extend_from_slice(BEFORE_DEST);
    let dest_at = out.len() - start;
    string(out, dest);
    out.extend_from_slice(BEFORE_BODY);
    Envelope { dest: dest_at, body: out.len() - start }
}

/// Ends a line after its body.
pub fn close_line(out: &mut Vec<u8>) {
    out.extend_from_slice(AFTER_BODY);
}

/// A whole line, of which `body` appends the body.
#[must_use]
pub fn line(src: &str, dest: &str, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    open_line(&mut out, src, dest);
    body(&mut out);
    close_line(&mut out);
    out
}

/// A reply of no content: `init_ok`, `topology_ok`, `broadcast_ok`.
pub fn ok(out: &mut Vec<u8>, in_reply_to: Option<i64>, kind: &str) {
    open_reply(out, in_reply_to, kind);
    close(out);
}

/// `echo_ok`.
pub fn echo_ok(out: &mut Vec<u8>, in_reply_to: Option<i64>, echo: &Echoed<'_>) {
    open_reply(out, in_reply_to, "echo_ok");
    name(out, "echo");
    match echo {
        Echoed::Text(text) => out.extend_from_slice(text.as_bytes()),
        Echoed::Value(BorrowedValue::String(text)) => string(out, text),
        Echoed::Value(other) => other.write(out).expect("writing to memory does not fail"),
    }
    close(out);
}

/// `generate_ok`. The id's text must need no escapes beyond those of the node id that starts it.
pub fn generate_ok(out: &mut Vec<u8>, in_reply_to: Option<i64>, id: &str) {
    open_reply(out, in_reply_to, "generate_ok");
    name(out, "id");
    string(out, id);
    close(out);
}

/// `read_ok`, for which `show` appends the text of the values.
pub fn read_ok(out: &mut Rope, in_reply_to: Option<i64>, show: impl FnOnce(&mut Rope)) {
    let own = out.own_mut();
    open_reply(own, in_reply_to, "read_ok");
    name(own, "messages");
    own.push(b'[');
    show(out);
    let own = out.own_mut();
    own.push(b']');
    close(own);
}

/// `error`.
pub fn error(out: &mut Vec<u8>, in_reply_to: Option<i64>, code: ErrorCode, text: &dyn Display) {
    open_reply(out, in_reply_to, "error");
    number(out, "code", code.number());
    name(out, "text");
    string(out, &text.to_string());
    close(out);
}

/// `delta`: values for a peer.
pub fn delta(out: &mut Vec<u8>, delta: &Delta<'_>, header: &Header) {
    open_delta(out, delta);
    name(out, "values");
    integers(out, delta.values.iter().copied());
    link(out, header);
    close(out);
}

/// `delta` that tells its values, which are in ascending order, by runs: for natter nodes, as others don't know that.
pub fn delta_by_runs(out: &mut Vec<u8>, delta: &Delta<'_>, header: &Header) {
    open_delta(out, delta);
    name(out, "runs");
    integers(out, runs(delta.values).flat_map(|run| [run[0], run.len() as i64]));
    link(out, header);
    close(out);
}

fn open_delta(out: &mut Vec<u8>, delta: &Delta<'_>) {
    let Delta { generation, base, age, now, values: _ } = delta;
    open(out, "delta");
    number(out, "generation", generation.0);
    if let Some(base) = base {
        number(out, "base", base.0);
    }
    number(out, "age", *age);
    flag(out, "now", *now);
}

/// `delta_ok`: acknowledges what the header says.
pub fn ack(out: &mut Vec<u8>, header: &Header) {
    open(out, "delta_ok");
    link(out, header);
    close(out);
}

/// `delta_ok`: acknowledges one delta, to somebody who isn't a natter node.
pub fn delta_ok(out: &mut Vec<u8>, in_reply_to: Option<i64>, generation: Generation) {
    open_reply(out, in_reply_to, "delta_ok");
    number(out, "generation", generation.0);
    close(out);
}

/// `ping`: asks a peer what it holds, and brings what it may lack.
pub fn ping(out: &mut Vec<u8>, values: &[Value], header: &Header) {
    open(out, "ping");
    if !values.is_empty() {
        name(out, "values");
        integers(out, values.iter().copied());
    }
    link(out, header);
    close(out);
}

/// `sync`: a step of anti-entropy.
pub fn sync(out: &mut Vec<u8>, sync: &Sync, header: &Header) {
    let Sync { round, answer, ranges, wants, values } = sync;
    open(out, "sync");
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

fn open_reply(out: &mut Vec<u8>, in_reply_to: Option<i64>, kind: &str) {
    open(out, kind);
    if let Some(msg_id) = in_reply_to {
        number(out, "in_reply_to", msg_id);
    }
}

fn open(out: &mut Vec<u8>, kind: &str) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.push(b'"');
}

fn close(out: &mut Vec<u8>) {
    out.push(b'}');
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

    const ASKED: Option<i64> = Some(-3);

    fn encoded(body: impl FnOnce(&mut Vec<u8>)) -> serde_json::Value {
        let mut out = line("n1", "c\"1", body);
        assert_eq!(out.pop(), Some(b'\n'));
        assert!(!out.contains(&b'\n'), "one message is one line");
        serde_json::from_slice(&out).expect("valid JSON")
    }

    #[test]
    fn replies_carry_their_fields_and_no_others() {
        let head = |body| json!({"src": "n1", "dest": "c\"1", "body": body});
        assert_eq!(
            encoded(|out| ok(out, ASKED, "init_ok")),
            head(json!({"type": "init_ok", "in_reply_to": -3}))
        );
        assert_eq!(
            encoded(|out| {
                let mut rope = Rope::default();
                read_ok(&mut rope, ASKED, |rope| rope.share(&b"-7,0,7"[..].into()));
                out.extend_from_slice(&rope.bytes());
            }),
            head(json!({"type": "read_ok", "in_reply_to": -3, "messages": [-7, 0, 7]}))
        );
        assert_eq!(
            encoded(|out| generate_ok(out, ASKED, "n1-\u{1}")),
            head(json!({"type": "generate_ok", "in_reply_to": -3, "id": "n1-\u{1}"}))
        );
        assert_eq!(
            encoded(|out| error(out, ASKED, ErrorCode::MalformedRequest, &"a\\b")),
            head(json!({"type": "error", "in_reply_to": -3, "code": 12, "text": "a\\b"}))
        );
    }

    #[test]
    fn an_envelope_says_where_the_names_and_the_body_are() {
        for name in ["n1", "", "c\"\\1\u{1}", "n\u{e9}"] {
            let mut line = Vec::new();
            let envelope = open_line(&mut line, name, "n2");
            ok(&mut line, ASKED, "echo_ok");
            close_line(&mut line);
            let body = &br#"{"type":"echo_ok","in_reply_to":-3}"#[..];
            assert_eq!(envelope.parts(&line), (name.into(), "n2".into(), body));
        }
    }

    #[test]
    fn echo_returns_nested_values_as_they_came() {
        let text = r#"{"a":[1,-2.5,1e300,"x\ny",null,true,{}],"b":{"c":[[]]}}"#;
        let mut bytes = text.as_bytes().to_vec();
        let value = simd_json::to_borrowed_value(&mut bytes).expect("valid JSON");
        let reply = encoded(|out| echo_ok(out, ASKED, &Echoed::Value(value)));
        assert_eq!(reply["body"]["echo"], serde_json::from_str::<serde_json::Value>(text).expect("valid"));
    }

    /// The body of what was encoded.
    fn read_back(body: impl FnOnce(&mut Vec<u8>), check: impl FnOnce(Body<'_>)) {
        let (mut line, mut scratch) = (LineBuf::from(line("n1", "n2", body)), Scratch::default());
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
                |out| delta(out, &told, &header),
                |body| {
                    assert_eq!(
                        body,
                        Body::Delta { msg_id: None, delta: told.clone(), header: Some(&header) }
                    );
                },
            );
            let by_runs = Delta { values: &[-4, 3, 4, 5], ..told };
            read_back(
                |out| delta_by_runs(out, &by_runs, &header),
                |body| {
                    let read = Body::Delta { msg_id: None, delta: by_runs.clone(), header: Some(&header) };
                    assert_eq!(body, read);
                },
            );
            read_back(
                |out| ping(out, &[3, -4], &header),
                |body| assert_eq!(body, Body::Ping { values: &[3, -4], header: &header }),
            );
            read_back(
                |out| ack(out, &header),
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
                    |out| sync(out, &step, &header),
                    |body| assert_eq!(body, Body::Sync { sync: step.clone(), header: &header }),
                );
            }
        }
    }
}
