//! What becomes of a node that was killed and started again, and of what its former lives have sent.
//!
//! Of the simple design: the other one's are in `scenarios.rs`.

#![cfg(not(loom))]

mod common;

use std::time::Duration;

use common::{Broadcasts, Cluster, fresh, started};
use natter::cluster::scripted::Fate;
use natter::config::Config;
use natter::protocol::Generation;
use natter::simple::Simple;
use serde_json::{Value as Json, json};

/// Generations are the same in all lives: nothing may depend on their being apart.
fn config() -> Config {
    Config { first_generation: Some(Generation(5)), ..Config::default() }
}

/// Ends a node's incarnation and starts the next one, without a topology.
fn restart(cluster: &mut Cluster<Simple>, index: usize) {
    cluster.nodes[index] = Simple::new(config(), 1000 + cluster.now.as_nanos());
    assert_eq!(cluster.init(index)["type"], "init_ok");
}

/// How many messages of a type were sent by that node.
fn sent_by(cluster: &Cluster<Simple>, src: &str, kind: &str) -> usize {
    cluster.sent.iter().filter(|message| message.src == src && message.is(kind)).count()
}

fn values(range: std::ops::Range<i64>) -> Vec<i64> {
    range.collect()
}

#[test]
fn a_restarted_node_gets_back_what_it_has_forgotten_and_falls_silent() {
    let mut cluster = started::<Simple>(4, &config());
    (0..300).for_each(|value| cluster.broadcast(value as usize % 4, value));
    cluster.run_for_secs(5);
    restart(&mut cluster, 2);
    assert!(cluster.read(2).is_empty());
    cluster.broadcast(2, 300);
    cluster.run_for_secs(5);
    assert!(cluster.all_hold(&values(0..301)));
    let sent = cluster.sent.len();
    cluster.run_for_secs(3600);
    assert_eq!(cluster.sent.len(), sent);
}

#[test]
fn all_nodes_but_one_may_be_restarted_at_once() {
    let mut cluster = started::<Simple>(4, &config());
    (0..300).for_each(|value| cluster.broadcast(value as usize % 4, value));
    cluster.run_for_secs(5);
    (1..4).for_each(|index| restart(&mut cluster, index));
    cluster.run_for_secs(10);
    assert!(cluster.all_hold(&values(0..300)));
}

#[test]
fn a_recall_is_repeated_until_it_is_answered_and_counts_once() {
    let mut cluster = started::<Simple>(2, &config());
    (0..300).for_each(|value| cluster.broadcast(0, value));
    cluster.run_for_secs(5);
    restart(&mut cluster, 1);
    cluster.sent.clear();
    cluster.fate = Box::new(|message| if message.is("recall_ok") { Fate::Lose } else { Fate::Deliver });
    cluster.run_for_secs(30);
    assert!(cluster.all_hold(&values(0..300)), "what was asked for comes whether the answer does or not");
    assert!((10..30).contains(&sent_by(&cluster, "n1", "recall")), "with a pause between");
    assert_eq!(sent_by(&cluster, "n0", "delta"), 300_usize.div_ceil(64), "each value once");
    cluster.fate = Box::new(|_| Fate::Deliver);
    cluster.run_for_secs(5);
    let recalls = sent_by(&cluster, "n1", "recall");
    cluster.run_for_secs(60);
    assert_eq!(sent_by(&cluster, "n1", "recall"), recalls);
}

#[test]
fn what_was_in_flight_to_a_former_life_is_not_freed_by_its_acknowledgement() {
    let mut cluster = started::<Simple>(2, &config());
    cluster.fate = Box::new(|message| if message.is("delta_ok") { Fate::Lose } else { Fate::Deliver });
    cluster.broadcast(0, 7);
    cluster.run_for(Duration::from_millis(200));
    assert_eq!(cluster.read(1), [7]);
    // The former incarnation has acknowledged it, and that comes after the recall of the present one.
    let late = cluster.sent.iter().find(|message| message.is("delta_ok")).expect("it was sent").body.clone();
    restart(&mut cluster, 1);
    cluster.fate = Box::new(|message| if message.is("delta") { Fate::Lose } else { Fate::Deliver });
    cluster.run_for_secs(2);
    assert!(cluster.tell(0, "n1", late).is_empty());
    cluster.fate = Box::new(|_| Fate::Deliver);
    cluster.run_for_secs(3);
    assert!(cluster.all_hold(&[7]));
}

#[test]
fn an_acknowledgement_for_a_former_life_changes_nothing() {
    let mut cluster = started::<Simple>(2, &config());
    cluster.fate = Box::new(|_| Fate::Lose);
    cluster.broadcast(1, 7);
    cluster.run_for_secs(1);
    let delta = &cluster.sent[0].body;
    let (generation, incarnation) =
        (delta["generation"].clone(), delta["incarnation"].as_u64().expect("an incarnation"));
    let attempts = |cluster: &mut Cluster<Simple>, ack: Json| {
        cluster.tell(1, "n0", ack);
        let before = sent_by(cluster, "n1", "delta");
        cluster.run_for_secs(10);
        sent_by(cluster, "n1", "delta") - before
    };
    let of =
        |incarnation| json!({ "type": "delta_ok", "generation": generation, "incarnation": incarnation });
    assert!(attempts(&mut cluster, of(incarnation ^ 1)) > 2);
    assert_eq!(attempts(&mut cluster, of(incarnation)), 0);
}

#[test]
fn what_a_former_life_sent_and_comes_late_goes_back_to_the_present_one() {
    // Whoever answered the recall may have forgotten it since, and may or may not have asked by now.
    for (both, asked) in [(false, false), (true, true), (true, false)] {
        let mut cluster = started::<Simple>(2, &config());
        cluster.fate = Box::new(|message| if message.is("delta") { Fate::Lose } else { Fate::Deliver });
        cluster.broadcast(1, 7);
        cluster.run_for_secs(1);
        let late = cluster.sent[0].body.clone();
        cluster.fate = Box::new(|_| Fate::Deliver);
        restart(&mut cluster, 1);
        cluster.run_for_secs(5);
        if both {
            restart(&mut cluster, 0);
            cluster.run_for_secs(if asked { 5 } else { 0 });
        }
        assert_eq!(cluster.tell(0, "n1", late)[0]["type"], "delta_ok");
        cluster.run_for_secs(3);
        assert!(cluster.all_hold(&[7]), "both: {both}, asked: {asked}");
    }
}

#[test]
fn a_late_recall_of_a_former_life_does_not_keep_a_node_from_asking() {
    let mut cluster = started::<Simple>(2, &config());
    cluster.broadcast(1, 7);
    cluster.run_for_secs(5);
    restart(&mut cluster, 0);
    cluster.fate = Box::new(|message| if message.is("recall") { Fate::Lose } else { Fate::Deliver });
    cluster.run_for_secs(2);
    assert!(sent_by(&cluster, "n0", "recall") > 0);
    cluster.tell(0, "n1", json!({ "type": "recall", "incarnation": 3 }));
    cluster.fate = Box::new(|_| Fate::Deliver);
    cluster.run_for_secs(5);
    assert!(cluster.all_hold(&[7]));
}

#[test]
fn a_value_is_not_echoed_to_a_restarted_node_that_is_known() {
    let mut cluster = started::<Simple>(2, &config());
    restart(&mut cluster, 1);
    cluster.run_for_secs(5);
    cluster.sent.clear();
    cluster.broadcast(1, 7);
    cluster.run_for_secs(5);
    assert_eq!((sent_by(&cluster, "n1", "delta"), sent_by(&cluster, "n0", "delta")), (1, 0));
}

#[test]
fn a_recall_is_for_peers_alone_and_waits_for_init() {
    let mut cluster = fresh::<Simple>(2, &config());
    assert!(cluster.tell(0, "n1", json!({ "type": "recall", "incarnation": 3 })).is_empty());
    assert!(cluster.tell(0, "n1", json!({ "type": "recall_ok", "incarnation": 3 })).is_empty());
    cluster.init(0);
    let answers = cluster.tell(0, "n1", json!({ "type": "recall", "incarnation": 3 }));
    assert_eq!((&answers[0]["type"], &answers[0]["incarnation"]), (&json!("recall_ok"), &json!(3)));
    assert_eq!(cluster.ask(0, json!({ "type": "recall", "incarnation": 3 }))["code"], 10);
    for bad in [json!({ "type": "recall" }), json!({ "type": "recall", "incarnation": "x" })] {
        assert_eq!(cluster.tell(0, "n1", bad)[0]["code"], 12);
    }
}
