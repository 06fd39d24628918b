//! Where a run's random numbers come from.

use rand_pcg::Pcg64;

/// What a run draws at random, each from a stream of its own, so that drawing more for one purpose doesn't
/// change another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stream {
    Network = 1,
    Generator = 2,
    Nemesis = 3,
    Nodes = 4,
    SimFaults = 5,
    Kills = 6,
    Pauses = 7,
    Designs = 8,
    Services = 9,
    OneWay = 10,
    KillsForGood = 11,
    Loss = 12,
    Duplication = 13,
    Corruption = 14,
    Reordering = 15,
    Slowness = 16,
}

/// The numbers that a seed stands for.
pub(crate) fn stream(seed: u64, stream: Stream) -> Pcg64 {
    Pcg64::new(u128::from(seed), stream as u128)
}
