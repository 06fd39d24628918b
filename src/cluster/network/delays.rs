//! How long messages between nodes take, and what else befalls them.

use std::time::Duration;

use rand::RngExt;
use rand_pcg::Pcg64;
use serde::Serialize;

use crate::cluster::scenario::LatencyDist;

/// The delay of messages between nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    /// On average.
    pub mean: Duration,
    /// How it is spread.
    pub dist: LatencyDist,
    /// Each message takes up to so much longer, all lengths being equally likely.
    pub jitter: Duration,
}

impl Latency {
    pub(super) fn sample(&self, rng: &mut Pcg64) -> Duration {
        let delay = match self.dist {
            LatencyDist::Constant => self.mean,
            LatencyDist::Uniform => self.mean.mul_f64(2.0 * rng.random::<f64>()),
            LatencyDist::Exponential => self.mean.mul_f64(-libm::log(1.0 - rng.random::<f64>())),
        };
        // Without jitter nothing is drawn, so that what is drawn next stays as it was.
        let has_jitter = !self.jitter.is_zero();
        delay + if has_jitter { self.jitter.mul_f64(rng.random::<f64>()) } else { Duration::ZERO }
    }
}

/// What happens to messages between nodes beside their latency.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct LinkFaults {
    /// The part of them that is lost, from 0 to 1.
    pub loss: f64,
    /// The part that arrives twice, the copy up to four seconds after the message.
    pub duplication: f64,
    /// A delay for some, so that others overtake them.
    pub reordering: Option<Extra>,
    /// A delay of any size.
    pub delay: Option<Extra>,
    /// The part that arrives damaged, from 0 to 1: cut short, or with a byte that no JSON text has.
    pub corruption: f64,
}

/// An extra delay: how many messages have it, and how long it is, each binary order of magnitude between
/// its bounds being as likely as any other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Extra {
    /// The part of the messages that have it, from 0 to 1.
    pub share: f64,
    /// The shortest, in whole milliseconds; at least one.
    pub shortest_ms: u64,
    /// The longest, in whole milliseconds.
    pub longest_ms: u64,
}

/// How much later than the message itself a copy of it arrives.
pub(crate) const COPY_DELAY: Extra = Extra { share: 1.0, shortest_ms: 1, longest_ms: 4000 };

impl Extra {
    pub(super) fn sample(&self, rng: &mut Pcg64) -> Duration {
        if rng.random::<f64>() >= self.share {
            return Duration::ZERO;
        }
        let magnitude = rng.random_range(self.shortest_ms.ilog2()..=self.longest_ms.ilog2());
        let from = (1 << magnitude).max(self.shortest_ms);
        let to = (2 << magnitude).min(self.longest_ms);
        Duration::from_nanos(rng.random_range(from * 1_000_000..=to * 1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn extra_delays_span_their_magnitudes_evenly() {
        let extra = Extra { share: 0.8, shortest_ms: 1, longest_ms: 10_000 };
        let mut rng = Pcg64::seed_from_u64(3);
        let delays: Vec<_> = (0..10_000).map(|_| extra.sample(&mut rng)).collect();
        let between = |from, to| {
            let (from, to) = (Duration::from_millis(from), Duration::from_millis(to));
            delays.iter().filter(|&&delay| from <= delay && delay < to).count()
        };
        assert!((1900..2100).contains(&delays.iter().filter(|delay| delay.is_zero()).count()));
        assert!(delays.iter().all(|&delay| delay.is_zero() || delay >= Duration::from_millis(1)));
        for (from, to) in [(1, 10), (10, 100), (100, 1000), (1000, 10_001)] {
            assert!(between(from, to) > 1500, "{from} to {to} ms: {}", between(from, to));
        }
    }
}
