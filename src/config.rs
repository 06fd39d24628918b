//! What can be set about a node, and the values it has when nobody does.

use std::time::Duration;

use clap::ValueEnum;

use crate::planted::planted;
use crate::protocol::{BATCH_MAX, Generation};

/// Who talks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Topology {
    /// Everyone to one hub, the first of all node ids, and the hub to everyone
    Star,
    /// Everyone to everyone
    Direct,
    /// Everyone to the neighbours in the `topology` message
    Given,
}

/// A node's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Who talks to whom. The simple design always uses the given topology.
    pub topology: Topology,
    /// The least time between two flushes to the same peer.
    pub flush_interval: Duration,
    /// The same for the hub of a star.
    pub hub_interval: Duration,
    /// When to send again what has not been acknowledged.
    pub retry: RetryPolicy,
    /// How long to wait for a `topology` message before starting without.
    pub start_grace: Duration,
    /// The most values in one message, from 1 to [`BATCH_MAX`].
    pub batch_max: usize,
    /// The most values that wait for one peer. Beyond it, the peer is offered everything again later.
    pub queue_limit: usize,
    /// The first generation of every link; drawn at random if none. For those who test the wrap-around, which
    /// no node lives to see.
    pub first_generation: Option<Generation>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            topology: Topology::Star,
            // Short beside a network's latency, long enough to gather a burst.
            flush_interval: Duration::from_millis(50),
            // With a latency of 100 ms: at most 250 + 2 * 100 ms from node to node, and under half the
            // challenge's messages.
            hub_interval: Duration::from_millis(250),
            retry: RetryPolicy::default(),
            // Maelstrom sends the topology well within a second of `init`.
            start_grace: Duration::from_secs(1),
            batch_max: BATCH_MAX,
            // 1 Mi values are 16 MiB of queue.
            queue_limit: 1 << 20,
            first_generation: None,
        }
    }
}

/// When to send again what has not been acknowledged: for ever, at intervals that double up to a cap.
///
/// Intervals are spread by a quarter either way, so that senders that failed together do not retry together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The first interval.
    pub min: Duration,
    /// The cap. At least `min`.
    pub max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        // Two and a half round trips of the challenge's network; and a peer that comes back waits no longer
        // than it takes to notice.
        Self { min: Duration::from_millis(500), max: Duration::from_secs(2) }
    }
}

impl RetryPolicy {
    /// The longest that [`interval`](RetryPolicy::interval) gives.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.max + self.max / 4
    }

    /// How long to wait for an acknowledgement, after `failures` waits in vain, given 64 random bits.
    #[must_use]
    pub fn interval(&self, failures: u32, random: u64) -> Duration {
        planted!(ForgetRetry => return Duration::MAX);
        planted!(RetryOnce => if failures > 0 { return Duration::MAX });
        planted!(BackoffUncapped => return self.min.saturating_mul(1 << failures.min(20)));
        // 2^20 times any sensible minimum is beyond any sensible cap, and does not overflow.
        let doubled = self.min.saturating_mul(1 << failures.min(20)).min(self.max);
        let quarter = doubled / 4;
        // The top 16 bits pick a point from 0 to 1; from there to 3/4 to 5/4 of the interval.
        doubled - quarter + (quarter * 2).mul_f64((random >> 48) as f64 / f64::from(u16::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_double_up_to_the_cap_and_stay_within_a_quarter() {
        let policy = RetryPolicy { min: Duration::from_millis(100), max: Duration::from_millis(1000) };
        for (failures, nominal) in
            [(0, 100), (1, 200), (2, 400), (3, 800), (4, 1000), (30, 1000), (u32::MAX, 1000)]
        {
            let nominal = Duration::from_millis(nominal);
            assert_eq!(policy.interval(failures, 0), nominal * 3 / 4);
            assert_eq!(policy.interval(failures, u64::MAX), nominal * 5 / 4);
        }
    }

    #[test]
    fn an_absurd_policy_does_not_overflow() {
        let policy = RetryPolicy { min: Duration::MAX / 2, max: Duration::MAX / 2 };
        assert!(policy.interval(u32::MAX, u64::MAX) > Duration::MAX / 4);
    }
}
