//! What a run is to be: Maelstrom's options, by Maelstrom's names.

use std::fmt;
use std::fs;
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use serde::{Serialize, Serializer};

use super::nemesis::{PartitionKind, Targets};
use super::network::Names;
use super::trial::strikes;
use crate::check::availability::Availability;
use crate::workload::{Options, WorkloadKind};

/// One run's options.
#[derive(Args, Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Scenario {
    /// What clients do, and what is checked
    #[arg(short, long, value_enum)]
    pub workload: WorkloadKind,

    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub node_count: u32,

    /// The nodes' names, separated by commas, in place of --node-count
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = node_name, conflicts_with = "node_count")]
    pub nodes: Vec<String>,

    /// The name of one node; again for each
    #[arg(long = "node", value_name = "NAME", value_parser = node_name, conflicts_with_all = ["node_count", "nodes"])]
    pub each_node: Vec<String>,

    /// A file with the nodes' names, one a line
    #[arg(long, value_name = "FILE", value_parser = names_of_file, conflicts_with_all = ["node_count", "nodes", "each_node"])]
    pub nodes_file: Option<NamesOfFile>,

    /// How many clients, each doing one thing at a time: a number, or a multiple of the nodes such as 2n
    #[arg(long, value_name = "N", default_value_t = Concurrency::PerNode(1))]
    pub concurrency: Concurrency,

    /// Requests a second, by all clients together, on average
    #[arg(long, value_name = "HZ", default_value_t = 5.0, value_parser = at_most(1e6))]
    pub rate: f64,

    /// How long clients make requests
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, value_parser = at_most(1e6))]
    pub time_limit: f64,

    /// Mean delay of messages between nodes
    #[arg(long, value_name = "MS", default_value_t = 0.0, value_parser = at_most(3.6e6))]
    pub latency: f64,

    /// How delays are spread around their mean
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = LatencyDist::Constant)]
    pub latency_dist: LatencyDist,

    /// Each message between nodes takes up to so much longer, all lengths being equally likely
    #[arg(long, value_name = "MS", default_value_t = 0.0, value_parser = at_most(3.6e6))]
    pub latency_jitter: f64,

    /// When messages reach nodes
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = Delivery::WhenDue)]
    pub delivery: Delivery,

    /// Faults to inject, separated by commas
    #[arg(long, value_enum, value_name = "FAULTS", value_delimiter = ',')]
    pub nemesis: Vec<FaultKind>,

    /// Time between two steps of the nemesis, on average
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = interval)]
    pub nemesis_interval: f64,

    /// What partitions, kills and pauses strike, drawn anew each time; separated by commas [default: as Maelstrom]
    #[arg(long, value_enum, value_name = "TARGETS", value_delimiter = ',')]
    pub targets: Vec<Target>,

    /// What fraction of requests must succeed: a number from 0 to 1, or total
    #[arg(long, value_name = "FRACTION")]
    pub availability: Option<Availability>,

    /// Fixes what the bench itself draws at random [default: drawn by the operating system]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    #[command(flatten)]
    #[serde(flatten)]
    /// What concerns workloads alone.
    pub options: Options,
}

impl Scenario {
    /// Maelstrom's defaults for a workload.
    #[must_use]
    pub fn new(workload: WorkloadKind) -> Self {
        Self {
            workload,
            node_count: 5,
            nodes: Vec::new(),
            each_node: Vec::new(),
            nodes_file: None,
            concurrency: Concurrency::PerNode(1),
            rate: 5.0,
            time_limit: 60.0,
            latency: 0.0,
            latency_dist: LatencyDist::Constant,
            latency_jitter: 0.0,
            delivery: Delivery::WhenDue,
            nemesis: Vec::new(),
            nemesis_interval: 10.0,
            targets: Vec::new(),
            availability: None,
            seed: None,
            options: Options::default(),
        }
    }

    /// The number of nodes.
    #[must_use]
    pub fn nodes(&self) -> usize {
        match self.named().len() {
            0 => self.node_count as usize,
            named => named,
        }
    }

    /// The names that were given, if any were.
    fn named(&self) -> &[String] {
        match &self.nodes_file {
            Some(NamesOfFile(names)) => names,
            None if self.nodes.is_empty() => &self.each_node,
            None => &self.nodes,
        }
    }

    /// The nodes' names.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        match self.named() {
            [] => (0..self.nodes()).map(|node| format!("n{node}")).collect(),
            named => named.to_vec(),
        }
    }

    /// The number of client workers.
    #[must_use]
    pub fn workers(&self) -> usize {
        match self.concurrency {
            Concurrency::Exactly(workers) => workers as usize,
            Concurrency::PerNode(times) => times as usize * self.nodes(),
        }
    }

    /// Why the workload can't be run so, if it can't.
    #[must_use]
    pub fn refused(&self) -> Option<String> {
        let mut names = self.names();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Some(format!("two nodes are called {:?}", pair[0]));
        }
        let is_spared = |kind: &&FaultKind| !strikes(**kind, &self.targets);
        if let Some(kind) = self.nemesis.iter().find(is_spared).and_then(ValueEnum::to_possible_value) {
            return Some(format!("--nemesis {} strikes none of these --targets", kind.get_name()));
        }
        (self.workload.refuses)(self.nodes(), self.workers())
    }

    /// How long clients make requests.
    #[must_use]
    pub fn time_limit(&self) -> Duration {
        seconds(self.time_limit)
    }
}

/// What to show of a run while it runs, on stderr.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Verbosity {
    /// Show what nodes write to stderr
    #[arg(long)]
    pub log_stderr: bool,

    /// Show each message as it is sent
    #[arg(long)]
    pub log_net_send: bool,

    /// Show each message as it is received
    #[arg(long)]
    pub log_net_recv: bool,

    /// Don't store messages in messages.jsonl
    #[arg(long = "no-messages", action = ArgAction::SetFalse)]
    pub keeps_messages: bool,
}

/// A duration from an option in seconds, which is never negative.
pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

/// Reads numbers from 0 to a bound, beyond which no run makes sense: an hour of latency, eleven days of
/// operations, a request a microsecond.
pub(crate) fn at_most(bound: f64) -> impl Fn(&str) -> Result<f64, String> + Clone {
    move |text| match text.parse::<f64>() {
        Ok(number) if (0.0..=bound).contains(&number) => Ok(number),
        Ok(_) => Err(format!("must be from 0 to {bound}")),
        Err(_) => Err("must be a number".to_owned()),
    }
}

/// Reads a node's name, which may be the name of nobody else in the network.
/// Nodes' names that were read from a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamesOfFile(Vec<String>);

fn names_of_file(path: &str) -> Result<NamesOfFile, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let names = lines.map(|line| node_name(line).map_err(|why| format!("{line:?}: {why}")));
    let names = names.collect::<Result<Vec<_>, _>>()?;
    if names.is_empty() { Err("there is no name in it".to_owned()) } else { Ok(NamesOfFile(names)) }
}

fn node_name(text: &str) -> Result<String, String> {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "._-".contains(char);
    if text.is_empty() || text.len() > 64 || !text.chars().all(is_plain) {
        return Err("a name is of up to 64 letters, digits, dots, dashes and underscores".to_owned());
    }
    if Names::new(Vec::new()).find(text).is_some() {
        return Err("that is the name of a client or a service".to_owned());
    }
    Ok(text.to_owned())
}

/// A step of the nemesis each hundredth of a second is more than any run can follow.
fn interval(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if (0.01..=1e6).contains(&number) => Ok(number),
        Ok(_) => Err("must be from 0.01 to 1000000".to_owned()),
        Err(_) => Err("must be a number".to_owned()),
    }
}

impl LatencyDist {
    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            LatencyDist::Constant => "constant",
            LatencyDist::Uniform => "uniform",
            LatencyDist::Exponential => "exponential",
        }
    }
}

/// How delays are spread around their mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LatencyDist {
    /// Always the mean
    Constant,
    /// Anything from zero to twice the mean
    Uniform,
    /// Mostly short, sometimes very long
    Exponential,
}

/// When messages reach nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// Each when it is due
    WhenDue,
    /// As in Maelstrom: a node waits for one message at a time, and those that come meanwhile wait with it
    Maelstrom,
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The network is cut in two or more, in one of four ways
    Partition,
    /// Links work one way only
    OneWay,
    /// Nodes are killed, and started again later
    Kill,
    /// Nodes are killed and not started again, as long as a majority is left
    KillForGood,
    /// Nodes stop, and go on later
    Pause,
    /// A part of the messages between nodes is lost
    Loss,
    /// A part of the messages between nodes arrives twice
    Duplication,
    /// Some messages between nodes are overtaken by others
    Reordering,
    /// Messages between nodes take up to ten times the latency longer
    Slow,
    /// A part of the messages between nodes arrives damaged, as lines that are no JSON
    Corrupt,
}

impl FaultKind {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// What partitions, kills and pauses strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// One node
    One,
    /// The most nodes that are not a majority (kill, pause)
    Minority,
    /// Fewer than a third
    MinorityThird,
    /// The fewest nodes that are a majority
    Majority,
    /// Each node hears a majority, and no two the same one (partition)
    MajoritiesRing,
    /// All nodes (kill, pause)
    All,
    /// Any of them, one at least (kill, pause)
    Some,
    /// The node that has sent most
    Primaries,
}

impl Target {
    /// The partition that it stands for, if it does.
    pub(super) fn as_partition(self) -> Option<PartitionKind> {
        Some(match self {
            Target::One => PartitionKind::One,
            Target::MinorityThird => PartitionKind::MinorityThird,
            Target::Majority => PartitionKind::Majority,
            Target::MajoritiesRing => PartitionKind::MajoritiesRing,
            Target::Primaries => PartitionKind::Primaries,
            Target::Minority | Target::All | Target::Some => return None,
        })
    }

    /// The nodes that it stands for, if it does.
    pub(super) fn as_nodes(self) -> Option<Targets> {
        Some(match self {
            Target::One => Targets::One,
            Target::Minority => Targets::Minority,
            Target::MinorityThird => Targets::MinorityThird,
            Target::Majority => Targets::Majority,
            Target::All => Targets::All,
            Target::Some => Targets::Some,
            Target::Primaries => Targets::Primaries,
            Target::MajoritiesRing => return None,
        })
    }
}

/// How many clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concurrency {
    /// As many as that.
    Exactly(u32),
    /// That many for each node.
    PerNode(u32),
}

impl FromStr for Concurrency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, kind): (_, fn(u32) -> Concurrency) = match text.strip_suffix('n') {
            Some(digits) => (digits, Concurrency::PerNode),
            None => (text, Concurrency::Exactly),
        };
        match digits.parse() {
            Ok(count @ 1..=100_000) => Ok(kind(count)),
            _ => Err("must be a number from 1 to 100000, or such a number followed by n".to_owned()),
        }
    }
}

impl Serialize for Concurrency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Concurrency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Concurrency::Exactly(count) => write!(f, "{count}"),
            Concurrency::PerNode(times) => write!(f, "{times}n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::echo;

    #[test]
    fn concurrency_is_a_number_or_a_multiple_of_the_nodes() {
        let mut scenario = Scenario { node_count: 25, ..Scenario::new(echo::KIND) };
        assert_eq!(scenario.workers(), 25);
        scenario.concurrency = "2n".parse().expect("valid");
        assert_eq!(scenario.workers(), 50);
        scenario.concurrency = "7".parse().expect("valid");
        assert_eq!((scenario.workers(), scenario.concurrency.to_string().as_str()), (7, "7"));
        for bad in ["", "n", "0", "-1", "1m", "9999999n"] {
            assert!(bad.parse::<Concurrency>().is_err(), "{bad}");
        }
    }

    #[test]
    fn nodes_may_have_names_that_nobody_else_has() {
        let nodes = ["east-1", "west.2"].map(str::to_owned).to_vec();
        let mut scenario = Scenario { nodes, ..Scenario::new(echo::KIND) };
        assert_eq!((scenario.nodes(), scenario.names().join(" ").as_str()), (2, "east-1 west.2"));
        assert_eq!(scenario.refused(), None);
        scenario.nodes[1] = "east-1".to_owned();
        assert!(scenario.refused().is_some_and(|why| why.contains("east-1")));
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("names");
        let read = |text: &str| {
            fs::write(&file, text).expect("written");
            names_of_file(file.to_str().expect("a plain path"))
        };
        assert_eq!(read("a\n\n b \r\n"), Ok(NamesOfFile(vec!["a".to_owned(), "b".to_owned()])));
        assert!(read("a\nc1").is_err_and(|why| why.contains("c1")) && read("\n").is_err());
        for bad in ["", "c1", "lin-kv", "a b", "a\"b"] {
            assert!(node_name(bad).is_err(), "{bad}");
        }
        assert!(node_name("c").is_ok());
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        let latency = at_most(3.6e6);
        for bad in ["-1", "inf", "nan", "1e300", "x", ""] {
            assert!(latency(bad).is_err(), "{bad}");
        }
        assert_eq!((latency("0"), latency("0.5")), (Ok(0.0), Ok(0.5)));
        assert!(interval("0").is_err() && interval("0.0001").is_err() && interval("0.1").is_ok());
    }
}
