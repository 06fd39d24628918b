//! What came of a run: the verdicts, the counts, and what is wrong, in words.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::{Mishap, Strays, TIMED_OUT, Trial};
use crate::check::availability::AvailabilityResult;
use crate::check::silence::silence;
use crate::check::stats::Stats;
use crate::check::{Finding, Valid};
use crate::cluster::network::NetStats;
use crate::cluster::scenario::{FaultKind, Scenario};
use crate::history::{History, Process};
use crate::node::Time;
use crate::workload::WorkloadResult;

/// So many messages a second of each node, while clients say nothing, are worth a word.
const FLOOD_A_NODE: f64 = 100.0;
/// Where there is no such time: so many messages under way in the end, if they are so large a part of all that were sent.
const FLOOD_MIN: usize = 1000;
const FLOOD_PART: f64 = 0.1;
/// A rate that wasn't reached is worth a word if so many operations were asked for, and less than this part was made.
const PACE_OPS_MIN: f64 = 20.0;
const PACE_PART: f64 = 0.8;

/// What came of a run, by Maelstrom's names.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Results {
    /// The worst of the verdicts.
    pub valid: Valid,
    /// The seed of what the bench drew.
    pub seed: u64,
    /// How operations ended.
    pub stats: Stats,
    /// Whether enough succeeded.
    pub availability: AvailabilityResult,
    /// Operations that did not end well, by kind: the most frequent first.
    pub exceptions: Vec<Mishap>,
    /// Answers that no client waited for.
    pub strays: Strays,
    /// Counts of messages.
    pub net: Net,
    /// How often each fault struck, by the name of its beginning in the history.
    pub faults: BTreeMap<String, usize>,
    /// The workload's verdict.
    pub workload: WorkloadResult,
    /// What is wrong, in words.
    pub findings: Vec<Finding>,
}

/// Counts of messages, by who was at the ends.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Net {
    /// All messages.
    pub all: NetStats,
    /// A client at one end.
    pub clients: NetStats,
    /// Nodes at both ends.
    pub servers: NetStats,
    /// Messages that partitions and other cuts held back.
    #[serde(rename = "cut-off-count")]
    pub cut_off: u64,
    /// Messages that were lost on the way, or arrived at a node that was dead.
    #[serde(rename = "lost-count")]
    pub lost: u64,
}

impl Trial {
    /// The run's results, with the history they come from.
    #[must_use]
    pub fn finish(mut self) -> (Results, History) {
        let history = std::mem::take(&mut self.history);
        let stats = Stats::of(&history);
        let availability = AvailabilityResult::of(&history, self.scenario.availability);
        let ops = history.invocations();
        let traffic = self.network.traffic();
        let workload = (self.scenario.workload.check)(&history, &self.scenario.options);
        let valid = stats.all.valid.max(availability.valid).max(workload.valid);
        let exceptions = self.mishaps.all();
        let strays = std::mem::take(&mut self.mishaps.strays);
        // What is wrong with answers comes before what that leads to.
        let mut findings: Vec<Finding> = Vec::new();
        let silent = self.silence(&history);
        let malformed = exceptions.iter().filter(|mishap| mishap.is_malformed());
        findings.extend(malformed.filter_map(|mishap| mishap.finding(false)));
        findings.extend(strays.finding());
        let is_strict = self.scenario.options.strict_maelstrom;
        let mut closed = strays.closed_finding(is_strict);
        // What follows from it comes after it.
        findings.extend(closed.take_if(|_| is_strict));
        findings.extend(self.unended);
        findings.extend(workload.findings.iter().map(|finding| finding.clone().with_nodes(&history)));
        let wanting = stats.finding().into_iter().chain(availability.finding(self.scenario.availability));
        for finding in wanting {
            // Errors are a mistake only where nothing else happens.
            findings.push(finding);
            findings.extend(exceptions.iter().filter_map(Mishap::error));
        }
        let others = exceptions.iter().filter(|mishap| !mishap.is_malformed());
        findings.extend(others.filter_map(|mishap| mishap.finding(silent.is_some())));
        findings.extend(silent);
        findings.extend(closed);
        let nodes = self.scenario.nodes();
        let in_flight = self.network.in_flight();
        findings.extend(flood(self.sent_in_quiet, in_flight, traffic.all().sent, nodes));
        if !exceptions.iter().any(Mishap::is_struck) {
            findings.extend(pace(&self.scenario, ops));
        }
        let faults = faults(&history);
        findings.extend(never_struck(&self.scenario, &faults));
        if ops == 0 {
            findings.push(idle());
        }
        let net = Net {
            all: traffic.all().stats(ops),
            clients: traffic.clients.stats(ops),
            servers: traffic.servers.stats(ops),
            cut_off: traffic.cut_off,
            lost: traffic.lost,
        };
        let results = Results {
            valid,
            seed: self.seed,
            stats,
            availability,
            exceptions,
            strays,
            net,
            faults,
            workload,
            findings,
        };
        (results, history)
    }

    /// Nodes that stopped answering by themselves.
    fn silence(&self, history: &History) -> Option<Finding> {
        silence(history, TIMED_OUT, |node| {
            let until = self.lives.struck_until(node)?;
            Some(if until == Time::NEVER { until } else { Time::ZERO + until.since(self.began) })
        })
    }
}

/// Nodes that go on sending when nobody asks them anything: how many messages they sent in the quiet after the last request, or, if
/// there was none, how many of all that were sent are still under way in the end.
fn flood(quiet: Option<(u64, Duration)>, in_flight: usize, sent: u64, nodes: usize) -> Option<Finding> {
    let what = if let Some((sent, time)) = quiet {
        let time = time.as_secs_f64();
        let a_second = sent as f64 / time;
        let is_flood = a_second > FLOOD_A_NODE * nodes as f64;
        is_flood.then(|| {
            format!(
                "Nodes sent each other {sent} messages in the {time:.0} s after the last request, {a_second:.0} a second; \
                 {in_flight} were still under way in the end."
            )
        })
    } else {
        let is_flood = in_flight > FLOOD_MIN && in_flight as f64 > FLOOD_PART * sent as f64;
        is_flood.then(|| {
            format!("Nodes send more than arrives: of {sent} messages {in_flight} were still under way in the end.")
        })
    };
    what.map(|what| {
        Finding::new(
            what,
            "Does a message cause others that cause it again? Pass on what is new alone, and don't send again what may still be \
             answered.",
        )
    })
}

/// How faults begin, by their names in a history: what of them is no fault has a value that says so.
const BEGINNINGS: [(FaultKind, &str); 10] = [
    (FaultKind::Partition, "start-partition"),
    (FaultKind::OneWay, "start-one-way"),
    (FaultKind::Kill, "kill"),
    (FaultKind::KillForGood, "kill-for-good"),
    (FaultKind::Pause, "pause"),
    (FaultKind::Loss, "lose"),
    (FaultKind::Duplication, "duplicate"),
    (FaultKind::Reordering, "reorder"),
    (FaultKind::Slow, "delay"),
    (FaultKind::Corrupt, "corrupt"),
];

/// How often each fault began.
fn faults(history: &History) -> BTreeMap<String, usize> {
    let mut faults = BTreeMap::new();
    let by_nemesis = history.events().iter().filter(|event| event.process == Process::Nemesis);
    for event in by_nemesis {
        let value = event.value.to_json();
        let is_end = *value == 0.0 || (value.is_null() && matches!(&*event.f, "reorder" | "delay"));
        if !is_end && BEGINNINGS.iter().any(|(_, f)| *f == event.f) {
            *faults.entry(event.f.clone().into_owned()).or_default() += 1;
        }
    }
    faults
}

/// A fault that was asked for and did not come.
fn never_struck(scenario: &Scenario, faults: &BTreeMap<String, usize>) -> Option<Finding> {
    let missing =
        BEGINNINGS.iter().find(|(kind, f)| scenario.nemesis.contains(kind) && !faults.contains_key(*f));
    missing.map(|(kind, _)| {
        Finding::new(
            format!(
                "--nemesis {} was asked for and never struck, so that nothing is known of it.",
                kind.name()
            ),
            format!(
                "The run was too short for a --nemesis-interval of {} s, or there are too few nodes.",
                scenario.nemesis_interval
            ),
        )
    })
}

/// Clients that made no request.
fn idle() -> Finding {
    Finding::new(
        "Clients made no request, so that nothing was checked.",
        "They do at a --rate above 0, within the --time-limit.",
    )
}

/// Clients that made fewer requests than were asked for.
fn pace(scenario: &Scenario, ops: usize) -> Option<Finding> {
    let Scenario { rate, time_limit, .. } = scenario;
    let asked = rate * time_limit;
    let clients = match scenario.workers() {
        1 => "the one client waits for an answer before it makes its next request".to_owned(),
        workers => {
            format!("each of the {workers} clients waits for an answer before it makes its next request")
        }
    };
    (asked >= PACE_OPS_MIN && (ops as f64) < PACE_PART * asked).then(|| {
        Finding::new(
            format!(
                "Clients made {ops} requests; a rate of {rate} for {time_limit} s asks for about {asked:.0}. That was too fast for \
                 the nodes: {clients}."
            ),
            "Nodes answer too slowly for that rate. More clients (--concurrency) wait for more answers at once.",
        )
    })
}
