//! What natter nodes tell each other beside the values: how their link is, and how two sets compare.

use super::{Generation, Value};

/// What every message between two nodes says of their link, in its object `link`.
///
/// Times are in microseconds of a node's own clock; the peer only ever hands them back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Tells the sender's life from its other ones.
    pub life: u64,
    /// The receiver's life that the sender has heard of: what follows about acknowledgements is for that one.
    pub to: Option<u64>,
    /// When this was sent, by the sender's clock.
    pub at: u64,
    /// The `at` of the receiver's last message, plus the time that has passed since it came: the receiver's clock as
    /// it would be now if that message had taken no time. What it lags behind is a round trip.
    pub echo: Option<u64>,
    /// Which of the receiver's deltas have come.
    pub acked: Option<Acked>,
    /// Whether the sender takes the receiver for its parent.
    pub up: bool,
    /// The first node, by its place among all, of those that the sender gets values from by way of parents.
    pub root: u64,
    /// When the sender flushes, if it is a hub.
    pub plan: Option<HubPlan>,
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
    /// To the farthest of those that it sends to, one way.
    pub far: u64,
}

/// Values for a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta<'a> {
    /// Names it, for the acknowledgement.
    pub generation: Generation,
    /// All before this one are settled: the receiver need not wait for them.
    pub base: Option<Generation>,
    /// How long ago the oldest of the values was broadcast, in microseconds.
    pub age: u64,
    /// Whether the sender tells everyone itself, so that nobody need pass it on.
    pub all: bool,
    /// Whether the acknowledgement is wanted at once.
    pub now: bool,
    /// The values. Any number, if the peer isn't one of ours.
    pub values: &'a [Value],
}

/// A step of a repair: two nodes compare their sets, and find the difference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sync {
    /// Names the attempt; answers name the same.
    pub round: u64,
    /// Whether this is an answer to the node that began.
    pub answer: bool,
    /// What the sender holds, range by range.
    pub ranges: Vec<Range>,
    /// The sender wants all that the receiver holds there.
    pub wants: Vec<Want>,
    /// Values that the receiver may lack, in case that nothing else gets through.
    pub values: Vec<Value>,
    /// Nodes, by their place among all, that the sender should have told something and can't.
    pub unreachable: Vec<u64>,
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
