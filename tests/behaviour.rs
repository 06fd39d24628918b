//! What both designs must do, whatever the network does to them.

#![cfg(not(loom))]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{Broadcasts, fresh, initialised, started};
use natter::cluster::scripted::{Fate, LATENCY, Message};
use natter::config::{Config, RetryPolicy};
use natter::gossip::LockFree;
use natter::protocol::BATCH_MAX;
use natter::queue::SLOTS;
use natter::simple::Simple;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use serde_json::{Value as Json, json};

const NOTHING: [i64; 0] = [];

fn config() -> Config {
    Config::default()
}

fn range(values: std::ops::Range<i64>) -> Vec<i64> {
    values.collect()
}

fn deltas(messages: &[Message]) -> usize {
    messages.iter().filter(|message| message.is("delta")).count()
}

both_designs! {
    fn a_value_reaches_every_node<D>() {
        let mut cluster = started::<D>(5, &config());
        for value in 0..20 {
            cluster.broadcast(value as usize % 5, value);
            cluster.run_for(Duration::from_millis(37));
        }
        cluster.run_for_secs(3);
        assert!(cluster.all_hold(&range(0..20)));
    }

    fn a_value_is_shown_where_it_was_acknowledged_at_once<D>() {
        let mut cluster = started::<D>(3, &config());
        cluster.broadcast(1, 7);
        assert_eq!(cluster.read(1), [7]);
    }

    fn minus_zero_is_the_integer_zero<D>() {
        let mut cluster = started::<D>(2, &config());
        for (body, reply) in [
            (r#"{ "type": "broadcast", "msg_id": -0, "message": -0 }"#, "broadcast_ok"),
            (r#"{ "type": "delta", "generation": -0, "values": [1, -0] }"#, "delta_ok"),
        ] {
            let line = format!(r#"{{ "src": "c1", "dest": "n0", "body": {body} }}"#);
            let answers = cluster.line(0, line.as_bytes());
            assert_eq!(answers.len(), 1, "{body}");
            assert_eq!(answers[0].body["type"], reply, "{body}");
            assert_eq!(answers[0].body.get("in_reply_to").unwrap_or(&json!(0)), &json!(0), "{body}");
        }
        assert_eq!(cluster.read(0), [0, 1]);
        cluster.run_for_secs(3);
        assert_eq!(cluster.read(1), [0, 1]);
    }

    fn a_repeated_broadcast_is_acknowledged_and_spread_once<D>() {
        let mut cluster = started::<D>(3, &config());
        cluster.broadcast(1, 7);
        cluster.run_for_secs(3);
        let sent = cluster.sent.len();
        cluster.broadcast(1, 7);
        cluster.broadcast(2, 7);
        cluster.run_for_secs(60);
        assert_eq!(cluster.sent.len(), sent);
        assert!(cluster.all_hold(&[7]));
    }

    fn the_network_falls_silent_when_everything_is_acknowledged<D>() {
        let mut cluster = started::<D>(5, &config());
        (0..50).for_each(|value| cluster.broadcast(value as usize % 5, value));
        cluster.run_for_secs(10);
        let sent = cluster.sent.len();
        cluster.run_for_secs(3600);
        assert_eq!(cluster.sent.len(), sent);
        assert!(cluster.all_hold(&range(0..50)));
    }

    fn what_is_lost_is_sent_until_it_arrives<D>() {
        let mut cluster = started::<D>(2, &config());
        cluster.fate = Box::new(|message| if message.is("delta") { Fate::Lose } else { Fate::Deliver });
        cluster.broadcast(1, 7);
        cluster.run_for_secs(600);
        assert_eq!(cluster.read(0), NOTHING);
        // At least one attempt for each longest interval, with the value or with a fingerprint of it.
        let attempts = cluster.sent.iter().filter(|message| message.src == "n1").count();
        assert!(attempts >= 600 / 5, "{attempts} attempts");
        cluster.fate = Box::new(|_| Fate::Deliver);
        cluster.run_for_secs(12);
        assert_eq!(cluster.read(0), [7]);
    }

    fn half_of_all_messages_may_be_lost<D>() {
        let mut cluster = started::<D>(5, &config());
        let mut rng = Pcg64::seed_from_u64(1);
        cluster.fate = Box::new(move |_| if rng.random() { Fate::Lose } else { Fate::Deliver });
        for value in 0..100 {
            cluster.broadcast(value as usize % 5, value);
            cluster.run_for(Duration::from_millis(10));
        }
        cluster.run_for_secs(60);
        assert!(cluster.all_hold(&range(0..100)));
    }

    fn a_lost_acknowledgement_costs_a_repetition_and_nothing_else<D>() {
        let mut cluster = started::<D>(2, &config());
        let mut lost = false;
        cluster.fate = Box::new(move |message| {
            if message.is("delta_ok") && !std::mem::replace(&mut lost, true) { Fate::Lose } else { Fate::Deliver }
        });
        cluster.broadcast(1, 7);
        cluster.run_for_secs(60);
        assert_eq!(deltas(&cluster.sent), 2);
        let reply = cluster.ask(0, json!({ "type": "read" }));
        assert_eq!(reply["messages"], json!([7]), "shown once");
    }

    fn messages_may_arrive_twice<D>() {
        let mut cluster = started::<D>(5, &config());
        cluster.fate = Box::new(|_| Fate::Repeat);
        (0..100).for_each(|value| cluster.broadcast(value as usize % 5, value));
        cluster.run_for_secs(30);
        assert!(cluster.all_hold(&range(0..100)));
    }

    fn an_acknowledgement_that_was_never_earned_changes_nothing<D>() {
        let mut cluster = started::<D>(2, &config());
        cluster.fate = Box::new(|message| if message.is("delta") { Fate::Lose } else { Fate::Deliver });
        cluster.broadcast(1, 7);
        cluster.run_for_secs(1);
        let generation = cluster.sent[0].body["generation"].as_i64().expect("a generation");
        for forged in [0, 1, generation - 1, generation + 1, generation + 8, i64::MAX] {
            assert!(cluster.tell(1, "n0", json!({ "type": "delta_ok", "generation": forged })).is_empty());
        }
        // Nor does the right one from a stranger.
        assert!(cluster.tell(1, "n9", json!({ "type": "delta_ok", "generation": generation })).is_empty());
        cluster.fate = Box::new(|_| Fate::Deliver);
        cluster.run_for_secs(3);
        assert_eq!(cluster.read(0), [7]);
    }

    fn a_delta_from_a_stranger_is_applied_acknowledged_and_spread<D>() {
        let mut cluster = started::<D>(3, &config());
        let answers = cluster.tell(0, "n9", json!({ "type": "delta", "generation": 5, "values": [1, 2] }));
        assert_eq!(answers, [json!({ "type": "delta_ok", "generation": 5 })]);
        cluster.run_for_secs(3);
        assert!(cluster.all_hold(&[1, 2]));
    }

    fn a_delta_with_a_message_id_is_answered_as_a_reply<D>() {
        let mut cluster = started::<D>(2, &config());
        let body = json!({ "type": "delta", "msg_id": 3, "generation": 5, "values": [] });
        let answers = cluster.tell(0, "n1", body);
        assert_eq!(answers, [json!({ "type": "delta_ok", "in_reply_to": 3, "generation": 5 })]);
    }

    fn a_delta_may_be_larger_than_a_batch<D>() {
        let mut cluster = started::<D>(3, &config());
        let values = range(0..1000);
        cluster.tell(0, "n1", json!({ "type": "delta", "generation": 5, "values": values }));
        cluster.run_for_secs(10);
        assert_eq!(cluster.read(2), values);
    }

    fn a_burst_travels_in_batches_of_at_most_64<D>() {
        let mut cluster = started::<D>(3, &config());
        (0..1000).for_each(|value| cluster.broadcast(1, value));
        cluster.run_for_secs(20);
        assert!(cluster.all_hold(&range(0..1000)));
        let sizes = cluster.sent.iter().filter_map(|message| Some(message.body["values"].as_array()?.len()));
        assert_eq!(sizes.max(), Some(BATCH_MAX));
    }

    fn smaller_batches_can_be_asked_for<D>() {
        let mut cluster = started::<D>(2, &Config { batch_max: 3, ..config() });
        (0..20).for_each(|value| cluster.broadcast(1, value));
        cluster.run_for_secs(20);
        assert!(cluster.all_hold(&range(0..20)));
        let sizes = cluster.sent.iter().filter_map(|message| Some(message.body["values"].as_array()?.len()));
        assert_eq!(sizes.max(), Some(3));
    }

    fn nothing_is_sent_before_the_topology_or_the_grace<D>() {
        let mut cluster = initialised::<D>(3, &config());
        cluster.broadcast(1, 7);
        cluster.run_for(config().start_grace - Duration::from_millis(1));
        assert_eq!(cluster.sent.len(), 0);
        cluster.run_for_secs(3);
        assert!(cluster.all_hold(&[7]), "but it starts all the same");
    }

    fn a_message_from_a_peer_starts_a_node_without_topology<D>() {
        let mut cluster = initialised::<D>(2, &Config { start_grace: Duration::from_secs(3600), ..config() });
        cluster.broadcast(1, 7);
        cluster.run_for_secs(10);
        assert_eq!(cluster.sent.len(), 0);
        cluster.tell(1, "n0", json!({ "type": "delta", "generation": 1, "values": [] }));
        cluster.run_for_secs(3);
        assert_eq!(cluster.read(0), [7]);
    }

    fn a_silent_peer_costs_little_and_recovers_by_itself<D>() {
        let retry = RetryPolicy { min: Duration::from_millis(500), max: Duration::from_secs(2) };
        let mut cluster = started::<D>(3, &Config { retry, ..config() });
        let cut = |message: &Message| message.src == "n2" || message.dest == "n2";
        cluster.fate = Box::new(move |message| if cut(message) { Fate::Lose } else { Fate::Deliver });
        for value in 0..600 {
            cluster.broadcast(0, value);
            cluster.run_for(Duration::from_millis(100));
        }
        let wasted = cluster.sent.iter().filter(|message| cut(message)).count();
        // It and those who send to it may try three times a second.
        assert!(wasted <= 3 * 3 * 60, "{wasted} messages to and from a peer that was away for a minute");
        cluster.run_for_secs(1);
        assert_eq!(cluster.read(1).len(), 600, "others are served meanwhile");
        cluster.fate = Box::new(|_| Fate::Deliver);
        cluster.run_for_secs(8);
        assert!(cluster.all_hold(&range(0..600)));
    }

    fn a_peer_that_fell_too_far_behind_is_told_everything_anew<D>() {
        let mut cluster = started::<D>(3, &Config { queue_limit: 10, ..config() });
        cluster.fate = Box::new(|message| if message.dest == "n2" { Fate::Lose } else { Fate::Deliver });
        for value in 0..500 {
            cluster.broadcast(0, value);
            cluster.run_for(Duration::from_millis(20));
        }
        cluster.fate = Box::new(|_| Fate::Deliver);
        cluster.run_for_secs(30);
        assert!(cluster.all_hold(&range(0..500)));
    }

    fn a_burst_beyond_the_queues_limit_arrives_all_the_same<D>() {
        // As many as there are slots, so that the queue is empty when the first flush ends.
        let an_hour = Duration::from_secs(3600);
        let retry = RetryPolicy { min: an_hour, max: an_hour };
        let limits = Config { queue_limit: SLOTS, batch_max: 1, retry, ..config() };
        let mut cluster = started::<D>(3, &limits);
        (0..15).for_each(|value| cluster.broadcast(1, value));
        cluster.run_for_secs(10);
        assert!(cluster.all_hold(&range(0..15)));
    }

    fn a_node_that_ends_sends_what_was_waiting<D>() {
        let mut cluster = started::<D>(2, &config());
        (0..100).for_each(|value| cluster.broadcast(1, value));
        let last_words = cluster.finish(1);
        let said: BTreeSet<i64> = last_words
            .iter()
            .filter(|message| message.is("delta") && message.dest == "n0")
            .flat_map(|message| serde_json::from_value::<Vec<i64>>(message.body["values"].clone()).expect("values"))
            .collect();
        assert_eq!(said.into_iter().collect::<Vec<_>>(), range(0..100));
        assert!(cluster.finish(1).is_empty(), "once");
    }

    fn ids_differ_within_a_life_between_lives_and_between_nodes<D>() {
        let mut ids = BTreeSet::new();
        for incarnation in 0..3 {
            let mut cluster = fresh::<D>(2, &config());
            cluster.nodes = vec![D::make(&config(), 100 + incarnation), D::make(&config(), 200 + incarnation)];
            for index in [0, 1] {
                cluster.init(index);
                for _ in 0..100 {
                    let reply = cluster.ask(index, json!({ "type": "generate" }));
                    assert_eq!(reply["type"], "generate_ok");
                    assert!(ids.insert(reply["id"].as_str().expect("a string").to_owned()));
                }
            }
        }
        assert_eq!(ids.len(), 600);
    }

    fn bad_requests_get_the_code_they_should_and_name_the_field<D>() {
        let mut cluster = initialised::<D>(1, &config());
        for (body, code, named) in [
            (json!({ "type": "txn" }), 10, "txn"),
            (json!({ "type": "broadcast" }), 12, "message"),
            (json!({ "type": "broadcast", "message": "7" }), 12, "message"),
            (json!({ "type": "broadcast", "message": 7.5 }), 12, "message"),
            (json!({ "type": "broadcast", "message": 9_223_372_036_854_775_808_u64 }), 12, "message"),
            (json!({ "type": "broadcast", "message": [7] }), 12, "message"),
            (json!({ "type": "echo" }), 12, "echo"),
            (json!({ "type": "topology" }), 12, "topology"),
            (json!({ "type": "topology", "topology": { "n0": "n1" } }), 12, "topology"),
            (json!({ "type": "init", "node_id": "n0", "node_ids": ["n0"] }), 12, "init"),
            (json!({ "type": "init", "node_id": 3, "node_ids": ["n0"] }), 12, "node_id"),
            (json!({ "type": "init", "node_id": "n0", "node_ids": "n0" }), 12, "node_ids"),
            (json!({ "type": "init", "node_id": "n0", "node_ids": ["n1"] }), 12, "node_ids"),
            (json!({ "type": "delta", "values": [1] }), 12, "generation"),
            (json!({ "type": "delta", "generation": -1, "values": [1] }), 12, "generation"),
            (json!({ "type": "delta", "generation": 1, "values": [1, "x"] }), 12, "values"),
            (json!({ "type": 5 }), 12, "type"),
            (json!({}), 12, "type"),
        ] {
            let reply = cluster.ask(0, body.clone());
            assert_eq!((&reply["type"], &reply["code"]), (&json!("error"), &json!(code)), "{body}: {reply}");
            assert!(reply["text"].as_str().expect("a text").contains(named), "{body}: {reply}");
        }
        assert_eq!(cluster.read(0), NOTHING, "nothing of it was taken");
    }

    fn an_integer_of_any_length_is_refused_by_name<D>() {
        let mut cluster = initialised::<D>(1, &config());
        for number in ["9223372036854775808", "-9223372036854775809", "99999999999999999999", "-1e30"] {
            let body = format!(r#"{{"type":"broadcast","msg_id":7,"message":{number}}}"#);
            let line = format!(r#"{{"src":"c1","dest":"n0","body":{body}}}"#);
            let reply = cluster.line(0, line.as_bytes()).remove(0).body;
            assert_eq!((&reply["code"], &reply["in_reply_to"]), (&json!(12), &json!(7)), "{number}");
            assert!(reply["text"].as_str().expect("a text").contains("message"), "{number}");
        }
    }

    fn a_peer_that_answers_nonsense_gets_no_more_than_its_retries<D>() {
        let mut cluster = started::<D>(2, &config());
        cluster.fate = Box::new(|_| Fate::Lose);
        cluster.broadcast(1, 7);
        for _ in 0..600 {
            cluster.run_for(Duration::from_millis(100));
            for body in [
                json!({ "type": "error", "in_reply_to": 1, "code": 10 }),
                json!({ "type": "delta_ok", "generation": 3 }),
                json!({ "type": "delta", "generation": 3, "values": [] }),
            ] {
                cluster.tell(1, "n0", body);
            }
        }
        // A minute: one for each retransmission timeout at the very most, of three times the latency, and that
        // only because its deltas shows that it lives.
        assert!(deltas(&cluster.sent) <= 200, "{} deltas", deltas(&cluster.sent));
    }

    fn a_peer_told_everything_anew_is_told_once_while_values_keep_coming<D>() {
        let mut cluster = started::<D>(2, &Config { queue_limit: 10, ..config() });
        cluster.fate = Box::new(|message| if message.dest == "n0" { Fate::Lose } else { Fate::Deliver });
        (0..1000).for_each(|value| cluster.broadcast(1, value));
        cluster.run_for_secs(5);
        cluster.fate = Box::new(|_| Fate::Deliver);
        cluster.sent.clear();
        for value in 1000..1400 {
            cluster.broadcast(1, value);
            cluster.run_for(Duration::from_millis(50));
        }
        let carried: usize = cluster.sent.iter().filter_map(|m| Some(m.body["values"].as_array()?.len())).sum();
        assert!(carried <= 3 * 1400, "{carried} values for 1400");
        assert!(cluster.read(0).len() >= 1300, "the old ones are not held back by the new ones");
    }

    fn a_request_without_message_id_is_told_so<D>() {
        let mut cluster = initialised::<D>(1, &config());
        for bad in [json!({ "type": "read" }), json!({ "type": "broadcast", "message": 1, "msg_id": "x" })] {
            let answers = cluster.tell(0, "c1", bad);
            assert_eq!((answers.len(), &answers[0]["code"]), (1, &json!(12)));
            assert!(answers[0]["text"].as_str().expect("a text").contains("msg_id"));
            assert!(answers[0].get("in_reply_to").is_none());
        }
        assert_eq!(cluster.read(0), NOTHING);
    }

    fn requests_before_init_are_told_to_wait<D>() {
        let mut cluster = fresh::<D>(1, &config());
        for body in [
            json!({ "type": "read" }),
            json!({ "type": "echo", "echo": 1 }),
            json!({ "type": "generate" }),
            json!({ "type": "broadcast", "message": 1 }),
            json!({ "type": "topology", "topology": {} }),
        ] {
            assert_eq!(cluster.ask(0, body.clone())["code"], 11, "{body}");
        }
        assert!(cluster.tell(0, "n1", json!({ "type": "delta", "generation": 1, "values": [3] })).is_empty());
        assert_eq!(cluster.init(0)["type"], "init_ok");
        assert_eq!(cluster.read(0), NOTHING);
    }

    fn replies_and_errors_are_never_answered<D>() {
        let mut cluster = started::<D>(2, &config());
        for body in [
            json!({ "type": "error", "in_reply_to": 3, "code": 11, "text": "no" }),
            json!({ "type": "echo_ok", "in_reply_to": 3, "echo": 1 }),
            json!({ "type": "delta_ok", "in_reply_to": 3, "generation": 99 }),
        ] {
            assert!(cluster.tell(0, "n1", body.clone()).is_empty(), "{body}");
        }
    }

    fn lines_that_are_no_messages_are_reported_and_skipped<D>() {
        let mut cluster = started::<D>(1, &config());
        let bad: [&[u8]; 9] = [
            b"hello",
            b"{",
            b"[]",
            b"null",
            b"{\"src\":\"c1\"}",
            b"{\"src\":1,\"dest\":\"n0\",\"body\":{\"type\":\"read\",\"msg_id\":1}}",
            b"{\"src\":\"c1\",\"dest\":\"n0\",\"body\":[]}",
            b"{\"src\":\"c1\",\"dest\":\"n0\",\"body\":{\"type\":\"read\",\"msg_id\":1",
            b"{\"src\":\"c1\",\"dest\":\"n\xff\",\"body\":{\"type\":\"read\",\"msg_id\":1}}",
        ];
        for (count, line) in bad.iter().enumerate() {
            assert!(cluster.line(0, line).is_empty(), "{}", String::from_utf8_lossy(line));
            assert_eq!(cluster.reports.len(), count + 1, "{}", String::from_utf8_lossy(line));
        }
        cluster.broadcast(0, 7);
        assert_eq!(cluster.read(0), [7]);
    }

    fn names_may_need_escapes<D>() {
        let mut cluster = fresh::<D>(1, &config());
        let name = "n \"\\\n\u{e9}\u{1F600}";
        cluster.tell(0, "c1", json!({ "type": "init", "msg_id": 1, "node_id": name, "node_ids": [name] }));
        let line = json!({ "src": "c\t1", "dest": name, "body": { "type": "generate", "msg_id": 2 } }).to_string();
        let reply = cluster.line(0, line.as_bytes()).remove(0);
        assert_eq!((reply.src.as_str(), reply.dest.as_str()), (name, "c\t1"));
        assert!(reply.body["id"].as_str().expect("a string").starts_with(name));
    }
}

#[test]
fn a_star_sends_everything_through_its_hub() {
    let mut cluster = started::<LockFree>(5, &config());
    cluster.broadcast(3, 7);
    cluster.run_for_secs(10);
    assert!(cluster.all_hold(&[7]));
    // n3 to the hub, the hub to the three others.
    assert_eq!(deltas(&cluster.sent), 4);
    assert!(cluster.sent.iter().all(|message| message.src == "n0" || message.dest == "n0"));
}

#[test]
fn what_is_too_much_for_the_slots_waits_for_acknowledgements_and_not_for_flushes() {
    // Ten times what is in flight to a peer at most, through a hub that flushes twice a second.
    const VALUES: i64 = 20_000;
    let mut cluster = started::<LockFree>(5, &Config::default());
    cluster.latency = Duration::from_millis(1);
    for value in 0..200 {
        cluster.broadcast(1, -value);
        cluster.run_for(Duration::from_millis(50));
    }
    (1..=VALUES).for_each(|value| cluster.broadcast(1, value));
    cluster.run_for(Config::default().latency_budget + Duration::from_millis(300));
    assert!(cluster.all_hold(&range(-199..VALUES + 1)));
}

#[test]
fn direct_nodes_tell_everyone_themselves() {
    // Two hops take longer than that, for all that is known at the start.
    let latency_budget = Duration::from_millis(150);
    let mut cluster = started::<LockFree>(5, &Config { latency_budget, ..config() });
    cluster.broadcast(3, 7);
    cluster.run_for(LATENCY);
    assert!(cluster.all_hold(&[7]));
    cluster.run_for_secs(10);
    assert_eq!(deltas(&cluster.sent), 4);
    assert!(cluster.sent.iter().filter(|message| message.is("delta")).all(|message| message.src == "n3"));
}

/// A line of three nodes, with a name that isn't a node's.
const LINE: &str = r#"{"n0":["n1"],"n1":["n0","n2","n7","n1"],"n2":["n1"]}"#;

#[test]
fn the_simple_design_keeps_to_the_topology() {
    let mut cluster = initialised::<Simple>(3, &config());
    for index in 0..3 {
        let topology: Json = serde_json::from_str(LINE).expect("JSON");
        cluster.ask(index, json!({ "type": "topology", "topology": topology }));
    }
    cluster.broadcast(0, 7);
    cluster.run_for_secs(10);
    assert!(cluster.all_hold(&[7]));
    assert_eq!(deltas(&cluster.sent), 2);
    assert!(cluster.sent.iter().all(|message| message.src == "n1" || message.dest == "n1"));
}

#[test]
fn a_later_topology_takes_the_place_of_the_earlier_one() {
    let mut cluster = initialised::<Simple>(3, &config());
    // Nobody was told a topology: everyone talks to everyone.
    cluster.run_for_secs(2);
    cluster.broadcast(0, 1);
    cluster.run_for_secs(5);
    assert!(cluster.sent.iter().any(|message| message.src == "n0" && message.dest == "n2"));
    let topology: Json = serde_json::from_str(LINE).expect("JSON");
    for index in 0..3 {
        cluster.ask(index, json!({ "type": "topology", "topology": topology }));
    }
    cluster.sent.clear();
    cluster.broadcast(0, 2);
    cluster.run_for_secs(5);
    assert!(cluster.all_hold(&[1, 2]));
    assert!(cluster.sent.iter().all(|message| message.src == "n1" || message.dest == "n1"));
}

#[test]
fn a_peer_that_comes_back_is_complete_within_a_second_and_four_delays() {
    let mut cluster = started::<LockFree>(3, &config());
    cluster.fate = Box::new(|message| if message.dest == "n2" { Fate::Lose } else { Fate::Deliver });
    cluster.broadcast(0, 7);
    cluster.run_for_secs(60);
    cluster.fate = Box::new(|_| Fate::Deliver);
    cluster.broadcast(2, 8);
    cluster.run_for(Duration::from_secs(1) + 4 * LATENCY);
    assert_eq!(cluster.read(2), [7, 8]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// The simple design is the oracle of the lock-free one: the same requests get the same answers, but for
    /// the order of a read's values and the ids.
    #[test]
    fn both_designs_answer_alike(bodies in prop::collection::vec(body(), 1..30)) {
        let mut lock_free = fresh::<LockFree>(3, &config());
        let mut simple = fresh::<Simple>(3, &config());
        for (src, body) in bodies {
            let answers = lock_free.tell(0, src, body.clone());
            prop_assert_eq!(comparable(answers), comparable(simple.tell(0, src, body.clone())), "{} {}", src, body);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the network does for a while, clusters of both designs end with the same sets at every node.
    #[test]
    fn both_designs_end_with_the_same(steps in prop::collection::vec(step(), 1..40), small in any::<bool>()) {
        let config = Config { queue_limit: if small { 4 } else { 1000 }, ..config() };
        let sets = [ends_with::<LockFree>(&config, &steps), ends_with::<Simple>(&config, &steps)];
        let broadcast: BTreeSet<i64> = steps.iter().filter_map(|step| match step {
            Step::Broadcast(_, value) => Some(*value),
            _ => None,
        }).collect();
        prop_assert!(sets.iter().flatten().all(|set| set.iter().eq(&broadcast)), "{:?}", sets);
    }
}

/// What happens to a cluster of four.
#[derive(Clone, Debug)]
enum Step {
    Broadcast(usize, i64),
    Wait(u64),
    /// From now on one in so many messages is lost; none if that is 0.
    Lose(u64),
    /// From now on one in so many comes twice.
    Repeat(u64),
    /// From now on this node hears nobody, and nobody hears it; all hear each other again if there is none of that
    /// number.
    Isolate(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..4_usize, prop_oneof![-20..20_i64, any::<i64>()]).prop_map(|(node, value)| Step::Broadcast(node, value)),
        4 => (1..3000_u64).prop_map(Step::Wait),
        1 => (0..4_u64).prop_map(Step::Lose),
        1 => (0..4_u64).prop_map(Step::Repeat),
        2 => (0..8_usize).prop_map(Step::Isolate),
    ]
}

/// The sets of all nodes when the network has been well for a minute.
fn ends_with<D: common::Design>(config: &Config, steps: &[Step]) -> Vec<Vec<i64>> {
    let mut cluster = started::<D>(4, config);
    let (mut lose, mut repeat, mut isolated) = (0, 0, usize::MAX);
    for step in steps {
        match *step {
            Step::Broadcast(node, value) => cluster.broadcast(node, value),
            Step::Wait(millis) => cluster.run_for(Duration::from_millis(millis)),
            Step::Lose(one_in) => lose = one_in,
            Step::Repeat(one_in) => repeat = one_in,
            Step::Isolate(node) => isolated = node,
        }
        let mut sent = 0;
        let name = format!("n{isolated}");
        cluster.fate = Box::new(move |message| {
            sent += 1;
            let strikes = |one_in: u64| one_in != 0 && u64::is_multiple_of(sent, one_in);
            match () {
                () if strikes(lose) || message.src == name || message.dest == name => Fate::Lose,
                () if strikes(repeat) => Fate::Repeat,
                () => Fate::Deliver,
            }
        });
    }
    cluster.fate = Box::new(|_| Fate::Deliver);
    cluster.run_for_secs(60);
    (0..4).map(|node| cluster.read(node)).collect()
}

fn comparable(mut answers: Vec<Json>) -> Vec<Json> {
    for answer in &mut answers {
        if let Some(values) = answer.get_mut("messages").and_then(Json::as_array_mut) {
            values.sort_by_key(|value| value.as_i64());
        }
        if let Some(id) = answer.get_mut("id") {
            *id = Json::Null;
        }
    }
    answers
}

/// A message from somebody, sensible or not.
fn body() -> impl Strategy<Value = (&'static str, Json)> {
    let scalar = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        (0..5i64).prop_map(Json::from),
        Just(json!(1.5)),
        Just(json!(u64::MAX)),
        "[a-z\"\\\\]{0,5}".prop_map(Json::from),
        Just(json!("n0")),
        Just(json!(["n0", "n1", "n2"])),
        Just(json!({ "n0": ["n1"] })),
        Just(json!([1, 2, 3])),
    ];
    let kind = prop_oneof![
        4 => prop::sample::select(vec![
            "init", "topology", "echo", "generate", "broadcast", "read", "delta", "delta_ok", "error", "echo_ok", "txn",
        ]).prop_map(Json::from),
        1 => scalar.clone(),
    ];
    let fields = prop::collection::btree_map(
        prop::sample::select(vec![
            "msg_id",
            "in_reply_to",
            "echo",
            "message",
            "node_id",
            "node_ids",
            "topology",
            "generation",
            "values",
        ]),
        scalar,
        0..9,
    );
    let sensible = prop_oneof![
        Just(json!({ "type": "init", "msg_id": 1, "node_id": "n0", "node_ids": ["n0", "n1", "n2"] })),
        (0..9i64).prop_map(|value| json!({ "type": "broadcast", "msg_id": 2, "message": value })),
        (0..9i64)
            .prop_map(|value| json!({ "type": "delta", "generation": value, "values": [value, value + 10] })),
        Just(json!({ "type": "read", "msg_id": 3 })),
    ];
    let wild = (kind, fields).prop_map(|(kind, fields)| {
        let mut body = json!(fields);
        body["type"] = kind;
        body
    });
    (prop::sample::select(vec!["c1", "n1", "n2", "n9"]), prop_oneof![sensible, wild])
}
