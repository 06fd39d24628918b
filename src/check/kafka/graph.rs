//! A directed graph with kinds of edges; its strongly connected components; short cycles in them.
//!
//! A cycle through an edge of a given kind is found by a breadth-first search from where the edge leads to where it
//! starts.
//!
//! A relation with many pairs, such as "ended before the other began", needs few edges if it goes through
//! *junctions*: nodes that stand for nothing and do not count in the length of a cycle.

use std::ops::BitOr;

use crate::check::components::Components;

/// A set of kinds of edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kinds(u8);

impl Kinds {
    /// The one wrote what the other read.
    pub(super) const WR: Kinds = Kinds(1);
    /// The one ended before the other began.
    pub(super) const REALTIME: Kinds = Kinds(1 << 1);

    /// Whether they have a kind in common.
    pub(super) fn meets(self, other: Kinds) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Kinds {
    type Output = Kinds;

    fn bitor(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }
}

/// A graph; its nodes are numbers from 0 on.
#[derive(Debug)]
pub(super) struct Graph {
    /// Where the edges of each node begin, and the end of the last.
    starts: Vec<usize>,
    /// All edges, by the node that they leave, otherwise as they were given.
    edges: Vec<Edge>,
    /// Nodes from here on are junctions.
    junctions: usize,
}

/// An edge, for the node that it leaves.
#[derive(Clone, Copy, Debug)]
struct Edge {
    to: u32,
    kind: Kinds,
}

/// A cycle: each node with the kind of the edge to the next; the last leads to the first.
pub(super) type Cycle = Vec<(usize, Kinds)>;

impl Graph {
    /// A graph of nodes and, numbered after them, junctions, fewer than 2^32 in all, with edges
    /// (from, to, kind). An edge from a node to itself is no cycle.
    pub(super) fn new(nodes: usize, junctions: usize, edges: &[(usize, usize, Kinds)]) -> Self {
        let all = nodes + junctions;
        let mut starts = vec![0; all + 1];
        for &(from, ..) in edges {
            starts[from + 1] += 1;
        }
        for node in 0..all {
            starts[node + 1] += starts[node];
        }
        let mut next = starts.clone();
        let mut sorted = vec![Edge { to: 0, kind: Kinds(0) }; edges.len()];
        for &(from, to, kind) in edges {
            sorted[next[from]] = Edge { to: to as u32, kind };
            next[from] += 1;
        }
        Graph { starts, edges: sorted, junctions: nodes }
    }

    /// The components of more than one node if only edges of the given kinds count. Within a component the
    /// nodes ascend, junctions last; components are in the order of their first nodes.
    pub(super) fn components(&self, kinds: Kinds) -> Vec<Vec<usize>> {
        let components = Components::of(self.nodes(), |node| {
            self.out(node as usize).iter().filter(move |edge| edge.kind.meets(kinds)).map(|edge| edge.to)
        });
        let components = components.nontrivial().into_iter();
        components.map(|component| component.into_iter().map(|node| node as usize).collect()).collect()
    }

    /// A shortest cycle of edges of the kinds `within`, at least one of the kind `through`, in a component;
    /// the first edge of the cycle is of that kind and leaves no junction. Each edge followed in search of a
    /// shorter cycle than the first one found costs one of `effort`; without any left, the shortest so far
    /// has to do.
    pub(super) fn cycle(
        &self,
        component: &[usize],
        within: Kinds,
        through: Kinds,
        effort: &mut usize,
    ) -> Option<Cycle> {
        let mut search = Search::new(self.nodes(), component);
        let mut best: Option<Cycle> = None;
        for &from in component.iter().filter(|&&node| node < self.junctions) {
            for edge in self.out(from).iter().filter(|edge| edge.kind.meets(through)) {
                let start = edge.to as usize;
                if !search.inside[start] {
                    continue;
                }
                let path = match best.as_ref().map(|cycle| self.length(cycle)) {
                    None => search.path(self, start, from, within, usize::MAX, &mut { usize::MAX }),
                    Some(length) if length > 2 && *effort > 0 => {
                        search.path(self, start, from, within, length - 2, effort)
                    }
                    Some(_) => return best,
                };
                if let Some(path) = path {
                    best = Some([(from, edge.kind)].into_iter().chain(path).collect());
                }
            }
        }
        best
    }

    fn length(&self, cycle: &Cycle) -> usize {
        cycle.iter().filter(|&&(node, _)| node < self.junctions).count()
    }

    fn nodes(&self) -> usize {
        self.starts.len() - 1
    }

    fn out(&self, node: usize) -> &[Edge] {
        &self.edges[self.starts[node]..self.starts[node + 1]]
    }
}

/// Breadth-first searches in one component.
struct Search {
    inside: Vec<bool>,
    /// In which search each node was last reached.
    reached: Vec<usize>,
    /// From where, by which edge.
    from: Vec<(usize, Kinds)>,
    searches: usize,
}

impl Search {
    fn new(nodes: usize, component: &[usize]) -> Self {
        let mut inside = vec![false; nodes];
        component.iter().for_each(|&node| inside[node] = true);
        Search { inside, reached: vec![0; nodes], from: vec![(0, Kinds(0)); nodes], searches: 0 }
    }

    /// A shortest path through at most `longest` nodes, its end not counted. Each edge followed costs one of
    /// `effort`.
    fn path(
        &mut self,
        graph: &Graph,
        start: usize,
        end: usize,
        within: Kinds,
        longest: usize,
        effort: &mut usize,
    ) -> Option<Cycle> {
        self.searches += 1;
        self.reached[start] = self.searches;
        let mut layer = vec![start];
        for _ in 0..longest {
            let mut next = Vec::new();
            while let Some(node) = layer.pop() {
                for edge in graph.out(node).iter().filter(|edge| edge.kind.meets(within)) {
                    *effort = effort.checked_sub(1)?;
                    let to = edge.to as usize;
                    if !self.inside[to] || self.reached[to] == self.searches {
                        continue;
                    }
                    self.reached[to] = self.searches;
                    self.from[to] = (node, edge.kind);
                    if to == end {
                        return Some(self.back(start, end));
                    }
                    if to < graph.junctions { next.push(to) } else { layer.push(to) }
                }
            }
            if next.is_empty() {
                return None;
            }
            layer = next;
        }
        None
    }

    fn back(&self, start: usize, end: usize) -> Cycle {
        let mut path = Vec::new();
        let mut node = end;
        while node != start {
            let (former, kind) = self.from[node];
            path.push((former, kind));
            node = former;
        }
        path.reverse();
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WR: Kinds = Kinds::WR;
    const REALTIME: Kinds = Kinds::REALTIME;
    /// Enough for the graphs here.
    const EFFORT: usize = 1000;

    #[test]
    fn path_without_way_back_has_no_component() {
        let graph = Graph::new(3, 0, &[(0, 1, WR), (1, 2, WR), (0, 2, REALTIME)]);
        assert!(graph.components(WR | REALTIME).is_empty());
    }

    #[test]
    fn edges_of_other_kinds_do_not_count() {
        let graph = Graph::new(2, 0, &[(0, 1, WR), (1, 0, REALTIME)]);
        assert!(graph.components(WR).is_empty());
        assert_eq!(graph.components(WR | REALTIME), [[0, 1]]);
    }

    #[test]
    fn shortest_cycle_is_found() {
        let edges =
            [(0, 1, WR), (1, 2, REALTIME), (2, 3, REALTIME), (3, 0, REALTIME), (1, 3, WR), (3, 1, REALTIME)];
        let graph = Graph::new(4, 0, &edges);
        let component = &graph.components(WR | REALTIME)[0];
        let cycle = graph.cycle(component, WR | REALTIME, WR, &mut { EFFORT });
        assert_eq!(cycle, Some(vec![(1, WR), (3, REALTIME)]));
    }

    #[test]
    fn junctions_do_not_count_in_the_length() {
        let long = [(0, 1, WR), (1, 2, WR), (2, 0, WR)];
        let through_junctions = [(1, 3, REALTIME), (3, 4, REALTIME), (4, 0, REALTIME)];
        let graph = Graph::new(3, 2, &[long, through_junctions].concat());
        let component = &graph.components(WR | REALTIME)[0];
        let cycle = graph.cycle(component, WR | REALTIME, WR, &mut { EFFORT });
        assert_eq!(cycle, Some(vec![(0, WR), (1, REALTIME), (3, REALTIME), (4, REALTIME)]));
    }
}
