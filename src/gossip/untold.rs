//! Members that don't answer this node, and that may lack something: others are asked in turn to look for them, as SWIM has it
//! with its indirect pings (Das et al., 2002).
//!
//! A member that has nothing to say doesn't notice that its parent is lost, and by the direct plan nobody passes on what a node
//! tells everybody. While others keep coming, nothing else would show that a value is missing.

use std::collections::BTreeSet;
use std::time::Duration;

use super::membership::Peer;
use crate::node::Time;

/// Another peer is asked to look for them after so long, again and again: which peers can reach them may change, and nothing
/// shows it.
const NAMED_AGAIN: Duration = Duration::from_secs(4);

/// Members that others are to look for.
#[derive(Debug, Default)]
pub(super) struct Untold {
    members: BTreeSet<Peer>,
    /// Members that a peer has asked this node to look for.
    sought: BTreeSet<Peer>,
    /// The helper, whom messages name the members, and the stamp of the first message that has named it all of them.
    helper: Option<Peer>,
    said: Option<u64>,
    /// Who was the helper last, and when another one is to be chosen.
    last: Option<Peer>,
    again_at: Time,
}

impl Untold {
    /// A member that lacks something does not answer.
    pub(super) fn add(&mut self, member: Peer) {
        if self.members.insert(member) {
            self.say_anew();
        }
    }

    /// A member that is looked for on a peer's behalf is to be looked for by others, too, if it doesn't answer.
    pub(super) fn seek(&mut self, member: Peer) {
        self.sought.insert(member);
    }

    pub(super) fn is_sought(&self, member: Peer) -> bool {
        self.sought.contains(&member)
    }

    /// A member answers again: it is told what it lacks.
    pub(super) fn remove(&mut self, member: Peer) {
        self.members.remove(&member);
        self.sought.remove(&member);
    }

    /// The first helper is to be told of them again, for somebody else is the parent, or the one who was told does not answer.
    pub(super) fn say_anew(&mut self) {
        (self.helper, self.said, self.last, self.again_at) = (None, None, None, Time::ZERO);
    }

    /// If a helper is to be chosen, who was the last one; that may be nobody.
    pub(super) fn seeks_helper(&self, now: Time) -> Option<Option<Peer>> {
        (!self.members.is_empty() && self.helper.is_none() && self.again_at <= now).then_some(self.last)
    }

    pub(super) fn choose(&mut self, now: Time, helper: Option<Peer>) {
        self.helper = helper;
        if helper.is_some() {
            self.again_at = now + NAMED_AGAIN;
        }
    }

    /// Whom a message of that stamp names to a peer: their places among all members.
    pub(super) fn say(&mut self, peer: Peer, stamp: u64) -> Vec<u64> {
        if self.helper != Some(peer) {
            return Vec::new();
        }
        self.said.get_or_insert(stamp);
        self.members.iter().filter(|&&untold| untold != peer).map(|&Peer(rank)| rank as u64).collect()
    }

    /// A peer has heard the message of that stamp, or a later one.
    pub(super) fn heard(&mut self, peer: Peer, stamp: u64) {
        if self.helper == Some(peer) && self.said.is_some_and(|said| said <= stamp) {
            (self.helper, self.said, self.last) = (None, None, Some(peer));
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const PARENT: Peer = Peer(0);

    fn at(secs: u64) -> Time {
        Time::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn members_are_named_until_the_helper_has_heard_of_all_of_them() {
        let mut untold = Untold::default();
        untold.add(Peer(3));
        untold.choose(at(1), Some(PARENT));
        assert_eq!((untold.say(PARENT, 10), untold.say(PARENT, 11)), (vec![3], vec![3]));
        untold.heard(PARENT, 9);
        assert_eq!(untold.say(PARENT, 12), [3], "the parent has not heard of it");
        untold.add(Peer(4));
        untold.choose(at(1), Some(PARENT));
        assert_eq!(untold.say(PARENT, 13), [3, 4]);
        untold.heard(PARENT, 12);
        assert_eq!(untold.say(PARENT, 14), [3, 4], "the parent has not heard of the second");
        untold.remove(Peer(3));
        untold.heard(Peer(5), 13);
        assert_eq!(untold.say(PARENT, 15), [4]);
        untold.heard(PARENT, 13);
        assert_eq!(untold.say(PARENT, 16), Vec::<u64>::new());
        assert_eq!((untold.seeks_helper(at(4)), untold.seeks_helper(at(5))), (None, Some(Some(PARENT))));
    }

    #[test]
    fn another_helper_hears_of_them_anew() {
        let mut untold = Untold::default();
        untold.add(Peer(3));
        untold.choose(at(1), Some(PARENT));
        assert_eq!((untold.say(PARENT, 10), untold.say(Peer(1), 11)), (vec![3], vec![]));
        untold.say_anew();
        assert_eq!(untold.seeks_helper(at(1)), Some(None));
        untold.choose(at(1), Some(Peer(1)));
        assert_eq!((untold.say(Peer(3), 19), untold.say(Peer(1), 20)), (vec![], vec![3]), "not to itself");
        untold.heard(PARENT, 20);
        assert_eq!(untold.say(Peer(1), 21), [3]);
    }

    #[test]
    fn whoever_answers_again_is_named_to_nobody() {
        let mut untold = Untold::default();
        untold.add(Peer(3));
        untold.seek(Peer(4));
        [3, 4].into_iter().for_each(|member| untold.remove(Peer(member)));
        assert_eq!((untold.seeks_helper(at(9)), untold.is_sought(Peer(4))), (None, false));
    }

    #[test]
    fn however_long_members_have_been_lost_they_are_named_again_after_four_seconds() {
        let mut untold = Untold::default();
        untold.add(Peer(2));
        untold.choose(at(99), None);
        assert_eq!(untold.seeks_helper(at(99)), Some(None), "nobody answers");
        untold.choose(at(99), Some(PARENT));
        assert_eq!(untold.say(PARENT, 1), [2]);
        untold.heard(PARENT, 1);
        assert_eq!([102, 103].map(|secs| untold.seeks_helper(at(secs))), [None, Some(Some(PARENT))]);
    }
}
