//! Challenge 5c: logs with few messages. The first node keeps all logs; the others hand it their requests, two messages for each.

use std::collections::BTreeMap;
use std::process::ExitCode;

use natter::app::{App, Context, Error};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Deserialize, Serialize)]
struct Send {
    key: String,
    msg: Value,
}

#[derive(Deserialize, Serialize)]
struct Offsets {
    offsets: BTreeMap<String, usize>,
}

#[derive(Deserialize, Serialize)]
struct Keys {
    keys: Vec<String>,
}

#[derive(Default)]
struct Logs {
    messages: BTreeMap<String, Vec<Value>>,
    committed: BTreeMap<String, usize>,
}

type Node = Context<Logs>;

/// Asks the node that keeps the logs; nothing if this node does.
async fn forwarded(node: &Node, kind: &str, request: impl Serialize) -> Option<Result<Value, Error>> {
    let keeper = &node.members()[0];
    if keeper == node.id() {
        return None;
    }
    let mut body = json!(request);
    body["type"] = kind.into();
    Some(node.rpc(keeper, body).await)
}

async fn send(node: Node, request: Send) -> Result<Value, Error> {
    if let Some(answer) = forwarded(&node, "send", &request).await {
        return answer;
    }
    let offset = node.state(|logs| {
        let log = logs.messages.entry(request.key).or_default();
        log.push(request.msg);
        log.len() - 1
    });
    Ok(json!({ "offset": offset }))
}

async fn poll(node: Node, request: Offsets) -> Result<Value, Error> {
    if let Some(answer) = forwarded(&node, "poll", &request).await {
        return answer;
    }
    let mut msgs: BTreeMap<String, Vec<(usize, Value)>> = BTreeMap::new();
    node.state(|logs| {
        for (key, start) in request.offsets {
            if let Some(log) = logs.messages.get(&key) {
                msgs.insert(key, log.iter().cloned().enumerate().skip(start).collect());
            }
        }
    });
    Ok(json!({ "msgs": msgs }))
}

async fn commit(node: Node, request: Offsets) -> Result<Value, Error> {
    if let Some(answer) = forwarded(&node, "commit_offsets", &request).await {
        return answer;
    }
    node.state(|logs| {
        for (key, offset) in request.offsets {
            let committed = logs.committed.entry(key).or_default();
            *committed = offset.max(*committed);
        }
    });
    Ok(json!({}))
}

async fn list_committed(node: Node, request: Keys) -> Result<Value, Error> {
    if let Some(answer) = forwarded(&node, "list_committed_offsets", &request).await {
        return answer;
    }
    let mut offsets = BTreeMap::new();
    node.state(|logs| {
        for key in request.keys {
            if let Some(&offset) = logs.committed.get(&key) {
                offsets.insert(key, offset);
            }
        }
    });
    Ok(json!({ "offsets": offsets }))
}

fn app() -> App<Logs> {
    App::new(Logs::default())
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
    use natter::cluster::scenario::FaultKind::{Partition, Pause};
    use natter::workload::kafka;

    #[test]
    fn messages_stay_in_order_and_none_is_lost() {
        natter::check(kafka::KIND)
            .nodes(2)
            .clients(2)
            .rate(100.0)
            .faults([Partition, Pause])
            .seeds(0..100)
            .run(app);
    }

    #[test]
    #[should_panic(expected = "different messages")]
    fn nodes_that_keep_logs_each_for_itself_are_found() {
        async fn send_here(node: Node, request: Send) -> Result<Value, Error> {
            let offset = node.state(|logs| {
                let log = logs.messages.entry(request.key).or_default();
                log.push(request.msg);
                log.len() - 1
            });
            Ok(json!({ "offset": offset }))
        }
        let wrong = || app().on("send", send_here);
        natter::check(kafka::KIND).nodes(2).clients(2).rate(100.0).seeds(0..100).run(wrong);
    }
}
