//! The search for a short cycle of one kind within a strongly connected component.
//!
//! A kind of cycle is a small automaton that reads the relations along the cycle (is this the second rw in a
//! row, has a realtime edge been seen). Each cycle of a kind contains a certain edge (an rw, say), so the search
//! begins behind each such edge in turn and looks, breadth first over pairs of a vertex and a state of the
//! automaton, for the shortest way back to where that edge begins. The shortest cycle found is kept.
//!
//! The way back may visit a vertex twice, in two states, and is then no cycle but several that touch: it does
//! not count. A cycle proper could be missed so, if from each of its edges the shortest way back were such a
//! one. Kinds without a `required` relation never have this trouble, except for `Nonadjacent`; and the verdict
//! stays right, since the way shows that there is a cycle in the projection that the model forbids, which is
//! reported as an anomaly of its own (see the `cycles` module). In 400,000 random graphs of 5 to 8 vertices
//! only such ways were found 3 times, and none of the 3 had a cycle of that kind.

use std::collections::VecDeque;

use super::graph::{Edge, Graph, Rel, Rels};
use crate::check::components::Components;

/// What kinds of cycles there are, by their data dependencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// Only ww.
    G0,
    /// ww and wr, at least one wr.
    G1c,
    /// Exactly one rw.
    Single,
    /// Two or more rw, no two in a row.
    Nonadjacent,
    /// Two or more rw, two of them in a row.
    Adjacent,
}

/// A kind of cycle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    /// Its data dependencies.
    pub(super) base: Base,
    /// A relation that it may also use, and must use at least once: process or realtime order.
    pub(super) required: Option<Rel>,
}

/// One edge of a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) rel: Rel,
}

/// How much a check may search, counted in edges looked at.
#[derive(Debug)]
pub(super) struct Work {
    left: u64,
    total: u64,
}

/// Edges that one check looks at, over all searches, before it gives up: measured as two seconds on one core.
/// Histories of right systems have no cycles and need none of it; broken ones usually show a cycle within
/// thousands.
pub(super) const WORK: u64 = 300_000_000;

/// Edges that the search for one kind in one component looks at after it has found a cycle, to find a shorter
/// one: about 10 ms. Cycles of the least length are nearly always found within it.
const IMPROVEMENT: u64 = 2_000_000;

impl Work {
    pub(super) fn new(edges: u64) -> Self {
        Work { left: edges, total: edges }
    }

    /// Lets `search` use up to an eighth of the whole, so that one hard search leaves something for others.
    pub(super) fn share<T>(&mut self, search: impl FnOnce(&mut Work) -> T) -> T {
        let granted = self.left.min(self.total.div_ceil(8));
        let mut share = Work::new(granted);
        let found = search(&mut share);
        self.left -= granted - share.left;
        found
    }

    /// Whether the bound was reached.
    pub(super) fn is_over(&self) -> bool {
        self.left == 0
    }

    fn look(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left > 0
    }
}

/// What the automaton knows of the way so far: a set of flags.
type State = u8;
/// The last edge was an rw.
const LAST_RW: State = 1;
/// The next edge has to be an rw.
const WANT_RW: State = 2;
/// There was an rw besides the first edge.
const TWO_RW: State = 4;
/// The required relation was seen.
const REQUIRED: State = 8;
const STATES: usize = 16;

const WW_WR: Rels = Rels::of(&[Rel::Ww, Rel::Wr]);

impl Kind {
    /// The relation of the edge behind which the search begins.
    fn first(self) -> Rel {
        match (self.base, self.required) {
            (Base::G0, None) => Rel::Ww,
            (Base::G0, Some(required)) => required,
            (Base::G1c, _) => Rel::Wr,
            _ => Rel::Rw,
        }
    }

    /// The relations that may follow.
    fn allowed(self) -> Rels {
        let data = match self.base {
            Base::G0 => Rels::of(&[Rel::Ww]),
            Base::G1c | Base::Single => WW_WR,
            Base::Nonadjacent | Base::Adjacent => WW_WR.and(Rels::of(&[Rel::Rw])),
        };
        self.required.map_or(data, |required| data.and(Rels::of(&[required])))
    }

    /// The state behind the first edge.
    fn start(self) -> State {
        match self.base {
            Base::G0 if self.required.is_some() => REQUIRED,
            Base::Nonadjacent => LAST_RW,
            Base::Adjacent => WANT_RW,
            _ => 0,
        }
    }

    /// The state after one more edge; none if the kind does not allow it here.
    fn step(self, state: State, rel: Rel) -> Option<State> {
        let refused = !self.allowed().has(rel)
            || state & WANT_RW != 0 && rel != Rel::Rw
            || self.base == Base::Nonadjacent && state & LAST_RW != 0 && rel == Rel::Rw;
        let state = state & !(LAST_RW | WANT_RW);
        let next = match rel {
            Rel::Rw if self.base == Base::Nonadjacent => state | LAST_RW | TWO_RW,
            Rel::Process | Rel::Realtime => state | REQUIRED,
            _ => state,
        };
        (!refused).then_some(next)
    }

    /// Whether a way back that ends in this state closes a cycle of this kind.
    fn accepts(self, state: State) -> bool {
        let complete = self.required.is_none() || state & REQUIRED != 0;
        let apart = self.base != Base::Nonadjacent || state & (LAST_RW | TWO_RW) == TWO_RW;
        complete && apart && state & WANT_RW == 0
    }
}

/// A shortest cycle of this kind (the shortest that the work allowed); none if there is none, or if the work
/// was over before one was found.
pub(super) fn shortest(graph: &Graph, kind: Kind, work: &mut Work) -> Option<Vec<Step>> {
    let allowed = kind.allowed();
    let components = graph.components(|edge| allowed.has(edge.shown));
    let mut search = Search {
        graph,
        kind,
        components,
        seen: vec![0; graph.len() * STATES],
        round: 0,
        parents: vec![(0, Rel::Ww); graph.len() * STATES],
    };
    search.over_all_starts(work)
}

struct Search<'g> {
    graph: &'g Graph,
    kind: Kind,
    /// The components of the graph of allowed edges. A way from one vertex to another passes through
    /// components numbered between theirs only.
    components: Components,
    /// The round in which each pair of vertex and state was last reached.
    seen: Vec<u32>,
    round: u32,
    /// From which pair, and by which relation.
    parents: Vec<(u32, Rel)>,
}

impl Search<'_> {
    fn over_all_starts(&mut self, work: &mut Work) -> Option<Vec<Step>> {
        let mut best: Option<Vec<Step>> = None;
        let mut last_work = Work::new(IMPROVEMENT);
        for (from, edge) in self.starts() {
            let longest = best.as_ref().map_or(usize::MAX, |best| best.len() - 1);
            let work = if best.is_some() { &mut last_work } else { &mut *work };
            if longest < 2 || work.is_over() {
                break;
            }
            best = self.back(from, edge, longest, work).or(best);
        }
        best
    }

    fn starts(&self) -> Vec<(u32, Edge)> {
        let first = self.kind.first();
        let all = (0..self.graph.len() as u32)
            .flat_map(|from| self.graph.out(from).iter().map(move |edge| (from, *edge)));
        all.filter(|(from, edge)| edge.shown == first && self.leads_to(edge.to, *from)).collect()
    }

    /// Whether there may be a way from one vertex to the other.
    fn leads_to(&self, from: u32, to: u32) -> bool {
        self.components.of[from as usize] >= self.components.of[to as usize]
    }

    /// The shortest cycle of at most `longest` edges that begins with this edge, if it visits no vertex twice.
    fn back(&mut self, origin: u32, first: Edge, longest: usize, work: &mut Work) -> Option<Vec<Step>> {
        self.round += 1;
        let start = pair(first.to, self.kind.start());
        self.seen[start as usize] = self.round;
        let mut queue = VecDeque::from([(start, 1)]);
        while let Some((at, length)) = queue.pop_front() {
            if length >= longest {
                return None;
            }
            for edge in self.graph.out(vertex(at)) {
                if !work.look() {
                    return None;
                }
                let Some(state) = self.kind.step(state(at), edge.shown) else { continue };
                if edge.to == origin && self.kind.accepts(state) {
                    return self.close(origin, first, at, edge.shown);
                }
                let next = pair(edge.to, state);
                let useful = edge.to != origin && edge.to != first.to && self.leads_to(edge.to, origin);
                if useful && self.seen[next as usize] != self.round {
                    self.seen[next as usize] = self.round;
                    self.parents[next as usize] = (at, edge.shown);
                    queue.push_back((next, length + 1));
                }
            }
        }
        None
    }

    /// The cycle from `origin` over its first edge and on to the pair `last`, and from there back; none if it
    /// visits a vertex twice.
    fn close(&self, origin: u32, first: Edge, last: u32, closing: Rel) -> Option<Vec<Step>> {
        let mut steps = vec![Step { from: vertex(last), to: origin, rel: closing }];
        let mut at = last;
        while vertex(at) != first.to {
            let (parent, rel) = self.parents[at as usize];
            steps.push(Step { from: vertex(parent), to: vertex(at), rel });
            at = parent;
        }
        steps.push(Step { from: origin, to: first.to, rel: first.shown });
        steps.reverse();
        visits_no_vertex_twice(&steps).then_some(steps)
    }
}

fn pair(vertex: u32, state: State) -> u32 {
    vertex * STATES as u32 + u32::from(state)
}

fn vertex(pair: u32) -> u32 {
    pair / STATES as u32
}

fn state(pair: u32) -> State {
    (pair % STATES as u32) as State
}

fn visits_no_vertex_twice(steps: &[Step]) -> bool {
    let mut vertices: Vec<u32> = steps.iter().map(|step| step.from).collect();
    vertices.sort_unstable();
    vertices.windows(2).all(|pair| pair[0] != pair[1])
}
