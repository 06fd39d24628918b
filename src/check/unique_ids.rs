//! Whether no id was handed out twice.

use std::collections::BTreeMap;

use serde::Serialize;

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
    use crate::check::tests::history;
    use EventKind::{Invoke, Ok};
    use serde_json::json;

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
