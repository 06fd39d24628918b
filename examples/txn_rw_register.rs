//! Challenge 6: registers that are read and written in transactions, at all times, also by nodes that are cut off.
//!
//! A transaction is done by the node that gets it, in one step, and what it wrote last of each key is then told to all other
//! nodes in one message. So nobody sees half of a transaction, or a value that was overwritten within it (read committed). Of two
//! writes of a key the one with the later stamp counts everywhere; a stamp is a count that is greater than any the node has seen,
//! and the node's name.

use std::collections::BTreeMap;
use std::process::ExitCode;

use natter::app::{App, Context, Error};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A read or a write: `["r", key, null]` or `["w", key, value]`.
type MicroOp = (String, u64, Value);

#[derive(Deserialize)]
struct Txn {
    txn: Vec<MicroOp>,
}

type Stamp = (u64, String);

#[derive(Deserialize, Serialize)]
struct Writes {
    stamp: Stamp,
    writes: BTreeMap<u64, Value>,
}

#[derive(Default)]
struct Store {
    count: u64,
    registers: BTreeMap<u64, (Stamp, Value)>,
}

impl Store {
    fn write(&mut self, stamp: &Stamp, key: u64, value: Value) {
        self.count = self.count.max(stamp.0);
        let is_later = self.registers.get(&key).is_none_or(|(former, _)| former < stamp);
        if is_later {
            self.registers.insert(key, (stamp.clone(), value));
        }
    }
}

type Node = Context<Store>;

async fn txn(node: Node, Txn { mut txn }: Txn) -> Result<Value, Error> {
    let told = node.state(|store| {
        let stamp = (store.count + 1, node.id().to_string());
        let mut writes = BTreeMap::new();
        for (kind, key, value) in &mut txn {
            if kind == "w" {
                writes.insert(*key, value.clone());
            } else {
                let register = store.registers.get(key).map(|(_, value)| value);
                *value = writes.get(key).or(register).cloned().unwrap_or(Value::Null);
            }
        }
        for (&key, value) in &writes {
            store.write(&stamp, key, value.clone());
        }
        Writes { stamp, writes }
    });
    if !told.writes.is_empty() {
        tell_others(&node, &told);
    }
    Ok(json!({ "txn": txn }))
}

fn tell_others(node: &Node, told: &Writes) {
    let mut body = json!(told);
    body["type"] = "writes".into();
    for other in node.others() {
        let telling = node.rpc(other, &body).until_answered();
        node.spawn(async move {
            let _ = telling.await;
        });
    }
}

async fn writes(node: Node, Writes { stamp, writes }: Writes) -> Result<(), Error> {
    node.state(|store| writes.into_iter().for_each(|(key, value)| store.write(&stamp, key, value)));
    Ok(())
}

fn app() -> App<Store> {
    App::new(Store::default()).on("txn", txn).on("writes", writes)
}

pub(crate) fn main() -> ExitCode {
    app().run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use natter::check::availability::Availability;
    use natter::cluster::scenario::FaultKind::Partition;
    use natter::workload::{Options, txn_rw_register};

    #[test]
    fn transactions_are_read_committed_and_nodes_answer_while_they_are_cut_off() {
        let options = Options {
            consistency_models: vec!["read-committed".parse().expect("a model")],
            ..Options::default()
        };
        natter::check(txn_rw_register::KIND)
            .nodes(2)
            .clients(2)
            .rate(200.0)
            .options(options)
            .faults([Partition])
            .availability(Availability::Total)
            .seeds(0..100)
            .run(app);
    }

    #[test]
    #[should_panic(expected = "G1")]
    fn writes_that_others_see_one_by_one_are_found() {
        async fn one_by_one(node: Node, request: Txn) -> Result<Value, Error> {
            for (_, key, value) in request.txn.iter().filter(|(kind, ..)| kind == "w") {
                let stamp = node.state(|store| (store.count + 1, node.id().to_string()));
                let told = Writes { stamp, writes: BTreeMap::from([(*key, value.clone())]) };
                tell_others(&node, &told);
                node.state(|store| store.write(&told.stamp, *key, value.clone()));
                node.sleep(std::time::Duration::from_millis(5)).await;
            }
            txn(node, request).await
        }
        let options = Options {
            consistency_models: vec!["read-committed".parse().expect("a model")],
            ..Options::default()
        };
        let check = natter::check(txn_rw_register::KIND).nodes(2).clients(2).rate(200.0).options(options);
        check.seeds(0..100).run(|| app().on("txn", one_by_one));
    }
}
