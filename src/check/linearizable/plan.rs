//! The walk through a register's history, laid out in advance: which invocations and completions matter, in
//! order, and which slot each operation has while it is open.

use super::register::{Action, Op, Outcome};

/// The events that matter, in order, and the slot of each operation.
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// Per operation.
    pub(super) slots: Vec<usize>,
    /// One more than the largest slot.
    pub(super) slot_count: usize,
}

/// An operation, by its index, begins to be open or ends.
#[derive(Clone, Copy)]
pub(super) enum Step {
    Invoke(usize),
    Complete(usize),
}

impl Plan {
    pub(super) fn of(ops: &[Op<'_>]) -> Self {
        let steps = steps(ops);
        let mut plan = Plan { steps: Vec::new(), slots: vec![0; ops.len()], slot_count: 0 };
        let mut unused = Vec::new();
        for step in &steps {
            match *step {
                Step::Invoke(op) => plan.slots[op] = unused.pop().unwrap_or_else(|| plan.add_slot()),
                Step::Complete(op) => unused.push(plan.slots[op]),
            }
        }
        plan.steps = steps;
        plan
    }

    fn add_slot(&mut self) -> usize {
        self.slot_count += 1;
        self.slot_count - 1
    }
}

fn steps(ops: &[Op<'_>]) -> Vec<Step> {
    let mut steps = Vec::with_capacity(2 * ops.len());
    for (number, op) in ops.iter().enumerate().filter(|(_, op)| matters(op)) {
        steps.push((op.invocation.index, Step::Invoke(number)));
        if op.deadline() != usize::MAX {
            steps.push((op.deadline(), Step::Complete(number)));
        }
    }
    steps.sort_unstable_by_key(|(index, _)| *index);
    steps.into_iter().map(|(_, step)| step).collect()
}

/// Whether the operation constrains the order or may change it.
pub(super) fn matters(op: &Op<'_>) -> bool {
    match op.outcome {
        Outcome::Ok => op.action != Action::Nothing,
        Outcome::Info => op.action.makes().is_some(),
        Outcome::Fail => false,
    }
}
