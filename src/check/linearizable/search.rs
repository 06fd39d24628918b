//! Whether there is an order of a register's operations that explains what they returned.
//!
//! **Algorithm.** Just-in-time linearization (G. Lowe, "Testing for linearizability", 2017), walked breadth
//! first as Knossos's `linear` does. The walk goes through the invocations and completions in order and keeps
//! the *frontier*: every configuration that the register can be in at that point. A configuration is the
//! register's state with, for each open operation, whether it has been placed in the order. An operation is
//! placed as late as possible: when an operation completes, it is placed, after any of the other open ones.
//! If no configuration survives a completion, the history is not linearizable, and that operation is the one
//! that has no place. Wing and Gong's depth-first search with a memo visits the same configurations, but has
//! to keep all of them; of these, only the current ones are kept, so that memory does not grow with the
//! history.
//!
//! **What keeps the frontier small.** A configuration holds two sets of open operations: `owed`, those that
//! still have to be placed, and `may`, those that still can change the state. Hence an operation is
//! - *waiting*: in both, or for a read in `owed` only;
//! - *free*: in `may` only, it may be placed and need not be;
//! - *done*: in neither.
//!
//! 1. *Indeterminate operations are free* from their invocation on. Those that can have no effect (reads) are
//!    left out.
//! 2. *Reads are placed as soon as they are legal.* A read changes nothing, so moving it forward to the first
//!    moment after its invocation at which the state has its value leaves all other operations as they were.
//! 3. *A write can hide.* Immediately before a write, and wherever the state has its value already, another
//!    write has no effect that anybody sees. So when a write is placed, or the state becomes v, all open
//!    writes, or all open writes of v, become free: they may count as placed just there, or be placed later.
//! 4. *Domination.* Configuration A dominates B if both have the same state, A may place all that B may, and
//!    A owes nothing that B doesn't owe. Each step of B can then be taken by A too, and A still dominates
//!    after it. So B is dropped.
//! 5. *Of two equal operations that are open, the one that completes first is placed first*: in an order that
//!    places them otherwise, the two can be exchanged. (Not if this would use up a free one for a waiting
//!    one.)
//! 6. *No placement for nothing.* When an operation completes, others are placed before it only for a reason:
//!    a waiting read or cas needs the value. A write, or a free cas, whose value no such operation wants
//!    would be overwritten unseen; leaving it out gives a configuration that dominates, since by point 3 the
//!    write that follows hides it just as well. (So this point is right only together with point 3.)
//!
//! **Bounds.** The number of configurations is limited, and so is the time ([`WORK_MAX`]). When there are too
//! many configurations, those that have used up the most open operations are thrown away. One that survives
//! to the end still proves the history linearizable; but if none survives, there is no verdict. So the search
//! is first made with few configurations ([`WIDTHS`]), which is enough for most histories, and repeated with
//! more only if some had been thrown away and none survived.

use std::cmp::Reverse;

use super::open::{Config, Equals, Mover, Open};
use super::plan::{Plan, Step, matters};
use super::register::{Action, NULL, Op, Register, Value};
use super::wanted::Wanted;

/// The most configurations that are kept from one event to the next, search by search.
///
/// Chosen by measurement on linearizable histories of busy clients on one key. Ten clients need at most 16 if
/// no operation is indeterminate, and 60 if 25 of 500 are; twenty clients need 70. But of histories with
/// 5,000 operations and 25 to 250 indeterminate ones, 8 configurations lead to an order in eight of ten, and
/// 32 in nearly all, where a complete search would need thousands. The last width is for proofs that there is
/// no order.
const WIDTHS: [usize; 3] = [8, 32, CONFIGURATIONS_MAX];

/// The most configurations that are looked at for one event, as a multiple of the width. In the histories
/// above, four times as many make no difference but to the time.
const LOOKED_AT_PER_WIDTH: usize = 16;

/// The most configurations that are looked at for one event, at any width. Three lists of them take 400 kB
/// with 64 slots and 13 MB with 4,096.
const CONFIGURATIONS_MAX: usize = 4_096;

/// The most comparisons of two configurations, and operations looked at, in one search: about a second; so a
/// key takes at most a few.
const WORK_MAX: u64 = 1 << 30;

/// The result of a search.
#[derive(Debug)]
pub(super) enum Verdict {
    /// There is an order.
    Linearizable,
    /// There is none.
    Stuck(Stuck),
    /// A bound was reached first; the reason.
    GaveUp(String),
}

/// Where a search ended without any order.
#[derive(Debug)]
pub(super) struct Stuck {
    /// The operation that has no place, as an index into [`Register::ops`].
    pub(super) op: usize,
    /// What was possible immediately before this operation completed.
    pub(super) before: Vec<Possibility>,
}

/// One way in which things can stand.
#[derive(Debug)]
pub(super) struct Possibility {
    /// What the register holds.
    pub(super) state: Value,
    /// The operation that set it; none if the register still holds its initial value.
    pub(super) set_by: Option<usize>,
    /// The operations that may change the state next.
    pub(super) may: Vec<usize>,
}

/// Searches for an order of the register's operations.
pub(super) fn search(register: &Register<'_>) -> Verdict {
    let plan = Plan::of(&register.ops);
    match plan.slot_count {
        0..=64 => search_in_widths::<1>(register, &plan),
        65..=256 => search_in_widths::<4>(register, &plan),
        257..=1_024 => search_in_widths::<16>(register, &plan),
        1_025..=4_096 => search_in_widths::<64>(register, &plan),
        open => {
            Verdict::GaveUp(format!("{open} operations were open at once, and at most 4096 are searched"))
        }
    }
}

fn search_in_widths<const N: usize>(register: &Register<'_>, plan: &Plan) -> Verdict {
    let mut verdict = Verdict::Linearizable;
    for width in WIDTHS {
        verdict = Search::<N>::new(register, plan, Limits { width, work: WORK_MAX }).run();
        if !matches!(verdict, Verdict::GaveUp(_)) {
            break;
        }
    }
    verdict
}

/// A single search of a register with at most 64 slots.
#[cfg(test)]
pub(super) fn search_within(register: &Register<'_>, limits: Limits) -> Verdict {
    Search::<1>::new(register, &Plan::of(&register.ops), limits).run()
}

/// How much a search may do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How many configurations are kept from one event to the next.
    pub(super) width: usize,
    /// Comparisons of two configurations, and operations looked at.
    pub(super) work: u64,
}

struct Search<'a, const N: usize> {
    ops: &'a [Op<'a>],
    plan: &'a Plan,
    open: Open<N>,
    /// What is possible now. No configuration dominates another.
    frontier: Vec<Config<N>>,
    /// What is possible after the completion that is being looked at.
    next: Vec<Config<N>>,
    /// Configurations on the way from the one to the other.
    queue: Vec<Config<N>>,
    wanted: Wanted,
    limits: Limits,
    work: u64,
    /// Whether configurations were thrown away.
    incomplete: bool,
}

impl<'a, const N: usize> Search<'a, N> {
    fn new(register: &'a Register<'a>, plan: &'a Plan, limits: Limits) -> Self {
        let values = register.values.len();
        Search {
            ops: &register.ops,
            plan,
            open: Open::among(values),
            frontier: vec![Config::INITIAL],
            next: Vec::new(),
            queue: Vec::new(),
            wanted: Wanted::among(values),
            limits,
            work: 0,
            incomplete: false,
        }
    }

    fn run(mut self) -> Verdict {
        for step in &self.plan.steps {
            match *step {
                Step::Invoke(op) => self.invoke(self.mover(op)),
                Step::Complete(op) => {
                    if !self.complete(self.mover(op)) {
                        return self.failed_at(op);
                    }
                }
            }
            if self.work > self.limits.work {
                return self.out_of_work();
            }
        }
        Verdict::Linearizable
    }

    fn mover(&self, op: usize) -> Mover {
        let (action, deadline) = (self.ops[op].action, self.ops[op].deadline());
        Mover { action, deadline, op, slot: self.plan.slots[op] }
    }

    fn invoke(&mut self, mover: Mover) {
        let agrees_with = match mover.action {
            Action::Read(value) | Action::Write(value) => Some(value),
            Action::Nothing | Action::Cas { .. } => None,
        };
        for config in &mut self.frontier {
            if mover.action.makes().is_some() {
                config.may.insert(mover.slot);
            }
            if mover.deadline != usize::MAX && agrees_with != Some(config.state) {
                config.owed.insert(mover.slot);
            }
        }
        self.open.add(mover);
    }

    /// Keeps what is possible once `target` has completed; false, and the frontier as it was, if that is
    /// nothing.
    fn complete(&mut self, target: Mover) -> bool {
        self.next.clear();
        self.queue.clear();
        for at in 0..self.frontier.len() {
            let config = self.frontier[at];
            if !config.owed.contains(target.slot) {
                self.keep(config, &target);
            }
            if config.owed.contains(target.slot) || config.may.contains(target.slot) {
                self.queue.push(config);
            }
        }
        let mut at = 0;
        while at < self.queue.len() && self.work <= self.limits.work {
            self.expand(&self.queue[at].clone(), &target);
            at += 1;
        }
        let possible = !self.next.is_empty();
        if possible {
            self.open.remove(target.action, target.slot);
            self.narrow();
            std::mem::swap(&mut self.frontier, &mut self.next);
        }
        possible
    }

    /// Throws away those configurations of `next` that are too many: those that used up the most operations.
    fn narrow(&mut self) {
        if self.next.len() > self.limits.width {
            self.next.sort_by_key(|config| Reverse(config.may.len()));
            self.next.truncate(self.limits.width);
            self.incomplete = true;
        }
    }

    /// Places each operation that may come next on the way to placing `target`.
    fn expand(&mut self, config: &Config<N>, target: &Mover) {
        self.work += self.wanted.find(config, &self.open, target);
        self.work += self.open.movers.len() as u64;
        if self.wanted.is_empty() {
            let after = self.open.place(config, target);
            return after.into_iter().for_each(|after| self.keep(after, target));
        }
        let mut equals = Equals::default();
        for at in 0..self.open.movers.len() {
            let mover = self.open.movers[at];
            if !config.may.contains(mover.slot) || equals.come_first(&mover, config.owed.contains(mover.slot))
            {
                continue;
            }
            let Some(after) = self.open.place(config, &mover) else { continue };
            let is_read = matches!(target.action, Action::Read(_));
            if mover.op == target.op || (is_read && !after.owed.contains(target.slot)) {
                self.keep(after, target);
            } else if self.has_a_reason(config, &mover) {
                self.enqueue(after);
            }
        }
    }

    /// Whether placing `mover` before the operation that completes can be of use (point 6).
    fn has_a_reason(&self, config: &Config<N>, mover: &Mover) -> bool {
        let owed_cas = matches!(mover.action, Action::Cas { .. }) && config.owed.contains(mover.slot);
        owed_cas || mover.action.makes().is_some_and(|value| self.wanted.contains(value))
    }

    /// Adds a configuration to those after the completion of `target`, unless one there dominates it.
    fn keep(&mut self, mut config: Config<N>, target: &Mover) {
        config.may.remove(target.slot);
        self.work += self.next.len() as u64;
        if self.next.iter().any(|other| other.dominates(&config)) {
            return;
        }
        self.next.retain(|other| !config.dominates(other));
        self.incomplete |= !push_bounded(&mut self.next, config, LOOKED_AT_PER_WIDTH * self.limits.width);
    }

    fn enqueue(&mut self, config: Config<N>) {
        self.work += self.queue.len() as u64;
        if !self.queue.iter().any(|other| other.dominates(&config)) {
            self.incomplete |=
                !push_bounded(&mut self.queue, config, LOOKED_AT_PER_WIDTH * self.limits.width);
        }
    }

    fn failed_at(&self, op: usize) -> Verdict {
        if self.work > self.limits.work {
            return self.out_of_work();
        }
        if self.incomplete && self.was_ever_possible(op) {
            return Verdict::GaveUp(format!(
                "more than {} orders were possible at one time, and none of those kept explains the rest",
                self.limits.width
            ));
        }
        let before = self.frontier.iter().map(|config| self.possibility(config)).collect();
        Verdict::Stuck(Stuck { op, before })
    }

    /// Whether anything that began before `op` completed makes the value it needs. If not, it has no place in
    /// any order, whatever was thrown away.
    fn was_ever_possible(&self, op: usize) -> bool {
        let (needed, deadline) = (self.ops[op].action.needs(), self.ops[op].deadline());
        let mut begun = self.ops.iter().filter(|maker| maker.invocation.index < deadline && matters(maker));
        needed == Some(NULL) || begun.any(|maker| maker.action.makes() == needed)
    }

    fn out_of_work(&self) -> Verdict {
        Verdict::GaveUp(format!("the search took more than {} steps", self.limits.work))
    }

    fn possibility(&self, config: &Config<N>) -> Possibility {
        let may = self.open.movers.iter().filter(|mover| config.may.contains(mover.slot));
        Possibility {
            state: config.state,
            set_by: config.set_by.map(|op| op as usize),
            may: may.map(|mover| mover.op).collect(),
        }
    }
}

fn push_bounded<T>(to: &mut Vec<T>, item: T, max: usize) -> bool {
    let fits = to.len() < CONFIGURATIONS_MAX.min(max);
    if fits {
        to.push(item);
    }
    fits
}
