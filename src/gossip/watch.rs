//! When a node that is not settled asks another one what that holds.

use std::time::Duration;

use super::rule::Turns;
use crate::node::Time;

/// The shortest time between two questions of a node for which nothing changes.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// For so long all nodes ask as often as they like: a value that has to go around what is cut or dead may need any of
/// them. Then they share the rate of one node, but for one of each part of the cluster.
const EAGER: Duration = Duration::from_secs(8);

/// What has been as it is for so long probably stays so, and all slow down. Requirements reckon with cuts of up to a
/// minute.
const LONG: Duration = Duration::from_secs(55);

/// The time from one question to the next grows with the time that nothing has changed, for all others, the more of them
/// there are the faster: while that doubles, all of them together ask about as often, five or 25.
const GROWTH: u32 = 128;

/// They ask at least once in this time together.
const OTHERS_INTERVAL_MAX: Duration = Duration::from_secs(11);

/// One node of each part of the cluster asks for all, from then on so often.
const CHIEF_INTERVAL: Duration = Duration::from_secs(5);

/// Who asks for whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seekers {
    /// Whether this node is the first of those that it knows to be equal: it asks for all of them.
    pub(super) is_chief: bool,
    /// How many members there are.
    pub(super) members: usize,
}

impl Seekers {
    /// How long a node waits that has been asking in vain since then, at least `least`.
    fn interval(self, now: Time, since: Time, least: Duration) -> Duration {
        let elapsed = now.since(since);
        let (eager, shared) = if self.is_chief {
            (LONG, CHIEF_INTERVAL)
        } else {
            let members = u32::try_from(self.members).unwrap_or(u32::MAX);
            let grown = elapsed.saturating_mul(members.saturating_mul(members)) / GROWTH;
            (EAGER, grown.min(OTHERS_INTERVAL_MAX.saturating_mul(members)))
        };
        if elapsed < eager { least } else { least.max(shared) }
    }
}

#[derive(Debug)]
pub(super) struct Watch {
    pub(super) turns: Turns,
    /// How many questions have been asked since anything changed.
    pub(super) asked: u32,
    /// When to ask next, unless the node is settled by then or something changes.
    pub(super) ask_at: Time,
    /// Since when this node has been asking.
    pub(super) asks_since: Time,
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
        self.ask_all_at(ask_at);
        self.asks_since = ask_at;
    }

    /// The next question is the first one, at that time, although nothing is new.
    pub(super) fn ask_all_at(&mut self, ask_at: Time) {
        (self.asked, self.ask_at) = (0, ask_at);
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

    /// Whether this node seeks its way back, and nothing has been new for long.
    pub(super) fn is_seeking(&self, now: Time) -> bool {
        self.seek_at != Time::NEVER && now.since(self.asks_since) >= EAGER
    }

    /// Whether there is news, or this node has only begun to seek its way back.
    pub(super) fn is_eager(&self, now: Time) -> bool {
        now.since(self.seeks_since.max(self.asks_since)) < EAGER
    }

    /// Whether it has been doing so for no longer than most cuts last.
    pub(super) fn is_lately(&self, now: Time) -> bool {
        now.since(self.seeks_since) < LONG
    }

    /// A question has been asked.
    pub(super) fn has_asked(&mut self, now: Time, seekers: Seekers) {
        if self.asked == 0 && self.seek_at != Time::NEVER {
            // There is something to seek for.
            self.seek_at = now;
        }
        self.asked += 1;
        self.ask_at = now + seekers.interval(now, self.asks_since, ASK_INTERVAL);
        if self.seek_at != Time::NEVER {
            self.seek_at = self.seek_at.max(now + ASK_INTERVAL / 2);
        }
    }

    /// The node has sought its way back, which is urgent if anybody's values may have no other way.
    pub(super) fn has_sought(&mut self, now: Time, (least, is_urgent): (Duration, bool), seekers: Seekers) {
        self.sought += 1;
        let is_soon = is_urgent && (self.is_lately(now) || self.is_eager(now));
        self.seek_at = now + if is_soon { least } else { seekers.interval(now, self.seeks_since, least) };
    }

    /// When the node next has to ask or to seek, unless it is settled.
    pub(super) fn next(&self) -> Time {
        self.ask_at.min(self.seek_at)
    }
}
