//! Which values there is a reason to make before an operation completes (point 6 of [`super::search`]).

use super::open::{Config, Mover, Open};
use super::register::{Action, Value};

/// The values that an operation which is still owed needs, directly or by way of free ones. If there are
/// none, only the operation that completes is placed.
pub(super) struct Wanted {
    marks: Vec<bool>,
    marked: Vec<Value>,
}

impl Wanted {
    pub(super) fn among(values: usize) -> Self {
        Wanted { marks: vec![false; values], marked: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.marked.is_empty()
    }

    pub(super) fn contains(&self, value: Value) -> bool {
        self.marks[value as usize]
    }

    fn mark(&mut self, value: Value) {
        if !self.marks[value as usize] {
            self.marks[value as usize] = true;
            self.marked.push(value);
        }
    }

    fn clear(&mut self) {
        for value in self.marked.drain(..) {
            self.marks[value as usize] = false;
        }
    }

    /// Finds what is wanted in `config` when `target` completes; returns how many operations it looked at.
    pub(super) fn find<const N: usize>(&mut self, config: &Config<N>, open: &Open<N>, target: &Mover) -> u64 {
        self.clear();
        target.action.needs().into_iter().for_each(|value| self.mark(value));
        for &(value, slot) in &open.reads {
            if config.owed.contains(slot) {
                self.mark(value);
            }
        }
        for mover in open.cas().iter().filter(|mover| config.owed.contains(mover.slot)) {
            mover.action.needs().into_iter().for_each(|value| self.mark(value));
        }
        self.close(config, open)
    }

    /// A free cas to a wanted value makes the value it comes from wanted.
    fn close<const N: usize>(&mut self, config: &Config<N>, open: &Open<N>) -> u64 {
        let (mut before, mut looked_at) = (0, 0);
        while self.marked.len() > before {
            before = self.marked.len();
            looked_at += open.cas().len() as u64;
            for mover in open.cas().iter().filter(|mover| config.may.contains(mover.slot)) {
                if let Action::Cas { from, to } = mover.action
                    && self.contains(to)
                {
                    self.mark(from);
                }
            }
        }
        looked_at
    }
}
