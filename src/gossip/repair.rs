//! Repair without memory of who got what: two nodes compare their sets, and send each other the difference.
//!
//! Range-based set reconciliation (Meyer, *Range-Based Set Reconciliation*, SRDS 2023): the node that begins sends
//! fingerprints of ranges of values that hold about as many each. Where its peer's differ, the peer sends what it holds
//! if that is little, and asks for the other's; or else fingerprints of smaller ranges. Each message is answered from
//! what a node holds as it comes, so nothing is remembered but the number of the round, and a message lost costs a try.
//!
//! What is found missing travels as any value does, in batches that are resent until they are acknowledged. A round is
//! complete when an answer leaves nothing to compare: whatever was held when its last try began is then known to the
//! peer or on its way, and whatever was learnt since has been queued.

use std::fmt;
use std::time::Duration;

use crate::node::{Outbox, Time};
use crate::planted::planted;
use crate::protocol::link::{Range, Sync, Want};
use crate::protocol::{Batch, Excerpt, Value, encode};
use crate::queue::{SLOTS, SeenSet};
use crate::random::{part, scatter};
use crate::sync::SwapCell;

use super::LockFree;
use super::link::Link;
use super::membership::{Membership, PeerIndex};
use super::route::SELDOM;

/// How many ranges a range is divided into: a set of four thousand is compared in one message, one of half a
/// million in two.
const RANGES: usize = 128;

/// A range of so few values is sent rather than divided.
const FEW: usize = 32;

/// With so many ranges in a message, of 50 bytes each, the others are not divided but compared again as they are: the
/// peer divides them.
const RANGES_MAX: usize = 8192;

/// The longest that a try waits for its answer, unless the network is that slow.
const TRY_MAX: Duration = Duration::from_secs(2);

/// What a busy machine may take to compare a million values: ten times what an idle one does.
const COMPARING_A_MILLION: Duration = Duration::from_millis(500);

/// What an idle machine takes to gather and sort a block of neighbouring values, and to compare a value.
const SORTING_A_BLOCK_NS: usize = 100;
const COMPARING_A_VALUE_NS: usize = 2;

/// How many values there are, and what they look like to who hasn't got them: values that differ give fingerprints
/// that differ, but for one chance in 2^64: a sum of random-looking numbers is as random. Enemies may find sets that look alike.
fn fingerprint(values: &[Value]) -> (u64, u64) {
    let all = values.iter();
    #[cfg(feature = "planted-bugs")]
    let all = all.filter(|&&v| v % 8 != 3 || !crate::planted::is(crate::planted::Bug::FingerprintIgnores));
    all.fold((0, 0), |(count, sum), &value| (count + 1, scatter(value.cast_unsigned()).wrapping_add(sum)))
}

/// Divides the values from `first` to `last` into ranges that hold about as many each, and cover all between them.
fn divide(values: &[Value], first: Value, last: Value) -> Vec<Range> {
    let size = values.len().div_ceil(RANGES).max(FEW);
    let mut ranges: Vec<Range> = Vec::new();
    let mut chunks = values.chunks(size).peekable();
    let mut from = first;
    loop {
        let chunk = chunks.next().unwrap_or_default();
        let to = chunks.peek().map_or(last, |next| next[0] - 1);
        let (count, fingerprint) = fingerprint(chunk);
        ranges.push(Range { first: from, last: to, count, fingerprint });
        if to == last {
            return ranges;
        }
        from = to + 1;
    }
}

/// Those of sorted values that are from `first` to `last`.
fn between(values: &[Value], first: Value, last: Value) -> &[Value] {
    let from = values.partition_point(|&value| value < first);
    let to = values.partition_point(|&value| value <= last);
    values.get(from..to).unwrap_or_default()
}

/// All values in ascending order, as they were last compared with another node's: several that are compared with at once
/// cost one sorting. Eight bytes for each value, until there are more of them.
pub(super) struct Sorted(SwapCell<Option<Box<Snapshot>>>);

impl Default for Sorted {
    fn default() -> Self {
        Self(SwapCell::new(None))
    }
}

struct Snapshot {
    /// How many values had been counted before these were gathered. As long as there are no more, whatever is counted is
    /// among them.
    of: usize,
    values: Vec<Value>,
}

impl fmt::Debug for Sorted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sorted").finish_non_exhaustive()
    }
}

impl Sorted {
    /// Shows a function all values. Two threads that need them at once sort them both.
    fn of<T>(&self, seen: &SeenSet, look: impl FnOnce(&[Value]) -> T) -> T {
        let of = seen.len();
        let snapshot = self.0.take().filter(|snapshot| snapshot.of == of);
        let snapshot = snapshot.unwrap_or_else(|| Box::new(Snapshot { of, values: seen.sorted() }));
        let result = look(&snapshot.values);
        self.0.store(Some(snapshot));
        result
    }

    /// Gives the memory back if it is of no use any more.
    pub(super) fn forget_if_old(&self, seen: &SeenSet) {
        if let Some(snapshot) = self.0.take().filter(|snapshot| snapshot.of == seen.len()) {
            self.0.store(Some(snapshot));
        }
    }
}

/// What one node finds as it compares its sorted values with what another one says of its own.
#[derive(Debug, Default, PartialEq, Eq)]
struct Difference {
    /// What the other lacks, or may lack.
    send: Vec<Value>,
    /// What to ask of it.
    ask: Vec<Want>,
    /// What remains to be compared.
    compare: Vec<Range>,
    /// From where to where both hold the same, in ascending order.
    same: Vec<(Value, Value)>,
}

impl Difference {
    fn between(mine: &[Value], theirs: &Sync) -> Self {
        let mut found = Self::default();
        let mut before = None;
        for &Range { first, last, count, fingerprint: theirs } in &theirs.ranges {
            let values = between(mine, first, last);
            if !is_next(&mut before, first, last) {
                continue;
            }
            if (count, theirs) == fingerprint(values) {
                found.same.push((first, last));
                continue;
            }
            planted!(RepairByCount => if count == values.len() as u64 { continue });
            // Many values are only sent to who asks for them: it may be getting them from somebody else.
            if values.is_empty() || count.max(values.len() as u64) <= FEW as u64 {
                found.send.extend(values);
                if count > 0 {
                    found.ask.push(Want { first, last, count });
                }
            } else {
                found.compare_more(values, first, last);
            }
        }
        let mut before = None;
        for &Want { first, last, count } in &theirs.wants {
            let values = between(mine, first, last);
            if !is_next(&mut before, first, last) {
                continue;
            }
            if values.len() as u64 <= count.saturating_add(FEW as u64) {
                found.send.extend(values);
            } else {
                // What has come since may have come there, too.
                found.compare_more(values, first, last);
            }
        }
        found.compare.sort_unstable_by_key(|range| range.first);
        found
    }

    /// Whether the other was found to hold a value.
    fn is_held(&self, value: Value) -> bool {
        let after = self.same.partition_point(|&(first, _)| first <= value);
        after > 0 && value <= self.same[after - 1].1
    }

    /// Leaves a range to be compared, divided if there is room.
    fn compare_more(&mut self, values: &[Value], first: Value, last: Value) {
        if self.compare.len() < RANGES_MAX {
            self.compare.extend(divide(values, first, last));
        } else {
            let (count, fingerprint) = fingerprint(values);
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

impl LockFree {
    /// Begins or tries again the repairs that are due.
    pub(super) fn repair_due(
        &self,
        now: Time,
        members: &Membership,
        (peer, link): (PeerIndex, &Link),
        out: &mut Outbox,
    ) {
        // Not while the rest is on its way, or it would be found missing and sent again; nor before a repair under way has
        // ended, or under a steady load none ever would.
        if (link.is_down() || link.queue.is_empty()) && link.queue.take_overflow() {
            link.note_stale(if link.is_down() || link.round() == 0 { now } else { Time::NEVER });
        }
        if link.repair_at.get() > now {
            return;
        }
        link.repair_at.clear();
        // A round under way does not cover what became stale since: there is nothing wrong with the peer then, but an
        // answer to the former tries must not end what begins now.
        let in_vain = link.round() != 0 && !link.is_stale();
        if in_vain {
            self.note_silence(now, members, peer);
            if link.note_failure(now, link.tried_at()) && !link.is_down() {
                self.give_up(now, members, (peer, link), out);
            }
        }
        if in_vain && !self.matters(members, peer, link) {
            return link.give_up_round();
        }
        // What is queued for a peer that is down is dropped, as the repair will find it; but the last of it goes along,
        // in case the peer hears and can't answer.
        let mut values = Batch::new();
        while link.is_down() && !link.queue.is_empty() {
            values.clear();
            link.queue.drain_into(&mut values, self.config.batch_max);
        }
        let round = if link.is_down() || !in_vain { self.random.name() } else { link.round() };
        link.begin_round(now, round);
        let ranges = if link.take_call() {
            Vec::new()
        } else {
            self.sorted.of(&self.seen, |all| divide(all, Value::MIN, Value::MAX))
        };
        let sync = Sync { round, ranges, values: values.to_vec(), ..Sync::default() };
        self.send_sync(now, members, (peer, link), sync, out);
        link.repair_at.bring_forward(now + self.answer_within(members, (peer, link)));
    }

    /// How long to wait for an answer before the next try.
    fn answer_within(&self, members: &Membership, (peer, link): (PeerIndex, &Link)) -> Duration {
        if !link.is_down() {
            let comparing = COMPARING_A_MILLION.mul_f64(self.seen.len() as f64 / 1e6);
            return link.round_trip.longest().min(TRY_MAX.max(link.round_trip.reckoned().mean)) + comparing;
        }
        // Spread, so that those who failed together do not try together.
        // Who has no other parent is in a hurry; everybody else is told when it comes back to one that is.
        let alone = self.parent(members).is_none() && self.planned_parent(members) == Some(peer);
        let probe = if alone { self.config.probe_interval } else { SELDOM * self.config.explore_interval };
        let spread = (probe / 4).mul_f64(part(self.random.bits()));
        probe - spread
    }

    /// What it takes to sort all values and to compare them: next to nothing for neighbours, a tenth of a second for a million
    /// that are far apart.
    pub(super) fn comparing_takes(&self) -> Duration {
        let nanos = self.seen.blocks() * SORTING_A_BLOCK_NS + self.seen.len() * COMPARING_A_VALUE_NS;
        Duration::from_nanos(nanos as u64)
    }

    /// A step of a repair has come, and its values have been taken up.
    pub(super) fn compare(
        &self,
        now: Time,
        members: &Membership,
        (peer, link): (PeerIndex, &Link),
        sync: &Sync,
        out: &mut Outbox,
    ) {
        let Sync { round, answer, .. } = *sync;
        self.see_to(now, members, peer, &sync.unreachable, out);
        let compares = !(sync.ranges.is_empty() && sync.wants.is_empty());
        if compares && !link.may_compare(now, self.comparing_takes()) {
            // It will try again, if it needs to.
            return;
        }
        if answer && (round == 0 || round != link.round()) {
            // Of a round that is over. But the peer has heard something: if it was down, repair begins anew.
            if link.is_down() {
                link.set_up();
                link.give_up_round();
                link.note_stale(now);
                self.restore(now, members, (peer, link), out);
            }
            return;
        }
        // Who asks for something has heard the answer before.
        if !answer && !sync.wants.is_empty() && link.has_answered(round) && link.is_down() {
            link.set_up();
            if link.round() == 0 && !link.is_stale() {
                link.repair_at.clear();
            }
            self.restore(now, members, (peer, link), out);
        }
        if !answer && !self.is_in_tree(members, peer, link) {
            // Somebody who couldn't reach this node may have asked for it.
            self.call_quiet_parent(now, members);
        }
        planted!(RepairOneSided => if answer && !sync.wants.is_empty() {
            if link.end_round(now) { self.restore(now, members, (peer, link), out); }
            return;
        });
        let mut found = Difference::default();
        if link.queue.is_full() {
            // The peer will lack less when that has come. Then the rest is found.
            link.queue.note_overflow();
        } else if compares {
            found = self.sorted.of(&self.seen, |all| Difference::between(all, sync));
            self.leave_out_what_waits(link, &mut found);
        }
        let Difference { send, mut ask, compare, .. } = found;
        // It may well hold the same as the peer that is being fetched from. Then there is less to do later.
        let asked = ask.iter().fold(0, |sum: u64, want| sum.saturating_add(want.count));
        // However long a spoilt estimate is, or however much there is: who else may be asked is not to wait for that.
        let round_trips = 1 + asked / (self.config.batch_max * SLOTS) as u64;
        let fetch_takes = link.round_trip.reckoned().mean * u32::try_from(round_trips).unwrap_or(u32::MAX);
        let turn = self.config.explore_interval;
        let is_fetch = asked > self.config.batch_max as u64;
        let fetch = is_fetch.then(|| {
            let whose = (members.rank_of(peer), round);
            self.route.fetch(now, fetch_takes.min(turn), turn, whose, link.brought())
        });
        let early = fetch.and_then(Result::err);
        if let Some(later) = early.filter(|_| sync.wants.is_empty()) {
            if answer {
                link.give_up_round();
            }
            if link.round() == 0 {
                link.note_stale(later);
            }
            return self.deadline.bring_forward(now);
        }
        if early.is_some() {
            // But what the peer asks for is not to wait for this node.
            ask.clear();
        }
        let is_complete = answer && ask.is_empty() && compare.is_empty();
        #[cfg(feature = "planted-bugs")]
        let is_complete = is_complete && !crate::planted::is(crate::planted::Bug::RepairWithoutEnd);
        let mut values = Vec::new();
        if !is_complete && send.len() <= self.config.batch_max {
            // If that is lost, the round is tried again.
            values = send;
        } else if !send.is_empty() {
            link.note_relay();
            link.queue.refill(send.into_iter());
            // They are late already: whoever passes them on is not to wait for its next flush.
            link.oldest.bring_forward(now.before(self.config.latency_budget / 2));
        }
        if !is_complete {
            if !answer {
                link.note_answered(round);
            }
            let sync =
                Sync { round, answer: !answer, ranges: compare, wants: ask, values, ..Sync::default() };
            self.send_sync(now, members, (peer, link), sync, out);
        }
        if answer {
            link.note_answer();
            link.repair_at.set(now + self.answer_within(members, (peer, link)));
        }
        if is_complete && link.end_round(now) {
            self.restore(now, members, (peer, link), out);
        }
        if let Some(later) = early {
            link.note_stale(later);
        }
        if !link.queue.is_empty() && !link.is_down() {
            link.flush_at.bring_forward(now);
        }
        self.deadline.bring_forward(now);
    }

    /// What waits for the peer or is under way to it is not sent once more; and what it was found to hold waits no more.
    fn leave_out_what_waits(&self, link: &Link, found: &mut Difference) {
        if found.same.is_empty() && found.send.is_empty() {
            return;
        }
        let mut waiting = link.queue.sift(|value| !found.is_held(value));
        for in_flight in link.slots.in_flight() {
            self.peek(link, in_flight, |batch| waiting.extend_from_slice(batch));
        }
        waiting.sort_unstable();
        found.send.retain(|value| waiting.binary_search(value).is_err());
    }

    pub(super) fn send_sync(
        &self,
        now: Time,
        members: &Membership,
        (peer, link): (PeerIndex, &Link),
        mut sync: Sync,
        out: &mut Outbox,
    ) {
        if link.take_delegation() {
            sync.unreachable.extend(self.unreachable(members));
        }
        let header = self.header(now, members, (peer, link));
        encode::sync(out.lines_mut(), members.me(), members.name(peer), &sync, &header);
    }

    /// The peer does not answer: what is in flight to it is left to the repair.
    pub(super) fn give_up(
        &self,
        now: Time,
        members: &Membership,
        (peer, link): (PeerIndex, &Link),
        out: &mut Outbox,
    ) {
        if !link.set_down() {
            return;
        }
        self.abandon(link);
        planted!(DownForGood => return);
        self.keep_promises_of(now, members, link);
        if self.matters(members, peer, link) {
            out.note(format_args!("{} does not answer", Excerpt(members.name(peer))));
            link.note_stale(now + self.config.probe_interval / 2);
        }
        if link.is_promised() {
            // If it is the parent that can't be reached, the next one will be asked.
            if let Some(parent) = self.parent(members).filter(|&parent| parent != peer) {
                let parent = self.link(members, parent);
                parent.note_stale(now);
                parent.delegate(now);
            }
        }
    }

    fn restore(&self, now: Time, members: &Membership, (peer, link): (PeerIndex, &Link), out: &mut Outbox) {
        if self.matters(members, peer, link) {
            out.note(format_args!("{} answers again", Excerpt(members.name(peer))));
        }
        self.flush_rest(now, link);
        self.deadline.bring_forward(now);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn sync(values: &[Value]) -> Sync {
        Sync { ranges: divide(values, Value::MIN, Value::MAX), ..Sync::default() }
    }

    /// Runs a repair between two sets; returns how many messages and values were sent.
    fn repair(a: &mut BTreeSet<Value>, b: &mut BTreeSet<Value>) -> (usize, usize) {
        let (mut messages, mut sent) = (1, 0);
        let mut step = sync(&a.iter().copied().collect::<Vec<_>>());
        let mut to_b = true;
        loop {
            let (mine, theirs) = if to_b { (&mut *b, &mut *a) } else { (&mut *a, &mut *b) };
            let values: Vec<Value> = mine.iter().copied().collect();
            let Difference { send, ask, compare, .. } = Difference::between(&values, &step);
            sent += send.len();
            theirs.extend(send);
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
    fn who_asks_for_the_same_again_and_again_gets_it_once() {
        let mine: Vec<Value> = (0..1000).collect();
        let all = Want { first: Value::MIN, last: Value::MAX, count: u64::MAX };
        let few = Range { first: 0, last: 20, count: 0, fingerprint: 0 };
        let theirs = Sync { ranges: vec![few; 1000], wants: vec![all; 1000], ..Sync::default() };
        assert_eq!(Difference::between(&mine, &theirs).send.len(), 21 + mine.len());
    }

    #[test]
    fn what_lies_where_both_hold_the_same_is_held() {
        let (mine, theirs): (Vec<Value>, Vec<Value>) =
            ((0..320).collect(), (0..320).filter(|v| v % 64 != 40).collect());
        let found = Difference::between(&mine, &sync(&theirs));
        let held: Vec<Value> = (-1..321).filter(|&value| found.is_held(value)).collect();
        assert!(held.iter().all(|value| theirs.contains(value) || !mine.contains(value)));
        assert!(held.len() > 100 && found.send.iter().all(|value| !held.contains(value)), "{held:?}");
    }

    #[test]
    fn ranges_cover_everything_once() {
        for size in [0, 1, 15, 16, 17, 5000] {
            let values: Vec<Value> = (0..size).map(|v| v * v - 1000).collect();
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
        let mine: Vec<Value> = (0..(came * PIECE) as Value).collect();
        let theirs: Vec<Range> = mine
            .chunks(PIECE)
            .map(|piece| Range { first: piece[0], last: piece[PIECE - 1], count: 1, fingerprint: 0 })
            .collect();
        let whole = &theirs[came / 2..];
        let found = Difference::between(&mine, &Sync { ranges: theirs.clone(), ..Sync::default() });
        assert_eq!(found.compare.len(), RANGES_MAX + whole.len());
        let bounds = |range: &Range| (range.first, range.last);
        assert!(found.compare[RANGES_MAX..].iter().map(bounds).eq(whole.iter().map(bounds)));
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
            let mine: Vec<Value> = (0..3000).collect();
            let range = |&(first, last, count, fingerprint)| Range { first, last, count, fingerprint };
            let want = |&(first, last, count)| Want { first, last, count };
            let (ranges, wants) = (ranges.iter().map(range).collect(), wants.iter().map(want).collect());
            let theirs = Sync { ranges, wants, ..Sync::default() };
            let found = Difference::between(&mine, &theirs);
            prop_assert!(found.send.iter().all(|value| mine.contains(value)));
            prop_assert!(found.compare.len() <= RANGES_MAX + RANGES + theirs.ranges.len() + theirs.wants.len());
        }
    }
}
