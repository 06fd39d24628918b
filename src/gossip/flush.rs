//! From queues to messages: flushes, retries, acknowledgements. The one place where gossip is sent.

use super::LockFree;
use super::link::Link;
use super::membership::{Membership, PeerIndex};
use crate::node::{Outbox, Time};
use crate::planted::planted;
use crate::protocol::{Batch, Generation, encode};
use crate::queue::{Ack, Claim, PeerQueue, SlotRing};

/// First generations are drawn from 2^52, so that an acknowledgement meant for a former life of this node
/// names nothing in this one, and every JSON reader can hold the number exactly.
const FIRST_GENERATION_BITS: u32 = 52;

impl LockFree {
    pub(super) fn new_link(&self, interval: std::time::Duration) -> Link {
        let first = self.first_generation();
        Link::new(PeerQueue::new(self.config.queue_limit), SlotRing::new(first), interval)
    }

    fn first_generation(&self) -> Generation {
        let drawn = Generation(self.random.bits() >> (u64::BITS - FIRST_GENERATION_BITS));
        self.config.first_generation.unwrap_or(drawn)
    }

    /// New values have been queued for every linked peer but `source`.
    pub(super) fn flush_soon(&self, now: Time, members: &Membership, source: Option<PeerIndex>) {
        planted!(LostWakeUp => if self.deadline.get() != Time::NEVER { return });
        let links = members.linked().filter(|&(peer, _)| Some(peer) != source);
        if let Some(from) = links.map(|(_, link)| link.flush_from(now)).min() {
            self.deadline.bring_forward(from);
        }
    }

    /// Sends all that is due, and notes when something will be next.
    pub(super) fn flush_due(&self, now: Time, members: &Membership, out: &mut Outbox) {
        for (peer, link) in members.links() {
            self.retry_overdue(now, members, peer, link, out);
            if !link.is_silent() && link.flush_from(now) <= now {
                self.flush_new(now, members, peer, link, out);
            }
            self.deadline.bring_forward(next_due(now, link));
        }
    }

    /// Sends again what has waited too long for its acknowledgement: everything that has, or just the oldest
    /// batch if the peer is silent.
    fn retry_overdue(&self, now: Time, members: &Membership, peer: PeerIndex, link: &Link, out: &mut Outbox) {
        for (age, (generation, due)) in link.slots.in_flight().enumerate() {
            if age > 0 && link.is_silent() {
                break;
            }
            if due > now {
                continue;
            }
            if let Some(claim) = link.slots.reclaim(generation) {
                planted!(SlotLeftBusy => if link.is_silent() { continue });
                if age == 0 && link.note_failure() {
                    out.note(format_args!("{} does not answer", members.name(peer)));
                }
                self.send(now, members, peer, link, claim, out);
            }
        }
    }

    /// Sends what is queued, as far as there are slots.
    fn flush_new(&self, now: Time, members: &Membership, peer: PeerIndex, link: &Link, out: &mut Outbox) {
        while link.slots.has_free() {
            let mut batch = self.batches.take();
            self.drain(link, &mut batch);
            if batch.is_empty() {
                return self.batches.give(batch);
            }
            match link.slots.claim(batch) {
                Ok(claim) => {
                    link.note_flush(now);
                    self.send(now, members, peer, link, claim, out);
                }
                // Another thread took the last slot: the values wait on.
                Err(batch) => {
                    link.queue.refill(batch.iter().copied());
                    return self.batches.give(batch);
                }
            }
        }
    }

    /// Fills a batch with what is queued; with everything there is, from the start, if some of it was dropped.
    fn drain(&self, link: &Link, batch: &mut Batch) {
        link.queue.drain_into(batch, self.config.batch_max);
        planted!(BatchOverCap => if batch.len() == self.config.batch_max { batch.push(batch[0]) });
        if batch.is_empty() && link.queue.take_overflow() {
            link.queue.refill(self.seen.sorted().into_iter());
            link.queue.drain_into(batch, self.config.batch_max);
        }
    }

    fn send(
        &self,
        now: Time,
        members: &Membership,
        peer: PeerIndex,
        link: &Link,
        claim: Claim,
        out: &mut Outbox,
    ) {
        encode::delta(out.lines_mut(), members.me(), members.name(peer), claim.generation(), claim.batch());
        link.note_sent(now);
        let due = now + self.config.retry.interval(link.failures(), self.random.bits());
        if let Some(batch) = link.slots.sent(claim, due) {
            self.batches.give(batch);
        }
    }

    /// A peer says that it holds what a delta carried.
    pub(super) fn acknowledged(
        &self,
        now: Time,
        members: &Membership,
        name: &str,
        generation: Generation,
        out: &mut Outbox,
    ) {
        let Some((peer, link)) = members.find(name).and_then(|p| Some((p, members.existing_link(p)?))) else {
            return;
        };
        planted!(ResendAcked => if generation.0.is_multiple_of(16) { return });
        match link.slots.ack(generation) {
            Ack::Released(batch) => self.batches.give(batch),
            Ack::Deferred => {}
            Ack::Stale => return,
        }
        if link.note_answer() {
            out.note(format_args!("{} answers again", members.name(peer)));
            // What else was in flight to it is likely lost.
            link.slots.hasten(now);
        }
        self.deadline.bring_forward(next_due(now, link));
    }

    /// A message from a peer is a sign of life: one that was silent is tried at once, unless it just was.
    pub(super) fn heard_from(&self, now: Time, members: &Membership, name: &str, out: &mut Outbox) {
        let Some(peer) = members.find(name) else { return };
        if !members.has_started() {
            self.start(now, members, None, out);
        }
        if let Some(link) = members.existing_link(peer)
            && link.is_silent()
            && link.last_sent() + self.config.retry.min <= now
        {
            link.slots.hasten(now);
            self.deadline.bring_forward(now);
        }
    }

    /// Sends all that is queued, slots or no slots: nobody will be there for the acknowledgements.
    pub(super) fn flush_all(&self, members: &Membership, out: &mut Outbox) {
        for (peer, link) in members.links() {
            let Generation(mut generation) = self.first_generation();
            let mut batch = Batch::new();
            loop {
                self.drain(link, &mut batch);
                if batch.is_empty() {
                    break;
                }
                let (me, name) = (members.me(), members.name(peer));
                encode::delta(out.lines_mut(), me, name, Generation(generation), &batch);
                generation += 1;
                batch.clear();
            }
        }
    }
}

/// When a link next needs a tick: for its next retry, or for what is queued.
pub(super) fn next_due(now: Time, link: &Link) -> Time {
    let mut in_flight = link.slots.in_flight().map(|(_, due)| due);
    if link.is_silent() {
        return in_flight.next().unwrap_or(Time::NEVER);
    }
    let retry = in_flight.min().unwrap_or(Time::NEVER);
    let can_flush = !link.queue.is_idle() && link.slots.has_free();
    if can_flush { retry.min(link.flush_from(now)) } else { retry }
}
