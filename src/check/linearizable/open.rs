//! What the search looks at in one place of the history: the open operations, and configurations, which say
//! how things stand with them. The points named here are those of the documentation of [`super::search`].

use super::register::{Action, NULL, Value};
use super::slots::Slots;

/// A configuration: the state of the register, and what open operations can and have to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Config<const N: usize> {
    pub(super) state: Value,
    /// Who set the state, for explanations. Not compared.
    pub(super) set_by: Option<u32>,
    /// The open operations that can still change the state.
    pub(super) may: Slots<N>,
    /// The open operations that still have to be placed.
    pub(super) owed: Slots<N>,
}

impl<const N: usize> Config<N> {
    pub(super) const INITIAL: Self =
        Config { state: NULL, set_by: None, may: Slots::EMPTY, owed: Slots::EMPTY };

    /// Whether this configuration makes `other` superfluous (point 4).
    pub(super) fn dominates(&self, other: &Self) -> bool {
        self.state == other.state && other.may.is_subset(&self.may) && self.owed.is_subset(&other.owed)
    }
}

/// An open operation that can change the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mover {
    pub(super) action: Action,
    /// When it completes: an event's index, `usize::MAX` for never.
    pub(super) deadline: usize,
    pub(super) op: usize,
    pub(super) slot: usize,
}

/// The operations that are open at a point of the history.
pub(super) struct Open<const N: usize> {
    /// Value and slot of each read.
    pub(super) reads: Vec<(Value, usize)>,
    /// Ordered, so that equal actions are neighbours and the one that completes first comes first.
    pub(super) movers: Vec<Mover>,
    /// Those movers that are writes.
    pub(super) writes: Slots<N>,
    /// By value: the reads and the writes of it.
    pub(super) agreeing: Vec<Slots<N>>,
}

impl<const N: usize> Open<N> {
    /// No operation, on a register with so many values.
    pub(super) fn among(values: usize) -> Self {
        let agreeing = vec![Slots::EMPTY; values];
        Open { reads: Vec::new(), movers: Vec::new(), writes: Slots::EMPTY, agreeing }
    }

    pub(super) fn add(&mut self, mover: Mover) {
        let (action, slot) = (mover.action, mover.slot);
        match action {
            Action::Read(value) => return self.add_read(value, slot),
            Action::Write(value) => {
                self.writes.insert(slot);
                self.agreeing[value as usize].insert(slot);
            }
            Action::Nothing | Action::Cas { .. } => {}
        }
        let at = self.movers.partition_point(|other| *other < mover);
        self.movers.insert(at, mover);
    }

    fn add_read(&mut self, value: Value, slot: usize) {
        self.reads.push((value, slot));
        self.agreeing[value as usize].insert(slot);
    }

    pub(super) fn remove(&mut self, action: Action, slot: usize) {
        self.reads.retain(|read| read.1 != slot);
        self.movers.retain(|mover| mover.slot != slot);
        self.writes.remove(slot);
        if let Action::Read(value) | Action::Write(value) = action {
            self.agreeing[value as usize].remove(slot);
        }
    }

    /// Those movers that are compare-and-sets.
    pub(super) fn cas(&self) -> &[Mover] {
        let first = self.movers.partition_point(|mover| !matches!(mover.action, Action::Cas { .. }));
        &self.movers[first..]
    }

    /// The configuration after `mover` was placed; none if that is not legal. Reads that agree with the new
    /// state are done, and writes that are hidden become free (points 2 and 3).
    pub(super) fn place(&self, config: &Config<N>, mover: &Mover) -> Option<Config<N>> {
        if mover.action.needs().is_some_and(|value| value != config.state) {
            return None;
        }
        let mut after = *config;
        after.state = mover.action.makes()?;
        after.set_by = Some(mover.op as u32);
        after.may.remove(mover.slot);
        after.owed.remove(mover.slot);
        if matches!(mover.action, Action::Write(_)) {
            after.owed.subtract(&self.writes);
        }
        after.owed.subtract(&self.agreeing[after.state as usize]);
        Some(after)
    }
}

/// Which operations with the same action, and an earlier completion, could be placed instead (point 5).
#[derive(Default)]
pub(super) struct Equals {
    action: Option<Action>,
    any: bool,
    owed: bool,
}

impl Equals {
    /// Whether one of those seen has to be placed before `mover`. Movers come in their order.
    pub(super) fn come_first(&mut self, mover: &Mover, owed: bool) -> bool {
        if self.action != Some(mover.action) {
            *self = Equals { action: Some(mover.action), any: false, owed: false };
        }
        let first = self.owed || (self.any && !owed);
        self.any = true;
        self.owed |= owed;
        first
    }
}
