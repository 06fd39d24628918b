//! A look at a node's insides, for the simulator: no part of the message path.

use super::LockFree;
use super::flush::next_due;
use super::link::Link;
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
        let latest = now + self.config.retry.longest();
        for (peer, link) in members.links() {
            let name = members.name(peer);
            link.slots.audit().map_err(|what| format!("has in its slots for {name} {what}"))?;
            link.queue.audit().map_err(|what| format!("has in its queue for {name} {what}"))?;
            for (Generation(generation), due) in link.slots.in_flight() {
                if due > latest {
                    return Err(format!("will not resend batch {generation} to {name} for too long"));
                }
            }
            let waits = link.slots.in_flight().next().is_some() || !link.queue.is_idle();
            if waits && wake > latest.max(link.flush_from(now)) || wake > next_due(now, link) {
                return Err(format!("would sleep through what is due to {name}"));
            }
        }
        Ok(())
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
