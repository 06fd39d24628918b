//! The parser: what the [scanner](super::scan) leaves, by one pass of simd-json over the line, in place, into types
//! that borrow from it.
//!
//! A field of the wrong type must not hide the rest of the message, or nobody could be told which field it
//! was. So each field is read leniently, as [`Field`], and judged when the message's type is known.

use std::fmt;
use std::mem;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use simd_json::{BorrowedValue, Buffers, Tape};

use super::error::{LineError, Reason, Refusal};
use super::field::{Field, FieldVisitor, Integers, Neighbours};
use super::link::{Delta, Header, Range, Sync, Want};
use super::runs::expand;
use super::{Generation, Line, Value, scan};

const STRING: &str = "a string";
const INTEGER: &str = "a 64-bit signed integer";
const NON_NEGATIVE: &str = "an integer from 0 to 2^63 - 1";
const INTEGERS: &str = "an array of 64-bit signed integers";
const BOOLEAN: &str = "true or false";
const HEADER: &str = "an array of integers as natter nodes write it";
const RUNS: &str = "an array of integers, two for each run of values";
const RANGES: &str = "an array of integers, four for each range";
const BOUNDS: &str = "an array of integers, three for each range";
const STRINGS: &str = "an array of strings";
const NEIGHBOURS: &str = "an object whose values are arrays of strings";

/// The parser's working memory, for one thread. Grows to what a line needs, and stays so unless that was a lot.
pub struct Scratch {
    buffers: Buffers,
    tape: Tape<'static>,
    parts: Parts,
    /// Whether it has grown with a line that was longer than most.
    is_large: bool,
}

/// Parts of a message that cost more to move than to read: they are read to where they stay.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) values: Vec<Value>,
    /// The array `runs`. What it stands for is among the values.
    pub(super) runs: Vec<i64>,
    /// The array `link`.
    pub(super) link: Vec<i64>,
    /// What it says, if there is one and it is as it should be.
    pub(super) header: Option<Header>,
}

impl Parts {
    /// Empties them. Keeps their memory.
    pub(super) fn clear(&mut self) {
        self.values.clear();
        self.runs.clear();
        self.link.clear();
        self.header = None;
    }
}

/// A line of more commas, colons, brackets and quotation marks is not read by the whole parser, which takes some forty bytes for each.
const PARTS_MAX: usize = 1 << 20;

/// A line that is longer than this, in bytes, or has more parts, takes the working memory with it when the next
/// one comes.
const LINE_KEPT_MAX: usize = 1 << 18;
const PARTS_KEPT_MAX: usize = 1 << 14;

impl Default for Scratch {
    fn default() -> Self {
        Self { buffers: Buffers::default(), tape: Tape(Vec::new()), parts: Parts::default(), is_large: false }
    }
}

impl Scratch {
    /// Gives back what it has grown to, if that is much more than most lines need.
    fn give_back_much(&mut self) {
        let Self { tape, parts, is_large, .. } = self;
        let Parts { values, runs, link, .. } = parts;
        let most = [tape.0.capacity(), values.capacity(), runs.capacity(), link.capacity()].into_iter().max();
        if *is_large || most > Some(PARTS_KEPT_MAX) {
            *self = Self::default();
        }
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").finish_non_exhaustive()
    }
}

/// One message, borrowing from its line.
#[derive(Debug)]
pub struct Message<'a> {
    /// Who sent it.
    pub src: &'a str,
    /// To whom it is addressed.
    pub dest: &'a str,
    /// What it says, or why it can't be taken.
    pub body: Result<Body<'a>, Refusal<'a>>,
}

/// The body of a message.
#[derive(Debug, PartialEq)]
pub enum Body<'a> {
    /// Something that wants an answer.
    Request {
        /// The requester's number for it.
        msg_id: i64,
        /// What is wanted.
        request: Request<'a>,
    },
    /// Values from a peer.
    Delta {
        /// The sender's number for the message, if it gave one.
        msg_id: Option<i64>,
        /// What it brings.
        delta: Delta<'a>,
        /// None if the peer isn't one of ours.
        header: Option<&'a Header>,
    },
    /// A peer's acknowledgement that travels alone.
    DeltaOk {
        /// The one delta that it acknowledges, if the peer isn't one of ours.
        generation: Option<Generation>,
        /// Acknowledges what it says.
        header: Option<&'a Header>,
    },
    /// A peer asks what this node holds.
    Ping {
        /// Values that this node may lack: the peer has heard no answers from it.
        values: &'a [Value],
        /// What the peer holds.
        header: &'a Header,
    },
    /// A step of anti-entropy.
    Sync {
        /// What is compared, asked and told.
        sync: Sync,
        /// How the link is.
        header: &'a Header,
    },
    /// An answer that nobody here waits for.
    Reply {
        /// Its type.
        kind: &'a str,
    },
}

/// What clients ask for.
#[derive(Debug, PartialEq)]
pub enum Request<'a> {
    /// The cluster's members, and which of them this node is.
    Init {
        /// This node.
        node_id: &'a str,
        /// All nodes, this one included.
        node_ids: Vec<&'a str>,
    },
    /// A suggestion of who should talk to whom. What it suggests is not kept.
    Topology,
    /// Send the value back.
    Echo(Echoed<'a>),
    /// Make a unique id.
    Generate,
    /// Spread the value to every node.
    Broadcast(Value),
    /// Tell all values seen.
    Read,
}

/// A value to be sent back.
#[derive(Debug, PartialEq)]
pub enum Echoed<'a> {
    /// As JSON, the way it came.
    Text(&'a str),
    /// As it was read.
    Value(BorrowedValue<'a>),
}

/// Parses one line in place: its bytes are overwritten where strings have escapes, and the message borrows from
/// them and from the working memory. Nothing is allocated for a message without arrays of names or ranges, once
/// that has grown.
///
/// # Errors
/// If the line can't be taken as a message from anybody. If it can, but is wrong, the message's body says so.
pub fn parse<'a>(line: Line<'a>, scratch: &'a mut Scratch) -> Result<Message<'a>, LineError> {
    scratch.give_back_much();
    match scan::scan(line.padded(), line.len(), &mut scratch.parts) {
        Some(scanned) => Ok(scanned.message(line.into_padded().0, &scratch.parts)),
        None => parse_fully(line, scratch),
    }
}

/// Does what [`parse`] does, without the scanner: to compare with.
///
/// # Errors
/// The same.
pub fn parse_fully<'a>(line: Line<'a>, scratch: &'a mut Scratch) -> Result<Message<'a>, LineError> {
    scratch.give_back_much();
    let Scratch { buffers, tape: kept, parts, is_large } = scratch;
    parts.clear();
    let (padded, len) = line.into_padded();
    *is_large = len > LINE_KEPT_MAX;
    if len > PARTS_MAX && count_parts(&padded[..len]) > PARTS_MAX {
        return Err(LineError::TooManyParts { limit: PARTS_MAX });
    }
    let mut tape: Tape<'a> = mem::replace(kept, Tape(Vec::new()));
    let filled = simd_json::fill_tape_padded(padded, len, buffers, &mut tape);
    let mut deserializer = simd_json::Deserializer::from_tape(tape);
    let mut raw = RawMessage::default();
    let read = filled.and_then(|()| deserializer.deserialize_map(MessageFields { raw: &mut raw, parts }));
    *kept = deserializer.into_tape().reset();
    read.map_err(line_error)?;
    if let Field::Is(()) = raw.body.runs {
        if !matches!(raw.body.values, Field::Is(())) {
            parts.values.clear();
        }
        // Of a delta alone they mean anything.
        if matches!(raw.body.kind, Field::Is("delta")) && expand(&parts.runs, &mut parts.values).is_none() {
            raw.body.runs = Field::Wrong;
        }
    }
    if let Some(Field::Is(())) = raw.body.link {
        parts.header = Header::from_integers(&parts.link);
    }
    raw.judge(&parts.values, parts.header.as_ref())
}

/// How many commas, colons, brackets and quotation marks there are, but for those within texts.
fn count_parts(line: &[u8]) -> usize {
    let (mut count, mut is_text, mut is_escaped) = (0, false, false);
    for &byte in line {
        let is_quote = byte == b'"' && !is_escaped;
        count += usize::from(is_quote || !is_text && matches!(byte, b',' | b':' | b'[' | b']' | b'{' | b'}'));
        is_text ^= is_quote;
        is_escaped = is_text && byte == b'\\' && !is_escaped;
    }
    count
}

fn line_error(error: simd_json::Error) -> LineError {
    use simd_json::ErrorType::{ExpectedMap, Serde};
    match error.error() {
        Serde(text) => LineError::NotMessage(text.clone()),
        ExpectedMap => LineError::NotMessage("not an object".to_owned()),
        _ => LineError::NotJson(not_json(&error)),
    }
}

/// Why the parser gave up, in words, and where.
fn not_json(error: &simd_json::Error) -> String {
    use simd_json::ErrorType as Type;
    let what = match error.error() {
        Type::InvalidUtf8 => "a byte that is no UTF-8",
        Type::InvalidUnicodeCodepoint | Type::InvalidUnicodeEscape => "a \\u escape of no character",
        Type::InvalidEscape => "an unknown escape",
        Type::InvalidNumber | Type::InvalidExponent | Type::Overflow => {
            "a number that is malformed or too large"
        }
        Type::DepthLimitExceeded => "it is nested too deep",
        Type::Eof | Type::UnterminatedString | Type::NoStructure => "it ends too early",
        Type::TrailingData => "something follows the message",
        _ => "unexpected text",
    };
    match error.index() {
        0 => what.to_owned(),
        index => format!("{what}, at byte {index}"),
    }
}

/// A message's fields as they are, before anybody asked which of them it needs.
#[derive(Default)]
struct RawMessage<'a> {
    src: Field<&'a str>,
    dest: Field<&'a str>,
    has_body: bool,
    body: RawBody<'a>,
}

#[derive(Default)]
struct RawBody<'a> {
    kind: Field<&'a str>,
    msg_id: Field<i64>,
    in_reply_to: Field<i64>,
    echo: Option<BorrowedValue<'a>>,
    message: Field<i64>,
    node_id: Field<&'a str>,
    node_ids: Field<Vec<&'a str>>,
    topology: Field<()>,
    generation: Field<i64>,
    /// They are elsewhere, and so are the arrays `runs` and `link`.
    values: Field<()>,
    runs: Field<()>,
    base: Field<i64>,
    age: Field<i64>,
    now: Field<bool>,
    round: Field<i64>,
    answer: Field<bool>,
    ranges: Field<Vec<i64>>,
    wants: Field<Vec<i64>>,
    /// Not missing even if it is null: that is no header either.
    link: Option<Field<()>>,
}

impl<'a> RawMessage<'a> {
    fn judge(&mut self, values: &'a [Value], header: Option<&'a Header>) -> Result<Message<'a>, LineError> {
        let src = self.src.required("src", STRING).map_err(not_message)?;
        let dest = self.dest.required("dest", STRING).map_err(not_message)?;
        if !self.has_body {
            return Err(not_message(Reason::Missing("body")));
        }
        let body = &mut self.body;
        if matches!((&body.kind, &body.msg_id), (Field::Missing, Field::Missing)) {
            return Err(not_message(Reason::Missing("type")));
        }
        let in_reply_to = if let Field::Is(id) = body.msg_id { Some(id) } else { None };
        let body = body.judge(values, header).map_err(|reason| Refusal { in_reply_to, reason });
        Ok(Message { src, dest, body })
    }
}

fn not_message(reason: Reason<'_>) -> LineError {
    LineError::NotMessage(reason.to_string())
}

impl<'a> RawBody<'a> {
    fn judge(&mut self, values: &'a [Value], header: Option<&'a Header>) -> Result<Body<'a>, Reason<'a>> {
        let kind = match self.kind {
            Field::Is(kind) => kind,
            Field::Missing => return Err(Reason::Missing("type")),
            Field::Wrong => return Err(Reason::WrongType { field: "type", expected: STRING }),
        };
        let msg_id = match kind {
            "delta" => return self.delta(values, header),
            "delta_ok" => {
                let header = self.link(header)?;
                let generation = match header {
                    Some(_) => optional_generation("generation", &mut self.generation)?,
                    None => Some(generation(&mut self.generation)?),
                };
                return Ok(Body::DeltaOk { generation, header });
            }
            "ping" => {
                let header = self.link(header)?.ok_or(Reason::Missing("link"))?;
                let brought = self.values.optional("values", INTEGERS)?;
                return Ok(Body::Ping { values: brought.map_or(&[], |()| values), header });
            }
            "sync" => return self.sync(values, header),
            // An error is answered by none, or two nodes that can't make sense of each other would never end.
            _ if kind == "error" || !matches!(self.in_reply_to, Field::Missing) => {
                return Ok(Body::Reply { kind });
            }
            "init" | "topology" | "echo" | "generate" | "broadcast" | "read" => {
                self.msg_id.required("msg_id", INTEGER)?
            }
            _ => return Err(Reason::UnknownType(kind)),
        };
        let request = match kind {
            "init" => Request::Init {
                node_id: self.node_id.required("node_id", STRING)?,
                node_ids: self.node_ids.required("node_ids", STRINGS)?,
            },
            "topology" => self.topology.required("topology", NEIGHBOURS).map(|()| Request::Topology)?,
            "echo" => Request::Echo(Echoed::Value(self.echo.take().ok_or(Reason::Missing("echo"))?)),
            "generate" => Request::Generate,
            "broadcast" => Request::Broadcast(self.message.required("message", INTEGER)?),
            _ => Request::Read,
        };
        Ok(Body::Request { msg_id, request })
    }

    fn delta(&mut self, values: &'a [Value], header: Option<&'a Header>) -> Result<Body<'a>, Reason<'a>> {
        let msg_id = self.msg_id.optional("msg_id", INTEGER)?;
        let header = self.link(header)?;
        let delta = Delta {
            generation: generation(&mut self.generation)?,
            base: optional_generation("base", &mut self.base)?,
            age: non_negative("age", &mut self.age)?.unwrap_or(0),
            now: self.now.optional("now", BOOLEAN)?.unwrap_or(false),
            values: match self.runs.optional("runs", RUNS)? {
                Some(()) => self.values.optional("values", INTEGERS).map(|_| values)?,
                None => self.values.required("values", INTEGERS).map(|()| values)?,
            },
        };
        Ok(Body::Delta { msg_id, delta, header })
    }

    fn sync(&mut self, values: &'a [Value], header: Option<&'a Header>) -> Result<Body<'a>, Reason<'a>> {
        let header = self.link(header)?.ok_or(Reason::Missing("link"))?;
        let ranges = self.ranges.optional("ranges", RANGES)?.unwrap_or_default();
        let wants = self.wants.optional("wants", BOUNDS)?.unwrap_or_default();
        if !ranges.len().is_multiple_of(4) {
            return Err(Reason::WrongType { field: "ranges", expected: RANGES });
        }
        if !wants.len().is_multiple_of(3) {
            return Err(Reason::WrongType { field: "wants", expected: BOUNDS });
        }
        let range = |numbers: &[i64]| Range {
            first: numbers[0],
            last: numbers[1],
            count: u64::try_from(numbers[2]).unwrap_or(0),
            fingerprint: numbers[3].cast_unsigned(),
        };
        let want = |numbers: &[i64]| Want {
            first: numbers[0],
            last: numbers[1],
            count: u64::try_from(numbers[2]).unwrap_or(0),
        };
        let sync = Sync {
            round: non_negative("round", &mut self.round)?.ok_or(Reason::Missing("round"))?,
            answer: self.answer.optional("answer", BOOLEAN)?.unwrap_or(false),
            ranges: ranges.chunks_exact(4).map(range).collect(),
            wants: wants.chunks_exact(3).map(want).collect(),
            values: self.values.optional("values", INTEGERS)?.map_or_else(Vec::new, |()| values.to_vec()),
        };
        Ok(Body::Sync { sync, header })
    }

    /// The header, if there is an array `link`.
    fn link(&self, header: Option<&'a Header>) -> Result<Option<&'a Header>, Reason<'a>> {
        let wrong = Reason::WrongType { field: "link", expected: HEADER };
        if self.link.is_none() { Ok(None) } else { header.map(Some).ok_or(wrong) }
    }
}

fn non_negative<'a>(field: &'static str, number: &mut Field<i64>) -> Result<Option<u64>, Reason<'a>> {
    let wrong = |_| Reason::WrongType { field, expected: NON_NEGATIVE };
    number.optional(field, NON_NEGATIVE)?.map(|number| u64::try_from(number).map_err(wrong)).transpose()
}

fn optional_generation<'a>(
    field: &'static str,
    number: &mut Field<i64>,
) -> Result<Option<Generation>, Reason<'a>> {
    Ok(non_negative(field, number)?.map(Generation))
}

fn generation<'a>(field: &mut Field<i64>) -> Result<Generation, Reason<'a>> {
    optional_generation("generation", field)?.ok_or(Reason::Missing("generation"))
}

/// Reads a message's fields to where they are wanted, as moving them there costs more than reading them.
struct MessageFields<'r, 'de> {
    raw: &'r mut RawMessage<'de>,
    parts: &'r mut Parts,
}

impl<'de> Visitor<'de> for MessageFields<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { raw, parts } = self;
        while let Some(key) = map.next_key::<&'de str>()? {
            match key {
                "src" => raw.src = map.next_value()?,
                "dest" => raw.dest = map.next_value()?,
                "body" => {
                    if mem::replace(&mut raw.has_body, true) {
                        raw.body = RawBody::default();
                    }
                    let body = map.next_value_seed(BodyFields { raw: &mut raw.body, parts });
                    body.map_err(|_| A::Error::custom("`body` is not an object"))?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// The same for its body.
struct BodyFields<'r, 'de> {
    raw: &'r mut RawBody<'de>,
    parts: &'r mut Parts,
}

impl<'de> DeserializeSeed<'de> for BodyFields<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for BodyFields<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { raw, parts } = self;
        while let Some(key) = map.next_key::<&'de str>()? {
            match key {
                "type" => raw.kind = map.next_value()?,
                "msg_id" => raw.msg_id = map.next_value()?,
                "in_reply_to" => raw.in_reply_to = map.next_value()?,
                "echo" => raw.echo = Some(map.next_value()?),
                "message" => raw.message = map.next_value()?,
                "node_id" => raw.node_id = map.next_value()?,
                "node_ids" => raw.node_ids = map.next_value()?,
                "topology" => raw.topology = map.next_value_seed(FieldVisitor(Neighbours))?,
                "generation" => raw.generation = map.next_value()?,
                "values" => raw.values = map.next_value_seed(FieldVisitor(Integers(&mut parts.values)))?,
                "runs" => raw.runs = map.next_value_seed(FieldVisitor(Integers(&mut parts.runs)))?,
                "base" => raw.base = map.next_value()?,
                "age" => raw.age = map.next_value()?,
                "now" => raw.now = map.next_value()?,
                "round" => raw.round = map.next_value()?,
                "answer" => raw.answer = map.next_value()?,
                "ranges" => raw.ranges = map.next_value()?,
                "wants" => raw.wants = map.next_value()?,
                "link" => {
                    raw.link = Some(map.next_value_seed(FieldVisitor(Integers(&mut parts.link)))?);
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::LineBuf;
    use super::*;

    fn with<R>(line: &str, check: impl FnOnce(Result<Message<'_>, LineError>) -> R) -> R {
        check(parse(LineBuf::from(line).line(), &mut Scratch::default()))
    }

    fn body_is(body: &str, expected: Result<Body<'_>, Refusal<'_>>) {
        let line = format!(r#"{{"id":7,"src":"c1","dest":"n1","body":{body}}}"#);
        with(&line, |message| assert_eq!(message.expect("a message").body, expected, "{body}"));
    }

    fn request(request: Request<'_>) -> Result<Body<'_>, Refusal<'_>> {
        Ok(Body::Request { msg_id: 1, request })
    }

    #[test]
    fn each_request_is_understood_whatever_the_order_of_its_fields() {
        body_is(r#"{"type":"read","msg_id":1}"#, request(Request::Read));
        body_is(r#"{"msg_id":1,"x":[{"y":2}],"type":"generate"}"#, request(Request::Generate));
        body_is(
            r#"{"type":"broadcast","msg_id":1,"message":-9223372036854775808}"#,
            request(Request::Broadcast(i64::MIN)),
        );
        body_is(
            r#"{"node_ids":["n1","n2"],"type":"init","msg_id":1,"node_id":"n1"}"#,
            request(Request::Init { node_id: "n1", node_ids: vec!["n1", "n2"] }),
        );
        body_is(
            r#"{"type":"topology","msg_id":1,"topology":{"n1":["n2"],"n2":[]}}"#,
            request(Request::Topology),
        );
    }

    #[test]
    fn echo_keeps_any_value_null_included() {
        body_is(r#"{"type":"echo","msg_id":1,"echo":null}"#, request(Request::Echo(Echoed::Text("null"))));
        body_is(
            r#"{"type":"echo","msg_id":1,"echo": {"b":[1, true],"a":{}} }"#,
            request(Request::Echo(Echoed::Text(r#"{"b":[1, true],"a":{}}"#))),
        );
        body_is(
            r#"{"type":"echo","msg_id":1,"echo":"a\n\u00e9"}"#,
            request(Request::Echo(Echoed::Value("a\né".into()))),
        );
        body_is(r#"{"type":"echo","msg_id":1,"echo":"a"}"#, request(Request::Echo(Echoed::Text("\"a\""))));
    }

    #[test]
    fn a_delta_may_carry_more_than_a_batch_and_a_message_id() {
        let values: Vec<String> = (0..100).map(|v| v.to_string()).collect();
        body_is(
            &format!(r#"{{"type":"delta","msg_id":4,"generation":9,"values":[{}]}}"#, values.join(",")),
            Ok(Body::Delta { msg_id: Some(4), delta: delta_of(&(0..100).collect::<Vec<_>>()), header: None }),
        );
        body_is(
            r#"{"type":"delta_ok","in_reply_to":4,"generation":9}"#,
            Ok(Body::DeltaOk { generation: Some(Generation(9)), header: None }),
        );
    }

    fn delta_of(values: &[Value]) -> Delta<'_> {
        Delta { generation: Generation(9), base: None, age: 0, now: false, values }
    }

    /// A `link` in which only the incarnation and the time of sending say something.
    const LINK: &str = "[1,-1,2,-1,0,-1,0,0,0,-1,0,-1,0,0,0,0,0,0,0]";

    fn header() -> Header {
        Header { incarnation: 1, at: 2, ..Header::default() }
    }

    #[test]
    fn a_link_that_is_not_as_it_should_be_is_refused() {
        let delta = |link: &str| format!(r#"{{"type":"delta","generation":9,"values":[],"link":{link}}}"#);
        let expected = Body::Delta { msg_id: None, delta: delta_of(&[]), header: Some(&header()) };
        body_is(&delta(LINK), Ok(expected));
        let changed = |place: usize, to: &str| {
            let mut integers: Vec<&str> = LINK[1..LINK.len() - 1].split(',').collect();
            integers[place] = to;
            format!("[{}]", integers.join(","))
        };
        let (no_incarnation, wrong_time, unknown_claim) =
            (changed(0, "-1"), changed(2, "\"2\""), changed(7, "24"));
        let (longer_list, half_a_restart, members_of_no_claim) =
            (changed(18, "1"), changed(17, "1,5"), changed(16, "1,5"));
        for bad in [
            "7",
            "[]",
            "null",
            "{}",
            &LINK.replace(",0]", "]"),
            &LINK.replace(']', ",0]"),
            &no_incarnation,
            &wrong_time,
            &unknown_claim,
            &longer_list,
            &half_a_restart,
            &members_of_no_claim,
        ] {
            let reason = Reason::WrongType { field: "link", expected: HEADER };
            body_is(&delta(bad), Err(Refusal { in_reply_to: None, reason }));
        }
    }

    #[test]
    fn a_long_line_that_the_scanner_cannot_read_is_refused_if_it_has_too_many_parts() {
        let line = |element: &str, count| {
            let elements = format!("{element},").repeat(count);
            let body = format!(r#"{{"type":"echo","msg_id":1,"echo":[{elements}7]}}"#);
            format!(r#"{{"src":"c1","dest":"n0","body":{body}}}"#)
        };
        let too_many = LineError::TooManyParts { limit: PARTS_MAX };
        with(&line("1.5", PARTS_MAX), |message| assert_eq!(message.map(|_| ()), Err(too_many)));
        with(&line("1.5", PARTS_MAX / 2), |message| assert!(message.is_ok()));
        with(&line("15", PARTS_MAX), |message| assert!(message.is_ok(), "the scanner reads it"));
        let texts = format!("[\"é\\\",{}\"]", ",".repeat(PARTS_MAX + 9));
        with(&line(&texts, 1), |message| assert!(message.is_ok(), "they are one text"));
    }

    #[test]
    fn a_delta_may_tell_its_values_by_runs() {
        let delta = |fields: &str| format!(r#"{{"type":"delta","generation":9{fields}}}"#);
        let told = |values: &[Value], fields: &str| {
            body_is(&delta(fields), Ok(Body::Delta { msg_id: None, delta: delta_of(values), header: None }));
        };
        told(&[5, 6, 7, -1], r#","runs":[5,3,-1,1]"#);
        told(&[2, 5, 6], r#","runs":[5,2],"values":[2]"#);
        told(&[2, 5, 6], r#","values":[2],"x":{},"runs":[5,2]"#);
        told(&[5, 6], r#","values":[1],"values":null,"runs":[5,2]"#);
        told(&[5, 6], r#","runs":[9,9],"runs":[5,2],"x":1.5"#);
        let twice = r#""values":[1,2]},"body":{"type":"delta","generation":9,"runs":[5,2]"#;
        body_is(
            &format!("{{{twice}}}"),
            Ok(Body::Delta { msg_id: None, delta: delta_of(&[5, 6]), header: None }),
        );
        let ping = format!(r#"{{"type":"ping","values":[1],"runs":[7,3,1,0],"link":{LINK}}}"#);
        with(&format!(r#"{{"src":"n1","dest":"n0","body":{ping}}}"#), |message| {
            let body = message.expect("a message").body.expect("understood");
            assert!(matches!(body, Body::Ping { values: [1], .. }), "{body:?}");
        });
        for bad in ["[5]", "[5,0]", "[5,1025]", "[\"5\",1]", "7"] {
            let reason = Reason::WrongType { field: "runs", expected: RUNS };
            body_is(&delta(&format!(r#","runs":{bad}"#)), Err(Refusal { in_reply_to: None, reason }));
        }
    }

    #[test]
    fn a_sync_needs_a_link_and_whole_ranges() {
        let sync = |fields: &str| format!(r#"{{"type":"sync","round":1,"link":{LINK}{fields}}}"#);
        let header = header();
        let ranges = vec![Range { first: -1, last: 1, count: 2, fingerprint: u64::MAX }];
        body_is(
            &sync(r#","ranges":[-1,1,2,-1],"wants":[3,4,1]"#),
            Ok(Body::Sync {
                sync: Sync {
                    round: 1,
                    ranges,
                    wants: vec![Want { first: 3, last: 4, count: 1 }],
                    ..Sync::default()
                },
                header: &header,
            }),
        );
        let refused = |body: &str, reason| body_is(body, Err(Refusal { in_reply_to: None, reason }));
        refused(&sync(r#","ranges":[-1,1,2]"#), Reason::WrongType { field: "ranges", expected: RANGES });
        refused(&sync(r#","wants":[3,4]"#), Reason::WrongType { field: "wants", expected: BOUNDS });
        refused(r#"{"type":"sync","round":1}"#, Reason::Missing("link"));
    }

    #[test]
    fn a_field_of_the_wrong_type_is_named_and_the_message_id_kept() {
        for bad in [
            "1.5",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999",
            "\"1\"",
            "true",
            "[1]",
            "{}",
            "1e3",
        ] {
            body_is(
                &format!(r#"{{"type":"broadcast","message":{bad},"msg_id":1}}"#),
                Err(Refusal {
                    in_reply_to: Some(1),
                    reason: Reason::WrongType { field: "message", expected: INTEGER },
                }),
            );
        }
        body_is(
            r#"{"type":"init","node_id":"n1","node_ids":["n1",2,["x"]],"msg_id":1}"#,
            Err(Refusal {
                in_reply_to: Some(1),
                reason: Reason::WrongType { field: "node_ids", expected: STRINGS },
            }),
        );
        body_is(
            r#"{"type":"delta","generation":-1,"values":[]}"#,
            Err(Refusal {
                in_reply_to: None,
                reason: Reason::WrongType { field: "generation", expected: NON_NEGATIVE },
            }),
        );
        body_is(
            r#"{"type":5,"msg_id":1}"#,
            Err(Refusal {
                in_reply_to: Some(1),
                reason: Reason::WrongType { field: "type", expected: STRING },
            }),
        );
    }

    #[test]
    fn a_missing_field_is_named() {
        for (body, field) in [
            (r#"{"type":"broadcast","msg_id":1}"#, "message"),
            (r#"{"type":"echo","msg_id":1}"#, "echo"),
            (r#"{"type":"init","msg_id":1,"node_id":"n1"}"#, "node_ids"),
            (r#"{"msg_id":1}"#, "type"),
        ] {
            body_is(body, Err(Refusal { in_reply_to: Some(1), reason: Reason::Missing(field) }));
        }
        body_is(r#"{"type":"read"}"#, Err(Refusal { in_reply_to: None, reason: Reason::Missing("msg_id") }));
    }

    #[test]
    fn an_unknown_type_is_refused_unless_it_is_a_reply() {
        body_is(
            r#"{"type":"txn","msg_id":1}"#,
            Err(Refusal { in_reply_to: Some(1), reason: Reason::UnknownType("txn") }),
        );
        body_is(r#"{"type":"error","in_reply_to":3,"code":11}"#, Ok(Body::Reply { kind: "error" }));
    }

    #[test]
    fn a_line_that_is_no_message_says_why() {
        for line in ["[]", "3", "null", r#"{"src":"a"}"#, r#"{"src":"a","dest":"b","body":[]}"#] {
            with(line, |result| match result {
                Err(LineError::NotMessage(cause)) => assert!(!cause.is_empty(), "{line}"),
                other => panic!("{line}: {other:?}"),
            });
        }
        for line in
            ["", "{", r#"{"src":"a""#, "hello", "{} {}", r#"{"src":"a","dest":"b","body":{"type":"x"}"#]
        {
            with(line, |result| match result {
                Err(LineError::NotJson(cause)) => assert!(!cause.is_empty(), "{line}"),
                other => panic!("{line}: {other:?}"),
            });
        }
        for (echo, why) in [
            (r#""\ud800""#, "escape of no character"),
            ("1e400", "number that is malformed or too large, at byte 6"),
            (r#""\q""#, "unknown escape"),
        ] {
            let line =
                format!(r#"{{"src":"c1","dest":"n0","body":{{"type":"echo","msg_id":1,"echo":{echo}}}}}"#);
            with(&line, |result| match result {
                Err(LineError::NotJson(cause)) => assert!(cause.contains(why), "{line}: {cause}"),
                other => panic!("{line}: {other:?}"),
            });
        }
    }

    #[test]
    fn invalid_utf8_is_not_json() {
        let mut line = br#"{"src":"a","dest":"b","body":{"type":"X"}}"#.to_vec();
        let x = line.iter().position(|&b| b == b'X').expect("an X");
        line[x] = 0xff;
        let mut line = LineBuf::from(line);
        assert!(matches!(parse(line.line(), &mut Scratch::default()), Err(LineError::NotJson(_))));
    }

    #[test]
    fn what_is_nested_too_deep_is_not_json() {
        let nested = |depth: usize| {
            let echo = ["[".repeat(depth), "]".repeat(depth)].concat();
            format!(r#"{{"src":"c1","dest":"n0","body":{{"type":"echo","msg_id":1,"echo":{echo}}}}}"#)
        };
        with(&nested(1000), |message| assert!(message.is_ok()));
        for depth in [1100, 100_000] {
            with(&nested(depth), |message| assert!(matches!(message, Err(LineError::NotJson(_)))));
        }
    }

    #[test]
    fn a_large_line_leaves_no_large_memory_behind() {
        let mut scratch = Scratch::default();
        for (text, is_large) in ["x".repeat(LINE_KEPT_MAX), "x".to_owned()].iter().zip([true, false]) {
            let mut line = LineBuf::from(format!(
                r#"{{"src":"c1","dest":"n0","body":{{"type":"echo","echo":"{text}"}}}}"#
            ));
            assert!(parse(line.line(), &mut scratch).is_ok());
            // What is large when a line comes is given back before that is parsed.
            assert_eq!(scratch.is_large, is_large);
        }
        // By the scanner, and by the whole parser, which reads any field.
        for more in ["", r#","more":1.5"#] {
            let mut parse_values = |count: usize| {
                let values = "1,".repeat(count);
                let body = format!(r#"{{"type":"delta","generation":1,"values":[{values}1]{more}}}"#);
                let mut line = LineBuf::from(format!(r#"{{"src":"n1","dest":"n0","body":{body}}}"#));
                assert!(parse(line.line(), &mut scratch).expect("a message").body.is_ok());
                (scratch.tape.0.capacity(), scratch.parts.values.capacity())
            };
            let (parts, values) = parse_values(1_000_000);
            assert!(values > PARTS_KEPT_MAX && (parts > PARTS_KEPT_MAX) != more.is_empty());
            let (parts, values) = parse_values(10);
            assert!(parts <= PARTS_KEPT_MAX && values <= PARTS_KEPT_MAX);
        }
    }

    #[test]
    fn the_last_of_two_equal_fields_counts() {
        body_is(
            r#"{"type":"broadcast","message":"x","msg_id":1,"message":4}"#,
            request(Request::Broadcast(4)),
        );
    }
}
