//! What is wrong with a set, in words.

use std::collections::HashMap;
use std::str::FromStr;

use serde_json::Value as Json;

use super::follow::adds;
use super::{Quantiles, SetFull};
use crate::check::{Finding, Valid};
use crate::history::{Event, EventKind, History, OpValue};
use crate::protocol::Value;

/// So many values are named.
const NAMED: usize = 8;

impl SetFull {
    /// What is wrong, for the author of the node.
    #[must_use]
    pub fn findings(&self, history: &History) -> Vec<Finding> {
        let found = [self.of_lost(history), self.of_phantoms(history), self.of_duplicates(history)];
        found.into_iter().flatten().chain(self.of_nothing()).collect()
    }

    /// Why nobody knows.
    fn of_nothing(&self) -> Option<Finding> {
        (self.valid == Valid::Unknown).then(|| {
            Finding::new(
                "Nothing was checked: no value was acknowledged, or shown by a read, and then looked for by a later read.",
                "Clients are to add values and to read them: see what became of their requests.",
            )
        })
    }

    fn of_lost(&self, history: &History) -> Option<Finding> {
        let &value = self.lost.first()?;
        let story = Story::of(history, value);
        let added = match story.acknowledged {
            Some(event) => {
                format!("{} acknowledged {value} {}", history.name_of(event.process), at(event))
            }
            None => format!("{value} was sent, and shown by a read"),
        };
        let missing = story.missed.map_or_else(String::new, |(invoked, done)| {
            let who = history.name_of(done.process);
            format!(", but a read of {who} that began {} does not show it", at(invoked))
        });
        let holders = match story.shown_last {
            Some(event) => {
                format!(" It was shown last by {}, {}.", history.name_of(event.process), at(event))
            }
            None => " No read ever showed it.".to_owned(),
        };
        let others = match &self.lost[1..] {
            [] => String::new(),
            others => format!(" Lost as well: {}.", listed(others)),
        };
        Some(Finding {
            what: format!("{added}{missing}.{holders}{others}"),
            count: self.lost_count,
            events: story.events(),
            hint: "A value that a node has acknowledged must reach every node, even if messages are lost: keep what \
                   each neighbour has not acknowledged, and send it again until it has."
                .to_owned(),
        })
    }

    fn of_phantoms(&self, history: &History) -> Option<Finding> {
        let phantom = self.phantoms.first()?;
        let shows = |event: &&Event| match &event.value {
            OpValue::Set(shown) if event.kind == EventKind::Ok => {
                let integer = phantom.parse::<Value>();
                integer.is_ok_and(|value| shown.added.binary_search(&value).is_ok())
                    || shown
                        .strange
                        .iter()
                        .any(|strange| Json::from_str(phantom).is_ok_and(|phantom| *strange == phantom))
            }
            _ => false,
        };
        let event = history.by_clients().find(shows)?;
        Some(Finding {
            what: format!(
                "A read of {} {} shows {phantom}, which nobody had sent.",
                history.name_of(event.process),
                at(event)
            ),
            count: self.phantom_count,
            events: vec![event.index],
            hint: "A read shows the values of the requests, each as it came: integers stay integers."
                .to_owned(),
        })
    }

    fn of_duplicates(&self, history: &History) -> Option<Finding> {
        let (&value, &times) = self.duplicated.first_key_value()?;
        let shows = |event: &&Event| match &event.value {
            OpValue::Set(shown) => shown.repeated.contains(&(value, times)),
            _ => false,
        };
        let event = history.by_clients().find(shows)?;
        Some(Finding {
            what: format!(
                "A read of {} {} shows {value} {times} times.",
                history.name_of(event.process),
                at(event)
            ),
            count: self.duplicated_count,
            events: vec![event.index],
            hint: "A value may come more than once, from clients or from neighbours: keep values in a set, or look \
                   whether one is there before adding it. (Maelstrom means to find this, and overlooks it.)"
                .to_owned(),
        })
    }

    /// Lines of a run's summary; `verb` is what has been done with values.
    #[must_use]
    pub fn lines(&self, verb: &str) -> Vec<(&'static str, String)> {
        let counts = [
            (self.attempt_count, verb),
            (self.stable_count, "stable"),
            (self.lost_count, "lost"),
            (self.never_read_count, "never read"),
            (self.duplicated_count, "duplicated"),
        ];
        let counts: Vec<String> = counts.iter().map(|(count, what)| format!("{count} {what}")).collect();
        let mut lines = vec![("values", counts.join(", "))];
        if let Some(Quantiles { median, p95, p99, max, .. }) = self.stable_latencies {
            lines.push(("stable after", format!("median {median}, 95 % {p95}, 99 % {p99}, max {max} ms")));
        }
        if self.died_count > 0 {
            let died = format!("{} with the only nodes that held them", self.died_count);
            lines.push(("died", format!("{died}: {}", listed(&self.died))));
        }
        lines
    }
}

/// What a history tells of one value.
struct Story<'a> {
    invoked: Option<&'a Event>,
    acknowledged: Option<&'a Event>,
    /// The end of the last read that shows it.
    shown_last: Option<&'a Event>,
    /// The last read that doesn't, from its beginning to its end.
    missed: Option<(&'a Event, &'a Event)>,
}

impl<'a> Story<'a> {
    fn of(history: &'a History, value: Value) -> Self {
        let mut story = Story { invoked: None, acknowledged: None, shown_last: None, missed: None };
        // Whether the last read of each node shows it, by the read's index.
        let mut shows: HashMap<usize, bool> = HashMap::new();
        let invocations = history.by_clients().filter(|event| event.kind == EventKind::Invoke);
        story.invoked = invocations.filter(|event| adds(event) == Some(value)).last();
        for (invoked, done) in history.completed().filter(|(_, done)| done.kind == EventKind::Ok) {
            if adds(done) == Some(value) {
                story.acknowledged = Some(done);
            } else if let OpValue::Set(shown) = &done.value {
                let before = shown.since.and_then(|since| shows.remove(&since)).unwrap_or_default();
                let has = |values: &[Value]| values.binary_search(&value).is_ok();
                let is_shown = has(&shown.added) || before && !has(&shown.removed);
                shows.insert(done.index, is_shown);
                if is_shown {
                    story.shown_last = Some(done);
                } else if story.missed.is_none_or(|(earlier, _)| earlier.index < invoked.index) {
                    story.missed = Some((invoked, done));
                }
            }
        }
        story
    }

    fn events(&self) -> Vec<usize> {
        let missed = self.missed.map(|(_, done)| done);
        [self.invoked, self.acknowledged, self.shown_last, missed]
            .into_iter()
            .flatten()
            .map(|event| event.index)
            .collect()
    }
}

/// When, in seconds since clients began.
fn at(event: &Event) -> String {
    format!("at {:.3} s", event.time.as_nanos() as f64 / 1e9)
}

/// The first few values, and how many more there are.
fn listed(values: &[Value]) -> String {
    let first: Vec<String> = values.iter().take(NAMED).map(Value::to_string).collect();
    let more =
        if values.len() > NAMED { format!(" and {} more", values.len() - NAMED) } else { String::new() };
    format!("{}{more}", first.join(", "))
}
