//! A linearizable key-value store: one state, and one request after the other.

use std::collections::HashMap;

use rand_pcg::Pcg64;
use serde_json::Value as Json;

use super::Service;
use super::kv::Request;

#[derive(Debug, Default)]
pub(super) struct LinKv(HashMap<Json, Json>);

impl Service for LinKv {
    fn answer(&mut self, _: &str, body: &Json, _: &mut Pcg64) -> Option<Json> {
        let request = Request::read(body)?;
        let (answer, change) = request.apply(self.0.get(request.key));
        if let Some(value) = change {
            self.0.insert(request.key.clone(), value.clone());
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
    fn requests_do_what_maelstroms_do() {
        let mut store = LinKv::default();
        let mut rng = Pcg64::seed_from_u64(1);
        let cas = |from, to, creates| json!({"type":"cas","key":"k","from":from,"to":to,"create_if_not_exists":creates});
        for (request, kind, code) in [
            (json!({"type":"read","key":"k"}), "error", Some(20)),
            (cas(1, 2, false), "error", Some(20)),
            (cas(1, 2, true), "cas_ok", None),
            (cas(1, 3, true), "error", Some(22)),
            (cas(2, 3, false), "cas_ok", None),
            (json!({"type":"write","key":{"any":[1]},"value":null}), "write_ok", None),
            (json!({"type":"read","key":{"any":[1]}}), "read_ok", None),
        ] {
            let answer = store.answer("n1", &request, &mut rng).expect("an answer");
            assert_eq!((&answer["type"], answer["code"].as_i64()), (&json!(kind), code), "{request}");
        }
        let read = store.answer("n1", &json!({"type":"read","key":"k"}), &mut rng).expect("an answer");
        assert_eq!(read, json!({"type":"read_ok","value":3}));
        let mismatch = store.answer("n1", &cas(1, 2, false), &mut rng).expect("an answer");
        assert_eq!(mismatch["text"], "current value 3 is not 1");
    }
}
