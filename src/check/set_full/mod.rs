//! The broadcast checker: Jepsen's `set-full`.
//!
//! For each value that was broadcast:
//!
//! * it is *known* from the completion of its broadcast, or of the first read that shows it, if that is
//!   earlier;
//! * *last absent* is the latest-invoked of the successful reads that lack it, *last present* the
//!   latest-invoked of those that show it. Only reads that completed after the broadcast began count;
//! * it is *stable* if last present was invoked after last absent. Its stable latency is the time from known
//!   to the invocation of last absent: how long somebody could still miss it;
//! * it is *lost* if it was known, and last absent was invoked after known and after last present;
//! * it *died* rather than being lost if every life of a node that is known to have held it, since it
//!   acknowledged or showed it, was ended by the nemesis: nobody can keep what only the dead knew;
//! * otherwise it was never read.
//!
//! One pass over the history follows every value, and another one those that are gone.

mod follow;
mod words;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use self::follow::{Element, Followed, adds, follow};
use super::Valid;
use crate::history::{Event, EventKind, History, OpValue, Process};
use crate::node::Time;

/// The verdict on a broadcast run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SetFull {
    /// False if a value was lost or a read showed one twice, or one that nobody broadcast; unknown if no value became stable or died.
    pub valid: Valid,
    /// Values that were broadcast.
    pub attempt_count: usize,
    /// Values that every read showed from some time on.
    pub stable_count: usize,
    /// Values that were known, and then shown no more.
    pub lost_count: usize,
    /// Them.
    pub lost: Vec<i64>,
    /// Values that were known, and then shown no more, since every node known to have held them was killed.
    pub died_count: usize,
    /// Them.
    pub died: Vec<i64>,
    /// Values of which no read can tell.
    pub never_read_count: usize,
    /// Them.
    pub never_read: Vec<i64>,
    /// Stable values that a read missed when they were known already.
    pub stale_count: usize,
    /// Them.
    pub stale: Vec<i64>,
    /// Those of them with the longest stable latencies, longest first.
    pub worst_stale: Vec<Stale>,
    /// Values that a read showed more than once.
    pub duplicated_count: usize,
    /// Them, each with how often at most.
    pub duplicated: BTreeMap<i64, usize>,
    /// Values that a read showed though nobody had begun to broadcast them.
    pub phantom_count: usize,
    /// Them, as JSON.
    pub phantoms: Vec<String>,
    /// Quantiles of the stable latencies, in milliseconds; none if no value became stable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable_latencies: Option<Quantiles>,
    /// Quantiles of the times from known to lost, in milliseconds; none if no value was lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_latencies: Option<Quantiles>,
}

/// A stale value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Stale {
    /// The value.
    pub element: i64,
    /// Its stable latency, in milliseconds.
    pub stable_latency: u64,
}

/// Some quantiles of a set of latencies, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Quantiles {
    /// The least.
    #[serde(rename = "0")]
    pub min: u64,
    /// The median.
    #[serde(rename = "0.5")]
    pub median: u64,
    /// The 95th percentile.
    #[serde(rename = "0.95")]
    pub p95: u64,
    /// The 99th percentile.
    #[serde(rename = "0.99")]
    pub p99: u64,
    /// The greatest.
    #[serde(rename = "1")]
    pub max: u64,
}

impl Quantiles {
    /// The quantile q is the element floor(n · q) of the sorted latencies, or the last. None of none.
    #[must_use]
    pub fn of(mut latencies: Vec<u64>) -> Option<Self> {
        latencies.sort_unstable();
        let last = latencies.len().checked_sub(1)?;
        let at = |q: f64| latencies[last.min((latencies.len() as f64 * q) as usize)];
        Some(Quantiles { min: at(0.0), median: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1.0) })
    }
}

/// As many of the worst as Jepsen lists.
const WORST_LISTED: usize = 8;

/// A place in the history: what comparisons need of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct At {
    index: usize,
    time: Time,
}

impl From<&Event> for At {
    fn from(event: &Event) -> Self {
        At { index: event.index, time: event.time }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// With the stable latency.
    Stable(u64),
    /// With the time from known to last present.
    Lost(u64),
    NeverRead,
}

impl Element {
    fn outcome(&self) -> Outcome {
        // An event that never was comes before all that were.
        let order = |at: Option<At>| at.map_or(-1, |at| i64::try_from(at.index).unwrap_or(i64::MAX));
        let (present, absent) = (order(self.last_present), order(self.last_absent));
        if present > absent {
            return Outcome::Stable(self.millis_from_known(self.last_absent));
        }
        match self.known {
            Some(known) if absent > present && absent > order(Some(known)) => {
                Outcome::Lost(self.millis_from_known(self.last_present))
            }
            _ => Outcome::NeverRead,
        }
    }

    /// Whole milliseconds from known to just after `end`; zero if that was never, or is before.
    fn millis_from_known(&self, end: Option<At>) -> u64 {
        let (Some(known), Some(end)) = (self.known, end) else { return 0 };
        let after = Time::from_nanos(end.time.as_nanos().saturating_add(1));
        u64::try_from(after.since(known.time).as_millis()).unwrap_or(u64::MAX)
    }
}

/// Checks a history of broadcast or g-set. Where `as_maelstrom` is set, values that a read shows twice, or that nobody sent,
/// are told and don't count, and no value dies: those that would are lost.
#[must_use]
pub fn set_full(history: &History, as_maelstrom: bool) -> SetFull {
    let followed = follow(history);
    let gone = followed.elements.iter().filter(|element| matches!(element.outcome(), Outcome::Lost(_)));
    let gone = gone.map(|element| element.value).collect();
    let died = if as_maelstrom { BTreeSet::new() } else { died(history, gone) };
    summarise(followed, died, as_maelstrom)
}

/// The node that an event of the nemesis kills or starts again.
fn struck(history: &History, event: &Event, fs: &[&str]) -> Option<usize> {
    let OpValue::Json(name) = &event.value else { return None };
    let is_meant = event.process == Process::Nemesis && fs.contains(&&*event.f);
    is_meant.then(|| history.node_called(name.as_str()?)).flatten()
}

/// Those of the values that are gone of which no life that was not ended by a kill is known to have held them.
/// A node's lives are told apart by its restarts: the first `k` of them were ended if it was killed `k` times.
fn died(history: &History, gone: BTreeSet<i64>) -> BTreeSet<i64> {
    let mut kills: HashMap<usize, usize> = HashMap::new();
    for node in history.events().iter().filter_map(|event| struck(history, event, &["kill", "kill-for-good"]))
    {
        *kills.entry(node).or_default() += 1;
    }
    let mut died = gone;
    let mut restarts: HashMap<usize, usize> = HashMap::new();
    // Reads that ended before the broadcast began do not count.
    let mut begun = BTreeSet::new();
    // Of the last read of each node, by its index: the values that are gone and that it shows.
    let mut shows: HashMap<usize, BTreeSet<i64>> = HashMap::new();
    for event in history.events() {
        if let (EventKind::Invoke, Some(value)) = (event.kind, adds(event)) {
            begun.insert(value);
        }
        if let Some(node) = struck(history, event, &["restart"]) {
            *restarts.entry(node).or_default() += 1;
        }
        if died.is_empty() || event.kind != EventKind::Ok {
            continue;
        }
        let node = history.node_of(event.process);
        let ended =
            node.is_some_and(|node| restarts.get(&node).unwrap_or(&0) < kills.get(&node).unwrap_or(&0));
        if let OpValue::Set(read) = &event.value {
            let mut shown = read.since.and_then(|since| shows.remove(&since)).unwrap_or_default();
            shown.retain(|value| read.removed.binary_search(value).is_err());
            shown.extend(read.added.iter().filter(|value| died.contains(value)));
            if !ended {
                died.retain(|value| !(shown.contains(value) && begun.contains(value)));
            }
            shows.insert(event.index, shown);
        } else if let Some(value) = adds(event).filter(|_| !ended) {
            died.remove(&value);
        }
    }
    died
}

fn summarise(followed: Followed, died: BTreeSet<i64>, as_maelstrom: bool) -> SetFull {
    let Followed { elements, duplicated, phantoms } = followed;
    let (mut stable, mut lost, mut never_read) = (Vec::new(), Vec::new(), Vec::new());
    let (mut stale, mut lost_latencies) = (Vec::new(), Vec::new());
    for element in &elements {
        match element.outcome() {
            Outcome::Stable(latency) => {
                stable.push(latency);
                if latency > 0 {
                    stale.push(Stale { element: element.value, stable_latency: latency });
                }
            }
            Outcome::Lost(_) if died.contains(&element.value) => {}
            Outcome::Lost(latency) => {
                lost.push(element.value);
                lost_latencies.push(latency);
            }
            Outcome::NeverRead => never_read.push(element.value),
        }
    }
    lost.sort_unstable();
    never_read.sort_unstable();
    let mut worst_stale = stale.clone();
    worst_stale.sort_by_key(|stale| std::cmp::Reverse(stale.stable_latency));
    worst_stale.truncate(WORST_LISTED);
    let mut stale: Vec<i64> = stale.into_iter().map(|stale| stale.element).collect();
    stale.sort_unstable();
    let strange = if as_maelstrom { 0 } else { duplicated.len() + phantoms.len() };
    SetFull {
        valid: match (lost.len() + strange, stable.len() + died.len()) {
            (0, 0) => Valid::Unknown,
            (wrong, _) => (wrong == 0).into(),
        },
        attempt_count: elements.len(),
        stable_count: stable.len(),
        lost_count: lost.len(),
        lost,
        died_count: died.len(),
        died: died.into_iter().collect(),
        never_read_count: never_read.len(),
        never_read,
        stale_count: stale.len(),
        stale,
        worst_stale,
        duplicated_count: duplicated.len(),
        duplicated,
        phantom_count: phantoms.len(),
        phantoms: phantoms.into_keys().collect(),
        stable_latencies: Quantiles::of(stable),
        lost_latencies: Quantiles::of(lost_latencies),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Shown;
    use proptest::prelude::*;
    use serde_json::json;

    const MS: u64 = 1_000_000;

    /// Builds histories: operations that begin and end at given times, in ms.
    #[derive(Default)]
    struct Script {
        events: Vec<(u64, Process, EventKind, &'static str, OpValue)>,
        /// The node that each client talks to, if that is noted.
        clients: Vec<Option<usize>>,
        node: Option<usize>,
    }

    impl Script {
        fn op(mut self, from: u64, to: u64, f: &'static str, invoked: OpValue, done: OpValue) -> Self {
            let client = Process::Client(self.clients.len());
            self.clients.push(self.node);
            self.events.push((from, client, EventKind::Invoke, f, invoked));
            self.events.push((to, client, EventKind::Ok, f, done));
            self
        }

        /// Whoever comes next talks to this node.
        fn at(mut self, node: usize) -> Self {
            self.node = Some(node);
            self
        }

        fn kill(mut self, from: u64, to: u64, node: usize) -> Self {
            for (at, f) in [(from, "kill"), (to, "restart")] {
                let name = OpValue::Json(json!(format!("n{node}")));
                self.events.push((at, Process::Nemesis, EventKind::Info, f, name));
            }
            self
        }

        fn broadcast(self, from: u64, to: u64, value: i64) -> Self {
            self.op(from, to, "broadcast", OpValue::Int(value), OpValue::Int(value))
        }

        fn read(self, from: u64, to: u64, values: &[i64]) -> Self {
            self.op(from, to, "read", OpValue::None, OpValue::Set(Shown::whole(values.to_vec(), vec![])))
        }

        fn check(mut self) -> SetFull {
            self.events.sort_by_key(|event| event.0);
            let mut history = History::default();
            for (ms, process, kind, f, value) in self.events {
                history.push(Time::from_nanos(ms * MS), process, kind, f, value, None);
            }
            for (client, node) in self.clients.iter().enumerate() {
                node.iter().for_each(|&node| history.talks_to(Process::Client(client), node));
            }
            let result = set_full(&history, false);
            assert_eq!(result, naive(&history), "the twins agree");
            result
        }
    }

    /// A read that succeeded: when it was invoked and when it completed, as places in the history and times.
    struct Read<'a> {
        invoked: &'a Event,
        done: &'a Event,
        /// As often as it showed them.
        values: Vec<i64>,
    }

    /// The definitions above, word for word, for one value at a time, with nothing of the checker's.
    fn naive(history: &History) -> SetFull {
        let reads: Vec<Read<'_>> = history
            .completed()
            .filter_map(|(invoked, done)| match (&done.value, done.kind, &*done.f) {
                (OpValue::Set(shown), EventKind::Ok, "read") => {
                    let mut values = history.values_shown(done.index).expect("a read");
                    let again = shown.repeated.iter().flat_map(|&(value, times)| vec![value; times - 1]);
                    values.extend(again);
                    Some(Read { invoked, done, values })
                }
                _ => None,
            })
            .collect();
        let (mut stable, mut lost, mut died, mut never_read) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let events = |f: &'static str, node: usize| {
            let name = OpValue::Json(json!(format!("n{node}")));
            history.events().iter().filter(move |event| event.f == f && event.value == name)
        };
        // Whether the node is known, and was killed in the life in which it said this.
        let has_died = |said: &Event| {
            let Some(node) = history.node_of(said.process) else { return false };
            let restarts = |until| events("restart", node).filter(|restart| restart.index < until).count();
            let life = restarts(said.index);
            events("kill", node).any(|kill| restarts(kill.index) == life)
        };
        for begun in history.by_clients().filter(|e| e.kind == EventKind::Invoke && e.f == "broadcast") {
            let OpValue::Int(value) = begun.value else { panic!("a broadcast of {:?}", begun.value) };
            let counted: Vec<&Read<'_>> = reads.iter().filter(|read| read.done.index > begun.index).collect();
            let with =
                |present: bool| counted.iter().filter(move |read| read.values.contains(&value) == present);
            let acked = history
                .completed()
                .find(|(invoked, done)| invoked.index == begun.index && done.kind == EventKind::Ok)
                .map(|(_, done)| done);
            let known =
                acked.into_iter().chain(with(true).map(|read| read.done)).min_by_key(|done| done.index);
            let last_present = with(true).map(|read| read.invoked).max_by_key(|invoked| invoked.index);
            let last_absent = with(false).map(|read| read.invoked).max_by_key(|invoked| invoked.index);
            // In whole milliseconds, at least 0; "just after", which is a nanosecond.
            let since_known = |event: &Event| {
                let known = known.expect("something shown or acknowledged is known").time.as_nanos();
                ((event.time.as_nanos() + 1).max(known) - known) / 1_000_000
            };
            let is_stable = match (last_present, last_absent) {
                (Some(present), Some(absent)) => present.index > absent.index,
                (present, _) => present.is_some(),
            };
            let is_lost = match (known, last_absent) {
                (Some(known), Some(absent)) => {
                    absent.index > known.index
                        && last_present.is_none_or(|present| absent.index > present.index)
                }
                _ => false,
            };
            if is_stable {
                stable.push((value, last_absent.map_or(0, since_known)));
            } else if is_lost && acked.into_iter().chain(with(true).map(|read| read.done)).all(has_died) {
                died.push((value, 0));
            } else if is_lost {
                lost.push((value, last_present.map_or(0, since_known)));
            } else {
                never_read.push(value);
            }
        }
        let mut phantoms = BTreeSet::new();
        for read in &reads {
            let earlier = |event: &&Event| event.index < read.done.index;
            let begun: Vec<i64> = history.by_clients().filter(earlier).filter_map(adds).collect();
            phantoms.extend(read.values.iter().filter(|value| !begun.contains(value)).map(i64::to_string));
        }
        let mut duplicated = BTreeMap::new();
        for read in &reads {
            for value in &read.values {
                let times = read.values.iter().filter(|other| *other == value).count();
                let most = duplicated.entry(*value).or_insert(times);
                *most = times.max(*most);
            }
        }
        duplicated.retain(|_, times| *times > 1);
        let quantiles = |of: &[(i64, u64)]| {
            let mut sorted: Vec<u64> = of.iter().map(|(_, latency)| *latency).collect();
            sorted.sort_unstable();
            let n = sorted.len();
            let at = |percent: usize| sorted[(n * percent / 100).min(n - 1)];
            (n > 0).then(|| Quantiles { min: at(0), median: at(50), p95: at(95), p99: at(99), max: at(100) })
        };
        let mut stale: Vec<(i64, u64)> = stable.iter().copied().filter(|(_, latency)| *latency > 0).collect();
        let values = |of: &[(i64, u64)]| {
            of.iter().map(|(value, _)| *value).collect::<BTreeSet<_>>().into_iter().collect()
        };
        let stale_values = values(&stale);
        stale.sort_by_key(|(_, latency)| std::cmp::Reverse(*latency));
        SetFull {
            valid: if !lost.is_empty() || !duplicated.is_empty() || !phantoms.is_empty() {
                Valid::False
            } else if stable.is_empty() && died.is_empty() {
                Valid::Unknown
            } else {
                Valid::True
            },
            attempt_count: stable.len() + lost.len() + died.len() + never_read.len(),
            stable_count: stable.len(),
            lost_count: lost.len(),
            lost: values(&lost),
            died_count: died.len(),
            died: values(&died),
            never_read_count: never_read.len(),
            never_read: never_read.into_iter().collect::<BTreeSet<_>>().into_iter().collect(),
            stale_count: stale.len(),
            stale: stale_values,
            worst_stale: stale
                .iter()
                .take(8)
                .map(|&(element, stable_latency)| Stale { element, stable_latency })
                .collect(),
            duplicated_count: duplicated.len(),
            duplicated,
            phantom_count: phantoms.len(),
            phantoms: phantoms.into_iter().collect(),
            stable_latencies: quantiles(&stable),
            lost_latencies: quantiles(&lost),
        }
    }

    #[test]
    fn a_value_that_every_read_shows_is_stable_at_once() {
        let result = Script::default().broadcast(0, 1, 7).read(2, 3, &[7]).check();
        assert_eq!((result.valid, result.stable_count, result.stale_count), (Valid::True, 1, 0));
        assert_eq!(result.stable_latencies.expect("one").max, 0);
    }

    #[test]
    fn a_planted_stale_value_is_found_with_its_latency() {
        let result = Script::default().broadcast(0, 10, 7).read(110, 111, &[]).read(120, 121, &[7]).check();
        assert_eq!((result.valid, &*result.stale), (Valid::True, &[7][..]));
        assert_eq!(result.worst_stale, [Stale { element: 7, stable_latency: 100 }]);
        assert_eq!(result.stable_latencies.expect("one").median, 100);
    }

    #[test]
    fn a_planted_lost_value_is_found() {
        let result = Script::default()
            .broadcast(0, 1, 7)
            .broadcast(0, 1, 8)
            .read(2, 3, &[7, 8])
            .read(4, 5, &[8])
            .check();
        assert_eq!((result.valid, &*result.lost, result.stable_count), (Valid::False, &[7][..], 1));
        let never_shown = Script::default().broadcast(0, 1, 7).read(2, 3, &[]).check();
        assert_eq!((never_shown.valid, never_shown.lost_count), (Valid::False, 1));
    }

    #[test]
    fn a_value_dies_with_its_only_holder_and_that_is_nobodys_fault() {
        let script = || {
            Script::default().at(0).broadcast(0, 1, 7).at(1).broadcast(0, 1, 8).kill(2, 3, 0).read(
                9,
                10,
                &[8],
            )
        };
        let result = script().check();
        assert_eq!((result.valid, &*result.died, result.lost_count), (Valid::True, &[7][..], 0));
        assert_eq!((result.died_count, result.attempt_count, result.lost_latencies), (1, 2, None));
        // Somebody else had it, and lived on; or it was somebody else who was killed.
        let had =
            Script::default().at(1).read(1, 2, &[7]).at(0).broadcast(0, 1, 7).kill(2, 3, 0).read(9, 10, &[]);
        assert_eq!(&*had.check().lost, [7]);
        let other = Script::default().at(0).broadcast(0, 1, 7).kill(2, 3, 1).read(9, 10, &[]).check();
        assert_eq!((&*other.lost, other.died_count), (&[7][..], 0));
    }

    #[test]
    fn a_value_that_was_held_after_the_last_kill_is_lost_and_has_not_died() {
        let after = Script::default().at(0).kill(0, 1, 0).broadcast(2, 3, 7).read(9, 10, &[]).check();
        assert_eq!((&*after.lost, after.died_count), (&[7][..], 0));
        let again = Script::default().at(0).kill(0, 1, 0).broadcast(2, 3, 7).kill(4, 5, 0).read(9, 10, &[]);
        assert_eq!(&*again.check().died, [7]);
        // Which node it was is not known.
        let nobody = Script::default().broadcast(0, 1, 7).kill(2, 3, 0).read(9, 10, &[]).check();
        assert_eq!((&*nobody.lost, nobody.died_count), (&[7][..], 0));
    }

    #[test]
    fn a_planted_duplicate_is_found_with_how_often() {
        let result = Script::default().broadcast(0, 1, 7).read(2, 3, &[7, 7, 7]).read(4, 5, &[7, 7]).check();
        assert_eq!((result.valid, result.duplicated), (Valid::False, BTreeMap::from([(7, 3)])));
    }

    #[test]
    fn a_planted_duplicate_of_what_nobody_broadcast_is_found() {
        let result = Script::default().broadcast(0, 1, 7).read(2, 3, &[7, 99, 99]).check();
        assert_eq!((result.valid, result.duplicated), (Valid::False, BTreeMap::from([(99, 2)])));
    }

    #[test]
    fn a_planted_value_that_nobody_broadcast_is_found() {
        let result = Script::default().broadcast(0, 1, 7).read(2, 3, &[7, 99]).check();
        assert_eq!((result.valid, &*result.phantoms), (Valid::False, &["99".to_owned()][..]));
        // Shown too early, however often it is shown later.
        let early = Script::default().read(0, 1, &[7]).broadcast(2, 3, 7).read(4, 5, &[7]).check();
        assert_eq!((early.valid, early.phantom_count, early.stable_count), (Valid::False, 1, 1));
        let mut history = History::default();
        history.push(Time::ZERO, Process::Client(0), EventKind::Invoke, "read", OpValue::None, None);
        let shown = OpValue::Set(Shown::whole(vec![], vec![json!("seven")]));
        history.push(Time::ZERO, Process::Client(0), EventKind::Ok, "read", shown, None);
        assert_eq!(set_full(&history, false).phantoms, ["\"seven\""]);
    }

    #[test]
    fn a_read_that_overlaps_the_broadcast_may_miss_it() {
        let result = Script::default().broadcast(0, 10, 7).read(5, 20, &[]).check();
        assert_eq!((result.valid, result.lost_count, &*result.never_read), (Valid::Unknown, 0, &[7][..]));
    }

    #[test]
    fn a_value_is_known_from_the_first_read_that_shows_it() {
        // Acknowledged at 100, but shown at 10 already; missed by a read that began at 60.
        let result = Script::default()
            .broadcast(0, 100, 7)
            .read(5, 10, &[7])
            .read(60, 61, &[])
            .read(70, 71, &[7])
            .check();
        assert_eq!(result.stable_latencies.expect("one").max, 50);
    }

    #[test]
    fn the_order_of_invocations_decides_and_not_that_of_completions() {
        // The read that misses the value began first and ended last.
        let result = Script::default().broadcast(0, 1, 7).read(10, 50, &[]).read(20, 30, &[7]).check();
        assert_eq!((result.valid, result.stable_count), (Valid::True, 1));
        assert_eq!(result.stable_latencies.expect("one").max, 9);
    }

    #[test]
    fn reads_that_ended_before_the_broadcast_began_do_not_count() {
        let result = Script::default().read(0, 1, &[]).broadcast(2, 3, 7).check();
        assert_eq!((result.valid, result.never_read_count), (Valid::Unknown, 1));
    }

    #[test]
    fn the_last_time_there_is_does_no_harm() {
        let mut history = History::default();
        for (process, value) in [(0, vec![7]), (1, vec![])] {
            let process = Process::Client(process);
            if process == Process::Client(0) {
                history.push(Time::NEVER, process, EventKind::Invoke, "broadcast", OpValue::Int(7), None);
                history.push(Time::NEVER, process, EventKind::Ok, "broadcast", OpValue::Int(7), None);
            }
            history.push(Time::NEVER, process, EventKind::Invoke, "read", OpValue::None, None);
            let shown = OpValue::Set(Shown::whole(value, vec![]));
            history.push(Time::NEVER, process, EventKind::Ok, "read", shown, None);
        }
        assert_eq!(set_full(&history, false).lost, [7]);
    }

    #[test]
    fn quantiles_are_elements_of_the_sort() {
        let quantiles = Quantiles::of((0..100).rev().collect()).expect("some");
        assert_eq!(quantiles, Quantiles { min: 0, median: 50, p95: 95, p99: 99, max: 99 });
        assert_eq!(Quantiles::of(vec![]), None);
        let one = Quantiles::of(vec![3]).expect("some");
        assert_eq!((one.min, one.median, one.max), (3, 3, 3));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn both_twins_say_the_same_of_any_history(
            broadcasts in prop::collection::vec((0u64..40, 0u64..40), 1..6),
            reads in prop::collection::vec((0u64..60, 0u64..30, prop::collection::vec(0i64..6, 0..5)), 0..10),
            // Of each node, when it was killed, for how long it was dead, and for how long it lived before.
            kills in prop::collection::vec(prop::collection::vec((1u64..20, 0u64..20), 0..3), 2),
        ) {
            let mut script = Script::default();
            for (value, (from, length)) in broadcasts.iter().enumerate() {
                script = script.at(value % 2).broadcast(*from, from + length, value as i64);
            }
            for (number, (from, length, values)) in reads.iter().enumerate() {
                script = script.at(number % 2).read(*from, from + length, values);
            }
            for (node, kills) in kills.iter().enumerate() {
                let mut now = 0;
                for (alive, dead) in kills {
                    script = script.kill(now + alive, now + alive + dead, node);
                    now += alive + dead;
                }
            }
            script.check();
        }
    }
}
