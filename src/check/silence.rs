//! Nodes that stop answering: seen from their clients.

use std::collections::BTreeMap;

use super::Finding;
use crate::history::{Event, EventKind, Flag, History};
use crate::node::Time;

/// As many other silent nodes are named.
const NAMED: usize = 8;

/// What the clients of one node saw.
#[derive(Default)]
struct Seen<'a> {
    /// The end of the last operation that was answered.
    last_answer: Option<&'a Event>,
    /// Invocations since then that had no answer.
    unanswered: Vec<&'a Event>,
}

/// Nodes of which nothing was heard any more, some requests before the end. `struck_until` says until when a node could not answer,
/// because it was stopped or dead, if it ever was.
#[must_use]
pub fn silence(
    history: &History,
    timed_out: &str,
    struck_until: impl Fn(usize) -> Option<Time>,
) -> Option<Finding> {
    let mut nodes: BTreeMap<usize, Seen<'_>> = BTreeMap::new();
    for (invoked, done) in history.completed() {
        let Some(node) = history.node_of(done.process) else { continue };
        let seen = nodes.entry(node).or_default();
        if done.error.as_deref() == Some(timed_out) {
            if struck_until(node).is_none_or(|until| until < invoked.time) {
                seen.unanswered.push(invoked);
            }
        } else if done.kind == EventKind::Ok || done.error.is_some() {
            *seen = Seen { last_answer: Some(done), unanswered: Vec::new() };
        }
    }
    let silent: Vec<Seen<'_>> = nodes.into_values().filter(|seen| seen.unanswered.len() > 1).collect();
    let first = silent.first()?;
    let last_request = first.unanswered.last()?;
    let name = history.node_name(last_request.process)?;
    let since = match first.last_answer {
        Some(event) => format!("answered nothing after {:.3} s", event.time.as_nanos() as f64 / 1e9),
        None => "answered nothing at all".to_owned(),
    };
    let others: Vec<String> = silent[1..]
        .iter()
        .filter_map(|seen| history.node_name(seen.unanswered.last()?.process))
        .take(NAMED)
        .collect();
    let others =
        if others.is_empty() { String::new() } else { format!(" So it was with {}.", others.join(", ")) };
    let is_final = last_request.flag == Some(Flag::Final);
    let unchecked =
        if is_final { ", its final read among them, so that nothing is known of what it holds" } else { "" };
    Some(Finding {
        what: format!("{name} {since}: {} requests were not answered{unchecked}.{others}", first.unanswered.len()),
        count: 1,
        events: vec![last_request.index],
        hint: "Is something waited for that never comes, such as a lock, or an answer that only the thread which waits \
               could read? What it wrote to stderr is in its log."
            .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{OpValue, Process};

    #[test]
    fn a_node_that_stops_answering_is_named_with_when() {
        let mut history = History::default();
        for client in 0..2 {
            history.talks_to(Process::Client(client), client);
        }
        let mut op = |at: u64, client, kind, error: Option<&str>| {
            let (process, time) = (Process::Client(client), Time::from_nanos(at * 1_000_000));
            history.push(time, process, EventKind::Invoke, "read", OpValue::None, None);
            history.push(time, process, kind, "read", OpValue::None, error.map(str::to_owned));
        };
        op(500, 0, EventKind::Ok, None);
        op(1500, 1, EventKind::Ok, None);
        op(2000, 1, EventKind::Fail, Some("timed out"));
        op(2500, 0, EventKind::Ok, None);
        op(3000, 1, EventKind::Fail, Some("timed out"));
        let never = |_| None;
        let finding = silence(&history, "timed out", never).expect("n1 is silent");
        assert!(
            finding.what.starts_with("n1 answered nothing after 1.500 s: 2 requests"),
            "{}",
            finding.what
        );
        assert_eq!(silence(&history, "other", never), None);
        let all_along = |node| (node == 1).then_some(Time::NEVER);
        assert_eq!(silence(&history, "timed out", all_along), None, "it was dead");
        let before = |_| Some(Time::from_nanos(2_100_000_000));
        assert_eq!(silence(&history, "timed out", before), None, "once since then may be chance");
    }

    #[test]
    fn a_node_that_answers_with_errors_is_not_silent() {
        let mut history = History::default();
        history.talks_to(Process::Client(0), 0);
        for error in ["timed out", "timed out", "temporarily-unavailable (11): later"] {
            let process = Process::Client(0);
            history.push(Time::ZERO, process, EventKind::Invoke, "read", OpValue::None, None);
            history.push(Time::ZERO, process, EventKind::Fail, "read", OpValue::None, Some(error.to_owned()));
        }
        assert_eq!(silence(&history, "timed out", |_| None), None);
    }
}
