//! Errors that a node answers with, and that others answer it with.

use std::fmt;

use crate::protocol::ErrorCode;

/// An error as Maelstrom knows it: a code, and a text for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The code, one of [`ErrorCode`]'s or 1000 and more for one's own.
    pub code: i64,
    /// What is wrong.
    pub text: String,
}

impl Error {
    /// An error of that code.
    pub fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self { code: code.number().into(), text: text.into() }
    }

    /// 0: no answer came in time. Nobody knows whether what was asked for happened.
    pub fn timeout(text: impl Into<String>) -> Self {
        Self::new(ErrorCode::Timeout, text)
    }

    /// 10: the node has no such operation.
    pub fn not_supported(text: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotSupported, text)
    }

    /// 11: not now.
    pub fn unavailable(text: impl Into<String>) -> Self {
        Self::new(ErrorCode::TemporarilyUnavailable, text)
    }

    pub(super) fn not_initialised() -> Self {
        Self::unavailable("not initialised yet: send `init` first")
    }

    /// 12: the request makes no sense.
    pub fn malformed(text: impl Into<String>) -> Self {
        Self::new(ErrorCode::MalformedRequest, text)
    }

    /// 13: something went wrong. Nobody knows whether what was asked for happened.
    pub fn crash(text: impl Into<String>) -> Self {
        Self::new(ErrorCode::Crash, text)
    }

    /// 14: the operation was given up, and did not happen.
    pub fn abort(text: impl Into<String>) -> Self {
        Self::new(ErrorCode::Abort, text)
    }

    /// 20: there is no such key.
    pub fn no_such_key(text: impl Into<String>) -> Self {
        Self::new(ErrorCode::KeyDoesNotExist, text)
    }

    /// 22: what a compare-and-set expected isn't there.
    pub fn precondition_failed(text: impl Into<String>) -> Self {
        Self::new(ErrorCode::PreconditionFailed, text)
    }

    /// 30: a transaction was given up because of another one, and did not happen.
    pub fn conflict(text: impl Into<String>) -> Self {
        Self::new(ErrorCode::TxnConflict, text)
    }

    /// Whether it is of that code.
    #[must_use]
    pub fn is(&self, code: ErrorCode) -> bool {
        self.code == i64::from(code.number())
    }

    /// Whether it says that what was asked for did not happen and never will.
    #[must_use]
    pub fn is_definite(&self) -> bool {
        ErrorCode::of(self.code).is_some_and(ErrorCode::is_definite)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error {}: {}", self.code, self.text)
    }
}

impl std::error::Error for Error {}
