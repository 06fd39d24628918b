//! Transactions over some keys: what the two workloads of that kind have in common.

use rand::RngExt;
use rand_pcg::Pcg64;
use serde_json::{Value as Json, json};

use super::{Answered, Call, Op, Options, Rpc, Workload, list};
use crate::history::OpValue;
use crate::node::Time;

/// Keys in use, and what to write to them next.
///
/// A key is drawn so that each one in use is twice as likely as the one before it. It is written the values 1, 2, 3, …; when it has
/// had enough of them, the next key that nobody has used takes its place.
#[derive(Debug)]
pub(super) struct Keys {
    /// Each with the next value to write.
    active: Vec<(i64, i64)>,
    next_key: i64,
    writes_max: i64,
}

impl Keys {
    pub(super) fn new(options: &Options) -> Self {
        let count = i64::from(options.key_count);
        Self {
            active: (0..count).map(|key| (key, 1)).collect(),
            next_key: count,
            writes_max: options.max_writes_per_key.into(),
        }
    }

    /// Draws what to do to which key: nothing to write means a read.
    pub(super) fn draw(&mut self, rng: &mut Pcg64) -> (i64, Option<i64>) {
        loop {
            let is_read: bool = rng.random();
            let place = self.place(rng);
            let (key, next_value) = &mut self.active[place];
            if is_read {
                return (*key, None);
            }
            if *next_value <= self.writes_max {
                *next_value += 1;
                return (*key, Some(*next_value - 1));
            }
            self.active[place] = (self.next_key, 1);
            self.next_key += 1;
        }
    }

    /// Of n places, the last is drawn with a probability of about a half, the one before it with a fourth, …
    fn place(&self, rng: &mut Pcg64) -> usize {
        let n = self.active.len() as i32;
        let powers = libm::exp2(f64::from(n)) - 1.0;
        let drawn = libm::log2(1.0 + rng.random::<f64>() * powers) as usize;
        drawn.min(self.active.len() - 1)
    }
}

/// The clients of transactions.
#[derive(Debug)]
pub(super) struct Txn {
    keys: Keys,
    length_max: u32,
    /// The name of a write.
    write: &'static str,
    /// Whether reads show lists.
    reads_lists: bool,
}

impl Txn {
    pub(super) fn new(options: &Options, write: &'static str, reads_lists: bool) -> Self {
        Self { keys: Keys::new(options), length_max: options.max_txn_length, write, reads_lists }
    }

    /// Whether an answered operation has the form of one. Whether it is the one that was asked is for the checker to find: it judges
    /// what the node says that it did, as in Maelstrom.
    fn has_form(&self, operation: &Json) -> bool {
        let Some([f, _, value]) = operation.as_array().map(Vec::as_slice) else { return false };
        let is_list = value.is_null() || value.is_array();
        f == self.write || f == "r" && (is_list || !self.reads_lists)
    }
}

impl Workload for Txn {
    fn next_op(&mut self, _: Time, _: usize, rng: &mut Pcg64) -> Option<Op> {
        let length = rng.random_range(1..=self.length_max);
        let micro_op = |_| match self.keys.draw(rng) {
            (key, None) => json!(["r", key, null]),
            (key, Some(value)) => json!([self.write, key, value]),
        };
        let txn: Vec<Json> = (0..length).map(micro_op).collect();
        Some(Op::new("txn", OpValue::Json(json!(txn))))
    }

    fn call(&mut self, _: usize, op: &Op) -> Call {
        Call::Rpc(Rpc::new("txn", json!({ "txn": op.value })))
    }

    fn result_field(&self, _: &str) -> Option<&'static str> {
        Some("txn")
    }

    fn answered(&mut self, _: usize, _: &Op, _: &str, field: &str) -> Result<Answered, String> {
        let answered: Vec<Json> = list(field)?;
        if let Some(place) = answered.iter().position(|operation| !self.has_form(operation)) {
            let shown = if self.reads_lists { ", in which a read shows a list or null" } else { "" };
            let write = self.write;
            return Err(format!("operation {place} is no [\"r\" or {write:?}, key, value]{shown}"));
        }
        Ok(Answered::Done(OpValue::Json(json!(answered))))
    }

    fn keeps_clients(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use std::collections::BTreeMap;

    #[test]
    fn later_keys_are_twice_as_likely_and_full_ones_are_replaced() {
        let options = Options { key_count: 3, max_writes_per_key: 4, ..Options::default() };
        let keys = Keys::new(&options);
        let mut rng = Pcg64::seed_from_u64(1);
        let mut drawn = [0.0; 3];
        (0..7000).for_each(|_| drawn[keys.place(&mut rng)] += 1.0);
        assert!((1.8..2.2).contains(&(drawn[1] / drawn[0])) && (1.8..2.2).contains(&(drawn[2] / drawn[1])));
        let mut keys = Keys::new(&options);
        let mut written: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for _ in 0..1000 {
            if let (key, Some(value)) = keys.draw(&mut rng) {
                written.entry(key).or_default().push(value);
            }
        }
        assert!(
            written.len() > 100 && written.values().all(|values| *values == [1, 2, 3, 4][..values.len()])
        );
    }

    #[test]
    fn an_answer_is_judged_by_its_form_alone() {
        let mut txn = Txn::new(&Options::default(), "append", true);
        let op = Op::new("txn", OpValue::Json(json!([["r", 1, null], ["append", 2, 3]])));
        let mut answered = |field: &str| txn.answered(0, &op, "txn", field);
        // The second one was not asked for: that is for the checker.
        for good in
            [json!([["r", 1, [5]], ["append", 2, 3]]), json!([["append", 9, 3]]), json!([["r", 1, null]])]
        {
            assert_eq!(answered(&good.to_string()), Ok(Answered::Done(OpValue::Json(good))));
        }
        for bad in [r#"[["r",1,5]]"#, r#"[["r",1,[5],6]]"#, r#"[["r",1]]"#, r#"[["w",1,2]]"#, r#"{"r":1}"#] {
            assert!(answered(bad).is_err(), "{bad}");
        }
    }
}
