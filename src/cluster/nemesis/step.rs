//! What the nemesis does, what makes it good again, and how it is told.

use std::fmt;
use std::time::Duration;

use super::PartitionKind;
use crate::cluster::network::Extra;

/// What the nemesis does next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Cut these pairs (receiver, source) off, in place of an earlier partition.
    StartPartition(PartitionKind, Vec<(usize, usize)>),
    /// Heal the network.
    StopPartition,
    /// Let no message pass from the second to the first of each pair, whatever passes the other way.
    StartOneWay(Vec<(usize, usize)>),
    /// Let them pass again.
    StopOneWay,
    /// Lose this part of the messages between nodes.
    Lose(f64),
    /// Deliver this part of them twice.
    Duplicate(f64),
    /// Delay some of them, so that others overtake them.
    Reorder(Option<Extra>),
    /// Delay them by anything.
    Delay(Option<Extra>),
    /// Damage this part of the lines in which they are delivered.
    Corrupt(f64),
    /// Do something to a node.
    Disturb(usize, NodeFault),
    /// Broadcast so many values at once, all to this node.
    Burst(usize, usize),
    /// Cut these pairs (receiver, source) off until the end of the run, in place of those cut off so before.
    CutForGood(Vec<(usize, usize)>),
    /// Let no message pass from the second to the first of each pair, in place of those cut off so before. Apart from the
    /// other kinds of cuts: they come just after a value, and those of the other kinds whenever they come.
    StartSudden {
        /// The pairs (receiver, source).
        cuts: Vec<(usize, usize)>,
        /// Whether they last until the end of the run.
        for_good: bool,
    },
    /// Let them pass again.
    StopSudden,
    /// End a node's process as [`NodeFault::Kill`] does. It is never started again.
    KillForGood(usize),
    /// Let clients say nothing more until the run ends, but for [bursts](Step::Burst).
    Lull,
    /// Let clients go on.
    Return,
    /// Have all clients talk to these nodes until the run ends, but for bursts.
    TalkTo(Vec<usize>),
    /// Let what goes over these links take so many times the latency, until the run ends.
    Stretch {
        /// The pairs (receiver, source).
        links: Vec<(usize, usize)>,
        /// What the latency is multiplied by.
        factor: f64,
    },
}

/// What may befall a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeFault {
    /// It does nothing and loses nothing, as if stopped by SIGSTOP.
    Pause,
    /// It goes on.
    Resume,
    /// Its process ends at once, as if by SIGKILL: it loses all that it knew, and what is sent to it vanishes.
    Kill,
    /// It is started again: a new process, which knows nothing. Its clock and its speed are the machine's, and
    /// stay as they are.
    Restart,
    /// Its clock jumps ahead, and then runs at this many millionths of the true speed.
    Clock {
        /// How far it jumps.
        jump: Duration,
        /// A million is true.
        ppm: u32,
    },
    /// It takes so long over each message.
    Slow(Duration),
}

impl NodeFault {
    /// The clock runs true again, from what it shows by now.
    pub const RIGHT_CLOCK: NodeFault = NodeFault::Clock { jump: Duration::ZERO, ppm: TRUE_PPM };
}

impl Step {
    /// What it is about: a later step about the same takes its place.
    #[must_use]
    pub fn subject(&self) -> (u8, usize) {
        match self {
            Step::StartPartition(..) | Step::StopPartition => (0, 0),
            Step::StartOneWay(_) | Step::StopOneWay => (1, 0),
            Step::Lose(_) => (2, 0),
            Step::Duplicate(_) => (3, 0),
            Step::Reorder(_) => (4, 0),
            Step::Delay(_) => (5, 0),
            Step::Disturb(node, NodeFault::Pause | NodeFault::Resume) => (6, *node),
            Step::Disturb(node, NodeFault::Clock { .. }) => (7, *node),
            Step::Disturb(node, NodeFault::Slow(_)) => (8, *node),
            Step::Burst(node, _) => (9, *node),
            Step::Disturb(node, NodeFault::Kill | NodeFault::Restart) => (10, *node),
            Step::CutForGood(_) => (11, 0),
            Step::StartSudden { .. } | Step::StopSudden => (12, 0),
            Step::KillForGood(node) => (13, *node),
            Step::Lull | Step::Return => (14, 0),
            Step::TalkTo(_) => (15, 0),
            Step::Stretch { .. } => (16, 0),
            Step::Corrupt(_) => (17, 0),
        }
    }

    /// Whether it makes something bad and lasting, rather than good again, or bad for a moment.
    #[must_use]
    pub fn lasts(&self) -> bool {
        match self {
            Step::StartPartition(..)
            | Step::StartOneWay(_)
            | Step::CutForGood(_)
            | Step::StartSudden { .. }
            | Step::KillForGood(_)
            | Step::Disturb(_, NodeFault::Pause | NodeFault::Kill) => true,
            Step::Lose(part) | Step::Duplicate(part) | Step::Corrupt(part) => *part > 0.0,
            Step::Reorder(extra) | Step::Delay(extra) => extra.is_some(),
            Step::Disturb(_, NodeFault::Clock { ppm, .. }) => *ppm != TRUE_PPM,
            Step::Disturb(_, NodeFault::Slow(time)) => !time.is_zero(),
            Step::StopPartition
            | Step::StopOneWay
            | Step::StopSudden
            | Step::Disturb(_, NodeFault::Resume | NodeFault::Restart)
            | Step::Burst(..)
            | Step::Lull
            | Step::Return
            | Step::TalkTo(_)
            | Step::Stretch { .. } => false,
        }
    }

    /// The step that makes good what this one began; none if nothing need, or nothing does.
    #[must_use]
    pub fn ended(&self) -> Option<Step> {
        let disturb = |node: usize, fault| Step::Disturb(node, fault);
        Some(match *self {
            Step::StartPartition(..) => Step::StopPartition,
            Step::StartOneWay(_) => Step::StopOneWay,
            Step::StartSudden { for_good: false, .. } => Step::StopSudden,
            Step::Lose(_) => Step::Lose(0.0),
            Step::Duplicate(_) => Step::Duplicate(0.0),
            Step::Corrupt(_) => Step::Corrupt(0.0),
            Step::Reorder(_) => Step::Reorder(None),
            Step::Delay(_) => Step::Delay(None),
            Step::Disturb(node, NodeFault::Pause) => disturb(node, NodeFault::Resume),
            Step::Disturb(node, NodeFault::Kill) => disturb(node, NodeFault::Restart),
            Step::Disturb(node, NodeFault::Clock { .. }) => disturb(node, NodeFault::RIGHT_CLOCK),
            Step::Disturb(node, NodeFault::Slow(_)) => disturb(node, NodeFault::Slow(Duration::ZERO)),
            Step::StopPartition
            | Step::StopOneWay
            | Step::StopSudden
            | Step::Disturb(_, NodeFault::Resume | NodeFault::Restart)
            | Step::Burst(..)
            | Step::CutForGood(_)
            | Step::StartSudden { for_good: true, .. }
            | Step::KillForGood(_)
            | Step::Lull
            | Step::Return
            | Step::TalkTo(_)
            | Step::Stretch { .. } => return None,
        })
    }
}

impl fmt::Display for Step {
    /// In words, with nodes that are called n0, n1, ….
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.in_words(|node| format!("n{node}")))
    }
}

impl Step {
    /// In words, with the names of the nodes.
    #[must_use]
    pub fn in_words(&self, name: impl Fn(usize) -> String) -> String {
        let percent = |part: f64| format!("{:.1} % of messages", 100.0 * part);
        match self {
            Step::StartPartition(kind, _) => format!("partition: {}", kind.name()),
            Step::StopPartition => "the partition is healed".to_owned(),
            Step::StartOneWay(cuts) => format!("links cut one way: {}", cuts.len()),
            Step::StopOneWay => "links work both ways again".to_owned(),
            Step::Lose(0.0) => "messages are no longer lost".to_owned(),
            Step::Lose(part) => format!("{} are lost", percent(*part)),
            Step::Duplicate(0.0) => "messages are no longer doubled".to_owned(),
            Step::Duplicate(part) => format!("{} are doubled", percent(*part)),
            Step::Corrupt(0.0) => "messages are no longer damaged".to_owned(),
            Step::Corrupt(part) => format!("{} are damaged", percent(*part)),
            Step::Reorder(None) => "messages are no longer reordered".to_owned(),
            Step::Reorder(Some(extra)) => {
                format!("{} are overtaken, up to {} ms late", percent(extra.share), extra.longest_ms)
            }
            Step::Delay(None) => "messages are no longer delayed".to_owned(),
            Step::Delay(Some(extra)) => {
                format!("{} are delayed by up to {} ms", percent(extra.share), extra.longest_ms)
            }
            Step::Disturb(node, NodeFault::Pause) => format!("{} pauses", name(*node)),
            Step::Disturb(node, NodeFault::Resume) => format!("{} goes on", name(*node)),
            Step::Disturb(node, NodeFault::Kill) => format!("{} is killed", name(*node)),
            Step::Disturb(node, NodeFault::Restart) => format!("{} is started again", name(*node)),
            Step::Disturb(node, NodeFault::Clock { ppm: TRUE_PPM, .. }) => {
                format!("{}'s clock runs true again", name(*node))
            }
            Step::Disturb(node, NodeFault::Clock { jump, ppm }) => {
                let speed = f64::from(*ppm) / f64::from(TRUE_PPM);
                format!(
                    "{}'s clock jumps by {} ms and runs at {speed:.3} of the true speed",
                    name(*node),
                    jump.as_millis()
                )
            }
            Step::Disturb(node, NodeFault::Slow(Duration::ZERO)) => {
                format!("{} is no longer slow", name(*node))
            }
            Step::Disturb(node, NodeFault::Slow(time)) => {
                format!("{} takes {time:?} over each message", name(*node))
            }
            Step::Burst(node, count) => format!("{count} values are broadcast to {} at once", name(*node)),
            Step::CutForGood(cuts) => format!("links cut for good: {}", cuts.len() / 2),
            Step::StartSudden { cuts, for_good } => {
                let pairs: Vec<String> = cuts
                    .iter()
                    .take(8)
                    .map(|&(to, from)| format!("{} to {}", name(from), name(to)))
                    .collect();
                let more = if cuts.len() > pairs.len() { ", …" } else { "" };
                let how_long = if *for_good { " for good" } else { "" };
                format!("suddenly cut{how_long}: {}{more}", pairs.join(", "))
            }
            Step::StopSudden => "the sudden cut is healed".to_owned(),
            Step::KillForGood(node) => format!("{} is killed for good", name(*node)),
            Step::Lull => "clients fall silent".to_owned(),
            Step::Return => "clients go on".to_owned(),
            Step::Stretch { links, factor } => {
                format!("links that take {factor} of the latency: {}", links.len())
            }
            Step::TalkTo(nodes) => {
                let names: Vec<String> = nodes.iter().map(|&node| name(node)).collect();
                format!("clients talk to {} only", names.join(" and "))
            }
        }
    }
}

/// The speed of a clock that runs true, in millionths.
pub const TRUE_PPM: u32 = 1_000_000;
