//! The smallest broadcast node: forwards each new value to every neighbour but its sender, at once.
//!
//! No acknowledgements, no batches: what it costs follows from the topology alone, 24 messages a value on a
//! tree of 25 nodes and 56 on a grid. It loses values as soon as the network loses messages.
//!
//! ```text
//! cargo build --release --examples
//! natter test -w broadcast --bin target/release/examples/flood --node-count 25 --rate 100 --latency 100 \
//!     --time-limit 20 --topology tree4
//! ```

use std::collections::BTreeSet;
use std::io::{Write, stdin, stdout};

use serde_json::{Value, json};

fn main() -> std::io::Result<()> {
    let mut me = Value::Null;
    let mut neighbours = Vec::new();
    let mut seen = BTreeSet::new();
    for line in stdin().lines() {
        let message: Value = serde_json::from_str(&line?)?;
        let (src, body) = (&message["src"], &message["body"]);
        let mut reply = json!({});
        match body["type"].as_str() {
            Some("init") => me = body["node_id"].clone(),
            Some("topology") => {
                let mine = me.as_str().and_then(|me| body["topology"][me].as_array());
                neighbours = mine.cloned().unwrap_or_default();
            }
            Some("read") => reply["messages"] = json!(seen),
            Some("broadcast") => {
                if seen.insert(body["message"].as_i64()) {
                    for dest in neighbours.iter().filter(|neighbour| *neighbour != src) {
                        send(&me, dest, &json!({ "type": "broadcast", "message": body["message"] }))?;
                    }
                }
            }
            _ => continue,
        }
        if let (Some(kind), Some(msg_id)) = (body["type"].as_str(), body.get("msg_id")) {
            reply["type"] = json!(format!("{kind}_ok"));
            reply["in_reply_to"] = msg_id.clone();
            send(&me, src, &reply)?;
        }
    }
    Ok(())
}

fn send(src: &Value, dest: &Value, body: &Value) -> std::io::Result<()> {
    writeln!(stdout(), "{}", json!({ "src": src, "dest": dest, "body": body }))
}
