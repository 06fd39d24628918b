//! Results for people: the summary of a run, and its progress while it runs.
//!
//! Inside: public to be read, tested and measured; it may change with any version.

pub mod html;
pub mod store;

use std::fmt::Write as _;

use indicatif::{ProgressBar, ProgressStyle};

use crate::check::stats::Stats;
use crate::check::{Finding, Valid};
use crate::cluster::scenario::Scenario;
use crate::cluster::trial::{Results, Snapshot};
use crate::workload::WorkloadResult;

/// A line on the terminal that tells how far a run is: time, operations, messages under way, faults in force.
/// Nothing is shown where stderr is no terminal.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A line that begins with `title`, for a run of that scenario.
    #[must_use]
    pub fn new(title: String, scenario: &Scenario) -> Self {
        let bar = ProgressBar::new(scenario.time_limit().as_secs().max(1));
        let style = ProgressStyle::with_template("{prefix} {bar:20} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(title);
        Self { bar }
    }

    /// Shows how far the run is, and what there is to log above it.
    pub fn show(&self, snapshot: &Snapshot, log: Vec<String>) {
        if !log.is_empty() {
            self.bar.suspend(|| {
                for line in log {
                    to_stderr(&line);
                }
            });
        }
        self.bar.set_position(snapshot.elapsed.as_secs());
        self.bar.set_message(describe(snapshot));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Writes a line to stderr, if anybody listens. Control characters in it are shown, and do nothing.
pub fn to_stderr(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{}", printable(line));
}

fn describe(snapshot: &Snapshot) -> String {
    let Snapshot { phase, elapsed, ok, not_ok, in_flight, fault } = snapshot;
    let seconds = elapsed.as_secs_f64();
    let mut text = format!("{seconds:5.1} s  {phase}  {ok} ok");
    if *not_ok > 0 {
        let _ = write!(text, ", {not_ok} not");
    }
    let _ = write!(text, "  {in_flight} in flight");
    if let Some(fault) = fault {
        let _ = write!(text, "  {fault}");
    }
    text
}

/// The summary of a run, some lines of text.
#[must_use]
pub fn summary(scenario: &Scenario, results: &Results, path: &str) -> String {
    let Results { faults, valid, seed, stats, availability, net, workload, strays, findings, .. } = results;
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<18}{value}");
    };
    line(
        "run",
        format!(
            "{}, {}, rate {}, latency {} ms, seed {seed}",
            scenario.workload.name,
            counted(scenario.nodes(), "node"),
            scenario.rate,
            scenario.latency,
        ),
    );
    let all = &stats.all;
    line(
        "operations",
        format!(
            "{} ok, {} failed, {} unknown{}",
            all.ok_count,
            all.fail_count,
            all.info_count,
            if all.count > 0 {
                format!(" ({:.2} % ok)", 100.0 * availability.ok_fraction)
            } else {
                String::new()
            }
        ),
    );
    if !faults.is_empty() {
        let struck = faults.iter().map(|(fault, times)| format!("{fault} {times}"));
        let struck: Vec<String> = struck.collect();
        let messages = format!("{} messages cut off, {} lost", net.cut_off, net.lost);
        line("faults", format!("{}; {messages}", struck.join(", ")));
    }
    for (name, counts) in [("between servers", net.servers), ("with clients", net.clients)] {
        line(name, format!("{} messages, {:.2} an operation", counts.msg_count, counts.msgs_per_op));
    }
    for (name, value) in &workload.lines {
        line(name, value.clone());
    }
    for (name, value) in
        [("late answers", strays.late + strays.closed), ("stray answers", strays.repeated + strays.unasked)]
    {
        if value > 0 {
            line(name, value.to_string());
        }
    }
    line("stored in", path.to_owned());
    line("valid", verdict(*valid).to_owned());
    printable(&text) + &told(findings)
}

/// The summary of a history that was judged anew.
#[must_use]
pub fn judged(stats: &Stats, workload: &WorkloadResult) -> String {
    let all = &stats.all;
    let ended = format!("{} ok, {} failed, {} unknown", all.ok_count, all.fail_count, all.info_count);
    let lines = std::iter::once(&("operations", ended))
        .chain(&workload.lines)
        .fold(String::new(), |text, (name, value)| text + &format!("{name:<18}{value}\n"));
    format!("{lines}{:<18}{}\n{}", "valid", verdict(workload.valid), told(&workload.findings))
}

/// So many of something.
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// What is wrong, in paragraphs; nothing if nothing is.
fn told(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { what, count, hint, .. } in findings.iter().take(FINDINGS_MAX) {
        let times = if *count > 1 { format!(" ({count} times; this is the first)") } else { String::new() };
        // Names of nodes stay as they are.
        let what =
            what.strip_prefix("process ").map_or_else(|| what.clone(), |rest| format!("Process {rest}"));
        let _ = write!(text, "\n{what}{times}\n");
        if !hint.is_empty() {
            let _ = writeln!(text, "{hint}");
        }
    }
    if findings.len() > FINDINGS_MAX {
        let _ = writeln!(text, "\nAnd {} more, which results.json has.", findings.len() - FINDINGS_MAX);
    }
    printable(&text)
}

/// So many mistakes are told in a summary.
const FINDINGS_MAX: usize = 12;

/// A text from nodes, as it may go to a terminal: control characters are shown, and do nothing.
#[must_use]
pub fn printable(text: &str) -> String {
    let shown = |char: char| match char {
        '\n' | '\t' => char.to_string(),
        char if char.is_control() => char.escape_default().to_string(),
        char => char.to_string(),
    };
    text.chars().map(shown).collect()
}

/// A verdict in a word or three.
#[must_use]
pub const fn verdict(valid: Valid) -> &'static str {
    match valid {
        Valid::True => "yes",
        Valid::False => "NO",
        Valid::Unknown => "unknown: neither shown nor ruled out",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn progress_tells_time_operations_messages_and_faults() {
        let mut snapshot = Snapshot {
            phase: "running",
            elapsed: Duration::from_millis(12_340),
            ok: 1200,
            not_ok: 0,
            in_flight: 31,
            fault: None,
        };
        assert_eq!(describe(&snapshot), " 12.3 s  running  1200 ok  31 in flight");
        snapshot.not_ok = 2;
        snapshot.fault = Some("partition: majorities-ring".to_owned());
        assert_eq!(
            describe(&snapshot),
            " 12.3 s  running  1200 ok, 2 not  31 in flight  partition: majorities-ring"
        );
    }
}
