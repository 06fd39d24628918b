//! The encoder: each function appends one message, a line with its newline, to a buffer.
//!
//! Replies to clients carry exactly the fields that Maelstrom's schemas allow: it rejects any other.

use std::fmt::Display;
use std::io::Write;

use simd_json::BorrowedValue;
use simd_json::prelude::*;

use super::{ErrorCode, Generation, Value};

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
pub fn echo_ok(out: &mut Vec<u8>, route: Route<'_>, echo: &BorrowedValue<'_>) {
    open_reply(out, route, "echo_ok");
    out.extend_from_slice(b",\"echo\":");
    match echo {
        BorrowedValue::String(text) => string(out, text),
        other => other.write(out).expect("writing to memory does not fail"),
    }
    close(out);
}

/// `generate_ok`. The id's text must need no escapes beyond those of the node id that starts it.
pub fn generate_ok(out: &mut Vec<u8>, route: Route<'_>, id: &str) {
    open_reply(out, route, "generate_ok");
    out.extend_from_slice(b",\"id\":");
    string(out, id);
    close(out);
}

/// `read_ok`.
pub fn read_ok(out: &mut Vec<u8>, route: Route<'_>, values: impl Iterator<Item = Value>) {
    open_reply(out, route, "read_ok");
    out.extend_from_slice(b",\"messages\":");
    integers(out, values);
    close(out);
}

/// `error`.
pub fn error(out: &mut Vec<u8>, route: Route<'_>, code: ErrorCode, text: &dyn Display) {
    open_reply(out, route, "error");
    out.extend_from_slice(b",\"code\":");
    integer(out, code.number());
    out.extend_from_slice(b",\"text\":");
    string(out, &text.to_string());
    close(out);
}

/// `delta`: values for a peer.
pub fn delta(out: &mut Vec<u8>, src: &str, dest: &str, generation: Generation, values: &[Value]) {
    open(out, src, dest, "delta");
    out.extend_from_slice(b",\"generation\":");
    integer(out, generation.0);
    out.extend_from_slice(b",\"values\":");
    integers(out, values.iter().copied());
    close(out);
}

/// `delta_ok`: acknowledges one delta.
pub fn delta_ok(out: &mut Vec<u8>, route: Route<'_>, generation: Generation) {
    open_reply(out, route, "delta_ok");
    out.extend_from_slice(b",\"generation\":");
    integer(out, generation.0);
    close(out);
}

fn open_reply(out: &mut Vec<u8>, route: Route<'_>, kind: &str) {
    open(out, route.src, route.dest, kind);
    if let Some(msg_id) = route.in_reply_to {
        out.extend_from_slice(b",\"in_reply_to\":");
        integer(out, msg_id);
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

fn integers(out: &mut Vec<u8>, values: impl Iterator<Item = Value>) {
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
    if text.bytes().any(|b| b < b' ' || b == b'"' || b == b'\\') {
        serde_json::to_writer(out.by_ref(), text).expect("writing to memory does not fail");
    } else {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Body, Scratch, parse};
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
        let reply = encoded(|out| echo_ok(out, ROUTE, &value));
        assert_eq!(reply["body"]["echo"], serde_json::from_str::<serde_json::Value>(text).expect("valid"));
    }

    #[test]
    fn a_delta_reads_back_as_it_was_written() {
        let mut out = Vec::new();
        delta(&mut out, "n1", "n2", Generation(5), &[3, -4]);
        let message = parse(&mut out, &mut Scratch::default()).expect("a message");
        let expected =
            Body::Delta { msg_id: None, generation: Generation(5), values: [3, -4].into_iter().collect() };
        assert_eq!((message.src, message.dest, message.body), ("n1", "n2", Ok(expected)));
    }
}
