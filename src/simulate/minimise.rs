//! Makes a failing run small: fewer nodes, less time, fewer faults, fewer operations, while it fails alike.

use std::time::Duration;

use super::{Failure, Keep, Simulation};
use crate::node::Time;
use crate::runtime::Clock;
use crate::simulate::faults::SimFaults;

/// How many seeds are tried for each smaller run: another run of another seed, if it fails alike, tells as much.
const SEEDS_TRIED: u64 = 10;

const NODE_COUNTS: [u32; 8] = [1, 2, 3, 4, 5, 7, 10, 15];
const TIME_LIMITS: [f64; 8] = [0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0];
const RATES: [f64; 8] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0];

/// A failing run.
#[derive(Clone, Debug)]
pub struct Failing {
    /// What was run.
    pub simulation: Simulation,
    /// With which seed.
    pub seed: u64,
    /// How it failed.
    pub failure: Failure,
}

/// The smallest run that fails like this one, of those found in so much real time (or a run longer).
#[must_use]
pub fn minimise(failing: Failing, patience: Duration) -> Failing {
    let clock = Clock::start();
    let patient = || clock.now().since(Time::ZERO) < patience;
    let struck = failing.simulation.faults.of(failing.seed);
    let mut least = failing;
    least.simulation.faults = SimFaults::Listed(struck);
    loop {
        let before = least.clone();
        for shrink in [fewer_nodes, less_time, fewer_faults, fewer_operations] {
            let mut candidates = shrink(&least).take_while(|_| patient());
            let smaller = candidates.find_map(|simulation| fails_alike(simulation, &least, patient));
            drop(candidates);
            least = smaller.unwrap_or(least);
        }
        if !patient()
            || before.seed == least.seed && before.simulation.command(0) == least.simulation.command(0)
        {
            return least;
        }
    }
}

fn fails_alike(simulation: Simulation, like: &Failing, patient: impl Fn() -> bool) -> Option<Failing> {
    let seeds = (0..SEEDS_TRIED).map(|number| like.seed.wrapping_add(number));
    seeds.take_while(|_| patient()).find_map(|seed| {
        let failure = simulation.run(seed, Keep::default()).failure?;
        let alike =
            failure.found_by() == like.failure.found_by() && skeleton(&failure) == skeleton(&like.failure);
        alike.then(|| Failing { simulation: simulation.clone(), seed, failure })
    })
}

/// What failed, whichever the time, node, value or batch.
fn skeleton(failure: &Failure) -> String {
    failure.to_string().chars().filter(|char| !char.is_ascii_digit()).collect()
}

type Smaller<'a> = Box<dyn Iterator<Item = Simulation> + 'a>;

/// The simulation with one of its scenario's numbers made smaller, smallest first.
fn with<'a, T: Copy + PartialOrd>(
    simulation: &'a Simulation,
    numbers: &'a [T],
    pick: fn(&mut Simulation) -> &mut T,
) -> Smaller<'a> {
    Box::new(numbers.iter().filter_map(move |&number| {
        let mut smaller = simulation.clone();
        let now = pick(&mut smaller);
        let is_smaller = number < *now;
        *now = number;
        is_smaller.then_some(smaller)
    }))
}

fn fewer_nodes(failing: &Failing) -> Smaller<'_> {
    with(&failing.simulation, &NODE_COUNTS, |simulation| &mut simulation.scenario.node_count)
}

fn less_time(failing: &Failing) -> Smaller<'_> {
    with(&failing.simulation, &TIME_LIMITS, |simulation| &mut simulation.scenario.time_limit)
}

fn fewer_operations(failing: &Failing) -> Smaller<'_> {
    with(&failing.simulation, &RATES, |simulation| &mut simulation.scenario.rate)
}

/// None at all, each alone, all but one.
fn fewer_faults(failing: &Failing) -> Smaller<'_> {
    let SimFaults::Listed(all) = &failing.simulation.faults else { return Box::new(std::iter::empty()) };
    let none = std::iter::once(Vec::new());
    let alone = all.iter().map(|&fault| vec![fault]);
    let without = |&left_out| all.iter().copied().filter(|&fault| fault != left_out).collect();
    let fewer = none.chain(alone).chain(all.iter().map(without)).filter(|fewer| fewer.len() < all.len());
    let simulation = &failing.simulation;
    Box::new(fewer.map(|faults| Simulation { faults: SimFaults::Listed(faults), ..simulation.clone() }))
}
