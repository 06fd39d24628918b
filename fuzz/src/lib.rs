//! What must hold for any input, for fuzzers to break and for ordinary tests to hold against all that they found.

pub mod node;
pub mod parser;
pub mod repair;
