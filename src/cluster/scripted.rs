//! A cluster driven by hand: a test decides what each node is told and when, and what becomes of every message.
//!
//! Where seeds find what nobody thought of, a script writes down the schedule that somebody has: this message is lost, that one
//! comes twice, and then nobody may lack anything.
//!
//! ```
//! use std::time::Duration;
//!
//! use natter::app::{App, Context};
//! use natter::cluster::scripted::{Fate, Scripted};
//! use serde_json::{Value, json};
//!
//! /// Tells n1 whatever it is told, once.
//! fn app() -> App<()> {
//!     App::new(()).on("tell", |node: Context<()>, request: Value| async move {
//!         node.send("n1", json!({ "type": "told", "what": request["what"] }));
//!         Ok(())
//!     })
//! }
//!
//! let mut cluster = Scripted::started((0..2).map(|_| app()).collect());
//! cluster.fate = Box::new(|message| if message.is("told") { Fate::Lose } else { Fate::Deliver });
//! assert_eq!(cluster.ask(0, json!({ "type": "tell", "what": 7 }))["type"], "tell_ok");
//! cluster.run_for(Duration::from_secs(1));
//! assert_eq!(cluster.sent.len(), 1, "it is lost, and never sent again");
//! ```
//!
//! Apps draw at random by their names, unless they are given seeds. So that a second life of a node draws otherwise than the first, give
//! it one: `cluster.restart(0, app().with_seed(2))`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::cluster::streams::{Stream, stream};
use crate::node::{Node, Outbox, Report, Sent, Time};
use crate::protocol::LineBuf;
use crate::service::Services;

/// How long messages between nodes take unless something else is said.
pub const LATENCY: Duration = Duration::from_millis(100);
/// How long a request waits for its answer before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);
/// After so many steps without any passing of time a node is stuck.
const STEPS_AT_ONCE_MAX: u32 = 10_000;
/// Whoever asks, unless somebody else is named.
const CLIENT: &str = "c1";

/// A message from one end to another.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who sends it.
    pub src: String,
    /// To whom.
    pub dest: String,
    /// Its body, an object.
    pub body: Json,
}

impl Message {
    /// Whether it has that type.
    #[must_use]
    pub fn is(&self, kind: &str) -> bool {
        self.body["type"] == kind
    }

    /// The line that its receiver reads, without a newline.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { src, dest, body } = self;
        json!({ "src": src, "dest": dest, "body": body }).to_string()
    }
}

/// What the network does with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives.
    Deliver,
    /// It is lost on its way.
    Lose,
    /// It arrives twice.
    Repeat,
}

/// Says of a message that arrives whether it gets through.
pub type Admits = Box<dyn FnMut(Time, &Message) -> bool>;

/// Nodes n0, n1, …, the services, and the network between them.
pub struct Scripted<N: Node> {
    /// The nodes. [`restart`](Self::restart) replaces one.
    pub nodes: Vec<N>,
    /// The time of all nodes.
    pub now: Time,
    /// How long messages take that are sent from now on.
    pub latency: Duration,
    /// What becomes of a message between nodes when it is sent.
    pub fate: Box<dyn FnMut(&Message) -> Fate>,
    /// What is made of a message between nodes before it is sent.
    pub forge: Box<dyn FnMut(&mut Message)>,
    /// Whether a message between nodes that arrives gets through.
    pub admits: Admits,
    /// Every message between nodes, lost or not, in the order in which they were sent.
    pub sent: Vec<Message>,
    /// Every message to somebody who is neither a node nor a service and has not had it as an answer.
    pub outside: Vec<Message>,
    /// What nodes have had to report.
    pub reports: Vec<Report>,
    /// Whether a panic in an app is a report like others. Otherwise the test fails.
    pub allows_panics: bool,
    scratch: N::Scratch,
    services: Services,
    /// By when they arrive, and in the order in which they were sent.
    under_way: BTreeMap<(Time, u64), Message>,
    last_id: u64,
    last_msg_id: i64,
    steps_at_once: u32,
}

impl<N: Node + fmt::Debug> fmt::Debug for Scripted<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes, now, under_way, .. } = self;
        let mut fields = f.debug_struct("Scripted");
        fields.field("nodes", nodes).field("now", now).field("under_way", under_way).finish_non_exhaustive()
    }
}

impl<N: Node> Scripted<N> {
    /// Nodes that have been told nothing, not even their names.
    #[must_use]
    pub fn new(nodes: Vec<N>) -> Self {
        Self {
            nodes,
            now: Time::ZERO,
            latency: LATENCY,
            fate: Box::new(|_| Fate::Deliver),
            forge: Box::new(|_| {}),
            admits: Box::new(|_, _| true),
            sent: Vec::new(),
            outside: Vec::new(),
            reports: Vec::new(),
            allows_panics: false,
            scratch: N::Scratch::default(),
            services: Services::new(stream(0, Stream::Services)),
            under_way: BTreeMap::new(),
            last_id: 0,
            last_msg_id: 0,
            steps_at_once: 0,
        }
    }

    /// Nodes that have been initialised, and know a topology in which each is every other one's neighbour.
    ///
    /// # Panics
    /// If a node doesn't answer as it should.
    #[must_use]
    pub fn started(nodes: Vec<N>) -> Self {
        let mut cluster = Self::new(nodes);
        let names = cluster.names();
        (0..names.len()).for_each(|node| assert_eq!(cluster.init(node)["type"], "init_ok"));
        let others = |name: &String| names.iter().filter(|other| *other != name).cloned().collect::<Vec<_>>();
        let topology: BTreeMap<&String, Vec<String>> =
            names.iter().map(|name| (name, others(name))).collect();
        for node in 0..names.len() {
            let answer = cluster.ask(node, json!({ "type": "topology", "topology": topology }));
            assert_eq!(answer["type"], "topology_ok");
        }
        cluster
    }

    /// The names of the nodes.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        (0..self.nodes.len()).map(|node| format!("n{node}")).collect()
    }

    /// Initialises a node; its answer.
    ///
    /// # Panics
    /// If it doesn't answer.
    pub fn init(&mut self, node: usize) -> Json {
        let names = self.names();
        self.ask(node, json!({ "type": "init", "node_id": names[node], "node_ids": names }))
    }

    /// A node is killed, and started again as this one, with an `init`; its answer. What is under way to it still arrives.
    ///
    /// # Panics
    /// If it doesn't answer.
    pub fn restart(&mut self, node: usize, fresh: N) -> Json {
        self.nodes[node] = fresh;
        self.init(node)
    }

    /// A client asks a node something. If the answer doesn't come at once, time passes until it does.
    ///
    /// # Panics
    /// If no answer comes for a minute, or more than one, or if the request is no object.
    pub fn ask(&mut self, node: usize, mut body: Json) -> Json {
        assert!(body.is_object(), "a request is an object: {body}");
        self.last_msg_id += 1;
        let number = json!(self.last_msg_id);
        body["msg_id"] = number.clone();
        let at_once = self.tell(node, CLIENT, body.clone());
        for body in at_once {
            self.outside.push(Message { src: format!("n{node}"), dest: CLIENT.to_owned(), body });
        }
        let end = self.now + PATIENCE;
        loop {
            let answers = |message: &Message| message.dest == CLIENT && message.body["in_reply_to"] == number;
            if let Some(place) = self.outside.iter().position(answers) {
                let answer = self.outside.remove(place).body;
                assert!(!self.outside.iter().any(answers), "more than one answer to {body}");
                return answer;
            }
            assert!(self.step(end), "n{node} has not answered {body} for {PATIENCE:?}");
        }
    }

    /// Hands a node a message from anybody; what it says to them at once.
    pub fn tell(&mut self, node: usize, src: &str, body: Json) -> Vec<Json> {
        let message = Message { src: src.to_owned(), dest: format!("n{node}"), body };
        let said = self.line(node, message.line().as_bytes());
        let (to_them, others): (Vec<_>, Vec<_>) = said.into_iter().partition(|message| message.dest == src);
        self.post_all(others);
        to_them.into_iter().map(|message| message.body).collect()
    }

    /// Hands a node a line; all that it says at once, which goes nowhere unless it is [posted](Self::post).
    pub fn line(&mut self, node: usize, line: &[u8]) -> Vec<Message> {
        let mut out = Outbox::default();
        self.nodes[node].handle(self.now, LineBuf::from(line).line(), &mut self.scratch, &mut out);
        self.said(&mut out)
    }

    /// What a node says when it goes away.
    pub fn finish(&mut self, node: usize) -> Vec<Message> {
        let mut out = Outbox::default();
        self.nodes[node].finish(self.now, &mut out);
        self.said(&mut out)
    }

    fn said(&mut self, out: &mut Outbox) -> Vec<Message> {
        for report in out.take_reports() {
            if let (Report::Panicked(what), false) = (&report, self.allows_panics) {
                panic!("a node panicked in {what}");
            }
            self.reports.push(report);
        }
        let message = |Sent { src, dest, body }: Sent<'_>| Message {
            src: src.into_owned(),
            dest: dest.into_owned(),
            body: serde_json::from_slice(body).expect("a body is JSON"),
        };
        out.messages().iter().map(message).collect()
    }

    /// Sends a message.
    pub fn post(&mut self, mut message: Message) {
        let is_of_nodes = self.node_of(&message.dest).is_some() && Services::find(&message.src).is_none();
        if is_of_nodes {
            (self.forge)(&mut message);
        }
        if self.node_of(&message.dest).is_none() && Services::find(&message.dest).is_none() {
            return self.outside.push(message);
        }
        if !is_of_nodes {
            return self.dispatch(message);
        }
        let copies = match (self.fate)(&message) {
            Fate::Deliver => 1,
            Fate::Lose => 0,
            Fate::Repeat => 2,
        };
        (0..copies).for_each(|_| self.dispatch(message.clone()));
        self.sent.push(message);
    }

    fn post_all(&mut self, messages: Vec<Message>) {
        messages.into_iter().for_each(|message| self.post(message));
    }

    fn dispatch(&mut self, message: Message) {
        self.last_id += 1;
        self.under_way.insert((self.now + self.latency, self.last_id), message);
    }

    /// The node of that name.
    fn node_of(&self, name: &str) -> Option<usize> {
        let node: usize = name.strip_prefix('n')?.parse().ok()?;
        (node < self.nodes.len() && name == format!("n{node}")).then_some(node)
    }

    /// Lets time pass: messages arrive, and nodes do what is due.
    ///
    /// # Panics
    /// If a node wants to act again and again without any passing of time.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// The next thing that happens until then. False if there is nothing.
    fn step(&mut self, end: Time) -> bool {
        let arrival = self.under_way.first_key_value().map(|(&(due, _), _)| due);
        let deadline = self.nodes.iter().filter_map(Node::next_deadline).min();
        let next = [arrival, deadline].into_iter().flatten().min().filter(|&next| next <= end);
        let Some(next) = next else { return false };
        if next > self.now {
            self.steps_at_once = 0;
        }
        self.count_step();
        self.now = self.now.max(next);
        while let Some(due) = self.under_way.first_entry().filter(|due| due.key().0 <= self.now) {
            let message = due.remove();
            self.count_step();
            self.arrive(&message);
        }
        for node in 0..self.nodes.len() {
            if self.nodes[node].next_deadline().is_some_and(|due| due <= self.now) {
                let mut out = Outbox::default();
                self.nodes[node].tick(self.now, &mut out);
                let said = self.said(&mut out);
                self.post_all(said);
            }
        }
        true
    }

    fn count_step(&mut self) {
        self.steps_at_once += 1;
        assert!(self.steps_at_once < STEPS_AT_ONCE_MAX, "a node is never done, {:?}", self.now);
    }

    fn arrive(&mut self, message: &Message) {
        if let Some(service) = Services::find(&message.dest) {
            let answer = self.services.answer(service, &message.src, &message.body.to_string());
            if let Some(body) = answer.and_then(|answer| serde_json::from_str(&answer).ok()) {
                self.post(Message { src: message.dest.clone(), dest: message.src.clone(), body });
            }
            return;
        }
        let is_from_a_service = Services::find(&message.src).is_some();
        if let Some(node) = self.node_of(&message.dest)
            && (is_from_a_service || (self.admits)(self.now, message))
        {
            let said = self.line(node, message.line().as_bytes());
            self.post_all(said);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{App, Context, Error};

    /// Counts in lin-kv, and tells the other node when it has.
    async fn count(node: Context<u32>, _: Json) -> Result<Json, Error> {
        let count = node.lin_kv().update("count", |count: Option<&i64>| count.unwrap_or(&0) + 1).await?;
        node.send("n1", json!({ "type": "counted", "count": count }));
        Ok(json!({ "count": count }))
    }

    fn cluster() -> Scripted<App<u32>> {
        let counted = |node: Context<u32>, _: Json| async move {
            node.state(|heard| *heard += 1);
            Ok(())
        };
        let heard =
            |node: Context<u32>, _: Json| async move { Ok(json!({ "heard": node.state(|heard| *heard) })) };
        let app = || App::new(0).on("count", count).on("counted", counted).on("heard", heard);
        Scripted::started(vec![app(), app()])
    }

    fn heard(cluster: &mut Scripted<App<u32>>) -> i64 {
        cluster.ask(1, json!({ "type": "heard" }))["heard"].as_i64().expect("a number")
    }

    #[test]
    fn services_answer_after_the_latency_and_are_asked_whatever_befalls_nodes() {
        let mut cluster = cluster();
        cluster.fate = Box::new(|_| Fate::Lose);
        cluster.admits = Box::new(|_, _| false);
        assert_eq!(cluster.ask(0, json!({ "type": "count" }))["count"], 1);
        assert_eq!(cluster.now, Time::ZERO + 4 * LATENCY, "a read and a compare-and-set");
        assert_eq!(cluster.ask(1, json!({ "type": "count" }))["count"], 2);
    }

    #[test]
    fn a_message_is_lost_repeated_forged_or_refused_as_the_script_says() {
        let mut cluster = cluster();
        let count = |cluster: &mut Scripted<App<u32>>| {
            let before = heard(cluster);
            cluster.ask(0, json!({ "type": "count" }));
            cluster.run_for(Duration::from_secs(1));
            heard(cluster) - before
        };
        assert_eq!(count(&mut cluster), 1);
        cluster.fate = Box::new(|message| if message.is("counted") { Fate::Lose } else { Fate::Deliver });
        assert_eq!(count(&mut cluster), 0);
        cluster.fate = Box::new(|_| Fate::Repeat);
        assert_eq!(count(&mut cluster), 2);
        cluster.admits = Box::new(|now, message| now == Time::ZERO || message.src != "n0");
        assert_eq!(count(&mut cluster), 0);
        cluster.admits = Box::new(|_, _| true);
        cluster.forge = Box::new(|message| message.body["type"] = json!("nonsense"));
        assert_eq!(count(&mut cluster), 0);
        assert_eq!(cluster.sent.iter().filter(|message| message.is("counted")).count(), 4);
    }

    #[test]
    fn what_nobody_takes_is_kept() {
        let mut cluster = cluster();
        let message =
            Message { src: "n0".to_owned(), dest: "n7".to_owned(), body: json!({ "type": "lost" }) };
        cluster.post(message.clone());
        assert_eq!(cluster.outside, [message]);
        assert_eq!(cluster.tell(0, "n7", json!({ "type": "nonsense", "msg_id": 3 }))[0]["code"], 10);
        assert!(cluster.line(0, b"nonsense").is_empty() && cluster.reports.len() == 1);
    }

    #[test]
    #[should_panic(expected = "a node is never done")]
    fn messages_without_end_at_one_moment_fail() {
        let ball = |node: Context<()>, _: Json| async move {
            let other = node.others().next().expect("another").to_owned();
            node.send(&other, json!({ "type": "ball" }));
            Ok(())
        };
        let app = || App::new(()).on("ball", ball);
        let mut cluster = Scripted::started(vec![app(), app()]);
        cluster.latency = Duration::ZERO;
        cluster.tell(0, "c1", json!({ "type": "ball" }));
        cluster.run_for(Duration::from_secs(1));
    }

    #[test]
    #[should_panic(expected = "a node panicked in spawned work: by chance")]
    fn a_panic_in_work_fails_the_test() {
        let app = App::new(()).on("work", |node: Context<()>, _: Json| async move {
            node.spawn(async { panic!("by chance") });
            Ok(())
        });
        Scripted::started(vec![app]).ask(0, json!({ "type": "work" }));
    }

    #[test]
    fn nodes_and_lives_draw_other_numbers() {
        let app = || {
            App::new(())
                .on("draw", |node: Context<()>, _: Json| async move { Ok(json!({ "drawn": node.random() })) })
                .on("ask", |node: Context<()>, request: Json| async move {
                    node.rpc("n1", json!({ "type": "echo", "what": request["what"] })).await
                })
                .on("echo", |_, request: Json| async move { Ok(json!({ "what": request["what"] })) })
        };
        let mut cluster = Scripted::started(vec![app(), app()]);
        let mut draw = |node| cluster.ask(node, json!({ "type": "draw" }))["drawn"].clone();
        assert_ne!(draw(0), draw(1));
        // An answer to the former life comes late.
        cluster.tell(0, "c9", json!({ "type": "ask", "msg_id": 1, "what": "old" }));
        cluster.run_for(LATENCY / 2);
        assert_eq!(cluster.restart(0, app().with_seed(2))["type"], "init_ok");
        assert_eq!(cluster.ask(0, json!({ "type": "ask", "what": "new" }))["what"], "new");
    }

    #[test]
    fn names_are_as_they_are_written_and_a_forged_address_counts() {
        let mut cluster = cluster();
        let message = |dest: &str| Message {
            src: "n0".to_owned(),
            dest: dest.to_owned(),
            body: json!({ "type": "heard" }),
        };
        for dest in ["n01", "n+1"] {
            cluster.post(message(dest));
        }
        cluster.forge = Box::new(|message| message.dest = "n9".to_owned());
        cluster.post(message("n1"));
        let names: Vec<&str> = cluster.outside.iter().map(|message| &*message.dest).collect();
        assert_eq!((names, cluster.sent.len()), (vec!["n01", "n+1", "n9"], 0));
    }

    #[test]
    #[should_panic(expected = "has not answered")]
    fn a_question_without_an_answer_fails() {
        let app = App::new(()).on("sleep", |node: Context<()>, _: Json| async move {
            node.sleep(Duration::from_secs(100)).await;
            Ok(())
        });
        Scripted::started(vec![app]).ask(0, json!({ "type": "sleep" }));
    }
}
