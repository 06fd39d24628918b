//! What a run says of nodes, and what it doesn't: whose fault something is.

#![cfg(all(feature = "workbench", not(loom)))]

use std::time::Duration;

use natter::app::{App, Context};
use natter::check::Valid;
use natter::cluster::scenario::{FaultKind, Scenario, Verbosity};
use natter::cluster::trial::{Results, Trial};
use natter::cluster::virtual_time;
use natter::node::Time;
use natter::workload::{Options, WorkloadKind, echo, g_set, unique_ids};
use serde_json::{Value as Json, json};

fn scenario(workload: WorkloadKind) -> Scenario {
    Scenario { node_count: 1, rate: 10.0, time_limit: 10.0, ..Scenario::new(workload) }
}

fn run<S: Send + 'static>(scenario: &Scenario, app: impl Fn() -> App<S>) -> Results {
    let mut lives = 0;
    let next_life = |_| {
        lives += 1;
        app().with_seed(lives)
    };
    virtual_time::run(scenario, 1, next_life).expect("nodes behave").0
}

fn told(results: &Results) -> String {
    let paragraphs: Vec<String> =
        results.findings.iter().map(|finding| format!("{}\n{}", finding.what, finding.hint)).collect();
    paragraphs.join("\n\n")
}

/// Answers the second request after its client has given up.
fn late() -> App<u32> {
    App::new(0).on("echo", |node: Context<u32>, request: Json| async move {
        let count = node.state(|count| {
            *count += 1;
            *count
        });
        if count == 2 {
            node.sleep(Duration::from_secs(6)).await;
        }
        Ok(json!({ "echo": request["echo"] }))
    })
}

#[test]
fn an_answer_to_a_closed_client_is_told_and_strictly_the_last_that_is_heard() {
    let mut scenario = scenario(echo::KIND);
    let heard = run(&scenario, late);
    assert_eq!(heard.strays.closed, 1);
    assert!(
        told(&heard).contains("n0 answered a client that had given up and is closed"),
        "{}",
        told(&heard)
    );
    scenario.options = Options { strict_maelstrom: true, ..Options::default() };
    let strict = run(&scenario, late);
    assert!(strict.stats.all.ok_count < heard.stats.all.ok_count && strict.valid == Valid::False);
}

#[test]
fn what_natter_did_to_nodes_is_counted_and_not_blamed_on_them() {
    let right = || {
        App::new(0)
            .on("generate", |node: Context<u32>, _: Json| async move { Ok(json!({ "id": node.random() })) })
    };
    for fault in [FaultKind::Kill, FaultKind::KillForGood, FaultKind::Pause] {
        let scenario = Scenario {
            node_count: 3,
            time_limit: 100.0,
            nemesis: vec![fault],
            nemesis_interval: 10.0,
            ..scenario(unique_ids::KIND)
        };
        let results = run(&scenario, right);
        assert!(results.faults[&fault.name()] > 0 && results.stats.all.info_count > 0, "{fault:?}");
        assert_eq!((results.valid, told(&results).as_str()), (Valid::True, ""), "{fault:?}");
    }
}

#[test]
fn a_fault_that_never_struck_is_told() {
    let right =
        || App::new(()).on("echo", |_, request: Json| async move { Ok(json!({ "echo": request["echo"] })) });
    let nemesis = vec![FaultKind::Pause];
    let results = run(&Scenario { nemesis, nemesis_interval: 1e5, ..scenario(echo::KIND) }, right);
    assert!(told(&results).contains("--nemesis pause was asked for and never struck"), "{}", told(&results));
}

#[test]
fn one_mistake_is_one_paragraph_and_comes_before_what_it_leads_to() {
    let misnamed = || {
        App::new(0).on("add", |_: Context<u32>, _: Json| async { Ok(()) }).on(
            "read",
            |node: Context<u32>, _: Json| async move {
                let count = node.state(|count| {
                    *count += 1;
                    *count
                });
                Ok(json!({ "value": vec![format!("{count}"); count as usize].join(",") }))
            },
        )
    };
    let results = run(&scenario(g_set::KIND), misnamed);
    let first = &results.findings[0];
    assert!(first.count > 10 && first.what.contains("and is to be a list"), "{}", told(&results));
    let alike = results.findings.iter().filter(|finding| finding.what.contains("and is to be a list"));
    assert_eq!(alike.count(), 1, "{}", told(&results));
}

#[test]
fn bytes_that_no_newline_ends_are_told() {
    let mut trial = Trial::new(&scenario(echo::KIND), 1, Verbosity::default(), Time::ZERO);
    trial.left_unended(0, b"{\"src\":\"n0\"");
    let told = told(&trial.finish().0);
    assert!(
        told.contains("n0 printed 11 bytes that no newline ended") && told.contains("{\"src\""),
        "{told}"
    );
}
