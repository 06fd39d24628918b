//! How long a message to a peer and its answer take.

use std::time::Duration;

use super::plan::ROUND_TRIP_UNKNOWN;

/// A smoothed round trip and its mean deviation.
///
/// As in RFC 6298, section 2, but smoother: a plan for many peers goes by the farthest of them, and the greatest of many
/// restless estimates is none. So each of the first samples counts as much as any other, and later ones a 32nd, or a
/// quarter for the deviation. A network that has changed shows otherwise.
#[derive(Debug)]
pub(super) struct RoundTrip {
    /// Nothing before the first sample.
    measured: Option<Estimate>,
    /// How far the last samples in a row were off.
    off: u32,
    /// How many of the last samples in a row no likely network takes.
    unlikely: u32,
    /// What to assume before the first.
    assumed: Duration,
}

impl Default for RoundTrip {
    fn default() -> Self {
        Self { measured: None, off: 0, unlikely: 0, assumed: ROUND_TRIP_UNKNOWN }
    }
}

/// The longest that is taken for a round trip.
const LONGEST: Duration = Duration::from_secs(60);

/// Pauses, clocks that jump and repetitions show longer ones, but hardly so many in a row. Then the network is that slow.
pub(super) const LIKELY: Duration = Duration::from_secs(4);
const UNLIKELY_MIN: u32 = 4;

const SAMPLES_MIN: u32 = 4;
const SAMPLES_MAX: u32 = 31;
const DEVIATIONS_MAX: u32 = 3;
/// After so many samples in a row that are far above the mean, or two below it, the network counts as changed.
const OFF_MAX: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Estimate {
    /// The smoothed round trip (SRTT).
    pub(super) mean: Duration,
    /// How far single ones are off, on average (RTTVAR).
    pub(super) deviation: Duration,
    /// How many samples it is made of; 31 stands for any more.
    pub(super) samples: u32,
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

    /// By how much more than the mean next to no answer is late. Few samples may be alike by chance.
    fn lateness(self) -> Duration {
        let least = if self.samples < SAMPLES_MIN { self.mean / 8 } else { Duration::ZERO };
        4 * self.deviation.max(least) + TIMER
    }

    /// The retransmission timeout (RTO): next to no answer takes longer.
    pub(super) fn timeout(self) -> Duration {
        (self.mean + self.lateness()).min(TIMEOUT_MAX.max(self.mean * 3 / 2))
    }
}

/// The longest timeout, unless the network is that slow: more jitter is rather a clock that runs wrong.
const TIMEOUT_MAX: Duration = Duration::from_millis(1500);

/// What a timer and a busy machine may add.
const TIMER: Duration = Duration::from_millis(25);

impl RoundTrip {
    /// Nothing before the first sample.
    pub(super) fn get(&self) -> Option<Estimate> {
        self.measured
    }

    /// What was measured, or what is assumed.
    pub(super) fn reckoned(&self) -> Estimate {
        let mean = self.assumed;
        self.measured.unwrap_or(Estimate { mean, deviation: Duration::ZERO, samples: 0 })
    }

    /// The retransmission timeout, for all that is known.
    pub(super) fn timeout(&self) -> Duration {
        self.reckoned().timeout()
    }

    /// One way, for all that is known.
    pub(super) fn one_way(&self) -> Duration {
        self.reckoned().mean / 2
    }

    /// Before this one is measured, it is assumed to be like others.
    pub(super) fn assume(&mut self, mean: Duration) {
        self.assumed = mean;
    }

    /// A round trip was measured.
    pub(super) fn sample(&mut self, took: Duration) {
        if took > LONGEST {
            return;
        }
        let first = Estimate { mean: took, deviation: Duration::ZERO, samples: 1 };
        let is_slow = self.measured.is_some_and(|estimate| 2 * estimate.mean > LIKELY);
        self.unlikely = if took > LIKELY && !is_slow { self.unlikely + 1 } else { 0 };
        match self.unlikely {
            0 => {}
            UNLIKELY_MIN.. => {
                (self.measured, self.off, self.unlikely) = (Some(first), 0, 0);
                return;
            }
            _ => return,
        }
        let Some(estimate @ Estimate { mean, deviation, samples }) = self.measured else {
            self.measured = Some(first);
            return;
        };
        let error = mean.abs_diff(took);
        if error > estimate.lateness() {
            // A message may be late for many reasons, but is hardly early for any.
            self.off += if took < mean { 2 } else { 1 };
            // If there are few, those so far above it were late.
            let is_better = 4 * took < mean && samples < SAMPLES_MIN;
            // A repetition, a pause, a clock that jumped: no measurement, if few are like it.
            if self.off >= OFF_MAX || is_better {
                (self.measured, self.off) = (Some(first), 0);
            }
            return;
        }
        self.off = 0;
        // The first sample is off from nothing.
        let weighed = (samples - 1).min(DEVIATIONS_MAX);
        self.measured = Some(Estimate {
            mean: (mean * samples + took) / (samples + 1),
            deviation: (deviation * weighed + error) / (weighed + 1),
            samples: (samples + 1).min(SAMPLES_MAX),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn after(samples: impl IntoIterator<Item = u64>) -> Estimate {
        let mut trip = RoundTrip::default();
        assert_eq!((trip.get(), trip.one_way()), (None, ROUND_TRIP_UNKNOWN / 2));
        samples.into_iter().for_each(|sample| trip.sample(ms(sample)));
        trip.get().expect("measured")
    }

    #[test]
    fn a_steady_round_trip_is_known_at_once_and_exactly_in_time() {
        let first = after([200]);
        assert_eq!(first, Estimate { mean: ms(200), deviation: ms(0), samples: 1 });
        assert_eq!(first.timeout(), ms(325), "one says little of others");
        assert_eq!(after([200, 210]).deviation, ms(10));
        let estimate = after([200; 40]);
        assert_eq!(estimate.mean, ms(200));
        assert!(estimate.deviation < ms(1) && estimate.timeout() < ms(230));
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
        let mut trip = RoundTrip::default();
        for too_long in [LONGEST + Duration::from_nanos(1); 2 * UNLIKELY_MIN as usize] {
            trip.sample(too_long);
            assert_eq!(trip.get(), None);
        }
        for possible in [LIKELY, Duration::ZERO] {
            let mut trip = RoundTrip::default();
            trip.sample(possible);
            assert_eq!(trip.get().map(|estimate| estimate.mean), Some(possible));
        }
    }

    #[test]
    fn a_network_is_that_slow_if_several_samples_in_a_row_say_so() {
        let steady = [200; 40];
        let few = [20_000; UNLIKELY_MIN as usize - 1];
        let mut trip = RoundTrip::default();
        few.into_iter().for_each(|sample| trip.sample(ms(sample)));
        assert_eq!(trip.get(), None, "a clock may have been set");
        let not_in_a_row = steady.into_iter().chain(few).chain([200]).chain(few);
        assert_eq!(after(not_in_a_row).mean, ms(200));
        let slow = after(steady.into_iter().chain(few).chain([20_000; 2]));
        assert_eq!((slow.mean, slow.samples), (ms(20_000), 2));
    }
}
