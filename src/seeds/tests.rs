//! What `natter::check` finds, forgives and refuses.

use std::panic::catch_unwind;

use super::*;
use crate::app::{Context, Error};
use crate::workload::{broadcast, echo, g_set, unique_ids};
use serde_json::{Value as Json, json};

/// What a check says that fails.
fn said<S: Send + 'static>(check: Check, app: fn() -> App<S>) -> String {
    let panic = catch_unwind(|| check.run(app)).expect_err("it fails");
    panic.downcast_ref::<String>().expect("a text").clone()
}

/// Forgets every third request.
fn forgetful() -> App<u64> {
    App::new(0).on("echo", |node: Context<u64>, request: Json| async move {
        let count = node.state(|count| {
            *count += 1;
            *count
        });
        if count.is_multiple_of(3) {
            node.sleep(Duration::from_secs(60)).await;
        }
        Ok(json!({ "echo": request["echo"] }))
    })
}

#[test]
fn a_failing_run_is_made_small_told_and_the_same_each_time() {
    let check = check(echo::KIND).nodes(3).faults([FaultKind::Partition, FaultKind::Loss]).seeds(5..20);
    let told = said(check.clone(), forgetful);
    assert!(told.starts_with("echo fails with seed 5. "), "{told}");
    for part in [
        ".nodes(1).time_limit(Duration::from_secs_f64(1.0))",
        ".faults([]).seeds(",
        "timed out",
        "what happened,",
        "c1 sends n0",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(said(check, forgetful), told);
    // Nothing twice, and no arrival where a message takes no time.
    let happened = told.split("again and again:\n").nth(1).expect("a story");
    let steps: Vec<&str> = happened.lines().filter_map(|line| Some(line.split_once(" s  ")?.1)).collect();
    assert_eq!(steps.iter().collect::<HashSet<_>>().len(), steps.len(), "{told}");
    assert!(!steps.is_empty() && !steps.iter().any(|step| step.contains("gets from")), "{told}");
}

#[test]
fn a_fault_is_told_before_what_it_does() {
    let once = || {
        App::new(Vec::<Json>::new())
            .on("add", |node: Context<Vec<Json>>, request: Json| async move {
                let element = request["element"].clone();
                node.state(|set| set.push(element.clone()));
                node.others()
                    .for_each(|other| node.send(other, json!({ "type": "told", "element": element })));
                Ok(())
            })
            .on("told", |node: Context<Vec<Json>>, request: Json| async move {
                node.state(|set| set.push(request["element"].clone()));
                Ok(())
            })
            .on("read", |node: Context<Vec<Json>>, _: Json| async move {
                Ok(json!({ "value": node.state(|set| set.clone()) }))
            })
    };
    let told = said(check(g_set::KIND).nodes(2).faults([FaultKind::Partition]).seeds(0..40), once);
    let (cut, lost) = (told.find("[partition"), told.find("cut off between"));
    assert!(cut.is_some() && cut < lost, "{told}");
}

#[test]
fn a_node_that_misbehaves_is_named() {
    let mute = || App::new(()).on("topology", |_, _: Json| async { Ok(json!({ "extra": 1 })) });
    let told = said(check(broadcast::KIND).seeds(0..3), mute);
    assert!(told.contains("n0 answered `topology`") && told.contains("extra"), "{told}");
}

fn echo_app() -> App<()> {
    App::new(()).on("echo", |_, request: Json| async move { Ok(json!({ "echo": request["echo"] })) })
}

#[test]
fn what_checks_nothing_is_refused() {
    let check = || check(echo::KIND).nodes(2).seeds(0..10);
    let endless = Duration::MAX;
    for (check, why) in [
        (check().nodes(0), "no nodes"),
        (check().clients(0), "no clients"),
        (check().rate(0.0), "rate"),
        (check().rate(-1.0), "rate"),
        (check().rate(f64::NAN), "rate"),
        (check().time_limit(Duration::ZERO), "no request"),
        (check().seeds(10..10), "no seeds"),
        (check().latency(endless, LatencyDist::Constant), "latency"),
        (check().faults([FaultKind::Loss]).nemesis_interval(Duration::ZERO), "nemesis interval"),
        (check().nodes(1).faults([FaultKind::Partition]), "two nodes"),
        (
            check().faults([FaultKind::Loss]).nemesis_interval(Duration::from_secs(9999)),
            "none of the faults ever struck",
        ),
    ] {
        let told = said(check, echo_app);
        assert!(told.contains(why), "{why}: {told}");
    }
    check().run(echo_app);
}

#[test]
fn a_node_that_differs_from_run_to_run_is_told_so() {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let app = || {
        // Wrong once.
        let is_wrong = RUNS.fetch_add(1, Ordering::Relaxed) == 3;
        App::new(is_wrong).on("echo", |node: Context<bool>, request: Json| async move {
            let is_wrong = node.state(|is_wrong| *is_wrong);
            Ok(json!({ "echo": if is_wrong { Json::Null } else { request["echo"].clone() } }))
        })
    };
    let told = said(check(echo::KIND).nodes(1).seeds(0..20), app);
    assert!(
        told.contains("does not fail so when it is run again") && told.contains("answered null"),
        "{told}"
    );
}

#[test]
fn a_panic_is_told_with_its_seed_wherever_it_happens() {
    let in_a_handler = || {
        App::new(()).on("echo", |node: Context<()>, request: Json| async move {
            assert!(!node.random().is_multiple_of(4), "by chance");
            Ok(json!({ "echo": request["echo"] }))
        })
    };
    let in_work = || echo_app().every(Duration::from_secs(1), |_| async { panic!("by chance") });
    let in_the_making = || -> App<()> { panic!("by chance") };
    for (app, place) in [
        (in_a_handler as fn() -> App<()>, "panicked in the handler of \"echo\""),
        (in_work, "panicked in every 1s"),
        (in_the_making, "a node panicked"),
    ] {
        let told = said(check(echo::KIND).nodes(1).seeds(2..9), app);
        assert!(told.starts_with("echo fails with seed 2. "), "{told}");
        assert!(told.contains(&format!("{place}: by chance")), "{told}");
    }
}

#[test]
fn the_first_of_the_seeds_that_fail_is_told() {
    let app = || {
        App::new(()).on("echo", |node: Context<()>, request: Json| async move {
            let is_wrong = node.random().is_multiple_of(1000);
            Ok(json!({ "echo": if is_wrong { Json::Null } else { request["echo"].clone() } }))
        })
    };
    let check = check(echo::KIND).nodes(1);
    let told = said(check.clone().seeds(0..200), app);
    let first = told.split("seed ").nth(1).and_then(|rest| rest.split('.').next()).expect("a seed");
    let first: u64 = first.parse().expect("a number");
    assert!(first > 0);
    check.seeds(0..first).run(app);
}

#[test]
fn without_faults_every_run_must_show_something() {
    let lazy = || {
        App::new(false)
            .on_start(|node: Context<bool>| async move {
                let is_lazy = node.random().is_multiple_of(20);
                node.state(|state| *state = is_lazy);
            })
            .on("generate", |node: Context<bool>, _: Json| async move {
                if node.state(|is_lazy| *is_lazy) {
                    return Err(Error::unavailable("not now"));
                }
                Ok(json!({ "id": node.random() }))
            })
    };
    let told = said(check(unique_ids::KIND).nodes(1).seeds(0..100), lazy);
    assert!(told.contains("not one `generate`"), "{told}");
}

#[test]
fn under_faults_one_run_in_ten_may_show_nothing() {
    fn often(part: u64) -> App<bool> {
        App::new(false)
            .on_start(move |node: Context<bool>| async move {
                let is_lazy = node.random().is_multiple_of(part);
                node.state(|state| *state = is_lazy);
            })
            .on("generate", |node: Context<bool>, _: Json| async move {
                if node.state(|is_lazy| *is_lazy) {
                    return Err(Error::unavailable("not now"));
                }
                Ok(json!({ "id": node.random() }))
            })
    }
    let check = || check(unique_ids::KIND).nodes(1).faults([Pause]).seeds(0..100);
    check().run(|| often(30));
    let told = said(check(), || often(3));
    assert!(told.contains("of 100 runs of unique-ids nothing can be judged"), "{told}");
    assert!(told.contains("not one `generate`"), "{told}");
}

#[test]
fn a_right_node_that_is_asked_little_does_not_fail() {
    let app = || {
        App::new(Vec::<Json>::new())
            .on("add", |node: Context<Vec<Json>>, request: Json| async move {
                node.state(|set| set.push(request["element"].clone()));
                Ok(())
            })
            .on("read", |node: Context<Vec<Json>>, _: Json| async move {
                Ok(json!({ "value": node.state(|set| set.clone()) }))
            })
    };
    let check = || check(g_set::KIND).nodes(1).seeds(0..40).time_limit(Duration::from_secs(2));
    check().rate(1.0).run(app);
    let alone = |seed| catch_unwind(|| check().rate(0.5).seeds(seed..seed + 1).run(app)).err();
    let panic = (0..40).find_map(alone).expect("a run in which nothing is added");
    let told = panic.downcast_ref::<&str>().expect("a text");
    assert!(told.contains("ask for more"), "{told}");
}

#[test]
fn what_a_process_could_not_send_fails_here_too() {
    /// Answers as the function says.
    struct Says(fn(&Json) -> String);
    impl Node for Says {
        type Scratch = ();
        fn handle(
            &self,
            _: Time,
            line: crate::protocol::Line<'_>,
            (): &mut (),
            out: &mut crate::node::Outbox,
        ) {
            let request: Json = serde_json::from_slice(line.bytes()).expect("JSON");
            let kind = request["body"]["type"].as_str().expect("a type");
            let mut body = json!({ "type": format!("{kind}_ok"), "in_reply_to": request["body"]["msg_id"] });
            if kind == "echo" {
                body["echo"] = request["body"]["echo"].clone();
            }
            let src = request["src"].as_str().expect("a name");
            out.send("n0", src, |text| text.extend(self.0(&body).bytes()));
        }
        fn tick(&self, _: Time, _: &mut crate::node::Outbox) {}
        fn next_deadline(&self) -> Option<Time> {
            None
        }
        fn finish(&self, _: Time, _: &mut crate::node::Outbox) {}
    }
    let check = || check(echo::KIND).nodes(1).seeds(0..2);
    check().run_nodes(|_| Says(|body| format!(" {body} ")));
    for (says, why) in [
        ((|body| serde_json::to_string_pretty(body).expect("JSON")) as fn(&Json) -> String, "line break"),
        (|body| format!("{body}}}"), "not a message"),
        (|_| "7".to_owned(), "not an object"),
    ] {
        let panic = catch_unwind(|| check().run_nodes(|_| Says(says))).expect_err("it fails");
        let told = panic.downcast_ref::<String>().expect("a text");
        assert!(told.contains(why) && told.contains("\"src\":\"n0\""), "{why}: {told}");
    }
}

#[test]
fn the_code_that_is_printed_says_the_rate_exactly() {
    let wrong = || App::new(()).on("echo", |_, _: Json| async { Ok(json!({ "echo": null })) });
    let check = check(echo::KIND).nodes(1).rate(0.04).time_limit(Duration::from_secs(100)).seeds(0..1);
    let told = said(check, wrong);
    assert!(told.contains(".rate(0.04)."), "{told}");
}
