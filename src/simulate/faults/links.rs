//! Which links a fault strikes: pairs (receiver, source).

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;

use crate::cluster::nemesis::Step;

/// Pairs (receiver, source): links of the node that was told something, of the first, or of another one.
pub(super) fn sudden_cut(told: usize, nodes: usize, rng: &mut Pcg64) -> Vec<(usize, usize)> {
    let node = match rng.random_range(0..3) {
        0 => told,
        1 => 0,
        _ => rng.random_range(0..nodes),
    };
    some_links(node, nodes, rng)
}

/// Pairs (receiver, source): all links of a node, or any half of them but one at least, one way, the other, or both.
pub(super) fn some_links(node: usize, nodes: usize, rng: &mut Pcg64) -> Vec<(usize, usize)> {
    let (all, ways) = (rng.random_ratio(1, 3), rng.random_range(0..3));
    let mut cuts = Vec::new();
    let mut others: Vec<usize> = (0..nodes).filter(|&other| other != node).collect();
    let some: Vec<usize> = others.iter().copied().filter(|_| all || rng.random()).collect();
    if !some.is_empty() {
        others = some;
    }
    for other in others {
        cuts.extend((ways != 0).then_some((node, other)));
        cuts.extend((ways != 1).then_some((other, node)));
    }
    cuts
}

/// Pairs (receiver, source): a node hears nobody, or nobody hears it, or each pair is cut with the same chance.
pub(super) fn one_way(nodes: usize, rng: &mut Pcg64) -> Vec<(usize, usize)> {
    let node = rng.random_range(0..nodes);
    let others = (0..nodes).filter(move |&other| other != node);
    match rng.random_range(0..3) {
        0 => others.map(|other| (node, other)).collect(),
        1 => others.map(|other| (other, node)).collect(),
        _ => {
            let chance = rng.random_range(0.02..0.3);
            pairs(nodes).filter(|_| rng.random::<f64>() < chance).collect()
        }
    }
}

/// Pairs (receiver, source), each cut both ways, that leave a path between any two nodes.
pub(super) fn lasting_cut(nodes: usize, rng: &mut Pcg64) -> Vec<(usize, usize)> {
    let mut order: Vec<usize> = (0..nodes).collect();
    order.shuffle(rng);
    let mut linked = vec![vec![false; nodes]; nodes];
    let mut link = |a: usize, b: usize| (linked[a][b], linked[b][a]) = (true, true);
    match rng.random_range(0..3) {
        // The first, on which many a cluster depends, hears few others.
        0 => {
            order.retain(|&node| node != 0);
            order.iter().for_each(|&a| order.iter().for_each(|&b| link(a, b)));
            order.iter().take(rng.random_range(1..=3)).for_each(|&node| link(0, node));
        }
        // Islands in a row, with one link from each to the next.
        1 => {
            let size = rng.random_range(nodes.div_ceil(4)..=nodes.div_ceil(2));
            for island in order.chunks(size) {
                island.iter().for_each(|&a| island.iter().for_each(|&b| link(a, b)));
            }
            (size..nodes).step_by(size).for_each(|next| link(order[next - 1], order[next]));
        }
        // Any tree, and some more.
        _ => {
            (1..nodes).for_each(|index| link(order[index], order[rng.random_range(0..index)]));
            let chance = rng.random_range(0.0..0.5);
            for (index, &a) in order.iter().enumerate() {
                order[..index].iter().filter(|_| rng.random::<f64>() < chance).for_each(|&b| link(a, b));
            }
        }
    }
    pairs(nodes).filter(|&(a, b)| !linked[a][b]).collect()
}

/// Links of one node, or those between two groups, or any, are nearer or farther than others.
pub(super) fn unequal_links(nodes: usize, rng: &mut Pcg64) -> Step {
    let mut links = match rng.random_range(0..3) {
        0 => some_links(if rng.random() { 0 } else { rng.random_range(0..nodes) }, nodes, rng),
        1 => {
            let group: Vec<bool> = (0..nodes).map(|_| rng.random()).collect();
            pairs(nodes).filter(|&(a, b)| group[a] != group[b]).collect()
        }
        _ => one_way(nodes, rng),
    };
    if rng.random() {
        let back: Vec<_> = links.iter().map(|&(a, b)| (b, a)).collect();
        links.extend(back);
        links.sort_unstable();
        links.dedup();
    }
    // In hundredths: numbers that people can read.
    let sixteenths = 1 << rng.random_range(0..=6);
    let factor = f64::from(rng.random_range(sixteenths..=2 * sixteenths) * 100 / 16) / 100.0;
    Step::Stretch { links, factor }
}

/// All ordered pairs of different nodes.
fn pairs(nodes: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..nodes).flat_map(move |a| (0..nodes).map(move |b| (a, b))).filter(|(a, b)| a != b)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::workload::topology::diameter;

    #[test]
    fn unequal_links_are_of_all_sizes_and_often_one_way() {
        let mut rng = Pcg64::seed_from_u64(1);
        let (mut nearest, mut farthest, mut one_way) = (1.0_f64, 1.0_f64, 0);
        for _ in 0..200 {
            let Step::Stretch { links, factor } = unequal_links(5, &mut rng) else { panic!("a stretch") };
            assert!(links.iter().all(|&(a, b)| a != b && a < 5 && b < 5));
            assert!((0.06..=8.0).contains(&factor), "{factor}");
            (nearest, farthest) = (nearest.min(factor), farthest.max(factor));
            one_way += usize::from(links.iter().any(|&(a, b)| !links.contains(&(b, a))));
        }
        assert!(nearest < 0.1 && farthest > 6.0 && (40..160).contains(&one_way));
    }

    #[test]
    fn lasting_cuts_leave_a_path_between_any_two_nodes() {
        let mut rng = Pcg64::seed_from_u64(2);
        for nodes in (1..=10).chain([25]) {
            for _ in 0..100 {
                let cuts = lasting_cut(nodes, &mut rng);
                assert!(cuts.iter().all(|&(a, b)| a != b && cuts.contains(&(b, a))));
                let linked = |a: usize| (0..nodes).filter(|&b| !cuts.contains(&(a, b))).collect();
                assert!(diameter(&(0..nodes).map(linked).collect::<Vec<_>>()) < nodes.max(2));
            }
        }
    }
}
