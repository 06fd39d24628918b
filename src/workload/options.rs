//! What a user may ask of workloads, by Maelstrom's names.

use clap::Args;
use serde::Serialize;

use super::topology::TopologyKind;
use crate::check::txn::Model;

/// Options of workloads.
#[derive(Args, Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Options {
    /// The topology suggested to the nodes (broadcast)
    #[arg(long, value_enum, value_name = "SPEC", default_value_t = TopologyKind::Grid)]
    pub topology: TopologyKind,

    /// How many keys are in use at a time (kafka, txn-list-append, txn-rw-register)
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub key_count: u32,

    /// The most operations of a transaction (txn-list-append, txn-rw-register)
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub max_txn_length: u32,

    /// So many values are written to a key before another one takes its place (kafka, txn-list-append, txn-rw-register)
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_writes_per_key: u32,

    /// What transactions must be, separated by commas (txn-list-append, txn-rw-register)
    #[arg(long, value_name = "MODELS", value_delimiter = ',', default_value = "strict-serializable")]
    pub consistency_models: Vec<Model>,

    /// Judge as Maelstrom does where natter is stricter: values that a read shows twice or that nobody sent are overlooked
    #[arg(long)]
    pub strict_maelstrom: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            topology: TopologyKind::Grid,
            key_count: 10,
            max_txn_length: 4,
            max_writes_per_key: 16,
            consistency_models: vec![Model::default()],
            strict_maelstrom: false,
        }
    }
}
