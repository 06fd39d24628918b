//! The simulated network: delays, partitions, and the count of every message.
//!
//! Knows no clock: messages go in with the time they were sent, and come out when asked for what is due.
//! Order is by (due time, sequence number), so that equal inputs give equal outputs.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::time::Duration;

use rand::RngExt;
use rand_pcg::Pcg64;
use serde::Serialize;

use super::scenario::LatencyDist;
use crate::node::Time;

/// One end of a message. Nodes are `n0`, `n1`, …, clients `c0`, `c1`, ….
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// A node, by index.
    Node(usize),
    /// A client, by number.
    Client(usize),
}

impl Endpoint {
    /// Understands a name as Maelstrom writes it: no leading zeros.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (kind, digits) = (name.as_bytes().first()?, name.get(1..)?);
        let canonical =
            digits == "0" || (digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0'));
        let number = digits.parse().ok().filter(|_| canonical)?;
        match kind {
            b'n' => Some(Endpoint::Node(number)),
            b'c' => Some(Endpoint::Client(number)),
            _ => None,
        }
    }

    fn is_client(self) -> bool {
        matches!(self, Endpoint::Client(_))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Node(index) => write!(f, "n{index}"),
            Endpoint::Client(number) => write!(f, "c{number}"),
        }
    }
}

/// A message under way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Packet {
    due: Time,
    /// The network's number for it, and its place among those due at the same time.
    id: u64,
    /// Who sent it.
    pub src: Endpoint,
    /// To whom.
    pub dest: Endpoint,
    /// Its body, a JSON object.
    pub body: Box<str>,
}

impl Packet {
    /// The line that a node receives, newline included.
    #[must_use]
    pub fn line(&self) -> String {
        let Packet { id, src, dest, body, .. } = self;
        format!("{{\"id\":{id},\"src\":\"{src}\",\"dest\":\"{dest}\",\"body\":{body}}}\n")
    }
}

/// The delay of messages between nodes.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// On average.
    pub mean: Duration,
    /// How it is spread.
    pub dist: LatencyDist,
}

impl Latency {
    fn sample(&self, rng: &mut Pcg64) -> Duration {
        match self.dist {
            LatencyDist::Constant => self.mean,
            LatencyDist::Uniform => self.mean.mul_f64(2.0 * rng.random::<f64>()),
            LatencyDist::Exponential => self.mean.mul_f64(-(1.0 - rng.random::<f64>()).ln()),
        }
    }
}

/// Counts of messages, as Maelstrom counts them: at the moment they are sent, lost or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages sent.
    pub sent: u64,
    /// Messages received.
    pub received: u64,
}

/// Counts by who was at the ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Journal {
    /// A client at one end.
    pub clients: Counts,
    /// Nodes at both ends.
    pub servers: Counts,
}

/// Counts as they are reported.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct NetStats {
    /// Messages sent.
    pub send_count: u64,
    /// Messages received.
    pub recv_count: u64,
    /// Distinct messages: all that were sent.
    pub msg_count: u64,
    /// Distinct messages for each operation of a client; 0 if there was none.
    pub msgs_per_op: f64,
}

impl Counts {
    /// The report, given the number of operations that clients invoked.
    #[must_use]
    pub fn stats(self, op_count: usize) -> NetStats {
        let msgs_per_op = if op_count == 0 { 0.0 } else { self.sent as f64 / op_count as f64 };
        NetStats { send_count: self.sent, recv_count: self.received, msg_count: self.sent, msgs_per_op }
    }
}

impl Journal {
    /// Both kinds together.
    #[must_use]
    pub fn all(&self) -> Counts {
        let Journal { clients, servers } = self;
        Counts { sent: clients.sent + servers.sent, received: clients.received + servers.received }
    }

    fn of(&mut self, src: Endpoint, dest: Endpoint) -> &mut Counts {
        if src.is_client() || dest.is_client() { &mut self.clients } else { &mut self.servers }
    }
}

/// The network between nodes and clients.
#[derive(Debug)]
pub struct Network {
    latency: Latency,
    rng: Pcg64,
    next_id: u64,
    under_way: BinaryHeap<Reverse<Packet>>,
    /// Whether the node of the row takes nothing from the node of the column; all false without partition.
    cut: Vec<bool>,
    nodes: usize,
    journal: Journal,
}

impl Network {
    /// An idle, whole network.
    #[must_use]
    pub fn new(nodes: usize, latency: Latency, rng: Pcg64) -> Self {
        let cut = vec![false; nodes * nodes];
        Self {
            latency,
            rng,
            next_id: 0,
            under_way: BinaryHeap::new(),
            cut,
            nodes,
            journal: Journal::default(),
        }
    }

    /// Takes a message. To and from clients there is no delay.
    pub fn send(&mut self, now: Time, src: Endpoint, dest: Endpoint, body: Box<str>) {
        self.journal.of(src, dest).sent += 1;
        let between_nodes = !src.is_client() && !dest.is_client();
        let delay = if between_nodes { self.latency.sample(&mut self.rng) } else { Duration::ZERO };
        let packet = Packet { due: now + delay, id: self.next_id, src, dest, body };
        self.next_id += 1;
        self.under_way.push(Reverse(packet));
    }

    /// The next message that is due by `now` and gets through. What a partition holds back is dropped here,
    /// where its receiver would have taken it.
    pub fn receive(&mut self, now: Time) -> Option<Packet> {
        while self.next_due().is_some_and(|due| due <= now) {
            let Reverse(packet) = self.under_way.pop()?;
            if !self.is_cut(packet.src, packet.dest) {
                self.journal.of(packet.src, packet.dest).received += 1;
                return Some(packet);
            }
        }
        None
    }

    /// When the next message is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        self.under_way.peek().map(|Reverse(packet)| packet.due)
    }

    /// How many messages are under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.under_way.len()
    }

    /// The counts so far.
    #[must_use]
    pub fn journal(&self) -> Journal {
        self.journal
    }

    /// From now on, `receiver` takes nothing from `source`.
    pub fn cut(&mut self, receiver: usize, source: usize) {
        self.cut[receiver * self.nodes + source] = true;
    }

    /// Everyone hears everyone again.
    pub fn heal(&mut self) {
        self.cut.fill(false);
    }

    fn is_cut(&self, src: Endpoint, dest: Endpoint) -> bool {
        match (src, dest) {
            (Endpoint::Node(source), Endpoint::Node(receiver)) => self.cut[receiver * self.nodes + source],
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    const MS: u64 = 1_000_000;

    fn network(mean_ms: u64, dist: LatencyDist) -> Network {
        Network::new(3, Latency { mean: Duration::from_millis(mean_ms), dist }, Pcg64::seed_from_u64(1))
    }

    fn send(network: &mut Network, at_ms: u64, src: &str, dest: &str) {
        let end = |name| Endpoint::parse(name).expect("a name");
        network.send(Time::from_nanos(at_ms * MS), end(src), end(dest), "{}".into());
    }

    fn receive(network: &mut Network, at_ms: u64) -> Option<String> {
        let packet = network.receive(Time::from_nanos(at_ms * MS))?;
        Some(format!("{}>{}", packet.src, packet.dest))
    }

    #[test]
    fn names_are_understood_as_they_are_written() {
        for name in ["n0", "n24", "c0", "c107"] {
            assert_eq!(Endpoint::parse(name).expect("a name").to_string(), name);
        }
        for bad in ["", "n", "n01", "n-1", "n+1", "x1", "nn1", "é1", "n99999999999999999999999"] {
            assert_eq!(Endpoint::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn servers_wait_for_the_latency_and_clients_do_not() {
        let mut network = network(100, LatencyDist::Constant);
        send(&mut network, 5, "n0", "n1");
        send(&mut network, 6, "c0", "n1");
        assert_eq!(receive(&mut network, 6).as_deref(), Some("c0>n1"));
        assert_eq!(receive(&mut network, 104), None);
        assert_eq!(network.next_due(), Some(Time::from_nanos(105 * MS)));
        assert_eq!(receive(&mut network, 105).as_deref(), Some("n0>n1"));
        assert_eq!(network.in_flight(), 0);
    }

    #[test]
    fn messages_due_together_arrive_in_the_order_they_were_sent() {
        let mut network = network(100, LatencyDist::Constant);
        for pair in [("n2", "n1"), ("n0", "n1"), ("n1", "n0")] {
            send(&mut network, 0, pair.0, pair.1);
        }
        let order: Vec<_> = std::iter::from_fn(|| receive(&mut network, 100)).collect();
        assert_eq!(order, ["n2>n1", "n0>n1", "n1>n0"]);
    }

    #[test]
    fn a_partition_drops_what_arrives_in_one_direction_and_counts_it_as_sent() {
        let mut network = network(100, LatencyDist::Constant);
        network.cut(1, 0);
        send(&mut network, 0, "n0", "n1");
        send(&mut network, 0, "n1", "n0");
        assert_eq!(receive(&mut network, 100).as_deref(), Some("n1>n0"));
        assert_eq!(receive(&mut network, 100), None);
        assert_eq!(network.journal().servers, Counts { sent: 2, received: 1 });
        send(&mut network, 100, "n0", "n1");
        network.heal();
        assert_eq!(
            receive(&mut network, 200).as_deref(),
            Some("n0>n1"),
            "dropped on arrival, not on sending"
        );
    }

    #[test]
    fn spread_latencies_have_the_mean_they_are_given() {
        for (dist, largest) in [(LatencyDist::Uniform, 2.0), (LatencyDist::Exponential, f64::INFINITY)] {
            let latency = Latency { mean: Duration::from_secs(1), dist };
            let mut rng = Pcg64::seed_from_u64(7);
            let samples: Vec<f64> = (0..20_000).map(|_| latency.sample(&mut rng).as_secs_f64()).collect();
            let mean = samples.iter().sum::<f64>() / samples.len() as f64;
            assert!((mean - 1.0).abs() < 0.03, "{dist:?}: {mean}");
            assert!(samples.iter().all(|&s| (0.0..=largest).contains(&s)));
        }
    }

    #[test]
    fn clients_and_servers_are_counted_apart() {
        let mut network = network(0, LatencyDist::Constant);
        send(&mut network, 0, "c0", "n0");
        send(&mut network, 0, "n0", "n1");
        send(&mut network, 0, "n0", "c0");
        while network.receive(Time::ZERO).is_some() {}
        let journal = network.journal();
        assert_eq!(journal.clients, Counts { sent: 2, received: 2 });
        assert_eq!(journal.all(), Counts { sent: 3, received: 3 });
        assert_eq!(journal.servers.stats(4).msgs_per_op, 0.25);
        assert_eq!(journal.servers.stats(0).msgs_per_op, 0.0);
    }
}
