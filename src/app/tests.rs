//! Apps, driven by hand.

use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::*;
use crate::cluster::scripted::{Fate, Message, Scripted};
use crate::config::RetryPolicy;
use crate::node::Report;

const MS: Duration = Duration::from_millis(1);

/// An app, and what it is told and says.
struct Driven<S: Send + 'static>(Scripted<App<S>>);

impl<S: Send + 'static> Driven<S> {
    /// An app that hears nothing of what it sends.
    fn fresh(app: App<S>) -> Self {
        let mut cluster = Scripted::new(vec![app]);
        cluster.fate = Box::new(|_| Fate::Lose);
        cluster.allows_panics = true;
        Self(cluster)
    }

    /// One that is initialised as n1 of three nodes.
    fn new(app: App<S>) -> Self {
        let mut driven = Self::fresh(app);
        let said = driven
            .tell(json!({ "type": "init", "msg_id": 1, "node_id": "n1", "node_ids": ["n0", "n1", "n2"] }));
        assert_eq!(said[0].body, json!({ "type": "init_ok", "in_reply_to": 1 }));
        driven
    }

    fn tell(&mut self, body: Json) -> Vec<Message> {
        self.tell_from("c1", body)
    }

    fn tell_from(&mut self, src: &str, body: Json) -> Vec<Message> {
        let message = Message { src: src.to_owned(), dest: "n1".to_owned(), body };
        self.0.line(0, message.line().as_bytes())
    }

    /// Lets so much time pass.
    fn wait(&mut self, time: Duration) -> Vec<Message> {
        self.0.run_for(time);
        self.0.sent.drain(..).chain(self.0.outside.drain(..)).collect()
    }

    fn reports(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.0.reports)
    }
}

#[derive(Deserialize)]
struct Ask {
    whom: String,
}

/// Hands on what another node answers.
async fn ask(node: Context<()>, Ask { whom }: Ask) -> Result<Json, Error> {
    let answer = node.rpc(whom, json!({ "type": "question" })).await?;
    Ok(json!({ "answer": answer["answer"] }))
}

#[test]
fn what_nobody_handles_is_answered_with_maelstroms_errors() {
    let panics = |_: Context<()>, _: Json| async { if true { panic!("oh no") } else { Ok(()) } };
    let text = |_: Context<()>, _: Json| async { Ok("text") };
    let app = App::new(()).on("ask", ask).on("panic", panics).on("text", text);
    let mut fresh = Driven::fresh(app);
    assert_eq!(fresh.tell(json!({ "type": "ask", "msg_id": 7 }))[0].body["code"], 11);
    let mut node = Driven::new(fresh.0.nodes.remove(0));
    for (body, code) in [
        (json!({ "type": "unheard-of", "msg_id": 2 }), 10),
        (json!({ "type": "ask", "msg_id": 2 }), 12),
        (json!({ "type": "ask", "msg_id": 2, "whom": 3 }), 12),
        (json!({ "type": "panic", "msg_id": 2 }), 13),
        (json!({ "type": "text", "msg_id": 2 }), 13),
        (json!({ "type": "init", "msg_id": 2, "node_id": "n1", "node_ids": ["n1"] }), 12),
        (json!({ "type": "topology", "msg_id": 2, "topology": 3 }), 12),
    ] {
        let said = node.tell(body.clone());
        let Json::Object(error) = &said[0].body else { panic!("{said:?}") };
        assert_eq!(
            (&error["type"], &error["code"], &error["in_reply_to"]),
            (&json!("error"), &json!(code), &json!(2)),
            "{body}"
        );
    }
    let told: Vec<String> = node.reports().iter().map(|report| format!("{report:?}")).collect();
    assert!(told.iter().any(|told| told.contains("oh no")), "{told:?}");
    // Who wants no reply gets none, and an error is answered by none.
    assert!(node.tell(json!({ "type": "unheard-of" })).is_empty());
    assert!(node.tell(json!({ "type": "error", "msg_id": 3, "code": 13, "text": "" })).is_empty());
}

#[test]
fn lines_that_are_no_messages_are_skipped_and_reported() {
    let mut node = Driven::new(App::new(()));
    node.reports();
    for line in
        ["", "{", "[]", r#"{"src":"c1"}"#, r#"{"src":"c1","body":{}}"#, r#"{"src":"c1","body":{"type":3}}"#]
    {
        assert!(node.0.line(0, line.as_bytes()).is_empty(), "{line}");
        assert_eq!(node.reports().len(), 1, "{line}");
    }
}

#[test]
fn a_handler_that_waits_lets_others_be_handled_and_goes_on_when_it_is_answered() {
    let mut node = Driven::new(App::new(()).on("ask", ask));
    let said = node.tell(json!({ "type": "ask", "msg_id": 2, "whom": "n2" }));
    let [question] = &said[..] else { panic!("{said:?}") };
    assert_eq!((&*question.dest, &question.body["type"]), ("n2", &json!("question")));
    let number = &question.body["msg_id"];
    let other = node.tell(json!({ "type": "ask", "msg_id": 3, "whom": "n0" }));
    assert_eq!(other[0].dest, "n0");
    let answer = json!({ "type": "question_ok", "in_reply_to": number, "answer": 42 });
    assert!(node.tell_from("n0", answer.clone()).is_empty(), "it was n2 that was asked");
    let said = node.tell_from("n2", answer.clone());
    assert_eq!(said[0].body, json!({ "type": "ask_ok", "in_reply_to": 2, "answer": 42 }));
    assert!(node.tell_from("n2", answer).is_empty(), "once is enough");
    let number = &other[0].body["msg_id"];
    let error = json!({ "type": "error", "in_reply_to": number, "code": 1234, "text": "mine" });
    let said = node.tell_from("n0", error);
    assert_eq!((&said[0].body["code"], &said[0].body["text"]), (&json!(1234), &json!("mine")));
}

#[test]
fn an_answer_that_does_not_come_is_a_timeout() {
    let mut node = Driven::new(App::new(()).on("ask", ask));
    node.tell(json!({ "type": "ask", "msg_id": 2, "whom": "n2" }));
    assert_eq!(node.0.nodes[0].next_deadline(), Some(Time::ZERO + 1000 * MS));
    assert!(node.wait(999 * MS).is_empty());
    assert_eq!(node.wait(MS)[0].body["code"], 0);
    assert_eq!(node.0.nodes[0].next_deadline(), None, "nothing is left behind");
    assert!(node.0.nodes[0].shared.inner().waits_for_nothing());
}

#[test]
fn what_is_tried_again_is_sent_at_growing_intervals_with_one_number() {
    let persistent = |node: Context<()>, _: Json| async move {
        let retry = RetryPolicy { min: 100 * MS, max: 400 * MS };
        node.rpc("n2", json!({ "type": "question" })).retry(retry).timeout(3000 * MS).await
    };
    let mut node = Driven::new(App::new(()).on("ask", persistent));
    let mut sent = node.tell(json!({ "type": "ask", "msg_id": 2 }));
    let mut times = vec![0];
    for at in (10..3000).step_by(10) {
        let said = node.wait(10 * MS);
        times.extend(said.iter().map(|_| at));
        sent.extend(said);
    }
    assert!(sent.iter().all(|message| message.body == sent[0].body), "{sent:?}");
    let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!((7..=10).contains(&gaps.len()) && (75..=130).contains(&gaps[0]), "{gaps:?}");
    assert!(gaps[2..].iter().all(|gap| (300..=510).contains(gap)), "{gaps:?}");
    assert_eq!(node.wait(10 * MS)[0].body["code"], 0);
}

#[test]
fn times_pass_for_those_who_wait_for_them() {
    let app = App::new(0)
        .every(100 * MS, |node| async move {
            node.send("n0", json!({ "type": "tick", "count": node.state(|n| { *n += 1; *n }) }));
        })
        .on("wait", |node: Context<i32>, _: Json| async move {
            let before = node.now();
            node.sleep(250 * MS).await;
            Ok(json!({ "ms": node.now().since(before).as_millis() as u64 }))
        });
    let mut node = Driven::new(app);
    node.tell(json!({ "type": "wait", "msg_id": 2 }));
    let mut said = Vec::new();
    for _ in 0..30 {
        said.extend(node.wait(10 * MS));
    }
    let ticks = said.iter().filter(|message| message.body["type"] == "tick").count();
    let waited = said.iter().find(|message| message.body["type"] == "wait_ok").expect("it has ended");
    assert_eq!((ticks, &waited.body["ms"]), (3, &json!(250)));
}

#[test]
fn neighbours_are_all_others_until_a_topology_says_otherwise() {
    let neighbours = |node: Context<()>, _: Json| async move { Ok(json!({ "names": *node.neighbours() })) };
    let mut node = Driven::new(App::new(()).on("neighbours", neighbours));
    let ask = json!({ "type": "neighbours", "msg_id": 2 });
    assert_eq!(node.tell(ask.clone())[0].body["names"], json!(["n0", "n2"]));
    let topology = json!({ "type": "topology", "msg_id": 3, "topology": { "n1": ["n2"] } });
    assert_eq!(node.tell(topology)[0].body["type"], "topology_ok");
    assert_eq!(node.tell(ask)[0].body["names"], json!(["n2"]));
}

#[test]
fn a_look_at_the_state_within_another_is_an_error_and_no_deadlock() {
    let twice = |node: Context<u8>, _: Json| async move {
        let copy = node.clone();
        Ok(json!({ "sum": node.state(|one| *one + copy.state(|two| *two)) }))
    };
    let mut node =
        Driven::new(App::new(1).on("twice", twice).on("once", |node: Context<u8>, _: Json| async move {
            Ok(json!({ "state": node.state(|one| *one) }))
        }));
    assert_eq!(node.tell(json!({ "type": "twice", "msg_id": 2 }))[0].body["code"], 13);
    assert_eq!(node.tell(json!({ "type": "once", "msg_id": 3 }))[0].body["state"], 1, "the node goes on");
}

#[test]
fn a_value_is_changed_again_if_somebody_has_come_in_between() {
    let add = |node: Context<()>, _: Json| async move {
        let sum = node.lin_kv().update("sum", |sum: Option<&i64>| sum.unwrap_or(&0) + 1).await?;
        Ok(json!({ "sum": sum }))
    };
    let mut node = Driven::new(App::new(()).on("add", add));
    let mut said = node.tell(json!({ "type": "add", "msg_id": 2 }));
    let mut asked = Vec::new();
    for answer in [
        json!({ "type": "error", "code": 20, "text": "no such key" }),
        json!({ "type": "error", "code": 22, "text": "not that" }),
        json!({ "type": "read_ok", "value": 7 }),
        json!({ "type": "cas_ok" }),
    ] {
        let body = said[0].body.clone();
        let mut answer = answer;
        answer["in_reply_to"] = body["msg_id"].clone();
        asked.push(body);
        said = node.tell_from("lin-kv", answer);
    }
    assert_eq!(said[0].body, json!({ "type": "add_ok", "in_reply_to": 2, "sum": 8 }));
    let kinds: Vec<&Json> = asked.iter().map(|body| &body["type"]).collect();
    assert_eq!(kinds, ["read", "cas", "read", "cas"]);
    assert_eq!((&asked[1]["to"], &asked[1]["create_if_not_exists"]), (&json!(1), &json!(true)));
    assert_eq!((&asked[3]["from"], &asked[3]["create_if_not_exists"]), (&json!(7), &json!(false)));
}

#[test]
fn equal_seeds_draw_alike() {
    let draw = |seed| {
        let draws =
            |node: Context<()>, _: Json| async move { Ok(json!({ "bits": [node.random(), node.random()] })) };
        let mut node = Driven::new(App::new(()).on("draw", draws).with_seed(seed));
        node.tell(json!({ "type": "draw", "msg_id": 2 }))[0].body["bits"].clone()
    };
    assert_eq!(draw(1), draw(1));
    // Neighbours have nothing in common, not even one draw later.
    let [one, two] = [draw(1), draw(2)];
    assert!((0..2).all(|at| (0..2).all(|other| one[at] != two[other])));
}

fn told(reports: &[Report]) -> String {
    format!("{reports:?}")
}

#[test]
fn an_answer_to_a_former_life_is_nobodys() {
    let life = |seed| Driven::new(App::new(()).on("ask", ask).with_seed(seed));
    let question = json!({ "type": "ask", "msg_id": 2, "whom": "n2" });
    let [mut former, mut node] = [life(1), life(2)];
    let asked = [former.tell(question.clone()), node.tell(question)];
    let [late, number] = asked.map(|asked| asked[0].body["msg_id"].clone());
    let answer = |number: &Json| json!({ "type": "question_ok", "in_reply_to": number, "answer": 42 });
    assert!(node.tell_from("n2", answer(&late)).is_empty());
    assert_eq!(node.tell_from("n2", answer(&number))[0].body["answer"], 42);
}

#[test]
fn a_panic_before_anything_is_awaited_is_answered_and_told() {
    let app = App::new(())
        .on("number", |_: Context<()>, request: Json| {
            let number = request["number"].as_u64().expect("a number");
            async move { Ok(json!({ "number": number })) }
        })
        .on_start(|node: Context<()>| {
            assert!(node.members().is_empty(), "no start");
            async {}
        });
    let mut node = Driven::new(app);
    assert_eq!(node.tell(json!({ "type": "number", "msg_id": 2 }))[0].body["code"], 13);
    assert_eq!(node.tell(json!({ "type": "number", "msg_id": 3, "number": 7 }))[0].body["number"], 7);
    let reports = node.reports();
    assert!(reports.iter().all(|report| matches!(report, Report::Panicked(_))), "{reports:?}");
    let told = told(&reports);
    assert!(told.contains("on_start: no start") && told.contains("the handler of \\\"number\\\""), "{told}");
}

#[test]
fn what_is_done_again_and_again_goes_on_after_a_panic() {
    let app = App::new(0).every(100 * MS, |node| async move {
        let count = node.state(|count| {
            *count += 1;
            *count
        });
        assert!(count != 2, "the second time");
        node.send("n0", json!({ "type": "tick", "count": count }));
    });
    let mut node = Driven::new(app);
    let said = node.wait(350 * MS);
    let counts: Vec<&Json> = said.iter().map(|message| &message.body["count"]).collect();
    assert_eq!(counts, [1, 3]);
    let told = told(&node.reports());
    assert!(told.contains("every 100ms: the second time"), "{told}");
}

#[test]
fn work_that_never_ends_lets_the_node_answer() {
    fn bear(node: &Context<()>) {
        let child = node.clone();
        node.spawn(async move { bear(&child) });
    }
    let echo = |_: Context<()>, request: Json| async move { Ok(json!({ "echo": request["echo"] })) };
    let restless = |node: Context<()>| async move {
        loop {
            node.sleep(Duration::ZERO).await;
        }
    };
    /// Wakes itself, whatever the time.
    async fn spin(_: Context<()>) {
        loop {
            let mut is_first = true;
            std::future::poll_fn(|context| {
                context.waker().wake_by_ref();
                if std::mem::take(&mut is_first) { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
        }
    }
    let bears = |node: Context<()>| async move { bear(&node) };
    for app in [App::new(()).on_start(restless), App::new(()).on_start(spin), App::new(()).on_start(bears)] {
        let mut node = Driven::new(app.on("echo", echo));
        assert_eq!(node.0.nodes[0].next_deadline(), Some(Time::ZERO), "it wants to go on at once");
        let said = node.tell(json!({ "type": "echo", "msg_id": 2, "echo": 7 }));
        let ticked = node.0.nodes[0].next_deadline();
        assert!(
            said.iter().any(|message| message.body["echo"] == 7) && ticked == Some(Time::ZERO),
            "{said:?}"
        );
    }
}

#[test]
fn a_body_has_a_type_and_the_numbers_are_the_apps() {
    let proxy = |node: Context<()>, mut request: Json| async move {
        request["type"] = "inner".into();
        request["in_reply_to"] = 3.into();
        node.rpc("n2", request).await
    };
    let nameless = |node: Context<()>, _: Json| async move { node.rpc("n2", json!({})).await };
    let mut node = Driven::new(App::new(()).on("outer", proxy).on("nameless", nameless));
    let line = r#"{"src":"c1","dest":"n1","body":{"type":"outer","msg_id":2,"value":7}}"#;
    let asked = node.0.line(0, line.as_bytes());
    let body = asked[0].body.as_object().expect("an object");
    assert_eq!(body.keys().collect::<Vec<_>>(), ["msg_id", "type", "value"]);
    assert_ne!(body["msg_id"], 2);
    let answer = json!({ "type": "inner_ok", "in_reply_to": body["msg_id"], "msg_id": 9, "value": 8 });
    let said = node.tell_from("n2", answer);
    assert_eq!(said[0].body, json!({ "type": "outer_ok", "in_reply_to": 2, "value": 8 }));
    assert_eq!(node.tell(json!({ "type": "nameless", "msg_id": 4 }))[0].body["code"], 13);
    assert!(told(&node.reports()).contains("a body has a `type`"));
}

#[test]
fn an_error_without_a_code_leaves_it_open_what_happened() {
    let mut node = Driven::new(App::new(()).on("ask", ask));
    for code in [json!("busy"), Json::Null] {
        let asked = node.tell(json!({ "type": "ask", "msg_id": 2, "whom": "n2" }));
        let error =
            json!({ "type": "error", "in_reply_to": asked[0].body["msg_id"], "code": code, "text": "mine" });
        let said = node.tell_from("n2", error);
        assert_eq!((&said[0].body["code"], &said[0].body["text"]), (&json!(13), &json!("mine")));
    }
}

#[test]
fn an_update_ends_also_where_it_cannot_succeed_and_takes_values_as_they_are_written() {
    let lww = |node: Context<()>, _: Json| async move {
        node.lww_kv().update("sum", |sum: Option<&i64>| sum.unwrap_or(&0) + 1).await?;
        Ok(())
    };
    let float = |node: Context<()>, _: Json| async move {
        node.lin_kv().write("mean", 1).await?;
        Ok(
            json!({ "mean": node.lin_kv().update("mean", |mean: Option<&f64>| mean.unwrap_or(&0.0) + 0.5).await? }),
        )
    };
    let mut cluster = Scripted::started(vec![App::new(()).on("lww", lww).on("float", float)]);
    assert_eq!(cluster.ask(0, json!({ "type": "lww" }))["code"], 20);
    assert_eq!(cluster.ask(0, json!({ "type": "float" }))["mean"], 1.5);
}

#[test]
fn a_null_in_a_topology_is_an_empty_list_and_init_names_its_node() {
    let neighbours = |node: Context<()>, _: Json| async move { Ok(json!({ "names": *node.neighbours() })) };
    let app = App::new(()).on("neighbours", neighbours);
    let mut fresh = Driven::fresh(app);
    let init = json!({ "type": "init", "msg_id": 1, "node_id": "n1", "node_ids": ["n0"] });
    assert_eq!(fresh.tell(init)[0].body["code"], 12);
    let mut node = Driven::new(fresh.0.nodes.remove(0));
    node.tell(json!({ "type": "topology", "msg_id": 3, "topology": { "n1": null } }));
    assert_eq!(node.tell(json!({ "type": "neighbours", "msg_id": 2 }))[0].body["names"], json!([]));
}

#[test]
fn a_request_without_any_time_is_sent_and_given_up_at_once() {
    let hasty = |node: Context<()>, _: Json| async move {
        node.rpc("n2", json!({ "type": "question" })).timeout(Duration::ZERO).await
    };
    let mut node = Driven::new(App::new(()).on("ask", hasty));
    assert_eq!(node.tell(json!({ "type": "ask", "msg_id": 2 }))[0].dest, "n2");
    assert_eq!(node.wait(Duration::ZERO)[0].body["code"], 0);
}

#[test]
fn what_fails_and_is_no_answer_to_anybody_is_reported() {
    let mut node = Driven::new(App::new(()).on("ask", ask));
    assert!(node.tell(json!({ "type": "ask", "whom": 3 })).is_empty());
    let told = told(&node.reports());
    assert!(told.contains("nobody waits for the answer") && told.contains("\\\"ask\\\""), "{told}");
}

#[test]
fn who_is_woken_first_goes_on_first() {
    let wait = |node: Context<()>, request: Json| async move {
        node.sleep(100 * MS).await;
        Ok(json!({ "turn": request["turn"] }))
    };
    let mut node = Driven::new(App::new(()).on("wait", wait));
    for turn in 0..20 {
        node.tell(json!({ "type": "wait", "msg_id": turn, "turn": turn }));
    }
    let turns: Vec<i64> =
        node.wait(100 * MS).iter().filter_map(|message| message.body["turn"].as_i64()).collect();
    assert_eq!(turns, (0..20).collect::<Vec<_>>());
}

#[test]
fn what_is_dropped_before_its_end_leaves_nothing_behind() {
    /// Polls both once, and drops them.
    async fn give_up(node: Context<()>, _: Json) -> Result<(), Error> {
        let (mut rpc, mut sleep) = (node.rpc("n2", json!({ "type": "question" })), node.sleep(1000 * MS));
        std::future::poll_fn(|context| {
            assert!(
                Pin::new(&mut rpc).poll(context).is_pending()
                    && Pin::new(&mut sleep).poll(context).is_pending()
            );
            Poll::Ready(())
        })
        .await;
        Ok(())
    }
    let mut node = Driven::new(App::new(()).on("give-up", give_up));
    assert_eq!(node.tell(json!({ "type": "give-up", "msg_id": 2 })).len(), 2);
    assert_eq!(node.0.nodes[0].next_deadline(), None);
    assert!(node.0.nodes[0].shared.inner().waits_for_nothing());
}

#[test]
fn a_request_whose_reading_panics_is_answered_too() {
    struct Fussy;
    impl<'de> Deserialize<'de> for Fussy {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let request = Json::deserialize(deserializer)?;
            assert!(request["nice"] == true, "not nice");
            Ok(Fussy)
        }
    }
    let mut node = Driven::new(App::new(()).on("ask", |_: Context<()>, _: Fussy| async { Ok(()) }));
    assert_eq!(node.tell(json!({ "type": "ask", "msg_id": 2 }))[0].body["code"], 13);
    assert_eq!(node.tell(json!({ "type": "ask", "msg_id": 3, "nice": true }))[0].body["type"], "ask_ok");
    assert!(told(&node.reports()).contains("not nice"));
}

#[test]
fn of_two_times_that_are_waited_for_together_each_comes_when_it_is_due() {
    let both = |node: Context<()>, _: Json| async move {
        let (mut long, mut short) = (node.sleep(300 * MS), node.sleep(100 * MS));
        let (mut long_at, mut short_at) = (None, None);
        std::future::poll_fn(|context| {
            for (sleep, at) in [(&mut long, &mut long_at), (&mut short, &mut short_at)] {
                if at.is_none() && Pin::new(sleep).poll(context).is_ready() {
                    *at = Some(node.now().as_micros() / 1000);
                }
            }
            if long_at.is_some() && short_at.is_some() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        Ok(json!({ "times": [short_at, long_at] }))
    };
    let mut node = Driven::new(App::new(()).on("both", both));
    node.tell(json!({ "type": "both", "msg_id": 2 }));
    assert_eq!(node.wait(1000 * MS)[0].body["times"], json!([100, 300]));
}

#[test]
fn waits_are_as_long_as_they_are_said_to_be_and_the_longest_are_for_ever() {
    let short = |node: Context<()>, _: Json| async move {
        node.lin_kv().timeout(50 * MS).write("key", 1).await?;
        Ok(())
    };
    let endless = |node: Context<()>, _: Json| async move {
        let retry = RetryPolicy { min: Duration::MAX, max: Duration::MAX };
        node.rpc("n2", json!({ "type": "question" })).retry(retry).await
    };
    let mut node = Driven::new(App::new(()).on("short", short).on("endless", endless));
    node.tell(json!({ "type": "short", "msg_id": 2 }));
    assert!(node.wait(49 * MS).is_empty());
    assert_eq!(node.wait(MS)[0].body["code"], 0);
    assert_eq!(node.tell(json!({ "type": "endless", "msg_id": 3 })).len(), 1);
    assert_eq!(node.wait(1000 * MS)[0].body["code"], 0);
}

#[test]
fn a_reply_is_one_line_and_its_numbers_stay_as_they_are() {
    let raw = |_: Context<()>, _: Json| async {
        let text = "{\"msg_id\": 9, \"nested\": {\"type\": 1.0}, \"big\": 123456789012345678901234567890}";
        Ok(RawValue::from_string(text.to_owned()).expect("JSON"))
    };
    let pretty = |_: Context<()>, _: Json| async {
        Ok(RawValue::from_string("{\n  \"a\": 1\n}".to_owned()).expect("JSON"))
    };
    let mut out = Outbox::default();
    let node = Driven::new(App::new(()).on("raw", raw).on("pretty", pretty)).0.nodes.remove(0);
    for kind in ["raw", "pretty"] {
        let line = format!(r#"{{"src":"c1","dest":"n1","body":{{"type":"{kind}","msg_id":2}}}}"#);
        node.handle(Time::ZERO, crate::protocol::LineBuf::from(line).line(), &mut (), &mut out);
    }
    let said = String::from_utf8(out.lines().into_owned()).expect("text");
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(said.contains("123456789012345678901234567890") && said.contains("{\"type\": 1.0}"), "{said}");
    assert!(!said.contains("\"msg_id\""), "{said}");
}
