//! Challenge 5a: logs that are appended to and read in order, on one node.

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

#[derive(Default)]
struct Logs {
    messages: BTreeMap<String, Vec<Value>>,
    committed: BTreeMap<String, usize>,
}

type Node = Context<Logs>;

async fn send(node: Node, Send { key, msg }: Send) -> Result<Value, Error> {
    let offset = node.state(|logs| {
        let log = logs.messages.entry(key).or_default();
        log.push(msg);
        log.len() - 1
    });
    Ok(json!({ "offset": offset }))
}

async fn poll(node: Node, Offsets { offsets }: Offsets) -> Result<Value, Error> {
    let from = |log: &Vec<Value>, start| log.iter().cloned().enumerate().skip(start).collect::<Vec<_>>();
    let msgs: BTreeMap<String, Vec<(usize, Value)>> = node.state(|logs| {
        let known =
            offsets.into_iter().filter_map(|(key, start)| Some((logs.messages.get(&key)?, key, start)));
        known.map(|(log, key, start)| (key, from(log, start))).collect()
    });
    Ok(json!({ "msgs": msgs }))
}

async fn commit(node: Node, Offsets { offsets }: Offsets) -> Result<(), Error> {
    node.state(|logs| logs.committed.extend(offsets));
    Ok(())
}

async fn committed(node: Node, Keys { keys }: Keys) -> Result<Value, Error> {
    let offsets: BTreeMap<String, usize> = node.state(|logs| {
        keys.into_iter()
            .filter_map(|key| Some((logs.committed.get(&key).copied()?, key)))
            .map(|(at, key)| (key, at))
            .collect()
    });
    Ok(json!({ "offsets": offsets }))
}

fn app() -> App<Logs> {
    App::new(Logs::default())
        .on("send", send)
        .on("poll", poll)
        .on("commit_offsets", commit)
        .on("list_committed_offsets", committed)
}

pub(crate) fn main() -> ExitCode {
    app().run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use natter::workload::kafka;

    #[test]
    fn messages_stay_in_order() {
        natter::check(kafka::KIND).nodes(1).clients(4).rate(200.0).seeds(0..100).run(app);
    }

    #[test]
    #[should_panic(expected = "offset")]
    fn offsets_that_do_not_agree_are_found() {
        async fn one_too_many(node: Node, request: Send) -> Result<Value, Error> {
            let mut answer = send(node, request).await?;
            answer["offset"] = json!(answer["offset"].as_u64().map(|offset| offset + 1));
            Ok(answer)
        }
        let wrong = || app().on("send", one_too_many);
        natter::check(kafka::KIND).nodes(1).clients(4).rate(200.0).seeds(0..100).run(wrong);
    }
}
