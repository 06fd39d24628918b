//! A key-value store that loses writes: two replicas that are merged now and then, and the last write wins.
//!
//! Each replica has a Lamport clock, and each value the time of its write. Before each request a replica that is drawn takes up
//! what another one (or itself) holds; then the request goes to one that is drawn.

use std::collections::HashMap;

use rand::RngExt;
use rand_pcg::Pcg64;
use serde_json::Value as Json;

use super::Service;
use super::kv::{Operation, Request};

const REPLICAS: usize = 2;

#[derive(Debug, Default)]
pub(super) struct LwwKv([Replica; REPLICAS]);

#[derive(Clone, Debug, Default)]
struct Replica {
    clock: u64,
    /// The value of each key with the time of its write.
    values: HashMap<Json, (u64, Json)>,
}

impl Replica {
    /// Takes up what another replica holds. Of two values of the same time, that one's wins.
    fn merge(&mut self, other: &Replica) {
        self.clock = self.clock.max(other.clock);
        for (key, (time, value)) in &other.values {
            if self.values.get(key).is_none_or(|(own, _)| own <= time) {
                self.values.insert(key.clone(), (*time, value.clone()));
            }
        }
    }
}

impl Service for LwwKv {
    fn answer(&mut self, _: &str, body: &Json, rng: &mut Pcg64) -> Option<Json> {
        let mut request = Request::read(body)?;
        // This store creates nothing by a cas.
        if let Operation::Cas { creates, .. } = &mut request.operation {
            *creates = false;
        }
        let mut draw = || rng.random_range(0..REPLICAS);
        let (from, into, at) = (draw(), draw(), draw());
        if from != into {
            let source = std::mem::take(&mut self.0[from]);
            self.0[into].merge(&source);
            self.0[from] = source;
        }
        let replica = &mut self.0[at];
        let (answer, change) = request.apply(replica.values.get(request.key).map(|(_, value)| value));
        if let Some(value) = change {
            replica.values.insert(request.key.clone(), (replica.clock, value.clone()));
            replica.clock += 1;
        }
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use serde_json::json;

    #[test]
    fn writes_are_lost_and_what_is_left_agrees_in_the_end() {
        let (mut store, mut rng) = (LwwKv::default(), Pcg64::seed_from_u64(1));
        let read = json!({"type":"read","key":"k"});
        let mut missed = 0;
        for value in 0..200 {
            store.answer("n1", &json!({"type":"write","key":"k","value":value}), &mut rng);
            missed += usize::from(store.answer("n1", &read, &mut rng).expect("an answer")["value"] != value);
        }
        assert!(missed > 20, "{missed}");
        let shown: Vec<Json> = (0..50).filter_map(|_| store.answer("n1", &read, &mut rng)).collect();
        assert!(shown[20..].iter().all(|answer| answer["value"] == shown[49]["value"]));
    }

    #[test]
    fn a_cas_creates_nothing() {
        let (mut store, mut rng) = (LwwKv::default(), Pcg64::seed_from_u64(1));
        let cas = json!({"type":"cas","key":"k","from":0,"to":1,"create_if_not_exists":true});
        assert_eq!(store.answer("n1", &cas, &mut rng).expect("an answer")["code"], 20);
    }
}
