//! A node of the model: what it holds and knows, and what a message changes. It follows the product's rule, or one
//! of the simplifications of it that do not do.

use natter::gossip::plan;
use natter::gossip::rule::Equals;

/// Values, or members: a bit for each.
pub(crate) type Set = u8;

/// The rule that all nodes follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    AsBuilt,
    /// A node other than the first keeps no timer once the first one has said that it holds the same.
    AckEndsDuty,
    /// A node suspects members that do not answer, and is settled when all others are equal. Only a root, that is
    /// a node that suspects all before it, goes on asking those that it suspects.
    SettledWhenReachableEqual,
    /// Digests are compared without incarnations. Messages name them, and those of former incarnations are
    /// refused.
    DigestWithoutIncarnations,
    /// Messages say how many members are equal, and receivers add that up.
    Counting,
    /// A node takes itself to be settled when any other one says that all members are equal, whatever the digest.
    BelievesAllWithoutDigest,
    /// A node never asks members that it knows to be equal.
    AsksOnlyUnequal,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node<const N: usize> {
    pub(crate) is_alive: bool,
    pub(crate) values: Set,
    /// The highest incarnation that it knows of each member; 0 is the first one. The last one that a dead node had
    /// is kept: the next one is a later one.
    pub(crate) incarnations: [u8; N],
    pub(crate) equals: Equals,
    /// How many members are equal, as [`Rule::Counting`] has it.
    counted: u8,
    /// Only [`Rule::SettledWhenReachableEqual`] makes use of it.
    suspected: Set,
}

/// For whom a message says that its digest holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Claim {
    /// For its sender.
    Mine,
    /// For its sender, and for all that the planned tree has below that.
    Below,
    /// For all members but these.
    AllBut(Set),
    /// For so many members: only [`Rule::Counting`] makes use of it.
    Count(u8),
}

/// What a node says of itself. The digest is not a hash here, but what the hash is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Message<const N: usize> {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) values: Set,
    pub(crate) incarnations: [u8; N],
    pub(crate) claim: Claim,
}

/// What a message brings beside its digest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Brings {
    pub(crate) values: Set,
    /// Whether it names all incarnations that its sender knows. Every message names its sender's and its
    /// receiver's.
    pub(crate) incarnations: bool,
}

impl<const N: usize> Node<N> {
    /// At the first start of a cluster.
    pub(crate) fn first(me: usize) -> Self {
        Self {
            is_alive: true,
            values: 0,
            incarnations: [0; N],
            equals: Equals::everybody(me, N),
            counted: N as u8,
            suspected: 0,
        }
    }

    /// Started again, empty.
    pub(crate) fn again(me: usize, incarnation: u8) -> Self {
        let equals = Equals::nobody(me, N);
        let mut node = Self { equals, counted: 1, ..Self::first(me) };
        node.incarnations[me] = incarnation;
        node
    }

    /// Dead, in an incarnation of which nothing is left.
    pub(crate) fn dead(me: usize, incarnation: u8) -> Self {
        Self { is_alive: false, ..Self::again(me, incarnation) }
    }

    /// A client tells the node a value, or a message brings some.
    pub(crate) fn learn_values(&mut self, values: Set) {
        if values & !self.values != 0 {
            self.values |= values;
            self.changed();
        }
    }

    fn changed(&mut self) {
        self.equals.changed();
        self.counted = 1;
    }

    pub(crate) fn suspect(&mut self, member: usize) {
        self.suspected |= 1 << member;
    }

    pub(crate) fn suspects(&self, member: usize) -> bool {
        self.suspected >> member & 1 == 1
    }

    /// Whether the node will ask somebody, however long nothing happens.
    pub(crate) fn has_timer(&self, rule: Rule, me: usize) -> bool {
        match rule {
            Rule::AckEndsDuty if me != 0 => !self.equals.has(0),
            Rule::SettledWhenReachableEqual => {
                let seeks = self.suspected != 0 && (0..me).all(|member| self.suspects(member));
                seeks || (0..N).any(|member| !self.equals.has(member) && !self.suspects(member))
            }
            Rule::Counting => usize::from(self.counted) < N,
            _ => !self.equals.is_settled(),
        }
    }

    /// What the node may claim: by the planned tree, or without one. The strongest claim is the last.
    pub(crate) fn claims(&self, rule: Rule, me: usize) -> impl Iterator<Item = Claim> + use<N> {
        let unequal = self.equals.unequal().fold(0, |set, member| set | 1 << member);
        let claims = if rule == Rule::Counting {
            [Some(Claim::Count(self.counted)), None, None]
        } else if self.equals.is_settled() {
            [Some(Claim::AllBut(unequal)), None, None]
        } else {
            let mut below = plan::below(N, me).peekable();
            let holds_below = below.peek().is_some() && below.all(|member| self.equals.has(member));
            let knows_others = self.equals.unequal_count() + 1 < N;
            [
                Some(Claim::Mine),
                holds_below.then_some(Claim::Below),
                knows_others.then_some(Claim::AllBut(unequal)),
            ]
        };
        claims.into_iter().flatten()
    }

    /// Takes up a message, as the product does: first its values, and then what it says of its sender.
    pub(crate) fn hear(&mut self, rule: Rule, message: &Message<N>, brings: Brings) {
        let Message { from, to: me, incarnations, claim, .. } = *message;
        self.learn_values(brings.values);
        if incarnations[from] < self.incarnations[from] {
            return;
        }
        self.learn_incarnation(rule, me, from, incarnations[from]);
        self.learn_incarnation(rule, me, me, incarnations[me]);
        if brings.incarnations {
            (0..N).for_each(|member| self.learn_incarnation(rule, me, member, incarnations[member]));
        }
        self.suspected &= !(1 << from);
        let is_believed = rule == Rule::BelievesAllWithoutDigest && claim == Claim::AllBut(0);
        if self.is_equal(rule, message) || is_believed {
            self.hear_equal(from, claim);
        } else {
            self.equals.differs(from);
        }
    }

    /// Whether the digest of a message is this node's.
    pub(crate) fn is_equal(&self, rule: Rule, message: &Message<N>) -> bool {
        let ignores_incarnations = rule == Rule::DigestWithoutIncarnations;
        self.values == message.values && (ignores_incarnations || self.incarnations == message.incarnations)
    }

    fn hear_equal(&mut self, from: usize, claim: Claim) {
        let is_news = match claim {
            Claim::Mine | Claim::Count(_) => self.equals.heard(from, []),
            Claim::Below => self.equals.heard(from, plan::below(N, from)),
            Claim::AllBut(others) => {
                self.equals.heard(from, (0..N).filter(|member| others >> member & 1 == 0))
            }
        };
        match claim {
            Claim::Count(count) if usize::from(count) == N => self.counted = count,
            Claim::Count(count) if is_news => self.counted = (self.counted + count).min(N as u8),
            _ => {}
        }
    }

    fn learn_incarnation(&mut self, rule: Rule, me: usize, member: usize, incarnation: u8) {
        if incarnation <= self.incarnations[member] {
            return;
        }
        // A node that hears of a higher incarnation of itself takes the next one.
        self.incarnations[member] = if member == me { incarnation + 1 } else { incarnation };
        if rule == Rule::DigestWithoutIncarnations {
            self.equals.differs(member);
        } else {
            self.changed();
        }
    }
}
