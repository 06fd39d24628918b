//! Challenge 5b: logs that all nodes share, on the linearizable store: for each key the log and the offset that was committed.

use std::collections::BTreeMap;
use std::process::ExitCode;

use natter::app::{App, Context, Error};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Send {
    key: String,
    msg: Value,
}

#[derive(Deserialize)]
struct Offsets {
    offsets: BTreeMap<String, usize>,
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<String>,
}

type Node = Context<()>;

fn log(key: &str) -> String {
    format!("log {key}")
}

fn committed(key: &str) -> String {
    format!("committed {key}")
}

async fn send(node: Node, Send { key, msg }: Send) -> Result<Value, Error> {
    let append = |log: Option<&Vec<Value>>| {
        let mut log = log.cloned().unwrap_or_default();
        log.push(msg.clone());
        log
    };
    let log = node.lin_kv().update(log(&key), append).await?;
    Ok(json!({ "offset": log.len() - 1 }))
}

async fn poll(node: Node, Offsets { offsets }: Offsets) -> Result<Value, Error> {
    let mut msgs = BTreeMap::new();
    for (key, start) in offsets {
        let messages: Vec<Value> = node.lin_kv().read(log(&key)).await?.unwrap_or_default();
        let messages: Vec<(usize, Value)> = messages.into_iter().enumerate().skip(start).collect();
        msgs.insert(key, messages);
    }
    Ok(json!({ "msgs": msgs }))
}

async fn commit(node: Node, Offsets { offsets }: Offsets) -> Result<(), Error> {
    for (key, offset) in offsets {
        let later = |former: Option<&usize>| offset.max(former.copied().unwrap_or(0));
        node.lin_kv().update(committed(&key), later).await?;
    }
    Ok(())
}

async fn list_committed(node: Node, Keys { keys }: Keys) -> Result<Value, Error> {
    let mut offsets = BTreeMap::new();
    for key in keys {
        if let Some(offset) = node.lin_kv().read::<usize>(committed(&key)).await? {
            offsets.insert(key, offset);
        }
    }
    Ok(json!({ "offsets": offsets }))
}

fn app() -> App<()> {
    App::new(())
        .on("send", send)
        .on("poll", poll)
        .on("commit_offsets", commit)
        .on("list_committed_offsets", list_committed)
}

pub(crate) fn main() -> ExitCode {
    app().run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use natter::cluster::scenario::FaultKind::{Kill, Partition, Pause};
    use natter::cluster::scenario::LatencyDist;
    use natter::workload::kafka;
    use std::time::Duration;

    #[test]
    fn messages_stay_in_order_and_none_is_lost() {
        natter::check(kafka::KIND)
            .nodes(2)
            .clients(2)
            .rate(100.0)
            .faults([Partition, Kill, Pause])
            .seeds(0..100)
            .run(app);
    }

    #[test]
    #[should_panic(expected = "different messages")]
    fn nodes_that_come_in_between_each_other_are_found() {
        async fn read_then_write(node: Node, Send { key, msg }: Send) -> Result<Value, Error> {
            let mut messages: Vec<Value> = node.lin_kv().read(log(&key)).await?.unwrap_or_default();
            messages.push(msg);
            node.lin_kv().write(log(&key), &messages).await?;
            Ok(json!({ "offset": messages.len() - 1 }))
        }
        let wrong = || app().on("send", read_then_write);
        natter::check(kafka::KIND)
            .nodes(2)
            .clients(2)
            .rate(100.0)
            .latency(Duration::from_millis(10), LatencyDist::Uniform)
            .seeds(0..100)
            .run(wrong);
    }
}
