//! Who can reach whom: which nodes live, and which links work both ways.

use crate::cluster::nemesis::{NodeFault, Step};
use crate::cluster::network::Layer;
use crate::workload::topology::breadth_first;

/// The ways that values must find.
#[derive(Clone, Debug)]
pub(super) enum Paths {
    /// Any links that work.
    Any,
    /// Links between neighbours.
    Between(Vec<Vec<usize>>),
    /// None, while a link is cut or a node is dead.
    NoDetours,
}

/// The nodes and links that work, by what the nemesis has done so far.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    nodes: usize,
    paths: Paths,
    /// The layers in which the node of the row hears nothing from the node of the column, one bit each.
    cut: Vec<u8>,
    dead: Vec<bool>,
    gone: Vec<bool>,
    /// Whether every node lives and hears every other.
    is_whole: bool,
    /// The living nodes, in parts: within a part, links that work both ways join any two nodes, by way of others perhaps.
    parts: Vec<Vec<usize>>,
    /// The most hops that a value must take from a node to another of its part.
    hops: usize,
}

impl Reach {
    /// All nodes live and no link is cut.
    pub(super) fn new(nodes: usize, paths: Paths) -> Self {
        let (cut, dead) = (vec![0; nodes * nodes], vec![false; nodes]);
        let gone = dead.clone();
        let mut reach = Self { nodes, paths, cut, dead, gone, is_whole: true, parts: Vec::new(), hops: 0 };
        reach.survey();
        reach
    }

    /// The nemesis does something. True if that may have changed who can reach whom.
    pub(super) fn strike(&mut self, step: &Step) -> bool {
        match step {
            Step::StartPartition(_, cuts) => self.set(Layer::Partition, cuts),
            Step::StopPartition => self.set(Layer::Partition, &[]),
            Step::StartOneWay(cuts) => self.set(Layer::OneWay, cuts),
            Step::StopOneWay => self.set(Layer::OneWay, &[]),
            Step::CutForGood(cuts) => self.set(Layer::ForGood, cuts),
            Step::StartSudden { cuts, .. } => self.set(Layer::Sudden, cuts),
            Step::StopSudden => self.set(Layer::Sudden, &[]),
            Step::Disturb(node, NodeFault::Kill) => self.dead[*node] = true,
            Step::Disturb(node, NodeFault::Restart) => self.dead[*node] = self.gone[*node],
            Step::KillForGood(node) => (self.dead[*node], self.gone[*node]) = (true, true),
            _ => return false,
        }
        self.survey();
        true
    }

    fn set(&mut self, layer: Layer, cuts: &[(usize, usize)]) {
        self.cut.iter_mut().for_each(|layers| *layers &= !(layer as u8));
        for &(receiver, source) in cuts {
            self.cut[receiver * self.nodes + source] |= layer as u8;
        }
    }

    /// The living nodes, in parts that are joined.
    pub(super) fn parts(&self) -> &[Vec<usize>] {
        &self.parts
    }

    /// Whether every node lives and hears every other.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// The most hops that a value must take from a node to another that can be reached.
    pub(super) fn hops(&self) -> usize {
        self.hops
    }

    /// How many pairs there are of a living node and another one that doesn't hear or answer it, neighbour or not.
    pub(super) fn unreachable(&self) -> usize {
        let living = (0..self.nodes).filter(|&node| !self.dead[node]);
        living.map(|a| (0..self.nodes).filter(|&b| a != b && !self.joins(a, b)).count()).sum()
    }

    fn around(&self, node: usize) -> Box<dyn Iterator<Item = usize> + '_> {
        match &self.paths {
            Paths::Between(neighbours) => Box::new(neighbours[node].iter().copied()),
            Paths::NoDetours if !self.is_whole() => Box::new(std::iter::empty()),
            Paths::Any | Paths::NoDetours => Box::new((0..self.nodes).filter(move |&other| other != node)),
        }
    }

    fn joins(&self, a: usize, b: usize) -> bool {
        let cut = self.cut[a * self.nodes + b] | self.cut[b * self.nodes + a];
        cut == 0 && !self.dead[a] && !self.dead[b]
    }

    fn survey(&mut self) {
        self.is_whole = self.cut.iter().all(|&layers| layers == 0) && !self.dead.contains(&true);
        self.parts.clear();
        self.hops = 0;
        if self.is_whole && !matches!(self.paths, Paths::Between(_)) {
            self.parts.push((0..self.nodes).collect());
            self.hops = usize::from(self.nodes > 1);
            return;
        }
        let mut is_placed = self.dead.clone();
        for node in 0..self.nodes {
            let (part, hops) = self.from(node);
            if !self.dead[node] {
                self.hops = self.hops.max(hops);
            }
            if !is_placed[node] {
                part.iter().for_each(|&node| is_placed[node] = true);
                self.parts.push(part);
            }
        }
    }

    /// All that a living node can reach, itself first, and how far away the last of them is.
    fn from(&self, node: usize) -> (Vec<usize>, usize) {
        let around = |node| self.around(node).filter(move |&next| self.joins(node, next));
        let found = breadth_first(self.nodes, node, around);
        let farthest = found.last().map_or(0, |&(_, distance)| distance);
        (found.into_iter().map(|(node, _)| node).collect(), farthest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_joined_by_links_that_work_both_ways_between_living_nodes() {
        let mut reach = Reach::new(4, Paths::Any);
        assert!(reach.is_whole() && reach.hops() == 1 && reach.parts().len() == 1);
        // A chain, in which one link works one way.
        let chain = [(0, 2), (2, 0), (0, 3), (3, 0), (1, 3), (3, 1)];
        assert!(reach.strike(&Step::CutForGood(chain.to_vec())));
        assert_eq!((reach.parts().len(), reach.hops()), (1, 3));
        reach.strike(&Step::StartOneWay(vec![(2, 3)]));
        assert_eq!(reach.parts(), [vec![0, 1, 2], vec![3]]);
        reach.strike(&Step::KillForGood(1));
        assert_eq!(reach.parts(), [vec![0], vec![2], vec![3]]);
        assert_eq!((reach.hops(), reach.is_whole()), (0, false));
        reach.strike(&Step::Disturb(1, NodeFault::Restart));
        assert_eq!(reach.parts().len(), 3, "it is gone");
        reach.strike(&Step::StopOneWay);
        assert_eq!(reach.parts(), [vec![0], vec![2, 3]]);
        assert!(!reach.strike(&Step::Lose(0.5)));
    }

    #[test]
    fn where_only_neighbours_talk_a_dead_one_may_part_the_others() {
        let mut reach = Reach::new(3, Paths::Between(vec![vec![1], vec![0, 2], vec![1]]));
        assert_eq!((reach.parts().len(), reach.hops(), reach.is_whole()), (1, 2, true));
        reach.strike(&Step::Disturb(1, NodeFault::Kill));
        assert_eq!((reach.parts().len(), reach.unreachable()), (2, 2));
        reach.strike(&Step::Disturb(1, NodeFault::Restart));
        assert!(reach.is_whole());
    }

    #[test]
    fn where_no_detours_are_found_one_cut_excuses_everybody() {
        let mut reach = Reach::new(3, Paths::NoDetours);
        assert_eq!((reach.parts().len(), reach.hops()), (1, 1));
        reach.strike(&Step::StartOneWay(vec![(0, 1)]));
        assert_eq!(reach.parts().len(), 3);
    }
}
