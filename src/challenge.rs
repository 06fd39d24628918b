//! The Gossip Glomers challenges: what each is, and what must hold.
//!
//! Inside: public to be read, tested and measured; it may change with any version.

use std::sync::LazyLock;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::check::Valid;
use crate::check::availability::Availability;
use crate::cluster::scenario::{Concurrency, FaultKind, Scenario};
use crate::cluster::trial::Results;
use crate::report::verdict;
use crate::workload::{Options, broadcast, echo, g_counter, kafka, txn_rw_register, unique_ids};

/// A challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Challenge {
    /// 1: one node echoes for 10 s
    #[value(alias = "1")]
    Echo,
    /// 2: three nodes make unique ids for 30 s, under partitions
    #[value(alias = "2")]
    UniqueIds,
    /// One node, 20 s
    #[value(name = "3a")]
    #[serde(rename = "3a")]
    Single,
    /// Five nodes, 20 s
    #[value(name = "3b")]
    #[serde(rename = "3b")]
    Multi,
    /// Five nodes, 20 s, under partitions
    #[value(name = "3c")]
    #[serde(rename = "3c")]
    FaultTolerant,
    /// 25 nodes, 100 ms: low latency at fewer than 30 messages an operation
    #[value(name = "3d")]
    #[serde(rename = "3d")]
    LowLatency,
    /// 25 nodes, 100 ms: fewer than 20 messages an operation at moderate latency
    #[value(name = "3e")]
    #[serde(rename = "3e")]
    FewMessages,
    /// Three nodes count up on seq-kv, 20 s, under partitions
    #[value(name = "4")]
    #[serde(rename = "4")]
    Counter,
    /// One node keeps logs, 20 s at rate 1000
    #[value(name = "5a")]
    #[serde(rename = "5a")]
    SingleLog,
    /// Two nodes keep logs, 20 s at rate 1000
    #[value(name = "5b")]
    #[serde(rename = "5b")]
    MultiLog,
    /// 5b, with as few messages as can be
    #[value(name = "5c")]
    #[serde(rename = "5c")]
    EfficientLog,
    /// One node does transactions that may read what is not committed
    #[value(name = "6a")]
    #[serde(rename = "6a")]
    SingleTxn,
    /// Two nodes do, totally available, under partitions
    #[value(name = "6b")]
    #[serde(rename = "6b")]
    ReadUncommitted,
    /// 6b, and transactions read only what is committed
    #[value(name = "6c")]
    #[serde(rename = "6c")]
    ReadCommitted,
    /// 3d, under partitions
    #[value(name = "3d-partition")]
    #[serde(rename = "3d-partition")]
    LowLatencyPartition,
    /// 3e, under partitions
    #[value(name = "3e-partition")]
    #[serde(rename = "3e-partition")]
    FewMessagesPartition,
}

/// What can be named: a challenge, or all of Gossip Glomers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// All of them, in order.
    All,
    /// One.
    One(Challenge),
}

impl Choice {
    /// The challenges that it stands for.
    #[must_use]
    pub fn challenges(self) -> Vec<Challenge> {
        match self {
            Choice::All => Challenge::ALL.to_vec(),
            Choice::One(challenge) => vec![challenge],
        }
    }
}

impl ValueEnum for Choice {
    fn value_variants<'a>() -> &'a [Self] {
        static CHOICES: LazyLock<Vec<Choice>> = LazyLock::new(|| {
            let each = Challenge::value_variants().iter().map(|&challenge| Choice::One(challenge));
            each.chain([Choice::All]).collect()
        });
        &CHOICES
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Choice::All => {
                Some(PossibleValue::new("all").help("All of Gossip Glomers, 1 to 6c: ten minutes"))
            }
            Choice::One(challenge) => challenge.to_possible_value(),
        }
    }
}

/// Limits that a figure must stay below.
#[derive(Clone, Copy, Debug, Default)]
struct Limits {
    msgs_per_op: Option<f64>,
    median_ms: Option<u64>,
    max_ms: Option<u64>,
}

/// One row of the table: what must hold, and what did.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The challenge.
    pub challenge: Challenge,
    /// The design of natter's own node that took it, or the program.
    pub node: String,
    /// What was measured.
    pub measure: &'static str,
    /// What it should be; none if it is only shown.
    pub target: Option<String>,
    /// What it is.
    pub figure: String,
    /// Whether it is what it should be; none without a target.
    pub met: Option<bool>,
}

impl Challenge {
    /// Those that are run when none is named.
    pub const DEFAULT: [Challenge; 3] =
        [Challenge::LowLatency, Challenge::FewMessages, Challenge::LowLatencyPartition];

    /// All of Gossip Glomers, in its order.
    pub const ALL: [Challenge; 14] = [
        Challenge::Echo,
        Challenge::UniqueIds,
        Challenge::Single,
        Challenge::Multi,
        Challenge::FaultTolerant,
        Challenge::LowLatency,
        Challenge::FewMessages,
        Challenge::Counter,
        Challenge::SingleLog,
        Challenge::MultiLog,
        Challenge::EfficientLog,
        Challenge::SingleTxn,
        Challenge::ReadUncommitted,
        Challenge::ReadCommitted,
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// What is run.
    #[must_use]
    pub fn scenario(self) -> Scenario {
        let broadcast = |node_count, nemesis| Scenario {
            node_count,
            time_limit: 20.0,
            rate: 10.0,
            nemesis,
            ..Scenario::new(broadcast::KIND)
        };
        let efficiency = |nemesis| Scenario { rate: 100.0, latency: 100.0, ..broadcast(25, nemesis) };
        let partition = || vec![FaultKind::Partition];
        let for_20_s = |kind| Scenario { time_limit: 20.0, ..Scenario::new(kind) };
        let hard = |kind, node_count| Scenario {
            node_count,
            concurrency: Concurrency::PerNode(2),
            rate: 1000.0,
            ..for_20_s(kind)
        };
        let logs = |node_count| hard(kafka::KIND, node_count);
        let txns = |node_count, model: &str, nemesis: Vec<FaultKind>| {
            let consistency_models = model.parse().into_iter().collect();
            Scenario {
                availability: (!nemesis.is_empty()).then_some(Availability::Total),
                nemesis,
                options: Options { consistency_models, ..Options::default() },
                ..hard(txn_rw_register::KIND, node_count)
            }
        };
        match self {
            Challenge::Echo => Scenario { node_count: 1, time_limit: 10.0, ..Scenario::new(echo::KIND) },
            Challenge::UniqueIds => Scenario {
                node_count: 3,
                time_limit: 30.0,
                rate: 1000.0,
                availability: Some(Availability::Total),
                nemesis: partition(),
                ..Scenario::new(unique_ids::KIND)
            },
            Challenge::Counter => {
                Scenario { node_count: 3, rate: 100.0, nemesis: partition(), ..for_20_s(g_counter::KIND) }
            }
            Challenge::SingleLog => logs(1),
            Challenge::MultiLog | Challenge::EfficientLog => logs(2),
            Challenge::SingleTxn => txns(1, "read-uncommitted", vec![]),
            Challenge::ReadUncommitted => txns(2, "read-uncommitted", partition()),
            Challenge::ReadCommitted => txns(2, "read-committed", partition()),
            Challenge::Single => broadcast(1, vec![]),
            Challenge::Multi => broadcast(5, vec![]),
            Challenge::FaultTolerant => broadcast(5, partition()),
            Challenge::LowLatency | Challenge::FewMessages => efficiency(vec![]),
            Challenge::LowLatencyPartition | Challenge::FewMessagesPartition => efficiency(partition()),
        }
    }

    /// Under partitions, values that wait for a healing have no limit on their latency.
    fn limits(self) -> Limits {
        match self {
            Challenge::LowLatency => {
                Limits { msgs_per_op: Some(30.0), median_ms: Some(400), max_ms: Some(600) }
            }
            Challenge::FewMessages => {
                Limits { msgs_per_op: Some(20.0), median_ms: Some(1000), max_ms: Some(2000) }
            }
            Challenge::EfficientLog => Limits { msgs_per_op: Some(2.0), ..Limits::default() },
            _ => Limits::default(),
        }
    }

    /// Judges a run of this challenge.
    #[must_use]
    pub fn rows(self, node: &str, results: &Results) -> Vec<Row> {
        let row = |measure, target: Option<String>, figure: String, met: bool| Row {
            challenge: self,
            node: node.to_owned(),
            measure,
            met: target.is_some().then_some(met),
            target,
            figure,
        };
        let figure = match results.valid {
            Valid::Unknown => "unknown",
            valid => verdict(valid),
        };
        let mut rows =
            vec![row("valid", Some("yes".to_owned()), figure.to_owned(), results.valid == Valid::True)];
        let set = results.workload.set.as_deref();
        if let Some(set) = set {
            let lost = set.lost_count;
            rows.push(row("values lost", Some("0".to_owned()), lost.to_string(), lost == 0));
        }
        let limits = self.limits();
        if set.is_some() || limits.msgs_per_op.is_some() {
            let msgs_per_op = results.net.servers.msgs_per_op;
            let target = limits.msgs_per_op.map(|limit| format!("< {limit}"));
            let met = limits.msgs_per_op.is_none_or(|limit| msgs_per_op < limit);
            rows.push(row("messages an operation", target, format!("{msgs_per_op:.2}"), met));
        }
        let Some(set) = set else { return rows };
        let quantiles = set.stable_latencies;
        for (measure, limit, latency) in [
            ("median latency", limits.median_ms, quantiles.map(|q| q.median)),
            ("max latency", limits.max_ms, quantiles.map(|q| q.max)),
        ] {
            let target = limit.map(|limit| format!("< {limit} ms"));
            let figure = latency.map_or_else(|| "none".to_owned(), |ms| format!("{ms} ms"));
            let met = limit.is_none_or(|limit| latency.is_some_and(|latency| latency < limit));
            rows.push(row(measure, target, figure, met));
        }
        rows
    }
}

/// The row of a run that could not be finished.
#[must_use]
pub fn failed(challenge: Challenge, node: &str, why: &str) -> Row {
    Row {
        challenge,
        node: node.to_owned(),
        measure: "finished",
        target: Some("yes".to_owned()),
        figure: why.lines().next().unwrap_or_default().to_owned(),
        met: Some(false),
    }
}

/// All rows as one table.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header([
        "challenge",
        "node",
        "measure",
        "target",
        "figure",
        "met",
    ]);
    for row in rows {
        let met = match row.met {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "–",
        };
        let target = row.target.as_deref().unwrap_or("–");
        table.add_row([&row.challenge.name(), &row.node, row.measure, target, &row.figure, met]);
    }
    for column in [3, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}
