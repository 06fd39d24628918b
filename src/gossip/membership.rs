//! Who is in the cluster, and what this node shares with each of them.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

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
    peers: Box<[Peer]>,
    by_name: HashMap<String, PeerIndex>,
    hub: Option<PeerIndex>,
    started: AtomicBool,
    pub(super) grace_ends: Time,
}

#[derive(Debug)]
struct Peer {
    name: String,
    link: OnceLock<Box<Link>>,
}

impl Membership {
    /// `node_ids` are all nodes, `me` among them.
    pub(super) fn new(me: &str, node_ids: &[&str], grace_ends: Time) -> Self {
        let mut by_name = HashMap::new();
        let mut peers = Vec::new();
        for &name in node_ids {
            if name != me && !by_name.contains_key(name) {
                by_name.insert(name.to_owned(), PeerIndex(peers.len()));
                peers.push(Peer { name: name.to_owned(), link: OnceLock::new() });
            }
        }
        Self {
            me: me.to_owned(),
            hub: node_ids.first().and_then(|&first| by_name.get(first).copied()),
            peers: peers.into(),
            by_name,
            started: AtomicBool::new(false),
            grace_ends,
        }
    }

    pub(super) fn me(&self) -> &str {
        &self.me
    }

    /// The hub of the star; none if it is this node.
    pub(super) fn hub(&self) -> Option<PeerIndex> {
        self.hub
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

    /// Every link there is, linked or draining.
    pub(super) fn links(&self) -> impl Iterator<Item = (PeerIndex, &Link)> {
        self.peers().filter_map(|peer| Some((peer, self.existing_link(peer)?)))
    }

    /// The links that new values travel on.
    pub(super) fn linked(&self) -> impl Iterator<Item = (PeerIndex, &Link)> {
        self.links().filter(|(_, link)| link.is_linked())
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
