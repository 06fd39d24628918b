//! Whole runs in virtual time: the network, clients, faults and checkers around both designs.

#![cfg(all(feature = "workbench", not(loom)))]

mod common;

use common::Design;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use natter::challenge::Challenge;
use natter::check::Valid;
use natter::check::set_full::SetFull;
use natter::cluster::scenario::{FaultKind, LatencyDist, Scenario, Verbosity};
use natter::cluster::trial::{Results, Trial, Violation};
use natter::cluster::virtual_time;
use natter::config::Config;
use natter::gossip::LockFree;
use natter::history::History;
use natter::node::{Node, Outbox, Time};
use natter::protocol::Line;
use natter::simple::Simple;
use natter::workload::topology::TopologyKind;
use natter::workload::{Options, broadcast, echo};
use serde_json::{Value as Json, json};

fn run<D: Design>(scenario: &Scenario, seed: u64, config: &Config) -> Results {
    let node_seed = |index| seed * 1000 + index as u64;
    virtual_time::run(scenario, seed, |index| D::make(config, node_seed(index))).expect("nodes behave").0
}

fn suggesting(topology: TopologyKind) -> Options {
    Options { topology, ..Options::default() }
}

fn set_full(results: &Results) -> &SetFull {
    results.workload.set.as_ref().expect("a broadcast run")
}

fn nothing_is_lost(results: &Results) {
    let set = set_full(results);
    assert_eq!(results.valid, Valid::True, "seed {}: lost {:?}", results.seed, set.lost);
    assert_eq!(set.stable_count, set.attempt_count, "seed {}", results.seed);
    assert!(set.attempt_count > 0);
}

both_designs! {
    fn nothing_is_lost_under_partitions<D>() {
        for seed in 0..10 {
            nothing_is_lost(&run::<D>(&Challenge::LowLatencyPartition.scenario(), seed, &Config::default()));
        }
    }

    fn nothing_is_lost_whatever_the_latencies<D>() {
        for dist in [LatencyDist::Uniform, LatencyDist::Exponential] {
            let scenario = Scenario { latency_dist: dist, ..Challenge::FewMessagesPartition.scenario() };
            nothing_is_lost(&run::<D>(&scenario, 1, &Config::default()));
        }
    }

    fn nothing_is_lost_in_any_topology<D>() {
        use TopologyKind::{Grid, Line, Total, Tree, Tree4};
        for (seed, topology) in [Line, Grid, Tree, Tree4, Total].into_iter().enumerate() {
            let scenario = Scenario { options: suggesting(topology), ..Challenge::FaultTolerant.scenario() };
            nothing_is_lost(&run::<D>(&scenario, seed as u64, &Config::default()));
        }
    }

    fn ids_are_unique_under_partitions<D>() {
        let results = run::<D>(&Challenge::UniqueIds.scenario(), 1, &Config::default());
        assert_eq!(results.valid, Valid::True);
        assert_eq!(results.availability.ok_fraction, 1.0);
    }

    fn echoes_come_back<D>() {
        let results = run::<D>(&Challenge::Echo.scenario(), 1, &Config::default());
        assert_eq!(results.valid, Valid::True);
        assert!(results.stats.all.ok_count > 10);
    }
}

#[test]
fn the_star_meets_the_challenges_with_room_to_spare() {
    for seed in 0..10 {
        let results = run::<LockFree>(&Challenge::LowLatency.scenario(), seed, &Config::default());
        nothing_is_lost(&results);
        let latencies = set_full(&results).stable_latencies.expect("some");
        let msgs_per_op = results.net.servers.msgs_per_op;
        assert!(msgs_per_op < 5.0, "seed {seed}: {msgs_per_op}");
        assert!(latencies.median < 400 && latencies.max < 600, "seed {seed}: {latencies:?}");
    }
}

#[test]
fn direct_delivery_takes_one_delay() {
    let config = Config { latency_budget: Duration::from_millis(102), ..Config::default() };
    let results = run::<LockFree>(&Challenge::LowLatency.scenario(), 1, &config);
    nothing_is_lost(&results);
    let latencies = set_full(&results).stable_latencies.expect("some");
    assert!(latencies.max <= 103, "{latencies:?}");
}

/// A node that forwards each new value to every given neighbour but its sender, at once and without
/// acknowledgements. What it costs can be counted by hand.
#[derive(Default)]
struct Flood(std::sync::Mutex<FloodState>);

#[derive(Default)]
struct FloodState {
    me: String,
    neighbours: Vec<String>,
    seen: std::collections::BTreeSet<i64>,
}

impl Node for Flood {
    type Scratch = ();

    fn handle(&self, _: Time, line: Line<'_>, (): &mut (), out: &mut Outbox) {
        let message: Json = serde_json::from_slice(line.bytes()).expect("JSON");
        let mut state = self.0.lock().expect("no panic");
        let mut send = |src: &str, dest: &Json, body: Json| {
            let dest = dest.as_str().expect("a name");
            out.send(src, dest, |text| text.extend(body.to_string().bytes()));
        };
        let (src, body) = (&message["src"], &message["body"]);
        let mut reply = json!({ "type": format!("{}_ok", body["type"].as_str().expect("a type")) });
        match body["type"].as_str() {
            Some("init") => state.me = body["node_id"].as_str().expect("a name").to_owned(),
            Some("topology") => {
                state.neighbours =
                    serde_json::from_value(body["topology"][&state.me].clone()).expect("names");
            }
            Some("read") => reply["messages"] = json!(state.seen),
            _ => {
                if state.seen.insert(body["message"].as_i64().expect("a value")) {
                    for neighbour in state.neighbours.iter().filter(|name| *src != **name) {
                        let body = json!({ "type": "broadcast", "message": body["message"] });
                        send(&state.me, &json!(neighbour), body);
                    }
                }
            }
        }
        if let Some(msg_id) = body.get("msg_id") {
            reply["in_reply_to"] = msg_id.clone();
            send(&state.me, src, reply);
        }
    }

    fn tick(&self, _: Time, _: &mut Outbox) {}

    fn next_deadline(&self) -> Option<Time> {
        None
    }

    fn finish(&self, _: Time, _: &mut Outbox) {}
}

#[test]
fn flooding_costs_what_the_topology_says() {
    // In a tree, each edge once; in a grid of 40 edges, both ways but for the 24 by which a node first heard.
    // The longest way is 5 hops in the one and 8 in the other, of 100 ms each.
    for (topology, messages, max_ms) in [(TopologyKind::Tree4, 24, 500), (TopologyKind::Grid, 56, 800)] {
        let scenario = Scenario { options: suggesting(topology), ..Challenge::LowLatency.scenario() };
        for seed in 0..5 {
            let (results, _) =
                virtual_time::run(&scenario, seed, |_| Flood::default()).expect("nodes behave");
            nothing_is_lost(&results);
            let set = set_full(&results);
            assert_eq!(results.net.servers.msg_count, messages * set.attempt_count as u64);
            let max = set.stable_latencies.expect("some").max;
            assert!((max_ms - 50..=max_ms).contains(&max), "{topology:?}: {max} ms");
        }
    }
}

#[test]
fn a_node_that_forgets_loses_values_and_is_found_out() {
    /// Forgets what it has seen whenever it is told a multiple of ten.
    struct Forgetful(Flood);
    impl Node for Forgetful {
        type Scratch = ();
        fn handle(&self, now: Time, line: Line<'_>, (): &mut (), out: &mut Outbox) {
            self.0.handle(now, line, &mut (), out);
            let mut state = self.0.0.lock().expect("no panic");
            if state.seen.last().is_some_and(|value| value % 10 == 0) {
                state.seen.clear();
            }
        }
        fn tick(&self, _: Time, _: &mut Outbox) {}
        fn next_deadline(&self) -> Option<Time> {
            None
        }
        fn finish(&self, _: Time, _: &mut Outbox) {}
    }
    // A tree: in a circle, what was forgotten would go round for ever.
    let scenario = Scenario { options: suggesting(TopologyKind::Tree), ..Challenge::Multi.scenario() };
    let (results, _) =
        virtual_time::run(&scenario, 1, |_| Forgetful(Flood::default())).expect("nodes behave");
    assert_eq!(results.valid, Valid::False);
    assert!(set_full(&results).lost_count > 0);
}

/// A node that says the same to everything, and nothing of its own accord: a name, the addressee's, and a body.
struct Parrot([&'static str; 3]);

impl Node for Parrot {
    type Scratch = ();
    fn handle(&self, _: Time, _: Line<'_>, (): &mut (), out: &mut Outbox) {
        let [src, dest, body] = self.0;
        out.send(src, dest, |text| text.extend(body.bytes()));
    }
    fn tick(&self, _: Time, _: &mut Outbox) {}
    fn next_deadline(&self) -> Option<Time> {
        None
    }
    fn finish(&self, _: Time, _: &mut Outbox) {}
}

#[test]
fn a_node_that_does_not_follow_the_protocol_is_named() {
    let scenario = Scenario { node_count: 1, ..Scenario::new(echo::KIND) };
    let fault = |says| virtual_time::run(&scenario, 1, |_| Parrot(says)).expect_err("a fault");
    for no_object in ["3", "hello", "", "{"] {
        assert!(
            matches!(fault(["n0", "c0", no_object]), Violation::NotMessage { node: 0, .. }),
            "{no_object}"
        );
    }
    assert!(
        matches!(fault(["n0", "n7", "{}"]), Violation::NoSuchNode { node: 0, field: "dest", name } if name == "n7")
    );
    assert!(matches!(fault(["n1", "c0", "{}"]), Violation::NoSuchNode { node: 0, field: "src", .. }));
    let extra = r#"{"type":"init_ok","in_reply_to":1,"node_ids":[]}"#;
    assert!(matches!(fault(["n0", "c0", extra]), Violation::Refused { node: 0, request: "init", .. }));
    let nameless = r#"{"type":"init_ok"}"#;
    assert!(
        matches!(fault(["n0", "c0", nameless]), Violation::NoInitOk { node: 0, instead: Some(what), .. } if what.contains("init_ok"))
    );
    let refuses = r#"{"type":"error","in_reply_to":1,"code":10}"#;
    assert!(matches!(fault(["n0", "c0", refuses]), Violation::Refused { node: 0, request: "init", .. }));
    let silent = virtual_time::run(&scenario, 1, |_| Mute).expect_err("a fault");
    assert!(matches!(silent, Violation::NoInitOk { node: 0, instead: None, .. }));
}

#[test]
fn a_line_that_is_no_message_is_told_with_what_may_be_meant() {
    let scenario = Scenario { node_count: 1, ..Scenario::new(echo::KIND) };
    let mut trial = Trial::new(&scenario, 1, Verbosity::default(), Time::ZERO);
    for (line, told) in [
        ("hello", "stderr"),
        (r#"{"src":"n0","dest":"c0","body":3}"#, "not an object"),
        (r#"["n0","c0",{}]"#, "an array"),
        ("\u{feff}{\"src\":\"n0\",\"dest\":\"c0\",\"body\":{}}", "byte order mark"),
        (r#"{"src":"n0"} {"src":"n0"}"#, "newline after each"),
        ("{", "line breaks"),
        ("starting up", "stderr"),
    ] {
        let violation = trial.receive(Time::ZERO, 0, line.as_bytes()).expect_err("no message");
        assert!(matches!(violation, Violation::NotMessage { node: 0, .. }), "{line}: {violation}");
        assert!(violation.to_string().contains(told), "{line}: {violation}");
    }
    let right = r#"{"src":"n0","dest":"c0","body":{}}"#;
    assert!(trial.receive(Time::ZERO, 0, right.as_bytes()).is_ok());
}

/// Says nothing.
struct Mute;

impl Node for Mute {
    type Scratch = ();
    fn handle(&self, _: Time, _: Line<'_>, (): &mut (), _: &mut Outbox) {}
    fn tick(&self, _: Time, _: &mut Outbox) {}
    fn next_deadline(&self) -> Option<Time> {
        None
    }
    fn finish(&self, _: Time, _: &mut Outbox) {}
}

#[test]
fn an_answer_with_a_field_that_maelstrom_would_reject_is_not_ok() {
    /// Answers `init` as it should and `echo` with one field too many.
    struct Chatty;
    impl Node for Chatty {
        type Scratch = ();
        fn handle(&self, _: Time, line: Line<'_>, (): &mut (), out: &mut Outbox) {
            let message: Json = serde_json::from_slice(line.bytes()).expect("JSON");
            let asked = &message["body"];
            let kind = asked["type"].as_str().expect("a type");
            let mut body = json!({ "type": format!("{kind}_ok"), "in_reply_to": asked["msg_id"] });
            if kind == "echo" {
                body["echo"] = asked["echo"].clone();
                body["extra"] = json!(1);
            }
            let dest = message["src"].as_str().expect("a name");
            out.send("n0", dest, |text| text.extend(body.to_string().bytes()));
        }
        fn tick(&self, _: Time, _: &mut Outbox) {}
        fn next_deadline(&self) -> Option<Time> {
            None
        }
        fn finish(&self, _: Time, _: &mut Outbox) {}
    }
    let scenario = Scenario { node_count: 1, time_limit: 2.0, ..Scenario::new(echo::KIND) };
    let (results, history) = virtual_time::run(&scenario, 1, |_| Chatty).expect("nodes behave");
    assert_eq!((results.valid, results.stats.all.ok_count), (Valid::False, 0));
    assert!(history.events().iter().any(|event| event.error.as_ref().is_some_and(|e| e.contains("extra"))));
}

#[test]
fn a_node_that_never_answers_leaves_operations_unknown_and_reads_failed() {
    /// Answers until clients begin.
    struct Mute(Simple);
    impl Node for Mute {
        type Scratch = ();
        fn handle(&self, now: Time, line: Line<'_>, (): &mut (), out: &mut Outbox) {
            let text = String::from_utf8_lossy(line.bytes()).into_owned();
            if text.contains("\"init\"") || text.contains("\"topology\"") {
                self.0.handle(now, line, &mut (), out);
            }
        }
        fn tick(&self, _: Time, _: &mut Outbox) {}
        fn next_deadline(&self) -> Option<Time> {
            None
        }
        fn finish(&self, _: Time, _: &mut Outbox) {}
    }
    let scenario = Scenario { time_limit: 20.0, ..Scenario::new(broadcast::KIND) };
    let mute = |index| Mute(Simple::new(Config::default(), index as u64));
    let (results, history) = virtual_time::run(&scenario, 1, mute).expect("nodes behave");
    let (broadcasts, reads) = (&results.stats.by_f["broadcast"], &results.stats.by_f["read"]);
    assert_eq!((broadcasts.ok_count, broadcasts.fail_count), (0, 0));
    assert_eq!((reads.ok_count, reads.info_count), (0, 0));
    assert!(broadcasts.info_count > 0 && reads.fail_count > 0);
    assert_eq!(results.valid, Valid::False);
    // One operation at a time, and a new client after each that is unknown.
    let waits = history.completed().map(|(invoked, done)| done.time.since(invoked.time).as_secs());
    assert!(waits.into_iter().all(|secs| secs == 5));
}

#[test]
fn nodes_that_never_fall_silent_are_told() {
    /// Answers as it should, and throws whatever another node says back at it.
    struct Echoing(Polite);
    impl Node for Echoing {
        type Scratch = ();
        fn handle(&self, now: Time, line: Line<'_>, (): &mut (), out: &mut Outbox) {
            let message: Json = serde_json::from_slice(line.bytes()).expect("JSON");
            let (me, other) = (&message["dest"], if message["dest"] == "n0" { "n1" } else { "n0" });
            if message["body"]["type"] == "init" || message["src"] == other {
                let me = me.as_str().expect("a name");
                out.send(me, other, |body| body.extend(br#"{"type":"ball"}"#));
            }
            if message["src"] != other {
                self.0.handle(now, line, &mut (), out);
            }
        }
        fn tick(&self, _: Time, _: &mut Outbox) {}
        fn next_deadline(&self) -> Option<Time> {
            None
        }
        fn finish(&self, _: Time, _: &mut Outbox) {}
    }
    let scenario =
        Scenario { node_count: 2, latency: 5.0, time_limit: 2.0, ..Scenario::new(broadcast::KIND) };
    let node = |_| Echoing(Polite(Arc::default()));
    let (results, _) = virtual_time::run(&scenario, 1, node).expect("nodes behave");
    let told = results.findings.iter().any(|finding| finding.what.contains("after the last request"));
    assert!(told, "{:?}", results.findings);
}

/// Faults of these kinds, often.
fn under(nemesis: &[FaultKind]) -> Scenario {
    Scenario {
        nemesis: nemesis.to_vec(),
        nemesis_interval: 2.0,
        rate: 50.0,
        latency: 20.0,
        concurrency: "5n".parse().expect("valid"),
        ..Scenario::new(broadcast::KIND)
    }
}

/// A new seed for each life.
fn lives<D: Design>(seed: u64) -> impl FnMut(usize) -> D {
    let mut made = 1000 * seed;
    move |_| {
        made += 1;
        D::make(&Config::default(), made)
    }
}

fn count(history: &History, f: &str) -> usize {
    history.events().iter().filter(|event| event.f == f).count()
}

#[test]
fn nothing_is_lost_but_what_died_when_nodes_are_killed_and_paused() {
    killed_and_paused::<LockFree>();
    killed_and_paused::<Simple>();
}

fn killed_and_paused<D: Design>() {
    use FaultKind::{Kill, Partition, Pause};
    let mut died = 0;
    for seed in 0..10 {
        let (results, history) = virtual_time::run(&under(&[Partition, Kill, Pause]), seed, lives::<D>(seed))
            .expect("nodes behave");
        let set = set_full(&results);
        assert_eq!((&*set.lost, results.valid), (&[][..], Valid::True), "seed {seed}");
        assert!(set.stable_count > 0 && count(&history, "start-partition") > 0);
        assert_eq!(count(&history, "kill"), count(&history, "restart"), "seed {seed}: all live again");
        assert_eq!(count(&history, "pause"), count(&history, "resume"), "seed {seed}");
        died += set.died_count;
        let reads = history.completed().filter(|(invoked, done)| invoked.f == "read" && done.error.is_none());
        let last: Vec<_> = reads.map(|(_, done)| history.values_shown(done.index)).collect();
        let last = &last[last.len() - under(&[]).workers()..];
        assert!(last.iter().all(|value| *value == last[0]), "seed {seed}: the final reads agree");
    }
    assert!(died > 0, "sometimes all are killed at once");
}

#[test]
fn the_schedule_of_a_kind_does_not_depend_on_the_others() {
    use FaultKind::{Kill, Partition, Pause};
    let steps = |kinds: &[FaultKind], f: &str| {
        let (_, history) = virtual_time::run(&under(kinds), 1, lives::<Simple>(1)).expect("nodes behave");
        // What is healed in the end is healed when the last client is done.
        let limit = Time::ZERO + under(kinds).time_limit();
        let events = history.events().iter().filter(|event| event.f == f && event.time < limit);
        events
            .map(|event| (event.time, serde_json::to_string(&event.value).expect("JSON")))
            .collect::<Vec<_>>()
    };
    for (kind, f) in [(Partition, "start-partition"), (Kill, "kill"), (Kill, "restart"), (Pause, "pause")] {
        let alone = steps(&[kind], f);
        assert!(alone.len() > 3, "{f}");
        assert_eq!(alone, steps(&[Pause, Kill, Partition], f), "{f}");
    }
}

/// Notes what each life of a node is told, and leaves the rest to the simple design.
struct Listening(Simple, Arc<std::sync::Mutex<Vec<Json>>>);

impl Node for Listening {
    type Scratch = ();
    fn handle(&self, now: Time, line: Line<'_>, (): &mut (), out: &mut Outbox) {
        let message: Json = serde_json::from_slice(line.bytes()).expect("JSON");
        self.1.lock().expect("no panic").push(message["body"].clone());
        self.0.handle(now, line, &mut (), out);
    }
    fn tick(&self, now: Time, out: &mut Outbox) {
        self.0.tick(now, out);
    }
    fn next_deadline(&self) -> Option<Time> {
        self.0.next_deadline()
    }
    fn finish(&self, _: Time, _: &mut Outbox) {}
}

#[test]
fn a_restarted_node_is_initialised_as_before_and_told_no_topology() {
    let scenario = under(&[FaultKind::Kill]);
    let (mut made, mut told) = (lives::<Simple>(1), Vec::new());
    let new_node = |index| {
        let heard = Arc::default();
        told.push((index, Arc::clone(&heard)));
        Listening(made(index), heard)
    };
    let (_, history) = virtual_time::run(&scenario, 1, new_node).expect("nodes behave");
    assert_eq!(told.len(), scenario.nodes() + count(&history, "kill"));
    let mut inits: Vec<Vec<Json>> = vec![Vec::new(); scenario.nodes()];
    for (life, (index, heard)) in told.iter().enumerate() {
        let heard = heard.lock().expect("no panic");
        let is = |kind: &'static str| heard.iter().filter(move |body| body["type"] == kind);
        assert_eq!(heard[0]["type"], "init", "before all else");
        assert_eq!((is("init").count(), is("topology").count() > 0), (1, life < scenario.nodes()));
        assert_eq!(heard[0]["node_id"], json!(format!("n{index}")));
        inits[*index].push(heard[0]["node_ids"].clone());
    }
    assert!(inits.iter().flatten().all(|node_ids| *node_ids == json!(["n0", "n1", "n2", "n3", "n4"])));
    assert!(inits.iter().any(|lives| lives.len() > 2));
}

#[test]
fn a_restarted_node_that_does_not_answer_init_is_named() {
    /// A life that is as it should be, or none, which is not.
    struct Sound(Option<Simple>);
    impl Node for Sound {
        type Scratch = ();
        fn handle(&self, now: Time, line: Line<'_>, (): &mut (), out: &mut Outbox) {
            if let Some(node) = &self.0 {
                node.handle(now, line, &mut (), out);
            }
        }
        fn tick(&self, now: Time, out: &mut Outbox) {
            self.0.iter().for_each(|node| node.tick(now, out));
        }
        fn next_deadline(&self) -> Option<Time> {
            self.0.as_ref()?.next_deadline()
        }
        fn finish(&self, _: Time, _: &mut Outbox) {}
    }
    let (mut new_life, mut made) = (lives::<Simple>(1), 0);
    let new_node = |index| {
        made += 1;
        Sound((made <= 5).then(|| new_life(index)))
    };
    // Killed once, for good.
    let scenario = Scenario { nemesis_interval: 30.0, ..under(&[FaultKind::Kill]) };
    let fault = virtual_time::run(&scenario, 1, new_node).expect_err("a fault");
    assert!(matches!(fault, Violation::NoInitOk { .. }), "{fault}");
}

/// Answers each request with the kind of answer that it wants, and counts those for `init`.
struct Polite(Arc<AtomicUsize>);

impl Node for Polite {
    type Scratch = ();

    fn handle(&self, _: Time, line: Line<'_>, (): &mut (), out: &mut Outbox) {
        let request: Json = serde_json::from_slice(line.bytes()).expect("JSON");
        let kind = request["body"]["type"].as_str().expect("a type");
        if kind == "init" {
            let node_ids = request["body"]["node_ids"].as_array().expect("names");
            assert!(node_ids.contains(&request["dest"]) && request["body"]["node_id"] == request["dest"]);
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        let mut body = json!({ "type": format!("{kind}_ok"), "in_reply_to": request["body"]["msg_id"] });
        if kind == "read" {
            body["messages"] = json!([]);
        }
        let name = |field: &str| request[field].as_str().expect("a name");
        out.send(name("dest"), name("src"), |text| text.extend(body.to_string().bytes()));
    }

    fn tick(&self, _: Time, _: &mut Outbox) {}

    fn next_deadline(&self) -> Option<Time> {
        None
    }

    fn finish(&self, _: Time, _: &mut Outbox) {}
}

#[test]
fn every_node_of_a_large_cluster_is_initialised_once_with_few_messages_under_way_at_a_time() {
    let scenario =
        Scenario { node_count: 1201, rate: 0.0, time_limit: 1.0, ..Scenario::new(broadcast::KIND) };
    let trial = Trial::new(&scenario, 1, Verbosity::default(), Time::ZERO);
    assert_eq!(trial.snapshot(Time::ZERO).in_flight, 500);
    let inits = Arc::default();
    let new_node = |_| Polite(Arc::clone(&inits));
    let (results, _) = virtual_time::run(&scenario, 1, new_node).expect("no fault");
    assert_eq!(inits.load(Ordering::Relaxed), 1201);
    assert_eq!(results.net.clients.send_count, 3 * 2 * 1201, "init, topology, a read, and their answers");
}
