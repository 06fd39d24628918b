//! A linearizable key-value store by Raft (D. Ongaro and J. Ousterhout, "In search of an understandable consensus algorithm", 2014),
//! without what a node needs that is started again: it keeps nothing on disk, so that it may be cut off and stopped, not killed.
//!
//! A leader appends each request to its log, reads as well, and answers when a majority has the entry. The others hand their
//! clients' requests to the leader. Indices count from 1; 0 is before the first entry.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use natter::app::{App, Context, Error};
use natter::node::Time;
use natter::protocol::ErrorCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const TICK: Duration = Duration::from_millis(50);
/// A follower that hears nothing for so long, or up to twice that, wants to lead.
const PATIENCE: Duration = Duration::from_millis(400);
/// How long a client's request waits for a majority.
const REQUEST: Duration = Duration::from_millis(900);

/// What a client asks for.
#[derive(Clone, Deserialize, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Request {
    Read { key: Value },
    Write { key: Value, value: Value },
    Cas { key: Value, from: Value, to: Value },
}

/// A request with a number of its own, if another node hands it on: the network may bring it twice.
#[derive(Deserialize, Serialize)]
struct Numbered {
    #[serde(flatten)]
    request: Request,
    number: Option<u64>,
}

#[derive(Clone, Deserialize, Serialize)]
struct Entry {
    term: u64,
    number: u64,
    request: Request,
}

#[derive(Deserialize, Serialize)]
struct Vote {
    term: u64,
    last_index: usize,
    last_term: u64,
}

#[derive(Deserialize, Serialize)]
struct Append {
    term: u64,
    previous_index: usize,
    previous_term: u64,
    entries: Vec<Entry>,
    committed: usize,
}

#[derive(Deserialize, Serialize)]
struct Answer {
    term: u64,
    yes: bool,
}

#[derive(Default, PartialEq)]
enum Role {
    #[default]
    Follower,
    Candidate,
    Leader,
}

#[derive(Default)]
struct Raft {
    role: Role,
    term: u64,
    voted_for: Option<String>,
    leader: Option<String>,
    log: Vec<Entry>,
    committed: usize,
    applied: usize,
    /// What came of each request that has been applied, by its number.
    results: BTreeMap<u64, Result<Value, Error>>,
    store: BTreeMap<String, Value>,
    /// When to want to lead.
    deadline: Time,
    /// Of each other node: how much of the log it is known to hold, and what to send it next.
    held: BTreeMap<String, usize>,
    next: BTreeMap<String, usize>,
}

type Node = Context<Raft>;

impl Raft {
    fn last(&self) -> (usize, u64) {
        (self.log.len(), self.term_at(self.log.len()))
    }

    fn term_at(&self, index: usize) -> u64 {
        index.checked_sub(1).and_then(|at| self.log.get(at)).map_or(0, |entry| entry.term)
    }

    /// Somebody speaks of a term. True if it is an old one.
    fn is_old(&mut self, term: u64) -> bool {
        if term > self.term {
            (self.role, self.term, self.voted_for, self.leader) = (Role::Follower, term, None, None);
        }
        term < self.term
    }

    fn commit(&mut self, upto: usize) {
        self.committed = self.committed.max(upto.min(self.log.len()));
        while self.applied < self.committed {
            let Entry { number, request, .. } = self.log[self.applied].clone();
            self.applied += 1;
            if !self.results.contains_key(&number) {
                let result = self.apply(request);
                self.results.insert(number, result);
            }
        }
    }

    fn apply(&mut self, request: Request) -> Result<Value, Error> {
        let missing = || Error::no_such_key("there is no such key");
        match request {
            Request::Read { key } => {
                let value = self.store.get(&key.to_string()).ok_or_else(missing)?;
                Ok(json!({ "value": value }))
            }
            Request::Write { key, value } => {
                self.store.insert(key.to_string(), value);
                Ok(json!({}))
            }
            Request::Cas { key, from, to } => {
                let value = self.store.get_mut(&key.to_string()).ok_or_else(missing)?;
                if *value != from {
                    return Err(Error::precondition_failed(format!("it holds {value}")));
                }
                *value = to;
                Ok(json!({}))
            }
        }
    }
}

fn be_patient(node: &Node) {
    let spread = PATIENCE.mul_f64((node.random() % 1000) as f64 / 1000.0);
    let deadline = node.now() + PATIENCE + spread;
    node.state(|raft| raft.deadline = deadline);
}

/// A client's request, or one that another node hands on.
async fn request(node: Node, Numbered { request, number }: Numbered) -> Result<Value, Error> {
    let number = number.unwrap_or_else(|| node.random());
    let (leads, leader) = node.state(|raft| (raft.role == Role::Leader, raft.leader.clone()));
    if leads {
        return lead(node, request, number).await;
    }
    let leader = leader.filter(|leader| leader != node.id());
    let leader = leader.ok_or_else(|| Error::unavailable("there is no leader now"))?;
    // One hop only: a leader that has been replaced would send it round and round.
    if node.others().any(|other| other == node.src()) {
        return Err(Error::unavailable("this node does not lead"));
    }
    let numbered = Numbered { request, number: Some(number) };
    let answer = node.rpc(leader, numbered).timeout(REQUEST).await;
    // The network may bring it once more, and the other node may lead by then.
    let refused = |error: Error| {
        if error.is(ErrorCode::TemporarilyUnavailable) { Error::timeout(error.text) } else { error }
    };
    let mut answer = answer.map_err(refused)?;
    Ok(answer.get_mut("value").map_or_else(|| json!({}), |value| json!({ "value": value.take() })))
}

async fn lead(node: Node, request: Request, number: u64) -> Result<Value, Error> {
    let (index, term) = node.state(|raft| {
        raft.log.push(Entry { term: raft.term, number, request });
        raft.last()
    });
    tell_followers(&node);
    let until = node.now() + REQUEST;
    while node.now() < until {
        let (result, is_there) =
            node.state(|raft| (raft.results.get(&number).cloned(), raft.term_at(index) == term));
        if let Some(result) = result {
            return result;
        }
        if !is_there {
            return Err(Error::timeout("another leader was elected"));
        }
        node.sleep(Duration::from_millis(5)).await;
    }
    Err(Error::timeout("no majority has answered"))
}

async fn tick(node: Node) {
    let now = node.now();
    let (leads, is_late) = node.state(|raft| (raft.role == Role::Leader, raft.deadline <= now));
    if leads {
        tell_followers(&node);
    } else if is_late {
        stand_for_election(&node);
    }
}

fn stand_for_election(node: &Node) {
    be_patient(node);
    let id = node.id().to_string();
    let vote = node.state(|raft| {
        (raft.role, raft.term, raft.voted_for, raft.leader) =
            (Role::Candidate, raft.term + 1, Some(id.clone()), None);
        raft.held = BTreeMap::from([(id.clone(), 0)]);
        let (last_index, last_term) = raft.last();
        Vote { term: raft.term, last_index, last_term }
    });
    let mut body = json!(vote);
    body["type"] = "vote".into();
    let majority = node.members().len() / 2 + 1;
    if majority == 1 {
        node.state(|raft| raft.role = Role::Leader);
    }
    for other in node.others().map(str::to_owned) {
        let (asking, question) = (node.clone(), node.rpc(other.clone(), &body).timeout(PATIENCE));
        node.spawn(async move {
            let Some(Answer { term, yes }) = answer(question.await) else { return };
            let is_elected = asking.state(|raft| {
                raft.is_old(term);
                if raft.role != Role::Candidate || raft.term != vote.term || !yes {
                    return false;
                }
                raft.held.insert(other, 0);
                let is_elected = raft.held.len() >= majority;
                if is_elected {
                    raft.role = Role::Leader;
                    (raft.held, raft.next) = (BTreeMap::new(), BTreeMap::new());
                }
                is_elected
            });
            if is_elected {
                tell_followers(&asking);
            }
        });
    }
}

/// Somebody wants to lead.
async fn vote(node: Node, Vote { term, last_index, last_term }: Vote) -> Result<Answer, Error> {
    let candidate = node.src().to_owned();
    let (answer, granted) = node.state(|raft| {
        let is_old = raft.is_old(term);
        let (own_index, own_term) = raft.last();
        let is_up_to_date = (last_term, last_index) >= (own_term, own_index);
        let is_free = raft.voted_for.as_ref().is_none_or(|voted| *voted == candidate);
        let yes = !is_old && is_up_to_date && is_free;
        if yes {
            raft.voted_for = Some(candidate);
        }
        (Answer { term: raft.term, yes }, yes)
    });
    if granted {
        be_patient(&node);
    }
    Ok(answer)
}

/// Sends each follower what it lacks, or nothing: then it knows at least that there is a leader.
fn tell_followers(node: &Node) {
    let majority = node.members().len() / 2 + 1;
    if majority == 1 {
        node.state(|raft| raft.commit(raft.log.len()));
    }
    for other in node.others().map(str::to_owned) {
        let append = node.state(|raft| {
            let next = *raft.next.entry(other.clone()).or_insert(raft.log.len() + 1);
            let entries = raft.log[next - 1..].to_vec();
            let previous_term = raft.term_at(next - 1);
            Append {
                term: raft.term,
                previous_index: next - 1,
                previous_term,
                entries,
                committed: raft.committed,
            }
        });
        let mut body = json!(append);
        body["type"] = "append".into();
        let (telling, told) = (node.clone(), node.rpc(other.clone(), body).timeout(PATIENCE));
        node.spawn(async move {
            let Some(Answer { term, yes }) = answer(told.await) else { return };
            telling.state(|raft| {
                raft.is_old(term);
                if raft.role != Role::Leader || raft.term != append.term {
                    return;
                }
                let reached = append.previous_index + append.entries.len();
                if !yes {
                    let next = raft.next.entry(other).or_insert(1);
                    *next = append.previous_index.clamp(1, (*next).max(1));
                    return;
                }
                let held = raft.held.entry(other.clone()).or_insert(0);
                *held = reached.max(*held);
                raft.next.insert(other, *held + 1);
                let mut held: Vec<usize> = raft.held.values().copied().collect();
                held.sort_unstable_by(|one, two| two.cmp(one));
                // This node holds everything itself.
                let by_majority = held.get(majority - 2).copied().unwrap_or(0);
                if raft.term_at(by_majority) == raft.term {
                    raft.commit(by_majority);
                }
            });
        });
    }
}

/// The leader brings entries.
async fn append(node: Node, append: Append) -> Result<Answer, Error> {
    let leader = node.src().to_owned();
    let Append { term, previous_index, previous_term, entries, committed } = append;
    let (answer, heard) = node.state(|raft| {
        if raft.is_old(term) {
            return (Answer { term: raft.term, yes: false }, false);
        }
        (raft.role, raft.leader) = (Role::Follower, Some(leader));
        let fits = previous_index <= raft.log.len() && raft.term_at(previous_index) == previous_term;
        if fits {
            let reached = previous_index + entries.len();
            for (index, entry) in (previous_index + 1..).zip(entries) {
                if raft.term_at(index) != entry.term {
                    raft.log.truncate(index - 1);
                    raft.log.push(entry);
                }
            }
            raft.commit(committed.min(reached));
        }
        (Answer { term: raft.term, yes: fits }, true)
    });
    if heard {
        be_patient(&node);
    }
    Ok(answer)
}

fn answer(body: Result<Value, Error>) -> Option<Answer> {
    serde_json::from_value(body.ok()?).ok()
}

fn app() -> App<Raft> {
    App::new(Raft::default())
        .on("read", request)
        .on("write", request)
        .on("cas", request)
        .on("vote", vote)
        .on("append", append)
        .on_start(|node| async move { be_patient(&node) })
        .every(TICK, tick)
}

fn main() -> ExitCode {
    app().run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use natter::cluster::scenario::FaultKind::{Duplication, Loss, Partition, Pause, Reordering};
    use natter::cluster::scenario::LatencyDist;
    use natter::workload::lin_kv;

    #[test]
    fn no_order_is_violated_whatever_happens() {
        natter::check(lin_kv::KIND)
            .nodes(3)
            .clients(2)
            .rate(50.0)
            .latency(Duration::from_millis(5), LatencyDist::Exponential)
            .faults([Partition, Pause, Loss, Duplication, Reordering])
            .seeds(0..100)
            .run(app);
    }

    #[test]
    #[should_panic(expected = "is not linearizable")]
    fn a_node_that_reads_without_asking_the_others_is_found() {
        async fn stale(node: Node, request: Request) -> Result<Value, Error> {
            node.state(|raft| raft.apply(request))
        }
        let wrong = || app().on("read", stale);
        natter::check(lin_kv::KIND)
            .nodes(3)
            .clients(2)
            .rate(50.0)
            .latency(Duration::from_millis(5), LatencyDist::Exponential)
            .faults([Partition])
            .seeds(0..100)
            .run(wrong);
    }
}
