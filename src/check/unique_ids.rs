//! Whether no id was handed out twice.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value as Json;

use super::{Finding, Valid};
use crate::history::{Event, EventKind, History};

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
    /// The first and the last id in order: numbers by size, texts by their letters.
    pub range: Option<(Json, Json)>,
    /// Whether there are ids that have no order among each other: texts beside numbers, or objects. Maelstrom's checker fails on
    /// such.
    pub unordered: bool,
}

/// As many duplicates as Jepsen lists.
const DUPLICATES_LISTED: usize = 48;

/// Checks that no id was handed out twice. Where Maelstrom is followed strictly, nobody knows if ids have no order.
#[must_use]
pub fn unique_ids(history: &History, is_strict: bool) -> UniqueIdsResult {
    let mut received: BTreeMap<String, usize> = BTreeMap::new();
    let (mut acknowledged_count, mut kinds, mut range) = (0, BTreeSet::new(), None::<(Json, Json)>);
    for (_, done) in history.completed().filter(|(_, done)| done.kind == EventKind::Ok) {
        acknowledged_count += 1;
        let id = done.value.to_json();
        kinds.insert(kind(&id));
        let times = received.entry(id.to_string()).or_default();
        *times += 1;
        if *times == 1 {
            let is_first = range.as_ref().is_none_or(|(first, _)| is_before(&id, first));
            let is_last = range.as_ref().is_none_or(|(_, last)| is_before(last, &id));
            let (first, last) =
                range.get_or_insert_with(|| (id.clone().into_owned(), id.clone().into_owned()));
            if is_first {
                *first = id.clone().into_owned();
            }
            if is_last {
                *last = id.into_owned();
            }
        }
    }
    // Nothing comes before null, and one object alone need not be compared.
    kinds.remove(&Kind::Null);
    let unordered = kinds.len() > 1 || kinds.contains(&Kind::Object) && received.len() > 1;
    received.retain(|_, count| *count > 1);
    let duplicated_count = received.len();
    let mut most: Vec<(String, usize)> = received.into_iter().collect();
    most.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    most.truncate(DUPLICATES_LISTED);
    let valid = Valid::from(duplicated_count == 0);
    UniqueIdsResult {
        valid: if unordered && is_strict { Valid::Unknown } else { valid },
        attempted_count: history.invocations(),
        acknowledged_count,
        duplicated_count,
        duplicated: most.into_iter().collect(),
        range,
        unordered,
    }
}

/// Ids of one kind have an order among each other, but for objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Null,
    Bool,
    Number,
    Text,
    List,
    Object,
}

fn kind(id: &Json) -> Kind {
    match id {
        Json::Null => Kind::Null,
        Json::Bool(_) => Kind::Bool,
        Json::Number(_) => Kind::Number,
        Json::String(_) => Kind::Text,
        Json::Array(_) => Kind::List,
        Json::Object(_) => Kind::Object,
    }
}

fn is_before(one: &Json, other: &Json) -> bool {
    match (one, other) {
        (Json::Number(a), Json::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a < b,
            _ => a.as_f64() < b.as_f64(),
        },
        (Json::String(a), Json::String(b)) => a < b,
        _ => (kind(one), one.to_string()) < (kind(other), other.to_string()),
    }
}

impl UniqueIdsResult {
    /// What is wrong, in words.
    #[must_use]
    pub fn findings(&self, history: &History) -> Vec<Finding> {
        let unordered = self.unordered.then(|| {
            Finding::new(
                "There are ids that can't be compared with each other: texts beside numbers, or objects.",
                "They differ all the same. Maelstrom's checker fails on such, and says `unknown`.",
            )
        });
        self.duplicate(history).into_iter().chain(unordered).collect()
    }

    fn duplicate(&self, history: &History) -> Option<Finding> {
        let (id, times) = self.duplicated.iter().max_by_key(|(_, times)| **times)?;
        let shows = |event: &&Event| event.kind == EventKind::Ok && event.value.to_json().to_string() == *id;
        let events: Vec<&Event> = history.by_clients().filter(shows).collect();
        let mut who: Vec<String> = events.iter().map(|event| history.name_of(event.process)).collect();
        who.dedup();
        who.truncate(4);
        Some(Finding {
            what: format!("The id {id} was handed out {times} times, by {}.", who.join(" and ")),
            count: self.duplicated_count,
            events: events.iter().map(|event| event.index).take(4).collect(),
            hint: "Ids that differ between nodes need something of the node in them, such as its id, and something that a \
                   node never uses twice, such as a counter; a random number of 64 bits or more does as well. A clock \
                   alone does not: two requests may come in the same instant."
                .to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::history;
    use EventKind::{Invoke, Ok};
    use serde_json::json;

    #[test]
    fn an_id_handed_out_twice_is_found() {
        let mut events = vec![];
        for (client, id) in [(0, json!("a")), (1, json!(1)), (0, json!("1"))] {
            events.extend([(client, Invoke, "generate", json!(null)), (client, Ok, "generate", id)]);
        }
        let result = unique_ids(&history(&events), false);
        assert_eq!((result.valid, result.acknowledged_count), (Valid::True, 3), "1 and \"1\" differ");
        events.extend([(1, Invoke, "generate", json!(null)), (1, Ok, "generate", json!("a"))]);
        let result = unique_ids(&history(&events), false);
        assert_eq!((result.valid, result.duplicated_count, result.attempted_count), (Valid::False, 1, 4));
        assert_eq!(result.duplicated, BTreeMap::from([("\"a\"".to_owned(), 2)]));
    }

    #[test]
    fn ids_without_an_order_are_unknown_to_maelstrom_alone() {
        let of = |ids: &[Json], is_strict| {
            let ids = ids.iter().map(|id| (0, Ok, "generate", id.clone()));
            let events: Vec<_> = ids.flat_map(|op| [(0, Invoke, "generate", json!(null)), op]).collect();
            unique_ids(&history(&events), is_strict)
        };
        for ids in [[json!("a"), json!(1)], [json!({"a": 1}), json!({"a": 2})], [json!([1]), json!(1)]] {
            assert_eq!(
                (of(&ids, false).valid, of(&ids, true).valid),
                (Valid::True, Valid::Unknown),
                "{ids:?}"
            );
            assert!(of(&ids, false).findings(&history(&[]))[0].what.contains("compared"));
        }
        let numbers = of(&[json!(10), json!(9), json!(1.5), json!(null)], true);
        assert_eq!((numbers.valid, numbers.range), (Valid::True, Some((json!(null), json!(10)))));
        assert_eq!(of(&[json!("b"), json!("a")], true).range, Some((json!("a"), json!("b"))));
    }
}
