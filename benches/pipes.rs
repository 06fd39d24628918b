//! What a message costs: whole processes through real pipes, beside the least that they could cost.
//!
//! `cargo bench --bench pipes` prints three tables: processor time, memory and allocations for each load; the time that
//! requests take at 10,000 a second; and what must hold of them. `-- --peer` adds an echo node on somebody else's library,
//! built for that. As a test, with `cargo test --benches`, it runs little of everything.
//!
//! The processes that do the least are this program itself, started as one of the [`Role`]s.

use std::alloc::{GlobalAlloc, Layout};
use std::env;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use comfy_table::{CellAlignment, Table, presets};
use hdrhistogram::Histogram;
use mimalloc::MiMalloc;
use natter::app::App;
use natter::config::Config;
use natter::load::{self, Cost, Input, Load};
use natter::protocol::{self, Echoed, Lines, NextLine, Request, Scratch};
use natter::runtime::cli::Design;
use serde::{Deserialize, Serialize};
use simd_json::{Buffers, INPUT_PADDING, Tape};

#[global_allocator]
static ALLOCATOR: Counting = Counting { allocations: AtomicU64::new(0) };

/// The allocator of the nodes, counted.
struct Counting {
    allocations: AtomicU64,
}

// SAFETY: hands everything on to an allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.allocations.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { MiMalloc.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.allocations.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { MiMalloc.realloc(place, layout, size) }
    }
}

#[derive(Parser)]
struct Cli {
    /// How many times each process is run; the median counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,

    /// Run an echo node on the crate maelstrom-node, too
    #[arg(long)]
    peer: bool,

    /// Be one of the processes that are measured
    #[arg(long, value_enum, hide = true)]
    role: Option<Role>,

    /// Given by cargo; without it, little of everything is run
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Scans each message as the nodes do, and answers it
    Scan,
    /// Parses each message with simd-json, and answers it
    Parse,
    /// Writes the same answer for each read
    Write,
    /// Copies lines
    Copy,
    /// The app of docs/write-a-node.md
    App,
    /// A lock-free node that says how often it allocated
    CountLockFree,
    /// A simple one
    CountSimple,
}

impl Role {
    fn play(self) -> io::Result<()> {
        let own = |stream: &dyn AsFd| stream.as_fd().try_clone_to_owned();
        let (stdin, stdout) = (own(&io::stdin())?, own(&io::stdout())?);
        match self {
            Self::Scan => scan(stdin.into(), stdout.into()),
            Self::Parse => parse(stdin.into(), stdout.into()),
            Self::Write => write(stdin.into(), stdout.into()),
            Self::Copy => copy(stdin.into(), stdout.into()),
            Self::App => {
                let app = App::new(()).on("echo", |_, request: EchoOfApp| async { Ok(request) });
                // Of streams that fail the bench hears in any case.
                let _ = app.run();
                Ok(())
            }
            Self::CountLockFree => count(Design::LockFree, (stdin, stdout)),
            Self::CountSimple => count(Design::Simple, (stdin, stdout)),
        }
    }
}

/// What the app is asked, and what it answers.
#[derive(Deserialize, Serialize)]
struct EchoOfApp {
    echo: serde_json::Value,
}

/// Is a node that says how often it allocated.
#[expect(clippy::disallowed_macros, reason = "it is a program")]
fn count(design: Design, streams: (OwnedFd, OwnedFd)) -> io::Result<()> {
    design.serve(Config::default(), 1, streams, usize::MAX).map_err(io::Error::other)?;
    eprintln!("{}", ALLOCATOR.allocations.load(Ordering::Relaxed));
    Ok(())
}

/// The size of reads and writes of the least processes.
const PIECE: usize = 1 << 20;

/// Hands on each whole line, with room for the parser behind it and its own length; and nothing when all that was read
/// has been handed on.
fn for_each_line(
    mut stdin: File,
    mut each: impl FnMut(Option<(&mut [u8], usize)>) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; 2 * PIECE + INPUT_PADDING];
    let mut held = 0;
    loop {
        let count = stdin.read(&mut buffer[held..held + PIECE])?;
        if count == 0 {
            return Ok(());
        }
        let (mut start, end) = (0, held + count);
        while let Some(length) = memchr::memchr(b'\n', &buffer[start..end]) {
            each(Some((&mut buffer[start..start + length + INPUT_PADDING], length)))?;
            start += length + 1;
        }
        buffer.copy_within(start..end, 0);
        held = end - start;
        each(None)?;
    }
}

#[derive(Deserialize)]
struct Message<'a> {
    src: &'a str,
    dest: &'a str,
    #[serde(borrow)]
    body: Body<'a>,
}

#[derive(Deserialize)]
struct Body<'a> {
    r#type: &'a str,
    msg_id: Option<i64>,
    echo: Option<&'a str>,
    message: Option<i64>,
    generation: Option<u64>,
    values: Option<Vec<i64>>,
}

/// Appends an answer, from its type on piece by piece.
fn answer(out: &mut Vec<u8>, (src, dest): (&str, &str), pieces: &[&str]) {
    let opening = [r#"{"src":""#, src, r#"","dest":""#, dest, r#"","body":{"type":"#];
    for piece in opening.iter().chain(pieces).chain(&["}}\n"]) {
        out.extend_from_slice(piece.as_bytes());
    }
}

const ECHO_OK: &str = r#""echo_ok","in_reply_to":"#;
const BROADCAST_OK: &str = r#""broadcast_ok","in_reply_to":"#;
const DELTA_OK: &str = r#""delta_ok","generation":"#;
/// To whatever is no load.
const OK: &str = r#""ok","in_reply_to":"#;

fn scan(mut stdin: File, mut stdout: File) -> io::Result<()> {
    let (mut lines, mut scratch) = (Lines::new(PIECE), Scratch::default());
    let mut out = Vec::with_capacity(2 * PIECE);
    loop {
        let count = stdin.read(lines.room())?;
        lines.filled(count);
        while let Some(NextLine::Complete(line)) = lines.next_line() {
            let message = protocol::parse(line, &mut scratch).map_err(io::Error::other)?;
            let (way, mut number) = ((message.dest, message.src), itoa::Buffer::new());
            match message.body {
                Ok(protocol::Body::Request { msg_id, request }) => {
                    let msg_id = number.format(msg_id);
                    match request {
                        // With its quotation marks.
                        Request::Echo(Echoed::Text(text)) => {
                            answer(&mut out, way, &[ECHO_OK, msg_id, r#","echo":"#, text]);
                        }
                        Request::Broadcast(_) => answer(&mut out, way, &[BROADCAST_OK, msg_id]),
                        _ => answer(&mut out, way, &[OK, msg_id]),
                    }
                }
                Ok(protocol::Body::Delta { delta, .. }) => {
                    answer(&mut out, way, &[DELTA_OK, number.format(delta.generation.0)]);
                }
                other => return Err(io::Error::other(format!("{other:?}"))),
            }
        }
        stdout.write_all(&out)?;
        out.clear();
        if count == 0 {
            return Ok(());
        }
    }
}

fn parse(stdin: File, mut stdout: File) -> io::Result<()> {
    let (mut buffers, mut kept) = (Buffers::default(), Tape(Vec::new()));
    let mut out = Vec::with_capacity(2 * PIECE);
    for_each_line(stdin, |line| {
        let Some((line, length)) = line else {
            stdout.write_all(&out)?;
            out.clear();
            return Ok(());
        };
        let mut tape = std::mem::replace(&mut kept, Tape(Vec::new()));
        simd_json::fill_tape_padded(line, length, &mut buffers, &mut tape).map_err(io::Error::other)?;
        let mut parser = simd_json::Deserializer::from_tape(tape);
        let Message { src, dest, body } = Message::deserialize(&mut parser).map_err(io::Error::other)?;
        let (way, mut number) = ((dest, src), itoa::Buffer::new());
        let msg_id = body.msg_id.unwrap_or_default();
        match (body.r#type, body.echo, body.message, body.values, body.generation) {
            ("echo", Some(text), ..) => {
                answer(&mut out, way, &[ECHO_OK, number.format(msg_id), r#","echo":""#, text, "\""]);
            }
            ("broadcast", _, Some(_), ..) => answer(&mut out, way, &[BROADCAST_OK, number.format(msg_id)]),
            ("delta", .., Some(_), Some(generation)) => {
                answer(&mut out, way, &[DELTA_OK, number.format(generation)]);
            }
            _ => answer(&mut out, way, &[OK, number.format(msg_id)]),
        }
        kept = parser.into_tape().reset();
        if out.len() >= PIECE {
            stdout.write_all(&out)?;
            out.clear();
        }
        Ok(())
    })
}

fn write(stdin: File, mut stdout: File) -> io::Result<()> {
    let values: Vec<String> = (0..10_000).map(|value| value.to_string()).collect();
    let answer = format!(
        r#"{{"src":"n0","dest":"c2","body":{{"type":"read_ok","in_reply_to":10000,"messages":[{}]}}}}{}"#,
        values.join(","),
        "\n"
    );
    let is_read = memchr::memmem::Finder::new("\"read\"");
    for_each_line(stdin, |line| match line {
        Some((line, length)) if is_read.find(&line[..length]).is_some() => {
            stdout.write_all(answer.as_bytes())
        }
        _ => Ok(()),
    })
}

fn copy(stdin: File, mut stdout: File) -> io::Result<()> {
    let mut out = Vec::with_capacity(2 * PIECE);
    for_each_line(stdin, |line| {
        if let Some((line, length)) = line {
            out.extend_from_slice(&line[..length]);
            out.push(b'\n');
        } else {
            stdout.write_all(&out)?;
            out.clear();
        }
        Ok(())
    })
}

/// A program with its arguments.
struct Program {
    path: PathBuf,
    args: Vec<&'static str>,
}

impl Program {
    fn node(design: &'static str) -> Self {
        Self { path: env!("CARGO_BIN_EXE_natter-node").into(), args: vec!["--design", design] }
    }

    fn role(role: &'static str) -> Self {
        Self { path: env::current_exe().expect("this program"), args: vec!["--role", role] }
    }

    /// The median of some runs.
    fn cost(&self, input: &Input, runs: u64) -> Cost {
        let run = |_| load::run(&self.path, &self.args, input).unwrap_or_else(|error| panic!("{error}"));
        let mut costs: Vec<Cost> = (0..runs).map(run).collect();
        costs.sort_by(|a, b| a.cpu_us_per_message.total_cmp(&b.cpu_us_per_message));
        costs[costs.len() / 2]
    }

    /// How often it allocates for each message, of those beyond the first hundredth.
    fn allocations(&self, load: Load, messages: u64) -> f64 {
        let count = |messages| {
            let Input { preamble, lines, .. } = Input::new(load, messages);
            let child = Command::new(&self.path)
                .args(&self.args)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn();
            let mut child = child.expect("this program");
            let mut stdin = child.stdin.take().expect("piped");
            stdin.write_all((preamble + &lines).as_bytes()).expect("it reads");
            drop(stdin);
            let said = child.wait_with_output().expect("it ends").stderr;
            String::from_utf8_lossy(&said).trim().parse::<u64>().expect("a count")
        };
        let first = messages / 100;
        (count(messages) as f64 - count(first) as f64) / (messages - first) as f64
    }
}

/// How long requests take if they come at a steady rate, in microseconds.
#[expect(clippy::disallowed_methods, reason = "it is time that is measured, and kept")]
fn latencies(program: &Program, rate: u32, requests: u32) -> Histogram<u64> {
    let child =
        Command::new(&program.path).args(&program.args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.expect("it can be started");
    let mut stdin = child.stdin.take().expect("piped");
    let mut stdout = child.stdout.take().expect("piped");
    let Input { preamble, lines, .. } = Input::new(Load::Echo, u64::from(requests));
    let sent: Vec<AtomicU64> = (0..requests).map(|_| AtomicU64::new(0)).collect();
    let began = Instant::now();
    let now = || u64::try_from(began.elapsed().as_nanos()).expect("not for ever");
    let preamble_lines = preamble.lines().count();
    let latencies = thread::scope(|scope| {
        scope.spawn(|| {
            stdin.write_all(preamble.as_bytes()).expect("it reads");
            for ((line, sent), index) in lines.split_inclusive('\n').zip(&sent).zip(1..) {
                let due = Duration::from_secs(index) / rate;
                thread::sleep(due.saturating_sub(began.elapsed()));
                // Release: whoever hears the answer finds the time.
                sent.store(now(), Ordering::Release);
                stdin.write_all(line.as_bytes()).expect("it reads");
            }
            drop(stdin);
        });
        let mut latencies = Histogram::new(3).expect("three digits");
        let (mut buffer, mut heard) = (vec![0; PIECE], 0);
        loop {
            let count = stdout.read(&mut buffer).expect("it writes");
            let now = now();
            for _ in memchr::memchr_iter(b'\n', &buffer[..count]) {
                if heard >= preamble_lines {
                    let sent = sent[heard - preamble_lines].load(Ordering::Acquire);
                    latencies.record((now - sent) / 1000).expect("it adapts");
                }
                heard += 1;
            }
            if count == 0 {
                return latencies;
            }
        }
    });
    child.wait().expect("it ends");
    assert_eq!(latencies.len(), u64::from(requests), "all are answered, in order");
    latencies
}

fn table<const N: usize>(header: [&str; N], text_columns: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    for column in text_columns..N {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Builds the node on somebody else's library.
fn peer() -> Program {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peer/Cargo.toml");
    let target = env::temp_dir().join("natter-bench-peer");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--manifest-path"])
        .arg(&manifest)
        .arg("--target-dir")
        .arg(&target)
        .status()
        .expect("cargo");
    assert!(built.success(), "the peer can't be built");
    Program { path: target.join("release/peer"), args: Vec::new() }
}

#[expect(clippy::disallowed_macros, reason = "it is a program")]
fn main() {
    let cli = Cli::parse();
    if let Some(role) = cli.role {
        return role.play().expect("streams work");
    }
    // As a test, nothing is judged but that all is answered: that little says nothing of the cost of much.
    let (runs, share) = if cli.bench { (cli.runs, 1) } else { (1, 500) };
    let mut costs =
        table(["load", "process", "CPU µs a message", "wall s", "peak MiB", "allocations a message"], 2);
    let header = ["what", "figure", "must be", "met"];
    // What must hold, on a machine that is not at fault itself.
    let mut verdicts = table(header, 1);
    let mut judge = |what: &str, figure: f64, most: f64| {
        let verdict = if figure <= most { "yes" } else { "NO" };
        verdicts.add_row([what, &format!("{figure:.3}"), &format!("≤ {most:.3}"), verdict]);
    };
    for load in Load::ALL {
        let input = Input::new(load, load.messages() / share);
        let mut cost = |name: &str, program: &Program, input: &Input, allocations: Option<f64>| {
            let cost = program.cost(input, runs);
            costs.add_row([
                load.name().to_owned(),
                name.to_owned(),
                format!("{:.3}", cost.cpu_us_per_message),
                format!("{:.3}", cost.wall_s),
                cost.peak_mib.map_or_else(|| "–".to_owned(), |peak| format!("{peak:.1}")),
                allocations.map_or_else(|| "–".to_owned(), |count| format!("{count:.4}")),
            ]);
            cost.cpu_us_per_message
        };
        let counted = |role| Program::role(role).allocations(load, input.messages);
        let allocations = counted("count-lock-free");
        let lock_free = cost("lock-free", &Program::node("lock-free"), &input, Some(allocations));
        let simple = cost("simple", &Program::node("simple"), &input, Some(counted("count-simple")));
        let name = load.name();
        let (of_simple, others): (f64, &[_]) = match load {
            Load::Echo => {
                (8.0, &[("parse", "simd-json loop", Some(1.0)), ("scan", "scanner loop", Some(1.6))])
            }
            Load::Broadcast => {
                (7.0, &[("parse", "simd-json loop", Some(1.15)), ("scan", "scanner loop", None)])
            }
            Load::Delta => (8.0, &[("parse", "simd-json loop", Some(1.25)), ("scan", "scanner loop", None)]),
            Load::Read => (12.0, &[("write", "write the same", Some(1.25))]),
        };
        judge(&format!("{name}: CPU, of simple's"), lock_free / simple, 1.0 / of_simple);
        for (role, what, most) in others {
            let other = cost(what, &Program::role(role), &input, None);
            if let Some(most) = most {
                judge(&format!("{name}: CPU, of the {what}'s"), lock_free / other, *most);
            }
        }
        if load == Load::Echo {
            let app = cost("natter::app", &Program::role("app"), &input, None);
            judge("echo: CPU µs a message of an app", app, 1.5);
            if cli.peer {
                // It takes its time.
                let input = Input::new(load, input.messages.div_ceil(20));
                let peer = cost("maelstrom-node 0.1.6", &peer(), &input, None);
                judge("echo: CPU of an app, of maelstrom-node's", app / peer, 1.0 / 35.0);
            }
        }
        let most = if load == Load::Read { 1.0 } else { 0.05 };
        judge(&format!("{name}: allocations a message"), allocations, most);
    }
    println!("{costs}\n");

    let rate = 10_000;
    let requests = 10 * rate / u32::try_from(share).expect("small");
    let mut times = table(["process", "p50 µs", "p99", "p99.9", "max"], 1);
    let mut time = |name: &str, program: &Program| {
        let latencies = latencies(program, rate, requests);
        let quantile = |quantile| latencies.value_at_quantile(quantile).to_string();
        times.add_row([
            name,
            &quantile(0.5),
            &quantile(0.99),
            &quantile(0.999),
            &latencies.max().to_string(),
        ]);
        [0.5, 0.99, 0.999].map(|of| latencies.value_at_quantile(of) as f64)
    };
    let [p50, p99, p999] = time("lock-free", &Program::node("lock-free"));
    let [simple, ..] = time("simple", &Program::node("simple"));
    let [_, copied, copied_at_most] = time("copy lines", &Program::role("copy"));
    println!("{rate} requests a second:\n{times}\n");
    judge("p50 µs, more than simple's", p50 - simple, 3.0);
    judge("p99 µs, more than to copy lines", p99 - copied, 30.0);
    judge("p99.9, of that to copy lines", p999 / copied_at_most, 2.0);

    if cli.bench {
        println!("{verdicts}");
    }
}
