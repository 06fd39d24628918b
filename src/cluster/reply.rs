//! What a node's reply means for the operation that it answers.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::history::OpValue;
use crate::workload::{Op, Workload};

/// A reply's body, as far as every reply has the same fields.
#[derive(Debug)]
pub(super) struct Reply<'a> {
    pub(super) kind: String,
    pub(super) in_reply_to: Option<i64>,
    fields: BTreeMap<Cow<'a, str>, &'a RawValue>,
}

/// Why an operation has no result.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// Whether it certainly did not happen.
    pub(super) definite: bool,
    pub(super) error: String,
}

impl Failure {
    /// It may have happened.
    pub(super) fn unknown(error: String) -> Self {
        Self { definite: false, error }
    }
}

impl<'a> Reply<'a> {
    /// Any body is a reply, if only one to nothing.
    pub(super) fn parse(body: &'a str) -> Self {
        let fields = serde_json::from_str(body).unwrap_or_default();
        let mut reply = Reply { kind: String::new(), in_reply_to: None, fields };
        reply.kind = reply.text("type").unwrap_or_default();
        reply.in_reply_to = reply.fields.get("in_reply_to").and_then(|id| id.get().parse().ok());
        reply
    }

    fn text(&self, field: &str) -> Option<String> {
        self.fields.get(field).and_then(|text| serde_json::from_str(text.get()).ok())
    }

    /// The result of the operation that this answers. As in Maelstrom, a reply has the fields that belong to
    /// it and no others.
    pub(super) fn judge(&self, workload: &dyn Workload, op: &Op) -> Result<OpValue, Failure> {
        if self.kind == "error" {
            return Err(self.error());
        }
        let request = workload.request(op);
        let expected = format!("{}_ok", request["type"].as_str().unwrap_or_default());
        let malformed = |why: String| Failure::unknown(format!("malformed {expected}: {why}"));
        if self.kind != expected {
            return Err(malformed(format!("its type is {:?}", self.kind)));
        }
        let result_field = workload.result_field(op);
        let belongs =
            |name: &str| ["type", "msg_id", "in_reply_to"].contains(&name) || result_field == Some(name);
        if let Some(name) = self.fields.keys().find(|name| !belongs(name)) {
            return Err(malformed(format!("no field {name:?} belongs there")));
        }
        let field = match result_field {
            None => "",
            Some(name) => {
                self.fields.get(name).ok_or_else(|| malformed(format!("missing field {name:?}")))?.get()
            }
        };
        workload.result(op, field).map_err(malformed)
    }

    fn error(&self) -> Failure {
        let code = self.fields.get("code").and_then(|code| code.get().parse::<i64>().ok());
        let definite = matches!(code, Some(1 | 10 | 11 | 12 | 14 | 20 | 21 | 22 | 30));
        let code = code.map_or_else(|| "no code".to_owned(), |code| format!("code {code}"));
        Failure { definite, error: format!("{code}: {}", self.text("text").unwrap_or_default()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::scenario::{Scenario, WorkloadKind};
    use crate::history::Shown;
    use crate::workload;

    fn judge(op: &Op, body: &str) -> Result<OpValue, Failure> {
        let workload = workload::of(&Scenario::new(WorkloadKind::Broadcast));
        Reply::parse(body).judge(&*workload, op)
    }

    const READ: Op = Op { f: "read", value: OpValue::None };

    #[test]
    fn a_good_reply_gives_the_result() {
        let read_ok = r#"{"type":"read_ok","in_reply_to":7,"msg_id":3,"messages":[1,2]}"#;
        assert_eq!(Reply::parse(read_ok).in_reply_to, Some(7));
        assert_eq!(judge(&READ, read_ok), Ok(OpValue::Set(Shown::whole(vec![1, 2], vec![]))));
        let broadcast = Op { f: "broadcast", value: OpValue::Int(5) };
        assert_eq!(judge(&broadcast, r#"{"type":"broadcast_ok","in_reply_to":7}"#), Ok(OpValue::Int(5)));
    }

    #[test]
    fn errors_are_definite_as_their_codes_say() {
        for (code, definite) in [("0", false), ("11", true), ("13", false), ("30", true), ("1000", false)] {
            let body = format!(r#"{{"type":"error","in_reply_to":7,"code":{code},"text":"why"}}"#);
            let failure = judge(&READ, &body).expect_err("an error");
            assert_eq!((failure.definite, failure.error), (definite, format!("code {code}: why")));
        }
        assert!(!judge(&READ, r#"{"type":"error"}"#).expect_err("an error").definite);
    }

    #[test]
    fn a_malformed_reply_leaves_the_operation_unknown() {
        for (body, named) in [
            (r#"{"type":"broadcast_ok"}"#, "broadcast_ok"),
            (r#"{"type":"read_ok"}"#, "messages"),
            (r#"{"type":"read_ok","messages":[1],"extra":2}"#, "extra"),
            (r#"{"type":"read_ok","messages":["a"]}"#, "invalid type"),
            ("{}", "type"),
        ] {
            let failure = judge(&READ, body).expect_err("malformed");
            assert!(!failure.definite && failure.error.contains(named), "{body}: {failure:?}");
        }
    }
}
