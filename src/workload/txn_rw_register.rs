//! Registers that are read and written, in transactions.

use super::txn::Txn;
use super::{WorkloadKind, WorkloadResult, refuses_nothing};
use crate::check::txn::rw_register;

/// txn-rw-register.
pub const KIND: WorkloadKind = WorkloadKind {
    name: "txn-rw-register",
    about: "Registers that are read and written, in transactions",
    new: |setting| Box::new(Txn::new(setting.options, "w", false)),
    check: |history, options| {
        WorkloadResult::of_txns(&rw_register(history, &options.consistency_models), options)
    },
    reads_sets: false,
    refuses: refuses_nothing,
};
