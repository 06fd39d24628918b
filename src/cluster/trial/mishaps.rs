//! What went wrong between clients and nodes, by kind: how often, and the first instance word for word.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::TIMED_OUT;
use crate::check::Finding;
use crate::cluster::reply::{CODELESS, Failure};

/// How much of a message is quoted.
const QUOTED_MAX: usize = 600;
/// Errors that agree so far, numbers apart, are of one kind.
const ALIKE_MAX: usize = 80;
/// So many kinds are told apart.
const KINDS_MAX: usize = 40;
/// As many nodes are named.
const NODES_NAMED: usize = 5;

/// Operations that did not end well, by kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mishap {
    /// How often.
    pub count: usize,
    /// The type of the request.
    pub class: String,
    /// The error of the first instance.
    pub example: String,
    /// The node of the first instance.
    pub node: String,
    /// When, in milliseconds since clients began.
    pub at_ms: u64,
    /// The request of the first instance.
    pub request: String,
    /// The answer to it, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    #[serde(skip)]
    kind: Kind,
    /// All nodes that did it.
    #[serde(skip)]
    nodes: HashSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// The answer is not as it should be.
    Malformed,
    /// An error that may be the answer.
    Error,
    /// No answer in time.
    TimedOut,
    /// The same, of a node that was stopped or dead meanwhile: no mistake of its own.
    Struck,
}

/// A request that did not end well.
#[derive(Debug)]
pub(super) struct Instance<'a> {
    pub(super) node: &'a str,
    pub(super) at: Duration,
    pub(super) kind: &'static str,
    pub(super) request: &'a Arc<str>,
    pub(super) answer: Option<&'a str>,
    /// Whether the node was stopped or dead meanwhile.
    pub(super) is_struck: bool,
}

/// Answers that no client waited for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Strays {
    /// Answers that came after their client had given up.
    pub late: usize,
    /// Messages to a client that was closed, as nobody knew what became of its last request. Maelstrom reads nothing more from
    /// the node then.
    pub closed: usize,
    /// Further answers to requests that had been answered.
    pub repeated: usize,
    /// Answers to nothing that was ever asked of their sender.
    pub unasked: usize,
    /// The first of the latter two, word for word, with the name of its sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<(String, String)>,
    /// The first to a client that was closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example_closed: Option<(String, String)>,
}

/// All that went wrong.
#[derive(Debug, Default)]
pub(super) struct Mishaps {
    by_kind: BTreeMap<(&'static str, Kind, String), Mishap>,
    pub(super) strays: Strays,
}

impl Mishaps {
    pub(super) fn note(&mut self, instance: &Instance<'_>, failure: &Failure) {
        let kind = match &*failure.error {
            TIMED_OUT if instance.is_struck => Kind::Struck,
            TIMED_OUT => Kind::TimedOut,
            error if failure.malformed || error.starts_with(CODELESS) => Kind::Malformed,
            _ => Kind::Error,
        };
        // Values and numbers differ from one instance to another.
        let start = failure.error.split(['"', '[', '{']).next().unwrap_or_default().chars().take(ALIKE_MAX);
        let mut key = (instance.kind, kind, start.filter(|char| char.is_alphabetic()).collect::<String>());
        if self.by_kind.len() >= KINDS_MAX && !self.by_kind.contains_key(&key) {
            key.2.clear();
        }
        let mishap = self.by_kind.entry(key).or_insert_with(|| Mishap {
            count: 0,
            class: instance.kind.to_owned(),
            example: quoted(&failure.error),
            node: instance.node.to_owned(),
            at_ms: u64::try_from(instance.at.as_millis()).unwrap_or(u64::MAX),
            request: quoted(instance.request),
            answer: instance.answer.map(quoted),
            kind,
            nodes: HashSet::new(),
        });
        mishap.count += 1;
        if !mishap.nodes.contains(instance.node) {
            mishap.nodes.insert(instance.node.to_owned());
        }
    }

    pub(super) fn stray(&mut self, kind: Stray, node: &str, body: &str) {
        let strays = &mut self.strays;
        match kind {
            Stray::Late => strays.late += 1,
            Stray::Repeated => strays.repeated += 1,
            Stray::Unasked => strays.unasked += 1,
            Stray::Closed => strays.closed += 1,
        }
        let example = match kind {
            Stray::Late => return,
            Stray::Closed => &mut strays.example_closed,
            Stray::Repeated | Stray::Unasked => &mut strays.example,
        };
        example.get_or_insert_with(|| (node.to_owned(), quoted(body)));
    }

    /// All of them, the most frequent first.
    pub(super) fn all(&self) -> Vec<Mishap> {
        let mut all: Vec<Mishap> = self.by_kind.values().cloned().collect();
        all.sort_by_key(|mishap| (mishap.kind, std::cmp::Reverse(mishap.count)));
        all
    }
}

/// Why nobody waited for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stray {
    Late,
    Repeated,
    Unasked,
    Closed,
}

impl Mishap {
    /// Whether the node was stopped or dead meanwhile.
    pub(super) fn is_struck(&self) -> bool {
        self.kind == Kind::Struck
    }

    /// Whether an answer is not as it should be: a cause of much else.
    pub(super) fn is_malformed(&self) -> bool {
        self.kind == Kind::Malformed
    }

    /// An error that stands for an operation that did not succeed.
    pub(super) fn error(&self) -> Option<Finding> {
        let Mishap { class, node, request, example, .. } = self;
        let at = self.at_ms as f64 / 1000.0;
        (self.kind == Kind::Error).then(|| Finding {
            what: format!(
                "{node} answered a request `{class}` at {at:.3} s with the error {}. The request was {request}",
                example.trim_end_matches(": ")
            ),
            count: self.count,
            events: Vec::new(),
            hint: String::new(),
        })
    }

    /// What the author of the node should know, if it tells of a mistake. Where it is told anyway who is silent, time-outs are
    /// left out.
    pub(super) fn finding(&self, tells_of_silence: bool) -> Option<Finding> {
        let Mishap { class, node, request, .. } = self;
        let at = self.at_ms as f64 / 1000.0;
        let answer = self.answer.as_deref().unwrap_or_default();
        let (what, hint) = match self.kind {
            Kind::Malformed => (
                format!(
                    "{node} answered a request `{class}` at {at:.3} s with {}. The request was {request}, the answer {answer}",
                    self.example
                ),
                if self.example.starts_with(CODELESS) {
                    "The `code` of an error is an integer: Maelstrom's codes say whether the operation certainly did not happen. \
                     Without one nobody knows."
                } else {
                    "An answer has the fields `type` and `in_reply_to`, the result if there is one, and no others. Whether \
                     such an operation happened, nobody knows."
                },
            ),
            Kind::Error | Kind::Struck => return None,
            Kind::TimedOut if tells_of_silence => return None,
            Kind::TimedOut => (
                format!(
                    "{} left requests unanswered. The first was this one, to {node} at {at:.3} s: {request}",
                    self.named()
                ),
                "Each request is to be answered while its client waits, also when nodes can't reach each other. A node that waits \
                 for an answer itself must go on reading its input meanwhile.",
            ),
        };
        Some(Finding { what, count: self.count, events: Vec::new(), hint: hint.to_owned() })
    }

    fn named(&self) -> String {
        let mut nodes: Vec<&str> = self.nodes.iter().map(String::as_str).collect();
        nodes.sort_unstable();
        let more = if nodes.len() > NODES_NAMED { " and others" } else { "" };
        nodes.truncate(NODES_NAMED);
        format!("{}{more}", nodes.join(", "))
    }
}

impl Strays {
    /// What the author of the node should know of answers to clients that are closed. If Maelstrom is followed strictly, the node is
    /// not heard any more.
    pub(super) fn closed_finding(&self, is_strict: bool) -> Option<Finding> {
        let (node, body) = self.example_closed.as_ref()?;
        Some(Finding {
            what: format!("{node} answered a client that had given up and is closed: {body}"),
            count: self.closed,
            events: Vec::new(),
            hint: format!(
                "The answer came too late. Maelstrom reads nothing more from a node that writes to a closed client{}.",
                if is_strict {
                    ", and so natter did not, as of --strict-maelstrom"
                } else {
                    "; natter does, unless --strict-maelstrom is given"
                }
            ),
        })
    }

    /// What the author of the node should know of other answers that no client waited for.
    pub(super) fn finding(&self) -> Option<Finding> {
        let (node, body) = self.example.as_ref()?;
        let hint = match (self.repeated, self.unasked) {
            (_, 0) => "Each request is to be answered once.",
            _ => {
                "The `in_reply_to` of an answer is the `msg_id` of its request, and its `dest` is the `src` of it."
            }
        };
        Some(Finding {
            what: format!("{node} sent an answer that nobody waited for: {body}"),
            count: self.repeated + self.unasked,
            events: Vec::new(),
            hint: hint.to_owned(),
        })
    }
}

/// A message's beginning.
fn quoted(text: impl AsRef<str>) -> String {
    let text = text.as_ref();
    match text.char_indices().nth(QUOTED_MAX) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mishaps_that_differ_by_numbers_alone_are_one() {
        let mut mishaps = Mishaps::default();
        let request = Arc::from("{}");
        for (number, error) in
            ["malformed read_ok: a [1, 2]", "malformed read_ok: a [22]", TIMED_OUT].iter().enumerate()
        {
            let node = format!("n{number}");
            let instance = Instance {
                node: &node,
                at: Duration::from_millis(1500),
                kind: "read",
                request: &request,
                answer: None,
                is_struck: false,
            };
            let malformed = *error != TIMED_OUT;
            mishaps.note(&instance, &Failure { malformed, ..Failure::unknown((*error).to_owned()) });
        }
        let all = mishaps.all();
        assert_eq!(all.iter().map(|mishap| mishap.count).collect::<Vec<_>>(), [2, 1]);
        let what = all[0].finding(false).expect("a mistake").what;
        assert!(
            what.starts_with("n0 answered a request `read` at 1.500 s with malformed read_ok: a [1, 2]."),
            "{what}"
        );
    }

    #[test]
    fn kinds_and_texts_are_bounded() {
        let mut mishaps = Mishaps::default();
        let request = Arc::from("{}");
        for letter in ('a'..='z').chain('A'..='Z') {
            let error = format!("{letter}{}", "x".repeat(10_000));
            let at = Duration::ZERO;
            let instance =
                Instance { node: "n0", at, kind: "read", request: &request, answer: None, is_struck: false };
            mishaps.note(&instance, &Failure::unknown(error));
        }
        let all = mishaps.all();
        assert_eq!(all.iter().map(|mishap| mishap.count).sum::<usize>(), 52);
        assert!(all.len() <= KINDS_MAX + 1 && all.iter().all(|mishap| mishap.example.len() < 1000));
    }

    #[test]
    fn long_messages_are_cut_off() {
        let text = quoted("é".repeat(1000));
        assert!(text.starts_with('é') && text.ends_with("… (2000 bytes)"));
    }
}
