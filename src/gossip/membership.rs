//! Who is in the cluster, and what two threads share of each peer.

use std::hash::BuildHasher;
use std::sync::OnceLock;
use std::time::Duration;

use foldhash::fast::FixedState;

use crate::node::{Time, nanos};
use crate::protocol::Generation;
use crate::protocol::link::{Header, Sync};
use crate::queue::{Inbox, SlotRing};
use crate::sync::{AtomicU64, Ordering};

/// A peer: its place among all members. Never this node's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Peer(pub(super) usize);

/// What the thread that handles input and the thread that ticks share of a peer.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) slots: SlotRing,
    pub(super) inbox: Inbox<Arrival>,
    /// How long messages of the peer take, in nanoseconds; 0 before the ticking thread knows.
    one_way: AtomicU64,
    /// The latest incarnation of the peer that the ticking thread knows; 0 if it knows none.
    incarnation: AtomicU64,
}

impl Shared {
    fn new(first: Generation) -> Self {
        let [one_way, incarnation] = [AtomicU64::new(0), AtomicU64::new(0)];
        Self { slots: SlotRing::new(first), inbox: Inbox::default(), one_way, incarnation }
    }

    /// There is this incarnation of the peer, and may be a later one.
    pub(super) fn set_incarnation(&self, incarnation: u64) {
        // Relaxed: whoever handles a message at the same time may as well have handled it before.
        self.incarnation.store(incarnation, Ordering::Relaxed);
    }

    /// Whether a message of that incarnation is late: the peer has forgotten what it said.
    pub(super) fn is_forgotten(&self, incarnation: u64) -> bool {
        incarnation < self.incarnation.load(Ordering::Relaxed)
    }

    pub(super) fn set_one_way(&self, one_way: Duration) {
        // Relaxed: an estimate that is a little old does as well.
        self.one_way.store(nanos(one_way), Ordering::Relaxed);
    }
}

/// A message that has come from a peer, without its values, which have been taken up.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) at: Time,
    pub(super) what: What,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are of the large one")]
pub(super) enum What {
    /// A message of a natter node, and whether it acknowledged anything that was in flight.
    Gossip { header: Header, acked: bool, kind: Kind },
    /// Whoever sent this speaks otherwise than natter nodes do.
    Foreign,
}

#[derive(Debug)]
pub(super) enum Kind {
    Delta { base: Generation, generation: Generation, now: bool },
    Ack,
    Ping,
    Sync(Box<Sync>),
}

/// So many peers' shared parts are looked up in one table: a leaf of a large star has one table, and one peer in it.
const TABLE: usize = 64;

type Table = Box<[OnceLock<Box<Shared>>]>;

/// The cluster as `init` told it. Fixed but for the shared parts of peers, which come into being as they are needed.
#[derive(Debug)]
pub(super) struct Membership {
    /// All names, one after the other, and where each one ends.
    names: String,
    ends: Box<[u32]>,
    /// Places of members by the hashes of their names: an open hash table, at most half full; [`EMPTY`] where there is
    /// none.
    places: Box<[u32]>,
    hasher: FixedState,
    /// This node's own place.
    rank: usize,
    tables: Box<[OnceLock<Table>]>,
    /// How long messages of the farthest peer take, in nanoseconds; 0 before the ticking thread knows.
    far: AtomicU64,
    pub(super) grace_ends: Time,
}

const EMPTY: u32 = u32::MAX;

impl Membership {
    /// The most members that there may be.
    pub(super) const MAX: usize = crate::queue::Origin::PEERS_MAX;

    /// `node_ids` are all nodes, `me` among them; one that is named twice counts once. `seed` scatters their names over a
    /// table.
    pub(super) fn new(me: &str, node_ids: &[&str], seed: u64, grace_ends: Time) -> Self {
        let mut membership = Self {
            names: String::new(),
            ends: Box::default(),
            places: vec![EMPTY; (2 * node_ids.len()).next_power_of_two()].into(),
            hasher: FixedState::with_seed(seed),
            rank: 0,
            tables: Box::default(),
            far: AtomicU64::new(0),
            grace_ends,
        };
        let mut ends: Vec<u32> = Vec::with_capacity(node_ids.len());
        for &name in node_ids {
            let slot = membership.slot(&ends, name);
            if membership.places[slot] == EMPTY {
                if name == me {
                    membership.rank = ends.len();
                }
                // Exact: a line that names so much is refused, and so are so many members.
                membership.places[slot] = ends.len() as u32;
                membership.names.push_str(name);
                ends.push(membership.names.len() as u32);
            }
        }
        membership.tables = (0..ends.len().div_ceil(TABLE)).map(|_| OnceLock::new()).collect();
        membership.ends = ends.into();
        membership
    }

    /// Where a name is in the hash table, or would be.
    fn slot(&self, ends: &[u32], name: &str) -> usize {
        let mask = self.places.len() - 1;
        // Exact: only the lowest bits count.
        let mut slot = self.hasher.hash_one(name) as usize & mask;
        while self.places[slot] != EMPTY && self.nth(ends, self.places[slot] as usize) != name {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn nth(&self, ends: &[u32], rank: usize) -> &str {
        let from = rank.checked_sub(1).map_or(0, |before| ends[before]);
        &self.names[from as usize..ends[rank] as usize]
    }

    /// This node's name.
    pub(super) fn me(&self) -> &str {
        self.nth(&self.ends, self.rank)
    }

    /// How many nodes there are.
    pub(super) fn nodes(&self) -> usize {
        self.ends.len()
    }

    /// This node's place among all.
    pub(super) fn rank(&self) -> usize {
        self.rank
    }

    /// The peer at a place; none if nobody is there, or this node itself.
    pub(super) fn at(&self, rank: usize) -> Option<Peer> {
        (rank < self.nodes() && rank != self.rank).then_some(Peer(rank))
    }

    pub(super) fn find(&self, name: &str) -> Option<Peer> {
        let place = self.places[self.slot(&self.ends, name)];
        if place == EMPTY { None } else { self.at(place as usize) }
    }

    pub(super) fn name(&self, peer: Peer) -> &str {
        self.nth(&self.ends, peer.0)
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = Peer> + use<> {
        let me = self.rank;
        (0..self.nodes()).filter(move |&rank| rank != me).map(Peer)
    }

    // Relaxed, both: an estimate that is a little old does as well.

    pub(super) fn set_far(&self, far: Duration) {
        self.far.store(nanos(far), Ordering::Relaxed);
    }

    /// How long messages of a peer take, for all that is known: as long as of the farthest one if it is not known.
    pub(super) fn one_way(&self, shared: &Shared) -> Duration {
        let known = shared.one_way.load(Ordering::Relaxed);
        Duration::from_nanos(if known == 0 { self.far.load(Ordering::Relaxed) } else { known })
    }

    /// What the threads share of a peer, made if there is nothing yet: its first batch has the generation that `first`
    /// says.
    pub(super) fn shared(&self, Peer(rank): Peer, first: impl FnOnce() -> Generation) -> &Shared {
        let table = || (0..TABLE).map(|_| OnceLock::new()).collect();
        let shared = || Box::new(Shared::new(first()));
        self.tables[rank / TABLE].get_or_init(table)[rank % TABLE].get_or_init(shared)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn members(me: &str, names: &[&str]) -> Membership {
        Membership::new(me, names, 7, Time::ZERO)
    }

    #[test]
    fn members_are_found_by_name_and_by_place() {
        let names: Vec<String> = (0..1000).map(|index| format!("n{index}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let members = members("n7", &names);
        assert_eq!((members.me(), members.rank(), members.nodes()), ("n7", 7, 1000));
        for (rank, name) in names.iter().enumerate().filter(|(rank, _)| *rank != 7) {
            assert_eq!(members.find(name), Some(Peer(rank)));
            assert_eq!(members.name(Peer(rank)), *name);
        }
        assert_eq!((members.find("n7"), members.find("n1000"), members.find("")), (None, None, None));
        assert_eq!((members.at(7), members.at(1000), members.peers().count()), (None, None, 999));
    }

    #[test]
    fn names_of_any_kind_count_once_each() {
        let members = members("", &["b", "", "b", "ä\n", "ab"]);
        assert_eq!((members.nodes(), members.me(), members.rank()), (4, "", 1));
        assert_eq!(members.peers().map(|peer| members.name(peer)).collect::<Vec<_>>(), ["b", "ä\n", "ab"]);
    }
}
