//! The strongly connected components of a directed graph, in time linear in its size (R. Tarjan, "Depth-first search and
//! linear graph algorithms", 1972, with a stack of its own in place of recursion).

/// The strongly connected components of a graph: within one, each vertex can be reached from each other.
#[derive(Debug)]
pub(super) struct Components {
    /// The component of each vertex. No edge leads from one component to another with a higher number.
    pub(super) of: Vec<u32>,
    count: u32,
}

impl Components {
    /// The components of the graph of `len` vertices with these successors.
    pub(super) fn of<I: Iterator<Item = u32>>(len: usize, successors: impl Fn(u32) -> I) -> Self {
        let mut search = Tarjan {
            found: Components { of: vec![NONE; len], count: 0 },
            order: vec![NONE; len],
            low: vec![0; len],
            stack: Vec::new(),
            next: 0,
        };
        for root in 0..len as u32 {
            if search.order[root as usize] == NONE {
                search.explore(root, &successors);
            }
        }
        search.found
    }

    /// The components of at least two vertices, each in ascending order, ordered by their least vertex.
    pub(super) fn nontrivial(&self) -> Vec<Vec<u32>> {
        let mut members = vec![Vec::new(); self.count as usize];
        for (vertex, component) in (0..).zip(&self.of) {
            members[*component as usize].push(vertex);
        }
        members.retain(|members: &Vec<u32>| members.len() > 1);
        members.sort_unstable();
        members
    }
}

const NONE: u32 = u32::MAX;

struct Tarjan {
    found: Components,
    /// When each vertex was first visited.
    order: Vec<u32>,
    /// The earliest visited vertex of the same component known to be reachable.
    low: Vec<u32>,
    /// Visited vertices that have no component yet.
    stack: Vec<u32>,
    next: u32,
}

impl Tarjan {
    fn explore<I: Iterator<Item = u32>>(&mut self, root: u32, successors: &impl Fn(u32) -> I) {
        let mut path = vec![(root, self.visit(root, successors))];
        while let Some((vertex, rest)) = path.last_mut() {
            let vertex = *vertex;
            let Some(next) = rest.next() else {
                path.pop();
                self.leave(vertex);
                if let Some((parent, _)) = path.last() {
                    self.lower(*parent, self.low[vertex as usize]);
                }
                continue;
            };
            if self.order[next as usize] == NONE {
                path.push((next, self.visit(next, successors)));
            } else if self.found.of[next as usize] == NONE {
                self.lower(vertex, self.order[next as usize]);
            }
        }
    }

    fn visit<I>(&mut self, vertex: u32, successors: &impl Fn(u32) -> I) -> I {
        self.order[vertex as usize] = self.next;
        self.low[vertex as usize] = self.next;
        self.next += 1;
        self.stack.push(vertex);
        successors(vertex)
    }

    fn lower(&mut self, vertex: u32, to: u32) {
        let low = &mut self.low[vertex as usize];
        *low = (*low).min(to);
    }

    /// Closes the component whose first visited vertex is `vertex`, if it is one.
    fn leave(&mut self, vertex: u32) {
        if self.low[vertex as usize] != self.order[vertex as usize] {
            return;
        }
        while let Some(member) = self.stack.pop() {
            self.found.of[member as usize] = self.found.count;
            if member == vertex {
                break;
            }
        }
        self.found.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};

    fn components(successors: &[Vec<u32>]) -> Components {
        Components::of(successors.len(), |vertex| successors[vertex as usize].iter().copied())
    }

    #[test]
    fn components_agree_with_reachability() {
        let mut rng = rand_pcg::Pcg64::seed_from_u64(1);
        for _ in 0..500 {
            let len = rng.random_range(1..12);
            let mut successors = vec![Vec::new(); len];
            for _ in 0..rng.random_range(0..2 * len) {
                successors[rng.random_range(0..len)].push(rng.random_range(0..len) as u32);
            }
            let components = components(&successors);
            let reach = reachable(&successors);
            for (a, b) in (0..len).flat_map(|a| (0..len).map(move |b| (a, b))) {
                let together = a == b || reach[a][b] && reach[b][a];
                assert_eq!(together, components.of[a] == components.of[b], "{successors:?}");
                assert!(!reach[a][b] || components.of[a] >= components.of[b], "{successors:?}");
            }
        }
    }

    fn reachable(successors: &[Vec<u32>]) -> Vec<Vec<bool>> {
        let len = successors.len();
        let mut reach = vec![vec![false; len]; len];
        for vertex in 0..len {
            for &to in &successors[vertex] {
                reach[vertex][to as usize] = true;
            }
        }
        for via in 0..len {
            for from in 0..len {
                for to in 0..len {
                    reach[from][to] |= reach[from][via] && reach[via][to];
                }
            }
        }
        reach
    }

    #[test]
    fn components_that_share_a_bridge_stay_apart() {
        let successors = [vec![1], vec![0], vec![1, 3], vec![2], vec![]];
        assert_eq!(components(&successors).nontrivial(), [[0, 1], [2, 3]]);
    }

    #[test]
    fn long_paths_do_not_overflow_the_stack() {
        let len = 200_000;
        let successors: Vec<Vec<u32>> = (0..len).map(|vertex| vec![(vertex + 1) % len]).collect();
        assert_eq!(components(&successors).nontrivial().len(), 1);
    }
}
