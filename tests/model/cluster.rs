//! A cluster of the model: its nodes, the messages that are delayed, and all that may happen next.
//!
//! What needs no step of its own:
//!
//! * *Loss, cuts, partitions.* A message that never arrives is one that nobody sends.
//! * *Duplication.* A delayed message stays delayed when it arrives, and may arrive again.
//! * *Timers, questions and answers.* Any node may tell any other one something at any time. So whatever nodes ask, in
//!   whatever order and however often, the model does it, too.

use smallvec::SmallVec;

use super::node::{Brings, Claim, Message, Node, Rule};

/// What may happen to a cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// How many values there are. Clients may tell any node any of them, at any time and again and again.
    pub(crate) values: u8,
    /// How many messages may be delayed at a time, beside those that arrive at once.
    pub(crate) delayed: usize,
    /// How many restarts there may be in all. Kills have no bound, but that one node lives.
    pub(crate) restarts: u8,
    /// Whether a node that is started again may take a lower incarnation than it had, because its clock was set back.
    pub(crate) set_back: bool,
}

/// The highest incarnation that a restart may take if clocks may be set back.
const INCARNATION_MAX: u8 = 2;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// A client tells a node a value.
    Client {
        node: usize,
        value: u8,
    },
    /// A message that arrives at once.
    Tell {
        from: usize,
        to: usize,
        claim: Claim,
        brings: Brings,
    },
    /// A message that may arrive at any time. It takes the place of another one, which will not arrive any more.
    Delay {
        from: usize,
        to: usize,
        claim: Claim,
        place: usize,
    },
    /// A delayed message arrives.
    Arrive {
        place: usize,
        brings: Brings,
    },
    /// A node gives up waiting for a member's answer: only [`Rule::SettledWhenReachableEqual`] makes use of it.
    Suspect {
        node: usize,
        member: usize,
    },
    Kill {
        node: usize,
    },
    /// A node is started again, dead or not: what it held is gone.
    Restart {
        node: usize,
        incarnation: u8,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Cluster<const N: usize> {
    pub(crate) nodes: [Node<N>; N],
    /// In ascending order, so that the order in which they were sent makes no other state.
    delayed: SmallVec<[Message<N>; 2]>,
    restarts: u8,
}

impl<const N: usize> Cluster<N> {
    /// All nodes start for the first time.
    pub(crate) fn new() -> Self {
        Self { nodes: std::array::from_fn(Node::first), delayed: SmallVec::new(), restarts: 0 }
    }

    pub(crate) fn alive(&self) -> impl Iterator<Item = usize> {
        (0..N).filter(|&node| self.nodes[node].is_alive)
    }

    pub(crate) fn has_timer(&self, rule: Rule, node: usize) -> bool {
        self.nodes[node].is_alive && self.nodes[node].has_timer(rule, node)
    }

    pub(crate) fn message(&self, from: usize, to: usize, claim: Claim) -> Message<N> {
        let Node { values, incarnations, .. } = self.nodes[from];
        Message { from, to, values, incarnations, claim }
    }

    pub(crate) fn delayed(&self, place: usize) -> &Message<N> {
        &self.delayed[place]
    }

    pub(crate) fn deliver(&mut self, rule: Rule, message: &Message<N>, brings: Brings) {
        self.nodes[message.to].hear(rule, message, brings);
    }

    /// All that may happen next, always in the same order.
    pub(crate) fn steps(&self, rule: Rule, bounds: &Bounds) -> Vec<Step> {
        let mut found = Vec::with_capacity(64);
        for node in self.alive() {
            let unknown = (0..bounds.values).filter(|value| self.nodes[node].values >> value & 1 == 0);
            found.extend(unknown.map(|value| Step::Client { node, value }));
            for other in (0..N).filter(|&other| other != node) {
                self.messages(rule, bounds, (node, other), &mut found);
                if rule == Rule::SettledWhenReachableEqual {
                    found.push(Step::Suspect { node, member: other });
                }
            }
            if self.alive().count() > 1 {
                found.push(Step::Kill { node });
            }
        }
        for (place, message) in self.delayed.iter().enumerate() {
            self.brings(message, |brings| found.push(Step::Arrive { place, brings }));
        }
        if self.restarts < bounds.restarts {
            (0..N).for_each(|node| self.restarts(bounds, node, &mut found));
        }
        found
    }

    fn messages(&self, rule: Rule, bounds: &Bounds, (from, to): (usize, usize), found: &mut Vec<Step>) {
        for claim in self.nodes[from].claims(rule, from) {
            let message = self.message(from, to, claim);
            self.brings(&message, |brings| found.push(Step::Tell { from, to, claim, brings }));
            let places = match self.delayed.len() {
                _ if self.delayed.contains(&message) => 0..0,
                free if free < bounds.delayed => free..free + 1,
                all => 0..all,
            };
            found.extend(places.map(|place| Step::Delay { from, to, claim, place }));
        }
    }

    /// Finds all that a message may bring to its receiver, as far as that is new to it.
    fn brings(&self, message: &Message<N>, mut found: impl FnMut(Brings)) {
        let receiver = &self.nodes[message.to];
        if !receiver.is_alive {
            return;
        }
        let mut incarnations = message.incarnations.iter().zip(&receiver.incarnations);
        let are_news = incarnations.any(|(theirs, mine)| theirs > mine);
        let lacking = message.values & !receiver.values;
        let mut values = lacking;
        loop {
            found(Brings { values, incarnations: false });
            if are_news {
                found(Brings { values, incarnations: true });
            }
            if values == 0 {
                return;
            }
            // The next smaller subset.
            values = (values - 1) & lacking;
        }
    }

    fn restarts(&self, bounds: &Bounds, node: usize, found: &mut Vec<Step>) {
        let former = self.nodes[node].incarnations[node];
        let next = if bounds.set_back { 1..=INCARNATION_MAX } else { former + 1..=former + 1 };
        let other = next.filter(|&incarnation| incarnation != former);
        found.extend(other.map(|incarnation| Step::Restart { node, incarnation }));
    }

    /// The cluster after a step.
    pub(crate) fn after(&self, rule: Rule, step: Step) -> Self {
        let mut next = self.clone();
        match step {
            Step::Client { node, value } => next.nodes[node].learn_values(1 << value),
            Step::Tell { from, to, claim, brings } => {
                next.deliver(rule, &self.message(from, to, claim), brings);
            }
            Step::Delay { from, to, claim, place } => {
                let message = self.message(from, to, claim);
                match next.delayed.get_mut(place) {
                    Some(lost) => *lost = message,
                    None => next.delayed.push(message),
                }
                next.delayed.sort_unstable();
            }
            Step::Arrive { place, brings } => next.deliver(rule, &self.delayed[place], brings),
            Step::Suspect { node, member } => next.nodes[node].suspect(member),
            Step::Kill { node } => {
                next.nodes[node] = Node::dead(node, self.nodes[node].incarnations[node]);
            }
            Step::Restart { node, incarnation } => {
                next.nodes[node] = Node::again(node, incarnation);
                next.restarts += 1;
            }
        }
        next
    }
}
