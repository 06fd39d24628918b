//! The story of a failing run: what became of the value concerned, in the order it happened.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::Deserialize;

use super::minimise::Failing;
use super::{Keep, Run, Simulation};
use crate::node::Time;
use crate::protocol::Value;
use crate::workbench::history::{EventKind, OpValue};
use crate::workbench::network::{Endpoint, Fate, Passage};

/// The most lines that are told of what happened: the first half and the last.
const LINES_MAX: usize = 60;
/// The most of a fault's description or of a message that is shown.
const SHOWN: usize = 100;

/// A line of a story, by time; lines of the same time stay in the order they were told.
type Line = (Time, String);

/// A message between nodes, as far as stories go.
#[derive(Deserialize)]
struct Body {
    #[serde(rename = "type")]
    kind: String,
    message: Option<Value>,
    generation: Option<u64>,
    #[serde(default)]
    values: Vec<Value>,
}

/// Tells how a run failed, some lines of text. Runs it again, with eyes open.
#[must_use]
pub fn story(failing: &Failing) -> Vec<String> {
    let Failing { simulation, seed, failure } = failing;
    let mut run = simulation.run(*seed, Keep { trace: true, whereabouts_of: failure.value() });
    if let Some(value) = run.concerned.filter(|_| failure.value().is_none()) {
        run = simulation.run(*seed, Keep { trace: true, whereabouts_of: Some(value) });
    }
    let mut lines = Vec::new();
    match run.concerned {
        Some(value) => lines.extend(life(&run, value)),
        None => lines.extend(
            run.trace
                .iter()
                .map(|passage| (passage.at, format!("{}: {}", Way(passage), excerpt(&passage.body)))),
        ),
    }
    let birth = lines.iter().map(|(at, _)| *at).min().filter(|_| run.concerned.is_some());
    // Before what else happened at the same time.
    lines.splice(0..0, faults(failing, run.began, birth.unwrap_or_default()));
    lines.sort_by_key(|(at, _)| *at);
    let mut told = vec![match run.concerned {
        Some(value) => format!("the story of {value}:"),
        None => "what happened:".to_owned(),
    }];
    let cut = if run.concerned.is_some() { LINES_MAX / 2 } else { 0 };
    let left_out = lines.len().saturating_sub(LINES_MAX);
    for (number, (at, what)) in lines.into_iter().enumerate() {
        if left_out > 0 && number == cut {
            told.push(format!("             … {left_out} more …"));
        }
        if number < cut || number >= cut + left_out {
            let since = at.since(run.began).as_secs_f64();
            told.push(format!("  {since:8.3} s  {what}"));
        }
    }
    if let Some(value) = run.concerned {
        told.extend(end(&run, value));
    }
    told
}

/// Who holds the value in the end, and where else it is.
fn end(run: &Run, value: Value) -> Vec<String> {
    let names = |holding: bool| {
        let nodes = run.holdings.iter().enumerate().filter(|(_, values)| values.contains(&value) == holding);
        nodes.map(|(node, _)| Endpoint::Node(node).to_string()).collect::<Vec<_>>().join(", ")
    };
    let mut told = vec![format!("  in the end, {value} is held by {}", or_nobody(names(true)))];
    told.push(format!("  and not by {}", or_nobody(names(false))));
    let waiting = run.whereabouts.iter().enumerate();
    let waiting =
        waiting.flat_map(|(node, waits)| waits.iter().map(move |how| format!("  n{node} has it {how}")));
    let before = told.len();
    told.extend(waiting);
    if told.len() == before {
        told.push("  and it waits nowhere".to_owned());
    }
    told
}

fn or_nobody(names: String) -> String {
    if names.is_empty() { "nobody".to_owned() } else { names }
}

/// The beginning of a text that may be long.
fn excerpt(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// From whom to whom a message goes, and what becomes of it.
struct Way<'a>(&'a Passage);

impl fmt::Display for Way<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Passage { fate, src, dest, .. } = self.0;
        match fate {
            Fate::Sent => write!(f, "{src} sends {dest}"),
            Fate::Lost => write!(f, "lost on the way from {src} to {dest}"),
            Fate::Doubled => write!(f, "doubled on the way from {src} to {dest}"),
            Fate::CutOff => write!(f, "cut off between {src} and {dest}"),
            Fate::Missed => write!(f, "{dest} is dead when it comes from {src}"),
            Fate::Arrived => write!(f, "{dest} gets from {src}"),
        }
    }
}

/// What the nemesis did; of what it did before `birth`, only what was still in force then.
fn faults(failing: &Failing, began: Time, birth: Time) -> Vec<Line> {
    let Simulation { scenario, hazards, .. } = &failing.simulation;
    let steps = hazards.steps(failing.seed, scenario.nodes(), scenario.time_limit());
    let mut in_force = BTreeMap::new();
    let mut lines = Vec::new();
    for (after, step) in steps {
        let at = began + after;
        if at >= birth {
            lines.push((at, format!("[{step}]")));
        } else if step.lasts() {
            in_force.insert(step.subject(), (at, format!("[{step}]")));
        } else {
            in_force.remove(&step.subject());
        }
    }
    in_force.into_values().chain(lines).collect()
}

/// A value's life: its birth, the messages that carried it, and the acknowledgements that came in the meantime,
/// for these or for others.
fn life(run: &Run, value: Value) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut carriers = HashSet::new();
    let mut unacknowledged = HashSet::new();
    for passage in &run.trace {
        let Ok(Body { kind, message, generation, values }) = serde_json::from_str(&passage.body) else {
            continue;
        };
        let Passage { src, dest, .. } = passage;
        if (kind.as_str(), message, passage.fate) == ("broadcast", Some(value), Fate::Sent) {
            lines.push((passage.at, format!("{src} broadcasts {value} to {dest}")));
        }
        let Some(generation) = generation else { continue };
        if kind == "delta" && values.contains(&value) {
            carriers.insert((*src, *dest, generation));
            unacknowledged.insert((*src, *dest));
            let count = values.len();
            lines.push((passage.at, format!("{}: batch {generation} of {count}", Way(passage))));
            continue;
        }
        if kind != "delta_ok" {
            continue;
        }
        if carriers.contains(&(*dest, *src, generation)) {
            lines.push((passage.at, format!("{}: the acknowledgement of batch {generation}", Way(passage))));
            if passage.fate == Fate::Arrived {
                unacknowledged.remove(&(*dest, *src));
            }
        } else if passage.fate == Fate::Arrived && unacknowledged.contains(&(*dest, *src)) {
            lines.push((
                passage.at,
                format!("{}: the acknowledgement of another, {generation}", Way(passage)),
            ));
        }
    }
    for (invoked, done) in run.history.completed() {
        if (invoked.f, &invoked.value) == ("broadcast", &OpValue::Int(value)) {
            let how = match done.kind {
                EventKind::Ok => "is acknowledged to its client",
                EventKind::Fail => "is refused",
                _ => "is not acknowledged in time",
            };
            lines.push((run.began + done.time.since(Time::ZERO), format!("{value} {how}")));
        }
    }
    lines
}
