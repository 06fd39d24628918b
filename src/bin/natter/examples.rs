//! The example nodes, which take the challenges that natter's own node does not know.

use std::process::ExitCode;

use clap::ValueEnum;
use natter::challenge::Challenge;

#[path = "../../../examples/g_counter.rs"]
mod g_counter;
#[path = "../../../examples/kafka.rs"]
mod kafka;
#[path = "../../../examples/kafka_lin_kv.rs"]
mod kafka_lin_kv;
#[path = "../../../examples/kafka_single.rs"]
mod kafka_single;
#[path = "../../../examples/txn_rw_register.rs"]
mod txn_rw_register;

/// An example node, by the name of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Example {
    GCounter,
    KafkaSingle,
    KafkaLinKv,
    Kafka,
    TxnRwRegister,
}

impl Example {
    /// The node that takes a challenge; none if natter's own does.
    pub(crate) const fn of(challenge: Challenge) -> Option<Self> {
        match challenge {
            Challenge::Counter => Some(Example::GCounter),
            Challenge::SingleLog => Some(Example::KafkaSingle),
            Challenge::MultiLog => Some(Example::KafkaLinKv),
            Challenge::EfficientLog => Some(Example::Kafka),
            Challenge::SingleTxn | Challenge::ReadUncommitted | Challenge::ReadCommitted => {
                Some(Example::TxnRwRegister)
            }
            _ => None,
        }
    }

    /// Its name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Is that node, on stdin and stdout.
    pub(crate) fn run(self) -> ExitCode {
        match self {
            Example::GCounter => g_counter::main(),
            Example::KafkaSingle => kafka_single::main(),
            Example::KafkaLinKv => kafka_lin_kv::main(),
            Example::Kafka => kafka::main(),
            Example::TxnRwRegister => txn_rw_register::main(),
        }
    }
}
