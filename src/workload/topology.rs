//! The topologies that Maelstrom suggests to nodes.

use clap::ValueEnum;
use serde::Serialize;

/// A shape of network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TopologyKind {
    /// A chain
    Line,
    /// A square, row by row, with up to four neighbours
    Grid,
    /// A binary tree
    Tree,
    /// A binary tree
    Tree2,
    /// A tree with three children a node
    Tree3,
    /// A tree with four children a node
    Tree4,
    /// Everyone is everyone's neighbour
    Total,
}

impl TopologyKind {
    /// The neighbours of each of `n` nodes, by index, in ascending order.
    #[must_use]
    pub fn neighbours(self, n: usize) -> Vec<Vec<usize>> {
        let linked = |a: usize, b: usize| match self {
            TopologyKind::Line => a + 1 == b,
            TopologyKind::Grid => {
                let side = (n as f64).sqrt().ceil() as usize;
                a + side == b || (a + 1 == b && !b.is_multiple_of(side))
            }
            TopologyKind::Tree | TopologyKind::Tree2 => is_parent(a, b, 2),
            TopologyKind::Tree3 => is_parent(a, b, 3),
            TopologyKind::Tree4 => is_parent(a, b, 4),
            TopologyKind::Total => true,
        };
        (0..n).map(|i| (0..n).filter(|&j| i != j && linked(i.min(j), i.max(j))).collect()).collect()
    }
}

/// The longest of the shortest paths, in hops; `usize::MAX` if some node can't be reached.
#[must_use]
pub fn diameter(neighbours: &[Vec<usize>]) -> usize {
    let nodes = neighbours.len();
    let around = |node: usize| neighbours[node].iter().copied();
    let reach = |from| {
        let found = breadth_first(nodes, from, around);
        if found.len() < nodes { usize::MAX } else { found.last().map_or(0, |&(_, distance)| distance) }
    };
    (0..nodes).map(reach).max().unwrap_or(0)
}

/// All of so many nodes that can be reached from one, each with its distance in hops: itself first, the farthest last.
pub(crate) fn breadth_first<I: Iterator<Item = usize>>(
    nodes: usize,
    from: usize,
    around: impl Fn(usize) -> I,
) -> Vec<(usize, usize)> {
    let mut is_found = vec![false; nodes];
    is_found[from] = true;
    let mut found = vec![(from, 0)];
    let mut next = 0;
    while let Some(&(node, distance)) = found.get(next) {
        next += 1;
        for other in around(node) {
            if !std::mem::replace(&mut is_found[other], true) {
                found.push((other, distance + 1));
            }
        }
    }
    found
}

/// Whether `a` is the parent of `b` in a heap of `k` children a node.
fn is_parent(a: usize, b: usize, k: usize) -> bool {
    b > 0 && (b - 1) / k == a
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(kind: TopologyKind, n: usize) -> usize {
        kind.neighbours(n).iter().map(Vec::len).sum::<usize>() / 2
    }

    #[test]
    fn shapes_have_the_edges_and_the_reach_they_should() {
        use TopologyKind::*;
        for (kind, n, edge_count, reach) in [
            (Grid, 25, 40, 8),
            (Grid, 5, 5, 3),
            (Line, 25, 24, 24),
            (Tree, 25, 24, 8),
            (Tree2, 25, 24, 8),
            (Tree3, 25, 24, 6),
            (Tree4, 25, 24, 5),
            (Total, 25, 300, 1),
            (Grid, 1, 0, 0),
        ] {
            let neighbours = kind.neighbours(n);
            assert_eq!((edges(kind, n), diameter(&neighbours)), (edge_count, reach), "{kind:?} of {n}");
        }
    }

    #[test]
    fn a_grid_that_is_not_square_wraps_rows_and_stays_in_bounds() {
        // 0 1 2
        // 3 4
        let expected: [&[usize]; 5] = [&[1, 3], &[0, 2, 4], &[1], &[0, 4], &[1, 3]];
        assert_eq!(TopologyKind::Grid.neighbours(5), expected);
    }

    #[test]
    fn neighbours_are_mutual() {
        for kind in TopologyKind::value_variants() {
            let neighbours = kind.neighbours(17);
            for (a, others) in neighbours.iter().enumerate() {
                assert!(others.iter().all(|&b| b != a && neighbours[b].contains(&a)), "{kind:?}");
            }
        }
    }
}
