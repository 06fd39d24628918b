//! Quiet clusters: one value is told to one node, and the only node that knows who else lacks it dies or is cut off.
//!
//! An acknowledgement says that its sender holds the value, and no more. Whoever is left must find out what the others
//! lack, although no client ever says anything again. Five nodes, 100 ms from each to each.

#![cfg(all(feature = "workbench", not(loom)))]

mod common;

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use common::{Broadcasts, Cluster, Design, started};
use natter::cluster::scripted::{Fate, Message};
use natter::config::Config;

const NODES: usize = 5;
const VALUE: i64 = 1_000_000;

/// Within that time after the fault every living node that can be reached holds the value.
const COMPLETE: Duration = Duration::from_secs(10);

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn index(name: &str) -> usize {
    name[1..].parse().expect("a node")
}

/// What the network does to messages that are sent or arrive from now on.
#[derive(Default)]
struct Faults {
    /// Links (source, receiver) on which everything is lost that is sent from now on.
    lost: HashSet<(usize, usize)>,
    /// Nodes that are dead or cut off: nothing gets in or out, and what they have sent is still under way.
    gone: HashSet<usize>,
}

struct Quiet<N: Design> {
    cluster: Cluster<N>,
    faults: Rc<RefCell<Faults>>,
}

impl<N: Design> Quiet<N> {
    /// A cluster that has had ten seconds of values, to get to know its network, and then a minute of peace.
    fn new(config: &Config) -> Self {
        let mut cluster = started::<N>(NODES, config);
        for value in 0..500 {
            cluster.broadcast(value as usize % NODES, value);
            cluster.run_for(ms(20));
        }
        cluster.run_for_secs(60);
        let said = cluster.sent.len();
        cluster.run_for_secs(60);
        assert_eq!(cluster.sent.len(), said, "it is quiet");
        let faults = Rc::new(RefCell::new(Faults::default()));
        let (sending, arriving) = (Rc::clone(&faults), Rc::clone(&faults));
        cluster.fate = Box::new(move |Message { src, dest, .. }| {
            let Faults { lost, gone } = &*sending.borrow();
            let loses = gone.contains(&index(src)) || lost.contains(&(index(src), index(dest)));
            if loses { Fate::Lose } else { Fate::Deliver }
        });
        cluster.admits =
            Box::new(move |_, Message { dest, .. }| !arriving.borrow().gone.contains(&index(dest)));
        Self { cluster, faults }
    }

    fn holds(&mut self, node: usize) -> bool {
        self.cluster.read(node).contains(&VALUE)
    }

    /// Runs in small steps until a node holds the value.
    fn run_until_held_by(&mut self, node: usize) {
        let began = self.cluster.now;
        while !self.holds(node) {
            assert!(self.cluster.now.since(began) < secs(5), "n{node} never gets it");
            self.cluster.run_for(ms(1));
        }
    }

    /// Runs until a message from one node to another has arrived that was sent from now on, or five seconds at most.
    fn run_until_heard(&mut self, from: usize, by: usize) {
        let (before, began) = (self.cluster.sent.len(), self.cluster.now);
        let is_it = |message: &Message| index(&message.src) == from && index(&message.dest) == by;
        while !self.cluster.sent[before..].iter().any(is_it) && self.cluster.now.since(began) < secs(5) {
            self.cluster.run_for(ms(1));
        }
        self.cluster.run_for(self.cluster.latency);
    }

    fn lose(&self, links: impl IntoIterator<Item = (usize, usize)>) {
        self.faults.borrow_mut().lost.extend(links);
    }

    /// A node is dead from now on, or cut off from all others: nobody can tell which.
    fn gone(&self, node: usize) {
        self.faults.borrow_mut().gone.insert(node);
    }

    /// Everyone but one node holds the value in time.
    fn all_but(&mut self, gone: usize) {
        let said = self.cluster.sent.len();
        self.cluster.run_for(COMPLETE);
        let others = (0..NODES).filter(|&node| node != gone);
        let lack: Vec<usize> = others.filter(|&node| !self.holds(node)).collect();
        let said = self.cluster.sent.len() - said;
        assert_eq!(lack, Vec::<usize>::new(), "lack it after {COMPLETE:?}; {said} messages were sent");
    }
}

/// n0, which is everyone's hub, acknowledges n1's value. Whatever it sends to the others from then on is lost, and then it is gone.
fn hub_goes_after_it_acknowledged<N: Design>(afterwards: impl FnOnce(&mut Quiet<N>)) {
    let mut quiet = Quiet::<N>::new(&Config::default());
    quiet.lose((2..NODES).map(|node| (0, node)));
    quiet.cluster.broadcast(1, VALUE);
    quiet.run_until_held_by(0);
    quiet.run_until_heard(0, 1);
    afterwards(&mut quiet);
    quiet.all_but(0);
}

both_designs! {
    fn what_only_a_dead_hub_knew_to_be_missing_reaches_everyone<N>() {
        hub_goes_after_it_acknowledged::<N>(|quiet| quiet.gone(0));
    }

    /// Both ways: its links to the others are cut, and theirs to it. All live, and n1 to n4 hear each other.
    fn what_only_a_hub_that_is_cut_off_knows_to_be_missing_reaches_everyone<N>() {
        hub_goes_after_it_acknowledged::<N>(|quiet| {
            quiet.lose((1..NODES).flat_map(|node| [(0, node), (node, 0)]));
        });
    }

    /// With so small a budget each node tells all others itself. The message to one of them is lost, and whoever sent it dies.
    fn what_a_dead_origin_failed_to_tell_one_node_reaches_that_too<N>() {
        let mut quiet = Quiet::<N>::new(&Config { latency_budget: ms(120), ..Config::default() });
        quiet.lose([(1, 2)]);
        quiet.cluster.broadcast(1, VALUE);
        for node in [0, 3, 4] {
            quiet.run_until_held_by(node);
        }
        quiet.gone(1);
        quiet.all_but(1);
    }
}
