//! The frontier: how few messages an operation costs at a given latency, by arithmetic and as it is.
//!
//! For each latency budget there are the plan that a node makes of it with what that should cost ([`predict`]), what it
//! does cost in virtual time ([`measure`]), and a [picture] of both.
//!
//! Inside: public to be read, tested and measured; it may change with any version.

pub mod measure;
pub mod picture;
pub mod predict;

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use self::measure::TIME_LIMIT;
use self::predict::Prediction;
use crate::check::Valid;
use crate::cluster::scenario::at_most;
use crate::report::verdict;
use crate::simulate::{Spread, Summary};

/// The budgets to look at if none are named, in milliseconds: one hop and what is next to it, both sides of each change
/// of strategy in the setting of the challenges, the node's default, and those up to the limit of challenge 3e.
pub const BUDGETS: [u64; 18] =
    [100, 120, 150, 200, 225, 250, 300, 350, 400, 450, 500, 565, 650, 800, 1000, 1200, 1400, 2000];

/// The network and what it carries; by default those of challenges 3d and 3e.
#[derive(Args, Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Setting {
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = Self::CHALLENGE.node_count,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub node_count: u32,

    /// Delay of every message between nodes
    #[arg(long, value_name = "MS", default_value_t = Self::CHALLENGE.latency, value_parser = at_most(3.6e6))]
    #[serde(rename = "latency-ms")]
    pub latency: f64,

    /// Requests a second, by all clients together, on average; half of them are broadcasts
    #[arg(long, value_name = "HZ", default_value_t = Self::CHALLENGE.rate, value_parser = at_most(1e6))]
    pub rate: f64,
}

impl Setting {
    /// That of challenges 3d and 3e.
    pub const CHALLENGE: Setting = Setting { node_count: 25, latency: 100.0, rate: 100.0 };

    /// Values broadcast a second.
    fn broadcasts(&self) -> f64 {
        self.rate / 2.0
    }

    /// One way between any two nodes.
    fn delay(&self) -> Duration {
        Duration::from_secs_f64(self.latency / 1000.0)
    }
}

/// A budget, and what becomes of it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Row {
    /// What `--latency-budget` is given, in milliseconds.
    pub budget_ms: u64,
    /// What should come of it.
    pub predicted: Prediction,
    /// The messages an operation that any scheme needs for the predicted greatest latency.
    pub bound_msgs_per_op: f64,
    /// What does, if that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<Summary>,
}

impl Row {
    /// The row of a budget, not measured yet.
    #[must_use]
    pub fn new(setting: &Setting, budget_ms: u64) -> Self {
        let predicted = setting.predict(Duration::from_millis(budget_ms));
        let bound_msgs_per_op = setting.bound(predicted.max_ms);
        Self { budget_ms, predicted, bound_msgs_per_op, measured: None }
    }
}

/// All rows as one table, and what its figures are, if some were measured.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let is_measured = rows.iter().any(|row| row.measured.is_some());
    let mut header = vec!["budget", "strategy", "period", "msgs-per-op", "median", "max", "bound"];
    if is_measured {
        header.extend(["measured msgs-per-op", "measured median", "measured max", "valid"]);
    }
    let columns = header.len();
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    let ms = |figure: f64| format!("{figure:.0} ms");
    let messages = |figure: f64| format!("{figure:.2}");
    for Row { budget_ms, predicted, bound_msgs_per_op, measured } in rows {
        let mut cells = vec![
            format!("{budget_ms} ms"),
            predicted.strategy.name().to_owned(),
            ms(predicted.period_ms),
            messages(predicted.msgs_per_op),
            ms(predicted.median_ms),
            ms(predicted.max_ms),
            messages(*bound_msgs_per_op),
        ];
        if let Some(summary) = measured {
            cells.extend([
                both(summary.msgs_per_op.as_ref(), messages),
                both(summary.median_latency_ms.as_ref(), ms),
                both(summary.max_latency_ms.as_ref(), ms),
                verdict(if summary.valid { Valid::True } else { Valid::False }).to_owned(),
            ]);
        }
        table.add_row(cells);
    }
    for column in (0..columns).filter(|&column| column != 1) {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = format!("{table}\n");
    if let Some(Summary { seeds, first_seed, .. }) = rows.iter().find_map(|row| row.measured.as_ref()) {
        let _ = writeln!(
            text,
            "\nmeasured: the median and the worst of {seeds} seeds from {first_seed} on, {TIME_LIMIT} s each. Latencies \
             are the\nchecker's, until the last read that lacks a value: a little less than until the last node has it."
        );
    }
    text
}

/// The figure of the seed in the middle, and of the worst.
fn both(spread: Option<&Spread>, show: impl Fn(f64) -> String) -> String {
    spread.map_or_else(
        || "–".to_owned(),
        |Spread { median, max, .. }| format!("{} / {}", show(*median), show(*max)),
    )
}
