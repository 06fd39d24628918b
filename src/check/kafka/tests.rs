//! Each error is found in the smallest history that shows it, and described; what is right is not blamed.

mod naive;
mod systems;

use serde_json::{Value as Json, json};

use super::{Kafka, kafka};
use crate::check::{Finding, Valid};
use crate::history::{EventKind, History, OpValue, Process};
use crate::node::Time;

/// Nanoseconds between events.
const STEP: u64 = 1_000_000;

/// A history in the making: an event a millisecond.
#[derive(Default)]
struct Story(History);

impl Story {
    fn event(&mut self, process: usize, kind: EventKind, f: &'static str, value: Json) -> &mut Self {
        let time = Time::from_nanos(self.0.events().len() as u64 * STEP);
        self.0.push(time, Process::Client(process), kind, f, OpValue::Json(value), None);
        self
    }

    fn begin_send(&mut self, process: usize, key: &str, value: i64) -> &mut Self {
        self.event(process, EventKind::Invoke, "send", json!([["send", key, value]]))
    }

    fn end_send(&mut self, process: usize, key: &str, value: i64, offset: u64) -> &mut Self {
        self.event(process, EventKind::Ok, "send", json!([["send", key, [offset, value]]]))
    }

    fn send(&mut self, process: usize, key: &str, value: i64, offset: u64) -> &mut Self {
        self.begin_send(process, key, value).end_send(process, key, value, offset)
    }

    fn poll(&mut self, process: usize, shown: Json) -> &mut Self {
        self.event(process, EventKind::Invoke, "poll", json!([["poll"]]));
        self.event(process, EventKind::Ok, "poll", json!([["poll", shown]]))
    }

    fn assign(&mut self, process: usize, keys: Json) -> &mut Self {
        self.event(process, EventKind::Invoke, "assign", keys.clone());
        self.event(process, EventKind::Ok, "assign", keys)
    }

    fn judge(&self) -> Kafka {
        kafka(&self.0)
    }

    /// The only finding, of the only type of error.
    fn only(&self, error_type: &str) -> Finding {
        let verdict = self.judge();
        assert_eq!(verdict.bad_error_types, [error_type]);
        assert_eq!(verdict.valid, Valid::False);
        let [finding] = &verdict.findings()[..] else { panic!("one finding: {:?}", verdict.findings()) };
        assert!(!finding.hint.is_empty());
        finding.clone()
    }
}

#[test]
fn sent_and_polled_in_order_is_valid() {
    let mut story = Story::default();
    story.send(0, "k", 1, 0).send(0, "k", 2, 1).poll(1, json!({"k": [[0, 1], [1, 2]]}));
    let verdict = story.judge();
    assert_eq!((verdict.valid, verdict.error_types.len(), verdict.notes.len()), (Valid::True, 0, 0));
}

#[test]
fn empty_history_is_unknown() {
    assert_eq!(Story::default().judge().valid, Valid::Unknown);
}

#[test]
fn message_at_two_offsets_is_a_duplicate() {
    let mut story = Story::default();
    story.send(0, "k", 1, 0).poll(1, json!({"k": [[0, 1]]})).poll(2, json!({"k": [[2, 1]]}));
    let finding = story.only("duplicate");
    assert_eq!(
        finding.what,
        "Message 1 of key \"k\" is in the log 2 times: client 0's send (0.0 to 1.0 ms) got offset 0; \
         client 2's poll (4.0 to 5.0 ms) showed it at offset 2."
    );
    assert_eq!((finding.count, finding.events), (1, vec![0, 1, 4, 5]));
}

#[test]
fn two_messages_at_an_offset_are_inconsistent() {
    let mut story = Story::default();
    story
        .send(0, "k", 1, 0)
        .send(1, "k", 2, 0)
        .poll(2, json!({"k": [[0, 1]]}))
        .poll(3, json!({"k": [[0, 2]]}));
    let finding = story.only("inconsistent-offsets");
    assert!(finding.what.starts_with("Offset 0 of key \"k\" has 2 different messages: "), "{}", finding.what);
    assert!(finding.what.contains("client 0's send (0.0 to 1.0 ms) got it for 1"), "{}", finding.what);
    assert!(finding.what.contains("client 1's send (2.0 to 3.0 ms) got it for 2"), "{}", finding.what);
}

#[test]
fn message_of_a_failed_send_is_an_aborted_read() {
    let mut story = Story::default();
    story.begin_send(0, "k", 1).event(0, EventKind::Fail, "send", json!([["send", "k", 1]]));
    story.poll(1, json!({"k": [[0, 1]]}));
    let finding = story.only("G1a");
    assert_eq!(
        finding.what,
        "Client 1's poll (2.0 to 3.0 ms) showed message 1 of key \"k\", although client 0's send (0.0 to \
         1.0 ms) had failed."
    );
}

#[test]
fn message_passed_over_by_all_is_lost() {
    let mut story = Story::default();
    story.send(0, "k", 1, 0).send(0, "k", 2, 1).poll(1, json!({"k": [[1, 2]]}));
    let verdict = story.judge();
    assert_eq!(verdict.bad_error_types, ["lost-write", "unseen"]);
    assert_eq!(
        verdict.findings()[0].what,
        "Client 0 sent message 1 at offset 0 of key \"k\" (0.0 to 1.0 ms). Client 1's poll (4.0 to 5.0 ms) \
         showed message 2 at offset 1 of key \"k\", so polls came as far as that, but no poll ever showed \
         1."
    );
}

#[test]
fn lost_is_judged_by_first_polled_and_last_stored() {
    // Message 2 is polled at 1 and stored again at 3: polls came to 1 for sure. Message 1 is stored again at
    // 2.
    let mut story = Story::default();
    story.send(0, "k", 1, 0).send(1, "k", 1, 2).send(2, "k", 2, 1).send(3, "k", 2, 3);
    story.poll(4, json!({"k": [[1, 2]]}));
    assert!(!story.judge().error_types.contains(&"lost-write"));
    story.send(5, "k", 3, 4).poll(6, json!({"k": [[4, 3]]}));
    assert_eq!(story.judge().errors.lost_write.count, 1);
}

#[test]
fn indeterminate_operation_whose_message_was_polled_counts() {
    let both = json!([["send", "k", [0, 1]], ["send", "k", [1, 2]]]);
    let mut story = Story::default();
    story.event(0, EventKind::Invoke, "txn", json!([["send", "k", 1], ["send", "k", 2]]));
    story.event(0, EventKind::Info, "txn", both).poll(1, json!({"k": [[1, 2]]}));
    assert_eq!(story.only("lost-write").count, 1);
}

#[test]
fn writer_is_the_last_that_ended() {
    let mut story = Story::default();
    story.begin_send(0, "k", 1).event(0, EventKind::Fail, "send", json!([["send", "k", 1]]));
    story.begin_send(2, "k", 1).poll(1, json!({"k": [[0, 1]]}));
    let finding = story.only("G1a");
    assert!(finding.what.contains("although client 0's send (0.0 to 1.0 ms) had failed"), "{}", finding.what);
}

#[test]
fn indeterminate_poll_comes_before_nothing() {
    let mut story = Story::default();
    story.event(1, EventKind::Invoke, "poll", json!([["poll"]]));
    story.event(1, EventKind::Info, "poll", json!([["poll", {"k": [[0, 1]]}]]));
    story.send(0, "k", 1, 0).poll(2, json!({"k": [[0, 1]]}));
    assert_eq!(story.judge().valid, Valid::True);
}

#[test]
fn send_without_answer_is_not_lost() {
    let mut story = Story::default();
    story.begin_send(0, "k", 1).send(1, "k", 2, 1).poll(2, json!({"k": [[1, 2]]}));
    assert_eq!(story.judge().valid, Valid::True);
}

#[test]
fn message_left_out_between_polls_is_a_skip() {
    let mut story = Story::default();
    story.send(0, "k", 1, 0).send(0, "k", 2, 5).send(0, "k", 3, 9);
    story.poll(1, json!({"k": [[0, 1]]})).poll(1, json!({"k": [[9, 3]]})).poll(2, json!({"k": [[5, 2]]}));
    let finding = story.only("poll-skip");
    assert_eq!(
        finding.what,
        "Client 1's poll (6.0 to 7.0 ms) ended with message 1 at offset 0 of key \"k\"; client 1's poll \
         (8.0 to 9.0 ms), the next to show this key, began with message 3 at offset 9 of key \"k\", and \
         left out 2 (offset 5)."
    );
}

#[test]
fn assignment_without_the_key_ends_the_comparison() {
    let mut story = Story::default();
    story.send(0, "k", 1, 0).send(0, "k", 2, 1).send(0, "k", 3, 2).poll(2, json!({"k": [[1, 2]]}));
    story.poll(1, json!({"k": [[0, 1]]})).assign(1, json!(["other"])).assign(1, json!(["k"]));
    story.poll(1, json!({"k": [[2, 3]]}));
    assert_eq!(story.judge().valid, Valid::True);
}

#[test]
fn assignment_with_the_key_keeps_the_position() {
    let mut story = Story::default();
    story.send(0, "k", 1, 0).send(0, "k", 2, 1).send(0, "k", 3, 2).poll(2, json!({"k": [[1, 2]]}));
    story.poll(1, json!({"k": [[0, 1]]})).assign(1, json!(["other", "k"])).poll(1, json!({"k": [[2, 3]]}));
    story.only("poll-skip");
}

#[test]
fn poll_that_begins_again_is_nonmonotonic() {
    let mut story = Story::default();
    story.send(0, "k", 1, 0).poll(1, json!({"k": [[0, 1]]})).poll(1, json!({"k": [[0, 1]]}));
    let finding = story.only("nonmonotonic-poll");
    assert!(
        finding.what.ends_with("began with message 1 at offset 0 of key \"k\": the same again."),
        "{}",
        finding.what
    );
}

#[test]
fn step_in_an_ambiguous_log_comes_with_a_caveat() {
    let mut story = Story::default();
    story.send(0, "k", 1, 0).send(0, "k", 2, 2).poll(2, json!({"k": [[1, 2]]}));
    story.poll(1, json!({"k": [[0, 1]]})).poll(1, json!({"k": [[1, 2]]}));
    let findings = story.judge().findings();
    let told: Vec<&str> = findings.iter().map(|finding| &finding.what[..]).collect();
    let [duplicate, skip] = told[..] else { panic!("two findings: {told:?}") };
    assert!(duplicate.starts_with("Message 2 of key \"k\" is in the log 2 times"), "{duplicate}");
    assert!(
        skip.contains(
            "message 2 at offset 1 of key \"k\", and left out another copy of one of the two. The log is"
        ),
        "{skip}"
    );
}

#[test]
fn hole_within_a_poll_is_found() {
    let mut story = Story::default();
    story.send(0, "k", 1, 0).send(0, "k", 2, 1).send(0, "k", 3, 2).poll(2, json!({"k": [[1, 2]]}));
    story.poll(1, json!({"k": [[0, 1], [2, 3]]}));
    let finding = story.only("int-poll-skip");
    assert_eq!(
        finding.what,
        "Client 1's poll (8.0 to 9.0 ms) showed message 1 at offset 0 of key \"k\" and right after it \
         message 3 at offset 2 of key \"k\", and left out 2 (offset 1)."
    );
}

#[test]
fn poll_out_of_order_is_found() {
    let mut story = Story::default();
    story.send(0, "k", 1, 0).send(0, "k", 2, 1).poll(1, json!({"k": [[1, 2], [0, 1]]}));
    assert!(
        story
            .only("int-nonmonotonic-poll")
            .what
            .ends_with("message 1 at offset 0 of key \"k\": a step back.")
    );
}

#[test]
fn later_send_with_a_lower_offset_is_found() {
    let mut story = Story::default();
    story.send(0, "k", 1, 7).send(0, "k", 2, 3).poll(1, json!({"k": [[3, 2], [7, 1]]}));
    let finding = story.only("nonmonotonic-send");
    assert_eq!(
        finding.what,
        "Client 0 sent message 1 at offset 7 of key \"k\" (0.0 to 1.0 ms); then client 0 sent message 2 at \
         offset 3 of key \"k\" (2.0 to 3.0 ms)."
    );
}

#[test]
fn sends_of_one_operation_are_compared() {
    let both = |first: u64, second: u64| json!([["send", "k", [first, 1]], ["send", "k", [second, 2]]]);
    let mut story = Story::default();
    story.event(0, EventKind::Invoke, "txn", json!([["send", "k", 1], ["send", "k", 2]]));
    story.event(0, EventKind::Ok, "txn", both(5, 4)).poll(1, json!({"k": [[4, 2], [5, 1]]}));
    story.only("int-nonmonotonic-send");

    let mut story = Story::default();
    story.send(2, "k", 3, 1).event(0, EventKind::Invoke, "txn", json!([["send", "k", 1], ["send", "k", 2]]));
    story.event(0, EventKind::Ok, "txn", both(0, 2)).poll(1, json!({"k": [[0, 1], [1, 3], [2, 2]]}));
    let verdict = story.judge();
    assert_eq!((verdict.valid, &verdict.error_types[..]), (Valid::True, &["int-send-skip"][..]));
    assert!(verdict.findings().is_empty());
}

#[test]
fn operation_that_polls_its_own_send_is_found() {
    let mut story = Story::default();
    story.event(0, EventKind::Invoke, "txn", json!([["send", "k", 1], ["poll"]]));
    story.event(0, EventKind::Ok, "txn", json!([["send", "k", [0, 1]], ["poll", {"k": [[0, 1]]}]]));
    story.poll(1, json!({}));
    story.only("precommitted-read");
}

#[test]
fn message_that_nobody_polled_is_unseen() {
    let mut story = Story::default();
    story.send(0, "k", 1, 0).poll(1, json!({}));
    let finding = story.only("unseen");
    assert_eq!(
        finding.what,
        "Client 0 sent message 1 at offset 0 of key \"k\" (0.0 to 1.0 ms), with success, and nobody polled \
         it until the end, at 3.0 ms. Such messages: 1 of key \"k\"."
    );
}

#[test]
fn message_polled_before_it_is_sent_is_a_cycle() {
    let mut story = Story::default();
    story.poll(1, json!({"k": [[0, 1]]})).poll(2, json!({})).send(0, "k", 1, 0);
    let verdict = story.judge();
    assert_eq!(verdict.bad_error_types, ["G1c-realtime", "strong-PL-2-cycle-exists"]);
    let [finding] = &verdict.findings()[..] else { panic!("one finding") };
    assert_eq!(
        finding.what,
        "Client 1's poll (0.0 to 1.0 ms) showed message 1 of key \"k\", but client 0's send (4.0 to 5.0 \
         ms) began only later."
    );
    assert_eq!(finding.events, [0, 1, 4, 5]);
}

#[test]
fn operations_that_poll_each_others_sends_are_a_cycle() {
    let mut story = Story::default();
    story.event(0, EventKind::Invoke, "txn", json!([["send", "k", 1], ["poll"]]));
    story.event(1, EventKind::Invoke, "txn", json!([["send", "l", 1], ["poll"]]));
    story.event(0, EventKind::Ok, "txn", json!([["send", "k", [0, 1]], ["poll", {"l": [[0, 1]]}]]));
    story.event(1, EventKind::Ok, "txn", json!([["send", "l", [0, 1]], ["poll", {"k": [[0, 1]]}]]));
    let verdict = story.judge();
    assert_eq!(verdict.bad_error_types, ["G1c", "PL-2-cycle-exists"]);
    assert_eq!((verdict.errors.g1c.errs[0].steps.len(), verdict.findings().len()), (2, 1));
}

#[test]
fn message_that_nobody_sent_is_a_phantom() {
    let mut story = Story::default();
    story.send(0, "k", 1, 0).poll(1, json!({"k": [[0, 1], [1, "1"]]}));
    let finding = story.only("phantom");
    assert_eq!(
        finding.what,
        "Client 1's poll (2.0 to 3.0 ms) showed message \"1\" of key \"k\", which nobody ever sent."
    );
    assert_eq!(story.judge().notes.len(), 1);
}

#[test]
fn offset_below_zero_is_malformed() {
    let mut story = Story::default();
    story.begin_send(0, "k", 1).event(0, EventKind::Ok, "send", json!([["send", "k", [-1, 1]]]));
    story.poll(1, json!({"k": [[0, 1]]}));
    let finding = story.only("malformed");
    assert_eq!(
        finding.what,
        "In client 0's send at 1.0 ms: -1 is no offset: offsets are integers from 0 on."
    );
    assert_eq!(story.judge().notes.len(), 1);
}

#[test]
fn offset_that_is_no_integer_is_malformed() {
    for offset in [json!(0.5), json!("0"), json!([0]), json!(1e300)] {
        let mut story = Story::default();
        story.send(0, "k", 1, 0).poll(1, json!({"k": [[offset, 1]]}));
        story.only("malformed");
    }
}

#[test]
fn greatest_offsets_cost_nothing() {
    let last = u64::MAX;
    let mut story = Story::default();
    story.assign(1, json!(["k"])).send(0, "k", 1, 1_000_000_000_000_000).send(0, "k", 2, last);
    story.poll(1, json!({"k": [[1_000_000_000_000_000_u64, 1], [last, 2]]}));
    let verdict = story.judge();
    assert_eq!((verdict.valid, verdict.notes.len()), (Valid::True, 1));
}

#[test]
fn lag_counts_from_when_more_was_known() {
    let mut story = Story::default();
    story
        .assign(1, json!(["k"]))
        .send(0, "k", 1, 1 << 60)
        .poll(1, json!({}))
        .poll(1, json!({"k": [[1_u64 << 60, 1]]}));
    let lag = story.judge().worst_realtime_lag;
    // The send ended at 3 ms; the first poll began at 4 ms and did not show the message.
    assert_eq!((lag.time, lag.lag, lag.key.as_deref()), (0.004, 0.001, Some("k")));
}

#[test]
fn integers_as_keys_are_as_strings() {
    let mut story = Story::default();
    story.event(0, EventKind::Invoke, "send", json!([["send", 7, 1]]));
    story.event(0, EventKind::Ok, "send", json!([["send", 7, [0, 1]]]));
    story.poll(1, json!({"7": [[0, 1]]}));
    assert_eq!(story.judge().valid, Valid::True);
}

#[test]
fn message_may_be_an_array_of_two() {
    let mut story = Story::default();
    story.event(0, EventKind::Invoke, "send", json!([["send", "k", [8, 9]]]));
    story.event(0, EventKind::Info, "send", json!([["send", "k", [8, 9]]]));
    story.poll(1, json!({"k": [[0, [8, 9]]]})).poll(2, json!({}));
    assert_eq!(story.judge().valid, Valid::True);
}

#[test]
fn completion_of_another_function_leaves_a_send_open() {
    let mut story = Story::default();
    story.begin_send(0, "k", 1).event(0, EventKind::Ok, "poll", json!([["poll", {"k": [[0, 1]]}]]));
    story.poll(1, json!({}));
    assert_eq!(story.judge().valid, Valid::True);
}

#[test]
fn key_polled_in_vain_is_judged_and_noted() {
    let mut story = Story::default();
    story.poll(0, json!({"k": []})).poll(0, json!({"k": []}));
    let verdict = story.judge();
    assert_eq!((verdict.valid, verdict.notes.len()), (Valid::True, 1));
}

#[test]
fn key_first_shown_at_the_very_end_is_not_unseen() {
    let mut story = Story::default();
    story.begin_send(0, "k", 1).poll(1, json!({})).poll(1, json!({"k": [[0, 1]]}));
    let verdict = story.judge();
    assert_eq!((verdict.valid, verdict.notes.len()), (Valid::True, 1));
}

#[test]
fn verdict_has_jepsens_names() {
    let mut story = Story::default();
    story.send(0, "k", 1, 0).poll(1, json!({"k": [[0, 1]]})).poll(1, json!({"k": [[0, 1]]}));
    let verdict = serde_json::to_value(story.judge()).unwrap();
    let expected = json!({
        "valid": false,
        "worst-realtime-lag": {"time": 0.002, "process": 1, "key": "k", "lag": 0.0},
        "bad-error-types": ["nonmonotonic-poll"],
        "error-types": ["nonmonotonic-poll"],
        "info-txn-causes": [],
        "nonmonotonic-poll": {"count": 1, "errs": [{"key": "k", "values": [1, 1], "delta": 0, "ops": [3, 5]}]},
    });
    assert_eq!(verdict, expected);
}
