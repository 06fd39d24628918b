//! A path through the model, for people to read.

use std::fmt;

use super::calm::Links;
use super::cluster::{Cluster, Step};
use super::node::{Brings, Claim, Message, Rule, Set};

/// What happens, a step a line, and which links are left at the end if that matters. A restarted node is called by its
/// incarnation, too: `n2#1`.
pub(crate) fn tell<const N: usize>(rule: Rule, path: &[Step], links: Option<Links<N>>) -> Vec<String> {
    let mut cluster = Cluster::<N>::new();
    let mut lines = Vec::new();
    for &step in path {
        lines.push(line(&cluster, step));
        cluster = cluster.after(rule, step);
    }
    lines.extend(links.map(|links| format!("from now on these links work: {}", list(links))));
    lines
}

fn line<const N: usize>(cluster: &Cluster<N>, step: Step) -> String {
    match step {
        Step::Client { node, value } => format!("a client tells n{node} the value {value}"),
        Step::Tell { from, to, claim, brings } => {
            let message = cluster.message(from, to, claim);
            format!("n{from} tells n{to}: {message}{}", taken_up(&message, brings))
        }
        Step::Delay { from, to, claim, .. } => {
            format!("n{from} tells n{to}, which is delayed: {}", cluster.message(from, to, claim))
        }
        Step::Arrive { place, brings } => {
            let message = cluster.delayed(place);
            let Message { from, to, .. } = message;
            format!("what n{from} told n{to} arrives: {message}{}", taken_up(message, brings))
        }
        Step::Suspect { node, member } => format!("n{node} suspects n{member}"),
        Step::Kill { node } => format!("n{node} dies"),
        Step::Restart { node, incarnation } => {
            format!("n{node} starts again, empty, as n{node}#{incarnation}")
        }
    }
}

impl<const N: usize> fmt::Display for Message<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.claim {
            Claim::Mine => f.write_str("I hold ")?,
            Claim::Below => f.write_str("I and those below me hold ")?,
            Claim::AllBut(0) => f.write_str("all hold ")?,
            Claim::AllBut(others) => write!(f, "all but {} hold ", members(others))?,
            Claim::Count(count) => write!(f, "{count} hold ")?,
        }
        f.write_str(&values(self.values))?;
        let restarted = self.incarnations.iter().enumerate().filter(|&(_, &incarnation)| incarnation > 0);
        restarted.into_iter().try_for_each(|(member, incarnation)| write!(f, " n{member}#{incarnation}"))
    }
}

/// What the receiver of a message takes up of what its sender holds.
fn taken_up<const N: usize>(message: &Message<N>, brings: Brings) -> String {
    let to = message.to;
    match (brings.values, brings.incarnations) {
        (0, false) => String::new(),
        (0, true) => format!("; n{to} takes up the incarnations"),
        (some, false) => format!("; n{to} takes up {}", values(some)),
        (some, true) => format!("; n{to} takes up {} and the incarnations", values(some)),
    }
}

fn values(set: Set) -> String {
    let values: Vec<String> =
        (0..8).filter(|value| set >> value & 1 == 1).map(|value| value.to_string()).collect();
    format!("{{{}}}", values.join(", "))
}

fn members(set: Set) -> String {
    let members = (0..8).filter(|member| set >> member & 1 == 1).map(|member| format!("n{member}"));
    members.collect::<Vec<_>>().join(" and ")
}

fn list<const N: usize>(links: Links<N>) -> String {
    let pairs = (0..N).flat_map(|from| (0..N).map(move |to| (from, to)));
    let working = pairs.filter(|&(from, to)| links[from] >> to & 1 == 1);
    working.map(|(from, to)| format!("n{from} to n{to}")).collect::<Vec<_>>().join(", ")
}
