//! What a node's reply means for the operation that it answers.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::protocol::ErrorCode;
use crate::workload::{Answered, Op, Workload};

/// A reply's body, as far as every reply has the same fields.
#[derive(Debug)]
pub(super) struct Reply<'a> {
    pub(super) kind: String,
    pub(super) in_reply_to: Option<i64>,
    fields: BTreeMap<Cow<'a, str>, &'a RawValue>,
}

/// How the description of an error begins that has no code.
pub(super) const CODELESS: &str = "an error whose code is no integer";

/// Why an operation has no result.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// Whether it certainly did not happen.
    pub(super) definite: bool,
    /// Whether it is the answer that is wrong. Then nobody knows, whatever the operation.
    pub(super) malformed: bool,
    pub(super) error: String,
}

impl Failure {
    /// It may have happened.
    pub(super) fn unknown(error: String) -> Self {
        Self { definite: false, malformed: false, error }
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

    /// What comes of an operation whose request of that type this answers. As in Maelstrom, a reply has the fields that belong
    /// to it and no others.
    pub(super) fn judge(
        &self,
        workload: &mut dyn Workload,
        worker: usize,
        (request, op): (&'static str, &Op),
    ) -> Result<Answered, Failure> {
        if self.kind == "error" {
            return Err(self.error());
        }
        let result_field = workload.result_field(request);
        let malformed = |why: String| Failure {
            malformed: true,
            ..Failure::unknown(format!("malformed {request}_ok: {why}"))
        };
        let field = self.result(request, result_field).map_err(malformed)?;
        workload.answered(worker, op, request, field).map_err(malformed)
    }

    /// The text of the result field of an answer to a request of that type, empty if it has none.
    ///
    /// # Errors
    /// Says what is wrong with the answer.
    pub(super) fn result(&self, request: &str, result_field: Option<&str>) -> Result<&'a str, String> {
        if self.kind.strip_suffix("_ok") != Some(request) {
            return Err(match &*self.kind {
                "" => format!("it has no `type`, which is to be \"{request}_ok\""),
                kind => format!("its `type` is {kind:?}, and is to be \"{request}_ok\""),
            });
        }
        let belongs =
            |name: &str| ["type", "msg_id", "in_reply_to"].contains(&name) || result_field == Some(name);
        if let Some(name) = self.fields.keys().find(|name| !belongs(name)) {
            return Err(format!("no field {name:?} belongs there{}", hint(result_field)));
        }
        for id in ["msg_id", "in_reply_to"] {
            let value = self.fields.get(id).filter(|value| value.get().parse::<i64>().is_err());
            if let Some(value) = value {
                return Err(format!("{id} is to be an integer, or left out, and not {}", value.get()));
            }
        }
        let Some(name) = result_field else { return Ok("") };
        let field = self.fields.get(name).ok_or_else(|| format!("missing field {name:?}"))?;
        Ok(field.get())
    }

    fn error(&self) -> Failure {
        let code = self.fields.get("code").and_then(|code| code.get().parse::<i64>().ok());
        let text = self.text("text").unwrap_or_default();
        let Some(code) = code else {
            let code = self.fields.get("code").map_or("missing", |code| code.get());
            return Failure::unknown(format!("{CODELESS}: its `code` is {code}, its text {text:?}"));
        };
        let known = ErrorCode::of(code);
        let (name, definite) = known.map_or(("unknown", false), |code| (code.name(), code.is_definite()));
        Failure { definite, ..Failure::unknown(format!("{name} ({code}): {text}")) }
    }
}

/// What a field that doesn't belong may be meant to be.
fn hint(result_field: Option<&str>) -> String {
    result_field.map_or_else(String::new, |field| format!("; the result is to be in {field:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{OpValue, Shown};
    use crate::workload::{Options, Setting, broadcast};
    use std::time::Duration;

    fn judge(op: &Op, body: &str) -> Result<Answered, Failure> {
        let options = Options::default();
        let setting = Setting { nodes: &[], workers: 1, latency: Duration::ZERO, options: &options };
        Reply::parse(body).judge(&mut *(broadcast::KIND.new)(&setting), 0, (op.f, op))
    }

    #[test]
    fn a_good_reply_gives_the_result() {
        let read_ok = r#"{"type":"read_ok","in_reply_to":7,"msg_id":3,"messages":[1,2]}"#;
        assert_eq!(Reply::parse(read_ok).in_reply_to, Some(7));
        let shown = OpValue::Set(Shown::whole(vec![1, 2], vec![]));
        assert_eq!(judge(&Op::READ, read_ok), Ok(Answered::Done(shown)));
        let broadcast = Op::new("broadcast", OpValue::Int(5));
        let broadcast_ok = r#"{"type":"broadcast_ok","in_reply_to":7}"#;
        assert_eq!(judge(&broadcast, broadcast_ok), Ok(Answered::Done(OpValue::Int(5))));
    }

    #[test]
    fn null_stands_for_the_empty_list() {
        let shown = OpValue::Set(Shown::default());
        assert_eq!(judge(&Op::READ, r#"{"type":"read_ok","messages":null}"#), Ok(Answered::Done(shown)));
    }

    #[test]
    fn a_code_that_is_no_integer_is_named() {
        for (code, named) in [(r#""code":"22","#, r#"`code` is "22""#), ("", "`code` is missing")] {
            let body = format!(r#"{{"type":"error","in_reply_to":7,{code}"text":"why"}}"#);
            let error = judge(&Op::READ, &body).expect_err("an error").error;
            assert!(error.starts_with(CODELESS) && error.contains(named) && error.contains("why"), "{error}");
        }
    }

    #[test]
    fn errors_are_definite_as_their_codes_say() {
        for (code, name, definite) in [
            ("0", "timeout", false),
            ("11", "temporarily-unavailable", true),
            ("13", "crash", false),
            ("30", "txn-conflict", true),
            ("1000", "unknown", false),
        ] {
            let body = format!(r#"{{"type":"error","in_reply_to":7,"code":{code},"text":"why"}}"#);
            let failure = judge(&Op::READ, &body).expect_err("an error");
            assert_eq!((failure.definite, failure.error), (definite, format!("{name} ({code}): why")));
        }
        assert!(!judge(&Op::READ, r#"{"type":"error"}"#).expect_err("an error").definite);
    }

    #[test]
    fn a_malformed_reply_leaves_the_operation_unknown() {
        for (body, named) in [
            (r#"{"type":"broadcast_ok"}"#, "broadcast_ok"),
            (r#"{"type":"read_ok"}"#, "messages"),
            (r#"{"type":"read_ok","messages":[1],"extra":2}"#, "extra"),
            (r#"{"type":"read_ok","messages":{"a":1}}"#, "it is an object, and is to be a list"),
            (r#"{"type":"read_ok","message":[1]}"#, "in \"messages\""),
            (r#"{"type":"read_ok","msg_id":null,"messages":[1]}"#, "msg_id"),
            ("{}", "type"),
        ] {
            let failure = judge(&Op::READ, body).expect_err("malformed");
            assert!(!failure.definite && failure.error.contains(named), "{body}: {failure:?}");
        }
    }
}
