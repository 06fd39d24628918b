//! The auditor: watches every step of every node, and knows what each must hold.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;

use super::Failure;
use super::progress::{Late, Progress};
use super::required::NOISE_WINDOW;
use super::spread::Values;
use crate::cluster::nemesis::Step;
use crate::cluster::virtual_time::{Act, Watch};
use crate::node::{Inspect, Sent, Time};
use crate::protocol::Value;
use crate::protocol::expand;

/// What is known of all nodes.
#[derive(Debug)]
pub(super) struct Auditor {
    /// What each node has been told, by clients and peers: what it must hold.
    told: Vec<Values>,
    /// What the node that acts now was told by the line that it handles.
    news: Vec<Value>,
    /// Whether a client did so.
    by_client: bool,
    /// Which nodes know no message but deltas that tells them values.
    simple: Vec<bool>,
    pub(super) progress: Progress,
    batch_max: usize,
    whereabouts_of: Option<Value>,
    /// Values whose last holder was killed. A message that was under way may bring one back.
    orphaned: Values,
    /// The run need not go on once all has been complete for so long.
    pub(super) settles_after: Duration,
    /// What was not complete when it should have been.
    pub(super) late: Option<Failure>,
    /// The last step.
    pub(super) now: Time,
    /// When a node last learnt a value.
    pub(super) last_learnt: Time,
    /// When a node last sent a message to another.
    pub(super) last_sent: Time,
    /// When a node last sent a batch of values.
    pub(super) last_batch: Time,
    /// How many they sent in each second.
    sent_in: BTreeMap<u64, usize>,
    /// The value that an invariant broke about.
    pub(super) suspect: Option<Value>,
    /// What each node was told, in the end: what it holds, if the run got that far.
    pub(super) holdings: Vec<BTreeSet<Value>>,
    /// The first node that did otherwise than planned in the end, and what.
    pub(super) deviation_from_plan: Option<(usize, String)>,
    /// Where the value that was asked for waits, by node.
    pub(super) whereabouts: Vec<Vec<String>>,
}

/// A line that a node is told, as far as it matters here.
#[derive(Deserialize)]
struct Told<'a> {
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
    #[serde(default)]
    runs: Vec<i64>,
    /// Of a read.
    #[serde(default)]
    messages: Vec<Value>,
}

impl Body<'_> {
    /// The values that it brings; nothing if its runs are not as they should be.
    fn told(self) -> Vec<Value> {
        let mut values = self.values;
        expand(&self.runs, &mut values).map_or_else(Vec::new, |()| values)
    }
}

impl Auditor {
    pub(super) fn new(
        simple: Vec<bool>,
        progress: Progress,
        batch_max: usize,
        whereabouts_of: Option<Value>,
    ) -> Self {
        Self {
            told: vec![Values::default(); simple.len()],
            news: Vec::new(),
            by_client: false,
            simple,
            progress,
            batch_max,
            whereabouts_of,
            orphaned: Values::default(),
            settles_after: Duration::ZERO,
            late: None,
            now: Time::ZERO,
            last_learnt: Time::ZERO,
            last_sent: Time::ZERO,
            last_batch: Time::ZERO,
            sent_in: BTreeMap::new(),
            suspect: None,
            holdings: Vec::new(),
            deviation_from_plan: None,
            whereabouts: Vec::new(),
        }
    }

    /// A node that lacks a value which another one has that it can reach.
    pub(super) fn missing(&self) -> Option<Failure> {
        let (node, value, holder) =
            self.progress.reach.parts().iter().find_map(|part| self.missing_in(part))?;
        Some(Failure::Missing { node, value, holder })
    }

    /// Of some nodes, one that lacks a value, which value, and one that has it.
    fn missing_in(&self, part: &[usize]) -> Option<(usize, Value, usize)> {
        let all: Values = part.iter().flat_map(|&node| &self.told[node]).copied().collect();
        let node = *part.iter().find(|&&node| self.told[node].len() < all.len())?;
        let value = *all.difference(&self.told[node]).min()?;
        let holder = *part.iter().find(|&&holder| self.told[holder].contains(&value))?;
        Some((node, value, holder))
    }

    /// How many messages nodes sent each other in the window that began after that time.
    pub(super) fn sent_after(&self, after: Time) -> usize {
        let from = after.since(Time::ZERO).as_secs() + 1;
        self.sent_in.range(from..from + NOISE_WINDOW.as_secs()).map(|(_, &count)| count).sum()
    }

    /// Whether no living node holds a value because the last one that did was killed.
    pub(super) fn died(&self, value: Value) -> bool {
        self.orphaned.contains(&value)
    }

    /// Whether some node holds a value.
    pub(super) fn is_held(&self, value: Value) -> bool {
        self.told.iter().any(|told| told.contains(&value))
    }

    /// Whether values have spread as far as they should have by now.
    fn in_time(&mut self, now: Time) -> Result<(), String> {
        let Some(Late { value, part, healing }) = self.progress.late(now) else { return Ok(()) };
        self.late = Some(Failure::Late { value, took: healing.took, bound: healing.bound });
        self.suspect = Some(value);
        let one = |holds| part.iter().copied().find(|&node| self.told[node].contains(&value) == holds);
        let missing =
            one(false).zip(one(true)).map(|(node, holder)| Failure::Missing { node, value, holder });
        Err(missing.map_or_else(String::new, |missing| missing.to_string()))
    }

    /// Checks a message that a node sends to another.
    fn sent(&mut self, index: usize, kind: &str, values: &[Value]) -> Result<(), String> {
        // One without values asks or tells something else.
        if !matches!(kind, "delta" | "sync" | "ping") {
            return Ok(());
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
            let shown: Values = messages.iter().copied().collect();
            self.suspect = told.difference(&shown).min().copied();
            return Err(format!("holds {} values and shows {}", told.len(), messages.len()));
        }
        Ok(())
    }
}

impl<N: Inspect> Watch<N> for Auditor {
    fn receives(&mut self, index: usize, line: &[u8]) {
        // What a node can't take as a message tells it nothing.
        let Ok(Told { body }) = serde_json::from_slice(line) else { return };
        self.by_client = body.kind == "broadcast";
        match &*body.kind {
            "broadcast" => self.news.extend(body.message),
            "delta" => self.news = body.told(),
            "sync" | "ping" if !self.simple[index] => self.news = body.told(),
            _ => {}
        }
    }

    fn acted(&mut self, act: Act<'_, N>) -> Result<(), String> {
        let Act { now, local, index, node, out } = act;
        self.now = now;
        let told = &mut self.told[index];
        for value in self.news.drain(..) {
            if told.insert(value) {
                self.last_learnt = now;
                if self.by_client || self.orphaned.remove(&value) {
                    self.progress.said(now);
                }
                self.progress.learnt(now, index, value);
            }
            if !node.holds(value) {
                self.suspect = Some(value);
                return Err(format!("was told {value} and does not hold it"));
            }
        }
        if node.held() != told.len() {
            return Err(format!("holds {} values and was told {}", node.held(), told.len()));
        }
        for Sent { dest, body, .. } in out.messages().iter() {
            let body: Body<'_> =
                serde_json::from_slice(body).map_err(|error| format!("sends no message: {error}"))?;
            if dest.starts_with('n') {
                self.last_sent = now;
                *self.sent_in.entry(now.since(Time::ZERO).as_secs()).or_default() += 1;
                let integers = body.values.len() + body.runs.len();
                if body.kind == "delta" && integers > 0 {
                    self.last_batch = now;
                }
                if integers > self.batch_max {
                    return Err(format!("sends values by {integers} integers in one batch"));
                }
                let kind = body.kind.clone();
                self.sent(index, &kind, &body.told())?;
            } else if body.kind == "read_ok" {
                self.shown(index, &body.messages)?;
            }
        }
        node.audit(local)?;
        self.in_time(now)
    }

    fn struck(&mut self, now: Time, step: &Step) {
        self.progress.struck(now, step, &self.told);
    }

    /// Whoever has no timer does nothing more. So nobody may lack anything that can be had.
    fn at_rest(&mut self, now: Time) -> Result<(), (usize, String)> {
        self.now = now;
        if self.progress.is_complete() {
            return Ok(());
        }
        let Some(Failure::Missing { node, value, holder }) = self.missing() else { return Ok(()) };
        self.suspect = Some(value);
        Err((
            node,
            format!("lacks {value}, which n{holder} holds; no node has a timer, and nothing is under way"),
        ))
    }

    /// The node's next life has been told nothing.
    fn killed(&mut self, index: usize) {
        let forgotten = std::mem::take(&mut self.told[index]);
        let held = |value: &Value| self.told.iter().any(|told| told.contains(value));
        self.orphaned.extend(forgotten.into_iter().filter(|value| !held(value)));
    }

    fn has_settled(&self, now: Time) -> bool {
        let since = self.last_learnt.max(self.progress.since);
        now.since(since) >= self.settles_after && self.progress.is_complete()
    }

    fn ended(&mut self, index: usize, node: &N) {
        self.holdings.push(self.told[index].iter().copied().filter(|&value| node.holds(value)).collect());
        self.deviation_from_plan =
            self.deviation_from_plan.take().or_else(|| Some((index, node.deviation_from_plan()?)));
        let waits = self.whereabouts_of.map(|value| node.whereabouts(value));
        self.whereabouts.push(waits.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::nemesis::NodeFault;
    use crate::cluster::scenario::Scenario;
    use crate::config::Config;
    use crate::node::{Node, Outbox};
    use crate::protocol::LineBuf;
    use crate::simple::Simple;
    use crate::simulate::designs::Designs;
    use crate::simulate::reach::{Paths, Reach};
    use crate::simulate::required::Required;
    use crate::workload::broadcast;
    use serde_json::json;

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
        auditor.acted(Act { now: at, local: at, index, node, out: &out })
    }

    fn auditor() -> Auditor {
        let scenario = Scenario { node_count: 2, ..Scenario::new(broadcast::KIND) };
        let required = Required::of(&scenario, Designs::Simple, &Config::default(), &[]);
        Auditor::new(vec![true; 2], Progress::new(2, Reach::new(2, Paths::Any), required), 64, None)
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
        let mut auditor = auditor();
        let nodes = initialised(&mut auditor);
        for (index, values) in [(0, [1, 2]), (1, [2, 3])] {
            tell(&mut auditor, &nodes, index, Time::ZERO, &delta(&values)).expect("all is well");
        }
        Watch::<Simple>::struck(&mut auditor, Time::ZERO, &Step::Disturb(0, NodeFault::Kill));
        Watch::<Simple>::killed(&mut auditor, 0);
        assert_eq!([1, 2, 3].map(|value| auditor.died(value)), [true, false, false]);
        let later = Time::ZERO + Duration::from_secs(9);
        tell(&mut auditor, &nodes, 1, later, &delta(&[1])).expect("all is well");
        assert!(!auditor.died(1));
        assert_eq!(auditor.progress.since, later, "a value that comes back has to spread anew");
        Watch::<Simple>::killed(&mut auditor, 1);
        assert_eq!([1, 2, 3].map(|value| auditor.died(value)), [true; 3]);
        assert_eq!(auditor.missing(), None, "nobody has anything");
    }

    #[test]
    fn where_nobody_has_a_timer_nobody_may_lack_what_another_node_holds() {
        let mut auditor = auditor();
        let nodes = initialised(&mut auditor);
        let rest = |auditor: &mut Auditor| Watch::<Simple>::at_rest(auditor, Time::ZERO);
        assert_eq!(rest(&mut auditor), Ok(()));
        tell(&mut auditor, &nodes, 0, Time::ZERO, &delta(&[1])).expect("all is well");
        let (node, what) = rest(&mut auditor).expect_err("n1 lacks it");
        assert!(node == 1 && what.contains("lacks 1, which n0 holds"), "{what}");
        let cut = Step::StartSudden { cuts: vec![(0, 1)], for_good: true };
        Watch::<Simple>::struck(&mut auditor, Time::ZERO, &cut);
        assert_eq!(rest(&mut auditor), Ok(()), "it can't be had");
    }

    #[test]
    fn a_node_that_remembers_its_former_life_is_found_out() {
        let mut auditor = auditor();
        let nodes = initialised(&mut auditor);
        tell(&mut auditor, &nodes, 0, Time::ZERO, &delta(&[1])).expect("all is well");
        Watch::<Simple>::killed(&mut auditor, 0);
        // The very same node goes on.
        let found = tell(&mut auditor, &nodes, 0, Time::ZERO, &json!({ "type": "read", "msg_id": 2 }));
        assert_eq!(found, Err("holds 1 values and was told 0".to_owned()));
    }
}
