//! What an operation and a node cost in clusters of 25 to 10,000 nodes, in virtual time: `cargo bench --bench scale`
//! prints it as a table, and takes gigabytes for the last one. As a test, with `cargo test --bench scale`, it runs the
//! smaller clusters for two seconds each.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};
use mimalloc::MiMalloc;
use natter::challenge::Challenge;
use natter::check::Valid;
use natter::cluster::scenario::Scenario;
use natter::cluster::virtual_time;
use natter::config::Config;
use natter::gossip::LockFree;
use natter::node::{Node, Outbox, Time};
use natter::protocol::Line;

#[derive(Parser)]
struct Cli {
    /// How many nodes, separated by commas
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    nodes: Vec<u32>,

    /// What is drawn at random
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Given by cargo; without it, small clusters are run for a short time
    #[arg(long, hide = true)]
    bench: bool,
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Knows how much is allocated and not yet freed. A run has one thread.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    /// What nodes hold of that.
    static HELD_BY_NODES: Cell<isize> = const { Cell::new(0) };
    /// How long nodes have been at work since clients began.
    static AT_WORK: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    /// All nodes' working memory, as they work one after the other.
    static SCRATCH: RefCell<<LockFree as Node>::Scratch> = RefCell::default();
}

fn note(allocated: usize, freed: usize) {
    HELD.set(HELD.get() + allocated as isize - freed as isize);
}

// SAFETY: hands everything on to the allocator of the programs.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 0);
        // SAFETY: as the caller promises.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 0);
        // SAFETY: as the caller promises.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        note(0, layout.size());
        // SAFETY: as the caller promises.
        unsafe { MiMalloc.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size, layout.size());
        // SAFETY: as the caller promises.
        unsafe { MiMalloc.realloc(place, layout, size) }
    }
}

/// Does something that allocates for a node.
fn for_a_node<T>(work: impl FnOnce() -> T) -> T {
    let before = HELD.get();
    let done = work();
    HELD_BY_NODES.set(HELD_BY_NODES.get() + HELD.get() - before);
    done
}

/// A node whose memory and time are counted.
struct Counted(LockFree);

impl Counted {
    /// Set-up takes no time in virtual time, and is not counted.
    #[expect(clippy::disallowed_methods, reason = "it is time that is measured")]
    fn timed(now: Time, work: impl FnOnce()) {
        let began = Instant::now();
        for_a_node(work);
        if now > Time::ZERO {
            AT_WORK.set(AT_WORK.get() + began.elapsed());
        }
    }
}

impl Node for Counted {
    type Scratch = ();

    fn handle(&self, now: Time, line: Line<'_>, (): &mut (), out: &mut Outbox) {
        SCRATCH.with_borrow_mut(|scratch| Self::timed(now, || self.0.handle(now, line, scratch, out)));
    }

    fn tick(&self, now: Time, out: &mut Outbox) {
        Self::timed(now, || self.0.tick(now, out));
    }

    fn next_deadline(&self) -> Option<Time> {
        self.0.next_deadline()
    }

    fn finish(&self, now: Time, out: &mut Outbox) {
        self.0.finish(now, out);
    }
}

/// Runs a cluster with the settings of challenge 3d; returns its line of the table.
fn run(node_count: u32, time_limit: f64, seed: u64) -> Vec<String> {
    HELD_BY_NODES.set(0);
    AT_WORK.set(Duration::ZERO);
    let scenario = Scenario { node_count, time_limit, ..Challenge::LowLatency.scenario() };
    let new_node = |index| {
        for_a_node(|| Counted(LockFree::new(Config::default(), seed * u64::from(node_count) + index as u64)))
    };
    let (results, history) = virtual_time::run(&scenario, seed, new_node).expect("nodes behave");
    assert_eq!(results.valid, Valid::True, "{:?}", results.workload);
    let micros = AT_WORK.get().as_secs_f64() * 1e6 / history.invocations() as f64;
    let kib = HELD_BY_NODES.get() as f64 / 1024.0 / f64::from(node_count);
    vec![
        node_count.to_string(),
        format!("{:.2}", results.net.servers.msgs_per_op),
        format!("{micros:.1} µs"),
        format!("{kib:.0} KiB"),
    ]
}

#[expect(clippy::disallowed_macros, reason = "it is a program")]
fn main() {
    let mut cli = Cli::parse();
    let (sizes, time_limit): (&[u32], f64) =
        if cli.bench { (&[25, 100, 1000, 10_000], 20.0) } else { (&[25, 100], 2.0) };
    if cli.nodes.is_empty() {
        cli.nodes = sizes.to_vec();
    }
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["nodes", "messages an operation", "CPU an operation, all nodes", "memory a node"]);
    for column in 0..4 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for &nodes in &cli.nodes {
        let line = run(nodes, time_limit, cli.seed);
        eprintln!("{}", line.join(" | "));
        table.add_row(line);
    }
    println!("{table}");
}
