//! What a node may do that ends a run, told without the node's name, which comes before it.

use std::time::Duration;

use thiserror::Error;

/// What a node did that ends the run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Violation {
    /// It printed something else than a message.
    #[error("printed a line that is not a message ({why}): {line}")]
    NotMessage {
        /// The node.
        node: usize,
        /// What is wrong with the line.
        why: String,
        /// The line, or its beginning.
        line: String,
    },
    /// It sent a message to or from somebody who isn't there.
    #[error("sent a message whose `{field}` is {name:?}, which does not exist")]
    NoSuchNode {
        /// The node.
        node: usize,
        /// `src` or `dest`.
        field: &'static str,
        /// Who isn't there.
        name: String,
    },
    /// It did not answer its `init`, or what clients asked before the first operation.
    #[error("did not answer `{request}` within {} s", timeout.as_secs())]
    Silent {
        /// The node.
        node: usize,
        /// The request.
        request: &'static str,
        /// How long was waited.
        timeout: Duration,
    },
    /// It did not answer its `init`.
    #[error("did not answer `init` within {} s. {}", timeout.as_secs(), instead_of_init_ok(*number, instead.as_deref()))]
    NoInitOk {
        /// The node.
        node: usize,
        /// How long was waited.
        timeout: Duration,
        /// The `msg_id` of the request.
        number: i64,
        /// What it sent last in its place, if it sent anything.
        instead: Option<String>,
    },
    /// Its answer before the first operation was not the one it should have been.
    #[error("answered `{request}` with {answer}, where {why}")]
    Refused {
        /// The node.
        node: usize,
        /// The request.
        request: &'static str,
        /// What is wrong with the answer.
        why: String,
        /// The answer's body.
        answer: String,
    },
    /// It is always busy, so that time can't pass.
    #[error("has something to do again and again at the same moment")]
    Endless {
        /// The node.
        node: usize,
    },
    /// Something that must hold of a node does not.
    #[error("{what}")]
    Broken {
        /// The node.
        node: usize,
        /// What is the matter with it.
        what: String,
    },
}

fn instead_of_init_ok(number: i64, instead: Option<&str>) -> String {
    match instead {
        Some(instead) => format!(
            "It sent {instead}. The answer comes from the node itself, to whoever sent the `init`, and is \
             {{\"type\":\"init_ok\",\"in_reply_to\":{number}}}"
        ),
        None => "It sent no message at all: is its output flushed after each line, and does each end with a newline?"
            .to_owned(),
    }
}

impl Violation {
    /// The node that did it.
    #[must_use]
    pub fn node(&self) -> usize {
        match self {
            Violation::NotMessage { node, .. }
            | Violation::NoSuchNode { node, .. }
            | Violation::Silent { node, .. }
            | Violation::NoInitOk { node, .. }
            | Violation::Refused { node, .. }
            | Violation::Endless { node }
            | Violation::Broken { node, .. } => *node,
        }
    }
}
