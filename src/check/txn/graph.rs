//! A directed graph over numbered vertices whose edges carry relations between transactions.

use crate::check::components::Components;

/// Why one transaction comes before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(super) enum Rel {
    /// The second overwrote what the first wrote.
    Ww = 1,
    /// The second read what the first wrote.
    Wr = 2,
    /// The second overwrote what the first read.
    Rw = 4,
    /// One process ran the first, then the second.
    Process = 8,
    /// The first ended before the second began.
    Realtime = 16,
}

/// A set of relations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rels(u8);

impl Rels {
    /// The set of `rels`.
    pub(super) const fn of(rels: &[Rel]) -> Self {
        let mut bits = 0;
        let mut next = 0;
        while next < rels.len() {
            bits |= rels[next] as u8;
            next += 1;
        }
        Rels(bits)
    }

    /// Both sets.
    pub(super) const fn and(self, other: Rels) -> Rels {
        Rels(self.0 | other.0)
    }

    /// Whether the sets have a relation in common.
    pub(super) const fn meets(self, other: Rels) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether `rel` is in the set.
    pub(super) const fn has(self, rel: Rel) -> bool {
        self.0 & rel as u8 != 0
    }
}

/// An edge, as seen from the vertex where it begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    /// Where it ends.
    pub(super) to: u32,
    /// All relations between the two.
    pub(super) rels: Rels,
    /// The one by which the edge is explained and a cycle is named.
    pub(super) shown: Rel,
}

/// A graph. Vertices are 0 to `len`; no edge leads from a vertex to itself.
#[derive(Debug)]
pub(super) struct Graph {
    offsets: Vec<u32>,
    edges: Vec<Edge>,
}

/// Collects edges.
#[derive(Debug, Default)]
pub(super) struct Builder {
    edges: Vec<(u32, u32, u8)>,
    touched: bool,
}

/// More edges than this and the graph is not built: 16 million take about half a gigabyte on the way. A
/// history of 20,000 transactions over rotating keys has about 200,000.
pub(super) const EDGE_LIMIT: usize = 16_000_000;

impl Builder {
    /// Adds an edge. One from a vertex to itself is left out.
    pub(super) fn link(&mut self, from: u32, to: u32, rel: Rel) {
        self.touched = true;
        if from != to && self.edges.len() <= EDGE_LIMIT {
            self.edges.push((from, to, rel as u8));
        }
    }

    /// Notes that two transactions are related, where the edge itself is of no use.
    pub(super) fn touch(&mut self) {
        self.touched = true;
    }

    /// Whether no two transactions were found to be related.
    pub(super) fn is_untouched(&self) -> bool {
        !self.touched
    }

    /// The graph of `len` vertices; none if there are too many edges. Of several relations between two
    /// vertices, the first in `order` is shown.
    pub(super) fn build(mut self, len: usize, order: [Rel; 5]) -> Option<Graph> {
        if self.edges.len() > EDGE_LIMIT {
            return None;
        }
        self.edges.sort_unstable();
        let mut graph = Graph { offsets: Vec::with_capacity(len + 1), edges: Vec::new() };
        let mut edges = self.edges.iter().peekable();
        for vertex in 0..len as u32 {
            graph.offsets.push(graph.edges.len() as u32);
            while let Some(&(_, to, rel)) = edges.next_if(|edge| edge.0 == vertex) {
                let mut bits = rel;
                while let Some((_, _, more)) = edges.next_if(|edge| (edge.0, edge.1) == (vertex, to)) {
                    bits |= more;
                }
                let rels = Rels(bits);
                let shown = order.into_iter().find(|rel| rels.has(*rel)).unwrap_or(Rel::Ww);
                graph.edges.push(Edge { to, rels, shown });
            }
        }
        graph.offsets.push(graph.edges.len() as u32);
        Some(graph)
    }
}

impl Graph {
    /// How many vertices there are.
    pub(super) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The edges that begin at a vertex, in the order of where they end.
    pub(super) fn out(&self, vertex: u32) -> &[Edge] {
        let vertex = vertex as usize;
        &self.edges[self.offsets[vertex] as usize..self.offsets[vertex + 1] as usize]
    }

    /// The graph of `members` (in ascending order) alone, which become vertices 0, 1, 2, ….
    pub(super) fn restricted_to(&self, members: &[u32]) -> Graph {
        let mut graph = Graph { offsets: Vec::with_capacity(members.len() + 1), edges: Vec::new() };
        for vertex in members {
            graph.offsets.push(graph.edges.len() as u32);
            let inside = self.out(*vertex).iter().filter_map(|edge| {
                let to = members.binary_search(&edge.to).ok()?;
                Some(Edge { to: to as u32, ..*edge })
            });
            graph.edges.extend(inside);
        }
        graph.offsets.push(graph.edges.len() as u32);
        graph
    }

    /// The components of the graph of all edges that `chosen` accepts.
    pub(super) fn components(&self, chosen: impl Fn(&Edge) -> bool + Copy) -> Components {
        Components::of(self.len(), |vertex| {
            self.out(vertex).iter().filter(move |edge| chosen(edge)).map(|edge| edge.to)
        })
    }
}

#[cfg(test)]
pub(super) const DATA_FIRST: [Rel; 5] = [Rel::Ww, Rel::Wr, Rel::Rw, Rel::Process, Rel::Realtime];

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(len: usize, edges: &[(u32, u32, Rel)]) -> Graph {
        let mut builder = Builder::default();
        for (from, to, rel) in edges {
            builder.link(*from, *to, *rel);
        }
        builder.build(len, DATA_FIRST).unwrap()
    }

    #[test]
    fn edges_between_two_vertices_become_one() {
        let graph = graph(2, &[(0, 1, Rel::Rw), (0, 1, Rel::Ww), (0, 1, Rel::Rw), (1, 1, Rel::Ww)]);
        assert_eq!(graph.out(0).len(), 1);
        assert_eq!(graph.out(0)[0].shown, Rel::Ww);
        assert!(graph.out(0)[0].rels.has(Rel::Rw));
        assert!(graph.out(1).is_empty());
    }
}
