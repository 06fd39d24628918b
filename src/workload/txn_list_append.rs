//! Lists that grow, in transactions.

use super::txn::Txn;
use super::{WorkloadKind, WorkloadResult, refuses_nothing};
use crate::check::txn::list_append;

/// txn-list-append.
pub const KIND: WorkloadKind = WorkloadKind {
    name: "txn-list-append",
    about: "Lists that grow, in transactions",
    new: |setting| Box::new(Txn::new(setting.options, "append", true)),
    check: |history, options| {
        WorkloadResult::of_txns(&list_append(history, &options.consistency_models), options)
    },
    reads_sets: false,
    refuses: refuses_nothing,
};
