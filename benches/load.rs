//! Ten million broadcasts through five nodes, as real processes: `cargo bench --bench load`. As a test, with
//! `cargo test --bench load`, it sends twenty thousand.
//!
//! Clients broadcast distinct values to all nodes in turn, as fast as is asked for, with so many unanswered at most;
//! meanwhile a nemesis cuts the network again and again, and heals it. When all has been answered and the network is
//! whole, every node must show every value, once.

use std::io::{Read, Write};
use std::process::{self, Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};
use std::{env, panic, thread};

use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};
use natter::cluster::nemesis::PartitionKind;
use rand::SeedableRng;
use rand::seq::IndexedRandom;
use rand_pcg::Pcg64;
use serde::Deserialize;
use serde_json::json;

/// How many nodes: of fewer, a ring of majorities can't be made.
const NODES: usize = 5;

/// How much is read at once.
const PIECE: usize = 1 << 20;

/// How often clients look at what is due.
const STEP: Duration = Duration::from_millis(1);

/// If nothing is answered for so long, a node is stuck.
const STUCK: Duration = Duration::from_secs(60);

#[derive(Parser)]
struct Cli {
    /// How many values are broadcast
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    broadcasts: u64,

    /// How many a second
    #[arg(long, value_name = "HZ", default_value_t = 100_000)]
    rate: u64,

    /// How many each node may leave unanswered before it is sent no more
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    window: u64,

    /// The time from a cut to its healing, and from there to the next cut
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    interval: f64,

    /// The design of the nodes
    #[arg(long, value_name = "DESIGN", default_value = "lock-free")]
    design: String,

    /// What the nemesis draws from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Given by cargo; without it, little is sent
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is known of a node outside of it.
struct Host {
    /// What is written to its stdin.
    input: Sender<Vec<u8>>,
    broadcasts: AtomicU64,
    answers: AtomicU64,
    /// How many messages it has sent to other nodes.
    sent: AtomicU64,
    /// Whom it doesn't hear.
    cut_off: [AtomicBool; NODES],
}

#[derive(Deserialize)]
struct Message<'a> {
    dest: &'a str,
    #[serde(borrow)]
    body: Body<'a>,
}

#[derive(Deserialize)]
struct Body<'a> {
    r#type: &'a str,
}

fn node_index(name: &str) -> Option<usize> {
    name.strip_prefix('n')?.parse().ok()
}

/// Hands on what a node says: to other nodes, if they hear it, or as an answer.
fn route(node: usize, mut stdout: ChildStdout, hosts: &[Host], answers: &Sender<Vec<u8>>) {
    let mut buffer = vec![0; 2 * PIECE];
    let mut held = 0;
    let mut for_nodes: [Vec<u8>; NODES] = Default::default();
    loop {
        if buffer.len() - held < PIECE {
            buffer.resize(2 * buffer.len(), 0);
        }
        let count = stdout.read(&mut buffer[held..]).expect("it writes");
        if count == 0 {
            assert_eq!(held, 0, "whole lines");
            return;
        }
        let new = held;
        held += count;
        let Some(end) = memchr::memrchr(b'\n', &buffer[new..held]) else { continue };
        let end = new + end + 1;
        let mut answered = 0;
        for line in buffer[..end].split_inclusive(|&byte| byte == b'\n') {
            let Message { dest, body } = serde_json::from_slice(line).expect("a message");
            match (node_index(dest), body.r#type) {
                (Some(dest), _) => {
                    hosts[node].sent.fetch_add(1, Ordering::Relaxed);
                    if !hosts[dest].cut_off[node].load(Ordering::Relaxed) {
                        for_nodes[dest].extend_from_slice(line);
                    }
                }
                (None, "broadcast_ok") => answered += 1,
                (None, "init_ok" | "topology_ok" | "read_ok") => {
                    answers.send(line.to_owned()).expect("somebody listens");
                }
                (None, _) => panic!("n{node} says {}", String::from_utf8_lossy(line)),
            }
        }
        hosts[node].answers.fetch_add(answered, Ordering::Relaxed);
        for (host, lines) in hosts.iter().zip(&mut for_nodes).filter(|(_, lines)| !lines.is_empty()) {
            // One that has ended hears nothing.
            let _ = host.input.send(std::mem::take(lines));
        }
        buffer.copy_within(end..held, 0);
        held -= end;
    }
}

fn write(mut stdin: ChildStdin, input: &Receiver<Vec<u8>>) {
    while let Ok(lines) = input.recv() {
        if lines.is_empty() {
            return;
        }
        stdin.write_all(&lines).expect("it reads");
    }
}

fn start(design: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_natter-node"))
        .args(["--design", design])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("natter-node")
}

fn request(node: usize, body: &serde_json::Value) -> Vec<u8> {
    format!("{}\n", json!({ "src": "c0", "dest": format!("n{node}"), "body": body })).into_bytes()
}

/// Asks all nodes for something, and waits for their answers.
fn ask_all(hosts: &[Host], answers: &Receiver<Vec<u8>>, body: impl Fn(usize) -> serde_json::Value) {
    for (node, host) in hosts.iter().enumerate() {
        host.input.send(request(node, &body(node))).expect("it runs");
    }
    for _ in hosts {
        answers.recv_timeout(STUCK).expect("an answer");
    }
}

/// Sends what is due until all is answered. Returns how long that took.
#[expect(clippy::disallowed_methods, reason = "it keeps time")]
fn broadcast(cli: &Cli, hosts: &[Host]) -> Duration {
    let began = Instant::now();
    let (mut next, mut progress) = (0, (0, began));
    let mut turn = 0;
    loop {
        let due = (began.elapsed().as_secs_f64() * cli.rate as f64) as u64;
        let mut lines: [Vec<u8>; NODES] = Default::default();
        // Until no node takes more.
        let mut full = 0;
        while next < due.min(cli.broadcasts) && full < NODES {
            let host = &hosts[turn];
            if host.broadcasts.load(Ordering::Relaxed) - host.answers.load(Ordering::Relaxed) < cli.window {
                host.broadcasts.fetch_add(1, Ordering::Relaxed);
                writeln!(
                    lines[turn],
                    r#"{{"id":{next},"src":"c{turn}","dest":"n{turn}","body":{{"type":"broadcast","message":{next},"msg_id":{next}}}}}"#
                )
                .expect("memory");
                next += 1;
                full = 0;
            } else {
                full += 1;
            }
            turn = (turn + 1) % NODES;
        }
        for (host, lines) in hosts.iter().zip(lines).filter(|(_, lines)| !lines.is_empty()) {
            host.input.send(lines).expect("it runs");
        }
        let answered: u64 = hosts.iter().map(|host| host.answers.load(Ordering::Relaxed)).sum();
        if answered == cli.broadcasts {
            return began.elapsed();
        }
        if answered > progress.0 {
            progress = (answered, Instant::now());
        }
        assert!(progress.1.elapsed() < STUCK, "a node is stuck: {answered} answers to {next} broadcasts");
        thread::sleep(STEP);
    }
}

/// Cuts the network and heals it, in turn, until that is enough. It is whole then. Returns how often it was cut.
#[expect(clippy::disallowed_methods, reason = "it keeps time")]
fn disturb(cli: &Cli, hosts: &[Host], enough: &AtomicBool) -> u32 {
    let mut random = Pcg64::seed_from_u64(cli.seed);
    let (mut cuts, mut turns) = (0, 0);
    let mut turned = Instant::now();
    loop {
        let over = enough.load(Ordering::Relaxed);
        if over || turned.elapsed().as_secs_f64() > cli.interval {
            turned = Instant::now();
            turns += 1;
            hosts.iter().flat_map(|host| &host.cut_off).for_each(|cut| cut.store(false, Ordering::Relaxed));
            if over {
                return cuts;
            }
            if turns % 2 == 1 {
                cuts += 1;
                let kind = PartitionKind::ALL.choose(&mut random).expect("some");
                for (receiver, source) in kind.cuts(NODES, &mut random) {
                    hosts[receiver].cut_off[source].store(true, Ordering::Relaxed);
                }
            }
        }
        thread::sleep(STEP);
    }
}

#[derive(Deserialize)]
struct Answer {
    body: Shown,
}

#[derive(Deserialize)]
struct Shown {
    messages: Vec<u64>,
}

/// Reads a node until it shows so many values; they must be those that were broadcast, each once.
#[expect(clippy::disallowed_methods, reason = "it keeps time")]
fn read(node: usize, host: &Host, answers: &Receiver<Vec<u8>>, broadcasts: u64) {
    let began = Instant::now();
    loop {
        host.input.send(request(node, &json!({ "type": "read", "msg_id": 1 }))).expect("it runs");
        let answer = answers.recv_timeout(STUCK).expect("an answer");
        let Answer { body: Shown { messages } } = serde_json::from_slice(&answer).expect("a read");
        if messages.len() as u64 == broadcasts {
            let mut seen = vec![false; messages.len()];
            for value in messages {
                let place = usize::try_from(value).ok().and_then(|value| seen.get_mut(value));
                let place = place.unwrap_or_else(|| panic!("n{node} shows {value}, which nobody broadcast"));
                assert!(!std::mem::replace(place, true), "n{node} shows {value} twice");
            }
            return;
        }
        let shown = messages.len() as u64;
        let lacks = broadcasts.checked_sub(shown).unwrap_or_else(|| panic!("n{node} shows {shown} values"));
        assert!(began.elapsed() < STUCK, "n{node} lacks {lacks} values for good");
        thread::sleep(50 * STEP);
    }
}

/// What the kernel says of a process: most memory resident, in MiB, and processor time in seconds.
fn account(child: &Child) -> (f64, f64) {
    let read = |file| std::fs::read_to_string(format!("/proc/{}/{file}", child.id())).expect("Linux");
    let peak = read("status");
    let peak = peak.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let kib: f64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    let stat = read("stat");
    // After the name, which may hold anything: state is the third field, the times are 14 and 15, in hundredths.
    let fields: Vec<&str> = stat.rsplit(')').next().expect("the rest").split_whitespace().collect();
    let time = |field: usize| fields[field - 3].parse::<f64>().expect("a time") / 100.0;
    (kib / 1024.0, time(14) + time(15))
}

#[expect(clippy::disallowed_macros, clippy::disallowed_methods, reason = "it is a program that keeps time")]
fn main() {
    let print = panic::take_hook();
    // Whatever goes wrong in one thread, the others would wait for each other. The nodes end with their input.
    panic::set_hook(Box::new(move |what| {
        print(what);
        process::exit(1);
    }));
    let mut cli = Cli::parse();
    if !cli.bench {
        (cli.broadcasts, cli.rate, cli.interval) = (20_000, 20_000, 0.2);
    }
    let mut children: Vec<Child> = (0..NODES).map(|_| start(&cli.design)).collect();
    let (inputs, ends): (Vec<_>, Vec<_>) = (0..NODES).map(|_| mpsc::channel()).unzip();
    let hosts: Vec<Host> = inputs
        .into_iter()
        .map(|input| Host {
            input,
            broadcasts: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            cut_off: Default::default(),
        })
        .collect();
    let (answer, answers) = mpsc::channel();
    let over = AtomicBool::new(false);
    let names: Vec<String> = (0..NODES).map(|node| format!("n{node}")).collect();
    let mut rows = Table::new();
    rows.load_style(presets::ASCII_MARKDOWN).set_header(["what", "figure"]);
    thread::scope(|scope| {
        for (node, (child, end)) in children.iter_mut().zip(ends).enumerate() {
            let (stdin, stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
            let (hosts, answer) = (&hosts, answer.clone());
            scope.spawn(move || route(node, stdout, hosts, &answer));
            scope.spawn(move || write(stdin, &end));
        }
        ask_all(
            &hosts,
            &answers,
            |node| json!({ "type": "init", "msg_id": 1, "node_id": names[node], "node_ids": names }),
        );
        let others = |name| names.iter().filter(move |other| *other != name).collect::<Vec<_>>();
        let topology: serde_json::Map<_, _> =
            names.iter().map(|name| (name.clone(), json!(others(name)))).collect();
        ask_all(&hosts, &answers, |_| json!({ "type": "topology", "msg_id": 2, "topology": topology }));
        let nemesis = scope.spawn(|| disturb(&cli, &hosts, &over));
        let took = broadcast(&cli, &hosts);
        over.store(true, Ordering::Relaxed);
        let cuts = nemesis.join().expect("no panic");
        let healed = Instant::now();
        for (node, host) in hosts.iter().enumerate() {
            read(node, host, &answers, cli.broadcasts);
        }
        let complete = healed.elapsed();
        let accounts: Vec<(f64, f64)> = children.iter().map(account).collect();
        let peak = accounts.iter().map(|&(peak, _)| peak).fold(0.0, f64::max);
        let cpu: f64 = accounts.iter().map(|&(_, cpu)| cpu).sum();
        let sent: u64 = hosts.iter().map(|host| host.sent.load(Ordering::Relaxed)).sum();
        for (what, figure) in [
            ("broadcasts acknowledged", cli.broadcasts.to_string()),
            ("a second", format!("{:.0}", cli.broadcasts as f64 / took.as_secs_f64())),
            ("the network was cut, times", cuts.to_string()),
            ("values lost", "0".to_owned()),
            ("complete and read, s after the last acknowledgement", format!("{:.1}", complete.as_secs_f64())),
            ("messages between nodes, a broadcast", format!("{:.3}", sent as f64 / cli.broadcasts as f64)),
            ("CPU µs a broadcast, all nodes together", format!("{:.2}", 1e6 * cpu / cli.broadcasts as f64)),
            ("peak MiB of a node", format!("{peak:.0}")),
            ("that, bytes a value", format!("{:.1}", peak * 1024.0 * 1024.0 / cli.broadcasts as f64)),
        ] {
            rows.add_row([what, &figure]);
        }
        for host in &hosts {
            host.input.send(Vec::new()).expect("it runs");
        }
    });
    for mut child in children {
        assert!(child.wait().expect("it ends").success());
    }
    if let Some(figures) = rows.column_mut(1) {
        figures.set_cell_alignment(CellAlignment::Right);
    }
    println!("{rows}");
}
