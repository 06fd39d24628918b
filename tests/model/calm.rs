//! What becomes of a cluster once the faults are over.
//!
//! From then on nobody dies and no link changes. Each node that has a timer asks, one after the other and again and again,
//! whom the product's [`Turns`] name. Two nodes that differ exchange all that they hold. What is still delayed is lost:
//! a state in which it has arrived is one that the search looks at itself.
//!
//! One order of questions stands for all in which everybody's turn comes. Digests only grow now, so they come to rest.
//! Then two joined nodes do not differ: one of them would not be settled, by the lemma, and would ask the other one, and a
//! digest would grow. Once all are equal, only more members become known to be.

use natter::gossip::rule::Turns;

use super::cluster::Cluster;
use super::node::{Brings, Message, Node, Rule, Set};
use super::search::Property;

/// Which links may work when the faults are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calm {
    /// Each of the links both ways, either way or not at all: 64 cases for three nodes.
    AnyWay,
    /// Each of the links both ways or not at all: 64 cases for four nodes.
    BothWays,
    /// All links.
    Healed,
}

/// For each member those that its messages reach.
pub(crate) type Links<const N: usize> = [Set; N];

/// Five nodes need fewer.
const ROUNDS_MAX: usize = 100;

/// Sees whether a cluster gets as far as it should, whichever links work. Returns how many rounds of questions that takes
/// at most, or else what does not come about, and with which links. That nodes fall silent is asked for if they `may_rest`.
pub(crate) fn check<const N: usize>(
    rule: Rule,
    calm: Calm,
    may_rest: bool,
    cluster: &Cluster<N>,
) -> Result<usize, (Property, Links<N>)> {
    let pairs: Vec<(usize, usize)> =
        cluster.alive().flat_map(|a| cluster.alive().filter(move |&b| a < b).map(move |b| (a, b))).collect();
    let ways: &[(bool, bool)] = match calm {
        Calm::AnyWay => &[(true, true), (true, false), (false, true), (false, false)],
        Calm::BothWays => &[(true, true), (false, false)],
        Calm::Healed => &[(true, true)],
    };
    let mut rounds_max = 0;
    for mut choice in 0..ways.len().pow(pairs.len() as u32) {
        let mut links = [0; N];
        for &(a, b) in &pairs {
            let (there, back) = ways[choice % ways.len()];
            choice /= ways.len();
            links[a] |= Set::from(there) << b;
            links[b] |= Set::from(back) << a;
        }
        let rounds = run(rule, may_rest, cluster.clone(), links).map_err(|property| (property, links))?;
        rounds_max = rounds_max.max(rounds);
    }
    Ok(rounds_max)
}

fn run<const N: usize>(
    rule: Rule,
    may_rest: bool,
    mut cluster: Cluster<N>,
    links: Links<N>,
) -> Result<usize, Property> {
    let mut turns: [Turns; N] = std::array::from_fn(Turns::after);
    let may_rest = may_rest && is_connected(&links);
    let mut rounds = 0;
    while let Some(property) = missed(rule, may_rest, &cluster, &links) {
        if rounds == ROUNDS_MAX {
            return Err(property);
        }
        for (node, turns) in turns.iter_mut().enumerate() {
            if cluster.has_timer(rule, node) {
                ask(rule, &mut cluster, &links, node, turns);
            }
        }
        rounds += 1;
    }
    Ok(rounds)
}

/// What has not come about yet.
fn missed<const N: usize>(
    rule: Rule,
    may_rest: bool,
    cluster: &Cluster<N>,
    links: &Links<N>,
) -> Option<Property> {
    if !joined_are_equal(cluster, links) {
        return Some(Property::JoinedBecomeEqual);
    }
    let is_silent = || !(0..N).any(|node| cluster.has_timer(rule, node));
    (may_rest && !is_silent()).then_some(Property::JoinedFallSilent)
}

fn joins<const N: usize>(links: &Links<N>, a: usize, b: usize) -> bool {
    links[a] >> b & 1 == 1 && links[b] >> a & 1 == 1
}

/// Neighbours that are equal make all equal between which there is a path.
fn joined_are_equal<const N: usize>(cluster: &Cluster<N>, links: &Links<N>) -> bool {
    let values = |node: usize| cluster.nodes[node].values;
    (0..N).all(|a| (0..a).all(|b| !joins(links, a, b) || values(a) == values(b)))
}

/// Whether a path of links both ways joins all members: what members know of each other goes along it.
fn is_connected<const N: usize>(links: &Links<N>) -> bool {
    let mut reached: Set = 1;
    for _ in 0..N {
        let is_next = |b: &usize| (0..N).any(|a| reached >> a & 1 == 1 && joins(links, a, *b));
        reached = (0..N).filter(is_next).fold(reached, |reached, b| reached | 1 << b);
    }
    reached.count_ones() as usize == N
}

/// A node asks the member whose turn it is.
fn ask<const N: usize>(
    rule: Rule,
    cluster: &mut Cluster<N>,
    links: &Links<N>,
    node: usize,
    turns: &mut Turns,
) {
    let Some(member) = next(rule, &cluster.nodes[node], turns) else { return };
    let question = strongest(rule, cluster, node, member);
    if links[node] >> member & 1 == 1 {
        tell(rule, cluster, &question, false);
    }
    if !joins(links, node, member) {
        cluster.nodes[node].suspect(member);
        return;
    }
    let is_equal = cluster.nodes[member].is_equal(rule, &question);
    tell(rule, cluster, &strongest(rule, cluster, member, node), !is_equal);
    if !is_equal {
        tell(rule, cluster, &strongest(rule, cluster, node, member), true);
    }
}

fn next<const N: usize>(rule: Rule, node: &Node<N>, turns: &mut Turns) -> Option<usize> {
    let equals = &node.equals;
    if rule != Rule::AsksOnlyUnequal {
        return turns.next(equals);
    }
    std::iter::from_fn(|| turns.next(equals)).find(|&member| !equals.has(member))
}

/// A message with the strongest claim that its sender may make.
fn strongest<const N: usize>(rule: Rule, cluster: &Cluster<N>, from: usize, to: usize) -> Message<N> {
    let claim = cluster.nodes[from].claims(rule, from).last().expect("it holds its own");
    cluster.message(from, to, claim)
}

fn tell<const N: usize>(rule: Rule, cluster: &mut Cluster<N>, message: &Message<N>, brings_values: bool) {
    let values = if brings_values { message.values } else { 0 };
    cluster.deliver(rule, message, Brings { values, incarnations: true });
}
