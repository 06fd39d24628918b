//! A survey for people: the line up front, the bar while it runs, the table in the end.

use std::fmt::Write as _;

use indicatif::{ProgressBar, ProgressStyle};

use super::{Found, Minimised, Simulation, Spread, Summary};

/// What will be run.
#[must_use]
pub fn headline(simulation: &Simulation, first_seed: u64, seeds: u64) -> String {
    let Simulation { scenario, faults, design, node_options, .. } = simulation;
    let mut text = format!(
        "{seeds} seed{} from {first_seed} on: {}, {} nodes of the {} design, {} s at rate {}, latency {} ms ({}), faults: {faults}",
        if seeds == 1 { "" } else { "s" },
        scenario.workload.name,
        scenario.node_count,
        design.name(),
        scenario.time_limit,
        scenario.rate,
        scenario.latency,
        scenario.latency_dist.name(),
    );
    if !node_options.is_empty() {
        let _ = write!(text, ", node options: {}", node_options.join(" "));
    }
    text
}

/// A bar on the terminal. Nothing is shown where stderr is no terminal.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
}

impl Bar {
    /// A bar for so many seeds.
    #[must_use]
    pub fn new(seeds: u64) -> Self {
        let bar = ProgressBar::new(seeds);
        let style = ProgressStyle::with_template("{bar:40} {pos} of {len} seeds, {eta} to go");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar }
    }

    /// Shows how many seeds have been run.
    pub fn show(&self, runs: u64) {
        self.bar.set_position(runs);
    }

    /// Lets something be printed above the bar.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The table.
#[must_use]
pub fn table(summary: &Summary) -> String {
    let mut text = format!("{:<26}{:>12}{:>12}{:>12}\n", "", "median", "95 %", "max");
    let mut row = |name: &str, spread: &Option<Spread>, show: fn(f64) -> String| {
        if let Some(Spread { median, p95, max, max_seed }) = spread {
            let [median, p95, max] = [median, p95, max].map(|&figure| show(figure));
            let _ = writeln!(text, "{name:<26}{median:>12}{p95:>12}{max:>12}   seed {max_seed}");
        }
    };
    let ms = |figure: f64| format!("{figure:.0} ms");
    row("messages an operation", &summary.msgs_per_op, |figure| format!("{figure:.2}"));
    row("stable latency, median", &summary.median_latency_ms, ms);
    row("stable latency, max", &summary.max_latency_ms, ms);
    row("last healing", &summary.convergence_ms, ms);
    row("worst healing, of bound", &summary.percent_of_bound, |figure| format!("{figure:.0} %"));
    if let Some(digest) = &summary.digest {
        let _ = writeln!(text, "{:<26}{digest:>24}", "digest of the histories");
    }
    if summary.slow {
        let _ = writeln!(
            text,
            "healing takes too much of what it may: 95 % of seeds should need 50 % of it at most (75 % above 1000 ms)"
        );
    }
    if !summary.failed.is_empty() {
        let failed: Vec<String> =
            summary.failed.iter().map(|(by, count)| format!("{count} by {by}")).collect();
        let _ = writeln!(text, "{:<26}{}", "seeds that failed", failed.join(", "));
    }
    let verdict = if summary.valid { "yes" } else { "NO" };
    let Summary { seeds, took_s, .. } = summary;
    let s = if *seeds == 1 { "" } else { "s" };
    let _ = writeln!(text, "{:<26}{verdict:>12}   {seeds} seed{s} in {took_s:.1} s", "valid");
    text
}

/// What failed, and how to see it again.
#[must_use]
pub fn failure(found: &Found) -> String {
    format!("seed {}: {}\n  {}\n", found.seed, found.what, found.command)
}

/// The smallest run that fails like the first one, and its story.
#[must_use]
pub fn minimised(minimised: &Minimised) -> String {
    let Minimised { found, story } = minimised;
    format!("made as small as possible: {}\n  {}\n\n{}\n", found.what, found.command, story.join("\n"))
}
