//! Writes a history as it happens: a line of JSON for each event.
//!
//! Reads of sets are written whole as long as they are short all together, which suits scripts, and as differences from then on:
//! whole they would take space in proportion to the product of values and reads.

use std::collections::HashMap;
use std::io::{self, Write};

use super::{Event, History, OpValue, Shown, apply};
use crate::protocol::Value;

/// So many values are written in whole reads, all together: some hundred megabytes.
const WHOLE_VALUES_MAX: usize = 16 << 20;

/// Writes the events of a growing history.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    /// The index of the first event that has not been written.
    next: usize,
    /// What reads show that later ones are told from, by their index; none once reads are written as differences.
    shown: Option<HashMap<usize, Vec<Value>>>,
    /// How many values may still be written in whole reads.
    whole_left: usize,
    line: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Writes to `out`, which should be buffered.
    pub fn new(out: W) -> Self {
        Self { out, next: 0, shown: Some(HashMap::new()), whole_left: WHOLE_VALUES_MAX, line: Vec::new() }
    }

    /// Writes the events that have come since the last call, so that they outlive this process.
    ///
    /// # Errors
    /// If `out` doesn't take them.
    pub fn append(&mut self, history: &History) -> io::Result<()> {
        let new = history.events().get(self.next..).unwrap_or_default();
        for event in new {
            self.line.clear();
            match self.whole(event) {
                Some(whole) => serde_json::to_writer(&mut self.line, &whole)?,
                None => serde_json::to_writer(&mut self.line, event)?,
            }
            if let Some(node) = history.node_name(event.process) {
                self.line.pop();
                self.line.extend_from_slice(b",\"node\":");
                serde_json::to_writer(&mut self.line, &node)?;
                self.line.push(b'}');
            }
            self.line.push(b'\n');
            self.out.write_all(&self.line)?;
        }
        self.next += new.len();
        self.out.flush()
    }

    /// The event of a read, told from the empty set, if it is to be written so.
    fn whole(&mut self, event: &Event) -> Option<Event> {
        let OpValue::Set(difference) = &event.value else { return None };
        let shown = self.shown.as_mut()?;
        let before = difference.since.and_then(|since| shown.remove(&since)).unwrap_or_default();
        let values = apply(&before, &difference.added, &difference.removed);
        shown.insert(event.index, values.clone());
        self.whole_left = self.whole_left.saturating_sub(values.len());
        if self.whole_left == 0 {
            self.shown = None;
        }
        let (repeated, strange) = (difference.repeated.clone(), difference.strange.clone());
        let whole = Shown { since: None, added: values, removed: Vec::new(), repeated, strange };
        Some(Event { value: OpValue::Set(whole), ..event.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{EventKind, Process};
    use crate::node::Time;

    fn history() -> History {
        let mut history = History::default();
        history.talks_to(Process::Client(0), 3);
        for values in [vec![1, 2], vec![2, 3], vec![2, 3, 4, 4]] {
            let shown = OpValue::Set(Shown::whole(values, vec![]));
            history.push(Time::ZERO, Process::Client(0), EventKind::Ok, "read", shown, None);
        }
        history
    }

    #[test]
    fn what_is_written_says_the_same_whole_or_not() {
        let history = history();
        for (whole_left, wholes) in [(100, 3), (3, 2), (0, 0)] {
            let mut writer = Writer { whole_left, ..Writer::new(Vec::new()) };
            if whole_left == 0 {
                writer.shown = None;
            }
            writer.append(&history).expect("memory takes it");
            writer.append(&history).expect("memory takes it");
            let text = String::from_utf8(writer.out).expect("text");
            assert_eq!(text.lines().filter(|line| !line.contains("since")).count(), wholes.max(1), "{text}");
            assert!(text.lines().all(|line| line.ends_with(",\"node\":\"n3\"}")), "{text}");
            // Differences are told from reads that are there, whole or not.
            let read = History::from_json_lines(text.as_bytes(), true).expect("a history");
            assert_eq!(read.values_shown(2), Some(vec![2, 3, 4]));
        }
    }
}
