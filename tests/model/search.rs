//! Looks at every state that a cluster can get into, nearest first.
//!
//! Of the states that have been seen only hashes are kept (hash compaction, Wolper and Leroy 1993): among ten million a
//! state goes unseen by one chance in 400,000.

use std::collections::{HashSet, VecDeque};
use std::hash::BuildHasher;

use foldhash::quality::FixedState;

use super::calm::{self, Calm, Links};
use super::cluster::{Bounds, Cluster, Step};
use super::node::Rule;
use super::story;

/// What has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Property {
    /// The lemma: two living nodes that are settled have equal digests, whatever is under way.
    SettledAreEqual,
    /// If no living node has a timer, all hold equal sets, whatever is under way: or else any link may work now, and
    /// nobody will ever use it.
    SilentAreEqual,
    /// Once the faults are over, nodes that links both ways join come to hold equal sets.
    JoinedBecomeEqual,
    /// If all members live, and paths of links both ways join them, nobody has a timer in the end.
    JoinedFallSilent,
}

impl Property {
    pub(crate) const ALL: [Self; 4] =
        [Self::SettledAreEqual, Self::SilentAreEqual, Self::JoinedBecomeEqual, Self::JoinedFallSilent];
}

/// What is searched for a state in which a property does not hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search<'a> {
    pub(crate) rule: Rule,
    pub(crate) bounds: Bounds,
    pub(crate) calm: Calm,
    pub(crate) properties: &'a [Property],
}

/// What a search that has come to its end has looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Searched {
    pub(crate) states: usize,
    /// So many differ in their nodes, and not only in what is delayed.
    pub(crate) clusters: usize,
    /// The most rounds of questions after which a cluster was as it should be.
    pub(crate) rounds_max: usize,
}

/// A property that does not hold, and a shortest path to where it does not.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) property: Property,
    pub(crate) path: Vec<String>,
}

/// Where a state was first found: the number of the state before, and of the step among those that it has.
type Origin = (u32, u32);

impl Search<'_> {
    pub(crate) fn run<const N: usize>(&self) -> Result<Searched, Violation> {
        let hasher = FixedState::default();
        let mut seen = HashSet::with_hasher(hasher.clone());
        let mut nodes_seen = HashSet::with_hasher(hasher.clone());
        let first = Cluster::<N>::new();
        seen.insert(hasher.hash_one(&first));
        let mut waiting = VecDeque::from([first]);
        // Of all states but the first, in the order in which they wait.
        let mut origins: Vec<Origin> = Vec::new();
        let mut searched = Searched::default();
        while let Some(cluster) = waiting.pop_front() {
            let number = u32::try_from(searched.states).expect("fewer than 2^32 states");
            searched.states += 1;
            // What is delayed makes no difference to any property.
            if nodes_seen.insert(hasher.hash_one(&cluster.nodes)) {
                searched.clusters += 1;
                match self.check(&cluster) {
                    Ok(rounds) => searched.rounds_max = searched.rounds_max.max(rounds),
                    Err((property, links)) => {
                        let path = story::tell(self.rule, &self.path::<N>(&origins, number), links);
                        return Err(Violation { property, path });
                    }
                }
            }
            for (which, step) in (0..).zip(cluster.steps(self.rule, &self.bounds)) {
                let next = cluster.after(self.rule, step);
                if seen.insert(hasher.hash_one(&next)) {
                    origins.push((number, which));
                    waiting.push_back(next);
                }
            }
        }
        Ok(searched)
    }

    /// Returns how many rounds of questions the cluster needs, or what does not hold, and with which links.
    fn check<const N: usize>(&self, cluster: &Cluster<N>) -> Result<usize, (Property, Option<Links<N>>)> {
        let node = |member: usize| &cluster.nodes[member];
        let digest = |member: usize| (node(member).values, node(member).incarnations);
        let mut settled = cluster.alive().filter(|&member| node(member).equals.is_settled()).map(digest);
        if self.seeks(Property::SettledAreEqual) && !all_equal(&mut settled) {
            return Err((Property::SettledAreEqual, None));
        }
        let is_silent = !(0..N).any(|member| cluster.has_timer(self.rule, member));
        let mut sets = cluster.alive().map(|member| node(member).values);
        if self.seeks(Property::SilentAreEqual) && is_silent && !all_equal(&mut sets) {
            return Err((Property::SilentAreEqual, None));
        }
        let may_rest = self.seeks(Property::JoinedFallSilent);
        if !may_rest && !self.seeks(Property::JoinedBecomeEqual) {
            return Ok(0);
        }
        let rounds = calm::check(self.rule, self.calm, may_rest, cluster);
        rounds.map_err(|(property, links)| (property, Some(links)))
    }

    fn seeks(&self, property: Property) -> bool {
        self.properties.contains(&property)
    }

    /// The steps to a state.
    fn path<const N: usize>(&self, origins: &[Origin], mut number: u32) -> Vec<Step> {
        let mut which = Vec::new();
        while number > 0 {
            let (before, step) = origins[number as usize - 1];
            which.push(step as usize);
            number = before;
        }
        let mut cluster = Cluster::<N>::new();
        let mut path = Vec::new();
        for which in which.into_iter().rev() {
            let step = cluster.steps(self.rule, &self.bounds)[which];
            cluster = cluster.after(self.rule, step);
            path.push(step);
        }
        path
    }
}

fn all_equal<T: PartialEq>(items: &mut impl Iterator<Item = T>) -> bool {
    let first = items.next();
    items.all(|item| Some(item) == first)
}
