//! What can be wrong with a line, and the codes in which Maelstrom wants to hear of it.

use std::fmt;

use thiserror::Error;

/// Maelstrom's error codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// 0: no answer in time.
    Timeout,
    /// 1: there is no such node.
    NodeNotFound,
    /// 10: the node has no operation of that type.
    NotSupported,
    /// 11: not now; the node has not been initialised yet, or can't reach others.
    TemporarilyUnavailable,
    /// 12: the request makes no sense.
    MalformedRequest,
    /// 13: something went wrong.
    Crash,
    /// 14: the operation was given up.
    Abort,
    /// 20: there is no such key.
    KeyDoesNotExist,
    /// 21: there is such a key already.
    KeyAlreadyExists,
    /// 22: what a compare-and-set expected isn't there.
    PreconditionFailed,
    /// 30: a transaction was given up because of another one.
    TxnConflict,
}

/// Each code with its number, its name in results, and whether it is definite.
const CODES: [(ErrorCode, u32, &str, bool); 11] = [
    (ErrorCode::Timeout, 0, "timeout", false),
    (ErrorCode::NodeNotFound, 1, "node-not-found", true),
    (ErrorCode::NotSupported, 10, "not-supported", true),
    (ErrorCode::TemporarilyUnavailable, 11, "temporarily-unavailable", true),
    (ErrorCode::MalformedRequest, 12, "malformed-request", true),
    (ErrorCode::Crash, 13, "crash", false),
    (ErrorCode::Abort, 14, "abort", true),
    (ErrorCode::KeyDoesNotExist, 20, "key-does-not-exist", true),
    (ErrorCode::KeyAlreadyExists, 21, "key-already-exists", true),
    (ErrorCode::PreconditionFailed, 22, "precondition-failed", true),
    (ErrorCode::TxnConflict, 30, "txn-conflict", true),
];

impl ErrorCode {
    const fn entry(self) -> (ErrorCode, u32, &'static str, bool) {
        CODES[self as usize]
    }

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.entry().1
    }

    /// The code of that number, if Maelstrom has given it a meaning.
    #[must_use]
    pub fn of(number: i64) -> Option<Self> {
        let known = CODES.iter().find(|(_, known, ..)| i64::from(*known) == number);
        known.map(|&(code, ..)| code)
    }

    /// Its name in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.entry().2
    }

    /// Whether it says that the operation did not happen and never will.
    #[must_use]
    pub const fn is_definite(self) -> bool {
        self.entry().3
    }
}

/// Why a line could not be taken as a message at all. Nobody can be answered; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LineError {
    /// The line is not a JSON text, or not UTF-8.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// The line is JSON, but not an object with `src`, `dest` and a `body` that is an object with a `type`.
    #[error("not a message: {0}")]
    NotMessage(String),
    /// The line is longer than the limit.
    #[error("longer than the limit of {limit} bytes")]
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The line is a long one that the scanner can't read, and so much is in it that the whole parser would need a multiple of its
    /// length in memory.
    #[error(
        "more than {limit} commas, colons, brackets and quotation marks, beside escapes, fractions or the like"
    )]
    TooManyParts {
        /// The most that there may be.
        limit: usize,
    },
}

/// A message that came from somebody who can be told that it is wrong. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// The `msg_id` of the refused message, if it has one.
    pub in_reply_to: Option<i64>,
    /// What is wrong with it.
    pub reason: Reason<'a>,
}

/// A text from outside as it may be shown in a line: quoted, with escapes, and cut off where it gets long.
#[derive(Clone, Copy, Debug)]
pub struct Excerpt<'a>(pub &'a str);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Longer than any sensible name.
        const SHOWN: usize = 100;
        match self.0.char_indices().nth(SHOWN) {
            Some((end, _)) => write!(f, "{:?}…", &self.0[..end]),
            None => write!(f, "{:?}", self.0),
        }
    }
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason<'a> {
    /// No operation has this type: code 10.
    UnknownType(&'a str),
    /// A field that must be there is not: code 12.
    Missing(&'static str),
    /// A field has a value of the wrong type: code 12.
    WrongType {
        /// The field's name.
        field: &'static str,
        /// What it must be, as the object of "must be".
        expected: &'static str,
    },
    /// No request but `init` is served before `init`: code 11.
    NotInitialised,
    /// `init` came a second time: code 12.
    AlreadyInitialised,
    /// `node_ids` lacks the node's own id: code 12.
    NotAMember,
    /// `node_ids` has more nodes than a node can tell apart: code 12.
    TooManyNodes {
        /// How many it can.
        most: usize,
    },
}

impl Reason<'_> {
    /// The code that goes with the reason.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Reason::UnknownType(_) => ErrorCode::NotSupported,
            Reason::NotInitialised => ErrorCode::TemporarilyUnavailable,
            _ => ErrorCode::MalformedRequest,
        }
    }
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::UnknownType(kind) => write!(f, "no operation has the type {}", Excerpt(kind)),
            Reason::Missing(field) => write!(f, "field `{field}` is missing or null"),
            Reason::WrongType { field, expected } => write!(f, "field `{field}` must be {expected}"),
            Reason::NotInitialised => f.write_str("not initialised yet: send `init` first"),
            Reason::AlreadyInitialised => f.write_str("already initialised: `init` comes once"),
            Reason::NotAMember => f.write_str("field `node_ids` must contain `node_id`"),
            Reason::TooManyNodes { most } => write!(f, "field `node_ids` must have at most {most} nodes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_stand_where_their_names_do() {
        for (code, number, ..) in CODES {
            assert_eq!((code.number(), ErrorCode::of(number.into())), (number, Some(code)));
        }
        assert_eq!(ErrorCode::of(1000), None);
    }
}
