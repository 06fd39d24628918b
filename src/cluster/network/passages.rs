//! What becomes of each message: for stories, and as lines of JSON for those who read them later.

use std::fmt;
use std::io::Write as _;
use std::sync::Arc;

use super::names::{Endpoint, Names};
use crate::node::Time;

/// What became of a message, for those who want to know of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was sent.
    Sent,
    /// It was lost on the way.
    Lost,
    /// It is under way twice.
    Doubled,
    /// It arrived where nothing from its sender is taken.
    CutOff,
    /// It arrived at a node that is dead.
    Missed,
    /// It arrived.
    Arrived,
}

impl Fate {
    /// Its name in a log of messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Fate::Sent => "sent",
            Fate::Lost => "lost",
            Fate::Doubled => "doubled",
            Fate::CutOff => "cut-off",
            Fate::Missed => "missed",
            Fate::Arrived => "arrived",
        }
    }
}

/// A step on a message's way.
#[derive(Clone, Debug)]
pub struct Passage {
    /// When.
    pub at: Time,
    /// What happened.
    pub fate: Fate,
    /// From whom.
    pub src: Endpoint,
    /// To whom.
    pub dest: Endpoint,
    /// What it says.
    pub body: Arc<str>,
}

/// So many characters of a body are told.
const TOLD: usize = 100;

impl Passage {
    /// Whether it is the arrival of a message from a client or to one: it takes no time.
    pub(crate) fn is_instant(&self) -> bool {
        self.fate == Fate::Arrived && (self.src.is_client() || self.dest.is_client())
    }

    /// The same with what the message says, or the beginning of that.
    pub(crate) fn in_full(&self) -> String {
        let (told, more) = match self.body.char_indices().nth(TOLD) {
            Some((end, _)) => (&self.body[..end], "…"),
            None => (&*self.body, ""),
        };
        format!("{self}: {told}{more}")
    }
}

/// From whom to whom the message goes, and what becomes of it.
impl fmt::Display for Passage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fate, src, dest, .. } = self;
        match fate {
            Fate::Sent => write!(f, "{src} sends {dest}"),
            Fate::Lost => write!(f, "lost on the way from {src} to {dest}"),
            Fate::Doubled => write!(f, "doubled on the way from {src} to {dest}"),
            Fate::CutOff => write!(f, "cut off between {src} and {dest}"),
            Fate::Missed => write!(f, "{dest} is dead when it comes from {src}"),
            Fate::Arrived => write!(f, "{dest} gets from {src}"),
        }
    }
}

/// Of a body that is longer than that a log of messages has the beginning alone: reads of many values would fill any disk.
const BODY_MAX: usize = 4096;
/// So many characters of it.
const START: usize = 200;

/// What becomes of messages, as lines of JSON.
#[derive(Debug)]
pub(super) struct MessageLog {
    names: Names,
    /// Times count from then.
    start: Time,
    lines: Vec<u8>,
}

impl MessageLog {
    /// Nothing yet.
    pub(super) fn new(names: Names, start: Time) -> Self {
        Self { names, start, lines: Vec::new() }
    }

    /// Hands over the lines that were kept since the last time.
    pub(super) fn take(&mut self, take: impl FnOnce(&[u8])) {
        take(&self.lines);
        self.lines.clear();
    }

    /// Notes something that is about no message.
    pub(super) fn mark(&mut self, now: Time, what: &str) {
        let time = now.since(self.start).as_nanos();
        // Memory takes all that is written to it.
        let _ = writeln!(self.lines, r#"{{"time":{time},"what":"{what}"}}"#);
    }

    /// Notes what has become of a message.
    pub(super) fn note(
        &mut self,
        at: Time,
        id: u64,
        fate: Fate,
        (src, dest): (Endpoint, Endpoint),
        body: &str,
    ) {
        let time = at.since(self.start).as_nanos();
        let what = fate.name();
        // Memory takes all that is written to it.
        let _ = match fate {
            Fate::Sent => {
                let (src, dest) = (self.names.of(src), self.names.of(dest));
                let says = if body.len() <= BODY_MAX {
                    format!(r#""body":{body}"#)
                } else {
                    let start: String = body.chars().take(START).collect();
                    format!(r#""bytes":{},"start":{}"#, body.len(), serde_json::Value::from(start))
                };
                writeln!(
                    self.lines,
                    r#"{{"time":{time},"id":{id},"what":"{what}","src":"{src}","dest":"{dest}",{says}}}"#
                )
            }
            _ => writeln!(self.lines, r#"{{"time":{time},"id":{id},"what":"{what}"}}"#),
        };
    }
}
