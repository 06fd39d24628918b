//! How operations ended.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Finding, Valid};
use crate::history::{Event, EventKind, History};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::history;
    use EventKind::{Info, Invoke, Ok};
    use serde_json::json;

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
}
