//! The dissemination plan: who talks to whom, how often, and what travels on.

use std::collections::BTreeSet;
use std::time::Duration;

use super::membership::{Membership, PeerIndex};
use crate::config::{Config, Topology};
use crate::node::Outbox;
use crate::protocol::Excerpt;

/// The peers to link. Without a given topology, a plan that needs one links everyone: costly, but right.
pub(super) fn neighbours(
    topology: Topology,
    members: &Membership,
    given: Option<&[(&str, Vec<&str>)]>,
    out: &mut Outbox,
) -> BTreeSet<PeerIndex> {
    match (topology, members.hub(), given) {
        (Topology::Star, Some(hub), _) => BTreeSet::from([hub]),
        (Topology::Star, None, _) | (Topology::Direct, ..) | (Topology::Given, _, None) => {
            members.peers().collect()
        }
        (Topology::Given, _, Some(given)) => {
            let mine = given.iter().filter(|(node, _)| *node == members.me()).flat_map(|(_, names)| names);
            let mut found = BTreeSet::new();
            for &name in mine {
                match members.find(name) {
                    Some(peer) => drop(found.insert(peer)),
                    None if name == members.me() => {}
                    None => out.note(format_args!(
                        "ignored {} in the topology: not one of the nodes",
                        Excerpt(name)
                    )),
                }
            }
            found
        }
    }
}

/// The least time between two flushes to a peer: one number for all of a node's links.
pub(super) fn interval(config: &Config, members: &Membership) -> Duration {
    match (config.topology, members.hub()) {
        (Topology::Star, None) => config.hub_interval,
        _ => config.flush_interval,
    }
}

/// Whether values from `source` (none: a client, or a stranger) travel on to the other linked peers.
pub(super) fn forwards(topology: Topology, source: Option<PeerIndex>) -> bool {
    match topology {
        // A peer has told everyone itself.
        Topology::Direct => source.is_none(),
        Topology::Star | Topology::Given => true,
    }
}
