//! The driver for virtual time: nodes as values in this process, time that jumps from event to event.
//!
//! The trial is the same as for real processes, and so are the nodes: lines go through their parsers and
//! encoders. Nodes may be paused and slowed down, and their clocks may run wrong. Events are ordered by (due
//! time, sequence number), and all draws come from the seed: equal seeds give equal histories.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use super::history::History;
use super::nemesis::Trouble;
use super::scenario::{Scenario, Verbosity};
use super::trial::{Cluster, Fault, Results, Trial};
use crate::node::{Node, Outbox, Time};

/// After so many rounds without any passing of time a run is stuck.
const ROUNDS_AT_ONCE_MAX: u32 = 100_000;

/// Something that a node did: it handled a line, or ticked.
#[derive(Debug)]
pub struct Act<'a, N> {
    /// When.
    pub now: Time,
    /// What the node's own clock showed.
    pub local: Time,
    /// The node's index.
    pub index: usize,
    /// The node.
    pub node: &'a N,
    /// What it printed: whole lines.
    pub printed: &'a [u8],
}

/// Looks at the nodes while they run.
pub trait Watch<N: Node> {
    /// A node is about to handle a line.
    fn receives(&mut self, index: usize, line: &[u8]);

    /// A node has done something.
    ///
    /// # Errors
    /// Ends the run: says what is the matter with the node.
    fn acted(&mut self, act: Act<'_, N>) -> Result<(), String>;

    /// The run is over, one way or the other: what has become of each node.
    fn ended(&mut self, index: usize, node: &N);
}

/// Looks at nothing.
impl<N: Node> Watch<N> for () {
    fn receives(&mut self, _: usize, _: &[u8]) {}

    fn acted(&mut self, _: Act<'_, N>) -> Result<(), String> {
        Ok(())
    }

    fn ended(&mut self, _: usize, _: &N) {}
}

/// Runs a scenario in virtual time, on nodes that `new_node` makes from their index.
///
/// # Errors
/// If a node misbehaves.
pub fn run<N: Node>(
    scenario: &Scenario,
    seed: u64,
    new_node: impl FnMut(usize) -> N,
) -> Result<(Results, History), Fault> {
    let mut trial = Trial::new(scenario, seed, Verbosity::default(), Time::ZERO);
    drive(&mut trial, (0..scenario.nodes()).map(new_node), &mut ())?;
    Ok(trial.finish())
}

/// Drives a trial that begins at [`Time::ZERO`] to its end.
///
/// # Errors
/// If a node misbehaves, or the watch says so.
pub fn drive<N: Node>(
    trial: &mut Trial,
    nodes: impl Iterator<Item = N>,
    watch: &mut impl Watch<N>,
) -> Result<(), Fault> {
    let mut hosts = Hosts::new(nodes, watch);
    let done = hosts.run(trial);
    for (index, host) in hosts.hosts.iter().enumerate() {
        hosts.watch.ended(index, &host.node);
    }
    done
}

struct Hosts<'a, N: Node, W> {
    hosts: Vec<Host<N>>,
    now: Time,
    /// When to look at which host again; outdated where the host's own `wake` says otherwise.
    wakes: BinaryHeap<Reverse<(Time, u64, usize)>>,
    next_wake_id: u64,
    out: Outbox,
    /// What nodes have printed and the trial has not yet received, in order.
    printed: Vec<(usize, Vec<u8>)>,
    /// Empty buffers.
    spare: Vec<Vec<u8>>,
    /// Who acted last.
    last: usize,
    watch: &'a mut W,
    fault: Option<Fault>,
}

/// A node and the machine it is on.
struct Host<N: Node> {
    node: N,
    scratch: N::Scratch,
    clock: Clock,
    paused: bool,
    /// How long it takes over a message.
    service: Duration,
    /// When it has done the last one.
    free_at: Time,
    /// What it has not yet handled, each with the time it came.
    inbox: VecDeque<(Time, String)>,
    /// When it is to be looked at.
    wake: Time,
}

impl<N: Node> Host<N> {
    /// When the first message in the inbox will have been handled.
    fn handled_at(&self) -> Option<Time> {
        self.inbox.front().map(|(came, _)| (*came).max(self.free_at) + self.service)
    }

    fn tick_at(&self) -> Option<Time> {
        self.node.next_deadline().map(|deadline| self.clock.true_time(deadline))
    }

    fn next_event(&self) -> Time {
        if self.paused {
            return Time::NEVER;
        }
        [self.handled_at(), self.tick_at()].into_iter().flatten().min().unwrap_or(Time::NEVER)
    }
}

impl<'a, N: Node, W: Watch<N>> Hosts<'a, N, W> {
    fn new(nodes: impl Iterator<Item = N>, watch: &'a mut W) -> Self {
        let host = |node| Host {
            node,
            scratch: N::Scratch::default(),
            clock: Clock::default(),
            paused: false,
            service: Duration::ZERO,
            free_at: Time::ZERO,
            inbox: VecDeque::new(),
            wake: Time::NEVER,
        };
        Self {
            hosts: nodes.map(host).collect(),
            now: Time::ZERO,
            wakes: BinaryHeap::new(),
            next_wake_id: 0,
            out: Outbox::default(),
            printed: Vec::new(),
            spare: Vec::new(),
            last: 0,
            watch,
            fault: None,
        }
    }

    fn run(&mut self, trial: &mut Trial) -> Result<(), Fault> {
        let mut rounds_at_once = 0;
        while !trial.is_done() {
            let events = [trial.next_event(), self.next_event()];
            // A trial that is not done waits for something; a clock never goes back.
            let now = events.into_iter().flatten().min().unwrap_or(self.now).max(self.now);
            rounds_at_once = if now > self.now { 0 } else { rounds_at_once + 1 };
            if rounds_at_once > ROUNDS_AT_ONCE_MAX {
                return Err(Fault::Endless { node: self.last });
            }
            self.now = now;
            trial.advance(now, self)?;
            self.advance();
            self.hand_over(trial)?;
            if let Some(fault) = self.fault.take() {
                return Err(fault);
            }
        }
        Ok(())
    }

    /// Gives the trial what nodes have printed.
    fn hand_over(&mut self, trial: &mut Trial) -> Result<(), Fault> {
        let mut printed = std::mem::take(&mut self.printed);
        for (node, lines) in printed.drain(..) {
            for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
                trial.receive(self.now, node, line)?;
            }
            self.spare.push(lines);
        }
        self.printed = printed;
        Ok(())
    }

    /// When a host next has something to do, at the earliest.
    fn next_event(&self) -> Option<Time> {
        self.wakes.peek().map(|Reverse((due, ..))| *due)
    }

    /// Lets every host do one thing that is due.
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
            let host = &mut self.hosts[index];
            if host.handled_at().is_some_and(|due| due <= self.now) && !host.paused {
                if let Some((_, line)) = host.inbox.pop_front() {
                    self.handle(index, line);
                }
            } else if host.tick_at().is_some_and(|due| due <= self.now) && !host.paused {
                host.node.tick(host.clock.local(self.now), &mut self.out);
                self.acted(index);
            }
            self.reschedule(index);
        }
    }

    fn handle(&mut self, index: usize, line: String) {
        let host = &mut self.hosts[index];
        host.free_at = self.now;
        let mut line = line.into_bytes();
        line.pop();
        self.watch.receives(index, &line);
        host.node.handle(host.clock.local(self.now), &mut line, &mut host.scratch, &mut self.out);
        self.acted(index);
    }

    fn acted(&mut self, index: usize) {
        self.last = index;
        self.out.take_reports();
        let Host { node, clock, .. } = &self.hosts[index];
        let local = clock.local(self.now);
        let act = Act { now: self.now, local, index, node, printed: self.out.lines() };
        if let Err(what) = self.watch.acted(act) {
            self.fault.get_or_insert(Fault::Broken { node: index, what });
        }
        if !self.out.lines().is_empty() {
            let mut spare = self.spare.pop().unwrap_or_default();
            spare.clear();
            self.printed.push((index, self.out.replace_lines(spare)));
        }
    }

    /// Notes when to look at a host next, if that has changed.
    fn reschedule(&mut self, index: usize) {
        let host = &mut self.hosts[index];
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
    fn deliver(&mut self, node: usize, line: String) {
        let host = &mut self.hosts[node];
        if host.paused || !host.service.is_zero() || !host.inbox.is_empty() {
            host.inbox.push_back((self.now, line));
        } else {
            self.handle(node, line);
        }
        self.reschedule(node);
    }

    fn disturb(&mut self, node: usize, trouble: Trouble) {
        let host = &mut self.hosts[node];
        match trouble {
            Trouble::Pause => host.paused = true,
            Trouble::Resume => host.paused = false,
            Trouble::Clock { jump, ppm } => host.clock.set(self.now, jump, ppm),
            Trouble::Slow(time) => host.service = time,
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

const TRUE_PPM: u32 = 1_000_000;

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
    use crate::workbench::scenario::WorkloadKind;

    #[test]
    fn the_same_seed_gives_the_same_history() {
        let scenario =
            Scenario { time_limit: 5.0, rate: 50.0, latency: 20.0, ..Scenario::new(WorkloadKind::Broadcast) };
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
}
