//! Timestamps: 0, 1, 2, …, each handed out once.

use rand_pcg::Pcg64;
use serde_json::{Value as Json, json};

use super::Service;

#[derive(Debug, Default)]
pub(super) struct LinTso {
    next: u64,
}

impl Service for LinTso {
    fn answer(&mut self, _: &str, request: &Json, _: &mut Pcg64) -> Option<Json> {
        let is_asked = request["type"] == "ts";
        is_asked.then(|| {
            self.next += 1;
            json!({ "type": "ts_ok", "ts": self.next - 1 })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn timestamps_count_from_zero() {
        let (mut tso, mut rng) = (LinTso::default(), Pcg64::seed_from_u64(1));
        let stamps: Vec<Json> =
            (0..3).filter_map(|_| tso.answer("n1", &json!({"type":"ts"}), &mut rng)).collect();
        assert_eq!(stamps[2], json!({"type":"ts_ok","ts":2}));
        assert_eq!(tso.answer("n1", &json!({"type":"read"}), &mut rng), None);
    }
}
