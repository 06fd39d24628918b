//! Members whom this node could not tell what it has told everybody else.
//!
//! By the direct plan nobody passes on what a node tells everybody. So if one member does not answer, this node's parent, or any
//! peer if it has none, is to find out what that one lacks. While others keep coming, nothing else would show that a value is
//! missing.

use super::membership::Peer;

/// Members that another node is to compare with.
#[derive(Debug, Default)]
pub(super) struct Untold {
    members: Vec<Peer>,
    /// The first peer to which a message has named them all, and that message's stamp.
    said: Option<(Peer, u64)>,
}

impl Untold {
    /// A member that lacks something does not answer.
    pub(super) fn add(&mut self, member: Peer) {
        if !self.members.contains(&member) {
            self.members.push(member);
            self.said = None;
        }
    }

    /// A member answers again: it is told what it lacks.
    pub(super) fn remove(&mut self, member: Peer) {
        self.members.retain(|&untold| untold != member);
    }

    /// Somebody else is to be told of them, for it is another parent, or the one who was told does not answer.
    pub(super) fn say_anew(&mut self) {
        self.said = None;
    }

    /// Whom a message of that stamp names to a peer, who may be told of them: their places among all members.
    pub(super) fn say(&mut self, peer: Peer, stamp: u64) -> Vec<u64> {
        let others = self.members.iter().filter(|&&untold| untold != peer);
        let others: Vec<u64> = others.map(|&Peer(rank)| rank as u64).collect();
        if others.is_empty() || self.said.get_or_insert((peer, stamp)).0 != peer {
            return Vec::new();
        }
        others
    }

    /// A peer has heard the message of that stamp, or a later one.
    pub(super) fn heard(&mut self, peer: Peer, stamp: u64) {
        if self.said.is_some_and(|(to, said)| to == peer && said <= stamp) {
            self.members.retain(|&untold| untold == peer);
            self.said = None;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const PARENT: Peer = Peer(0);

    #[test]
    fn members_are_named_until_the_parent_has_heard_of_all_of_them() {
        let mut untold = Untold::default();
        untold.add(Peer(3));
        assert_eq!((untold.say(PARENT, 10), untold.say(PARENT, 11)), (vec![3], vec![3]));
        untold.heard(PARENT, 9);
        untold.add(Peer(4));
        untold.heard(PARENT, 11);
        assert_eq!(untold.say(PARENT, 12), [3, 4], "the parent has not heard of the second");
        untold.remove(Peer(3));
        untold.heard(Peer(5), 12);
        assert_eq!(untold.say(PARENT, 13), [4]);
        untold.heard(PARENT, 12);
        assert_eq!(untold.say(PARENT, 14), Vec::<u64>::new());
    }

    #[test]
    fn another_parent_hears_of_them_anew() {
        let mut untold = Untold::default();
        untold.add(Peer(3));
        assert_eq!((untold.say(PARENT, 10), untold.say(Peer(1), 11)), (vec![3], vec![]));
        untold.say_anew();
        assert_eq!((untold.say(Peer(3), 19), untold.say(Peer(1), 20)), (vec![], vec![3]), "not to itself");
        untold.heard(PARENT, 10);
        assert_eq!(untold.say(Peer(1), 21), [3]);
    }
}
