//! Who is in the cluster, and what this node shares with each of them.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use foldhash::fast::FixedState;

use super::link::Link;
use crate::node::Time;

/// A peer: an index into the membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct PeerIndex(usize);

/// The cluster as `init` told it. Fixed but for the links, which come into being as they are needed: a leaf
/// of a star of a thousand nodes has one.
#[derive(Debug)]
pub(super) struct Membership {
    me: String,
    /// My place among all nodes: those before me come first in `peers`.
    rank: usize,
    peers: Box<[Peer]>,
    by_name: HashMap<Box<str>, PeerIndex, FixedState>,
    started: AtomicBool,
    pub(super) grace_ends: Time,
}

#[derive(Debug)]
struct Peer {
    name: String,
    link: OnceLock<Box<Link>>,
}

impl Membership {
    /// `node_ids` are all nodes, `me` among them. `seed` scatters their names over a table.
    pub(super) fn new(me: &str, node_ids: &[&str], seed: u64, grace_ends: Time) -> Self {
        let mut by_name = HashMap::with_hasher(FixedState::with_seed(seed));
        let mut peers = Vec::new();
        let mut rank = 0;
        for &name in node_ids {
            if name == me {
                rank = peers.len();
            } else if !by_name.contains_key(name) {
                by_name.insert(name.into(), PeerIndex(peers.len()));
                peers.push(Peer { name: name.to_owned(), link: OnceLock::new() });
            }
        }
        let me = me.to_owned();
        Self { me, rank, peers: peers.into(), by_name, started: AtomicBool::new(false), grace_ends }
    }

    pub(super) fn me(&self) -> &str {
        &self.me
    }

    /// How many nodes there are.
    pub(super) fn nodes(&self) -> usize {
        self.peers.len() + 1
    }

    /// This node's place among all.
    pub(super) fn rank(&self) -> usize {
        self.rank
    }

    /// The place of a peer among all nodes.
    pub(super) fn rank_of(&self, PeerIndex(index): PeerIndex) -> usize {
        index + usize::from(index >= self.rank)
    }

    /// The peer at that place, which is not this node's own.
    pub(super) fn at_rank(&self, rank: usize) -> PeerIndex {
        PeerIndex(rank - usize::from(rank > self.rank))
    }

    /// The peer at a place that somebody names; none if nobody is there, or this node itself.
    pub(super) fn named(&self, place: u64) -> Option<PeerIndex> {
        let rank = usize::try_from(place).ok()?;
        (rank < self.nodes() && rank != self.rank).then(|| self.at_rank(rank))
    }

    /// The peers before this node.
    pub(super) fn before_me(&self) -> impl Iterator<Item = PeerIndex> + use<> {
        (0..self.rank).map(PeerIndex)
    }

    pub(super) fn find(&self, name: &str) -> Option<PeerIndex> {
        self.by_name.get(name).copied()
    }

    pub(super) fn name(&self, peer: PeerIndex) -> &str {
        &self.peers[peer.0].name
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = PeerIndex> + use<> {
        (0..self.peers.len()).map(PeerIndex)
    }

    /// The link to a peer, made if there is none yet.
    pub(super) fn link(&self, peer: PeerIndex, new: impl FnOnce() -> Link) -> &Link {
        self.peers[peer.0].link.get_or_init(|| Box::new(new()))
    }

    pub(super) fn existing_link(&self, peer: PeerIndex) -> Option<&Link> {
        self.peers[peer.0].link.get().map(Box::as_ref)
    }

    /// Every link there is.
    pub(super) fn links(&self) -> impl Iterator<Item = (PeerIndex, &Link)> {
        self.peers().filter_map(|peer| Some((peer, self.existing_link(peer)?)))
    }

    pub(super) fn has_started(&self) -> bool {
        // Relaxed: links are found through their own atomics; this only spares a second start.
        self.started.load(Ordering::Relaxed)
    }

    /// True for the one caller that is to start gossip.
    pub(super) fn begin(&self) -> bool {
        // Relaxed: as in `has_started`.
        !self.started.swap(true, Ordering::Relaxed)
    }
}
