//! The story of a failing run: what became of the value concerned, in the order it happened.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::Deserialize;

use super::minimise::Failing;
use super::{Keep, Run};
use crate::cluster::network::{Endpoint, Fate, Passage};
use crate::history::{EventKind, OpValue};
use crate::node::Time;
use crate::protocol::link::{Acked, Header};
use crate::protocol::{Generation, Value, expand};

/// The most lines that are told of what happened: the first half and the last.
const LINES_MAX: usize = 60;

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
    #[serde(default)]
    runs: Vec<i64>,
    link: Option<Vec<i64>>,
}

/// Which batches a message acknowledges.
#[derive(Clone, Copy, PartialEq)]
enum Answer {
    /// All before one, and some after it, in the lock-free design.
    Many(Acked),
    /// One, in the simple design.
    One(Generation),
}

impl Answer {
    fn of(body: &Body) -> Option<Self> {
        if let Some(link) = &body.link {
            return Header::from_integers(link)?.acked.map(Answer::Many);
        }
        let generation = body.generation.filter(|_| body.kind == "delta_ok");
        generation.map(|generation| Answer::One(Generation(generation)))
    }

    fn names(self, batch: Generation) -> bool {
        match self {
            Answer::Many(acked) => acked.names(batch),
            Answer::One(one) => one == batch,
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::One(Generation(one)) => write!(f, "{one}"),
            Answer::Many(Acked { next: Generation(next), later }) => {
                write!(f, "all before {next}")?;
                if *later != 0 {
                    write!(f, " and {} after it", later.count_ones())?;
                }
                Ok(())
            }
        }
    }
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
        None => lines.extend(run.trace.iter().map(|passage| (passage.at, passage.in_full()))),
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
    let mut told = vec![format!("  in the end, {value} is held by {}", names_or_nobody(names(true)))];
    told.push(format!("  and not by {}", names_or_nobody(names(false))));
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

fn names_or_nobody(names: String) -> String {
    if names.is_empty() { "nobody".to_owned() } else { names }
}

/// What the nemesis did; of what it did before `birth`, only what was still in force then.
fn faults(failing: &Failing, began: Time, birth: Time) -> Vec<Line> {
    let steps = failing.simulation.steps(failing.seed);
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
    // By sender and receiver: the batches that carried it and are not acknowledged, and the last acknowledgement.
    let mut in_flight = HashMap::<_, (Vec<Generation>, Option<Answer>)>::new();
    for passage in &run.trace {
        let Ok(mut body) = serde_json::from_str::<Body>(&passage.body) else { continue };
        if expand(&body.runs, &mut body.values).is_none() {
            continue;
        }
        let Passage { at, fate, src, dest, .. } = passage;
        let mut tell = |what| lines.push((*at, what));
        if (body.kind.as_str(), body.message, *fate) == ("broadcast", Some(value), Fate::Sent) {
            tell(format!("{src} broadcasts {value} to {dest}"));
        }
        if body.values.contains(&value) {
            let way = passage;
            match body.generation {
                Some(batch) => tell(format!("{way}: batch {batch} of {}", body.values.len())),
                None => tell(format!("{way}: {value}, in a repair")),
            }
            let (batches, _) = in_flight.entry((*src, *dest)).or_default();
            batches.extend(body.generation.map(Generation).filter(|batch| !batches.contains(batch)));
        }
        if *fate == Fate::Arrived
            && let Some(answer) = Answer::of(&body)
            && let Some((batches, last)) = in_flight.get_mut(&(*dest, *src))
            && !batches.is_empty()
            && last.replace(answer) != Some(answer)
        {
            let others = if batches.iter().any(|&batch| answer.names(batch)) { "" } else { "others, " };
            tell(format!("{}: the acknowledgement of {others}{answer}", passage));
            batches.retain(|&batch| !answer.names(batch));
        }
    }
    for (invoked, done) in run.history.completed() {
        if (&*invoked.f, &invoked.value) == ("broadcast", &OpValue::Int(value)) {
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
