//! What nodes are given to work on, and what they must answer.

use std::fmt::Write as _;
use std::ops::Range;

use clap::ValueEnum;
use serde::Serialize;

use crate::protocol::BATCH_MAX;

/// A kind of message, and many of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    /// Echo requests to one of 25 nodes
    Echo,
    /// Broadcasts of distinct values to a node that is alone
    Broadcast,
    /// Deltas of 64 new values each, from a peer
    Delta,
    /// Reads of 10,000 values
    Read,
}

/// How many values a read shows.
const READ_VALUES: u64 = 10_000;

impl Load {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Echo, Self::Broadcast, Self::Delta, Self::Read];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Broadcast => "broadcast",
            Self::Delta => "delta",
            Self::Read => "read",
        }
    }

    /// How many messages it has if nobody says otherwise: what takes the simple design some seconds.
    #[must_use]
    pub const fn messages(self) -> u64 {
        match self {
            Self::Echo => 1_000_000,
            Self::Broadcast => 300_000,
            Self::Delta => 30_000,
            Self::Read => 10_000,
        }
    }

    fn nodes(self) -> usize {
        match self {
            Self::Echo => 25,
            Self::Broadcast | Self::Read => 1,
            Self::Delta => 2,
        }
    }
}

/// A load, written out.
#[derive(Clone, Debug)]
pub struct Input {
    /// Which one.
    pub load: Load,
    /// How many messages of its kind.
    pub messages: u64,
    /// What a node is to be made ready with: whole lines, each of which is answered.
    pub preamble: String,
    /// The messages: whole lines, each of which is answered.
    pub lines: String,
}

impl Input {
    /// A load of so many messages.
    #[must_use]
    pub fn new(load: Load, messages: u64) -> Self {
        let names: Vec<String> = (0..load.nodes()).map(|index| format!("n{index}")).collect();
        let neighbours: serde_json::Map<_, _> = names
            .iter()
            .map(|name| {
                let others = names.iter().filter(|other| *other != name).cloned().collect::<Vec<_>>();
                (name.clone(), others.into())
            })
            .collect();
        let init = serde_json::json!({ "type": "init", "node_id": "n0", "node_ids": names, "msg_id": 1 });
        let topology = serde_json::json!({ "type": "topology", "topology": neighbours, "msg_id": 2 });
        let (mut preamble, mut lines) = (String::new(), String::new());
        for body in [init, topology] {
            line(&mut preamble, 0, "c0", &body.to_string());
        }
        if load == Load::Read {
            broadcasts(&mut preamble, 0..READ_VALUES);
        }
        match load {
            Load::Echo => (0..messages).for_each(|id| {
                let body = format!(r#"{{"type":"echo","echo":"Please echo {}","msg_id":{id}}}"#, id % 128);
                line(&mut lines, id, "c2", &body);
            }),
            Load::Broadcast => broadcasts(&mut lines, 0..messages),
            Load::Delta => (0..messages).for_each(|id| {
                let first = id * BATCH_MAX as u64;
                let values = Vec::from_iter(first..first + BATCH_MAX as u64);
                let body = format!(r#"{{"type":"delta","generation":{id},"values":{values:?}}}"#);
                line(&mut lines, id, "n1", &body);
            }),
            Load::Read => (0..messages).for_each(|id| {
                line(&mut lines, id, "c2", &format!(r#"{{"type":"read","msg_id":{id}}}"#));
            }),
        }
        Self { load, messages, preamble, lines }
    }

    /// What each answer to one of the messages has in it, and nothing else that the node says.
    #[must_use]
    pub fn answer(&self) -> String {
        format!("\"{}_ok\"", self.load.name())
    }
}

fn broadcasts(lines: &mut String, values: Range<u64>) {
    for value in values {
        line(lines, value, "c2", &format!(r#"{{"type":"broadcast","message":{value},"msg_id":{value}}}"#));
    }
}

fn line(lines: &mut String, id: u64, src: &str, body: &str) {
    writeln!(lines, r#"{{"id":{id},"src":"{src}","dest":"n0","body":{body}}}"#).expect("memory takes it");
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;

    #[test]
    fn every_load_is_lines_of_json_of_its_kind() {
        for load in Load::ALL {
            let input = Input::new(load, 3);
            let kinds = |lines: &str| -> Vec<Json> {
                let parse = |line| serde_json::from_str::<Json>(line).expect("JSON")["body"]["type"].take();
                lines.lines().map(parse).collect()
            };
            assert_eq!(kinds(&input.lines), [load.name(); 3]);
            assert_eq!(kinds(&input.preamble)[..2], ["init", "topology"]);
        }
        let deltas = Input::new(Load::Delta, 2).lines;
        assert!(deltas.contains("63]}") && deltas.contains("[64, ") && deltas.contains("127]}"));
    }
}
