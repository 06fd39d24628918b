//! Messages that were sent successfully and that nobody polled before the end.
//!
//! Jepsen's count has a quirk that is not copied: if the very last successful operation is the first to
//! mention a key, and a poll, the messages that it shows count as unseen. The verdict's notes say so then.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value as Json;

use crate::check::kafka::fates::Fates;
use crate::check::kafka::reading::{Op, Reading};
use crate::history::{EventKind, History};

/// The most messages listed for a key (Jepsen's number).
const LISTED_MAX: usize = 32;

/// Unseen messages, by key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Unseen {
    /// When the last successful send or poll ended, in nanoseconds since clients began.
    pub time: u64,
    /// How many there are of each key.
    pub unseen: BTreeMap<String, usize>,
    /// Some of each key, smallest first.
    pub messages: BTreeMap<String, Vec<Json>>,
}

impl Unseen {
    /// The unseen messages of a history, if there are any.
    pub(super) fn of(history: &History, reading: &Reading, fates: &Fates) -> Option<Self> {
        let mut messages: BTreeMap<String, Vec<Json>> = BTreeMap::new();
        for (message, _) in fates.iter().filter(|(_, fate)| fate.sent_ok && fate.ok_reader.is_none()) {
            let content = &reading.messages[message];
            messages.entry(reading.keys[content.key].clone()).or_default().push(content.value.clone());
        }
        let unseen = messages.iter().map(|(key, values)| (key.clone(), values.len())).collect();
        for values in messages.values_mut() {
            values.sort_by_cached_key(|value| (value.as_i64().unwrap_or(i64::MAX), value.to_string()));
            values.truncate(LISTED_MAX);
        }
        let ended = |op: &&Op| op.kind == EventKind::Ok && op.transaction().is_some();
        let last = reading.ops.iter().rfind(ended)?;
        let time = history.events()[last.event()].time.as_nanos();
        (!messages.is_empty()).then_some(Unseen { time, unseen, messages })
    }
}
