//! A counter that only goes up.

use super::pn_counter::{Counter, check};
use super::{WorkloadKind, refuses_nothing};

/// g-counter.
pub const KIND: WorkloadKind = WorkloadKind {
    name: "g-counter",
    about: "A counter that only goes up: every final read shows the sum",
    new: |_| Box::new(Counter::new(0)),
    check: |history, _| check(history),
    reads_sets: false,
    refuses: refuses_nothing,
};
