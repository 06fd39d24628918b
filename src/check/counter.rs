//! The checker of counters: every final read shows the sum of what was added, as far as that is known.
//!
//! Additions that succeeded count. Each of those of which nobody knows whether they happened may count or not: the sums that
//! final reads may show are all those of the known additions and some of the unknown ones. The set of these sums is kept as
//! ranges, as neighbours are the rule.

use serde::Serialize;

use super::{Finding, Valid};
use crate::history::{Event, EventKind, Flag, History, OpValue};

/// So many ranges of sums are kept apart at most: unknown additions that are large and far apart could double them each time.
const RANGES_MAX: usize = 100_000;

/// The verdict on a counter.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CounterResult {
    /// Whether every final read shows a sum that may be; unknown if there were too many of them to tell.
    pub valid: Valid,
    /// The indices of the final reads that don't.
    pub errors: Vec<usize>,
    /// What final reads show, oldest first.
    pub final_reads: Vec<i128>,
    /// The sums that may be: ranges, from the first to the last of each.
    pub acceptable: Vec<(i128, i128)>,
}

/// Checks a counter's history.
#[must_use]
pub fn counter(history: &History) -> CounterResult {
    let (mut sums, mut is_known) = (vec![(0, 0)], true);
    for event in history.by_clients().filter(|event| event.f == "add") {
        let OpValue::Int(delta) = event.value else { continue };
        match event.kind {
            EventKind::Ok => sums = shifted(&sums, delta.into()),
            EventKind::Info if is_known => {
                sums = merged(&sums, &shifted(&sums, delta.into()));
                is_known = sums.len() <= RANGES_MAX;
            }
            _ => {}
        }
    }
    let shows = |event: &Event| match event.value {
        OpValue::Int(value) => Some(i128::from(value)),
        _ => None,
    };
    let is_final =
        |event: &&Event| event.kind == EventKind::Ok && event.flag == Some(Flag::Final) && event.f == "read";
    let reads: Vec<(usize, Option<i128>)> =
        history.by_clients().filter(is_final).map(|event| (event.index, shows(event))).collect();
    let may_be = |value: i128| sums.iter().any(|&(first, last)| (first..=last).contains(&value));
    // What is no integer of 64 bits is no sum of what was added.
    let is_wrong = |value: Option<i128>| value.is_none_or(|value| is_known && !may_be(value));
    let errors: Vec<usize> =
        reads.iter().filter(|(_, value)| is_wrong(*value)).map(|(index, _)| *index).collect();
    CounterResult {
        valid: if is_known || !errors.is_empty() { errors.is_empty().into() } else { Valid::Unknown },
        errors,
        final_reads: reads.into_iter().filter_map(|(_, value)| value).collect(),
        acceptable: sums,
    }
}

fn shifted(ranges: &[(i128, i128)], by: i128) -> Vec<(i128, i128)> {
    ranges.iter().map(|(first, last)| (first + by, last + by)).collect()
}

/// The union of two lists of ranges; those that touch become one.
fn merged(some: &[(i128, i128)], others: &[(i128, i128)]) -> Vec<(i128, i128)> {
    let mut all: Vec<(i128, i128)> = some.iter().chain(others).copied().collect();
    all.sort_unstable();
    let mut union: Vec<(i128, i128)> = Vec::new();
    for (first, last) in all {
        match union.last_mut() {
            Some((_, end)) if first <= *end + 1 => *end = last.max(*end),
            _ => union.push((first, last)),
        }
    }
    union
}

impl CounterResult {
    /// In a line.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut shown = self.final_reads.clone();
        shown.sort_unstable();
        shown.dedup();
        let shown = match (shown.first(), shown.last()) {
            (Some(one), Some(other)) if one == other => one.to_string(),
            (Some(first), Some(last)) => format!("{first} to {last}"),
            _ => "nothing".to_owned(),
        };
        let reads = self.final_reads.len();
        format!(
            "{shown}, by {reads} final read{}; the sum is {}",
            if reads == 1 { "" } else { "s" },
            self.expected()
        )
    }

    fn expected(&self) -> String {
        let range = |&(first, last): &(i128, i128)| {
            if first == last { first.to_string() } else { format!("{first} to {last}") }
        };
        let ranges: Vec<String> = self.acceptable.iter().take(4).map(range).collect();
        let more = if self.acceptable.len() > 4 { " or …" } else { "" };
        ranges.join(" or ") + more
    }

    /// What is wrong, in words.
    #[must_use]
    pub fn findings(&self, history: &History) -> Vec<Finding> {
        if self.final_reads.is_empty() && self.errors.is_empty() {
            let what = "There is no final read (`final?`) that succeeded, so that nothing was checked.";
            return vec![Finding::new(
                what,
                "Final reads are what clients do last, when everything has come to rest.",
            )];
        }
        let Some(&first) = self.errors.first() else { return Vec::new() };
        let event = &history.events()[first];
        let what = format!(
            "The final read of {} shows {}, but the additions that were acknowledged make {}.",
            history.name_of(event.process),
            event.value.to_json(),
            self.expected(),
        );
        let shown = event.value.to_json().as_i64().map(i128::from);
        let is_beyond = |beyond: fn(i128, i128) -> bool, bound: Option<i128>| {
            shown.zip(bound).is_some_and(|(shown, bound)| beyond(shown, bound))
        };
        let hint = if is_beyond(|shown, most| shown > most, self.acceptable.last().map(|&(_, most)| most)) {
            "Negative additions were lost, or positive ones were counted twice, perhaps because a request was sent again."
        } else if is_beyond(|shown, least| shown < least, self.acceptable.first().map(|&(least, _)| least)) {
            "Additions were lost, or have not reached this node ten seconds after the last one: what seq-kv shows may be old, \
             unless the node has just written something to it. Or negative additions were counted twice."
        } else {
            "No set of the additions that may have happened makes that."
        };
        let hint = format!(
            "{hint} On a key-value store, read and write are not enough: another node may write in between. Use \
             compare-and-set, or a key for each node."
        );
        vec![Finding { what, count: self.errors.len(), events: vec![first], hint }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Process;
    use crate::node::Time;
    use proptest::prelude::*;

    fn history(adds: &[(i64, EventKind)], reads: &[i64]) -> History {
        let mut history = History::default();
        let mut push = |process, kind, f: &'static str, value, flag| {
            history.append(Event {
                index: 0,
                time: Time::ZERO,
                process: Process::Client(process),
                kind,
                f: f.into(),
                value,
                error: None,
                flag,
            });
        };
        for (process, &(delta, kind)) in adds.iter().enumerate() {
            push(process, EventKind::Invoke, "add", OpValue::Int(delta), None);
            push(process, kind, "add", OpValue::Int(delta), None);
        }
        for (process, &value) in reads.iter().enumerate() {
            push(process, EventKind::Invoke, "read", OpValue::None, Some(Flag::Final));
            push(process, Ok, "read", OpValue::Int(value), Some(Flag::Final));
        }
        history
    }

    use EventKind::{Fail, Info, Ok};

    #[test]
    fn unknown_additions_count_or_not() {
        let adds = [(4, Ok), (1, Info), (10, Info), (7, Fail), (-3, Ok)];
        let result = counter(&history(&adds, &[1, 2, 11, 12]));
        assert_eq!((result.valid, &*result.acceptable), (Valid::True, &[(1, 2), (11, 12)][..]));
        let wrong = counter(&history(&adds, &[1, 3]));
        assert_eq!((wrong.valid, &*wrong.final_reads, wrong.errors.len()), (Valid::False, &[1, 3][..], 1));
    }

    #[test]
    fn a_lost_or_doubled_addition_is_found_and_told() {
        for wrong in [4, 12] {
            let history = history(&[(4, Ok), (4, Ok)], &[8, wrong]);
            let findings = counter(&history).findings(&history);
            assert!(
                findings[0].what.contains(&format!("shows {wrong}")) && findings[0].what.contains("make 8")
            );
        }
    }

    #[test]
    fn a_final_read_that_is_no_integer_of_64_bits_is_wrong() {
        let mut history = history(&[(4, Ok)], &[4]);
        let last = history.events().last().expect("a read").clone();
        history.append(Event { value: OpValue::Json("18446744073709551616".into()), ..last });
        let result = counter(&history);
        assert_eq!((result.valid, result.errors.len()), (Valid::False, 1));
        assert!(result.findings(&history)[0].what.contains("18446744073709551616"));
    }

    #[test]
    fn sums_that_are_too_many_to_follow_are_unknown() {
        let adds: Vec<(i64, EventKind)> = (0..40).map(|power| (1 << (power + 3), Info)).collect();
        assert_eq!(counter(&history(&adds, &[5])).valid, Valid::Unknown);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_agrees_with_trying_all_subsets(
            known in prop::collection::vec(-5i64..5, 0..6),
            unknown in prop::collection::vec(-20i64..20, 0..6),
            read in -60i64..60,
        ) {
            let adds: Vec<(i64, EventKind)> =
                known.iter().map(|&d| (d, Ok)).chain(unknown.iter().map(|&d| (d, Info))).collect();
            let sum: i64 = known.iter().sum();
            let any = (0..1_u32 << unknown.len()).any(|subset| {
                let some = unknown.iter().enumerate().filter(|(bit, _)| subset >> bit & 1 == 1);
                sum + some.map(|(_, delta)| delta).sum::<i64>() == read
            });
            prop_assert_eq!(counter(&history(&adds, &[read])).valid, Valid::from(any));
        }
    }
}
