//! A node for every workload, which keeps all there is under one key of lin-kv: each request is a function of what is there,
//! tried again until nobody has come in between. Slow, and right: it survives partitions, pauses and kills, as it keeps nothing
//! itself. Its first argument is the workload; with `--mistake NAME` behind that it makes a mistake.
//!
//! ```text
//! natter test -w kafka --bin target/debug/examples/shared --nemesis partition,kill -- kafka
//! ```

use std::collections::HashMap;
use std::io::{self, BufRead, Write};

use serde_json::{Value as Json, json};

/// What a node can do wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mistake {
    /// Nothing.
    None,
    /// Reads show what this node saw last, without asking.
    Stale,
    /// Writes don't look whether somebody has come in between.
    Blind,
    /// Half of what is acknowledged is not written.
    Forgetful,
    /// What is written is written twice.
    Twice,
    /// Results are in a field of another name.
    Misnamed,
    /// Answers are sent twice.
    Repeating,
}

const MISTAKES: [(&str, Mistake); 6] = [
    ("stale", Mistake::Stale),
    ("blind", Mistake::Blind),
    ("forgetful", Mistake::Forgetful),
    ("twice", Mistake::Twice),
    ("misnamed", Mistake::Misnamed),
    ("repeating", Mistake::Repeating),
];

/// The node.
#[derive(Debug)]
pub struct Node {
    workload: String,
    name: String,
    mistake: Mistake,
    next_id: u64,
    /// Requests that wait for lin-kv, by the number of the request to it.
    waiting: HashMap<u64, Waiting>,
    /// What lin-kv held when it was last read.
    seen: Json,
    requests: u64,
    /// Lines to print.
    out: Vec<u8>,
}

/// A request that waits for lin-kv, with what it would change; none while it waits for what is there.
#[derive(Debug)]
pub struct Waiting {
    request: Json,
    answer: Option<Json>,
}

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let named = args.iter().skip_while(|arg| *arg != "--mistake").nth(1);
    let mistake = named.map_or(Some(Mistake::None), |name| {
        MISTAKES.iter().find(|(known, _)| known == name).map(|(_, mistake)| *mistake)
    });
    let Some(mistake) = mistake else {
        let names: Vec<&str> = MISTAKES.iter().map(|(name, _)| *name).collect();
        return Err(io::Error::other(format!("--mistake is one of {}", names.join(", "))));
    };
    let mut node = Node::new(args.get(1).map_or("", String::as_str), mistake);
    for line in io::stdin().lock().lines() {
        io::stdout().write_all(&node.handle(&line?)?)?;
    }
    Ok(())
}

impl Node {
    /// A node of that workload.
    pub fn new(workload: &str, mistake: Mistake) -> Self {
        Self {
            workload: workload.to_owned(),
            name: String::new(),
            mistake,
            next_id: 0,
            waiting: HashMap::new(),
            seen: json!({}),
            requests: 0,
            out: Vec::new(),
        }
    }

    /// Takes a line, and returns those to print.
    ///
    /// # Errors
    /// If it is no JSON.
    pub fn handle(&mut self, line: &str) -> io::Result<Vec<u8>> {
        let message: Json = serde_json::from_str(line)?;
        let body = &message["body"];
        if let Some(id) = body["in_reply_to"].as_u64() {
            if let Some(waiting) = self.waiting.remove(&id) {
                self.go_on(waiting, body.clone());
            }
            return Ok(std::mem::take(&mut self.out));
        }
        match body["type"].as_str() {
            Some("init") => {
                self.name = body["node_id"].as_str().unwrap_or_default().to_owned();
                self.reply(&message, json!({ "type": "init_ok" }));
            }
            Some("topology") => self.reply(&message, json!({ "type": "topology_ok" })),
            _ => self.begin(message),
        }
        Ok(std::mem::take(&mut self.out))
    }

    fn begin(&mut self, message: Json) {
        self.requests += 1;
        let before = self.seen.clone();
        let (after, answer) = self.apply(&before, &message["body"]);
        let is_read = after == before;
        let forgets = self.mistake == Mistake::Forgetful && !is_read && self.requests.is_multiple_of(2);
        if forgets || self.mistake == Mistake::Stale && is_read {
            return self.reply(&message, answer);
        }
        self.ask(json!({ "type": "read", "key": "all" }), Waiting { request: message, answer: None });
    }

    /// lin-kv has answered.
    fn go_on(&mut self, waiting: Waiting, body: Json) {
        let Waiting { request, answer } = waiting;
        let Some(answer) = answer else {
            // There may be nothing yet.
            self.seen = if body["type"] == "read_ok" { body["value"].clone() } else { json!({}) };
            return self.change(request);
        };
        match body["type"].as_str() {
            Some("cas_ok" | "write_ok") => self.reply(&request, answer),
            _ => self.begin(request),
        }
    }

    /// Writes what a request makes of what is there, if it makes something of it.
    fn change(&mut self, request: Json) {
        let (after, answer) = self.apply(&self.seen, &request["body"]);
        if after == self.seen {
            return self.reply(&request, answer);
        }
        let write = if self.mistake == Mistake::Blind {
            json!({ "type": "write", "key": "all", "value": after })
        } else {
            json!({
                "type": "cas",
                "key": "all",
                "from": self.seen,
                "to": after,
                "create_if_not_exists": true,
            })
        };
        self.ask(write, Waiting { request, answer: Some(answer) });
    }

    fn ask(&mut self, mut body: Json, waiting: Waiting) {
        self.next_id += 1;
        body["msg_id"] = self.next_id.into();
        self.waiting.insert(self.next_id, waiting);
        self.send(&json!("lin-kv"), &body);
    }

    fn reply(&mut self, request: &Json, mut answer: Json) {
        answer["in_reply_to"] = request["body"]["msg_id"].clone();
        if self.mistake == Mistake::Misnamed
            && let Some(result) = answer.as_object_mut().and_then(|fields| fields.remove("messages"))
        {
            answer["message"] = result;
        }
        self.send(&request["src"], &answer);
        if self.mistake == Mistake::Repeating && answer["type"] != "init_ok" {
            self.send(&request["src"], &answer);
        }
    }

    fn send(&mut self, dest: &Json, body: &Json) {
        let message = json!({ "src": self.name, "dest": dest, "body": body });
        self.out.extend_from_slice(format!("{message}\n").as_bytes());
    }

    /// What a request makes of what is there, and its answer.
    fn apply(&self, all: &Json, request: &Json) -> (Json, Json) {
        let mut after = if all.is_object() { all.clone() } else { json!({}) };
        let kind = request["type"].as_str().unwrap_or_default();
        let text = |key: &Json| key.as_str().map_or_else(|| key.to_string(), str::to_owned);
        let times = if self.mistake == Mistake::Twice { 2 } else { 1 };
        let mut answer = json!({ "type": format!("{kind}_ok") });
        match kind {
            "echo" => answer["echo"] = request["echo"].clone(),
            "generate" => {
                let next = after["ids"].as_u64().unwrap_or(0);
                after["ids"] = (next + u64::from(times == 1)).into();
                answer["id"] = next.into();
            }
            "broadcast" => (0..times).for_each(|_| push(&mut after["set"], request["message"].clone())),
            "add" if request.get("element").is_some() => {
                (0..times).for_each(|_| push(&mut after["set"], request["element"].clone()));
            }
            "add" => {
                let sum = after["sum"].as_i64().unwrap_or(0) + times * request["delta"].as_i64().unwrap_or(0);
                after["sum"] = sum.into();
            }
            "read" if request.get("key").is_some() => match after["keys"].get(text(&request["key"])) {
                Some(value) => answer["value"] = value.clone(),
                None => answer = json!({ "type": "error", "code": 20, "text": "no such key" }),
            },
            "read" => {
                // Sets and counters each have a read of their own.
                let set = after.get("set").cloned().unwrap_or_else(|| json!([]));
                match self.workload.as_str() {
                    "g-counter" | "pn-counter" => {
                        answer["value"] = after["sum"].as_i64().unwrap_or(0).into();
                    }
                    "g-set" => answer["value"] = set,
                    _ => answer["messages"] = set,
                }
            }
            "write" => after["keys"][text(&request["key"])] = request["value"].clone(),
            "cas" => match after["keys"].get(text(&request["key"])) {
                Some(value) if *value == request["from"] => {
                    after["keys"][text(&request["key"])] = request["to"].clone();
                }
                Some(_) => answer = json!({ "type": "error", "code": 22, "text": "another value" }),
                None => answer = json!({ "type": "error", "code": 20, "text": "no such key" }),
            },
            "send" => {
                let log = &mut after["logs"][text(&request["key"])];
                let offset = log.as_array().map_or(0, Vec::len);
                (0..times).for_each(|_| push(log, request["msg"].clone()));
                answer["offset"] = offset.into();
            }
            "poll" => {
                let mut messages = json!({});
                for (key, offset) in request["offsets"].as_object().into_iter().flatten() {
                    let log = after["logs"].get(key).and_then(Json::as_array).into_iter().flatten();
                    let from = offset.as_u64().unwrap_or(0) as usize;
                    let new: Vec<Json> = log
                        .enumerate()
                        .skip(from)
                        .map(|(offset, message)| json!([offset, message]))
                        .collect();
                    messages[key] = new.into();
                }
                answer["msgs"] = messages;
            }
            "commit_offsets" => {
                for (key, offset) in request["offsets"].as_object().into_iter().flatten() {
                    let known = after["committed"].get(key).and_then(Json::as_u64);
                    after["committed"][key] = known.max(offset.as_u64()).into();
                }
            }
            "list_committed_offsets" => {
                let keys = request["keys"].as_array().into_iter().flatten().map(text);
                let known = keys.filter_map(|key| Some((key.clone(), after["committed"].get(key)?.clone())));
                answer["offsets"] = known.collect();
            }
            "txn" => {
                let mut done = request["txn"].clone();
                for operation in done.as_array_mut().into_iter().flatten() {
                    let key = text(&operation[1]);
                    match operation[0].as_str() {
                        Some("r") => operation[2] = after["keys"].get(&key).cloned().unwrap_or(Json::Null),
                        Some("append") => {
                            (0..times).for_each(|_| push(&mut after["keys"][&key], operation[2].clone()));
                        }
                        _ => after["keys"][&key] = operation[2].clone(),
                    }
                }
                answer["txn"] = done;
            }
            _ => answer = json!({ "type": "error", "code": 10, "text": format!("no operation {kind}") }),
        }
        (after, answer)
    }
}

fn push(list: &mut Json, element: Json) {
    match list.as_array_mut() {
        Some(list) => list.push(element),
        None => *list = json!([element]),
    }
}
