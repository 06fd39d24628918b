//! A set that only grows: each node tells the others all that it holds, now and then.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use natter::app::{App, Context, Error};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Add {
    element: i64,
}

#[derive(Deserialize)]
struct Merge {
    value: BTreeSet<i64>,
}

type Node = Context<BTreeSet<i64>>;

async fn add(node: Node, Add { element }: Add) -> Result<(), Error> {
    node.state(|set| set.insert(element));
    Ok(())
}

async fn read(node: Node, _: Value) -> Result<Value, Error> {
    Ok(json!({ "value": node.state(|set| set.clone()) }))
}

async fn merge(node: Node, Merge { value }: Merge) -> Result<(), Error> {
    node.state(|set| set.extend(value));
    Ok(())
}

async fn tell_others(node: Node) {
    let set = node.state(|set| set.clone());
    for other in node.others() {
        node.send(other, json!({ "type": "merge", "value": set }));
    }
}

fn app() -> App<BTreeSet<i64>> {
    App::new(BTreeSet::new())
        .on("add", add)
        .on("read", read)
        .on("merge", merge)
        .every(Duration::from_secs(1), tell_others)
}

fn main() -> ExitCode {
    app().run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use natter::cluster::scenario::FaultKind::{Kill, Loss, Partition, Pause};
    use natter::workload::g_set;

    #[test]
    fn every_final_read_shows_all_that_lives() {
        natter::check(g_set::KIND).faults([Partition, Kill, Pause, Loss]).seeds(0..100).run(app);
    }

    #[test]
    #[should_panic(expected = "does not show it")]
    fn a_node_that_tells_others_once_is_found() {
        async fn add_and_tell(node: Node, request: Add) -> Result<(), Error> {
            add(node.clone(), request).await?;
            tell_others(node).await;
            Ok(())
        }
        let wrong = || App::new(BTreeSet::new()).on("add", add_and_tell).on("read", read).on("merge", merge);
        natter::check(g_set::KIND).faults([Partition]).seeds(0..100).run(wrong);
    }
}
