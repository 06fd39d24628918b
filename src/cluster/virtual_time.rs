//! The driver for virtual time: nodes as values in this process, time that jumps from event to event.
//!
//! The trial is the same as for real processes, and so are the nodes: lines go through their parsers and
//! encoders. Nodes may be paused, slowed down and killed, and their clocks may run wrong. Events are ordered by (due
//! time, sequence number), and all draws come from the seed: equal seeds give equal histories.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use crate::cluster::nemesis::{NodeFault, Step, TRUE_PPM};
use crate::cluster::scenario::{Scenario, Verbosity};
use crate::cluster::trial::{Cluster, Results, Trial, Violation};
use crate::history::History;
use crate::node::{Node, Outbox, Time};
use crate::protocol::LineBuf;

/// After so many rounds without any passing of time a run is stuck.
const ROUNDS_AT_ONCE_MAX: u32 = 100_000;

/// Something that a node did: it handled a line, or ticked.
#[derive(Debug)]
pub(crate) struct Act<'a, N> {
    /// When.
    pub(crate) now: Time,
    /// What the node's own clock showed.
    pub(crate) local: Time,
    /// The node's index.
    pub(crate) index: usize,
    /// The node.
    pub(crate) node: &'a N,
    /// What it sent and reported.
    pub(crate) out: &'a Outbox,
}

/// Looks at the nodes while they run.
pub(crate) trait Watch<N: Node> {
    /// A node is about to handle a line.
    fn receives(&mut self, _index: usize, _line: &[u8]) {}

    /// A node has done something.
    ///
    /// # Errors
    /// Ends the run: says what is the matter with the node.
    fn acted(&mut self, _act: Act<'_, N>) -> Result<(), String> {
        Ok(())
    }

    /// A node is killed: what it knew is gone.
    fn killed(&mut self, _index: usize) {}

    /// The nemesis has just done this.
    fn struck(&mut self, _now: Time, _step: &Step) {}

    /// No living node has a timer, and no message is under way: nothing will happen unless somebody does something.
    /// Called after each event that leaves it so.
    ///
    /// # Errors
    /// Ends the run: says which node something is the matter with, and what.
    fn at_rest(&mut self, _now: Time) -> Result<(), (usize, String)> {
        Ok(())
    }

    /// Whether everything has come to rest.
    fn has_settled(&self, _now: Time) -> bool {
        true
    }

    /// The run is over, one way or the other: what has become of each node.
    fn ended(&mut self, _index: usize, _node: &N) {}
}

/// Looks at nothing.
impl<N: Node> Watch<N> for () {}

/// Runs a scenario in virtual time, on nodes that `new_node` makes from their index: one for each life of a
/// node, so more than once from the same index if nodes are killed.
///
/// # Errors
/// If a node misbehaves.
pub fn run<N: Node>(
    scenario: &Scenario,
    seed: u64,
    new_node: impl FnMut(usize) -> N,
) -> Result<(Results, History), Violation> {
    let mut trial = Trial::new(scenario, seed, Verbosity::default(), Time::ZERO);
    drive(&mut trial, new_node, &mut ())?;
    Ok(trial.finish())
}

/// Drives a trial that begins at [`Time::ZERO`] to its end. `new_node` makes the nodes' first lives in order,
/// then another whenever one is killed.
///
/// # Errors
/// If a node misbehaves, or the watch says so.
pub(crate) fn drive<N: Node>(
    trial: &mut Trial,
    mut new_node: impl FnMut(usize) -> N,
    watch: &mut impl Watch<N>,
) -> Result<(), Violation> {
    let mut hosts = Hosts::new(trial.nodes(), &mut new_node, watch);
    let done = hosts.run(trial);
    for (index, host) in hosts.hosts.iter().enumerate() {
        hosts.watch.ended(index, &host.node);
    }
    done
}

struct Hosts<'a, N: Node, W> {
    hosts: Vec<Host<N>>,
    new_node: &'a mut dyn FnMut(usize) -> N,
    now: Time,
    /// When to look at which host again; outdated where the host's own `wake` says otherwise.
    wakes: BinaryHeap<Reverse<(Time, u64, usize)>>,
    next_wake_id: u64,
    out: Outbox,
    /// What nodes have sent and the trial has not yet received, in order.
    sent: Vec<(usize, Outbox)>,
    /// Empty ones.
    spare: Vec<Outbox>,
    /// Who acted last.
    last: usize,
    /// How many hosts have a timer or an unhandled message.
    busy: usize,
    watch: &'a mut W,
    violation: Option<Violation>,
}

/// A node and the machine it is on.
struct Host<N: Node> {
    node: N,
    scratch: N::Scratch,
    clock: Clock,
    paused: bool,
    /// Killed, and not started again: the node is its next life, which nothing reaches.
    dead: bool,
    /// How long it takes over a message.
    service: Duration,
    /// When it has done the last one.
    free_at: Time,
    /// What it has not yet handled, each with the time it came.
    inbox: VecDeque<(Time, String)>,
    /// When it is to be looked at.
    wake: Time,
    /// Whether it was busy when that was last noted.
    was_busy: bool,
}

impl<N: Node> Host<N> {
    /// When the first message in the inbox will have been handled.
    fn handled_at(&self) -> Option<Time> {
        self.inbox.front().map(|(came, _)| (*came).max(self.free_at) + self.service)
    }

    fn rests(&self) -> bool {
        self.paused || self.dead
    }

    fn tick_at(&self) -> Option<Time> {
        self.node.next_deadline().map(|deadline| self.clock.true_time(deadline))
    }

    /// Whether it will do something by itself, once it no longer rests.
    fn is_busy(&self) -> bool {
        !self.dead && (!self.inbox.is_empty() || self.node.next_deadline().is_some())
    }

    fn next_event(&self) -> Time {
        if self.rests() {
            return Time::NEVER;
        }
        [self.handled_at(), self.tick_at()].into_iter().flatten().min().unwrap_or(Time::NEVER)
    }
}

impl<'a, N: Node, W: Watch<N>> Hosts<'a, N, W> {
    fn new(nodes: usize, new_node: &'a mut dyn FnMut(usize) -> N, watch: &'a mut W) -> Self {
        let mut host = |index| Host {
            node: new_node(index),
            scratch: N::Scratch::default(),
            clock: Clock::default(),
            paused: false,
            dead: false,
            service: Duration::ZERO,
            free_at: Time::ZERO,
            inbox: VecDeque::new(),
            wake: Time::NEVER,
            was_busy: false,
        };
        Self {
            hosts: (0..nodes).map(&mut host).collect(),
            new_node,
            now: Time::ZERO,
            wakes: BinaryHeap::new(),
            next_wake_id: 0,
            out: Outbox::default(),
            sent: Vec::new(),
            spare: Vec::new(),
            last: 0,
            busy: 0,
            watch,
            violation: None,
        }
    }

    fn run(&mut self, trial: &mut Trial) -> Result<(), Violation> {
        let mut rounds_at_once = 0;
        while !trial.is_done() {
            let events = [trial.next_event(), self.next_event()];
            // A trial that is not done waits for something; a clock never goes back.
            let now = events.into_iter().flatten().min().unwrap_or(self.now).max(self.now);
            rounds_at_once = if now > self.now { 0 } else { rounds_at_once + 1 };
            if rounds_at_once > ROUNDS_AT_ONCE_MAX {
                return Err(Violation::Endless { node: self.last });
            }
            self.now = now;
            trial.advance(now, self)?;
            self.advance();
            if let Some(violation) = self.violation.take() {
                return Err(violation);
            }
            self.hand_over(trial)?;
            if self.busy == 0 && trial.in_flight() == 0 {
                self.watch.at_rest(now).map_err(|(node, what)| Violation::Broken { node, what })?;
            }
        }
        Ok(())
    }

    /// Gives the trial what nodes have sent.
    fn hand_over(&mut self, trial: &mut Trial) -> Result<(), Violation> {
        let mut sent = std::mem::take(&mut self.sent);
        for (node, mut out) in sent.drain(..) {
            for message in out.messages().iter() {
                trial.receive_sent(self.now, node, &message)?;
            }
            out.clear();
            self.spare.push(out);
        }
        self.sent = sent;
        Ok(())
    }

    /// When a host next has something to do, at the earliest.
    fn next_event(&self) -> Option<Time> {
        self.wakes.peek().map(|Reverse((due, ..))| *due)
    }

    /// Lets every host do what is due: handle messages, all there are if they take no time, or else tick.
    fn advance(&mut self) {
        let mut due = Vec::new();
        while self.next_event().is_some_and(|due| due <= self.now)
            && let Some(Reverse((time, _, index))) = self.wakes.pop()
        {
            if self.hosts[index].wake == time {
                self.hosts[index].wake = Time::NEVER;
                due.push(index);
            }
        }
        for index in due {
            let handled = self.handle_due(index);
            let host = &self.hosts[index];
            if !handled && !host.rests() && host.tick_at().is_some_and(|due| due <= self.now) {
                host.node.tick(host.clock.local(self.now), &mut self.out);
                self.acted(index);
            }
            self.reschedule(index);
        }
    }

    /// True if there was a message to handle.
    fn handle_due(&mut self, index: usize) -> bool {
        let mut any = false;
        while !self.hosts[index].rests()
            && self.hosts[index].handled_at().is_some_and(|due| due <= self.now)
            && let Some((_, line)) = self.hosts[index].inbox.pop_front()
        {
            self.handle(index, line);
            any = true;
        }
        any
    }

    fn handle(&mut self, index: usize, mut line: String) {
        // Its newline.
        line.pop();
        let host = &mut self.hosts[index];
        host.free_at = self.now;
        let mut line = LineBuf::from(line);
        self.watch.receives(index, line.line().bytes());
        host.node.handle(host.clock.local(self.now), line.line(), &mut host.scratch, &mut self.out);
        self.acted(index);
    }

    fn acted(&mut self, index: usize) {
        self.last = index;
        let Host { node, clock, .. } = &self.hosts[index];
        let act = Act { now: self.now, local: clock.local(self.now), index, node, out: &self.out };
        if let Err(what) = self.watch.acted(act) {
            self.violation.get_or_insert(Violation::Broken { node: index, what });
        }
        self.out.take_reports();
        if !self.out.is_empty() {
            let spare = self.spare.pop().unwrap_or_default();
            self.sent.push((index, std::mem::replace(&mut self.out, spare)));
        }
    }

    /// Ends a node's life, and puts its next one in its place. Its machine stays; what it has not yet handled is
    /// lost, and so is what it has sent and nobody has received.
    fn kill(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        host.node = (self.new_node)(index);
        host.scratch = N::Scratch::default();
        host.inbox.clear();
        (host.dead, host.paused) = (true, false);
        self.sent.retain(|(node, _)| *node != index);
        self.watch.killed(index);
    }

    /// Notes when to look at a host next, if that has changed.
    fn reschedule(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        let is_busy = host.is_busy();
        self.busy = self.busy + usize::from(is_busy) - usize::from(host.was_busy);
        host.was_busy = is_busy;
        let due = host.next_event();
        if due != host.wake {
            host.wake = due;
            if due != Time::NEVER {
                self.wakes.push(Reverse((due, self.next_wake_id, index)));
                self.next_wake_id += 1;
            }
        }
    }
}

impl<N: Node, W: Watch<N>> Cluster for Hosts<'_, N, W> {
    fn struck(&mut self, step: &Step) {
        self.watch.struck(self.now, step);
    }

    fn has_settled(&self) -> bool {
        self.watch.has_settled(self.now)
    }

    fn deliver(&mut self, node: usize, line: String) {
        let host = &mut self.hosts[node];
        if host.rests() || !host.service.is_zero() || !host.inbox.is_empty() {
            host.inbox.push_back((self.now, line));
        } else {
            self.handle(node, line);
        }
        self.reschedule(node);
    }

    fn disturb(&mut self, node: usize, fault: NodeFault) {
        let host = &mut self.hosts[node];
        match fault {
            NodeFault::Pause => host.paused = !host.dead,
            NodeFault::Resume => host.paused = false,
            NodeFault::Kill => self.kill(node),
            NodeFault::Restart => host.dead = false,
            NodeFault::Clock { jump, ppm } => host.clock.set(self.now, jump, ppm),
            NodeFault::Slow(time) => host.service = time,
        }
        self.reschedule(node);
    }
}

/// A node's own clock: it may run at another speed than the true time, and jump ahead.
#[derive(Clone, Copy, Debug)]
struct Clock {
    /// Since this true time…
    from: Time,
    /// …when it showed this…
    shown: Time,
    /// …it has been running at this many millionths of the true speed.
    ppm: u32,
}

impl Default for Clock {
    fn default() -> Self {
        Self { from: Time::ZERO, shown: Time::ZERO, ppm: TRUE_PPM }
    }
}

impl Clock {
    /// What it shows at a true time from the last change on.
    fn local(&self, now: Time) -> Time {
        let passed = now.since(self.from).as_nanos() * u128::from(self.ppm) / u128::from(TRUE_PPM);
        self.shown + nanos(passed)
    }

    /// The first true time at which it shows `local` or more.
    fn true_time(&self, local: Time) -> Time {
        let ahead = local.since(self.shown).as_nanos() * u128::from(TRUE_PPM);
        self.from + nanos(ahead.div_ceil(u128::from(self.ppm.max(1))))
    }

    fn set(&mut self, now: Time, jump: Duration, ppm: u32) {
        *self = Self { from: now, shown: self.local(now) + jump, ppm };
    }
}

fn nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::gossip::LockFree;
    use crate::protocol::Line;
    use crate::workload::{broadcast, echo};

    #[test]
    fn the_same_seed_gives_the_same_history() {
        let scenario =
            Scenario { time_limit: 5.0, rate: 50.0, latency: 20.0, ..Scenario::new(broadcast::KIND) };
        let history = |seed| {
            let run = run(&scenario, seed, |index| LockFree::new(Config::default(), index as u64));
            let (_, history) = run.expect("no fault");
            history
                .events()
                .iter()
                .map(|event| serde_json::to_string(event).expect("JSON"))
                .collect::<Vec<_>>()
        };
        assert_eq!(history(1), history(1));
        assert_ne!(history(1), history(2));
    }

    #[test]
    fn a_clock_shows_a_time_exactly_when_it_says_it_will() {
        let at = Time::from_nanos;
        let mut clock = Clock::default();
        for (now, jump, ppm) in
            [(1_000, 0, 500_000), (5_001, 77, 1_999_999), (9_000, 1, 3), (9_001, 0, TRUE_PPM)]
        {
            let before = clock.local(at(now));
            clock.set(at(now), Duration::from_nanos(jump), ppm);
            assert_eq!(clock.local(at(now)), before + Duration::from_nanos(jump));
            for ahead in [0, 1, 2, 1_000_003] {
                let local = clock.local(at(now)) + Duration::from_nanos(ahead);
                let due = clock.true_time(local);
                assert!(clock.local(due) >= local);
                assert!(due == at(now) || clock.local(at(due.as_nanos() - 1)) < local, "not a moment later");
            }
        }
        assert_eq!(Clock::default().true_time(Time::NEVER), Time::NEVER);
    }

    /// Answers `init` and `echo`, and notes what its clock shows when; ticks once a second.
    #[derive(Default)]
    struct Recorder(std::sync::Mutex<Pages>);

    #[derive(Default)]
    struct Pages {
        heard: Vec<Time>,
        ticks: Vec<Time>,
    }

    impl Node for Recorder {
        type Scratch = ();

        fn handle(&self, now: Time, line: Line<'_>, (): &mut (), out: &mut Outbox) {
            let message: serde_json::Value = serde_json::from_slice(line.bytes()).expect("JSON");
            let mut body = message["body"].clone();
            body["in_reply_to"] = body["msg_id"].take();
            let kind = format!("{}_ok", body["type"].as_str().expect("a type"));
            body["type"] = serde_json::json!(kind);
            if kind == "init_ok" {
                body = serde_json::json!({ "type": kind, "in_reply_to": body["in_reply_to"] });
            } else {
                self.0.lock().expect("no panic").heard.push(now);
            }
            body.as_object_mut().expect("an object").remove("msg_id");
            let dest = message["src"].as_str().expect("a name");
            out.send("n0", dest, |text| serde_json::to_writer(text, &body).expect("JSON"));
        }

        fn tick(&self, now: Time, _: &mut Outbox) {
            self.0.lock().expect("no panic").ticks.push(now);
        }

        fn next_deadline(&self) -> Option<Time> {
            let last = self.0.lock().expect("no panic").ticks.last().copied();
            Some(last.unwrap_or_default() + Duration::from_secs(1))
        }

        fn finish(&self, _: Time, _: &mut Outbox) {}
    }

    /// What the node records in ten seconds of echoes, with faults on the way.
    #[derive(Default)]
    struct Reader {
        true_times: Vec<Time>,
        /// Of the last life.
        heard: Vec<Time>,
        /// Likewise.
        ticks: Vec<Time>,
        /// How many of the true times are of former lives.
        former: usize,
        /// The types of all messages.
        told: Vec<String>,
    }

    impl Watch<Recorder> for Reader {
        fn receives(&mut self, _: usize, line: &[u8]) {
            let message: serde_json::Value = serde_json::from_slice(line).expect("JSON");
            self.told.push(message["body"]["type"].as_str().expect("a type").to_owned());
        }

        fn acted(&mut self, act: Act<'_, Recorder>) -> Result<(), String> {
            let pages = act.node.0.lock().expect("no panic");
            if self.former + pages.heard.len() > self.true_times.len() {
                self.true_times.push(act.now);
            }
            Ok(())
        }

        fn killed(&mut self, index: usize) {
            assert_eq!(index, 0);
            self.former = self.true_times.len();
        }

        fn ended(&mut self, _: usize, node: &Recorder) {
            let mut pages = node.0.lock().expect("no panic");
            self.heard = std::mem::take(&mut pages.heard);
            self.ticks = std::mem::take(&mut pages.ticks);
        }
    }

    fn diary(steps: Vec<(u64, NodeFault)>) -> (History, Reader) {
        use crate::cluster::nemesis::{Nemesis, Step};
        use crate::cluster::trial::Quiet;

        let scenario = Scenario {
            node_count: 1,
            time_limit: 10.0,
            rate: 50.0,
            concurrency: "20".parse().expect("a number"),
            ..Scenario::new(echo::KIND)
        };
        let steps = steps.into_iter().map(|(s, fault)| (Duration::from_secs(s), Step::Disturb(0, fault)));
        let (quiet, verbosity) = (Quiet::of(Duration::from_secs(1)), Verbosity::default());
        let mut trial = Trial::under(Nemesis::new(steps), quiet, &scenario, 1, verbosity, Time::ZERO);
        let mut reader = Reader::default();
        drive(&mut trial, |_| Recorder::default(), &mut reader).expect("no fault");
        (trial.finish().1, reader)
    }

    fn secs(time: Time) -> f64 {
        time.as_nanos() as f64 / 1e9
    }

    #[test]
    fn a_paused_node_does_nothing_and_loses_nothing() {
        let (history, reader) = diary(vec![(2, NodeFault::Pause), (5, NodeFault::Resume)]);
        let silent = |&&time: &&Time| (2.0..5.0).contains(&secs(time));
        assert_eq!(reader.true_times.iter().filter(silent).count(), 0);
        assert_eq!(reader.ticks.iter().filter(silent).count(), 0);
        assert!(
            reader.true_times.iter().filter(|&&time| secs(time) == 5.0).count() > 10,
            "the backlog, at once"
        );
        assert!(reader.ticks.iter().any(|&time| secs(time) == 5.0), "a tick that was overdue");
        let (begun, ended) = (history.invocations(), reader.heard.len());
        assert_eq!(begun, ended, "every request is handled in the end");
    }

    #[test]
    fn a_killed_node_is_told_nothing_until_it_is_another_one() {
        let (history, reader) = diary(vec![(2, NodeFault::Kill), (5, NodeFault::Restart)]);
        let dead = |&time: &Time| (2.0..5.0).contains(&secs(time));
        assert!(!reader.true_times.iter().any(dead));
        assert!(
            reader.heard.iter().chain(&reader.ticks).all(|&time| secs(time) >= 5.0),
            "all else is forgotten"
        );
        assert!(reader.former > 50 && !reader.heard.is_empty());
        assert_eq!(reader.told.iter().filter(|kind| *kind == "init").count(), 2);
        let (lost, kept): (Vec<_>, Vec<_>) =
            history.completed().partition(|(invoked, _)| (2.0..5.0).contains(&secs(invoked.time)));
        assert!(lost.len() >= 20 && lost.iter().all(|(_, done)| done.error.as_deref() == Some("timed out")));
        assert!(kept.iter().all(|(_, done)| done.error.is_none()));
        let of_nemesis: Vec<_> = history
            .events()
            .iter()
            .filter(|event| event.process == crate::history::Process::Nemesis)
            .collect();
        assert_eq!(of_nemesis.iter().map(|event| &*event.f).collect::<Vec<_>>(), ["kill", "restart"]);
    }

    #[test]
    fn what_waits_for_a_node_dies_with_it_and_its_machine_stays_as_it_is() {
        let slow = Duration::from_millis(100);
        let fast = NodeFault::Clock { jump: Duration::from_secs(100), ppm: 2_000_000 };
        let (history, reader) =
            diary(vec![(1, NodeFault::Slow(slow)), (1, fast), (2, NodeFault::Kill), (3, NodeFault::Restart)]);
        assert!(reader.true_times.len() < history.invocations(), "some requests were in the inbox");
        let after: Vec<Time> = reader.true_times[reader.former..].to_vec();
        assert!(after.windows(2).all(|pair| pair[1].since(pair[0]) >= slow));
        assert!(reader.heard.iter().all(|&time| secs(time) > 105.0));
    }

    #[test]
    fn a_killed_node_is_no_longer_paused() {
        let (_, reader) = diary(vec![
            (2, NodeFault::Pause),
            (3, NodeFault::Kill),
            (4, NodeFault::Pause),
            (5, NodeFault::Restart),
        ]);
        assert!(reader.heard.iter().any(|&time| secs(time) < 7.5), "nor is it paused when it is dead");
    }

    #[test]
    fn a_slow_node_takes_one_message_after_the_other() {
        let slow = Duration::from_millis(40);
        let (_, reader) = diary(vec![(2, NodeFault::Slow(slow)), (5, NodeFault::Slow(Duration::ZERO))]);
        let during: Vec<Time> =
            reader.true_times.into_iter().filter(|&t| (2.0..5.0).contains(&secs(t))).collect();
        assert!(
            (60..=75).contains(&during.len()),
            "50 a second come and 25 a second are handled: {}",
            during.len()
        );
        assert!(during.windows(2).all(|pair| pair[1].since(pair[0]) >= slow));
    }

    #[test]
    fn a_clock_that_is_wrong_moves_ticks_and_nothing_else() {
        let fast = NodeFault::Clock { jump: Duration::from_secs(100), ppm: 2_000_000 };
        let right = NodeFault::Clock { jump: Duration::ZERO, ppm: TRUE_PPM };
        let (_, reader) = diary(vec![(2, fast), (5, right)]);
        let early: Vec<f64> = reader.ticks.iter().map(|&time| secs(time)).take(4).collect();
        assert_eq!(early, [1.0, 102.0, 103.0, 104.0], "the second tick is late, and no other");
        let (seen, heard): (Vec<f64>, Vec<f64>) =
            reader.true_times.iter().zip(&reader.heard).map(|(&a, &b)| (secs(a), secs(b))).unzip();
        for (&real, &shown) in seen.iter().zip(&heard) {
            let expected = if real < 2.0 {
                real
            } else if real < 5.0 {
                102.0 + 2.0 * (real - 2.0)
            } else {
                103.0 + real
            };
            assert!((shown - expected).abs() < 1e-6, "{real}: {shown}");
        }
    }

    #[test]
    fn a_node_that_is_never_done_is_stopped() {
        /// Always wants to tick at once.
        struct Restless;
        impl Node for Restless {
            type Scratch = ();
            fn handle(&self, _: Time, _: Line<'_>, (): &mut (), _: &mut Outbox) {}
            fn tick(&self, _: Time, _: &mut Outbox) {}
            fn next_deadline(&self) -> Option<Time> {
                Some(Time::ZERO)
            }
            fn finish(&self, _: Time, _: &mut Outbox) {}
        }
        let scenario = Scenario { node_count: 2, ..Scenario::new(echo::KIND) };
        assert!(matches!(run(&scenario, 1, |_| Restless), Err(Violation::Endless { .. })));
    }
}
