//! Challenge 3, as simply as it can be: a node tells each new value to its neighbours at once, each by a message of its own, and
//! tells it again until it is answered.

use std::collections::BTreeSet;
use std::process::ExitCode;

use natter::app::{App, Context, Error};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Broadcast {
    message: i64,
}

type Node = Context<BTreeSet<i64>>;

/// A client or a neighbour tells a value.
async fn broadcast(node: Node, Broadcast { message }: Broadcast) -> Result<(), Error> {
    if node.state(|values| values.insert(message)) {
        for neighbour in node.neighbours().iter().filter(|&neighbour| neighbour != node.src()) {
            let request = node.rpc(neighbour, json!({ "type": "broadcast", "message": message }));
            node.spawn(async move { drop(request.until_answered().await) });
        }
    }
    Ok(())
}

async fn read(node: Node, _: Value) -> Result<Value, Error> {
    Ok(json!({ "messages": node.state(|values| values.clone()) }))
}

fn app() -> App<BTreeSet<i64>> {
    App::new(BTreeSet::new()).on("broadcast", broadcast).on("read", read)
}

fn main() -> ExitCode {
    app().run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use natter::cluster::scenario::FaultKind::{Duplication, Loss, Partition};
    use natter::workload::broadcast;

    #[test]
    fn nothing_is_lost_where_links_fail() {
        natter::check(broadcast::KIND).faults([Partition, Loss, Duplication]).seeds(0..100).run(app);
    }

    #[test]
    #[should_panic(expected = "does not show it")]
    fn a_node_that_tells_each_value_once_is_found() {
        async fn tell_once(node: Node, Broadcast { message }: Broadcast) -> Result<(), Error> {
            if node.state(|values| values.insert(message)) {
                for neighbour in &*node.neighbours() {
                    node.send(neighbour, json!({ "type": "broadcast", "message": message }));
                }
            }
            Ok(())
        }
        let wrong = || App::new(BTreeSet::new()).on("broadcast", tell_once).on("read", read);
        natter::check(broadcast::KIND).faults([Partition]).seeds(0..100).run(wrong);
    }
}
