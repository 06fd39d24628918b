//! What natter nodes tell each other beside the values: how their link is, and how two sets compare.

use smallvec::{SmallVec, smallvec};

use super::{Generation, Value};

/// What every message between two nodes says of their link, in its array `link`.
///
/// Times are in microseconds of a node's own clock; the peer only ever hands them back.
///
/// The integers of the array, in this order, and -1 where one is missing: `incarnation`, `to`, `at`; `at` and `hold`
/// of `echo`; `next` and `later` of `acked`; the flags, which are 1 for `up`, 2 for `all`, 4 for `more`, and 8 times the
/// kind of `claim`, all added; `root`; `next`, `margin`, `every` and `far` of `plan`; `count`, `sum` and `restarts` of
/// `digest`. Then come three lists, each behind its length: the members of [`Claim::AllBut`]; `restarts`, two integers
/// for each; `untold`.
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

/// An array `link` that is longer names more members than any cluster has.
const INTEGERS_MAX: usize = 1 << 20;

/// Stands for an integer that is missing.
const MISSING: i64 = -1;

const UP: u64 = 1;
const ALL: u64 = 2;
const MORE: u64 = 4;
/// The flags are less than that; kinds of claim are multiples of it.
const KIND: u64 = 8;

impl Header {
    /// The array `link`.
    pub(super) fn to_integers(&self) -> SmallVec<[i64; 32]> {
        let optional = |integer: Option<u64>| integer.map_or(MISSING, u64::cast_signed);
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        let (kind, but): (u64, &[u64]) = match &self.claim {
            Claim::Mine => (0, &[]),
            Claim::Below => (1, &[]),
            Claim::AllBut(but) => (2, but),
        };
        let flags = flag(self.up, UP) | flag(self.all, ALL) | flag(self.more, MORE) | (kind * KIND);
        let (echo, plan) = (self.echo.unwrap_or_default(), self.plan.unwrap_or_default());
        let mut integers = smallvec![
            self.incarnation.cast_signed(),
            optional(self.to),
            self.at.cast_signed(),
            optional(self.echo.map(|echo| echo.at)),
            echo.hold.cast_signed(),
            optional(self.acked.map(|acked| acked.next.0)),
            self.acked.map_or(0, |acked| acked.later.into()),
            flags.cast_signed(),
            self.root.cast_signed(),
            optional(plan.next),
            plan.margin.cast_signed(),
            optional(self.plan.map(|plan| plan.every)),
            plan.far.cast_signed(),
            self.digest.count.cast_signed(),
            self.digest.sum.cast_signed(),
            self.digest.restarts.cast_signed(),
        ];
        integers.push(but.len() as i64);
        integers.extend(but.iter().map(|rank| rank.cast_signed()));
        integers.push(2 * self.restarts.len() as i64);
        let restart = |restart: &Restart| [restart.rank.cast_signed(), restart.incarnation.cast_signed()];
        integers.extend(self.restarts.iter().flat_map(restart));
        integers.push(self.untold.len() as i64);
        integers.extend(self.untold.iter().map(|rank| rank.cast_signed()));
        integers
    }

    /// What an array `link` says; none if it is not as it should be.
    pub(crate) fn from_integers(integers: &[i64]) -> Option<Self> {
        let required = |integer: i64| u64::try_from(integer).ok();
        let optional = |integer| if integer == MISSING { Some(None) } else { required(integer).map(Some) };
        if integers.len() > INTEGERS_MAX {
            return None;
        }
        let (numbers, mut lists) = integers.split_first_chunk::<16>()?;
        let [incarnation, to, at, echo, hold, ack, later, flags, root, plan @ .., count, sum, known] =
            *numbers;
        let [next, margin, every, far] = plan;
        let mut list = || {
            let (length, rest) = lists.split_first()?;
            let (list, rest) = rest.split_at_checked(usize::try_from(*length).ok()?)?;
            lists = rest;
            list.iter().copied().map(required).collect::<Option<Vec<u64>>>()
        };
        let (but, restarts, untold) = (list()?, list()?, list()?);
        if !lists.is_empty() || !restarts.len().is_multiple_of(2) {
            return None;
        }
        let (hold, later) = (required(hold)?, u32::try_from(later).ok()?);
        let (next, margin, far) = (optional(next)?, required(margin)?, required(far)?);
        let flags = required(flags)?;
        Some(Self {
            incarnation: required(incarnation)?,
            to: optional(to)?,
            at: required(at)?,
            echo: optional(echo)?.map(|at| Echo { at, hold }),
            acked: optional(ack)?.map(|next| Acked { next: Generation(next), later }),
            up: flags & UP != 0,
            all: flags & ALL != 0,
            more: flags & MORE != 0,
            root: required(root)?,
            plan: optional(every)?.map(|every| HubPlan { next, margin, every, far }),
            digest: Digest {
                count: required(count)?,
                sum: sum.cast_unsigned(),
                restarts: known.cast_unsigned(),
            },
            claim: match (flags / KIND, &but[..]) {
                (0, []) => Claim::Mine,
                (1, []) => Claim::Below,
                (2, _) if but.is_sorted_by(|one, next| one < next) => Claim::AllBut(but),
                _ => return None,
            },
            restarts: restarts
                .chunks_exact(2)
                .map(|pair| Restart { rank: pair[0], incarnation: pair[1] })
                .collect(),
            untold,
        })
    }
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
