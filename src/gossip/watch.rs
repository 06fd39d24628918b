//! When a node that is not settled asks another one what that holds.

use std::time::Duration;

use super::rule::Turns;
use crate::node::Time;

/// How often a node asks that has nothing of the following to reckon with.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

/// While there is news, other nodes ask less often,
pub(super) const INTERVAL_WITH_NEWS: Duration = Duration::from_secs(4);

/// and roots more often: what their questions bring may have no other way to who hears them and is not heard.
const ROOT_INTERVAL_WITH_NEWS: Duration = Duration::from_millis(400);

/// What has been as it is for so long probably stays so. Most cuts last for no more than a minute, and those who are asked
/// once it is over may be some of many.
const LONG: Duration = Duration::from_secs(65);

/// Others ask for all that they may have missed, in turn, and then leave the asking to roots.
const LONG_FOR_OTHERS: Duration = Duration::from_secs(52);

/// How often a root asks from then on: it asks for all below it.
const ROOT_INTERVAL_AT_LAST: Duration = Duration::from_secs(5);

/// How often all other nodes ask together from then on, if there is one that is not known to be equal: it is dead, more often
/// than not.
const SHARED_INTERVAL_AT_LAST: Duration = Duration::from_secs(3);

/// How often they do if there are more: there may be one link between two of them that works.
const SHARED_INTERVAL_OF_PARTS: Duration = Duration::from_millis(800);

/// What makes the next question urgent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Urgency {
    /// This node asks for all below it.
    pub(super) is_root: bool,
    /// More than one member is not known to be equal.
    pub(super) is_in_parts: bool,
    /// Somebody may have no other way to the rest than by this node.
    pub(super) is_needed: bool,
    /// All that was on its way with the last news should have come.
    pub(super) is_quiet: bool,
    /// There was news not long ago, when the next question is due, too.
    pub(super) is_lately: bool,
}

impl Urgency {
    /// How long a node of so many waits from one question to the next.
    pub(super) fn interval(self, members: usize) -> Duration {
        match self {
            Self { is_quiet: false, is_root: true, .. } => ROOT_INTERVAL_WITH_NEWS,
            Self { is_quiet: false, is_needed: false, .. } => INTERVAL_WITH_NEWS,
            Self { is_quiet: false, .. } | Self { is_lately: true, .. } => INTERVAL,
            Self { is_root: true, .. } => ROOT_INTERVAL_AT_LAST,
            Self { is_in_parts, .. } => shared_interval(is_in_parts, members),
        }
    }
}

/// How often each of so many nodes asks at last that is no root.
pub(super) fn shared_interval(is_in_parts: bool, members: usize) -> Duration {
    let shared = if is_in_parts { SHARED_INTERVAL_OF_PARTS } else { SHARED_INTERVAL_AT_LAST };
    INTERVAL.max(shared.saturating_mul(u32::try_from(members).unwrap_or(u32::MAX)))
}

#[derive(Debug)]
pub(super) struct Watch {
    pub(super) turns: Turns,
    /// When to ask the parent or, for a root, everybody, unless there is news before; never once that was done.
    pub(super) watch_at: Time,
    /// When to ask the next member, one after the other.
    pub(super) ask_at: Time,
    /// When a new root is to ask all who have not come to it, be there news or not.
    pub(super) root_at: Time,
    /// When there was last news: this node's digest changed, or it came to know of a difference.
    pub(super) news_at: Time,
    /// How many times this node has asked the next member.
    pub(super) asked: usize,
    /// What neighbours were last told: that all but so many members hold the digest of that epoch.
    pub(super) told: (u64, usize),
}

impl Watch {
    pub(super) fn new(rank: usize) -> Self {
        Self {
            turns: Turns::after(rank),
            watch_at: Time::NEVER,
            ask_at: Time::NEVER,
            root_at: Time::NEVER,
            news_at: Time::ZERO,
            asked: 0,
            told: (0, 0),
        }
    }

    /// There is news, which is watched until then.
    pub(super) fn news(&mut self, now: Time, watch_at: Time) {
        (self.news_at, self.watch_at) = (now, watch_at);
    }

    /// Who can be reached has changed: the next member is to be asked now.
    pub(super) fn hurry(&mut self, now: Time) {
        self.ask_at = now;
    }

    /// Whether all that was on its way with the last news should have come.
    pub(super) fn is_quiet(&self) -> bool {
        self.watch_at == Time::NEVER
    }

    /// Whether there was news not long ago.
    pub(super) fn is_lately(&self, now: Time, is_root: bool) -> bool {
        now.since(self.news_at) < if is_root { LONG } else { LONG_FOR_OTHERS }
    }

    /// The parent, or everybody, has just been asked.
    pub(super) fn has_watched(&mut self, now: Time) {
        (self.watch_at, self.ask_at) = (Time::NEVER, now + INTERVAL);
    }

    /// The next member has just been asked; another one is to be at that time.
    pub(super) fn has_asked(&mut self, ask_at: Time) {
        self.asked += 1;
        self.ask_at = ask_at;
    }

    /// When the node next has to ask, unless it is settled.
    pub(super) fn next(&self) -> Time {
        self.watch_at.min(self.ask_at).min(self.root_at)
    }
}
