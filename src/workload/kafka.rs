//! Logs in the manner of Kafka: messages are sent to keys, and get offsets; clients poll from where they are, and commit how far
//! they have come.
//!
//! A client's state is the next offset to read of each key that is assigned to it. It forgets that when it is given up.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use rand::RngExt;
use rand_pcg::Pcg64;
use serde_json::{Value as Json, json};

use super::txn::Keys;
use super::{
    Answered, Call, Last, Op, Rpc, Setting, Workload, WorkloadKind, WorkloadResult, in_words, refuses_nothing,
};
use crate::check::kafka::kafka;
use crate::history::{EventKind, Flag, OpValue};
use crate::node::Time;

/// kafka.
pub const KIND: WorkloadKind = WorkloadKind {
    name: "kafka",
    about: "Logs that are appended to and read in order",
    new: |setting| Box::new(Kafka::new(setting)),
    check: |history, _| {
        let result = kafka(history);
        let anomalies = result.bad_error_types.join(", ");
        let line = if anomalies.is_empty() { "none".to_owned() } else { anomalies };
        let lines = vec![("anomalies", line)];
        WorkloadResult::new(result.valid, &result).with(result.findings(), lines)
    },
    reads_sets: false,
    refuses: refuses_nothing,
};

/// One operation of so many is preceded by an assignment of its key.
const OPS_AN_ASSIGN: u32 = 64;
/// One assignment of so many is of all keys as well that were sent more than was polled.
const ASSIGNS_A_CATCH_UP: u32 = 3;
/// Each client is given up once in that time, on average.
const LIFE: Duration = Duration::from_secs(30);
/// How long a client may take in the end to read everything.
const LAST_MAX: Duration = Duration::from_secs(10);
/// The longest time between two polls then.
const LAST_PAUSE_MAX: Duration = Duration::from_millis(400);

#[derive(Debug)]
struct Kafka {
    keys: Keys,
    workers: usize,
    /// What comes after an assignment.
    held: Option<Op>,
    /// When the next client is given up; none before the first operation.
    next_crash: Option<Time>,
    /// The highest offsets that were sent, and that were polled, by key.
    sent: BTreeMap<String, i64>,
    polled: BTreeMap<String, i64>,
    /// All keys that were drawn.
    touched: BTreeSet<i64>,
    clients: HashMap<usize, Client>,
    finishing: HashMap<usize, Finishing>,
}

#[derive(Debug, Default)]
struct Client {
    /// The next offset to read of each key that is assigned.
    positions: BTreeMap<String, i64>,
    /// What was polled and is to be committed.
    polled: Json,
}

/// What a worker does last: it is given up, takes all keys from their beginnings, and polls until it has read everything.
#[derive(Debug)]
struct Finishing {
    until: Time,
    next: FinalStep,
    polled: BTreeMap<String, i64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum FinalStep {
    Assign,
    Pause,
    Poll,
}

/// The messages of an answer to a poll, by key: pairs of an offset and a message.
type Polled = BTreeMap<String, Option<Vec<(i64, Json)>>>;

impl Kafka {
    fn new(setting: &Setting<'_>) -> Self {
        Self {
            keys: Keys::new(setting.options),
            workers: setting.workers,
            held: None,
            next_crash: None,
            sent: BTreeMap::new(),
            polled: BTreeMap::new(),
            touched: BTreeSet::new(),
            clients: HashMap::new(),
            finishing: HashMap::new(),
        }
    }

    /// Whether it is time to give up a client.
    fn crashes(&mut self, now: Time, rng: &mut Pcg64) -> bool {
        let workers = self.workers;
        let mut pause = || (LIFE / workers as u32).mul_f64(2.0 * rng.random::<f64>());
        let due = *self.next_crash.get_or_insert_with(|| now + pause());
        if due <= now {
            self.next_crash = Some(due + pause());
        }
        due <= now
    }

    /// The keys to assign before an operation on one of them.
    fn assigned(&self, key: i64, rng: &mut Pcg64) -> BTreeSet<String> {
        let mut keys = BTreeSet::from([key.to_string()]);
        if rng.random_range(0..ASSIGNS_A_CATCH_UP) == 0 {
            let is_behind =
                |key: &&String| self.polled.get(*key).is_none_or(|polled| *polled < self.sent[*key]);
            keys.extend(self.sent.keys().filter(is_behind).cloned());
        }
        keys
    }

    /// Takes the messages that a client polled.
    fn poll(&mut self, worker: usize, polled: Polled) -> Result<Answered, String> {
        let client = self.clients.entry(worker).or_default();
        let mut offsets = BTreeMap::new();
        for (key, messages) in &polled {
            let Some(highest) = messages.iter().flatten().map(|(offset, _)| *offset).max() else { continue };
            offsets.insert(key.clone(), highest);
            let next = highest.checked_add(1).ok_or("an offset is the last there is")?;
            let position = client.positions.entry(key.clone()).or_default();
            *position = next.max(*position);
        }
        let polled: BTreeMap<_, _> =
            polled.into_iter().map(|(key, messages)| (key, messages.unwrap_or_default())).collect();
        let value = json!([["poll", polled]]);
        if offsets.is_empty() {
            return Ok(Answered::Done(OpValue::Json(value)));
        }
        client.polled = value;
        Ok(Answered::Next(Rpc::new("commit_offsets", json!({ "offsets": offsets }))))
    }

    /// Takes the offsets that were committed: a key that was assigned already stays where it is.
    fn assign(&mut self, worker: usize, keys: &Json, committed: &BTreeMap<String, i64>) {
        let client = self.clients.entry(worker).or_default();
        let before = std::mem::take(&mut client.positions);
        for key in keys.as_array().into_iter().flatten().filter_map(Json::as_str) {
            let position = before.get(key).or(committed.get(key)).copied().unwrap_or(0);
            client.positions.insert(key.to_owned(), position);
        }
    }

    /// Whether a worker has polled everything that was ever seen.
    fn has_read_all(&self, finishing: &Finishing) -> bool {
        let reaches = |polled: &BTreeMap<String, i64>, (key, offset): (&String, &i64)| {
            polled.get(key).is_some_and(|polled| polled >= offset)
        };
        self.sent.iter().chain(&self.polled).all(|seen| reaches(&finishing.polled, seen))
    }
}

/// Raises what is known of a key's offsets.
fn raise(highest: &mut BTreeMap<String, i64>, key: &str, offset: i64) {
    match highest.get_mut(key) {
        Some(known) => *known = offset.max(*known),
        None => {
            highest.insert(key.to_owned(), offset);
        }
    }
}

impl Workload for Kafka {
    fn next_op(&mut self, now: Time, _: usize, rng: &mut Pcg64) -> Option<Op> {
        if self.crashes(now, rng) {
            return Some(Op::new("crash", OpValue::None));
        }
        if let Some(held) = self.held.take() {
            return Some(held);
        }
        let (key, value) = self.keys.draw(rng);
        self.touched.insert(key);
        let op = match value {
            Some(value) => Op::new("send", OpValue::Json(json!([["send", key.to_string(), value]]))),
            None => Op::new("poll", OpValue::Json(json!([["poll"]]))),
        };
        if rng.random_range(0..OPS_AN_ASSIGN) > 0 {
            return Some(op);
        }
        self.held = Some(op);
        Some(Op::new("assign", OpValue::Json(json!(self.assigned(key, rng)))))
    }

    fn has_last(&self) -> bool {
        true
    }

    fn last(&mut self, now: Time, worker: usize, rng: &mut Pcg64) -> Last {
        let Some(finishing) = self.finishing.get(&worker) else {
            let until = now + LAST_MAX;
            let next = FinalStep::Assign;
            self.finishing.insert(worker, Finishing { until, next, polled: BTreeMap::new() });
            return Last::Op(Op::new("crash", OpValue::None));
        };
        let is_done =
            finishing.until <= now || finishing.next != FinalStep::Assign && self.has_read_all(finishing);
        let Some(finishing) = self.finishing.get_mut(&worker).filter(|_| !is_done) else { return Last::Done };
        match finishing.next {
            FinalStep::Assign => {
                finishing.next = FinalStep::Pause;
                let keys: Vec<String> = self.touched.iter().map(i64::to_string).collect();
                let flag = Some(Flag::SeekToBeginning);
                Last::Op(Op { flag, ..Op::new("assign", OpValue::Json(json!(keys))) })
            }
            FinalStep::Pause => {
                finishing.next = FinalStep::Poll;
                Last::Wait(now + LAST_PAUSE_MAX.mul_f64(rng.random::<f64>()))
            }
            FinalStep::Poll => {
                finishing.next = FinalStep::Pause;
                Last::Op(Op::new("poll", OpValue::Json(json!([["poll"]]))))
            }
        }
    }

    fn call(&mut self, worker: usize, op: &Op) -> Call {
        let value = op.value.to_json();
        let client = self.clients.entry(worker).or_default();
        Call::Rpc(match op.f {
            "crash" => return Call::Crash,
            "assign" if op.flag == Some(Flag::SeekToBeginning) => {
                client.positions.clear();
                self.assign(worker, &value, &BTreeMap::new());
                return Call::Done(op.value.clone());
            }
            "assign" => Rpc::new("list_committed_offsets", json!({ "keys": op.value })),
            "send" => Rpc::new("send", json!({ "key": value[0][1], "msg": value[0][2] })),
            _ => Rpc::new("poll", json!({ "offsets": client.positions })),
        })
    }

    fn result_field(&self, request: &str) -> Option<&'static str> {
        match request {
            "send" => Some("offset"),
            "poll" => Some("msgs"),
            "list_committed_offsets" => Some("offsets"),
            _ => None,
        }
    }

    fn answered(&mut self, worker: usize, op: &Op, request: &str, field: &str) -> Result<Answered, String> {
        let wrong = |error: serde_json::Error| in_words(&error);
        match request {
            "send" => {
                let offset: i64 = serde_json::from_str(field).map_err(wrong)?;
                let value = op.value.to_json();
                let sent = json!([["send", value[0][1], [offset, value[0][2]]]]);
                Ok(Answered::Done(OpValue::Json(sent)))
            }
            "poll" => self.poll(worker, serde_json::from_str(field).map_err(wrong)?),
            "commit_offsets" => {
                let client = self.clients.entry(worker).or_default();
                Ok(Answered::Done(OpValue::Json(std::mem::take(&mut client.polled))))
            }
            _ => {
                let committed = serde_json::from_str(field).map_err(wrong)?;
                self.assign(worker, &op.value.to_json(), &committed);
                Ok(Answered::Done(op.value.clone()))
            }
        }
    }

    fn completed(&mut self, worker: usize, _: &Op, kind: EventKind, value: &OpValue) {
        if kind != EventKind::Ok {
            return;
        }
        let value = value.to_json();
        let what = &value[0];
        if let (Some("send"), Some(key), Some(offset)) =
            (what[0].as_str(), what[1].as_str(), what[2][0].as_i64())
        {
            raise(&mut self.sent, key, offset);
        }
        for (key, messages) in what[1].as_object().into_iter().flatten() {
            let offsets = messages.as_array().into_iter().flatten().filter_map(|message| message[0].as_i64());
            let Some(highest) = offsets.max() else { continue };
            raise(&mut self.polled, key, highest);
            if let Some(finishing) = self.finishing.get_mut(&worker) {
                raise(&mut finishing.polled, key, highest);
            }
        }
    }

    fn reopened(&mut self, worker: usize) {
        self.clients.remove(&worker);
    }

    fn is_idempotent(&self, f: &str) -> bool {
        f == "assign"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Options;
    use rand::SeedableRng;

    fn kafka() -> Kafka {
        let options = Options::default();
        Kafka::new(&Setting { nodes: &[], workers: 2, latency: Duration::ZERO, options: &options })
    }

    fn op(f: &'static str, value: Json) -> Op {
        Op::new(f, OpValue::Json(value))
    }

    #[test]
    fn a_poll_goes_on_where_the_last_one_ended_and_commits() {
        let mut kafka = kafka();
        let assign = op("assign", json!(["1", "2"]));
        assert_eq!(
            kafka.call(0, &assign),
            Call::Rpc(Rpc::new("list_committed_offsets", json!({"keys": ["1", "2"]})))
        );
        let done = kafka.answered(0, &assign, "list_committed_offsets", r#"{"1":5}"#);
        assert_eq!(done, Ok(Answered::Done(assign.value.clone())));
        let poll = op("poll", json!([["poll"]]));
        assert_eq!(kafka.call(0, &poll), Call::Rpc(Rpc::new("poll", json!({"offsets": {"1": 5, "2": 0}}))));
        let commit = kafka.answered(0, &poll, "poll", r#"{"1":[[5,50],[9,51]],"2":null}"#);
        let offsets = json!({"offsets": {"1": 9}});
        assert_eq!(commit, Ok(Answered::Next(Rpc::new("commit_offsets", offsets))));
        let value = json!([["poll", {"1": [[5, 50], [9, 51]], "2": []}]]);
        assert_eq!(kafka.answered(0, &poll, "commit_offsets", ""), Ok(Answered::Done(OpValue::Json(value))));
        assert_eq!(kafka.call(0, &poll), Call::Rpc(Rpc::new("poll", json!({"offsets": {"1": 10, "2": 0}}))));
        // A key that stays assigned stays where it is; one that isn't is dropped.
        kafka.answered(0, &op("assign", json!(["1"])), "list_committed_offsets", r#"{"1":3}"#).expect("good");
        assert_eq!(kafka.call(0, &poll), Call::Rpc(Rpc::new("poll", json!({"offsets": {"1": 10}}))));
        kafka.reopened(0);
        assert_eq!(kafka.call(0, &poll), Call::Rpc(Rpc::new("poll", json!({"offsets": {}}))));
    }

    #[test]
    fn a_poll_that_shows_nothing_commits_nothing() {
        let poll = op("poll", json!([["poll"]]));
        let done = kafka().answered(0, &poll, "poll", "{}");
        assert_eq!(done, Ok(Answered::Done(OpValue::Json(json!([["poll", {}]])))));
    }

    #[test]
    fn malformed_answers_are_refused() {
        let mut kafka = kafka();
        for (request, field) in [
            ("poll", "null"),
            ("poll", r#"{"1":[[5]]}"#),
            ("poll", r#"{"1":[["5",1]]}"#),
            ("send", "1.5"),
            ("send", "null"),
            ("list_committed_offsets", r#"{"1":null}"#),
        ] {
            let op = op("send", json!([["send", "1", 1]]));
            assert!(kafka.answered(0, &op, request, field).is_err(), "{request}: {field}");
        }
    }

    #[test]
    fn in_the_end_each_worker_reads_everything_from_the_beginning() {
        let mut kafka = kafka();
        let mut rng = Pcg64::seed_from_u64(1);
        kafka.touched.insert(7);
        let sent = op("send", json!([["send", "7", 1]]));
        kafka.completed(0, &sent, EventKind::Ok, &OpValue::Json(json!([["send", "7", [3, 1]]])));
        let mut last = |kafka: &mut Kafka| kafka.last(Time::ZERO, 0, &mut rng);
        assert_eq!(last(&mut kafka), Last::Op(Op::new("crash", OpValue::None)));
        let Last::Op(assign) = last(&mut kafka) else { panic!("an assignment") };
        assert_eq!((assign.f, assign.flag), ("assign", Some(Flag::SeekToBeginning)));
        assert_eq!(kafka.call(0, &assign), Call::Done(OpValue::Json(json!(["7"]))));
        for (offset, is_done) in [(2, false), (3, true)] {
            assert!(matches!(last(&mut kafka), Last::Wait(_)));
            let Last::Op(poll) = last(&mut kafka) else { panic!("a poll") };
            assert_eq!(poll.f, "poll");
            let value = OpValue::Json(json!([["poll", {"7": [[offset, 1]]}]]));
            kafka.completed(0, &poll, EventKind::Ok, &value);
            if is_done {
                assert_eq!(last(&mut kafka), Last::Done);
            }
        }
        // Somebody else takes no longer than it may.
        assert_eq!(kafka.last(Time::ZERO, 1, &mut rng), Last::Op(Op::new("crash", OpValue::None)));
        assert_eq!(kafka.last(Time::ZERO + LAST_MAX, 1, &mut rng), Last::Done);
    }
}
