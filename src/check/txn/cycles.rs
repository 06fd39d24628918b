//! Which kinds of cycles a graph of transactions has.
//!
//! Each strongly connected component is looked at on its own. First, for each consistency model that forbids
//! cycles in some projection of the graph (in the graph of its ww edges, say), whether there is one: that is
//! linear work, and tells which kinds of cycles cannot occur. Then for each kind that may, worst first, a
//! shortest cycle; kinds that a found one implies are left out. The rules are those of `elle.txn`.
//!
//! Two transactions can be related in several ways. Then the edge counts as the first of ww, wr and rw (wr, ww
//! and rw for registers), and as process or realtime only if it is none of these, since that is how Elle
//! explains the edge and names the cycle. The projections, in contrast, contain an edge if any of its
//! relations is among theirs. So there may be a projection with a cycle but no cycle named after it: that
//! is what the anomalies named `…-cycle-exists` are for.

use std::collections::BTreeSet;

use super::anomalies;
use super::graph::{Graph, Rel, Rels};
use super::models::{self, Model};
use super::search::{self, Base, Kind, Step, Work};
use crate::check::components::Components;

/// What was found, with vertices of the whole graph.
#[derive(Debug, Default)]
pub(super) struct Cycles {
    /// A cycle for each kind and component.
    pub(super) named: Vec<(&'static str, Vec<Step>)>,
    /// Cycles in projections: the anomaly's name, and the members of the smallest component.
    pub(super) exist: Vec<(&'static str, Vec<u32>)>,
    /// Kinds for which a component was not searched to the end, and that component.
    pub(super) cut_short: Vec<(&'static str, Vec<u32>)>,
}

/// A projection that has no cycle where `model` holds.
struct Projection {
    model: &'static str,
    anomaly: &'static str,
    rels: Rels,
    /// Whether an edge may also be one of `rels` and an rw behind it.
    extended: bool,
}

const fn projection(model: &'static str, anomaly: &'static str, rels: &[Rel], extended: bool) -> Projection {
    Projection { model, anomaly, rels: Rels::of(rels), extended }
}

const WW: Rel = Rel::Ww;
const WR: Rel = Rel::Wr;
const RW: Rel = Rel::Rw;
const PROCESS: Rel = Rel::Process;
const REALTIME: Rel = Rel::Realtime;

#[rustfmt::skip]
static PROJECTIONS: [Projection; 13] = [
    projection("PL-1", "PL-1-cycle-exists", &[WW], false),
    projection("PL-2", "PL-2-cycle-exists", &[WW, WR], false),
    projection("PL-SI", "PL-SI-cycle-exists", &[WW, WR], true),
    projection("PL-2.99", "PL-2.99-cycle-exists", &[WW, WR, RW], false),
    projection("PL-3", "PL-3-cycle-exists", &[WW, WR, RW], false),
    projection("strong-session-PL-1", "strong-session-PL-1-cycle-exists", &[WW, PROCESS], false),
    projection("strong-session-PL-2", "strong-session-PL-2-cycle-exists", &[WW, WR, PROCESS], false),
    projection("strong-session-snapshot-isolation", "strong-session-snapshot-isolation-cycle-exists",
        &[WW, WR, PROCESS], true),
    projection("strong-session-serializable", "strong-session-serializable-cycle-exists",
        &[WW, WR, RW, PROCESS], false),
    projection("strong-PL-1", "strong-PL-1-cycle-exists", &[WW, REALTIME], false),
    projection("strong-PL-2", "strong-PL-2-cycle-exists", &[WW, WR, REALTIME], false),
    projection("strong-snapshot-isolation", "strong-snapshot-isolation-cycle-exists", &[WW, WR, REALTIME], true),
    projection("PL-SS", "PL-SS-cycle-exists", &[WW, WR, RW, REALTIME], false),
];

const KINDS: [(Base, [&str; 3]); 5] = [
    (Base::G0, ["G0", "G0-process", "G0-realtime"]),
    (Base::G1c, ["G1c", "G1c-process", "G1c-realtime"]),
    (Base::Single, ["G-single-item", "G-single-item-process", "G-single-item-realtime"]),
    (Base::Nonadjacent, ["G-nonadjacent-item", "G-nonadjacent-item-process", "G-nonadjacent-item-realtime"]),
    (Base::Adjacent, ["G2-item", "G2-item-process", "G2-item-realtime"]),
];

/// All kinds with their names, worst first.
fn kinds() -> impl Iterator<Item = (&'static str, Kind)> {
    [None, Some(PROCESS), Some(REALTIME)].into_iter().enumerate().flat_map(|(variant, required)| {
        KINDS.iter().map(move |(base, names)| (names[variant], Kind { base: *base, required }))
    })
}

/// The relations by whose kinds a cycle can be required to have one, and whether `kind` says so.
pub(super) fn needs(prohibited: &BTreeSet<&'static str>, rel: Rel) -> bool {
    kinds().any(|(name, kind)| kind.required == Some(rel) && prohibited.contains(name))
}

/// The cycles of `graph`.
pub(super) fn find(graph: &Graph, work: u64) -> Cycles {
    let mut found = Cycles::default();
    let mut work = Work::new(work);
    for members in graph.components(|_| true).nontrivial() {
        Part { graph: &graph.restricted_to(&members), members: &members }.find(&mut found, &mut work);
    }
    found
}

/// A strongly connected component, as a graph of its own, with the vertices of the whole graph.
struct Part<'p> {
    graph: &'p Graph,
    members: &'p [u32],
}

impl Part<'_> {
    fn find(&self, found: &mut Cycles, work: &mut Work) {
        let exist = self.cycles_in_projections();
        let mut settled = impossible(&exist);
        found.exist.extend(exist.into_iter().map(|(projection, part)| (projection.anomaly, part)));
        for (name, kind) in kinds() {
            if settled.contains(name) {
                continue;
            }
            let (cycle, is_over) =
                work.share(|work| (search::shortest(self.graph, kind, work), work.is_over()));
            if let Some(steps) = cycle {
                found.named.push((name, steps.into_iter().map(|step| self.globally(step)).collect()));
                settled.extend(anomalies::implied([name]));
            } else if is_over {
                found.cut_short.push((name, self.members.to_vec()));
            }
        }
    }

    /// The projections that have a cycle, except those whose models fall with an earlier one's.
    fn cycles_in_projections(&self) -> Vec<(&'static Projection, Vec<u32>)> {
        let mut exist = Vec::new();
        let mut fallen: BTreeSet<Model> = BTreeSet::new();
        for projection in &PROJECTIONS {
            let Some(model) = model(projection).filter(|model| !fallen.contains(model)) else { continue };
            let components = self.components(projection).into_iter();
            if let Some(smallest) = components.min_by_key(Vec::len) {
                exist.push((projection, smallest));
                fallen.extend(models::stronger([model]));
            }
        }
        exist
    }

    fn components(&self, projection: &Projection) -> Vec<Vec<u32>> {
        let found = if projection.extended {
            self.extended_components(projection.rels)
        } else {
            self.graph.components(|edge| edge.rels.meets(projection.rels)).nontrivial()
        };
        let globally = |part: Vec<u32>| part.iter().map(|vertex| self.members[*vertex as usize]).collect();
        found.into_iter().map(globally).collect()
    }

    /// Components of the graph of `rels`, and of `rels` followed by an rw. Each vertex is there twice: the odd
    /// one is for coming from an rw, which no rw leaves.
    fn extended_components(&self, rels: Rels) -> Vec<Vec<u32>> {
        let components = Components::of(2 * self.graph.len(), |twin| {
            let after_rw = twin % 2 == 1;
            self.graph.out(twin / 2).iter().flat_map(move |edge| {
                let plain = edge.rels.meets(rels).then_some(2 * edge.to);
                let rw = (edge.rels.has(RW) && !after_rw).then_some(2 * edge.to + 1);
                plain.into_iter().chain(rw)
            })
        });
        let vertices = |twins: Vec<u32>| {
            let mut part: Vec<u32> = twins.iter().map(|twin| twin / 2).collect();
            part.dedup();
            part
        };
        components.nontrivial().into_iter().map(vertices).collect()
    }

    fn globally(&self, step: Step) -> Step {
        let global = |vertex: u32| self.members[vertex as usize];
        Step { from: global(step.from), to: global(step.to), ..step }
    }
}

/// Kinds of cycles that cannot occur, since models that forbid them have no cycle in their projections.
fn impossible(exist: &[(&'static Projection, Vec<u32>)]) -> BTreeSet<&'static str> {
    let fallen = models::stronger(exist.iter().filter_map(|(projection, _)| model(projection)));
    let standing: Vec<Model> =
        PROJECTIONS.iter().filter_map(model).filter(|model| !fallen.contains(model)).collect();
    models::prohibited(&standing)
}

fn model(projection: &Projection) -> Option<Model> {
    projection.model.parse().ok()
}

/// The anomalies named `…-cycle-exists` that say nothing new beside the `others`, which rule out the same model.
pub(super) fn redundant(others: impl IntoIterator<Item = &'static str>) -> BTreeSet<&'static str> {
    let out = models::ruled_out(others);
    let redundant = PROJECTIONS.iter().filter(|p| model(p).is_some_and(|model| out.contains(&model)));
    redundant.map(|projection| projection.anomaly).collect()
}

/// Whether it is one of the anomalies named `…-cycle-exists`.
pub(super) fn is_existence(name: &str) -> bool {
    name.ends_with("-cycle-exists")
}

#[cfg(test)]
mod tests {
    use super::super::naive;
    use super::*;
    use crate::check::txn::graph::{Builder, DATA_FIRST};
    use rand::{RngExt, SeedableRng};

    const NO_LIMIT: u64 = u64::MAX;

    fn graph(edges: &[(u32, u32, Rel)]) -> Graph {
        let mut builder = Builder::default();
        let len = edges.iter().map(|(from, to, _)| from.max(to) + 1).max().unwrap_or(0);
        for (from, to, rel) in edges {
            builder.link(*from, *to, *rel);
        }
        builder.build(len as usize, DATA_FIRST).unwrap()
    }

    fn names(edges: &[(u32, u32, Rel)]) -> Vec<&'static str> {
        find(&graph(edges), NO_LIMIT).named.into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn each_kind_has_its_name() {
        assert_eq!(names(&[(0, 1, WW), (1, 0, WW)]), ["G0"]);
        assert_eq!(names(&[(0, 1, WW), (1, 0, WR)]), ["G1c"]);
        assert_eq!(names(&[(0, 1, WR), (1, 0, RW)]), ["G-single-item"]);
        assert_eq!(names(&[(0, 1, RW), (1, 0, RW)]), ["G2-item"]);
        let apart = [(0, 1, RW), (1, 2, WR), (2, 3, RW), (3, 0, WW)];
        assert_eq!(names(&apart), ["G-nonadjacent-item"]);
    }

    #[test]
    fn time_order_is_named_after_the_data() {
        assert_eq!(names(&[(0, 1, WW), (1, 0, REALTIME)]), ["G0-realtime"]);
        assert_eq!(names(&[(0, 1, WR), (1, 0, PROCESS)]), ["G1c-process"]);
        assert_eq!(names(&[(0, 1, RW), (1, 0, REALTIME)]), ["G-single-item-realtime"]);
        assert_eq!(names(&[(0, 1, RW), (1, 2, RW), (2, 0, PROCESS)]), ["G2-item-process"]);
        let apart = [(0, 1, RW), (1, 2, WR), (2, 3, RW), (3, 0, REALTIME)];
        assert_eq!(names(&apart), ["G-nonadjacent-item-realtime"]);
    }

    #[test]
    fn worse_kind_makes_a_lesser_one_redundant() {
        let both = [(0, 1, WW), (1, 0, WW), (1, 2, WR), (2, 0, WR)];
        assert_eq!(names(&both), ["G0"]);
    }

    #[test]
    fn cycle_in_a_projection_without_a_name_still_exists() {
        // The edge from 0 to 1 counts as ww, so no cycle of two rw is named G2-item; G0 needs a ww back.
        let edges = [(0, 1, WW), (0, 1, REALTIME), (1, 2, REALTIME), (2, 0, WW), (0, 1, RW)];
        let found = find(&graph(&edges), NO_LIMIT);
        assert_eq!(found.named[0].0, "G0-realtime");
        let edges = [(0, 1, WR), (0, 1, REALTIME), (1, 2, REALTIME), (2, 0, WW)];
        let found = find(&graph(&edges), NO_LIMIT);
        assert_eq!(found.named[0].0, "G1c-realtime");
        assert_eq!(found.exist[0].0, "strong-PL-1-cycle-exists");
    }

    #[test]
    fn shortest_cycle_is_shown() {
        let edges = [(0, 1, WW), (1, 2, WW), (2, 3, WW), (3, 0, WW), (2, 1, WW)];
        assert_eq!(find(&graph(&edges), NO_LIMIT).named[0].1.len(), 2);
    }

    #[test]
    fn search_stops_at_its_bound() {
        let mut edges: Vec<_> = (0..50).map(|vertex| (vertex, (vertex + 1) % 50, WW)).collect();
        edges.push((49, 25, RW));
        let found = find(&graph(&edges), 10);
        assert!(found.named.is_empty());
        assert!(!found.cut_short.is_empty());
    }

    #[test]
    fn search_agrees_with_all_cycles_enumerated() {
        let mut rng = rand_pcg::Pcg64::seed_from_u64(7);
        for round in 0..4000 {
            let len: u32 = rng.random_range(2..8);
            let rels: &[Rel] = match round % 3 {
                0 => &[WW, WR, RW],
                1 => &[WW, WR, RW, REALTIME],
                _ => &[WW, WR, RW, PROCESS],
            };
            let edges: Vec<_> = (0..rng.random_range(2..3 * len))
                .map(|_| {
                    let (a, b) = (rng.random_range(0..len), rng.random_range(0..len));
                    let rel = rels[rng.random_range(0..rels.len())];
                    // Time only moves forward, so cycles of time alone do not occur.
                    if matches!(rel, PROCESS | REALTIME) { (a.min(b), a.max(b), rel) } else { (a, b, rel) }
                })
                .collect();
            naive::assert_same_cycles(&graph(&edges), &find(&graph(&edges), NO_LIMIT));
        }
    }
}
