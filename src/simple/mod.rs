//! The simple design: one mutex around everything, one timer for each peer, serde_json, the given topology.
//!
//! Written to be obvious. It is what the lock-free design is compared with, and checked against.
//!
//! Each peer has a list of values that wait, at most one message that was sent and is not yet answered, and one
//! timer. When the timer fires, the message is sent again; or, if there is none, one is made: a batch of what
//! waits. The answer drops the message and sets the timer for the next one.
//!
//! A node may be killed and started again, and knows nothing then, not even a topology. So a node that starts
//! without one takes every other node as a neighbour, and its first message to each is a *recall*: tell me all
//! you hold. Whoever is asked treats it as a new neighbour, which is told everything, and forgets what was in
//! flight to its former incarnation. Three things keep the incarnations of a node apart, each a number drawn at
//! its start:
//!
//! * A delta and a recall name the incarnation of their sender, and the answer repeats it. A node takes no answer
//!   to another incarnation: generations may be the same in both.
//! * A recall counts once for each incarnation: repeated, it is only answered.
//! * A value goes back even to the peer that it came from, unless that peer's present incarnation is sure to hold
//!   it. A message may arrive long after the incarnation that sent it ended, and tell what its successor has
//!   forgotten.
//!
//! Inside: public to be read, tested and measured; it may change with any version.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value as Json, json};

use crate::config::Config;
use crate::node::{Inspect, Node, Outbox, Time};
use crate::protocol::{Excerpt, Line, Reason, Value};
use crate::random::Random;

/// So many incarnations of a peer are told apart. More than one or two live at a time in nobody's cluster; a peer
/// that makes up more is told everything once more when it comes back to one that is forgotten.
const INCARNATIONS_MAX: usize = 64;

/// A node of the simple design.
#[derive(Debug)]
pub struct Simple {
    config: Config,
    random: Random,
    /// What tells this incarnation of this node from any other, in the ids it makes and to its peers.
    incarnation: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// This node and all nodes; none before `init`.
    cluster: Option<(String, BTreeSet<String>)>,
    seen: BTreeSet<Value>,
    /// The neighbours; none before gossip has started.
    peers: BTreeMap<String, Peer>,
    /// When to start without a topology; none once gossip has started.
    start_at: Option<Time>,
    ids_made: u64,
    batches_made: u64,
}

#[derive(Debug, Default)]
struct Peer {
    waiting: VecDeque<Value>,
    /// More values came than may wait; all are offered again when those that wait go out.
    overflowed: bool,
    /// How many values were offered again, beyond the limit; zero once nothing waits.
    refilled: usize,
    /// It is to be asked for all it holds, before anything else.
    to_recall: bool,
    unanswered: Option<Sent>,
    timer: Option<Time>,
    /// The incarnations of the peer that have been told all there was when they were first heard of, or are to be;
    /// but not the first one, to which no more than the topology led.
    incarnations: BTreeSet<u64>,
}

#[derive(Debug)]
struct Sent {
    what: Sending,
    failures: u32,
}

#[derive(Debug)]
enum Sending {
    Recall,
    Batch { generation: u64, values: Vec<Value> },
}

impl Sent {
    fn is_recall(&self) -> bool {
        matches!(self.what, Sending::Recall)
    }

    fn is_batch(&self, named: u64) -> bool {
        matches!(self.what, Sending::Batch { generation, .. } if generation == named)
    }

    fn body(&self, incarnation: u64) -> Json {
        match &self.what {
            Sending::Recall => json!({ "type": "recall", "incarnation": incarnation }),
            Sending::Batch { generation, values } => {
                json!({ "type": "delta", "generation": generation, "values": values, "incarnation": incarnation })
            }
        }
    }
}

impl Peer {
    fn push(&mut self, value: Value, config: &Config, now: Time) {
        if self.waiting.len() < config.queue_limit.saturating_add(self.refilled) {
            self.waiting.push_back(value);
        } else {
            self.overflowed = true;
        }
        self.timer.get_or_insert(now + config.flush_interval);
    }

    /// The message to send now that the timer has fired: the old one again, or a new one.
    fn next_message(&mut self, state: &mut u64, seen: &BTreeSet<Value>, config: &Config) -> Option<&Sent> {
        if let Some(sent) = &mut self.unanswered {
            sent.failures = sent.failures.saturating_add(1);
        } else if std::mem::take(&mut self.to_recall) {
            self.unanswered = Some(Sent { what: Sending::Recall, failures: 0 });
        } else {
            if self.waiting.is_empty() {
                self.refilled = 0;
            }
            if self.waiting.len() < config.batch_max && std::mem::take(&mut self.overflowed) {
                self.waiting.extend(seen);
                self.refilled += seen.len();
            }
            if self.waiting.is_empty() {
                return None;
            }
            let size = self.waiting.len().min(config.batch_max);
            let values = self.waiting.drain(..size).collect();
            *state += 1;
            self.unanswered = Some(Sent { what: Sending::Batch { generation: *state, values }, failures: 0 });
        }
        self.unanswered.as_ref()
    }

    /// The message in flight has been answered, if this is the one that was meant.
    fn answered(&mut self, is_meant: impl Fn(&Sent) -> bool, config: &Config, now: Time) {
        if self.unanswered.as_ref().is_some_and(is_meant) {
            self.unanswered = None;
            let more = !self.waiting.is_empty() || self.overflowed;
            self.timer = more.then(|| now + config.flush_interval);
        }
    }

    /// An incarnation of the peer was heard of. True if it was not known.
    fn note_incarnation(&mut self, incarnation: u64) -> bool {
        let is_new = self.incarnations.insert(incarnation);
        if self.incarnations.len() > INCARNATIONS_MAX
            && let Some(other) = self.incarnations.iter().copied().find(|&other| other != incarnation)
        {
            self.incarnations.remove(&other);
        }
        is_new
    }

    /// An incarnation of the peer asks for everything. What was in flight went to a former one, but for a question
    /// to whoever it is; what waits is a part of everything.
    fn recalled(&mut self, incarnation: u64, seen: &BTreeSet<Value>, config: &Config, now: Time) {
        if !self.note_incarnation(incarnation) {
            return;
        }
        let unanswered = self.unanswered.take().filter(Sent::is_recall);
        let to_recall = self.to_recall;
        let timer = self.timer.filter(|_| to_recall || unanswered.is_some());
        *self = Peer {
            incarnations: std::mem::take(&mut self.incarnations),
            to_recall,
            unanswered,
            timer,
            ..Peer::default()
        };
        seen.iter().for_each(|&value| self.push(value, config, now));
    }

    /// The peer's answer to a recall came from that incarnation. It is one that is told everything: nothing else
    /// was sent before.
    fn recall_answered(&mut self, by: Option<u64>, config: &Config, now: Time) {
        if let Some(incarnation) = by {
            self.note_incarnation(incarnation);
        }
        self.answered(Sent::is_recall, config, now);
    }

    /// Whether the peer's present incarnation holds what that incarnation of it has sent, or will ask for it.
    ///
    /// If any other incarnation was heard of, that may be the present one. If not, then a later one will: its
    /// recall would have been heard, unless by a former incarnation of this node, of which the peer's own answer
    /// to this one's recall must make up for it. So nobody is trusted who has yet to answer that.
    fn holds_what_it_sends(&self, incarnation: Option<u64>) -> bool {
        let asking = self.to_recall || self.unanswered.as_ref().is_some_and(Sent::is_recall);
        !asking && self.incarnations.iter().all(|&other| Some(other) == incarnation)
    }
}

impl Simple {
    /// A node that waits for `init`. Everything random about it comes from `seed`: two incarnations of a node must
    /// not get the same one.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        let random = Random::new(seed);
        let incarnation = random.bits();
        // The top 52 bits, so that generations differ from those of a former incarnation.
        let drawn = random.name();
        let batches_made = config.first_generation.map_or(drawn, |first| first.0);
        let state = State { batches_made, ..State::default() };
        Self { config, random, incarnation, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request: the reply's type and its other fields.
    fn request(
        &self,
        state: &mut State,
        now: Time,
        kind: &str,
        body: &Map<String, Json>,
    ) -> Result<(&'static str, Json), Reason<'static>> {
        if kind == "init" {
            let node_id = string(body, "node_id")?;
            let node_ids = strings(body, "node_ids")?;
            if !node_ids.contains(node_id) {
                return Err(Reason::NotAMember);
            }
            if state.cluster.is_some() {
                return Err(Reason::AlreadyInitialised);
            }
            state.cluster = Some((node_id.to_owned(), node_ids));
            state.start_at = Some(now + self.config.start_grace);
            return Ok(("init_ok", json!({})));
        }
        // Whether the request makes sense comes before whether this is the time for it.
        let message = (kind == "broadcast").then(|| integer(body, "message")).transpose()?;
        let topology = (kind == "topology").then(|| neighbours(body)).transpose()?;
        let echo = (kind == "echo").then(|| body.get("echo").ok_or(Reason::Missing("echo"))).transpose()?;
        let (me, nodes) = state.cluster.as_ref().ok_or(Reason::NotInitialised)?;
        match kind {
            "topology" => {
                let mine = topology.and_then(|mut all| all.remove(me)).unwrap_or_default();
                let neighbours = mine.into_iter().filter(|name| nodes.contains(name) && name != me).collect();
                self.start(state, now, neighbours);
                Ok(("topology_ok", json!({})))
            }
            "echo" => Ok(("echo_ok", json!({ "echo": echo }))),
            "generate" => {
                state.ids_made += 1;
                Ok((
                    "generate_ok",
                    json!({ "id": format!("{me}-{:x}-{}", self.incarnation, state.ids_made) }),
                ))
            }
            "broadcast" => {
                self.learn(state, now, message, |_, _| false);
                Ok(("broadcast_ok", json!({})))
            }
            _ => Ok(("read_ok", json!({ "messages": state.seen }))),
        }
    }

    /// Takes up values: the new ones travel on to every neighbour that is not known to hold them.
    fn learn(
        &self,
        state: &mut State,
        now: Time,
        values: impl IntoIterator<Item = Value>,
        holds: impl Fn(&str, &Peer) -> bool,
    ) {
        for value in values {
            if state.seen.insert(value) {
                for (_, peer) in state.peers.iter_mut().filter(|(name, peer)| !holds(name, peer)) {
                    peer.push(value, &self.config, now);
                }
            }
        }
    }

    /// Starts gossip, or changes whom it goes to. Every neighbour that is new is told everything.
    fn start(&self, state: &mut State, now: Time, neighbours: BTreeSet<String>) {
        state.start_at = None;
        state.peers.retain(|name, _| neighbours.contains(name));
        for name in neighbours {
            let seen = &state.seen;
            state.peers.entry(name).or_insert_with(|| {
                let mut peer = Peer::default();
                seen.iter().for_each(|&value| peer.push(value, &self.config, now));
                peer
            });
        }
    }

    /// Without a topology, every other node is a neighbour: costly, but right. This may be a later incarnation of
    /// the node, which has been told the topology once and not again: the others know what it has forgotten.
    fn start_without_topology(&self, state: &mut State, now: Time) {
        if let Some((me, nodes)) = &state.cluster {
            let others = nodes.iter().filter(|name| *name != me).cloned().collect();
            self.start(state, now, others);
            for peer in state.peers.values_mut() {
                (peer.to_recall, peer.timer) = (true, Some(now));
            }
        }
    }

    /// The peer that answers a message of this incarnation. Answers to a former one are nothing to this; nodes of
    /// other designs name no incarnation, and generations differ from incarnation to incarnation.
    fn answering<'a>(
        &self,
        state: &'a mut State,
        src: &str,
        body: &Map<String, Json>,
    ) -> Option<&'a mut Peer> {
        state
            .peers
            .get_mut(src)
            .filter(|_| incarnation(body).is_none_or(|incarnation| incarnation == self.incarnation))
    }

    /// Handles one message that is JSON; says why if it isn't a message.
    fn message(&self, now: Time, message: &Json, out: &mut Outbox) -> Result<(), Reason<'static>> {
        let message = message.as_object().ok_or(Reason::Missing("src"))?;
        let src = string(message, "src")?;
        let dest = string(message, "dest")?;
        let body = message.get("body").and_then(Json::as_object).ok_or(Reason::Missing("body"))?;
        let msg_id = integer(body, "msg_id");
        if present(body, "type").is_none() && present(body, "msg_id").is_none() {
            return Err(Reason::Missing("type"));
        }

        let mut state = self.lock();
        let is_peer = state.cluster.as_ref().is_some_and(|(me, nodes)| me != src && nodes.contains(src));
        if is_peer && state.start_at.is_some() {
            self.start_without_topology(&mut state, now);
        }
        let reply = string(body, "type").and_then(|kind| match kind {
            "delta" => {
                if present(body, "msg_id").is_some() {
                    integer(body, "msg_id")?;
                }
                let generation = generation(body)?;
                let values = integers(body, "values")?;
                if state.cluster.is_none() {
                    return Ok(None);
                }
                let incarnation = incarnation(body);
                self.learn(&mut state, now, values, |name, peer| {
                    name == src && peer.holds_what_it_sends(incarnation)
                });
                Ok(Some(("delta_ok", answer(json!({ "generation": generation }), incarnation))))
            }
            "delta_ok" => {
                let generation = generation(body)?;
                if let Some(peer) = self.answering(&mut state, src, body) {
                    peer.answered(|sent| sent.is_batch(generation), &self.config, now);
                }
                Ok(None)
            }
            "recall" if is_peer => {
                let incarnation = field(body, "incarnation", "an integer from 0 to 2^64 - 1", Json::as_u64)?;
                let State { peers, seen, .. } = &mut *state;
                peers.entry(src.to_owned()).or_default().recalled(incarnation, seen, &self.config, now);
                Ok(Some(("recall_ok", answer(json!({ "by": self.incarnation }), Some(incarnation)))))
            }
            "recall_ok" if is_peer => {
                if let Some(peer) = self.answering(&mut state, src, body) {
                    peer.recall_answered(body.get("by").and_then(Json::as_u64), &self.config, now);
                }
                Ok(None)
            }
            // Its sender will ask again.
            "recall" | "recall_ok" if state.cluster.is_none() => Ok(None),
            // A node of another design doesn't know what a recall is.
            "error" if is_peer => {
                if let Some(peer) = state.peers.get_mut(src) {
                    peer.answered(Sent::is_recall, &self.config, now);
                }
                Ok(None)
            }
            // An error is answered by none, or two nodes that can't make sense of each other would never end.
            _ if kind == "error" || present(body, "in_reply_to").is_some() => Ok(None),
            "init" | "topology" | "echo" | "generate" | "broadcast" | "read" => {
                msg_id?;
                self.request(&mut state, now, kind, body).map(Some)
            }
            _ => Ok(Some(("error", refusal(&Reason::UnknownType(kind))))),
        });
        let me = state.cluster.as_ref().map_or(dest, |(me, _)| me);

        let reply = reply.unwrap_or_else(|reason| Some(("error", refusal(&reason))));
        if let Some((kind, mut body)) = reply {
            if kind == "error" {
                out.note(format_args!("refused a message from {}: {}", Excerpt(src), body["text"]));
            }
            body["type"] = json!(kind);
            if let Ok(msg_id) = msg_id {
                body["in_reply_to"] = json!(msg_id);
            }
            write(out, me, src, &body);
        }
        Ok(())
    }
}

impl Node for Simple {
    type Scratch = ();

    fn handle(&self, now: Time, line: Line<'_>, (): &mut (), out: &mut Outbox) {
        match serde_json::from_slice::<Json>(line.bytes()) {
            Ok(message) => {
                if let Err(reason) = self.message(now, &message, out) {
                    out.skip(&format_args!("not a message: {reason}"));
                }
            }
            Err(error) => out.skip(&format_args!("not JSON: {error}")),
        }
    }

    fn tick(&self, now: Time, out: &mut Outbox) {
        let mut state = self.lock();
        if state.start_at.is_some_and(|at| at <= now) {
            self.start_without_topology(&mut state, now);
        }
        let State { cluster: Some((me, _)), seen, peers, batches_made, .. } = &mut *state else { return };
        for (name, peer) in peers {
            if peer.timer.is_some_and(|timer| timer <= now) {
                let Some(sent) = peer.next_message(batches_made, seen, &self.config) else {
                    peer.timer = None;
                    continue;
                };
                let retry = self.config.retry.interval(sent.failures, self.random.bits());
                write(out, me, name, &sent.body(self.incarnation));
                peer.timer = Some(now + retry);
            }
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        let state = self.lock();
        state.peers.values().filter_map(|peer| peer.timer).chain(state.start_at).min()
    }

    fn finish(&self, now: Time, out: &mut Outbox) {
        let mut state = self.lock();
        if state.start_at.is_some() {
            self.start_without_topology(&mut state, now);
        }
        let State { cluster: Some((me, _)), seen, peers, batches_made, .. } = &mut *state else { return };
        for (name, peer) in peers {
            (peer.to_recall, peer.unanswered) = (false, None);
            while let Some(sent) = peer.next_message(batches_made, seen, &self.config) {
                write(out, me, name, &sent.body(self.incarnation));
                peer.unanswered = None;
            }
        }
    }
}

impl Inspect for Simple {
    fn holds(&self, value: Value) -> bool {
        self.lock().seen.contains(&value)
    }

    fn held(&self) -> usize {
        self.lock().seen.len()
    }

    fn audit(&self, now: Time) -> Result<(), String> {
        let config = &self.config;
        for (name, peer) in &self.lock().peers {
            let Peer { waiting, overflowed, refilled, to_recall, unanswered, timer, incarnations: _ } = peer;
            if waiting.len() > config.queue_limit.saturating_add(*refilled) {
                return Err(format!("lets {} values wait for {name}", waiting.len()));
            }
            if let Some(Sent { what: Sending::Batch { values, .. }, .. }) = unanswered
                && !(1..=config.batch_max).contains(&values.len())
            {
                return Err(format!("has sent {name} a batch of {}", values.len()));
            }
            let latest = now + config.retry.longest().max(config.flush_interval);
            let has_work = !waiting.is_empty() || *overflowed || *to_recall || unanswered.is_some();
            if has_work && timer.is_none_or(|timer| timer > latest) {
                return Err(format!("would sleep through what is due to {name}"));
            }
        }
        Ok(())
    }

    /// It has no plan but the topology, and keeps to that.
    fn deviation_from_plan(&self) -> Option<String> {
        None
    }

    fn whereabouts(&self, value: Value) -> Vec<String> {
        let state = self.lock();
        let place = |(name, peer): (&String, &Peer)| match &peer.unanswered {
            Some(Sent { what: Sending::Batch { generation, values }, .. }) if values.contains(&value) => {
                Some(format!("in flight to {name} in batch {generation}"))
            }
            _ => peer.waiting.contains(&value).then(|| format!("waiting to be sent to {name}")),
        };
        state.peers.iter().filter_map(place).collect()
    }
}

fn write(out: &mut Outbox, src: &str, dest: &str, body: &Json) {
    out.send(src, dest, |text| serde_json::to_writer(text, body).expect("writing to memory does not fail"));
}

fn refusal(reason: &Reason<'_>) -> Json {
    json!({ "code": reason.code().number(), "text": reason.to_string() })
}

/// A field that is there and not null.
fn present<'a>(body: &'a Map<String, Json>, field: &str) -> Option<&'a Json> {
    body.get(field).filter(|value| !value.is_null())
}

/// A field, read by `read`, which returns nothing for a value of the wrong type.
fn field<'a, T>(
    body: &'a Map<String, Json>,
    field: &'static str,
    expected: &'static str,
    read: impl FnOnce(&'a Json) -> Option<T>,
) -> Result<T, Reason<'static>> {
    let value = present(body, field).ok_or(Reason::Missing(field))?;
    read(value).ok_or(Reason::WrongType { field, expected })
}

fn string<'a>(body: &'a Map<String, Json>, name: &'static str) -> Result<&'a str, Reason<'static>> {
    field(body, name, "a string", Json::as_str)
}

fn strings(body: &Map<String, Json>, name: &'static str) -> Result<BTreeSet<String>, Reason<'static>> {
    field(body, name, "an array of strings", string_array)
}

fn string_array<C: FromIterator<String>>(value: &Json) -> Option<C> {
    value.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect()
}

fn integer(body: &Map<String, Json>, name: &'static str) -> Result<i64, Reason<'static>> {
    field(body, name, "a 64-bit signed integer", as_integer)
}

/// An integer from a JSON value. serde_json reads the integer `-0` as a negative zero that is a fraction, which is
/// equal to zero, so any negative zero counts as the integer 0.
fn as_integer(value: &Json) -> Option<i64> {
    let is_negative_zero = |number: &f64| *number == 0.0 && number.is_sign_negative();
    value.as_i64().or_else(|| value.as_f64().filter(is_negative_zero).map(|_| 0))
}

fn integers(body: &Map<String, Json>, name: &'static str) -> Result<Vec<i64>, Reason<'static>> {
    field(body, name, "an array of 64-bit signed integers", |value| {
        value.as_array()?.iter().map(as_integer).collect()
    })
}

fn generation(body: &Map<String, Json>) -> Result<u64, Reason<'static>> {
    field(body, "generation", "an integer from 0 to 2^63 - 1", |value| u64::try_from(as_integer(value)?).ok())
}

/// The incarnation that a message is of, or answers; none if it doesn't say.
fn incarnation(body: &Map<String, Json>) -> Option<u64> {
    body.get("incarnation").and_then(Json::as_u64)
}

/// An answer to a message of that incarnation of its sender.
fn answer(mut body: Json, incarnation: Option<u64>) -> Json {
    if let Some(incarnation) = incarnation {
        body["incarnation"] = json!(incarnation);
    }
    body
}

fn neighbours(body: &Map<String, Json>) -> Result<BTreeMap<String, BTreeSet<String>>, Reason<'static>> {
    field(body, "topology", "an object whose values are arrays of strings", |value| {
        value.as_object()?.iter().map(|(node, names)| Some((node.clone(), string_array(names)?))).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_peer_that_makes_up_lives_a_few_are_remembered_and_each_is_told_everything() {
        let (mut peer, seen, config) = (Peer::default(), BTreeSet::from([1, 2, 3]), Config::default());
        for incarnation in 0..1000 {
            peer.recalled(incarnation, &seen, &config, Time::ZERO);
            assert!(peer.waiting.len() == seen.len() && peer.incarnations.contains(&incarnation));
        }
        assert_eq!(peer.incarnations.len(), INCARNATIONS_MAX);
    }

    #[test]
    fn a_peer_that_does_not_know_what_a_recall_is_gets_what_waits_behind_it() {
        let node = Simple::new(Config::default(), 1);
        let mut out = Outbox::default();
        let mut hear = |src: &str, body: Json| {
            let line = json!({ "src": src, "dest": "n0", "body": body }).to_string();
            node.message(Time::ZERO, &serde_json::from_str(&line).expect("JSON"), &mut out)
                .expect("a message");
        };
        hear("c1", json!({ "type": "init", "msg_id": 1, "node_id": "n0", "node_ids": ["n0", "n1"] }));
        node.start_without_topology(&mut node.lock(), Time::ZERO);
        hear("c1", json!({ "type": "broadcast", "msg_id": 2, "message": 7 }));
        node.tick(Time::ZERO, &mut Outbox::default());
        hear("n1", json!({ "type": "error", "code": 10, "text": "recall is unknown" }));
        let mut sent = Outbox::default();
        let at = node.next_deadline().expect("a value waits");
        node.tick(at, &mut sent);
        let sent = String::from_utf8_lossy(&sent.lines()).into_owned();
        assert!(sent.contains(r#""type":"delta""#) && sent.contains('7'), "{sent}");
    }
}
