//! What key-value stores have in common: their requests, and what each does to the value of its key.

use serde_json::{Value as Json, json};

use super::error;

/// A request to a key-value store.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) key: &'a Json,
    pub(super) operation: Operation<'a>,
}

/// What to do with a key's value.
#[derive(Debug)]
pub(super) enum Operation<'a> {
    Read,
    Write(&'a Json),
    /// Put `to` in the place of `from`, or where there is nothing, if that is asked for.
    Cas {
        from: &'a Json,
        to: &'a Json,
        creates: bool,
    },
}

impl<'a> Request<'a> {
    /// Reads a request's body; none if its type is unknown. A field that isn't there is null.
    pub(super) fn read(body: &'a Json) -> Option<Self> {
        let operation = match body["type"].as_str()? {
            "read" => Operation::Read,
            "write" => Operation::Write(&body["value"]),
            "cas" => Operation::Cas {
                from: &body["from"],
                to: &body["to"],
                creates: body["create_if_not_exists"] == true,
            },
            _ => return None,
        };
        Some(Self { key: &body["key"], operation })
    }

    /// The answer, given the key's value, and the value to put in its place, if there is one.
    pub(super) fn apply(&self, found: Option<&Json>) -> (Json, Option<&'a Json>) {
        match (&self.operation, found) {
            (Operation::Read, Some(value)) => (json!({ "type": "read_ok", "value": value }), None),
            (Operation::Write(value), _) => (json!({ "type": "write_ok" }), Some(*value)),
            (Operation::Cas { to, creates: true, .. }, None) => (json!({ "type": "cas_ok" }), Some(*to)),
            (Operation::Read | Operation::Cas { .. }, None) => (error(20, "key does not exist"), None),
            (Operation::Cas { from, to, .. }, Some(value)) if *from == value => {
                (json!({ "type": "cas_ok" }), Some(*to))
            }
            (Operation::Cas { from, .. }, Some(value)) => {
                (error(22, format!("current value {value} is not {from}")), None)
            }
        }
    }
}
