//! Maelstrom's error codes.

/// Each code that has a meaning, with its name and whether it is definite: whether the operation certainly did not happen.
const CODES: [(i64, &str, bool); 11] = [
    (0, "timeout", false),
    (1, "node-not-found", true),
    (10, "not-supported", true),
    (11, "temporarily-unavailable", true),
    (12, "malformed-request", true),
    (13, "crash", false),
    (14, "abort", true),
    (20, "key-does-not-exist", true),
    (21, "key-already-exists", true),
    (22, "precondition-failed", true),
    (30, "txn-conflict", true),
];

/// An error code's name, and whether it is definite. Codes without a meaning are not.
pub(crate) fn error(code: i64) -> (&'static str, bool) {
    let known = CODES.iter().find(|(known, ..)| *known == code);
    known.map_or(("unknown", false), |&(_, name, definite)| (name, definite))
}
