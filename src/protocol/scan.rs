//! The scanner: one pass over a line that has the shape that lines nearly always have.
//!
//! It takes what clients ask for, and what nodes tell each other, but for comparisons. Fields may come in any order, with any
//! white space between them. Of anything unusual it takes nothing: escapes, bytes beyond ASCII, fractions, fields that are there
//! twice, and whatever is wrong. Then the line is as it was, and the whole parser reads it anew. What the scanner takes means
//! exactly what the whole parser makes of it. It needs no memory but for what a message brings, however long the line.
//!
//! Texts and digits are read eight bytes at a time, as one word. A line has room for that behind it; where the
//! cursor is in the end tells whether all that was taken is of the line.

use std::ops::Range;

use super::link::{Delta, Header};
use super::parse::{Body, Echoed, Message, Parts, Request};
use super::runs::expand;
use super::{Generation, Value};

/// A place in a line. The text itself is borrowed only when nobody needs to change the line any more.
type Span = Range<usize>;

/// What a line says, beside its [`Parts`].
#[derive(Debug)]
pub(super) struct Scanned {
    src: Span,
    dest: Span,
    said: Said,
}

#[derive(Debug)]
enum Said {
    Request { msg_id: i64, asked: Asked },
    Delta { msg_id: Option<i64>, generation: Generation, base: Option<Generation>, age: u64, now: bool },
    DeltaOk { generation: Option<Generation> },
    Ping,
}

#[derive(Debug)]
enum Asked {
    Init {
        node_id: Span,
        node_ids: Span,
    },
    Topology,
    /// As JSON.
    Echo(Span),
    Generate,
    Broadcast(Value),
    Read,
}

/// Reads a line of `len` bytes, which has at least eight more behind it. None if it is not one of those that this can
/// read.
pub(super) fn scan(padded: &[u8], len: usize, parts: &mut Parts) -> Option<Scanned> {
    let mut cursor = Cursor { bytes: padded, at: 0 };
    let (mut src, mut dest, mut said) = (None, None, None);
    parts.clear();
    cursor.object(|cursor, key| match key {
        b"src" => once(&mut src, cursor.text()?),
        b"dest" => once(&mut dest, cursor.text()?),
        b"body" => once(&mut said, cursor.body(parts)?),
        _ => cursor.any(DEPTH_MAX),
    })?;
    // Behind the line there may be more white space, and anything.
    let rest = padded.get(cursor.at..len)?;
    rest.iter().all(is_white).then_some(Scanned { src: src?, dest: dest?, said: said? })
}

impl Scanned {
    /// What was read, borrowing from its line.
    pub(super) fn message<'a>(self, line: &'a [u8], parts: &'a Parts) -> Message<'a> {
        let text = |span| Cursor { bytes: line, at: 0 }.text_at(span);
        let (values, header) = (&parts.values[..], parts.header.as_ref());
        let body = match self.said {
            Said::Request { msg_id, asked } => {
                let request = match asked {
                    Asked::Init { node_id, node_ids } => {
                        Request::Init { node_id: text(node_id), node_ids: Cursor::at(line, node_ids).names() }
                    }
                    Asked::Topology => Request::Topology,
                    Asked::Echo(span) => Request::Echo(Echoed::Text(text(span))),
                    Asked::Generate => Request::Generate,
                    Asked::Broadcast(value) => Request::Broadcast(value),
                    Asked::Read => Request::Read,
                };
                Body::Request { msg_id, request }
            }
            Said::Delta { msg_id, generation, base, age, now } => {
                Body::Delta { msg_id, delta: Delta { generation, base, age, now, values }, header }
            }
            Said::DeltaOk { generation } => Body::DeltaOk { generation, header },
            Said::Ping => Body::Ping { values, header: header.expect("a ping has a link") },
        };
        Message { src: text(self.src), dest: text(self.dest), body: Ok(body) }
    }
}

/// Keeps what was found, unless it was found before: of a field that is there twice the last one counts.
fn once<T>(kept: &mut Option<T>, found: T) -> Option<()> {
    kept.replace(found).is_none().then_some(())
}

/// The types of messages that the scanner takes.
#[derive(Clone, Copy)]
enum Kind {
    Init,
    Topology,
    Echo,
    Generate,
    Broadcast,
    Read,
    Delta,
    DeltaOk,
    Ping,
}

impl Kind {
    fn of(text: &[u8]) -> Option<Self> {
        Some(match text {
            b"init" => Self::Init,
            b"topology" => Self::Topology,
            b"echo" => Self::Echo,
            b"generate" => Self::Generate,
            b"broadcast" => Self::Broadcast,
            b"read" => Self::Read,
            b"delta" => Self::Delta,
            b"delta_ok" => Self::DeltaOk,
            b"ping" => Self::Ping,
            _ => return None,
        })
    }
}

/// Of a line that is longer than this, in bytes, integers are counted before they are read.
const LONG: usize = 1 << 20;

/// What is nested deeper than this is not for the scanner.
const DEPTH_MAX: u32 = 64;

/// Reads on from a place in a line. After None it may be anywhere.
struct Cursor<'l> {
    bytes: &'l [u8],
    at: usize,
}

/// What has been found to be there is read again, now that nobody needs to change the line any more.
impl<'l> Cursor<'l> {
    fn at(bytes: &'l [u8], span: Span) -> Self {
        Self { bytes, at: span.start }
    }

    fn text_at(&self, span: Span) -> &'l str {
        str::from_utf8(&self.bytes[span]).expect("only ASCII is taken")
    }

    fn names(&mut self) -> Vec<&'l str> {
        let mut count = 0;
        let again = "it has been read before";
        Cursor { ..*self }.each_name(|_, _| count += 1).expect(again);
        let mut names = Vec::with_capacity(count);
        self.each_name(|cursor, name| names.push(cursor.text_at(name))).expect(again);
        names
    }
}

impl<'l> Cursor<'l> {
    fn body(&mut self, parts: &mut Parts) -> Option<Said> {
        let (mut kind, mut msg_id, mut echo, mut message) = (None, None, None, None);
        let (mut node_id, mut node_ids, mut topology) = (None, None, None);
        let (mut generation, mut base, mut age, mut now) = (None, None, None, None);
        let (mut values, mut runs, mut link) = (None, None, None);
        self.object(|cursor, key| match key {
            b"type" => once(&mut kind, Kind::of(&cursor.bytes[cursor.text()?])?),
            b"msg_id" => once(&mut msg_id, cursor.integer()?),
            b"message" => once(&mut message, cursor.integer()?),
            b"echo" => once(&mut echo, cursor.span(|cursor| cursor.any(DEPTH_MAX))?),
            b"node_id" => once(&mut node_id, cursor.text()?),
            b"node_ids" => once(&mut node_ids, cursor.span(|cursor| cursor.each_name(|_, _| ()))?),
            b"topology" => once(&mut topology, cursor.object(|cursor, _| cursor.each_name(|_, _| ()))?),
            b"generation" => once(&mut generation, Generation(cursor.natural()?)),
            b"base" => once(&mut base, Generation(cursor.natural()?)),
            b"age" => once(&mut age, cursor.natural()?),
            b"now" => once(&mut now, cursor.boolean()?),
            b"values" => once(&mut values, cursor.integers(&mut parts.values)?),
            b"runs" => once(&mut runs, cursor.integers(&mut parts.runs)?),
            b"link" => once(&mut link, cursor.integers(&mut parts.link)?),
            // With it the message may be a reply.
            b"in_reply_to" => None,
            _ => cursor.any(DEPTH_MAX),
        })?;
        expand(&parts.runs, &mut parts.values)?;
        if link.is_some() {
            parts.header = Some(Header::from_integers(&parts.link)?);
        }
        let asked = match kind? {
            Kind::Init => Asked::Init { node_id: node_id?, node_ids: node_ids? },
            Kind::Topology => topology.map(|()| Asked::Topology)?,
            Kind::Echo => Asked::Echo(echo?),
            Kind::Generate => Asked::Generate,
            Kind::Broadcast => Asked::Broadcast(message?),
            Kind::Read => Asked::Read,
            Kind::Delta => {
                values.or(runs)?;
                let (age, now) = (age.unwrap_or(0), now.unwrap_or(false));
                return Some(Said::Delta { msg_id, generation: generation?, base, age, now });
            }
            // What it acknowledges is in one or the other.
            Kind::DeltaOk if link.is_some() || generation.is_some() => {
                return Some(Said::DeltaOk { generation });
            }
            Kind::Ping if link.is_some() && runs.is_none() => return Some(Said::Ping),
            Kind::DeltaOk | Kind::Ping => return None,
        };
        Some(Said::Request { msg_id: msg_id?, asked })
    }

    /// Hands each field's name to `field`, which reads the field's value.
    fn object(&mut self, mut field: impl FnMut(&mut Self, &'l [u8]) -> Option<()>) -> Option<()> {
        self.list(b'{', b'}', |cursor| {
            let key = cursor.text()?;
            cursor.take(b':')?;
            field(cursor, &cursor.bytes[key])
        })
    }

    /// An array of integers.
    fn integers(&mut self, into: &mut Vec<i64>) -> Option<()> {
        let rest = self.bytes.get(self.at..)?;
        if rest.len() > LONG {
            // A list that grows takes up to three times as much while it does.
            into.reserve_exact(memchr::memchr_iter(b',', rest).count() + 1);
        }
        self.list(b'[', b']', |cursor| {
            into.push(cursor.integer()?);
            Some(())
        })
    }

    /// Has `element` read whatever stands between two bytes, with commas in between.
    fn list(&mut self, open: u8, close: u8, mut element: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.take(open)?;
        if self.next()? == close {
            self.at += 1;
            return Some(());
        }
        loop {
            element(self)?;
            let next = self.next()?;
            self.at += 1;
            if next == close {
                return Some(());
            } else if next != b',' {
                return None;
            }
        }
    }

    /// An array of texts.
    fn each_name(&mut self, mut each: impl FnMut(&Self, Span)) -> Option<()> {
        self.list(b'[', b']', |cursor| {
            let name = cursor.text()?;
            each(cursor, name);
            Some(())
        })
    }

    /// Reads past any value that isn't nested too deep.
    fn any(&mut self, depth: u32) -> Option<()> {
        match self.next()? {
            b'"' => self.text().map(drop),
            b'[' => self.list(b'[', b']', |cursor| cursor.any(depth.checked_sub(1)?)),
            b'{' => self.object(|cursor, _| cursor.any(depth.checked_sub(1)?)),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            _ => self.integer().map(drop),
        }
    }

    /// Where in the line something is that is to be read.
    fn span(&mut self, read: impl FnOnce(&mut Self) -> Option<()>) -> Option<Span> {
        self.skip_white();
        let start = self.at;
        read(self)?;
        Some(start..self.at)
    }

    /// A text that is written as it is, without its quotation marks.
    fn text(&mut self) -> Option<Span> {
        self.take(b'"')?;
        let start = self.at;
        loop {
            let special = special(self.word()?);
            self.at += first_byte(special);
            if special != 0 {
                break;
            }
        }
        let end = self.at;
        self.at += 1;
        // Another special byte than this one is not for the scanner.
        (self.bytes.get(end) == Some(&b'"')).then_some(start..end)
    }

    /// An integer of 64 bits, as JSON writes it. Minus zero is not for the scanner.
    #[inline]
    fn integer(&mut self) -> Option<i64> {
        self.skip_white();
        self.short_natural().or_else(|| self.any_integer())
    }

    /// One of fewer than eight digits, as nearly all are.
    #[inline]
    fn short_natural(&mut self) -> Option<i64> {
        let word = self.word()?;
        let (count, number) = digits(word);
        let is_short = count == 1 || (2..8).contains(&count) && word as u8 != b'0';
        self.at += if is_short { count } else { 0 };
        is_short.then_some(number.cast_signed())
    }

    #[cold]
    #[inline(never)]
    fn any_integer(&mut self) -> Option<i64> {
        let negative = self.next()? == b'-';
        self.at += usize::from(negative);
        let start = self.at;
        let mut number = 0_u64;
        loop {
            let (count, digits) = digits(self.word()?);
            number = number.checked_mul(POWERS_OF_TEN[count])?.checked_add(digits)?;
            self.at += count;
            if count < 8 {
                break;
            }
        }
        let zeros_first = self.at - start > 1 && self.bytes[start] == b'0';
        if self.at == start || zeros_first || negative && number == 0 {
            None
        } else if negative {
            0_i64.checked_sub_unsigned(number)
        } else {
            i64::try_from(number).ok()
        }
    }

    /// An integer that is not negative.
    fn natural(&mut self) -> Option<u64> {
        self.integer()?.try_into().ok()
    }

    fn boolean(&mut self) -> Option<bool> {
        let is = self.next()? == b't';
        self.literal(if is { b"true" } else { b"false" })?;
        Some(is)
    }

    fn literal(&mut self, text: &[u8]) -> Option<()> {
        let found = self.bytes.get(self.at..)?.starts_with(text);
        self.at += text.len();
        found.then_some(())
    }

    /// Steps over a byte, and any white space before it.
    fn take(&mut self, byte: u8) -> Option<()> {
        let found = self.next()? == byte;
        self.at += 1;
        found.then_some(())
    }

    /// The next byte that is no white space.
    fn next(&mut self) -> Option<u8> {
        self.skip_white();
        self.bytes.get(self.at).copied()
    }

    fn skip_white(&mut self) {
        while self.bytes.get(self.at).is_some_and(is_white) {
            self.at += 1;
        }
    }

    /// The next eight bytes, the first of them lowest.
    fn word(&self) -> Option<u64> {
        self.bytes.get(self.at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
    }
}

fn is_white(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// The same byte eight times.
const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

const HIGH_BITS: u64 = each(0x80);

/// How many bytes are before the first whose high bit is set: eight if none is.
fn first_byte(high_bits: u64) -> usize {
    high_bits.trailing_zeros() as usize / 8
}

/// Sets the high bit of the first byte that can't stand in a text as it is, and none before it: a control character, a
/// quotation mark, a backslash, or one beyond ASCII. What is set behind the first means nothing, as subtraction borrows
/// (Mycroft's test for a zero byte).
fn special(word: u64) -> u64 {
    let below = |word: u64, limit: u8| word.wrapping_sub(each(limit)) & !word;
    let equal = |byte: u8| below(word ^ each(byte), 1);
    (below(word, b' ') | equal(b'"') | equal(b'\\') | word) & HIGH_BITS
}

const POWERS_OF_TEN: [u64; 9] = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// How many of the first of eight bytes are digits, and what number they are.
fn digits(word: u64) -> (usize, u64) {
    let digits = word ^ each(b'0');
    // The sum carries into the next byte only from one that is no digit.
    let others = (digits.wrapping_add(each(0x80 - 10)) | digits) & HIGH_BITS;
    let count = first_byte(others);
    // Those that there are, behind as many zeros as there must be. Of none nothing is left.
    let behind_zeros = if count == 0 { 0 } else { digits << (64 - 8 * count) };
    (count, eight_digits(behind_zeros))
}

/// The number that eight digits are, the first of them in the lowest byte: pairs, then fours, then all of them are put
/// together, several at a time (D. Lemire, "Quickly parsing eight digits", 2022).
fn eight_digits(digits: u64) -> u64 {
    const PAIRS: u64 = 0xff_0000_00ff;
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let first_and_third = (pairs & PAIRS).wrapping_mul(100 + (1_000_000 << 32));
    let second_and_fourth = (pairs >> 16 & PAIRS).wrapping_mul(1 + (10_000 << 32));
    first_and_third.wrapping_add(second_and_fourth) >> 32
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;
    use proptest::test_runner::TestRunner;

    use serde_json::Value as Json;

    use super::super::{LineBuf, LineError, Scratch, parse_fully};
    use super::*;

    /// A message as text, an echo by what it means.
    fn shown(message: &Message<'_>) -> String {
        let echo = match &message.body {
            Ok(Body::Request { msg_id, request: Request::Echo(Echoed::Text(text)) }) => {
                Some((msg_id, serde_json::from_str::<Json>(text).expect("it is JSON")))
            }
            Ok(Body::Request { msg_id, request: Request::Echo(Echoed::Value(value)) }) => {
                Some((msg_id, serde_json::to_value(value).expect("it is JSON")))
            }
            _ => None,
        };
        match echo {
            Some((msg_id, text)) => format!("{} to {}: {msg_id}, echo {text}", message.src, message.dest),
            None => format!("{message:?}"),
        }
    }

    /// What the scanner makes of a line that has these bytes behind it.
    fn scanned(line: &[u8], behind: &[u8]) -> Option<String> {
        let (padded, mut parts) = ([line, behind, &[0; 8]].concat(), Parts::default());
        let scanned = scan(&padded, line.len(), &mut parts)?;
        Some(shown(&scanned.message(&padded, &parts)))
    }

    /// What the whole parser makes of it.
    fn parsed(line: &[u8]) -> Result<String, LineError> {
        parse_fully(LineBuf::from(line).line(), &mut Scratch::default()).map(|message| shown(&message))
    }

    fn line(body: &str) -> String {
        format!(r#"{{"id":7,"src":"c1","dest":"n0","body":{body}}}"#)
    }

    #[test]
    fn what_clients_send_is_taken() {
        for body in [
            r#"{"type":"echo","msg_id":1,"echo":"Please echo 35"}"#,
            r#"{"echo":"","msg_id":1,"type":"echo"}"#,
            r#"{"type":"echo","msg_id":1,"echo":7}"#,
            r#"{"type":"echo","msg_id":1,"echo": {"a":[1, null],"b":{"a":"","c":false}} }"#,
            r#"{"type":"init","msg_id":1,"node_id":"n0","node_ids":["n0", "n1"]}"#,
            r#"{"type":"topology","msg_id":1,"topology":{"n0":[],"n1" : [ "n0","n2" ]}}"#,
            r#"{"type":"topology","msg_id":1,"topology":{}}"#,
            r#"{"type":"read","msg_id":1,"x":null,"y":[],"z":[{"type":[true]},-7]}"#,
            r#"{"type":"generate","msg_id":0}"#,
            r#"{"type":"broadcast","msg_id":12345678,"message":9223372036854775807}"#,
            r#"{"type":"broadcast","msg_id":-123456789,"message":-9223372036854775808}"#,
            " {\t\"type\" : \"read\" ,\r\"msg_id\": 1\n} ",
            r#"{"type":"read","msg_id":1,"message":5,"other":"{[","more":-7}"#,
            r#"{"type":"delta","generation":5,"values":[]}"#,
            r#"{"values":[ 1 , -2,3456789012345678],"now":true,"generation":5,"msg_id":-1,"age":7,"base":4,"type":"delta"}"#,
            r#"{"type":"delta","generation":5,"now":false,"values":[7],"link":[1,-1,2,-1,0,-1,0,0,0,-1,0,-1,0,0,-5,0,0,0,0]}"#,
            r#"{"type":"delta","generation":5,"runs":[7,3,-1,1]}"#,
            r#"{"type":"delta","runs":[7,3],"generation":5,"values":[1]}"#,
            r#"{"type":"delta_ok","generation":5}"#,
            r#"{"type":"delta_ok","link":[1,3,2,4,5,6,7,23,9,10,11,12,13,14,15,16,2,1,4,2,0,7,1,3]}"#,
            r#"{"type":"ping","values":[1],"link":[1,-1,2,-1,0,-1,0,0,0,-1,0,-1,0,0,-5,0,0,0,0]}"#,
            r#"{"type":"ping","link":[1,-1,2,-1,0,-1,0,0,0,-1,0,-1,0,0,-5,0,0,0,0]}"#,
        ] {
            let line = line(body);
            let found = scanned(line.as_bytes(), b"");
            assert_eq!(found, Some(parsed(line.as_bytes()).expect("a message")), "{body}");
        }
    }

    #[test]
    fn what_is_unusual_is_left_to_the_whole_parser() {
        for body in [
            r#"{"type":"echo","msg_id":1,"echo":"a\n"}"#,
            r#"{"type":"echo","msg_id":1,"echo":"é"}"#,
            "{\"type\":\"echo\",\"msg_id\":1,\"echo\":\"a\t\"}",
            "{\"type\r\":\"read\",\"msg_id\":1}",
            "{\"type\":\"read\n\",\"msg_id\":1}",
            r#"{"type":"echo","msg_id":1,"echo":[1.5]}"#,
            r#"{"type":"echo","msg_id":1,"echo":[nul]}"#,
            r#"{"type":"echo","msg_id":1,"echo":[1}"#,
            r#"{"type":"echo","msg_id":1,"echo":{"a"}}"#,
            r#"{"type":"echo","msg_id":1,"echo":{1:2}}"#,
            r#"{"type":"echo","msg_id":1,"echo":{"\u0061":2}}"#,
            r#"{"type":"echo","msg_id":1}"#,
            r#"{"type":"broadcast","msg_id":1,"message":1.0}"#,
            r#"{"type":"broadcast","msg_id":1,"message":1e3}"#,
            r#"{"type":"broadcast","msg_id":1,"message":-0}"#,
            r#"{"type":"broadcast","msg_id":1,"message":07}"#,
            r#"{"type":"broadcast","msg_id":1,"message":-}"#,
            r#"{"type":"broadcast","msg_id":1,"message":9223372036854775808}"#,
            r#"{"type":"broadcast","msg_id":1,"message":-9223372036854775809}"#,
            r#"{"type":"broadcast","msg_id":1,"message":100000000000000000000}"#,
            r#"{"type":"read","type":"read","msg_id":1}"#,
            r#"{"type":"read","msg_id":1,"msg_id":1}"#,
            r#"{"type":"read","msg_id":1,"in_reply_to":1}"#,
            r#"{"type":"read","msg_id":1,"x":[,]}"#,
            r#"{"type":"read","msg_id":1,}"#,
            r#"{"type":"read","msg_id":1"#,
            r#"{"type":"read" "msg_id":1}"#,
            r#"{"type":"init","msg_id":1,"node_id":"n0","node_ids":"n0"}"#,
            r#"{"type":"init","msg_id":1,"node_ids":["n0"]}"#,
            r#"{"type":"topology","msg_id":1,"topology":["n0"]}"#,
            r#"{"type":"topology","msg_id":1,"topology":{"n0":["n1",2]}}"#,
            r#"{"type":"read"}"#,
            r#"{"type":"delta","generation":5}"#,
            r#"{"type":"delta","generation":-5,"values":[]}"#,
            r#"{"type":"delta","generation":5,"base":-1,"values":[]}"#,
            r#"{"type":"ping","runs":[7,1],"link":[1,-1,2,-1,0,-1,0,0,0,-1,0,-1,0,0,-5,0,0,0,0]}"#,
            r#"{"type":"delta","values":[]}"#,
            r#"{"type":"delta","generation":5,"values":[1,]}"#,
            r#"{"type":"delta","generation":5,"values":[1 2]}"#,
            r#"{"type":"delta","generation":5,"values":["1"]}"#,
            r#"{"type":"delta","generation":5,"values":[],"now":truf}"#,
            r#"{"type":"delta","generation":5,"runs":[7]}"#,
            r#"{"type":"delta","generation":5,"runs":[7,0]}"#,
            r#"{"type":"delta","generation":5,"values":[],"link":[1,2]}"#,
            r#"{"type":"delta_ok"}"#,
            r#"{"type":"ping"}"#,
            r#"{"type":"sync","round":1,"link":[1,-1,2,-1,0,-1,0,0,0,-1,0,-1,0,0,-5,0,0,0,0]}"#,
            r#"{"msg_id":1}"#,
            "{}",
        ] {
            assert_eq!(scanned(line(body).as_bytes(), b""), None, "{body}");
        }
    }

    #[test]
    fn what_is_nested_deep_is_left_to_the_whole_parser() {
        let nested = |depth| {
            let echo = ["[".repeat(depth), "]".repeat(depth)].concat();
            line(&format!(r#"{{"type":"echo","msg_id":1,"echo":{echo}}}"#))
        };
        let deepest = DEPTH_MAX as usize + 1;
        assert!(scanned(nested(deepest).as_bytes(), b"").is_some());
        assert_eq!(scanned(nested(deepest + 1).as_bytes(), b""), None);
    }

    #[test]
    fn what_is_behind_a_line_does_not_count() {
        let whole = line(r#"{"type":"broadcast","msg_id":1,"message":12}"#);
        for len in 0..whole.len() {
            let (line, behind) = whole.as_bytes().split_at(len);
            assert_eq!(scanned(line, behind), None);
        }
        let alone = scanned(whole.as_bytes(), b"");
        assert!(alone.is_some());
        for behind in [&b"\n{\"id\":7,\"src\":"[..], b"} 12345678", b" \r\n\t        ", b"\n"] {
            assert_eq!(scanned(whole.as_bytes(), behind), alone);
        }
    }

    #[test]
    fn each_number_of_digits_is_read() {
        for count in 0..=8 {
            let text = format!("{:x<8}", &"98765432"[..count]);
            let word = u64::from_le_bytes(text.as_bytes().try_into().expect("eight bytes"));
            let number = text[..count].parse().unwrap_or(0);
            assert_eq!(digits(word), (count, number));
        }
    }

    #[test]
    fn each_byte_is_special_or_not_wherever_it_is() {
        for byte in 0..=u8::MAX {
            let is_special = matches!(byte, 0..b' ' | b'"' | b'\\' | 0x80..);
            for place in 0..8 {
                // Bytes around it that are nearly special.
                for around in [b'#', b'!', b'[', b']', b' ', 0x7f] {
                    let mut bytes = [around; 8];
                    bytes[place] = byte;
                    let found = first_byte(special(u64::from_le_bytes(bytes)));
                    assert_eq!(found, if is_special { place } else { 8 }, "{byte} among {around}");
                }
            }
        }
    }

    fn json() -> impl Strategy<Value = String> {
        scalar().prop_recursive(3, 16, 4, |json| {
            let array = prop::collection::vec((white(), json.clone(), white()), 0..4).prop_map(|elements| {
                let elements = elements.iter().map(|(before, json, after)| format!("{before}{json}{after}"));
                format!("[{}]", elements.collect::<Vec<_>>().join(","))
            });
            let entry = (prop::sample::select(vec!["a", "b", "type", "msg_id"]), json, white());
            let object = prop::collection::vec(entry, 0..4).prop_map(|entries| {
                let entries =
                    entries.iter().map(|(key, json, white)| format!("{white}\"{key}\"{white}:{json}"));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
            });
            prop_oneof![array, object]
        })
    }

    fn scalar() -> impl Strategy<Value = String> {
        prop_oneof![
            12 => any::<i64>().prop_map(|number| number.to_string()),
            2 => "[ -~]{0,20}".prop_map(|text| format!("{text:?}")),
            12 => "[ -!#-\\[\\]-~]{0,20}".prop_map(|text| format!("\"{text}\"")),
            1 => "[a\t\r]{0,3}".prop_map(|text| format!("\"{text}\"")),
            1 => any::<u128>().prop_map(|number| number.to_string()),
            1 => prop::sample::select(vec!["null", "true", "1.5", "1e3", "[]", "{}", "-0", "01", "\"\\u00e9\"", "\"é\""])
                .prop_map(str::to_owned),
        ]
    }

    fn white() -> impl Strategy<Value = &'static str> {
        prop_oneof![6 => Just(""), 1 => Just(" "), 1 => Just("\t\r\n  ")]
    }

    /// An object of these fields, in any order.
    fn object(fields: Vec<(String, String)>) -> impl Strategy<Value = String> {
        let count = fields.len();
        (Just(fields).prop_shuffle(), prop::collection::vec(white(), 4 * count + 2)).prop_map(
            |(fields, white)| {
                let mut white = white.into_iter();
                let mut space = || white.next().unwrap_or_default();
                let fields: Vec<String> = fields
                    .iter()
                    .map(|(key, value)| {
                        format!("{}\"{key}\"{}:{}{value}{}", space(), space(), space(), space())
                    })
                    .collect();
                format!("{}{{{}}}{}", space(), fields.join(","), space())
            },
        )
    }

    fn body() -> impl Strategy<Value = String> {
        let kinds = [
            "init",
            "topology",
            "echo",
            "generate",
            "broadcast",
            "read",
            "read_ok",
            "delta",
            "delta_ok",
            "ping",
            "sync",
        ];
        let kind = prop::sample::select(kinds.to_vec());
        // Some of them once more, and others, of which nearly all mean nothing.
        let names = vec![
            "msg_id",
            "echo",
            "message",
            "in_reply_to",
            "type",
            "now",
            "base",
            "link",
            "values",
            "runs",
            "node_id",
            "topology",
            "x",
            "y",
            "z",
            "w",
            "v",
            "u",
            "t",
            "s",
            "r",
            "q",
            "p",
            "o",
            "n",
            "m",
            "l",
            "k",
            "j",
            "i",
        ];
        let more = prop::collection::vec((prop::sample::select(names), json()), 0..3);
        (kind, any::<i64>(), any::<i64>(), json(), more).prop_flat_map(
            |(kind, msg_id, message, echo, more)| {
                let mut fields = vec![("type", format!("\"{kind}\"")), ("msg_id", msg_id.to_string())];
                match kind {
                    "broadcast" => fields.push(("message", message.to_string())),
                    "echo" => fields.push(("echo", echo)),
                    "init" => {
                        fields.push(("node_id", "\"n0\"".to_owned()));
                        fields.push(("node_ids", r#"["n0", "n1" ]"#.to_owned()));
                    }
                    "topology" => {
                        let neighbours = r#"{"n0":["n1"] , "n1":[],"n0":[ "n2","n1"]}"#;
                        fields.push(("topology", neighbours.to_owned()));
                    }
                    "delta" | "delta_ok" | "ping" => {
                        fields.push(("generation", (message & i64::MAX).to_string()));
                        // Each of them is there in half of the messages, and wrong in a few.
                        for (bit, field, value) in [
                            (1, "values", format!("[ {msg_id},{message} , 0]")),
                            (2, "runs", format!("[{msg_id},{} ,7,3]", message & 0x4ff)),
                            (4, "base", (message >> 1 & -2).to_string()),
                            (8, "age", (msg_id & i64::MAX).to_string()),
                            (16, "now", (msg_id > 0).to_string()),
                        ] {
                            if message >> 8 & bit != 0 {
                                fields.push((field, value));
                            }
                        }
                        let restarts = if message % 2 == 0 { "0" } else { "2,1,5" };
                        fields.push((
                            "link",
                            format!(
                                "[1,-1,2,-1,0,-1,0,{},0,-1,0,-1,0,0,{message},0,0,{restarts},0]",
                                message & 31
                            ),
                        ));
                    }
                    _ => {}
                }
                fields.extend(more);
                object(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
            },
        )
    }

    fn lines() -> impl Strategy<Value = Vec<u8>> {
        let line = (body(), json()).prop_flat_map(|(body, id)| {
            let head =
                [("id", id), ("src", "\"c1\"".to_owned()), ("dest", "\"n0\"".to_owned()), ("body", body)];
            object(head.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
        });
        // Some of them with a byte changed.
        (line, prop::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>()))).prop_map(
            |(line, change)| {
                let mut line = line.into_bytes();
                if let Some((index, byte)) = change {
                    *index.get_mut(&mut line) = byte;
                }
                line
            },
        )
    }

    #[test]
    fn what_is_taken_means_what_the_whole_parser_makes_of_it() {
        const CASES: u32 = 20_000;
        let taken = Cell::new(0);
        let config = ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
        let lines_and_more = (lines(), any::<[u8; 16]>());
        let held = TestRunner::new(config).run(&lines_and_more, |(line, behind)| {
            if let Some(found) = scanned(&line, &behind) {
                taken.set(taken.get() + 1);
                prop_assert_eq!(Ok(found), parsed(&line).map_err(|error| error.to_string()));
            }
            Ok(())
        });
        held.unwrap_or_else(|error| panic!("{error}"));
        assert!(taken.get() >= CASES / 5, "the scanner has taken {} lines of {CASES}", taken.get());
    }
}
