//! Challenge 3: values that clients tell one node reach every node, whatever is cut off, lost or killed.
//!
//! Each node keeps the values that each other node is known to hold. Twice a second it tells each of them what that one may lack, all
//! in one message, until that is answered. A node that was killed has forgotten everything: it says so, and what it said in its former
//! life counts no more, however late it comes.

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

#[derive(Deserialize)]
struct Hello {
    life: u64,
}

#[derive(Deserialize, Serialize)]
struct Gossip {
    life: u64,
    values: Vec<i64>,
}

#[derive(Default)]
struct State {
    values: BTreeSet<i64>,
    /// A number that no other life has.
    life: u64,
    others: BTreeMap<String, Other>,
}

/// Another node: its life, and what that is known to hold.
#[derive(Default)]
struct Other {
    life: u64,
    known: BTreeSet<i64>,
}

type Node = Context<State>;

async fn broadcast(node: Node, request: Broadcast) -> Result<(), Error> {
    node.state(|state| state.values.insert(request.message));
    Ok(())
}

async fn read(node: Node, _: Value) -> Result<Value, Error> {
    Ok(json!({ "messages": node.state(|state| state.values.clone()) }))
}

/// Another node tells values.
async fn gossip(node: Node, Gossip { life, values }: Gossip) -> Result<(), Error> {
    node.state(|state| {
        if let Some(other) = state.others.get_mut(node.src()).filter(|other| other.life == life) {
            other.known.extend(&values);
        }
        state.values.extend(values);
    });
    Ok(())
}

/// Another node has been started and holds nothing.
async fn hello(node: Node, Hello { life }: Hello) -> Result<(), Error> {
    node.state(|state| state.others.insert(node.src().to_owned(), Other { life, ..Other::default() }));
    Ok(())
}

async fn say_hello(node: Node) {
    let life = node.random();
    node.state(|state| state.life = life);
    for other in node.others() {
        let hello = node.rpc(other, json!({ "type": "hello", "life": life })).until_answered();
        node.spawn(async move { drop(hello.await) });
    }
}

async fn tell_others(node: Node) {
    for name in node.others() {
        let (life, gossip) = node.state(|state| {
            let other = state.others.entry(name.to_owned()).or_default();
            let values = state.values.difference(&other.known).copied().collect();
            (other.life, Gossip { life: state.life, values })
        });
        if gossip.values.is_empty() {
            continue;
        }
        let (telling, name) = (node.clone(), name.to_owned());
        node.spawn(async move {
            let mut body = json!(gossip);
            body["type"] = "gossip".into();
            if telling.rpc(&name, body).await.is_ok() {
                telling.state(|state| {
                    let other = state.others.entry(name).or_default();
                    // It may have been killed meanwhile.
                    if other.life == life {
                        other.known.extend(gossip.values);
                    }
                });
            }
        });
    }
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
    fn two_nodes_that_are_often_killed_lose_nothing_either() {
        natter::check(broadcast::KIND)
            .nodes(2)
            .latency(Duration::from_millis(200), LatencyDist::Constant)
            .nemesis_interval(Duration::from_millis(300))
            .faults([Kill, Slow])
            .seeds(0..200)
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
            for name in node.others() {
                let values: Vec<i64> = node.state(|state| {
                    let known = &mut state.others.entry(name.to_owned()).or_default().known;
                    let values = state.values.difference(known).copied().collect();
                    known.clone_from(&state.values);
                    values
                });
                node.send(name, json!({ "type": "gossip", "life": 0, "values": values }));
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
