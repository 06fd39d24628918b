//! When a node that is not settled asks another one what that holds.

use std::time::Duration;

use super::rule::Turns;
use crate::node::Time;

/// The shortest time between two questions of a node for which nothing changes.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// The longest of a root, and the longest of all other nodes together.
const ROOT_INTERVAL_MAX: Duration = Duration::from_secs(8);
const OTHERS_INTERVAL_MAX: Duration = Duration::from_secs(6);

/// A root that has asked in vain for so many seconds waits for a second until it asks again. All other nodes together
/// ask as often.
const SHARE: u32 = 15;

/// At first nodes share nothing: a value that has to go around what is cut or dead may need any of them.
const EAGER: Duration = Duration::from_secs(6);

/// How long a node waits that has been asking, or seeking its way back to the plan, in vain since then, at least `least`.
/// Nodes that do the same share one root's rate.
fn interval(now: Time, since: Time, least: Duration, seekers: usize) -> Duration {
    let most = if seekers == 1 { ROOT_INTERVAL_MAX } else { OTHERS_INTERVAL_MAX };
    let seekers = u32::try_from(seekers).unwrap_or(u32::MAX);
    let elapsed = now.since(since);
    let shared = if elapsed < EAGER { Duration::ZERO } else { (elapsed / SHARE).saturating_mul(seekers) };
    least.max(shared).min(most.saturating_mul(seekers))
}

#[derive(Debug)]
pub(super) struct Watch {
    pub(super) turns: Turns,
    /// How many questions have been asked since anything changed.
    pub(super) asked: u32,
    /// When to ask next, unless the node is settled by then or something changes.
    pub(super) ask_at: Time,
    asks_since: Time,
    /// When to seek the way back to the plan, and since when the node has been doing so.
    pub(super) seek_at: Time,
    seeks_since: Time,
    /// When this node's digest last changed.
    changed_at: Time,
    /// How many times it has sought.
    pub(super) sought: usize,
    /// Whether the node was settled when the last tick ended.
    pub(super) was_settled: bool,
}

impl Watch {
    pub(super) fn new(rank: usize) -> Self {
        Self {
            turns: Turns::after(rank),
            asked: 0,
            ask_at: Time::NEVER,
            asks_since: Time::ZERO,
            seek_at: Time::NEVER,
            seeks_since: Time::ZERO,
            changed_at: Time::ZERO,
            sought: 0,
            was_settled: true,
        }
    }

    /// Something has changed: the next question is the first one, at that time.
    pub(super) fn changed(&mut self, ask_at: Time) {
        self.asked = 0;
        self.ask_at = ask_at;
        self.asks_since = ask_at;
    }

    /// This node's digest has changed.
    pub(super) fn news(&mut self, now: Time, ask_at: Time) {
        self.changed_at = now;
        self.changed(ask_at);
    }

    /// A peer doesn't answer any more, or the parent is another one. If nothing has been new for long, that is probably
    /// no news either, and only found out now.
    pub(super) fn lost(&mut self, now: Time) {
        self.seeks_since = self.seeks_since.max(self.changed_at);
        self.seek_at = now;
    }

    /// A peer answers again. Others may, too; but if nothing has been new for long, that may have been so for long.
    pub(super) fn restored(&mut self, now: Time) {
        self.seeks_since = self.seeks_since.max(now.before(now.since(self.changed_at) / 2));
        self.seek_at = now;
    }

    /// A question has been asked, by one of so many nodes that share a root's rate.
    pub(super) fn has_asked(&mut self, now: Time, seekers: usize) {
        self.asked += 1;
        self.ask_at = now + interval(now, self.asks_since, ASK_INTERVAL, seekers);
        if seekers == 1 {
            self.seek_at = self.seek_at.max(now + ASK_INTERVAL / 2);
        }
    }

    /// The node has sought its way back.
    pub(super) fn has_sought(&mut self, now: Time, least: Duration, seekers: usize) {
        self.sought += 1;
        self.seek_at = now + interval(now, self.seeks_since, least, seekers);
    }

    /// When the node next has to ask or to seek, unless it is settled.
    pub(super) fn next(&self) -> Time {
        self.ask_at.min(self.seek_at)
    }
}
