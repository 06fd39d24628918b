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
use natter::config::Config;
use natter::runtime::cli::Design;
use natter::workbench::compare::{self, Cost, Input, Load};
use serde::Deserialize;
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
    /// Parses each message, and answers echoes
    Echo,
    /// Writes the same answer for each read
    Write,
    /// Copies lines
    Copy,
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
            Self::Echo => echo(stdin.into(), stdout.into()),
            Self::Write => write(stdin.into(), stdout.into()),
            Self::Copy => copy(stdin.into(), stdout.into()),
            Self::CountLockFree => count(Design::LockFree, (stdin, stdout)),
            Self::CountSimple => count(Design::Simple, (stdin, stdout)),
        }
    }
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
    msg_id: Option<u64>,
    echo: Option<&'a str>,
}

fn echo(stdin: File, mut stdout: File) -> io::Result<()> {
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
        if body.r#type == "echo" {
            for part in [
                r#"{"src":""#,
                dest,
                r#"","dest":""#,
                src,
                r#"","body":{"type":"echo_ok","in_reply_to":"#,
                itoa::Buffer::new().format(body.msg_id.unwrap_or_default()),
                r#","echo":""#,
                body.echo.unwrap_or_default(),
                "\"}}\n",
            ] {
                out.extend_from_slice(part.as_bytes());
            }
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
        let run = |_| compare::run(&self.path, &self.args, input).unwrap_or_else(|error| panic!("{error}"));
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
        let least = match load {
            Load::Echo => Some(("parse and answer", "echo", 1.25)),
            Load::Read => Some(("write the same", "write", 1.5)),
            Load::Broadcast | Load::Delta => None,
        };
        let name = load.name();
        let of_simple = if load == Load::Read { 1.0 / 12.0 } else { 1.0 / 8.0 };
        judge(&format!("{name}: CPU, of simple's"), lock_free / simple, of_simple);
        if let Some((what, role, most)) = least {
            let least = cost(what, &Program::role(role), &input, None);
            judge(&format!("{name}: CPU, of the least"), lock_free / least, most);
        }
        if load == Load::Echo && cli.peer {
            // It takes its time.
            let input = Input::new(load, input.messages.div_ceil(20));
            cost("maelstrom-node 0.1.6", &peer(), &input, None);
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
        latencies.value_at_quantile(0.99) as f64
    };
    let node = time("lock-free", &Program::node("lock-free"));
    time("simple", &Program::node("simple"));
    let copied = time("copy lines", &Program::role("copy"));
    println!("{rate} requests a second:\n{times}\n");
    judge("p99 µs, more than to copy lines", node - copied, 100.0);

    if cli.bench {
        println!("{verdicts}");
    }
}
