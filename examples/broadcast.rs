//! Challenge 3: values that clients tell one node reach every node, whatever is cut off, lost or killed.
//!
//! Each node keeps the values that each other node is known to hold. Several times a second it tells each of them what that one
//! may lack, all in one message, and takes the answer for granted. A node that was killed has forgotten everything, and says so.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Duration;

use natter::app::{App, Context, Error};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Broadcast {
    message: i64,
}

#[derive(Deserialize, Serialize)]
struct Gossip {
    values: Vec<i64>,
}

#[derive(Default)]
struct State {
    values: BTreeSet<i64>,
    /// What each other node is known to hold.
    known: BTreeMap<String, BTreeSet<i64>>,
}

type Node = Context<State>;

async fn broadcast(node: Node, request: Broadcast) -> Result<(), Error> {
    node.state(|state| state.values.insert(request.message));
    Ok(())
}

async fn read(node: Node, _: Value) -> Result<Value, Error> {
    Ok(json!({ "messages": node.state(|state| state.values.clone()) }))
}

/// Another node tells values: it holds them.
async fn gossip(node: Node, Gossip { values }: Gossip) -> Result<(), Error> {
    node.state(|state| {
        state.known.entry(node.src().to_owned()).or_default().extend(&values);
        state.values.extend(values);
    });
    Ok(())
}

/// Another node has been started and holds nothing.
async fn hello(node: Node, _: Value) -> Result<(), Error> {
    node.state(|state| state.known.remove(node.src()));
    Ok(())
}

async fn say_hello(node: Node) {
    for other in others(&node) {
        let asking = node.clone();
        node.spawn(async move {
            let _ = asking.rpc(other, json!({ "type": "hello" })).until_answered().await;
        });
    }
}

async fn tell_others(node: Node) {
    for other in others(&node) {
        let values: Vec<i64> = node.state(|state| {
            let known = state.known.entry(other.clone()).or_default();
            state.values.difference(known).copied().collect()
        });
        if values.is_empty() {
            continue;
        }
        let telling = node.clone();
        node.spawn(async move {
            let gossip = json!({ "type": "gossip", "values": values });
            if telling.rpc(other.clone(), gossip).await.is_ok() {
                telling.state(|state| state.known.entry(other).or_default().extend(values));
            }
        });
    }
}

fn others(node: &Node) -> Vec<String> {
    node.members().iter().filter(|member| ***member != *node.id()).cloned().collect()
}

fn app() -> App<State> {
    App::new(State::default())
        .on("broadcast", broadcast)
        .on("read", read)
        .on("gossip", gossip)
        .on("hello", hello)
        .on_start(say_hello)
        .every(Duration::from_millis(500), tell_others)
}

fn main() -> ExitCode {
    app().run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use natter::cluster::scenario::FaultKind::{
        Duplication, Kill, Loss, OneWay, Partition, Pause, Reordering, Slow,
    };
    use natter::cluster::scenario::LatencyDist;
    use natter::cluster::scripted::{Fate, Scripted};
    use natter::workload::broadcast;

    #[test]
    fn nothing_is_lost_whatever_happens() {
        let faults = [Partition, OneWay, Kill, Pause, Loss, Duplication, Reordering, Slow];
        natter::check(broadcast::KIND)
            .latency(Duration::from_millis(50), LatencyDist::Exponential)
            .faults(faults)
            .seeds(0..100)
            .run(app);
    }

    #[test]
    fn what_is_lost_is_sent_again() {
        let mut cluster = Scripted::started((0..3).map(|_| app()).collect());
        cluster.fate = Box::new(|message| if message.dest == "n2" { Fate::Lose } else { Fate::Deliver });
        cluster.ask(0, json!({ "type": "broadcast", "message": 7 }));
        cluster.run_for(Duration::from_secs(2));
        assert_eq!(cluster.ask(2, json!({ "type": "read" }))["messages"], json!([]));
        cluster.fate = Box::new(|_| Fate::Deliver);
        cluster.run_for(Duration::from_secs(2));
        assert_eq!(cluster.ask(2, json!({ "type": "read" }))["messages"], json!([7]));
    }

    #[test]
    #[should_panic(expected = "does not show it")]
    fn a_node_that_does_not_look_whether_it_is_answered_is_found() {
        async fn tell_once(node: Node) {
            for other in others(&node) {
                let values: Vec<i64> = node.state(|state| {
                    let known = state.known.entry(other.clone()).or_default();
                    let values = state.values.difference(known).copied().collect();
                    known.clone_from(&state.values);
                    values
                });
                node.send(&other, json!({ "type": "gossip", "values": values }));
            }
        }
        let wrong = || {
            App::new(State::default())
                .on("broadcast", broadcast)
                .on("read", read)
                .on("gossip", gossip)
                .every(Duration::from_millis(500), tell_once)
        };
        natter::check(broadcast::KIND).faults([Loss]).seeds(0..100).run(wrong);
    }
}
