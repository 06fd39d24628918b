//! What becomes of a cluster of 25 when its hub, its links or its network fail, and how soon it is itself again:
//! the lock-free design in virtual time, with every message's fate in hand.

#![cfg(all(feature = "workbench", not(loom)))]
#![expect(clippy::disallowed_macros, reason = "the figures are shown beside what is asserted")]

mod common;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use common::{Broadcasts, Cluster, fresh, link_of, started};
use natter::cluster::nemesis::{Nemesis, PartitionKind, Step};
use natter::cluster::scripted::{Fate, LATENCY, Message};
use natter::config::Config;
use natter::gossip::LockFree;
use natter::node::{Inspect, Time};
use natter::protocol::Generation;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use serde_json::{Value as Json, json};

const NODES: usize = 25;

/// What is promised: after a partition everyone has everything within a second and four one-way delays.
const COMPLETE: Duration = Duration::from_millis(1400);

/// How long a cluster may take to notice a fault, and a value to spread while the fault lasts.
const SOON: Duration = Duration::from_secs(3);

/// Between two values, of fifty a second.
const GAP: Duration = Duration::from_millis(20);

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A cut from a source to a receiver: the pair (receiver, source), as the nemesis has it.
type Cut = (usize, usize);

/// What only the network sees.
#[derive(Default)]
struct Seen {
    cuts: HashSet<Cut>,
    /// When each node was first told each value.
    told: Vec<HashMap<i64, Time>>,
}

/// A cluster to which values are broadcast all the time, and a network that can be cut.
struct Net {
    cluster: Cluster<LockFree>,
    seen: Rc<RefCell<Seen>>,
    /// When each value was broadcast, and to which node.
    born: BTreeMap<i64, (Time, usize)>,
    rng: Pcg64,
}

fn index(name: &str) -> usize {
    name[1..].parse().expect("a node")
}

/// The values that a message brings.
fn values_of(message: &Message) -> impl Iterator<Item = i64> {
    let integers = |field: &str| -> Vec<i64> {
        message.body[field].as_array().into_iter().flatten().filter_map(Json::as_i64).collect()
    };
    let runs: Vec<i64> = integers("runs").chunks(2).flat_map(|run| run[0]..run[0] + run[1]).collect();
    integers("values").into_iter().chain(runs)
}

/// When a message was sent: all clocks show the true time.
fn sent_at(message: &Message) -> Time {
    Time::from_nanos(1000 * link_of(message)["at"].as_u64().expect("every message says when it was sent"))
}

/// A message in a line.
fn brief(message: &Message) -> String {
    let Message { src, dest, body } = message;
    let link = link_of(message);
    let count = |field: &str| body[field].as_array().map_or(0, Vec::len);
    let [values, ranges, wants] = ["values", "ranges", "wants"].map(count);
    let (at, kind) = (sent_at(message).as_micros() as f64 / 1e6, body["type"].as_str().unwrap_or_default());
    let answer = if body["answer"] == true { " answer" } else { "" };
    let first = values_of(message).next().unwrap_or_default();
    format!(
        "{at:.3} {src} to {dest}: {kind}{answer}, {values} values from {first}, {ranges} ranges, {wants} wants, generation {} ack {} flags {}",
        body["generation"], link["ack"], link["flags"]
    )
}

impl Net {
    fn new(nodes: usize, config: &Config, seed: u64) -> Self {
        Self::around(started(nodes, config), seed)
    }

    fn around(mut cluster: Cluster<LockFree>, seed: u64) -> Self {
        let nodes = cluster.nodes.len();
        let seen = Rc::new(RefCell::new(Seen { told: vec![HashMap::new(); nodes], ..Seen::default() }));
        let network = Rc::clone(&seen);
        cluster.admits = Box::new(move |now, message| {
            let Seen { cuts, told } = &mut *network.borrow_mut();
            let receiver = index(&message.dest);
            let passes = !cuts.contains(&(receiver, index(&message.src)));
            if passes {
                for value in values_of(message) {
                    told[receiver].entry(value).or_insert(now);
                }
            }
            passes
        });
        Self { cluster, seen, born: BTreeMap::new(), rng: Pcg64::seed_from_u64(seed) }
    }

    /// One that has had ten seconds to get to know its network.
    fn settled(nodes: usize, config: &Config, seed: u64) -> Self {
        let mut net = Self::new(nodes, config, seed);
        net.run(secs(10));
        net
    }

    fn nodes(&self) -> usize {
        self.cluster.nodes.len()
    }

    fn now(&self) -> Time {
        self.cluster.now
    }

    fn broadcast(&mut self, node: usize) -> i64 {
        let value = self.born.len() as i64;
        self.cluster.broadcast(node, value);
        self.born.insert(value, (self.now(), node));
        self.seen.borrow_mut().told[node].insert(value, self.now());
        value
    }

    /// Lets time pass, in which a node is told one value after another; returns the first one.
    fn tell(&mut self, node: usize, time: Duration) -> i64 {
        let (until, first) = (self.now() + time, self.broadcast(node));
        while self.now() < until {
            self.cluster.run_for(ms(100));
            self.broadcast(node);
        }
        first
    }

    /// Lets time pass, in which a value is broadcast to some node every so often.
    fn run_at(&mut self, time: Duration, gap: Duration) {
        let end = self.now() + time;
        while self.now() + gap <= end {
            let node = self.rng.random_range(0..self.nodes());
            self.broadcast(node);
            self.cluster.run_for(gap);
        }
        self.quiet(end.since(self.now()));
    }

    fn run(&mut self, time: Duration) {
        self.run_at(time, GAP);
    }

    /// Lets time pass in which nothing is broadcast, and checks that no node neglects anything.
    fn quiet(&mut self, time: Duration) {
        self.cluster.run_for(time);
        for (index, node) in self.cluster.nodes.iter().enumerate() {
            node.audit(self.cluster.now).unwrap_or_else(|what| panic!("n{index} {what}"));
        }
    }

    /// Cuts these pairs, and no others.
    fn cut(&self, cuts: impl IntoIterator<Item = Cut>) {
        self.seen.borrow_mut().cuts = cuts.into_iter().collect();
    }

    fn heal(&self) -> Time {
        self.cut([]);
        self.now()
    }

    /// When the last of some nodes was told a value.
    fn spread(&self, value: i64, nodes: &[usize]) -> Time {
        let told = &self.seen.borrow().told;
        nodes
            .iter()
            .map(|&node| told[node].get(&value).copied().unwrap_or(Time::NEVER))
            .max()
            .expect("a node")
    }

    /// How long the slowest of the values took that were broadcast to some nodes in some time, until others had it.
    fn slowest(&self, born: Range<Time>, from: &[usize], to: &[usize]) -> Delay {
        let values = self.born.iter().filter(|(_, (at, node))| born.contains(at) && from.contains(node));
        let delays = values.map(|(&value, &(at, from))| Delay {
            time: self.spread(value, to).since(at),
            value,
            at,
            from,
        });
        delays.max_by_key(|delay| delay.time).expect("a value")
    }

    /// How long after `healed` the last node was told the last of the values that were broadcast before.
    fn completion(&self, healed: Time) -> Delay {
        let values = self.born.iter().filter(|(_, (at, _))| *at < healed);
        let delays = values.map(|(&value, &(at, from))| Delay {
            time: self.spread(value, &self.all()).since(healed),
            value,
            at,
            from,
        });
        delays.max_by_key(|delay| delay.time).expect("a value")
    }

    fn all(&self) -> Vec<usize> {
        (0..self.nodes()).collect()
    }

    fn all_but(&self, node: usize) -> Vec<usize> {
        (0..self.nodes()).filter(|&other| other != node).collect()
    }

    /// The messages that were sent at some time.
    fn sent(&self, during: Range<Time>) -> impl Iterator<Item = &Message> {
        self.cluster.sent.iter().filter(move |message| during.contains(&sent_at(message)))
    }

    /// Messages between nodes for each value.
    fn cost(&self, during: Range<Time>) -> f64 {
        let values = self.born.values().filter(|(at, _)| during.contains(at)).count();
        self.sent(during).count() as f64 / values as f64
    }

    /// Every node has everything, by its own word.
    fn nothing_is_lost(&mut self) {
        let values: Vec<i64> = self.born.keys().copied().collect();
        for node in self.all() {
            let held = self.cluster.read(node);
            let missing: Vec<&i64> =
                values.iter().filter(|value| held.binary_search(value).is_err()).collect();
            assert!(missing.is_empty(), "n{node} lacks {} values, first {}", missing.len(), missing[0]);
            assert_eq!(held.len(), values.len(), "n{node} made some up");
        }
    }

    /// Values travel by n0 and by nobody else.
    fn the_hub_is_n0(&self, during: Range<Time>) {
        // But for the last acknowledgements of what has come otherwise.
        let all = self.sent(during.clone()).count();
        let others = self.sent(during).filter(|message| message.src != "n0" && message.dest != "n0");
        let others: Vec<String> = others.filter(|message| !message.is("delta_ok")).map(brief).collect();
        // A node that has not heard from another one since the fault may ask it now and then, and compare.
        assert!(others.len() <= NODES.max(all / 100), "{} of {all} messages: {others:#?}", others.len());
    }

    /// Everyone is complete in time after the network was healed, and the plan is what it was: the same hub, and about
    /// as many messages.
    fn recovers(&mut self, name: &str, cost_before: f64) {
        let healed = self.heal();
        self.run(secs(34));
        let completion = self.completion(healed);
        // Whoever has another parent than the plan has seeks that one the less often the longer it has been doing so: until
        // half a minute after a fault of twenty seconds its values may take one more message.
        let calm = healed + secs(25)..healed + secs(34);
        let cost = self.cost(calm.clone());
        println!(
            "{name}: complete after {completion}; {cost_before:.2} messages a value before, {cost:.2} after"
        );
        assert!(completion.time <= COMPLETE, "{name}: {completion}");
        self.the_hub_is_n0(calm);
        assert!(
            (0.8..1.2).contains(&(cost / cost_before)),
            "{name}: {cost} messages a value after {cost_before}"
        );
        self.quiet(secs(5));
        self.nothing_is_lost();
    }
}

/// How long a value took, and which one.
struct Delay {
    time: Duration,
    value: i64,
    at: Time,
    from: usize,
}

impl std::fmt::Display for Delay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { time, value, at, from } = self;
        if *time > secs(100_000) {
            return write!(
                f,
                "never (value {value}, broadcast to n{from} at {:.3} s)",
                at.as_micros() as f64 / 1e6
            );
        }
        write!(
            f,
            "{} ms (value {value}, broadcast to n{from} at {:.3} s)",
            time.as_millis(),
            at.as_micros() as f64 / 1e6
        )
    }
}

/// Who is cut off from everyone, both ways.
fn isolated(node: usize, nodes: usize) -> Vec<Cut> {
    [deaf(node, nodes), mute(node, nodes)].concat()
}

/// Who hears nobody.
fn deaf(node: usize, nodes: usize) -> Vec<Cut> {
    (0..nodes).filter(|&other| other != node).map(|other| (node, other)).collect()
}

/// Whom nobody hears.
fn mute(node: usize, nodes: usize) -> Vec<Cut> {
    deaf(node, nodes).into_iter().map(|(a, b)| (b, a)).collect()
}

/// While something lasts that began at `cut` and ends now, what is broadcast to some nodes gets to some soon.
fn goes_on(net: &Net, name: &str, cut: Time, from: &[usize], to: &[usize]) {
    let ends = net.now();
    let early = net.slowest(cut..cut + SOON, from, to);
    let later = net.slowest(cut + SOON..ends.before(SOON), from, to);
    println!("{name}: at first {early}, later {later}");
    assert!(early.at + early.time <= cut + 2 * SOON, "{name}: {early}");
    assert!(later.time <= SOON, "{name}: {later}");
}

// 1.

#[test]
fn hub_cut_off_and_the_others_go_on_without_it_until_it_is_back() {
    let mut net = Net::settled(NODES, &Config::default(), 1);
    let cut = net.now();
    let cost = net.cost(cut.before(secs(5))..cut);
    net.cut(isolated(0, NODES));
    net.run(secs(10));
    let leaves = net.all_but(0);
    goes_on(&net, "hub cut off", cut, &leaves, &leaves);
    net.recovers("hub cut off", cost);
}

// 2.

#[test]
fn hub_isolated_one_way_and_deaf_still_tells_everybody_what_it_is_told() {
    let mut net = Net::settled(NODES, &Config::default(), 2);
    let cut = net.now();
    let cost = net.cost(cut.before(secs(5))..cut);
    net.cut(deaf(0, NODES));
    net.run(secs(15));
    let leaves = net.all_but(0);
    goes_on(&net, "deaf hub, others' values", cut, &leaves, &leaves);
    goes_on(&net, "deaf hub, its own values", cut, &[0], &leaves);
    net.recovers("deaf hub", cost);
}

#[test]
fn hub_isolated_one_way_and_mute_still_hears_what_others_are_told() {
    let mut net = Net::settled(NODES, &Config::default(), 3);
    let cut = net.now();
    let cost = net.cost(cut.before(secs(5))..cut);
    net.cut(mute(0, NODES));
    net.run(secs(15));
    let leaves = net.all_but(0);
    goes_on(&net, "mute hub, among the others", cut, &leaves, &leaves);
    goes_on(&net, "mute hub, everybody", cut, &leaves, &net.all());
    net.recovers("mute hub", cost);
}

#[test]
fn a_deaf_node_brings_hundreds_of_values_to_somebody_soon() {
    let mut net = Net::settled(9, &Config::default(), 4);
    net.cut(deaf(1, 9));
    net.run(secs(5));
    let began = net.now();
    let values: Vec<i64> = (0..434).map(|_| net.broadcast(1)).collect();
    net.quiet(secs(60));
    let others = net.all_but(1);
    let last = values.iter().map(|&value| net.spread(value, &others)).max().expect("some");
    println!("deaf node, 434 values: {} ms", last.since(began).as_millis());
    assert!(last.since(began) <= secs(20), "{:?}", last.since(began));
}

// 3.

#[test]
fn ring_of_majorities_keeps_no_value_from_anybody() {
    const WITHIN: Duration = secs(10);
    for seed in 1..=5 {
        let mut net = Net::settled(NODES, &Config::default(), seed);
        let cut = net.now();
        let cost = net.cost(cut.before(secs(5))..cut);
        net.cut(PartitionKind::MajoritiesRing.cuts(NODES, &mut Pcg64::seed_from_u64(seed)));
        net.run(secs(20));
        let all = net.all();
        let slowest = net.slowest(cut..net.now().before(WITHIN), &all, &all);
        println!("ring {seed}: {slowest}");
        assert!(slowest.time <= WITHIN, "ring {seed}: {slowest}");
        net.recovers(&format!("ring {seed}"), cost);
    }
}

#[test]
fn a_chain_of_working_links_is_crossed_while_it_lasts() {
    const LINKS: usize = 7;
    let mut net = Net::settled(LINKS, &Config::default(), 1);
    let cut = net.now();
    let cost = net.cost(cut.before(secs(5))..cut);
    let pairs = (0..LINKS).flat_map(|a| (0..LINKS).map(move |b| (a, b)));
    net.cut(pairs.filter(|(a, b)| a.abs_diff(*b) > 1));
    net.run(secs(60));
    let all = net.all();
    let slowest = net.slowest(cut..cut + secs(30), &all, &all);
    println!("chain: {slowest}");
    assert!(slowest.time <= secs(20), "chain: {slowest}");
    net.recovers("chain", cost);
}

// 4.

#[test]
fn two_hubs_serve_a_side_each_and_are_one_again() {
    for seed in 1..=3 {
        let mut net = Net::settled(NODES, &Config::default(), seed);
        let cut = net.now();
        let cost = net.cost(cut.before(secs(5))..cut);
        let cuts = PartitionKind::Majority.cuts(NODES, &mut Pcg64::seed_from_u64(seed));
        let (away, with): (Vec<_>, Vec<_>) =
            net.all().into_iter().partition(|&node| cuts.contains(&(node, 0)));
        assert_eq!(away.len().min(with.len()), 12);
        net.cut(cuts);
        net.run(secs(15));
        goes_on(&net, &format!("two hubs {seed}, n0's side"), cut, &with, &with);
        goes_on(&net, &format!("two hubs {seed}, the other side"), cut, &away, &away);
        net.recovers(&format!("two hubs {seed}"), cost);
    }
}

// 5.

/// What it took to bring a node of five up to date that was away for ten thousand values.
struct Return {
    completion: Delay,
    /// How many values it was sent for each that it lacked.
    sent: f64,
}

fn away_for_ten_thousand_values() -> Return {
    const MISSED: usize = 10_000;
    let mut net = Net::settled(5, &Config::default(), 1);
    net.cut(isolated(4, 5));
    for count in 0..MISSED {
        net.broadcast(count % 4);
        net.cluster.run_for(ms(1));
    }
    net.quiet(secs(3));
    assert!(net.cluster.read(4).len() <= net.born.len() - MISSED);
    let healed = net.heal();
    net.quiet(secs(20));
    net.nothing_is_lost();
    let completion = net.completion(healed);
    let messages = net.sent(healed..net.now());
    let to_it = messages.filter(|message| message.dest == "n4");
    let sent = to_it.map(|message| values_of(message).count()).sum::<usize>() as f64 / MISSED as f64;
    println!("away: complete after {completion}; {sent:.2} values sent for each");
    Return { completion, sent }
}

#[test]
fn a_node_that_was_away_for_ten_thousand_values_is_soon_complete() {
    let Return { completion, .. } = away_for_ten_thousand_values();
    assert!(completion.time <= secs(3), "{completion}");
}

#[test]
fn a_node_that_was_away_for_ten_thousand_values_is_sent_them_once() {
    let Return { sent, .. } = away_for_ten_thousand_values();
    assert!(sent <= 1.4, "{sent} for each");
}

// Values keep coming.

/// Nodes that tell each other everything themselves.
fn direct() -> Config {
    Config { latency_budget: ms(120), ..Config::default() }
}

#[test]
fn a_link_that_was_cut_keeps_no_value_back_while_values_keep_coming() {
    for cut_for in [1, 5, 20] {
        let mut net = Net::settled(5, &direct(), 1);
        net.cut([(3, 4), (4, 3)]);
        net.run(secs(cut_for));
        let healed = net.heal();
        net.run(secs(20));
        let completion = net.completion(healed);
        println!("direct plan, link cut for {cut_for} s: {completion}");
        assert!(completion.time <= secs(5), "{completion}");
    }
}

#[test]
fn a_link_that_is_cut_for_good_keeps_no_value_back_while_values_keep_coming() {
    for cut in [(0, 1), (0, 4), (3, 4)] {
        let mut net = Net::settled(5, &direct(), 1);
        let began = net.now();
        net.cut([cut, (cut.1, cut.0)]);
        net.run(secs(40));
        let slowest = net.slowest(began..net.now().before(secs(10)), &net.all(), &net.all());
        println!("direct plan, {cut:?} cut for good: {slowest}");
        assert!(slowest.time <= secs(10), "{slowest}");
    }
}

#[test]
fn a_node_that_was_started_again_costs_the_direct_plan_nothing_for_long() {
    let config = direct();
    let mut net = Net::settled(5, &config, 1);
    restart(&mut net, &config, 4, 1);
    net.run(secs(10));
    let began = net.now();
    net.run(secs(10));
    let calm = began..net.now().before(secs(1));
    let (cost, slowest) = (net.cost(calm.clone()), net.slowest(calm, &net.all(), &net.all()));
    println!("direct plan, after a restart: {cost:.2} messages a value, {slowest}");
    assert!(cost < 4.2 && slowest.time <= ms(150), "{cost} messages, {slowest}");
}

/// Two sides are joined by a single link, of two nodes that are no roots, after a long time apart.
#[test]
fn a_bridge_between_two_sides_is_found_though_all_has_been_silent_for_long() {
    const NODES: usize = 9;
    let mut net = Net::settled(NODES, &Config::default(), 1);
    net.quiet(secs(30));
    let is_left = |node: usize| (1..=NODES / 2).contains(&node);
    let pairs = (0..NODES).flat_map(|a| (0..NODES).map(move |b| (a, b)));
    let cuts: Vec<Cut> = pairs.filter(|&(a, b)| is_left(a) != is_left(b)).collect();
    net.cut(cuts.iter().copied());
    let value = net.broadcast(2);
    net.quiet(secs(100));
    net.cut(cuts.into_iter().filter(|cut| !matches!(cut, (2, 8) | (8, 2))));
    let joined = net.now();
    net.quiet(secs(200));
    let spread = net.spread(value, &net.all());
    println!("bridge: everywhere after {} s", spread.since(joined).as_secs());
    assert!(spread <= joined + secs(150), "{spread:?}");
}

/// A settled node notices nothing, and nobody who hears of news can reach it but one leaf of the other tree.
#[test]
fn a_settled_node_whose_way_to_others_is_lost_hears_of_news_by_the_other_way_there_is() {
    const NODES: usize = 12;
    let mut net = Net::settled(NODES, &Config::default(), 1);
    let reached_by = |ways: &'static [usize]| {
        let others = (0..NODES).filter(move |other| *other != 1 && !ways.contains(other));
        others.flat_map(|other| [(1, other), (other, 1)])
    };
    net.cut(reached_by(&[2, 11]));
    net.run(secs(20));
    net.quiet(secs(70));
    net.cut(reached_by(&[11]));
    let cut = net.now();
    let first = net.broadcast(0);
    for _ in 0..500 {
        net.cluster.run_for(ms(200));
        net.broadcast(0);
    }
    net.quiet(secs(5));
    let heard = net.spread(first, &[1]).since(cut);
    println!("the other way: {heard:?}");
    assert!(heard <= secs(53), "{heard:?}");
}

/// By the direct plan the hub passes on nothing that others tell everybody; by the plan of one member it brings that one everything.
#[test]
fn what_a_dead_member_told_all_but_one_of_another_plan_gets_to_that_one_by_its_parent() {
    const TELLER: usize = 2;
    for nodes in [5, 12] {
        let budget = |ms_| Config { latency_budget: ms(ms_), ..Config::default() };
        let leaf = nodes - 1;
        let mut cluster = fresh::<LockFree>(nodes, &budget(20));
        cluster.nodes[leaf] = LockFree::new(budget(600), 99);
        (0..nodes).for_each(|node| drop(cluster.init(node)));
        (0..nodes).for_each(|node| drop(cluster.ask(node, json!({ "type": "topology", "topology": {} }))));
        let mut net = Net::around(cluster, 1);
        net.run(secs(15));
        net.cut([(TELLER, leaf), (leaf, TELLER)]);
        let told = net.broadcast(TELLER);
        net.tell(0, ms(200));
        net.cut(isolated(TELLER, nodes));
        let died = net.now();
        net.tell(0, secs(40));
        let took = net.spread(told, &[leaf]).since(died);
        println!("told to all but one of {nodes}: {took:?}");
        assert!(took <= secs(12), "{took:?}");
    }
}

/// The new root has heard everybody, but long ago, and they have nothing to say.
#[test]
fn settled_members_of_a_dead_hub_hear_of_news_though_the_new_root_has_heard_them_before() {
    for (nodes, latency) in [(25, ms(100)), (25, ms(500))] {
        let config = Config { latency_budget: 3 * latency, ..Config::default() };
        let mut net = Net::new(nodes, &config, 1);
        net.cluster.latency = latency;
        net.run(secs(10));
        net.cut(isolated(0, nodes));
        net.run(secs(15));
        net.heal();
        net.run(secs(10));
        net.quiet(secs(30));
        net.cut(isolated(0, nodes));
        let died = net.now();
        let first = net.tell(1, secs(60));
        let took = net.spread(first, &net.all_but(0)).since(died);
        println!("a dead hub's leaves at {latency:?}: {took:?}");
        assert!(took <= secs(6) + 12 * latency, "{took:?}");
    }
}

/// Nobody but the inner node itself had anything to do with its children, and these have nothing to say.
#[test]
fn children_of_a_dead_inner_node_hear_of_news_while_clients_go_on() {
    const NODES: usize = 140;
    let mut net = Net::settled(NODES, &Config { latency_budget: ms(1400), ..Config::default() }, 1);
    net.quiet(secs(40));
    net.cut(isolated(2, NODES));
    let died = net.now();
    let first = net.tell(0, secs(60));
    let took = net.spread(first, &net.all_but(2)).since(died);
    println!("children of a dead inner node: {took:?}");
    assert!(took <= secs(20), "{took:?}");
}

/// By the plans of others a node has children all the time; by its own only once it has measured the network. And they have nothing
/// to say.
#[test]
fn children_of_an_inner_node_that_was_started_again_hear_of_news_while_clients_go_on() {
    const NODES: usize = 140;
    for latency in [ms(2), ms(20)] {
        let config = Config::default();
        let mut net = Net::new(NODES, &config, 1);
        net.cluster.latency = latency;
        net.run(secs(10));
        net.quiet(secs(40));
        net.cut(isolated(2, NODES));
        net.quiet(secs(1));
        net.heal();
        restart(&mut net, &config, 2, 1000);
        net.quiet(secs(1));
        let first = net.tell(0, secs(20));
        let took = net.spread(first, &net.all()).since(net.born[&first].0);
        println!("children of an inner node that was started again, at {latency:?}: {took:?}");
        assert!(took <= secs(5), "{took:?}");
    }
}

// 6.

/// No node waits for an acknowledgement, nor has anything to send.
fn is_settled(net: &Net) -> bool {
    let values: Vec<i64> = net.born.keys().rev().take(500).copied().collect();
    net.cluster.nodes.iter().all(|node| values.iter().all(|&value| node.whereabouts(value).is_empty()))
}

fn falls_silent(net: &mut Net, name: &str) {
    let began = net.now();
    while !is_settled(net) {
        assert!(net.now().since(began) < secs(20), "{name}: unacknowledged for ever");
        net.quiet(ms(10));
    }
    println!("{name}: all is acknowledged after {} ms", net.now().since(began).as_millis());
    net.quiet(secs(2));
    stays_silent(net, name);
    net.nothing_is_lost();
}

fn stays_silent(net: &mut Net, name: &str) {
    let before = net.cluster.sent.len();
    net.quiet(secs(3600));
    let said = &net.cluster.sent[before..];
    assert!(said.is_empty(), "{name}: {} messages, first {:?}", said.len(), said[0]);
}

#[test]
fn total_silence_when_everything_is_acknowledged_whatever_the_budget() {
    for budget in [Config::default().latency_budget, ms(20), ms(1400)] {
        let config = Config { latency_budget: budget, ..Config::default() };
        let mut net = Net::settled(NODES, &config, 1);
        falls_silent(&mut net, &format!("budget {budget:?}"));
        // A single value, after an hour.
        net.broadcast(7);
        falls_silent(&mut net, &format!("budget {budget:?}, one value"));
    }
}

#[test]
fn total_silence_while_a_partition_lasts_in_which_nothing_is_broadcast() {
    for kind in PartitionKind::ALL {
        let mut net = Net::settled(NODES, &Config::default(), 1);
        falls_silent(&mut net, "before");
        net.cut(kind.cuts(NODES, &mut Pcg64::seed_from_u64(1)));
        stays_silent(&mut net, kind.name());
        net.heal();
        stays_silent(&mut net, "healed");
        net.run(secs(1));
        falls_silent(&mut net, "after");
    }
}

#[test]
fn total_silence_after_a_partition_that_kept_values_from_some() {
    for (budget, kind) in
        [(565, PartitionKind::Majority), (565, PartitionKind::MajoritiesRing), (20, PartitionKind::Majority)]
    {
        let config = Config { latency_budget: ms(budget), ..Config::default() };
        let mut net = Net::settled(NODES, &config, 1);
        net.cut(kind.cuts(NODES, &mut Pcg64::seed_from_u64(1)));
        net.run(secs(10));
        net.heal();
        net.quiet(secs(10));
        net.nothing_is_lost();
        stays_silent(&mut net, &format!("budget {budget}, {} healed", kind.name()));
    }
}

// 7.

/// Everything in a cluster's messages that acknowledges something, as messages that do nothing else.
fn acknowledgements(sent: &[Message]) -> Vec<Message> {
    let with_ack = sent.iter().filter(|message| link_of(message)["ack"].is_u64() || message.is("delta_ok"));
    let only_ack = |message: &Message| {
        let body = json!({ "type": "delta_ok", "link": message.body["link"] });
        Message { body, ..message.clone() }
    };
    with_ack.map(only_ack).collect()
}

/// Whether a node still has a value in hand for a peer.
fn waits(net: &Net, node: usize, peer: usize, value: i64) -> bool {
    let name = format!(" n{peer}");
    net.cluster.nodes[node]
        .whereabouts(value)
        .iter()
        .any(|place| place.split(" in batch").next().is_some_and(|p| p.ends_with(&name)))
}

#[test]
fn stale_acks_of_every_generation_release_nothing_that_has_not_come() {
    // Generations are the same on all links, and come round: a stale one is never far from one in flight.
    let config = Config { first_generation: Some(Generation(Generation::LAST.0 - 40)), ..Config::default() };
    let mut net = Net::settled(3, &config, 1);
    net.quiet(secs(5));
    let stale: Vec<Message> = acknowledgements(&net.cluster.sent)
        .into_iter()
        .filter(|ack| (&*ack.src, &*ack.dest) == ("n0", "n1"))
        .collect();
    assert!(stale.len() > 20, "{} acknowledgements", stale.len());
    // n0 hears nothing: what n1 sends it is lost.
    for _ in 0..10 {
        net.cut(deaf(0, 3));
        let value = net.broadcast(1);
        net.cluster.run_for(ms(500));
        assert!(waits(&net, 1, 0, value), "{:?}", net.cluster.nodes[1].whereabouts(value));
        for ack in &stale {
            net.cluster.tell(1, "n0", ack.body.clone());
            // The last one that it acknowledges: the next one is not stale.
            let next = link_of(ack)["ack"].as_u64().expect("it acknowledges");
            let generation = next.wrapping_sub(1) & Generation::LAST.0;
            net.cluster.tell(
                1,
                "n0",
                json!({ "type": "delta_ok", "in_reply_to": 1, "generation": generation }),
            );
            assert!(waits(&net, 1, 0, value), "released by {:?}", ack.body);
        }
        let healed = net.heal();
        net.quiet(secs(3));
        assert!(net.completion(healed).time <= COMPLETE, "{}", net.completion(healed));
    }
    net.nothing_is_lost();
}

/// Loses a part of the messages.
fn lossy(part: f64, seed: u64) -> Box<dyn FnMut(&Message) -> Fate> {
    let mut rng = Pcg64::seed_from_u64(seed);
    Box::new(move |_| if rng.random_bool(part) { Fate::Lose } else { Fate::Deliver })
}

/// Starts a node anew: a former life of it is gone with what it held.
fn restart(net: &mut Net, config: &Config, node: usize, life: u64) {
    use common::Design;
    net.cluster.nodes[node] = LockFree::make(config, life);
    assert_eq!(net.cluster.init(node)["type"], "init_ok");
}

#[test]
fn stale_acks_from_anybody_at_any_time_lose_nothing() {
    const FEW: usize = 5;
    let config = Config { first_generation: Some(Generation(Generation::LAST.0 - 40)), ..Config::default() };
    for (seed, from_wrong_peers) in [(1, false), (2, false), (3, true), (4, true)] {
        let mut net = Net::new(FEW, &config, seed);
        net.cluster.fate = lossy(0.2, seed);
        let mut dice = Pcg64::seed_from_u64(seed);
        for round in 0..40 {
            if round % 10 == 9 {
                // It comes to rest before, as what only a dead node held dies with it.
                net.quiet(secs(10));
                net.nothing_is_lost();
                restart(&mut net, &config, round / 10 + usize::from(round == 39), 1000 * seed + round as u64);
            }
            net.run_at(ms(500), ms(50));
            let stale = acknowledgements(&net.cluster.sent);
            for _ in 0..30 {
                let ack = &stale[dice.random_range(0..stale.len())];
                let dest = index(&ack.dest);
                let wrong = (dest + dice.random_range(1..FEW)) % FEW;
                let src =
                    if from_wrong_peers && dice.random() { format!("n{wrong}") } else { ack.src.clone() };
                let said = net.cluster.tell(dest, &src, ack.body.clone());
                assert!(said.is_empty(), "an acknowledgement asks for no answer: {said:?}");
            }
        }
        net.cluster.fate = Box::new(|_| Fate::Deliver);
        let healed = net.now();
        net.quiet(secs(10));
        println!("stale acks, seed {seed}: {} ms after the last", net.completion(healed).time.as_millis());
        net.nothing_is_lost();
    }
}

// 8.

#[test]
fn generations_that_wrap_around_lose_nothing_on_a_network_that_does() {
    for before in [0, 1, 5, 31, 32, 33] {
        let config =
            Config { first_generation: Some(Generation(Generation::LAST.0 - before)), ..Config::default() };
        let mut net = Net::new(NODES, &config, before);
        net.cluster.fate = lossy(0.1, before);
        net.run(secs(15));
        net.cluster.fate = Box::new(|_| Fate::Deliver);
        let healed = net.now();
        net.quiet(secs(5));
        net.nothing_is_lost();
        let completion = net.completion(healed);
        assert!(completion.time <= COMPLETE, "{before} before the last: {completion}");
        let mut links: HashMap<_, HashSet<bool>> = HashMap::new();
        for message in net.cluster.sent.iter().filter(|message| message.is("delta")) {
            let generation = message.body["generation"].as_u64().expect("a number");
            assert!(generation <= Generation::LAST.0);
            links.entry((&message.src, &message.dest)).or_default().insert(generation < 1000);
        }
        let wrapped = links.values().filter(|halves| halves.len() == 2).count();
        assert!(before > 5 || wrapped >= NODES, "{before} before the last: {wrapped} links have wrapped");
        assert!(wrapped > 0);
    }
}

// 9.

/// The period that the hub last named.
fn period(net: &Net) -> Option<Duration> {
    let every = |message: &Message| link_of(message)["every"].as_u64();
    net.cluster
        .sent
        .iter()
        .rev()
        .filter(|message| message.src == "n0")
        .find_map(every)
        .map(Duration::from_micros)
}

/// Broadcasts while the way between two nodes takes 1 ms, then 250, then 1 again; checks the latencies of what is
/// broadcast ten seconds after each change.
fn changing_round_trip(latency_max: Duration) {
    let mut net = Net::new(NODES, &Config::default(), 1);
    let all = net.all();
    let mut periods = Vec::new();
    for latency in [1, 250, 1] {
        net.cluster.latency = ms(latency);
        let changed = net.now();
        net.run(secs(20));
        net.quiet(secs(2));
        let early = net.slowest(changed..changed + secs(10), &all, &all);
        let slowest = net.slowest(changed + secs(10)..changed + secs(20), &all, &all);
        let cost = net.cost(changed + secs(10)..changed + secs(20));
        let every = period(&net).expect("it is a star");
        println!(
            "one way {latency} ms: at first {early}, then {slowest}; {cost:.2} messages a value, every {every:?}"
        );
        periods.push(every);
        assert!(slowest.time <= latency_max, "one way {latency} ms: {slowest}");
    }
    net.nothing_is_lost();
    assert!(periods[0] > ms(500) && periods[1] < ms(70) && periods[2] > ms(500), "{periods:?}");
}

#[test]
fn a_round_trip_that_grows_from_2_to_500_ms_and_back_changes_the_plan_and_loses_nothing() {
    // A hub doesn't flush once more for what is a little late, or may only seem so.
    changing_round_trip(Config::default().latency_budget + ms(20));
}

#[test]
#[ignore = "a few values take 575 ms of 565: the hub lets what is up to 10 ms late wait for its flush"]
fn a_round_trip_that_grows_to_500_ms_leaves_every_value_within_the_budget() {
    changing_round_trip(Config::default().latency_budget);
}

// 10.

/// Runs the nemesis's partitions; returns when each was healed and when the next one began.
fn partitions(net: &mut Net, seed: u64) -> Vec<(Time, Time)> {
    let limit = secs(40);
    let mut nemesis = Nemesis::partitions(NODES, secs(5), limit, Pcg64::seed_from_u64(seed));
    nemesis.begin(net.now());
    let mut heals = Vec::new();
    while let Some(due) = nemesis.next_step() {
        // To the moment: values are broadcast at their own times.
        net.run(due.since(net.now()));
        match nemesis.step(due) {
            Some(Step::StartPartition(_, cuts)) => {
                if let Some((_, next)) = heals.last_mut() {
                    *next = net.now();
                }
                net.cut(cuts);
            }
            _ => heals.push((net.heal(), Time::NEVER)),
        }
    }
    if heals.last().is_none_or(|(_, next)| *next != Time::NEVER) {
        heals.push((net.heal(), Time::NEVER));
    }
    net.run(secs(3));
    heals
}

#[test]
fn complete_within_1_4_s_after_each_heal() {
    let (mut heals_checked, mut late) = (0, Vec::new());
    let mut worst = Duration::ZERO;
    for seed in 1..=10 {
        let mut net = Net::settled(NODES, &Config::default(), seed);
        for (healed, next) in partitions(&mut net, seed) {
            if next < healed + COMPLETE {
                continue;
            }
            heals_checked += 1;
            let completion = net.completion(healed);
            worst = worst.max(completion.time);
            if completion.time > COMPLETE {
                late.push(format!("seed {seed}, healed at {healed:?}: {completion}"));
            }
        }
        net.quiet(secs(5));
        net.nothing_is_lost();
    }
    println!("{heals_checked} heals, the worst complete after {} ms", worst.as_millis());
    assert!(heals_checked > 20, "{heals_checked} heals");
    assert!(late.is_empty(), "{} of {heals_checked}: {late:#?}", late.len());
    assert_eq!(LATENCY, ms(100), "which 1.4 s is for");
}
