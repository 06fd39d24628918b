//! Peers that lie, flood, repeat themselves or say nothing: they cost a bounded amount of memory and work, and
//! everybody else is served as before.

#![cfg(not(loom))]

mod common;
#[path = "common/process.rs"]
mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use common::{ALL, Broadcasts, Cluster, Design, UP, link, link_of, named, started};
use natter::cluster::scripted::Fate;
use natter::config::Config;
use natter::gossip::LockFree;
use natter::node::Inspect;
use natter::queue::SLOTS;
use natter::simple::Simple;
use process::{DESIGNS, Session, feed, init, request, stderr};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use serde_json::{Value as Json, json};

const NODES: usize = 5;

/// The last of the nodes is not what it should be. Nobody hears what it would say.
const LIAR: usize = NODES - 1;

/// From one value, and one round of lies, to the next.
const STEP: Duration = Duration::from_millis(50);

/// How many there are.
const STEPS: i64 = 200;

/// Makes up what the liar says next, knowing the incarnation of whom it says it to, and what was last sent to
/// itself.
type Lie = fn(&mut Pcg64, incarnation: u64, heard: &Json) -> Json;

fn number(rng: &mut Pcg64) -> u64 {
    // All orders of magnitude.
    rng.random::<u64>() >> rng.random_range(1..64)
}

/// What messages say of the link, true or not, by names.
fn fields(rng: &mut Pcg64, incarnation: u64) -> Json {
    json!({ "incarnation": 7, "at": number(rng), "to": incarnation, "ack": number(rng), "later": number(rng) & 0xffff_ffff })
}

const LIES: [(&str, Lie); 12] = [
    (
        "generations from the future",
        |rng, incarnation, _| json!({ "type": "delta", "generation": number(rng), "base": number(rng), "values": [1], "link": link(&fields(rng, incarnation)) }),
    ),
    ("acknowledgements that were never earned", |rng, incarnation, heard| {
        let generation = heard["generation"].as_u64().unwrap_or(0);
        let ack = generation.wrapping_add(number(rng)) >> 11;
        json!({ "type": "delta_ok", "generation": ack, "incarnation": incarnation, "link": link(&json!({ "incarnation": 7, "at": number(rng), "to": incarnation, "ack": ack })) })
    }),
    ("the same acknowledgement again and again", |_, incarnation, heard| {
        let generation = heard["generation"].as_u64().unwrap_or(0);
        json!({ "type": "delta_ok", "generation": generation, "incarnation": incarnation, "link": link(&json!({ "incarnation": 7, "at": 7, "to": incarnation, "ack": generation })) })
    }),
    ("values of wrong types", |rng, incarnation, _| {
        let wrong = [
            json!(null),
            json!("1"),
            json!(1.5),
            json!([[1]]),
            json!({ "a": 1 }),
            json!(u64::MAX),
            json!(-1),
        ];
        let mut pick = || wrong[rng.random_range(0..wrong.len())].clone();
        json!({
            "type": if incarnation % 2 == 0 { "delta" } else { "sync" },
            "generation": pick(), "base": pick(), "values": [pick(), pick()], "round": pick(), "ranges": pick(),
            "wants": [pick()], "link": link(&json!({ "incarnation": pick(), "at": pick(), "ack": pick(), "untold": [pick()], "flags": 16, "but": [pick()] })),
        })
    }),
    ("another incarnation with every message", |rng, incarnation, _| {
        let mut fields = fields(rng, incarnation);
        fields["incarnation"] = json!(1 + number(rng));
        json!({ "type": "delta", "generation": number(rng), "values": [1], "link": link(&fields) })
    }),
    ("a hub with a period of its own", |rng, incarnation, _| {
        let mut fields = fields(rng, incarnation);
        for field in ["next", "margin", "every", "far", "root"] {
            fields[field] = json!(number(rng));
        }
        json!({ "type": "delta", "generation": number(rng), "values": [], "link": link(&fields) })
    }),
    ("holdings that nobody has", |rng, incarnation, _| {
        let ranges: Vec<i64> = (0..40).map(|_| number(rng).cast_signed()).collect();
        json!({ "type": "sync", "round": 1 + number(rng), "ranges": ranges, "link": link(&fields(rng, incarnation)) })
    }),
    ("wishes for everything there is", |rng, incarnation, _| {
        let wants = [i64::MIN, i64::MAX, i64::MAX];
        json!({ "type": "sync", "round": 1 + number(rng), "wants": wants, "link": link(&fields(rng, incarnation)) })
    }),
    ("answers that nobody has asked for", |rng, incarnation, _| {
        let wants = [i64::MIN, i64::MAX, i64::MAX];
        json!({ "type": "sync", "round": number(rng), "answer": true, "wants": wants, "link": link(&fields(rng, incarnation)) })
    }),
    (
        "incarnations that nobody has asked for",
        |rng, incarnation, _| json!({ "type": "recall_ok", "by": number(rng), "incarnation": incarnation }),
    ),
    ("equality of others", |rng, incarnation, heard| {
        let (mut fields, heard) = (fields(rng, incarnation), named(&heard["link"]));
        // What the other one holds.
        for field in ["held", "sum", "known"] {
            heard.get(field).into_iter().for_each(|digest| fields[field] = digest.clone());
        }
        let kind = number(rng) % 3;
        fields["flags"] = json!(8 * kind);
        if kind == 2 {
            fields["but"] = (0..8).filter(|_| number(rng).is_multiple_of(2)).collect();
        }
        json!({ "type": "delta_ok", "link": link(&fields) })
    }),
    ("members that don't answer", |rng, incarnation, _| {
        let mut fields = fields(rng, incarnation);
        fields["untold"] = (0..40).map(|_| number(rng) % 8).collect();
        json!({ "type": "delta_ok", "link": link(&fields) })
    }),
];

/// What a run with a liar came to.
#[derive(Debug)]
struct Outcome {
    /// Messages that the others sent, to each other and to it.
    sent: usize,
    /// How many values they carried.
    carried: usize,
    /// Values that had not reached all the others in time.
    late: Vec<i64>,
}

/// Broadcasts values to all nodes but the last, which tells each of the others so many lies for each of them.
fn run<N: Design + Inspect>(lie: Option<Lie>, lies: usize) -> Outcome {
    let mut rng = Pcg64::seed_from_u64(1);
    let mut cluster = started::<N>(NODES, &Config::default());
    cluster.fate = Box::new(|message| if message.src == "n4" { Fate::Lose } else { Fate::Deliver });
    // Plans are made, and it is known that the last node doesn't answer.
    for value in 0..STEPS {
        cluster.broadcast(value as usize % LIAR, -1 - value);
        cluster.run_for(STEP);
    }
    let honest = |cluster: &Cluster<N>| cluster.sent.iter().filter(|message| message.src != "n4").count();
    let before = honest(&cluster);
    // A little more than the budget, as the value of the last step has just come; the simple design has a hop
    // less.
    let in_time = Config::default().latency_budget + STEP;
    let (mut late, mut answers, mut values_answered) = (BTreeSet::new(), 0, 0);
    for value in 1..=STEPS {
        cluster.broadcast(value as usize % LIAR, value);
        for index in 0..LIAR * lies {
            let (dest, index) = (index % LIAR, cluster.sent.len());
            let name = format!("n{dest}");
            let heard = cluster.sent[..index]
                .iter()
                .rev()
                .find(|message| message.src == name && message.dest == "n4");
            let heard = heard.map_or(Json::Null, |message| message.body.clone());
            let incarnation =
                named(&heard["link"])["incarnation"].as_u64().or(heard["incarnation"].as_u64()).unwrap_or(0);
            if let Some(lie) = lie {
                for answer in cluster.tell(dest, "n4", lie(&mut rng, incarnation, &heard)) {
                    answers += 1;
                    values_answered += answer["values"].as_array().map_or(0, Vec::len);
                }
            }
        }
        cluster.run_for(STEP);
        let due = value - i64::try_from(in_time.as_millis() / STEP.as_millis()).expect("few");
        if due > 0 && !cluster.nodes[..LIAR].iter().all(|node| node.holds(due)) {
            late.insert(due);
        }
    }
    let sent = honest(&cluster) - before + answers;
    let carried = cluster.sent[cluster.sent.len() - (sent - answers)..].iter();
    let carried: usize = carried.filter_map(|message| message.body["values"].as_array()).map(Vec::len).sum();
    cluster.run_for_secs(5);
    for node in &cluster.nodes[..LIAR] {
        node.audit(cluster.now).expect("its structures are in order");
        assert!((1..=STEPS).all(|value| node.holds(value) && node.holds(-value)));
    }
    Outcome { sent, carried: carried + values_answered, late: late.into_iter().collect() }
}

fn lies_cost_little_and_delay_nobody<N: Design + Inspect>() {
    let quiet = run::<N>(None, 0);
    assert!(quiet.late.is_empty(), "{quiet:?} without any lies");
    for (what, lie) in LIES {
        let lies = 3;
        let outcome = run::<N>(Some(lie), lies);
        assert!(outcome.late.is_empty(), "{what}: {:?} are late", outcome.late);
        let told = STEPS as usize * LIAR * lies;
        let more = outcome.sent.saturating_sub(quiet.sent);
        assert!(more <= 2 * told, "{what}: {more} messages for {told} lies");
        let more = outcome.carried.saturating_sub(quiet.carried);
        assert!(more <= 64 * told, "{what}: {more} values for {told} lies");
    }
}

#[test]
fn lies_cost_little_and_delay_nobody_in_the_lock_free_design() {
    lies_cost_little_and_delay_nobody::<LockFree>();
}

#[test]
fn lies_cost_little_and_delay_nobody_in_the_simple_design() {
    lies_cost_little_and_delay_nobody::<Simple>();
}

#[test]
fn a_hub_that_lies_about_its_period_keeps_nothing_from_anybody() {
    for made_up in [0, 1, 1_000_000, 3_600_000_000, i64::MAX] {
        let mut cluster = started::<LockFree>(NODES, &Config::default());
        cluster.forge = Box::new(move |message| {
            let mut fields = link_of(message);
            if message.src == "n0" && fields.is_object() {
                for field in ["next", "margin", "every", "far"] {
                    fields[field] = json!(made_up);
                }
                message.body["link"] = link(&fields);
            }
        });
        for value in 1..=STEPS {
            cluster.broadcast(value as usize % NODES, value);
            cluster.run_for(STEP);
        }
        // Its leaves wait for a flush that doesn't come when they think, and it flushes when it does.
        cluster.run_for(4 * Config::default().latency_budget);
        assert!(cluster.all_hold(&Vec::from_iter(1..=STEPS)), "{made_up}");
        let per_value = cluster.sent.len() as f64 / STEPS as f64;
        assert!(per_value < 12.0, "{made_up}: {per_value} messages a value");
    }
}

#[test]
fn a_hub_that_lies_about_its_holdings_keeps_values_only_while_it_lies() {
    let mut cluster = started::<LockFree>(NODES, &Config::default());
    cluster.fate = Box::new(|message| if message.src == "n0" { Fate::Lose } else { Fate::Deliver });
    (1..=1000).for_each(|value| cluster.broadcast(value as usize % NODES, value));
    cluster.run_for_secs(5);
    cluster.fate = Box::new(|_| Fate::Deliver);
    cluster.forge = Box::new(|message| {
        // Every fourth number is a fingerprint.
        let ranges = message.body["ranges"].as_array_mut().filter(|_| message.src == "n0");
        for fingerprint in ranges.into_iter().flatten().skip(3).step_by(4) {
            *fingerprint = json!(fingerprint.as_i64().map_or(0, |one| one ^ 1));
        }
    });
    let before = cluster.sent.len();
    cluster.run_for_secs(20);
    let sent = cluster.sent.len() - before;
    assert!(sent < 20 * 100, "{sent} messages in 20 s about sets that are never equal");
    cluster.forge = Box::new(|_| {});
    cluster.run_for_secs(5);
    assert!(cluster.all_hold(&Vec::from_iter(1..=1000)));
}

#[test]
fn a_peer_that_reads_nothing_is_sent_32_batches_and_then_left_alone() {
    let mut cluster = started::<LockFree>(2, &Config { queue_limit: 5000, ..Config::default() });
    // It is known to answer.
    cluster.broadcast(0, 0);
    cluster.run_for_secs(5);
    cluster.fate = Box::new(|message| if message.dest == "n1" { Fate::Lose } else { Fate::Deliver });
    let before = cluster.sent.len();
    for value in 1..=20_000 {
        cluster.broadcast(0, value);
        if value % 1000 == 0 {
            cluster.run_for(Duration::from_millis(400));
            cluster.nodes[0].audit(cluster.now).expect("its queue keeps its limit");
        }
    }
    cluster.run_for_secs(60);
    let to_it = cluster.sent[before..].iter().filter(|message| message.dest == "n1");
    let mut batches = BTreeMap::<u64, usize>::new();
    for generation in to_it.clone().filter_map(|message| message.body["generation"].as_u64()) {
        *batches.entry(generation).or_default() += 1;
    }
    assert_eq!(batches.len(), SLOTS, "no more are ever in flight");
    assert!(batches.values().all(|&times| times <= 2), "{batches:?}");
    // A minute of tries, at most one in 300 ms.
    let tries = to_it.filter(|message| message.is("sync"));
    let carried: Vec<usize> =
        tries.map(|message| message.body["values"].as_array().map_or(0, Vec::len)).collect();
    assert!(carried.len() <= 200 && carried.iter().all(|&values| values <= 64), "{carried:?}");
    cluster.fate = Box::new(|_| Fate::Deliver);
    cluster.run_for_secs(10);
    assert!(cluster.all_hold(&Vec::from_iter(0..=20_000)));
}

fn an_error_is_answered_by_none<N: Design>() {
    let mut cluster = started::<N>(2, &Config::default());
    for body in [
        json!({ "type": "foo" }),
        json!({ "type": "error" }),
        json!({ "type": "delta", "generation": -1, "values": [] }),
        json!({ "type": "sync", "round": 1 }),
    ] {
        for answer in cluster.tell(0, "n1", body) {
            assert_eq!(answer["type"], "error");
            assert_eq!(cluster.tell(1, "n0", answer), [] as [Json; 0]);
        }
    }
}

#[test]
fn an_error_is_answered_by_none_in_either_design() {
    an_error_is_answered_by_none::<LockFree>();
    an_error_is_answered_by_none::<Simple>();
}

#[test]
fn who_promises_much_and_brings_nothing_does_not_keep_a_node_from_being_repaired() {
    let mut cluster = started::<LockFree>(3, &Config::default());
    cluster.fate = Box::new(|_| Fate::Lose);
    (1..=5000).for_each(|value| cluster.broadcast(1, value));
    cluster.run_for_secs(5);
    cluster.fate =
        Box::new(
            |message| {
                if message.src == "n2" || message.dest == "n2" { Fate::Lose } else { Fate::Deliver }
            },
        );
    for lie in 0..100 {
        let ranges = [i64::MIN, -1, 1_000_000_000_000_000, 1];
        let link = link(&json!({ "incarnation": 7, "at": 1 + lie }));
        let round = if lie % 2 == 0 { 77 } else { 1000 + lie };
        cluster.tell(0, "n2", json!({ "type": "sync", "round": round, "ranges": ranges, "link": link }));
        // Not brought by who promised it.
        cluster.broadcast(0, 1_000_000 + lie);
        cluster.run_for(Duration::from_millis(100));
    }
    // It has been repaired while the lies went on.
    assert_eq!(cluster.nodes[0].held(), 5000 + 100);
    cluster.run_for_secs(1);
    assert_eq!(cluster.nodes[1].held(), 5000 + 100);
}

#[test]
fn who_asks_for_one_comparison_after_another_gets_its_share() {
    let mut cluster = started::<LockFree>(3, &Config::default());
    cluster.fate = Box::new(|_| Fate::Lose);
    // Far apart.
    let values = Vec::from_iter((0..100_000).map(|value| 1000 * value));
    cluster.tell(0, "n2", json!({ "type": "delta", "generation": 1, "values": values }));
    let mut asked = 0;
    let mut ask = |cluster: &mut Cluster<LockFree>, peer| {
        asked += 1;
        let ranges = [i64::MIN, i64::MAX, 0, 0];
        let link = link(&json!({ "incarnation": 7, "at": asked }));
        let sync = json!({ "type": "sync", "round": asked, "ranges": ranges, "link": link });
        cluster.tell(0, peer, sync);
        let before = cluster.sent.len();
        cluster.run_for(Duration::ZERO);
        let answers = cluster.sent[before..].iter().filter(|message| message.dest == peer);
        answers.filter(|message| message.is("sync") && message.body["answer"] == true).count()
    };
    let answered: usize = (0..1000).map(|_| ask(&mut cluster, "n2")).sum();
    assert!((1..=9).contains(&answered), "{answered} answers at once");
    assert_eq!(ask(&mut cluster, "n1"), 1, "nobody else waits for that");
    // To compare so many is reckoned to take 5 ms, and it gets a quarter of the time, but for comparisons that the
    // node begins itself.
    let mut later = 0;
    for _ in 0..100 {
        cluster.run_for(Duration::from_millis(10));
        later += ask(&mut cluster, "n2");
    }
    assert!((10..=52).contains(&later), "{later} answers in a second");
}

#[test]
fn lives_that_are_made_up_cost_a_comparison_now_and_then() {
    let mut cluster = started::<LockFree>(NODES, &Config::default());
    (1..=1000).for_each(|value| cluster.broadcast(0, value));
    cluster.run_for_secs(5);
    let before = cluster.sent.len();
    for incarnation in 1..=1000 {
        let link = link(&json!({ "incarnation": incarnation, "at": incarnation, "flags": UP }));
        cluster.tell(0, "n4", json!({ "type": "delta_ok", "link": link }));
        cluster.run_for(Duration::from_millis(10));
    }
    let syncs = cluster.sent[before..].iter().filter(|message| message.is("sync") && message.src == "n0");
    let (to_liar, to_others): (Vec<_>, Vec<_>) = syncs.partition(|message| message.dest == "n4");
    // One for each round trip, at most, in ten seconds: a comparison that is due while one is under way begins
    // when that ends.
    assert!((2..=60).contains(&to_liar.len()), "{} to the liar", to_liar.len());
    assert!(to_others.len() <= 3 * 60, "{} to the others", to_others.len());
}

#[test]
fn values_that_a_liar_has_guessed_travel_on_when_a_client_broadcasts_them() {
    for told in [0, 1] {
        let mut cluster = started::<LockFree>(NODES, &Config::default());
        let values = Vec::from_iter(1..=1000);
        let link = link(&json!({ "incarnation": 7, "at": 1, "flags": ALL }));
        let lie = json!({ "type": "delta", "generation": 1, "values": values, "link": link });
        cluster.tell(told, "n4", lie);
        cluster.broadcast(1, 7);
        cluster.run_for_secs(2);
        assert!(cluster.nodes[..LIAR].iter().all(|node| node.holds(7)), "told to n{told}");
    }
}

// As processes.

#[test]
#[cfg(target_os = "linux")]
fn a_node_whose_log_nobody_reads_serves_on() {
    for design in DESIGNS {
        let mut node = Session::start(design, &[]);
        let log = node.child.stderr.as_ref().expect("piped");
        rustix::pipe::fcntl_setpipe_size(log, 4096).expect("a smaller pipe");
        node.send(&init(&["n0", "n1"]));
        // More than the pipe takes, within what is printed in a second.
        let nonsense = request(&"c".repeat(1000), &json!({ "type": "x".repeat(1000) }));
        node.send(&nonsense.repeat(100));
        is_served(&mut node, 2);
        let (output, _) = node.end();
        assert_eq!(output.status.code(), Some(0), "{design}");
        assert!(!output.stderr.is_empty(), "{design}");
    }
}

/// Asks for an echo, and waits for it.
fn is_served(node: &mut Session, msg_id: i64) {
    node.send(&request("c1", &json!({ "type": "echo", "msg_id": msg_id, "echo": "still there" })));
    while node.receive()["body"] != json!({ "type": "echo_ok", "in_reply_to": msg_id, "echo": "still there" })
    {
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_delta_of_a_million_values_is_taken_up_in_little_more_memory_than_they_need() {
    for (design, most) in [("lock-free", 160), ("simple", 320)] {
        let mut node = Session::start(design, &[]);
        // The other peers are silent: what waits for them is bounded, too.
        node.send(&init(&["n0", "n1", "n2", "n3"]));
        let values = Vec::from_iter(0..1_000_000);
        node.send(&request("n1", &json!({ "type": "delta", "generation": 1, "values": values })));
        is_served(&mut node, 2);
        let peak = process::peak_kib(&node.child) >> 10;
        assert!(peak < most, "{design}: {peak} MiB");
        node.send(&request("c1", &json!({ "type": "read", "msg_id": 3 })));
        let shown =
            std::iter::repeat_with(|| node.receive()).find(|message| message["body"]["type"] == "read_ok");
        assert_eq!(
            shown.expect("an answer")["body"]["messages"].as_array().expect("values").len(),
            1_000_000
        );
        node.child.kill().expect("it runs");
        node.child.wait().expect("it ends");
    }
}

#[test]
fn a_delta_nested_a_thousand_deep_and_more_is_skipped_or_harmless() {
    for design in DESIGNS {
        let mut input = init(&["n0", "n1"]);
        for depth in [1000, 1024, 10_000, 5_000_000] {
            let values = "[".repeat(depth) + &"]".repeat(depth);
            for kind in ["delta", "sync", "delta_ok"] {
                let body = format!(
                    r#"{{"type":"{kind}","generation":1,"round":1,"values":{values},"link":{values}}}"#
                );
                input += &format!("{{\"src\":\"n1\",\"dest\":\"n0\",\"body\":{body}}}\n");
            }
        }
        input += &request("c1", &json!({ "type": "read", "msg_id": 2 }));
        let output = feed(design, &[], input.as_bytes());
        assert_eq!(output.status.code(), Some(0), "{design}: {}", stderr(&output));
        let bodies = process::bodies(&output);
        assert_eq!(process::replies_to(&bodies, 2)[0]["messages"], json!([]), "{design}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what is limited is a rate")]
fn a_flood_from_one_peer_is_logged_at_a_limited_rate_and_everybody_else_is_served() {
    const FLOOD: usize = 50_000;
    let lines = [
        request("n1", &json!({ "type": "delta", "generation": "x", "values": [1] })),
        request("n1", &json!({ "type": "sync", "round": -1 })),
        request("n1", &json!({ "type": "error", "in_reply_to": 1, "code": 13 })),
        "{\"src\":\"n1\",\"dest\":\"n0\",\"body\":\n".to_owned(),
    ];
    for design in DESIGNS {
        let began = Instant::now();
        let mut input = init(&["n0", "n1"]);
        for round in 0..FLOOD / lines.len() {
            lines.iter().for_each(|line| input += line);
            if round % 1000 == 0 {
                input += &request("c1", &json!({ "type": "echo", "msg_id": 2, "echo": round }));
            }
        }
        let output = feed(design, &[], input.as_bytes());
        let seconds = began.elapsed().as_secs() as usize + 2;
        assert_eq!(output.status.code(), Some(0));
        let bodies = process::bodies(&output);
        assert_eq!(process::replies_to(&bodies, 2).len(), (FLOOD / lines.len()).div_ceil(1000), "{design}");
        let log = stderr(&output);
        assert!(
            (20..=20 * seconds).contains(&log.lines().count()),
            "{design}: {} lines",
            log.lines().count()
        );
    }
}
