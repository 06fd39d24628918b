//! A look at a node's insides, for the simulator: no part of the message path.

use super::LockFree;
use super::core::Core;
use super::link::Link;
use super::membership::{Membership, Peer};
use super::schedule::GATHER;
use crate::node::{Inspect, Time};
use crate::protocol::Value;
use crate::queue::Span;
use crate::sync::Ordering;

impl LockFree {
    /// Shows a function what the ticking thread knows. No call to the node is under way.
    fn look<T: Default>(&self, look: impl FnOnce(&Membership, &Core) -> T) -> T {
        let Some(members) = self.membership.get() else { return T::default() };
        let Some(core) = self.core.take() else { return T::default() };
        let seen = look(members, &core);
        self.core.store(Some(core));
        seen
    }

    /// Where a value is in the log.
    fn position(&self, value: Value) -> Option<usize> {
        let all = Span { from: 0, to: self.log.len(), whole: true };
        self.log.values(all).position(|one| one == value)
    }
}

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
        if self.seen.len() != self.log.len() {
            return Err(format!(
                "has seen {} values, and has {} in its log",
                self.seen.len(),
                self.log.len()
            ));
        }
        let Some(core) = self.core.take() else { return Ok(()) };
        let sound = core.audit(self, members, now, wake);
        self.core.store(Some(core));
        sound
    }

    fn deviation_from_plan(&self) -> Option<String> {
        self.look(|members, core| {
            let name = |peer: Option<Peer>| peer.map_or("none", |peer| members.name(peer));
            let (parent, planned) = (core.overlay.parent, core.overlay.planned_parent(members));
            // Who is settled has nothing to say. It may not know that the planned parent answers, and finds out as soon as it has.
            let is_back = planned.is_some_and(|planned| core.links.get(&planned).is_some_and(Link::answers));
            let differs = core.started && parent != planned && (is_back || !core.equals.is_settled());
            differs
                .then(|| format!("has {} for its parent, where the plan has {}", name(parent), name(planned)))
        })
    }

    fn whereabouts(&self, value: Value) -> Vec<String> {
        let Some(position) = self.position(value) else { return Vec::new() };
        self.look(|members, core| {
            let origin = self.log.get(position).origin;
            let place = |&peer: &Peer| {
                let (name, push) = (members.name(peer), &core.links[&peer].push);
                let is_for_it = core.is_for(members, peer, origin);
                let has = |span: &Span| (span.from..span.to).contains(&position) && (span.whole || is_for_it);
                let shared = self.shared(members, peer);
                if let Some(batch) = shared.slots.in_flight().find(|batch| has(&batch.span)) {
                    return Some(format!("in flight to {name} in batch {}", batch.generation.0));
                }
                let is_unsent = push.cursor <= position && is_for_it && core.is_pushed_to(peer);
                let waits = is_unsent || push.lacking.iter().any(has);
                waits.then(|| format!("waiting to be sent to {name}"))
            };
            core.links.keys().filter_map(place).collect()
        })
    }
}

impl Core {
    fn audit(&self, node: &LockFree, members: &Membership, now: Time, wake: Time) -> Result<(), String> {
        if !self.started {
            return if wake > members.grace_ends {
                Err("would sleep through the end of its grace".to_owned())
            } else {
                Ok(())
            };
        }
        if self.held.len > node.log.len() {
            return Err(format!("has taken up {} of {} values", self.held.len, node.log.len()));
        }
        if wake > self.next_due() {
            return Err("would sleep through what is due".to_owned());
        }
        self.audit_wake(node, now, wake)?;
        if !self.equals.is_settled() && wake == Time::NEVER {
            return Err("is silent, and not settled".to_owned());
        }
        for (&peer, link) in &self.links {
            let name = members.name(peer);
            let slots = &node.shared(members, peer).slots;
            slots.audit(node.log.len()).map_err(|what| format!("has in its slots for {name} {what}"))?;
            if link.push.cursor > self.held.len {
                return Err(format!("has sent {} of {} values to {name}", link.push.cursor, self.held.len));
            }
            if link.due().min(link.batch_due(slots)) < link.queued {
                return Err(format!("would sleep through what is due to {name}"));
            }
            let has_mail = !node.shared(members, peer).inbox.is_empty();
            let goes_on = link.push.rest && (!slots.is_empty() || has_mail)
                || self.flush_waits(peer)
                || link.health.is_suspected()
                || link.comparison.round.is_some();
            if !link.push.lacking.is_empty() && !goes_on {
                return Err(format!("would not send what {name} lacks"));
            }
            let is_compared = link.push.is_synced || link.comparison.round.is_some();
            if self.is_neighbour(peer) && !link.health.is_suspected() && !is_compared {
                return Err(format!("does not know what {name} lacks, and does not find out"));
            }
            if has_mail && node.mail.is_empty() {
                return Err(format!("would leave unread what {name} says"));
            }
        }
        Ok(())
    }

    /// Checks that the ticking thread wakes for what the other thread has left it.
    fn audit_wake(&self, node: &LockFree, now: Time, wake: Time) -> Result<(), String> {
        let is_awake = wake <= now + GATHER;
        let is_hungry = node.hungry.load(Ordering::Relaxed);
        let flushes = self.schedule.next() != Time::NEVER;
        if !is_hungry && !flushes && wake > now {
            return Err("would not be woken by the next value".to_owned());
        }
        if self.held.len < node.log.len() && !is_awake && (is_hungry || !flushes) {
            return Err("would sleep through what it has learnt".to_owned());
        }
        if !node.mail.is_empty() && !is_awake {
            return Err("would sleep through what its peers say".to_owned());
        }
        Ok(())
    }
}
