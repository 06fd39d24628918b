//! The checkers: from a history to a verdict.

pub mod counter;
pub mod kafka;
pub mod linearizable;
pub mod set_full;
pub mod silence;
pub mod txn;

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use crate::cluster::scenario::Availability;
use crate::history::{Event, EventKind, History};

/// A verdict. Of several, the worst counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Valid {
    /// All as it should be.
    True,
    /// Nothing wrong was seen, but nothing that would show it either.
    Unknown,
    /// Something is wrong.
    False,
}

impl From<bool> for Valid {
    fn from(valid: bool) -> Self {
        if valid { Valid::True } else { Valid::False }
    }
}

impl Serialize for Valid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Valid::True => serializer.serialize_bool(true),
            Valid::False => serializer.serialize_bool(false),
            Valid::Unknown => serializer.serialize_str("unknown"),
        }
    }
}

/// One mistake that a checker found, for the author of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// The mistake, as a sentence or two of the first instance: who did what, with values and times.
    pub what: String,
    /// How often it was made.
    pub count: usize,
    /// The indices of the history's events that show the first instance.
    pub events: Vec<usize>,
    /// What it usually comes from, and what to do; empty if there is nothing to say.
    pub hint: String,
}

/// How operations ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Tally {
    /// Whether at least one succeeded; unknown if not.
    pub valid: Valid,
    /// Operations that ended.
    pub count: usize,
    /// That succeeded.
    pub ok_count: usize,
    /// That did not happen.
    pub fail_count: usize,
    /// Of which nobody knows whether they happened.
    pub info_count: usize,
}

/// How operations ended, all together and by kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Stats {
    /// All together; valid if each kind is.
    #[serde(flatten)]
    pub all: Tally,
    /// By kind.
    pub by_f: BTreeMap<String, Tally>,
}

impl Tally {
    fn of<'a>(events: impl Iterator<Item = &'a Event>) -> Self {
        let mut tally = Tally { valid: Valid::False, count: 0, ok_count: 0, fail_count: 0, info_count: 0 };
        for event in events {
            match event.kind {
                EventKind::Invoke => continue,
                EventKind::Ok => tally.ok_count += 1,
                EventKind::Fail => tally.fail_count += 1,
                EventKind::Info => tally.info_count += 1,
            }
            tally.count += 1;
        }
        tally.valid = (tally.ok_count > 0).into();
        tally
    }
}

/// Kinds of operations that never succeed: Maelstrom leaves them out as well.
const NEVER_OK: [&str; 2] = ["crash", "debug-topic-partitions"];

impl Stats {
    /// What is wrong, in words.
    #[must_use]
    pub fn finding(&self) -> Option<Finding> {
        let failing = self
            .by_f
            .iter()
            .filter(|(f, tally)| tally.valid == Valid::False && !NEVER_OK.contains(&f.as_str()));
        let told: Vec<String> = failing
            .map(|(f, tally)| {
                let Tally { count, fail_count, info_count, .. } = tally;
                format!(
                    "not one `{f}` of {count} succeeded ({fail_count} failed, of {info_count} nobody knows)"
                )
            })
            .collect();
        (!told.is_empty()).then(|| Finding {
            what: format!(
                "A run is valid only if each kind of operation succeeds at least once, and {}.",
                told.join(", and ")
            ),
            count: told.len(),
            events: Vec::new(),
            hint: String::new(),
        })
    }

    /// Counts a history. Valid if each kind of operation succeeded at least once; those that can't succeed don't count.
    #[must_use]
    pub fn of(history: &History) -> Self {
        let mut by_f: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
        for event in history.by_clients().filter(|event| event.kind != EventKind::Invoke) {
            by_f.entry(&event.f).or_default().push(event);
        }
        let by_f: BTreeMap<_, _> =
            by_f.into_iter().map(|(f, events)| (f.to_owned(), Tally::of(events.into_iter()))).collect();
        let can_succeed = |f: &str| !NEVER_OK.contains(&f);
        let judged = by_f.iter().filter(|(f, _)| can_succeed(f));
        let valid = judged.map(|(_, tally)| tally.valid).max().unwrap_or(Valid::True);
        Stats { all: Tally { valid, ..Tally::of(history.by_clients()) }, by_f }
    }
}

/// Whether enough requests succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AvailabilityResult {
    /// Whether it was as asked.
    pub valid: Valid,
    /// The part of all requests that succeeded.
    pub ok_fraction: f64,
}

impl AvailabilityResult {
    /// Checks a history against what was asked, if anything was.
    #[must_use]
    pub fn of(history: &History, wanted: Option<Availability>) -> Self {
        let invoked = history.invocations();
        let ok = history.by_clients().filter(|event| event.kind == EventKind::Ok).count();
        let ok_fraction = if invoked == 0 { 1.0 } else { ok as f64 / invoked as f64 };
        let valid = match wanted {
            None => true,
            Some(Availability::Total) => ok == invoked,
            Some(Availability::Fraction(least)) => ok_fraction >= least,
        };
        AvailabilityResult { valid: valid.into(), ok_fraction }
    }
}

impl AvailabilityResult {
    /// What is wrong, in words.
    #[must_use]
    pub fn finding(&self, wanted: Option<Availability>) -> Option<Finding> {
        let wanted = match wanted? {
            Availability::Total => 1.0,
            Availability::Fraction(least) => least,
        };
        (self.valid == Valid::False).then(|| Finding {
            what: format!(
                "{:.2} % of the requests succeeded, and {:.2} % were asked for.",
                100.0 * self.ok_fraction,
                100.0 * wanted
            ),
            count: 1,
            events: Vec::new(),
            hint: "A node must answer also while it can't reach the others.".to_owned(),
        })
    }
}

/// The verdict on echoes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct EchoResult {
    /// Whether every request came back as it was.
    pub valid: Valid,
    /// Those that did not.
    pub errors: Vec<WrongEcho>,
}

/// An echo that did not come back as it was.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct WrongEcho {
    /// The index of its end in the history.
    pub index: usize,
    /// What was sent.
    pub sent: Json,
    /// What came back; none if nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received: Option<Json>,
    /// Why nothing came back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl EchoResult {
    /// In a line.
    #[must_use]
    pub fn summary(&self) -> String {
        let unanswered = self.errors.iter().filter(|wrong| wrong.received.is_none()).count();
        format!(
            "{} came back as something else, {unanswered} did not come back",
            self.errors.len() - unanswered
        )
    }

    /// What is wrong, in words.
    #[must_use]
    pub fn findings(&self, history: &History) -> Vec<Finding> {
        let (other, none): (Vec<&WrongEcho>, Vec<&WrongEcho>) =
            self.errors.iter().partition(|wrong| wrong.received.is_some());
        let who = |wrong: &WrongEcho| history.name_of(history.events()[wrong.index].process);
        let finding = |wrongs: &[&WrongEcho], what: &dyn Fn(&WrongEcho) -> String, hint: &str| {
            let first = wrongs.first()?;
            let (what, events) = (what(first), vec![first.index]);
            Some(Finding { what, count: wrongs.len(), events, hint: hint.to_owned() })
        };
        let differs = finding(
            &other,
            &|wrong| {
                let received = wrong.received.as_ref().unwrap_or(&Json::Null);
                format!("{} was sent {} to echo, and answered {received}.", who(wrong), wrong.sent)
            },
            "An `echo_ok` has the field `echo` of the request that it answers, unchanged.",
        );
        let missing = finding(
            &none,
            &|wrong| {
                let error = wrong.error.as_deref().unwrap_or("no answer");
                format!("{} was sent {} to echo, and there was no echo: {error}.", who(wrong), wrong.sent)
            },
            "",
        );
        differs.into_iter().chain(missing).collect()
    }
}

/// Checks that each completed echo shows what was sent; one that failed does not.
#[must_use]
pub fn echo(history: &History) -> EchoResult {
    let wrong = history
        .completed()
        .filter(|(invoked, done)| done.kind != EventKind::Ok || done.value != invoked.value);
    let errors: Vec<WrongEcho> = wrong
        .map(|(invoked, done)| WrongEcho {
            index: done.index,
            sent: invoked.value.to_json().into_owned(),
            received: (done.kind == EventKind::Ok).then(|| done.value.to_json().into_owned()),
            error: done.error.clone(),
        })
        .collect();
    EchoResult { valid: errors.is_empty().into(), errors }
}

/// The verdict on unique ids.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct UniqueIdsResult {
    /// Whether all ids differ.
    pub valid: Valid,
    /// Ids asked for.
    pub attempted_count: usize,
    /// Ids received.
    pub acknowledged_count: usize,
    /// Ids received more than once.
    pub duplicated_count: usize,
    /// Some of them, each with how often it was received.
    pub duplicated: BTreeMap<String, usize>,
    /// The first and the last id in order.
    pub range: Option<(String, String)>,
}

/// As many duplicates as Jepsen lists.
const DUPLICATES_LISTED: usize = 48;

/// Checks that no id was handed out twice.
#[must_use]
pub fn unique_ids(history: &History) -> UniqueIdsResult {
    let mut received: BTreeMap<String, usize> = BTreeMap::new();
    let mut acknowledged_count = 0;
    for (_, done) in history.completed().filter(|(_, done)| done.kind == EventKind::Ok) {
        acknowledged_count += 1;
        *received.entry(done.value.to_json().to_string()).or_default() += 1;
    }
    let range = received.first_key_value().zip(received.last_key_value());
    let range = range.map(|((first, _), (last, _))| (first.clone(), last.clone()));
    received.retain(|_, count| *count > 1);
    let duplicated_count = received.len();
    UniqueIdsResult {
        valid: (duplicated_count == 0).into(),
        attempted_count: history.invocations(),
        acknowledged_count,
        duplicated_count,
        duplicated: received.into_iter().take(DUPLICATES_LISTED).collect(),
        range,
    }
}

impl UniqueIdsResult {
    /// What is wrong, in words.
    #[must_use]
    pub fn findings(&self, history: &History) -> Vec<Finding> {
        let Some((id, times)) = self.duplicated.first_key_value() else { return Vec::new() };
        let shows = |event: &&Event| event.kind == EventKind::Ok && event.value.to_json().to_string() == *id;
        let events: Vec<&Event> = history.by_clients().filter(shows).collect();
        let mut who: Vec<String> = events.iter().map(|event| history.name_of(event.process)).collect();
        who.dedup();
        who.truncate(4);
        vec![Finding {
            what: format!("The id {id} was handed out {times} times, by {}.", who.join(" and ")),
            count: self.duplicated_count,
            events: events.iter().map(|event| event.index).take(4).collect(),
            hint: "Ids that differ between nodes need something of the node in them, such as its id, and something that a \
                   node never uses twice, such as a counter; a random number of 64 bits or more does as well. A clock \
                   alone does not: two requests may come in the same instant."
                .to_owned(),
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::OpValue;
    use crate::history::Process;
    use crate::node::Time;
    use serde_json::json;

    fn history(events: &[(usize, EventKind, &'static str, serde_json::Value)]) -> History {
        let mut history = History::default();
        for (client, kind, f, value) in events {
            let value = OpValue::Json(value.clone());
            history.push(Time::ZERO, Process::Client(*client), *kind, *f, value, None);
        }
        history
    }

    use EventKind::{Fail, Info, Invoke, Ok};

    #[test]
    fn the_worst_verdict_counts() {
        assert_eq!([Valid::True, Valid::False, Valid::Unknown].into_iter().max(), Some(Valid::False));
        assert_eq!([Valid::True, Valid::Unknown].into_iter().max(), Some(Valid::Unknown));
    }

    #[test]
    fn stats_count_each_kind_and_want_a_success_of_each() {
        let mut events = vec![
            (0, Invoke, "read", json!(null)),
            (1, Invoke, "broadcast", json!(1)),
            (0, Ok, "read", json!([])),
            (1, Info, "broadcast", json!(1)),
        ];
        let stats = Stats::of(&history(&events));
        assert_eq!(
            (stats.all.valid, stats.all.count, stats.all.ok_count, stats.all.info_count),
            (Valid::False, 2, 1, 1)
        );
        assert_eq!((stats.by_f["read"].valid, stats.by_f["broadcast"].valid), (Valid::True, Valid::False));
        events.extend([(2, Invoke, "broadcast", json!(2)), (2, Ok, "broadcast", json!(2))]);
        assert_eq!(Stats::of(&history(&events)).all.valid, Valid::True);
    }

    #[test]
    fn availability_is_the_part_that_succeeded() {
        let events = [
            (0, Invoke, "read", json!(null)),
            (0, Ok, "read", json!([])),
            (0, Invoke, "read", json!(null)),
            (0, Fail, "read", json!(null)),
        ];
        let of = |wanted| AvailabilityResult::of(&history(&events), wanted);
        assert_eq!(of(None), AvailabilityResult { valid: Valid::True, ok_fraction: 0.5 });
        assert_eq!(of(Some(Availability::Total)).valid, Valid::False);
        assert_eq!(of(Some(Availability::Fraction(0.5))).valid, Valid::True);
        assert_eq!(of(Some(Availability::Fraction(0.6))).valid, Valid::False);
    }

    #[test]
    fn an_echo_must_come_back_as_it_was() {
        let good = [(0, Invoke, "echo", json!("a")), (0, Ok, "echo", json!("a"))];
        assert_eq!(echo(&history(&good)).valid, Valid::True);
        let other = [(0, Invoke, "echo", json!("a")), (0, Ok, "echo", json!("b"))];
        assert_eq!(echo(&history(&other)).errors.len(), 1);
        let none = [(0, Invoke, "echo", json!("a")), (0, Info, "echo", json!("a"))];
        assert_eq!(echo(&history(&none)).valid, Valid::False);
    }

    #[test]
    fn an_id_handed_out_twice_is_found() {
        let mut events = vec![];
        for (client, id) in [(0, json!("a")), (1, json!(1)), (0, json!("1"))] {
            events.extend([(client, Invoke, "generate", json!(null)), (client, Ok, "generate", id)]);
        }
        let result = unique_ids(&history(&events));
        assert_eq!((result.valid, result.acknowledged_count), (Valid::True, 3), "1 and \"1\" differ");
        events.extend([(1, Invoke, "generate", json!(null)), (1, Ok, "generate", json!("a"))]);
        let result = unique_ids(&history(&events));
        assert_eq!((result.valid, result.duplicated_count, result.attempted_count), (Valid::False, 1, 4));
        assert_eq!(result.duplicated, BTreeMap::from([("\"a\"".to_owned(), 2)]));
    }
}
