//! A workload's verdict, whatever the workload.

use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use super::Options;
use crate::check::set_full::SetFull;
use crate::check::txn::TxnResult;
use crate::check::{Finding, Valid};
use crate::history::History;

/// A workload's verdict.
#[derive(Clone, Debug)]
pub struct WorkloadResult {
    /// The verdict itself.
    pub valid: Valid,
    /// All that the checker says, as an object with Maelstrom's names.
    pub details: Json,
    /// What is wrong, in words.
    pub findings: Vec<Finding>,
    /// Lines of the summary, each with its heading.
    pub lines: Vec<(&'static str, String)>,
    /// What the checker says of a set, if it is about one.
    pub set: Option<Box<SetFull>>,
}

impl WorkloadResult {
    /// The verdict of a checker whose result is serialised as an object.
    pub(super) fn new(valid: Valid, result: &impl Serialize) -> Self {
        // A result that can't be told would be an error of ours: it is told where it should stand.
        let details = serde_json::to_value(result).unwrap_or_else(|error| error.to_string().into());
        Self { valid, details, findings: Vec::new(), lines: Vec::new(), set: None }
    }

    /// The verdict on a set; `verb` is what has been done with its values.
    pub(super) fn of_set(history: &History, result: SetFull, verb: &str) -> Self {
        let (findings, lines) = (result.findings(history), result.lines(verb));
        Self { set: Some(Box::new(result.clone())), ..Self::new(result.valid, &result).with(findings, lines) }
    }

    /// The verdict on transactions.
    pub(super) fn of_txns(result: &TxnResult, options: &Options) -> Self {
        let strict = options.strict_maelstrom.then(|| result.maelstrom_strict());
        let result = strict.as_ref().unwrap_or(result);
        let anomalies = result.anomaly_types.join(", ");
        let line = if anomalies.is_empty() { "none".to_owned() } else { anomalies };
        Self::new(result.valid, result).with(result.findings(), vec![("anomalies", line)])
    }

    pub(super) fn with(mut self, findings: Vec<Finding>, lines: Vec<(&'static str, String)>) -> Self {
        (self.findings, self.lines) = (findings, lines);
        self
    }
}

impl Serialize for WorkloadResult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.details.is_object() {
            return Err(S::Error::custom("a checker's result is an object"));
        }
        self.details.serialize(serializer)
    }
}
