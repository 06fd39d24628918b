//! The simulated network: delays, partitions, faults of links, and the count of every message.
//!
//! Knows no clock: messages go in with the time they were sent, and come out when asked for what is due.
//! Order is by (due time, sequence number), so that equal inputs give equal outputs, and no draw depends on
//! the machine: logarithms are libm's.

mod delays;
mod names;
mod passages;
mod traffic;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand_pcg::Pcg64;

pub(crate) use self::delays::{COPY_DELAY, Extra, Latency, LinkFaults};
pub(crate) use self::names::{Endpoint, Names};
use self::passages::MessageLog;
pub(crate) use self::passages::{Fate, Passage};
pub(crate) use self::traffic::{NetStats, Traffic};
use crate::cluster::scenario::Delivery;
use crate::node::Time;

/// A message under way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Packet {
    due: Time,
    /// The network's number for it, which a copy shares, and its place among those due at the same time.
    id: u64,
    /// Who sent it.
    pub src: Endpoint,
    /// To whom.
    pub dest: Endpoint,
    /// Its body, a JSON object. Messages that say the same may share it.
    pub body: Arc<str>,
}

impl Packet {
    /// The line that a node receives, newline included.
    #[must_use]
    pub(crate) fn line(&self, names: &Names) -> String {
        let Packet { id, body, .. } = self;
        let (src, dest) = (names.of(self.src), names.of(self.dest));
        format!("{{\"id\":{id},\"src\":\"{src}\",\"dest\":\"{dest}\",\"body\":{body}}}\n")
    }
}

/// Cuts that come and go together, apart from those of another layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Layer {
    /// Partitions.
    Partition = 1,
    /// Links that work one way.
    OneWay = 2,
    /// Cuts for good.
    ForGood = 4,
    /// Cuts that come just after a value.
    Sudden = 8,
}

/// Somebody who takes one message at a time.
#[derive(Debug)]
struct Receiver {
    /// Whether a message has been taken up that isn't due yet.
    is_waiting: bool,
    /// What comes after that, by when it is due.
    queue: BinaryHeap<Reverse<Packet>>,
}

/// The network between nodes and clients.
#[derive(Debug)]
pub(crate) struct Network {
    latency: Latency,
    rng: Pcg64,
    next_id: u64,
    under_way: BinaryHeap<Reverse<Packet>>,
    delivery: Delivery,
    /// Nodes and services that take one message at a time.
    receivers: HashMap<Endpoint, Receiver>,
    /// The layers in which the node of the row takes nothing from the node of the column, one bit each. Empty until the
    /// first cut.
    cut: Vec<u8>,
    /// What the latency of each link is multiplied by, in the same order. Empty while all are alike.
    factors: Vec<f64>,
    nodes: usize,
    /// Which nodes are dead.
    down: Vec<bool>,
    /// What befalls messages on links between nodes.
    pub faults: LinkFaults,
    traffic: Traffic,
    /// How many messages each node has sent to nodes and services.
    sent_by: Vec<u64>,
    /// Every passage, if somebody wants to know.
    trace: Option<Vec<Passage>>,
    /// Every passage as lines of JSON that have not been taken, if they are to be kept.
    log: Option<MessageLog>,
}

impl Network {
    /// An idle, whole network.
    #[must_use]
    pub(crate) fn new(nodes: usize, latency: Latency, delivery: Delivery, rng: Pcg64) -> Self {
        Self {
            latency,
            rng,
            next_id: 0,
            under_way: BinaryHeap::new(),
            delivery,
            receivers: HashMap::new(),
            cut: Vec::new(),
            factors: Vec::new(),
            nodes,
            down: vec![false; nodes],
            faults: LinkFaults::default(),
            traffic: Traffic::default(),
            sent_by: vec![0; nodes],
            trace: None,
            log: None,
        }
    }

    /// Keeps what becomes of messages from now on as lines of JSON, which are to be [taken](Self::take_log) often.
    pub(crate) fn keep_log(&mut self, names: Names, now: Time) {
        self.log = Some(MessageLog::new(names, now));
    }

    /// Puts a line into the log of messages that is about none, if there is such a log.
    pub(crate) fn mark_log(&mut self, now: Time, what: &str) {
        if let Some(log) = &mut self.log {
            log.mark(now, what);
        }
    }

    /// Hands over the lines that were kept since the last time.
    pub(crate) fn take_log(&mut self, take: impl FnOnce(&[u8])) {
        if let Some(log) = &mut self.log {
            log.take(take);
        }
    }

    /// Keeps every passage from now on. Memory grows with each.
    pub(crate) fn keep_trace(&mut self) {
        self.trace.get_or_insert_default();
    }

    /// Takes what was kept, oldest first.
    pub(crate) fn take_trace(&mut self) -> Vec<Passage> {
        self.trace.take().unwrap_or_default()
    }

    /// Takes a message. To and from clients there is no delay, and no fault befalls it.
    pub(crate) fn send(&mut self, now: Time, src: Endpoint, dest: Endpoint, body: Arc<str>) {
        self.traffic.of(src, dest).sent += 1;
        if let (Endpoint::Node(node), false) = (src, dest.is_client()) {
            self.sent_by[node] += 1;
        }
        let id = self.next_id;
        self.next_id += 1;
        self.note(now, id, Fate::Sent, src, dest, &body);
        if src.is_client() || dest.is_client() {
            return self.dispatch(now, Packet { due: now, id, src, dest, body });
        }
        if self.link(src, dest).is_none() {
            // Nor does one befall messages to services.
            let due = now + self.latency.sample(&mut self.rng);
            return self.dispatch(now, Packet { due, id, src, dest, body });
        }
        let LinkFaults { loss, duplication, .. } = self.faults;
        if loss > 0.0 && self.rng.random::<f64>() < loss {
            return self.note(now, id, Fate::Lost, src, dest, &body);
        }
        if duplication > 0.0 && self.rng.random::<f64>() < duplication {
            self.note(now, id, Fate::Doubled, src, dest, &body);
            let due = now + self.delay(src, dest) + COPY_DELAY.sample(&mut self.rng);
            self.dispatch(now, Packet { due, id, src, dest, body: body.clone() });
        }
        let due = now + self.delay(src, dest);
        self.dispatch(now, Packet { due, id, src, dest, body });
    }

    fn delay(&mut self, src: Endpoint, dest: Endpoint) -> Duration {
        let LinkFaults { reordering, delay, .. } = self.faults;
        let extras = [reordering, delay].into_iter().flatten();
        let latency = self.latency.sample(&mut self.rng);
        let factor = self.link(src, dest).and_then(|link| self.factors.get(link));
        extras.fold(factor.map_or(latency, |&factor| latency.mul_f64(factor)), |sum, extra| {
            sum + extra.sample(&mut self.rng)
        })
    }

    /// The index of the link between two nodes: the receiver's row, the source's column.
    fn link(&self, src: Endpoint, dest: Endpoint) -> Option<usize> {
        match (src, dest) {
            (Endpoint::Node(source), Endpoint::Node(receiver)) => Some(receiver * self.nodes + source),
            _ => None,
        }
    }

    fn dispatch(&mut self, now: Time, packet: Packet) {
        match self.receivers.get_mut(&packet.dest) {
            None if self.delivery == Delivery::Maelstrom && !packet.dest.is_client() => {
                let receiver =
                    Receiver { is_waiting: false, queue: BinaryHeap::from([Reverse(packet.clone())]) };
                self.receivers.insert(packet.dest, receiver);
                self.take_up(now, packet.dest);
            }
            Some(receiver) => {
                receiver.queue.push(Reverse(packet.clone()));
                self.take_up(now, packet.dest);
            }
            None => self.under_way.push(Reverse(packet)),
        }
    }

    /// Has a receiver that takes one message at a time wait for the earliest one that it has, if it waits for none. Whether it
    /// is cut off from the sender is asked now, as in Maelstrom, and not when the message is due.
    fn take_up(&mut self, now: Time, dest: Endpoint) {
        while let Some(receiver) = self.receivers.get_mut(&dest).filter(|receiver| !receiver.is_waiting)
            && let Some(Reverse(packet)) = receiver.queue.pop()
        {
            if self.is_cut(packet.src, dest) {
                self.note(now, packet.id, Fate::CutOff, packet.src, dest, &packet.body);
                continue;
            }
            if let Some(receiver) = self.receivers.get_mut(&dest) {
                receiver.is_waiting = true;
            }
            self.under_way.push(Reverse(Packet { due: packet.due.max(now), ..packet }));
        }
    }

    fn note(&mut self, at: Time, id: u64, fate: Fate, src: Endpoint, dest: Endpoint, body: &Arc<str>) {
        match fate {
            Fate::CutOff => self.traffic.cut_off += 1,
            Fate::Lost | Fate::Missed => self.traffic.lost += 1,
            Fate::Sent | Fate::Doubled | Fate::Arrived => {}
        }
        if let Some(log) = &mut self.log {
            log.note(at, id, fate, (src, dest), body);
        }
        if let Some(trace) = &mut self.trace {
            trace.push(Passage { at, fate, src, dest, body: Arc::clone(body) });
        }
    }

    /// The next message that is due by `now` and gets through. What a partition holds back, or finds nobody
    /// alive, is dropped here, where its receiver would have taken it.
    pub(crate) fn receive(&mut self, now: Time) -> Option<Packet> {
        while self.next_due().is_some_and(|due| due <= now) {
            let Reverse(packet) = self.under_way.pop()?;
            let Packet { due, src, dest, .. } = packet;
            let receiver = self.receivers.get_mut(&dest);
            let was_taken_up = receiver.map(|receiver| receiver.is_waiting = false).is_some();
            let fate = match dest {
                Endpoint::Node(node) if self.down[node] => Fate::Missed,
                _ if !was_taken_up && self.is_cut(src, dest) => Fate::CutOff,
                _ => Fate::Arrived,
            };
            self.take_up(due, dest);
            self.note(now, packet.id, fate, src, dest, &packet.body);
            if fate == Fate::Arrived {
                self.traffic.of(src, dest).received += 1;
                return Some(packet);
            }
        }
        None
    }

    /// The node that has sent most; of several, the first.
    #[must_use]
    pub(crate) fn busiest(&self) -> usize {
        let most = self.sent_by.iter().max();
        self.sent_by.iter().position(|sent| Some(sent) == most).unwrap_or_default()
    }

    /// Damages the line of a message between nodes, if it is to be damaged.
    pub(crate) fn damage(&mut self, packet: &Packet, line: &mut String) {
        let part = self.faults.corruption;
        if part == 0.0 || self.link(packet.src, packet.dest).is_none() || self.rng.random::<f64>() >= part {
            return;
        }
        let text = line.trim_end().len();
        let at = (0..=self.rng.random_range(1..text)).rev().find(|&at| line.is_char_boundary(at));
        let at = at.unwrap_or_default();
        if self.rng.random() {
            line.truncate(at);
            line.push('\n');
        } else {
            line.insert(at, '\u{1}');
        }
    }

    /// When the next message is due.
    #[must_use]
    pub(crate) fn next_due(&self) -> Option<Time> {
        self.under_way.peek().map(|Reverse(packet)| packet.due)
    }

    /// How many messages are under way.
    #[must_use]
    pub(crate) fn in_flight(&self) -> usize {
        let queued = self.receivers.values().map(|receiver| receiver.queue.len());
        self.under_way.len() + queued.sum::<usize>()
    }

    /// The counts so far.
    #[must_use]
    pub(crate) fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// From now on, `receiver` takes nothing from `source`, until the layer is mended.
    pub(crate) fn cut(&mut self, layer: Layer, receiver: usize, source: usize) {
        if self.cut.is_empty() {
            self.cut = vec![0; self.nodes * self.nodes];
        }
        self.cut[receiver * self.nodes + source] |= layer as u8;
    }

    /// From now on, what `source` sends to `receiver` takes so many times the latency.
    pub(crate) fn stretch(&mut self, receiver: usize, source: usize, factor: f64) {
        if self.factors.is_empty() {
            self.factors = vec![1.0; self.nodes * self.nodes];
        }
        self.factors[receiver * self.nodes + source] = factor;
    }

    /// From now on, what arrives at a node vanishes, or no longer does.
    pub(crate) fn set_down(&mut self, node: usize, down: bool) {
        self.down[node] = down;
    }

    /// Takes all cuts of a layer back.
    pub(crate) fn mend(&mut self, layer: Layer) {
        for cut in &mut self.cut {
            *cut &= !(layer as u8);
        }
    }

    fn is_cut(&self, src: Endpoint, dest: Endpoint) -> bool {
        self.link(src, dest).and_then(|link| self.cut.get(link)).is_some_and(|&layers| layers > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::traffic::Counts;
    use super::*;
    use crate::cluster::scenario::LatencyDist;
    use rand::SeedableRng;

    const MS: u64 = 1_000_000;

    fn network(mean_ms: u64, dist: LatencyDist) -> Network {
        let latency = Latency { mean: Duration::from_millis(mean_ms), dist, jitter: Duration::ZERO };
        Network::new(3, latency, Delivery::WhenDue, Pcg64::seed_from_u64(1))
    }

    fn send(network: &mut Network, at_ms: u64, src: &str, dest: &str) {
        let names = Names::new((0..3).map(|node| format!("n{node}")).collect());
        let end = |name| names.find(name).expect("a name");
        network.send(Time::from_nanos(at_ms * MS), end(src), end(dest), "{}".into());
    }

    fn receive(network: &mut Network, at_ms: u64) -> Option<String> {
        let packet = network.receive(Time::from_nanos(at_ms * MS))?;
        Some(format!("{}>{}", packet.src, packet.dest))
    }

    #[test]
    fn in_maelstrom_a_message_that_is_waited_for_holds_back_those_that_come_after() {
        let latency =
            Latency { mean: Duration::from_millis(100), dist: LatencyDist::Constant, jitter: Duration::ZERO };
        let mut network = Network::new(3, latency, Delivery::Maelstrom, Pcg64::seed_from_u64(1));
        send(&mut network, 0, "n0", "n1");
        send(&mut network, 10, "c0", "n1");
        send(&mut network, 20, "n2", "n1");
        assert_eq!((receive(&mut network, 99), network.in_flight()), (None, 3));
        assert_eq!(receive(&mut network, 100).as_deref(), Some("n0>n1"));
        assert_eq!(receive(&mut network, 100).as_deref(), Some("c0>n1"), "it was due at 10");
        // It has been taken up: a cut comes too late for it, and in time for the next one.
        network.cut(Layer::Partition, 1, 2);
        send(&mut network, 110, "n2", "n1");
        assert_eq!(receive(&mut network, 120).as_deref(), Some("n2>n1"));
        assert_eq!((receive(&mut network, 500), network.in_flight()), (None, 0));
    }

    #[test]
    fn a_log_of_messages_has_long_ones_cut_short() {
        let mut network = network(1, LatencyDist::Constant);
        network.keep_log(Names::new(vec!["n0".to_owned()]), Time::ZERO);
        for length in [10, 10_000] {
            let body = format!("{{\"echo\":\"{}\"}}", "\\\"".repeat(length));
            network.send(Time::ZERO, Endpoint::Client(0), Endpoint::Node(0), body.as_str().into());
        }
        let mut text = Vec::new();
        network.take_log(|lines| text.extend_from_slice(lines));
        let lines: Vec<serde_json::Value> =
            text.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["body"]["echo"], "\"".repeat(10));
        assert!(
            lines[1]["bytes"] == 20_011 && lines[1]["start"].as_str().is_some_and(|start| start.len() == 200)
        );
    }

    #[test]
    fn damaged_lines_are_no_json_and_still_one_line() {
        let mut network = network(1, LatencyDist::Constant);
        network.faults.corruption = 1.0;
        let names = Names::new((0..3).map(|node| format!("n{node}")).collect());
        for at in 0..100 {
            send(&mut network, at, "n0", "n1");
            let packet = network.receive(Time::NEVER).expect("a message");
            let mut line = packet.line(&names);
            network.damage(&packet, &mut line);
            assert!(serde_json::from_str::<serde_json::Value>(&line).is_err(), "{line}");
            assert!(line.ends_with('\n') && line.matches('\n').count() == 1, "{line}");
        }
        assert_eq!(network.busiest(), 0);
    }

    #[test]
    fn services_are_as_far_away_as_nodes_and_never_cut_off() {
        let mut network = network(100, LatencyDist::Constant);
        network.faults.loss = 1.0;
        network.cut(Layer::Partition, 0, 1);
        send(&mut network, 0, "n0", "lin-kv");
        send(&mut network, 5, "lin-kv", "n0");
        assert_eq!(receive(&mut network, 99), None);
        assert_eq!(receive(&mut network, 100).as_deref(), Some("n0>lin-kv"));
        assert_eq!(receive(&mut network, 105).as_deref(), Some("lin-kv>n0"));
        assert_eq!((network.traffic().servers.sent, network.traffic().clients.sent), (2, 0));
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
        network.cut(Layer::Partition, 1, 0);
        send(&mut network, 0, "n0", "n1");
        send(&mut network, 0, "n1", "n0");
        assert_eq!(receive(&mut network, 100).as_deref(), Some("n1>n0"));
        assert_eq!(receive(&mut network, 100), None);
        assert_eq!(network.traffic().servers, Counts { sent: 2, received: 1 });
        send(&mut network, 100, "n0", "n1");
        network.mend(Layer::Partition);
        assert_eq!(
            receive(&mut network, 200).as_deref(),
            Some("n0>n1"),
            "dropped on arrival, not on sending"
        );
    }

    #[test]
    fn spread_latencies_have_the_mean_they_are_given() {
        for (dist, largest) in [(LatencyDist::Uniform, 2.0), (LatencyDist::Exponential, f64::INFINITY)] {
            let latency = Latency { mean: Duration::from_secs(1), dist, jitter: Duration::ZERO };
            let mut rng = Pcg64::seed_from_u64(7);
            let samples: Vec<f64> = (0..20_000).map(|_| latency.sample(&mut rng).as_secs_f64()).collect();
            let mean = samples.iter().sum::<f64>() / samples.len() as f64;
            assert!((mean - 1.0).abs() < 0.03, "{dist:?}: {mean}");
            assert!(samples.iter().all(|&s| (0.0..=largest).contains(&s)));
        }
    }

    #[test]
    fn jitter_makes_delays_longer_by_up_to_its_size() {
        let (mean, jitter) = (Duration::from_millis(100), Duration::from_millis(5));
        let latency = Latency { mean, dist: LatencyDist::Constant, jitter };
        let mut rng = Pcg64::seed_from_u64(7);
        let extras: Vec<Duration> = (0..10_000).map(|_| latency.sample(&mut rng) - mean).collect();
        assert!(extras.iter().all(|&extra| extra <= jitter));
        let average = extras.iter().sum::<Duration>() / 10_000;
        assert!((2400..2600).contains(&average.as_micros()), "{average:?}");
    }

    #[test]
    fn a_stretched_link_takes_longer_one_way_and_draws_nothing() {
        let mut network = network(100, LatencyDist::Uniform);
        network.stretch(1, 0, 8.0);
        let [stretched, other] = [("n0", "n1"), ("n1", "n0")].map(|(src, dest)| {
            network.rng = Pcg64::seed_from_u64(1);
            send(&mut network, 0, src, dest);
            let arrival = network.next_due().expect("under way").since(Time::ZERO);
            while network.receive(Time::NEVER).is_some() {}
            arrival
        });
        assert_eq!(stretched, other.mul_f64(8.0));
    }

    #[test]
    fn no_jitter_draws_nothing() {
        let latency =
            Latency { mean: Duration::from_secs(1), dist: LatencyDist::Constant, jitter: Duration::ZERO };
        let mut rng = Pcg64::seed_from_u64(7);
        latency.sample(&mut rng);
        assert_eq!(rng, Pcg64::seed_from_u64(7));
    }

    #[test]
    fn layers_of_cuts_are_mended_apart() {
        let mut network = network(0, LatencyDist::Constant);
        for layer in [Layer::Partition, Layer::OneWay] {
            network.cut(layer, 1, 0);
        }
        network.mend(Layer::Partition);
        send(&mut network, 0, "n0", "n1");
        assert_eq!(receive(&mut network, 0), None);
        network.mend(Layer::OneWay);
        send(&mut network, 1, "n0", "n1");
        assert_eq!(receive(&mut network, 1).as_deref(), Some("n0>n1"));
    }

    #[test]
    fn what_arrives_at_a_dead_node_vanishes_whoever_sent_it_and_counts_as_sent() {
        let mut network = network(100, LatencyDist::Constant);
        network.set_down(1, true);
        send(&mut network, 0, "n0", "n1");
        send(&mut network, 0, "c0", "n1");
        send(&mut network, 0, "n1", "n0");
        assert_eq!(receive(&mut network, 100).as_deref(), Some("n1>n0"), "what it sent while it lived");
        assert_eq!(receive(&mut network, 100), None);
        assert_eq!(network.traffic().servers, Counts { sent: 2, received: 1 });
        assert_eq!(network.traffic().clients, Counts { sent: 1, received: 0 });
        send(&mut network, 100, "n0", "n1");
        network.set_down(1, false);
        assert_eq!(receive(&mut network, 200).as_deref(), Some("n0>n1"));
    }

    #[test]
    fn link_faults_strike_the_parts_asked_for_and_spare_clients() {
        let mut network = network(1, LatencyDist::Constant);
        network.faults = LinkFaults { loss: 0.5, duplication: 0.5, ..LinkFaults::default() };
        for ms in 0..10_000 {
            send(&mut network, ms, "n0", "n1");
            send(&mut network, ms, "c0", "n1");
        }
        while network.receive(Time::NEVER).is_some() {}
        let Traffic { clients, servers, .. } = network.traffic();
        assert_eq!(clients, Counts { sent: 10_000, received: 10_000 });
        assert_eq!(servers.sent, 10_000, "counted as they are sent");
        assert!(
            (7200..7800).contains(&servers.received),
            "half is lost, half of the rest doubled: {servers:?}"
        );
    }

    #[test]
    fn clients_and_servers_are_counted_apart() {
        let mut network = network(0, LatencyDist::Constant);
        send(&mut network, 0, "c0", "n0");
        send(&mut network, 0, "n0", "n1");
        send(&mut network, 0, "n0", "c0");
        while network.receive(Time::ZERO).is_some() {}
        let traffic = network.traffic();
        assert_eq!(traffic.clients, Counts { sent: 2, received: 2 });
        assert_eq!(traffic.all(), Counts { sent: 3, received: 3 });
        assert_eq!(traffic.servers.stats(4).msgs_per_op, 0.25);
        assert_eq!(traffic.servers.stats(0).msgs_per_op, 0.0);
    }
}
