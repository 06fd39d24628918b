//! The clients: who of them is free, who waits for which answer, and until when.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand_pcg::Pcg64;

use crate::cluster::network::Endpoint;
use crate::cluster::trial::Stray;
use crate::history::Process;
use crate::node::Time;
use crate::workload::Op;

/// The number of each client's first request.
pub(super) const FIRST_MSG_ID: i64 = 1;

/// All clients: one for each node's `init`, then the workers, then those that bursts bring.
#[derive(Debug)]
pub(super) struct Clients {
    workers: Vec<Worker>,
    /// The workers before this one do one thing after another, those from it on do one thing in all.
    regular: usize,
    free: Vec<usize>,
    /// Workers that have done their one thing.
    retired: usize,
    /// How long they wait for an answer.
    timeout: Duration,
    /// When whose answer is overdue, soonest first: all wait equally long.
    timeouts: VecDeque<(Time, usize, i64)>,
    /// Whose each client number is.
    owners: Vec<Owner>,
    /// Requests that were given up, and have not been answered since: the client's number and the request's.
    given_up: HashSet<(usize, i64)>,
}

/// Does one thing at a time, to one node.
#[derive(Debug)]
struct Worker {
    node: usize,
    /// Its number in the network.
    client: usize,
    /// What it is in the history.
    process: Process,
    next_msg_id: i64,
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    msg_id: i64,
    /// The type of the request.
    request: &'static str,
    /// The request itself.
    body: Arc<str>,
    /// None while setting up.
    op: Option<Op>,
}

#[derive(Clone, Copy, Debug)]
enum Owner {
    Init(usize),
    Worker(usize),
}

/// For whom an answer is.
#[derive(Debug, PartialEq)]
pub(super) enum Addressee {
    /// Whoever initialises this node.
    Init(usize),
    /// This worker, who waited for it.
    Worker(Turn),
    /// Nobody: what it answers was given up, is answered, or was never asked.
    Nobody(Stray),
}

/// A worker's turn to go on, with the type of the request that it waited for, and its operation; none while setting up.
#[derive(Debug, PartialEq)]
pub(super) struct Turn {
    pub(super) worker: usize,
    pub(super) request: &'static str,
    /// The request itself.
    pub(super) body: Arc<str>,
    pub(super) op: Option<Op>,
}

/// A request's ends and number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    pub(super) src: Endpoint,
    pub(super) dest: Endpoint,
    pub(super) msg_id: i64,
}

impl Clients {
    /// The clients that initialise so many nodes; client `i` does node `i`.
    pub(super) fn new(nodes: usize, timeout: Duration) -> Self {
        Self {
            workers: Vec::new(),
            regular: 0,
            free: Vec::new(),
            retired: 0,
            timeout,
            timeouts: VecDeque::new(),
            owners: (0..nodes).map(Owner::Init).collect(),
            given_up: HashSet::new(),
        }
    }

    /// Adds workers, all free. Worker `i` talks to node `i` modulo the number of nodes.
    pub(super) fn add_workers(&mut self, count: usize, nodes: usize) {
        for worker in 0..count {
            self.add_worker(worker % nodes, Process::Client(worker));
            self.free.push(worker);
        }
        self.regular = count;
    }

    /// Adds a worker for one operation at that node.
    pub(super) fn add_passer_by(&mut self, node: usize) -> usize {
        self.add_worker(node, Process::PasserBy(self.workers.len() - self.regular))
    }

    fn add_worker(&mut self, node: usize, process: Process) -> usize {
        let worker = self.workers.len();
        let client = self.new_client(worker);
        self.workers.push(Worker { node, client, process, next_msg_id: FIRST_MSG_ID, waiting: None });
        worker
    }

    /// Has workers talk to these nodes from now on, which are spread over the workers.
    pub(super) fn talk_to(&mut self, nodes: &[usize]) {
        let regular = self.workers.iter_mut().take(self.regular);
        regular.zip(nodes.iter().cycle()).for_each(|(worker, &node)| worker.node = node);
    }

    pub(super) fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Whether there is, or was, a client of that number.
    pub(super) fn exists(&self, client: usize) -> bool {
        client < self.owners.len()
    }

    pub(super) fn node_of(&self, worker: usize) -> usize {
        self.workers[worker].node
    }

    pub(super) fn process_of(&self, worker: usize) -> Process {
        self.workers[worker].process
    }

    pub(super) fn any_free(&self) -> bool {
        !self.free.is_empty()
    }

    pub(super) fn all_free(&self) -> bool {
        self.free.len() + self.retired == self.workers.len()
    }

    /// A free worker, drawn at random.
    pub(super) fn take_any(&mut self, rng: &mut Pcg64) -> Option<usize> {
        let place = (!self.free.is_empty()).then(|| rng.random_range(0..self.free.len()))?;
        Some(self.free.swap_remove(place))
    }

    /// A worker that was taken and has nothing to do after all.
    pub(super) fn put_back(&mut self, worker: usize) {
        self.free.push(worker);
    }

    /// All workers, if all are free.
    pub(super) fn take_all(&mut self) -> Vec<usize> {
        self.free.sort_unstable();
        std::mem::take(&mut self.free)
    }

    /// A worker has done what it was at, and may go on to something else.
    pub(super) fn set_free(&mut self, worker: usize) {
        if worker < self.regular {
            self.free.push(worker);
        } else {
            self.retired += 1;
        }
    }

    /// The number of a worker's next request.
    pub(super) fn next_msg_id(&self, worker: usize) -> i64 {
        self.workers[worker].next_msg_id
    }

    /// A worker makes a request, and waits.
    pub(super) fn request(
        &mut self,
        now: Time,
        worker: usize,
        (request, body): (&'static str, Arc<str>),
        op: Option<Op>,
    ) -> Ticket {
        let state = &mut self.workers[worker];
        let msg_id = state.next_msg_id;
        state.next_msg_id += 1;
        state.waiting = Some(Waiting { msg_id, request, body, op });
        self.timeouts.push_back((now + self.timeout, worker, msg_id));
        Ticket { src: Endpoint::Client(state.client), dest: Endpoint::Node(state.node), msg_id }
    }

    /// A client has received an answer. Its worker no longer waits, if it waited for this one.
    pub(super) fn answered(&mut self, client: usize, in_reply_to: Option<i64>) -> Addressee {
        let worker = match self.owners[client] {
            Owner::Init(node) => return Addressee::Init(node),
            Owner::Worker(worker) => worker,
        };
        let state = &mut self.workers[worker];
        let awaited = |waiting: &mut Waiting| state.client == client && in_reply_to == Some(waiting.msg_id);
        match state.waiting.take_if(awaited) {
            Some(Waiting { request, body, op, .. }) => Addressee::Worker(Turn { worker, request, body, op }),
            None => Addressee::Nobody(self.stray(client, worker, in_reply_to)),
        }
    }

    /// Why nobody waits for an answer.
    fn stray(&mut self, client: usize, worker: usize, in_reply_to: Option<i64>) -> Stray {
        let asked = FIRST_MSG_ID..self.workers[worker].next_msg_id;
        match in_reply_to {
            _ if self.workers[worker].client != client => Stray::Closed,
            Some(id) if self.given_up.remove(&(client, id)) => Stray::Late,
            Some(id) if asked.contains(&id) => Stray::Repeated,
            _ => Stray::Unasked,
        }
    }

    /// When the next answer is overdue, at the earliest.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        self.timeouts.front().map(|(due, ..)| *due)
    }

    /// The next worker whose answer is overdue. It no longer waits.
    pub(super) fn overdue(&mut self, now: Time) -> Option<Turn> {
        while self.next_timeout().is_some_and(|due| due <= now) {
            let (_, worker, msg_id) = self.timeouts.pop_front()?;
            let waiting = self.workers[worker].waiting.take_if(|waiting| waiting.msg_id == msg_id);
            if let Some(Waiting { request, body, op, .. }) = waiting {
                self.given_up.insert((self.workers[worker].client, msg_id));
                return Some(Turn { worker, request, body, op });
            }
        }
        None
    }

    /// Nobody knows what became of a worker's operation: if it goes on, then as another process, and as another client too
    /// unless it keeps that.
    pub(super) fn replace(&mut self, worker: usize, keeps_client: bool) {
        if !keeps_client {
            self.workers[worker].client = self.new_client(worker);
        }
        let regular = self.regular;
        if let Process::Client(number) = &mut self.workers[worker].process {
            *number += regular;
        }
    }

    fn new_client(&mut self, worker: usize) -> usize {
        self.owners.push(Owner::Worker(worker));
        self.owners.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RPC_TIMEOUT: Duration = Duration::from_secs(5);

    fn turn(worker: usize) -> Turn {
        Turn { worker, request: "read", body: "{}".into(), op: None }
    }

    fn read() -> (&'static str, Arc<str>) {
        ("read", "{}".into())
    }

    fn clients() -> Clients {
        let mut clients = Clients::new(2, RPC_TIMEOUT);
        clients.add_workers(4, 2);
        clients
    }

    #[test]
    fn workers_are_spread_over_the_nodes_and_numbered_after_the_initialisers() {
        let mut clients = clients();
        let ticket = clients.request(Time::ZERO, 3, read(), None);
        assert_eq!((ticket.src, ticket.dest, ticket.msg_id), (Endpoint::Client(5), Endpoint::Node(1), 1));
        assert_eq!(clients.answered(1, Some(1)), Addressee::Init(1));
        assert!(clients.exists(5) && !clients.exists(6));
    }

    #[test]
    fn workers_may_come_to_talk_to_other_nodes() {
        let mut clients = clients();
        let passer_by = clients.add_passer_by(0);
        clients.talk_to(&[1]);
        assert_eq!([0, 1, 2, 3, passer_by].map(|worker| clients.node_of(worker)), [1, 1, 1, 1, 0]);
    }

    #[test]
    fn only_the_awaited_answer_counts_and_only_once() {
        let mut clients = clients();
        clients.request(Time::ZERO, 0, read(), None);
        assert_eq!(clients.answered(2, Some(9)), Addressee::Nobody(Stray::Unasked));
        assert_eq!(clients.answered(2, None), Addressee::Nobody(Stray::Unasked));
        assert_eq!(clients.answered(2, Some(1)), Addressee::Worker(turn(0)));
        assert_eq!(clients.answered(2, Some(1)), Addressee::Nobody(Stray::Repeated));
    }

    #[test]
    fn an_answer_is_overdue_after_the_timeout_unless_it_came() {
        let mut clients = clients();
        clients.request(Time::ZERO, 0, read(), None);
        clients.request(Time::ZERO, 1, read(), None);
        clients.answered(2, Some(1));
        let just_before = Time::from_nanos(RPC_TIMEOUT.as_nanos() as u64 - 1);
        assert_eq!(clients.overdue(just_before), None);
        assert_eq!(clients.overdue(Time::ZERO + RPC_TIMEOUT), Some(turn(1)));
        assert_eq!(clients.overdue(Time::NEVER), None);
    }

    #[test]
    fn a_replaced_worker_does_not_hear_its_former_self() {
        let mut clients = clients();
        clients.request(Time::ZERO, 0, read(), None);
        clients.overdue(Time::NEVER);
        clients.replace(0, false);
        assert_eq!(clients.process_of(0), Process::Client(4));
        let ticket = clients.request(Time::ZERO, 0, read(), None);
        assert_eq!((ticket.src, ticket.msg_id), (Endpoint::Client(6), 2));
        assert_eq!(clients.answered(2, Some(1)), Addressee::Nobody(Stray::Closed));
        assert!(matches!(clients.answered(2, Some(2)), Addressee::Nobody(_)), "another client's number");
        assert_eq!(clients.answered(6, Some(2)), Addressee::Worker(turn(0)));
    }

    #[test]
    fn a_passer_by_does_one_thing_and_is_not_waited_for() {
        let mut clients = clients();
        let worker = clients.add_passer_by(1);
        assert_eq!((clients.process_of(worker), clients.all_free()), (Process::PasserBy(0), false));
        assert_eq!(clients.request(Time::ZERO, worker, read(), None).dest, Endpoint::Node(1));
        clients.set_free(worker);
        assert!(clients.all_free());
        assert_eq!(clients.take_all(), [0, 1, 2, 3]);
    }
}
