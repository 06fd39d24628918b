//! Nodes that stop answering: seen from their clients.

use std::collections::BTreeMap;

use super::Finding;
use crate::history::{Event, EventKind, Flag, History};

/// What the clients of one node saw.
#[derive(Default)]
struct Seen<'a> {
    last_ok: Option<&'a Event>,
    /// Invocations since then that had no answer.
    unanswered: Vec<&'a Event>,
}

/// Nodes of which nothing was heard any more, some requests before the end.
#[must_use]
pub fn silence(history: &History, timed_out: &str) -> Option<Finding> {
    let mut nodes: BTreeMap<usize, Seen<'_>> = BTreeMap::new();
    for (invoked, done) in history.completed() {
        let Some(node) = history.node_of(done.process) else { continue };
        let seen = nodes.entry(node).or_default();
        if done.kind == EventKind::Ok {
            *seen = Seen { last_ok: Some(done), unanswered: Vec::new() };
        } else if done.error.as_deref() == Some(timed_out) {
            seen.unanswered.push(invoked);
        }
    }
    let silent: Vec<Seen<'_>> = nodes.into_values().filter(|seen| seen.unanswered.len() > 1).collect();
    let first = silent.first()?;
    let last_request = first.unanswered.last()?;
    let name = history.node_name(last_request.process)?;
    let since = match first.last_ok {
        Some(event) => format!("answered nothing after {:.3} s", event.time.as_nanos() as f64 / 1e9),
        None => "answered nothing at all".to_owned(),
    };
    let is_final = last_request.flag == Some(Flag::Final);
    let unchecked =
        if is_final { ", its final read among them, so that nothing is known of what it holds" } else { "" };
    Some(Finding {
        what: format!("{name} {since}: {} requests were not answered{unchecked}.", first.unanswered.len()),
        count: silent.len(),
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
    use crate::node::Time;

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
        let finding = silence(&history, "timed out").expect("n1 is silent");
        assert!(
            finding.what.starts_with("n1 answered nothing after 1.500 s: 2 requests"),
            "{}",
            finding.what
        );
        assert_eq!(silence(&history, "other"), None);
    }
}
