//! One final read of each worker.

use std::collections::HashSet;

use super::{Last, Op};

/// Who has made the final read.
#[derive(Debug, Default)]
pub(super) struct FinalReads(HashSet<usize>);

impl FinalReads {
    /// The final read, if the worker has not made it.
    pub(super) fn next(&mut self, worker: usize, read: Op) -> Last {
        if self.0.insert(worker) { Last::Op(read) } else { Last::Done }
    }
}
