//! Which values are held by some of the nodes that can reach each other, and not yet by all of them.

use std::collections::{BTreeSet, HashMap, HashSet};

use foldhash::fast::FixedState;

use crate::node::Time;
use crate::protocol::Value;

/// What a node, or all of them, hold.
pub(super) type Values = HashSet<Value, FixedState>;

/// How far each value has spread in each part of the cluster. Any two living nodes of a part can reach each other.
#[derive(Debug)]
pub(super) struct Spread {
    parts: Vec<Vec<usize>>,
    /// The part that each node is in; none if it is dead.
    part_of: Vec<Option<usize>>,
    /// How many nodes of each part hold each value, and since when any of them does, or has belonged to the part.
    held: Vec<HashMap<Value, (usize, Time), FixedState>>,
    /// What some nodes of a part hold and some lack, by since when.
    spreading: BTreeSet<(Time, usize, Value)>,
}

impl Spread {
    /// Nobody holds anything.
    pub(super) fn new(parts: &[Vec<usize>], nodes: usize) -> Self {
        let mut spread =
            Self { parts: Vec::new(), part_of: Vec::new(), held: Vec::new(), spreading: BTreeSet::new() };
        spread.regroup(parts, &vec![Values::default(); nodes], Time::ZERO);
        spread
    }

    /// Who can reach whom may have changed. `told` is what each node holds.
    pub(super) fn regroup(&mut self, parts: &[Vec<usize>], told: &[Values], now: Time) {
        if self.parts == parts {
            return;
        }
        self.parts = parts.to_vec();
        self.part_of = vec![None; told.len()];
        self.held = vec![HashMap::default(); parts.len()];
        for (index, part) in parts.iter().enumerate() {
            for &node in part {
                self.part_of[node] = Some(index);
                for &value in &told[node] {
                    self.held[index].entry(value).or_insert((0, now)).0 += 1;
                }
            }
        }
        let values =
            self.held.iter().enumerate().flat_map(|(part, held)| held.iter().map(move |entry| (part, entry)));
        let partly = values.filter(|(part, (_, (count, _)))| *count < parts[*part].len());
        self.spreading = partly.map(|(part, (&value, &(_, since)))| (since, part, value)).collect();
    }

    /// A node holds a value that it didn't hold before. If it is the last of its part to do so, since when it has been spreading.
    pub(super) fn learnt(&mut self, now: Time, node: usize, value: Value) -> Option<Time> {
        let part = self.part_of[node]?;
        let (count, since) = self.held[part].entry(value).or_insert((0, now));
        *count += 1;
        let entry = (*since, part, value);
        if *count < self.parts[part].len() {
            if *count == 1 {
                self.spreading.insert(entry);
            }
            return None;
        }
        self.spreading.remove(&entry);
        Some(entry.0)
    }

    /// The value that has been spreading for longest, since when, and the nodes among which it has.
    pub(super) fn oldest(&self) -> Option<(Time, Value, &[usize])> {
        self.spreading.first().map(|&(since, part, value)| (since, value, &*self.parts[part]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(secs: u64) -> Time {
        Time::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn a_value_spreads_from_the_first_of_a_part_to_the_last() {
        let mut spread = Spread::new(&[vec![0, 1], vec![2]], 4);
        assert_eq!((spread.learnt(at(1), 0, 7), spread.learnt(at(2), 2, 7)), (None, Some(at(2))));
        assert_eq!(spread.learnt(at(3), 3, 9), None, "it is dead");
        assert_eq!(spread.learnt(at(4), 1, 8), None);
        assert_eq!(spread.oldest(), Some((at(1), 7, &[0, 1][..])));
        assert_eq!((spread.learnt(at(5), 1, 7), spread.learnt(at(6), 0, 8)), (Some(at(1)), Some(at(4))));
        assert_eq!(spread.oldest(), None);
    }

    #[test]
    fn where_nodes_come_to_reach_each_other_values_spread_anew() {
        let mut spread = Spread::new(&[vec![0, 1], vec![2]], 3);
        spread.learnt(at(1), 2, 7);
        let told = [Values::default(), Values::default(), Values::from_iter([7])];
        spread.regroup(&[vec![0, 1], vec![2]], &told, at(2));
        assert_eq!(spread.oldest(), None);
        spread.regroup(&[vec![0], vec![1, 2]], &told, at(3));
        assert_eq!(spread.oldest(), Some((at(3), 7, &[1, 2][..])));
        spread.regroup(&[vec![0, 1]], &told, at(4));
        assert_eq!(spread.oldest(), None, "its only holder is dead");
    }
}
