//! A look at a node's insides, for the simulator: no part of the message path.

use super::LockFree;
use super::link::Link;
use super::membership::PeerIndex;
use crate::node::{Inspect, Time};
use crate::protocol::{Generation, Value};

impl Inspect for LockFree {
    fn holds(&self, value: Value) -> bool {
        self.seen.contains(value)
    }

    fn held(&self) -> usize {
        self.seen.len()
    }

    fn audit(&self, now: Time) -> Result<(), String> {
        let Some(members) = self.membership.get() else { return Ok(()) };
        let wake = self.deadline.get();
        if !members.has_started() && wake > members.grace_ends {
            return Err("would sleep through the end of its grace".to_owned());
        }
        for (peer, link) in members.links() {
            let name = members.name(peer);
            link.slots.audit().map_err(|what| format!("has in its slots for {name} {what}"))?;
            link.queue.audit().map_err(|what| format!("has in its queue for {name} {what}"))?;
            if wake > self.next_due(link) {
                return Err(format!("would sleep through what is due to {name}"));
            }
            let waits = !link.queue.is_empty() && link.slots.has_free() && members.has_started();
            if waits && !link.is_down() && link.flush_at.get() == Time::NEVER {
                return Err(format!("would let values wait for {name} for ever"));
            }
            let patience = self.patience_with_answers(link);
            // No period is longer than the budget, whatever it was when the batch was sent.
            let longest =
                self.config.ack_delay_max.max(3 * self.config.latency_budget) + link.round_trip.longest();
            let needs_answer = link.slots.in_flight().next().is_some();
            if needs_answer && link.retry_at(patience) > now + longest {
                return Err(format!("will not resend a batch to {name} for too long"));
            }
            if link.is_down() && self.matters(members, peer, link) && link.repair_at.get() == Time::NEVER {
                return Err(format!("has given {name} up for good"));
            }
        }
        Ok(())
    }

    fn departure(&self) -> Option<String> {
        let members = self.membership.get()?;
        let name = |peer: Option<PeerIndex>| peer.map_or("none", |peer| members.name(peer));
        let (parent, planned) = (self.parent(members), self.planned_parent(members));
        (parent != planned)
            .then(|| format!("has {} for its parent, where the plan has {}", name(parent), name(planned)))
    }

    fn whereabouts(&self, value: Value) -> Vec<String> {
        let Some(members) = self.membership.get() else { return Vec::new() };
        let place = |(peer, link): (_, &Link)| {
            let name = members.name(peer);
            if let Some(Generation(generation)) = link.slots.find(value) {
                return Some(format!("in flight to {name} in batch {generation}"));
            }
            link.queue.contains(value).then(|| format!("waiting to be sent to {name}"))
        };
        members.links().filter_map(place).collect()
    }
}
