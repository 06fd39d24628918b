//! How long a message to a peer and its answer take.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::plan::ROUND_TRIP_UNKNOWN;
use crate::node::micros;

/// A smoothed round trip and its mean deviation, in one word of 31 and 26 bits of microseconds, a count of samples,
/// and how far the last ones in a row were off. Zero before the first.
///
/// As in RFC 6298, section 2, but smoother: a plan for many peers goes by the farthest of them, and the greatest of many
/// restless estimates is none. So each of the first samples counts as much as any other, and later ones a 32nd, or a
/// quarter for the deviation. A network that has changed shows otherwise.
#[derive(Debug)]
pub(super) struct RoundTrip {
    word: AtomicU64,
    /// What to assume before the first, in microseconds.
    assumed: AtomicU64,
}

impl Default for RoundTrip {
    fn default() -> Self {
        let assumed = AtomicU64::new(micros(ROUND_TRIP_UNKNOWN));
        Self { word: AtomicU64::new(0), assumed }
    }
}

/// The longest that is taken for a round trip; clocks that jump show longer ones.
pub(super) const LONGEST: Duration = Duration::from_secs(4);

const SAMPLES_MIN: u64 = 4;
const DEVIATION_MAX: u64 = (1 << 26) - 1;
const SAMPLES_MAX: u64 = 31;
const DEVIATIONS_MAX: u64 = 3;
/// After so many samples in a row that are far above the mean, or two below it, the network counts as changed.
const OFF_MAX: u64 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Estimate {
    /// The smoothed round trip.
    pub(super) mean: Duration,
    /// How far single ones are off, on average.
    pub(super) deviation: Duration,
    /// How many it is made of; 31 stands for any more.
    pub(super) samples: u64,
}

impl Estimate {
    /// What to plan with: a few samples may all be bad luck, and a plan for a network that slow costs many messages.
    pub(super) fn planned(self) -> Duration {
        if self.samples < SAMPLES_MIN { self.mean.min(ROUND_TRIP_UNKNOWN) } else { self.mean }
    }

    /// How far single ones are off, for a plan; none before there are enough to tell.
    pub(super) fn jitter(self) -> Option<Duration> {
        (self.samples >= SAMPLES_MIN).then_some(self.deviation)
    }

    /// Longer than this takes next to none: RFC 6298's timeout.
    pub(super) fn longest(self) -> Duration {
        (self.mean + 4 * self.deviation + TIMER).min(PATIENCE_MAX.max(self.mean * 3 / 2))
    }
}

/// The longest to wait for an answer before asking again, unless the network is that slow: more jitter is rather a clock
/// that runs wrong.
const PATIENCE_MAX: Duration = Duration::from_millis(1500);

/// What a timer and a busy machine may add.
const TIMER: Duration = Duration::from_millis(25);

impl RoundTrip {
    /// Nothing before the first sample.
    pub(super) fn get(&self) -> Option<Estimate> {
        // Relaxed, here and below: the word steers timers, it publishes nothing.
        let word = self.word.load(Ordering::Relaxed);
        (word != 0).then(|| Estimate {
            mean: Duration::from_micros(word >> 33),
            deviation: Duration::from_micros(word & DEVIATION_MAX),
            samples: word >> 26 & SAMPLES_MAX,
        })
    }

    /// What was measured, or what is assumed.
    pub(super) fn reckoned(&self) -> Estimate {
        self.get().unwrap_or_else(|| {
            let mean = Duration::from_micros(self.assumed.load(Ordering::Relaxed));
            Estimate { mean, deviation: mean / 8, samples: 0 }
        })
    }

    /// The longest that an answer takes, for all that is known.
    pub(super) fn longest(&self) -> Duration {
        self.reckoned().longest()
    }

    /// One way, for all that is known.
    pub(super) fn one_way(&self) -> Duration {
        self.reckoned().mean / 2
    }

    /// Before this one is measured, it is assumed to be like others.
    pub(super) fn assume(&self, mean: Duration) {
        self.assumed.store(micros(mean), Ordering::Relaxed);
    }

    /// A round trip was measured. Of two threads that add samples at once, one may be in vain.
    pub(super) fn sample(&self, took: Duration) {
        if took > LONGEST {
            return;
        }
        let took = micros(took);
        let word = self.word.load(Ordering::Relaxed);
        let (mean, deviation) = (word >> 33, word & DEVIATION_MAX);
        let (samples, were_off) = (word >> 26 & SAMPLES_MAX, word >> 31 & 0b11);
        let error = mean.abs_diff(took);
        let is_off = error > 4 * deviation + micros(TIMER);
        // A message may be late for many reasons, but is hardly early for any.
        let off = were_off + if took < mean { 2 } else { 1 };
        // If there are few, those so far above it were late.
        let is_better = 4 * took < mean && samples < SAMPLES_MIN;
        let (mean, deviation, samples, off) = if word == 0 || is_off && (off >= OFF_MAX || is_better) {
            // The first one; or the last of a few from another network than the one that was measured. Half of it, as
            // the RFC has it, would be a fear that costs messages.
            (took, took / 8, 1, 0)
        } else if is_off {
            // A repetition, a pause, a clock that jumped: no measurement, if few are like it.
            (mean, deviation, samples, off)
        } else {
            let weighed = samples.min(DEVIATIONS_MAX);
            let deviation = (deviation * weighed + error) / (weighed + 1);
            let samples = (samples + 1).min(SAMPLES_MAX);
            ((mean * samples + took) / (samples + 1), deviation, samples, 0)
        };
        // Never zero, which would be unknown.
        let word = mean << 33 | off << 31 | samples << 26 | deviation.min(DEVIATION_MAX);
        self.word.store(word, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn after(samples: impl IntoIterator<Item = u64>) -> Estimate {
        let trip = RoundTrip::default();
        assert_eq!((trip.get(), trip.one_way()), (None, ROUND_TRIP_UNKNOWN / 2));
        samples.into_iter().for_each(|sample| trip.sample(ms(sample)));
        trip.get().expect("measured")
    }

    #[test]
    fn a_steady_round_trip_is_known_at_once_and_exactly_in_time() {
        assert_eq!(after([200]), Estimate { mean: ms(200), deviation: ms(25), samples: 1 });
        let estimate = after([200; 40]);
        assert_eq!(estimate.mean, ms(200));
        assert!(estimate.deviation < ms(1) && estimate.longest() < ms(230));
    }

    #[test]
    fn two_that_are_far_off_do_not_count_and_three_in_a_row_start_anew() {
        let steady = [2; 40];
        for far_off in [&[1000, 1000][..], &[1000, 1000, 2, 1000, 1000], &[1000, 1000, 1000, 2, 2, 2]] {
            let estimate = after(steady.into_iter().chain(far_off.iter().copied()));
            assert_eq!(estimate.mean, ms(2));
        }
        let estimate = after(steady.into_iter().chain([1000; 3]));
        assert_eq!(estimate.mean, ms(1000));
    }

    #[test]
    fn a_first_one_that_was_late_counts_until_there_is_a_better_one() {
        assert_eq!(after([3000, 200]), after([200]));
        assert_eq!(after([200, 3000]).mean, ms(200));
    }

    #[test]
    fn what_no_network_takes_is_no_sample() {
        let trip = RoundTrip::default();
        for too_long in [LONGEST + Duration::from_nanos(1), Duration::MAX] {
            trip.sample(too_long);
            assert_eq!(trip.get(), None);
        }
        for possible in [LONGEST, Duration::ZERO] {
            let trip = RoundTrip::default();
            trip.sample(possible);
            assert_eq!(trip.get().map(|estimate| estimate.mean), Some(possible));
        }
    }
}
