//! How two nodes find the difference of what they hold.
//!
//! Range-based set reconciliation (Meyer, *Range-Based Set Reconciliation*, SRDS 2023): the node that begins sends
//! fingerprints of ranges of values that hold about as many each. Where its peer's differ, the peer sends what it holds
//! if that is little, and asks for the other's; or else fingerprints of smaller ranges, down to single values. Each message is answered from
//! what a node holds as it comes, so nothing is remembered but the number of the round, and a message lost costs a try.

use std::time::Duration;

use super::membership::Peer;
use crate::node::Time;
use crate::protocol::Value;
use crate::protocol::link::{Range, Sync, Want};
use crate::queue::{Log, Span};
use crate::random::scatter;

/// How many ranges a range is divided into: a set of four thousand is compared in one message, one of half a
/// million in two.
const RANGES: usize = 128;

/// A range of so few values is not divided by size any more.
const FEW: usize = 32;

/// So many values of such ranges may be sent though they are not missing. If there may be more of them, what is missing is found
/// out first, value by value.
const SENT_UNSEEN_MAX: usize = 2 * FEW;

/// No more values than that are singled out by a message: of so many, a batch of all is as long as what would tell which are missing.
const SINGLED_OUT_MAX: usize = 1024;

/// With so many ranges in a message, of 50 bytes each, the others are not divided but compared again as they are: the
/// peer divides them.
const RANGES_MAX: usize = 8192;

/// Many values are fetched from one peer at a time, for so long at most before it is the turn of others.
pub(super) const FETCH_MAX: Duration = Duration::from_secs(1);

/// What it takes to sort a value, and to compare it.
const SORTING_A_VALUE_NS: u64 = 50;
const COMPARING_A_VALUE_NS: u64 = 2;

/// A value, and where it is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    value: Value,
    position: usize,
}

/// What a node remembers of its comparisons with others.
#[derive(Debug, Default)]
pub(super) struct Reconciliation {
    /// All values in ascending order, as they were last compared: several peers that are compared with at once cost one
    /// sorting.
    sorted: Vec<Place>,
    pub(super) fetches: Fetches,
}

/// From whom many values are fetched.
#[derive(Debug, Default)]
pub(super) struct Fetches {
    /// The peer that brings many values, and by when they should all have come.
    current: Option<(Peer, Time)>,
    /// Whether another peer has been turned away since that one's turn began.
    others_wait: bool,
}

impl Fetches {
    /// Whether a peer may be asked for many values now, which takes so long: not while another one brings many, and not
    /// again straight after its turn if others wait for theirs.
    pub(super) fn may_begin(&mut self, now: Time, peer: Peer, takes: Duration) -> bool {
        match self.current {
            Some((current, until)) if current != peer && now < until => {
                self.others_wait = true;
                false
            }
            Some((current, until)) if current == peer && now < until => true,
            Some((current, until)) if current == peer && self.others_wait && now < until + FETCH_MAX => false,
            _ => {
                *self = Self { current: Some((peer, now + takes)), others_wait: false };
                true
            }
        }
    }
}

impl Reconciliation {
    /// All values of the log up to `len`, in ascending order.
    pub(super) fn sorted(&mut self, log: &Log, len: usize) -> &[Place] {
        if self.sorted.len() != len {
            let rest = Span { from: self.sorted.len(), to: len, whole: true };
            let places = (rest.from..).zip(log.values(rest));
            self.sorted.extend(places.map(|(position, value)| Place { value, position }));
            self.sorted.sort_unstable();
        }
        &self.sorted
    }

    /// Gives the memory back if it is of no use any more.
    pub(super) fn forget_unless(&mut self, len: usize) {
        if self.sorted.len() != len {
            self.sorted = Vec::new();
        }
    }

    /// What a comparison takes: next to nothing for some thousand values, a tenth of a second for a million.
    pub(super) fn takes(len: usize) -> Duration {
        Duration::from_nanos(len as u64 * (SORTING_A_VALUE_NS + COMPARING_A_VALUE_NS))
    }
}

/// How many values there are, and what they look like to who hasn't got them: values that differ give fingerprints
/// that differ, but for one chance in 2^64: a sum of random-looking numbers is as random. Enemies may find sets that look alike.
fn fingerprint(places: &[Place]) -> (u64, u64) {
    places.iter().fold((0, 0), |(count, sum), place| (count + 1, place.fingerprint().wrapping_add(sum)))
}

/// Divides the values from `first` to `last` into ranges that hold about as many each, and cover all between them.
pub(super) fn divide(places: &[Place], first: Value, last: Value) -> Vec<Range> {
    let size = places.len().div_ceil(RANGES).max(FEW);
    let mut ranges: Vec<Range> = Vec::new();
    let mut chunks = places.chunks(size).peekable();
    let mut from = first;
    loop {
        let chunk = chunks.next().unwrap_or_default();
        let to = chunks.peek().map_or(last, |next| next[0].value - 1);
        let (count, fingerprint) = fingerprint(chunk);
        ranges.push(Range { first: from, last: to, count, fingerprint });
        if to == last {
            return ranges;
        }
        from = to + 1;
    }
}

/// Divides the values from `first` to `last` into ranges that begin with a value and hold no other one, and a range before them
/// that holds none.
fn single_out(places: &[Place], first: Value, last: Value) -> impl Iterator<Item = Range> {
    let before = places.first().map(|place| place.value).filter(|&value| value > first);
    let none = before.map(|value| Range { first, last: value - 1, count: 0, fingerprint: 0 });
    let ends = places.iter().skip(1).map(|next| next.value - 1).chain([last]);
    none.into_iter().chain(places.iter().zip(ends).map(|(place, last)| Range {
        first: place.value,
        last,
        count: 1,
        fingerprint: place.fingerprint(),
    }))
}

/// Those of sorted values that are from `first` to `last`.
fn between(places: &[Place], first: Value, last: Value) -> &[Place] {
    let from = places.partition_point(|place| place.value < first);
    let to = places.partition_point(|place| place.value <= last);
    places.get(from..to).unwrap_or_default()
}

/// What one node finds as it compares its sorted values with what another one says of its own.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// What the other lacks, or may lack.
    pub(super) send: Vec<Place>,
    /// What to ask of it.
    pub(super) ask: Vec<Want>,
    /// What remains to be compared.
    pub(super) compare: Vec<Range>,
}

impl Difference {
    pub(super) fn between(mine: &[Place], theirs: &Sync) -> Self {
        let mut found = Self::default();
        let mut before = None;
        let mut few = Vec::new();
        for &Range { first, last, count, fingerprint: theirs } in &theirs.ranges {
            let places = between(mine, first, last);
            if !is_next(&mut before, first, last) || (count, theirs) == fingerprint(places) {
                continue;
            }
            // Many values are only sent to who asks for them: it may be getting them from somebody else.
            if places.is_empty() && count > 0 {
                found.ask.push(Want { first, last, count });
            } else if count.max(places.len() as u64) > FEW as u64 {
                found.compare_more(places, first, last);
            } else if count == 1 {
                found.single(places, first, last, theirs);
            } else {
                few.push((places, Want { first, last, count }));
            }
        }
        found.send_or_single_out(&few);
        let mut before = None;
        for &Want { first, last, count } in &theirs.wants {
            let places = between(mine, first, last);
            if !is_next(&mut before, first, last) {
                continue;
            }
            if places.len() as u64 <= count.saturating_add(FEW as u64) {
                found.send.extend(places);
            } else {
                // What has come since may have come there, too.
                found.compare_more(places, first, last);
            }
        }
        found.compare.sort_unstable_by_key(|range| range.first);
        found.ask.sort_unstable_by_key(|want| want.first);
        found
    }

    /// Whether nothing is left to ask or to compare.
    pub(super) fn is_complete(&self) -> bool {
        self.ask.is_empty() && self.compare.is_empty()
    }

    /// How many values the peer is asked for.
    pub(super) fn asked(&self) -> u64 {
        self.ask.iter().fold(0, |sum, want| sum.saturating_add(want.count))
    }

    /// The other holds one value of a range, of that fingerprint.
    fn single(&mut self, places: &[Place], first: Value, last: Value, theirs: u64) {
        let others = places.iter().filter(|place| place.fingerprint() != theirs);
        let sent = self.send.len();
        self.send.extend(others);
        if self.send.len() - sent == places.len() {
            let is_first = scatter(first.cast_unsigned()) == theirs;
            self.ask.push(Want { first, last: if is_first { first } else { last }, count: 1 });
        }
    }

    /// What to do about ranges that differ, and of which both hold few values.
    fn send_or_single_out(&mut self, ranges: &[(&[Place], Want)]) {
        let sent: usize = ranges.iter().map(|(places, _)| places.len()).sum();
        let asked: u64 = ranges.iter().map(|(_, want)| want.count).sum();
        // No more than the lesser of the two may be sent for nothing, either way.
        let is_little = sent.min(usize::try_from(asked).unwrap_or(usize::MAX)) <= SENT_UNSEEN_MAX;
        let singles_out = !is_little && sent <= SINGLED_OUT_MAX;
        for &(places, want) in ranges {
            if want.count == 0 {
                self.send.extend(places);
            } else if singles_out {
                self.compare.extend(single_out(places, want.first, want.last));
            } else {
                self.send.extend(places);
                self.ask.push(want);
            }
        }
    }

    /// Leaves a range to be compared, divided if there is room.
    fn compare_more(&mut self, places: &[Place], first: Value, last: Value) {
        if self.compare.len() < RANGES_MAX {
            self.compare.extend(divide(places, first, last));
        } else {
            let (count, fingerprint) = fingerprint(places);
            self.compare.push(Range { first, last, count, fingerprint });
        }
    }
}

/// Whether a range comes after those before it, as our nodes send them. Or else few bytes could ask for much.
fn is_next(before: &mut Option<Value>, first: Value, last: Value) -> bool {
    let is_next = first <= last && before.is_none_or(|before| before < first);
    if is_next {
        *before = Some(last);
    }
    is_next
}

/// The parts of the log that have what is to be sent, each of at most `most` entries: those between are sent along.
pub(super) fn spans(send: &[Place], most: usize) -> Vec<Span> {
    let mut positions: Vec<usize> = send.iter().map(|place| place.position).collect();
    positions.sort_unstable();
    let mut spans: Vec<Span> = Vec::new();
    for position in positions {
        match spans.last_mut() {
            Some(span) if position - span.from < most => span.to = position + 1,
            _ => spans.push(Span { from: position, to: position + 1, whole: true }),
        }
    }
    spans
}

impl Place {
    fn fingerprint(&self) -> u64 {
        scatter(self.value.cast_unsigned())
    }

    pub(super) fn value(&self) -> Value {
        self.value
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn places(values: impl IntoIterator<Item = Value>) -> Vec<Place> {
        values.into_iter().enumerate().map(|(position, value)| Place { value, position }).collect()
    }

    /// Runs a repair between two sets; returns how many messages and values were sent.
    fn repair(a: &mut BTreeSet<Value>, b: &mut BTreeSet<Value>) -> (usize, usize) {
        let (mut messages, mut sent) = (1, 0);
        let ranges = divide(&places(a.iter().copied()), Value::MIN, Value::MAX);
        let mut step = Sync { ranges, ..Sync::default() };
        let mut to_b = true;
        loop {
            let (mine, theirs) = if to_b { (&mut *b, &mut *a) } else { (&mut *a, &mut *b) };
            let Difference { send, ask, compare } = Difference::between(&places(mine.iter().copied()), &step);
            sent += send.len();
            theirs.extend(send.iter().map(Place::value));
            if !to_b && ask.is_empty() && compare.is_empty() {
                return (messages, sent);
            }
            messages += 1;
            step = Sync { ranges: compare, wants: ask, ..Sync::default() };
            to_b = !to_b;
        }
    }

    fn sets(
        both: impl Iterator<Item = Value>,
        a: &[Value],
        b: &[Value],
    ) -> (BTreeSet<Value>, BTreeSet<Value>) {
        let both: BTreeSet<Value> = both.collect();
        (&both | &a.iter().copied().collect(), &both | &b.iter().copied().collect())
    }

    #[test]
    fn equal_sets_cost_a_question_and_an_answer() {
        for size in [0, 1, 1000, 100_000] {
            let (mut a, mut b) = sets(0..size, &[], &[]);
            assert_eq!(repair(&mut a, &mut b), (2, 0));
        }
    }

    #[test]
    fn a_small_difference_of_large_sets_costs_little() {
        let (mut a, mut b) = sets((0..100_000).filter(|v| v % 1000 != 7), &[5007, 60_007], &[77_007, -1]);
        let (messages, sent) = repair(&mut a, &mut b);
        assert_eq!(a, b);
        assert!(messages <= 6 && sent <= 8 * FEW, "{messages} messages, {sent} values");
    }

    #[test]
    fn an_empty_set_is_filled_in_one_round() {
        let (mut a, mut b) = sets(0..0, &[], &(0..5000).collect::<Vec<_>>());
        assert_eq!(repair(&mut a, &mut b), (4, 5000));
        let (mut a, mut b) = sets(0..0, &(0..5000).collect::<Vec<_>>(), &[]);
        assert_eq!(repair(&mut a, &mut b).1, 5000);
        assert_eq!(a, b);
    }

    #[test]
    fn large_sets_that_differ_everywhere_end_equal() {
        let half = |rest: Value| (0..50_000).map(|v| 2 * v + rest).collect::<Vec<_>>();
        let (mut a, mut b) = sets(0..0, &half(0), &half(1));
        let (messages, sent) = repair(&mut a, &mut b);
        assert!(a == b && a.len() == 100_000, "{} and {}", a.len(), b.len());
        // Of a few that are asked for, those that have just been sent come back.
        assert!(messages <= 6 && sent <= 150_000, "{messages} messages, {sent} values");
    }

    #[test]
    fn of_many_values_that_differ_here_and_there_little_more_is_sent_than_is_missing() {
        let every_third = |rest: Value| (0..300).map(|v| 3 * v + rest).collect::<Vec<_>>();
        for (a, b) in
            [(every_third(1), every_third(2)), (every_third(1), Vec::new()), (Vec::new(), every_third(1))]
        {
            let (mut one, mut other) = sets(every_third(0).into_iter(), &a, &b);
            let (messages, sent) = repair(&mut one, &mut other);
            let missing = a.len() + b.len();
            assert!(one == other && (missing..=missing + 64).contains(&sent), "{sent} values");
            assert!(messages <= 6, "{messages} messages");
        }
    }

    #[test]
    fn what_is_asked_for_is_in_order_whatever_the_reason() {
        // A range that is empty here comes after one of which both hold a few.
        let range = |first, last, count| Range { first, last, count, fingerprint: 1 };
        let theirs =
            Sync { ranges: vec![range(0, 9, 5), range(10, 19, 1), range(20, 29, 40)], ..Sync::default() };
        let found = Difference::between(&places([3, 4, 12]), &theirs);
        assert_eq!(found.ask.iter().map(|want| want.first).collect::<Vec<_>>(), [0, 10, 20]);
    }

    #[test]
    fn who_asks_for_the_same_again_and_again_gets_it_once() {
        let mine = places(0..1000);
        let all = Want { first: Value::MIN, last: Value::MAX, count: u64::MAX };
        let few = Range { first: 0, last: 20, count: 0, fingerprint: 0 };
        let theirs = Sync { ranges: vec![few; 1000], wants: vec![all; 1000], ..Sync::default() };
        assert_eq!(Difference::between(&mine, &theirs).send.len(), 21 + mine.len());
    }

    #[test]
    fn ranges_cover_everything_once() {
        for size in [0, 1, 15, 16, 17, 5000] {
            let values = places((0..size).map(|v| v * v - 1000));
            for (first, last) in [(Value::MIN, Value::MAX), (-1000, 50_000_000)] {
                let ranges = divide(&values, first, last);
                assert_eq!((ranges[0].first, ranges[ranges.len() - 1].last), (first, last));
                assert!(ranges.windows(2).all(|pair| pair[0].last + 1 == pair[1].first));
                assert_eq!(ranges.iter().map(|range| range.count).sum::<u64>(), values.len() as u64);
                assert!(ranges.len() <= RANGES);
            }
        }
    }

    #[test]
    fn with_8192_ranges_in_a_message_the_others_come_back_whole() {
        // Each is divided into as many ranges as one can be.
        const PIECE: usize = RANGES * FEW;
        let came = 2 * RANGES_MAX / RANGES;
        let mine = places(0..(came * PIECE) as Value);
        let theirs: Vec<Range> = mine
            .chunks(PIECE)
            .map(|piece| Range {
                first: piece[0].value,
                last: piece[PIECE - 1].value,
                count: 1,
                fingerprint: 0,
            })
            .collect();
        let whole = &theirs[came / 2..];
        let found = Difference::between(&mine, &Sync { ranges: theirs.clone(), ..Sync::default() });
        assert_eq!(found.compare.len(), RANGES_MAX + whole.len());
        let bounds = |range: &Range| (range.first, range.last);
        assert!(found.compare[RANGES_MAX..].iter().map(bounds).eq(whole.iter().map(bounds)));
    }

    #[test]
    fn spans_have_all_that_is_to_be_sent_and_are_no_longer_than_a_batch() {
        let place = |position| Place { value: -(position as Value), position };
        let send: Vec<Place> = [200, 3, 66, 67, 5, 130].map(place).into();
        let span = |from, to| Span { from, to, whole: true };
        assert_eq!(spans(&send, 64), [span(3, 67), span(67, 131), span(200, 201)]);
        assert_eq!(spans(&send, 1).len(), 6);
        assert_eq!(spans(&[], 64), []);
    }

    proptest! {
        #[test]
        fn any_two_sets_end_equal(
            both in prop::collection::btree_set(any::<i64>(), 0..200),
            a in prop::collection::btree_set(-50_i64..50, 0..100),
            b in prop::collection::btree_set(prop_oneof![any::<i64>(), -50_i64..50], 0..100),
        ) {
            let (mut a, mut b) = (&both | &a, &both | &b);
            let union = &a | &b;
            repair(&mut a, &mut b);
            prop_assert_eq!(&a, &union);
            prop_assert_eq!(&b, &union);
        }

        #[test]
        fn nonsense_asks_for_no_more_than_there_is(
            ranges in prop::collection::vec((any::<i64>(), any::<i64>(), any::<u64>(), any::<u64>()), 0..50),
            wants in prop::collection::vec((any::<i64>(), any::<i64>(), any::<u64>()), 0..50),
        ) {
            let mine = places(0..3000);
            let range = |&(first, last, count, fingerprint)| Range { first, last, count, fingerprint };
            let want = |&(first, last, count)| Want { first, last, count };
            let (ranges, wants) = (ranges.iter().map(range).collect(), wants.iter().map(want).collect());
            let theirs = Sync { ranges, wants, ..Sync::default() };
            let found = Difference::between(&mine, &theirs);
            prop_assert!(found.send.iter().all(|place| mine.contains(place)));
            prop_assert!(found.compare.len() <= RANGES_MAX + RANGES + theirs.ranges.len() + theirs.wants.len());
        }
    }
}
