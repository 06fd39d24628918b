//! The driver for virtual time: nodes as values in this process, time that jumps from event to event.
//!
//! The trial is the same as for real processes, and so are the nodes: lines go through their parsers and
//! encoders. Equal seeds give equal histories.

use super::history::History;
use super::scenario::{Scenario, Verbosity};
use super::trial::{Cluster, Fault, Results, Trial};
use crate::node::{Node, Outbox, Time};

/// Runs a scenario in virtual time, on nodes that `new_node` makes from their index.
///
/// # Errors
/// If a node misbehaves.
pub fn run<N: Node>(
    scenario: &Scenario,
    seed: u64,
    new_node: impl Fn(usize) -> N,
) -> Result<(Results, History), Fault> {
    let mut now = Time::ZERO;
    let mut trial = Trial::new(scenario, seed, Verbosity::default(), now);
    let nodes = (0..scenario.nodes()).map(|index| (new_node(index), N::Scratch::default())).collect();
    let mut nodes = Nodes { nodes, now, out: Outbox::default(), printed: Vec::new() };
    while !trial.is_done() {
        let events = [trial.next_event(), nodes.next_deadline()];
        // A trial that is not done waits for something; a clock never goes back.
        now = events.into_iter().flatten().min().unwrap_or(now).max(now);
        nodes.now = now;
        trial.advance(now, &mut nodes)?;
        nodes.tick();
        for (node, lines) in std::mem::take(&mut nodes.printed) {
            for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
                trial.receive(now, node, line)?;
            }
        }
    }
    Ok(trial.finish())
}

#[derive(Debug)]
struct Nodes<N: Node> {
    nodes: Vec<(N, N::Scratch)>,
    now: Time,
    out: Outbox,
    /// What nodes have printed and the trial has not yet received, in order.
    printed: Vec<(usize, Vec<u8>)>,
}

impl<N: Node> Nodes<N> {
    fn next_deadline(&self) -> Option<Time> {
        self.nodes.iter().filter_map(|(node, _)| node.next_deadline()).min()
    }

    fn tick(&mut self) {
        for index in 0..self.nodes.len() {
            let node = &self.nodes[index].0;
            if node.next_deadline().is_some_and(|due| due <= self.now) {
                node.tick(self.now, &mut self.out);
                self.collect(index);
            }
        }
    }

    fn collect(&mut self, index: usize) {
        self.out.take_reports();
        if !self.out.lines().is_empty() {
            self.printed.push((index, self.out.replace_lines(Vec::new())));
        }
    }
}

impl<N: Node> Cluster for Nodes<N> {
    fn deliver(&mut self, node: usize, line: String) {
        let mut line = line.into_bytes();
        line.pop();
        let (state, scratch) = &mut self.nodes[node];
        state.handle(self.now, &mut line, scratch, &mut self.out);
        self.collect(node);
    }
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
}
