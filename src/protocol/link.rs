//! What natter nodes tell each other beside the values: how their link is, and how two sets compare.

use super::{Generation, Value};

/// What every message between two nodes says of their link, in its object `link`.
///
/// Times are in microseconds of a node's own clock; the peer only ever hands them back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The sender's incarnation: greater than that of any incarnation the node had before.
    pub incarnation: u64,
    /// The receiver's incarnation that the sender knows of: what follows about acknowledgements is for that one.
    pub to: Option<u64>,
    /// When this was sent, by the sender's clock.
    pub at: u64,
    /// The receiver's last message that has come.
    pub echo: Option<Echo>,
    /// Which of the receiver's deltas have come: a cumulative acknowledgement and a bitmap (RFC 2018).
    pub acked: Option<Acked>,
    /// Whether the sender takes the receiver for its parent.
    pub up: bool,
    /// Whether the sender tells all members itself what the message brings, so that the receiver need not pass it
    /// on.
    pub all: bool,
    /// Whether more for the receiver is on its way, or waits to be sent: that explains why the receiver may lack
    /// something.
    pub more: bool,
    /// The first node, by its place among all, of those that the sender gets values from by way of parents.
    pub root: u64,
    /// When the sender flushes, if it has children.
    pub plan: Option<HubPlan>,
    /// What the sender holds.
    pub digest: Digest,
    /// Who else holds exactly that, as far as the sender knows.
    pub claim: Claim,
    /// The restarts that the receiver may not know of.
    pub restarts: Vec<Restart>,
    /// Members, by their places among all, who don't answer the sender, and may lack what it has told everybody else: the
    /// receiver is to find out.
    pub untold: Vec<u64>,
}

/// Which message a node has heard last of another, as NTP says it (RFC 5905): what has passed since it was sent,
/// less the time that it was held, is a round trip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Echo {
    /// Its `at`.
    pub at: u64,
    /// For how long it has been there, in microseconds.
    pub hold: u64,
}

/// What a node holds, in three numbers: equal digests mean equal sets, but for one chance in 2^64 (a sum of
/// random-looking numbers is as random). Enemies may find sets that look alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// How many values.
    pub count: u64,
    /// Their additive fingerprint.
    pub sum: u64,
    /// The additive fingerprint of the restarts that it knows of.
    pub restarts: u64,
}

/// Who holds exactly what a message's [`Digest`] says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Claim {
    /// The sender.
    #[default]
    Mine,
    /// The sender and all that the plan puts below it.
    Below,
    /// All members but these, by their places among all in ascending order.
    AllBut(Vec<u64>),
}

/// A member that was started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// Its place among all members.
    pub rank: u64,
    /// Its latest incarnation.
    pub incarnation: u64,
}

/// Which deltas have come: all before one, and some after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acked {
    /// The first that has not.
    pub next: Generation,
    /// Bit `k` is set if `next + 1 + k` has.
    pub later: u32,
}

impl Acked {
    /// Whether a delta is one of them, if it is near enough for both to be in flight at a time.
    #[must_use]
    pub fn names(self, Generation(delta): Generation) -> bool {
        let Self { next: Generation(next), later } = self;
        // Around the circle of generations.
        let distance = |from: u64, to: u64| to.wrapping_sub(from) & Generation::LAST.0;
        let (before, after) = (distance(delta, next), distance(next, delta));
        (1..=32).contains(&before) || (1..=32).contains(&after) && later >> (after - 1) & 1 == 1
    }

    /// How many deltas that were sent first after this one have come, if this one has not.
    #[must_use]
    pub fn later_than(self, Generation(delta): Generation) -> u32 {
        let Self { next: Generation(next), later } = self;
        let after = delta.wrapping_sub(next) & Generation::LAST.0;
        u32::try_from(after).ok().and_then(|after| later.checked_shr(after)).unwrap_or(0).count_ones()
    }
}

/// When a hub flushes, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HubPlan {
    /// From the sending of the message to the next flush; none if nobody should wait for that.
    pub next: Option<u64>,
    /// How long before that a batch should arrive.
    pub margin: u64,
    /// From flush to flush.
    pub every: u64,
    /// To the farthest of those that it sends to, or from the root to the farthest of its own, one way.
    pub far: u64,
}

/// Values for a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta<'a> {
    /// Names it, for the acknowledgement.
    pub generation: Generation,
    /// All before this one are acknowledged: the receiver need not wait for them.
    pub base: Option<Generation>,
    /// How long ago the oldest of the values was broadcast, in microseconds.
    pub age: u64,
    /// Whether the acknowledgement is wanted at once.
    pub now: bool,
    /// The values. Any number, if the peer isn't one of ours.
    pub values: &'a [Value],
}

/// A step of anti-entropy: two nodes compare their sets, and find the difference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sync {
    /// Names the comparison; answers name the same.
    pub round: u64,
    /// Whether this is an answer to the node that began.
    pub answer: bool,
    /// What the sender holds, range by range.
    pub ranges: Vec<Range>,
    /// The sender wants all that the receiver holds there.
    pub wants: Vec<Want>,
    /// Values that the receiver lacks.
    pub values: Vec<Value>,
}

/// A request for all values from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// The first value.
    pub first: Value,
    /// The last value.
    pub last: Value,
    /// How many the receiver said it holds. If it holds far more by now, so may the sender.
    pub count: u64,
}

/// What a node holds from one value to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first value.
    pub first: Value,
    /// The last value.
    pub last: Value,
    /// How many it holds.
    pub count: u64,
    /// Their fingerprint.
    pub fingerprint: u64,
}
