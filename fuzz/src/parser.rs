//! The parser never panics, reads no further than its line, and agrees with serde_json on what is valid and what
//! it means, with its scanner and without.
//!
//! The input is a line, or several.

use std::collections::BTreeSet;
use std::fmt;

use natter::protocol::link::{
    Acked, Claim, Delta, Digest, Echo, Header, HubPlan, Range, Restart, Sync, Want,
};
use natter::protocol::{
    Body, Echoed, Generation, Line, LineError, Lines, Message, NextLine, Reason, Refusal, Request, Scratch,
    parse, parse_fully,
};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

/// Fails if something doesn't hold.
pub fn check(data: &[u8]) {
    let mut scratch = Scratch::default();
    let parsers: [Parser; 2] = [parse, parse_fully];
    for line in data.split(|&byte| byte == b'\n') {
        for parser in parsers {
            let alone = read(line, b"", |read| {
                let message = parser(read, &mut scratch);
                compare(line, &message);
                format!("{message:?}")
            });
            // Nothing behind the line counts, nor what the parser read before.
            let behind =
                br#"9","body":{"type":"echo","msg_id":1}}]]}}"}]0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"#;
            let among_others = read(line, behind, |read| format!("{:?}", parser(read, &mut scratch)));
            assert_eq!(alone, among_others);
        }
        let all = parsers.map(|parser| read(line, b"", |read| shown(&parser(read, &mut scratch))));
        assert_eq!(all[0], all[1], "with the scanner and without");
    }
}

type Parser = for<'a> fn(Line<'a>, &'a mut Scratch) -> Result<Message<'a>, LineError>;

/// A message as text, an echo by its JSON.
fn shown(message: &Result<Message<'_>, LineError>) -> String {
    let Ok(Message { src, dest, body: Ok(Body::Request { msg_id, request: Request::Echo(echoed) }) }) =
        message
    else {
        return format!("{message:?}");
    };
    // White space in it stays where it is echoed as it came.
    let json: Json = match echoed {
        Echoed::Text(text) => serde_json::from_str(text),
        Echoed::Value(value) => serde_json::to_value(value),
    }
    .expect("it is JSON");
    let text = json.to_string();
    format!("{src} to {dest}: {msg_id}, echo {text}")
}

/// Hands over a line that has bytes behind it, unless it is blank.
fn read<T>(line: &[u8], behind: &[u8], with: impl FnOnce(Line<'_>) -> T) -> Option<T> {
    let mut lines = Lines::new(line.len());
    let all = [line, b"\n", behind].concat();
    lines.room()[..all.len()].copy_from_slice(&all);
    lines.filled(all.len());
    match lines.next_line() {
        Some(NextLine::Complete(read)) if read.bytes() == line => Some(with(read)),
        _ => {
            assert!(line.iter().all(u8::is_ascii_whitespace), "only blank lines are passed over");
            None
        }
    }
}

/// Compares what the parser made of a line with what serde_json makes of it.
fn compare(line: &[u8], parsed: &Result<Message<'_>, LineError>) {
    let json = match serde_json::from_slice::<Json>(line) {
        Ok(json) => json,
        // It gives up at a depth of 128, where the parser goes on to 1024.
        Err(error) if error.to_string().contains("recursion limit") => return,
        Err(error) => return assert!(parsed.is_err(), "{error}, but {parsed:?}"),
    };
    // Of fields that are there twice, each takes what it likes.
    if !serde_json::from_slice::<Unrepeated>(line).is_ok_and(|Unrepeated(yes)| yes) {
        return;
    }
    match parsed {
        Err(LineError::NotMessage(_)) => assert!(!is_message(&json), "{parsed:?}: {json}"),
        Err(error) => panic!("{error}: {json}"),
        Ok(message) => {
            assert!(is_message(&json), "{message:?}");
            assert_eq!(json["src"], message.src);
            assert_eq!(json["dest"], message.dest);
            let fields = Fields(&json["body"]);
            match &message.body {
                Ok(body) => agrees(body, fields),
                Err(refusal) => is_deserved(refusal, fields),
            }
        }
    }
}

fn is_message(json: &Json) -> bool {
    let has = |field| json["body"].get(field).is_some_and(|value| !value.is_null());
    json["src"].is_string()
        && json["dest"].is_string()
        && json["body"].is_object()
        && (has("type") || has("msg_id"))
}

/// A body, as serde_json reads it.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a Json);

impl<'a> Fields<'a> {
    /// None if it is not there, or null.
    fn get(self, field: &str) -> Option<&'a Json> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    fn int(self, field: &str) -> Option<i64> {
        self.get(field).and_then(int)
    }

    fn non_negative(self, field: &str) -> Option<u64> {
        self.int(field).and_then(|int| u64::try_from(int).ok())
    }

    fn ints(self, field: &str) -> Option<Vec<i64>> {
        self.get(field)?.as_array()?.iter().map(int).collect()
    }

    fn is_true(self, field: &str) -> bool {
        self.get(field) == Some(&Json::Bool(true))
    }

    /// The array `link`; none if there is none, or if it is not as it should be.
    fn header(self) -> Option<Header> {
        let integers = self.ints("link")?;
        let natural = |place: usize| integers.get(place).and_then(|&int| u64::try_from(int).ok());
        let optional = |place: usize| match integers.get(place)? {
            -1 => Some(None),
            _ => natural(place).map(Some),
        };
        let bits = |place: usize| integers.get(place).map(|int| int.cast_unsigned());
        let mut lists = Vec::new();
        let mut start = 16;
        for _ in 0..3 {
            let length = natural(start)?;
            let end = start as u64 + 1 + length;
            lists.push(
                (start as u64 + 1..end).map(|place| natural(place as usize)).collect::<Option<Vec<_>>>()?,
            );
            start = end as usize;
        }
        let [but, restarts, untold]: [Vec<u64>; 3] = lists.try_into().ok()?;
        let (hold, later) = (natural(4)?, u32::try_from(natural(6)?).ok()?);
        let (flags, next, margin, far) = (natural(7)?, optional(9)?, natural(10)?, natural(12)?);
        let header = Header {
            incarnation: natural(0)?,
            to: optional(1)?,
            at: natural(2)?,
            echo: optional(3)?.map(|at| Echo { at, hold }),
            acked: optional(5)?.map(|next| Acked { next: Generation(next), later }),
            up: flags & 1 != 0,
            all: flags & 2 != 0,
            more: flags & 4 != 0,
            root: natural(8)?,
            plan: optional(11)?.map(|every| HubPlan { next, margin, every, far }),
            digest: Digest { count: natural(13)?, sum: bits(14)?, restarts: bits(15)? },
            claim: match flags >> 3 {
                0 if but.is_empty() => Claim::Mine,
                1 if but.is_empty() => Claim::Below,
                2 if but.is_sorted_by(|one, next| one < next) => Claim::AllBut(but),
                _ => return None,
            },
            restarts: restarts
                .chunks(2)
                .filter(|pair| pair.len() == 2)
                .map(|pair| Restart { rank: pair[0], incarnation: pair[1] })
                .collect(),
            untold,
        };
        (start == integers.len() && restarts.len() % 2 == 0).then_some(header)
    }
}

fn int(value: &Json) -> Option<i64> {
    // `-0` is a fraction to serde_json.
    value
        .as_i64()
        .or_else(|| value.as_f64().filter(|&float| float == 0.0 && float.is_sign_negative()).map(|_| 0))
}

fn agrees(body: &Body<'_>, fields: Fields<'_>) {
    let kind = fields.get("type").and_then(Json::as_str);
    match body {
        Body::Request { msg_id, request } => {
            assert_eq!(fields.int("msg_id"), Some(*msg_id));
            match request {
                Request::Init { node_id, node_ids } => {
                    assert_eq!(kind, Some("init"));
                    assert_eq!(fields.0["node_id"], *node_id);
                    assert_eq!(fields.0["node_ids"], serde_json::json!(node_ids));
                }
                Request::Topology => {
                    assert_eq!(kind, Some("topology"));
                    let nodes = fields.0["topology"].as_object().expect("an object");
                    let is_name = |name: &Json| name.is_string();
                    assert!(
                        nodes
                            .values()
                            .all(|names| names.as_array().is_some_and(|names| names.iter().all(is_name)))
                    );
                }
                Request::Echo(echo) => {
                    assert_eq!(kind, Some("echo"));
                    let mut text = Vec::new();
                    natter::protocol::encode::echo_ok(&mut text, None, echo);
                    let reply: Json = serde_json::from_slice(&text).expect("valid JSON");
                    assert!(same(&reply["echo"], &fields.0["echo"]), "{} came as {}", fields.0, reply);
                }
                Request::Generate => assert_eq!(kind, Some("generate")),
                Request::Broadcast(value) => {
                    assert_eq!(kind, Some("broadcast"));
                    assert_eq!(fields.int("message"), Some(*value));
                }
                Request::Read => assert_eq!(kind, Some("read")),
            }
        }
        Body::Delta { msg_id, delta, header } => {
            assert_eq!(kind, Some("delta"));
            assert_eq!(fields.int("msg_id"), *msg_id);
            let mut values = fields.ints("values").unwrap_or_default();
            for run in fields.ints("runs").unwrap_or_default().chunks(2) {
                values.extend(run[0]..=run[0] + (run[1] - 1));
            }
            let read = Delta {
                generation: Generation(fields.non_negative("generation").expect("a number")),
                base: fields.non_negative("base").map(Generation),
                age: fields.non_negative("age").unwrap_or(0),
                now: fields.is_true("now"),
                values: &values,
            };
            assert_eq!(*delta, read);
            assert_eq!(header.cloned(), fields.header());
        }
        Body::DeltaOk { generation, header } => {
            assert_eq!(kind, Some("delta_ok"));
            assert_eq!(
                generation.map(|Generation(generation)| generation),
                fields.non_negative("generation")
            );
            assert_eq!(header.cloned(), fields.header());
        }
        Body::Sync { sync, header } => {
            assert_eq!(kind, Some("sync"));
            let ints = |field| fields.ints(field).unwrap_or_default();
            let count = |count: i64| u64::try_from(count).unwrap_or(0);
            let read = Sync {
                round: fields.non_negative("round").expect("a number"),
                answer: fields.is_true("answer"),
                ranges: ints("ranges")
                    .chunks(4)
                    .map(|of| Range {
                        first: of[0],
                        last: of[1],
                        count: count(of[2]),
                        fingerprint: of[3].cast_unsigned(),
                    })
                    .collect(),
                wants: ints("wants")
                    .chunks(3)
                    .map(|of| Want { first: of[0], last: of[1], count: count(of[2]) })
                    .collect(),
                values: ints("values"),
            };
            assert_eq!(*sync, read);
            assert_eq!(Some((*header).clone()), fields.header());
        }
        Body::Ping { values, header } => {
            assert_eq!(kind, Some("ping"));
            assert_eq!(*values, fields.ints("values").unwrap_or_default());
            assert_eq!(Some((*header).clone()), fields.header());
        }
        Body::Reply { kind: replied } => {
            assert_eq!(kind, Some(*replied));
            assert!(*replied == "error" || fields.get("in_reply_to").is_some());
        }
    }
}

/// Whether two values are the same, but for how a number is written.
fn same(one: &Json, other: &Json) -> bool {
    match (one, other) {
        (Json::Number(one), Json::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        (Json::Array(one), Json::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Json::Object(one), Json::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| other.get(key).is_some_and(|other| same(value, other)))
        }
        _ => one == other,
    }
}

/// Whether a message is as wrong as the refusal says.
fn is_deserved(refusal: &Refusal<'_>, fields: Fields<'_>) {
    assert_eq!(refusal.in_reply_to, fields.int("msg_id"));
    match refusal.reason {
        Reason::UnknownType(kind) => {
            assert_eq!(fields.0["type"], kind);
            let known = [
                "init",
                "topology",
                "echo",
                "generate",
                "broadcast",
                "read",
                "delta",
                "delta_ok",
                "sync",
                "error",
            ];
            assert!(!known.contains(&kind));
        }
        Reason::Missing(field) => assert!(fields.get(field).is_none(), "{field} of {}", fields.0),
        Reason::WrongType { field: "link", .. } => assert_eq!(fields.header(), None),
        Reason::WrongType { field, .. } => {
            let value = fields.get(field).expect("it is there");
            let strings = |of: &Json| of.as_array().is_some_and(|all| all.iter().all(Json::is_string));
            let is_right = match field {
                "type" | "node_id" => value.is_string(),
                "msg_id" | "message" => int(value).is_some(),
                "generation" | "base" | "age" | "round" => fields.non_negative(field).is_some(),
                "all" | "now" | "answer" => value.is_boolean(),
                "values" => fields.ints(field).is_some(),
                "runs" => fields.ints(field).is_some_and(|ints| {
                    let lengths = || ints.chunks(2).map(|run| run.get(1).copied().unwrap_or(0));
                    let total = lengths().fold(0_i64, i64::saturating_add);
                    let fits =
                        ints.chunks(2).all(|run| run.len() == 2 && run[0].checked_add(run[1] - 1).is_some());
                    lengths().all(|length| length > 0) && total <= 1024 && fits
                }),
                "ranges" => fields.ints(field).is_some_and(|ints| ints.len().is_multiple_of(4)),
                "wants" => fields.ints(field).is_some_and(|ints| ints.len().is_multiple_of(3)),
                "node_ids" => strings(value),
                "topology" => value.as_object().is_some_and(|all| all.values().all(strings)),
                _ => panic!("no field {field} is asked for"),
            };
            assert!(!is_right, "{field} of {}", fields.0);
        }
        reason => panic!("not for the parser to say: {reason}"),
    }
}

/// Whether no object in a JSON text has two fields of the same name.
struct Unrepeated(bool);

impl<'de> Deserialize<'de> for Unrepeated {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Unrepeated;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_unit<E>(self) -> Result<Unrepeated, E> {
                Ok(Unrepeated(true))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Unrepeated, E> {
                Ok(Unrepeated(true))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Unrepeated, E> {
                Ok(Unrepeated(true))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Unrepeated, E> {
                Ok(Unrepeated(true))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Unrepeated, E> {
                Ok(Unrepeated(true))
            }

            fn visit_str<E>(self, _: &str) -> Result<Unrepeated, E> {
                Ok(Unrepeated(true))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Unrepeated, A::Error> {
                let mut all = true;
                while let Some(Unrepeated(yes)) = seq.next_element()? {
                    all &= yes;
                }
                Ok(Unrepeated(all))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unrepeated, A::Error> {
                let mut all = true;
                let mut keys = BTreeSet::new();
                while let Some((key, Unrepeated(yes))) = map.next_entry::<String, Unrepeated>()? {
                    all &= yes && keys.insert(key);
                }
                Ok(Unrepeated(all))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
