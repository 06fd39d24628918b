//! One run as a state machine: the network, the clients, the faults and the history, but no clock.
//!
//! A driver calls [`Trial::receive`] with each line that a node prints, and `Trial::advance` whenever
//! `Trial::next_event` is due or something was received. Each phase waits for the one before it:
//!
//! ```text
//! init ▶ set-up ▶ operations and faults ▶ their completion ▶ healing, 10 s of quiet ▶ final reads ▶ done
//! ```

mod faults;
mod inject;
mod lines;
mod lives;
mod mishaps;
mod operations;
mod results;
mod violation;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rand_pcg::Pcg64;
use serde::de::IgnoredAny;
use serde_json::json;

pub(crate) use self::faults::strikes;
use self::lines::{Envelope, envelope, excerpt, hint};
use self::lives::Lives;
use self::mishaps::Mishaps;
pub(crate) use self::mishaps::Stray;
pub use self::mishaps::{Mishap, Strays};
pub use self::results::{Net, Results};
pub use self::violation::Violation;

use crate::check::Finding;
use crate::cluster::clients::{Clients, FIRST_MSG_ID, Ticket};
use crate::cluster::nemesis::{Nemesis, NodeFault, Step};
use crate::cluster::network::{Endpoint, Latency, Names, Network, Passage};
use crate::cluster::scenario::{Scenario, Verbosity, seconds};
use crate::cluster::streams::{Stream, stream};
use crate::history::History;
use crate::node::{Sent, Time};
use crate::protocol::encode;
use crate::service::Services;
use crate::workload::{Rpc, Setting, Workload, in_words};

/// Maelstrom's quiet between the last operation and the final reads.
const QUIET: Duration = Duration::from_secs(10);
/// How often to see whether nodes have come to rest.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// So many nodes are sent their first `init` at once, and another one whenever one has answered. The `init` of one node
/// names all of them, so the bytes under way would grow with the square of their number. Clusters up to this size notice
/// nothing of it.
const INITS_AT_ONCE: usize = 500;
/// The error of an operation that was not answered in time.
pub(crate) const TIMED_OUT: &str = "timed out";

/// The nodes, as the trial knows them.
pub(crate) trait Cluster {
    /// Hands a line, newline included, to a node's stdin.
    fn deliver(&mut self, node: usize, line: String);

    /// Does something to a node. One that is killed and started again gets another `init`.
    fn disturb(&mut self, node: usize, fault: NodeFault);

    /// The nemesis has just done this.
    fn struck(&mut self, _step: &Step) {}

    /// Whether everything has come to rest, for all that can be seen.
    fn has_settled(&self) -> bool {
        true
    }
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nodes are being initialised.
    Starting,
    /// Clients make their first requests.
    SettingUp {
        waiting: usize,
    },
    /// Clients operate, the nemesis acts.
    Running {
        ends: Time,
    },
    /// The last operations end.
    Completing,
    /// Everything comes to rest.
    Recovering {
        ends: Time,
        latest: Time,
    },
    /// Workers do what they do last.
    Final,
    Done,
}

/// How far a run is, for those who watch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// What is going on.
    pub phase: &'static str,
    /// Since clients began.
    pub elapsed: Duration,
    /// Operations that succeeded.
    pub ok: usize,
    /// Operations that did not, or may not have.
    pub not_ok: usize,
    /// Messages under way.
    pub in_flight: usize,
    /// The faults in force: the latest, and how many more.
    pub fault: Option<String>,
}

/// The quiet between the last operation and the final reads.
#[derive(Clone, Copy, Debug)]
pub struct Quiet {
    /// How long it lasts in any case…
    pub least: Duration,
    /// …and if nodes have not come to rest.
    pub most: Duration,
}

impl Quiet {
    /// So long, whatever nodes do.
    #[must_use]
    pub const fn of(time: Duration) -> Self {
        Self { least: time, most: time }
    }
}

/// One run.
#[derive(Debug)]
pub struct Trial {
    scenario: Scenario,
    seed: u64,
    verbosity: Verbosity,
    workload: Box<dyn Workload>,
    network: Network,
    nemesis: Nemesis,
    /// The steps of the nemesis that last, oldest first.
    in_force: Vec<Step>,
    /// The nodes that had sent most when a step befell them, by the subject of the step.
    busiest: HashMap<u8, usize>,
    /// The quiet between the last operation and the final reads.
    quiet: Quiet,
    rng: Pcg64,
    history: History,
    log: Vec<String>,
    phase: Phase,
    began: Time,
    /// When the next operation is to begin.
    next_op: Time,
    /// No client was free then.
    late: bool,
    /// Clients say nothing more by themselves.
    lull: bool,
    /// How many messages nodes had sent each other when the quiet began, and when that was.
    sent_before_quiet: u64,
    quiet_began: Time,
    /// How many they sent in it, and how long it lasted, once it is over.
    sent_in_quiet: Option<(u64, Duration)>,
    /// In the end: when to ask which worker what it does next.
    to_ask: BTreeSet<(Time, usize)>,
    clients: Clients,
    lives: Lives,
    names: Names,
    /// The names of all nodes, as a JSON array.
    node_ids: String,
    services: Services,
    mishaps: Mishaps,
    /// What each node sent to whoever initialises it in place of the answer, the last time.
    instead_of_init_ok: HashMap<usize, String>,
    /// The nodes of which Maelstrom would read nothing more, if it is followed strictly.
    unheard: HashSet<usize>,
    /// What a node printed that ends without a newline.
    unended: Option<Finding>,
    trusts_bodies: bool,
    /// The nodes that have not been sent their first `init`.
    to_initialise: Range<usize>,
    ok: usize,
    not_ok: usize,
}

impl Trial {
    /// A run that begins now, with the faults and the quiet that Maelstrom has. The seed decides all that the
    /// bench draws.
    #[must_use]
    pub fn new(scenario: &Scenario, seed: u64, verbosity: Verbosity, now: Time) -> Self {
        let nemesis = faults::nemesis(scenario, seed);
        Self::under(nemesis, Quiet::of(QUIET), scenario, seed, verbosity, now)
    }

    /// A run that begins now, with these faults, and that quiet. The seed decides all else that the bench draws.
    #[must_use]
    pub fn under(
        nemesis: Nemesis,
        quiet: Quiet,
        scenario: &Scenario,
        seed: u64,
        verbosity: Verbosity,
        now: Time,
    ) -> Self {
        let nodes = scenario.nodes();
        let names = scenario.names();
        let workload = (scenario.workload.new)(&Setting {
            nodes: &names,
            workers: scenario.workers(),
            latency: seconds(scenario.latency / 1000.0),
            options: &scenario.options,
        });
        let latency = Latency {
            mean: seconds(scenario.latency / 1000.0),
            dist: scenario.latency_dist,
            jitter: seconds(scenario.latency_jitter / 1000.0),
        };
        let mut trial = Self {
            seed,
            verbosity,
            clients: Clients::new(nodes, workload.rpc_timeout()),
            workload,
            network: Network::new(nodes, latency, scenario.delivery, stream(seed, Stream::Network)),
            nemesis,
            in_force: Vec::new(),
            busiest: HashMap::new(),
            quiet,
            rng: stream(seed, Stream::Generator),
            history: History::of_nodes(names.clone()),
            log: Vec::new(),
            phase: Phase::Starting,
            began: now,
            next_op: now,
            late: false,
            lull: false,
            sent_before_quiet: 0,
            quiet_began: now,
            sent_in_quiet: None,
            to_ask: BTreeSet::new(),
            lives: Lives::new(nodes, now),
            node_ids: json!(names).to_string(),
            names: Names::new(names),
            services: Services::new(stream(seed, Stream::Services)),
            mishaps: Mishaps::default(),
            instead_of_init_ok: HashMap::new(),
            unheard: HashSet::new(),
            unended: None,
            trusts_bodies: false,
            to_initialise: 0..nodes,
            ok: 0,
            not_ok: 0,
            scenario: scenario.clone(),
        };
        if verbosity.keeps_messages {
            trial.network.keep_log(trial.names.clone(), now);
        }
        (0..INITS_AT_ONCE).for_each(|_| trial.initialise_next(now));
        trial
    }

    /// How many nodes there are.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.scenario.nodes()
    }

    /// Whether the run is over.
    #[must_use]
    pub(crate) fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// When [`advance`](Trial::advance) is next needed, if nothing is received before.
    #[must_use]
    pub(crate) fn next_event(&self) -> Option<Time> {
        let own = match self.phase {
            Phase::Running { ends } => {
                let may_begin = self.clients.any_free() && self.scenario.rate > 0.0 && !self.lull;
                let op = may_begin.then_some(self.next_op);
                [Some(ends), op, self.nemesis.next_step()].into_iter().flatten().min()
            }
            Phase::Completing => self.nemesis.next_step(),
            Phase::Recovering { ends, .. } => Some(ends),
            Phase::Final => self.to_ask.first().map(|(at, _)| *at),
            Phase::Starting | Phase::SettingUp { .. } | Phase::Done => None,
        };
        let lives = self.lives.next_deadline();
        [own, lives, self.clients.next_timeout(), self.network.next_due()].into_iter().flatten().min()
    }

    /// How many messages are under way.
    #[must_use]
    pub(crate) fn in_flight(&self) -> usize {
        self.network.in_flight()
    }

    /// How far the run is.
    #[must_use]
    pub fn snapshot(&self, now: Time) -> Snapshot {
        let phase = match self.phase {
            Phase::Starting => "starting",
            Phase::SettingUp { .. } => "setting up",
            Phase::Running { .. } | Phase::Completing => "running",
            Phase::Recovering { .. } => "recovering",
            Phase::Final => "final reads",
            Phase::Done => "done",
        };
        Snapshot {
            phase,
            elapsed: self.began().map_or(Duration::ZERO, |began| now.since(began)),
            ok: self.ok,
            not_ok: self.not_ok,
            in_flight: self.network.in_flight(),
            fault: self.faults_in_force(),
        }
    }

    fn faults_in_force(&self) -> Option<String> {
        let (latest, others) = self.in_force.split_last()?;
        let more = if others.is_empty() { String::new() } else { format!(", and {} more", others.len()) };
        let latest = latest.in_words(|node| self.names.node(node).to_owned());
        Some(format!("{latest}{more}"))
    }

    /// When clients began to operate; none before they have.
    #[must_use]
    pub fn began(&self) -> Option<Time> {
        let before = matches!(self.phase, Phase::Starting | Phase::SettingUp { .. });
        (!before).then_some(self.began)
    }

    /// Keeps what becomes of every message from now on, to be [taken](Trial::take_trace) in the end.
    pub(crate) fn keep_trace(&mut self) {
        self.network.keep_trace();
    }

    /// What became of every message, oldest first.
    pub(crate) fn take_trace(&mut self) -> Vec<Passage> {
        self.network.take_trace()
    }

    /// What has happened so far.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Hands over what has become of messages since the last time, as lines of JSON, if that is kept.
    pub(crate) fn take_messages(&mut self, take: impl FnOnce(&[u8])) {
        self.network.take_log(take);
    }

    /// Takes what there is to log, if the run was told to.
    pub(crate) fn take_log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    /// A node has printed a line.
    ///
    /// # Errors
    /// If the line is no message to somebody.
    pub fn receive(&mut self, now: Time, node: usize, line: &[u8]) -> Result<(), Violation> {
        if self.unheard.contains(&node) {
            return Ok(());
        }
        let not_message = |why: String| Violation::NotMessage {
            node,
            why: format!("{why}{}", hint(line)),
            line: excerpt(line),
        };
        let Envelope { src, dest, body } = envelope(line).map_err(not_message)?;
        self.send_on(now, node, (&src, &dest, body.get()), || excerpt(line))
    }

    /// A node in this process has sent a message, of which the parts are known.
    ///
    /// # Errors
    /// If it is no message to somebody.
    pub(crate) fn receive_sent(&mut self, now: Time, node: usize, sent: &Sent<'_>) -> Result<(), Violation> {
        if self.unheard.contains(&node) {
            return Ok(());
        }
        let line = || {
            let Sent { src, dest, body } = sent;
            excerpt(&encode::line(src, dest, |text| text.extend_from_slice(body)))
        };
        let not_message = |why: String| Violation::NotMessage { node, why, line: line() };
        let body = str::from_utf8(sent.body).map_err(|error| not_message(error.to_string()))?;
        if body.contains('\n') {
            return Err(not_message(
                "a message is one line, and there is a line break in its body".to_owned(),
            ));
        }
        if !self.trusts_bodies {
            serde_json::from_str::<IgnoredAny>(body).map_err(|error| not_message(in_words(&error)))?;
        }
        self.send_on(now, node, (&sent.src, &sent.dest, body.trim_ascii()), line)
    }

    /// What nodes in this process send is not parsed here: somebody else looks at it.
    pub(crate) fn trust_bodies(&mut self) {
        self.trusts_bodies = true;
    }

    /// Gives the network what a node has sent.
    fn send_on(
        &mut self,
        now: Time,
        node: usize,
        (src, dest, body): (&str, &str, &str),
        line: impl FnOnce() -> String,
    ) -> Result<(), Violation> {
        if !body.starts_with('{') {
            let why = "its body is not an object".to_owned();
            return Err(Violation::NotMessage { node, why, line: line() });
        }
        let endpoint = |field, name: &str| match self.names.find(name) {
            Some(Endpoint::Client(number)) if !self.clients.exists(number) => {
                Err(Violation::NoSuchNode { node, field, name: name.to_owned() })
            }
            Some(end) => Ok(end),
            None => Err(Violation::NoSuchNode { node, field, name: name.to_owned() }),
        };
        let (src, dest) = (endpoint("src", src)?, endpoint("dest", dest)?);
        if !self.lives.is_up(node) {
            self.instead_of_init_ok.insert(node, line());
        }
        self.send(now, src, dest, body.into());
        Ok(())
    }

    /// In the end, a node has printed something that is not followed by a newline.
    pub fn left_unended(&mut self, node: usize, bytes: &[u8]) {
        let what = format!(
            "{} printed {} bytes that no newline ended, so that nobody read them: {}",
            self.names.node(node),
            bytes.len(),
            excerpt(bytes)
        );
        let finding = Finding::new(what, "Each message ends with a newline, \"\\n\", and is flushed.");
        self.unended.get_or_insert(finding);
    }

    /// Does all that is due by `now`.
    ///
    /// # Errors
    /// If a node does not behave before the first operation.
    pub(crate) fn advance(&mut self, now: Time, cluster: &mut impl Cluster) -> Result<(), Violation> {
        loop {
            while let Some(packet) = self.network.receive(now) {
                if self.verbosity.log_net_recv {
                    self.log.push(format!("recv {}", packet.line(&self.names).trim_end()));
                }
                match packet.dest {
                    Endpoint::Node(node) => {
                        let mut line = packet.line(&self.names);
                        self.network.damage(&packet, &mut line);
                        cluster.deliver(node, line);
                    }
                    Endpoint::Service(service) => {
                        let answer = self.services.answer(service, &self.names.of(packet.src), &packet.body);
                        answer
                            .into_iter()
                            .for_each(|answer| self.send(now, packet.dest, packet.src, answer.into()));
                    }
                    Endpoint::Client(client) => self.answered(now, client, packet.src, &packet.body)?,
                }
            }
            self.time_out(now)?;
            if !self.step(now, cluster)? && self.network.next_due().is_none_or(|due| due > now) {
                return Ok(());
            }
        }
    }

    /// Sends the next node its first `init`, if one has not been sent it.
    fn initialise_next(&mut self, now: Time) {
        if let Some(node) = self.to_initialise.next() {
            self.initialise(now, node);
        }
    }

    /// Sends a node that has just been started its `init`.
    fn initialise(&mut self, now: Time, node: usize) {
        let (number, node_ids) = (self.lives.number(node), &self.node_ids);
        let name = self.names.node(node);
        let (client, node) = (Endpoint::Client(node), Endpoint::Node(node));
        let body = format!(r#"{{"msg_id":{number},"node_id":"{name}","node_ids":{node_ids},"type":"init"}}"#);
        self.send(now, client, node, body.into());
    }

    fn send(&mut self, now: Time, src: Endpoint, dest: Endpoint, body: Arc<str>) {
        if self.verbosity.log_net_send {
            let (src, dest) = (self.names.of(src), self.names.of(dest));
            self.log.push(format!("send {{\"src\":\"{src}\",\"dest\":\"{dest}\",\"body\":{body}}}"));
        }
        self.network.send(now, src, dest, body);
    }

    /// Moves on as far as the phase allows. True if that made something new to do.
    fn step(&mut self, now: Time, cluster: &mut impl Cluster) -> Result<bool, Violation> {
        match self.phase {
            Phase::Starting if self.lives.all_up() => {
                self.set_up(now);
                Ok(true)
            }
            Phase::SettingUp { waiting: 0 } => {
                self.begin(now);
                Ok(true)
            }
            Phase::Running { ends } => {
                if ends <= now {
                    self.phase = Phase::Completing;
                    return Ok(true);
                }
                Ok(self.inject(now, cluster) || self.operate(now))
            }
            Phase::Completing => {
                if self.inject(now, cluster) {
                    return Ok(true);
                }
                if !self.clients.all_free() {
                    return Ok(false);
                }
                if self.heal(now, cluster) {
                    return Ok(true);
                }
                if !self.lives.all_up() {
                    return Ok(false);
                }
                let more = self.workload.has_last();
                let Quiet { least, most } = self.quiet;
                let recovering = Phase::Recovering { ends: now + least, latest: now + most };
                self.phase = if more { recovering } else { Phase::Done };
                self.sent_before_quiet = self.network.traffic().servers.sent;
                self.quiet_began = now;
                Ok(true)
            }
            Phase::Recovering { ends, latest } if ends <= now && now < latest && !cluster.has_settled() => {
                self.phase = Phase::Recovering { ends: latest.min(now + LOOK_INTERVAL), latest };
                Ok(true)
            }
            Phase::Recovering { ends, .. } if ends <= now => {
                self.phase = Phase::Final;
                let sent = self.network.traffic().servers.sent - self.sent_before_quiet;
                self.sent_in_quiet = Some((sent, now.since(self.quiet_began)));
                for worker in self.clients.take_all() {
                    // The dead answer nobody.
                    if self.lives.is_gone(self.clients.node_of(worker)) {
                        self.clients.set_free(worker);
                    } else {
                        self.to_ask.insert((now, worker));
                    }
                }
                Ok(true)
            }
            Phase::Final if self.to_ask.is_empty() && self.clients.all_free() => {
                self.phase = Phase::Done;
                Ok(false)
            }
            Phase::Final => Ok(self.ask(now)),
            _ => Ok(false),
        }
    }

    /// All nodes are there: lets clients make their first requests.
    fn set_up(&mut self, now: Time) {
        self.clients.add_workers(self.scenario.workers(), self.scenario.nodes());
        let Some(Rpc { kind, mut body }) = self.workload.setup() else {
            return self.begin(now);
        };
        // It names every node. As it is the first request of each client, it has the same number everywhere, and all
        // share its text.
        body["msg_id"] = json!(FIRST_MSG_ID);
        let body: Arc<str> = body.to_string().into();
        for worker in self.clients.take_all() {
            let request = (kind, Arc::clone(&body));
            let Ticket { src, dest, msg_id } = self.clients.request(now, worker, request, None);
            debug_assert_eq!(msg_id, FIRST_MSG_ID);
            self.send(now, src, dest, Arc::clone(&body));
        }
        self.phase = Phase::SettingUp { waiting: self.clients.workers() };
    }

    /// Everything is set up: the clock of the history starts here.
    fn begin(&mut self, now: Time) {
        self.network.mark_log(now, "began");
        self.began = now;
        self.next_op = now;
        self.phase = Phase::Running { ends: now + self.scenario.time_limit() };
        self.nemesis.begin(now);
    }

    /// The time of the history.
    fn since_began(&self, now: Time) -> Time {
        Time::ZERO + now.since(self.began)
    }
}
