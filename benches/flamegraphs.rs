//! Draws where processor time goes: `cargo bench --bench flamegraphs` writes one SVG for each design and load into
//! `flamegraphs/`. As a test, with `cargo test --bench flamegraphs`, it draws one, and writes none.
//!
//! A node runs in this process, on pipes, and a timer's signal looks at the stack of whichever thread is running:
//! that takes no special rights. The threads that feed the node and hear it are left out.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::thread;

use mimalloc::MiMalloc;
use natter::config::Config;
use natter::load::{Input, Load};
use natter::runtime::cli::Design;
use pprof::flamegraph::Options;
use pprof::{Frames, ProfilerGuardBuilder, Report};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Looks a second of processor time: no round number, so as not to keep step with anything.
const FREQUENCY: i32 = 997;

/// The threads of a node.
const THREADS: [&str; 2] = ["reader", "ticker"];

/// What the reader does.
const LOOP: &str = "read_all";

fn hear(mut stdout: impl Read) -> u64 {
    let (mut lines, mut buffer) = (0, vec![0; 1 << 20]);
    loop {
        match stdout.read(&mut buffer).expect("a pipe") {
            0 => return lines,
            count => lines += memchr::memchr_iter(b'\n', &buffer[..count]).count() as u64,
        }
    }
}

/// Runs one node after the other under the profiler.
fn profile(design: Design, input: &Input, times: u32) -> Report {
    let guard = ProfilerGuardBuilder::default()
        .frequency(FREQUENCY)
        // The unwinder can't interrupt itself.
        .blocklist(&["libgcc", "vdso"])
        .build()
        .expect("a profiler");
    for _ in 0..times {
        let lines = converse(design, input);
        assert_eq!(lines, input.preamble.lines().count() as u64 + input.messages);
    }
    let mut report = guard.report().frames_post_processor(leave_out_setting_up).build().expect("a report");
    report.data.retain(|frames, _| THREADS.contains(&frames.thread_name.as_str()));
    report
}

/// What threads are started through is the same in each of them.
fn leave_out_setting_up(frames: &mut Frames) {
    for frame in (0..frames.frames.len()).rev() {
        if let Some(symbol) = frames.frames[frame].iter().rposition(|symbol| symbol.name().contains(LOOP)) {
            frames.frames.truncate(frame + 1);
            frames.frames[frame].truncate(symbol + 1);
            return;
        }
    }
}

/// Runs a node; returns how many lines it said.
fn converse(design: Design, input: &Input) -> u64 {
    let (stdin, mut feed) = io::pipe().expect("a pipe");
    let (heard, stdout) = io::pipe().expect("a pipe");
    thread::scope(|scope| {
        let named = |name: &str| thread::Builder::new().name(name.to_owned());
        let streams = (stdin.into(), stdout.into());
        let node = || design.serve(Config::default(), 1, streams, usize::MAX).expect("its streams work");
        named("reader").spawn_scoped(scope, node).expect("a thread");
        let feeding = move || {
            feed.write_all(input.preamble.as_bytes()).expect("it reads");
            feed.write_all(input.lines.as_bytes()).expect("it reads");
        };
        named("feeder").spawn_scoped(scope, feeding).expect("a thread");
        hear(heard)
    })
}

fn draw(title: String, report: &Report, out: impl Write) {
    let mut options = Options::default();
    options.title = title;
    options.subtitle = Some("processor time of each thread, from its name upwards".to_owned());
    report.flamegraph_with_options(out, &mut options).expect("it can be written");
}

#[expect(clippy::disallowed_macros, reason = "it is a program")]
fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("flamegraphs");
    if !std::env::args().any(|arg| arg == "--bench") {
        let report = profile(Design::LockFree, &Input::new(Load::Echo, 100_000), 2);
        let mut drawn = Vec::new();
        draw("echo".to_owned(), &report, &mut drawn);
        assert!(drawn.starts_with(b"<?xml"), "it is a picture");
        return;
    }
    fs::create_dir_all(&folder).expect("a folder");
    for design in [Design::LockFree, Design::Simple] {
        // The faster one is looked at for longer, so that there is as much to see.
        let times = if design == Design::LockFree { 20 } else { 4 };
        for load in Load::ALL {
            let report = profile(design, &Input::new(load, load.messages()), times);
            let looks: isize = report.data.values().sum();
            let name = format!("{}-{}.svg", design.name(), load.name());
            let file = File::create(folder.join(&name)).expect("it can be written");
            draw(format!("{}, {}", design.name(), load.name()), &report, file);
            println!("{name}: {looks} samples");
        }
    }
}
