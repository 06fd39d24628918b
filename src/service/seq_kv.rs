//! A sequentially consistent key-value store: each client sees the states of the store in their order, but may see old ones.
//!
//! The last states are kept. A request is tried on a state that is drawn from those that are not older than what its client has
//! seen. If that changes nothing, the answer stands. If it would change something, the request is applied to the latest state
//! instead, which makes a new one. States are not copied: each key has its last values, each with the number of the state that
//! it came with.

use std::collections::{BTreeMap, HashMap};

use rand::RngExt;
use rand_pcg::Pcg64;
use serde_json::Value as Json;

use super::Service;
use super::kv::Request;

/// So many states are kept.
const STATES: u64 = 32;

#[derive(Debug, Default)]
pub(super) struct SeqKv {
    /// The number of the latest state; that of the empty store is zero.
    latest: u64,
    /// The values of each key, by the number of the state that each came with.
    values: HashMap<Json, BTreeMap<u64, Json>>,
    /// The number of the last state that each client saw.
    seen: HashMap<String, u64>,
}

impl SeqKv {
    /// The value of a key in a state.
    fn value(&self, key: &Json, state: u64) -> Option<&Json> {
        self.values.get(key)?.range(..=state).next_back().map(|(_, value)| value)
    }

    fn write(&mut self, key: &Json, value: Json) {
        self.latest += 1;
        let oldest = self.oldest();
        let values = self.values.entry(key.clone()).or_default();
        values.insert(self.latest, value);
        // Of what was there before the oldest state, only the last counts.
        if let Some(&first) = values.range(..=oldest).next_back().map(|(state, _)| state) {
            *values = values.split_off(&first);
        }
    }

    /// The oldest state that is kept.
    fn oldest(&self) -> u64 {
        (self.latest + 1).saturating_sub(STATES)
    }
}

impl Service for SeqKv {
    fn answer(&mut self, client: &str, body: &Json, rng: &mut Pcg64) -> Option<Json> {
        let request = Request::read(body)?;
        let seen = self.seen.get(client).copied().unwrap_or(0);
        let state = rng.random_range(seen.max(self.oldest())..=self.latest);
        let found = self.value(request.key, state);
        let (answer, change) = request.apply(found);
        if change.is_none_or(|value| found == Some(value)) {
            self.seen.insert(client.to_owned(), state);
            return Some(answer);
        }
        let (answer, change) = request.apply(self.value(request.key, self.latest));
        if let Some(value) = change.cloned() {
            self.write(request.key, value);
        }
        self.seen.insert(client.to_owned(), self.latest);
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use serde_json::json;

    #[test]
    fn each_client_sees_states_in_order_and_some_are_old() {
        let (mut store, mut rng) = (SeqKv::default(), Pcg64::seed_from_u64(1));
        let mut stale = 0;
        let mut last = [0; 3];
        for value in 1..500 {
            let write = json!({"type":"write","key":"k","value":value});
            assert_eq!(store.answer("writer", &write, &mut rng).expect("an answer")["type"], "write_ok");
            for (client, last) in last.iter_mut().enumerate() {
                let read = store.answer(&client.to_string(), &json!({"type":"read","key":"k"}), &mut rng);
                // Before it has seen anything, a client may see the empty store.
                let shown = read.expect("an answer")["value"].as_i64().unwrap_or(0);
                assert!(shown >= *last && shown > value - STATES as i64, "{shown} after {last} at {value}");
                stale += usize::from(shown < value);
                *last = shown;
            }
        }
        assert!(stale > 500, "{stale}");
        assert!(store.values[&json!("k")].len() <= STATES as usize + 1);
    }

    #[test]
    fn who_has_written_sees_that_or_later() {
        let (mut store, mut rng) = (SeqKv::default(), Pcg64::seed_from_u64(1));
        for value in 0..100 {
            let client = (value % 2).to_string();
            store.answer(&client, &json!({"type":"write","key":"k","value":value}), &mut rng);
            let read = store.answer(&client, &json!({"type":"read","key":"k"}), &mut rng).expect("an answer");
            assert_eq!(read["value"], value);
        }
    }

    #[test]
    fn a_cas_that_succeeds_does_so_on_the_latest_state() {
        let (mut store, mut rng) = (SeqKv::default(), Pcg64::seed_from_u64(1));
        store.answer("w", &json!({"type":"write","key":"k","value":0}), &mut rng);
        let mut done = 0;
        for attempt in 0..300 {
            let client = (attempt % 3).to_string();
            let cas = json!({"type":"cas","key":"k","from":done,"to":done + 1});
            done += i64::from(store.answer(&client, &cas, &mut rng).expect("an answer")["type"] == "cas_ok");
        }
        assert_eq!(store.value(&json!("k"), store.latest), Some(&json!(done)));
        assert!(done > 50, "{done}");
    }
}
