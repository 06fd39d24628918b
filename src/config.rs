//! What can be set about a node, and the values it has when nobody does.

use std::time::Duration;

use crate::protocol::{BATCH_MAX, Generation};
use crate::random::part;

/// A node's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long a value may take to reach every node: the lock-free design chooses its plan by it.
    pub latency_budget: Duration,
    /// How long an acknowledgement waits for something to travel on, after the last message to be acknowledged.
    /// Lock-free design only, as is the next one.
    pub ack_delay: Duration,
    /// The same, after the first.
    pub ack_delay_max: Duration,
    /// The least time between two flushes to the same peer. Simple design only, as is the next one.
    pub flush_interval: Duration,
    /// When to send again what has not been acknowledged.
    pub retry: RetryPolicy,
    /// How long to wait for a `topology` message before starting without.
    pub start_grace: Duration,
    /// The most peers that one node flushes to at a time, if the budget allows a tree. For those who test trees of fewer nodes than
    /// need them. Lock-free design only.
    pub fan_out: usize,
    /// The most integers that one message tells its values by, from 1 to [`BATCH_MAX`].
    pub batch_max: usize,
    /// The most values that wait for one peer. What it lacks beyond them is found out later. Simple design only.
    pub queue_limit: usize,
    /// The first generation of every link; drawn at random if none. For those who test the wrap-around, which
    /// no node lives to see.
    pub first_generation: Option<Generation>,
    /// The node's incarnation, from 1 to 2^61: greater than that of any life the node had before. If none, the time of
    /// `init` in microseconds, for drivers whose clock outlives the nodes. Lock-free design only.
    pub incarnation: Option<u64>,
    /// Fixes what is drawn to keep nodes from doing things at the same time. Nothing that tells nodes, lives or ids
    /// apart comes from it. If none, it is drawn like them.
    pub jitter_seed: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            // What challenge 3d asks for is 600 ms, of which a busy machine takes some.
            latency_budget: Duration::from_millis(565),
            // A message that was lost as the network healed is sent again within a second of that.
            ack_delay: Duration::from_millis(950),
            // Of nodes that send each other something twice a second, one in 150 waits so long.
            ack_delay_max: Duration::from_millis(2500),
            // A network that heals is noticed within half of the second that completeness may take.
            // Short beside a network's latency, long enough to gather a burst.
            flush_interval: Duration::from_millis(50),
            retry: RetryPolicy::default(),
            // Maelstrom sends the topology well within that of `init`.
            start_grace: Duration::from_millis(800),
            // At two microseconds for each message, the last of them waits a quarter of a millisecond for the first.
            fan_out: 128,
            batch_max: BATCH_MAX,
            // 64 Ki values are 1 MiB of queue.
            queue_limit: 1 << 16,
            first_generation: None,
            incarnation: None,
            jitter_seed: None,
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
        // 2^20 times any sensible minimum is beyond any sensible cap, and does not overflow.
        let doubled = self.min.saturating_mul(1 << failures.min(20)).min(self.max);
        let quarter = doubled / 4;
        // From 3/4 to 5/4 of the interval.
        doubled - quarter + (quarter * 2).mul_f64(part(random))
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
