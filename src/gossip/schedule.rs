//! When this node flushes, to its parent and to its children.

use std::time::Duration;

use super::clock::next_on_grid;
use super::membership::Peer;
use super::plan::Plan;
use crate::node::Time;
use crate::protocol::{Batch, RUNS_VALUES_MAX, integers_by_runs};
use crate::queue::{Log, Span};

/// What a batch may be late for the root's flush before the root flushes once more for it: less than that is
/// noise.
pub(super) const LATENESS: Duration = Duration::from_millis(10);

/// Messages that come one right after the other are taken up, and passed on, together.
pub(super) const GATHER: Duration = Duration::from_millis(1);

/// The times of the flushes to come, and what is known of those that were.
#[derive(Debug)]
pub(super) struct Schedule {
    /// When to flush to the parent.
    pub(super) up_at: Time,
    /// When to flush to the children or, by the direct plan, to everyone.
    pub(super) down_at: Time,
    /// When the oldest of the values that wait for `down_at` was broadcast.
    pub(super) oldest: Time,
    /// When this node flushes next if it is a root or a hub without one; then every period.
    next_flush: Time,
    /// The period when it did last.
    last_period: Duration,
    /// When it did last, and how many values it held then.
    flushed: Option<(Time, usize)>,
    /// How many values have been coming in a second; 0 before anybody knows.
    pub(super) rate: f64,
    /// How many values an integer has been telling, as runs or one by one.
    pub(super) values_an_integer: f64,
    /// Room for a list of whom to flush to.
    pub(super) targets: Vec<Peer>,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            up_at: Time::NEVER,
            down_at: Time::NEVER,
            oldest: Time::NEVER,
            next_flush: Time::ZERO,
            last_period: Duration::MAX,
            flushed: None,
            rate: 0.0,
            values_an_integer: 1.0,
            targets: Vec::new(),
        }
    }
}

impl Schedule {
    /// When a flush is next due.
    pub(super) fn next(&self) -> Time {
        self.up_at.min(self.down_at)
    }

    /// The first flush is to come soon: it tells children when to send, and shows how far they are.
    pub(super) fn begin(&mut self, now: Time, period: Duration) {
        self.next_flush = now + period / 4;
    }

    /// When a root flushes to its children next.
    pub(super) fn root_flush(&mut self, now: Time, plan: Plan, far: Duration, born: Time) -> Time {
        if plan.aligned || self.next_flush > now {
            return next_on_grid(now, self.next_flush, plan.period);
        }
        // Nobody waits for a flush of this node: it is one period after the first value for it came, or would have
        // come if it had been sent when it was broadcast.
        self.next_flush = now.max(born + far + plan.period);
        self.next_flush
    }

    /// When the next flush that children are told of comes.
    pub(super) fn announced(&self, now: Time, period: Duration) -> Time {
        next_on_grid(now, self.next_flush, period)
    }

    /// There is something for the children. True if it is time for all of them: the next time is a period away.
    pub(super) fn begin_flush(&mut self, now: Time, log: &Log, held: usize, plan: Plan) -> bool {
        let is_due = self.next_flush <= now;
        if is_due {
            // The first flush knows of no time in which it gathered what it has.
            if let Some((before, held_then)) = self.flushed {
                let gathered = held.saturating_sub(held_then) as f64;
                self.note_rate(gathered / now.since(before).as_secs_f64().max(1e-3));
                self.note_runs(log, Span { from: held_then, to: held, whole: true });
            }
            self.flushed = Some((now, held));
            // What has missed this flush by a plan with longer round trips and a shorter period waits no longer.
            let period = plan.period.min(self.last_period);
            self.last_period = plan.period;
            self.next_flush = if plan.aligned { now + period } else { now };
        }
        is_due
    }

    fn note_runs(&mut self, log: &Log, gained: Span) {
        let most = Span { to: gained.to.min(gained.from + RUNS_VALUES_MAX), ..gained };
        let mut values: Batch = log.values(most).collect();
        if !values.is_empty() {
            values.sort_unstable();
            let integers = values.len().min(integers_by_runs(&values));
            let last = values.len() as f64 / integers as f64;
            self.values_an_integer += (last - self.values_an_integer) / 8.0;
        }
    }

    fn note_rate(&mut self, last: f64) {
        // An eighth for the last period, so that chance counts little.
        self.rate = if self.rate == 0.0 { last } else { self.rate + (last - self.rate) / 8.0 };
    }
}
