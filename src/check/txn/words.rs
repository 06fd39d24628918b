//! Transactions and cycles in sentences.

use std::collections::HashMap;

use super::anomalies;
use super::graph::Rel;
use super::models;
use super::search::Step;
use super::transactions::{Transactions, Txn};
use crate::history::{Event, Process};

/// Tells why one transaction comes before another because of the data.
pub(super) trait Explain {
    /// A clause such as "T1 appended 2 to key 5, and T2 read the list ending in it", with the names given.
    fn because(&self, from: (u32, &str), to: (u32, &str), rel: Rel) -> Option<String>;
}

/// Names transactions T1, T2, … in the order of their mention.
pub(super) struct Words<'t, 'h, R> {
    txns: &'t Transactions<'h, R>,
    numbers: HashMap<u32, usize>,
}

/// Characters of a transaction's micro-operations that are shown; the rest of a long one is left out.
const SHOWN: usize = 300;

impl<'t, 'h, R> Words<'t, 'h, R> {
    /// Words on these transactions.
    pub(super) fn of(txns: &'t Transactions<'h, R>) -> Self {
        Words { txns, numbers: HashMap::new() }
    }

    /// The transaction's name; the first time with who ran it, when, and what it did.
    pub(super) fn introduce(&mut self, txn: u32) -> String {
        let next = self.numbers.len() + 1;
        let number = *self.numbers.entry(txn).or_insert(next);
        let details = if number == next { describe(self.txns.at(txn)) } else { String::new() };
        format!("T{number}{details}")
    }

    /// A cycle: why each transaction comes before the next, and what follows.
    pub(super) fn cycle(&mut self, name: &'static str, steps: &[Step], explain: &dyn Explain) -> String {
        let steps = from_the_earliest(steps);
        let mut sentences: Vec<String> = Vec::new();
        for (place, step) in steps.iter().enumerate() {
            let (from, to) = (self.introduce(step.from), self.introduce(step.to));
            let however = if place + 1 == steps.len() { "However, " } else { "" };
            let reason = self.reason(step, explain);
            sentences.push(format!("{however}{from} comes before {to}, because {reason}."));
        }
        let first = self.introduce(steps.first().map_or(0, |step| step.from));
        sentences.push(format!(
            "So {first} would have to come before itself: no order of these transactions agrees with what they \
             saw. {}",
            forbidden_by(name)
        ));
        sentences.join(" ")
    }

    fn reason(&mut self, step: &Step, explain: &dyn Explain) -> String {
        let (a, b) = (self.introduce(step.from), self.introduce(step.to));
        match step.rel {
            Rel::Process => format!("the same client ran {a} and then {b}"),
            Rel::Realtime => self.in_time(step, &a, &b),
            _ => explain
                .because((step.from, &a), (step.to, &b), step.rel)
                .unwrap_or_else(|| format!("{b} depends on {a}")),
        }
    }

    fn in_time(&self, step: &Step, a: &str, b: &str) -> String {
        let moment =
            |event: Option<&Event>| event.map_or_else(String::new, |event| millis(event.time.as_nanos()));
        let (end, begin) = (self.txns.at(step.from).end, self.txns.at(step.to).begin);
        format!("{a} had ended ({}) before {b} began ({})", moment(end), moment(begin))
    }

    /// Transactions of which all that is known is that they depend on each other in a circle.
    pub(super) fn circle(&mut self, name: &'static str, members: &[u32]) -> String {
        let shown: Vec<String> = members.iter().take(4).map(|txn| self.introduce(*txn)).collect();
        let more = match members.len() - shown.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("{}{more} depend on each other in a circle. {}", shown.join(", "), forbidden_by(name))
    }
}

/// Which models do not allow the anomaly.
pub(super) fn forbidden_by(name: &'static str) -> String {
    let (weakest, _) = models::boundary([name]);
    let weakest: Vec<&str> = weakest.iter().map(|model| model.elle_name()).collect();
    match weakest.is_empty() {
        true => String::new(),
        false => format!("This is {name}; {} and stronger models forbid it.", weakest.join(" and ")),
    }
}

/// The same cycle, beginning with the transaction of the least number.
fn from_the_earliest(steps: &[Step]) -> Vec<Step> {
    let mut steps = steps.to_vec();
    let earliest = steps.iter().enumerate().min_by_key(|(_, step)| step.from).map_or(0, |(place, _)| place);
    steps.rotate_left(earliest);
    steps
}

fn describe<R>(txn: &Txn<'_, R>) -> String {
    let who = match txn.process() {
        Some(Process::Client(number)) => format!("process {number}"),
        Some(Process::PasserBy(number)) => format!("passer-by {number}"),
        Some(Process::Nemesis) | None => "somebody".to_owned(),
    };
    let time = |event: &Event| millis(event.time.as_nanos());
    let begin = txn.begin.map_or_else(|| "unknown".to_owned(), time);
    let end = txn.end.map_or_else(|| "never ended".to_owned(), |event| format!("to {}", time(event)));
    let what = txn.event().map_or_else(String::new, |event| shortened(&event.value.to_json().to_string()));
    format!(" ({who}, {begin} {end}: {what})")
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn millis(nanos: u64) -> String {
    let millis = nanos as f64 / 1e6;
    if millis < 10.0 { format!("{millis:.3} ms") } else { format!("{millis:.1} ms") }
}

/// What the anomaly means, what an instance looks like, and which models forbid it.
pub(super) fn finding(name: &str, instance: &str) -> String {
    format!("{name} ({}). {instance}", anomalies::meaning(name))
}
