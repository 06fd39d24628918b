//! When a node that is not settled asks another one what that holds.

use std::time::Duration;

use super::rule::Turns;
use crate::node::Time;

/// The shortest time from one question to the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// While there is news, other nodes than roots ask less often…
const INTERVAL_WITH_NEWS: Duration = Duration::from_secs(4);

/// …and roots more often: what their questions bring may have no other way to who hears them and is not heard.
const ROOT_INTERVAL_WITH_NEWS: Duration = Duration::from_millis(500);

/// What has been as it is for so long probably stays so. Most cuts last for no more than a minute, and those who are asked
/// once it is over may be some of many.
const LONG: Duration = Duration::from_secs(65);

/// How often a root asks from then on: it asks for all below it.
const ROOT_INTERVAL_AT_LAST: Duration = Duration::from_secs(5);

/// Once they have asked everybody in vain, all other nodes together ask this part of the time that there has been no news…
const SHARE: u32 = 5;

/// …or at least once in this time.
const SHARED_INTERVAL_MAX: Duration = Duration::from_secs(11);

/// How urgent the next question is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Urgency {
    /// Whether this node asks for all below it.
    pub(super) is_root: bool,
    /// Whether there is somebody who may have no other way to the rest than this node.
    pub(super) is_needed: bool,
    /// Whether there is somebody who hasn't been asked since there was news.
    pub(super) is_sweeping: bool,
}

#[derive(Debug)]
pub(super) struct Watch {
    pub(super) turns: Turns,
    /// When to ask the parent or, for a root, everybody, unless there is news before; never once that was done.
    pub(super) watch_at: Time,
    /// When to ask the next member, one after the other.
    pub(super) ask_at: Time,
    /// When there was last news: this node's digest changed, or it came to know of a difference.
    pub(super) news_at: Time,
    /// How many times this node has asked the next member.
    pub(super) asked: usize,
    /// Whether the node was settled when the last tick ended.
    pub(super) was_settled: bool,
}

impl Watch {
    pub(super) fn new(rank: usize) -> Self {
        Self {
            turns: Turns::after(rank),
            watch_at: Time::NEVER,
            ask_at: Time::NEVER,
            news_at: Time::ZERO,
            asked: 0,
            was_settled: true,
        }
    }

    /// There is news, which is watched until then.
    pub(super) fn news(&mut self, now: Time, watch_at: Time) {
        (self.news_at, self.watch_at) = (now, watch_at);
    }

    /// Whether all that was on its way with the last news should have come.
    pub(super) fn is_quiet(&self) -> bool {
        self.watch_at == Time::NEVER
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

    /// How long a node of so many waits from one question to the next.
    pub(super) fn interval(&self, now: Time, urgency: Urgency, members: usize) -> Duration {
        let Urgency { is_root, is_needed, is_sweeping } = urgency;
        let elapsed = now.since(self.news_at);
        if elapsed < LONG && (is_root || is_sweeping || !self.is_quiet()) {
            match self.is_quiet() {
                false if is_root => ROOT_INTERVAL_WITH_NEWS,
                false if !is_needed => INTERVAL_WITH_NEWS,
                _ => INTERVAL,
            }
        } else if is_root {
            ROOT_INTERVAL_AT_LAST
        } else {
            let members = u32::try_from(members).unwrap_or(u32::MAX);
            INTERVAL.max((elapsed / SHARE).min(SHARED_INTERVAL_MAX).saturating_mul(members))
        }
    }

    /// When the node next has to ask, unless it is settled.
    pub(super) fn next(&self) -> Time {
        self.watch_at.min(self.ask_at)
    }
}
