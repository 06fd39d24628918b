//! The auditor: watches every step of every node, and knows what each must hold.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use foldhash::fast::FixedState;
use serde::Deserialize;

use super::{Failure, WATCHED_MIN};
use crate::node::{Inspect, Time};
use crate::protocol::Value;
use crate::workbench::network::Endpoint;
use crate::workbench::virtual_time::{Act, Watch};

/// What is known of all nodes.
#[derive(Debug)]
pub(super) struct Auditor {
    /// What each node has been told, by clients and peers: what it must hold.
    told: Vec<HashSet<Value, FixedState>>,
    /// What the node that acts now was told by the line that it handles.
    news: Vec<Value>,
    batch_max: usize,
    whereabouts_of: Option<Value>,
    /// Values whose last holder was killed. A message that was under way may bring one back.
    orphaned: HashSet<Value, FixedState>,
    /// When that last happened.
    pub(super) last_revival: Time,
    /// The last step.
    pub(super) now: Time,
    /// When a node last learnt a value.
    pub(super) last_learnt: Time,
    /// The value that it learnt.
    pub(super) last_news: Option<Value>,
    /// When a node last sent a message to another.
    pub(super) last_sent: Time,
    /// How many they sent in each second.
    sent_in: BTreeMap<u64, usize>,
    /// The value that an invariant broke about.
    pub(super) suspect: Option<Value>,
    /// What each node was told, in the end: what it holds, if the run got that far.
    pub(super) holdings: Vec<BTreeSet<Value>>,
    /// The first node that did otherwise than planned in the end, and what.
    pub(super) departure: Option<(usize, String)>,
    /// Where the value that was asked for waits, by node.
    pub(super) whereabouts: Vec<Vec<String>>,
}

/// A message, as far as it matters here.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    dest: Cow<'a, str>,
    #[serde(borrow)]
    body: Body<'a>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    message: Option<Value>,
    #[serde(default)]
    values: Vec<Value>,
    /// Of a read.
    #[serde(default)]
    messages: Vec<Value>,
}

impl Auditor {
    pub(super) fn new(nodes: usize, batch_max: usize, whereabouts_of: Option<Value>) -> Self {
        Self {
            told: vec![HashSet::default(); nodes],
            news: Vec::new(),
            batch_max,
            whereabouts_of,
            orphaned: HashSet::default(),
            last_revival: Time::ZERO,
            now: Time::ZERO,
            last_learnt: Time::ZERO,
            last_news: None,
            last_sent: Time::ZERO,
            sent_in: BTreeMap::new(),
            suspect: None,
            holdings: Vec::new(),
            departure: None,
            whereabouts: Vec::new(),
        }
    }

    /// A node that lacks a value which another one has.
    pub(super) fn missing(&self) -> Option<Failure> {
        let all: HashSet<Value, FixedState> = self.told.iter().flatten().copied().collect();
        let (node, told) = self.told.iter().enumerate().find(|(_, told)| told.len() < all.len())?;
        let value = *all.difference(told).min()?;
        let holder = self.told.iter().position(|told| told.contains(&value))?;
        Some(Failure::Missing { node, value, holder })
    }

    /// The most messages that nodes sent each other in any second that began after that time.
    pub(super) fn most_sent(&self, after: Time) -> usize {
        let from = after.since(Time::ZERO).as_secs() + 1;
        self.sent_in.range(from..).map(|(_, &count)| count).max().unwrap_or(0)
    }

    /// Whether a value died with the last node that held it.
    pub(super) fn died(&self, value: Value) -> bool {
        self.orphaned.contains(&value)
    }

    /// Checks a message that a node sends to another.
    fn sent(&mut self, index: usize, kind: &str, values: &[Value]) -> Result<(), String> {
        let least = match kind {
            "delta" => 1,
            "sync" => 0,
            _ => return Ok(()),
        };
        if !(least..=self.batch_max).contains(&values.len()) {
            return Err(format!("sends {} values in one batch", values.len()));
        }
        match values.iter().find(|value| !self.told[index].contains(value)) {
            Some(value) => {
                self.suspect = Some(*value);
                Err(format!("sends {value}, which nobody has told it"))
            }
            None => Ok(()),
        }
    }

    /// Checks what a node answers to a read. That it shows nothing twice is for set-full to check.
    fn shown(&mut self, index: usize, messages: &[Value]) -> Result<(), String> {
        let told = &self.told[index];
        if let Some(&value) = messages.iter().find(|value| !told.contains(value)) {
            self.suspect = Some(value);
            return Err(format!("shows {value}, which nobody has told it"));
        }
        if messages.len() < told.len() {
            let shown: HashSet<Value, FixedState> = messages.iter().copied().collect();
            self.suspect = told.difference(&shown).min().copied();
            return Err(format!("holds {} values and shows {}", told.len(), messages.len()));
        }
        Ok(())
    }
}

impl<N: Inspect> Watch<N> for Auditor {
    fn receives(&mut self, _: usize, line: &[u8]) {
        // What a node can't take as a message tells it nothing.
        let Ok(Message { body, .. }) = serde_json::from_slice(line) else { return };
        match &*body.kind {
            "broadcast" => self.news.extend(body.message),
            "delta" | "sync" => self.news = body.values,
            _ => {}
        }
    }

    fn acted(&mut self, act: Act<'_, N>) -> Result<(), String> {
        let Act { now, local, index, node, printed } = act;
        self.now = now;
        let told = &mut self.told[index];
        for value in self.news.drain(..) {
            if told.insert(value) {
                self.last_learnt = now;
                self.last_news = Some(value);
                if self.orphaned.remove(&value) {
                    self.last_revival = now;
                }
            }
            if !node.holds(value) {
                self.suspect = Some(value);
                return Err(format!("was told {value} and does not hold it"));
            }
        }
        if node.held() != told.len() {
            return Err(format!("holds {} values and was told {}", node.held(), told.len()));
        }
        for line in printed.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            // The trial says what is wrong with a line that is no message.
            let Ok(Message { dest, body }) = serde_json::from_slice(line) else { continue };
            if let Some(Endpoint::Node(_)) = Endpoint::parse(&dest) {
                self.last_sent = now;
                *self.sent_in.entry(now.since(Time::ZERO).as_secs()).or_default() += 1;
                self.sent(index, &body.kind, &body.values)?;
            } else if body.kind == "read_ok" {
                self.shown(index, &body.messages)?;
            }
        }
        node.audit(local)
    }

    /// The node's next life has been told nothing.
    fn killed(&mut self, index: usize) {
        let forgotten = std::mem::take(&mut self.told[index]);
        let held = |value: &Value| self.told.iter().any(|told| told.contains(value));
        self.orphaned.extend(forgotten.into_iter().filter(|value| !held(value)));
    }

    fn has_settled(&self) -> bool {
        self.now.since(self.last_learnt) >= WATCHED_MIN && self.missing().is_none()
    }

    fn ended(&mut self, index: usize, node: &N) {
        self.holdings.push(self.told[index].iter().copied().filter(|&value| node.holds(value)).collect());
        self.departure = self.departure.take().or_else(|| Some((index, node.departure()?)));
        let waits = self.whereabouts_of.map(|value| node.whereabouts(value));
        self.whereabouts.push(waits.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::node::{Node, Outbox};
    use crate::protocol::LineBuf;
    use crate::simple::Simple;
    use serde_json::json;
    use std::time::Duration;

    /// Lets a node handle a message under the auditor's eyes.
    fn tell(
        auditor: &mut Auditor,
        nodes: &[Simple],
        index: usize,
        at: Time,
        body: &serde_json::Value,
    ) -> Result<(), String> {
        let line = json!({ "src": "c9", "dest": format!("n{index}"), "body": body }).to_string();
        let (mut out, node) = (Outbox::default(), &nodes[index]);
        Watch::<Simple>::receives(auditor, index, line.as_bytes());
        node.handle(at, LineBuf::from(line).line(), &mut (), &mut out);
        auditor.acted(Act { now: at, local: at, index, node, printed: &out.lines() })
    }

    fn delta(values: &[Value]) -> serde_json::Value {
        json!({ "type": "delta", "generation": 1, "values": values })
    }

    fn initialised(auditor: &mut Auditor) -> Vec<Simple> {
        let nodes: Vec<Simple> = (0..2).map(|seed| Simple::new(Config::default(), seed)).collect();
        for index in 0..2 {
            let init = json!({ "type": "init", "msg_id": 1, "node_id": format!("n{index}"), "node_ids": ["n0", "n1"] });
            tell(auditor, &nodes, index, Time::ZERO, &init).expect("all is well");
        }
        nodes
    }

    #[test]
    fn a_value_dies_when_its_last_holder_is_killed_and_lives_again_when_a_late_message_brings_it() {
        let mut auditor = Auditor::new(2, 64, None);
        let nodes = initialised(&mut auditor);
        for (index, values) in [(0, [1, 2]), (1, [2, 3])] {
            tell(&mut auditor, &nodes, index, Time::ZERO, &delta(&values)).expect("all is well");
        }
        Watch::<Simple>::killed(&mut auditor, 0);
        assert_eq!([1, 2, 3].map(|value| auditor.died(value)), [true, false, false]);
        let later = Time::ZERO + Duration::from_secs(9);
        tell(&mut auditor, &nodes, 1, later, &delta(&[1])).expect("all is well");
        assert!(!auditor.died(1));
        assert_eq!(auditor.last_revival, later);
        Watch::<Simple>::killed(&mut auditor, 1);
        assert_eq!([1, 2, 3].map(|value| auditor.died(value)), [true; 3]);
        assert_eq!(auditor.missing(), None, "nobody has anything");
    }

    #[test]
    fn a_node_that_remembers_its_former_life_is_found_out() {
        let mut auditor = Auditor::new(2, 64, None);
        let nodes = initialised(&mut auditor);
        tell(&mut auditor, &nodes, 0, Time::ZERO, &delta(&[1])).expect("all is well");
        Watch::<Simple>::killed(&mut auditor, 0);
        // The very same node goes on.
        let found = tell(&mut auditor, &nodes, 0, Time::ZERO, &json!({ "type": "read", "msg_id": 2 }));
        assert_eq!(found, Err("holds 1 values and was told 0".to_owned()));
    }
}
