//! What a read of a set showed, kept as its difference from an earlier one.
//!
//! Reads of one node resemble each other: a history that kept each of them whole would grow with the product of reads and
//! values. A difference holds what came and what went, so that a history grows with values and operations.

use std::collections::HashMap;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use super::Process;
use crate::protocol::Value;

/// What a read of a set showed: how it differs from what an earlier read showed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shown {
    /// The index of the earlier read's completion; none if this one is told from the empty set.
    pub since: Option<usize>,
    /// Values that the earlier read did not show, in ascending order.
    pub added: Vec<Value>,
    /// Values that the earlier read showed, and this one does not, in ascending order.
    pub removed: Vec<Value>,
    /// Values that this read shows more than once, each with how often.
    pub repeated: Vec<(Value, usize)>,
    /// What this read shows beside integers.
    pub strange: Vec<Json>,
}

impl Shown {
    /// Told from the empty set: integers in any order, and what else the read showed.
    #[must_use]
    pub fn whole(mut values: Vec<Value>, strange: Vec<Json>) -> Self {
        // A set has no order, and a history must not depend on how a node's table is laid out.
        values.sort_unstable();
        let repeated =
            values.chunk_by(|a, b| a == b).filter(|same| same.len() > 1).map(|same| (same[0], same.len()));
        let repeated = repeated.collect();
        values.dedup();
        Self { added: values, repeated, strange, ..Self::default() }
    }

    /// Whether it is no more than a list of integers.
    pub(super) fn is_plain(&self) -> bool {
        self.since.is_none() && self.repeated.is_empty() && self.strange.is_empty()
    }
}

impl Serialize for Shown {
    /// A list of integers, if it is one; otherwise an object of what there is.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_plain() {
            return self.added.serialize(serializer);
        }
        let Self { since, added, removed, repeated, strange } = self;
        let mut map = serializer.serialize_map(None)?;
        if let Some(since) = since {
            map.serialize_entry("since", since)?;
        }
        map.serialize_entry("added", added)?;
        if !removed.is_empty() {
            map.serialize_entry("removed", removed)?;
        }
        if !repeated.is_empty() {
            map.serialize_entry("repeated", repeated)?;
        }
        if !strange.is_empty() {
            map.serialize_entry("strange", strange)?;
        }
        map.end()
    }
}

/// Whose reads resemble each other: those of one node, or of one client if its node isn't known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    Node(usize),
    Process(Process),
}

/// The last read of each source, which the next one of the same source is told from.
#[derive(Debug, Default)]
pub(super) struct LastReads(HashMap<Source, LastRead>);

#[derive(Debug)]
struct LastRead {
    index: usize,
    values: Vec<Value>,
}

impl LastReads {
    /// Tells a read that is whole, and gets the index `index`, from the last one of its source.
    pub(super) fn rebase(&mut self, source: Source, index: usize, shown: Shown) -> Shown {
        let Shown { added: values, repeated, strange, .. } = shown;
        match self.0.get_mut(&source) {
            None => {
                self.0.insert(source, LastRead { index, values: values.clone() });
                Shown { since: None, added: values, removed: Vec::new(), repeated, strange }
            }
            Some(last) => {
                let (added, removed) = difference(&last.values, &values);
                let since = Some(std::mem::replace(&mut last.index, index));
                last.values = values;
                Shown { since, added, removed, repeated, strange }
            }
        }
    }
}

/// What came and what went from one sorted list to another.
fn difference(before: &[Value], after: &[Value]) -> (Vec<Value>, Vec<Value>) {
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    let mut before = before.iter().copied().peekable();
    for &value in after {
        while let Some(gone) = before.next_if(|&other| other < value) {
            removed.push(gone);
        }
        if before.next_if_eq(&value).is_none() {
            added.push(value);
        }
    }
    removed.extend(before);
    (added, removed)
}

/// What a list becomes by what came and what went; all three are in ascending order, and so is the result.
pub(super) fn apply(before: &[Value], added: &[Value], removed: &[Value]) -> Vec<Value> {
    let mut removed = removed.iter().copied().peekable();
    let mut kept = before.iter().copied().filter(|value| {
        while removed.next_if(|other| other < value).is_some() {}
        removed.next_if_eq(value).is_none()
    });
    let mut after = Vec::with_capacity(before.len() + added.len());
    let mut next = kept.next();
    for &value in added {
        while let Some(earlier) = next.filter(|&earlier| earlier < value) {
            after.push(earlier);
            next = kept.next();
        }
        after.push(value);
    }
    after.extend(next);
    after.extend(kept);
    after
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_plain_read_is_written_as_a_list() {
        let written = |shown: &Shown| serde_json::to_value(shown).expect("serializable");
        assert_eq!(written(&Shown::whole(vec![3, 1], vec![])), json!([1, 3]));
        let odd = Shown::whole(vec![3, 1, 3], vec![json!("a")]);
        assert_eq!(written(&odd), json!({"added": [1, 3], "repeated": [[3, 2]], "strange": ["a"]}));
        let later = Shown { since: Some(7), added: vec![4], removed: vec![1], ..Shown::default() };
        assert_eq!(written(&later), json!({"since": 7, "added": [4], "removed": [1]}));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn differences_lead_from_each_read_to_the_next(
            reads in prop::collection::vec(prop::collection::btree_set(0i64..20, 0..12), 1..8),
        ) {
            let mut last = LastReads::default();
            let mut values = Vec::new();
            for (index, read) in reads.into_iter().enumerate() {
                let read: Vec<i64> = read.into_iter().collect();
                let shown = last.rebase(Source::Node(0), index, Shown::whole(read.clone(), vec![]));
                prop_assert_eq!(shown.since, index.checked_sub(1));
                values = apply(&values, &shown.added, &shown.removed);
                prop_assert_eq!(&values, &read);
            }
        }
    }
}
