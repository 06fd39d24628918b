//! How fast the test bench is: from the start of nodes to the first operation, operations and messages a second, how late
//! messages are, how long checkers take.
//!
//! ```text
//! cargo bench --bench workbench              # a minute and a half
//! cargo bench --bench workbench -- --long    # two minutes at 5,000 operations a second, for the memory that takes
//! ```
//!
//! Run by its name, on an idle machine. Each figure stands beside what it must reach; a figure that doesn't is told, and makes
//! the exit status 1.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use comfy_table::{CellAlignment, Table, presets};
use flate2::read::GzDecoder;
use natter::cluster::process::{self, NodeCommand, Signals};
use natter::cluster::scenario::{Concurrency, Scenario, Verbosity};
use natter::cluster::trial::Results;
use natter::history::{EventKind, History, OpValue, Process};
use natter::node::Time;
use natter::workload::{self, Options, Setting, Workload, WorkloadKind};
use nix::sys::resource::{UsageWho, getrusage};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use serde_json::{Value as Json, json};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if args.iter().any(|arg| arg == "--role") {
        return if minimal_node().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    // Where benches are run as tests, each figure is made once from little, and none is judged.
    let is_bench = args.iter().any(|arg| arg == "--bench");
    let bench = Bench {
        signals: Signals::catch().expect("the system has pipes"),
        scale: if is_bench { 1.0 } else { 0.02 },
    };
    let mut figures = Vec::new();
    // Memory is told at its most, so what is measured comes first, and the long run alone.
    if args.iter().any(|arg| arg == "--long") {
        figures.push(bench.long());
    } else {
        if is_bench {
            figures.extend(bench.thousand_nodes());
        }
        figures.extend(bench.runs());
        figures.extend(bench.checks());
    }
    let text = table(&figures);
    io::stdout().write_all(format!("{text}\n").as_bytes()).expect("somebody listens");
    let all_met = figures.iter().all(Figure::is_met);
    if all_met || !is_bench { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A figure, and what it must be.
struct Figure {
    what: &'static str,
    value: f64,
    unit: &'static str,
    limit: Limit,
}

enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

impl Figure {
    fn is_met(&self) -> bool {
        match self.limit {
            Limit::AtLeast(least) => self.value >= least,
            Limit::AtMost(most) => self.value <= most,
        }
    }
}

fn table(figures: &[Figure]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(["what", "figure", "must be", "unit", "met"]);
    for figure in figures {
        let limit = match figure.limit {
            Limit::AtLeast(least) => format!("≥ {least}"),
            Limit::AtMost(most) => format!("≤ {most}"),
        };
        let value = if figure.value < 100.0 {
            format!("{:.3}", figure.value)
        } else {
            format!("{:.0}", figure.value)
        };
        let met = if figure.is_met() { "yes" } else { "NO" };
        table.add_row([figure.what, &value, &limit, figure.unit, met]);
    }
    for column in [1, 2] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

struct Bench {
    signals: Signals,
    /// How much of everything is done, from 0 to 1.
    scale: f64,
}

#[expect(clippy::disallowed_methods, reason = "it measures time")]
fn seconds<T>(run: impl FnOnce() -> T) -> (T, f64) {
    let began = Instant::now();
    let result = run();
    (result, began.elapsed().as_secs_f64())
}

impl Bench {
    /// Runs a scenario on processes; the messages of it are in `messages.jsonl` in the folder.
    fn run(
        &self,
        scenario: &Scenario,
        command: &NodeCommand,
        folder: &Path,
        keeps_messages: bool,
    ) -> Results {
        let outside = (&self.signals, Verbosity { keeps_messages, ..Verbosity::default() });
        let (results, _) =
            process::run(scenario, 1, command, folder, outside, &mut |_, _| {}).expect("nodes behave");
        assert!(results.stats.all.ok_count > 0);
        results
    }

    fn runs(&self) -> Vec<Figure> {
        let time_limit = (5.0 * self.scale).max(0.5);
        let flooded = |node_count, clients| Scenario {
            node_count,
            concurrency: Concurrency::Exactly(clients),
            rate: 1e6,
            time_limit,
            ..Scenario::new(workload::echo::KIND)
        };
        let ops = |scenario: &Scenario| {
            let folder = folder();
            let results = self.run(scenario, &minimal(), folder.path(), false);
            results.stats.all.ok_count as f64 / time_limit
        };
        let (one, many) = (ops(&flooded(1, 100)), ops(&flooded(25, 100)));
        let quiet = Scenario { node_count: 2, rate: 1.0, time_limit, ..Scenario::new(workload::echo::KIND) };
        let results = self.run(&quiet, &minimal(), folder().path(), false);
        let routed = results.net.servers.recv_count as f64 / time_limit;
        let (start, late) = (self.start(), self.lateness());
        vec![
            Figure {
                what: "start to first operation, 25 nodes",
                value: start,
                unit: "s",
                limit: Limit::AtMost(0.3),
            },
            Figure {
                what: "client operations, one node",
                value: one,
                unit: "1/s",
                limit: Limit::AtLeast(1e5),
            },
            Figure {
                what: "client operations, 25 nodes",
                value: many,
                unit: "1/s",
                limit: Limit::AtLeast(6e4),
            },
            Figure {
                what: "messages between two nodes",
                value: routed,
                unit: "1/s",
                limit: Limit::AtLeast(5e5),
            },
            Figure {
                what: "a message is late, 0.99 quantile",
                value: late,
                unit: "ms",
                limit: Limit::AtMost(1.0),
            },
        ]
    }

    /// What a run of 25 nodes takes beside the time in which clients make requests, in seconds: the start of the nodes, and
    /// their end.
    fn start(&self) -> f64 {
        let time_limit = 0.5;
        let scenario =
            Scenario { node_count: 25, rate: 100.0, time_limit, ..Scenario::new(workload::echo::KIND) };
        seconds(|| self.run(&scenario, &own_node(), folder().path(), true)).1 - time_limit
    }

    /// How late messages between 25 nodes are, in milliseconds.
    fn lateness(&self) -> f64 {
        let scenario = Scenario {
            time_limit: (20.0 * self.scale).max(0.5),
            ..natter::challenge::Challenge::LowLatency.scenario()
        };
        let folder = folder();
        self.run(&scenario, &own_node(), folder.path(), true);
        let file = File::open(folder.path().join("messages.jsonl")).expect("it is kept");
        let (mut sent, mut late) = (HashMap::new(), Vec::new());
        for line in BufReader::new(file).lines() {
            let line: Json = serde_json::from_str(&line.expect("text")).expect("JSON");
            let time = line["time"].as_u64().expect("a time");
            match (line["what"].as_str(), line["id"].as_u64()) {
                (Some("sent"), Some(id)) => {
                    let is_of_client =
                        |end: &str| line[end].as_str().is_some_and(|name| name.starts_with('c'));
                    if !is_of_client("src") && !is_of_client("dest") {
                        sent.insert(id, time);
                    }
                }
                (Some("arrived"), Some(id)) => {
                    let sent = sent.remove(&id);
                    late.extend(sent.map(|sent| (time - sent) as f64 / 1e6 - scenario.latency));
                }
                _ => {}
            }
        }
        late.sort_by(f64::total_cmp);
        assert!(!late.is_empty() && late[0] >= 0.0, "messages arrive when they are due, or later");
        late[late.len() * 99 / 100]
    }

    fn checks(&self) -> Vec<Figure> {
        let check = |what, kind: WorkloadKind, ops: f64, concurrency| {
            let history = Made::history(kind, (ops * self.scale) as usize, concurrency);
            let (result, took) = seconds(|| (kind.check)(&history, &Options::default()));
            assert_eq!(result.valid, natter::check::Valid::True, "{what}: {:?}", result.findings);
            Figure { what, value: took, unit: "s", limit: Limit::AtMost(1.0) }
        };
        vec![
            check("check 20,000 operations of lin-kv, 40 keys", workload::lin_kv::KIND, 20_000.0, 400),
            check("check 30,000 operations of kafka", workload::kafka::KIND, 30_000.0, 10),
            check(
                "check 20,000 transactions of txn-list-append",
                workload::txn_list_append::KIND,
                20_000.0,
                10,
            ),
            check(
                "check 20,000 transactions of txn-rw-register",
                workload::txn_rw_register::KIND,
                20_000.0,
                10,
            ),
            Figure {
                what: "judge 1,184 recorded histories",
                value: recorded(),
                unit: "s",
                limit: Limit::AtMost(10.0),
            },
        ]
    }

    fn thousand_nodes(&self) -> [Figure; 2] {
        let scenario = Scenario {
            node_count: 1000,
            time_limit: 20.0,
            rate: 100.0,
            latency: 100.0,
            ..Scenario::new(workload::broadcast::KIND)
        };
        let (results, took) = seconds(|| self.run(&scenario, &own_node(), folder().path(), false));
        assert_eq!(results.valid, natter::check::Valid::True, "{:?}", results.findings);
        let (what, used) = ("1,000 processes pass a run of 20 s", memory());
        [
            Figure { what, value: took, unit: "s", limit: Limit::AtMost(70.0) },
            Figure { what: "natter's memory in that", value: used, unit: "MB", limit: Limit::AtMost(400.0) },
        ]
    }

    fn long(&self) -> Figure {
        let scenario = Scenario {
            concurrency: Concurrency::PerNode(10),
            time_limit: 120.0,
            rate: 5000.0,
            ..Scenario::new(workload::broadcast::KIND)
        };
        let folder = folder();
        self.run(&scenario, &own_node(), folder.path(), true);
        let value = memory();
        Figure { what: "memory of 120 s at a rate of 5,000", value, unit: "MB", limit: Limit::AtMost(500.0) }
    }
}

/// The most memory that this process has used, in megabytes.
fn memory() -> f64 {
    getrusage(UsageWho::RUSAGE_SELF).expect("it is known").max_rss() as f64 / 1000.0
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn minimal() -> NodeCommand {
    let this = std::env::current_exe().expect("this program");
    NodeCommand::new(&this, vec!["--role".to_owned(), "minimal".to_owned()]).expect("it is there")
}

fn own_node() -> NodeCommand {
    NodeCommand::new(Path::new(env!("CARGO_BIN_EXE_natter-node")), Vec::new()).expect("it is built")
}

/// How many messages are under way between two minimal nodes.
const BALLS: usize = 256;

/// Answers echoes, and throws back what another node throws; `n0` begins.
fn minimal_node() -> io::Result<()> {
    let mut input = BufReader::with_capacity(1 << 18, io::stdin());
    let (mut line, mut out, mut name) = (String::new(), Vec::new(), String::new());
    loop {
        line.clear();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let field = |field: &str| {
            let start = line.find(field)? + field.len();
            let end = line[start..].find([',', '}'])?;
            Some(line[start..start + end].trim_matches('"').to_owned())
        };
        let (src, id) = (field("\"src\":").unwrap_or_default(), field("\"msg_id\":"));
        if line.contains("\"ball\"") {
            throw(&mut out, &name, &src)?;
        } else if line.contains("\"init\"") {
            name = field("\"node_id\":").unwrap_or_default();
            let id = id.unwrap_or_default();
            writeln!(
                out,
                r#"{{"src":"{name}","dest":"{src}","body":{{"type":"init_ok","in_reply_to":{id}}}}}"#
            )?;
            if name == "n0" && line.contains("\"n1\"") {
                (0..BALLS).try_for_each(|_| throw(&mut out, &name, "n1"))?;
            }
        } else if let (Some(id), Some(echo)) = (id, field("\"echo\":")) {
            writeln!(
                out,
                r#"{{"src":"{name}","dest":"{src}","body":{{"type":"echo_ok","in_reply_to":{id},"echo":"{echo}"}}}}"#
            )?;
        }
        // What has come at once is answered at once.
        if !input.buffer().contains(&b'\n') {
            io::stdout().write_all(&out)?;
            out.clear();
        }
    }
}

fn throw(out: &mut Vec<u8>, from: &str, to: &str) -> io::Result<()> {
    writeln!(out, r#"{{"src":"{from}","dest":"{to}","body":{{"type":"ball"}}}}"#)
}

/// How long it takes to judge all recorded histories, in seconds.
fn recorded() -> f64 {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/verdicts");
    let mut histories = Vec::new();
    for &kind in workload::ALL {
        let Ok(file) = File::open(folder.join(format!("{}.jsonl.gz", kind.name))) else { continue };
        let mut text = String::new();
        GzDecoder::new(file).read_to_string(&mut text).expect("text");
        for line in text.lines() {
            let case: Json = serde_json::from_str(line).expect("JSON");
            let events = case["history"].as_array().expect("events").iter().map(Json::to_string);
            histories.push((kind, events.collect::<Vec<_>>().join("\n")));
        }
    }
    assert_eq!(histories.len(), 1184);
    let judge = |(kind, lines): &(WorkloadKind, String)| {
        let history = History::from_json_lines(lines.as_bytes(), kind.reads_sets).expect("a history");
        (kind.check)(&history, &Options::default());
    };
    seconds(|| histories.iter().for_each(judge)).1
}

/// An operation with how it ends.
type Done = (workload::Op, EventKind, OpValue);

/// A history of a right system: each operation takes effect at some time between its beginning and its end.
struct Made {
    history: History,
    /// How often each worker has become another process.
    lives: Vec<usize>,
    keys: BTreeMap<String, Json>,
    now: u64,
}

impl Made {
    fn history(kind: WorkloadKind, ops: usize, workers: usize) -> History {
        let options = Options::default();
        let nodes: Vec<String> = (0..5).map(|node| format!("n{node}")).collect();
        let setting =
            Setting { nodes: &nodes, workers, latency: std::time::Duration::ZERO, options: &options };
        let mut clients = (kind.new)(&setting);
        let mut made =
            Self { history: History::default(), lives: vec![0; workers], keys: BTreeMap::new(), now: 0 };
        let mut rng = Pcg64::seed_from_u64(1);
        // What each worker is at: its operation, and its end, once that is known.
        let mut open: Vec<Option<Done>> = vec![None; workers];
        for _ in 0..2 * ops {
            let worker = rng.random_range(0..workers);
            match open[worker].take() {
                Some(done) => made.end(&mut *clients, worker, done),
                None => {
                    let op = clients.next_op(Time::ZERO, worker, &mut rng).expect("there is always one");
                    open[worker] = Some(made.begin(&mut *clients, worker, op));
                }
            }
        }
        for (worker, done) in open.into_iter().enumerate() {
            done.into_iter().for_each(|done| made.end(&mut *clients, worker, done));
        }
        // One reads everything in the end.
        loop {
            match clients.last(Time::ZERO, 0, &mut rng) {
                workload::Last::Op(op) => {
                    let done = made.begin(&mut *clients, 0, op);
                    made.end(&mut *clients, 0, done);
                }
                workload::Last::Wait(_) => {}
                workload::Last::Done => return made.history,
            }
        }
    }

    /// An operation ends. A worker of whose operation nobody knows the end is another client and process from then on.
    fn end(&mut self, clients: &mut dyn Workload, worker: usize, (op, end, value): Done) {
        clients.completed(worker, &op, end, &value);
        self.push(worker, end, &op, value);
        if end == EventKind::Info {
            self.lives[worker] += 1;
            clients.reopened(worker);
        }
    }

    fn push(&mut self, worker: usize, kind: EventKind, op: &workload::Op, value: OpValue) {
        self.now += 100_000;
        let process = Process::Client(worker + self.lives[worker] * self.lives.len());
        self.history.push(Time::from_nanos(self.now), process, kind, op.f, value, None);
    }

    /// An operation begins, and takes effect at once.
    fn begin(&mut self, clients: &mut dyn Workload, worker: usize, op: workload::Op) -> Done {
        self.push(worker, EventKind::Invoke, &op, op.value.clone());
        let mut rpc = match clients.call(worker, &op) {
            workload::Call::Rpc(rpc) => rpc,
            workload::Call::Crash => return (op.clone(), EventKind::Info, op.value),
            workload::Call::Done(value) => return (op, EventKind::Ok, value),
        };
        loop {
            let Some(result) = self.apply(rpc.kind, &rpc.body) else {
                return (op.clone(), EventKind::Fail, op.value);
            };
            match clients.answered(worker, &op, rpc.kind, &result.to_string()).expect("a right answer") {
                workload::Answered::Done(value) => return (op, EventKind::Ok, value),
                workload::Answered::Next(next) => rpc = next,
            }
        }
    }

    /// The result of a request; none if it fails.
    fn apply(&mut self, kind: &str, body: &Json) -> Option<Json> {
        let key = |key: &Json| key.as_str().map_or_else(|| key.to_string(), str::to_owned);
        Some(match kind {
            "read" => self.keys.get(&key(&body["key"]))?.clone(),
            "write" => {
                self.keys.insert(key(&body["key"]), body["value"].clone());
                Json::Null
            }
            "cas" => {
                let value = self.keys.get_mut(&key(&body["key"]))?;
                if *value != body["from"] {
                    return None;
                }
                *value = body["to"].clone();
                Json::Null
            }
            "txn" => {
                let mut txn = body["txn"].clone();
                for op in txn.as_array_mut().into_iter().flatten() {
                    let value = self.keys.entry(key(&op[1])).or_default();
                    match op[0].as_str() {
                        Some("r") => op[2] = value.clone(),
                        Some("append") => match value.as_array_mut() {
                            Some(list) => list.push(op[2].clone()),
                            None => *value = json!([op[2]]),
                        },
                        _ => *value = op[2].clone(),
                    }
                }
                txn
            }
            "send" => {
                let log = self.keys.entry(key(&body["key"])).or_insert_with(|| json!([]));
                let log = log.as_array_mut()?;
                log.push(body["msg"].clone());
                (log.len() - 1).into()
            }
            "poll" => {
                let mut messages = json!({});
                for (key, from) in body["offsets"].as_object().into_iter().flatten() {
                    let log = self.keys.get(key).and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
                    let from = from.as_u64().unwrap_or(0) as usize;
                    messages[key] =
                        log.iter().enumerate().skip(from).map(|(at, message)| json!([at, message])).collect();
                }
                messages
            }
            "list_committed_offsets" => json!({}),
            _ => Json::Null,
        })
    }
}
